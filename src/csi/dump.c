/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages as JSON for the log. Stripped is what carries csi_secret, mount_flags, which the
 * specification calls sensitive without the option, and the tokens that kubelet puts into
 * volume_context when a CSIDriver asks for them.
 */
#include "csi/dump.h"

#include "base/json.h"
#include "base/strmap.h"

#define STRIPPED "***stripped***"
#define TOKENS_KEY "csi.storage.k8s.io/serviceAccount.tokens"

static void dump(struct json_writer *w, const struct msg_type *type, const void *msg);

static void dump_enum(struct json_writer *w, const struct msg_values *values, int number)
{
	for (size_t i = 0; i < values->n; i++) {
		if (values->v[i].number == number) {
			json_put_string(w, values->v[i].name);
			return;
		}
	}
	json_put_i64(w, number);
}

static void dump_map(struct json_writer *w, const struct strmap *map)
{
	json_begin_object(w);
	for (size_t i = 0; i < map->n; i++) {
		const struct strpair *pair = &map->v[i];

		json_field_string(w, pair->key,
				  str_is_equal(pair->key, TOKENS_KEY) ? STRIPPED : pair->value);
	}
	json_end_object(w);
}

static void dump_value(struct json_writer *w, const struct msg_field *field, const void *at)
{
	switch ((enum msg_kind)field->kind) {
	case MSG_STRING:
		json_put_string(w, message_string(at));
		break;
	case MSG_BOOL:
		json_put_bool(w, *(const bool *)at);
		break;
	case MSG_SIZE:
		json_put_u64(w, *(const uint64_t *)at);
		break;
	case MSG_INT64:
		json_put_i64(w, *(const int64_t *)at);
		break;
	case MSG_COUNT:
		json_put_u64(w, *(const uint32_t *)at);
		break;
	case MSG_INT32:
		json_put_i64(w, *(const int32_t *)at);
		break;
	case MSG_ENUM:
		dump_enum(w, field->values, *(const int *)at);
		break;
	case MSG_MESSAGE:
		dump(w, field->type, at);
		break;
	case MSG_MAP:
		dump_map(w, at);
		break;
	case MSG_NONE:
		break;
	}
}

static void dump_field(struct json_writer *w, const struct msg_field *field, const void *msg)
{
	size_t n = message_count(field, msg);

	if (n == 0)
		return;
	json_key(w, field->name);
	if (field->is_secret) {
		json_put_string(w, STRIPPED);
		return;
	}
	if (field->label == MSG_MANY)
		json_begin_array(w);
	for (size_t i = 0; i < n; i++)
		dump_value(w, field, message_value(field, msg, i));
	if (field->label == MSG_MANY)
		json_end_array(w);
}

/* Recursion is as deep as the types are. */
static void dump(struct json_writer *w, const struct msg_type *type, const void *msg)
{
	json_begin_object(w);
	for (unsigned i = 0; i < type->n_fields; i++) {
		if (type->fields[i].kind != MSG_NONE)
			dump_field(w, &type->fields[i], msg);
	}
	json_end_object(w);
}

void dump_message(const struct msg_type *type, const void *msg, struct str *out)
{
	struct json_writer w = JSON_WRITER(out);

	dump(&w, type, msg);
}
