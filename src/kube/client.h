/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_CLIENT_H
#define KUBE_CLIENT_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct fence;
struct kube_config;

/*
 * struct kube_client - requests to one API server over one HTTP/2 connection with TLS
 *
 * Reconnects with backoff and jitter; PINGs find a dead peer. Every call blocks the calling worker
 * until reply, deadline or cancellation. How fast is left to the server: 429 and 503 with
 * Retry-After are waited out and repeated within the ctx's deadline (for GET always, for writes
 * only where the server said that it did nothing: 429). A token bucket (qps, burst) can bound the
 * rate besides.
 *
 * With a fence every write goes through it: ABORTED, and nothing is sent, unless the ctx joined it
 * and its term still lasts; and a write is given up before the term can end.
 *
 * err->code by HTTP status: 404 NOT_FOUND · 409 AlreadyExists ALREADY_EXISTS, 409 Conflict ABORTED
 * · 400, 422 INVALID_ARGUMENT · 401 UNAUTHENTICATED (token re-read and tried once more first) · 403
 * PERMISSION_DENIED, the message names verb and resource, and of each cause field and message · 410
 * OUT_OF_RANGE · 429, 5xx, no connection UNAVAILABLE · 405, 415 UNIMPLEMENTED.
 */
struct kube_client;

struct kube_client_options {
	double qps;             /* 0: no bound */
	unsigned burst;         /* 0: qps */
	const char *user_agent; /* "cleat/0.1.0" */
	struct fence *fence;    /* borrowed; NULL: whoever calls may write */
};

int kube_client_new(struct ev_loop *loop, const struct kube_config *config,
		    const struct kube_client_options *opts, struct kube_client **ret_client,
		    struct err *err);
void kube_client_free(struct kube_client *c);

/* Whether the last request or watch reached the server; why not in *ret_why (may be NULL;
 * ERR_MSG_MAX bytes). Any thread. */
bool kube_client_is_healthy(struct kube_client *c, char *ret_why);

/* path: "/api/v1/namespaces/a/persistentvolumeclaims/x". Replies are documents that the caller
 * frees (json_free); ret may be NULL where the reply does not matter. */
int kube_get(struct kube_client *c, struct ctx *ctx, const char *path, struct json_doc **ret,
	     struct err *err);

/*
 * Why the server refused, in its own words (its Status object): for whom err->code is not enough to
 * choose the next step by. Strings are never NULL, and empty where it said nothing.
 */
struct kube_cause {
	const char *reason; /* "FieldManagerConflict", "NamespaceTerminating" */
	const char *field;  /* "spec.resources", ".metadata.labels.a" */
	const char *message;
};
struct kube_verdict {
	int status;         /* of HTTP; 0: no answer came, then all is empty */
	const char *reason; /* "Invalid", "Conflict", "Forbidden" */
	const char *message;
	const struct kube_cause *causes; /* the first 32 */
	size_t n_causes;
};
/* Whether it is the reason, or that of a cause. */
bool kube_verdict_has(const struct kube_verdict *v, const char *reason);
/* Forbidden for want of quota and not of a right, for which the server has no reason but words. */
bool kube_verdict_is_over_quota(const struct kube_verdict *v);

enum kube_verb {
	KUBE_CREATE,
	KUBE_UPDATE,
	KUBE_MERGE, /* a patch; put metadata.resourceVersion into it to make it conditional: ABORTED
		       if stale */
	KUBE_JSON_PATCH, /* a failing "test" is INVALID_ARGUMENT (422) */
	KUBE_STRATEGIC,
	KUBE_APPLY, /* server-side: body is the fields we want, with apiVersion and kind; makes the
		       object if there is none. A field of another manager is ABORTED unless
		       forced */
};

struct kube_write {
	enum kube_verb verb;
	const char *path;             /* of the object; to create, of the collection */
	const char *subresource;      /* "status"; NULL: the object itself */
	const char *field_manager;    /* who the fields belong to; NULL: the user agent's name.
					 KUBE_APPLY needs one */
	bool force;                   /* KUBE_APPLY: takes fields from other managers */
	const char *body;             /* JSON */
	struct kube_verdict *verdict; /* filled after a failure, in the ctx's arena; NULL: not
					 wanted */
};
int kube_write(struct kube_client *c, struct ctx *ctx, const struct kube_write *write,
	       struct json_doc **ret, struct err *err);

/* The usual ones. */
static inline int kube_create(struct kube_client *c, struct ctx *ctx, const char *path,
			      const char *body, struct json_doc **ret, struct err *err)
{
	return kube_write(c, ctx, &(struct kube_write){ KUBE_CREATE, path, .body = body }, ret,
			  err);
}
static inline int kube_update(struct kube_client *c, struct ctx *ctx, const char *path,
			      const char *body, struct json_doc **ret, struct err *err)
{
	return kube_write(c, ctx, &(struct kube_write){ KUBE_UPDATE, path, .body = body }, ret,
			  err);
}
static inline int kube_patch(struct kube_client *c, struct ctx *ctx, const char *path,
			     enum kube_verb verb, const char *body, struct json_doc **ret,
			     struct err *err)
{
	return kube_write(c, ctx, &(struct kube_write){ verb, path, .body = body }, ret, err);
}

/* uid: precondition, "" for none. 0 also when it is gone already. */
int kube_delete(struct kube_client *c, struct ctx *ctx, const char *path, const char *uid,
		struct err *err);

#endif
