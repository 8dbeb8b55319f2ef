/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SNAPSHOTS_H
#define CONTROL_SNAPSHOTS_H

#include "kube/object.h"

/*
 * The kinds of snapshot.storage.k8s.io that controllers read, and of each the fields that some
 * controller uses. They are CRDs: a cluster may have none of them, or get them later.
 */
#define SNAPSHOT_GROUP "snapshot.storage.k8s.io"

#define ANN_SNAPSHOT_SECRET_NAME "snapshot.storage.kubernetes.io/deletion-secret-name"
#define ANN_SNAPSHOT_SECRET_NS "snapshot.storage.kubernetes.io/deletion-secret-namespace"
/* On a content: CreateSnapshot may be under way. */
#define ANN_BEING_CREATED "snapshot.storage.kubernetes.io/volumesnapshot-being-created"
/* On a content: its snapshot is being deleted, so what is cut of the volume may go. */
#define ANN_BEING_DELETED "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"
/* On a content: a volume of it may have the other volume mode. */
#define ANN_ALLOW_MODE_CHANGE "snapshot.storage.kubernetes.io/allow-volume-mode-change"
#define ANN_DEFAULT_SNAPSHOT_CLASS "snapshot.storage.kubernetes.io/is-default-class"
/* On a content: it is a member of the group with this handle. */
#define ANN_GROUP_HANDLE "groupsnapshot.storage.k8s.io/volumeGroupSnapshotHandle"

/* On a claim while a snapshot is cut of it; on a snapshot always, and while it is bound to a
 * content that goes with it; on a content always; on a snapshot while it is a member of a group. */
/* On a content: the node whose snapshotter it is for, where each has one. */
#define SNAPSHOT_LABEL_NODE "snapshot.storage.kubernetes.io/managed-by"
#define CLAIM_SOURCE_FINALIZER "snapshot.storage.kubernetes.io/pvc-as-source-protection"
#define SNAPSHOT_SOURCE_FINALIZER \
	"snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"
#define SNAPSHOT_BOUND_FINALIZER "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"
#define SNAPSHOT_CONTENT_FINALIZER \
	"snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"
#define SNAPSHOT_MEMBER_FINALIZER \
	"snapshot.storage.kubernetes.io/volumesnapshot-in-group-protection"

/* VolumeSnapshot. */
struct snapshot {
	struct kube_object meta;
	const char *claim;      /* spec.source.persistentVolumeClaimName */
	const char *content;    /* spec.source.volumeSnapshotContentName */
	const char *class_name; /* "" when nil */
	/* Of the status; all empty without one. */
	const char *bound_content;
	const char *creation_time; /* RFC 3339 */
	const char *group_name;
	const char *error_message;
	uint64_t restore_bytes;
	bool has_restore_bytes;
	bool is_ready;
};

/* VolumeSnapshotContent. */
struct snapshot_content {
	struct kube_object meta;
	const char *ref_ns, *ref_name, *ref_uid; /* of volumeSnapshotRef */
	const char *deletion_policy;
	const char *driver;
	const char *class_name;
	const char *volume_handle; /* source: what it is to be cut of */
	const char *source_handle; /* source: the snapshot that there is */
	const char *volume_mode;   /* sourceVolumeMode */
	/* Of the status; all empty without one. */
	bool has_status;
	const char *handle;
	const char *group_handle;
	const char *error_message, *error_time;
	int64_t creation_ns; /* since the epoch; 0: not told */
	uint64_t restore_bytes;
	bool has_restore_bytes;
	bool is_ready;
};

/* VolumeSnapshotClass, and VolumeGroupSnapshotClass. */
struct snapshot_class {
	struct kube_object meta;
	const char *driver;
	const char *deletion_policy;
	struct strmap parameters;
};

extern const struct kube_type snapshot_type;
extern const struct kube_type snapshot_content_type;
extern const struct kube_type snapshot_class_type;

/* Checked downcasts; the type is asserted. NULL gives NULL. */
const struct snapshot *snapshot_of(const struct kube_object *o);
const struct snapshot_content *snapshot_content_of(const struct kube_object *o);
const struct snapshot_class *snapshot_class_of(const struct kube_object *o);

/* As kube_type's, for both kinds of classes. */
void snapshot_class_decode(struct packer *p, const struct json *item, struct kube_object *o);

/* Whether it was made for a group, and its content with it. */
static inline bool snapshot_is_member(const struct kube_object *snapshot)
{
	return kube_object_has_finalizer(snapshot, SNAPSHOT_MEMBER_FINALIZER);
}

#endif
