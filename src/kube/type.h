/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_TYPE_H
#define KUBE_TYPE_H

#include <stdbool.h>
#include <stddef.h>

struct json;
struct kube_object;
struct packer;

/* Sorted, without duplicates, constant. */
struct kube_words {
	const char *const *v;
	size_t n;
};
/* clang-format off */
#define KUBE_WORDS(...)                                                                    \
	{                                                                                  \
		(const char *const[]){ __VA_ARGS__ },                                      \
		sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *),       \
	}
/* clang-format on */

/*
 * struct kube_type - one kind of API object: how it is called, where it is, and what caches keep
 *
 * A constant of whoever reads such objects; this room knows none but its own leases and events. Its
 * address is its identity.
 */
struct kube_type {
	const char *kind;          /* "PersistentVolumeClaim" */
	const char *resource;      /* "persistentvolumeclaims" */
	const char *group_version; /* "v1", "storage.k8s.io/v1" */
	bool is_namespaced;
	bool is_custom; /* a cluster may lack it, or get it later: made by a CRD, or of a newer API
			 */

	/* What a decoded object is. size 0, decode NULL: its metadata and no more. */
	size_t size; /* of its struct, which begins with struct kube_object; at most
			KUBE_TYPE_SIZE_MAX */
	/* Fills the struct behind the metadata by kube/pack.h. Runs twice, see there. */
	void (*decode)(struct packer *p, const struct json *item, struct kube_object *o);
	struct kube_words annotations; /* keys that are kept; the others are left out */
	bool keeps_labels;
	/* Strings that many of its objects have, which then point here and take no memory. */
	struct kube_words words;
};

#define KUBE_TYPE_SIZE_MAX 512

/* What this room writes itself; for their paths. */
extern const struct kube_type kube_event_type;
extern const struct kube_type kube_lease_type;

#endif
