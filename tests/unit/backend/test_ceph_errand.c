/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command that the manager does not answer is left by its caller and goes on by itself, with
 * memory of its own; there is a bound to them, and others do not notice. The fake aborts where the
 * library would give a command up and write its answer later.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ceph/command.h"
#include "backend/ceph/errand.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "check.h"
#include "fake/ceph.h"

#define OTHER "10.0.0.2:6789"
#define LIST "{\"prefix\":\"rbd task list\"}"

static struct ceph_conns *conns;

static const struct ceph_login c1 = { "c1", FAKE_CEPH_MONITORS, FAKE_CEPH_USER, FAKE_CEPH_KEY };
static const struct ceph_login c2 = { "c2", OTHER, FAKE_CEPH_USER, FAKE_CEPH_KEY };

static void begin(bool has_librbd)
{
	fake_ceph_reset();
	fake_ceph_add_cluster(OTHER);
	clock_fake_set(1000 * NS_PER_S);
	conns = ceph_conns_new(
		&(struct ceph_conns_options){ .lib = fake_ceph_lib(), .has_librbd = has_librbd });
}

static void end(void)
{
	ceph_conns_free(conns);
	clock_fake_set(-1);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
	ASSERT_EQ(fake_ceph_n_handles(), 0);
}

/* A call that sends one command. */
struct call {
	const struct ceph_login *login;
	enum ceph_command_to to;
	struct ctx ctx;
	struct err err;
	int rc; /* of the command; 1: it was not answered */
	char text[64];
	pthread_t thread;
};

static void *run(void *arg)
{
	struct call *call = arg;
	struct ceph_answer answer;
	struct ceph_conn *conn;

	call->rc = 1;
	if (ceph_conn_get(conns, &call->ctx, call->login, &conn, &call->err) < 0)
		return NULL;
	if (ceph_command_send(conn, &call->ctx, call->to, LIST, &answer, &call->err) == 0) {
		call->rc = answer.rc;
		(void)snprintf(call->text, sizeof(call->text), "%s", answer.text);
	}
	ceph_conn_put(conn);
	return NULL;
}

static void start(struct call *call, const struct ceph_login *login)
{
	*call = (struct call){ .login = login, .to = CEPH_COMMAND_MANAGER };
	ctx_init(&call->ctx, 0);
	ASSERT_EQ(pthread_create(&call->thread, NULL, run, call), 0);
}

static void join(struct call *call)
{
	ASSERT_EQ(pthread_join(call->thread, NULL), 0);
	ctx_done(&call->ctx);
}

static void await_held(unsigned n)
{
	while (fake_ceph_n_held() < n)
		sched_yield();
}

/* One that hangs at the manager, and whose caller has gone. */
static void hang(const struct ceph_login *login, unsigned n)
{
	struct call call;

	start(&call, login);
	await_held(n);
	ctx_cancel(&call.ctx);
	join(&call);
	ASSERT_EQ(call.rc, 1);
	ASSERT_EQ(call.err.code, ERR_CANCELLED);
}

static void ask(struct call *call, const struct ceph_login *login)
{
	start(call, login);
	join(call);
}

static double figure(const char *name)
{
	autostr struct str text = STR_INIT;
	autofree char *series = xasprintf("%s{cluster=\"c1\"} ", name);
	const char *at;

	ceph_conns_sweep(conns);
	metric_render(&text);
	at = strstr(str_get(&text), series);
	return at ? strtod(strchr(at, ' '), NULL) : -1;
}

static void await_answered(void)
{
	while (figure("cleat_ceph_unanswered_calls") > 0)
		sched_yield();
}

TEST(a_command_is_answered)
{
	for (int has_librbd = 0; has_librbd < 2; has_librbd++) {
		struct call call;

		begin(has_librbd);
		ask(&call, &c1);
		ASSERT_EQ(call.rc, 0);
		ASSERT_STR(call.text, "[]");
		end();
	}
}

TEST(a_late_answer_finds_memory_of_its_own)
{
	for (int has_librbd = 0; has_librbd < 2; has_librbd++) {
		struct call call;

		begin(has_librbd);
		fake_ceph_hold_manager(FAKE_CEPH_MONITORS, true);
		hang(&c1, 1);
		clock_fake_advance(7 * NS_PER_S);
		ASSERT_TRUE(figure("cleat_ceph_unanswered_calls") == 1);
		ASSERT_TRUE(figure("cleat_ceph_unanswered_oldest_seconds") == 7);
		fake_ceph_hold_manager(FAKE_CEPH_MONITORS, false);
		await_answered();
		ask(&call, &c1);
		ASSERT_EQ(call.rc, 0);
		ASSERT_TRUE(figure("cleat_ceph_unanswered_oldest_seconds") == 0);
		end();
	}
}

TEST(a_time_limit_ends_a_call_and_not_the_command)
{
	struct call call;

	begin(false);
	ceph_conns_free(conns);
	conns = ceph_conns_new(
		&(struct ceph_conns_options){ .lib = fake_ceph_lib(), .op_timeout_s = 1 });
	fake_ceph_hold_manager(FAKE_CEPH_MONITORS, true);
	ask(&call, &c1);
	ASSERT_EQ(call.rc, -ETIMEDOUT);
	ASSERT_STR(call.text, "");
	ASSERT_TRUE(figure("cleat_ceph_unanswered_calls") == 1);
	fake_ceph_hold_manager(FAKE_CEPH_MONITORS, false);
	await_answered();
	end();
}

TEST(there_is_a_bound_to_those_that_hang_and_it_is_the_clusters_own)
{
	struct call call;

	begin(false);
	fake_ceph_hold_manager(FAKE_CEPH_MONITORS, true);
	for (unsigned i = 0; i < ERRAND_THREADS; i++) {
		hang(&c1, i + 1);
		clock_fake_advance(3 * NS_PER_S);
	}
	ask(&call, &c1);
	ASSERT_EQ(call.rc, 1);
	ASSERT_ERR(-1, &call.err, ERR_UNAVAILABLE, "the oldest is 'rbd task list', for 12.0 s");
	ASSERT_TRUE(strstr(call.err.msg, "'c1'") != NULL);
	ask(&call, &c2);
	ASSERT_EQ(call.rc, 0);
	fake_ceph_hold_manager(FAKE_CEPH_MONITORS, false);
	await_answered();
	ask(&call, &c1);
	ASSERT_EQ(call.rc, 0);
	end();
}

/* Who waits for a thread and leaves before there is one has sent nothing. */
TEST(what_was_not_begun_is_not_sent)
{
	struct call calls[ERRAND_THREADS], late;
	unsigned n;

	begin(false);
	fake_ceph_hold_manager(FAKE_CEPH_MONITORS, true);
	for (unsigned i = 0; i < ERRAND_THREADS; i++)
		start(&calls[i], &c1);
	await_held(ERRAND_THREADS);
	start(&late, &c1);
	ctx_cancel(&late.ctx);
	join(&late);
	ASSERT_EQ(late.rc, 1);
	n = fake_ceph_n_calls();
	fake_ceph_hold_manager(FAKE_CEPH_MONITORS, false);
	for (unsigned i = 0; i < ERRAND_THREADS; i++) {
		join(&calls[i]);
		ASSERT_EQ(calls[i].rc, 0);
	}
	ASSERT_EQ(fake_ceph_n_calls(), n);
	end();
}

/* A connection is not closed under a command: the library would not wake who waits. */
TEST(a_connection_outlives_the_sweep_while_a_command_hangs)
{
	for (int has_librbd = 0; has_librbd < 2; has_librbd++) {
		begin(has_librbd);
		fake_ceph_hold_manager(FAKE_CEPH_MONITORS, true);
		hang(&c1, 1);
		clock_fake_advance(301 * NS_PER_S);
		ceph_conns_sweep(conns);
		ASSERT_EQ(fake_ceph_n_connections(), 1 + (unsigned)has_librbd);
		fake_ceph_hold_manager(FAKE_CEPH_MONITORS, false);
		await_answered();
		clock_fake_advance(301 * NS_PER_S);
		ceph_conns_sweep(conns);
		ASSERT_EQ(fake_ceph_n_connections(), 0);
		end();
	}
}

TEST(the_managers_own_connection_is_there_for_a_moment)
{
	struct call call;

	begin(true);
	ask(&call, &c1);
	ask(&call, &c1);
	ASSERT_EQ(fake_ceph_n_connects(), 2);
	ASSERT_STR(fake_ceph_option("rados_mon_op_timeout"), "0");
	ASSERT_STR(fake_ceph_option("client_mount_timeout"), "10");
	clock_fake_advance(2 * NS_PER_S);
	ceph_conns_sweep(conns);
	ASSERT_EQ(fake_ceph_n_connections(), 1);
	ask(&call, &c1);
	ASSERT_EQ(call.rc, 0);
	ASSERT_EQ(fake_ceph_n_connects(), 3);
	end();
}

TEST(a_process_ends_while_one_hangs)
{
	for (int has_librbd = 0; has_librbd < 2; has_librbd++) {
		begin(has_librbd);
		fake_ceph_hold_manager(FAKE_CEPH_MONITORS, true);
		hang(&c1, 1);
		ceph_conns_free(conns);
		ASSERT_EQ(fake_ceph_n_connections(), 1 + (unsigned)has_librbd);
		fake_ceph_hold_manager(FAKE_CEPH_MONITORS, false);
		while (fake_ceph_n_connections() > 0)
			sched_yield();
		conns = ceph_conns_new(&(struct ceph_conns_options){ .lib = fake_ceph_lib() });
		end();
	}
}

static void *crowd(void *arg)
{
	struct call *call = arg;

	for (int i = 0; i < 50; i++) {
		ctx_init(&call->ctx, 0);
		call->login = i % 3 ? &c1 : &c2;
		if (i % 7 == 0)
			ctx_cancel(&call->ctx);
		(void)run(call);
		ctx_done(&call->ctx);
		if (i % 8 == 0)
			ceph_conns_sweep(conns);
	}
	return NULL;
}

TEST(a_crowd_ends_with_all_given_back)
{
	struct call calls[8];

	begin(true);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		calls[i] = (struct call){ .to = CEPH_COMMAND_MANAGER };
		ASSERT_EQ(pthread_create(&calls[i].thread, NULL, crowd, &calls[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		ASSERT_EQ(pthread_join(calls[i].thread, NULL), 0);
	end();
}

RUN_TESTS(UNIT(a_command_is_answered), UNIT(a_late_answer_finds_memory_of_its_own),
	  UNIT(a_time_limit_ends_a_call_and_not_the_command),
	  UNIT(there_is_a_bound_to_those_that_hang_and_it_is_the_clusters_own),
	  UNIT(what_was_not_begun_is_not_sent),
	  UNIT(a_connection_outlives_the_sweep_while_a_command_hangs),
	  UNIT(the_managers_own_connection_is_there_for_a_moment),
	  UNIT(a_process_ends_while_one_hangs), UNIT(a_crowd_ends_with_all_given_back))
