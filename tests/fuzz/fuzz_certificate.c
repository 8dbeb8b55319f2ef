/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request for a certificate, as PEM and, since little of what a fuzzer makes is, as
 * DER that is put into PEM: it is refused with a reason, or read, the same each time, and then as
 * one word that is no longer than it may be. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/certificate.h"

static void read_request(const char *pem, size_t n)
{
	autofree char *uri = NULL, *again = NULL;
	struct err err = { 0 };

	if (certificate_request_read(pem, n, &uri, &err) < 0) {
		if (uri || err.code != ERR_INVALID_ARGUMENT || err.msg[0] == '\0')
			abort();
		return;
	}
	if (strlen(uri) == 0 || strlen(uri) > CERTIFICATE_URI_MAX || strpbrk(uri, " \n\t"))
		abort();
	if (certificate_request_read(pem, n, &again, &err) < 0 || !str_is_equal(uri, again))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	autofree char *text = xstrndup((const char *)data, n); /* to the first NUL */
	autofree char *body = base64_encode(data, n);
	struct str pem = STR_INIT;

	read_request(text, strlen(text));
	str_append(&pem, "-----BEGIN CERTIFICATE REQUEST-----\n");
	for (size_t at = 0; at < strlen(body); at += 64)
		str_appendf(&pem, "%.64s\n", body + at);
	str_append(&pem, "-----END CERTIFICATE REQUEST-----\n");
	read_request(str_get(&pem), pem.len);
	str_done(&pem);
	return 0;
}
