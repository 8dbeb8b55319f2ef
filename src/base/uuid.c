/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDs (RFC 9562) as 16 bytes in network order. Only version 4 is made here;
 * any version is read, since filesystems and API objects bring their own. The
 * text is always written in lower case, so that two of them compare as text.
 */
#include "base/uuid.h"

#include "base/hex.h"
#include "base/random.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

static bool is_dash_at(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

void uuid_make(struct uuid *ret_uuid)
{
	random_bytes(ret_uuid->b, sizeof(ret_uuid->b));
	ret_uuid->b[6] = (uint8_t)((ret_uuid->b[6] & 0x0f) | 0x40);
	ret_uuid->b[8] = (uint8_t)((ret_uuid->b[8] & 0x3f) | 0x80);
}

void uuid_format(const struct uuid *u, char ret_text[UUID_TEXT_MAX])
{
	size_t at = 0;

	for (size_t i = 0; i < sizeof(u->b); i++, at += 2) {
		if (is_dash_at(at))
			ret_text[at++] = '-';
		hex_format(&u->b[i], 1, ret_text + at);
	}
}

int uuid_parse(const char *text, struct uuid *ret_uuid)
{
	struct uuid u = { 0 };
	size_t n_digits = 0;

	for (size_t i = 0; i < UUID_TEXT_MAX - 1; i++) {
		int digit = hex_digit(text[i]);

		if (is_dash_at(i)) {
			if (text[i] != '-')
				return -EINVAL;
			continue;
		}
		if (digit < 0)
			return -EINVAL;
		u.b[n_digits / 2] = (uint8_t)(u.b[n_digits / 2] << 4 | digit);
		n_digits++;
	}
	if (text[UUID_TEXT_MAX - 1] != '\0')
		return -EINVAL;
	*ret_uuid = u;
	return 0;
}
