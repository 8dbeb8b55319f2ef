/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be asked of any message by its description.
 *
 * An inner message whose struct is the outer one's has its members there (offset 0):
 * VolumeCapability is one flat struct and four messages. So nothing here may take a message for all
 * of its struct, but for message_init.
 */
#include "base/message.h"

#include <stdarg.h>
#include <string.h>

#include "base/mem.h"
#include "base/message-internal.h"
#include "base/strmap.h"

#define PATH_TEXT_MAX 128

size_t message_value_size(const struct msg_field *field)
{
	switch ((enum msg_kind)field->kind) {
	case MSG_STRING:
		return sizeof(char *);
	case MSG_BOOL:
		return sizeof(bool);
	case MSG_SIZE:
	case MSG_INT64:
		return sizeof(uint64_t);
	case MSG_COUNT:
	case MSG_INT32:
	case MSG_ENUM:
		return sizeof(uint32_t);
	case MSG_MESSAGE:
		return field->type->size;
	case MSG_MAP:
		return sizeof(struct strmap);
	case MSG_NONE:
		break;
	}
	return 0;
}

static bool is_default(const struct msg_field *field, const void *at);

static bool is_empty(const struct msg_type *type, const void *msg)
{
	for (unsigned i = 0; i < type->n_fields; i++) {
		if (type->fields[i].kind != MSG_NONE && message_count(&type->fields[i], msg) > 0)
			return false;
	}
	return true;
}

static bool is_default(const struct msg_field *field, const void *at)
{
	static const char zero[sizeof(uint64_t)];

	if (field->kind == MSG_STRING)
		return *message_string(at) == '\0';
	if (field->kind == MSG_MAP)
		return ((const struct strmap *)at)->n == 0;
	if (field->kind == MSG_MESSAGE)
		return is_empty(field->type, at);
	return memcmp(at, zero, message_value_size(field)) == 0;
}

size_t message_count(const struct msg_field *field, const void *msg)
{
	const void *aux = (const char *)msg + field->aux;

	switch ((enum msg_label)field->label) {
	case MSG_MANY:
		return *(const size_t *)aux;
	case MSG_HAS:
		return *(const bool *)aux;
	case MSG_ONEOF:
		return *(const unsigned *)aux == field->number;
	case MSG_PLAIN:
		break;
	}
	return !is_default(field, (const char *)msg + field->offset);
}

const void *message_value(const struct msg_field *field, const void *msg, size_t i)
{
	const void *at = (const char *)msg + field->offset;

	if (field->label != MSG_MANY)
		return at;
	return (const char *)*(const void *const *)at + i * message_value_size(field);
}

const struct msg_field *message_find(const struct msg_type *type, const char *name)
{
	for (unsigned i = 0; i < type->n_fields; i++) {
		if (type->fields[i].kind != MSG_NONE && str_is_equal(type->fields[i].name, name))
			return &type->fields[i];
	}
	return NULL;
}

/* "volume_capability.mount.fs_type": outermost first, cut when it gets long. */
static void append_path(const struct msg_place *place, const struct msg_field *field,
			struct str *out)
{
	if (place->up)
		append_path(place->up, place->in, out);
	if (out->len > 0)
		str_append_char(out, '.');
	str_append(out, field->name);
}

int message_refuse(const struct msg_place *place, const struct msg_field *field, struct err *err,
		   const char *fmt, ...)
{
	autostr struct str path = STR_INIT;
	char why[128];
	va_list ap;

	append_path(place, field, &path);
	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set(err, ERR_INVALID_ARGUMENT, "%.*s: %s", PATH_TEXT_MAX, str_get(&path), why);
}

void message_reset_value(const struct msg_field *field, void *at)
{
	if (field->kind == MSG_STRING)
		*(const char **)at = "";
	else if (field->kind == MSG_MESSAGE)
		message_reset(field->type, at);
	else
		memset(at, 0, message_value_size(field));
}

void message_reset(const struct msg_type *type, void *msg)
{
	for (unsigned i = 0; i < type->n_fields; i++) {
		const struct msg_field *field = &type->fields[i];

		if (field->kind == MSG_NONE)
			continue;
		if (field->label == MSG_MANY) {
			*(const void **)message_at(msg, field->offset) = NULL;
			*(size_t *)message_at(msg, field->aux) = 0;
			continue;
		}
		if (field->label == MSG_HAS)
			*(bool *)message_at(msg, field->aux) = false;
		else if (field->label == MSG_ONEOF)
			*(unsigned *)message_at(msg, field->aux) = 0;
		message_reset_value(field, message_at(msg, field->offset));
	}
}

/* In memory that is zero only strings are missing. */
static void init_strings(const struct msg_type *type, void *msg)
{
	for (unsigned i = 0; i < type->n_fields; i++) {
		const struct msg_field *field = &type->fields[i];

		if (field->label != MSG_MANY)
			message_init_value(field, message_at(msg, field->offset));
	}
}

void message_init_value(const struct msg_field *field, void *at)
{
	if (field->kind == MSG_STRING)
		*(const char **)at = "";
	else if (field->kind == MSG_MESSAGE)
		init_strings(field->type, at);
}

void message_init(const struct msg_type *type, void *msg)
{
	memset(msg, 0, type->size);
	init_strings(type, msg);
}
