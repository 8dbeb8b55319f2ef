/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CONTENT_VIEW_H
#define CONTROL_CONTENT_VIEW_H

#include <stdbool.h>

struct kube_object;

/* What VolumeSnapshotContents and VolumeGroupSnapshotContents both have. Borrowed of the object. */
struct content_view {
	const char *ref_ns, *ref_name, *ref_uid; /* of the snapshot, or group, that it is of */
	const char *deletion_policy;
	const char *driver;
	const char *class_name;
	bool is_dynamic;           /* source: volumes, which it is to be cut of */
	const char *source_handle; /* source: what there is already */
	/* Of the status; all empty without one. */
	bool has_status;
	const char *handle;
	const char *group_handle; /* of the group that a single one is a member of */
	const char *error_message;
	bool is_ready;
};

/* Of a content of either kind. */
struct content_view content_view(const struct kube_object *content);

#endif
