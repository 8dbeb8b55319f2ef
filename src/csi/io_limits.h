/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_IO_LIMITS_H
#define CSI_IO_LIMITS_H

#include "base/uuid.h"
#include "host/cgroup.h"
#include "volume/id.h"
#include "volume/io_limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Which pod shall have which limits of I/O on which device, and that the kernel has them. A pod's
 * cgroup may come later than its volume, its containers' cgroups come and go, and others write into
 * them too: what is wanted is kept here and compared with the kernel's again and again
 * (limits_mend). Nothing here is a record: node_limits.c finds it all again after a restart.
 *
 * Any thread. One writes to one pod's limits of one device at a time, the last wish wins, and
 * nothing is waited for.
 */
struct limits;

/* One pod's use of one device. */
struct limited {
	struct uuid pool; /* of the volume, as the token: for those who look for it, and the log */
	char token[VOL_TOKEN_MAX];
	char pod[HOST_POD_UID_MAX];
	dev_t device;
};

struct limits *limits_new(const char *cgroup_root);
void limits_free(struct limits *l);
const char *limits_cgroup_root(const struct limits *l);

/* Grows with each limits_set without is_old. */
uint64_t limits_version(struct limits *l);

struct limits_use {
	dev_t devices[2];           /* a volume's device and its reader; 0: none */
	const struct limited *list; /* who uses them now, and nobody else does; or any other use */
	size_t n;
	/* What they shall have; NULL: as it was wanted so far, and nothing where nothing was. */
	const struct vol_limits *wanted;
	/* What was looked at before is told: it counts only if limits_version() still is this. */
	bool is_old;
	uint64_t version;
};
/* Applied at once, as far as there are cgroups. */
void limits_set(struct limits *l, const struct limits_use *use);

/* Compares all with the kernel's and mends what differs. */
void limits_mend(struct limits *l);

/* Whether a limit is wanted, or is still to be lifted, on this device: by this pod, or by any
 * (NULL).
 */
bool limits_has(struct limits *l, const char *pod, dev_t device);
/* Every one. fn ≠0 stops; it must not call this room. */
void limits_each(struct limits *l, int (*fn)(void *arg, const struct limited *it), void *arg);
size_t limits_count(struct limits *l);

#endif
