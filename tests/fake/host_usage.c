/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host/usage.h and host/blockdev.h on the fake host: a filesystem is as big as its file, and a
 * tenth of it is used; a device keeps its read-only flag.
 */
#include "fake/host_usage.h"

#include <stdlib.h>
#include <string.h>

#include "host/blockdev.h"
#include "host/usage.h"

#include "fake/host-internal.h"

int host_usage_look(const char *path, struct host_usage *ret_usage, struct err *err)
{
	struct fake_mount *mount;

	if (fake_step(err) < 0)
		return -1;
	if (!fake_lookup(path, &mount))
		return err_set(err, ERR_NOT_FOUND, "look at the usage of '%s'", path);
	*ret_usage = (struct host_usage){
		.total_bytes = mount->fs->total_bytes,
		.used_bytes = mount->fs->total_bytes / 10,
		.available_bytes = mount->fs->total_bytes - mount->fs->total_bytes / 10,
		.total_inodes = 1000,
		.used_inodes = 11,
		.available_inodes = 989,
	};
	return 0;
}

static bool is_device_read_only[FAKE_N_LOOPS];

static unsigned number_of(const char *device)
{
	return (unsigned)strtoul(device + strlen("/dev/loop"), NULL, 10) % FAKE_N_LOOPS;
}

int host_block_set_read_only(const char *device, bool read_only, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	is_device_read_only[number_of(device)] = read_only;
	return 0;
}

bool fake_host_is_device_read_only(const char *device)
{
	return is_device_read_only[number_of(device)];
}
