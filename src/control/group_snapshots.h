/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_GROUP_SNAPSHOTS_H
#define CONTROL_GROUP_SNAPSHOTS_H

#include "kube/object.h"

/*
 * The kinds of groupsnapshot.storage.k8s.io that controllers read, and of each the fields that some
 * controller uses. They are CRDs, which few clusters have.
 */
#define GROUP_SNAPSHOT_GROUP "groupsnapshot.storage.k8s.io"

#define ANN_GROUP_SECRET_NAME "groupsnapshot.storage.kubernetes.io/deletion-secret-name"
#define ANN_GROUP_SECRET_NS "groupsnapshot.storage.kubernetes.io/deletion-secret-namespace"
#define ANN_GROUP_BEING_CREATED \
	"groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-being-created"
#define ANN_GROUP_BEING_DELETED \
	"groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-being-deleted"
#define ANN_DEFAULT_GROUP_CLASS "groupsnapshot.storage.kubernetes.io/is-default-class"

/* On a group that is bound; on a content always. */
#define GROUP_BOUND_FINALIZER \
	"groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-bound-protection"
#define GROUP_CONTENT_FINALIZER \
	"groupsnapshot.storage.kubernetes.io/volumegroupsnapshotcontent-bound-protection"

/* VolumeGroupSnapshot. */
struct group_snapshot {
	struct kube_object meta;
	bool has_selector;
	struct strmap labels;   /* selector.matchLabels */
	const char *content;    /* source.volumeGroupSnapshotContentName */
	const char *class_name; /* "" when nil */
	/* Of the status; all empty without one. */
	const char *bound_content;
	const char *creation_time; /* RFC 3339 */
	const char *error_message;
	bool is_ready;
};

/* An entry of status.volumeSnapshotInfoList. */
struct group_member {
	const char *volume_handle, *handle;
	int64_t creation_ns; /* 0: not told */
	uint64_t restore_bytes;
	bool has_restore_bytes, is_ready;
};

/* VolumeGroupSnapshotContent. */
struct group_content {
	struct kube_object meta;
	const char *ref_ns, *ref_name, *ref_uid; /* of volumeGroupSnapshotRef */
	const char *deletion_policy;
	const char *driver;
	const char *class_name;
	struct kube_string_list volume_handles;   /* source: what it is to be cut of */
	const char *source_handle;                /* source: the group that there is */
	struct kube_string_list snapshot_handles; /* and its members */
	/* Of the status; all empty without one. */
	bool has_status;
	const char *handle;
	const char *creation_time; /* RFC 3339 */
	const char *error_message, *error_time;
	const struct group_member *members;
	size_t n_members;
	bool is_ready;
};

extern const struct kube_type group_snapshot_type;
extern const struct kube_type group_content_type;
extern const struct kube_type group_class_type; /* a struct snapshot_class (snapshots.h) */

/* Checked downcasts; the type is asserted. NULL gives NULL. */
const struct group_snapshot *group_snapshot_of(const struct kube_object *o);
const struct group_content *group_content_of(const struct kube_object *o);

#endif
