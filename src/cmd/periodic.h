/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_PERIODIC_H
#define CMD_PERIODIC_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What is done again and again while the process lives, and blocks:
 *
 *   timer (loop) -> is it due? -> run (a worker) -> ended (loop)
 *
 * One run at a time, so a disk that hangs costs one worker and makes the next run wait.
 */
struct periodic;
struct ctx;
struct ev_loop;
struct work;

struct periodic_options {
	struct ev_loop *loop; /* as all below, outlives it */
	struct work *work;
	unsigned lane;
	unsigned (*lane_of)(void *arg); /* of this run; on the loop. NULL: lane */
	int64_t first_ns;
	int64_t every_ns;   /* 0: once by itself, and then when periodic_look_now says so */
	int64_t timeout_ns; /* of run's ctx, which is cancelled when it is stopped */
	/* On the loop, at each tick, also while a run goes on. NULL: it always is. */
	bool (*is_due)(void *arg);
	void (*run)(void *arg, struct ctx *ctx);
	void (*ended)(void *arg); /* on the loop after each run, but when it is stopped; or NULL */
	void *arg;
};

/* Before the loop runs, or on its thread. */
struct periodic *periodic_new(const struct periodic_options *opts);
/* On the loop: as at a tick. */
void periodic_look_now(struct periodic *p);
/* Any thread but the loop's, which runs: no run is begun any more, and one that goes on is
 * cancelled and waited for, at most timeout_ns (-ETIMEDOUT: it hangs). NULL is fine. */
int periodic_stop(struct periodic *p, int64_t timeout_ns);
/* After the loop was joined, or when it never ran; before it is freed. NULL is fine. */
void periodic_free(struct periodic *p);

#endif
