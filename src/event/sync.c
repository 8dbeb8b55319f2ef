/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Condition variables that count on the monotonic clock: a wall clock that is
 * set by an hour must not wake or hold anybody. Deadlines are told in the
 * time of base/clock.h, which tests may fake; the wait itself always runs on
 * the real clock, for as long as the deadline was away when it began.
 */
#include "event/sync.h"

#include "base/clock.h"

#include <errno.h>
#include <time.h>

void sync_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

int sync_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_ns)
{
	struct timespec until;
	int64_t left;

	if (deadline_ns == INT64_MAX)
		return -pthread_cond_wait(c, m);
	left = deadline_ns - clock_now_ns();
	if (left <= 0)
		return -ETIMEDOUT;
	(void)clock_gettime(CLOCK_MONOTONIC, &until); /* exists on every Linux */
	until.tv_sec += left / NS_PER_S;
	until.tv_nsec += left % NS_PER_S;
	if (until.tv_nsec >= NS_PER_S) {
		until.tv_sec++;
		until.tv_nsec -= NS_PER_S;
	}
	return -pthread_cond_timedwait(c, m, &until);
}
