/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>

/*
 * Text in base64 (RFC 4648 §4) as malloc'ed NUL-terminated bytes; NULL if it is none. Blanks and
 * line ends are passed over, since YAML folds long values; padding must be there.
 */
char *base64_decode(const char *text, size_t *ret_n);
/* The other way round: malloc'ed text, padded, in one line. */
char *base64_encode(const void *bytes, size_t n) __attribute__((returns_nonnull));

#endif
