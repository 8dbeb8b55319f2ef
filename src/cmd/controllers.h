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
 * caches, started and paused together. Adding one is a row in controllers_table.c.
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
	const char *lease_ns, *lease_name; /* of our own election, whatever name the process was
					    called by: a row's own Leases take them up */
	const char *identity;
};

/* Which objects of a kind are read, where that is not all. */
struct controller_scope {
	const char *ns; /* NULL: of all */
	char label_selector[512], field_selector[1024];
};

/* A cache that a row reads. */
struct controller_need {
	const struct kube_type *type;
	bool (*is_needed)(const struct controller_env *env); /* NULL: always */
	/* NULL: all of them. Rows that read the same kind have the same here. */
	void (*select)(const struct controller_env *env, struct controller_scope *ret_scope);
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
	const char *lease; /* by that name: its Lease, the driver's name behind it. NULL: as ours */
	const char *component; /* of its Events; the driver's name stands behind it. NULL: that
				  name alone */
	bool only_by_name;     /* not among those of --controllers=auto */
	bool needs_no_driver;  /* the API is all it works with; alone, none is looked for */
	bool is_early;     /* of these: works before the driver is there, which may need it to come
			      (controller_early.h) */
	unsigned n_queues; /* of LANE_API; each has --worker-threads */
	uint64_t caps;     /* that the driver must have */
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
	/* Of those that have something to write before an orderly end, ahead of pause: blocks for
	 * some seconds at most, on another thread than the loop's; or NULL. */
	void (*settle)(void *controller);
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
 * driver has enough for; without early ones. FAILED_PRECONDITION: one of those named needs what the
 * driver lacks, or none is left for want of it. */
int controllers_choose(const struct controller_row *rows, size_t n_rows, const char *names,
		       const struct controller_driver *driver, char **ret_names, struct err *err);
/* Of those named the early ones, as another such list (malloc'ed); "": none. */
char *controllers_early(const struct controller_row *rows, size_t n_rows, const char *names);
/* Whether one of those named works with a driver. */
bool controllers_need_driver(const struct controller_row *rows, size_t n_rows, const char *names);
/* The row of the program that argv[0] names, with or without directories; NULL: of none. */
const struct controller_row *controllers_find_program(const struct controller_row *rows,
						      size_t n_rows, const char *argv0);
/* The command line of the program that the row stands for, as one of ours: --controllers=NAME
 * behind argv[0], and options by what they are called here. NULL-terminated; all of it malloc'ed.
 */
char **controller_args(const struct controller_row *row, const char *const *argv);
void controller_args_free(char **args);
#define CONTROLLER_LEASE_MAX 320
/* The name of the Lease of cleat's own election for this driver: "cleat-pool-cleat-csi". */
void controller_own_lease_name(const char *driver, char ret_name[static CONTROLLER_LEASE_MAX]);
/* Of that among early ones: "cleat-pool-cleat-csi-early". */
void controller_early_lease_name(const char *driver, char ret_name[static CONTROLLER_LEASE_MAX]);
/* That by upstream's name, as upstream spells it. */
void controller_lease_name(const struct controller_row *row, const char *driver,
			   char ret_name[static CONTROLLER_LEASE_MAX]);
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
void controllers_settle(struct controllers *c); /* not on the loop */
void controllers_pause(struct controllers *c);
/* Two steps, since what they were made of goes in between (process.h): the controllers, then the
 * caches. Each may come early or twice. */
void controllers_free(struct controllers *c);
void controllers_free_caches(struct controllers *c);

#endif
