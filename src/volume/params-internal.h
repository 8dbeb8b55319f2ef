/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_PARAMS_INTERNAL_H
#define VOLUME_PARAMS_INTERNAL_H

#include "base/err.h"

#include <stddef.h>

/* Keys of Kubernetes' own, which are let through whatever they are. */
#define PARAMS_KUBERNETES_PREFIX "csi.storage.k8s.io/"

/* INVALID_ARGUMENT for a key that is not known: names it, the nearest of the known, and all. */
int params_refuse_key(const char *key, const char *const *known, size_t n, struct err *err);
/* The uid that a name made of one ends with (pvc-<uid>, snapcontent-<uid>); "" if there is none. */
const char *params_uid_in_name(const char *name);

#endif
