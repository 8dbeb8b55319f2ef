/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_KUBE_INTERNAL_H
#define TESTS_FAKE_KUBE_INTERNAL_H

#include "fake/kube.h"

struct map;

void fake_api_reset(void);
void fake_cache_reset(void);
void fake_run_reset(void);
struct map *fake_objects(void); /* path → text */
/* Of an object's text; NULL for kinds that are not cached. */
const struct kube_type *fake_type(const char *text);

#endif
