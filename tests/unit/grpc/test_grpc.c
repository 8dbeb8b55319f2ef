/* SPDX-License-Identifier: Apache-2.0 */
/* Server and client of one process over a real unix socket in a directory of the test's own. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "grpc/client.h"
#include "grpc/server.h"
#include "secret_scan.h"

enum { LANE_HOST, LANE_STORE, N_LANES };

static const struct work_lane_def lanes[N_LANES] = {
	[LANE_HOST] = { .name = "host", .threads = 8 },
	[LANE_STORE] = { .name = "store", .threads = 4 },
};
static const struct work_options two_lanes = { .lanes = lanes, .n_lanes = N_LANES };

struct fixture {
	char dir[32];
	struct net_addr addr;
	struct ev_loop *loop;
	struct work *work;
	struct grpc_server *server;
	struct grpc_channel *channel;
	struct err err;
	int listened;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool is_cancelled, is_running, may_go;
	unsigned sent;
};

static struct fixture *fix;

static void echo(struct grpc_call *call, void *arg)
{
	size_t n = 0;
	const uint8_t *req = grpc_call_request(call, &n);

	(void)arg;
	grpc_call_reply(call, req, n);
}

static void refuse(struct grpc_call *call, void *arg)
{
	struct err err = { 0 };

	(void)arg;
	err_set(&err, ERR_FAILED_PRECONDITION, "50%% of \"größe\" is not enough");
	grpc_call_fail(call, &err);
}

static void wait_cancel(struct grpc_call *call, void *arg)
{
	struct fixture *f = arg;
	struct ctx *ctx = grpc_call_ctx(call);
	struct err err = { 0 };

	LOCK_SCOPE(&f->lock);
	f->is_running = true;
	pthread_cond_broadcast(&f->cond);
	while (ctx_check(ctx, &err) == 0)
		(void)sync_cond_wait_until(&f->cond, &f->lock, clock_now_ns() + NS_PER_MS);
	f->is_cancelled = true;
	pthread_cond_broadcast(&f->cond);
	grpc_call_fail(call, &err);
}

static void count_up(struct grpc_call *call, void *arg)
{
	struct fixture *f = arg;
	struct err err = { 0 };
	char *block = arena_alloc(grpc_call_ctx(call)->arena, 10000);

	for (unsigned i = 0; i < 500; i++) {
		memcpy(block, &i, sizeof(i));
		if (grpc_call_send(call, block, 10000, &err) < 0) {
			LOCK_SCOPE(&f->lock);
			f->is_cancelled = true;
			pthread_cond_broadcast(&f->cond);
			return;
		}
		LOCK_SCOPE(&f->lock);
		f->sent = i + 1;
	}
	grpc_call_finish(call);
}

static void touch(struct grpc_call *call, void *arg)
{
	struct fixture *f = arg;

	pthread_mutex_lock(&f->lock);
	f->is_running = true;
	pthread_mutex_unlock(&f->lock);
	grpc_call_reply(call, "", 0);
}

static const struct grpc_method methods[] = {
	{ .path = "/t.T/Echo", .fn = echo, .is_inline = true },
	{ .path = "/t.T/EchoPooled", .fn = echo, .lane = LANE_HOST },
	{ .path = "/t.T/Refuse", .fn = refuse, .lane = LANE_HOST },
	{ .path = "/t.T/Wait", .fn = wait_cancel, .lane = LANE_HOST },
	{ .path = "/t.T/Touch", .fn = touch, .lane = LANE_STORE },
	{ .path = "/t.T/Count", .fn = count_up, .lane = LANE_STORE, .kind = GRPC_SERVER_STREAM },
};

static void listen_on_loop(void *arg)
{
	struct fixture *f = arg;

	f->server = grpc_server_new(f->loop, f->work);
	grpc_server_add(f->server, methods, ARRAY_LEN(methods), f);
	f->listened = grpc_server_listen(f->server, &f->addr, &(struct grpc_listen_options){ 0 },
					 &f->err);
}

static void free_on_loop(void *arg)
{
	struct fixture *f = arg;

	grpc_server_free(f->server);
	f->server = NULL;
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	char path[64] = "";

	snprintf(f->dir, sizeof(f->dir), "/tmp/cleat-grpc-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(path, sizeof(path), "unix://%s/s.sock", f->dir);
	ASSERT_OK(net_addr_parse(path, &f->addr, &f->err), &f->err);
	pthread_mutex_init(&f->lock, NULL);
	sync_cond_init(&f->cond);
	assert_int_equal(ev_loop_new(&f->loop), 0);
	assert_int_equal(work_new(&two_lanes, &f->work), 0);
	assert_int_equal(ev_loop_spawn(f->loop), 0);
	ev_call(f->loop, listen_on_loop, f);
	ASSERT_OK(f->listened, &f->err);
	f->channel = grpc_channel_new(f->loop, &f->addr, NULL);
	fix = *state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	grpc_channel_free(f->channel);
	if (f->server)
		ev_call(f->loop, free_on_loop, f);
	work_free(f->work);
	ev_loop_join(f->loop);
	ev_loop_free(f->loop);
	rmdir(f->dir);
	pthread_cond_destroy(&f->cond);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static int call(const char *path, const void *req, size_t n, int64_t timeout, const uint8_t **ret,
		size_t *ret_n, struct ctx *ctx, struct err *err)
{
	ctx_init(ctx, timeout);
	return grpc_channel_call(fix->channel, ctx, path, req, n, ret, ret_n, err);
}

TEST(reply_comes_back_whole)
{
	static const size_t sizes[] = { 0, 1, 16384, 100000, GRPC_MESSAGE_MAX };
	char *big = xcalloc(1, GRPC_MESSAGE_MAX);
	const uint8_t *got = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	for (size_t i = 0; i < GRPC_MESSAGE_MAX; i++)
		big[i] = (char)(i * 7);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		for (int pooled = 0; pooled < 2; pooled++) {
			ASSERT_OK(call(pooled ? "/t.T/EchoPooled" : "/t.T/Echo", big, sizes[i], 0,
				       &got, &n, &ctx, &err),
				  &err);
			ASSERT_EQ(n, sizes[i]);
			assert_memory_equal(got, big, n);
			ctx_done(&ctx);
		}
	}
	free(big);
}

TEST(status_and_message_arrive_unchanged)
{
	const uint8_t *got = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	ASSERT_ERR(call("/t.T/Refuse", "", 0, 0, &got, &n, &ctx, &err), &err,
		   ERR_FAILED_PRECONDITION, "50% of \"größe\" is not enough");
	ctx_done(&ctx);
	ASSERT_ERR(call("/t.T/Nope", "", 0, 0, &got, &n, &ctx, &err), &err, ERR_UNIMPLEMENTED,
		   "/t.T/Nope");
	ctx_done(&ctx);
}

TEST(deadline_ends_the_call_on_both_sides)
{
	const uint8_t *got = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	ASSERT_ERR(call("/t.T/Wait", "", 0, 30 * NS_PER_MS, &got, &n, &ctx, &err), &err,
		   ERR_DEADLINE_EXCEEDED, "");
	ctx_done(&ctx);
	pthread_mutex_lock(&fix->lock);
	while (!fix->is_cancelled)
		assert_int_equal(sync_cond_wait_until(&fix->cond, &fix->lock,
						      clock_now_ns() + 10 * NS_PER_S),
				 0);
	pthread_mutex_unlock(&fix->lock);
}

static void hold_worker(void *arg)
{
	struct fixture *f = arg;

	LOCK_SCOPE(&f->lock);
	while (!f->may_go)
		(void)sync_cond_wait_until(&f->cond, &f->lock, INT64_MAX);
}

TEST(a_call_that_waited_beyond_its_deadline_does_not_start)
{
	const unsigned all = lanes[LANE_STORE].threads;
	const int64_t limit_ns = 30 * NS_PER_MS;
	const uint8_t *got = NULL;
	struct err err = { 0 };
	int64_t over_ns;
	struct ctx ctx;
	size_t n = 0;

	for (unsigned i = 0; i < all; i++)
		assert_int_equal(work_submit(fix->work, LANE_STORE, hold_worker, fix), 0);
	ASSERT_ERR(call("/t.T/Touch", "", 0, limit_ns, &got, &n, &ctx, &err), &err,
		   ERR_DEADLINE_EXCEEDED, "");
	ctx_done(&ctx);
	/* The server counts from when the call came, which was before now. */
	over_ns = clock_now_ns() + limit_ns;
	pthread_mutex_lock(&fix->lock);
	while (clock_now_ns() <= over_ns)
		(void)sync_cond_wait_until(&fix->cond, &fix->lock, over_ns + NS_PER_MS);
	fix->may_go = true;
	pthread_cond_broadcast(&fix->cond);
	pthread_mutex_unlock(&fix->lock);
	work_free(TAKE_PTR(fix->work)); /* runs what is queued */
	assert_false(fix->is_running);
	assert_int_equal(work_new(&two_lanes, &fix->work), 0);
}

static void *cancel_when_running(void *arg)
{
	pthread_mutex_lock(&fix->lock);
	while (!fix->is_running)
		(void)sync_cond_wait_until(&fix->cond, &fix->lock, clock_now_ns() + NS_PER_S);
	pthread_mutex_unlock(&fix->lock);
	ctx_cancel(arg);
	return NULL;
}

TEST(cancel_reaches_the_handler)
{
	const uint8_t *got = NULL;
	struct err err = { 0 };
	pthread_t thread;
	struct ctx ctx;
	size_t n = 0;

	ctx_init(&ctx, 0);
	pthread_create(&thread, NULL, cancel_when_running, &ctx);
	ASSERT_ERR(grpc_channel_call(fix->channel, &ctx, "/t.T/Wait", "", 0, &got, &n, &err), &err,
		   ERR_CANCELLED, "");
	pthread_join(thread, NULL);
	pthread_mutex_lock(&fix->lock);
	while (!fix->is_cancelled)
		assert_int_equal(sync_cond_wait_until(&fix->cond, &fix->lock,
						      clock_now_ns() + 10 * NS_PER_S),
				 0);
	pthread_mutex_unlock(&fix->lock);
	ctx_done(&ctx);
}

static void do_nothing(void *arg)
{
	(void)arg;
}

/* CSI secrets are in requests, and whatever has memory of this process (a core, a swapped page)
 * should not have those of calls that are over. */
TEST(no_copy_of_a_message_outlives_its_call)
{
	static const size_t sizes[] = { 100, 5000, 300000 };
	const uint8_t *got = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint8_t *message = xcalloc(1, sizes[i]);

		for (size_t k = 0; k < SECRET_LEN; k++)
			message[sizes[i] / 2 + k] = secret_byte(k);
		assert_true(count_secrets() > 0);
		ASSERT_OK(call("/t.T/EchoPooled", message, sizes[i], 0, &got, &n, &ctx, &err),
			  &err);
		ctx_done(&ctx);
		explicit_bzero(message, sizes[i]);
		free(message);
	}
	/* The server's side lets go a little later than it answers. */
	work_free(TAKE_PTR(fix->work));
	ev_call(fix->loop, do_nothing, NULL);
	ASSERT_EQ(count_secrets(), 0);
	assert_int_equal(work_new(&two_lanes, &fix->work), 0);
}

static int take_number(void *arg, const uint8_t *message, size_t n)
{
	unsigned *next = arg, got = 0;

	assert_int_equal(n, 10000);
	memcpy(&got, message, sizeof(got));
	assert_int_equal(got, *next);
	(*next)++;
	return 0;
}

TEST(stream_of_500_messages_arrives_in_order)
{
	struct err err = { 0 };
	struct ctx ctx;
	unsigned next = 0;

	ctx_init(&ctx, 0);
	ASSERT_OK(grpc_channel_stream(fix->channel, &ctx, "/t.T/Count", "", 0, take_number, &next,
				      &err),
		  &err);
	ASSERT_EQ(next, 500);
	ctx_done(&ctx);
}

static int stop_at_3(void *arg, const uint8_t *message, size_t n)
{
	(void)message;
	(void)n;
	return ++*(unsigned *)arg == 3;
}

TEST(caller_who_leaves_a_stream_stops_its_producer)
{
	struct err err = { 0 };
	struct ctx ctx;
	unsigned n = 0;

	ctx_init(&ctx, 0);
	ASSERT_ERR(
		grpc_channel_stream(fix->channel, &ctx, "/t.T/Count", "", 0, stop_at_3, &n, &err),
		&err, ERR_CANCELLED, "");
	pthread_mutex_lock(&fix->lock);
	while (!fix->is_cancelled && fix->sent < 500)
		assert_int_equal(sync_cond_wait_until(&fix->cond, &fix->lock,
						      clock_now_ns() + 10 * NS_PER_S),
				 0);
	pthread_mutex_unlock(&fix->lock);
	ctx_done(&ctx);
}

TEST(socket_has_mode_0600_and_goes_with_the_server)
{
	struct stat st = { 0 };

	ASSERT_EQ(stat(fix->addr.path, &st), 0);
	ASSERT_EQ(st.st_mode & 0777, 0600);
	ev_call(fix->loop, free_on_loop, fix);
	ASSERT_EQ(stat(fix->addr.path, &st), -1);
}

static void listen_again(void *arg)
{
	struct fixture *f = arg;
	struct grpc_server *second = grpc_server_new(f->loop, f->work);

	f->listened =
		grpc_server_listen(second, &f->addr, &(struct grpc_listen_options){ 0 }, &f->err);
	grpc_server_free(second);
}

TEST(living_socket_is_refused_and_its_holder_named)
{
	char pid[32] = "";

	snprintf(pid, sizeof(pid), "process %d", (int)getpid());
	ev_call(fix->loop, listen_again, fix);
	ASSERT_ERR(fix->listened, &fix->err, ERR_FAILED_PRECONDITION, pid);
}

TEST(stale_socket_is_replaced_but_a_file_never_is)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st = { 0 };
	int fd = -1;

	ev_call(fix->loop, free_on_loop, fix);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(sa.sun_path, fix->addr.path, sizeof(sa.sun_path));
	ASSERT_EQ(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd); /* as a killed process leaves it */
	ev_call(fix->loop, listen_again, fix);
	ASSERT_OK(fix->listened, &fix->err);
	fd = open(fix->addr.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ASSERT_TRUE(fd >= 0);
	close(fd);
	ev_call(fix->loop, listen_again, fix);
	ASSERT_ERR(fix->listened, &fix->err, ERR_FAILED_PRECONDITION, "no socket");
	ASSERT_EQ(stat(fix->addr.path, &st), 0);
	unlink(fix->addr.path);
}

TEST(nobody_there_is_unavailable_and_says_where)
{
	const uint8_t *got = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	ev_call(fix->loop, free_on_loop, fix);
	ASSERT_ERR(call("/t.T/Echo", "", 0, 5 * NS_PER_S, &got, &n, &ctx, &err), &err,
		   ERR_UNAVAILABLE, "s.sock");
	ctx_done(&ctx);
}

TEST(channel_connects_again_after_the_server_came_back)
{
	const uint8_t *got = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	ASSERT_OK(call("/t.T/Echo", "a", 1, 0, &got, &n, &ctx, &err), &err);
	ctx_done(&ctx);
	ev_call(fix->loop, free_on_loop, fix);
	ev_call(fix->loop, listen_on_loop, fix);
	ASSERT_OK(fix->listened, &fix->err);
	/* The loss may be noticed by the first call only. */
	if (call("/t.T/Echo", "b", 1, 0, &got, &n, &ctx, &err) < 0) {
		ctx_done(&ctx);
		ASSERT_OK(call("/t.T/Echo", "b", 1, 0, &got, &n, &ctx, &err), &err);
	}
	ctx_done(&ctx);
}

static void drained(void *arg)
{
	struct fixture *f = arg;
	LOCK_SCOPE(&f->lock);

	f->may_go = true;
	pthread_cond_broadcast(&f->cond);
}

static void drain_on_loop(void *arg)
{
	struct fixture *f = arg;

	grpc_server_drain(f->server, 5 * NS_PER_S, drained, f);
}

TEST(drain_ends_when_connections_are_gone)
{
	const uint8_t *got = NULL;
	struct err err = { 0 };
	struct ctx ctx;
	size_t n = 0;

	ASSERT_OK(call("/t.T/Echo", "a", 1, 0, &got, &n, &ctx, &err), &err);
	ctx_done(&ctx);
	ev_call(fix->loop, drain_on_loop, fix);
	pthread_mutex_lock(&fix->lock);
	while (!fix->may_go)
		assert_int_equal(sync_cond_wait_until(&fix->cond, &fix->lock,
						      clock_now_ns() + 10 * NS_PER_S),
				 0);
	pthread_mutex_unlock(&fix->lock);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(T(reply_comes_back_whole), T(status_and_message_arrive_unchanged),
	  T(deadline_ends_the_call_on_both_sides),
	  T(a_call_that_waited_beyond_its_deadline_does_not_start), T(cancel_reaches_the_handler),
	  T(no_copy_of_a_message_outlives_its_call), T(stream_of_500_messages_arrives_in_order),
	  T(caller_who_leaves_a_stream_stops_its_producer),
	  T(socket_has_mode_0600_and_goes_with_the_server),
	  T(living_socket_is_refused_and_its_holder_named),
	  T(stale_socket_is_replaced_but_a_file_never_is),
	  T(nobody_there_is_unavailable_and_says_where),
	  T(channel_connects_again_after_the_server_came_back),
	  T(drain_ends_when_connections_are_gone))
