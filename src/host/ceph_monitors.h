/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CEPH_MONITORS_H
#define HOST_CEPH_MONITORS_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

/*
 * What the kernel's clients for Ceph, of images and of filesystems, take for monitors:
 * "ip:port,…", those that speak the protocol that the options (comma-separated) say, or else the
 * one that the list has. ret_mode: the option that is needed for it besides, or "". Names are
 * resolved, which may block. INVALID_ARGUMENT; then ret_list is as it was.
 */
int host_ceph_monitors(const char *monitors, const char *options, struct str *ret_list,
		       const char **ret_mode, struct err *err);
/* Whether the comma-separated options have this one, with or without a value. */
bool host_ceph_has_option(const char *options, const char *name);

#endif
