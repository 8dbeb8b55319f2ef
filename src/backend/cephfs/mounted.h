/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_MOUNTED_H
#define BACKEND_CEPHFS_MOUNTED_H

#include "base/err.h"
#include "base/vec.h"

#include <pthread.h>
#include <sys/types.h>

/* Servers (serve.h) that this process has started and that are its children, until they end. Those
 * that an earlier process has started are nobody's to wait for. */
struct mounted {
	pthread_mutex_t lock; /* guards pids */
	VEC(pid_t) pids;
};

void mounted_init(struct mounted *m);
void mounted_done(struct mounted *m);
void mounted_add(struct mounted *m, pid_t pid);
void mounted_reap(struct mounted *m);

#endif
