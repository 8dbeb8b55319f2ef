/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CTX_H
#define BASE_CTX_H

#include "base/arena.h"
#include "base/err.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * struct ctx - one request or one reconcile: its memory, its time limit, its cancellation, its name
 * in the log
 *
 * Embedded by value by whoever starts the work (a gRPC call, a reconcile, a command line).
 * ctx_cancel() may be called by any thread while the object lives; all else belongs to the thread
 * that runs the work. Blocking code calls ctx_check() before each step that changes the world, and
 * bounds each wait with ctx_remaining_ns() or polls ctx_cancel_fd().
 */
struct ctx {
	struct arena *arena; /* owned; request and reply live here */
	int64_t deadline_ns; /* CLOCK_MONOTONIC; CTX_NO_DEADLINE if none */
	atomic_bool cancelled;
	atomic_int cancel_fd; /* eventfd made on first use, else -1 */
	pthread_mutex_t lock; /* guards making of cancel_fd */
	char id[24];          /* joins log lines of one request, "" if none */
};

#define CTX_NO_DEADLINE INT64_MAX

/* timeout_ns ≤ 0: no deadline. */
void ctx_init(struct ctx *ctx, int64_t timeout_ns);
void ctx_done(struct ctx *ctx);

void ctx_cancel(struct ctx *ctx); /* any thread; idempotent */
bool ctx_is_cancelled(const struct ctx *ctx);

/* 0 while work may go on; else -1 with CANCELLED or DEADLINE_EXCEEDED. */
int ctx_check(const struct ctx *ctx, struct err *err) __attribute__((warn_unused_result));

/* Nanoseconds left, 0 when none are, INT64_MAX without deadline. */
int64_t ctx_remaining_ns(const struct ctx *ctx);

/* An fd that polls readable once cancelled; borrowed, lives with ctx. -errno if none could be made.
 */
int ctx_cancel_fd(struct ctx *ctx);

/* For poll(2): milliseconds left rounded up, -1 without deadline, at most max_ms if max_ms ≥ 0. */
int ctx_poll_ms(const struct ctx *ctx, int max_ms);

#endif
