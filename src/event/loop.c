/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O thread: a libuv loop and a queue of posts.
 *
 * uv_async_send is the one call of libuv that any thread may make, and it
 * coalesces, so what is to be done travels in a list of our own. The loop
 * takes the whole list under the lock and runs it without: a post may post
 * again, and lands in the next round, so posts cannot starve the fds.
 *
 * A wake-up costs more than a short job, so a thread that has more of them
 * gathers: its posts are in the list at once and the loop is woken for all.
 *
 * Which thread is the loop's is a thread-local pointer, set while it runs.
 */
#include "event/loop.h"

#include "base/mem.h"
#include "event/sync.h"
#include "event/work.h"

#include <assert.h>
#include <stdatomic.h>

#include <uv.h>

#define RUN_OUT_MS 5000

struct post {
	struct post *next;
	ev_post_fn fn;
	void *arg;
};

struct ev_loop {
	uv_loop_t uv;
	uv_async_t wake;
	pthread_mutex_t lock;
	struct post *first; /* under lock */
	struct post **last; /* under lock */
	bool deaf;          /* under lock; wake is closed */
	atomic_bool stopping;
	struct work_thread *thread; /* of ev_loop_spawn */
	char *scratch;              /* NULL until somebody reads */
};

static _Thread_local const struct ev_loop *current;

/* What a thread that gathers has posted to and not woken. */
static _Thread_local struct {
	const atomic_bool *is_on; /* NULL: it does not */
	struct ev_loop *loop;
} gathered;

static struct post *take_posts(struct ev_loop *loop)
{
	LOCK_SCOPE(&loop->lock);
	struct post *posts = loop->first;

	loop->first = NULL;
	loop->last = &loop->first;
	return posts;
}

/* Runs what is queued now; true if there was any. */
static bool run_posts(struct ev_loop *loop)
{
	struct post *posts = take_posts(loop);
	bool any = posts != NULL;

	while (posts) {
		struct post *p = posts;

		posts = p->next;
		p->fn(p->arg);
		free(p);
	}
	return any;
}

static void on_wake(uv_async_t *wake)
{
	struct ev_loop *loop = wake->data;

	(void)run_posts(loop); /* whether there was any does not matter here */
	if (atomic_load(&loop->stopping))
		uv_stop(&loop->uv);
}

int ev_loop_new(struct ev_loop **ret_loop)
{
	struct ev_loop *loop = xcalloc(1, sizeof(*loop));
	int r = uv_loop_init(&loop->uv);

	if (r < 0) {
		free(loop);
		return r;
	}
	/* libuv writes to sockets without MSG_NOSIGNAL: a peer that hangs up must be an error, not
	 * our end. */
	(void)signal(SIGPIPE, SIG_IGN);
	r = uv_async_init(&loop->uv, &loop->wake, on_wake);
	if (r < 0) {
		(void)uv_loop_close(&loop->uv); /* nothing is open on it */
		free(loop);
		return r;
	}
	loop->wake.data = loop;
	loop->last = &loop->first;
	pthread_mutex_init(&loop->lock, NULL);
	*ret_loop = loop;
	return 0;
}

static void expect_closing(uv_handle_t *handle, void *arg)
{
	assert(uv_is_closing(handle) && "a handle outlives its loop");
}

static void give_up(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

/*
 * Runs until every handle is closed. Connections may still be sending their last bytes (net/conn
 * lingers for a second); a handle that is there much later was forgotten by its owner.
 */
static void run_out(struct ev_loop *loop)
{
	uv_timer_t limit;

	(void)uv_timer_init(&loop->uv, &limit); /* neither can fail here */
	(void)uv_timer_start(&limit, give_up, RUN_OUT_MS, 0);
	uv_unref((uv_handle_t *)&limit);
	do
		(void)uv_run(&loop->uv, UV_RUN_DEFAULT);
	while (run_posts(loop));
	uv_close((uv_handle_t *)&limit, NULL);
	uv_walk(&loop->uv, expect_closing, NULL);
	(void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void ev_loop_free(struct ev_loop *loop)
{
	int r;

	if (!loop)
		return;
	assert(!loop->thread);
	current = loop;
	while (run_posts(loop))
		;
	pthread_mutex_lock(&loop->lock);
	loop->deaf = true;
	pthread_mutex_unlock(&loop->lock);
	uv_close((uv_handle_t *)&loop->wake, NULL);
	run_out(loop);
	current = NULL;
	r = uv_loop_close(&loop->uv);
	assert(r == 0);
	(void)r;
	pthread_mutex_destroy(&loop->lock);
	free(loop->scratch);
	free(loop);
}

int ev_loop_run(struct ev_loop *loop)
{
	int r = 0;

	current = loop;
	while (!atomic_load(&loop->stopping) && r >= 0)
		r = uv_run(&loop->uv, UV_RUN_DEFAULT);
	atomic_store(&loop->stopping, false);
	current = NULL;
	return r < 0 ? r : 0;
}

void ev_loop_stop(struct ev_loop *loop)
{
	atomic_store(&loop->stopping, true);
	(void)uv_async_send(&loop->wake); /* fails only on a closing handle */
}

static void run_on_thread(void *arg)
{
	(void)ev_loop_run(arg); /* no one is there to be told */
}

int ev_loop_spawn(struct ev_loop *loop)
{
	return work_thread_start("loop", run_on_thread, loop, &loop->thread);
}

void ev_loop_join(struct ev_loop *loop)
{
	ev_loop_stop(loop);
	work_thread_join(TAKE_PTR(loop->thread));
}

bool ev_loop_is_current(const struct ev_loop *loop)
{
	return current == loop;
}

void *ev_loop_uv(struct ev_loop *loop)
{
	return &loop->uv;
}

char *ev_loop_scratch(struct ev_loop *loop)
{
	if (!loop->scratch)
		loop->scratch = xmalloc(EV_SCRATCH_SIZE);
	return loop->scratch;
}

/* Under the lock. */
static void wake_up(struct ev_loop *loop)
{
	if (!loop->deaf)
		(void)uv_async_send(&loop->wake); /* fails only on a closing handle */
}

/* Of one loop, which is all that a process has. Looked at when the post is in the list: who takes
 * is_on back empties that afterwards. */
static bool hold_wake_up(struct ev_loop *loop)
{
	if (!gathered.is_on || !atomic_load(gathered.is_on) ||
	    (gathered.loop && gathered.loop != loop))
		return false;
	gathered.loop = loop;
	return true;
}

void ev_post(struct ev_loop *loop, ev_post_fn fn, void *arg)
{
	struct post *p = xmalloc(sizeof(*p));

	*p = (struct post){ .fn = fn, .arg = arg };
	LOCK_SCOPE(&loop->lock);
	*loop->last = p;
	loop->last = &p->next;
	if (!hold_wake_up(loop))
		wake_up(loop);
}

void ev_gather_begin(const atomic_bool *is_on)
{
	gathered.is_on = is_on;
	sync_before_wait = ev_gather_end; /* what is waited for may be the answer */
}

void ev_gather_end(void)
{
	struct ev_loop *loop = TAKE_PTR(gathered.loop);

	gathered.is_on = NULL;
	sync_before_wait = NULL;
	if (!loop)
		return;
	LOCK_SCOPE(&loop->lock);
	wake_up(loop);
}

struct call {
	ev_post_fn fn;
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool done; /* under lock */
};

static void run_call(void *arg)
{
	struct call *call = arg;

	call->fn(call->arg);
	LOCK_SCOPE(&call->lock);
	call->done = true;
	pthread_cond_signal(&call->ended);
}

void ev_call(struct ev_loop *loop, ev_post_fn fn, void *arg)
{
	struct call call = { .fn = fn, .arg = arg };

	if (ev_loop_is_current(loop)) {
		fn(arg);
		return;
	}
	pthread_mutex_init(&call.lock, NULL);
	sync_cond_init(&call.ended);
	ev_post(loop, run_call, &call);
	pthread_mutex_lock(&call.lock);
	while (!call.done)
		(void)sync_cond_wait_until(&call.ended, &call.lock, INT64_MAX);
	pthread_mutex_unlock(&call.lock);
	pthread_cond_destroy(&call.ended);
	pthread_mutex_destroy(&call.lock);
}
