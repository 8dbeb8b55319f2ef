/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl group - snapshots of several volumes at one moment
 *
 * CSI lists no groups, but the snapshots in them; and it wants all of a group's snapshots named by
 * whoever asks for it or deletes it. So both are asked of the list.
 */
#include "base/mem.h"
#include "base/vec.h"
#include "cmd/ctl.h"
#include "cmd/table.h"

struct groups {
	VEC(struct csi_volume_group_snapshot) v;
};

static const char *id_of(const void *item)
{
	const struct csi_volume_group_snapshot *g = item;

	return g->group_snapshot_id;
}

static void put_group(struct json_writer *w, const void *item)
{
	const struct csi_volume_group_snapshot *g = item;
	char time[CLOCK_TEXT_MAX];

	ctl_format_time(&g->creation_time, time);
	json_begin_object(w);
	json_field_string(w, "group_snapshot_id", g->group_snapshot_id);
	json_field_string(w, "creation_time", time);
	json_field_bool(w, "ready_to_use", g->ready_to_use);
	json_key(w, "snapshots");
	json_begin_array(w);
	for (size_t i = 0; i < g->n_snapshots; i++)
		ctl_put_snapshot(w, &g->snapshots[i]);
	json_end_array(w);
	json_end_object(w);
}

static void print_table(struct ctl *ctl, const void *items, size_t n)
{
	static const char *const headings[] = { "NAME", "STATE", "CREATED", "VOLUMES", "GROUP" };
	const struct csi_volume_group_snapshot *groups = items;
	struct table *t = table_new(headings, ARRAY_LEN(headings));
	struct arena *a = ctl->ctx->arena;

	for (size_t i = 0; i < n; i++) {
		const struct csi_volume_group_snapshot *g = &groups[i];
		autostr struct str volumes = STR_INIT;
		char time[CLOCK_TEXT_MAX];

		for (size_t j = 0; j < g->n_snapshots; j++)
			str_appendf(
				&volumes, "%s%s", j ? "," : "",
				ctl_name_of(a, VOL_KIND_VOLUME, g->snapshots[j].source_volume_id));
		ctl_format_time(&g->creation_time, time);
		table_row(t, (const char *const[]){
				     ctl_name_of(a, VOL_KIND_GROUP, g->group_snapshot_id),
				     g->ready_to_use ? "ready" : "not ready", time,
				     str_get(&volumes), g->group_snapshot_id });
	}
	table_print(t, ctl->out);
	table_free(t);
}

static const struct ctl_shape shape = {
	.kind = VOL_KIND_GROUP,
	.item_bytes = sizeof(struct csi_volume_group_snapshot),
	.id = id_of,
	.put = put_group,
	.print_table = print_table,
};

static struct csi_volume_group_snapshot *need_group(struct groups *groups,
						    const struct csi_snapshot *member)
{
	for (size_t i = 0; i < groups->v.n; i++) {
		if (str_is_equal(groups->v.v[i].group_snapshot_id, member->group_snapshot_id))
			return &groups->v.v[i];
	}
	vec_push(&groups->v, ((struct csi_volume_group_snapshot){
				     .group_snapshot_id = member->group_snapshot_id,
				     .creation_time = member->creation_time,
				     .ready_to_use = true }));
	return &groups->v.v[groups->v.n - 1];
}

/* In the order of the volumes, as the calls of one group have them. */
static void add_member(struct arena *a, struct csi_volume_group_snapshot *g,
		       const struct csi_snapshot *s)
{
	struct csi_snapshot *members = arena_array(a, g->n_snapshots + 1, sizeof(*members));
	size_t n = 0, n_before = 0;

	while (n_before < g->n_snapshots &&
	       strcmp(g->snapshots[n_before].source_volume_id, s->source_volume_id) < 0)
		members[n++] = g->snapshots[n_before++];
	members[n++] = *s;
	while (n_before < g->n_snapshots)
		members[n++] = g->snapshots[n_before++];
	g->snapshots = members;
	g->n_snapshots = n;
	g->ready_to_use = g->ready_to_use && s->ready_to_use;
}

/* By the snapshots in them. */
static int list_groups(struct ctl *ctl, struct groups *ret, struct err *err)
{
	struct csi_list_snapshots_response all;

	if (ctl_snapshots_list(ctl, &all, err) < 0)
		return -1;
	for (size_t i = 0; i < all.n_entries; i++) {
		const struct csi_snapshot *s = &all.entries[i].snapshot;

		if (!str_is_empty(s->group_snapshot_id))
			add_member(ctl->ctx->arena, need_group(ret, s), s);
	}
	return 0;
}

int ctl_group_resolve(struct ctl *ctl, const char *text, const char **ret_id, struct err *err)
{
	struct groups groups = { .v = VEC_INIT };
	struct err ignored;
	int r = 0;

	*ret_id = text;
	if (ctl_is_id(&shape, text))
		return 0;
	if (list_groups(ctl, &groups, &ignored) == 0)
		r = ctl_choose_id(&shape, text, groups.v.v, groups.v.n, ret_id, err);
	vec_done(&groups.v);
	return r;
}

/* The ids of the snapshots in it; none if there is no such group. */
static int find_members(struct ctl *ctl, const char *const **ret_ids, size_t *ret_n,
			struct err *err)
{
	struct csi_list_snapshots_response all;
	const char **ids;
	size_t n = 0;

	if (ctl_snapshots_list(ctl, &all, err) < 0)
		return -1;
	ids = arena_array(ctl->ctx->arena, all.n_entries, sizeof(*ids));
	for (size_t i = 0; i < all.n_entries; i++) {
		if (str_is_equal(all.entries[i].snapshot.group_snapshot_id, ctl->id))
			ids[n++] = all.entries[i].snapshot.snapshot_id;
	}
	*ret_ids = ids;
	*ret_n = n;
	return 0;
}

static int create(struct ctl *ctl, struct err *err)
{
	const struct opt_list *members = &ctl->opts->members;
	const char **ids = arena_array(ctl->ctx->arena, members->n, sizeof(*ids));
	const struct csi_create_volume_group_snapshot_request req = {
		.name = ctl->id,
		.source_volume_ids = ids,
		.n_source_volume_ids = members->n,
		.parameters = ctl_parameters(ctl),
	};
	struct csi_create_volume_group_snapshot_response reply;

	for (size_t i = 0; i < members->n; i++) {
		if (ctl_volume_resolve(ctl, members->v[i], &ids[i], err) < 0)
			return -1;
	}
	if (csi_create_volume_group_snapshot(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_one(ctl, &shape, &reply.group_snapshot);
	return 0;
}

static int list(struct ctl *ctl, struct err *err)
{
	struct groups groups = { .v = VEC_INIT };
	int r = list_groups(ctl, &groups, err);

	if (r == 0)
		ctl_print_all(ctl, &shape, groups.v.v, groups.v.n);
	vec_done(&groups.v);
	return r;
}

static int show(struct ctl *ctl, struct err *err)
{
	struct csi_get_volume_group_snapshot_request req = { .group_snapshot_id = ctl->id };
	struct csi_get_volume_group_snapshot_response reply;

	if (find_members(ctl, &req.snapshot_ids, &req.n_snapshot_ids, err) < 0 ||
	    csi_get_volume_group_snapshot(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_one(ctl, &shape, &reply.group_snapshot);
	return 0;
}

static int delete_group(struct ctl *ctl, struct err *err)
{
	struct csi_delete_volume_group_snapshot_request req = { .group_snapshot_id = ctl->id };
	struct csi_delete_volume_group_snapshot_response reply;

	if (find_members(ctl, &req.snapshot_ids, &req.n_snapshot_ids, err) < 0 ||
	    csi_delete_volume_group_snapshot(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_done(ctl, "deleted");
	return 0;
}

/* clang-format off */
const struct ctl_verb ctl_group_verbs[] = {
	{ .group = "group", .name = "create", .argument = "NAME", .needs = "member", .takes = "parameter", .run = create,
	  .summary = "Keep several volumes as they are at one moment, or find the group that was made." },
	{ .group = "group", .name = "list", .run = list, .summary = "All groups of snapshots." },
	{ .group = "group", .name = "show", .argument = "ID", .run = show, .summary = "One group and the snapshots in it." },
	{ .group = "group", .name = "delete", .argument = "ID", .run = delete_group,
	  .summary = "Delete a group with all its snapshots; what was made of them stays." },
	{ .name = NULL },
};
/* clang-format on */
