/* SPDX-License-Identifier: Apache-2.0 */
/* The note of csi/node, kept on the node and not with the volume: it tells how the volume is staged
 * here, and what goes down must not need the cluster. */
#include "backend/ceph/state.h"
#include "backend/cephfs/cephfs-internal.h"

#define NOTE "note"

int subvolume_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
		       struct err *err)
{
	if (ctx_check(ctx, err) < 0)
		return -1;
	return ceph_state_get(subvolumes_of(b)->ceph.state_dir, token, NOTE, ret_note,
			      BACKEND_NOTE_MAX + 1, err);
}

int subvolume_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
		       struct err *err)
{
	if (ctx_check(ctx, err) < 0)
		return -1;
	return ceph_state_set(subvolumes_of(b)->ceph.state_dir, token, NOTE, note, err);
}
