/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 as kubeconfig files, Kubernetes Secrets and certificates in API objects carry it. */
#include "base/base64.h"

#include <string.h>

#include "base/mem.h"

#define BLANKS " \t\r\n"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit_of(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

char *base64_decode(const char *text, size_t *ret_n)
{
	autofree char *out = xmalloc(strlen(text) / 4 * 3 + 4);
	unsigned bits = 0, count = 0, pad = 0;
	size_t n = 0;

	for (text += strspn(text, BLANKS); *text && *text != '=';
	     text += 1 + strspn(text + 1, BLANKS)) {
		int digit = digit_of(*text);

		if (digit < 0)
			return NULL;
		bits = (bits << 6 | (unsigned)digit) & 0xffff;
		if (count++ % 4)
			out[n++] = (char)(bits >> (6 - (count - 1) % 4 * 2));
	}
	for (; *text == '='; text += 1 + strspn(text + 1, BLANKS))
		pad++;
	if (*text || pad > 2 || (count + pad) % 4)
		return NULL;
	out[n] = '\0';
	*ret_n = n;
	return TAKE_PTR(out);
}

char *base64_encode(const void *bytes, size_t n)
{
	const unsigned char *in = bytes;
	char *text = xmalloc((n + 2) / 3 * 4 + 1), *out = text;

	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		unsigned bits = (unsigned)in[i] << 16 | (left > 1 ? (unsigned)in[i + 1] << 8 : 0) |
				(left > 2 ? in[i + 2] : 0);

		*out++ = digits[bits >> 18];
		*out++ = digits[bits >> 12 & 63];
		*out++ = left > 1 ? digits[bits >> 6 & 63] : '=';
		*out++ = left > 2 ? digits[bits & 63] : '=';
	}
	*out = '\0';
	return text;
}
