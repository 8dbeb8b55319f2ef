/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What contents of groups have of their own: the calls for groups, and their status. Their way is
 * content.c's. What is cut is told member by member in the status; the members' own contents are
 * made of that by the snapshot-controller, and go with the group: nobody deletes them singly.
 */
#include "control/snapshotter-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

static const struct group_content *content_of(const struct cut *c)
{
	return group_content_of(c->obj);
}

static void take(struct cut *c, const struct csi_volume_group_snapshot *group)
{
	const char **ids = arena_array(c->ctx->arena, group->n_snapshots, sizeof(*ids));

	c->group = *group;
	c->is_ready = group->ready_to_use;
	for (size_t i = 0; i < group->n_snapshots; i++) {
		ids[i] = group->snapshots[i].snapshot_id;
		c->is_ready &= group->snapshots[i].ready_to_use;
	}
	c->made = (struct cut_ids){ group->group_snapshot_id, ids, group->n_snapshots };
}

static int create(struct cut *c, const struct cut_request *req, struct err *err)
{
	const struct csi_create_volume_group_snapshot_request ask = {
		.name = req->name,
		.source_volume_ids = content_of(c)->volume_handles.v,
		.n_source_volume_ids = content_of(c)->volume_handles.n,
		.parameters = req->parameters,
		.secrets = req->secrets,
	};
	struct csi_create_volume_group_snapshot_response reply;

	if (csi_create_volume_group_snapshot(&c->cutter->s->csi.service, c->ctx, &ask, &reply,
					     err) < 0)
		return cut_fail_call(c, "failed to take group snapshot of the volumes", err);
	if (str_is_empty(reply.group_snapshot.group_snapshot_id))
		return err_set(err, ERR_UNKNOWN,
			       "the driver answered CreateVolumeGroupSnapshot without a "
			       "group_snapshot_id");
	take(c, &reply.group_snapshot);
	return 0;
}

static int look(struct cut *c, const struct secrets *secrets, struct err *err)
{
	const struct csi_get_volume_group_snapshot_request ask = {
		.group_snapshot_id = c->made.handle,
		.snapshot_ids = content_of(c)->snapshot_handles.v,
		.n_snapshot_ids = content_of(c)->snapshot_handles.n,
		.secrets = *secrets,
	};
	struct csi_get_volume_group_snapshot_response reply;

	if (csi_get_volume_group_snapshot(&c->cutter->s->csi.service, c->ctx, &ask, &reply, err) <
	    0)
		return cut_fail_call(c, "failed to get group snapshot", err);
	take(c, &reply.group_snapshot);
	return 0;
}

static int remove_group(struct cut *c, const struct cut_ids *ids, const struct secrets *secrets,
			struct err *err)
{
	const struct csi_delete_volume_group_snapshot_request ask = {
		.group_snapshot_id = ids->handle,
		.snapshot_ids = ids->members,
		.n_snapshot_ids = ids->n_members,
		.secrets = *secrets,
	};
	struct csi_delete_volume_group_snapshot_response reply;

	if (csi_delete_volume_group_snapshot(&c->cutter->s->csi.service, c->ctx, &ask, &reply,
					     err) < 0)
		return cut_fail_call(c, "failed to delete group snapshot", err);
	return 0;
}

/* The members as the status tells, or as the content was brought along. */
static struct cut_ids ids_of(const struct cut *c)
{
	const struct group_content *o = content_of(c);
	const char **ids = arena_array(c->ctx->arena, o->n_members, sizeof(*ids));

	if (!o->n_members)
		return (struct cut_ids){ o->handle, o->snapshot_handles.v, o->snapshot_handles.n };
	for (size_t i = 0; i < o->n_members; i++)
		ids[i] = o->members[i].handle;
	return (struct cut_ids){ o->handle, ids, o->n_members };
}

/* ---- the status ---- */

static void write_member(struct json_writer *w, const struct csi_snapshot *snapshot)
{
	json_begin_object(w);
	json_field_string(w, "volumeHandle", snapshot->source_volume_id);
	json_field_string(w, "snapshotHandle", snapshot->snapshot_id);
	json_field_i64(w, "creationTime",
		       cut_time_ns(snapshot->has_creation_time, &snapshot->creation_time,
				   clock_wall_ns()));
	json_field_bool(w, "readyToUse", snapshot->ready_to_use);
	if (snapshot->size_bytes)
		json_field_u64(w, "restoreSize", snapshot->size_bytes);
	json_end_object(w);
}

static int write_status(struct cut *c, struct err *err)
{
	const struct csi_volume_group_snapshot *group = &c->group;
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	char time[CLOCK_TEXT_MAX];

	clock_format(cut_time_ns(group->has_creation_time, &group->creation_time, clock_wall_ns()),
		     time);
	str_append(&part, "\"status\":");
	json_begin_object(&w);
	json_field_string(&w, "volumeGroupSnapshotHandle", group->group_snapshot_id);
	json_field_bool(&w, "readyToUse", c->is_ready);
	json_field_string(&w, "creationTime", str_or(content_of(c)->creation_time, time));
	json_key(&w, "volumeSnapshotInfoList");
	json_begin_array(&w);
	for (size_t i = 0; i < group->n_snapshots; i++)
		write_member(&w, &group->snapshots[i]);
	json_end_array(&w);
	json_field_string(&w, "error", NULL);
	json_end_object(&w);
	return cut_patch_status(c, str_get(&part), err);
}

static void log_cut(const struct cut *c)
{
	log_info("group snapshot cut", log_str("content", c->obj->name),
		 log_str("group", c->made.handle), log_u64("members", c->made.n_members),
		 log_bool("ready", c->is_ready));
}

const struct content_kind content_kind_group = {
	.type = &group_content_type,
	.noun = "group snapshot",
	.log_key = "group",
	.resource = "volumegroupsnapshot",
	.queue_name = "csi-snapshotter-groupsnapshotcontent",
	.default_prefix = "groupsnapshot",
	.being_created = ANN_GROUP_BEING_CREATED,
	.being_deleted = ANN_GROUP_BEING_DELETED,
	.secret_name = ANN_GROUP_SECRET_NAME,
	.secret_ns = ANN_GROUP_SECRET_NS,
	.finalizer = GROUP_CONTENT_FINALIZER,
	.create_failed = "GroupSnapshotCreationFailed",
	.check_failed = "GroupSnapshotContentCheckandUpdateFailed",
	.delete_failed = "GroupSnapshotDeleteError",
	.empty_status = "\"status\":{\"volumeGroupSnapshotHandle\":null,\"readyToUse\":null,"
			"\"creationTime\":null,\"volumeSnapshotInfoList\":null}",
	.look_secret = SNAPSHOT_SECRET_GROUP_GET,
	.create = create,
	.look = look,
	.remove = remove_group,
	.ids_of = ids_of,
	.write_status = write_status,
	.log_cut = log_cut,
};
