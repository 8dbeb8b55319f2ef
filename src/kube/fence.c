/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A term, a limit and a list of those at work, under one lock. The list is as long as there are
 * workers, so it is searched.
 */
#include "kube/fence.h"

#include "base/clock.h"
#include "base/mem.h"
#include "event/sync.h"

/* The lock is taken by readers too, through a pointer, so that they can be const. */
struct fence {
	pthread_mutex_t *lock;
	bool is_open;
	uint64_t term;
	int64_t limit_ns;
	struct fence_member *members;
};

struct fence *fence_new(void)
{
	struct fence *f = xcalloc(1, sizeof(*f));

	f->lock = xmalloc(sizeof(*f->lock));
	pthread_mutex_init(f->lock, NULL);
	return f;
}

void fence_free(struct fence *f)
{
	if (!f)
		return;
	pthread_mutex_destroy(f->lock);
	free(f->lock);
	free(f);
}

/* Under the lock. */
static bool is_open_at(const struct fence *f, int64_t now_ns)
{
	return f->is_open && now_ns < f->limit_ns;
}

static bool is_open_now(const struct fence *f)
{
	return is_open_at(f, clock_boot_ns());
}

void fence_open(struct fence *f, int64_t limit_ns)
{
	LOCK_SCOPE(f->lock);
	if (!f->is_open)
		f->term++;
	f->is_open = true;
	f->limit_ns = limit_ns;
}

void fence_close(struct fence *f)
{
	LOCK_SCOPE(f->lock);
	f->is_open = false;
	for (struct fence_member *m = f->members; m; m = m->next)
		ctx_cancel(m->ctx);
}

bool fence_is_open(const struct fence *f)
{
	LOCK_SCOPE(f->lock);
	return is_open_now(f);
}

static int refuse(struct err *err)
{
	return err_set(err, ERR_ABORTED,
		       "leadership is lost or was not renewed in time; the next leader goes on");
}

int fence_join(struct fence *f, struct fence_member *m, struct ctx *ctx, struct err *err)
{
	LOCK_SCOPE(f->lock);
	if (!is_open_now(f))
		return refuse(err);
	*m = (struct fence_member){ .next = f->members, .ctx = ctx, .term = f->term };
	f->members = m;
	return 0;
}

void fence_leave(struct fence *f, struct fence_member *m)
{
	struct fence_member **at = &f->members;
	LOCK_SCOPE(f->lock);

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
}

static int check_term(const struct fence *f, const struct ctx *ctx, struct err *err)
{
	const struct fence_member *m;
	LOCK_SCOPE(f->lock);

	for (m = f->members; m && m->ctx != ctx; m = m->next)
		;
	if (!m)
		return err_set(err, ERR_ABORTED, "a write outside of any term of leadership");
	return m->term == f->term && is_open_now(f) ? 0 : refuse(err);
}

int fence_check(const struct fence *f, const struct ctx *ctx, struct err *err)
{
	if (f && check_term(f, ctx, err) < 0)
		return -1;
	return ctx_is_cancelled(ctx) ? err_set(err, ERR_CANCELLED, "cancelled") : 0;
}

bool fence_is_cut_off(const struct fence *f, const struct ctx *ctx)
{
	struct err why;

	return fence_check(f, ctx, &why) < 0;
}

int64_t fence_left_ns(const struct fence *f)
{
	int64_t now_ns = clock_boot_ns();
	LOCK_SCOPE(f->lock);

	if (!is_open_at(f, now_ns))
		return 0;
	return f->limit_ns == FENCE_NO_LIMIT ? INT64_MAX : f->limit_ns - now_ns;
}
