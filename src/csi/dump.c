/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages as JSON, by descriptor. protobuf-c drops custom options, so csi_secret is known here by
 * name: every field that carries it in CSI 1.13 is called "secrets". Two more are stripped:
 * mount_flags, which the specification calls sensitive without the option, and the tokens that
 * kubelet puts into volume_context when a CSIDriver asks for them.
 */
#include "csi/dump.h"

#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

#define STRIPPED "***stripped***"
#define TOKENS_KEY "csi.storage.k8s.io/serviceAccount.tokens"

static void dump(struct json_writer *w, const ProtobufCMessage *msg);

static bool is_sensitive(const ProtobufCFieldDescriptor *field)
{
	return str_is_equal(field->name, "secrets") || str_is_equal(field->name, "mount_flags");
}

/* How many values the field has: 0 or 1, or the length of a repeated one. */
static size_t count_values(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
	const char *at = (const char *)msg;
	uint32_t which;
	size_t n;

	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		memcpy(&n, at + field->quantifier_offset, sizeof(n));
		return n;
	}
	if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return 1;
	memcpy(&which, at + field->quantifier_offset, sizeof(which));
	return which == field->id;
}

static void dump_enum(struct json_writer *w, const ProtobufCEnumDescriptor *type, int32_t number)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);

	if (value)
		json_put_string(w, value->name);
	else
		json_put_i64(w, number);
}

/* at: where the value is; csi.proto has strings, messages, enums, bool, int32 and int64. */
static void dump_value(struct json_writer *w, const ProtobufCFieldDescriptor *field, const void *at)
{
	const void *pointer;
	int64_t i64;
	int32_t i32;

	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		memcpy(&pointer, at, sizeof(pointer));
		json_put_string(w, pointer);
		return;
	case PROTOBUF_C_TYPE_MESSAGE:
		memcpy(&pointer, at, sizeof(pointer));
		dump(w, pointer);
		return;
	case PROTOBUF_C_TYPE_INT64:
		memcpy(&i64, at, sizeof(i64));
		json_put_i64(w, i64);
		return;
	case PROTOBUF_C_TYPE_ENUM:
		memcpy(&i32, at, sizeof(i32));
		dump_enum(w, field->descriptor, i32);
		return;
	case PROTOBUF_C_TYPE_INT32:
		memcpy(&i32, at, sizeof(i32));
		json_put_i64(w, i32);
		return;
	case PROTOBUF_C_TYPE_BOOL:
		memcpy(&i32, at, sizeof(i32));
		json_put_bool(w, i32 != 0);
		return;
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
	case PROTOBUF_C_TYPE_BYTES:
		break;
	}
	json_put_null(w);
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
	if (field->type == PROTOBUF_C_TYPE_INT64)
		return sizeof(int64_t);
	if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE)
		return sizeof(void *);
	return sizeof(int32_t);
}

static bool is_absent(const ProtobufCFieldDescriptor *field, const void *at)
{
	static const char zero[sizeof(int64_t)];
	const char *text;

	if (field->type != PROTOBUF_C_TYPE_STRING)
		return memcmp(at, zero, value_size(field)) == 0;
	memcpy(&text, at, sizeof(text));
	return str_is_empty(text);
}

/* A map is repeated messages of key and value; "…Entry" is the compiler's name for them. */
static bool is_map(const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *type = field->descriptor;

	return field->label == PROTOBUF_C_LABEL_REPEATED &&
	       field->type == PROTOBUF_C_TYPE_MESSAGE && type->n_fields == 2 &&
	       str_has_suffix(type->short_name, "Entry") &&
	       str_is_equal(type->fields[0].name, "key") &&
	       str_is_equal(type->fields[1].name, "value");
}

static void dump_pair(struct json_writer *w, const ProtobufCMessage *entry)
{
	const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
	const char *key;
	const char *value;

	memcpy(&key, (const char *)entry + fields[0].offset, sizeof(key));
	memcpy(&value, (const char *)entry + fields[1].offset, sizeof(value));
	json_field_string(w, key, str_is_equal(key, TOKENS_KEY) ? STRIPPED : value);
}

static void dump_repeated(struct json_writer *w, const ProtobufCFieldDescriptor *field,
			  const void *at, size_t n)
{
	bool as_map = is_map(field);
	const char *values;

	memcpy(&values, at, sizeof(values));
	if (as_map)
		json_begin_object(w);
	else
		json_begin_array(w);
	for (size_t i = 0; i < n; i++) {
		const ProtobufCMessage *entry;

		if (!as_map) {
			dump_value(w, field, values + i * value_size(field));
			continue;
		}
		memcpy(&entry, values + i * sizeof(entry), sizeof(entry));
		dump_pair(w, entry);
	}
	if (as_map)
		json_end_object(w);
	else
		json_end_array(w);
}

/* Recursion is as deep as the message, which csi/wire has bounded. */
static void dump(struct json_writer *w, const ProtobufCMessage *msg)
{
	json_begin_object(w);
	for (unsigned i = 0; i < msg->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &msg->descriptor->fields[i];
		const char *at = (const char *)msg + field->offset;
		size_t n = count_values(msg, field);

		if (n == 0 || (field->label != PROTOBUF_C_LABEL_REPEATED && is_absent(field, at)))
			continue;
		json_key(w, field->name);
		if (is_sensitive(field))
			json_put_string(w, STRIPPED);
		else if (field->label == PROTOBUF_C_LABEL_REPEATED)
			dump_repeated(w, field, at, n);
		else
			dump_value(w, field, at);
	}
	json_end_object(w);
}

void dump_message(const ProtobufCMessage *msg, struct str *out)
{
	struct json_writer w = JSON_WRITER(out);

	dump(&w, msg);
}
