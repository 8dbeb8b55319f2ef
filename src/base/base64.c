/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 as kubeconfig files and Kubernetes Secrets carry it. Reading only: nothing here writes
 * any. */
#include "base/base64.h"

#include <string.h>

#include "base/mem.h"

#define BLANKS " \t\r\n"

static int digit_of(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
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
