/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain structs to bytes, by description. Written from the end to the beginning: the length of a
 * message is known when its place comes, and nothing is measured beforehand. Fields go from the
 * highest number to the lowest, so on the wire they are in order, as other implementations write
 * them when asked for deterministic bytes; maps are sorted already.
 */
#include <string.h>

#include "base/message-internal.h"
#include "base/strmap.h"

#define FIRST_SIZE 256u
#define VARINT_MAX 10u

struct encoder {
	struct arena *arena;
	uint8_t *start;
	uint8_t *at; /* what is written so far begins here */
	uint8_t *end;
};

static void widen(struct encoder *e, size_t n)
{
	size_t used = (size_t)(e->end - e->at);
	size_t size = 2 * (used + n) + FIRST_SIZE;
	uint8_t *wider = arena_alloc(e->arena, size);

	if (used > 0)
		memcpy(wider + size - used, e->at, used);
	e->start = wider;
	e->end = wider + size;
	e->at = e->end - used;
}

/* n more bytes before those that are there. */
static inline uint8_t *put_room(struct encoder *e, size_t n)
{
	if ((size_t)(e->at - e->start) < n)
		widen(e, n);
	e->at -= n;
	return e->at;
}

static void put_long_varint(struct encoder *e, uint64_t value)
{
	uint8_t bytes[VARINT_MAX];
	size_t n = 0;

	while (value >= 0x80) {
		bytes[n++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	bytes[n++] = (uint8_t)value;
	memcpy(put_room(e, n), bytes, n);
}

static inline void put_varint(struct encoder *e, uint64_t value)
{
	if (value < 0x80)
		*put_room(e, 1) = (uint8_t)value;
	else
		put_long_varint(e, value);
}

static void put_string(struct encoder *e, unsigned number, const char *s)
{
	size_t n = strlen(s);

	if (n > 0) /* else there may be no room at all yet */
		memcpy(put_room(e, n), s, n);
	put_varint(e, n);
	put_varint(e, number << 3 | 2);
}

static uint64_t number_of(const struct msg_field *field, const void *at)
{
	switch ((enum msg_kind)field->kind) {
	case MSG_BOOL:
		return *(const bool *)at;
	case MSG_SIZE:
		return *(const uint64_t *)at > INT64_MAX ? INT64_MAX : *(const uint64_t *)at;
	case MSG_COUNT:
		return *(const uint32_t *)at > INT32_MAX ? INT32_MAX : *(const uint32_t *)at;
	case MSG_INT64:
		return (uint64_t) * (const int64_t *)at;
	case MSG_INT32:
	case MSG_ENUM:
		return (uint64_t)(int64_t) * (const int32_t *)at;
	case MSG_NONE:
	case MSG_STRING:
	case MSG_MESSAGE:
	case MSG_MAP:
		break;
	}
	return 0;
}

/* Length and tag before what was written since the end was where `from` says. */
static void put_head(struct encoder *e, unsigned number, size_t from)
{
	put_varint(e, (size_t)(e->end - e->at) - from);
	put_varint(e, number << 3 | 2);
}

static void put_map(struct encoder *e, unsigned number, const struct strmap *map)
{
	for (size_t i = map->n; i-- > 0;) {
		size_t from = (size_t)(e->end - e->at);

		put_string(e, 2, message_string(&map->v[i].value));
		put_string(e, 1, message_string(&map->v[i].key));
		put_head(e, number, from);
	}
}

static void put_message(struct encoder *e, const struct msg_type *type, const void *msg);

static void put_value(struct encoder *e, const struct msg_field *field, const void *at)
{
	size_t from = (size_t)(e->end - e->at);

	if (field->kind == MSG_MESSAGE) {
		put_message(e, field->type, at);
		put_head(e, field->number, from);
	} else if (field->kind == MSG_STRING) {
		put_string(e, field->number, message_string(at));
	} else if (field->kind == MSG_MAP) {
		put_map(e, field->number, at);
	} else {
		put_varint(e, number_of(field, at));
		put_varint(e, (uint64_t)field->number << 3);
	}
}

/* Recursion is as deep as the types are, and none of them contains itself. */
static void put_message(struct encoder *e, const struct msg_type *type, const void *msg)
{
	for (unsigned i = type->n_fields; i-- > 0;) {
		const struct msg_field *field = &type->fields[i];

		if (field->kind == MSG_NONE)
			continue;
		for (size_t n = message_count(field, msg); n-- > 0;)
			put_value(e, field, message_value(field, msg, n));
	}
}

struct msg_bytes message_encode(const struct msg_type *type, struct arena *a, const void *msg)
{
	struct encoder e = { .arena = a };

	put_message(&e, type, msg);
	return (struct msg_bytes){ e.at, (size_t)(e.end - e.at) };
}
