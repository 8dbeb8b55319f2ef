/* SPDX-License-Identifier: Apache-2.0 */
/* Lines "type", "source", "token" as a mount and a volume: no mount is two volumes', and none is a
 * volume's that does not name it. */
#include "backend/cephfs/cephfs.h"
#include "base/mem.h"
#include "base/str.h"
#include "volume/ceph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoarena struct arena *a = arena_new();
	char *rest = arena_strndup(a, (const char *)data, size);
	struct host_mountinfo mount = { .device = 50 };
	struct ceph_handle handle;
	struct err err;
	char *token;

	mount.fs = strsep(&rest, "\n");
	mount.source = rest ? strsep(&rest, "\n") : arena_strdup(a, "");
	token = rest ? strsep(&rest, "\n") : arena_strdup(a, "");
	if (!cephfs_kind.is_mount_of(NULL, token, &mount))
		return 0;
	if (str_is_equal(mount.source, token))
		return 0;
	if (!str_is_equal(mount.fs, "ceph") || ceph_handle_parse(token, &handle, &err) < 0 ||
	    !strstr(mount.source, handle.uuid))
		abort();
	return 0;
}
