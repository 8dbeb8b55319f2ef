/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_OBJECT_INTERNAL_H
#define KUBE_OBJECT_INTERNAL_H

#include "kube/object.h"

#include <stdatomic.h>

/* Lies before every decoded object in the same allocation. */
struct object_head {
	_Alignas(8) atomic_uint refs;
};

/* "PersistentVolumeClaim", "v1". */
const char *kube_kind_name(enum kube_kind kind);
const char *kube_kind_api_version(enum kube_kind kind);

/* Which of two resource versions of one kind is newer: <0, 0, >0 as strcmp. */
int kube_version_compare(const char *a, const char *b);

#endif
