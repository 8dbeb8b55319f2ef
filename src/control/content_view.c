/* SPDX-License-Identifier: Apache-2.0 */
#include "control/content_view.h"

#include "control/group_snapshots.h"
#include "control/snapshots.h"

static struct content_view view_group(const struct group_content *c)
{
	return (struct content_view){
		.ref_ns = c->ref_ns,
		.ref_name = c->ref_name,
		.ref_uid = c->ref_uid,
		.deletion_policy = c->deletion_policy,
		.driver = c->driver,
		.class_name = c->class_name,
		.is_dynamic = c->volume_handles.n,
		.source_handle = c->source_handle,
		.has_status = c->has_status,
		.handle = c->handle,
		.group_handle = "",
		.error_message = c->error_message,
		.is_ready = c->is_ready,
	};
}

static struct content_view view_single(const struct snapshot_content *c)
{
	return (struct content_view){
		.ref_ns = c->ref_ns,
		.ref_name = c->ref_name,
		.ref_uid = c->ref_uid,
		.deletion_policy = c->deletion_policy,
		.driver = c->driver,
		.class_name = c->class_name,
		.is_dynamic = *c->volume_handle,
		.source_handle = c->source_handle,
		.has_status = c->has_status,
		.handle = c->handle,
		.group_handle = c->group_handle,
		.error_message = c->error_message,
		.is_ready = c->is_ready,
	};
}

struct content_view content_view(const struct kube_object *content)
{
	return content->type == &group_content_type ? view_group(group_content_of(content))
						    : view_single(snapshot_content_of(content));
}
