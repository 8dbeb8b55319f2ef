/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings, lists and maps of an object into its one allocation (decode.c), or, at the first of two
 * passes, only their sizes. Words that many objects of a type share are not copied but point at the
 * type's constants.
 */
#include "kube/pack.h"

#include "base/mem.h"
#include "base/str.h"
#include "kube/object-internal.h"
#include "kube/quantity.h"

#include <assert.h>

static int compare_words(const void *key, const void *element)
{
	return strcmp(key, *(const char *const *)element);
}

static const char *find_word(const struct kube_words *words, const char *word)
{
	const char *const *found = NULL;

	if (words->n)
		found = bsearch(word, words->v, words->n, sizeof(*words->v), compare_words);
	return found ? *found : NULL;
}

const char *pack_string(struct packer *p, const char *s)
{
	const char *word;
	char *copy;
	size_t size;

	if (str_is_empty(s))
		return "";
	word = find_word(&p->type->words, s);
	if (!word)
		word = find_word(&p->type->annotations, s);
	if (word)
		return word;
	size = strlen(s) + 1;
	copy = p->strings ? p->strings + p->strings_size : NULL;
	p->strings_size += size;
	return copy ? memcpy(copy, s, size) : "";
}

void *pack_array(struct packer *p, size_t n, size_t size)
{
	char *at = p->arrays ? p->arrays + p->arrays_size : NULL;

	assert(size % sizeof(void *) == 0);
	p->arrays_size += n * size;
	return at;
}

const char *pack_get(struct packer *p, const struct json *v, const char *key)
{
	return pack_string(p, json_get_string(v, key));
}

const char *pack_path(struct packer *p, const struct json *v, const char *dotted)
{
	return pack_string(p, json_path_string(v, dotted));
}

struct kube_string_list pack_strings(struct packer *p, const struct json *array)
{
	size_t n = json_is_array(array) ? json_count(array) : 0;
	const char **v = pack_array(p, n, sizeof(*v));
	const struct json *element;
	size_t i = 0;

	if (n == 0)
		return (struct kube_string_list){ 0 };
	for (struct json_it it = json_each(array); json_next(&it, NULL, &element);) {
		const char *s = pack_string(p, json_string(element));

		if (v)
			v[i++] = s;
	}
	return (struct kube_string_list){ .v = v, .n = n };
}

static int compare_pairs(const void *a, const void *b)
{
	return strcmp(((const struct strpair *)a)->key, ((const struct strpair *)b)->key);
}

static bool is_kept(const char *key, const struct json *value, const struct kube_words *keys)
{
	return json_string(value) && (!keys || find_word(keys, key));
}

struct strmap pack_map_of(struct packer *p, const struct json *object,
			  const struct kube_words *keys)
{
	const struct json *value;
	const char *key;
	struct strpair *v;
	size_t n = 0;
	size_t i = 0;

	if (!json_is_object(object))
		return STRMAP_EMPTY;
	for (struct json_it it = json_each(object); json_next(&it, &key, &value);)
		n += is_kept(key, value, keys);
	v = pack_array(p, n, sizeof(*v));
	for (struct json_it it = json_each(object); json_next(&it, &key, &value);) {
		struct strpair pair;

		if (!is_kept(key, value, keys))
			continue;
		pair.key = pack_string(p, key);
		pair.value = pack_string(p, json_string(value));
		if (v)
			v[i++] = pair;
	}
	if (!v || n == 0)
		return STRMAP_EMPTY;
	qsort(v, n, sizeof(*v), compare_pairs);
	n = 1;
	for (size_t from = 1; from < i; from++)
		if (strcmp(v[from].key, v[n - 1].key) != 0)
			v[n++] = v[from];
	return (struct strmap){ .v = v, .n = n };
}

struct strmap pack_map(struct packer *p, const struct json *object)
{
	return pack_map_of(p, object, NULL);
}

bool pack_quantity(const struct json *v, uint64_t *ret_value)
{
	const char *text = json_string(v);
	autofree char *number = NULL;

	if (!text && !json_is_null(v) && !json_is_object(v) && !json_is_array(v))
		text = number = json_text(v);
	return text && kube_quantity_parse(text, ret_value) == 0;
}
