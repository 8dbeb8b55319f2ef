/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why this is needed: rados_mgr_command waits on its own stack. With a time limit
 * (rados_mon_op_timeout) it returns when that is up and leaves the addresses of what was on the
 * stack with the client, which writes the answer there whenever it comes (librados 16 to 19,
 * RadosClient::mgr_command). Without a limit it waits until it is answered, through restarts and
 * changes of the manager, to whom the client sends again what is unanswered. Nor is there a way out
 * by rados_shutdown: the client then forgets what is unanswered, and who waits is never woken. So a
 * connection is not closed before its last errand has ended, and a process that ends leaves such
 * ones as they are.
 *
 * The commands of librbd's connection go over one of their own (conn.h), made here by the first
 * of them.
 */
#include "backend/ceph/errand.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "backend/ceph/conn-internal.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "event/work.h"

#define LOG_ROOM "backend.ceph"
#include "base/log.h"

#define IDLE_NS (2 * NS_PER_S)
#define STACK_BYTES ((size_t)8 << 20) /* librados expects that of a thread */

static double age_s(const struct ceph_errand *e)
{
	return (double)(clock_now_ns() - e->since_ns) / (double)NS_PER_S;
}

/* Locked. Those that nobody waits for; the oldest of them. */
static unsigned count_left(const struct account *a, const struct ceph_errand **ret_oldest)
{
	unsigned n = 0;

	for (size_t i = 0; i < a->errands.n; i++) {
		const struct ceph_errand *e = a->errands.v[i];

		if (!e->is_left || !e->is_begun)
			continue;
		if (n++ == 0)
			*ret_oldest = e;
	}
	return n;
}

void errand_report(const struct ceph_conns *c, const char *cluster)
{
	double oldest_s = 0;
	unsigned n = 0;

	for (size_t i = 0; i < c->accounts.n; i++) {
		const struct account *a = c->accounts.v[i];
		const struct ceph_errand *oldest = NULL;
		unsigned n_left = count_left(a, &oldest);

		if (n_left == 0 || !str_is_equal(oldest->cluster, cluster))
			continue;
		n += n_left;
		oldest_s = age_s(oldest) > oldest_s ? age_s(oldest) : oldest_s;
	}
	metric_set(METRIC_CEPH_UNANSWERED, n, METRIC_ARGS(cluster));
	metric_set(METRIC_CEPH_UNANSWERED_AGE, oldest_s, METRIC_ARGS(cluster));
}

static void free_errand(struct ceph_errand *e)
{
	(void)close(e->done_fd);
	free(e->cluster);
	e->free(e, e->lib);
}

void ceph_errand_put(struct ceph_errand *e)
{
	pthread_mutex_t *lock = &e->conns->lock;
	bool is_last;

	pthread_mutex_lock(lock);
	is_last = --e->n_refs == 0;
	pthread_mutex_unlock(lock);
	if (is_last)
		free_errand(e);
}

/* The connection that a command to the manager goes over. */
static int manager_of(const struct ceph_errand *e, rados_t *ret_rados)
{
	struct link *l = e->link;
	rados_t made = NULL;
	int rc;

	pthread_mutex_lock(&e->conns->lock);
	*ret_rados = l->manager;
	pthread_mutex_unlock(&e->conns->lock);
	if (*ret_rados)
		return 0;
	rc = conn_connect_again(e->conns, e->account, l->rados, &made);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&e->conns->lock);
	if (!l->manager) {
		l->manager = TAKE_PTR(made);
		conn_count(1);
	}
	*ret_rados = l->manager;
	pthread_mutex_unlock(&e->conns->lock);
	if (made)
		e->lib->rados_shutdown(made); /* another one was quicker */
	return 0;
}

static int run(struct ceph_errand *e)
{
	rados_t rados = e->link->rados;
	int rc = e->is_managers && e->conns->has_librbd ? manager_of(e, &rados) : 0;

	return rc < 0 ? rc : e->run(e, e->lib, rados);
}

/* Locked. Its link, if that is to be closed now. */
static struct link *leave_link(struct ceph_errand *e)
{
	struct account *a = e->account;
	struct link *l = TAKE_PTR(e->link);

	for (size_t i = 0; i < a->errands.n; i++) {
		if (a->errands.v[i] != e)
			continue;
		a->errands.n--;
		memmove(&a->errands.v[i], &a->errands.v[i + 1],
			(a->errands.n - i) * sizeof(struct ceph_errand *));
		break;
	}
	l->n_errands -= e->is_managers;
	l->manager_used_ns = clock_now_ns();
	a->n_here--;
	return conn_end_lease(a, l);
}

static void tell_late(const struct ceph_errand *e, int rc)
{
	log_info("the cluster has answered what nobody waits for any more",
		 log_str("cluster", e->cluster), log_str("call", e->name),
		 log_i64("seconds", (int64_t)age_s(e)), log_i64("rc", rc));
}

/* The last that its thread does; for which its connections wait before they go (free_account). */
static void finish(struct ceph_errand *e, int rc)
{
	static const uint64_t one = 1;
	const struct ceph_lib *lib = e->lib;
	struct link *closing;
	bool is_late;

	pthread_mutex_lock(&e->conns->lock);
	e->rc = rc;
	closing = leave_link(e);
	is_late = e->is_left && e->is_begun;
	if (is_late)
		errand_report(e->conns, e->cluster);
	(void)fd_write_all(e->done_fd, &one, sizeof(one));
	pthread_mutex_unlock(&e->conns->lock);
	if (is_late)
		tell_late(e, rc);
	ceph_errand_put(e);
	if (closing)
		conn_close_link(lib, closing);
}

static void run_errand(void *arg)
{
	struct ceph_errand *e = arg;
	bool begins;

	pthread_mutex_lock(&e->conns->lock);
	begins = e->is_begun = !e->is_left;
	pthread_mutex_unlock(&e->conns->lock);
	finish(e, begins ? run(e) : -ECANCELED);
}

/* Locked. */
static int refuse(const struct account *a, struct err *err)
{
	const struct ceph_errand *oldest = NULL;

	if (count_left(a, &oldest) < ERRAND_THREADS)
		return 0;
	return err_set(err, ERR_UNAVAILABLE,
		       "cluster '%s' has not answered %u calls, and no more are made before it "
		       "does; the oldest is '%s', for %.1f s",
		       oldest->cluster, ERRAND_THREADS, oldest->name, age_s(oldest));
}

/* Locked. Threads of the login's own, which end when they have nothing to do. */
static int begin_threads(struct account *a, struct err *err)
{
	static const struct work_lane_def lane = { .name = "ceph",
						   .threads = ERRAND_THREADS,
						   .stack_bytes = STACK_BYTES };
	const struct work_options opts = { .lanes = &lane, .n_lanes = 1, .idle_ns = IDLE_NS };
	int r = a->work ? 0 : work_new(&opts, &a->work);

	return r < 0 ? err_os(err, ERR_RESOURCE_EXHAUSTED, r, "threads for calls to a cluster") : 0;
}

/* Locked. */
static int submit(struct ceph_conn *conn, struct ceph_errand *e, struct err *err)
{
	struct account *a = conn->account;
	int r;

	if (refuse(a, err) < 0 || begin_threads(a, err) < 0)
		return -1;
	e->account = a;
	e->link = conn->link;
	r = work_submit(a->work, 0, run_errand, e);
	if (r < 0)
		return err_os(err, ERR_UNAVAILABLE, r, "cluster '%s': too many calls wait for it",
			      conn->cluster);
	vec_push(&a->errands, e);
	a->n_here++;
	e->link->n_leases++;
	e->link->n_errands += e->is_managers;
	e->n_refs++;
	return 0;
}

static int begin(struct ceph_conn *conn, struct ceph_errand *e, struct err *err)
{
	int rc;

	e->conns = conn->conns;
	e->lib = conn->lib;
	e->cluster = xstrdup(conn->cluster);
	e->since_ns = clock_now_ns();
	e->n_refs = 1;
	e->done_fd = eventfd(0, EFD_CLOEXEC);
	if (e->done_fd < 0)
		return err_os(err, ERR_RESOURCE_EXHAUSTED, errno, "wait for cluster '%s'",
			      conn->cluster);
	pthread_mutex_lock(&conn->conns->lock);
	rc = submit(conn, e, err);
	pthread_mutex_unlock(&conn->conns->lock);
	return rc;
}

/* The real clock, whatever tests say: the library's limits are real ones, too. */
static int64_t real_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / NS_PER_MS;
}

/* 1: it has ended; 0: not within the time limit. */
static int await(struct ctx *ctx, int fd, unsigned limit_s, struct err *err)
{
	int64_t until_ms = real_ms() + (int64_t)limit_s * 1000;

	for (;;) {
		struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
					 { .fd = ctx_cancel_fd(ctx), .events = POLLIN } };
		int64_t left_ms = until_ms - real_ms();

		(void)poll(fds, 2, ctx_poll_ms(ctx, left_ms > 0 ? (int)left_ms : 0));
		if (fds[0].revents)
			return 1;
		if (ctx_check(ctx, err) < 0)
			return -1;
		if (left_ms <= 0)
			return 0;
	}
}

/* It may have ended in this moment. */
static bool leave(struct ceph_errand *e)
{
	bool has_ended;

	pthread_mutex_lock(&e->conns->lock);
	has_ended = !e->link;
	e->is_left = !has_ended;
	if (e->is_left && e->is_begun)
		errand_report(e->conns, e->cluster);
	pthread_mutex_unlock(&e->conns->lock);
	if (!has_ended)
		log_debug("the cluster is left alone with a call that it does not answer",
			  log_str("cluster", e->cluster), log_str("call", e->name));
	return !has_ended;
}

/* By the lock, all that its thread has written is seen from here on. */
static int answer_of(struct ceph_errand *e)
{
	int rc;

	pthread_mutex_lock(&e->conns->lock);
	rc = e->rc;
	pthread_mutex_unlock(&e->conns->lock);
	return rc;
}

int ceph_errand_run(struct ceph_conn *conn, struct ctx *ctx, struct ceph_errand *e, int *ret_rc,
		    struct err *err)
{
	int rc;

	if (begin(conn, e, err) < 0)
		return -1;
	rc = await(ctx, e->done_fd, conn->conns->op_timeout_s, err);
	if (rc <= 0 && leave(e))
		return rc;
	*ret_rc = answer_of(e);
	return 1;
}
