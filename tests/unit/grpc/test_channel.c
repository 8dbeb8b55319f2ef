/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client against a server that answers anything but what it should (an HTTP/2 session without
 * grpc/ behind it), and against servers that come and go.
 */
#include "check.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "grpc/client.h"
#include "grpc/server.h"
#include "net/conn.h"
#include "net/h2_conn.h"
#include "net/listener.h"

enum { LANE_ECHO, LANE_HOLD, N_LANES };

static const struct work_lane_def lanes[N_LANES] = {
	[LANE_ECHO] = { .name = "echo", .threads = 4 },
	[LANE_HOLD] = { .name = "hold", .threads = 8 },
};
static const struct work_options two_lanes = { .lanes = lanes, .n_lanes = N_LANES };

struct fixture {
	char dir[32];
	struct net_addr addr;
	struct ev_loop *loop;
	struct work *work;
	struct grpc_channel *channel;
	struct listener *listener; /* of the odd server */
	struct h2_conn *odd;
	unsigned n_odd; /* sessions it had */
	struct grpc_server *servers[2];
	struct err err;
	int listened;
	char authority[NET_ADDR_TEXT_MAX]; /* of the last request that the odd server had */
	pthread_mutex_t lock;              /* below */
	pthread_cond_t cond;
	bool is_held, may_go, is_drained, all_call;
	unsigned n_callers;
};

static struct fixture *fix;

static void wait_for(const bool *what)
{
	LOCK_SCOPE(&fix->lock);
	while (!*what)
		assert_int_equal(sync_cond_wait_until(&fix->cond, &fix->lock,
						      clock_now_ns() + 20 * NS_PER_S),
				 0);
}

static void set(bool *what)
{
	LOCK_SCOPE(&fix->lock);
	*what = true;
	pthread_cond_broadcast(&fix->cond);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	char path[64] = "";

	snprintf(f->dir, sizeof(f->dir), "/tmp/cleat-channel-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(path, sizeof(path), "unix://%s/s.sock", f->dir);
	ASSERT_OK(net_addr_parse(path, &f->addr, &f->err), &f->err);
	pthread_mutex_init(&f->lock, NULL);
	sync_cond_init(&f->cond);
	assert_int_equal(ev_loop_new(&f->loop), 0);
	assert_int_equal(work_new(&two_lanes, &f->work), 0);
	assert_int_equal(ev_loop_spawn(f->loop), 0);
	f->channel = grpc_channel_new(f->loop, &f->addr, NULL);
	fix = *state = f;
	return 0;
}

static void free_on_loop(void *arg)
{
	struct fixture *f = arg;

	h2_conn_free(f->odd);
	listener_close(f->listener);
	for (size_t i = 0; i < ARRAY_LEN(f->servers); i++)
		grpc_server_free(f->servers[i]);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	set(&f->may_go);
	grpc_channel_free(f->channel);
	work_free(f->work);
	ev_call(f->loop, free_on_loop, f);
	ev_loop_join(f->loop);
	ev_loop_free(f->loop);
	rmdir(f->dir);
	pthread_cond_destroy(&f->cond);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static int call(const char *path, struct err *err)
{
	const uint8_t *got = NULL;
	struct ctx ctx;
	size_t n = 0;
	int r = 0;

	ctx_init(&ctx, 20 * NS_PER_S);
	r = grpc_channel_call(fix->channel, &ctx, path, "x", 1, &got, &n, err);
	ctx_done(&ctx);
	return r;
}

/* ---- a server that is odd ---- */

static const struct odd_reply {
	const char *path;
	const char *http, *type;
	const char *body;
	size_t n_body;
	const char *status, *message; /* trailers; NULL: the stream just ends */
	enum err_code want;
	const char *text;
} odd_replies[] = {
	{ "/503", "503", "text/plain", "", 0, NULL, NULL, ERR_UNAVAILABLE, "HTTP status 503" },
	{ "/404", "404", "text/html", "no", 2, NULL, NULL, ERR_UNIMPLEMENTED, "HTTP status 404" },
	{ "/401", "401", "text/html", "", 0, NULL, NULL, ERR_UNAUTHENTICATED, "HTTP status 401" },
	{ "/html", "200", "text/html", "<p>", 3, NULL, NULL, ERR_UNKNOWN, "no gRPC server" },
	{ "/no-status", "200", "application/grpc", "\0\0\0\0\1x", 6, NULL, NULL, ERR_UNAVAILABLE,
	  "without a status" },
	{ "/none", "200", "application/grpc", "", 0, "0", NULL, ERR_INTERNAL, "0 messages" },
	{ "/two", "200", "application/grpc", "\0\0\0\0\1x\0\0\0\0\1y", 12, "0", NULL, ERR_INTERNAL,
	  "2 messages" },
	{ "/half", "200", "application/grpc", "\0\0\0\0\1x\0\0", 8, "0", NULL, ERR_INTERNAL,
	  "inside a message" },
	{ "/zipped", "200", "application/grpc", "\1\0\0\0\1x", 6, "0", NULL, ERR_INTERNAL,
	  "compressed" },
	{ "/huge", "200", "application/grpc", "\0\377\377\377\377x", 6, "0", NULL,
	  ERR_RESOURCE_EXHAUSTED, "4294967295 bytes" },
	{ "/code", "200", "application/grpc", "", 0, "99", "what%2", ERR_UNKNOWN, "what%2" },
	{ "/escaped", "200", "application/grpc", "", 0, "9", "50%25 %C3%A4",
	  ERR_FAILED_PRECONDITION, "50% ä" },
};

static void odd_headers(void *arg, struct h2_stream *s, const struct h2_header *h, size_t n,
			bool is_trailers, bool end)
{
	const struct odd_reply *r = NULL;
	struct h2_header out[2] = { 0 };

	(void)arg;
	(void)is_trailers;
	(void)end;
	for (size_t i = 0; i < n; i++)
		if (str_is_equal(h[i].name, ":authority"))
			snprintf(fix->authority, sizeof(fix->authority), "%s", h[i].value);
	for (size_t i = 0; i < n && !r; i++)
		for (size_t k = 0; k < ARRAY_LEN(odd_replies) && !r; k++)
			if (str_is_equal(h[i].name, ":path") &&
			    str_is_equal(h[i].value, odd_replies[k].path))
				r = &odd_replies[k];
	if (!r) {
		h2_reset(s, H2_REFUSED_STREAM);
		return;
	}
	out[0] = (struct h2_header){ ":status", r->http, 0, false };
	out[1] = (struct h2_header){ "content-type", r->type, 0, false };
	h2_respond(s, out, 2, false);
	h2_send(s, r->body, r->n_body, !r->status);
	if (!r->status)
		return;
	out[0] = (struct h2_header){ "grpc-status", r->status, 0, false };
	out[1] = (struct h2_header){ "grpc-message", r->message, 0, false };
	h2_send_trailers(s, out, r->message ? 2 : 1);
}

static void odd_data(void *arg, struct h2_stream *s, const uint8_t *bytes, size_t n)
{
	(void)arg;
	(void)bytes;
	h2_consume(s, n);
}

static void odd_end(void *arg, struct h2_stream *s)
{
	(void)arg;
	(void)s;
}

static void odd_stream_close(void *arg, struct h2_stream *s, uint32_t error)
{
	(void)arg;
	(void)s;
	(void)error;
}

static void odd_close(void *arg, const struct err *why)
{
	struct fixture *f = arg;

	(void)why;
	h2_conn_free(f->odd);
	f->odd = NULL;
}

static const struct h2_ops odd_ops = {
	.on_headers = odd_headers,
	.on_data = odd_data,
	.on_end = odd_end,
	.on_stream_close = odd_stream_close,
	.on_close = odd_close,
};

static void odd_accept(void *arg, struct conn *c)
{
	struct fixture *f = arg;

	f->n_odd++;
	f->odd = h2_conn_new(f->loop, c,
			     &(struct h2_options){ .is_server = true, .ops = &odd_ops, .arg = f });
}

static void odd_listen(void *arg)
{
	struct fixture *f = arg;

	f->listened =
		listener_open(f->loop, &f->addr, 0600, NULL, odd_accept, f, &f->listener, &f->err);
}

TEST(odd_answers_become_errors_that_say_so)
{
	struct err err = { 0 };

	ev_call(fix->loop, odd_listen, fix);
	ASSERT_OK(fix->listened, &fix->err);
	for (size_t i = 0; i < ARRAY_LEN(odd_replies); i++)
		ASSERT_ERR(call(odd_replies[i].path, &err), &err, odd_replies[i].want,
			   odd_replies[i].text);
	ASSERT_EQ(fix->n_odd, 1); /* none of them cost the connection */
}

TEST(refused_stream_is_sent_once_more_and_then_unavailable)
{
	struct err err = { 0 };

	ev_call(fix->loop, odd_listen, fix);
	ASSERT_ERR(call("/refuse", &err), &err, ERR_UNAVAILABLE, "HTTP/2 error 7");
}

static void odd_take_port(void *arg)
{
	struct fixture *f = arg;

	f->addr.port = listener_port(f->listener);
}

/* RFC 3986 §3.2.2: an address with colons stands in brackets; a server may refuse what is no
 * authority. */
TEST(requests_name_the_server_as_uris_do)
{
	static const char *const hosts[] = { "127.0.0.1", "::1" };
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		char want[64] = "";

		if (i == 1 && access("/proc/net/if_inet6", F_OK) != 0)
			continue;
		grpc_channel_free(fix->channel);
		ev_call(fix->loop, free_on_loop, fix);
		fix->odd = NULL;
		fix->addr = (struct net_addr){ .kind = NET_ADDR_TCP };
		snprintf(fix->addr.host, sizeof(fix->addr.host), "%s", hosts[i]);
		ev_call(fix->loop, odd_listen, fix);
		ASSERT_OK(fix->listened, &fix->err);
		ev_call(fix->loop, odd_take_port, fix);
		fix->channel = grpc_channel_new(fix->loop, &fix->addr, NULL);
		ASSERT_ERR(call("/503", &err), &err, ERR_UNAVAILABLE, "HTTP status 503");
		snprintf(want, sizeof(want), i == 1 ? "[::1]:%u" : "127.0.0.1:%u", fix->addr.port);
		ASSERT_STR(fix->authority, want);
	}
}

/* ---- servers that come and go ---- */

static void echo(struct grpc_call *c, void *arg)
{
	size_t n = 0;
	const uint8_t *req = grpc_call_request(c, &n);

	(void)arg;
	grpc_call_reply(c, req, n);
}

static void hold(struct grpc_call *c, void *arg)
{
	(void)arg;
	set(&fix->is_held);
	wait_for(&fix->may_go);
	grpc_call_reply(c, "held", 4);
}

static const struct grpc_method methods[] = {
	{ .path = "/t.T/Echo", .fn = echo, .lane = LANE_ECHO },
	{ .path = "/t.T/Hold", .fn = hold, .lane = LANE_HOLD },
};

static void start_server(void *arg)
{
	struct fixture *f = arg;
	struct grpc_server **at = f->servers[0] ? &f->servers[1] : &f->servers[0];

	*at = grpc_server_new(f->loop, f->work);
	grpc_server_add(*at, methods, ARRAY_LEN(methods), NULL);
	f->listened =
		grpc_server_listen(*at, &f->addr, &(struct grpc_listen_options){ 0 }, &f->err);
}

static void drained(void *arg)
{
	(void)arg;
	set(&fix->is_drained);
}

static void drain_first(void *arg)
{
	struct fixture *f = arg;

	grpc_server_drain(f->servers[0], 20 * NS_PER_S, drained, NULL);
}

static void *call_hold(void *arg)
{
	struct err *err = arg;

	if (call("/t.T/Hold", err) == 0)
		*err = (struct err){ .code = ERR_OK };
	return NULL;
}

TEST(calls_go_to_the_next_server_while_the_last_one_finishes_its_own)
{
	struct err err = { 0 }, held = { .code = ERR_UNKNOWN };
	pthread_t thread;

	ev_call(fix->loop, start_server, fix);
	ASSERT_OK(fix->listened, &fix->err);
	assert_int_equal(pthread_create(&thread, NULL, call_hold, &held), 0);
	wait_for(&fix->is_held);
	ev_call(fix->loop, drain_first, fix);
	ev_call(fix->loop, start_server, fix);
	ASSERT_OK(fix->listened, &fix->err);
	ASSERT_OK(call("/t.T/Echo", &err), &err);
	ASSERT_FALSE(fix->is_drained);
	set(&fix->may_go);
	pthread_join(thread, NULL);
	ASSERT_OK(held.code == ERR_OK ? 0 : -1, &held);
	wait_for(&fix->is_drained);
}

#define CALLERS (H2_MAX_STREAMS + 20)

static void *call_hold_counted(void *arg)
{
	{
		LOCK_SCOPE(&fix->lock);
		fix->n_callers++;
		fix->all_call = fix->n_callers == CALLERS;
		pthread_cond_broadcast(&fix->cond);
	}
	return call_hold(arg);
}

/* All of them sit on the server until the last has called. */
TEST(calls_beyond_the_limit_of_streams_wait_for_their_turn)
{
	struct err *errs = xcalloc(CALLERS, sizeof(*errs));
	pthread_t threads[CALLERS];
	pthread_attr_t attr;

	ev_call(fix->loop, start_server, fix);
	ASSERT_OK(fix->listened, &fix->err);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	for (size_t i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&threads[i], &attr, call_hold_counted, &errs[i]),
				 0);
	pthread_attr_destroy(&attr);
	wait_for(&fix->all_call);
	set(&fix->may_go);
	for (size_t i = 0; i < CALLERS; i++) {
		pthread_join(threads[i], NULL);
		ASSERT_OK(errs[i].code == ERR_OK ? 0 : -1, &errs[i]);
	}
	free(errs);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(T(odd_answers_become_errors_that_say_so),
	  T(refused_stream_is_sent_once_more_and_then_unavailable),
	  T(requests_name_the_server_as_uris_do),
	  T(calls_go_to_the_next_server_while_the_last_one_finishes_its_own),
	  T(calls_beyond_the_limit_of_streams_wait_for_their_turn))
