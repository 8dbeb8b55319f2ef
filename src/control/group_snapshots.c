/* SPDX-License-Identifier: Apache-2.0 */
/* Which fields of the kinds of groupsnapshot.storage.k8s.io are kept; how that is done is
 * kube/pack.h's. */
#include "control/group_snapshots.h"

#include "base/str.h"
#include "control/snapshots.h"
#include "kube/pack.h"

static void decode_group(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct group_snapshot *g = (struct group_snapshot *)o;
	const struct json *spec = json_get(item, "spec");
	const struct json *selector = json_path(spec, "source.selector");
	const struct json *status = json_get(item, "status");

	g->has_selector = json_is_object(selector);
	g->labels = pack_map(p, json_get(selector, "matchLabels"));
	g->content = pack_path(p, spec, "source.volumeGroupSnapshotContentName");
	g->class_name = pack_get(p, spec, "volumeGroupSnapshotClassName");
	g->bound_content = pack_get(p, status, "boundVolumeGroupSnapshotContentName");
	g->creation_time = pack_get(p, status, "creationTime");
	g->error_message = pack_path(p, status, "error.message");
	g->is_ready = json_bool(json_get(status, "readyToUse"), false);
}

static struct group_member decode_member(struct packer *p, const struct json *item)
{
	struct group_member m = { 0 };
	int64_t number;

	m.volume_handle = pack_get(p, item, "volumeHandle");
	m.handle = pack_get(p, item, "snapshotHandle");
	if (json_int(json_get(item, "creationTime"), &number) == 0 && number > 0)
		m.creation_ns = number;
	m.has_restore_bytes = json_int(json_get(item, "restoreSize"), &number) == 0 && number >= 0;
	m.restore_bytes = m.has_restore_bytes ? (uint64_t)number : 0;
	m.is_ready = json_bool(json_get(item, "readyToUse"), false);
	return m;
}

static void decode_members(struct packer *p, const struct json *list, struct group_content *c)
{
	size_t n = json_is_array(list) ? json_count(list) : 0;
	struct group_member *v = pack_array(p, n, sizeof(*v));
	const struct json *item;
	size_t i = 0;

	if (n == 0)
		return;
	for (struct json_it it = json_each(list); json_next(&it, NULL, &item);) {
		struct group_member m = decode_member(p, item);

		if (v)
			v[i++] = m;
	}
	c->members = v;
	c->n_members = n;
}

static void decode_content(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct group_content *c = (struct group_content *)o;
	const struct json *spec = json_get(item, "spec");
	const struct json *ref = json_get(spec, "volumeGroupSnapshotRef");
	const struct json *there = json_path(spec, "source.groupSnapshotHandles");
	const struct json *status = json_get(item, "status");

	c->ref_ns = pack_get(p, ref, "namespace");
	c->ref_name = pack_get(p, ref, "name");
	c->ref_uid = pack_get(p, ref, "uid");
	c->deletion_policy = pack_get(p, spec, "deletionPolicy");
	c->driver = pack_get(p, spec, "driver");
	c->class_name = pack_get(p, spec, "volumeGroupSnapshotClassName");
	c->volume_handles = pack_strings(p, json_path(spec, "source.volumeHandles"));
	c->source_handle = pack_get(p, there, "volumeGroupSnapshotHandle");
	c->snapshot_handles = pack_strings(p, json_get(there, "volumeSnapshotHandles"));
	c->has_status = json_is_object(status);
	c->handle = pack_get(p, status, "volumeGroupSnapshotHandle");
	c->creation_time = pack_get(p, status, "creationTime");
	c->error_message = pack_path(p, status, "error.message");
	c->error_time = pack_path(p, status, "error.time");
	c->is_ready = json_bool(json_get(status, "readyToUse"), false);
	decode_members(p, json_get(status, "volumeSnapshotInfoList"), c);
}

const struct group_snapshot *group_snapshot_of(const struct kube_object *o)
{
	return kube_object_as(o, &group_snapshot_type);
}

const struct group_content *group_content_of(const struct kube_object *o)
{
	return kube_object_as(o, &group_content_type);
}

const struct kube_type group_snapshot_type = {
	.kind = "VolumeGroupSnapshot",
	.resource = "volumegroupsnapshots",
	.group_version = GROUP_SNAPSHOT_GROUP "/v1",
	.is_namespaced = true,
	.is_custom = true,
	.size = sizeof(struct group_snapshot),
	.decode = decode_group,
	.words = KUBE_WORDS("default", GROUP_BOUND_FINALIZER),
};

const struct kube_type group_content_type = {
	.kind = "VolumeGroupSnapshotContent",
	.resource = "volumegroupsnapshotcontents",
	.group_version = GROUP_SNAPSHOT_GROUP "/v1",
	.is_custom = true,
	.size = sizeof(struct group_content),
	.decode = decode_content,
	.annotations = KUBE_WORDS(ANN_GROUP_SECRET_NAME, ANN_GROUP_SECRET_NS,
				  ANN_GROUP_BEING_CREATED, ANN_GROUP_BEING_DELETED),
	.words = KUBE_WORDS("Delete", "Retain", "default", GROUP_CONTENT_FINALIZER, "yes"),
};

const struct kube_type group_class_type = {
	.kind = "VolumeGroupSnapshotClass",
	.resource = "volumegroupsnapshotclasses",
	.group_version = GROUP_SNAPSHOT_GROUP "/v1",
	.is_custom = true,
	.size = sizeof(struct snapshot_class),
	.decode = snapshot_class_decode,
	.annotations = KUBE_WORDS(ANN_DEFAULT_GROUP_CLASS),
	.words = KUBE_WORDS("Delete", "Retain"),
};
