/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_QUIESCE_H
#define BACKEND_QUIESCE_H

#include "backend/filedev.h"

/*
 * Volumes that are files and may be in use: what was written to one before is in its file, and with
 * freeze nothing is written until the end. Between begin and end there is one step and no wait.
 */
struct quiesce_what {
	int fd; /* as in struct host_loop_file */
	struct host_file file;
	const char *name;
	bool freeze; /* its filesystem is frozen, not only written out */
	bool hold;   /* nothing at all may be written meanwhile, or it is refused */
};

struct quiesce {
	bool is_attached;
};

/* FAILED_PRECONDITION: it cannot be written out, frozen or held, says why. 0 also for one that is
 * not in use. */
int quiesce_begin(struct ctx *ctx, const struct quiesce_what *what, struct quiesce *ret_quiesce,
		  struct err *err);
/* rc is that of the step, with err set if it is <0; so is the result. */
int quiesce_end(struct quiesce *q, int rc, struct err *err);

#endif
