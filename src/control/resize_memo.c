/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the resizer remembers of a claim: that its last failure was final, so nothing is under way
 * and a smaller request may take its place; that it is infeasible and rests; that it waits for its
 * pods to end. By UID, so that a claim made anew under the same name begins anew. After a restart
 * everything counts as in doubt and is asked for once more, which is the safe side of each.
 */
#include "control/resizer-internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "event/sync.h"
#include "kube/informer.h"

struct resize_memo resize_memo_get(struct resizer *r, const char *uid)
{
	LOCK_SCOPE(&r->lock);
	const struct resize_memo *memo = map_find(r->memos, uid);

	return memo ? *memo : (struct resize_memo){ 0 };
}

void resize_memo_forget(struct resizer *r, const char *uid)
{
	LOCK_SCOPE(&r->lock);
	free(map_take(r->memos, uid));
}

static bool is_empty(const struct resize_memo *memo)
{
	return !memo->is_final && !memo->is_in_use && !memo->rest_until_ns &&
	       !memo->is_modify_final && !memo->modify_rest_until_ns;
}

/* A claim that went meanwhile has been forgotten, and would not be forgotten again. */
static bool is_there(const struct claim_work *w)
{
	autokobj const struct kube_object *o =
		informer_get(w->r->pvcs, w->claim.obj->ns, w->claim.obj->name);

	return o && str_is_equal(o->uid, w->uid);
}

void resize_memo_set(const struct claim_work *w, const struct resize_memo *memo)
{
	if (is_empty(memo)) {
		resize_memo_forget(w->r, w->uid);
		return;
	}
	{
		LOCK_SCOPE(&w->r->lock);
		struct resize_memo *kept = map_find(w->r->memos, w->uid);

		if (!kept) {
			kept = xcalloc(1, sizeof(*kept));
			map_put(w->r->memos, w->uid, kept);
		}
		*kept = *memo;
	}
	if (!is_there(w))
		resize_memo_forget(w->r, w->uid);
}

static void free_all(struct map *memos)
{
	const char *uid;
	void *memo;

	for (size_t it = 0; map_next(memos, &it, &uid, &memo);)
		free(memo);
	map_free(memos);
}

void resize_memo_begin_anew(struct resizer *r)
{
	struct map *old, *none = map_new();

	{
		LOCK_SCOPE(&r->lock);
		old = r->memos;
		r->memos = none;
	}
	free_all(old);
}

void resize_memo_free_all(struct resizer *r)
{
	free_all(TAKE_PTR(r->memos));
}
