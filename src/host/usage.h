/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_USAGE_H
#define HOST_USAGE_H

#include "base/err.h"

#include <stdint.h>

/* How full the filesystem at a path is, as df shows it. */
struct host_usage {
	uint64_t total_bytes;
	uint64_t used_bytes;      /* total minus free, reserved blocks included */
	uint64_t available_bytes; /* for unprivileged use */
	uint64_t total_inodes;
	uint64_t used_inodes;
	uint64_t available_inodes;
};
/* A symlink as last component is FAILED_PRECONDITION. NOT_FOUND. */
int host_usage_look(const char *path, struct host_usage *ret_usage, struct err *err);

#endif
