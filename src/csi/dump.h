/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_DUMP_H
#define CSI_DUMP_H

#include "base/str.h"

#include <protobuf-c/protobuf-c.h>

/*
 * A message as one line of JSON for the log, with the field names of csi.proto and what is
 * sensitive replaced by
 * "***stripped***": secrets, mount_flags, and service account tokens inside a volume_context.
 */
void dump_message(const ProtobufCMessage *msg, struct str *out);

#endif
