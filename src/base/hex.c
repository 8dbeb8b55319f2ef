/* SPDX-License-Identifier: Apache-2.0 */
/* hex - digits by hand, since scanf's %x takes signs, blanks and prefixes. */
#include "base/hex.h"

#include <errno.h>
#include <stdint.h>

static const char digits[] = "0123456789abcdef";

void hex_format(const void *bytes, size_t n, char *ret_text)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i++) {
		ret_text[2 * i] = digits[p[i] >> 4];
		ret_text[2 * i + 1] = digits[p[i] & 0xf];
	}
	ret_text[2 * n] = '\0';
}

static int lower_digit(char c)
{
	return c >= 'A' && c <= 'F' ? -1 : hex_digit(c);
}

int hex_parse(const char *text, size_t n, void *ret_bytes)
{
	uint8_t *p = ret_bytes;

	/* A NUL is no digit: nothing is read behind the text's end. */
	for (size_t i = 0; i < 2 * n; i++)
		if (lower_digit(text[i]) < 0)
			return -EINVAL;
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
	return 0;
}

int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}
