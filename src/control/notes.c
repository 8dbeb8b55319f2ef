/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the provisioner remembers of a claim between its reconciles: when it began, and whether the
 * driver called it infeasible. Memory only, by UID: after a restart the clock begins anew and an
 * infeasible claim is asked about once more. Whatever must survive a restart is in the journal.
 * Entries go when the claim gets its volume or disappears, so the map never outgrows
 * the claims that wait.
 */
#include "control/provision-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/sync.h"

static struct claim_note *get_note(struct provisioner *p, const char *uid)
{
	struct claim_note *note = map_find(p->notes, uid);

	if (!note) {
		note = xcalloc(1, sizeof(*note));
		note->first_ns = clock_now_ns();
		map_put(p->notes, uid, note);
	}
	return note;
}

static void free_note(struct claim_note *note)
{
	if (note)
		free(note->class_uid);
	free(note);
}

int64_t note_first_attempt(struct provisioner *p, const char *uid)
{
	LOCK_SCOPE(&p->lock);
	return get_note(p, uid)->first_ns;
}

void note_infeasible(struct provisioner *p, const char *uid, const char *class_uid)
{
	LOCK_SCOPE(&p->lock);
	struct claim_note *note = get_note(p, uid);

	free(note->class_uid);
	note->class_uid = xstrdup(class_uid);
	note->infeasible_until_ns = clock_now_ns() + INFEASIBLE_REST_NS;
}

int64_t note_rest_ns(struct provisioner *p, const char *uid, const char *class_uid)
{
	LOCK_SCOPE(&p->lock);
	const struct claim_note *note = map_find(p->notes, uid);
	int64_t rest_ns;

	if (!note || !str_is_equal(note->class_uid, class_uid))
		return 0;
	rest_ns = note->infeasible_until_ns - clock_now_ns();
	return rest_ns > 0 ? rest_ns : 0;
}

void note_forget(struct provisioner *p, const char *uid)
{
	LOCK_SCOPE(&p->lock);
	free_note(map_take(p->notes, uid));
}

void note_free_all(struct provisioner *p)
{
	const char *uid;
	void *note;

	for (size_t it = 0; map_next(p->notes, &it, &uid, &note);)
		free_note(note);
	map_free(p->notes);
}
