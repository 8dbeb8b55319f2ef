/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount is known by what the mount table says it is of. A server's has the token for its source.
 * A kernel's has the path, which ends with "…<UUID>/<another UUID>", and no word of ours; for a
 * volume that a person has made, whose path says nothing, and one that shows a snapshot, whose path
 * is another volume's, source and device number are kept in the node's state. Such a mount shares
 * its device with no other (noshare).
 */
#include "backend/cephfs/whose.h"

#include <stdio.h>
#include <string.h>

#include "backend/ceph/state.h"
#include "backend/cephfs/cephfs-internal.h"
#include "backend/cephfs/serve.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/mount.h"

#define MOUNTED_MAX 2048

int whose_keep(const struct whose *w, const char *source, const char *path, struct err *err)
{
	unsigned long long device = 0;
	autofree char *line = NULL;
	autofree char *text = NULL;
	struct host_mountinfo info;
	int rc = path ? host_mountinfo_find_top(path, &line, &info, err) : 0;

	if (rc < 0)
		return -1;
	if (rc > 0 && str_is_equal(info.fs, SUBVOLUMES_FS) && str_is_equal(info.source, source))
		device = info.device;
	text = xasprintf("%s\n%llu\n", source, device);
	return ceph_state_set(w->state_dir, w->token, SUBVOLUME_MOUNTED, text, err);
}

/* "…/<prefix><UUID>/<another>": what shows a snapshot of it has nothing behind the slash. */
static bool has_component(const char *path, const char *uuid)
{
	while (*path) {
		size_t n = strcspn(path, "/");
		size_t n_uuid = strlen(uuid);

		if (n >= n_uuid && memcmp(path + n - n_uuid, uuid, n_uuid) == 0 && path[n] == '/' &&
		    path[n + 1])
			return true;
		path += n + (path[n] == '/');
	}
	return false;
}

static bool is_kept(const struct backend *b, const char *token, const struct host_mountinfo *mount)
{
	const struct subvolumes *s = (const struct subvolumes *)b;
	char text[MOUNTED_MAX];
	struct err ignored;
	uint64_t device;
	char *end;

	if (!b || ceph_state_get(s->ceph.state_dir, token, SUBVOLUME_MOUNTED, text, sizeof(text),
				 &ignored) < 0)
		return false;
	end = strchr(text, '\n');
	if (!end)
		return false;
	*end++ = '\0';
	end[strcspn(end, "\n")] = '\0';
	/* 0: killed before it was known; then the source is all that there is */
	return str_parse_u64(end, &device) == 0 && str_is_equal(mount->source, text) &&
	       (device == 0 || device == mount->device);
}

bool subvolume_is_mount_of(const struct backend *b, const char *token,
			   const struct host_mountinfo *mount)
{
	struct ceph_handle handle;
	const char *path;
	struct err ignored;

	if (str_is_equal(mount->fs, "fuse." CEPHFS_SUBTYPE))
		return str_is_equal(mount->source, token);
	if (!str_is_equal(mount->fs, SUBVOLUMES_FS))
		return false;
	if (subvolume_is_static(token))
		return is_kept(b, token, mount);
	path = strchr(mount->source, '/');
	if (!path || ceph_handle_parse(token, &handle, &ignored) < 0)
		return false;
	return has_component(path + 1, handle.uuid) || is_kept(b, token, mount);
}
