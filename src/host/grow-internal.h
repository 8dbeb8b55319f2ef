/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_GROW_INTERNAL_H
#define HOST_GROW_INTERNAL_H

#include "base/err.h"
#include "host/grow.h"

/* super.c, for grow.c */

struct grow_mounted {
	int fd; /* of the directory; the caller closes it */
	struct host_super super;
	uint64_t device_bytes;
	uint64_t usable_blocks;
	bool copies_lag; /* as host_xfs_copies_lag() says it */
};
int grow_look(const char *path, const char *fs, struct grow_mounted *ret, struct err *err);
int grow_check_kind(const char *fs, struct err *err);

#endif
