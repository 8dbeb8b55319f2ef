/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LOCK_INTERNAL_H
#define HOST_LOCK_INTERNAL_H

#include <stdbool.h>

/* lock.c, for host_fd_close: closes the fd if it is a lock's. */
bool host_lock_close(int fd);

#endif
