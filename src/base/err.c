/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors as values. Messages travel far: into gRPC trailers, which want UTF-8,
 * into events of the Kubernetes API, into log lines that must stay one line.
 * So each message is made fit for all of them here, once: control characters
 * and marks that turn the reading order become blanks, bytes that are no UTF-8
 * become '?', and what does not fit is cut between two characters.
 *
 * A text is formatted into a buffer of its own first, so that err->msg may be
 * one of the arguments.
 */
#include "base/err.h"

#include "base/mem.h"
#include "base/str.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
	const char *name;
	const char *camel;
} codes[] = {
	[ERR_OK] = { "OK", "OK" },
	[ERR_CANCELLED] = { "CANCELLED", "Canceled" },
	[ERR_UNKNOWN] = { "UNKNOWN", "Unknown" },
	[ERR_INVALID_ARGUMENT] = { "INVALID_ARGUMENT", "InvalidArgument" },
	[ERR_DEADLINE_EXCEEDED] = { "DEADLINE_EXCEEDED", "DeadlineExceeded" },
	[ERR_NOT_FOUND] = { "NOT_FOUND", "NotFound" },
	[ERR_ALREADY_EXISTS] = { "ALREADY_EXISTS", "AlreadyExists" },
	[ERR_PERMISSION_DENIED] = { "PERMISSION_DENIED", "PermissionDenied" },
	[ERR_RESOURCE_EXHAUSTED] = { "RESOURCE_EXHAUSTED", "ResourceExhausted" },
	[ERR_FAILED_PRECONDITION] = { "FAILED_PRECONDITION", "FailedPrecondition" },
	[ERR_ABORTED] = { "ABORTED", "Aborted" },
	[ERR_OUT_OF_RANGE] = { "OUT_OF_RANGE", "OutOfRange" },
	[ERR_UNIMPLEMENTED] = { "UNIMPLEMENTED", "Unimplemented" },
	[ERR_INTERNAL] = { "INTERNAL", "Internal" },
	[ERR_UNAVAILABLE] = { "UNAVAILABLE", "Unavailable" },
	[ERR_DATA_LOSS] = { "DATA_LOSS", "DataLoss" },
	[ERR_UNAUTHENTICATED] = { "UNAUTHENTICATED", "Unauthenticated" },
};

/* Makes the text in buf one clean line; cut says that its end is missing. */
static void clean(char *buf, bool cut)
{
	size_t n = strlen(buf);

	for (size_t at = 0; at < n;) {
		size_t len = str_utf8_len(buf + at, n - at);

		if (len == 0 && cut && n - at < 4 && (buf[at] & 0xc0) == 0xc0) {
			buf[at] = '\0';
			return;
		}
		if (len == 0)
			buf[at] = '?';
		else if (str_is_control(str_utf8_point(buf + at, len)))
			memset(buf + at, ' ', len);
		at += len ? len : 1;
	}
}

__attribute__((format(printf, 2, 0))) static void vformat(char buf[ERR_MSG_MAX], const char *fmt,
							  va_list ap)
{
	if (vsnprintf(buf, ERR_MSG_MAX, fmt, ap) < 0)
		buf[0] = '\0';
}

/* Puts text, then before and after it ": " where both are there, into err->msg. */
static void join(struct err *err, const char *text, const char *rest)
{
	char buf[ERR_MSG_MAX];
	int n = snprintf(buf, sizeof(buf), "%s%s%s", text, *text && *rest ? ": " : "", rest);

	clean(buf, n < 0 || (size_t)n >= ERR_MSG_MAX - 1);
	memcpy(err->msg, buf, sizeof(buf));
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	char text[ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vformat(text, fmt, ap);
	va_end(ap);
	join(err, text, "");
	err->code = code;
	err->os = 0;
	return -1;
}

int err_os(struct err *err, enum err_code code, int errnum, const char *fmt, ...)
{
	char text[ERR_MSG_MAX];
	va_list ap;

	assert(errnum != 0);
	va_start(ap, fmt);
	vformat(text, fmt, ap);
	va_end(ap);
	err->os = errnum < 0 ? -errnum : errnum;
	/* strerror is thread-safe in glibc from 2.32 on and in musl. */
	join(err, text, strerror(err->os));
	err->code = code;
	return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char text[ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vformat(text, fmt, ap);
	va_end(ap);
	join(err, text, err->msg);
	return -1;
}

const char *err_code_name(enum err_code code)
{
	return (size_t)code < ARRAY_LEN(codes) ? codes[code].name : "UNKNOWN";
}

const char *err_code_camel(enum err_code code)
{
	return (size_t)code < ARRAY_LEN(codes) ? codes[code].camel : "Unknown";
}
