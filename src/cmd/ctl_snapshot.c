/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl snapshot - the verbs, each one CSI call, and their answers
 *
 * A snapshot that is not ready is being copied; the same create again says whether it is by now.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cmd/ctl.h"
#include "cmd/pretty.h"
#include "cmd/table.h"

void ctl_format_time(const struct pb_timestamp *t, char ret_text[CLOCK_TEXT_MAX])
{
	clock_format(t->seconds * NS_PER_S + t->nanos, ret_text);
}

void ctl_put_snapshot(struct json_writer *w, const struct csi_snapshot *s)
{
	char time[CLOCK_TEXT_MAX];

	ctl_format_time(&s->creation_time, time);
	json_begin_object(w);
	json_field_string(w, "snapshot_id", s->snapshot_id);
	json_field_string(w, "source_volume_id", s->source_volume_id);
	json_field_u64(w, "size_bytes", s->size_bytes);
	json_field_string(w, "creation_time", time);
	json_field_bool(w, "ready_to_use", s->ready_to_use);
	if (!str_is_empty(s->group_snapshot_id))
		json_field_string(w, "group_snapshot_id", s->group_snapshot_id);
	ctl_put_topologies(w, &s->accessible_topology);
	json_end_object(w);
}

const char *ctl_name_of(struct arena *a, enum vol_kind kind, const char *text)
{
	struct vol_id id;
	struct err ignored;

	return vol_id_parse(kind, text, &id, &ignored) == 0 ? arena_strdup(a, id.token) : text;
}

static const char *id_of(const void *item)
{
	const struct csi_list_snapshots_response_entry *entry = item;

	return entry->snapshot.snapshot_id;
}

static void put_entry(struct json_writer *w, const void *item)
{
	const struct csi_list_snapshots_response_entry *entry = item;

	ctl_put_snapshot(w, &entry->snapshot);
}

static void print_table(struct ctl *ctl, const void *items, size_t n)
{
	static const char *const headings[] = { "NAME",   "SIZE",  "STATE",   "CREATED",
						"VOLUME", "GROUP", "SNAPSHOT" };
	const struct csi_list_snapshots_response_entry *entries = items;
	struct table *t = table_new(headings, ARRAY_LEN(headings));
	struct arena *a = ctl->ctx->arena;

	for (size_t i = 0; i < n; i++) {
		const struct csi_snapshot *s = &entries[i].snapshot;
		char bytes[CMD_BYTES_MAX], time[CLOCK_TEXT_MAX];

		cmd_format_bytes(s->size_bytes, bytes);
		ctl_format_time(&s->creation_time, time);
		table_row(t, (const char *const[]){
				     ctl_name_of(a, VOL_KIND_SNAPSHOT, s->snapshot_id), bytes,
				     s->ready_to_use ? "ready" : "being copied", time,
				     ctl_name_of(a, VOL_KIND_VOLUME, s->source_volume_id),
				     str_is_empty(s->group_snapshot_id)
					     ? NULL
					     : ctl_name_of(a, VOL_KIND_GROUP, s->group_snapshot_id),
				     s->snapshot_id });
	}
	table_print(t, ctl->out);
	table_free(t);
}

static const struct ctl_shape shape = {
	.kind = VOL_KIND_SNAPSHOT,
	.item_bytes = sizeof(struct csi_list_snapshots_response_entry),
	.id = id_of,
	.put = put_entry,
	.print_table = print_table,
};

static struct csi_list_snapshots_request ask_all(void)
{
	return (struct csi_list_snapshots_request){
		.max_entries = 500, .starting_token = "", .source_volume_id = "", .snapshot_id = ""
	};
}

static int list_all(struct ctl *ctl, const struct csi_list_snapshots_request *first,
		    struct csi_list_snapshots_response *ret, struct err *err)
{
	VEC(struct csi_list_snapshots_response_entry) all = VEC_INIT;
	struct csi_list_snapshots_request req = *first;
	struct csi_list_snapshots_response page;
	int r;

	do {
		r = csi_list_snapshots(ctl->service, ctl->ctx, &req, &page, err);
		for (size_t i = 0; r == 0 && i < page.n_entries; i++)
			vec_push(&all, page.entries[i]);
		req.starting_token = page.next_token;
	} while (r == 0 && !str_is_empty(page.next_token));
	*ret = (struct csi_list_snapshots_response){ .next_token = "" };
	if (r == 0 && all.n > 0) {
		ret->entries = arena_memdup(ctl->ctx->arena, all.v, all.n * sizeof(*all.v));
		ret->n_entries = all.n;
	}
	vec_done(&all);
	return r;
}

int ctl_snapshots_list(struct ctl *ctl, struct csi_list_snapshots_response *ret, struct err *err)
{
	const struct csi_list_snapshots_request req = ask_all();

	return list_all(ctl, &req, ret, err);
}

int ctl_snapshot_resolve(struct ctl *ctl, const char *text, const char **ret_id, struct err *err)
{
	const struct csi_list_snapshots_request req = ask_all();
	struct csi_list_snapshots_response all;
	struct err ignored;

	*ret_id = text;
	if (ctl_is_id(&shape, text) || list_all(ctl, &req, &all, &ignored) < 0)
		return 0;
	return ctl_choose_id(&shape, text, all.entries, all.n_entries, ret_id, err);
}

static int create(struct ctl *ctl, struct err *err)
{
	struct csi_create_snapshot_request req = { .name = ctl->id,
						   .parameters = ctl_parameters(ctl) };
	struct csi_create_snapshot_response reply;

	if (ctl_volume_resolve(ctl, ctl->opts->volume, &req.source_volume_id, err) < 0 ||
	    csi_create_snapshot(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_one(ctl, &shape,
		      &(const struct csi_list_snapshots_response_entry){ true, reply.snapshot });
	return 0;
}

static int list(struct ctl *ctl, struct err *err)
{
	struct csi_list_snapshots_request req = ask_all();
	struct csi_list_snapshots_response all;

	if (!str_is_empty(ctl->opts->volume) &&
	    ctl_volume_resolve(ctl, ctl->opts->volume, &req.source_volume_id, err) < 0)
		return -1;
	if (list_all(ctl, &req, &all, err) < 0)
		return -1;
	ctl_print_all(ctl, &shape, all.entries, all.n_entries);
	return 0;
}

/* By the list and not by GetSnapshot, which is young and which few drivers have. */
static int show(struct ctl *ctl, struct err *err)
{
	struct csi_list_snapshots_request req = ask_all();
	struct csi_list_snapshots_response found;

	req.snapshot_id = ctl->id;
	if (list_all(ctl, &req, &found, err) < 0)
		return -1;
	if (found.n_entries == 0)
		return err_set(err, ERR_NOT_FOUND, "there is no snapshot '%s'", ctl->id);
	ctl_print_one(ctl, &shape, &found.entries[0]);
	return 0;
}

static int delete_snapshot(struct ctl *ctl, struct err *err)
{
	const struct csi_delete_snapshot_request req = { .snapshot_id = ctl->id };
	struct csi_delete_snapshot_response reply;

	if (csi_delete_snapshot(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_done(ctl, "deleted");
	return 0;
}

/* clang-format off */
const struct ctl_verb ctl_snapshot_verbs[] = {
	{ .group = "snapshot", .name = "create", .argument = "NAME", .needs = "volume", .takes = "parameter", .run = create,
	  .summary = "Keep a volume as it is now, or find the snapshot that was made." },
	{ .group = "snapshot", .name = "list", .takes = "volume", .run = list, .summary = "All snapshots, or those of a volume." },
	{ .group = "snapshot", .name = "show", .argument = "ID", .run = show, .summary = "One snapshot." },
	{ .group = "snapshot", .name = "delete", .argument = "ID", .run = delete_snapshot,
	  .summary = "Delete a snapshot; its volume, and what was made of it, stay." },
	{ .group = "snapshot", .name = "map", .argument = "ID", .takes = "offset", .run = ctl_snapshot_map,
	  .summary = "Where a snapshot holds data: ranges of bytes." },
	{ .group = "snapshot", .name = "diff", .argument = "BASE TARGET", .takes = "offset", .run = ctl_snapshot_diff,
	  .summary = "Where a snapshot may differ from an older one of the same volume." },
	{ .name = NULL },
};
/* clang-format on */
