/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What callers hold is a lease of one call; behind it is a link, the library's connection, which
 * all calls of one login share by its account. The account knows whether the cluster answers it: it
 * is silent from a call that timed out to one, begun later, that did not.
 *
 *            a call timed out
 *   answers ─────────────────► silent: one call at a time asks, others are refused at once
 *      ▲                          │
 *      └──────────────────────────┘
 *         the one that asked had no time-out
 *
 * This is each login's own affair, not its monitors': what is wrong with one (a key that monitors
 * do not even answer) must not keep others from the same cluster.
 *
 * The library cannot cancel what it has begun, and its time-outs are those of the connection. So a
 * call may outlive its deadline by one op time-out, never more, if it looks at its ctx before each
 * step; what has no time-out there is an errand (errand.c). And while a connection is being made,
 * others who want it wait for a moment only.
 */
#include "backend/ceph/conn.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "backend/ceph/conn-internal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "event/work.h"

#define OP_TIMEOUT_S 10
#define IDLE_NS (300 * NS_PER_S)
#define MANAGER_IDLE_NS NS_PER_S /* it has nine threads and is made in some ms */
/* A connection is made in some 10 ms; who waits longer waits for a cluster that does not answer. */
#define PATIENCE_NS NS_PER_S

struct ceph_conns *ceph_conns_new(const struct ceph_conns_options *opts)
{
	struct ceph_conns *c = xcalloc(1, sizeof(*c));
	pthread_condattr_t attr;

	c->lib = opts->lib;
	c->op_timeout_s = opts->op_timeout_s ? opts->op_timeout_s : OP_TIMEOUT_S;
	c->idle_ns = opts->idle_ns ? opts->idle_ns : IDLE_NS;
	c->has_librbd = opts->has_librbd;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->made, &attr);
	pthread_condattr_destroy(&attr);
	metric_expect(METRIC_CEPH_CONNECTIONS, NULL);
	return c;
}

void conn_count(double by)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards n */
	static double n;

	pthread_mutex_lock(&lock);
	n += by;
	metric_set(METRIC_CEPH_CONNECTIONS, n, NULL);
	pthread_mutex_unlock(&lock);
}

static void close_rados(const struct ceph_lib *lib, rados_t rados)
{
	if (!rados)
		return;
	lib->rados_shutdown(rados);
	conn_count(-1);
}

void conn_close_link(const struct ceph_lib *lib, struct link *l)
{
	close_rados(lib, l->manager);
	close_rados(lib, l->rados);
	free(l);
}

/* Not under the lock: waits for threads that are about to end. */
static void free_account(struct account *a)
{
	work_free(a->work);
	vec_done(&a->errands);
	explicit_bzero(a->key_hash, sizeof(a->key_hash));
	free(a->monitors);
	free(a->user);
	free(a);
}

static void free_conns(struct ceph_conns *c)
{
	for (size_t i = 0; i < c->accounts.n; i++)
		free_account(c->accounts.v[i]);
	vec_done(&c->accounts);
	pthread_cond_destroy(&c->made);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static bool has_errands(struct ceph_conns *c)
{
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->accounts.n; i++)
		n += c->accounts.v[i]->errands.n;
	pthread_mutex_unlock(&c->lock);
	return n > 0;
}

/* What was freed while errands went on, which need it until they end. */
static struct ceph_conns *left;
static pthread_mutex_t left_lock = PTHREAD_MUTEX_INITIALIZER; /* guards left */

static void free_or_leave(struct ceph_conns *c)
{
	if (!has_errands(c)) {
		free_conns(c);
		return;
	}
	pthread_mutex_lock(&left_lock);
	c->next_left = left;
	left = c;
	pthread_mutex_unlock(&left_lock);
}

static void free_left(void)
{
	struct ceph_conns *c, *next;

	pthread_mutex_lock(&left_lock);
	c = TAKE_PTR(left);
	pthread_mutex_unlock(&left_lock);
	for (; c; c = next) {
		next = c->next_left;
		free_or_leave(c);
	}
}

/* Of a link that errands have yet the last one closes it. */
static void let_go(struct ceph_conns *c, struct account *a)
{
	struct link *l;

	pthread_mutex_lock(&c->lock);
	assert(a->n_here == a->errands.n);
	l = TAKE_PTR(a->link);
	if (l && l->n_leases > 0)
		l = NULL;
	pthread_mutex_unlock(&c->lock);
	if (l)
		conn_close_link(c->lib, l);
}

void ceph_conns_free(struct ceph_conns *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->accounts.n; i++)
		let_go(c, c->accounts.v[i]);
	free_or_leave(c);
	free_left();
}

/* Locked. A link that nobody has used for long enough, and no account has any more; NULL: none. */
static struct link *take_idle(struct ceph_conns *c, int64_t now_ns)
{
	for (size_t i = 0; i < c->accounts.n; i++) {
		struct account *a = c->accounts.v[i];
		struct link *l = a->link;

		if (l && l->n_leases == 0 && now_ns - l->used_ns >= c->idle_ns) {
			a->link = NULL;
			return l;
		}
	}
	return NULL;
}

/* Locked. The same of a connection to the manager. */
static rados_t take_idle_manager(struct ceph_conns *c, int64_t now_ns)
{
	for (size_t i = 0; i < c->accounts.n; i++) {
		struct link *l = c->accounts.v[i]->link;

		if (l && l->manager && l->n_errands == 0 &&
		    now_ns - l->manager_used_ns >= MANAGER_IDLE_NS)
			return TAKE_PTR(l->manager);
	}
	return NULL;
}

/* Locked. One of no use; one that is silent is kept for a while, so that its silence is known. */
static struct account *take_account(struct ceph_conns *c, int64_t now_ns)
{
	for (size_t i = 0; i < c->accounts.n; i++) {
		struct account *a = c->accounts.v[i];

		if (a->n_here || a->link ||
		    (a->silent_since_ns && now_ns - a->silent_since_ns < c->idle_ns))
			continue;
		c->accounts.v[i] = c->accounts.v[--c->accounts.n];
		return a;
	}
	return NULL;
}

static void report(const struct ceph_conns *c)
{
	for (size_t i = 0; i < c->accounts.n; i++)
		if (c->accounts.v[i]->errands.n)
			errand_report(c, c->accounts.v[i]->errands.v[0]->cluster);
}

void ceph_conns_sweep(struct ceph_conns *c)
{
	int64_t now_ns = clock_now_ns();
	struct account *a;
	rados_t manager;
	struct link *l;

	do {
		pthread_mutex_lock(&c->lock);
		report(c);
		l = take_idle(c, now_ns);
		manager = take_idle_manager(c, now_ns);
		a = l ? NULL : take_account(c, now_ns);
		pthread_mutex_unlock(&c->lock);
		if (l)
			conn_close_link(c->lib, l);
		close_rados(c->lib, manager);
		if (a)
			free_account(a);
	} while (l || manager || a);
}

static int load_lib(struct ceph_conns *c, struct err *err)
{
	const struct ceph_lib *lib;

	pthread_mutex_lock(&c->lock);
	lib = c->lib;
	pthread_mutex_unlock(&c->lock);
	if (lib)
		return 0;
	if (ceph_lib_load(&lib, err) < 0)
		return -1;
	pthread_mutex_lock(&c->lock);
	c->lib = lib;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

/* Locked. */
static struct account *account_of(struct ceph_conns *c, const struct ceph_login *login)
{
	uint8_t key_hash[SHA256_BYTES];
	struct account *a;

	sha256(login->key, strlen(login->key), key_hash);
	for (size_t i = 0; i < c->accounts.n; i++) {
		a = c->accounts.v[i];
		if (str_is_equal(a->monitors, login->monitors) &&
		    str_is_equal(a->user, login->user) &&
		    memcmp(a->key_hash, key_hash, SHA256_BYTES) == 0)
			return a;
	}
	a = xcalloc(1, sizeof(*a));
	a->monitors = xstrdup(login->monitors);
	a->user = xstrdup(login->user);
	memcpy(a->key_hash, key_hash, SHA256_BYTES);
	vec_push(&c->accounts, a);
	return a;
}

static struct asker asker_of(const struct ctx *ctx)
{
	struct asker a = { .since_ns = clock_now_ns() };

	(void)snprintf(a.id, sizeof(a.id), "%s", str_or(ctx->id, "?"));
	return a;
}

static int refuse(const struct ceph_login *login, const struct asker *a, struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE,
		       "cluster '%s' does not answer (monitors %.200s); call %s has been asking it "
		       "for %.1f s, and others wait until that is over",
		       login->cluster, login->monitors, a->id,
		       (double)(clock_now_ns() - a->since_ns) / (double)NS_PER_S);
}

/* Locked; lets go of it meanwhile. false: time is up. The real clock, whatever tests say. */
static bool wait_for_maker(struct ceph_conns *c, struct timespec *until)
{
	if (until->tv_sec == 0) {
		clock_gettime(CLOCK_MONOTONIC, until);
		until->tv_sec += PATIENCE_NS / NS_PER_S;
	}
	return pthread_cond_timedwait(&c->made, &c->lock, until) != ETIMEDOUT;
}

/* Locked. The account's link, or the task of making it. */
static int join(struct ceph_conn *conn, const struct ctx *ctx, const struct ceph_login *login,
		bool *ret_is_maker, struct err *err)
{
	struct account *a = conn->account;
	struct timespec until = { 0 };

	/* Whatever was true before a wait is looked at again: others fail, and make others. */
	for (;;) {
		if (a->silent_since_ns && a->asked)
			return refuse(login, &a->asker, err);
		if (a->link || !a->is_making)
			break;
		if (!wait_for_maker(conn->conns, &until) && a->is_making)
			return refuse(login, &a->maker, err);
	}
	if (a->silent_since_ns) {
		a->asked = conn;
		conn->is_asker = true;
		a->asker = asker_of(ctx);
	}
	conn->link = a->link;
	if (conn->link) {
		conn->link->n_leases++;
		return 0;
	}
	a->is_making = true;
	a->maker = asker_of(ctx);
	*ret_is_maker = true;
	return 0;
}

/* Locked. What the end of a lease tells. Those that began before the silence had their answers
 * earlier, and tell nothing of now. */
static void note_answer(struct ceph_conn *conn)
{
	struct account *a = conn->account;

	if (conn->timed_out && !a->silent_since_ns)
		a->silent_since_ns = clock_now_ns();
	if (a->asked != conn)
		return;
	a->asked = NULL;
	if (!conn->timed_out)
		a->silent_since_ns = 0;
}

static int make_link(struct ceph_conn *conn, const struct ceph_login *login, struct err *err)
{
	struct ceph_conns *c = conn->conns;
	struct account *a = conn->account;
	rados_t rados = NULL;
	int rc = ceph_conn_connect(conn, login, &rados, err);

	if (rc == 0)
		conn_count(1);
	if (conn->timed_out)
		metric_add(METRIC_CEPH_TIMEOUTS, 1, METRIC_ARGS(conn->cluster));
	pthread_mutex_lock(&c->lock);
	a->is_making = false;
	if (rc == 0) {
		a->link = xcalloc(1, sizeof(*a->link));
		*a->link = (struct link){ .rados = rados, .n_leases = 1 };
		conn->link = a->link;
	} else {
		note_answer(conn);
		a->n_here--;
	}
	pthread_cond_broadcast(&c->made);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

static void free_conn(struct ceph_conn *conn)
{
	free(conn->cluster);
	free(conn);
}

static int begin(struct ceph_conn *conn, const struct ctx *ctx, const struct ceph_login *login,
		 bool *ret_is_maker, struct err *err)
{
	struct ceph_conns *c = conn->conns;
	int rc;

	pthread_mutex_lock(&c->lock);
	conn->lib = c->lib;
	conn->account = account_of(c, login);
	conn->account->n_here++;
	rc = join(conn, ctx, login, ret_is_maker, err);
	if (rc < 0)
		conn->account->n_here--;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

int ceph_conn_get(struct ceph_conns *c, struct ctx *ctx, const struct ceph_login *login,
		  struct ceph_conn **ret_conn, struct err *err)
{
	struct ceph_conn *conn;
	bool is_maker = false;

	if (conn_check_login(login, err) < 0 || load_lib(c, err) < 0 || ctx_check(ctx, err) < 0)
		return -1;
	conn = xcalloc(1, sizeof(*conn));
	conn->conns = c;
	conn->cluster = xstrdup(login->cluster);
	if (begin(conn, ctx, login, &is_maker, err) < 0 ||
	    (is_maker && make_link(conn, login, err) < 0)) {
		free_conn(conn);
		return -1;
	}
	conn->rados = conn->link->rados;
	*ret_conn = conn;
	return 0;
}

struct link *conn_end_lease(const struct account *a, struct link *l)
{
	l->n_leases--;
	l->used_ns = clock_now_ns();
	return l->n_leases == 0 && a->link != l ? l : NULL;
}

void ceph_conn_put(struct ceph_conn *conn)
{
	struct ceph_conns *c;
	struct link *closing;

	if (!conn)
		return;
	c = conn->conns;
	pthread_mutex_lock(&c->lock);
	note_answer(conn);
	closing = conn_end_lease(conn->account, conn->link);
	conn->account->n_here--;
	pthread_mutex_unlock(&c->lock);
	if (closing)
		conn_close_link(c->lib, closing);
	free_conn(conn);
}

void ceph_conn_answered(struct ceph_conn *conn)
{
	if (!conn->is_asker)
		return;
	conn->is_asker = false;
	pthread_mutex_lock(&conn->conns->lock);
	note_answer(conn);
	pthread_mutex_unlock(&conn->conns->lock);
}

const struct ceph_lib *ceph_conn_lib(const struct ceph_conn *conn)
{
	return conn->lib;
}

rados_t ceph_conn_rados(const struct ceph_conn *conn)
{
	return conn->rados;
}

const char *ceph_conn_cluster(const struct ceph_conn *conn)
{
	return conn->cluster;
}

void conn_note_failure(struct ceph_conn *conn, int rc)
{
	struct account *a = conn->account;
	bool is_timeout = rc == -ETIMEDOUT;
	bool is_cut = rc == -ESHUTDOWN || rc == -ENOTCONN;

	if (is_timeout)
		metric_add(METRIC_CEPH_TIMEOUTS, 1, METRIC_ARGS(conn->cluster));
	if (!is_timeout && !is_cut)
		return;
	pthread_mutex_lock(&conn->conns->lock);
	conn->timed_out |= is_timeout;
	if (is_timeout && !a->silent_since_ns)
		a->silent_since_ns = clock_now_ns();
	if (is_cut && a->link == conn->link)
		a->link = NULL; /* the next get makes another, its last lease closes it */
	pthread_mutex_unlock(&conn->conns->lock);
}
