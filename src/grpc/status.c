/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-encoded messages, timeouts and status numbers, as "gRPC over HTTP/2" spells them. Pure
 * text. */
#include "grpc/status.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/mem.h"

void grpc_message_encode(const char *text, struct str *out)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p >= 0x20 && *p <= 0x7e && *p != '%')
			str_append_char(out, (char)*p);
		else
			str_appendf(out, "%%%02X", *p);
	}
}

/* More than this err_set would cut off again. */
#define DECODE_MAX (2 * ERR_MSG_MAX)

void grpc_message_decode(enum err_code code, const char *text, struct err *ret_status)
{
	char plain[DECODE_MAX];
	size_t n = 0;

	for (const char *p = text; *p && n + 1 < sizeof(plain); p++) {
		int high = -1, low = -1;

		if (*p == '%' && (high = hex_digit(p[1])) >= 0 && (low = hex_digit(p[2])) >= 0 &&
		    high + low > 0) {
			plain[n++] = (char)(high << 4 | low);
			p += 2;
		} else {
			plain[n++] = *p;
		}
	}
	plain[n] = '\0';
	(void)err_set(ret_status, code, "%s", plain);
}

static const struct {
	char unit;
	int64_t ns;
} timeout_units[] = {
	{ 'n', 1 },        { 'u', NS_PER_US },     { 'm', NS_PER_MS },
	{ 'S', NS_PER_S }, { 'M', 60 * NS_PER_S }, { 'H', 3600 * NS_PER_S },
};

int grpc_timeout_parse(const char *text, int64_t *ret_ns)
{
	int64_t value = 0;
	size_t n = 0;

	for (; text[n] >= '0' && text[n] <= '9'; n++) {
		if (n == 8)
			return -EINVAL;
		value = value * 10 + (text[n] - '0');
	}
	if (n == 0 || text[n] == '\0' || text[n + 1] != '\0')
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(timeout_units); i++) {
		if (timeout_units[i].unit != text[n])
			continue;
		if (__builtin_mul_overflow(value, timeout_units[i].ns, ret_ns))
			*ret_ns = INT64_MAX;
		return 0;
	}
	return -EINVAL;
}

void grpc_timeout_format(int64_t ns, char ret_text[GRPC_TIMEOUT_MAX])
{
	const int64_t most = 99999999;

	for (size_t i = 0; i < ARRAY_LEN(timeout_units); i++) {
		int64_t unit = timeout_units[i].ns, value = ns / unit + (ns % unit != 0);

		if (value <= most || i + 1 == ARRAY_LEN(timeout_units)) {
			value = value < most ? value : most;
			snprintf(ret_text, GRPC_TIMEOUT_MAX, "%u%c", (unsigned)value,
				 timeout_units[i].unit);
			return;
		}
	}
}

enum err_code grpc_status_parse(const char *text)
{
	uint32_t value = 0;

	if (str_parse_u32(text, ERR_UNAUTHENTICATED, &value) < 0)
		return ERR_UNKNOWN;
	return (enum err_code)value;
}

enum err_code grpc_status_from_http(const char *status)
{
	static const struct {
		const char *http;
		enum err_code code;
	} table[] = {
		{ "400", ERR_INTERNAL },          { "401", ERR_UNAUTHENTICATED },
		{ "403", ERR_PERMISSION_DENIED }, { "404", ERR_UNIMPLEMENTED },
		{ "429", ERR_UNAVAILABLE },       { "502", ERR_UNAVAILABLE },
		{ "503", ERR_UNAVAILABLE },       { "504", ERR_UNAVAILABLE },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (str_is_equal(status, table[i].http))
			return table[i].code;
	return ERR_UNKNOWN;
}
