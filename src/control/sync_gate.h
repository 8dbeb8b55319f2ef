/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SYNC_GATE_H
#define CONTROL_SYNC_GATE_H

#include <stddef.h>

struct ev_loop;
struct informer;
struct queue;

/*
 * struct sync_gate - lets a controller's queues work once the caches they decide by have synced
 *
 * A cache whose kind the cluster lacks never syncs, so such a controller waits; those of other
 * kinds have gates of their own.
 */
#define SYNC_GATE_MAX 8
struct sync_gate {
	struct ev_loop *loop;
	struct ev_timer *timer;                 /* the loop's */
	struct informer *caches[SYNC_GATE_MAX]; /* NULL ones are passed over */
	struct queue *queues[SYNC_GATE_MAX];
};

/* caches and queues are filled in by the owner before _start. */
void sync_gate_init(struct sync_gate *g, struct ev_loop *loop);
void sync_gate_start(struct sync_gate *g);
void sync_gate_pause(struct sync_gate *g); /* the queues too */
void sync_gate_done(struct sync_gate *g);  /* before the queues are freed */

#endif
