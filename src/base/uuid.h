/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdint.h>

struct uuid {
	uint8_t b[16];
};
#define UUID_TEXT_MAX 37

void uuid_make(struct uuid *ret_uuid); /* version 4, from getrandom(2) */
/* Lower-case 8-4-4-4-12. */
void uuid_format(const struct uuid *u, char ret_text[UUID_TEXT_MAX]);
/* 36 characters, any case. 0 or -EINVAL. */
int uuid_parse(const char *text, struct uuid *ret_uuid);

#endif
