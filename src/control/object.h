/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_OBJECT_H
#define CONTROL_OBJECT_H

#include "base/ctx.h"
#include "base/err.h"
#include "control/finalizer.h"
#include "kube/object.h"

#include <stdbool.h>

struct arena;
struct informer;
struct json_doc;
struct kube_client;
struct str;

/*
 * Where objects of one kind are read from and written to. What comes back of a write goes into the
 * cache at once, so that the next reconcile does not decide by what was before it.
 */
struct object_store {
	struct kube_client *client;
	struct informer *cache; /* of that kind; NULL: none */
	const struct kube_type *type;
};

/* "PREFIX-UID", what a driver is asked to call a thing; of the UID so many digits, 0: all of it,
 * dashes too. In the arena. */
const char *object_asked_name(struct arena *a, const char *prefix, const char *uid,
			      unsigned n_digits);

/* From the API server. The caller owns *ret. */
int object_read(const struct object_store *s, struct ctx *ctx, const char *ns, const char *name,
		const struct kube_object **ret, struct err *err);

/* An object with all of its JSON, for those to whom what caches keep is not enough. */
struct object_whole {
	const struct kube_object *obj; /* owned; NULL: none */
	struct json_doc *doc;          /* owned; NULL: not read, obj is a cache's */
};
void object_whole_done(struct object_whole *w); /* leaves it empty */
#define autowhole __attribute__((cleanup(object_whole_done)))
/* From the API server, in place of what *w held; on failure that stays. */
int object_read_whole(const struct object_store *s, struct ctx *ctx, const char *ns,
		      const char *name, struct object_whole *w, struct err *err);
/* The same by what the API server has in its memory, which costs it half as much, and etcd nothing.
 * No older than the cache's, but maybe a moment older than what is written: only for those who
 * write nothing without the version that was read. */
int object_read_recent(const struct object_store *s, struct ctx *ctx, const char *ns,
		       const char *name, struct object_whole *w, struct err *err);
/* The same of a reply, which it takes over, on failure too. */
int object_take_whole(const struct object_store *s, struct json_doc *reply, struct object_whole *w,
		      struct err *err);

/* A new object, body its JSON. ALREADY_EXISTS: one of the name is there. */
int object_create(const struct object_store *s, struct ctx *ctx, const char *ns, const char *body,
		  const struct kube_object **ret, struct err *err);
/*
 * A merge patch of the very object (by its UID, whatever version it has come to). part: members of
 * the patch but for metadata.uid, as JSON text: `"spec":{…}`; meta likewise within metadata. Either
 * may be "". subresource NULL: the object. Where *obj is replaced by what comes back, the old
 * reference is dropped. ABORTED: another object has the name by now.
 */
int object_patch(const struct object_store *s, struct ctx *ctx, const struct kube_object **obj,
		 const char *subresource, const char *part, const char *meta, struct err *err);
/* One annotation; value NULL takes it off. Nothing is written if it is so already. */
int object_annotate(const struct object_store *s, struct ctx *ctx, const struct kube_object **obj,
		    const char *key, const char *value, struct err *err);
/*
 * Finalizers, by a merge patch of the list, read anew when somebody else has changed the object
 * meanwhile. Nothing is written if it is so already. *obj becomes NULL when that were the last ones
 * of a deleted object, or the object is gone.
 */
int object_change_finalizers(const struct object_store *s, struct ctx *ctx,
			     const struct kube_object **obj, const struct finalizer_change *changes,
			     size_t n, struct err *err);
int object_protect(const struct object_store *s, struct ctx *ctx, const struct kube_object **obj,
		   const char *finalizer, bool is_wanted, struct err *err);
/* One finalizer, by a PUT of what the API server has (finalizer.h). 0 also if it is so already.
 * NOT_FOUND: it is gone, or another object has the name. */
int object_put_finalizer(const struct object_store *s, struct ctx *ctx, const char *ns,
			 const char *name, const char *uid, const char *finalizer, bool is_wanted,
			 struct err *err);
/* Asks for its deletion; 0 also when it is gone. */
int object_delete(const struct object_store *s, struct ctx *ctx, const struct kube_object *obj,
		  struct err *err);

#endif
