/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_OPT_H
#define BASE_OPT_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Options as data: one const table a command gives parsing, checks, defaults and --help. Go's flag
 * syntax too, since manifests of Kubernetes sidecars use it: one or two dashes, `--name=value` or
 * `--name value`; booleans take a value only after '='. "--" ends the options. A word that is
 * itself a known "--option" is not taken as the value of the one before it. An option of one letter
 * may have its value right behind it ("-ojson").
 */
enum opt_type {
	OPT_END,
	OPT_BOOL,     /* bool */
	OPT_STRING,   /* const char *, points into argv */
	OPT_LIST,     /* struct opt_list: repeatable, in order */
	OPT_UINT,     /* unsigned */
	OPT_BYTES,    /* uint64_t: "8Gi", "500M", "4096" */
	OPT_DURATION, /* int64_t ns: "10s", "1m30s", "250ms", "2h" */
	OPT_CHOICE,   /* const char *, one of ->choices ("text|json") */
	OPT_GROUP,    /* a heading in --help; name is the heading */
};

struct opt_list {
	const char **v;
	size_t n;
};

struct opt {
	const char *name; /* "csi-address" */
	enum opt_type type;
	size_t offset;        /* of the target in the options struct */
	const char *arg;      /* "ADDRESS" in --help */
	const char *fallback; /* default as text, parsed like a value; NULL: zero */
	const char *env;      /* environment variable read when the option is absent; NULL: none */
	const char *choices;  /* OPT_CHOICE */
	const char *help;     /* one or more sentences, wrapped by the printer */
};

/*
 * argv[0] is the name of the program or command and is not looked at; options and other words may
 * be mixed. Fills opts (defaults first) and gives what is left of argv in ret_rest (in place,
 * without options). INVALID_ARGUMENT: unknown option (names the nearest known one), missing or bad
 * value (names option, value and what is allowed), option given twice that is no list. "--help" and
 * "-h" are not special here: declare them.
 */
int opt_parse(const struct opt *table, void *opts, int argc, char **argv, char ***ret_rest,
	      int *ret_n_rest, struct err *err);

/* Frees the vectors of OPT_LIST targets; opt_parse does so itself when it fails. */
void opt_done(const struct opt *table, void *opts);

/* The options part of --help, 100 columns. */
void opt_help(const struct opt *table, struct str *out);

int opt_parse_duration(const char *text, int64_t *ret_ns); /* 0 or -EINVAL; no sign */
int opt_parse_bytes(const char *text,
		    uint64_t *ret_bytes); /* 0, -EINVAL or -ERANGE; suffixes Ki..Ei, k M G T P E */

/* The nearest of the n words within a third of its length, or NULL. For commands and parameters
 * too. */
const char *opt_nearest(const char *word, const char *const *known, size_t n);

#endif
