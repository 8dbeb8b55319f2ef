/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stddef.h>

/* Bytes as hexadecimal digits, two each, in lower case, with nothing between. */

/* 2 * n digits and a NUL. */
void hex_format(const void *bytes, size_t n, char *ret_text);
/* The 2 * n digits that text begins with; what follows is not looked at. 0, or -EINVAL: one is no
 * digit, or in upper case, so that no bytes have two texts. */
int hex_parse(const char *text, size_t n, void *ret_bytes);
/* 0–15, or -1 if c is no digit; any case. */
int hex_digit(char c);

#endif
