/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/strmap.h"

/*
 * Values that nobody may see travel in this type, which is no strmap, so that none is printed as
 * one: no field maker of the logger takes it, and whoever shows a request shows the keys alone.
 */
struct secrets {
	struct strmap map;
};

static inline const char *secrets_find(const struct secrets *s, const char *key)
{
	return strmap_find(&s->map, key);
}

#endif
