/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_BACKLOG_H
#define KUBE_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * struct backlog - which key comes next; the queue without threads and timers
 *
 * A key is ready, or delayed to a time, or at work, and at work it may have been asked for again.
 * Of those that are ready namespaces (what stands before the first '/') take turns, so that who has
 * thousands holds up no other; within one, and among keys without, first come is first served.
 * Nothing is kept of a key that is none of these and has no failures. Not thread-safe.
 */
struct backlog;

#define BACKLOG_NEVER INT64_MAX

struct backlog *backlog_new(void);
void backlog_free(struct backlog *b);

/* Returns false if the key waits already at that time or before. due_ns 0: now. */
bool backlog_add(struct backlog *b, const char *key, int64_t due_ns);

/* The next key, now at work until backlog_finish; NULL if none is ready. The key is borrowed until
 * then. */
const char *backlog_take(struct backlog *b, int64_t now_ns);

/* Since when a key that was taken had been ready: from when it was added, or due. */
int64_t backlog_ready_ns(const struct backlog *b, const char *key);

/* How the work on it ended. failures: the new count; again_ns: when it is due once more, or
 * BACKLOG_NEVER. */
void backlog_finish(struct backlog *b, const char *key, unsigned failures, int64_t again_ns);

unsigned backlog_failures(const struct backlog *b, const char *key);
size_t backlog_ready(struct backlog *b, int64_t now_ns); /* keys that can be taken */
/* Since when the one is ready that is so longest; BACKLOG_NEVER if none is. Walks them. */
int64_t backlog_oldest_ns(struct backlog *b, int64_t now_ns);
size_t backlog_length(const struct backlog *b); /* ready and delayed */
int64_t
backlog_due_ns(const struct backlog *b); /* of the first delayed key, BACKLOG_NEVER if none */

#endif
