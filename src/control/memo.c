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
#include "base/random.h"
#include "base/str.h"
#include "event/sync.h"

#include <stdio.h>

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

int64_t memo_race_ns(struct provisioner *p, const char *uid)
{
	LOCK_SCOPE(&p->lock);
	struct memo *memo = get_memo(p, uid);
	int64_t now_ns = clock_now_ns(), delay_ns = p->own_base_ns;

	if (!memo->race_ns) {
		for (unsigned i = 0; i < memo->n_races && delay_ns < p->own_max_ns; i++)
			delay_ns *= 2;
		if (delay_ns > p->own_max_ns)
			delay_ns = p->own_max_ns;
		delay_ns -= (int64_t)random_below((uint64_t)p->own_base_ns + 1);
		memo->race_ns = now_ns + (delay_ns > 0 ? delay_ns : 0);
	}
	return memo->race_ns > now_ns ? memo->race_ns - now_ns : 0;
}

void memo_lost_race(struct provisioner *p, const char *uid)
{
	LOCK_SCOPE(&p->lock);
	struct memo *memo = get_memo(p, uid);

	memo->race_ns = 0;
	memo->n_races++;
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

void memo_set_trouble(struct provisioner *p, const char *text)
{
	LOCK_SCOPE(&p->lock);
	(void)snprintf(p->trouble, sizeof(p->trouble), "%s", text);
}

const char *memo_trouble(struct provisioner *p, struct arena *arena)
{
	LOCK_SCOPE(&p->lock);
	return arena_strdup(arena, p->trouble);
}
