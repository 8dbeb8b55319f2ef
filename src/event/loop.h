/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EVENT_LOOP_H
#define EVENT_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * struct ev_loop - the one I/O thread
 *
 * libuv behind this door. Everything in event/, net/ and grpc/ that has a callback runs it on the
 * loop's thread; a callback never blocks, never does disk I/O and takes no lock that a worker holds
 * across a syscall. Only the functions marked "any thread" may be called from elsewhere. Failures
 * are -errno.
 */
struct ev_loop;

typedef void (*ev_post_fn)(void *arg);
typedef void (*ev_timer_fn)(void *arg);
typedef void (*ev_signal_fn)(void *arg, int signum);
typedef void (*ev_io_fn)(void *arg, unsigned events);
typedef void (*ev_path_fn)(void *arg, const char *name);

/* Also makes the process ignore SIGPIPE, which spawned programs get back (host/spawn). */
int ev_loop_new(struct ev_loop **ret_loop);
/* All handles must have been freed (connections that still send their last bytes may be there for a
 * second); what was posted and not run is run. */
void ev_loop_free(struct ev_loop *loop);

/* Runs until ev_loop_stop(). The caller becomes the I/O thread. */
int ev_loop_run(struct ev_loop *loop);
void ev_loop_stop(struct ev_loop *loop); /* any thread */
/* For tests and command lines: runs the loop on a thread of its own; _join stops and joins it. */
int ev_loop_spawn(struct ev_loop *loop);
void ev_loop_join(struct ev_loop *loop);
bool ev_loop_is_current(const struct ev_loop *loop); /* any thread */
void *ev_loop_uv(struct ev_loop *loop);              /* uv_loop_t *, for net/ alone */
/* The loop's thread: memory for what is read and dealt with in the same callback; whose it is
 * changes with the next. */
#define EV_SCRATCH_SIZE (32u << 10)
char *ev_loop_scratch(struct ev_loop *loop);

/* Any thread: fn(arg) runs on the loop, in order of posting, never inside this call. */
void ev_post(struct ev_loop *loop, ev_post_fn fn, void *arg);
/* Any other thread: the same, and waits until it ran, so the loop must be running or soon will be
 * on another thread. On the loop's own thread it just calls. */
void ev_call(struct ev_loop *loop, ev_post_fn fn, void *arg);
/* Any thread but the loop's: from now on what this thread posts wakes the loop only at
 * ev_gather_end or when *is_on is false by then, so that replies of a burst go out together; the
 * loop may find it before. Who takes *is_on back posts something himself, behind which none of it
 * stays. Waiting (event/sync.h, ev_call) ends it too: what is waited for may be the answer. */
void ev_gather_begin(const atomic_bool *is_on); /* again is fine */
void ev_gather_end(void);

/*
 * Handles are made by _new and end with _free as README.md says: on the loop's thread, or while it
 * does not run; no callback follows. Timers never fire early; they count whole milliseconds.
 */
struct ev_timer;
struct ev_timer *ev_timer_new(struct ev_loop *loop, ev_timer_fn fn, void *arg);
void ev_timer_start(struct ev_timer *t, int64_t delay_ns,
		    int64_t repeat_ns); /* restarts; repeat 0: once */
void ev_timer_stop(struct ev_timer *t);
void ev_timer_free(struct ev_timer *t);

/* For gathering: once started, fn runs once, when all that happened in this turn of the loop was
 * dealt with and before the loop waits again. What a turn's fn starts, itself too, runs at the end
 * of the next turn, which then does not wait. */
struct ev_turn;
struct ev_turn *ev_turn_new(struct ev_loop *loop, ev_timer_fn fn, void *arg);
void ev_turn_start(struct ev_turn *t); /* again is fine */
void ev_turn_free(struct ev_turn *t);

struct ev_signal;
int ev_signal_new(struct ev_loop *loop, int signum, ev_signal_fn fn, void *arg,
		  struct ev_signal **ret_signal);
void ev_signal_free(struct ev_signal *s);

/*
 * Readiness of an fd, which stays the caller's, becomes non-blocking, and is closed only after
 * _free. events: EV_READ, EV_WRITE; level-triggered. An error on the fd is told as both at once and
 * ends the interest: the next read or write says what it is.
 */
#define EV_READ 1u
#define EV_WRITE 2u
struct ev_io;
int ev_io_new(struct ev_loop *loop, int fd, ev_io_fn fn, void *arg, struct ev_io **ret_io);
int ev_io_want(struct ev_io *io, unsigned events);
void ev_io_free(struct ev_io *io);

/* Changes in a directory or of a file (inotify); name is the entry that changed, "" if unknown. The
 * watch is on the inode: when that is removed or renamed away, a last call comes and no more. */
struct ev_path;
int ev_path_new(struct ev_loop *loop, const char *path, ev_path_fn fn, void *arg,
		struct ev_path **ret_path);
void ev_path_free(struct ev_path *p);

#endif
