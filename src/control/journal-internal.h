/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_JOURNAL_INTERNAL_H
#define CONTROL_JOURNAL_INTERNAL_H

#include "control/journal.h"

#include "base/map.h"

#include <pthread.h>

#define JOURNAL_PREFIX "intents.cleat.csi/" /* of annotations; the claim's UID behind it */

enum journal_state { NEW, DURABLE, DROPPED, FAILED };

struct journal_entry {
	char *uid;
	char *text;
	char *key;   /* "namespace/name"; NULL: not readable here */
	char *place; /* "" if not readable */
	unsigned object;
	enum journal_state state;
	bool is_under_way; /* in the write that is being made */
};

struct journal_object {
	char *name;
	struct json_doc *doc; /* as last seen; NULL: there is none yet */
	bool is_removed; /* it was there, and is no more: doc is what the next one begins with */
	size_t bytes;    /* of entries that are not dropped */
	bool is_dirty;
	int64_t begun_ns; /* its last write; 0: none yet */
};

struct journal {
	struct kube_client *client;
	char *ns;
	char *name;
	char *node; /* or NULL */
	char *holder;
	size_t object_bytes;
	unsigned objects_max;
	int64_t gather_ns;
	unsigned crowd;

	pthread_mutex_t lock; /* all below; never held during a request */
	pthread_cond_t changed;
	struct journal_object *objects; /* objects_max of them */
	unsigned n_objects;
	struct map *entries; /* UID → struct journal_entry */
	char *term;
	bool is_open;
	bool is_writing; /* or opening: then one thread alone has objects and entries */
	unsigned n_puts; /* calls of journal_put */
	int64_t took_ns; /* the last write, of any object */
	bool is_forbidden;
	struct err failure; /* of the last write */
};

/* journal.c. intent NULL: one that cannot be read here. Under the lock, or while nobody else is in.
 */
void journal_add(struct journal *j, const struct intent *intent, const char *uid, const char *text,
		 unsigned object, enum journal_state state);
static inline bool journal_is_kept(const struct journal_entry *e)
{
	return e->state == NEW || e->state == DURABLE;
}

/* journal_object.c. Not under the lock; one thread at a time. _write: with what is kept now,
 * ABORTED if another's term is in it. _claim_all: reads all that there are and writes the term into
 * each. */
struct journal_object *journal_object_add(struct journal *j);
int journal_object_write(struct journal *j, struct ctx *ctx, unsigned object, struct err *err);
int journal_object_claim_all(struct journal *j, struct ctx *ctx, struct err *err);

#endif
