/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the journal and the API server know: one list of each kind that something was left of. The
 * claims come after the PVs and the intents before both, by the order in which a volume has them
 * (orphan.c).
 */
#include "control/orphan-internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "control/core.h"
#include "control/group_snapshots.h"
#include "control/journal.h"
#include "control/list.h"
#include "control/snapshots.h"

void orphan_facts_init(struct orphan_facts *facts)
{
	*facts = (struct orphan_facts){ map_new(), map_new(), map_new() };
}

void orphan_facts_done(struct orphan_facts *facts)
{
	map_free(facts->uids);
	map_free(facts->names);
	map_free(facts->handles);
}

/* Sets: a key's value is not looked at. */
static void note(struct map *set, const char *key)
{
	if (*key)
		map_put(set, key, set);
}

struct reading {
	const struct kube_type *type;
	const char *driver;
	struct orphan_facts *facts;
};

static void note_pv(const struct reading *r, const struct kube_object *o)
{
	const struct core_pv *pv = core_pv_of(o);

	note(r->facts->names, o->name);
	if (str_is_equal(pv->driver, r->driver))
		note(r->facts->handles, pv->handle);
}

static void note_content(const struct reading *r, const struct kube_object *o)
{
	const struct snapshot_content *content = snapshot_content_of(o);

	note(r->facts->names, o->name);
	if (!str_is_equal(content->driver, r->driver))
		return;
	note(r->facts->handles, content->handle);
	note(r->facts->handles, content->source_handle);
}

static void note_group_content(const struct reading *r, const struct kube_object *o)
{
	const struct group_content *content = group_content_of(o);

	note(r->facts->names, o->name);
	if (!str_is_equal(content->driver, r->driver))
		return;
	note(r->facts->handles, content->handle);
	note(r->facts->handles, content->source_handle);
}

static int see(void *arg, const struct json *item)
{
	const struct reading *r = arg;
	autokobj const struct kube_object *o = kube_object_decode(r->type, item);

	if (!o)
		return 0;
	if (r->type == &core_pv_type)
		note_pv(r, o);
	else if (r->type == &snapshot_content_type)
		note_content(r, o);
	else if (r->type == &group_content_type)
		note_group_content(r, o);
	else
		note(r->facts->uids, o->uid);
	return 0;
}

int orphan_read_kind(const struct orphan_look *look, struct ctx *ctx, const struct kube_type *type,
		     struct orphan_facts *facts, struct err *err)
{
	struct reading reading = { type, look->driver, facts };

	return list_each(look->client, ctx, type, NULL, see, &reading, err);
}

static int read_kind(struct search *s, struct orphan_facts *facts, const struct kube_type *type,
		     struct err *err)
{
	return orphan_read_kind(s->look, s->ctx, type, facts, err);
}

int orphan_read_journal(struct search *s, struct orphan_facts *facts, struct err *err)
{
	return journal_look(s->look->client, s->ctx, s->look->journal_ns, NULL, facts->uids, err);
}

static bool is_any(const struct search *s, enum orphan_kind kind)
{
	for (size_t i = 0; i < s->found.n; i++)
		if (s->found.v[i]->kind == kind)
			return true;
	return false;
}

/* The object that tells of it first, then what it was made for. */
static int read_kinds(struct search *s, struct orphan_facts *facts, enum orphan_kind kind,
		      const struct kube_type *made_for, struct err *err)
{
	if (!is_any(s, kind))
		return 0;
	if (read_kind(s, facts, orphan_object_type(kind), err) == 0 &&
	    read_kind(s, facts, made_for, err) == 0)
		return 0;
	if (err->code != ERR_NOT_FOUND || kind == ORPHAN_VOLUME)
		return -1;
	/* Without their CRDs nobody can say what is whose. */
	s->unknown[kind] = arena_printf(s->ctx->arena, "the cluster has no %ss",
					orphan_object_type(kind)->kind);
	return 0;
}

int orphan_read_objects(struct search *s, struct orphan_facts *facts, struct err *err)
{
	/* Those of snapshots tell what volumes are known here (orphan_find), so PVs always. */
	if (!is_any(s, ORPHAN_VOLUME) && read_kind(s, facts, &core_pv_type, err) < 0)
		return -1;
	if (read_kinds(s, facts, ORPHAN_VOLUME, &core_pvc_type, err) < 0 ||
	    read_kinds(s, facts, ORPHAN_SNAPSHOT, &snapshot_type, err) < 0)
		return -1;
	/* Members of a group have contents of their own. */
	if (is_any(s, ORPHAN_GROUP) && !is_any(s, ORPHAN_SNAPSHOT) &&
	    read_kind(s, facts, &snapshot_content_type, err) < 0 && err->code != ERR_NOT_FOUND)
		return -1;
	return read_kinds(s, facts, ORPHAN_GROUP, &group_snapshot_type, err);
}
