/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_INFORMER_H
#define KUBE_INFORMER_H

#include "base/err.h"
#include "kube/object.h"

#include <stdbool.h>
#include <stddef.h>

struct kube_client;

/*
 * struct informer - a cache of one type, kept current by a watch
 *
 * Starts with a streaming list (WatchList: sendInitialEvents), falls back to pages of 500;
 * bookmarks move the resource version; 410 lists anew and reports what went missing as deletions,
 * and so does a server whose versions went back (a restored etcd); every other end of the stream
 * goes on from the last version or page with backoff 0.8–30 s and jitter, which grows until
 * something came of a stream. Handlers hear of changes in the order in which readers could see
 * them, those of our own writes too. One informer a kind serves all controllers of the process.
 */
struct informer;

/*
 * A change: old NULL = new, new NULL = gone. Called on the I/O thread: may look into caches, and
 * must else only put keys into queues. Both are borrowed. Also called once per object for a handler
 * added late.
 */
typedef void (*informer_change_fn)(void *arg, const struct kube_object *old_obj,
				   const struct kube_object *new_obj);

/* Which objects of the type: those of one namespace, those that the server selects. Copied; NULL or
 * "": all. What leaves the selection is reported as gone. */
struct informer_options {
	const char *ns;
	const char *label_selector; /* "app=web,tier!=db" */
	const char *field_selector; /* "spec.nodeName=n1" */
	const char *needed_by;      /* who, for messages about a right that is missing */
};

/* opts NULL: all there are. A namespace that is none shows as trouble. */
struct informer *informer_new(struct kube_client *client, const struct kube_type *type,
			      const struct informer_options *opts);
void informer_free(struct informer *i);
void informer_on_change(struct informer *i, informer_change_fn fn, void *arg);
/* The handler runs no more once this has returned. Not from a handler. */
void informer_off_change(struct informer *i, informer_change_fn fn, void *arg);
void informer_start(struct informer *i);
bool informer_has_synced(const struct informer *i); /* any thread */
/* The last failure of list or watch that has not healed yet, "" if none (copied, ERR_MSG_MAX
 * bytes). Any thread. */
void informer_trouble(struct informer *i, char *ret_text);

/* The server has no such kind: the CRD is not installed, or not yet. It is asked again at most
 * every 30 s. Any thread. */
bool informer_is_absent(struct informer *i);

/* Any thread. A reference the caller drops, or NULL. ns "" for cluster-scoped kinds. */
const struct kube_object *informer_get(struct informer *i, const char *ns, const char *name);

/* name: a constant. Any thread, at any time; the same again does nothing, so each controller adds
 * those that it uses. About 50 bytes a key of an object: keys only for objects that are looked for.
 */
void informer_add_index(struct informer *i, const char *name, kube_key_fn key);
/* Any thread: calls fn for each object that has the key, in no more time than these take, under the
 * cache's lock: fn must be short and must not call back here. ≠0 stops. */
typedef int (*informer_each_fn)(void *arg, const struct kube_object *o);
void informer_each_in(struct informer *i, const char *index, const char *key, informer_each_fn fn,
		      void *arg);

size_t informer_count(struct informer *i);

/*
 * Our own write came back with this object: takes it into the cache if it is newer than what is
 * there (so that the next reconcile does not read a cache older than its own act). Only what the
 * informer's selectors select: it cannot tell. Any thread.
 */
void informer_note_write(struct informer *i, const struct kube_object *o);

#endif
