/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MESSAGE_H
#define BASE_MESSAGE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Messages of protocol buffers as plain structs. tools/gen-messages makes a struct and a
 * description of each from its .proto (csi/messages.h, in the build directory); bytes become
 * structs and structs bytes here, once for all of them, by description.
 *
 * In a struct strings are never NULL after message_init or message_decode; message_encode takes
 * NULL for "". Maps are sorted by key.
 */
enum msg_kind {
	MSG_NONE,    /* no such number */
	MSG_STRING,  /* const char * */
	MSG_BOOL,    /* bool */
	MSG_SIZE,    /* int64 that is never negative: uint64_t */
	MSG_COUNT,   /* int32 that is never negative: uint32_t */
	MSG_INT64,   /* int64_t */
	MSG_INT32,   /* int32_t */
	MSG_ENUM,    /* int; values that this version does not know stay as they are */
	MSG_MESSAGE, /* the struct itself, or the first of several */
	MSG_MAP,     /* struct strmap, or struct secrets, which is one */
};

enum msg_label {
	MSG_PLAIN, /* there if it is not its kind's default */
	MSG_HAS,   /* there if the bool at aux says so */
	MSG_ONEOF, /* there if the unsigned at aux is its number */
	MSG_MANY,  /* a pointer; the size_t at aux says how many */
};

struct msg_value {
	int number;
	const char *name;
};
struct msg_values {
	const struct msg_value *v;
	size_t n;
};

struct msg_type;

struct msg_field {
	const char *name;
	const struct msg_type *type;     /* MSG_MESSAGE */
	const struct msg_values *values; /* MSG_ENUM */
	uint16_t offset, aux;
	uint16_t max;   /* bytes of a string or a map; 0: any. This and below are for callers */
	uint16_t max_n; /* values of a repeated field; 0: any */
	uint8_t number;
	uint8_t kind;     /* enum msg_kind */
	uint8_t label;    /* enum msg_label */
	bool is_total;    /* max is of all strings of the field together */
	bool is_required; /* must be there and not empty */
	bool is_secret;   /* csi_secret, or sensitive by the specification's words */
};

struct msg_type {
	const char *name;               /* "csi.v1.Volume" */
	const struct msg_field *fields; /* that with the number n is at n - 1 */
	uint16_t n_fields;              /* the highest number */
	uint16_t size;
};

struct msg_bytes {
	const uint8_t *data;
	size_t n;
};

/* Fields of all depths that one message may have: two bytes of one can become 100 in memory. */
#define MSG_FIELDS_REQUEST 20000u
#define MSG_FIELDS_REPLY 1000000u

/* An empty message: zero, and "" for strings. */
void message_init(const struct msg_type *type, void *msg);

/*
 * Bytes to a message; what it points to is in the arena, nothing of the bytes is kept. INTERNAL:
 * malformed (cut short, bad varint, wrong wire type, a group). INVALID_ARGUMENT: a string
 * that is not UTF-8 or holds a NUL, a negative number where CSI has none; each named by its path
 * ("volume_capability.mount.fs_type"). RESOURCE_EXHAUSTED: more than max_fields. On failure *msg is
 * half filled. Unknown fields are skipped, of a oneof or a single field the last one counts, inner
 * messages are merged, as the encoding's document says.
 */
int message_decode(const struct msg_type *type, struct arena *a, const struct msg_bytes *bytes,
		   unsigned max_fields, void *msg, struct err *err);

/* Deterministic: fields by number, maps by key. Sizes beyond an int64 become its maximum. */
struct msg_bytes message_encode(const struct msg_type *type, struct arena *a, const void *msg);

/* The field of that name, NULL if there is none. */
const struct msg_field *message_find(const struct msg_type *type, const char *name);

/* For code that walks messages by their description: how many values the field has, 0 or 1, or the
 * length of a repeated one (a plain one counts as there only if it is not its default); the i-th
 * value; a string at a value. */
size_t message_count(const struct msg_field *field, const void *msg);
const void *message_value(const struct msg_field *field, const void *msg, size_t i);
static inline const char *message_string(const void *value)
{
	const char *s = *(const char *const *)value;

	return s ? s : "";
}

/* Where the message is that a field is in, and an INVALID_ARGUMENT that names it:
 * "volume_capability.mount.fs_type: " and why. */
struct msg_place {
	const struct msg_place *up; /* NULL for the outermost message */
	const struct msg_field *in; /* field of up that holds this message */
};
int message_refuse(const struct msg_place *place, const struct msg_field *field, struct err *err,
		   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
