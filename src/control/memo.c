/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the provisioner remembers of a claim, or of a PV that is to go, between its reconciles: when
 * it began, and whether the driver called the claim infeasible. Memory only, by UID: after a
 * restart the clock begins anew and an infeasible claim is asked about once more. Whatever must
 * survive a restart is in the journal. Entries go when the object gets what it waits for or
 * disappears, so the map never outgrows those that wait.
 */
#include "control/provision-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/sync.h"

static struct memo *get_memo(struct provisioner *p, const char *uid)
{
	struct memo *memo = map_find(p->memos, uid);

	if (!memo) {
		memo = xcalloc(1, sizeof(*memo));
		memo->first_ns = clock_now_ns();
		map_put(p->memos, uid, memo);
	}
	return memo;
}

static void free_memo(struct memo *memo)
{
	if (memo)
		free(memo->class_uid);
	free(memo);
}

int64_t memo_began_ns(struct provisioner *p, const char *uid)
{
	LOCK_SCOPE(&p->lock);
	return get_memo(p, uid)->first_ns;
}

void memo_set_infeasible(struct provisioner *p, const char *uid, const char *class_uid)
{
	LOCK_SCOPE(&p->lock);
	struct memo *memo = get_memo(p, uid);

	free(memo->class_uid);
	memo->class_uid = xstrdup(class_uid);
	memo->infeasible_until_ns = clock_now_ns() + INFEASIBLE_REST_NS;
}

int64_t memo_rest_ns(struct provisioner *p, const char *uid, const char *class_uid)
{
	LOCK_SCOPE(&p->lock);
	const struct memo *memo = map_find(p->memos, uid);
	int64_t rest_ns;

	if (!memo || !str_is_equal(memo->class_uid, class_uid))
		return 0;
	rest_ns = memo->infeasible_until_ns - clock_now_ns();
	return rest_ns > 0 ? rest_ns : 0;
}

void memo_forget(struct provisioner *p, const char *uid)
{
	LOCK_SCOPE(&p->lock);
	free_memo(map_take(p->memos, uid));
}

void memo_free_all(struct provisioner *p)
{
	const char *uid;
	void *memo;

	for (size_t it = 0; map_next(p->memos, &it, &uid, &memo);)
		free_memo(memo);
	map_free(p->memos);
}
