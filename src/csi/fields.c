/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSI's limits ("Field Requirements") for any message, by description; for requests of callers in
 * this process as for those that came over the wire.
 */
#include "csi/fields.h"

#include <string.h>

#include "base/str.h"
#include "base/strmap.h"

static int check_length(const struct msg_place *place, const struct msg_field *field, size_t n,
			struct err *err)
{
	if (field->max > 0 && n > field->max)
		return message_refuse(place, field, err, "%zu bytes, at most %u are allowed", n,
				      (unsigned)field->max);
	return 0;
}

/* The values are secrets: only the field and the rule are in the message. */
static bool is_secret_key(const char *key)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";

	return *key && !key[strspn(key, allowed)];
}

static int check_map(const struct msg_place *place, const struct msg_field *field,
		     const struct strmap *map, struct err *err)
{
	if (check_length(place, field, strmap_bytes(map), err) < 0)
		return -1;
	for (size_t i = 0; i < map->n; i++) {
		if (!str_is_utf8(map->v[i].key, strlen(map->v[i].key)) ||
		    !str_is_utf8(map->v[i].value, strlen(map->v[i].value)))
			return message_refuse(place, field, err, "not UTF-8");
		if (field->is_secret && !is_secret_key(map->v[i].key))
			return message_refuse(place, field, err,
					      "a key has a character other than letters, digits, "
					      "'-', '_' and '.'");
	}
	return 0;
}

static int check_strings(const struct msg_place *place, const struct msg_field *field,
			 const void *msg, size_t n, struct err *err)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++) {
		const char *s = message_string(message_value(field, msg, i));
		size_t len = strlen(s);

		if (!str_is_utf8(s, len))
			return message_refuse(place, field, err, "not UTF-8");
		total = field->is_total ? total + len : len;
		if (check_length(place, field, total, err) < 0)
			return -1;
	}
	return 0;
}

static int check_limits(const struct msg_place *place, const struct msg_field *field,
			const void *msg, size_t n, struct err *err)
{
	if (field->max_n > 0 && n > field->max_n)
		return message_refuse(place, field, err, "%zu elements, at most %u are allowed", n,
				      (unsigned)field->max_n);
	if (field->kind == MSG_STRING)
		return check_strings(place, field, msg, n, err);
	if (field->kind == MSG_MAP)
		return check_map(place, field, message_value(field, msg, 0), err);
	return 0;
}

/* Recursion is as deep as the types are. */
static int check_message(const struct msg_type *type, const struct msg_place *place,
			 const void *msg, bool with_limits, struct err *err)
{
	for (unsigned i = 0; i < type->n_fields; i++) {
		const struct msg_field *field = &type->fields[i];
		const struct msg_place inner = { place, field };
		size_t n = field->kind == MSG_NONE ? 0 : message_count(field, msg);

		if (field->is_required && n == 0)
			return message_refuse(place, field, err, "required");
		if (with_limits && check_limits(place, field, msg, n, err) < 0)
			return -1;
		for (size_t j = 0; j < n && field->kind == MSG_MESSAGE; j++) {
			if (check_message(field->type, &inner, message_value(field, msg, j),
					  with_limits, err) < 0)
				return -1;
		}
	}
	return 0;
}

/* As if it had no has_. */
static bool is_filled(const struct msg_field *field, const void *msg)
{
	struct msg_field plain = *field;

	plain.label = MSG_PLAIN;
	return message_count(&plain, msg) > 0;
}

/* Recursion is as deep as the types are. */
static int check_flags(const struct msg_type *type, const struct msg_place *place, const void *msg,
		       struct err *err)
{
	for (unsigned i = 0; i < type->n_fields; i++) {
		const struct msg_field *field = &type->fields[i];
		const struct msg_place inner = { place, field };
		size_t n = field->kind == MSG_MESSAGE ? message_count(field, msg) : 0;

		if (field->label == MSG_HAS && n == 0 && is_filled(field, msg))
			return message_refuse(place, field, err, "filled, but its has_ is not set");
		for (size_t j = 0; j < n; j++) {
			if (check_flags(field->type, &inner, message_value(field, msg, j), err) < 0)
				return -1;
		}
	}
	return 0;
}

int fields_check_flags(const struct msg_type *type, const void *msg, struct err *err)
{
	static const struct msg_place outermost;

	if (check_flags(type, &outermost, msg, err) == 0)
		return 0;
	err->code = ERR_INTERNAL;
	return -1;
}

int fields_check_required(const struct msg_type *type, const void *msg, struct err *err)
{
	static const struct msg_place outermost;

	return check_message(type, &outermost, msg, false, err);
}

int fields_check(const struct msg_type *type, const void *msg, struct err *err)
{
	static const struct msg_place outermost;

	return check_message(type, &outermost, msg, true, err);
}
