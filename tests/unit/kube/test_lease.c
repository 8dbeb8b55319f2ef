/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease against a scripted API server: the requests, the timers and the clock are this file's.
 * Another holder is played by writing into the server's object.
 */
#include "check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "kube/client-internal.h"
#include "kube/fence.h"
#include "kube/lease.h"

static struct {
	bool exists;
	char holder[32];
	int transitions;
	unsigned version;
} server;

struct http_stream {
	char *method;
	char *body;
	const struct http_stream_ops *ops;
	void *arg;
};
static struct http_stream stream; /* method NULL: none is open */

struct ev_timer {
	ev_timer_fn fn;
	void *arg;
	int64_t due_ns; /* 0: stopped */
};
static struct ev_timer timers[3]; /* in the order in which they are made */
enum { NEXT, LIMIT, GUARD };
static unsigned n_timers;

static struct lease *lease;
static struct fence *fence;
static unsigned n_won, n_lost;
static const char *labels, *server_labels; /* asked for; what is there, as JSON */

/* ---- what the lease stands on ---- */

static void drop_stream(void)
{
	free(TAKE_PTR(stream.method));
	free(TAKE_PTR(stream.body));
}

struct http_stream *kube_stream_send(struct kube_client *c, const char *method, const char *path,
				     const char *body, const struct http_stream_ops *ops, void *arg,
				     struct err *err)
{
	assert_null(stream.method);
	stream = (struct http_stream){ xstrdup(method), body ? xstrdup(body) : NULL, ops, arg };
	return &stream;
}

void http_cancel(struct http_stream *s)
{
	if (s)
		drop_stream();
}

void kube_client_note_reply(struct kube_client *c, const char *method, int status,
			    const struct err *problem)
{
}

void kube_client_note_failure(struct kube_client *c, const char *method, const struct err *err)
{
}

static int n_given_back;

int kube_get(struct kube_client *c, struct ctx *ctx, const char *path, struct json_doc **ret,
	     struct err *err)
{
	autofree char *text = xasprintf("{\"metadata\":{\"resourceVersion\":\"%u\"},\"spec\":{"
					"\"holderIdentity\":\"%s\"}}",
					server.version, server.holder);

	return json_parse(text, strlen(text), ret, err);
}

int kube_write_unfenced(struct kube_client *c, struct ctx *ctx, const char *method,
			const char *path, const char *type, const char *body, struct err *err)
{
	n_given_back += strstr(body, "\"holderIdentity\":\"\"") != NULL;
	return 0;
}

void ev_post(struct ev_loop *loop, ev_post_fn fn, void *arg)
{
	fn(arg);
}

void ev_call(struct ev_loop *loop, ev_post_fn fn, void *arg)
{
	fn(arg);
}

struct ev_timer *ev_timer_new(struct ev_loop *loop, ev_timer_fn fn, void *arg)
{
	timers[n_timers] = (struct ev_timer){ fn, arg, 0 };
	return &timers[n_timers++];
}

void ev_timer_start(struct ev_timer *t, int64_t delay_ns, int64_t repeat_ns)
{
	t->due_ns = clock_now_ns() + delay_ns;
}

void ev_timer_stop(struct ev_timer *t)
{
	t->due_ns = 0;
}

void ev_timer_free(struct ev_timer *t)
{
	if (t)
		t->due_ns = 0;
}

/* Time passes to the next timer that is due, and it fires. False: none is. */
static bool pass(void)
{
	struct ev_timer *first = NULL;

	for (unsigned i = 0; i < n_timers; i++)
		if (timers[i].due_ns > 0 && (!first || timers[i].due_ns < first->due_ns))
			first = &timers[i];
	if (!first)
		return false;
	clock_fake_set(first->due_ns);
	first->due_ns = 0;
	first->fn(first->arg);
	return true;
}

/* ---- the server ---- */

static void finish(int status, const char *body, enum err_code code)
{
	struct err why = { .code = code, .msg = "connection reset" };
	struct http_stream was = stream;

	stream.method = stream.body = NULL;
	if (status)
		was.ops->on_reply(was.arg, status, NULL, 0);
	if (body)
		was.ops->on_data(was.arg, (const uint8_t *)body, strlen(body));
	was.ops->on_end(was.arg, &why);
	free(was.method);
	free(was.body);
}

static void reply_with_lease(int status)
{
	autofree char *text =
		xasprintf("{\"metadata\":{\"name\":\"l\",\"resourceVersion\":\"%u\"%s%s},\"spec\":{"
			  "\"holderIdentity\":\"%s\",\"leaseDurationSeconds\":15,"
			  "\"leaseTransitions\":%d}}",
			  server.version, server_labels ? ",\"labels\":" : "",
			  server_labels ? server_labels : "", server.holder, server.transitions);

	finish(status, text, ERR_OK);
}

static void answer(void)
{
	autofree char *wanted = NULL;

	if (strcmp(stream.method, "GET") == 0) {
		if (!server.exists)
			finish(404, "{}", ERR_OK);
		else
			reply_with_lease(200);
		return;
	}
	if (server.exists && strcmp(stream.method, "POST") == 0) {
		finish(409, "{\"reason\":\"AlreadyExists\"}", ERR_OK);
		return;
	}
	if (server.exists) {
		autofree char *version = xasprintf("\"resourceVersion\":\"%u\"", server.version);

		if (!strstr(stream.body, version)) {
			finish(409, "{\"reason\":\"Conflict\"}", ERR_OK);
			return;
		}
	}
	if (strcmp(server.holder, "me") != 0)
		server.transitions += server.exists;
	wanted = xasprintf("\"leaseTransitions\":%d", server.transitions);
	ASSERT_TRUE(strstr(stream.body, wanted));
	server.exists = true;
	server.version++;
	(void)snprintf(server.holder, sizeof(server.holder), "me");
	reply_with_lease(200);
}

static void another_takes_it(void)
{
	server.exists = true;
	server.version++;
	server.transitions++;
	(void)snprintf(server.holder, sizeof(server.holder), "another");
}

static void on_won(void *arg)
{
	ASSERT_TRUE(fence_is_open(fence));
	n_won++;
}

static void on_lost(void *arg)
{
	ASSERT_FALSE(fence_is_open(fence));
	n_lost++;
}

static void begin(void)
{
	const struct lease_options opts = {
		.ns = "ns",
		.name = "l",
		.identity = "me",
		.labels = labels,
		.fence = fence = fence_new(),
		.on_won = on_won,
		.on_lost = on_lost,
	};
	struct err err;

	memset(&server, 0, sizeof(server));
	n_timers = n_won = n_lost = 0;
	n_given_back = 0;
	clock_fake_set(NS_PER_S);
	ASSERT_OK(lease_new(NULL, NULL, &opts, &lease, &err), &err);
	lease_start(lease);
}

static void end(void)
{
	lease_free(lease);
	fence_free(fence);
	clock_fake_set(-1);
}

static bool is_held(void)
{
	return fence_is_open(fence);
}

/* How often it was won, as who writes sees it. */
static uint64_t term(void)
{
	struct fence_member member;
	struct err err;
	struct ctx ctx;

	ctx_init(&ctx, 0);
	ASSERT_OK(fence_join(fence, &member, &ctx, &err), &err);
	fence_leave(fence, &member);
	ctx_done(&ctx);
	return member.term;
}

/* Right answers until it is held, or for so long. */
static void run(int64_t for_ns)
{
	int64_t end_ns = clock_now_ns() + for_ns;

	while (clock_now_ns() < end_ns) {
		if (stream.method)
			answer();
		else if (!pass())
			return;
	}
}

static void win(void)
{
	begin();
	answer();
	answer();
	ASSERT_TRUE(is_held());
	ASSERT_EQ(n_won, 1);
}

/* ---- tests ---- */

TEST(is_won_renewed_and_given_back)
{
	win();
	run(60 * NS_PER_S);
	ASSERT_TRUE(is_held());
	ASSERT_EQ(n_won, 1);
	ASSERT_EQ(n_lost, 0);
	ASSERT_EQ(term(), 1);
	lease_stop(lease);
	ASSERT_FALSE(fence_is_open(fence));
	ASSERT_EQ(n_given_back, 0);
	end();
	ASSERT_EQ(n_given_back, 1);
}

TEST(anothers_is_waited_for_and_taken_when_stale)
{
	begin();
	another_takes_it();
	answer();
	ASSERT_FALSE(is_held());
	run(14 * NS_PER_S);
	ASSERT_FALSE(is_held());
	run(10 * NS_PER_S);
	ASSERT_TRUE(is_held());
	ASSERT_EQ(server.transitions, 2);
	end();
}

TEST(another_holder_ends_the_term_at_once)
{
	win();
	another_takes_it();
	ASSERT_TRUE(pass());
	answer();
	ASSERT_FALSE(is_held());
	ASSERT_EQ(n_lost, 1);
	end();
}

/* Every step fails in every way until the limit; then it is lost, not later. */
TEST(a_server_that_fails_is_outlived_to_the_limit_and_no_longer)
{
	static const struct {
		int status;
		enum err_code code;
		bool is_silent, lets_read;
	} ways[] = {
		{ 500, ERR_OK, false, false },
		{ 401, ERR_OK, false, true },
		{ 0, ERR_UNAVAILABLE, false, false },
		{ 0, ERR_UNAVAILABLE, false, true },
		{ 409, ERR_OK, false, true },
		{ 0, ERR_OK, true, false },
		{ 0, ERR_OK, true, true },
		{ 200, ERR_OK, false, false },
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		int64_t start_ns;

		win();
		start_ns = clock_now_ns();
		while (n_lost == 0) {
			if (stream.method && ways[i].lets_read && strcmp(stream.method, "GET") == 0)
				answer();
			else if (stream.method && !ways[i].is_silent)
				finish(ways[i].status, "no json", ways[i].code);
			else
				ASSERT_TRUE(pass());
			ASSERT_EQ(is_held(), clock_now_ns() - start_ns < 10 * NS_PER_S);
			ASSERT_TRUE(clock_now_ns() - start_ns <= 10 * NS_PER_S);
		}
		ASSERT_EQ(clock_now_ns() - start_ns, 10 * NS_PER_S);
		run(20 * NS_PER_S);
		ASSERT_TRUE(is_held());
		ASSERT_EQ(term(), 2);
		end();
	}
}

/* The machine slept: the timers count on from where they were, the clock does not. */
TEST(a_suspended_machine_wakes_up_without_the_lease)
{
	win();
	clock_fake_advance(11 * NS_PER_S);
	ASSERT_FALSE(is_held());
	ASSERT_FALSE(fence_is_open(fence));
	end();
}

/* It was written, but who knows what another has done since. */
TEST(an_answer_that_comes_after_the_limit_wins_nothing)
{
	begin();
	answer();
	clock_fake_advance(11 * NS_PER_S);
	answer();
	ASSERT_FALSE(is_held());
	ASSERT_EQ(n_won, 0);
	end();
}

TEST(of_two_takers_one_loses)
{
	begin();
	answer();
	another_takes_it(); /* between our look and our write */
	answer();
	ASSERT_FALSE(is_held());
	run(6 * NS_PER_S);
	ASSERT_FALSE(is_held());
	end();
}

TEST(lost_and_won_again_is_another_term)
{
	win();
	another_takes_it();
	ASSERT_TRUE(pass());
	answer();
	server.holder[0] = '\0'; /* given back */
	server.version++;
	run(8 * NS_PER_S);
	ASSERT_TRUE(is_held());
	ASSERT_EQ(n_won, 2);
	ASSERT_EQ(term(), 2);
	end();
}

TEST(stopped_in_the_middle_of_a_step)
{
	for (unsigned n_answers = 0; n_answers < 2; n_answers++) {
		begin();
		for (unsigned i = 0; i < n_answers; i++)
			answer();
		end();
		assert_null(stream.method);
	}
}

/* The next write's metadata. */
static bool next_write_has(const char *text)
{
	while (!stream.method || strcmp(stream.method, "GET") == 0) {
		if (stream.method)
			answer();
		else
			ASSERT_TRUE(pass());
	}
	return strstr(stream.body, text) != NULL;
}

TEST(labels_go_over_those_that_are_there)
{
	labels = "team:x,tier:gold";
	begin();
	ASSERT_TRUE(next_write_has("\"labels\":{\"team\":\"x\",\"tier\":\"gold\"}"));
	answer();
	server_labels = "{\"team\":\"y\",\"te\":\"kept\",\"other\":\"kept\"}";
	ASSERT_TRUE(next_write_has("\"labels\":{\"te\":\"kept\",\"other\":\"kept\",\"team\":\"x\","
				   "\"tier\":\"gold\"}"));
	ASSERT_TRUE(next_write_has("\"name\":\"l\",\"resourceVersion\":\"1\",\"labels\""));
	labels = server_labels = NULL;
	drop_stream();
	end();
	begin();
	ASSERT_FALSE(next_write_has("labels"));
	drop_stream();
	end();
}

RUN_TESTS(UNIT(labels_go_over_those_that_are_there), UNIT(is_won_renewed_and_given_back),
	  UNIT(anothers_is_waited_for_and_taken_when_stale),
	  UNIT(another_holder_ends_the_term_at_once),
	  UNIT(a_server_that_fails_is_outlived_to_the_limit_and_no_longer),
	  UNIT(a_suspended_machine_wakes_up_without_the_lease),
	  UNIT(an_answer_that_comes_after_the_limit_wins_nothing), UNIT(of_two_takers_one_loses),
	  UNIT(lost_and_won_again_is_another_term), UNIT(stopped_in_the_middle_of_a_step))
