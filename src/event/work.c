/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker lanes. Each lane is a lock, a list of jobs and as many threads as it
 * needs, up to its bound: submitting starts one when more jobs wait than
 * threads do. Waiting threads are called one at a time, and who takes a job
 * calls the next while jobs are left: a burst of short jobs is then done by as
 * many threads as it takes, where a call for each job would cost more than
 * the job. Each thread waits on a flag of its own and the last to come is
 * called first, as its caches are warm; a condition variable would also leave
 * the lane's lock marked as contended after every wait, which costs a system
 * call at the next unlock. A thread that waited 15 seconds in vain ends, so an idle process
 * is one thread again. When a lane has had nothing to do for two seconds, what its jobs allocated
 * and freed is given back to the system, once: malloc keeps it otherwise, for as long as anything
 * that lives lies behind it.
 *
 * What the loop's thread submits waits for the end of its turn: a thread that
 * is called for the first request of a burst gets the CPU at once, does that
 * one, sleeps, and is called for the next. And while the lane's last jobs were
 * quick, one thread runs such a burst down, the others are not called and its
 * replies wake the loop together, at the end. That is patience on trial: any
 * job may block after all. So the loop has a timer meanwhile, whose next tick
 * takes all patience back, calls the next thread if jobs wait, and collects
 * what was posted. A job or a reply is late by two ticks then, once: the lane
 * is not quick any more.
 *
 * Threads are detached and counted. Leaving the count is the last thing that
 * a thread does under the lane's lock, and work_free waits for the count to
 * reach 0, so nothing of the lane is touched afterwards.
 *
 *   submit ──► jobs (≤ queue) ──► threads (≤ the lane's) ──► fn(arg)
 *      └ -EBUSY when full           └ gone after idle_ns
 */
#include "event/work.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)256 * 1024)
#define NAME_BYTES 16
#define QUEUE_DEFAULT 1024
#define IDLE_DEFAULT_NS (15 * NS_PER_S)
#define REST_NS (2 * NS_PER_S)
#define QUICK_NS (20 * NS_PER_US) /* about what calling a thread costs */
#define QUICK_RUN 8u              /* so many quick jobs make a quick lane */
#define GUARD_NS NS_PER_MS        /* the least that the loop's timers can */

struct job {
	struct job *next;
	work_fn fn;
	void *arg;
};

/* A thread without work, on its own stack. */
struct waiter {
	struct waiter *next;
	struct sync_flag called;
};

/* How many workers all lanes of this name have at work. Counted here and told when metrics are
 * read: the registry's lock twice a job would cost more than short jobs do. Never freed. */
struct busy {
	struct busy *next;
	const char *name;
	atomic_uint now;
};

struct lane {
	struct busy *busy;
	unsigned max_threads;
	unsigned max_jobs;
	size_t stack_bytes;
	int64_t idle_ns;
	pthread_mutex_t lock;   /* all below */
	struct waiter *waiting; /* the last to come goes first: its caches are warm */
	pthread_cond_t gone;    /* n_threads is 0 */
	struct job *first;
	struct job **last;
	unsigned n_jobs;
	unsigned n_threads;
	unsigned n_waiting;
	unsigned n_busy;
	unsigned n_quick; /* jobs in a row that were, up to QUICK_RUN */
	bool is_waking;   /* a thread was called and has not looked yet */
	/* One thread runs the queue down, others are not called. Read without the lock too. */
	atomic_bool is_patient;
	bool is_trimmed; /* since its last job */
	bool closed;
	bool is_held; /* the loop's thread alone: has jobs whose turn is not over */
};

struct work {
	struct ev_loop *loop; /* NULL: nothing is gathered, and the next two are not there */
	struct ev_turn *turn;
	struct ev_timer *guard;
	bool is_guarding; /* the loop's thread */
	unsigned n_lanes;
	struct lane lanes[];
};

struct work_thread {
	pthread_t id;
	char name[NAME_BYTES];
	work_fn fn;
	void *arg;
};

/* A thread with all signals blocked. */
static int start_thread(pthread_t *ret_id, size_t stack_bytes, bool detached,
			void *(*main_fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t every;
	sigset_t before;
	int r;

	sigfillset(&every);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, stack_bytes);
	pthread_attr_setdetachstate(&attr,
				    detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
	pthread_sigmask(SIG_SETMASK, &every, &before);
	r = pthread_create(ret_id, &attr, main_fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

static struct {
	pthread_mutex_t lock;
	struct busy *first; /* lock; what is behind it stays as it is */
} all_busy = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void tell_busy(void *arg)
{
	const struct busy *b;

	{
		LOCK_SCOPE(&all_busy.lock);
		b = all_busy.first;
	}
	for (; b; b = b->next)
		metric_set(METRIC_WORKERS_BUSY, atomic_load(&b->now), METRIC_ARGS(b->name));
}

static void register_metric(void)
{
	metric_on_render(tell_busy, NULL);
}

static struct busy *get_busy(const char *name)
{
	LOCK_SCOPE(&all_busy.lock);
	struct busy *b;

	for (b = all_busy.first; b; b = b->next)
		if (str_is_equal(b->name, name))
			return b;
	b = xcalloc(1, sizeof(*b));
	b->name = name;
	b->next = all_busy.first;
	all_busy.first = b;
	return b;
}

/* Under the lock. */
static void count_busy(struct lane *lane, int by)
{
	lane->n_busy += (unsigned)by;
	atomic_fetch_add(&lane->busy->now, (unsigned)by);
}

/* Under the lock: the thread to call now, counted as called, or NULL. */
static struct waiter *take_waiter(struct lane *lane)
{
	struct waiter *w = lane->waiting;

	if (!lane->first || !w || lane->is_waking || lane->is_patient)
		return NULL;
	lane->waiting = w->next;
	lane->n_waiting--;
	lane->is_waking = true;
	return w;
}

/* Not under the lock, which the thread wants first of all. That thread cannot end before it is
 * called, nor can work_free before it; after that only the kernel looks at the flag's address. */
static void call_waiter(struct waiter *w)
{
	if (w)
		sync_flag_set(&w->called);
}

static bool remove_waiter(struct lane *lane, struct waiter *w)
{
	for (struct waiter **at = &lane->waiting; *at; at = &(*at)->next) {
		if (*at != w)
			continue;
		*at = w->next;
		lane->n_waiting--;
		return true;
	}
	return false;
}

/* Whether this thread is the one to do it. */
static bool take_trim(struct lane *lane)
{
	LOCK_SCOPE(&lane->lock);
	bool is_mine = !lane->is_trimmed && lane->n_waiting == lane->n_threads;

	lane->is_trimmed |= is_mine;
	return is_mine;
}

/* What deeper calls touched of this thread's stack; a thread that ends does not do it for the last
 * 16 KiB, which glibc keeps for the next. */
static void trim_stack(void)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t top = ((uintptr_t)__builtin_frame_address(0) & ~(page - 1)) - page;
	pthread_attr_t attr;
	void *bottom;
	size_t bytes;

	if (pthread_getattr_np(pthread_self(), &attr) != 0)
		return;
	if (pthread_attr_getstack(&attr, &bottom, &bytes) == 0 && (uintptr_t)bottom < top)
		(void)madvise(bottom, top - (uintptr_t)bottom, MADV_DONTNEED);
	pthread_attr_destroy(&attr);
}

/* Not under the lock. <0: nobody called for idle_ns. */
static int sleep_until_called(struct lane *lane, struct waiter *w)
{
	int64_t now_ns = clock_now_ns();
	int64_t rest_ns = REST_NS < lane->idle_ns ? REST_NS : lane->idle_ns;
	int r = sync_flag_wait_until(&w->called, now_ns + rest_ns);

	if (r == 0)
		return 0;
	trim_stack();
	if (take_trim(lane))
		mem_trim();
	return sync_flag_wait_until(&w->called, now_ns + lane->idle_ns);
}

/* Under the lock, which it gives up meanwhile. False: nobody called for idle_ns. */
static bool wait_for_call(struct lane *lane, struct waiter *w)
{
	int r;

	w->next = lane->waiting;
	lane->waiting = w;
	lane->n_waiting++;
	pthread_mutex_unlock(&lane->lock);
	r = sleep_until_called(lane, w);
	pthread_mutex_lock(&lane->lock);
	if (r < 0 && remove_waiter(lane, w))
		return false;
	if (r < 0)
		(void)sync_flag_wait_until(&w->called, INT64_MAX); /* it is on its way */
	lane->is_waking = false;
	return true;
}

/* Waits for a job; NULL when the thread is to end. Under the lock. */
static struct job *next_job(struct lane *lane, struct waiter *w)
{
	struct job *job;

	while (!lane->first && !lane->closed)
		if (!wait_for_call(lane, w))
			break;
	job = lane->first;
	if (!job)
		return NULL;
	lane->first = job->next;
	if (!lane->first)
		lane->last = &lane->first;
	lane->n_jobs--;
	lane->is_trimmed = false;
	return job;
}

/* Not under the lock. True: it was quick. */
static bool run_job(struct job *job)
{
	int64_t begun_ns = clock_now_ns();

	job->fn(job->arg);
	free(job);
	return clock_now_ns() - begun_ns < QUICK_NS;
}

/* Under the lock, which it gives up meanwhile. */
static void do_job(struct lane *lane, struct job *job)
{
	struct waiter *other = take_waiter(lane);
	bool gathers = lane->is_patient, is_quick;

	count_busy(lane, 1);
	pthread_mutex_unlock(&lane->lock);
	call_waiter(other);
	if (gathers)
		ev_gather_begin(&lane->is_patient);
	else
		ev_gather_end(); /* of a patience that was taken back */
	is_quick = run_job(job);
	pthread_mutex_lock(&lane->lock);
	count_busy(lane, -1);
	if (!is_quick)
		lane->n_quick = 0;
	else if (lane->n_quick < QUICK_RUN)
		lane->n_quick++;
	lane->is_patient = lane->is_patient && lane->first;
	if (!gathers || lane->is_patient)
		return;
	pthread_mutex_unlock(&lane->lock);
	ev_gather_end();
	pthread_mutex_lock(&lane->lock);
}

static void *run_lane(void *arg)
{
	struct lane *lane = arg;
	struct waiter self = { 0 };
	char name[NAME_BYTES];
	struct job *job;

	(void)snprintf(name, sizeof(name), "work-%s", lane->busy->name); /* fits */
	(void)pthread_setname_np(pthread_self(), name);                  /* only for people */
	pthread_mutex_lock(&lane->lock);
	while ((job = next_job(lane, &self)))
		do_job(lane, job);
	lane->n_threads--;
	if (lane->n_threads == 0)
		pthread_cond_signal(&lane->gone);
	pthread_mutex_unlock(&lane->lock);
	return NULL;
}

/* ---- what the loop's thread submits ---- */

/* The end of a turn. */
static void hand_over(void *arg)
{
	struct work *w = arg;
	bool is_any_patient = false;

	for (struct lane *lane = w->lanes; lane < w->lanes + w->n_lanes; lane++) {
		struct waiter *waiter;

		if (!lane->is_held)
			continue;
		lane->is_held = false;
		pthread_mutex_lock(&lane->lock);
		waiter = take_waiter(lane);
		lane->is_patient |= lane->n_quick == QUICK_RUN && lane->n_jobs > 1;
		is_any_patient |= lane->is_patient;
		pthread_mutex_unlock(&lane->lock);
		call_waiter(waiter);
	}
	if (!is_any_patient || w->is_guarding)
		return;
	w->is_guarding = true;
	ev_timer_start(w->guard, GUARD_NS, GUARD_NS);
}

static void do_nothing(void *arg)
{
	(void)arg;
}

/* Nobody's patience lasts longer than from one of these to the next. */
static void end_patience(void *arg)
{
	struct work *w = arg;
	bool was_any_patient = false;

	for (struct lane *lane = w->lanes; lane < w->lanes + w->n_lanes; lane++) {
		struct waiter *waiter;

		pthread_mutex_lock(&lane->lock);
		was_any_patient |= lane->is_patient;
		lane->is_patient = false;
		waiter = take_waiter(lane);
		pthread_mutex_unlock(&lane->lock);
		call_waiter(waiter);
	}
	ev_post(w->loop, do_nothing, NULL); /* and what was gathered */
	if (was_any_patient)
		return;
	w->is_guarding = false;
	ev_timer_stop(w->guard);
}

/* Half of the threads that the lanes have which are not minor, but one at least. */
static unsigned minor_threads(const struct work_options *opts)
{
	unsigned n = 0;

	for (unsigned i = 0; i < opts->n_lanes; i++)
		n += opts->lanes[i].is_minor ? 0 : opts->lanes[i].threads;
	return n / 2 ? n / 2 : 1;
}

static void init_lane(struct lane *lane, const struct work_lane_def *def, int64_t idle_ns,
		      unsigned at_most)
{
	assert(def->threads > 0);
	lane->busy = get_busy(def->name);
	lane->max_threads = def->is_minor && def->threads > at_most ? at_most : def->threads;
	lane->max_jobs = def->queue ? def->queue : QUEUE_DEFAULT;
	lane->stack_bytes = def->stack_bytes ? def->stack_bytes : STACK_BYTES;
	lane->idle_ns = idle_ns ? idle_ns : IDLE_DEFAULT_NS;
	lane->last = &lane->first;
	pthread_mutex_init(&lane->lock, NULL);
	sync_cond_init(&lane->gone);
}

int work_new(const struct work_options *opts, struct work **ret_work)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct work *w;

	assert(opts->n_lanes > 0);
	(void)pthread_once(&once, register_metric);
	w = xcalloc(1, sizeof(*w) + opts->n_lanes * sizeof(w->lanes[0]));
	w->n_lanes = opts->n_lanes;
	w->loop = opts->loop;
	if (w->loop) {
		w->turn = ev_turn_new(w->loop, hand_over, w);
		w->guard = ev_timer_new(w->loop, end_patience, w);
	}
	for (unsigned i = 0; i < w->n_lanes; i++)
		init_lane(&w->lanes[i], &opts->lanes[i], opts->idle_ns, minor_threads(opts));
	*ret_work = w;
	return 0;
}

void work_free(struct work *w)
{
	if (!w)
		return;
	ev_turn_free(w->turn);
	ev_timer_free(w->guard);
	for (struct lane *lane = w->lanes; lane < w->lanes + w->n_lanes; lane++) {
		pthread_mutex_lock(&lane->lock);
		lane->closed = true;
		for (; lane->waiting; lane->n_waiting--) {
			struct waiter *waiter = lane->waiting;

			lane->waiting = waiter->next;
			sync_flag_set(&waiter->called);
		}
		pthread_mutex_unlock(&lane->lock);
	}
	for (struct lane *lane = w->lanes; lane < w->lanes + w->n_lanes; lane++) {
		pthread_mutex_lock(&lane->lock);
		while (lane->n_threads > 0)
			(void)sync_cond_wait_until(&lane->gone, &lane->lock, INT64_MAX);
		pthread_mutex_unlock(&lane->lock);
	}
	/* Not before all have ended: a job of one lane may submit to any other. */
	for (struct lane *lane = w->lanes; lane < w->lanes + w->n_lanes; lane++) {
		pthread_cond_destroy(&lane->gone);
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
	if (start_thread(&id, lane->stack_bytes, true, run_lane, lane) < 0)
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

static struct lane *get_lane(struct work *w, unsigned id)
{
	assert(id < w->n_lanes);
	return &w->lanes[id];
}

int work_submit(struct work *w, unsigned id, work_fn fn, void *arg)
{
	bool is_held = w->loop && ev_loop_is_current(w->loop);
	struct lane *lane = get_lane(w, id);
	struct job *job = xmalloc(sizeof(*job));
	struct waiter *waiter = NULL;
	int r;

	*job = (struct job){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&lane->lock);
	r = queue_job(lane, job);
	if (r == 0 && !is_held)
		waiter = take_waiter(lane);
	pthread_mutex_unlock(&lane->lock);
	call_waiter(waiter);
	if (r < 0)
		free(job);
	if (r == 0 && is_held) {
		lane->is_held = true;
		ev_turn_start(w->turn);
	}
	return r;
}

unsigned work_busy(struct work *w, unsigned id)
{
	struct lane *lane = get_lane(w, id);
	LOCK_SCOPE(&lane->lock);

	return lane->n_busy;
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
	r = start_thread(&t->id, STACK_BYTES, false, run_thread, t);
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
