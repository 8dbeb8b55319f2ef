/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers, turns, signals, fds and watched paths: thin covers of libuv's handles.
 *
 * A handle of libuv is closed in two steps, uv_close and a callback in a later
 * round of the loop; until then its memory must stay. So each cover is freed
 * by that callback, and nobody outside has to know: after _free no callback of
 * the user's comes any more.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "event/loop.h"

#include <uv.h>

struct ev_timer {
	uv_timer_t uv; /* first, as in all of them: the close callback frees by it */
	ev_timer_fn fn;
	void *arg;
};

struct ev_turn {
	uv_prepare_t uv;
	struct ev_loop *loop;
	ev_timer_fn fn;
	void *arg;
};

struct ev_signal {
	uv_signal_t uv;
	ev_signal_fn fn;
	void *arg;
};

struct ev_io {
	uv_poll_t uv;
	ev_io_fn fn;
	void *arg;
};

struct ev_path {
	uv_fs_event_t uv;
	ev_path_fn fn;
	void *arg;
};

static void free_closed(uv_handle_t *handle)
{
	free(handle);
}

static void close_handle(void *handle)
{
	if (handle)
		uv_close(handle, free_closed);
}

static void on_timer(uv_timer_t *uv)
{
	struct ev_timer *t = container_of(uv, struct ev_timer, uv);

	t->fn(t->arg);
}

struct ev_timer *ev_timer_new(struct ev_loop *loop, ev_timer_fn fn, void *arg)
{
	struct ev_timer *t = xcalloc(1, sizeof(*t));

	t->fn = fn;
	t->arg = arg;
	(void)uv_timer_init(ev_loop_uv(loop), &t->uv); /* always 0 */
	return t;
}

/* libuv's time is cut to milliseconds, so one more is needed never to be early. */
static uint64_t round_to_ms(int64_t ns)
{
	return ns <= 0 ? 0 : (uint64_t)(ns - 1) / (uint64_t)NS_PER_MS + 2;
}

void ev_timer_start(struct ev_timer *t, int64_t delay_ns, int64_t repeat_ns)
{
	uint64_t repeat = repeat_ns <= 0 ? 0 : (uint64_t)(repeat_ns - 1) / (uint64_t)NS_PER_MS + 1;

	uv_update_time(t->uv.loop);
	(void)uv_timer_start(&t->uv, on_timer, round_to_ms(delay_ns),
			     repeat); /* fails only when closing */
}

void ev_timer_stop(struct ev_timer *t)
{
	(void)uv_timer_stop(&t->uv); /* always 0 */
}

void ev_timer_free(struct ev_timer *t)
{
	close_handle(t);
}

static _Thread_local bool is_in_turn;

/* libuv runs prepare handles after timers and just before it polls. */
static void on_turn(uv_prepare_t *uv)
{
	struct ev_turn *t = container_of(uv, struct ev_turn, uv);

	(void)uv_prepare_stop(uv); /* always 0 */
	is_in_turn = true;
	t->fn(t->arg);
	is_in_turn = false;
}

struct ev_turn *ev_turn_new(struct ev_loop *loop, ev_timer_fn fn, void *arg)
{
	struct ev_turn *t = xcalloc(1, sizeof(*t));

	t->loop = loop;
	t->fn = fn;
	t->arg = arg;
	(void)uv_prepare_init(ev_loop_uv(loop), &t->uv); /* always 0 */
	return t;
}

static void do_nothing(void *arg)
{
	(void)arg;
}

void ev_turn_start(struct ev_turn *t)
{
	(void)uv_prepare_start(&t->uv, on_turn); /* fails only when closing */
	/* libuv is at the handles that were started before, and polls when it is through: this one
	 * is of the next round, which must not wait for anything else. */
	if (is_in_turn)
		ev_post(t->loop, do_nothing, NULL);
}

void ev_turn_free(struct ev_turn *t)
{
	close_handle(t);
}

static void on_signal(uv_signal_t *uv, int signum)
{
	struct ev_signal *s = container_of(uv, struct ev_signal, uv);

	s->fn(s->arg, signum);
}

int ev_signal_new(struct ev_loop *loop, int signum, ev_signal_fn fn, void *arg,
		  struct ev_signal **ret_signal)
{
	struct ev_signal *s = xcalloc(1, sizeof(*s));
	int r = uv_signal_init(ev_loop_uv(loop), &s->uv);

	if (r < 0) {
		free(s);
		return r;
	}
	s->fn = fn;
	s->arg = arg;
	r = uv_signal_start(&s->uv, on_signal, signum);
	if (r < 0) {
		close_handle(s);
		return r;
	}
	*ret_signal = s;
	return 0;
}

void ev_signal_free(struct ev_signal *s)
{
	close_handle(s);
}

static void on_io(uv_poll_t *uv, int status, int events)
{
	struct ev_io *io = container_of(uv, struct ev_io, uv);

	if (status < 0)
		io->fn(io->arg, EV_READ | EV_WRITE);
	else
		io->fn(io->arg, (events & UV_READABLE ? EV_READ : 0) |
					(events & UV_WRITABLE ? EV_WRITE : 0));
}

int ev_io_new(struct ev_loop *loop, int fd, ev_io_fn fn, void *arg, struct ev_io **ret_io)
{
	struct ev_io *io = xcalloc(1, sizeof(*io));
	int r = uv_poll_init(ev_loop_uv(loop), &io->uv, fd);

	if (r < 0) {
		free(io);
		return r;
	}
	io->fn = fn;
	io->arg = arg;
	*ret_io = io;
	return 0;
}

int ev_io_want(struct ev_io *io, unsigned events)
{
	int uv_events =
		(events & EV_READ ? UV_READABLE : 0) | (events & EV_WRITE ? UV_WRITABLE : 0);

	return uv_events ? uv_poll_start(&io->uv, uv_events, on_io) : uv_poll_stop(&io->uv);
}

void ev_io_free(struct ev_io *io)
{
	close_handle(io);
}

static void on_path(uv_fs_event_t *uv, const char *name, int events, int status)
{
	struct ev_path *p = container_of(uv, struct ev_path, uv);

	p->fn(p->arg, status < 0 || !name ? "" : name);
}

int ev_path_new(struct ev_loop *loop, const char *path, ev_path_fn fn, void *arg,
		struct ev_path **ret_path)
{
	struct ev_path *p = xcalloc(1, sizeof(*p));
	int r = uv_fs_event_init(ev_loop_uv(loop), &p->uv);

	if (r < 0) {
		free(p);
		return r;
	}
	p->fn = fn;
	p->arg = arg;
	r = uv_fs_event_start(&p->uv, on_path, path, 0);
	if (r < 0) {
		close_handle(p);
		return r;
	}
	*ret_path = p;
	return 0;
}

void ev_path_free(struct ev_path *p)
{
	close_handle(p);
}
