/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_QUIESCE_H
#define BACKEND_QUIESCE_H

#include "backend/filedev.h"

/*
 * Volumes that are files and may be in use, one or several: what was written to them before is in
 * their files, and what is frozen is so for all of them from one moment on, until the end. Between
 * begin and end there is one step, which takes no longer than a minute.
 */
struct quiesce_what {
	int fd; /* as in struct host_loop_file */
	struct host_file file;
	const char *name;
	const char *token; /* of one of several: errors name it; else NULL */
	const char *fs;    /* in it; "": raw, which nothing can freeze */
	bool freeze;
	bool hold; /* it is frozen, or not in use for writing, or refused */
};

#define QUIESCE_MAX BACKEND_GROUP_MAX

struct quiesce_plan {
	const struct quiesce_what *volumes;
	size_t n; /* ≤ QUIESCE_MAX */
	/* NULL, or called before the first filesystem is frozen with the names of the files whose
	 * filesystems will be. */
	int (*note)(void *arg, const char *const *names, size_t n, struct err *err);
	void *arg;
};

struct quiesce {
	int *dir_fds; /* of the filesystems that are frozen */
	size_t n;
	struct host_freeze *freeze; /* may be NULL */
};

/* FAILED_PRECONDITION: one cannot be written out, frozen or held, says which and why; and the codes
 * of host_freeze_begin. 0 also for what is not in use. */
int quiesce_begin(struct ctx *ctx, const struct quiesce_plan *plan, struct quiesce *ret_quiesce,
		  struct err *err);
/* rc is that of the step, with err set if it is <0; so is the result. It fails as well if the
 * filesystems did not stand still until now: then what the step made is to be thrown away.
 * ret_is_thawed: no filesystem may still be frozen; may be NULL. */
int quiesce_end(struct quiesce *q, int rc, bool *ret_is_thawed, struct err *err);

#endif
