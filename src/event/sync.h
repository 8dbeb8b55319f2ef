/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EVENT_SYNC_H
#define EVENT_SYNC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* LOCK_SCOPE(&m): held to the end of the block. */
static inline pthread_mutex_t *sync_lock_(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}
static inline void sync_unlockp_(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}
#define SYNC_CAT_(a, b) a##b
#define SYNC_CAT(a, b) SYNC_CAT_(a, b)
#define LOCK_SCOPE(m)                                                              \
	__attribute__((cleanup(sync_unlockp_), unused)) pthread_mutex_t *SYNC_CAT( \
		lock_scope_, __LINE__) = sync_lock_(m)

/* What this thread does before it waits for a condition, if not NULL; for loop.c. */
extern _Thread_local void (*sync_before_wait)(void);
void sync_cond_init(pthread_cond_t *c); /* on CLOCK_MONOTONIC */
/* Waits until signalled or the monotonic deadline (INT64_MAX: for ever). 0 or -ETIMEDOUT; spurious
 * wake-ups happen. */
int sync_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_ns);

/* One thread waits, another calls: a flag with a futex, for hand-overs that are worth more than a
 * condition variable's lock. Waiting takes the call back. */
struct sync_flag {
	atomic_uint is_set;
};
void sync_flag_set(struct sync_flag *f);
/* 0 or -ETIMEDOUT, as sync_cond_wait_until but never in vain. */
int sync_flag_wait_until(struct sync_flag *f, int64_t deadline_ns);

#endif
