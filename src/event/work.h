/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EVENT_WORK_H
#define EVENT_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * struct work - bounded worker lanes for code that blocks
 *
 * Which lanes there are is the program's to say: it gives a table, and who submits gets the number
 * of his lane from it. Each lane has its own threads (started on demand, ended after 15 s without
 * work) and its own bounded queue, so that four mounts hung in the kernel stop four slots of their
 * lane and nothing else. libuv's global pool is not used for this: it is one pool of four threads
 * for everything. A stuck worker costs its slot and is counted (cleat_workers_busy).
 *
 * All threads made here have 256 KiB of stack, unless their lane says more, and block every signal:
 * signals are the I/O thread's. A tool spawned from one inherits that mask, so host/spawn sets an
 * empty one.
 */
struct work_lane_def {
	const char *name; /* of its threads and in its metric, ≤10 bytes; outlives the process */
	unsigned threads; /* at most, ≥1 */
	unsigned queue;   /* jobs that wait; 0: 1024 */
	size_t stack_bytes; /* of each thread; 0: 256 KiB. What is not touched costs nothing */
	bool is_minor;      /* never more threads than half of those of the other lanes together */
};

struct ev_loop;
struct work;
typedef void (*work_fn)(void *arg);

struct work_options {
	const struct work_lane_def *lanes; /* a lane is its place in here; read during the call */
	unsigned n_lanes;
	int64_t idle_ns; /* a thread without work ends after it; 0: 15 s */
	/* What its callbacks submit in one turn is handed over at the end of the turn, in one go.
	 * Of such a burst a job may wait for others of its lane, and what it posts for the end of
	 * others, up to 4 ms longer than it must, if the lane's last jobs took microseconds.
	 * Outlives the lanes. NULL: each job is handed over at once, as from other threads. */
	struct ev_loop *loop;
};

int work_new(const struct work_options *opts, struct work **ret_work);
/* Waits for running jobs and runs what is queued; new submissions get -ESHUTDOWN. When the loop of
 * the options does not run. */
void work_free(struct work *w);

/* Any thread. 0, or -EBUSY when the lane's queue is full, or -ESHUTDOWN. fn runs exactly once if 0
 * was returned. */
int work_submit(struct work *w, unsigned lane, work_fn fn, void *arg);
unsigned work_busy(struct work *w, unsigned lane);

/* A thread of its own, for the few loops that live as long as the process (queue dispatch).
 * Joinable; -errno. */
struct work_thread;
int work_thread_start(const char *name, work_fn fn, void *arg, struct work_thread **ret_thread);
void work_thread_join(struct work_thread *t);

#endif
