/* SPDX-License-Identifier: Apache-2.0 */
/* What contents of single snapshots have of their own: CreateSnapshot, ListSnapshots and
 * DeleteSnapshot, and their status. Their way is content.c's. */
#include "control/snapshotter-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

static const struct snapshot_content *content_of(const struct cut *c)
{
	return snapshot_content_of(c->obj);
}

static void take(struct cut *c, const struct csi_snapshot *snapshot)
{
	c->snapshot = *snapshot;
	c->made.handle = snapshot->snapshot_id;
	c->is_ready = snapshot->ready_to_use;
}

static int create(struct cut *c, const struct cut_request *req, struct err *err)
{
	const struct csi_create_snapshot_request ask = {
		.source_volume_id = content_of(c)->volume_handle,
		.name = req->name,
		.parameters = req->parameters,
		.secrets = req->secrets,
	};
	struct csi_create_snapshot_response reply;

	if (csi_create_snapshot(&c->cutter->s->csi.service, c->ctx, &ask, &reply, err) < 0)
		return cut_fail_call(c,
				     arena_printf(c->ctx->arena,
						  "failed to take snapshot of the volume %s",
						  ask.source_volume_id),
				     err);
	if (str_is_empty(reply.snapshot.snapshot_id))
		return err_set(err, ERR_UNKNOWN,
			       "the driver answered CreateSnapshot without a snapshot_id");
	take(c, &reply.snapshot);
	return 0;
}

static int look(struct cut *c, const struct secrets *secrets, struct err *err)
{
	const char *handle = c->made.handle;
	const struct csi_list_snapshots_request ask = {
		.snapshot_id = handle,
		.starting_token = "",
		.source_volume_id = "",
		.secrets = *secrets,
	};
	struct csi_list_snapshots_response reply;

	if (csi_list_snapshots(&c->cutter->s->csi.service, c->ctx, &ask, &reply, err) < 0)
		return cut_fail_call(c,
				     arena_printf(c->ctx->arena,
						  "failed to list snapshot for content %s",
						  c->obj->name),
				     err);
	for (size_t i = 0; i < reply.n_entries; i++) {
		if (!str_is_equal(reply.entries[i].snapshot.snapshot_id, handle))
			continue; /* a driver that does not filter */
		take(c, &reply.entries[i].snapshot);
		return 0;
	}
	return err_set(err, ERR_NOT_FOUND,
		       "failed to list snapshot for content %s: \"can not find snapshot for "
		       "snapshotID %s\"",
		       c->obj->name, handle);
}

static int remove_snapshot(struct cut *c, const struct cut_ids *ids, const struct secrets *secrets,
			   struct err *err)
{
	const struct csi_delete_snapshot_request ask = {
		.snapshot_id = ids->handle,
		.secrets = *secrets,
	};
	struct csi_delete_snapshot_response reply;

	if (csi_delete_snapshot(&c->cutter->s->csi.service, c->ctx, &ask, &reply, err) == 0)
		return 0;
	return err_set(err, err->code, "rpc error: code = %s desc = %s", err_code_camel(err->code),
		       arena_strdup(c->ctx->arena, err->msg));
}

static struct cut_ids ids_of(const struct cut *c)
{
	return (struct cut_ids){ .handle = content_of(c)->handle };
}

/* ---- the status ---- */

static int64_t creation_ns(const struct cut *c)
{
	int64_t known = content_of(c)->creation_ns;

	return cut_time_ns(c->snapshot.has_creation_time, &c->snapshot.creation_time,
			   known ? known : clock_wall_ns());
}

static bool is_told(const struct cut *c, int64_t cut_ns)
{
	const struct snapshot_content *o = content_of(c);
	const struct csi_snapshot *is = &c->snapshot;

	return str_is_equal(o->handle, c->made.handle) && o->is_ready == c->is_ready &&
	       o->creation_ns == cut_ns && !*o->error_message &&
	       (is->size_bytes == 0 ||
		(o->has_restore_bytes && o->restore_bytes == is->size_bytes)) &&
	       (str_is_empty(is->group_snapshot_id) ||
		str_is_equal(o->group_handle, is->group_snapshot_id));
}

static int write_status(struct cut *c, struct err *err)
{
	int64_t cut_ns = creation_ns(c);
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);

	if (is_told(c, cut_ns))
		return 0;
	str_append(&part, "\"status\":");
	json_begin_object(&w);
	json_field_string(&w, "snapshotHandle", c->made.handle);
	json_field_bool(&w, "readyToUse", c->is_ready);
	json_field_i64(&w, "creationTime", cut_ns);
	if (c->snapshot.size_bytes)
		json_field_u64(&w, "restoreSize", c->snapshot.size_bytes);
	if (!str_is_empty(c->snapshot.group_snapshot_id))
		json_field_string(&w, "volumeGroupSnapshotHandle", c->snapshot.group_snapshot_id);
	json_field_string(&w, "error", NULL);
	json_end_object(&w);
	return cut_patch_status(c, str_get(&part), err);
}

static void log_cut(const struct cut *c)
{
	log_info("snapshot cut", log_str("content", c->obj->name),
		 log_str("snapshot", c->made.handle), log_bool("ready", c->is_ready));
}

const struct content_kind content_kind_single = {
	.type = &snapshot_content_type,
	.noun = "snapshot",
	.log_key = "snapshot",
	.resource = "volumesnapshot",
	.queue_name = "csi-snapshotter-content",
	.default_prefix = "snapshot",
	.being_created = ANN_BEING_CREATED,
	.being_deleted = ANN_BEING_DELETED,
	.secret_name = ANN_SNAPSHOT_SECRET_NAME,
	.secret_ns = ANN_SNAPSHOT_SECRET_NS,
	.finalizer = SNAPSHOT_CONTENT_FINALIZER,
	.create_failed = "SnapshotCreationFailed",
	.check_failed = "SnapshotContentCheckandUpdateFailed",
	.delete_failed = "SnapshotDeleteError",
	.empty_status = "\"status\":{\"snapshotHandle\":null,\"readyToUse\":null,"
			"\"creationTime\":null,\"restoreSize\":null}",
	.create_caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT),
	.look_caps = CSI_CAP_BIT(CSI_CTRL_LIST_SNAPSHOTS),
	.look_secret = SNAPSHOT_SECRET_LIST,
	.create = create,
	.look = look,
	.remove = remove_snapshot,
	.ids_of = ids_of,
	.write_status = write_status,
	.log_cut = log_cut,
};
