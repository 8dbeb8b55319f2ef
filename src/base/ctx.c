/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadline and cancellation of one piece of work. The flag is what code looks
 * at; the eventfd is only for code that must sleep in poll(2), so it is made
 * on first use and most calls never have one.
 *
 * No wake-up is lost between the two: ctx_cancel() writes the flag and then
 * reads the fd, ctx_cancel_fd() writes the fd and then reads the flag, all
 * sequentially consistent, so at least one of them sees the other and writes
 * to the eventfd. If both do, it stays readable all the same.
 */
#include "base/ctx.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <limits.h>
#include <sys/eventfd.h>

void ctx_init(struct ctx *ctx, int64_t timeout_ns)
{
	int64_t deadline;

	ctx->arena = arena_new();
	if (timeout_ns <= 0 || __builtin_add_overflow(clock_now_ns(), timeout_ns, &deadline))
		deadline = CTX_NO_DEADLINE;
	ctx->deadline_ns = deadline;
	atomic_init(&ctx->cancelled, false);
	atomic_init(&ctx->cancel_fd, -1);
	pthread_mutex_init(&ctx->lock, NULL);
	ctx->id[0] = '\0';
}

void ctx_done(struct ctx *ctx)
{
	int fd = atomic_load(&ctx->cancel_fd);

	fd_closep(&fd);
	atomic_store(&ctx->cancel_fd, -1);
	pthread_mutex_destroy(&ctx->lock);
	arena_free(ctx->arena);
	ctx->arena = NULL;
}

/* The counter can only be full when the fd is readable already. */
static void wake(int fd)
{
	(void)eventfd_write(fd, 1);
}

void ctx_cancel(struct ctx *ctx)
{
	int fd;

	atomic_store(&ctx->cancelled, true);
	fd = atomic_load(&ctx->cancel_fd);
	if (fd >= 0)
		wake(fd);
}

bool ctx_is_cancelled(const struct ctx *ctx)
{
	return atomic_load(&ctx->cancelled);
}

int ctx_check(const struct ctx *ctx, struct err *err)
{
	if (ctx_is_cancelled(ctx))
		return err_set(err, ERR_CANCELLED, "cancelled by the caller");
	if (ctx_remaining_ns(ctx) == 0)
		return err_set(err, ERR_DEADLINE_EXCEEDED, "deadline exceeded");
	return 0;
}

int64_t ctx_remaining_ns(const struct ctx *ctx)
{
	int64_t now;

	if (ctx->deadline_ns == CTX_NO_DEADLINE)
		return INT64_MAX;
	now = clock_now_ns();
	return now < ctx->deadline_ns ? ctx->deadline_ns - now : 0;
}

int ctx_cancel_fd(struct ctx *ctx)
{
	int fd;
	int r;

	pthread_mutex_lock(&ctx->lock);
	fd = atomic_load(&ctx->cancel_fd);
	if (fd < 0) {
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fd >= 0)
			atomic_store(&ctx->cancel_fd, fd);
	}
	r = fd < 0 ? -errno : fd;
	pthread_mutex_unlock(&ctx->lock);
	if (r >= 0 && ctx_is_cancelled(ctx))
		wake(r);
	return r;
}

int ctx_poll_ms(const struct ctx *ctx, int max_ms)
{
	int64_t left = ctx_remaining_ns(ctx);
	int64_t ms;

	if (left == INT64_MAX)
		return max_ms >= 0 ? max_ms : -1;
	ms = left / NS_PER_MS + (left % NS_PER_MS != 0);
	if (ms > INT_MAX)
		ms = INT_MAX;
	return max_ms >= 0 && ms > max_ms ? max_ms : (int)ms;
}
