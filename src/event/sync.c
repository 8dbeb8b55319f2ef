/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Condition variables, and flags on a futex, that count on the monotonic clock: a wall clock that
 * is set by an hour must not wake or hold anybody. Deadlines are told in the time of base/clock.h,
 * which tests may fake; the wait itself always runs on the real clock, for as long as the deadline
 * was away when it began.
 */
#include "event/sync.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Thread_local void (*sync_before_wait)(void);

void sync_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

/* When the real clock will have moved as far as deadline_ns is away now. False: that is past. */
static bool real_deadline(int64_t deadline_ns, struct timespec *ret_until)
{
	int64_t left = deadline_ns - clock_now_ns();

	if (left <= 0)
		return false;
	(void)clock_gettime(CLOCK_MONOTONIC, ret_until); /* exists on every Linux */
	ret_until->tv_sec += left / NS_PER_S;
	ret_until->tv_nsec += left % NS_PER_S;
	if (ret_until->tv_nsec >= NS_PER_S) {
		ret_until->tv_sec++;
		ret_until->tv_nsec -= NS_PER_S;
	}
	return true;
}

int sync_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_ns)
{
	struct timespec until;

	if (sync_before_wait)
		sync_before_wait();
	if (deadline_ns == INT64_MAX)
		return -pthread_cond_wait(c, m);
	if (!real_deadline(deadline_ns, &until))
		return -ETIMEDOUT;
	return -pthread_cond_timedwait(c, m, &until);
}

void sync_flag_set(struct sync_flag *f)
{
	atomic_store(&f->is_set, 1);
	(void)syscall(SYS_futex, &f->is_set, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

int sync_flag_wait_until(struct sync_flag *f, int64_t deadline_ns)
{
	bool is_timed = deadline_ns != INT64_MAX;
	struct timespec until;

	if (is_timed && !real_deadline(deadline_ns, &until))
		return atomic_exchange(&f->is_set, 0) ? 0 : -ETIMEDOUT;
	while (!atomic_exchange(&f->is_set, 0))
		if (syscall(SYS_futex, &f->is_set, FUTEX_WAIT_BITSET_PRIVATE, 0,
			    is_timed ? &until : NULL, NULL, FUTEX_BITSET_MATCH_ANY) < 0 &&
		    errno == ETIMEDOUT)
			return atomic_exchange(&f->is_set, 0) ? 0 : -ETIMEDOUT;
	return 0;
}
