/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_QUANTITY_H
#define KUBE_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

/* Kubernetes resource quantities of whole units (bytes). apimachinery pkg/api/resource. */

/* Value rounded up to a whole unit. 0; -EINVAL (not the grammar, or negative); -ERANGE (over
 * INT64_MAX in the decimal family; the binary family is capped there, as the API server does). */
int kube_quantity_parse(const char *text, uint64_t *ret_value);

#endif
