/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backlog under a lock, worker jobs that take one key each, and one timer on
 * the loop for the first delayed key.
 *
 * A job ends after its key and the queue submits the next one, rather than
 * looping in the worker: lanes are shared, and so queues take turns. `running`
 * counts jobs from before they are submitted until after their last touch of
 * the queue, so queue_free has one thing to wait for. Jobs are submitted
 * outside the lock; what is counted but not yet submitted keeps the queue alive.
 *
 * The timer belongs to the loop's thread, and so is made, moved and freed by
 * posts; the queue's own memory is given back by the last of them.
 */
#include "kube/queue.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "kube/backlog.h"
#include "kube/fence.h"

#define DEFAULT_WORKERS 8
#define BUSY_RETRY_NS (20 * NS_PER_MS)     /* the lane's queue was full */
#define CUT_OFF_RETRY_NS (100 * NS_PER_MS) /* cancelled, or the fence closed before the pause */
#define JITTER 0.1

/* A key at work. On the stack of its worker; in the queue's list others may cancel it. */
struct labour {
	struct labour *next;
	int64_t since_ns;
	struct ctx ctx;
};

struct queue {
	struct queue *next; /* of all, under queues_lock */
	struct ev_loop *loop;
	struct work *work;
	char *name;
	struct queue_options opts;
	queue_reconcile_fn fn;
	void *arg;
	struct ev_timer *timer; /* loop only */

	pthread_mutex_t lock; /* all below */
	pthread_cond_t idle;  /* running became 0 */
	struct backlog *backlog;
	struct labour *labours;
	unsigned running;  /* jobs that may still touch this */
	unsigned starting; /* of these, not yet at a key */
	bool paused;
	bool closed;
	bool timer_posted;
	int64_t timer_ns; /* when the timer fires; BACKLOG_NEVER */
};

/* For the gauges that are only read. A lock of its own, taken before a queue's. */
static pthread_mutex_t queues_lock = PTHREAD_MUTEX_INITIALIZER;
static struct queue *queues;

static void run_job(void *arg);

static double in_seconds(int64_t ns)
{
	return ns > 0 ? (double)ns / NS_PER_S : 0;
}

static void render_queue(struct queue *q)
{
	int64_t now_ns = clock_now_ns();
	int64_t longest_ns = 0;
	int64_t sum_ns = 0;
	int64_t oldest_ns;

	LOCK_SCOPE(&q->lock);
	oldest_ns = backlog_oldest_ns(q->backlog, now_ns);
	metric_set(METRIC_WORKQUEUE_OLDEST,
		   oldest_ns == BACKLOG_NEVER ? 0 : in_seconds(now_ns - oldest_ns),
		   METRIC_ARGS(q->name));
	for (const struct labour *l = q->labours; l; l = l->next) {
		int64_t age_ns = now_ns - l->since_ns;

		sum_ns += age_ns;
		if (age_ns > longest_ns)
			longest_ns = age_ns;
	}
	metric_set(METRIC_WORKQUEUE_UNFINISHED, in_seconds(sum_ns), METRIC_ARGS(q->name));
	metric_set(METRIC_WORKQUEUE_LONGEST, in_seconds(longest_ns), METRIC_ARGS(q->name));
	metric_set(METRIC_WORKQUEUE_DEPTH, (double)backlog_ready(q->backlog, now_ns),
		   METRIC_ARGS(q->name));
}

static void render_all(void *arg)
{
	(void)arg;
	LOCK_SCOPE(&queues_lock);
	for (struct queue *q = queues; q; q = q->next)
		render_queue(q);
}

static void hook_render(void)
{
	metric_on_render(render_all, NULL);
}

/* Its series are there from now on. */
static void enlist(struct queue *q)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, hook_render);
	metric_expect(METRIC_WORKQUEUE_ADDS, METRIC_ARGS(q->name));
	metric_expect(METRIC_WORKQUEUE_RETRIES, METRIC_ARGS(q->name));
	metric_expect(METRIC_WORKQUEUE_QUEUE_SECONDS, METRIC_ARGS(q->name));
	metric_expect(METRIC_WORKQUEUE_WORK_SECONDS, METRIC_ARGS(q->name));
	LOCK_SCOPE(&queues_lock);
	q->next = queues;
	queues = q;
}

/* Its gauges stay as they are then: nothing at work. */
static void delist(struct queue *q)
{
	LOCK_SCOPE(&queues_lock);
	render_queue(q);
	for (struct queue **at = &queues; *at; at = &(*at)->next) {
		if (*at != q)
			continue;
		*at = q->next;
		return;
	}
}

static void begin_labour(struct queue *q, struct labour *l, const char *key)
{
	l->since_ns = clock_now_ns();
	ctx_init(&l->ctx, q->opts.timeout_ns);
	l->next = q->labours;
	q->labours = l;
	metric_observe(METRIC_WORKQUEUE_QUEUE_SECONDS,
		       in_seconds(l->since_ns - backlog_ready_ns(q->backlog, key)),
		       METRIC_ARGS(q->name));
}

/* Not under the lock. */
static void end_labour(struct queue *q, struct labour *l)
{
	struct labour **at = &q->labours;

	pthread_mutex_lock(&q->lock);
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	pthread_mutex_unlock(&q->lock);
	ctx_done(&l->ctx); /* nobody can cancel it any more */
	metric_observe(METRIC_WORKQUEUE_WORK_SECONDS, in_seconds(clock_now_ns() - l->since_ns),
		       METRIC_ARGS(q->name));
}

/* Under the lock. */
static void cancel_labours(struct queue *q)
{
	for (struct labour *l = q->labours; l; l = l->next)
		ctx_cancel(&l->ctx);
}

/* How many jobs to submit now; they are counted as running already. */
static unsigned claim_jobs(struct queue *q)
{
	size_t ready = backlog_ready(q->backlog, clock_now_ns());
	unsigned n = 0;

	metric_set(METRIC_WORKQUEUE_DEPTH, (double)ready, METRIC_ARGS(q->name));
	while (!q->paused && !q->closed && q->running < q->opts.workers && q->starting < ready) {
		q->running++;
		q->starting++;
		n++;
	}
	return n;
}

static void on_timer(void *arg);

/* Puts the timer to the first delayed key. */
static void move_timer(void *arg)
{
	struct queue *q = arg;
	int64_t due_ns;
	int64_t left_ns;

	pthread_mutex_lock(&q->lock);
	q->timer_posted = false;
	due_ns = q->timer_ns;
	pthread_mutex_unlock(&q->lock);
	if (!q->timer)
		q->timer = ev_timer_new(q->loop, on_timer, q);
	if (due_ns == BACKLOG_NEVER)
		return;
	left_ns = due_ns - clock_now_ns();
	ev_timer_start(q->timer, left_ns > 0 ? left_ns : 0, 0);
}

/* Under the lock: the timer shall fire at due_ns or before. */
static void want_timer(struct queue *q, int64_t due_ns)
{
	if (q->closed || due_ns >= q->timer_ns)
		return;
	q->timer_ns = due_ns;
	if (q->timer_posted)
		return;
	q->timer_posted = true;
	ev_post(q->loop, move_timer, q);
}

/* Outside the lock. Each of the n is counted as running, so q lives until the last was handed over.
 */
static void submit_jobs(struct queue *q, unsigned n)
{
	while (n-- > 0) {
		if (work_submit(q->work, q->opts.lane, run_job, q) == 0)
			continue;
		/* The lane is full, or closing: the keys stay where they are. */
		LOCK_SCOPE(&q->lock);
		q->starting--;
		q->running--;
		want_timer(q, clock_now_ns() + BUSY_RETRY_NS);
		if (q->running == 0)
			pthread_cond_broadcast(&q->idle);
	}
}

static void on_timer(void *arg)
{
	struct queue *q = arg;
	unsigned n;

	pthread_mutex_lock(&q->lock);
	q->timer_ns = BACKLOG_NEVER;
	n = claim_jobs(q);
	want_timer(q, backlog_due_ns(q->backlog));
	pthread_mutex_unlock(&q->lock);
	submit_jobs(q, n);
}

static int64_t backoff_ns(const struct queue *q, unsigned failures)
{
	int64_t ns = q->opts.backoff_base_ns;

	for (unsigned i = 1; i < failures && ns < q->opts.backoff_max_ns; i++)
		ns *= 2;
	ns = random_jitter_ns(ns, JITTER);
	return ns < q->opts.backoff_max_ns ? ns : q->opts.backoff_max_ns;
}

static void finish_key(struct queue *q, const char *key, enum queue_verdict verdict,
		       int64_t after_ns)
{
	unsigned failures = backlog_failures(q->backlog, key);
	int64_t now_ns = clock_now_ns();

	switch (verdict) {
	case QUEUE_DONE:
		backlog_finish(q->backlog, key, 0, BACKLOG_NEVER);
		break;
	case QUEUE_RETRY:
		failures++;
		metric_add(METRIC_WORKQUEUE_RETRIES, 1, METRIC_ARGS(q->name));
		backlog_finish(q->backlog, key, failures, now_ns + backoff_ns(q, failures));
		break;
	case QUEUE_RETRY_AFTER:
		backlog_finish(q->backlog, key, failures, now_ns + (after_ns > 0 ? after_ns : 1));
		break;
	}
	want_timer(q, backlog_due_ns(q->backlog));
}

/* One that was cut off, by a pause or by the end of a term, has not failed. */
static enum queue_verdict run_fn(struct queue *q, struct ctx *ctx, const char *key,
				 int64_t *ret_after_ns)
{
	enum queue_verdict verdict = q->fn(q->arg, ctx, key, ret_after_ns);
	struct err err;

	if (verdict != QUEUE_RETRY || fence_check(q->opts.fence, ctx, &err) == 0)
		return verdict;
	*ret_after_ns = CUT_OFF_RETRY_NS;
	return QUEUE_RETRY_AFTER;
}

static enum queue_verdict reconcile(struct queue *q, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	struct fence_member member;
	enum queue_verdict verdict;
	struct err err;

	*ret_after_ns = CUT_OFF_RETRY_NS;
	if (!q->opts.fence)
		return run_fn(q, ctx, key, ret_after_ns);
	if (fence_join(q->opts.fence, &member, ctx, &err) < 0)
		return QUEUE_RETRY_AFTER;
	verdict = run_fn(q, ctx, key, ret_after_ns);
	fence_leave(q->opts.fence, &member);
	return verdict;
}

static void run_job(void *arg)
{
	struct queue *q = arg;
	enum queue_verdict verdict = QUEUE_DONE;
	struct labour labour;
	int64_t after_ns = 0;
	const char *key = NULL;
	unsigned n;

	pthread_mutex_lock(&q->lock);
	q->starting--;
	if (!q->paused && !q->closed)
		key = backlog_take(q->backlog, clock_now_ns());
	if (key)
		begin_labour(q, &labour, key);
	pthread_mutex_unlock(&q->lock);
	if (key) {
		verdict = reconcile(q, &labour.ctx, key, &after_ns);
		end_labour(q, &labour);
	}
	pthread_mutex_lock(&q->lock);
	if (key)
		finish_key(q, key, verdict, after_ns);
	q->running--; /* its place is free for the next key */
	n = claim_jobs(q);
	if (q->running == 0)
		pthread_cond_broadcast(&q->idle);
	pthread_mutex_unlock(&q->lock);
	submit_jobs(q, n);
}

struct queue *queue_new(struct ev_loop *loop, struct work *work, const struct queue_options *opts,
			queue_reconcile_fn fn, void *arg)
{
	struct queue *q = xcalloc(1, sizeof(*q));

	*q = (struct queue){
		.loop = loop,
		.work = work,
		.name = xstrdup(opts->name),
		.opts = *opts,
		.fn = fn,
		.arg = arg,
		.backlog = backlog_new(),
		.paused = true,
		.timer_ns = BACKLOG_NEVER,
	};
	q->opts.workers = opts->workers ? opts->workers : DEFAULT_WORKERS;
	q->opts.backoff_base_ns = opts->backoff_base_ns ? opts->backoff_base_ns : NS_PER_S;
	q->opts.backoff_max_ns = opts->backoff_max_ns ? opts->backoff_max_ns : 300 * NS_PER_S;
	pthread_mutex_init(&q->lock, NULL);
	sync_cond_init(&q->idle);
	enlist(q);
	return q;
}

static void destroy(void *arg)
{
	struct queue *q = arg;

	ev_timer_free(q->timer);
	backlog_free(q->backlog);
	pthread_cond_destroy(&q->idle);
	pthread_mutex_destroy(&q->lock);
	free(q->name);
	free(q);
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	cancel_labours(q);
	while (q->running > 0)
		(void)sync_cond_wait_until(&q->idle, &q->lock, INT64_MAX);
	pthread_mutex_unlock(&q->lock);
	delist(q);
	ev_post(q->loop, destroy, q); /* behind every move_timer */
}

static void add(struct queue *q, const char *key, int64_t due_ns)
{
	unsigned n;

	pthread_mutex_lock(&q->lock);
	if (!q->closed && backlog_add(q->backlog, key, due_ns))
		metric_add(METRIC_WORKQUEUE_ADDS, 1, METRIC_ARGS(q->name));
	n = claim_jobs(q);
	want_timer(q, backlog_due_ns(q->backlog));
	pthread_mutex_unlock(&q->lock);
	submit_jobs(q, n);
}

void queue_add(struct queue *q, const char *key)
{
	add(q, key, 0);
}

void queue_add_after(struct queue *q, const char *key, int64_t delay_ns)
{
	add(q, key, delay_ns > 0 ? clock_now_ns() + delay_ns : 0);
}

void queue_pause(struct queue *q)
{
	LOCK_SCOPE(&q->lock);
	q->paused = true;
	cancel_labours(q);
}

void queue_resume(struct queue *q)
{
	unsigned n;

	pthread_mutex_lock(&q->lock);
	q->paused = false;
	n = claim_jobs(q);
	pthread_mutex_unlock(&q->lock);
	submit_jobs(q, n);
}

unsigned queue_failures(struct queue *q, const char *key)
{
	LOCK_SCOPE(&q->lock);
	return backlog_failures(q->backlog, key);
}
