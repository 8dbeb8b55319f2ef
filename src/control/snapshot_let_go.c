/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mark ("being deleted") that lets the snapshotter take a deleted content down. It is the last
 * word, and comes when no attempt to create ("being created") is under way:
 *
 *   attempt │ mark
 *   ────────┼───────────────────────────
 *     no    │ put on
 *     yes   │ taken off; comes when that ends
 *
 * csi-snapshotter takes down nothing meanwhile anyway. But at the end of an attempt it takes for
 * seen what its last write gave back, passes over what its watch says that is older, and is not
 * woken by its own writes: a mark from before is one that it does not see until it looks at all
 * again, a quarter of an hour later. One from after is another's write, and news.
 */
#include "control/snapshot_controller-internal.h"

const struct let_go snapshot_let_go = { ANN_BEING_DELETED, ANN_BEING_CREATED };
const struct let_go group_let_go = { ANN_GROUP_BEING_DELETED, ANN_GROUP_BEING_CREATED };

static bool is_wanted(const struct kube_object *content, const struct let_go *kind)
{
	return !strmap_find(&content->annotations, kind->attempt);
}

int content_let_go(const struct object_store *s, struct ctx *ctx,
		   const struct kube_object **content, const struct let_go *kind, struct err *err)
{
	return object_annotate(s, ctx, content, kind->mark,
			       is_wanted(*content, kind) ? "yes" : NULL, err);
}

bool content_is_not_let_go(const struct kube_object *content, const struct let_go *kind)
{
	bool is_marked = strmap_find(&content->annotations, kind->mark);

	return content->is_deleting && is_marked != is_wanted(content, kind);
}
