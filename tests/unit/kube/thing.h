/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_KUBE_THING_H
#define TESTS_UNIT_KUBE_THING_H

/*
 * A kind of object that no cluster has: what kube/ is tested with, since the kinds that there are
 * belong to others. Namespaced; its spec is {"owner": …, "size": quantity, "tags": [strings],
 * "options": {strings}, "parts": [{"name": …, "tags": […]}]}.
 */
#include "kube/object.h"
#include "kube/pack.h"

struct thing_part {
	const char *name;
	struct kube_string_list tags;
};

struct thing {
	struct kube_object meta;
	const char *owner;
	uint64_t size;
	bool has_size;
	struct kube_string_list tags;
	struct strmap options;
	const struct thing_part *parts;
	size_t n_parts;
};

static inline void thing_decode(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct thing *t = (struct thing *)o;
	const struct json *spec = json_get(item, "spec");
	const struct json *parts = json_get(spec, "parts"), *part;
	size_t n = json_is_array(parts) ? json_count(parts) : 0;
	struct thing_part *v = pack_array(p, n, sizeof(*v));

	t->owner = pack_get(p, spec, "owner");
	t->has_size = pack_quantity(json_get(spec, "size"), &t->size);
	t->tags = pack_strings(p, json_get(spec, "tags"));
	t->options = pack_map(p, json_get(spec, "options"));
	for (struct json_it it = json_each(n ? parts : NULL); json_next(&it, NULL, &part);) {
		struct thing_part one = { .name = pack_get(p, part, "name") };

		one.tags = pack_strings(p, json_get(part, "tags"));
		if (v)
			v[t->n_parts++] = one;
	}
	t->parts = v;
}

static const struct kube_type thing_type = {
	.kind = "Thing",
	.resource = "things",
	.group_version = "test/v1",
	.is_namespaced = true,
	.is_custom = true,
	.size = sizeof(struct thing),
	.decode = thing_decode,
	.annotations = KUBE_WORDS("a/kept", "b/kept"),
	.keeps_labels = true,
	.words = KUBE_WORDS("blue", "common", "red"),
};

static inline const struct thing *thing_of(const struct kube_object *o)
{
	return kube_object_as(o, &thing_type);
}

#endif
