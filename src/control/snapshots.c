/* SPDX-License-Identifier: Apache-2.0 */
/* Which fields of the kinds of snapshot.storage.k8s.io are kept; how that is done is kube/pack.h's.
 */
#include "control/snapshots.h"

#include "base/str.h"
#include "control/group_snapshots.h"
#include "kube/pack.h"

/* A number of bytes or nanoseconds. */
static bool read_number(const struct json *v, int64_t *ret)
{
	int64_t value;

	if (json_int(v, &value) < 0 || value < 0)
		return false;
	*ret = value;
	return true;
}

static void decode_snapshot(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct snapshot *s = (struct snapshot *)o;
	const struct json *spec = json_get(item, "spec");
	const struct json *status = json_get(item, "status");

	s->claim = pack_path(p, spec, "source.persistentVolumeClaimName");
	s->content = pack_path(p, spec, "source.volumeSnapshotContentName");
	s->class_name = pack_get(p, spec, "volumeSnapshotClassName");
	s->bound_content = pack_get(p, status, "boundVolumeSnapshotContentName");
	s->creation_time = pack_get(p, status, "creationTime");
	s->group_name = pack_get(p, status, "volumeGroupSnapshotName");
	s->error_message = pack_path(p, status, "error.message");
	s->has_restore_bytes = pack_quantity(json_get(status, "restoreSize"), &s->restore_bytes);
	s->is_ready = json_bool(json_get(status, "readyToUse"), false);
}

static void decode_content(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct snapshot_content *c = (struct snapshot_content *)o;
	const struct json *spec = json_get(item, "spec");
	const struct json *ref = json_get(spec, "volumeSnapshotRef");
	const struct json *status = json_get(item, "status");
	int64_t bytes = 0;

	c->ref_ns = pack_get(p, ref, "namespace");
	c->ref_name = pack_get(p, ref, "name");
	c->ref_uid = pack_get(p, ref, "uid");
	c->deletion_policy = pack_get(p, spec, "deletionPolicy");
	c->driver = pack_get(p, spec, "driver");
	c->class_name = pack_get(p, spec, "volumeSnapshotClassName");
	c->volume_handle = pack_path(p, spec, "source.volumeHandle");
	c->source_handle = pack_path(p, spec, "source.snapshotHandle");
	c->volume_mode = pack_get(p, spec, "sourceVolumeMode");
	c->has_status = json_is_object(status);
	c->handle = pack_get(p, status, "snapshotHandle");
	c->group_handle = pack_get(p, status, "volumeGroupSnapshotHandle");
	c->error_message = pack_path(p, status, "error.message");
	c->error_time = pack_path(p, status, "error.time");
	(void)read_number(json_get(status, "creationTime"), &c->creation_ns);
	c->has_restore_bytes = read_number(json_get(status, "restoreSize"), &bytes);
	c->restore_bytes = (uint64_t)bytes;
	c->is_ready = json_bool(json_get(status, "readyToUse"), false);
}

void snapshot_class_decode(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct snapshot_class *c = (struct snapshot_class *)o;

	c->driver = pack_get(p, item, "driver");
	c->deletion_policy = pack_get(p, item, "deletionPolicy");
	c->parameters = pack_map(p, json_get(item, "parameters"));
}

const struct snapshot *snapshot_of(const struct kube_object *o)
{
	return kube_object_as(o, &snapshot_type);
}

const struct snapshot_content *snapshot_content_of(const struct kube_object *o)
{
	return kube_object_as(o, &snapshot_content_type);
}

const struct snapshot_class *snapshot_class_of(const struct kube_object *o)
{
	return kube_object_as(o, o && o->type == &group_class_type ? &group_class_type
								   : &snapshot_class_type);
}

const struct kube_type snapshot_type = {
	.kind = "VolumeSnapshot",
	.resource = "volumesnapshots",
	.group_version = SNAPSHOT_GROUP "/v1",
	.is_namespaced = true,
	.is_custom = true,
	.size = sizeof(struct snapshot),
	.decode = decode_snapshot,
	.words = KUBE_WORDS("default", SNAPSHOT_SOURCE_FINALIZER, SNAPSHOT_BOUND_FINALIZER),
};

const struct kube_type snapshot_content_type = {
	.kind = "VolumeSnapshotContent",
	.resource = "volumesnapshotcontents",
	.group_version = SNAPSHOT_GROUP "/v1",
	.is_custom = true,
	.size = sizeof(struct snapshot_content),
	.decode = decode_content,
	.annotations = KUBE_WORDS(ANN_GROUP_HANDLE, ANN_ALLOW_MODE_CHANGE, ANN_SNAPSHOT_SECRET_NAME,
				  ANN_SNAPSHOT_SECRET_NS, ANN_BEING_CREATED, ANN_BEING_DELETED),
	.words = KUBE_WORDS("Block", "Delete", "Filesystem", "Retain", "default",
			    SNAPSHOT_CONTENT_FINALIZER, "yes"),
};

const struct kube_type snapshot_class_type = {
	.kind = "VolumeSnapshotClass",
	.resource = "volumesnapshotclasses",
	.group_version = SNAPSHOT_GROUP "/v1",
	.is_custom = true,
	.size = sizeof(struct snapshot_class),
	.decode = snapshot_class_decode,
	.annotations = KUBE_WORDS(ANN_DEFAULT_SNAPSHOT_CLASS),
	.words = KUBE_WORDS("Delete", "Retain"),
};
