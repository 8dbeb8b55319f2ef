/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is an orphan: the rule, and the search.
 *
 *   the cluster's UID → the driver's lists → names of ours → (a cache: most are known)
 *     → the journal → lists of the API server, of those kinds that something is left of
 *     → whose the snapshots' volumes are → if that took long the journal and the lists once more
 *
 * The order is what makes it safe: at the moment when the driver was asked each volume had its
 * intent, its claim or its PV, and what takes one of them away puts another one in its place first.
 * So whoever looks at them in this order afterwards finds one, unless the volume went meanwhile.
 */
#include "control/orphan-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/core.h"
#include "control/group_snapshots.h"
#include "control/object.h"
#include "control/snapshots.h"

/* What the API server said is acted upon for 30 s (orphans.c); most of that is left for acts. */
#define OLD_NS (10 * NS_PER_S)

const char *orphan_object_name(struct arena *arena, const struct orphan *o)
{
	switch (o->kind) {
	case ORPHAN_VOLUME:
		return o->name;
	case ORPHAN_SNAPSHOT:
		return arena_printf(arena, "snapcontent-%s", o->uid);
	case ORPHAN_GROUP:
	case ORPHAN_KINDS:
		break;
	}
	return arena_printf(arena, "groupsnapcontent-%s", o->uid);
}

const struct kube_type *orphan_object_type(enum orphan_kind kind)
{
	return kind == ORPHAN_VOLUME     ? &core_pv_type
	       : kind == ORPHAN_SNAPSHOT ? &snapshot_content_type
					 : &group_content_type;
}

/* ---- the rule ---- */

bool orphan_is_one(const struct orphan *o, const struct orphan_facts *facts)
{
	autoarena struct arena *arena = arena_new();

	if (map_find(facts->uids, o->uid) || map_find(facts->handles, o->id) ||
	    map_find(facts->names, orphan_object_name(arena, o)))
		return false;
	/* A group goes as a whole. */
	for (size_t i = 0; i < o->members.n; i++)
		if (map_find(facts->handles, o->members.v[i]))
			return false;
	return true;
}

/* Leaves those that are. */
static void sieve(struct search *s, const struct orphan_facts *facts)
{
	size_t n = 0;

	for (size_t i = 0; i < s->found.n; i++)
		if (orphan_is_one(s->found.v[i], facts))
			s->found.v[n++] = s->found.v[i];
	s->found.n = n;
}

/* ---- the search ---- */

static int read_cluster(struct search *s, struct err *err)
{
	const struct object_store store = { s->look->client, NULL, &core_namespace_type };
	autokobj const struct kube_object *o = NULL;

	if (object_read(&store, s->ctx, NULL, OWN_NAMESPACE, &o, err) < 0)
		return err_wrap(err, "which cluster this is");
	s->cluster = arena_strdup(s->ctx->arena, o->uid);
	return 0;
}

static int decide(struct search *s, struct orphan_facts *facts, struct err *err)
{
	if (s->found.n == 0)
		return 0;
	if (orphan_read_journal(s, facts, err) < 0)
		return -1;
	sieve(s, facts);
	if (s->found.n == 0)
		return 0;
	if (orphan_read_objects(s, facts, err) < 0)
		return -1;
	sieve(s, facts);
	return 0;
}

/* Snapshots do not say whose they are, their volumes do; of one that says nothing it is told by its
 * being known here. */
static bool is_source_ours(struct search *s, const struct orphan_facts *facts, const char *source)
{
	enum orphan_owner owner = orphan_volume_owner(s, source);

	return owner == ORPHAN_OURS ||
	       (owner == ORPHAN_NOT_TOLD && map_find(facts->handles, source));
}

/* Each volume is asked for once, however many snapshots it has. */
static void find_owners(struct search *s, const struct orphan_facts *facts)
{
	struct map *first = map_new(); /* source → the first orphan of it */

	for (size_t i = 0; i < s->found.n; i++) {
		struct orphan *o = s->found.v[i];
		const struct orphan *sibling = map_find(first, o->source);

		if (o->kind == ORPHAN_VOLUME || !*o->source)
			continue;
		o->is_ours = sibling ? sibling->is_ours : is_source_ours(s, facts, o->source);
		if (!sibling)
			map_put(first, o->source, o);
	}
	map_free(first);
}

static int judge(struct search *s, struct orphan_facts *facts, int64_t *ret_read_ns,
		 struct err *err)
{
	if (decide(s, facts, err) < 0)
		return -1;
	*ret_read_ns = clock_now_ns();
	find_owners(s, facts);
	if (clock_now_ns() - *ret_read_ns < OLD_NS)
		return 0;
	if (decide(s, facts, err) < 0)
		return -1;
	*ret_read_ns = clock_now_ns();
	return 0;
}

static void give(struct search *s, struct orphan_list *ret)
{
	struct orphan *v = arena_array(s->ctx->arena, s->found.n, sizeof(*v));

	*ret = (struct orphan_list){ .v = v };
	for (size_t i = 0; i < s->found.n; i++) {
		const struct orphan *o = s->found.v[i];

		if (*s->unknown[o->kind])
			continue;
		v[ret->n++] = *o;
		ret->n_lost[o->kind]++;
	}
	memcpy(ret->n_seen, s->n_seen, sizeof(ret->n_seen));
	memcpy(ret->unknown, s->unknown, sizeof(ret->unknown));
	memcpy(ret->broke_off, s->broke_off, sizeof(ret->broke_off));
}

int orphan_find(const struct orphan_look *look, struct ctx *ctx, struct orphan_list *ret,
		struct err *err)
{
	struct search s = { .look = look, .ctx = ctx, .groups = map_new() };
	struct orphan_facts facts;
	int64_t read_ns;
	int r;

	for (size_t i = 0; i < ORPHAN_KINDS; i++)
		s.unknown[i] = "";
	orphan_facts_init(&facts);
	r = read_cluster(&s, err);
	if (r == 0)
		r = orphan_list_all(&s, err);
	if (r == 0)
		r = judge(&s, &facts, &read_ns, err);
	if (r == 0) {
		give(&s, ret);
		ret->read_ns = read_ns;
	}
	orphan_facts_done(&facts);
	map_free(s.groups);
	vec_done(&s.found);
	return r;
}
