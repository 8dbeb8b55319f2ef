/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_QUIESCE_H
#define BACKEND_QUIESCE_H

#include "backend/filedev.h"

/*
 * Volumes that are files and may be in use: what was written to one before is in its file, and with
 * freeze nothing is written to its filesystem until the end. Between begin and end there is one
 * step, which takes no longer than a minute.
 */
struct quiesce_what {
	int fd; /* as in struct host_loop_file */
	struct host_file file;
	const char *name;
	const char *fs; /* in it; "": raw, which nothing can freeze */
	bool freeze;
	bool hold; /* it is frozen, or not in use for writing, or refused */
};

struct quiesce {
	int dir_fd;                 /* of the filesystem, -1: none */
	struct host_freeze *freeze; /* may be NULL */
};

/* FAILED_PRECONDITION: it cannot be written out, frozen or held, says why; and the codes of
 * host_freeze_begin. 0 also for one that is not in use. */
int quiesce_begin(struct ctx *ctx, const struct quiesce_what *what, struct quiesce *ret_quiesce,
		  struct err *err);
/* rc is that of the step, with err set if it is <0; so is the result. It fails as well if the
 * filesystem did not stand still until now: then what the step made is to be thrown away. */
int quiesce_end(struct quiesce *q, int rc, struct err *err);

#endif
