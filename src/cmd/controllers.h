/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CONTROLLERS_H
#define CMD_CONTROLLERS_H

#include "base/err.h"
#include "base/vec.h"
#include "csi/service.h"
#include "kube/type.h"

#include <stdbool.h>
#include <stdint.h>

struct controller_options;
struct controllers;
struct ev_loop;
struct fence;
struct informer;
struct kube_client;
struct recorder;
struct work;

/*
 * Which controllers there are, one row each, and those of a process: made together over shared
 * caches, started and paused together. Adding one is a row in controllers.c.
 */

/* What the driver says that it can. */
struct controller_driver {
	bool has_topology;   /* its volumes are not reachable from everywhere */
	uint64_t caps;       /* of its controller service; 0 without one */
	uint64_t group_caps; /* of its group controller service; 0 without one */
	uint64_t node_caps;  /* of its node service, asked for only where EXPAND_VOLUME is none of
				the above; 0 if it is not behind the address */
};

/* What each is made of. Borrowed, and outlives them. */
struct controller_env {
	const struct controller_options *opts;
	struct ev_loop *loop;
	struct work *work;
	struct kube_client *client;
	struct fence *fence;
	struct recorder *recorder; /* of the row: its Events bear its own component */
	struct csi_service service;
	struct controller_driver driver;
	const char *driver_name;
	const char *lease_ns, *lease_name; /* of the election; a row's own Leases take them up */
	const char *identity;
};

/* A cache that a row reads. */
struct controller_need {
	const struct kube_type *type;
	bool (*is_needed)(const struct controller_driver *driver); /* NULL: always */
};
#define CONTROLLER_NEEDS_MAX 12

/* An option of the program whose place a row takes, and what it is called here, where the options
 * of all rows are one table. Those that are called the same need no line. */
struct controller_flag {
	const char *theirs, *ours; /* without dashes */
};

struct controller_row {
	const char *name; /* in --controllers */
	const char
		*program; /* upstream's, or NULL: called by its name, cleat runs this row alone */
	const struct controller_flag *flags; /* to the first without a name; NULL: none */
	const char *component; /* of its Events; the driver's name stands behind it. NULL: that
				  name alone */
	bool only_by_name;     /* not among those of --controllers=auto */
	bool needs_no_driver;  /* the API is all it works with; alone, none is looked for */
	unsigned n_queues;     /* each has --worker-threads */
	uint64_t caps;         /* that the driver must have */
	bool (*is_able)(const struct controller_driver *driver); /* in place of caps, if those do
								    not say it; may be NULL */
	bool does_without;   /* by name it also runs against a driver that lacks them */
	const char *without; /* what it does not without them, for people */
	struct controller_need needs[CONTROLLER_NEEDS_MAX]; /* to the first without a type */
	/* Caches by controllers_cache(), not started yet. start: work once they have synced. pause:
	 * the lease is lost. free: waits for what is under way. */
	void *(*new)(const struct controller_env *env, const struct controllers *all);
	void (*start)(void *controller);
	void (*pause)(void *controller);
	void (*free)(void *controller);
};

extern const struct controller_row controller_rows[];
extern const size_t n_controller_rows;

/* In place of names: each row that the driver can be served by. */
#define CONTROLLERS_AUTO "auto"

/* Whether it is in a list "a,b"; of CONTROLLERS_AUTO, whether it can come to be. */
bool controller_is_named(const struct controller_row *row, const char *names);
/* INVALID_ARGUMENT: a name without a row, or none at all. */
int controllers_check_names(const struct controller_row *rows, size_t n_rows, const char *names,
			    struct err *err);
/* The names (malloc'ed) of those that run: the given ones, or of CONTROLLERS_AUTO each that the
 * driver has enough for. FAILED_PRECONDITION: one of those named needs what the driver lacks, or
 * none is left. */
int controllers_choose(const struct controller_row *rows, size_t n_rows, const char *names,
		       const struct controller_driver *driver, char **ret_names, struct err *err);
/* Whether one of those named works with a driver. */
bool controllers_need_driver(const struct controller_row *rows, size_t n_rows, const char *names);
/*
 * The row of the program that argv[0] names, with or without directories: 1 and the row, or 0 if it
 * is none of upstream's. UNIMPLEMENTED: one of upstream's that has no row.
 */
int controllers_find_program(const struct controller_row *rows, size_t n_rows, const char *argv0,
			     const struct controller_row **ret_row, struct err *err);
/* The command line of the program that the row stands for, as one of ours: --controllers=NAME
 * behind argv[0], and options by what they are called here. NULL-terminated; all of it malloc'ed.
 */
char **controller_args(const struct controller_row *row, const char *const *argv);
void controller_args_free(char **args);
/* How many queues those named have. */
unsigned controllers_queues(const struct controller_row *rows, size_t n_rows, const char *names);

struct controllers {
	VEC(struct informer *) caches; /* one a type */
	VEC(const struct kube_type *) types;
	VEC(const struct controller_row *) rows;
	VEC(struct recorder *) recorders; /* of each row, as the next */
	VEC(void *) running;
};

/* Makes the named ones and the caches they need, and starts these. */
void controllers_init(struct controllers *c, const struct controller_row *rows, size_t n_rows,
		      const char *names, const struct controller_env *env);
/* NULL: nobody needs it with this driver. */
struct informer *controllers_cache(const struct controllers *c, const struct kube_type *type);
void controllers_start(struct controllers *c);
void controllers_pause(struct controllers *c);
/* Two steps, since what they were made of goes in between (process.h): the controllers, then the
 * caches. Each may come early or twice. */
void controllers_free(struct controllers *c);
void controllers_free_caches(struct controllers *c);

#endif
