/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of CSI over a real unix socket, where sender and reader are two threads: what the fake of
 * test_roundtrip.c cannot show, a sender that waits, and one whose reader goes.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "check.h"
#include "csi/client.h"
#include "csi/server.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "grpc/client.h"
#include "grpc/server.h"

/* A message is 12 kB on the wire, all of them 50 MB. On the way are, at most, two windows of 4 MiB
 * (what the reader has taken and reads now, and what comes meanwhile) and the sender's buffers. */
#define N_BLOCKS 1000u
#define N_MESSAGES 4000u
#define IN_FLIGHT_MAX 1000u

static struct {
	char dir[32];
	struct net_addr addr;
	struct ev_loop *loop;
	struct work *work;
	struct grpc_server *server;
	struct csi_server *csi;
	struct grpc_channel *channel;
	struct csi_client *client;
	struct csi_service remote;
	struct ctx ctx;
	struct err err;
	int listened;
	struct grpc_limits limits;
	pthread_mutex_t lock; /* below */
	pthread_cond_t cond;
	unsigned sent;
	bool has_ended; /* the sender */
	enum err_code ended;
} t;

static const struct work_lane_def lane = { .name = "stream", .threads = 2 };
static const struct work_options one_lane = { .lanes = &lane, .n_lanes = 1 };

static unsigned note_sent(void)
{
	LOCK_SCOPE(&t.lock);
	return ++t.sent;
}

static void note_end(enum err_code code)
{
	LOCK_SCOPE(&t.lock);
	t.has_ended = true;
	t.ended = code;
	pthread_cond_broadcast(&t.cond);
}

/* Whether the sender has ended by then. */
static bool wait_for_end(int64_t at_most_ns)
{
	int64_t until_ns = clock_now_ns() + at_most_ns;

	LOCK_SCOPE(&t.lock);
	while (!t.has_ended && sync_cond_wait_until(&t.cond, &t.lock, until_ns) == 0)
		;
	return t.has_ended;
}

/* max_results messages; without end if that is 0. A starting_offset is the message it fails at. */
static int send_all(const struct csi_get_metadata_allocated_request *req, struct csi_stream *out,
		    struct err *err)
{
	static struct csi_block_metadata blocks[N_BLOCKS];
	struct csi_get_metadata_allocated_response message = { .block_metadata = blocks,
							       .n_block_metadata = N_BLOCKS };

	for (size_t i = 0; i < N_BLOCKS; i++)
		blocks[i] = (struct csi_block_metadata){ i << 30, 1 << 20 };
	for (unsigned i = 0; req->max_results == 0 || i < req->max_results; i++) {
		message.volume_capacity_bytes = i;
		if (req->starting_offset > 0 && i == req->starting_offset)
			return err_set(err, ERR_DATA_LOSS, "block %u is gone", i);
		if (csi_get_metadata_allocated_send(out, &message, err) < 0)
			return -1;
		note_sent();
	}
	return 0;
}

static int get_metadata_allocated(void *impl, struct ctx *ctx,
				  const struct csi_get_metadata_allocated_request *req,
				  struct csi_stream *out, struct err *err)
{
	int r = send_all(req, out, err);

	note_end(r < 0 ? err->code : ERR_OK);
	return r;
}

static const struct csi_service_ops ops = { .get_metadata_allocated = get_metadata_allocated };

static void listen_on_loop(void *arg)
{
	static const struct csi_service service = { &ops, NULL };
	static const struct csi_server_options options = { .driver_name = "d.test" };

	t.server = grpc_server_new(t.loop, t.work);
	grpc_server_limit(t.server, &t.limits);
	t.csi = csi_server_new(t.server, &service, &options);
	t.listened =
		grpc_server_listen(t.server, &t.addr, &(struct grpc_listen_options){ 0 }, &t.err);
}

static void free_on_loop(void *arg)
{
	grpc_server_free(t.server);
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
	t.client = csi_client_new(t.channel);
	t.remote = csi_client_service(t.client);
	ctx_init(&t.ctx, 60 * NS_PER_S);
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(&(struct grpc_limits){ 0 });
}

static int set_up_hasty(void **state)
{
	return set_up_with(&(struct grpc_limits){ .unread_ns = 50 * NS_PER_MS });
}

static int tear_down(void **state)
{
	ctx_done(&t.ctx);
	csi_client_free(t.client);
	grpc_channel_free(t.channel);
	/* Handlers hear of the lost connection before their threads are waited for. */
	work_free(t.work);
	ev_call(t.loop, free_on_loop, NULL);
	csi_server_free(t.csi);
	ev_loop_join(t.loop);
	ev_loop_free(t.loop);
	rmdir(t.dir);
	pthread_cond_destroy(&t.cond);
	pthread_mutex_destroy(&t.lock);
	return 0;
}

struct reader {
	unsigned n;
	unsigned pause_at, cancel_at, enough; /* messages, from 1; 0: none */
	int64_t pause_ns;                     /* at most */
	bool was_held;
	unsigned most_ahead;
};

static unsigned ahead_of(unsigned n)
{
	LOCK_SCOPE(&t.lock);
	return t.sent > n ? t.sent - n : 0;
}

static int take(void *arg, const void *message, struct err *err)
{
	const struct csi_get_metadata_allocated_response *m = message;
	struct reader *r = arg;
	unsigned ahead;

	if (m->volume_capacity_bytes != r->n++ || m->n_block_metadata != N_BLOCKS ||
	    m->block_metadata[N_BLOCKS - 1].byte_offset != UINT64_C(999) << 30)
		return err_set(err, ERR_DATA_LOSS, "message %u differs", r->n - 1);
	/* Nothing but time tells that a sender waits; one that does not is through long before. */
	if (r->n == r->pause_at)
		r->was_held = !wait_for_end(r->pause_ns ? r->pause_ns : 300 * NS_PER_MS);
	ahead = ahead_of(r->n);
	r->most_ahead = ahead > r->most_ahead ? ahead : r->most_ahead;
	if (r->n == r->cancel_at)
		ctx_cancel(&t.ctx);
	if (r->n == r->enough)
		return err_set(err, ERR_OUT_OF_RANGE, "enough for me");
	return 0;
}

static int ask(unsigned max_results, unsigned fail_at, struct reader *r)
{
	return csi_get_metadata_allocated(
		&t.remote, &t.ctx,
		&(const struct csi_get_metadata_allocated_request){ .snapshot_id = "s",
								    .max_results = max_results,
								    .starting_offset = fail_at },
		&(struct csi_stream){ .take = take, .arg = r }, &t.err);
}

TEST(a_slow_reader_holds_the_sender_and_misses_nothing)
{
	struct reader r = { .pause_at = 2 };

	ASSERT_OK(ask(N_MESSAGES, 0, &r), &t.err);
	ASSERT_EQ(r.n, N_MESSAGES);
	ASSERT_TRUE(r.was_held);
	ASSERT_TRUE(r.most_ahead < IN_FLIGHT_MAX);
	ASSERT_TRUE(wait_for_end(20 * NS_PER_S));
	ASSERT_EQ(t.ended, ERR_OK);
}

/* Whoever reads nothing does not keep a worker for ever. */
TEST(a_sender_whose_reader_reads_nothing_gives_up)
{
	struct reader r = { .pause_at = 2, .pause_ns = 20 * NS_PER_S };

	ASSERT_ERR(ask(N_MESSAGES, 0, &r), &t.err, ERR_DEADLINE_EXCEEDED, "has been read");
	ASSERT_FALSE(r.was_held);
	ASSERT_TRUE(r.n >= 2 && r.n < N_MESSAGES);
	ASSERT_EQ(t.ended, ERR_DEADLINE_EXCEEDED);
}

TEST(a_failure_in_the_middle_comes_after_what_was_sent)
{
	struct reader r = { 0 };

	ASSERT_ERR(ask(9, 7, &r), &t.err, ERR_DATA_LOSS, "block 7 is gone");
	ASSERT_EQ(r.n, 7);
}

TEST(a_caller_that_is_cancelled_stops_an_endless_sender)
{
	/* many more have arrived by then */
	struct reader r = { .pause_at = 3, .cancel_at = 3 };

	ASSERT_ERR(ask(0, 0, &r), &t.err, ERR_CANCELLED, "");
	ASSERT_EQ(r.n, 3);
	ASSERT_TRUE(wait_for_end(20 * NS_PER_S));
	ASSERT_EQ(t.ended, ERR_CANCELLED);
}

TEST(a_reader_that_has_enough_stops_an_endless_sender)
{
	struct reader r = { .enough = 5 };

	ASSERT_ERR(ask(0, 0, &r), &t.err, ERR_OUT_OF_RANGE, "enough for me");
	ASSERT_EQ(r.n, 5);
	ASSERT_TRUE(wait_for_end(20 * NS_PER_S));
	ASSERT_EQ(t.ended, ERR_CANCELLED);
}

#define OVER_A_SOCKET(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

RUN_TESTS(OVER_A_SOCKET(a_slow_reader_holds_the_sender_and_misses_nothing),
	  cmocka_unit_test_setup_teardown(a_sender_whose_reader_reads_nothing_gives_up,
					  set_up_hasty, tear_down),
	  OVER_A_SOCKET(a_failure_in_the_middle_comes_after_what_was_sent),
	  OVER_A_SOCKET(a_caller_that_is_cancelled_stops_an_endless_sender),
	  OVER_A_SOCKET(a_reader_that_has_enough_stops_an_endless_sender))
