/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LOOPDEV_INTERNAL_H
#define HOST_LOOPDEV_INTERNAL_H

#include "host/loopdev.h"

#include <linux/loop.h>

/* Shared by loopdev.c, loopfind.c, loopnum.c and loopseen.c. */

#define LOOP_MAJOR_NUMBER 7
/* Where the kernel lists the devices that there are, ours by their names "loop7". */
#define LOOP_SYSFS_DIR "/sys/devices/virtual/block"

/* The minor of such a name; false if it is no loop device's. */
bool loop_parse_name(const char *entry, unsigned *ret_minor);

/* Its fd, with the path; -errno. The node is made where /dev is a container's own. */
int loop_open(unsigned minor, int flags, char *path, size_t cap);
/* All but path and devno are of info. */
void loop_fill(unsigned minor, const char *path, const struct loop_info64 *info,
	       struct host_loop *ret_loop);

/* Binds the file to the device, as host_loop_attach would: 1 and its fd, or 0 when another process
 * was quicker. */
int loop_bind(unsigned minor, int backing_fd, const struct host_loop_options *opts, char *path,
	      size_t cap, int *ret_fd, struct err *err);
int loop_turn_off_discard(unsigned minor, struct err *err);
/* As much of it as the device can. What keeps it off is not told: the volume is well without. */
void loop_turn_on_discard(unsigned minor);

/* loopfind.c: the device just bound is the first that it will look at. */
void loop_index_put(const struct loop_info64 *info, bool is_reader, unsigned minor);

/* loopnum.c: a number of a device that exists and is bound to nothing, -errno. may_be_used: one
 * that has its discard turned off will do. */
int loop_number_take(int control_fd, bool may_be_used);
/* The device is bound to nothing any more: keep it for the next, or away with it, if it is of our
 * numbers. */
void loop_number_end(unsigned minor);

#endif
