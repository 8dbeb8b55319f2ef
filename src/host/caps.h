/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPS_H
#define HOST_CAPS_H

#include "base/err.h"

#include <stddef.h>

struct host_cap_need {
	int cap;          /* CAP_SYS_ADMIN … of <linux/capability.h> */
	const char *what; /* "to mount filesystems" */
};

/* PERMISSION_DENIED naming every missing capability and what it is for, with the way out. */
int host_caps_check(const struct host_cap_need *needs, size_t n, struct err *err);

#endif
