/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_CACHE_H
#define KUBE_CACHE_H

#include "base/vec.h"
#include "kube/index.h"
#include "kube/informer.h"
#include "kube/store.h"

#include <pthread.h>

/*
 * struct cache - the objects of an informer, and what becomes of them as the API server tells about
 * them
 *
 * Reports changes to handlers, never the same version twice and never an older one after a newer.
 * Sync: what is listed between cache_begin_sync and cache_end_sync is what there is; the rest is
 * reported as gone.
 */
struct cache_handler {
	informer_change_fn fn;
	void *arg;
};

struct cache_index {
	const char *name; /* a constant */
	struct index index;
};

struct cache_change;

struct cache {
	pthread_mutex_t lock;
	struct store store;              /* under lock */
	VEC(struct cache_index) indexes; /* under lock: of all that is in store */
	struct str position; /* under lock: everything up to this version has been told; "" before
				the first sync */
	struct cache_change *first; /* under lock: what handlers have still to be told, in the */
	struct cache_change **last; /* order in which it became true */
	struct store seen;          /* under lock, as the two below; only while is_syncing: what was
				       listed, as the store has it */
	bool is_syncing;
	bool is_replacing;
	pthread_mutex_t report;             /* held while handlers run; never taken inside lock */
	VEC(struct cache_handler) handlers; /* under report */
};

void cache_init(struct cache *c);
void cache_done(struct cache *c);

/* cache_replay reports what is in the cache already as new to that handler. */
void cache_add_handler(struct cache *c, informer_change_fn fn, void *arg);
void cache_replay(struct cache *c, informer_change_fn fn, void *arg);
/* The handler, or all of them, run no more once this has returned. Not from a handler. */
void cache_drop_handler(struct cache *c, informer_change_fn fn, void *arg);
void cache_drop_handlers(struct cache *c);

/* One thread feeds, and handlers run on it: listed, added or changed; takes the reference. */
void cache_apply(struct cache *c, const struct kube_object *o);
/* The object's last state. */
void cache_remove(struct cache *c, const struct kube_object *o);
/* replace: the server's versions went back (cache_end_sync said so): what is listed is taken
 * whatever its version. */
void cache_begin_sync(struct cache *c, bool replace);
/* version: of the list; what is newer than it stays even if it was not listed. False, and nothing
 * is gone: the list is older than what was told before, so the server's store was put back to an
 * earlier day, and only a sync that replaces can be believed. */
bool cache_end_sync(struct cache *c, const char *version);
/* Everything up to this version has been told; never goes back. */
void cache_set_position(struct cache *c, const char *version);

/* Any thread: takes a write's result if it is news. Then true, and cache_tell is to be called on
 * the feeding thread, which tells everything that has still to be told, in order. */
bool cache_note(struct cache *c, const struct kube_object *o);
void cache_tell(struct cache *c);

/* Any thread, at any time; once is enough for all who want it. */
void cache_add_index(struct cache *c, const char *name, kube_key_fn key);
/* Any thread: fn under the lock for each object that has the key; ≠0 stops. */
void cache_each_in(struct cache *c, const char *name, const char *key, informer_each_fn fn,
		   void *arg);

/* Any thread; a reference, or NULL. */
const struct kube_object *cache_get(struct cache *c, const char *ns, const char *name);

#endif
