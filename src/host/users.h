/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_USERS_H
#define HOST_USERS_H

#include "base/str.h"

#include <sys/types.h>

/* Who has the block device, for a message: where it is mounted, in which other mount namespaces (by
 * a process of each), which processes have it open, what lies on top of it. As far as /proc and
 * sysfs tell; the first few. Nothing is appended if there is nobody. Asks no other filesystem. */
void host_device_users(dev_t device, struct str *out);

#endif
