/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_UPSTREAM_H
#define CMD_UPSTREAM_H

#include "base/err.h"
#include "base/opt.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * The programs by whose names cleat may be called, and their command lines: what is written there
 * for the newest release of each is taken, or answered as that release answers it. Words go by the
 * rules of the library that the program parses them with; what is left is options of ours.
 */
enum upstream_kind {
	UPSTREAM_BOOL,
	UPSTREAM_TEXT,
	UPSTREAM_COUNT,   /* a whole number, no sign */
	UPSTREAM_THREADS, /* the same; more than there may be here are as many as may be */
	UPSTREAM_INT,     /* with a sign; below 0 means "no bound", which is 0 here */
	UPSTREAM_SIGNED,  /* with a sign that means something here too */
	UPSTREAM_CUT,     /* length of a UID: -1 whole, which is 0 here; 1 to 32 */
	UPSTREAM_RATE,    /* a floating point number, rounded up here; 0 and less: no bound */
	UPSTREAM_TIME,
	UPSTREAM_GATES,   /* "A=true,B=false", together if given more than once */
	UPSTREAM_LABELS,  /* "a:x,b:y", the same */
	UPSTREAM_LEVEL,   /* of the log */
	UPSTREAM_MODULES, /* "file=2,other*=5" */
	UPSTREAM_FORMAT,  /* text or json */
	UPSTREAM_FLUSH,   /* a time above 0 */
	UPSTREAM_OFF,     /* a bool that may only be false, as long as upstream's gate is shut */
	UPSTREAM_NO_SIZE, /* a size that may only be 0, likewise */
};

enum upstream_use {
	UPSTREAM_TAKEN,
	UPSTREAM_IDLE,    /* taken and without effect; the note says why that is right */
	UPSTREAM_MISSING, /* only upstream's default is taken; the note says what is not done */
	UPSTREAM_GONE,    /* of earlier releases; with a warning in place of the newest's refusal */
};

struct upstream_flag {
	const char *name;
	enum upstream_kind kind;
	enum upstream_use use;
	const char *fallback; /* upstream's default where it is not ours; NULL: ours is as good */
	const char *note;     /* for people; NULL: nothing to say */
};

struct upstream_gate {
	const char *name;
	char stage; /* 'a'lpha, 'b'eta, 'G'A, 'd'eprecated, or 'x': of earlier releases */
	bool is_on; /* unless set */
	bool is_locked;
	const char *option; /* ours that has its value; NULL: without effect */
};

#define UPSTREAM_LISTS_MAX 4

struct upstream_program {
	const char *name;
	const char *release; /* whose command line it is */
	/* Lists, to the first NULL; a list ends with a flag without a name. */
	const struct upstream_flag *flags[UPSTREAM_LISTS_MAX];
	const struct upstream_gate *gates; /* its own; NULL: it has none */
	int bad_gate_exit;
	bool mixes_words; /* words among the options are passed over; else the first ends them */
};

const struct upstream_program *upstream_find(const char *argv0);
extern const struct upstream_program upstream_programs[];
extern const size_t n_upstream_programs;
/* Those that all have whose gates come from Kubernetes' API server library; without effect. */
extern const struct upstream_gate upstream_server_gates[];

/* The i-th flag over all lists; NULL behind the last. */
const struct upstream_flag *upstream_flag_at(const struct upstream_program *p, size_t i);
/* NULL: unknown. */
const struct upstream_gate *upstream_gate_find(const struct upstream_program *p, const char *name);

/* What came of a command line. */
struct upstream_line {
	char **args; /* argv[0] and options by upstream's names; NULL-terminated, malloc'ed */
	struct str remarks; /* a line each, for the log */
	bool is_help;
};

/* 0, or the exit code that upstream ends with, and err says why. */
int upstream_parse(const struct upstream_program *p, const char *const *argv,
		   struct upstream_line *ret_line, struct err *err);
void upstream_line_done(struct upstream_line *line);

/* All that the program takes, for its --help. */
void upstream_help(const struct upstream_program *p, struct str *out);

/* Puts the remarks into the log, whose options the line has. */
void upstream_remark(const struct upstream_line *line);

#endif
