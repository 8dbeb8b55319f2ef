/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* SHA-256 (FIPS 180-4), for names that another program computes too. What is to be secret or proved
 * is OpenSSL's affair, in net/. */
#define SHA256_BYTES 32
void sha256(const void *bytes, size_t n, uint8_t ret_hash[SHA256_BYTES]);

#endif
