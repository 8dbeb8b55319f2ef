/* SPDX-License-Identifier: Apache-2.0 */
/* The note of csi/node, kept on the node and not with the volume: it tells how the volume is staged
 * here, and what goes down must not need the cluster. With the note goes what else is kept of a
 * volume that is staged no more; the lock of a server that has not ended is that one's to remove.
 */
#include "backend/ceph/state.h"
#include "backend/cephfs/cephfs-internal.h"
#include "backend/cephfs/inside.h"
#include "backend/cephfs/serve.h"
#include "host/fs.h"

#define NOTE "note"

static bool has_server(const char *state_dir, const char *token)
{
	autohostfd int state_fd = -1;
	autohostfd int dir_fd = -1;
	struct err ignored; /* there is no directory, or no lock in it */
	int holder;

	return host_dir_open(state_dir, &state_fd, &ignored) == 0 &&
	       host_dir_open_at(state_fd, token, &dir_fd, &ignored) == 0 &&
	       host_lock_look(dir_fd, CEPHFS_LOCK, &holder, &ignored) > 0;
}

static int clear(const char *state_dir, const char *token, struct err *err)
{
	if (cephfs_inside_clear(state_dir, token, err) < 0 ||
	    ceph_state_set(state_dir, token, SUBVOLUME_MOUNTED, "", err) < 0 ||
	    (!has_server(state_dir, token) &&
	     ceph_state_set(state_dir, token, CEPHFS_LOCK, "", err) < 0))
		return -1;
	return ceph_state_set(state_dir, token, NOTE, "", err);
}

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
	return note[0] ? ceph_state_set(subvolumes_of(b)->ceph.state_dir, token, NOTE, note, err)
		       : clear(subvolumes_of(b)->ceph.state_dir, token, err);
}
