/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against a server made of this room's own listener and sessions, in plain text on
 * a port of the system's choice. The path of a request says what the server does with it. */
#include "secret_scan.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/work.h"
#include "net/conn.h"
#include "net/h2_conn.h"
#include "net/http.h"
#include "net/listener.h"

#include <stdatomic.h>

#define PATIENCE_NS (30 * NS_PER_S)

struct fixture;

struct session {
	struct fixture *f;
	struct session *next;
	struct h2_conn *h2;
};

struct fixture {
	struct ev_loop *loop;
	struct listener *listener; /* loop */
	struct session *sessions;  /* loop */
	struct http *http;
	atomic_uint n_sessions;
	atomic_uint n_refused;
	atomic_uint n_hanging;
	uint16_t port;
};

/* ---- the server ---- */

static void respond(struct h2_stream *s, const char *status, const char *body, size_t n)
{
	const struct h2_header headers[] = { { .name = ":status", .value = status },
					     { .name = "retry-after", .value = "7" } };

	ASSERT_EQ(h2_respond(s, headers, 2, false), 0);
	(void)h2_send(s, body, n, true);
}

/* As the API server answers for a Secret, large enough that the reply's buffer grows. */
static void respond_secret(struct h2_stream *s)
{
	autowipe struct str body = STR_INIT;

	str_append_wiping(&body, "{\"data\":\"", 9);
	for (size_t i = 0; i < SECRET_LEN; i++)
		str_append_wiping(&body, (char[]){ secret_byte(i) }, 1);
	str_append_wiping(&body, "\",\"more\":\"", 10);
	for (size_t i = 0; i < 100000; i++)
		str_append_wiping(&body, "x", 1);
	str_append_wiping(&body, "\"}", 2);
	respond(s, "200", body.buf, body.len);
}

static void respond_big(struct h2_stream *s)
{
	const struct h2_header header = { .name = ":status", .value = "200" };
	autofree char *mib = xcalloc(1, 1 << 20);

	ASSERT_EQ(h2_respond(s, &header, 1, false), 0);
	for (unsigned i = 0; i < 33; i++)
		(void)h2_send(s, mib, 1 << 20, i == 32);
}

static void refuse_once(struct fixture *f, struct h2_stream *s)
{
	if (atomic_fetch_add(&f->n_refused, 1) == 0)
		h2_reset(s, H2_REFUSED_STREAM);
	else
		respond(s, "200", "taken", 5);
}

static void answer(struct session *session, struct h2_stream *s, const char *path)
{
	const struct h2_header half = { .name = ":status", .value = "200" };
	struct fixture *f = session->f;

	if (strcmp(path, "/refuse") == 0) {
		refuse_once(f, s);
	} else if (strcmp(path, "/secret") == 0) {
		respond_secret(s);
	} else if (strcmp(path, "/big") == 0) {
		respond_big(s);
	} else if (strcmp(path, "/hang") == 0) {
		atomic_fetch_add(&f->n_hanging, 1);
	} else if (strcmp(path, "/break") == 0) {
		(void)h2_respond(s, &half, 1, false);
		h2_conn_close(session->h2, H2_INTERNAL_ERROR);
	} else if (strcmp(path, "/drain") == 0) {
		h2_conn_drain(session->h2);
		respond(s, "200", "last", 4);
	} else {
		respond(s, "404", path, strlen(path));
	}
}

static void on_headers(void *arg, struct h2_stream *s, const struct h2_header *h, size_t n,
		       bool is_trailers, bool end)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(h[i].name, ":path") == 0)
			answer(arg, s, h[i].value);
}

static void on_data(void *arg, struct h2_stream *s, const uint8_t *bytes, size_t n)
{
	h2_consume(s, n);
}

static void on_end(void *arg, struct h2_stream *s)
{
}

static void on_stream_close(void *arg, struct h2_stream *s, uint32_t error)
{
	struct session *session = arg;

	if (error == H2_CANCEL && atomic_load(&session->f->n_hanging) > 0)
		atomic_fetch_sub(&session->f->n_hanging, 1);
}

static void on_close(void *arg, const struct err *why)
{
	struct session *session = arg;
	struct session **at = &session->f->sessions;

	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	h2_conn_free(session->h2);
	free(session);
}

static const struct h2_ops server_ops = {
	.on_headers = on_headers,
	.on_data = on_data,
	.on_end = on_end,
	.on_stream_close = on_stream_close,
	.on_close = on_close,
};

static void on_accept(void *arg, struct conn *c)
{
	struct fixture *f = arg;
	struct session *session = xcalloc(1, sizeof(*session));
	struct h2_options opts = { .is_server = true, .ops = &server_ops, .arg = session };

	session->f = f;
	session->next = f->sessions;
	f->sessions = session;
	session->h2 = h2_conn_new(f->loop, c, &opts);
	atomic_fetch_add(&f->n_sessions, 1);
}

static void open_listener(void *arg)
{
	struct fixture *f = arg;
	struct net_addr addr;
	struct err err;

	ASSERT_OK(net_addr_parse("tcp://127.0.0.1:0", &addr, &err), &err);
	addr.port = f->port;
	ASSERT_OK(listener_open(f->loop, &addr, 0, NULL, on_accept, f, &f->listener, &err), &err);
	f->port = listener_port(f->listener);
}

static void close_server(void *arg)
{
	struct fixture *f = arg;

	listener_close(TAKE_PTR(f->listener));
	while (f->sessions) {
		struct session *session = f->sessions;

		f->sessions = session->next;
		h2_conn_free(session->h2);
		free(session);
	}
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	ASSERT_EQ(ev_loop_new(&f->loop), 0);
	ASSERT_EQ(ev_loop_spawn(f->loop), 0);
	ev_call(f->loop, open_listener, f);
	f->http = http_new(f->loop, &(struct http_options){ .host = "127.0.0.1", .port = f->port });
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	http_free(f->http);
	ev_call(f->loop, close_server, f);
	ev_loop_join(f->loop);
	ev_loop_free(f->loop);
	free(f);
	return 0;
}

/* ---- the client ---- */

static int call_within(struct fixture *f, const char *path, int64_t timeout_ns,
		       struct http_reply *ret_reply, struct err *err)
{
	struct http_request req = { .method = "POST", .path = path, .body = "{}", .body_len = 2 };
	struct ctx ctx;
	int r;

	ctx_init(&ctx, PATIENCE_NS);
	r = http_call(f->http, &ctx, &req, timeout_ns, ret_reply, err);
	ctx_done(&ctx);
	return r;
}

static int call(struct fixture *f, const char *path, struct http_reply *ret_reply, struct err *err)
{
	return call_within(f, path, 0, ret_reply, err);
}

static void expect(struct fixture *f, const char *path, int status, const char *body)
{
	autoreply struct http_reply reply = HTTP_REPLY_INIT;
	struct err err;

	ASSERT_OK(call(f, path, &reply, &err), &err);
	ASSERT_EQ(reply.status, status);
	ASSERT_STR(str_get(&reply.body), body);
}

TEST(requests_share_one_connection)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 10; i++)
		expect(f, "/a", 404, "/a");
	ASSERT_EQ(atomic_load(&f->n_sessions), 1);
}

TEST(headers_of_the_reply_can_be_looked_up)
{
	struct fixture *f = *state;
	autoreply struct http_reply reply = HTTP_REPLY_INIT;
	struct err err;

	ASSERT_OK(call(f, "/a", &reply, &err), &err);
	ASSERT_STR(http_reply_header(&reply, "retry-after"), "7");
	assert_null(http_reply_header(&reply, "7"));
	assert_null(http_reply_header(&HTTP_REPLY_INIT, "retry-after"));
}

static void do_nothing(void *arg)
{
	(void)arg;
}

TEST(no_copy_of_a_reply_outlives_it)
{
	struct fixture *f = *state;
	struct http_reply reply = HTTP_REPLY_INIT;
	struct json_doc *doc = NULL;
	struct err err;

	ASSERT_OK(call(f, "/secret", &reply, &err), &err);
	ASSERT_OK(json_parse(reply.body.buf, reply.body.len, &doc, &err), &err);
	ASSERT_EQ(strlen(json_get_string(json_root(doc), "data")), SECRET_LEN);
	assert_true(count_secrets() > 0);
	json_free(doc);
	http_reply_done(&reply);
	ev_call(f->loop, do_nothing, NULL);
	ASSERT_EQ(count_secrets(), 0);
}

TEST(a_stream_refused_unseen_is_sent_again)
{
	expect(*state, "/refuse", 200, "taken");
}

TEST(a_reply_over_the_limit_is_given_up_and_the_connection_lives_on)
{
	struct fixture *f = *state;
	autoreply struct http_reply reply = HTTP_REPLY_INIT;
	struct err err;

	ASSERT_ERR(call(f, "/big", &reply, &err), &err, ERR_RESOURCE_EXHAUSTED, "larger than");
	expect(f, "/a", 404, "/a");
	ASSERT_EQ(atomic_load(&f->n_sessions), 1);
}

TEST(no_reply_in_time_is_an_error_and_resets_the_stream)
{
	struct fixture *f = *state;
	autoreply struct http_reply reply = HTTP_REPLY_INIT;
	struct err err;

	ASSERT_ERR(call_within(f, "/hang", 200 * NS_PER_MS, &reply, &err), &err,
		   ERR_DEADLINE_EXCEEDED, "no reply");
	expect(f, "/a", 404, "/a"); /* what was reset before it has arrived by now */
	ASSERT_EQ(atomic_load(&f->n_hanging), 0);
}

static void cancel_when_hanging(void *arg)
{
	struct ctx *ctx = arg;

	ctx_cancel(ctx);
}

TEST(a_cancelled_call_returns)
{
	struct fixture *f = *state;
	autoreply struct http_reply reply = HTTP_REPLY_INIT;
	struct http_request req = { .method = "GET", .path = "/hang" };
	struct work_thread *thread;
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, PATIENCE_NS);
	ASSERT_EQ(work_thread_start("cancel", cancel_when_hanging, &ctx, &thread), 0);
	ASSERT_ERR(http_call(f->http, &ctx, &req, 0, &reply, &err), &err, ERR_CANCELLED, "");
	work_thread_join(thread);
	ctx_done(&ctx);
}

TEST(a_reply_that_breaks_off_is_told_with_its_reason)
{
	struct fixture *f = *state;
	autoreply struct http_reply reply = HTTP_REPLY_INIT;
	struct err err;

	ASSERT_ERR(call(f, "/break", &reply, &err), &err, ERR_UNAVAILABLE, "127.0.0.1");
	expect(f, "/a", 404, "/a");
	ASSERT_EQ(atomic_load(&f->n_sessions), 2);
}

TEST(after_goaway_new_requests_go_over_a_new_connection)
{
	struct fixture *f = *state;

	expect(f, "/drain", 200, "last");
	for (unsigned i = 0; i < 50 && atomic_load(&f->n_sessions) < 2; i++)
		expect(f, "/a", 404, "/a");
	ASSERT_EQ(atomic_load(&f->n_sessions), 2);
	expect(f, "/a", 404, "/a");
}

TEST(no_server_is_told_at_once_and_it_may_come_back)
{
	struct fixture *f = *state;
	autoreply struct http_reply reply = HTTP_REPLY_INIT;
	struct err err;

	ev_call(f->loop, close_server, f);
	ASSERT_ERR(call(f, "/a", &reply, &err), &err, ERR_UNAVAILABLE, "Connection refused");
	ev_call(f->loop, open_listener, f);
	expect(f, "/a", 404, "/a");
}

static void hang(void *arg)
{
	struct fixture *f = arg;
	autoreply struct http_reply reply = HTTP_REPLY_INIT;
	struct err err;

	ASSERT_ERR(call(f, "/hang", &reply, &err), &err, ERR_UNAVAILABLE, "is closing");
}

TEST(closing_ends_what_is_under_way)
{
	struct fixture *f = *state;
	struct work_thread *thread;

	ASSERT_EQ(work_thread_start("hang", hang, f, &thread), 0);
	expect(f, "/a", 404, "/a");
	while (atomic_load(&f->n_hanging) == 0)
		expect(f, "/a", 404, "/a");
	http_free(TAKE_PTR(f->http));
	work_thread_join(thread);
}

#define HTTP(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(HTTP(requests_share_one_connection), HTTP(headers_of_the_reply_can_be_looked_up),
	  HTTP(no_copy_of_a_reply_outlives_it), HTTP(a_stream_refused_unseen_is_sent_again),
	  HTTP(a_reply_over_the_limit_is_given_up_and_the_connection_lives_on),
	  HTTP(no_reply_in_time_is_an_error_and_resets_the_stream), HTTP(a_cancelled_call_returns),
	  HTTP(a_reply_that_breaks_off_is_told_with_its_reason),
	  HTTP(after_goaway_new_requests_go_over_a_new_connection),
	  HTTP(no_server_is_told_at_once_and_it_may_come_back),
	  HTTP(closing_ends_what_is_under_way))
