/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs. Each call of a worker waits its turn in the token bucket, if there
 * is one, passes the fence if it writes, gets the bearer token, is sent, and its reply is judged:
 *
 *   401  the token file is read again, and the request repeated once: tokens of
 *        service accounts rotate, and ours may just have become too old
 *   429  the server did nothing: waited out (Retry-After) and repeated
 *   503  with Retry-After: the same, but for reads only
 *
 * Everything else goes to the caller, who knows whether to repeat: after a
 * broken connection nobody can tell whether a write was done.
 *
 * The token file is read at most every ten seconds, by whoever needs it, watches
 * included: inside a pod it lies on a tmpfs, so reading it is no disk I/O.
 */
#include "kube/client.h"

#include "base/bucket.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "kube/client-internal.h"
#include "kube/config-internal.h"
#include "kube/fence.h"
#include "kube/health.h"
#include "kube/path.h"
#include "net/addr.h"
#include "net/tls.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define REQUEST_TIMEOUT_NS (60 * NS_PER_S)
#define TOKEN_MAX (64u << 10)
#define TOKEN_AGE_NS (10 * NS_PER_S)
#define TOKEN_STALE_NS (INT64_MIN / 2)
#define RETRY_AFTER_DEFAULT_S 1
#define RETRY_AFTER_MAX_S 60
#define RETRIES_MAX 10
#define CANCEL_CHECK_NS (50 * NS_PER_MS)

struct kube_client {
	struct ev_loop *loop;
	struct http *http;
	struct tls *tls;
	char *prefix;
	char *user_agent;
	char *token_file;    /* NULL: the token never changes */
	char host[300];      /* label of metrics */
	struct fence *fence; /* NULL: none */
	struct health *health;
	bool is_paced;
	struct bucket_rule pace;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t pause; /* never signalled: waits for a time */
	char *token;          /* NULL: none */
	int64_t token_ns;     /* when it was read */
	struct bucket turns;
};

struct call {
	const char *verb;
	const char *method;
	const char *path;
	const char *content_type;
	const char *body;
	bool is_unfenced;
	struct kube_verdict *verdict; /* NULL: not wanted */
};

/* ---- health and figures ---- */

static void note(struct kube_client *c, const char *method, const char *code, const char *problem)
{
	metric_add(METRIC_REST_REQUESTS, 1, METRIC_ARGS(code, method, c->host));
	health_note(c->health, problem);
	if (strcmp(code, "401") != 0)
		return;
	LOCK_SCOPE(&c->lock);
	c->token_ns = TOKEN_STALE_NS;
}

void kube_client_note_reply(struct kube_client *c, const char *method, int status,
			    const struct err *problem)
{
	char code[16];
	bool is_bad = problem && (status == 401 || status >= 500);

	(void)snprintf(code, sizeof(code), "%d", status);
	note(c, method, code, is_bad ? problem->msg : NULL);
}

void kube_client_note_failure(struct kube_client *c, const char *method, const struct err *err)
{
	note(c, method, "<error>", err->msg);
}

bool kube_client_is_healthy(struct kube_client *c, char *ret_why)
{
	return health_is_good(c->health, ret_why);
}

/* ---- credentials ---- */

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

/* Whether to read the token file now; of several threads one does, unless there is no token at all.
 */
static bool is_token_due(struct kube_client *c)
{
	int64_t now_ns = clock_now_ns();

	if (!c->token_file)
		return false;
	LOCK_SCOPE(&c->lock);
	if (c->token && now_ns - c->token_ns < TOKEN_AGE_NS)
		return false;
	c->token_ns = now_ns;
	return true;
}

/* Reads the token file again if it is due. Without a token so far that must succeed. */
static int refresh_token(struct kube_client *c, struct err *err)
{
	const char *problem = NULL;
	char *text;
	size_t n;
	int r;

	if (!is_token_due(c))
		return 0;
	r = fd_read_file(AT_FDCWD, c->token_file, TOKEN_MAX, &text, &n);
	if (r == 0)
		problem = kube_token_problem(text, kube_token_trim(text, n));
	LOCK_SCOPE(&c->lock);
	if (r == 0 && !problem) {
		wipe(c->token);
		c->token = text;
		return 0;
	}
	if (r == 0) {
		explicit_bzero(text, n);
		free(text);
	}
	if (c->token)
		return 0; /* the old one may still be good; the server will say if not */
	if (r < 0)
		err_os(err, ERR_FAILED_PRECONDITION, r, "token file '%s'", c->token_file);
	else
		err_set(err, ERR_FAILED_PRECONDITION, "token file '%s' %s", c->token_file, problem);
	health_note(c->health, err->msg);
	return -1;
}

/* "Bearer …", to be wiped; NULL if there is no token. */
static char *make_authorization(struct kube_client *c)
{
	LOCK_SCOPE(&c->lock);
	return str_is_empty(c->token) ? NULL : xasprintf("Bearer %s", c->token);
}

/* ---- waiting ---- */

static int wait_until(struct kube_client *c, struct ctx *ctx, int64_t until_ns, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	for (;;) {
		int64_t now_ns = clock_now_ns();
		int64_t next_ns = now_ns + CANCEL_CHECK_NS;

		if (ctx_check(ctx, err) < 0)
			return -1;
		if (now_ns >= until_ns)
			return 0;
		(void)sync_cond_wait_until(&c->pause, &c->lock,
					   next_ns < until_ns ? next_ns : until_ns);
	}
}

/* Takes one token, which may not be there yet: the time when it will be. */
static int64_t take_turn(struct kube_client *c)
{
	int64_t now_ns = clock_now_ns();

	if (!c->is_paced)
		return now_ns;
	LOCK_SCOPE(&c->lock);
	return bucket_promise(&c->turns, &c->pace, now_ns);
}

/* How long the server wants us to wait, 0 if it does not say. */
static int64_t retry_after_s(const struct http_reply *reply)
{
	const char *text = http_reply_header(reply, "retry-after");
	uint64_t seconds;

	if (!text || str_parse_u64(text, &seconds) < 0) /* a date is as good as nothing */
		return 0;
	return seconds < RETRY_AFTER_MAX_S ? (int64_t)seconds : RETRY_AFTER_MAX_S;
}

/* When to try again after this reply, 0: not. */
static int64_t find_retry(const struct call *call, const struct ctx *ctx,
			  const struct http_reply *reply)
{
	int64_t after_s = retry_after_s(reply);
	bool is_read = strcmp(call->method, "GET") == 0;

	if (reply->status == 429)
		after_s = after_s ? after_s : RETRY_AFTER_DEFAULT_S;
	else if (reply->status != 503 || !is_read)
		after_s = 0;
	if (after_s == 0 || ctx_remaining_ns(ctx) <= after_s * NS_PER_S)
		return 0;
	return clock_now_ns() + after_s * NS_PER_S;
}

/* ---- one request ---- */

static size_t make_headers(struct kube_client *c, const char *content_type,
			   const char *authorization, struct h2_header v[4])
{
	size_t n = 0;

	v[n++] = (struct h2_header){ .name = "accept", .value = "application/json" };
	v[n++] = (struct h2_header){ .name = "user-agent", .value = c->user_agent };
	if (content_type)
		v[n++] = (struct h2_header){ .name = "content-type", .value = content_type };
	if (authorization)
		v[n++] = (struct h2_header){ .name = "authorization",
					     .value = authorization,
					     .is_sensitive = true };
	return n;
}

/* Whether the request may be sent now, and for how long it may be under way. */
static int pass_fence(const struct kube_client *c, const struct ctx *ctx, const struct call *call,
		      int64_t *ret_timeout_ns, struct err *err)
{
	int64_t left_ns;

	*ret_timeout_ns = REQUEST_TIMEOUT_NS;
	if (!c->fence || call->is_unfenced || strcmp(call->method, "GET") == 0)
		return 0;
	if (fence_check(c->fence, ctx, err) < 0)
		return -1;
	left_ns = fence_left_ns(c->fence);
	if (left_ns < REQUEST_TIMEOUT_NS)
		*ret_timeout_ns = left_ns > 0 ? left_ns : 1;
	return 0;
}

static int send_once(struct kube_client *c, struct ctx *ctx, const struct call *call,
		     struct http_reply *ret_reply, struct err *err)
{
	autofree char *path = xasprintf("%s%s", c->prefix, call->path);
	char *authorization = make_authorization(c);
	struct h2_header headers[4] = { 0 };
	struct http_request req = {
		.method = call->method,
		.path = path,
		.headers = headers,
		.n_headers = make_headers(c, call->content_type, authorization, headers),
		.body = call->body,
		.body_len = call->body ? strlen(call->body) : 0,
	};
	int64_t begin_ns = clock_now_ns();
	int64_t timeout_ns = 0;
	int r = pass_fence(c, ctx, call, &timeout_ns, err);

	if (r == 0) {
		r = http_call(c->http, ctx, &req, timeout_ns, ret_reply, err);
		metric_observe(METRIC_REST_SECONDS, (double)(clock_now_ns() - begin_ns) / NS_PER_S,
			       METRIC_ARGS(call->method, c->host));
	}
	wipe(authorization);
	if (r == 0)
		return 0;
	if (err->code == ERR_DEADLINE_EXCEEDED && ctx_remaining_ns(ctx) > 0)
		err->code = ERR_UNAVAILABLE; /* our patience, not the caller's */
	if (err->code == ERR_UNAVAILABLE)
		kube_client_note_failure(c, call->method, err);
	return -1;
}

static int check_path(const char *path, struct err *err)
{
	for (const char *p = path; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || *p == '#')
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "'%s' is no path of the API: byte %zu", path,
				       (size_t)(p - path));
	return 0;
}

/* Sends until there is a reply for the caller. */
static int perform(struct kube_client *c, struct ctx *ctx, const struct call *call,
		   struct http_reply *ret_reply, struct err *err)
{
	bool is_token_new = false;
	int64_t retry_ns = 0;

	if (check_path(call->path, err) < 0 || refresh_token(c, err) < 0)
		return -1;
	for (unsigned i = 0;; i++) {
		struct err problem;

		if (wait_until(c, ctx, take_turn(c), err) < 0 ||
		    send_once(c, ctx, call, ret_reply, err) < 0)
			return -1;
		if (ret_reply->status < 300) {
			kube_client_note_reply(c, call->method, ret_reply->status, NULL);
			return 0;
		}
		(void)kube_reply_error(call->verb, call->path, ret_reply->status,
				       str_get(&ret_reply->body), ret_reply->body.len, &problem);
		kube_client_note_reply(c, call->method, ret_reply->status, &problem);
		if (ret_reply->status == 401 && c->token_file && !is_token_new) {
			is_token_new = true;
			if (refresh_token(c, err) < 0)
				return -1;
		} else {
			retry_ns = i < RETRIES_MAX ? find_retry(call, ctx, ret_reply) : 0;
			if (retry_ns == 0) {
				*err = problem;
				return -1;
			}
			if (wait_until(c, ctx, retry_ns, err) < 0)
				return -1;
		}
		http_reply_done(ret_reply);
	}
}

static int request(struct kube_client *c, struct ctx *ctx, const struct call *call,
		   struct json_doc **ret, struct err *err)
{
	autofree char *resource = NULL;
	autoreply struct http_reply reply = HTTP_REPLY_INIT;

	if (perform(c, ctx, call, &reply, err) < 0) {
		if (call->verdict)
			kube_verdict_read(ctx->arena, reply.status, str_get(&reply.body),
					  reply.body.len, call->verdict);
		if (reply.status >= 300)
			return -1; /* the message says it already */
		resource = kube_path_resource(call->path);
		return err_wrap(err, "%s %s", call->verb, resource);
	}
	if (!ret)
		return 0;
	if (json_parse(str_get(&reply.body), reply.body.len, ret, err) == 0)
		return 0;
	resource = kube_path_resource(call->path);
	err->code = ERR_INTERNAL;
	return err_wrap(err, "%s %s: reply", call->verb, resource);
}

/* ---- the door ---- */

#define JSON_TYPE "application/json"

int kube_get(struct kube_client *c, struct ctx *ctx, const char *path, struct json_doc **ret,
	     struct err *err)
{
	return request(c, ctx, &(struct call){ .verb = "get", .method = "GET", .path = path }, ret,
		       err);
}

/* clang-format off */
static const struct {
	const char *verb, *method, *type;
} writes[] = {
	[KUBE_CREATE]     = { "create", "POST",  JSON_TYPE },
	[KUBE_UPDATE]     = { "update", "PUT",   JSON_TYPE },
	[KUBE_MERGE]      = { "patch",  "PATCH", "application/merge-patch+json" },
	[KUBE_JSON_PATCH] = { "patch",  "PATCH", "application/json-patch+json" },
	[KUBE_STRATEGIC]  = { "patch",  "PATCH", "application/strategic-merge-patch+json" },
	/* YAML by name: the API server takes no JSON type for it, and JSON is YAML */
	[KUBE_APPLY]      = { "apply",  "PATCH", "application/apply-patch+yaml" },
};
/* clang-format on */

/* The path with its subresource and the query. */
static int make_write_path(const struct kube_write *write, char **ret_path, struct err *err)
{
	const char *manager = str_or(write->field_manager, "");
	autofree char *sub = NULL;
	const char *path = write->path;

	if (write->verb == KUBE_APPLY || *manager) {
		if (kube_name_check("field manager", manager, err) < 0)
			return -1;
		if (strcspn(manager, "&=+") != strlen(manager))
			return err_set(err, ERR_INVALID_ARGUMENT, "field manager '%s' is no name",
				       manager);
	}
	if (write->subresource) {
		if (kube_subresource_path(path, write->subresource, &sub, err) < 0)
			return -1;
		path = sub;
	}
	*ret_path = xasprintf("%s%s%s%s", path, *manager ? "?fieldManager=" : "", manager,
			      write->verb == KUBE_APPLY && write->force ? "&force=true" : "");
	return 0;
}

int kube_write(struct kube_client *c, struct ctx *ctx, const struct kube_write *write,
	       struct json_doc **ret, struct err *err)
{
	struct call call = { .verb = writes[write->verb].verb,
			     .method = writes[write->verb].method,
			     .content_type = writes[write->verb].type,
			     .body = write->body,
			     .verdict = write->verdict };
	autofree char *path = NULL;

	if (write->verdict)
		kube_verdict_read(ctx->arena, 0, "", 0, write->verdict);
	if (make_write_path(write, &path, err) < 0)
		return err_wrap(err, "%s %s", call.verb, write->path);
	call.path = path;
	return request(c, ctx, &call, ret, err);
}

/* After a conflict about the uid: whether it was another object's name by now. */
static bool is_gone(struct kube_client *c, struct ctx *ctx, const char *path, const char *uid)
{
	autojson struct json_doc *doc = NULL;
	struct err err;

	if (kube_get(c, ctx, path, &doc, &err) < 0)
		return err.code == ERR_NOT_FOUND;
	return !str_is_equal(json_path_string(json_root(doc), "metadata.uid"), uid);
}

int kube_delete(struct kube_client *c, struct ctx *ctx, const char *path, const char *uid,
		struct err *err)
{
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);
	struct call call = { "delete", "DELETE", path, JSON_TYPE, NULL };

	json_begin_object(&w);
	json_field_string(&w, "kind", "DeleteOptions");
	json_field_string(&w, "apiVersion", "v1");
	if (!str_is_empty(uid)) {
		json_key(&w, "preconditions");
		json_begin_object(&w);
		json_field_string(&w, "uid", uid);
		json_end_object(&w);
	}
	json_end_object(&w);
	call.body = str_get(&body);
	if (request(c, ctx, &call, NULL, err) == 0 || err->code == ERR_NOT_FOUND)
		return 0;
	if (err->code == ERR_ABORTED && !str_is_empty(uid) && is_gone(c, ctx, path, uid))
		return 0;
	return -1;
}

struct ev_loop *kube_client_loop(struct kube_client *c)
{
	return c->loop;
}

int kube_write_unfenced(struct kube_client *c, struct ctx *ctx, const char *method,
			const char *path, const char *type, const char *body, struct err *err)
{
	struct call call = { .verb = strcmp(method, "POST") == 0  ? "create"
				     : strcmp(method, "PUT") == 0 ? "update"
								  : "patch",
			     .method = method,
			     .path = path,
			     .content_type = type,
			     .body = body,
			     .is_unfenced = true };

	return request(c, ctx, &call, NULL, err);
}

struct http_stream *kube_stream_send(struct kube_client *c, const char *method, const char *path,
				     const char *body, const struct http_stream_ops *ops, void *arg,
				     struct err *err)
{
	autofree char *full = xasprintf("%s%s", c->prefix, path);
	struct h2_header headers[4] = { 0 };
	struct http_request req = { .method = method,
				    .path = full,
				    .headers = headers,
				    .body = body,
				    .body_len = body ? strlen(body) : 0 };
	struct http_stream *s;
	char *authorization;

	if (refresh_token(c, err) < 0)
		return NULL;
	authorization = make_authorization(c);
	req.n_headers = make_headers(c, body ? JSON_TYPE : NULL, authorization, headers);
	s = http_open(c->http, &req, ops, arg);
	wipe(authorization);
	return s;
}

struct http_stream *kube_stream_open(struct kube_client *c, const char *path,
				     const struct http_stream_ops *ops, void *arg, struct err *err)
{
	return kube_stream_send(c, "GET", path, NULL, ops, arg, err);
}

int kube_client_new(struct ev_loop *loop, const struct kube_config *config,
		    const struct kube_client_options *opts, struct kube_client **ret_client,
		    struct err *err)
{
	struct tls_options tls_opts = kube_config_tls(config);
	struct kube_client *c;
	struct tls *tls;

	if (strlen(config->host) >= NET_ADDR_HOST_MAX)
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is too long for a host",
			       config->host);
	if (tls_new(&tls_opts, &tls, err) < 0)
		return -1;
	c = xcalloc(1, sizeof(*c));
	c->loop = loop;
	c->tls = tls;
	c->http = http_new(loop, &(struct http_options){
					 .host = config->host, .port = config->port, .tls = tls });
	c->prefix = xstrdup(str_or(config->path_prefix, ""));
	c->user_agent = xstrdup(str_or(opts->user_agent, "cleat"));
	c->token = config->token ? xstrdup(config->token) : NULL;
	c->token_file = config->token_file ? xstrdup(config->token_file) : NULL;
	c->token_ns = TOKEN_STALE_NS; /* a file counts more than a literal */
	(void)snprintf(c->host, sizeof(c->host), strchr(config->host, ':') ? "[%s]:%u" : "%s:%u",
		       config->host, config->port);
	c->fence = opts->fence;
	c->is_paced = opts->qps > 0;
	if (c->is_paced) {
		c->pace.size = opts->burst > 0 ? opts->burst : opts->qps;
		c->pace.every_ns = NS_PER_S / opts->qps;
		bucket_init(&c->turns, &c->pace, clock_now_ns());
	}
	c->health = health_new(loop, c->host);
	pthread_mutex_init(&c->lock, NULL);
	sync_cond_init(&c->pause);
	*ret_client = c;
	return 0;
}

static void destroy(void *arg)
{
	struct kube_client *c = arg;

	health_free(c->health);
	wipe(c->token);
	tls_unref(c->tls);
	pthread_cond_destroy(&c->pause);
	pthread_mutex_destroy(&c->lock);
	free(c->prefix);
	free(c->user_agent);
	free(c->token_file);
	free(c);
}

void kube_client_free(struct kube_client *c)
{
	if (!c)
		return;
	http_free(c->http);
	ev_post(c->loop, destroy, c); /* behind the end of its streams */
}
