/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver has, page by page: of each only what may be an orphan is kept, so a driver with
 * 20,000 volumes costs a page.
 *
 * A list that breaks off makes its kind unknown and leaves the other as it is. What was listed
 * before that would be no lie, for an orphan is what is there; but a count that comes and goes with
 * a node is of no use to anybody.
 */
#include "control/orphan-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/driver.h"
#include "volume/owner.h"

#define PAGES_MAX 100000
#define PAGE 500
/* Of a question about one volume, which is short; what was read of the API server gets old
 * meanwhile.
 */
#define OWNER_NS (5 * NS_PER_S)

struct orphan orphan_known_group;

/* Fills *o by the id alone; its strings are the page's. False: it is none of ours, or known. */
static bool looks_lost(struct search *s, struct arena *page, enum orphan_kind kind, const char *id,
		       struct orphan *o)
{
	size_t n;
	const char *name = orphan_name_in(id, s->look->prefixes[kind], &n);

	if (!name)
		return false;
	s->n_seen[kind]++;
	*o = (struct orphan){
		.kind = kind,
		.id = id,
		.name = arena_strndup(page, name, n),
		.claim = "",
		.created = "",
		.source = "",
		.node = "",
	};
	o->uid = o->name + strlen(s->look->prefixes[kind]) + 1;
	return !s->look->is_known || !s->look->is_known(s->look->arg, o);
}

/* The page goes: a copy in the ctx's arena, to be filled further. */
static struct orphan *keep(struct search *s, const struct orphan *seen)
{
	struct arena *arena = s->ctx->arena;
	struct orphan *o = arena_memdup(arena, seen, sizeof(*seen));

	o->id = arena_strdup(arena, seen->id);
	o->name = arena_strdup(arena, seen->name);
	o->uid = o->name + (seen->uid - seen->name);
	vec_push(&s->found, o);
	return o;
}

/* ---- volumes ---- */

static struct strmap without_owner(struct arena *arena, const struct strmap *context)
{
	struct strpair *pairs = arena_array(arena, context->n, sizeof(*pairs));
	size_t n = 0;

	for (size_t i = 0; i < context->n; i++)
		if (!str_has_prefix(context->v[i].key, VOL_OWNER_PREFIX))
			pairs[n++] = context->v[i];
	return strmap_from(arena, pairs, n);
}

static struct vol_topologies copy_places(struct arena *arena, const struct vol_topologies *places)
{
	struct vol_topology *v = arena_array(arena, places->n, sizeof(*v));

	for (size_t i = 0; i < places->n; i++) {
		const struct strmap *segments = &places->v[i].segments;

		v[i].segments = strmap_from(arena, segments->v, segments->n);
	}
	return (struct vol_topologies){ .v = v, .n = places->n };
}

static void take_volume(struct search *s, struct arena *page,
			const struct csi_controller_get_volume_response *entry)
{
	struct arena *arena = s->ctx->arena;
	const struct csi_volume *volume = &entry->volume;
	const char *cluster = strmap_find(&volume->volume_context, VOL_OWNER_CLUSTER);
	struct orphan seen, *o;

	if (!entry->has_volume || (cluster && !str_is_equal(cluster, s->cluster)) ||
	    !looks_lost(s, page, ORPHAN_VOLUME, volume->volume_id, &seen))
		return;
	o = keep(s, &seen);
	o->bytes = volume->capacity_bytes;
	o->is_ours = cluster;
	o->claim = arena_strdup(arena,
				str_or(strmap_find(&volume->volume_context, VOL_OWNER_CLAIM), ""));
	o->created = arena_strdup(
		arena, str_or(strmap_find(&volume->volume_context, VOL_OWNER_CREATED), ""));
	if (entry->has_status && entry->status.n_published_node_ids > 0)
		o->node = arena_strdup(arena, entry->status.published_node_ids[0]);
	o->context = without_owner(arena, &volume->volume_context);
	o->places = copy_places(arena, &volume->accessible_topology);
}

static int ask_volumes(struct search *s, const char *from, const char **ret_next, struct err *err)
{
	const struct csi_list_volumes_request req = { .max_entries = PAGE, .starting_token = from };
	struct csi_list_volumes_response page;
	struct arena *arena = s->ctx->arena, *own;
	struct ctx *ctx = s->ctx;
	int r;

	own = arena_new(); /* of the page */
	ctx->arena = own;
	r = csi_list_volumes(s->look->service, ctx, &req, &page, err);
	ctx->arena = arena;
	for (size_t i = 0; r == 0 && i < page.n_entries; i++)
		take_volume(s, own, &page.entries[i]);
	if (r == 0)
		*ret_next = arena_strdup(arena, page.next_token);
	arena_free(own);
	return r;
}

enum orphan_owner orphan_volume_owner(struct search *s, const char *id)
{
	const struct csi_controller_get_volume_request req = { .volume_id = id };
	struct csi_controller_get_volume_response reply;
	int64_t deadline_ns;
	const char *cluster;
	struct err why;
	int r;

	if (!(s->look->caps & CSI_CAP_BIT(CSI_CTRL_GET_VOLUME)))
		return ORPHAN_NOT_TOLD;
	if (s->is_slow)
		return ORPHAN_IN_DOUBT;
	deadline_ns = driver_limit_to(s->ctx, OWNER_NS);
	r = csi_controller_get_volume(s->look->service, s->ctx, &req, &reply, &why);
	s->ctx->deadline_ns = deadline_ns;
	s->is_slow = r < 0 && why.code == ERR_DEADLINE_EXCEEDED;
	if (r < 0)
		return why.code == ERR_NOT_FOUND ? ORPHAN_NOT_TOLD : ORPHAN_IN_DOUBT;
	cluster = strmap_find(&reply.volume.volume_context, VOL_OWNER_CLUSTER);
	return !cluster                            ? ORPHAN_NOT_TOLD
	       : str_is_equal(cluster, s->cluster) ? ORPHAN_OURS
						   : ORPHAN_ANOTHERS;
}

/* ---- snapshots ---- */

static void add_member(struct arena *arena, struct orphan *group, const char *id)
{
	const char **v = arena_array(arena, group->members.n + 1, sizeof(*v));

	if (group->members.n)
		memcpy(v, group->members.v, group->members.n * sizeof(*v));
	v[group->members.n] = arena_strdup(arena, id);
	group->members = (struct intent_strings){ v, group->members.n + 1 };
}

static void describe(struct arena *arena, struct orphan *o, const struct csi_snapshot *snapshot)
{
	char created[CLOCK_TEXT_MAX];

	o->source = arena_strdup(arena, snapshot->source_volume_id);
	if (!snapshot->has_creation_time)
		return;
	clock_format(snapshot->creation_time.seconds * NS_PER_S + snapshot->creation_time.nanos,
		     created);
	o->created = arena_strdup(arena, created);
}

static void take_member(struct search *s, struct arena *page, const struct csi_snapshot *snapshot)
{
	struct orphan *group = map_find(s->groups, snapshot->group_snapshot_id);
	struct orphan seen;

	if (!group) {
		group = looks_lost(s, page, ORPHAN_GROUP, snapshot->group_snapshot_id, &seen)
				? keep(s, &seen)
				: &orphan_known_group;
		map_put(s->groups, snapshot->group_snapshot_id, group);
	}
	if (group == &orphan_known_group)
		return;
	if (group->members.n == 0)
		describe(s->ctx->arena, group, snapshot);
	group->bytes += snapshot->size_bytes;
	add_member(s->ctx->arena, group, snapshot->snapshot_id);
}

static void take_snapshot(struct search *s, struct arena *page,
			  const struct csi_list_snapshots_response_entry *entry)
{
	const struct csi_snapshot *snapshot = &entry->snapshot;
	struct orphan seen, *o;

	if (!entry->has_snapshot)
		return;
	if (*snapshot->group_snapshot_id) {
		take_member(s, page, snapshot);
		return;
	}
	if (!looks_lost(s, page, ORPHAN_SNAPSHOT, snapshot->snapshot_id, &seen))
		return;
	o = keep(s, &seen);
	o->bytes = snapshot->size_bytes;
	describe(s->ctx->arena, o, snapshot);
}

static int ask_snapshots(struct search *s, const char *from, const char **ret_next, struct err *err)
{
	const struct csi_list_snapshots_request req = { .max_entries = PAGE,
							.starting_token = from,
							.source_volume_id = "",
							.snapshot_id = "" };
	struct csi_list_snapshots_response page;
	struct arena *arena = s->ctx->arena, *own;
	struct ctx *ctx = s->ctx;
	int r;

	own = arena_new();
	ctx->arena = own;
	r = csi_list_snapshots(s->look->service, ctx, &req, &page, err);
	ctx->arena = arena;
	for (size_t i = 0; r == 0 && i < page.n_entries; i++)
		take_snapshot(s, own, &page.entries[i]);
	if (r == 0)
		*ret_next = arena_strdup(arena, page.next_token);
	arena_free(own);
	return r;
}

/* ---- both ---- */

typedef int (*ask_fn)(struct search *s, const char *from, const char **ret_next, struct err *err);

static int ask_all(struct search *s, ask_fn ask, struct err *err)
{
	const char *token = "", *next = "";

	for (unsigned n = 0; n < PAGES_MAX; n++) {
		int64_t deadline_ns = driver_limit_to(s->ctx, s->look->timeout_ns);
		int r = ask(s, token, &next, err);

		s->ctx->deadline_ns = deadline_ns;
		if (r < 0 || !*next)
			return r;
		if (str_is_equal(token, next))
			return err_set(err, ERR_INTERNAL,
				       "driver %s goes on from token '%s' for ever",
				       s->look->driver, token);
		token = next;
	}
	return err_set(err, ERR_INTERNAL, "driver %s has not come to an end after %u pages",
		       s->look->driver, PAGES_MAX);
}

/* What a list of `first` and `second` could not tell is unknown. -1: the ctx ended, nothing else is
 * worth trying. */
static int list(struct search *s, enum csi_controller_cap cap, const char *lack, ask_fn ask,
		enum orphan_kind first, enum orphan_kind second, struct err *err)
{
	struct err why;

	if (!(s->look->caps & CSI_CAP_BIT(cap))) {
		s->unknown[first] = s->unknown[second] = lack;
		return 0;
	}
	if (ask_all(s, ask, &why) == 0)
		return 0;
	s->unknown[first] = s->unknown[second] = arena_strdup(s->ctx->arena, why.msg);
	s->broke_off[first] = s->broke_off[second] = true;
	return ctx_check(s->ctx, err);
}

int orphan_list_all(struct search *s, struct err *err)
{
	if (list(s, CSI_CTRL_LIST_VOLUMES, "the driver does not list volumes (no LIST_VOLUMES)",
		 ask_volumes, ORPHAN_VOLUME, ORPHAN_VOLUME, err) < 0)
		return -1;
	return list(s, CSI_CTRL_LIST_SNAPSHOTS,
		    "the driver does not list snapshots (no LIST_SNAPSHOTS)", ask_snapshots,
		    ORPHAN_SNAPSHOT, ORPHAN_GROUP, err);
}
