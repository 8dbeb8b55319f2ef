/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server with methods whose behaviour the conformance client knows: interop_server ADDRESS.
 * Prints "listening" when it does. Messages are raw bytes. SIGTERM drains; exit 0 when that is
 * done.
 *
 *   Echo, EchoPooled   the request
 *   Fail               fails: first byte is the code, the rest the message
 *   Slow               waits until its ctx is over, then counts itself in Stats
 *   Hold               waits until a Release
 *   Stream             "count size": that many messages; counts itself in Stats when cut short
 *   Sum, SlowSum       receives all (SlowSum: with 2 ms between); "messages bytes"
 *   Chat               sends each message back; counts itself in Stats when cut short
 *   LeaveEarly         ends well after two messages
 *   Metadata           the value of "authorization"
 *   Stats              "slow=N streams=N rss=KiB"
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "grpc/server.h"

enum { LANE_API, LANE_HOST, LANE_STORE, N_LANES };

static const struct work_lane_def lanes[N_LANES] = {
	[LANE_API] = { .name = "api", .threads = 4 },
	[LANE_HOST] = { .name = "host", .threads = 8 },
	[LANE_STORE] = { .name = "store", .threads = 4 },
};
static const struct work_options three_lanes = { .lanes = lanes, .n_lanes = N_LANES };

static struct ev_loop *loop;
static struct grpc_server *server;
static atomic_uint n_slow, n_cut_streams;
static pthread_mutex_t hold_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hold_cond;
static unsigned n_released;

static void echo(struct grpc_call *call, void *arg)
{
	size_t n = 0;
	const uint8_t *req = grpc_call_request(call, &n);

	(void)arg;
	grpc_call_reply(call, req, n);
}

static void fail(struct grpc_call *call, void *arg)
{
	struct err err = { 0 };
	size_t n = 0;
	const uint8_t *req = grpc_call_request(call, &n);

	(void)arg;
	err_set(&err, n > 0 ? req[0] : ERR_UNKNOWN, "%.*s", n > 1 ? (int)(n - 1) : 0,
		(const char *)req + 1);
	grpc_call_fail(call, &err);
}

static void slow(struct grpc_call *call, void *arg)
{
	struct ctx *ctx = grpc_call_ctx(call);
	struct pollfd fd = { .fd = ctx_cancel_fd(ctx), .events = POLLIN };
	struct err err = { 0 };

	(void)arg;
	while (ctx_check(ctx, &err) == 0)
		(void)poll(&fd, 1, ctx_poll_ms(ctx, -1));
	atomic_fetch_add(&n_slow, 1);
	grpc_call_fail(call, &err);
}

static void hold(struct grpc_call *call, void *arg)
{
	unsigned now = 0;
	LOCK_SCOPE(&hold_lock);

	(void)arg;
	now = n_released;
	while (now == n_released && !ctx_is_cancelled(grpc_call_ctx(call)))
		(void)sync_cond_wait_until(&hold_cond, &hold_lock,
					   clock_now_ns() + 100 * NS_PER_MS);
	grpc_call_reply(call, "held", 4);
}

static void release(struct grpc_call *call, void *arg)
{
	LOCK_SCOPE(&hold_lock);

	(void)arg;
	n_released++;
	pthread_cond_broadcast(&hold_cond);
	grpc_call_reply(call, "", 0);
}

static void stream(struct grpc_call *call, void *arg)
{
	unsigned count = 0, size = 0;
	struct err err = { 0 };
	char text[64] = "";
	size_t n = 0;
	const uint8_t *req = grpc_call_request(call, &n);
	char *message = NULL;

	(void)arg;
	snprintf(text, sizeof(text), "%.*s", (int)n, (const char *)req);
	if (sscanf(text, "%u %u", &count, &size) != 2 || size > GRPC_MESSAGE_MAX) {
		err_set(&err, ERR_INVALID_ARGUMENT, "want 'count size'");
		grpc_call_fail(call, &err);
		return;
	}
	message = arena_alloc(grpc_call_ctx(call)->arena, size);
	for (unsigned i = 0; i < count; i++) {
		if (grpc_call_send(call, message, size, &err) < 0) {
			atomic_fetch_add(&n_cut_streams, 1);
			grpc_call_fail(call, &err);
			return;
		}
	}
	grpc_call_finish(call);
}

/* Zero milliseconds is no pause at all. */
static void pause_ms(int ms)
{
	if (ms > 0)
		(void)poll(NULL, 0, ms);
}

static void sum_with(struct grpc_call *call, int ms)
{
	const uint8_t *m = NULL;
	struct err err = { 0 };
	unsigned count = 0;
	size_t n = 0, bytes = 0;
	char *text = NULL;
	int r = 0;

	for (; (r = grpc_call_receive(call, &m, &n, &err)) == 1; count++) {
		bytes += n;
		pause_ms(ms);
	}
	if (r < 0) {
		atomic_fetch_add(&n_cut_streams, 1);
		grpc_call_fail(call, &err);
		return;
	}
	text = arena_printf(grpc_call_ctx(call)->arena, "%u %zu", count, bytes);
	grpc_call_reply(call, text, strlen(text));
}

static void sum(struct grpc_call *call, void *arg)
{
	(void)arg;
	sum_with(call, 0);
}

static void slow_sum(struct grpc_call *call, void *arg)
{
	(void)arg;
	sum_with(call, 2);
}

static void chat_for(struct grpc_call *call, unsigned most)
{
	const uint8_t *m = NULL;
	struct err err = { 0 };
	size_t n = 0;
	int r = 1;

	for (unsigned i = 0; i < most && (r = grpc_call_receive(call, &m, &n, &err)) == 1; i++)
		if ((r = grpc_call_send(call, m, n, &err)) < 0)
			break;
	if (r >= 0) {
		grpc_call_finish(call);
		return;
	}
	atomic_fetch_add(&n_cut_streams, 1);
	grpc_call_fail(call, &err);
}

static void chat(struct grpc_call *call, void *arg)
{
	(void)arg;
	chat_for(call, UINT_MAX);
}

static void leave_early(struct grpc_call *call, void *arg)
{
	(void)arg;
	chat_for(call, 2);
}

static void metadata(struct grpc_call *call, void *arg)
{
	const char *value = grpc_call_metadata(call, "authorization");

	(void)arg;
	grpc_call_reply(call, value ? value : "", value ? strlen(value) : 0);
}

static void stats(struct grpc_call *call, void *arg)
{
	autofree char *status = NULL;
	const char *rss = NULL;
	char *text = NULL;
	size_t n = 0;

	(void)arg;
	if (fd_read_file(AT_FDCWD, "/proc/self/status", 65536, &status, &n) == 0)
		rss = strstr(status, "VmRSS:");
	text = arena_printf(grpc_call_ctx(call)->arena, "slow=%u streams=%u rss=%u",
			    atomic_load(&n_slow), atomic_load(&n_cut_streams),
			    rss ? (unsigned)strtoul(rss + 6, NULL, 10) : 0);
	grpc_call_reply(call, text, strlen(text));
}

static const struct grpc_method methods[] = {
	{ .path = "/interop.Test/Echo", .fn = echo, .is_inline = true },
	{ .path = "/interop.Test/EchoPooled", .fn = echo, .lane = LANE_STORE },
	{ .path = "/interop.Test/Fail", .fn = fail, .is_inline = true },
	{ .path = "/interop.Test/Slow", .fn = slow, .lane = LANE_HOST },
	{ .path = "/interop.Test/Hold", .fn = hold, .lane = LANE_HOST },
	{ .path = "/interop.Test/Release", .fn = release, .lane = LANE_STORE },
	{ .path = "/interop.Test/Stream", .fn = stream, .lane = LANE_API },
	{ .path = "/interop.Test/Sum", .fn = sum, .lane = LANE_API, .kind = GRPC_CLIENT_STREAM },
	{ .path = "/interop.Test/SlowSum",
	  .fn = slow_sum,
	  .lane = LANE_API,
	  .kind = GRPC_CLIENT_STREAM },
	{ .path = "/interop.Test/Chat", .fn = chat, .lane = LANE_API, .kind = GRPC_BIDI },
	{ .path = "/interop.Test/LeaveEarly",
	  .fn = leave_early,
	  .lane = LANE_API,
	  .kind = GRPC_BIDI },
	{ .path = "/interop.Test/Metadata", .fn = metadata, .is_inline = true },
	{ .path = "/interop.Test/Stats", .fn = stats, .is_inline = true },
};

static void drained(void *arg)
{
	(void)arg;
	ev_loop_stop(loop);
}

static void on_term(void *arg, int signum)
{
	(void)arg;
	(void)signum;
	grpc_server_drain(server, 10 * NS_PER_S, drained, NULL);
}

int main(int argc, char **argv)
{
	struct ev_signal *term = NULL;
	struct net_addr addr = { 0 };
	struct work_options lanes = three_lanes;
	struct work *work = NULL;
	struct err err = { 0 };

	sync_cond_init(&hold_cond);
	if (argc != 2 || net_addr_parse(argv[1], &addr, &err) < 0) {
		fprintf(stderr, "usage: interop_server ADDRESS\n");
		return 2;
	}
	if (ev_loop_new(&loop) < 0)
		return 1;
	lanes.loop = loop;
	if (work_new(&lanes, &work) < 0)
		return 1;
	server = grpc_server_new(loop, work);
	grpc_server_add(server, methods, ARRAY_LEN(methods), NULL);
	if (grpc_server_listen(server, &addr, &(struct grpc_listen_options){ 0 }, &err) < 0 ||
	    ev_signal_new(loop, SIGTERM, on_term, NULL, &term) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	printf("listening\n");
	fflush(stdout);
	ev_loop_run(loop);
	work_free(work);
	grpc_server_free(server);
	ev_signal_free(term);
	ev_loop_free(loop);
	return 0;
}
