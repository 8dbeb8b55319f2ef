/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_DEVICE_H
#define BACKEND_DEVICE_H

#include "base/secret.h"
#include "volume/io_limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What a volume is on a node, a block device or a mount, and what is said when it comes there. */
struct backend_device {
	char path[64]; /* "/dev/loop7" */
	dev_t devno;
	bool is_direct; /* direct I/O, read back from the kernel */
	bool is_read_only;
	/* With BACKEND_ELSEWHERE: what its pods are to be held to on this device; none where
	 * whatever serves the device keeps the limits by itself. */
	struct vol_limits limits;
};

struct backend_attach_options {
	/* As the CO gave them, for storage that is elsewhere; NULL: none. */
	const struct secrets *secrets;
	const struct strmap *volume_context, *publish_context;
	/* Of this node, for who has to know it if it is lost; "" or NULL: not known. */
	const char *node_id, *boot_id;
	bool read_only;
	bool hold; /* nobody will mount it: keep the device until detach (raw block); else AUTOCLEAR
		    */
	bool reader; /* with read_only and hold: not the device that the volume is attached as, but
			the second, read-only one beside it */
	const char *staging; /* with staging_take: the CO's staging path; NULL else */
};

struct backend_mount_options {
	const char *path;         /* an existing directory, as the kernel names it */
	const char *const *flags; /* of the capability, but "ro" and "rw" */
	size_t n_flags;
	bool only_reads; /* so the access mode says; the mount is read-write all the same */
	const struct secrets *secrets; /* as in backend_attach_options */
	const struct strmap *volume_context, *publish_context;
};

#endif
