/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_WIRE_H
#define CSI_WIRE_H

#include "base/arena.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

/* Packed bytes of one message. */
struct wire_bytes {
	const uint8_t *data;
	size_t n;
};

/* Fields of all depths that one message may have: unpacked they cost up to 100 bytes each. */
#define WIRE_FIELDS_REQUEST 20000u
#define WIRE_FIELDS_REPLY 1000000u
#define WIRE_DEPTH_MAX 16u

/*
 * Whether bytes are a message of this type that may be unpacked. INTERNAL: malformed (cut short,
 * bad varint, wrong wire type, too deep). INVALID_ARGUMENT: a string that is not UTF-8 or holds a
 * NUL, named by its field path
 * ("volume_capability.mount.fs_type"). RESOURCE_EXHAUSTED: more than max_fields fields.
 */
int wire_check(const ProtobufCMessageDescriptor *type, const struct wire_bytes *bytes,
	       unsigned max_fields, struct err *err);

/* Checks, then unpacks into the arena. The message is never freed by itself. Same errors. */
int wire_unpack(struct arena *a, const ProtobufCMessageDescriptor *type,
		const struct wire_bytes *bytes, unsigned max_fields, ProtobufCMessage **ret_msg,
		struct err *err);

struct wire_bytes wire_pack(struct arena *a, const ProtobufCMessage *msg);

/* An initialised message of the type in the arena. */
void *wire_new(struct arena *a, const ProtobufCMessageDescriptor *type);

#endif
