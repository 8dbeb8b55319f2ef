/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_QUANTITY_H
#define KUBE_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

/* Kubernetes resource quantities of whole units (bytes). apimachinery pkg/api/resource. */

/* Value rounded up to a whole unit. 0; -EINVAL (not the grammar, or negative); -ERANGE (over
 * INT64_MAX in the decimal family; the binary family is capped there, as the API server does). */
int kube_quantity_parse(const char *text, uint64_t *ret_value);

/* Canonical in the binary family: "1Gi", "1536Mi", "1073741825". */
#define KUBE_QUANTITY_MAX 24
void kube_quantity_format(uint64_t value, char ret_text[KUBE_QUANTITY_MAX]);

#endif
