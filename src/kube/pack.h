/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_PACK_H
#define KUBE_PACK_H

#include "base/json.h"
#include "kube/object.h"

/*
 * What a kube_type's decode() writes an object with: one allocation, no slack.
 *
 * decode() runs twice over the same item: first to add up what strings and arrays will take (then
 * pack_array gives NULL, strings are "" and the object is thrown away), then to write them. So it
 * must do the same both times, and nothing else. Fields of the wrong JSON type are as if absent.
 */
struct packer;

/* NULL gives "". */
const char *pack_string(struct packer *p, const char *s);
const char *pack_get(struct packer *p, const struct json *v, const char *key);
const char *pack_path(struct packer *p, const struct json *v, const char *dotted);
struct kube_string_list pack_strings(struct packer *p, const struct json *array);
/* An object of strings, sorted and without duplicates. */
struct strmap pack_map(struct packer *p, const struct json *object);
/* Memory for n elements, whose size is a multiple of a pointer's; NULL while measuring. */
void *pack_array(struct packer *p, size_t n, size_t size);

/* A quantity field: text, or a bare number. False if it is absent, no quantity, or too large; then
 * *ret_value is untouched. */
bool pack_quantity(const struct json *v, uint64_t *ret_value);

#endif
