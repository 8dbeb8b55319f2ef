/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/*
 * struct err - what went wrong, for a person and for a retry policy
 *
 * A value on the caller's stack: nothing to free. Functions above base/ and event/ take it as last
 * parameter, return -1 through one of the functions below, and leave their ret_ outputs untouched.
 * It is read only after a failure; it need not be initialised before the call. Retry policy reads
 * ->code only, people read ->msg.
 */

/* The numbers of gRPC status codes (gRPC core, statuscodes.md), so that one travels to the wire
 * unchanged. */
enum err_code {
	ERR_OK = 0,
	ERR_CANCELLED = 1,
	ERR_UNKNOWN = 2,
	ERR_INVALID_ARGUMENT = 3,
	ERR_DEADLINE_EXCEEDED = 4,
	ERR_NOT_FOUND = 5,
	ERR_ALREADY_EXISTS = 6,
	ERR_PERMISSION_DENIED = 7,
	ERR_RESOURCE_EXHAUSTED = 8,
	ERR_FAILED_PRECONDITION = 9,
	ERR_ABORTED = 10,
	ERR_OUT_OF_RANGE = 11,
	ERR_UNIMPLEMENTED = 12,
	ERR_INTERNAL = 13,
	ERR_UNAVAILABLE = 14,
	ERR_DATA_LOSS = 15,
	ERR_UNAUTHENTICATED = 16,
};

#define ERR_MSG_MAX 488

struct err {
	enum err_code code;
	int os;                /* errno behind it, 0 if none */
	char msg[ERR_MSG_MAX]; /* one line, no newline, no capital, no full stop; cut at a UTF-8
				  boundary when too long */
};

/* Fills *err and returns -1, so that callers write `return err_set(...)`. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), nonnull));

/* The same with ": <text of errnum>" at the end; errnum is positive (an errno) or negative (a
 * -errno), 0 is a bug. */
int err_os(struct err *err, enum err_code code, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 4, 5), nonnull));

/* Puts "<text>: " before the message, keeps code and os. For knowledge that the failing room did
 * not have. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3), nonnull));

/* "INVALID_ARGUMENT"; "CODE_42" is never returned, unknown numbers give "UNKNOWN". Static storage.
 */
const char *err_code_name(enum err_code code);

/* "InvalidArgument", as Prometheus labels of Kubernetes components spell it. Static storage. */
const char *err_code_camel(enum err_code code);

#endif
