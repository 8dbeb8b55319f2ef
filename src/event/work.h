/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EVENT_WORK_H
#define EVENT_WORK_H

#include <stdint.h>

/*
 * struct work - bounded worker lanes for code that blocks
 *
 * Each lane has its own threads (started on demand, ended after 15 s without work) and its own
 * bounded queue, so that four mounts hung in the kernel stop four slots of HOST and nothing else.
 * libuv's global pool is not used for this: it is one pool of four threads for everything. SLOW
 * never has more threads than half of the others' sum. A stuck worker costs its slot and is counted
 * (cleat_workers_busy).
 *
 * All threads made here have 256 KiB of stack and block every signal: signals are the I/O thread's.
 * A tool spawned from one inherits that mask, so host/spawn sets an empty one.
 */
enum work_lane {
	WORK_API,   /* talks to the API server or another CSI endpoint */
	WORK_HOST,  /* mount, mkfs, loop devices */
	WORK_STORE, /* backend calls that only touch the pool */
	WORK_SLOW,  /* copies, scans: minutes */
	WORK_LANES,
};

struct work;
typedef void (*work_fn)(void *arg);

struct work_options {
	unsigned threads[WORK_LANES]; /* 0: default (API 4, HOST 8, STORE 4, SLOW 2) */
	unsigned queue[WORK_LANES];   /* 0: default 1024 */
	int64_t idle_ns;              /* a thread without work ends after it; 0: 15 s */
};

int work_new(const struct work_options *opts, struct work **ret_work); /* opts may be NULL */
/* Waits for running jobs and runs what is queued; new submissions get -ESHUTDOWN. */
void work_free(struct work *w);

/* Any thread. 0, or -EBUSY when the lane's queue is full, or -ESHUTDOWN. fn runs exactly once if 0
 * was returned. */
int work_submit(struct work *w, enum work_lane lane, work_fn fn, void *arg);
unsigned work_busy(struct work *w, enum work_lane lane);
const char *work_lane_name(enum work_lane lane); /* "api", "host", "store", "slow" */

/* A thread of its own, for the few loops that live as long as the process (queue dispatch).
 * Joinable; -errno. */
struct work_thread;
int work_thread_start(const char *name, work_fn fn, void *arg, struct work_thread **ret_thread);
void work_thread_join(struct work_thread *t);

#endif
