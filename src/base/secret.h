/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/strmap.h"

/*
 * CSI `secrets` and Kubernetes Secret data travel only in these types. The logger has no field
 * maker that takes them, and secrets_log() in csi/ prints the keys with *** as value.
 */
struct secret {
	const char *value;
};

struct secrets {
	struct strmap map; /* read by backends only, through secrets_find */
};

static inline const char *secrets_find(const struct secrets *s, const char *key)
{
	return strmap_find(&s->map, key);
}

#endif
