/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of messages both ways, and metadata: server and client of one process over a real unix
 * socket in a directory of the test's own.
 */
#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "grpc/client.h"
#include "grpc/server.h"
#include "net/h2_client.h"

static struct {
	char dir[32];
	struct net_addr addr;
	struct grpc_limits limits;
	struct ev_loop *loop;
	struct work *work;
	struct grpc_server *server;
	struct grpc_channel *channel;
	struct err err;
	int listened;
	pthread_mutex_t lock; /* what handlers say */
	pthread_cond_t cond;
	bool has_begun, has_ended;
	enum err_code ended; /* how a handler's receive failed */
	size_t flooded;      /* bytes that all who flood got rid of */
} t;

static const struct work_lane_def lane = { .name = "stream", .threads = 16 };
static const struct work_options one_lane = { .lanes = &lane, .n_lanes = 1 };

static void note_begun(void)
{
	LOCK_SCOPE(&t.lock);
	t.has_begun = true;
	pthread_cond_broadcast(&t.cond);
}

static void note_end(const struct err *err)
{
	LOCK_SCOPE(&t.lock);
	t.has_ended = true;
	t.ended = err->code;
	pthread_cond_broadcast(&t.cond);
}

static void wait_for(const bool *flag)
{
	LOCK_SCOPE(&t.lock);
	while (!*flag)
		assert_int_equal(
			sync_cond_wait_until(&t.cond, &t.lock, clock_now_ns() + 20 * NS_PER_S), 0);
}

/* ---- handlers ---- */

/* Each byte of a message is the low byte of its number. */
static void sum(struct grpc_call *call, void *arg)
{
	const uint8_t *m = NULL;
	struct err err = { 0 };
	unsigned count = 0;
	size_t n = 0, bytes = 0;
	char *text = NULL;
	int r = 0;

	note_begun();
	while ((r = grpc_call_receive(call, &m, &n, &err)) == 1) {
		for (size_t i = 0; i < n; i += 100)
			if (m[i] != (uint8_t)count)
				err_set(&err, ERR_DATA_LOSS, "message %u differs", count);
		count++;
		bytes += n;
	}
	if (r < 0) {
		note_end(&err);
		grpc_call_fail(call, &err);
		return;
	}
	text = arena_printf(grpc_call_ctx(call)->arena, "%u %zu%s", count, bytes,
			    err.code ? " differing" : "");
	grpc_call_reply(call, text, strlen(text));
}

static void chat(struct grpc_call *call, void *arg)
{
	const uint8_t *m = NULL;
	struct err err = { 0 };
	size_t n = 0;
	int r = 0;

	while ((r = grpc_call_receive(call, &m, &n, &err)) == 1)
		if ((r = grpc_call_send(call, m, n, &err)) < 0)
			break;
	if (r < 0) {
		note_end(&err);
		grpc_call_fail(call, &err);
		return;
	}
	grpc_call_finish(call);
}

static void leave_early(struct grpc_call *call, void *arg)
{
	const uint8_t *m = NULL;
	struct err err = { 0 };
	size_t n = 0;

	if (grpc_call_receive(call, &m, &n, &err) == 1 && n == 1) {
		(void)grpc_call_send(call, "bye", 3, &err);
		grpc_call_finish(call);
		return;
	}
	err_set(&err, ERR_OUT_OF_RANGE, "enough");
	grpc_call_fail(call, &err);
}

static void read_nothing(struct grpc_call *call, void *arg)
{
	struct ctx *ctx = grpc_call_ctx(call);
	const uint8_t *m = NULL;
	struct err err = { 0 };
	size_t n = 0;

	note_begun();
	pthread_mutex_lock(&t.lock);
	while (ctx_check(ctx, &err) == 0)
		(void)sync_cond_wait_until(&t.cond, &t.lock, clock_now_ns() + NS_PER_MS);
	pthread_mutex_unlock(&t.lock);
	(void)grpc_call_receive(call, &m, &n, &err);
	note_end(&err);
	grpc_call_fail(call, &err);
}

/* Sends for as long as it can, a request of one byte: for a tenth of a second by its own clock. */
static void flood(struct grpc_call *call, void *arg)
{
	char block[10000] = "";
	const uint8_t *m = NULL;
	struct err err = { 0 };
	size_t n = 0;

	if (grpc_call_receive(call, &m, &n, &err) == 1 && n == 1)
		grpc_call_ctx(call)->deadline_ns = clock_now_ns() + 100 * NS_PER_MS;
	while (grpc_call_send(call, block, sizeof(block), &err) == 0) {
		LOCK_SCOPE(&t.lock);
		t.flooded += sizeof(block);
	}
	note_end(&err);
	grpc_call_fail(call, &err);
}

static void tell_metadata(struct grpc_call *call, void *arg)
{
	const char *a = grpc_call_metadata(call, "authorization");
	const char *b = grpc_call_metadata(call, "x-other");
	const char *c = grpc_call_metadata(call, "content-type");
	char *text = arena_printf(grpc_call_ctx(call)->arena, "%s|%s|%s", a ? a : "-", b ? b : "-",
				  c ? c : "-");

	grpc_call_reply(call, text, strlen(text));
}

static const struct grpc_method methods[] = {
	{ .path = "/s.S/Sum", .fn = sum, .kind = GRPC_CLIENT_STREAM },
	{ .path = "/s.S/Chat", .fn = chat, .kind = GRPC_BIDI },
	{ .path = "/s.S/LeaveEarly", .fn = leave_early, .kind = GRPC_BIDI },
	{ .path = "/s.S/ReadNothing", .fn = read_nothing, .kind = GRPC_BIDI },
	{ .path = "/s.S/Flood", .fn = flood, .kind = GRPC_BIDI },
	{ .path = "/s.S/Metadata", .fn = tell_metadata, .is_inline = true },
};

static void listen_on_loop(void *arg)
{
	t.server = grpc_server_new(t.loop, t.work);
	grpc_server_limit(t.server, &t.limits);
	grpc_server_add(t.server, methods, ARRAY_LEN(methods), NULL);
	t.listened =
		grpc_server_listen(t.server, &t.addr, &(struct grpc_listen_options){ 0 }, &t.err);
}

static void free_on_loop(void *arg)
{
	grpc_server_free(t.server);
	t.server = NULL;
}

static int set_up_with(const struct grpc_limits *limits)
{
	char path[64] = "";

	memset(&t, 0, sizeof(t));
	t.limits = *limits;
	snprintf(t.dir, sizeof(t.dir), "/tmp/cleat-stream-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	snprintf(path, sizeof(path), "unix://%s/s.sock", t.dir);
	ASSERT_OK(net_addr_parse(path, &t.addr, &t.err), &t.err);
	pthread_mutex_init(&t.lock, NULL);
	sync_cond_init(&t.cond);
	assert_int_equal(ev_loop_new(&t.loop), 0);
	assert_int_equal(work_new(&one_lane, &t.work), 0);
	assert_int_equal(ev_loop_spawn(t.loop), 0);
	ev_call(t.loop, listen_on_loop, NULL);
	ASSERT_OK(t.listened, &t.err);
	t.channel = grpc_channel_new(t.loop, &t.addr, NULL);
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	return set_up_with(&(struct grpc_limits){ 0 });
}

static int set_up_narrow(void **state)
{
	(void)state;
	return set_up_with(&(struct grpc_limits){ .unfinished_bytes_each = 100000 });
}

static int set_up_hasty(void **state)
{
	(void)state;
	return set_up_with(&(struct grpc_limits){ .request_ns = 100 * NS_PER_MS });
}

static int tear_down(void **state)
{
	(void)state;
	grpc_channel_free(t.channel);
	/* Handlers hear of the lost connection before their threads are waited for. */
	work_free(t.work);
	ev_call(t.loop, free_on_loop, NULL);
	ev_loop_join(t.loop);
	ev_loop_free(t.loop);
	rmdir(t.dir);
	pthread_cond_destroy(&t.cond);
	pthread_mutex_destroy(&t.lock);
	return 0;
}

/* ---- the client ---- */

static struct grpc_stream *open_stream(struct ctx *ctx, const char *path, int64_t timeout_ns)
{
	struct grpc_stream *s = NULL;
	struct err err = { 0 };

	ctx_init(ctx, timeout_ns ? timeout_ns : 20 * NS_PER_S);
	ASSERT_OK(grpc_stream_open(t.channel, ctx, path, NULL, &s, &err), &err);
	return s;
}

static void close_stream(struct grpc_stream *s, struct ctx *ctx)
{
	grpc_stream_free(s);
	ctx_done(ctx);
}

static void send_one(struct grpc_stream *s, const void *bytes, size_t n)
{
	struct err err = { 0 };

	ASSERT_OK(grpc_stream_send(s, bytes, n, &err), &err);
}

static int receive(struct grpc_stream *s, const uint8_t **ret, size_t *ret_n)
{
	struct err err = { 0 };
	int r = grpc_stream_receive(s, ret, ret_n, &err);

	ASSERT_OK(r, &err);
	return r;
}

static void expect_end(struct grpc_stream *s)
{
	const uint8_t *m = NULL;
	size_t n = 0;

	ASSERT_EQ(receive(s, &m, &n), 0);
}

/* ---- tests ---- */

TEST(a_client_stream_of_ten_thousand_messages_arrives_in_order)
{
	struct grpc_stream *s = NULL;
	const uint8_t *m = NULL;
	char block[500];
	struct ctx ctx;
	size_t n = 0;

	s = open_stream(&ctx, "/s.S/Sum", 0);
	for (unsigned i = 0; i < 10000; i++) {
		memset(block, (int)(i & 0xff), sizeof(block));
		send_one(s, block, i % sizeof(block));
	}
	grpc_stream_close_send(s);
	grpc_stream_close_send(s);
	ASSERT_EQ(receive(s, &m, &n), 1);
	assert_memory_equal(m, "10000 2495000", n);
	expect_end(s);
	expect_end(s);
	close_stream(s, &ctx);
}

TEST(messages_larger_than_the_window_pass_both_ways)
{
	uint8_t *big = xcalloc(1, GRPC_MESSAGE_MAX);
	struct grpc_stream *s = NULL;
	const uint8_t *m = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	for (size_t i = 0; i < GRPC_MESSAGE_MAX; i++)
		big[i] = (uint8_t)(i * 7);
	s = open_stream(&ctx, "/s.S/Chat", 0);
	for (int i = 0; i < 3; i++) {
		send_one(s, big, GRPC_MESSAGE_MAX);
		ASSERT_EQ(receive(s, &m, &n), 1);
		ASSERT_EQ(n, GRPC_MESSAGE_MAX);
		assert_memory_equal(m, big, n);
	}
	ASSERT_ERR(grpc_stream_send(s, big, GRPC_MESSAGE_MAX + 1, &err), &err,
		   ERR_RESOURCE_EXHAUSTED, "limit");
	grpc_stream_close_send(s);
	expect_end(s);
	close_stream(s, &ctx);
	free(big);
}

TEST(a_conversation_goes_message_by_message)
{
	struct grpc_stream *s = NULL;
	const uint8_t *m = NULL;
	struct ctx ctx;
	size_t n = 0;

	s = open_stream(&ctx, "/s.S/Chat", 0);
	for (unsigned i = 0; i < 1000; i++) {
		send_one(s, &i, sizeof(i));
		ASSERT_EQ(receive(s, &m, &n), 1);
		assert_memory_equal(m, &i, sizeof(i));
	}
	grpc_stream_close_send(s);
	expect_end(s);
	close_stream(s, &ctx);
}

TEST(a_stream_without_messages_ends_well)
{
	struct grpc_stream *s = NULL;
	struct ctx ctx;

	s = open_stream(&ctx, "/s.S/Chat", 0);
	grpc_stream_close_send(s);
	expect_end(s);
	close_stream(s, &ctx);
}

static void send_until_over(struct grpc_stream *s, struct err *err)
{
	char block[10000] = "";

	for (unsigned i = 0; i < 100000; i++)
		if (grpc_stream_send(s, block, sizeof(block), err) < 0)
			return;
	fail_msg("%s", "the server took all");
}

TEST(a_server_may_end_before_the_client_does)
{
	struct grpc_stream *s = NULL;
	const uint8_t *m = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	s = open_stream(&ctx, "/s.S/LeaveEarly", 0);
	send_one(s, "x", 1);
	send_until_over(s, &err);
	ASSERT_EQ(err.code, ERR_CANCELLED);
	ASSERT_EQ(receive(s, &m, &n), 1);
	assert_memory_equal(m, "bye", 3);
	expect_end(s);
	close_stream(s, &ctx);

	s = open_stream(&ctx, "/s.S/LeaveEarly", 0);
	send_one(s, "xy", 2);
	send_until_over(s, &err);
	ASSERT_ERR(-1, &err, ERR_OUT_OF_RANGE, "enough");
	ASSERT_ERR(grpc_stream_receive(s, &m, &n, &err), &err, ERR_OUT_OF_RANGE, "enough");
	close_stream(s, &ctx);
}

TEST(a_handler_that_waits_hears_that_its_client_left)
{
	struct grpc_stream *s = NULL;
	struct ctx ctx;

	s = open_stream(&ctx, "/s.S/Sum", 0);
	send_one(s, "", 1);
	wait_for(&t.has_begun);
	close_stream(s, &ctx);
	wait_for(&t.has_ended);
	ASSERT_EQ(t.ended, ERR_CANCELLED);
}

/* One waits for its request, one in its handler; both have a timer for their deadline. */
TEST(a_server_that_is_freed_cancels_the_calls_that_are_there)
{
	struct grpc_stream *unfinished = NULL, *s = NULL;
	struct ctx ctx, unfinished_ctx;
	const uint8_t *m = NULL;
	struct err err = { 0 };
	size_t n = 0;

	unfinished = open_stream(&unfinished_ctx, "/s.S/Metadata", 0);
	s = open_stream(&ctx, "/s.S/Sum", 0);
	send_one(s, "", 1);
	wait_for(&t.has_begun);
	ev_call(t.loop, free_on_loop, NULL);
	wait_for(&t.has_ended);
	ASSERT_EQ(t.ended, ERR_CANCELLED);
	ASSERT_ERR(grpc_stream_receive(s, &m, &n, &err), &err, ERR_UNAVAILABLE, "");
	close_stream(s, &ctx);
	close_stream(unfinished, &unfinished_ctx);
}

TEST(a_deadline_in_the_middle_ends_both_sides)
{
	struct grpc_stream *s = NULL;
	const uint8_t *m = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	s = open_stream(&ctx, "/s.S/Chat", 200 * NS_PER_MS);
	send_one(s, "a", 1);
	ASSERT_EQ(receive(s, &m, &n), 1);
	ASSERT_ERR(grpc_stream_receive(s, &m, &n, &err), &err, ERR_DEADLINE_EXCEEDED, "");
	wait_for(&t.has_ended);
	ASSERT_EQ(t.ended, ERR_DEADLINE_EXCEEDED);
	close_stream(s, &ctx);
}

TEST(a_handler_that_does_not_receive_stalls_its_client)
{
	char block[10000] = "";
	struct grpc_stream *s = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t sent = 0;

	s = open_stream(&ctx, "/s.S/ReadNothing", 300 * NS_PER_MS);
	while (grpc_stream_send(s, block, sizeof(block), &err) == 0)
		sent += sizeof(block);
	ASSERT_EQ(err.code, ERR_DEADLINE_EXCEEDED);
	/* A window at the server, a queue in the stream, one before it. */
	assert_in_range(sent, 1 << 20, 2 << 20);
	wait_for(&t.has_ended);
	ASSERT_EQ(t.ended, ERR_DEADLINE_EXCEEDED);
	close_stream(s, &ctx);
}

#define SLEEPERS 12

static void let_them_go_on(void)
{
	LOCK_SCOPE(&t.lock);

	(void)sync_cond_wait_until(&t.cond, &t.lock, clock_now_ns() + 50 * NS_PER_MS);
}

static size_t flooded(void)
{
	LOCK_SCOPE(&t.lock);

	return t.flooded;
}

static void ask_for_flood(struct grpc_stream *s, const char *how)
{
	const uint8_t *m = NULL;
	size_t n = 0;

	send_one(s, how, strlen(how));
	grpc_stream_close_send(s);
	ASSERT_EQ(receive(s, &m, &n), 1);
}

/* They share a connection with the others, and its window. */
TEST(streams_that_nobody_reads_hold_up_no_other_call_and_little_memory)
{
	struct grpc_stream *s[SLEEPERS];
	struct ctx ctx[SLEEPERS];
	const uint8_t *m = NULL;
	struct err err = { 0 };
	struct ctx own;
	size_t n = 0, before = 0;

	for (size_t i = 0; i < SLEEPERS; i++)
		ask_for_flood(s[i] = open_stream(&ctx[i], "/s.S/Flood", 0), "on");
	do { /* until all have stopped */
		before = flooded();
		ctx_init(&own, 20 * NS_PER_S);
		ASSERT_OK(grpc_channel_call(t.channel, &own, "/s.S/Metadata", "", 0, &m, &n, &err),
			  &err);
		ctx_done(&own);
		let_them_go_on();
	} while (flooded() != before);
	/* What the caller took, a window, a queue in the stream and one before it. */
	assert_in_range(before / SLEEPERS, 256 << 10, 900 << 10);
	for (size_t i = 0; i < SLEEPERS; i++)
		close_stream(s[i], &ctx[i]);
}

TEST(a_handler_that_brings_its_deadline_forward_ends_by_it)
{
	int64_t begun_ns = clock_now_ns();
	struct grpc_stream *s = NULL;
	struct ctx ctx;

	ask_for_flood(s = open_stream(&ctx, "/s.S/Flood", 0), "x");
	wait_for(&t.has_ended);
	ASSERT_EQ(t.ended, ERR_DEADLINE_EXCEEDED);
	assert_true(clock_now_ns() - begun_ns < 10 * NS_PER_S);
	close_stream(s, &ctx);
}

/* The limit is less than the window. */
TEST(what_a_handler_does_not_receive_counts_in_the_budgets)
{
	char block[10000] = "";
	struct grpc_stream *s = NULL, *other = NULL;
	struct ctx ctx, other_ctx;
	const uint8_t *m = NULL;
	struct err err = { 0 };
	size_t n = 0;

	/* One that keeps up is not touched, however much it has sent. */
	other = open_stream(&other_ctx, "/s.S/Chat", 0);
	for (int i = 0; i < 50; i++) {
		send_one(other, block, sizeof(block));
		ASSERT_EQ(receive(other, &m, &n), 1);
	}
	s = open_stream(&ctx, "/s.S/ReadNothing", 0);
	wait_for(&t.has_begun);
	while (grpc_stream_send(s, block, sizeof(block), &err) == 0)
		;
	ASSERT_ERR(-1, &err, ERR_RESOURCE_EXHAUSTED, "unfinished");
	wait_for(&t.has_ended);
	ASSERT_EQ(t.ended, ERR_CANCELLED);
	close_stream(s, &ctx);
	send_one(other, block, sizeof(block));
	ASSERT_EQ(receive(other, &m, &n), 1);
	grpc_stream_close_send(other);
	expect_end(other);
	close_stream(other, &other_ctx);
}

/* A client of bytes, since ours sends whole messages only: one, and then half of the next. */
static struct half {
	struct h2_client *client;
	struct h2_call call;
	char status[8]; /* below: as in t */
	bool is_over;
} half;

static void half_turn(struct h2_call *call)
{
	const struct h2_header head[] = {
		{ ":method", "POST", 0, false },
		{ ":scheme", "http", 0, false },
		{ ":path", "/s.S/Sum", 0, false },
		{ ":authority", "localhost", 0, false },
		{ "content-type", "application/grpc", 0, false },
	};

	h2_call_request(call, head, ARRAY_LEN(head), false);
	(void)h2_send(call->stream, "\0\0\0\0\1\0\0\0\0\7abc", 13, false);
}

static void half_headers(struct h2_call *call, const struct h2_header *h, size_t n,
			 bool is_trailers, bool end)
{
	LOCK_SCOPE(&t.lock);
	for (size_t i = 0; i < n; i++)
		if (str_is_equal(h[i].name, "grpc-status"))
			snprintf(half.status, sizeof(half.status), "%s", h[i].value);
}

static void half_over(struct h2_call *call, const struct h2_call_end *end)
{
	LOCK_SCOPE(&t.lock);
	half.is_over = true;
	pthread_cond_broadcast(&t.cond);
}

static void half_begin(void *arg)
{
	static const struct h2_client_ops ops = {
		.on_turn = half_turn,
		.on_headers = half_headers,
		.on_over = half_over,
	};

	half.client = h2_client_new(
		t.loop, &(struct h2_client_options){ .addr = &t.addr, .tries = 1, .ops = &ops });
	h2_call_start(half.client, &half.call);
}

static void half_end(void *arg)
{
	h2_client_free(half.client);
}

/* A stream may last as long as it likes, between messages. */
TEST(a_message_that_does_not_become_whole_ends_its_stream)
{
	struct grpc_stream *other = NULL;
	const uint8_t *m = NULL;
	struct ctx ctx;
	size_t n = 0;

	memset(&half, 0, sizeof(half));
	other = open_stream(&ctx, "/s.S/Chat", 0);
	send_one(other, "a", 1);
	ASSERT_EQ(receive(other, &m, &n), 1);
	ev_call(t.loop, half_begin, NULL);
	wait_for(&half.is_over);
	wait_for(&t.has_ended);
	ASSERT_EQ(t.ended, ERR_CANCELLED);
	ASSERT_STR(half.status, "4"); /* DEADLINE_EXCEEDED */
	send_one(other, "b", 1);
	ASSERT_EQ(receive(other, &m, &n), 1);
	grpc_stream_close_send(other);
	expect_end(other);
	close_stream(other, &ctx);
	ev_call(t.loop, half_end, NULL);
}

static int call_with(const struct grpc_metadata *m, size_t n_m, char ret_text[256], struct err *err)
{
	const struct grpc_call_options opts = { .metadata = m, .n_metadata = n_m };
	const uint8_t *reply = NULL;
	struct ctx ctx;
	size_t n = 0;
	int r = 0;

	ctx_init(&ctx, 20 * NS_PER_S);
	r = grpc_channel_call_with(t.channel, &ctx, "/s.S/Metadata", &opts, "", 0, &reply, &n, err);
	if (r == 0)
		snprintf(ret_text, 256, "%.*s", (int)n, (const char *)reply);
	ctx_done(&ctx);
	return r;
}

TEST(metadata_arrives_and_what_cannot_be_sent_is_refused)
{
	const struct grpc_metadata good[] = { { "authorization", "Bearer abc" },
					      { "x-other", "two words" } };
	autofree char *long_value = xcalloc(1, GRPC_METADATA_MAX + 1);
	const struct grpc_metadata bad[] = {
		{ "", "a" },          { "Upper", "a" },         { "grpc-timeout", "1S" },
		{ "te", "trailers" }, { ":path", "/" },         { "x-a", "line\nbreak" },
		{ "x a", "a" },       { "x-long", long_value },
	};
	struct grpc_metadata many[GRPC_CLIENT_METADATA_MAX + 1];
	struct err err = { 0 };
	char text[256] = "";

	ASSERT_OK(call_with(good, 2, text, &err), &err);
	ASSERT_STR(text, "Bearer abc|two words|-");
	ASSERT_OK(call_with(NULL, 0, text, &err), &err);
	ASSERT_STR(text, "-|-|-");
	memset(long_value, 'a', GRPC_METADATA_MAX);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ASSERT_ERR(call_with(&bad[i], 1, text, &err), &err, ERR_INVALID_ARGUMENT,
			   "metadata");
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = good[1];
	ASSERT_OK(call_with(many, GRPC_CLIENT_METADATA_MAX, text, &err), &err);
	ASSERT_ERR(call_with(many, ARRAY_LEN(many), text, &err), &err, ERR_INVALID_ARGUMENT,
		   "metadata");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define HASTY(name) cmocka_unit_test_setup_teardown(name, set_up_hasty, tear_down)
#define NARROW(name) cmocka_unit_test_setup_teardown(name, set_up_narrow, tear_down)
RUN_TESTS(T(a_client_stream_of_ten_thousand_messages_arrives_in_order),
	  T(messages_larger_than_the_window_pass_both_ways),
	  T(a_conversation_goes_message_by_message), T(a_stream_without_messages_ends_well),
	  T(a_server_may_end_before_the_client_does),
	  T(a_handler_that_waits_hears_that_its_client_left),
	  T(a_server_that_is_freed_cancels_the_calls_that_are_there),
	  T(a_deadline_in_the_middle_ends_both_sides),
	  T(a_handler_that_does_not_receive_stalls_its_client),
	  T(streams_that_nobody_reads_hold_up_no_other_call_and_little_memory),
	  T(a_handler_that_brings_its_deadline_forward_ends_by_it),
	  NARROW(what_a_handler_does_not_receive_counts_in_the_budgets),
	  HASTY(a_message_that_does_not_become_whole_ends_its_stream),
	  T(metadata_arrives_and_what_cannot_be_sent_is_refused))
