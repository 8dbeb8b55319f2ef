/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CAPABILITY_H
#define CONTROL_CAPABILITY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "volume/capability.h"

/*
 * The VolumeCapability of a volume that there is, out of the spec of its PV: all access modes of a
 * PV make one of CSI's. In the arena. INVALID_ARGUMENT: there is no such mode in CSI.
 */
int capability_of_pv(struct arena *arena, const struct json *spec, const char *default_fs,
		     bool has_multi_writer, struct vol_capability *ret_capability, struct err *err);

#endif
