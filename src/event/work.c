/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker lanes. Each lane is a lock, a list of jobs and as many threads as it
 * needs, up to its bound: submitting starts one when more jobs wait than
 * threads do. Waiting threads are woken one at a time, and who takes a job
 * wakes the next while jobs are left: a burst of short jobs is then done by as
 * many threads as it takes, where a signal for each job would cost more than
 * the job. A thread that waited a minute in vain ends, so an idle process
 * is one thread again.
 *
 * Threads are detached and counted. Leaving the count is the last thing that
 * a thread does under the lane's lock, and work_free waits for the count to
 * reach 0, so nothing of the lane is touched afterwards.
 *
 *   submit ──► jobs (≤ queue) ──► threads (≤ threads[lane]) ──► fn(arg)
 *      └ -EBUSY when full           └ gone after idle_ns
 */
#include "event/work.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "event/sync.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#define STACK_BYTES ((size_t)256 * 1024)
#define NAME_BYTES 16

struct job {
	struct job *next;
	work_fn fn;
	void *arg;
};

struct lane {
	enum work_lane id;
	unsigned max_threads;
	unsigned max_jobs;
	int64_t idle_ns;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t work;  /* a job came, or closed */
	pthread_cond_t gone;  /* n_threads is 0 */
	struct job *first;
	struct job **last;
	unsigned n_jobs;
	unsigned n_threads;
	unsigned n_waiting;
	unsigned n_busy;
	bool is_waking; /* a thread was signalled and has not looked yet */
	bool closed;
};

struct work {
	struct lane lanes[WORK_LANES];
};

struct work_thread {
	pthread_t id;
	char name[NAME_BYTES];
	work_fn fn;
	void *arg;
};

static const struct {
	const char *name;
	unsigned threads;
} defaults[WORK_LANES] = {
	[WORK_API] = { "api", 4 },
	[WORK_HOST] = { "host", 8 },
	[WORK_STORE] = { "store", 4 },
	[WORK_SLOW] = { "slow", 2 },
};

/* A thread with a small stack and all signals blocked. */
static int start_thread(pthread_t *ret_id, bool detached, void *(*main_fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t every;
	sigset_t before;
	int r;

	sigfillset(&every);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr,
				    detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
	pthread_sigmask(SIG_SETMASK, &every, &before);
	r = pthread_create(ret_id, &attr, main_fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* Of all lanes of the process with this id. Counted here and told when metrics are read: the
 * registry's lock twice a job would cost more than short jobs do. */
static atomic_uint busy_now[WORK_LANES];

static void tell_busy(void *arg)
{
	for (unsigned id = 0; id < WORK_LANES; id++)
		metric_set(METRIC_WORKERS_BUSY, atomic_load(&busy_now[id]),
			   METRIC_ARGS(defaults[id].name));
}

static void register_metric(void)
{
	metric_on_render(tell_busy, NULL);
}

/* Under the lock. */
static void count_busy(struct lane *lane, int by)
{
	lane->n_busy += (unsigned)by;
	atomic_fetch_add(&busy_now[lane->id], (unsigned)by);
}

/* Under the lock: whether to signal a waiting thread now. Counts it as signalled. */
static bool should_wake(struct lane *lane)
{
	if (!lane->first || lane->n_waiting == 0 || lane->is_waking)
		return false;
	lane->is_waking = true;
	return true;
}

/* Waits for a job; NULL when the thread is to end. Under the lock. */
static struct job *next_job(struct lane *lane)
{
	int64_t deadline = clock_now_ns() + lane->idle_ns;
	struct job *job;
	int r = 0;

	while (!lane->first && !lane->closed && r != -ETIMEDOUT) {
		lane->n_waiting++;
		r = sync_cond_wait_until(&lane->work, &lane->lock, deadline);
		lane->n_waiting--;
		lane->is_waking = false;
	}
	job = lane->first;
	if (!job)
		return NULL;
	lane->first = job->next;
	if (!lane->first)
		lane->last = &lane->first;
	lane->n_jobs--;
	if (should_wake(lane))
		pthread_cond_signal(&lane->work);
	return job;
}

static void *run_lane(void *arg)
{
	struct lane *lane = arg;
	char name[NAME_BYTES];
	struct job *job;

	(void)snprintf(name, sizeof(name), "work-%s", defaults[lane->id].name); /* fits */
	(void)pthread_setname_np(pthread_self(), name); /* only for people */
	pthread_mutex_lock(&lane->lock);
	while ((job = next_job(lane))) {
		count_busy(lane, 1);
		pthread_mutex_unlock(&lane->lock);
		job->fn(job->arg);
		free(job);
		pthread_mutex_lock(&lane->lock);
		count_busy(lane, -1);
	}
	lane->n_threads--;
	if (lane->n_threads == 0)
		pthread_cond_signal(&lane->gone);
	pthread_mutex_unlock(&lane->lock);
	return NULL;
}

static void init_lane(struct lane *lane, enum work_lane id, const struct work_options *opts)
{
	lane->id = id;
	lane->max_threads = opts->threads[id] ? opts->threads[id] : defaults[id].threads;
	lane->max_jobs = opts->queue[id] ? opts->queue[id] : 1024;
	lane->idle_ns = opts->idle_ns ? opts->idle_ns : 60 * NS_PER_S;
	lane->last = &lane->first;
	pthread_mutex_init(&lane->lock, NULL);
	sync_cond_init(&lane->work);
	sync_cond_init(&lane->gone);
}

int work_new(const struct work_options *opts, struct work **ret_work)
{
	static const struct work_options none = { 0 };
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct work *w = xcalloc(1, sizeof(*w));
	unsigned half = 0;

	(void)pthread_once(&once, register_metric);
	for (unsigned id = 0; id < WORK_LANES; id++) {
		init_lane(&w->lanes[id], id, opts ? opts : &none);
		half += id == WORK_SLOW ? 0 : w->lanes[id].max_threads;
	}
	half /= 2;
	if (w->lanes[WORK_SLOW].max_threads > half)
		w->lanes[WORK_SLOW].max_threads = half ? half : 1;
	*ret_work = w;
	return 0;
}

void work_free(struct work *w)
{
	if (!w)
		return;
	for (struct lane *lane = w->lanes; lane < w->lanes + WORK_LANES; lane++) {
		pthread_mutex_lock(&lane->lock);
		lane->closed = true;
		pthread_cond_broadcast(&lane->work);
		pthread_mutex_unlock(&lane->lock);
	}
	for (struct lane *lane = w->lanes; lane < w->lanes + WORK_LANES; lane++) {
		pthread_mutex_lock(&lane->lock);
		while (lane->n_threads > 0)
			(void)sync_cond_wait_until(&lane->gone, &lane->lock, INT64_MAX);
		pthread_mutex_unlock(&lane->lock);
	}
	/* Not before all have ended: a job of one lane may submit to any other. */
	for (struct lane *lane = w->lanes; lane < w->lanes + WORK_LANES; lane++) {
		pthread_cond_destroy(&lane->gone);
		pthread_cond_destroy(&lane->work);
		pthread_mutex_destroy(&lane->lock);
	}
	free(w);
}

/* One more thread, if more jobs will wait than threads do. Under the lock; false if there is none
 * at all. */
static bool ensure_thread(struct lane *lane)
{
	pthread_t id;

	if (lane->n_jobs < lane->n_waiting || lane->n_threads >= lane->max_threads)
		return true;
	if (start_thread(&id, true, run_lane, lane) < 0)
		return lane->n_threads > 0;
	lane->n_threads++;
	return true;
}

static int queue_job(struct lane *lane, struct job *job)
{
	if (lane->closed)
		return -ESHUTDOWN;
	if (lane->n_jobs >= lane->max_jobs || !ensure_thread(lane))
		return -EBUSY;
	*lane->last = job;
	lane->last = &job->next;
	lane->n_jobs++;
	return 0;
}

int work_submit(struct work *w, enum work_lane id, work_fn fn, void *arg)
{
	struct lane *lane = &w->lanes[id];
	struct job *job = xmalloc(sizeof(*job));
	int r;

	*job = (struct job){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&lane->lock);
	r = queue_job(lane, job);
	/* Under the lock: a thread that is awake already may take the job and end all of w before we
	 * were to signal. */
	if (r == 0 && should_wake(lane))
		pthread_cond_signal(&lane->work);
	pthread_mutex_unlock(&lane->lock);
	if (r < 0)
		free(job);
	return r;
}

unsigned work_busy(struct work *w, enum work_lane id)
{
	LOCK_SCOPE(&w->lanes[id].lock);

	return w->lanes[id].n_busy;
}

const char *work_lane_name(enum work_lane lane)
{
	return defaults[lane].name;
}

static void *run_thread(void *arg)
{
	struct work_thread *t = arg;

	(void)pthread_setname_np(pthread_self(), t->name); /* only for people */
	t->fn(t->arg);
	return NULL;
}

int work_thread_start(const char *name, work_fn fn, void *arg, struct work_thread **ret_thread)
{
	struct work_thread *t = xcalloc(1, sizeof(*t));
	int r;

	(void)snprintf(t->name, sizeof(t->name), "%s", name); /* cut to what the kernel takes */
	t->fn = fn;
	t->arg = arg;
	r = start_thread(&t->id, false, run_thread, t);
	if (r < 0) {
		free(t);
		return r;
	}
	*ret_thread = t;
	return 0;
}

void work_thread_join(struct work_thread *t)
{
	if (!t)
		return;
	pthread_join(t->id, NULL);
	free(t);
}
