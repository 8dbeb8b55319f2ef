/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections are shared and made anew when they are of no use any more; a cluster that does not
 * answer takes one caller and no more, and no other cluster's.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "backend/ceph/conn.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "check.h"
#include "fake/ceph.h"
#include "secret_scan.h"

#define OTHER "10.0.0.2:6789"
#define OTHER_KEY "AQBhYmNkZWZnaBAAYWJjZGVmZ2hhYmNkZWZneA=="

static struct ceph_conns *conns;
static struct ctx ctx;
static struct err err;

static const struct ceph_login c1 = { "c1", FAKE_CEPH_MONITORS, FAKE_CEPH_USER, FAKE_CEPH_KEY };
static const struct ceph_login c2 = { "c2", OTHER, FAKE_CEPH_USER, FAKE_CEPH_KEY };

static void begin(void)
{
	const struct ceph_conns_options opts = { .lib = fake_ceph_lib(), .has_librbd = true };

	fake_ceph_reset();
	fake_ceph_add_cluster(OTHER);
	clock_fake_set(1000 * NS_PER_S);
	ctx_init(&ctx, 0);
	conns = ceph_conns_new(&opts);
}

static void end(void)
{
	ceph_conns_free(conns);
	ctx_done(&ctx);
	clock_fake_set(-1);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
	ASSERT_EQ(fake_ceph_n_handles(), 0);
}

static struct ceph_conn *get(const struct ceph_login *login)
{
	struct ceph_conn *conn;

	ASSERT_OK(ceph_conn_get(conns, &ctx, login, &conn, &err), &err);
	return conn;
}

/* A call that asks the cluster something. */
static int ask(const struct ceph_login *login, struct err *ret_err)
{
	struct ceph_conn *conn;
	char fsid[40];
	int rc;

	if (ceph_conn_get(conns, &ctx, login, &conn, ret_err) < 0)
		return -1;
	rc = ceph_conn_lib(conn)->rados_cluster_fsid(ceph_conn_rados(conn), fsid, sizeof(fsid));
	if (rc < 0)
		rc = ceph_conn_failed(conn, rc, ret_err, "ask");
	ceph_conn_put(conn);
	return rc < 0 ? -1 : 0;
}

TEST(a_login_has_one_connection)
{
	struct ceph_login rotated = c1;
	struct ceph_conn *a, *b, *c, *d;

	begin();
	fake_ceph_set_key(FAKE_CEPH_MONITORS, "admin", OTHER_KEY);
	rotated.user = "admin";
	rotated.key = OTHER_KEY;
	a = get(&c1);
	b = get(&c1);
	c = get(&rotated);
	d = get(&c2);
	ASSERT_TRUE(ceph_conn_rados(a) == ceph_conn_rados(b));
	ASSERT_TRUE(ceph_conn_rados(a) != ceph_conn_rados(c));
	ASSERT_EQ(fake_ceph_n_connections(), 3);
	ASSERT_STR(ceph_conn_cluster(d), "c2");
	for (struct ceph_conn **p = (struct ceph_conn *[]){ a, b, c, d, NULL }; *p; p++)
		ceph_conn_put(*p);
	ASSERT_EQ(fake_ceph_n_connections(), 3);
	ASSERT_OK(ask(&c1, &err), &err);
	ASSERT_EQ(fake_ceph_n_connects(), 3);
	end();
}

TEST(the_idle_are_closed_and_the_used_are_not)
{
	struct ceph_conn *used;

	begin();
	used = get(&c1);
	ASSERT_OK(ask(&c2, &err), &err);
	clock_fake_advance(299 * NS_PER_S);
	ceph_conns_sweep(conns);
	ASSERT_EQ(fake_ceph_n_connections(), 2);
	clock_fake_advance(2 * NS_PER_S);
	ceph_conns_sweep(conns);
	ASSERT_EQ(fake_ceph_n_connections(), 1);
	ceph_conn_put(used);
	ASSERT_OK(ask(&c1, &err), &err);
	ASSERT_EQ(fake_ceph_n_connects(), 2);
	clock_fake_advance(301 * NS_PER_S);
	ceph_conns_sweep(conns);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
	end();
}

TEST(each_connection_has_its_time_outs_and_no_log)
{
	static const char *const want[][2] = {
		{ "mon_host", FAKE_CEPH_MONITORS },
		{ "client_mount_timeout", "10" },
		{ "rados_mon_op_timeout", "10" },
		{ "rados_osd_op_timeout", "10" },
		{ "log_file", "" },
		{ "log_to_stderr", "false" },
		{ "err_to_stderr", "false" },
		{ "keyring", "" },
	};

	begin();
	ASSERT_OK(ask(&c1, &err), &err);
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		ASSERT_STR(str_or(fake_ceph_option(want[i][0]), ""), want[i][1]);
	end();
}

TEST(who_is_not_let_in_is_told_why)
{
	struct login_case {
		struct ceph_login login;
		enum err_code code;
		const char *words;
	};
	const struct login_case cases[] = {
		{ { "c1", FAKE_CEPH_MONITORS, "csi-rbd", OTHER_KEY },
		  ERR_UNAUTHENTICATED,
		  "another key" },
		{ { "c1", FAKE_CEPH_MONITORS, "nobody", FAKE_CEPH_KEY },
		  ERR_UNAUTHENTICATED,
		  "'nobody'" },
		{ { "c1", FAKE_CEPH_MONITORS, "client.csi-rbd", FAKE_CEPH_KEY },
		  ERR_INVALID_ARGUMENT,
		  "without 'client.'" },
		{ { "c1", FAKE_CEPH_MONITORS, "csi-rbd", "SECRETSECRET" },
		  ERR_INVALID_ARGUMENT,
		  "ceph auth get-key" },
		{ { "c1", FAKE_CEPH_MONITORS, "csi-rbd", "%" }, ERR_INVALID_ARGUMENT, "key" },
		{ { "c1", "10.9.9.9:1", "csi-rbd", FAKE_CEPH_KEY }, ERR_UNAVAILABLE, "10.9.9.9:1" },
		{ { "c1", "a b", "csi-rbd", FAKE_CEPH_KEY }, ERR_INVALID_ARGUMENT, "'a b'" },
		{ { "c1", "", "csi-rbd", FAKE_CEPH_KEY }, ERR_INVALID_ARGUMENT, "no monitors" },
	};

	begin();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ceph_conn *conn;

		ASSERT_ERR(ceph_conn_get(conns, &ctx, &cases[i].login, &conn, &err), &err,
			   cases[i].code, cases[i].words);
		ASSERT_TRUE(strstr(err.msg, "'c1'") != NULL);
		ASSERT_TRUE(strstr(err.msg, "SECRET") == NULL);
		ASSERT_TRUE(strstr(err.msg, OTHER_KEY) == NULL);
		ASSERT_EQ(fake_ceph_n_connections(), 0);
	}
	end();
}

TEST(a_rotated_key_is_followed)
{
	struct ceph_login rotated = c1;
	struct ceph_conn *conn;

	begin();
	ASSERT_OK(ask(&c1, &err), &err);
	fake_ceph_set_key(FAKE_CEPH_MONITORS, FAKE_CEPH_USER, OTHER_KEY);
	rotated.key = OTHER_KEY;
	ASSERT_OK(ask(&rotated, &err), &err);
	clock_fake_advance(301 * NS_PER_S);
	ceph_conns_sweep(conns);
	ASSERT_ERR(ceph_conn_get(conns, &ctx, &c1, &conn, &err), &err, ERR_UNAUTHENTICATED, "'c1'");
	end();
}

TEST(the_blocklisted_get_a_new_connection)
{
	struct ceph_conn *other;

	begin();
	other = get(&c1);
	fake_ceph_blocklist(FAKE_CEPH_MONITORS);
	ASSERT_ERR(ask(&c1, &err), &err, ERR_UNAVAILABLE, "blocklisted");
	ASSERT_OK(ask(&c1, &err), &err);
	ASSERT_EQ(fake_ceph_n_connections(), 2); /* the old one as long as somebody has it */
	ceph_conn_put(other);
	ASSERT_EQ(fake_ceph_n_connections(), 1);
	end();
}

static double timeouts(void)
{
	autostr struct str text = STR_INIT;
	const char *at;

	metric_render(&text);
	at = strstr(str_get(&text), "cleat_ceph_timeouts_total{cluster=\"c1\"} ");
	return at ? strtod(strchr(at, ' '), NULL) : 0;
}

/* The caller who holds a lease of a cluster that fell silent asks; others do not. */
TEST(a_silent_cluster_is_asked_by_one_call_at_a_time)
{
	struct ceph_conn *asker, *conn;
	double before = timeouts();

	begin();
	ASSERT_OK(ask(&c1, &err), &err);
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(ask(&c1, &err), &err, ERR_UNAVAILABLE, "no answer in time");
	asker = get(&c1);
	clock_fake_advance(7 * NS_PER_S);
	ASSERT_ERR(ceph_conn_get(conns, &ctx, &c1, &conn, &err), &err, ERR_UNAVAILABLE, "7.0 s");
	ASSERT_OK(ask(&c2, &err), &err);
	(void)ceph_conn_failed(asker, -ETIMEDOUT, &err, "ask");
	ceph_conn_put(asker);
	ASSERT_TRUE(timeouts() == before + 2);

	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	asker = get(&c1); /* still one at a time, until it was answered */
	ASSERT_ERR(ceph_conn_get(conns, &ctx, &c1, &conn, &err), &err, ERR_UNAVAILABLE, "c1");
	ceph_conn_put(asker);
	asker = get(&c1);
	ASSERT_OK(ask(&c1, &err), &err);
	ceph_conn_put(asker);
	end();
}

/* A long call keeps others away no longer than until its first answer. */
TEST(the_first_answer_ends_the_silence)
{
	struct ceph_conn *asker, *conn;

	begin();
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(ask(&c1, &err), &err, ERR_UNAVAILABLE, "no monitor");
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	asker = get(&c1);
	ASSERT_ERR(ceph_conn_get(conns, &ctx, &c1, &conn, &err), &err, ERR_UNAVAILABLE, "c1");
	ceph_conn_answered(asker);
	ASSERT_OK(ask(&c1, &err), &err);
	(void)ceph_conn_failed(asker, -ETIMEDOUT, &err, "ask"); /* and is silent again */
	conn = get(&c1);
	ASSERT_ERR(ask(&c1, &err), &err, ERR_UNAVAILABLE, "c1");
	ceph_conn_answered(asker); /* is not the one who asks now */
	ASSERT_ERR(ask(&c1, &err), &err, ERR_UNAVAILABLE, "c1");
	ceph_conn_put(conn);
	ceph_conn_put(asker);
	ASSERT_OK(ask(&c1, &err), &err);
	end();
}

TEST(what_began_before_the_silence_does_not_end_it)
{
	struct ceph_conn *early, *asker, *conn;

	begin();
	early = get(&c1);
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(ask(&c1, &err), &err, ERR_UNAVAILABLE, "no answer");
	ceph_conn_put(early);
	asker = get(&c1);
	ASSERT_ERR(ceph_conn_get(conns, &ctx, &c1, &conn, &err), &err, ERR_UNAVAILABLE, "c1");
	ceph_conn_put(asker);
	end();
}

TEST(a_cluster_that_was_never_there_is_silent_too)
{
	begin();
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(ask(&c1, &err), &err, ERR_UNAVAILABLE, "no monitor of cluster 'c1'");
	ASSERT_ERR(ask(&c1, &err), &err, ERR_UNAVAILABLE, "no monitor of cluster 'c1'");
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	ASSERT_OK(ask(&c1, &err), &err);
	ASSERT_OK(ask(&c1, &err), &err);
	end();
}

/* A class with a wrong key, whom monitors do not answer, keeps nobody else from the cluster. */
TEST(the_silence_of_one_login_is_its_own)
{
	struct ceph_login other = c1;
	struct ceph_conn *asker, *conn;

	begin();
	other.user = "nobody";
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(ask(&other, &err), &err, ERR_UNAVAILABLE, "'nobody'");
	ASSERT_ERR(ask(&c1, &err), &err, ERR_UNAVAILABLE, "no monitor");
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	asker = get(&c1);
	ASSERT_ERR(ceph_conn_get(conns, &ctx, &other, &conn, &err), &err, ERR_UNAUTHENTICATED, "");
	ceph_conn_put(asker);
	ASSERT_OK(ask(&c1, &err), &err);
	end();
}

static void *ask_in_thread(void *arg)
{
	struct err *e = arg;
	struct ctx own;
	struct ceph_conn *conn;
	int rc;

	ctx_init(&own, 0);
	(void)snprintf(own.id, sizeof(own.id), "first-call");
	rc = ceph_conn_get(conns, &own, &c1, &conn, e);
	if (rc == 0)
		ceph_conn_put(conn);
	ctx_done(&own);
	return rc == 0 ? arg : NULL;
}

/* The first connection hangs in the library: others wait for a second at most, and those who come
 * when it is known to be silent not at all. */
TEST(who_wants_a_connection_that_is_being_made_waits_a_moment)
{
	struct err first_err;
	struct ceph_conn *conn;
	pthread_t first;
	void *done;

	begin();
	fake_ceph_hold(FAKE_CEPH_MONITORS, true);
	ASSERT_EQ(pthread_create(&first, NULL, ask_in_thread, &first_err), 0);
	while (fake_ceph_n_held() == 0)
		sched_yield();
	ASSERT_ERR(ceph_conn_get(conns, &ctx, &c1, &conn, &err), &err, ERR_UNAVAILABLE,
		   "first-call");
	ASSERT_OK(ask(&c2, &err), &err);
	fake_ceph_hold(FAKE_CEPH_MONITORS, false);
	ASSERT_EQ(pthread_join(first, &done), 0);
	ASSERT_TRUE(done != NULL);
	ASSERT_OK(ask(&c1, &err), &err);
	ASSERT_EQ(fake_ceph_n_connects(), 2);
	end();
}

#define THREADS 8
#define ROUNDS 200

struct crowd {
	atomic_uint n_ok, n_refused, n_odd;
};

static void *crowd_in_thread(void *arg)
{
	struct crowd *crowd = arg;
	struct err e;

	for (int i = 0; i < ROUNDS; i++) {
		const struct ceph_login *login = i % 3 ? &c1 : &c2;

		if (ask(login, &e) == 0)
			atomic_fetch_add(&crowd->n_ok, 1);
		else if (e.code == ERR_UNAVAILABLE)
			atomic_fetch_add(&crowd->n_refused, 1);
		else
			atomic_fetch_add(&crowd->n_odd, 1);
		if (i % 16 == 0)
			ceph_conns_sweep(conns);
		if (i % 32 == 1)
			fake_ceph_blocklist(FAKE_CEPH_MONITORS);
		if (i % 8 == 0)
			fake_ceph_silence(FAKE_CEPH_MONITORS, i % 16 == 0);
	}
	return NULL;
}

TEST(a_crowd_ends_with_all_given_back)
{
	struct crowd crowd = { 0 };
	pthread_t threads[THREADS];

	begin();
	for (size_t i = 0; i < THREADS; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, crowd_in_thread, &crowd), 0);
	for (size_t i = 0; i < THREADS; i++)
		ASSERT_EQ(pthread_join(threads[i], NULL), 0);
	ASSERT_EQ(crowd.n_odd, 0);
	ASSERT_EQ(crowd.n_ok + crowd.n_refused, THREADS * ROUNDS);
	ASSERT_TRUE(crowd.n_ok > 0);
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	(void)ask(&c1, &err); /* of a connection that was blocklisted, or after silence */
	(void)ask(&c1, &err);
	ASSERT_OK(ask(&c1, &err), &err);
	end();
}

TEST(what_a_secret_lacks_is_named)
{
	struct arena *a = arena_new();
	struct ceph_login login = c1;
	struct secrets s;

	begin();
	ASSERT_ERR(ceph_login_read(NULL, CEPH_LOGIN_USER, &login, &err), &err, ERR_INVALID_ARGUMENT,
		   "userID");
	s.map = strmap_from(a, (const struct strpair[]){ { "userID", "u" } }, 1);
	ASSERT_ERR(ceph_login_read(&s, CEPH_LOGIN_USER, &login, &err), &err, ERR_INVALID_ARGUMENT,
		   "no userKey");
	s.map = strmap_from(a, (const struct strpair[]){ { "userKey", "SECRET" } }, 1);
	ASSERT_ERR(ceph_login_read(&s, CEPH_LOGIN_USER, &login, &err), &err, ERR_INVALID_ARGUMENT,
		   "no userID");
	ASSERT_TRUE(strstr(err.msg, "SECRET") == NULL);
	s.map = strmap_from(a, (const struct strpair[]){ { "adminID", "a" }, { "adminKey", "k" } },
			    2);
	ASSERT_OK(ceph_login_read(&s, CEPH_LOGIN_USER, &login, &err), &err);
	ASSERT_STR(login.user, "a");
	ASSERT_STR(login.key, "k");
	ASSERT_STR(login.cluster, "c1");
	arena_free(a);
	end();
}

/* A key's head, in base64, for 24 bytes that follow. */
#define KEY_HEAD "AQBhYmNkZWZnaBgA"

static void ask_with(const char *key)
{
	struct ceph_login login = c1;
	struct ceph_conn *conn;

	login.key = key;
	conn = get(&login);
	ceph_conn_put(conn);
	clock_fake_advance(301 * NS_PER_S);
	ceph_conns_sweep(conns);
	login.user = "nobody";
	ASSERT_ERR(ceph_conn_get(conns, &ctx, &login, &conn, &err), &err, ERR_UNAUTHENTICATED, "");
}

TEST(nothing_of_a_key_is_left)
{
	static char key[] = KEY_HEAD "................................";

	begin();
	for (size_t i = 0; i < SECRET_LEN; i++)
		key[sizeof(KEY_HEAD) - 1 + i] = secret_byte(i);
	fake_ceph_set_key(FAKE_CEPH_MONITORS, FAKE_CEPH_USER, key);
	ask_with(key);
	ASSERT_TRUE(count_secrets() > 0);
	end();
	fake_ceph_reset();
	explicit_bzero(key, sizeof(key));
	ASSERT_EQ(count_secrets(), 0);
}

TEST(pools_are_opened_by_name_and_number)
{
	struct ceph_conn *conn;
	rados_ioctx_t io;
	char ns[8];

	begin();
	conn = get(&c1);
	ASSERT_OK(ceph_conn_open_pool(conn, "rbd", "team", &io, &err), &err);
	ASSERT_TRUE(ceph_conn_lib(conn)->rados_ioctx_get_namespace(io, ns, sizeof(ns)) == 4);
	ASSERT_STR(ns, "team");
	ceph_conn_lib(conn)->rados_ioctx_destroy(io);
	ASSERT_OK(ceph_conn_open_pool_id(conn, 1, "", &io, &err), &err);
	ceph_conn_lib(conn)->rados_ioctx_destroy(io);
	ASSERT_ERR(ceph_conn_open_pool(conn, "x", "", &io, &err), &err, ERR_NOT_FOUND, "'x'");
	ASSERT_ERR(ceph_conn_open_pool_id(conn, 9, "", &io, &err), &err, ERR_NOT_FOUND, "9");
	ceph_conn_put(conn);
	end();
}

TEST(each_error_has_its_code)
{
	static const struct {
		int errnum;
		enum err_code code;
		const char *words;
	} cases[] = {
		{ EACCES, ERR_PERMISSION_DENIED, "profile rbd" },
		{ EPERM, ERR_PERMISSION_DENIED, "profile rbd" },
		{ ENOENT, ERR_NOT_FOUND, "No such file" },
		{ EEXIST, ERR_ALREADY_EXISTS, "exists" },
		{ ENOSPC, ERR_RESOURCE_EXHAUSTED, "full" },
		{ EDQUOT, ERR_RESOURCE_EXHAUSTED, "quota" },
		{ EBUSY, ERR_FAILED_PRECONDITION, "busy" },
		{ EROFS, ERR_UNAVAILABLE, "only read" },
		{ EINVAL, ERR_INVALID_ARGUMENT, "Invalid" },
		{ EIO, ERR_INTERNAL, "error" },
	};
	struct ceph_conn *conn;

	begin();
	conn = get(&c1);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ASSERT_ERR(ceph_conn_failed(conn, -cases[i].errnum, &err, "open image '%s'", "i"),
			   &err, cases[i].code, cases[i].words);
		ASSERT_TRUE(strstr(err.msg, "cluster 'c1': open image 'i'") != NULL);
		ASSERT_EQ(err.os, cases[i].errnum);
	}
	ceph_conn_put(conn);
	end();
}

RUN_TESTS(UNIT(a_login_has_one_connection), UNIT(the_idle_are_closed_and_the_used_are_not),
	  UNIT(each_connection_has_its_time_outs_and_no_log), UNIT(who_is_not_let_in_is_told_why),
	  UNIT(a_rotated_key_is_followed), UNIT(the_blocklisted_get_a_new_connection),
	  UNIT(a_silent_cluster_is_asked_by_one_call_at_a_time),
	  UNIT(the_first_answer_ends_the_silence),
	  UNIT(what_began_before_the_silence_does_not_end_it),
	  UNIT(a_cluster_that_was_never_there_is_silent_too),
	  UNIT(the_silence_of_one_login_is_its_own),
	  UNIT(who_wants_a_connection_that_is_being_made_waits_a_moment),
	  UNIT(a_crowd_ends_with_all_given_back), UNIT(what_a_secret_lacks_is_named),
	  UNIT(nothing_of_a_key_is_left), UNIT(pools_are_opened_by_name_and_number),
	  UNIT(each_error_has_its_code))
