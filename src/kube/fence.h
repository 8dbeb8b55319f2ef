/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_FENCE_H
#define KUBE_FENCE_H

#include "base/ctx.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * struct fence - the right to write, which a leader has for a term and up to a limit
 *
 * Whoever writes joins with its ctx first and thereby belongs to the term of that moment. The
 * client refuses every write whose ctx has not joined (client.h), so no controller can forget it.
 * When the fence closes, the ctxs that joined are cancelled, for good: leadership that was lost and
 * won again is another term. The limit moves with each renewal of the lease and is judged by the
 * clock at each check, so a process that was stopped and goes on does not write even before anybody
 * noticed. What is on its way when the process is stopped no check can catch: therefore each write
 * is conditional or has a name that only one object can have.
 *
 * One way to cancel: what runs under a ctx is cancelled by its ctx, by nothing else. A fence that
 * closes, a queue that pauses or goes, cancel the ctxs of what is at work there; nobody keeps a
 * flag beside it for work to look at. What no cancellation can say, since nobody may have noticed
 * yet, is that the limit has passed: so the one question before each act that is no write of the
 * client's is fence_check().
 *
 * All functions: any thread.
 */
struct fence;

#define FENCE_NO_LIMIT INT64_MAX

struct fence *fence_new(void);
void fence_free(struct fence *f); /* nobody may be joined; NULL is fine */

/* Opens it for a new term, or, while it is open, moves its limit: a time of clock_boot_ns(). */
void fence_open(struct fence *f, int64_t limit_ns);
/* Ends the term: cancels every ctx that joined. */
void fence_close(struct fence *f);
bool fence_is_open(const struct fence *f);

/* Lies on the stack of whoever joined, from fence_join to fence_leave. */
struct fence_member {
	struct fence_member *next;
	struct ctx *ctx;
	uint64_t term; /* counts up from 1 */
};
/* ABORTED: closed. On failure there is nothing to leave. */
int fence_join(struct fence *f, struct fence_member *m, struct ctx *ctx, struct err *err);
void fence_leave(struct fence *f, struct fence_member *m);

/* 0 while what runs under the ctx may act. ABORTED: its term is over, or the limit has passed, or
 * it never joined. CANCELLED: it was cancelled. f NULL: whoever asks leads, the ctx alone counts.
 */
int fence_check(const struct fence *f, const struct ctx *ctx, struct err *err);
/* It may not: what failed then is no news to anybody. */
bool fence_is_cut_off(const struct fence *f, const struct ctx *ctx);
/* How long a write that begins now may take: to the limit; INT64_MAX without one, 0 while it is
 * closed. */
int64_t fence_left_ns(const struct fence *f);

#endif
