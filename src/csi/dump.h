/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_DUMP_H
#define CSI_DUMP_H

#include "base/message.h"
#include "base/str.h"

/* A message as one line of JSON with the names of csi.proto, without what is absent, and with
 * "***stripped***" for what is secret. Appends. */
void dump_message(const struct msg_type *type, const void *msg, struct str *out);

#endif
