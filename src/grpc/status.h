/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRPC_STATUS_H
#define GRPC_STATUS_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

/* The text forms of "gRPC over HTTP/2" that both sides need. */

/* grpc-message: bytes outside 0x20–0x7e and '%' become %XX. Appends. */
void grpc_message_encode(const char *text, struct str *out);
/* A peer's grpc-message as an error of that code, as clean as one of err_set. Broken escapes stay
 * as they are. */
void grpc_message_decode(enum err_code code, const char *text, struct err *ret_status);

/* grpc-timeout: 1–8 digits and a unit H M S m u n. 0 or -EINVAL. */
int grpc_timeout_parse(const char *text, int64_t *ret_ns);
#define GRPC_TIMEOUT_MAX 16
/* Rounded up in a unit that fits eight digits. */
void grpc_timeout_format(int64_t ns, char ret_text[GRPC_TIMEOUT_MAX]);

/* grpc-status "0".."16"; anything else is UNKNOWN. */
enum err_code grpc_status_parse(const char *text);
/* What a reply without grpc-status means by its HTTP status (gRPC's http-grpc-status-mapping). */
enum err_code grpc_status_from_http(const char *status);

#endif
