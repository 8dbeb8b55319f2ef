/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_CLIENT_INTERNAL_H
#define KUBE_CLIENT_INTERNAL_H

#include "kube/client.h"
#include "net/http.h"

struct ev_loop *kube_client_loop(struct kube_client *c);

/* I/O thread: a GET whose reply comes in pieces (list, watch), outside the rate limit as in
 * client-go. NULL: no token could be read. The callbacks are the caller's, who reports what came of
 * it by the two below. */
struct http_stream *kube_stream_open(struct kube_client *c, const char *path,
				     const struct http_stream_ops *ops, void *arg, struct err *err);
/* The same with a method and a body, and beside the fence: only the lease may, which is what opens
 * it. */
struct http_stream *kube_stream_send(struct kube_client *c, const char *method, const char *path,
				     const char *body, const struct http_stream_ops *ops, void *arg,
				     struct err *err);
/* A write beside the fence, on a worker: Events, which tell of what happened, whoever leads now;
 * and the lease, when it is given back. type: of a PATCH's body; else "application/json". */
int kube_write_unfenced(struct kube_client *c, struct ctx *ctx, const char *method,
			const char *path, const char *type, const char *body, struct err *err);
void kube_client_note_reply(struct kube_client *c, const char *method, int status,
			    const struct err *problem);
void kube_client_note_failure(struct kube_client *c, const char *method, const struct err *err);

/*
 * What a reply that is no success means: fills err from the status and the Status object in body
 * (which may be anything) and returns -1. verb: "get", "list", …; path: the request's, from which
 * the resource is read.
 */
int kube_reply_error(const char *verb, const char *path, int status, const char *body, size_t n,
		     struct err *err);

/* The same into parts, in the arena. */
void kube_verdict_read(struct arena *arena, int status, const char *body, size_t n,
		       struct kube_verdict *ret_verdict);

/* "persistentvolumeclaims/status" of a request path, malloc'ed. */
char *kube_path_resource(const char *path);

#endif
