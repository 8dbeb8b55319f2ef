/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of packed bytes before protobuf-c sees them.
 *
 * protobuf-c hands strings out as NUL-terminated C strings and checks neither UTF-8 nor NUL, so
 * "a\0b" would silently become "a": dangerous for ids and paths, and too late to find after
 * unpacking. So the bytes are walked once by the type's descriptor, with the protocol buffers
 * encoding document as the rule. The walk also bounds depth (unpacking recurses) and the number of
 * fields (two bytes on the wire can become a hundred in memory).
 *
 * Malformed bytes are INTERNAL as in other gRPC servers; a bad string is the caller's argument and
 * is named.
 */
#include "csi/wire.h"

#include <stdbool.h>
#include <string.h>

#include "base/str.h"

#define PATH_TEXT_MAX 128

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_64BIT = 1,
	WIRE_BYTES = 2,
	WIRE_32BIT = 5,
};

struct walk {
	const struct walk *up;              /* NULL for the outermost message */
	const ProtobufCFieldDescriptor *in; /* field of up that holds this message */
	const uint8_t *at;
	const uint8_t *end;
	unsigned depth;
	unsigned *left; /* fields that may still come, shared by all depths */
};

static int malformed(const char *what, struct err *err)
{
	return err_set(err, ERR_INTERNAL, "cannot decode the message: %s", what);
}

static bool read_varint(struct walk *w, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && w->at < w->end; shift += 7) {
		uint8_t byte = *w->at++;

		if (shift == 63 && byte > 1)
			return false;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type,
						  uint64_t id)
{
	for (unsigned i = 0; i < type->n_fields; i++) {
		if (type->fields[i].id == id)
			return &type->fields[i];
	}
	return NULL;
}

static enum wire_type expected_type(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return WIRE_BYTES;
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return WIRE_32BIT;
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return WIRE_64BIT;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_BOOL:
	case PROTOBUF_C_TYPE_ENUM:
		return WIRE_VARINT;
	}
	return WIRE_BYTES;
}

/* "volume_capability.mount.fs_type": outermost first, cut when it gets long. */
static void format_path(const struct walk *w, const ProtobufCFieldDescriptor *field,
			struct str *out)
{
	if (w->up)
		format_path(w->up, w->in, out);
	if (out->len > 0)
		str_append_char(out, '.');
	str_append(out, field->name);
}

static int refuse_string(const struct walk *w, const ProtobufCFieldDescriptor *field, bool has_nul,
			 struct err *err)
{
	autostr struct str path = STR_INIT;

	format_path(w, field, &path);
	return err_set(err, ERR_INVALID_ARGUMENT, "%.*s: %s", PATH_TEXT_MAX, str_get(&path),
		       has_nul ? "has a NUL byte inside" : "not UTF-8");
}

static int walk_message(const ProtobufCMessageDescriptor *type, struct walk *w, struct err *err);

static int check_bytes(struct walk *w, const ProtobufCFieldDescriptor *field, struct err *err)
{
	struct walk inner = { .up = w, .in = field, .depth = w->depth + 1, .left = w->left };
	const uint8_t *data;
	uint64_t n;

	if (!read_varint(w, &n) || n > (uint64_t)(w->end - w->at))
		return malformed("a length goes past the end", err);
	data = w->at;
	w->at += n;
	if (!field)
		return 0;
	if (field->type == PROTOBUF_C_TYPE_STRING) {
		if (n > 0 && memchr(data, '\0', n))
			return refuse_string(w, field, true, err);
		if (n > 0 && !str_is_utf8((const char *)data, n))
			return refuse_string(w, field, false, err);
	}
	if (field->type != PROTOBUF_C_TYPE_MESSAGE)
		return 0;
	if (inner.depth > WIRE_DEPTH_MAX)
		return malformed("messages nested too deep", err);
	inner.at = data;
	inner.end = data + n;
	return walk_message(field->descriptor, &inner, err);
}

static int skip_fixed(struct walk *w, size_t n, struct err *err)
{
	if ((size_t)(w->end - w->at) < n)
		return malformed("a field is cut short", err);
	w->at += n;
	return 0;
}

/* field is NULL for one that this version does not know: its shape must still be right. */
static int check_value(struct walk *w, const ProtobufCFieldDescriptor *field, unsigned wire_type,
		       struct err *err)
{
	uint64_t value;

	if (field && expected_type(field) != wire_type)
		return malformed("a field has the wire type of another kind", err);
	switch (wire_type) {
	case WIRE_VARINT:
		return read_varint(w, &value) ? 0 : malformed("bad varint", err);
	case WIRE_64BIT:
		return skip_fixed(w, 8, err);
	case WIRE_BYTES:
		return check_bytes(w, field, err);
	case WIRE_32BIT:
		return skip_fixed(w, 4, err);
	default:
		return malformed("groups are not supported", err);
	}
}

static int walk_message(const ProtobufCMessageDescriptor *type, struct walk *w, struct err *err)
{
	while (w->at < w->end) {
		uint64_t tag;

		if (*w->left == 0)
			return err_set(err, ERR_RESOURCE_EXHAUSTED,
				       "the message has more fields than are taken");
		(*w->left)--;
		if (!read_varint(w, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
			return malformed("bad field tag", err);
		if (check_value(w, find_field(type, tag >> 3), (unsigned)(tag & 7), err) < 0)
			return -1;
	}
	return 0;
}

int wire_check(const ProtobufCMessageDescriptor *type, const struct wire_bytes *bytes,
	       unsigned max_fields, struct err *err)
{
	unsigned left = max_fields;
	struct walk w = { .left = &left };

	if (bytes->n == 0)
		return 0;
	w.at = bytes->data;
	w.end = bytes->data + bytes->n;
	return walk_message(type, &w, err);
}

static void *arena_get(void *arena, size_t size)
{
	return arena_alloc(arena, size);
}

static void arena_leave(void *arena, void *p)
{
	(void)arena;
	(void)p;
}

int wire_unpack(struct arena *a, const ProtobufCMessageDescriptor *type,
		const struct wire_bytes *bytes, unsigned max_fields, ProtobufCMessage **ret_msg,
		struct err *err)
{
	ProtobufCAllocator allocator = { arena_get, arena_leave, a };
	ProtobufCMessage *msg;

	if (wire_check(type, bytes, max_fields, err) < 0)
		return -1;
	msg = protobuf_c_message_unpack(type, &allocator, bytes->n,
					bytes->n ? bytes->data : (const uint8_t *)"");
	if (!msg)
		return malformed("it is no message of this type", err);
	*ret_msg = msg;
	return 0;
}

struct wire_bytes wire_pack(struct arena *a, const ProtobufCMessage *msg)
{
	size_t n = protobuf_c_message_get_packed_size(msg);
	uint8_t *data = arena_alloc(a, n);

	protobuf_c_message_pack(msg, data);
	return (struct wire_bytes){ data, n };
}

void *wire_new(struct arena *a, const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *msg = arena_alloc(a, type->sizeof_message);

	protobuf_c_message_init(type, msg);
	return msg;
}
