/* SPDX-License-Identifier: Apache-2.0 */
/* A server ends when its volume is unmounted, whoever does that, and stays as a zombie until its
 * parent asks for it. */
#include "backend/cephfs/mounted.h"

#include "backend/cephfs/serve.h"
#include "base/fd.h"
#include "base/mem.h"
#include "host/self.h"

void mounted_init(struct mounted *m)
{
	pthread_mutex_init(&m->lock, NULL);
}

void mounted_done(struct mounted *m)
{
	vec_done(&m->pids);
	pthread_mutex_destroy(&m->lock);
}

void mounted_add(struct mounted *m, pid_t pid)
{
	pthread_mutex_lock(&m->lock);
	vec_push(&m->pids, pid);
	pthread_mutex_unlock(&m->lock);
}

/* Nothing of it blocks. */
void mounted_reap(struct mounted *m)
{
	struct err gone;

	pthread_mutex_lock(&m->lock);
	for (size_t i = m->pids.n; i > 0; i--) {
		autofd int fd = -1;
		pid_t pid = m->pids.v[i - 1];

		host_process_reap(pid, CEPHFS_SUBTYPE);
		if (host_process_open(pid, &fd, &gone) < 0)
			m->pids.v[i - 1] = m->pids.v[--m->pids.n];
	}
	pthread_mutex_unlock(&m->lock);
}
