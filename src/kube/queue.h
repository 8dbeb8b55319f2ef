/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_QUEUE_H
#define KUBE_QUEUE_H

#include "base/ctx.h"

#include <stddef.h>
#include <stdint.h>

struct ev_loop;
struct fence;
struct work;

/*
 * struct queue - keys waiting for a reconcile
 *
 * Namespaces take turns (backlog.h). A key is at work in one worker at most; added while it waits
 * it coalesces, added while it is at work it runs once more afterwards. Failures back off per key:
 * base, doubled, up to max, jittered; success forgets. All functions: any thread.
 */
struct queue;

/* Works off one key on a worker. What to do with the key next is the return value. */
enum queue_verdict {
	QUEUE_DONE,        /* forget its failures */
	QUEUE_RETRY,       /* again after its backoff, which grows */
	QUEUE_RETRY_AFTER, /* again after *ret_after_ns, backoff unchanged */
};
typedef enum queue_verdict (*queue_reconcile_fn)(void *arg, struct ctx *ctx, const char *key,
						 int64_t *ret_after_ns);

struct queue_options {
	const char *name;                        /* label of its metrics */
	unsigned workers;                        /* at once; 0: 8 */
	unsigned lane;                           /* of work */
	int64_t backoff_base_ns, backoff_max_ns; /* 0: 1 s, 5 min */
	int64_t timeout_ns;                      /* of one reconcile's ctx; 0: none */
	struct fence *fence; /* each reconcile joins it; while it is closed keys wait. NULL: none */
};

struct queue *queue_new(struct ev_loop *loop, struct work *work, const struct queue_options *opts,
			queue_reconcile_fn fn, void *arg);
/* Takes no more keys, cancels those at work and waits for them. */
void queue_free(struct queue *q);

void queue_add(struct queue *q, const char *key);
void queue_add_after(struct queue *q, const char *key,
		     int64_t delay_ns); /* the earlier of two times wins */
/* Nothing is worked off while paused (lease lost, caches not synced); keys still collect. What is
 * at work is cancelled, and comes again without counting as failed. New queues are paused. */
void queue_pause(struct queue *q);
void queue_resume(struct queue *q);
unsigned queue_failures(struct queue *q, const char *key); /* since its last success */

#endif
