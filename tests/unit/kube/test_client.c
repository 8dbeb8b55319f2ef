/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs send, over an HTTP client that is this file's: no connection, no time. */
#include "check.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/health.h"
#include "net/http.h"
#include "net/tls.h"

static struct {
	struct str text; /* "METHOD PATH content-type body" of the last request */
	int status;
	const char *reply;
	unsigned n;
	unsigned n_busy; /* how many are answered by this first: */
	int busy;
	const char *retry_after; /* and with it, or NULL */
} server;

/* ---- what the client stands on ---- */

int tls_new(const struct tls_options *opts, struct tls **ret_tls, struct err *err)
{
	*ret_tls = NULL;
	return 0;
}

void tls_unref(struct tls *t)
{
}

struct http *http_new(struct ev_loop *loop, const struct http_options *opts)
{
	return NULL;
}

void http_free(struct http *c)
{
}

struct http_stream *http_open(struct http *c, const struct http_request *req,
			      const struct http_stream_ops *ops, void *arg)
{
	return NULL;
}

int http_call(struct http *c, struct ctx *ctx, const struct http_request *req, int64_t timeout_ns,
	      struct http_reply *ret_reply, struct err *err)
{
	const char *type = "-";

	for (size_t i = 0; i < req->n_headers; i++)
		if (str_is_equal(req->headers[i].name, "content-type"))
			type = req->headers[i].value;
	str_reset(&server.text);
	str_appendf(&server.text, "%s %s %s %s", req->method, req->path, type,
		    str_or(req->body, "-"));
	server.n++;
	*ret_reply = HTTP_REPLY_INIT;
	ret_reply->status = server.n <= server.n_busy ? server.busy : server.status;
	str_append(&ret_reply->body, server.reply);
	return 0;
}

void http_reply_done(struct http_reply *r)
{
	str_done(&r->headers);
	str_done(&r->body);
}

const char *http_reply_header(const struct http_reply *r, const char *name)
{
	return str_is_equal(name, "retry-after") ? server.retry_after : NULL;
}

struct health *health_new(struct ev_loop *loop, const char *name)
{
	return NULL;
}

void health_free(struct health *h)
{
}

void health_note(struct health *h, const char *problem)
{
}

bool health_is_good(struct health *h, char *ret_why)
{
	return true;
}

void ev_post(struct ev_loop *loop, ev_post_fn fn, void *arg)
{
	fn(arg);
}

/* ---- the fixture ---- */

static struct kube_client *client;
static struct ctx ctx;
static struct err err;

static void begin(int status, const char *reply)
{
	char host[] = "api";
	const struct kube_config config = { .host = host, .port = 443 };

	server.status = status;
	server.reply = reply;
	server.n = 0;
	server.n_busy = 0;
	ctx_init(&ctx, 0);
	ASSERT_OK(kube_client_new(NULL, &config, &(struct kube_client_options){ 0 }, &client, &err),
		  &err);
}

static void end(void)
{
	kube_client_free(client);
	ctx_done(&ctx);
	str_done(&server.text);
}

static int write_by(struct kube_write write)
{
	write.path = "/api/v1/nodes/n";
	write.body = "{}";
	return kube_write(client, &ctx, &write, NULL, &err);
}

/* ---- tests ---- */

TEST(each_verb_has_its_method_and_type)
{
	static const struct {
		struct kube_write write;
		const char *text;
	} cases[] = {
		{ { .verb = KUBE_CREATE }, "POST /api/v1/nodes/n application/json {}" },
		{ { .verb = KUBE_UPDATE }, "PUT /api/v1/nodes/n application/json {}" },
		{ { .verb = KUBE_MERGE }, "PATCH /api/v1/nodes/n application/merge-patch+json {}" },
		{ { .verb = KUBE_JSON_PATCH },
		  "PATCH /api/v1/nodes/n application/json-patch+json {}" },
		{ { .verb = KUBE_STRATEGIC },
		  "PATCH /api/v1/nodes/n application/strategic-merge-patch+json {}" },
		{ { .verb = KUBE_APPLY, .field_manager = "cleat" },
		  "PATCH /api/v1/nodes/n?fieldManager=cleat application/apply-patch+yaml {}" },
		{ { .verb = KUBE_APPLY, .field_manager = "cleat", .force = true },
		  "PATCH /api/v1/nodes/n?fieldManager=cleat&force=true "
		  "application/apply-patch+yaml {}" },
		{ { .verb = KUBE_MERGE, .subresource = "status", .field_manager = "c" },
		  "PATCH /api/v1/nodes/n/status?fieldManager=c application/merge-patch+json {}" },
		{ { .verb = KUBE_UPDATE, .subresource = "status", .force = true },
		  "PUT /api/v1/nodes/n/status application/json {}" },
	};

	begin(200, "{}");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ASSERT_OK(write_by(cases[i].write), &err);
		ASSERT_STR(str_get(&server.text), cases[i].text);
	}
	end();
}

TEST(what_would_lead_elsewhere_is_not_sent)
{
	static const struct kube_write cases[] = {
		{ .verb = KUBE_MERGE, .subresource = "" },
		{ .verb = KUBE_MERGE, .subresource = "../m" },
		{ .verb = KUBE_MERGE, .field_manager = "a&force=true" },
		{ .verb = KUBE_MERGE, .field_manager = "a b" },
		{ .verb = KUBE_APPLY },
	};

	begin(200, "{}");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_ERR(write_by(cases[i]), &err, ERR_INVALID_ARGUMENT, "/api/v1/nodes/n: ");
	ASSERT_EQ(server.n, 0);
	end();
}

TEST(a_conflict_about_fields_names_the_verb)
{
	begin(409, "{\"reason\":\"Conflict\",\"message\":\"conflict with \\\"x\\\"\"}");
	ASSERT_ERR(write_by((struct kube_write){ KUBE_APPLY, .field_manager = "m" }), &err,
		   ERR_ABORTED, "apply nodes: conflict with \"x\"");
	end();
}

TEST(a_verdict_is_of_this_write)
{
	struct kube_verdict v = { .n_causes = 7 };
	const struct kube_write write = { KUBE_MERGE, .verdict = &v };

	begin(409, "{\"reason\":\"Conflict\",\"details\":{\"causes\":[{\"reason\":"
		   "\"FieldManagerConflict\",\"field\":\".data.a\"}]}}");
	ASSERT_ERR(write_by(write), &err, ERR_ABORTED, "patch nodes");
	ASSERT_EQ(v.status, 409);
	ASSERT_TRUE(kube_verdict_has(&v, "FieldManagerConflict"));
	ASSERT_STR(v.causes[0].field, ".data.a");
	ctx_cancel(&ctx);
	ASSERT_ERR(write_by(write), &err, ERR_CANCELLED, "");
	ASSERT_EQ(v.status, 0);
	ASSERT_STR(v.reason, "");
	ASSERT_EQ(v.n_causes, 0);
	end();
}

/* ---- a server that has no room ---- */

static void pass_time(void)
{
	clock_fake_set(clock_now_ns() + 50 * NS_PER_MS);
}

/* Asked at second 1: how many seconds went by until the outcome. */
static double ask_busy(bool is_read, int status, unsigned n_times, const char *retry_after,
		       int *ret_rc)
{
	struct json_doc *doc = NULL;

	begin(200, "{}");
	server.busy = status;
	server.n_busy = n_times;
	server.retry_after = retry_after;
	clock_fake_set(NS_PER_S);
	sync_before_wait = pass_time;
	ctx_done(&ctx);
	ctx_init(&ctx, 100 * NS_PER_S);
	*ret_rc = is_read ? kube_get(client, &ctx, "/api/v1/nodes/n", &doc, &err)
			  : write_by((struct kube_write){ .verb = KUBE_MERGE });
	json_free(doc);
	sync_before_wait = NULL;
	return (double)(clock_now_ns() - NS_PER_S) / NS_PER_S;
}

TEST(a_server_without_room_is_given_the_time_that_it_asks_for)
{
	static const struct {
		bool is_read;
		int status;
		unsigned n_times;
		const char *retry_after;
		double seconds;
		unsigned n_sent;
		bool is_well;
	} cases[] = {
		{ true, 429, 2, "3", 6, 3, true },     { false, 429, 2, "3", 6, 3, true },
		{ false, 429, 1, NULL, 1, 2, true },   { false, 429, 1, "Fri, 1 Jan", 1, 2, true },
		{ true, 429, 1, "3600", 60, 2, true }, /* and no longer */
		{ true, 429, 99, "1", 10, 11, false }, /* the caller's backoff goes on */
		{ false, 429, 3, "40", 80, 3, false }, /* more than the caller's time */
		{ true, 503, 1, "2", 2, 2, true },     { true, 503, 1, NULL, 0, 1, false },
		{ false, 503, 1, "2", 0, 1, false }, /* it may have been written */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int rc;
		double seconds = ask_busy(cases[i].is_read, cases[i].status, cases[i].n_times,
					  cases[i].retry_after, &rc);

		ASSERT_TRUE(seconds >= cases[i].seconds && seconds < cases[i].seconds + 0.5);
		ASSERT_EQ(server.n, cases[i].n_sent);
		if (cases[i].is_well)
			ASSERT_OK(rc, &err);
		else
			ASSERT_ERR(rc, &err, ERR_UNAVAILABLE, "nodes");
		clock_fake_set(-1);
		end();
	}
}

RUN_TESTS(UNIT(a_server_without_room_is_given_the_time_that_it_asks_for),
	  UNIT(a_verdict_is_of_this_write), UNIT(each_verb_has_its_method_and_type),
	  UNIT(what_would_lead_elsewhere_is_not_sent), UNIT(a_conflict_about_fields_names_the_verb))
