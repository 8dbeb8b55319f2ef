/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stdint.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* Arithmetic on numbers from outside: false on overflow, then *ret is untouched. */
bool num_add_u64(uint64_t a, uint64_t b, uint64_t *ret);
bool num_mul_u64(uint64_t a, uint64_t b, uint64_t *ret);
/* Up to the next multiple of unit (a power of two). */
bool num_round_up_u64(uint64_t a, uint64_t unit, uint64_t *ret);

/* As Kubernetes writes quantities, canonical in the binary family: "1Gi", "1536Mi", "1073741825".
 */
#define NUM_QUANTITY_MAX 24
void num_format_quantity(uint64_t value, char ret_text[NUM_QUANTITY_MAX]);

#endif
