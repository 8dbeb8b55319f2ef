/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_HOST_USAGE_H
#define TESTS_FAKE_HOST_USAGE_H

#include <stdbool.h>

/* Whether what is written to the device node at this path is refused. */
bool fake_host_refuses_writes(const char *target);
/* The flags that the mount at this path was made with: "suid,dev,noexec". */
const char *fake_host_mount_flags(const char *target);
unsigned fake_host_n_flushes(void); /* of page caches of devices, ever */

#endif
