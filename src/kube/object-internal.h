/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_OBJECT_INTERNAL_H
#define KUBE_OBJECT_INTERNAL_H

#include "kube/object.h"

#include <stdatomic.h>

/* Lies before every decoded object in the same allocation. */
struct object_head {
	_Alignas(8) atomic_uint refs;
};

/* Counts what a decoder packs, or says where it goes. */
struct packer {
	const struct kube_type *type;
	size_t arrays_size;
	size_t strings_size;
	char *arrays; /* NULL while measuring */
	char *strings;
};

/* An object of strings, of which only those with these keys. */
struct strmap pack_map_of(struct packer *p, const struct json *object,
			  const struct kube_words *keys);

#endif
