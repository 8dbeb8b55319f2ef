/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers, signals, fds and watched paths. Each test runs its loop on the
 * test's own thread until the callback under test stops it.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "event/loop.h"

#include "../check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct seen {
	struct ev_loop *loop;
	struct ev_timer *timer;
	struct ev_turn *turn;
	struct ev_signal *signal;
	struct ev_io *io;
	struct ev_path *path;
	int n;
	int signum;
	unsigned events;
	int64_t at_ns;
	char name[64];
};

static void setup(struct seen *s)
{
	*s = (struct seen){ 0 };
	ASSERT_EQ(ev_loop_new(&s->loop), 0);
}

static void on_timer(void *arg)
{
	struct seen *s = arg;

	s->n++;
	s->at_ns = clock_now_ns();
	if (s->n == 3) {
		ev_timer_free(TAKE_PTR(s->timer));
		ev_loop_stop(s->loop);
	}
}

TEST(a_repeating_timer_repeats_until_freed_by_its_own_callback)
{
	struct seen s;

	setup(&s);
	s.timer = ev_timer_new(s.loop, on_timer, &s);
	ev_timer_start(s.timer, 0, NS_PER_MS);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ev_loop_free(s.loop);
	ASSERT_EQ(s.n, 3);
}

static void on_single(void *arg)
{
	struct seen *s = arg;

	s->n++;
	s->at_ns = clock_now_ns();
	ev_loop_stop(s->loop);
}

TEST(a_timer_is_never_early)
{
	static const int64_t delays[] = { 1, NS_PER_MS, 3 * NS_PER_MS + 1, 7 * NS_PER_MS };
	struct seen s;

	setup(&s);
	s.timer = ev_timer_new(s.loop, on_single, &s);
	for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
		int64_t begin = clock_now_ns();

		ev_timer_start(s.timer, delays[i], 0);
		ASSERT_EQ(ev_loop_run(s.loop), 0);
		ASSERT_TRUE(s.at_ns - begin >= delays[i]);
	}
	ev_timer_free(s.timer);
	ev_loop_free(s.loop);
	ASSERT_EQ(s.n, ARRAY_LEN(delays));
}

TEST(a_stopped_timer_stays_quiet_and_a_restarted_one_fires_once)
{
	struct seen quiet;
	struct seen s;

	setup(&s);
	quiet = s;
	quiet.timer = ev_timer_new(s.loop, on_single, &quiet);
	s.timer = ev_timer_new(s.loop, on_single, &s);
	ev_timer_start(quiet.timer, 0, 0);
	ev_timer_stop(quiet.timer);
	ev_timer_start(s.timer, 3600 * NS_PER_S, 0);
	ev_timer_start(s.timer, NS_PER_MS, 0);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ev_timer_free(s.timer);
	ev_timer_free(quiet.timer);
	ev_timer_free(NULL);
	ev_loop_free(s.loop);
	ASSERT_EQ(s.n, 1);
	ASSERT_EQ(quiet.n, 0);
}

static void on_turn(void *arg)
{
	struct seen *s = arg;

	s->at_ns = s->n;
	ev_loop_stop(s->loop);
}

static void start_turn(void *arg)
{
	struct seen *s = arg;

	s->n++;
	ev_turn_start(s->turn);
}

TEST(a_turn_ends_once_after_all_posts_of_it)
{
	struct seen s;

	setup(&s);
	s.turn = ev_turn_new(s.loop, on_turn, &s);
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < 5; i++)
			ev_post(s.loop, start_turn, &s);
		ASSERT_EQ(ev_loop_run(s.loop), 0);
		ASSERT_EQ(s.at_ns, 5 * round);
	}
	ev_turn_free(s.turn);
	ev_turn_free(NULL);
	ev_loop_free(s.loop);
}

/* A timer runs before the loop waits: what it starts must not wait for the next event. */
TEST(a_turn_that_a_timer_started_ends_before_the_loop_waits)
{
	struct seen s;

	setup(&s);
	s.turn = ev_turn_new(s.loop, on_turn, &s);
	s.timer = ev_timer_new(s.loop, start_turn, &s);
	ev_timer_start(s.timer, NS_PER_MS, 0);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ASSERT_EQ(s.at_ns, 1);
	ev_timer_free(s.timer);
	ev_turn_free(s.turn);
	ev_loop_free(s.loop);
}

/* Turns that start each other. */
struct chain {
	struct ev_loop *loop;
	struct ev_turn *turns[2];
	struct ev_timer *limit;
	int n;
	bool is_late;
};

static void start_next(void *arg)
{
	struct chain *c = arg;

	if (++c->n == 5)
		ev_loop_stop(c->loop);
	else
		ev_turn_start(c->turns[c->n / 2 % 2]); /* the other one, itself, … */
}

static void chain_late(void *arg)
{
	struct chain *c = arg;

	c->is_late = true;
	ev_loop_stop(c->loop);
}

static void start_chain(void *arg)
{
	struct chain *c = arg;

	ev_turn_start(c->turns[0]);
}

TEST(a_turn_that_a_turn_started_does_not_wait_for_the_next_event)
{
	struct chain c = { 0 };

	ASSERT_EQ(ev_loop_new(&c.loop), 0);
	for (int i = 0; i < 2; i++)
		c.turns[i] = ev_turn_new(c.loop, start_next, &c);
	c.limit = ev_timer_new(c.loop, chain_late, &c);
	ev_timer_start(c.limit, 5 * NS_PER_S, 0);
	ev_post(c.loop, start_chain, &c);
	ASSERT_EQ(ev_loop_run(c.loop), 0);
	ASSERT_EQ(c.n, 5);
	ASSERT_FALSE(c.is_late);
	ev_timer_free(c.limit);
	for (int i = 0; i < 2; i++)
		ev_turn_free(c.turns[i]);
	ev_loop_free(c.loop);
}

static void on_signal(void *arg, int signum)
{
	struct seen *s = arg;

	s->signum = signum;
	ev_signal_free(TAKE_PTR(s->signal));
	ev_loop_stop(s->loop);
}

TEST(a_signal_arrives_on_the_loop)
{
	struct seen s;

	setup(&s);
	ASSERT_EQ(ev_signal_new(s.loop, SIGUSR2, on_signal, &s, &s.signal), 0);
	ASSERT_EQ(raise(SIGUSR2), 0);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ev_loop_free(s.loop);
	ASSERT_EQ(s.signum, SIGUSR2);
}

TEST(a_signal_that_cannot_be_caught_is_refused)
{
	struct seen s;

	setup(&s);
	ASSERT_EQ(ev_signal_new(s.loop, SIGKILL, on_signal, &s, &s.signal), -EINVAL);
	ASSERT_TRUE(s.signal == NULL);
	ev_loop_free(s.loop);
}

static void on_io(void *arg, unsigned events)
{
	struct seen *s = arg;

	s->n++;
	s->events = events;
	ev_loop_stop(s->loop);
}

TEST(an_fd_is_told_readable_and_writable_as_wanted)
{
	autofd int fd = eventfd(0, EFD_CLOEXEC);
	struct seen s;

	setup(&s);
	ASSERT_EQ(ev_io_new(s.loop, fd, on_io, &s, &s.io), 0);
	ASSERT_EQ(ev_io_want(s.io, EV_WRITE), 0);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ASSERT_EQ(s.events, EV_WRITE);
	ASSERT_EQ(ev_io_want(s.io, EV_READ), 0);
	ASSERT_EQ(eventfd_write(fd, 1), 0);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ASSERT_EQ(s.events, EV_READ);
	ev_io_free(s.io);
	ev_loop_free(s.loop);
	ASSERT_TRUE(fcntl(fd, F_GETFD) >= 0); /* still the caller's */
}

TEST(nothing_wanted_is_nothing_told)
{
	autofd int fd = eventfd(1, EFD_CLOEXEC);
	struct seen s;

	setup(&s);
	ASSERT_EQ(ev_io_new(s.loop, fd, on_io, &s, &s.io), 0);
	ASSERT_EQ(ev_io_want(s.io, EV_READ), 0);
	ASSERT_EQ(ev_io_want(s.io, 0), 0);
	s.timer = ev_timer_new(s.loop, on_single, &s);
	ev_timer_start(s.timer, NS_PER_MS, 0);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ASSERT_EQ(s.events, 0);
	ev_timer_free(s.timer);
	ev_io_free(s.io);
	ev_loop_free(s.loop);
}

TEST(the_far_end_closing_is_told_as_readable)
{
	int fds[2];
	struct seen s;

	setup(&s);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ASSERT_EQ(ev_io_new(s.loop, fds[0], on_io, &s, &s.io), 0);
	ASSERT_EQ(ev_io_want(s.io, EV_READ), 0);
	fd_closep(&fds[1]);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ASSERT_TRUE(s.events & EV_READ);
	ev_io_free(s.io);
	ev_loop_free(s.loop);
	fd_closep(&fds[0]);
}

TEST(a_regular_file_cannot_be_polled)
{
	autofd int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct seen s;

	setup(&s);
	ASSERT_TRUE(ev_io_new(s.loop, fd, on_io, &s, &s.io) < 0);
	ev_loop_free(s.loop);
}

static void on_path(void *arg, const char *name)
{
	struct seen *s = arg;

	(void)snprintf(s->name, sizeof(s->name), "%s", name); /* the test's own short names */
	ev_path_free(TAKE_PTR(s->path));
	ev_loop_stop(s->loop);
}

TEST(a_new_file_in_a_watched_directory_is_named)
{
	char dir[] = "/tmp/cleat-test-XXXXXX";
	autofree char *file = NULL;
	struct seen s;
	int watched;
	int fd;

	setup(&s);
	ASSERT_TRUE(mkdtemp(dir) != NULL);
	file = xasprintf("%s/kubelet.sock", dir);
	watched = ev_path_new(s.loop, dir, on_path, &s, &s.path);
	fd = open(file, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (watched == 0 && fd >= 0)
		(void)ev_loop_run(s.loop); /* what it did is asserted below */
	fd_closep(&fd);
	(void)unlink(file); /* whatever happened, nothing is left */
	(void)rmdir(dir);
	ASSERT_EQ(watched, 0);
	ev_loop_free(s.loop);
	ASSERT_STR(s.name, "kubelet.sock");
}

TEST(a_path_that_is_not_there_cannot_be_watched)
{
	struct seen s;

	setup(&s);
	ASSERT_EQ(ev_path_new(s.loop, "/proc/self/no-such", on_path, &s, &s.path), -ENOENT);
	ev_loop_free(s.loop);
}

/* Two of a kind that are due in the same turn of the loop: whichever is first frees the other. */
struct pair {
	struct ev_loop *loop;
	struct ev_timer *timers[2];
	struct ev_turn *turns[2];
	struct ev_io *ios[2];
	int n_timers, n_turns, n_ios;
};

static void free_timers(void *arg)
{
	struct pair *p = arg;

	p->n_timers++;
	for (int i = 0; i < 2; i++)
		ev_timer_free(TAKE_PTR(p->timers[i]));
}

static void free_turns(void *arg)
{
	struct pair *p = arg;

	p->n_turns++;
	for (int i = 0; i < 2; i++)
		ev_turn_free(TAKE_PTR(p->turns[i]));
}

static void free_ios(void *arg, unsigned events)
{
	struct pair *p = arg;

	(void)events;
	p->n_ios++;
	for (int i = 0; i < 2; i++)
		ev_io_free(TAKE_PTR(p->ios[i]));
}

static void stop_loop(void *arg)
{
	ev_loop_stop(((struct pair *)arg)->loop);
}

TEST(what_is_freed_is_told_nothing_although_it_was_due)
{
	struct pair p = { 0 };
	struct ev_timer *end;
	int fds[2];

	ASSERT_EQ(ev_loop_new(&p.loop), 0);
	for (int i = 0; i < 2; i++) {
		fds[i] = eventfd(1, EFD_CLOEXEC);
		p.timers[i] = ev_timer_new(p.loop, free_timers, &p);
		ev_timer_start(p.timers[i], 0, NS_PER_MS);
		p.turns[i] = ev_turn_new(p.loop, free_turns, &p);
		ev_turn_start(p.turns[i]);
		ASSERT_EQ(ev_io_new(p.loop, fds[i], free_ios, &p, &p.ios[i]), 0);
		ASSERT_EQ(ev_io_want(p.ios[i], EV_READ), 0);
	}
	end = ev_timer_new(p.loop, stop_loop, &p);
	ev_timer_start(end, 5 * NS_PER_MS, 0);
	ASSERT_EQ(ev_loop_run(p.loop), 0);
	ASSERT_EQ(p.n_timers, 1);
	ASSERT_EQ(p.n_turns, 1);
	ASSERT_EQ(p.n_ios, 1);
	ev_timer_free(end);
	ev_loop_free(p.loop);
	for (int i = 0; i < 2; i++)
		fd_closep(&fds[i]);
}

/* As they are at the end of a process, or when a start failed half-way. */
TEST(what_never_ran_is_freed_with_its_loop_stopped)
{
	struct pair p = { 0 };

	ASSERT_EQ(ev_loop_new(&p.loop), 0);
	p.timers[0] = ev_timer_new(p.loop, free_timers, &p);
	ev_timer_start(p.timers[0], 0, 0);
	ev_timer_free(p.timers[0]);
	ev_timer_free(NULL);
	ev_turn_free(NULL);
	ev_io_free(NULL);
	ev_signal_free(NULL);
	ev_path_free(NULL);
	ev_loop_free(p.loop);
	ASSERT_EQ(p.n_timers, 0);
}

RUN_TESTS(UNIT(a_repeating_timer_repeats_until_freed_by_its_own_callback),
	  UNIT(a_timer_is_never_early),
	  UNIT(a_stopped_timer_stays_quiet_and_a_restarted_one_fires_once),
	  UNIT(a_turn_ends_once_after_all_posts_of_it),
	  UNIT(a_turn_that_a_timer_started_ends_before_the_loop_waits),
	  UNIT(a_turn_that_a_turn_started_does_not_wait_for_the_next_event),
	  UNIT(a_signal_arrives_on_the_loop), UNIT(a_signal_that_cannot_be_caught_is_refused),
	  UNIT(an_fd_is_told_readable_and_writable_as_wanted), UNIT(nothing_wanted_is_nothing_told),
	  UNIT(the_far_end_closing_is_told_as_readable), UNIT(a_regular_file_cannot_be_polled),
	  UNIT(a_new_file_in_a_watched_directory_is_named),
	  UNIT(a_path_that_is_not_there_cannot_be_watched),
	  UNIT(what_is_freed_is_told_nothing_although_it_was_due),
	  UNIT(what_never_ran_is_freed_with_its_loop_stopped))
