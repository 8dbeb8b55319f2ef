/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to plain structs, by description.
 *
 * No kept library does it in one step: protobuf-c and upb unpack into types of their own, which is
 * a second copy and hands their names on; nanopb's allocation hook knows no arena, its arrays grow
 * by one and its compiler drops csi_secret; none refuses a NUL inside a string, which would
 * silently become the end of an id or a path, and none bounds the number of fields (two bytes on
 * the wire become a hundred in memory). So all of it is checked here on the way, with the
 * encoding's document as the rule.
 *
 * All strings of a message go into one block: on the wire each has at least two bytes of tag and
 * length before it, so the message's own length is room enough for all of them with their NULs.
 * Arrays double; their capacity is the power of two above their length and stored nowhere. Depth
 * needs no bound of its own: no type contains itself, and what is unknown is skipped whole.
 */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/message-internal.h"
#include "base/str.h"
#include "base/strmap.h"

#define FIRST_CAP 4u
#define SHORT_MAP 16u

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_64BIT = 1,
	WIRE_BYTES = 2,
	WIRE_32BIT = 5,
};

/* What is shared by all depths. */
struct decoder {
	struct arena *arena;
	char *text;    /* where the next string goes */
	unsigned left; /* fields that may still come */
};

/* One message on its way. */
struct part {
	struct msg_place place;
	const uint8_t *at;
	const uint8_t *end;
};

static const struct msg_field map_fields[] = {
	{ "key", .number = 1, .kind = MSG_STRING, .offset = offsetof(struct strpair, key) },
	{ "value", .number = 2, .kind = MSG_STRING, .offset = offsetof(struct strpair, value) },
};
static const struct msg_type map_entry = { "map entry", map_fields, 2, sizeof(struct strpair) };

static int malformed(const char *what, struct err *err)
{
	return err_set(err, ERR_INTERNAL, "cannot decode the message: %s", what);
}

static bool read_long_varint(struct part *p, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && p->at < p->end; shift += 7) {
		uint8_t byte = *p->at++;

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

static inline bool read_varint(struct part *p, uint64_t *ret_value)
{
	if (p->at < p->end && !(*p->at & 0x80)) {
		*ret_value = *p->at++;
		return true;
	}
	return read_long_varint(p, ret_value);
}

static int skip_bytes(struct part *p, uint64_t n, struct err *err)
{
	if (n > (uint64_t)(p->end - p->at))
		return malformed("a field is cut short", err);
	p->at += n;
	return 0;
}

/* A field that this version does not know: its shape must be right. */
static int skip_field(struct part *p, unsigned wire_type, struct err *err)
{
	uint64_t n;

	switch (wire_type) {
	case WIRE_VARINT:
		return read_varint(p, &n) ? 0 : malformed("bad varint", err);
	case WIRE_64BIT:
		return skip_bytes(p, 8, err);
	case WIRE_BYTES:
		if (!read_varint(p, &n))
			return malformed("a length goes past the end", err);
		return skip_bytes(p, n, err);
	case WIRE_32BIT:
		return skip_bytes(p, 4, err);
	default:
		return malformed("groups are not supported", err);
	}
}

/* Of eight bytes: none is NUL, none beyond ASCII. (A borrow from a byte above only makes it say no
 * where it could say yes.) */
static inline bool is_plain_word(uint64_t word)
{
	return (((word - UINT64_C(0x0101010101010101)) | word) & UINT64_C(0x8080808080808080)) == 0;
}

/* Copies n bytes; whether all are ASCII without a NUL, as nearly every string of CSI is. */
static bool copy_plain(char *to, const uint8_t *from, size_t n)
{
	bool is_plain = true;
	uint64_t word;

	if (n < sizeof(word)) {
		for (size_t i = 0; i < n; i++) {
			to[i] = (char)from[i];
			is_plain &= from[i] - 1u < 0x7f;
		}
		return is_plain;
	}
	for (size_t i = 0; i < n; i += sizeof(word)) {
		/* The last one begins within the one before. */
		size_t at = i < n - sizeof(word) ? i : n - sizeof(word);

		memcpy(&word, from + at, sizeof(word));
		memcpy(to + at, &word, sizeof(word));
		is_plain &= is_plain_word(word);
	}
	return is_plain;
}

static int read_string(struct decoder *d, struct part *p, const struct msg_field *field, size_t n,
		       const char **ret, struct err *err)
{
	char *text = d->text;

	if (!copy_plain(text, p->at, n)) {
		if (memchr(p->at, '\0', n))
			return message_refuse(&p->place, field, err, "has a NUL byte inside");
		if (!str_is_utf8((const char *)p->at, n))
			return message_refuse(&p->place, field, err, "not UTF-8");
	}
	text[n] = '\0';
	d->text += n + 1;
	p->at += n;
	*ret = text;
	return 0;
}

static int read_number(struct part *p, const struct msg_field *field, void *at, struct err *err)
{
	uint64_t value;
	int64_t number;

	if (!read_varint(p, &value))
		return malformed("bad varint", err);
	/* An int32 that is negative has ten bytes, and of one that is too long the low half counts.
	 */
	number = field->kind == MSG_SIZE || field->kind == MSG_INT64 ? (int64_t)value
								     : (int32_t)(uint32_t)value;
	if ((field->kind == MSG_SIZE || field->kind == MSG_COUNT) && number < 0)
		return message_refuse(&p->place, field, err, "%" PRId64 " is negative", number);
	if (field->kind == MSG_BOOL)
		*(bool *)at = value != 0;
	else if (field->kind == MSG_SIZE || field->kind == MSG_INT64)
		memcpy(at, &number, sizeof(number));
	else
		*(int32_t *)at = (int32_t)number;
	return 0;
}

/* Room for one more, zeroed. */
static void *grow(struct decoder *d, void **v, size_t n, size_t size)
{
	if (n == 0 || (n >= FIRST_CAP && (n & (n - 1)) == 0)) {
		void *wider = arena_array(d->arena, n ? 2 * n : FIRST_CAP, size);

		if (n > 0)
			memcpy(wider, *v, n * size);
		*v = wider;
	}
	return (char *)*v + n * size;
}

static int decode_message(struct decoder *d, const struct msg_type *type, struct part *p, void *msg,
			  struct err *err);

/* Where the next value of the field goes. */
static void *place_value(struct decoder *d, const struct msg_field *field, void *msg)
{
	void *at = message_at(msg, field->offset);
	void *aux = message_at(msg, field->aux);

	if (field->kind == MSG_MAP) {
		struct strmap *map = at;
		void *pairs = map->v;
		struct strpair *pair = grow(d, &pairs, map->n++, sizeof(*map->v));

		map->v = pairs;
		/* Its two bytes of tag and length are room for this one, and it keeps the order. */
		*d->text = '\0';
		pair->key = pair->value = d->text++;
		return pair;
	}
	switch ((enum msg_label)field->label) {
	case MSG_MANY:
		at = grow(d, at, *(size_t *)aux, message_value_size(field));
		(*(size_t *)aux)++;
		message_init_value(field, at);
		break;
	case MSG_ONEOF:
		if (*(unsigned *)aux != field->number)
			message_reset_value(field, at);
		*(unsigned *)aux = field->number;
		break;
	case MSG_HAS:
		*(bool *)aux = true;
		break;
	case MSG_PLAIN:
		break;
	}
	return at;
}

/* A string, a message or a pair of a map. */
static int decode_bytes(struct decoder *d, struct part *p, const struct msg_field *field, void *msg,
			struct err *err)
{
	struct part inner = { .place = { &p->place, field } };
	const struct msg_type *type = field->kind == MSG_MAP ? &map_entry : field->type;
	uint64_t n;

	if (!read_varint(p, &n) || n > (uint64_t)(p->end - p->at))
		return malformed("a length goes past the end", err);
	if (field->kind == MSG_STRING)
		return read_string(d, p, field, n, place_value(d, field, msg), err);
	inner.at = p->at;
	inner.end = p->at += n;
	return decode_message(d, type, &inner, place_value(d, field, msg), err);
}

static int decode_field(struct decoder *d, const struct msg_type *type, struct part *p, void *msg,
			struct err *err)
{
	const struct msg_field *field;
	uint64_t tag;
	bool is_bytes;

	if (!read_varint(p, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
		return malformed("bad field tag", err);
	if (tag >> 3 > type->n_fields || type->fields[(tag >> 3) - 1].kind == MSG_NONE)
		return skip_field(p, tag & 7, err);
	field = &type->fields[(tag >> 3) - 1];
	is_bytes =
		field->kind == MSG_STRING || field->kind == MSG_MESSAGE || field->kind == MSG_MAP;
	if ((tag & 7) != (is_bytes ? WIRE_BYTES : WIRE_VARINT))
		return malformed("a field has the wire type of another kind", err);
	if (is_bytes)
		return decode_bytes(d, p, field, msg, err);
	return read_number(p, field, place_value(d, field, msg), err);
}

/* Of equal keys the one that came later has its text further on. */
static int compare_pairs(const void *left, const void *right)
{
	const struct strpair *a = left;
	const struct strpair *b = right;
	int order = strcmp(a->key, b->key);

	return order ? order : (a->value > b->value) - (a->value < b->value);
}

/* By insertion: most maps are short, and many are sorted. True: no key is there twice. */
static bool sort_short(struct strmap *map)
{
	bool is_unique = true;

	for (size_t i = 1; i < map->n; i++) {
		struct strpair pair = map->v[i];
		size_t to = i;
		int order = 1;

		while (to > 0 && (order = strcmp(map->v[to - 1].key, pair.key)) > 0) {
			map->v[to] = map->v[to - 1];
			to--;
		}
		map->v[to] = pair;
		is_unique &= order != 0;
	}
	return is_unique;
}

static void sort_map(struct strmap *map)
{
	size_t n = 0;

	if (map->n <= SHORT_MAP) {
		if (sort_short(map))
			return;
	} else {
		qsort(map->v, map->n, sizeof(*map->v), compare_pairs);
	}
	for (size_t i = 0; i < map->n; i++) {
		if (i + 1 == map->n || strcmp(map->v[i].key, map->v[i + 1].key) != 0)
			map->v[n++] = map->v[i];
	}
	map->n = n;
}

static int decode_message(struct decoder *d, const struct msg_type *type, struct part *p, void *msg,
			  struct err *err)
{
	while (p->at < p->end) {
		if (d->left == 0)
			return err_set(err, ERR_RESOURCE_EXHAUSTED,
				       "the message has more fields than are taken");
		d->left--;
		if (decode_field(d, type, p, msg, err) < 0)
			return -1;
	}
	for (unsigned i = 0; i < type->n_fields; i++) {
		if (type->fields[i].kind == MSG_MAP)
			sort_map(message_at(msg, type->fields[i].offset));
	}
	return 0;
}

int message_decode(const struct msg_type *type, struct arena *a, const struct msg_bytes *bytes,
		   unsigned max_fields, void *msg, struct err *err)
{
	struct decoder d = { .arena = a, .left = max_fields };
	struct part whole = { 0 };

	message_init(type, msg);
	if (bytes->n == 0)
		return 0;
	d.text = arena_alloc(a, bytes->n);
	whole.at = bytes->data;
	whole.end = bytes->data + bytes->n;
	return decode_message(&d, type, &whole, msg, err);
}
