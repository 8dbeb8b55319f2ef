/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes to plain structs and back, by description; limits and dumps. */
#include "csi/messages.h"

#include "base/mem.h"
#include "check.h"
#include "csi/dump.h"
#include "csi/fields.h"
#include "csi/service.h"

#define STAGE (&csi_node_stage_volume_request_type)
#define CREATE (&csi_create_volume_request_type)

/* Large enough for any message; its type says how much of it is one. */
static union {
	struct csi_node_stage_volume_request stage;
	struct csi_create_volume_request create;
} out;

static int check(const struct msg_type *type, const void *data, size_t n, struct err *err)
{
	autoarena struct arena *a = arena_new();
	/* An exact heap copy: reading past the end is seen by ASan. */
	uint8_t *copy = xmalloc(n ? n : 1);
	struct msg_bytes bytes = { copy, n };
	int r;

	memcpy(copy, data, n);
	r = message_decode(type, a, &bytes, MSG_FIELDS_REQUEST, &out, err);
	free(copy);
	return r;
}
#define CHECK(type, text) check(type, text, sizeof(text) - 1, &err)

TEST(well_formed_messages_pass)
{
	struct err err;

	ASSERT_OK(CHECK(STAGE, ""), &err);
	ASSERT_OK(CHECK(STAGE, "\x0a\x03vol"), &err);
	/* field 6, a map entry {key "a", value "b"} */
	ASSERT_OK(CHECK(STAGE, "\x32\x06\x0a\x01"
			       "a"
			       "\x12\x01"
			       "b"),
		  &err);
}

TEST(unknown_fields_of_newer_versions_are_let_through)
{
	struct err err;

	/* field 100: varint, 64 bit, bytes, 32 bit */
	ASSERT_OK(CHECK(STAGE, "\xa0\x06\x05\xa1\x06"
			       "12345678"
			       "\xa2\x06\x02\xff\x00\xa5\x06"
			       "1234"),
		  &err);
}

TEST(malformed_bytes_are_internal)
{
	struct err err;

	ASSERT_ERR(CHECK(STAGE, "\x0a\x05vol"), &err, ERR_INTERNAL, "past the end");
	ASSERT_ERR(CHECK(STAGE, "\x0a"), &err, ERR_INTERNAL, "past the end");
	ASSERT_ERR(CHECK(STAGE, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"), &err,
		   ERR_INTERNAL, "past the end");
	ASSERT_ERR(CHECK(STAGE, "\x80"), &err, ERR_INTERNAL, "tag");
	ASSERT_ERR(CHECK(STAGE, "\x02\x00"), &err, ERR_INTERNAL, "tag");
	ASSERT_ERR(CHECK(STAGE, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), &err, ERR_INTERNAL,
		   "tag");
	ASSERT_ERR(CHECK(STAGE, "\x08\x01"), &err, ERR_INTERNAL, "wire type");
	ASSERT_ERR(CHECK(STAGE, "\xa3\x06"), &err, ERR_INTERNAL, "groups");
	ASSERT_ERR(CHECK(STAGE, "\xa1\x06"
				"123"),
		   &err, ERR_INTERNAL, "short");
	/* capacity_range.required_bytes: a varint that never ends */
	ASSERT_ERR(CHECK(CREATE, "\x12\x02\x08\x80"), &err, ERR_INTERNAL, "varint");
}

TEST(bad_strings_are_named_by_their_path)
{
	struct err err;

	ASSERT_ERR(CHECK(STAGE, "\x0a\x03"
				"a\0b"),
		   &err, ERR_INVALID_ARGUMENT, "volume_id: has a NUL");
	ASSERT_ERR(CHECK(STAGE, "\x0a\x02\xc3\x28"), &err, ERR_INVALID_ARGUMENT,
		   "volume_id: not UTF-8");
	/* volume_capability.mount.fs_type */
	ASSERT_ERR(CHECK(STAGE, "\x22\x07\x12\x05\x0a\x03"
				"a\0b"),
		   &err, ERR_INVALID_ARGUMENT, "volume_capability.mount.fs_type: has a NUL");
	ASSERT_ERR(CHECK(STAGE, "\x32\x03\x0a\x01\xff"), &err, ERR_INVALID_ARGUMENT,
		   "volume_context.key: not UTF-8");
}

TEST(a_bad_byte_is_found_wherever_it_is)
{
	char text[2 + 40] = "\x0a";
	struct err err;

	for (size_t n = 1; n <= 40; n++) {
		text[1] = (char)n;
		memset(text + 2, 'x', n);
		ASSERT_OK(check(STAGE, text, 2 + n, &err), &err);
		for (size_t at = 0; at < n; at++) {
			text[2 + at] = '\0';
			ASSERT_ERR(check(STAGE, text, 2 + n, &err), &err, ERR_INVALID_ARGUMENT,
				   "volume_id: has a NUL");
			text[2 + at] = '\xff';
			ASSERT_ERR(check(STAGE, text, 2 + n, &err), &err, ERR_INVALID_ARGUMENT,
				   "volume_id: not UTF-8");
			text[2 + at] = 'x';
		}
	}
}

TEST(too_many_fields_are_refused_before_they_cost_memory)
{
	/* repeated volume_capabilities, two bytes each */
	size_t n = 2 * (MSG_FIELDS_REQUEST + 1);
	uint8_t *data = xmalloc(n);
	struct err err;

	for (size_t i = 0; i < n; i += 2) {
		data[i] = 0x1a;
		data[i + 1] = 0;
	}
	ASSERT_ERR(check(CREATE, data, n, &err), &err, ERR_RESOURCE_EXHAUSTED, "fields");
	ASSERT_OK(check(CREATE, data, n - 2, &err), &err);
	free(data);
}

TEST(negative_sizes_are_refused_by_name)
{
	struct err err;

	/* capacity_range { limit_bytes: -1 } */
	ASSERT_ERR(CHECK(CREATE, "\x12\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), &err,
		   ERR_INVALID_ARGUMENT, "capacity_range.limit_bytes: -1 is negative");
}

static struct arena *arena;

static struct msg_bytes literal(const char *text, size_t n)
{
	return (struct msg_bytes){ arena_memdup(arena, text, n), n };
}
#define BYTES(text) literal(text, sizeof(text) - 1)

static int decode(const struct msg_type *type, const struct msg_bytes *bytes, void *msg)
{
	struct err err;

	return message_decode(type, arena, bytes, MSG_FIELDS_REQUEST, msg, &err);
}

TEST(an_empty_message_decodes_to_defaults)
{
	struct csi_node_stage_volume_request req;
	struct msg_bytes none = { NULL, 0 };

	arena = arena_new();
	memset(&req, 0xff, sizeof(req));
	ASSERT_EQ(decode(STAGE, &none, &req), 0);
	ASSERT_STR(req.volume_id, "");
	ASSERT_STR(req.volume_capability.fs_type, "");
	ASSERT_EQ(req.volume_capability.access, VOL_ACCESS_NONE);
	ASSERT_EQ(req.secrets.map.n, 0);
	ASSERT_EQ(message_encode(STAGE, arena, &req).n, 0);
	arena_free(arena);
}

TEST(maps_are_sorted_and_the_last_of_equal_keys_counts)
{
	struct csi_node_stage_volume_request req;
	struct msg_bytes bytes;

	arena = arena_new();
	bytes = BYTES("\x32\x06\x0a\x01k\x12\x01"
		      "1"
		      "\x32\x06\x0a\x01"
		      "a\x12\x01"
		      "2"
		      "\x32\x06\x0a\x01k\x12\x01"
		      "3"
		      "\x32\x03\x0a\x01k"
		      "\x32\x00");
	ASSERT_EQ(decode(STAGE, &bytes, &req), 0);
	ASSERT_EQ(req.volume_context.n, 3);
	ASSERT_STR(req.volume_context.v[0].key, "");
	ASSERT_STR(req.volume_context.v[1].value, "2");
	ASSERT_STR(req.volume_context.v[2].key, "k");
	ASSERT_STR(req.volume_context.v[2].value, ""); /* the one without a value came last */
	arena_free(arena);
}

TEST(strings_of_any_length_come_whole)
{
	char text[2 + 40] = "\x0a";
	struct csi_node_stage_volume_request req;

	for (size_t n = 0; n <= 40; n++) {
		struct msg_bytes bytes = { (const uint8_t *)text, 2 + n };

		arena = arena_new();
		text[1] = (char)n;
		for (size_t i = 0; i < n; i++)
			text[2 + i] = (char)('A' + i);
		ASSERT_EQ(decode(STAGE, &bytes, &req), 0);
		ASSERT_EQ(strlen(req.volume_id), n);
		ASSERT_TRUE(memcmp(req.volume_id, text + 2, n) == 0);
		arena_free(arena);
	}
}

/* Keys 5i mod n, so in no order; n further ones, the same in order, are the later values. */
TEST(maps_of_any_length_are_sorted)
{
	struct csi_node_stage_volume_request req;

	for (size_t n = 1; n <= 42; n++) {
		uint8_t data[2 * 42 * 8];
		struct msg_bytes bytes = { data, 2 * n * 8 };

		if (n % 5 == 0)
			continue;
		arena = arena_new();
		for (size_t i = 0; i < 2 * n; i++) {
			uint8_t key = (uint8_t)('0' + (i < n ? 5 * i % n : i - n));

			memcpy(data + i * 8, "\x32\x06\x0a\x01k\x12\x01v", 8);
			data[i * 8 + 4] = key;
			data[i * 8 + 7] = i < n ? 'a' : 'b';
		}
		ASSERT_EQ(decode(STAGE, &bytes, &req), 0);
		ASSERT_EQ(req.volume_context.n, n);
		for (size_t i = 0; i < n; i++) {
			ASSERT_EQ(req.volume_context.v[i].key[0], '0' + (int)i);
			ASSERT_STR(req.volume_context.v[i].value, "b");
		}
		arena_free(arena);
	}
}

TEST(of_a_oneof_the_last_member_counts_and_begins_anew)
{
	struct csi_node_stage_volume_request req;
	struct msg_bytes bytes;

	arena = arena_new();
	/* mount { fs_type: "xfs" }, then block {}, then mount {} */
	bytes = BYTES("\x22\x0b\x12\x05\x0a\x03xfs\x0a\x00\x12\x00");
	ASSERT_EQ(decode(STAGE, &bytes, &req), 0);
	ASSERT_EQ(req.volume_capability.access, VOL_ACCESS_MOUNT);
	ASSERT_STR(req.volume_capability.fs_type, "");
	/* and a mode beside it stays: the flat struct is not wiped with the member */
	bytes = BYTES("\x22\x0d\x1a\x02\x08\x01\x12\x05\x0a\x03xfs\x0a\x00");
	ASSERT_EQ(decode(STAGE, &bytes, &req), 0);
	ASSERT_EQ(req.volume_capability.access, VOL_ACCESS_BLOCK);
	ASSERT_EQ(req.volume_capability.mode, VOL_MODE_SINGLE_NODE_WRITER);
	arena_free(arena);
}

TEST(an_inner_message_that_comes_twice_is_merged)
{
	struct csi_create_volume_request req;
	struct msg_bytes bytes;

	arena = arena_new();
	bytes = BYTES("\x12\x02\x08\x05\x12\x02\x10\x07");
	ASSERT_EQ(decode(CREATE, &bytes, &req), 0);
	ASSERT_TRUE(req.capacity_range.required_bytes == 5 && req.capacity_range.limit_bytes == 7);
	arena_free(arena);
}

TEST(a_source_of_an_unknown_kind_is_there_but_has_no_kind)
{
	struct csi_create_volume_request req;
	struct msg_bytes bytes;

	arena = arena_new();
	bytes = BYTES("\x32\x02\x1a\x00");
	ASSERT_EQ(decode(CREATE, &bytes, &req), 0);
	ASSERT_TRUE(req.has_volume_content_source);
	ASSERT_EQ(req.volume_content_source.kind, CSI_SOURCE_NONE);
	arena_free(arena);
}

TEST(long_lists_grow)
{
	struct csi_create_volume_request req;
	uint8_t data[300];
	struct msg_bytes bytes = { data, sizeof(data) };

	arena = arena_new();
	for (size_t i = 0; i < sizeof(data); i += 4)
		memcpy(data + i, i % 8 ? "\x1a\x02\x0a\x00" : "\x1a\x02\x12\x00", 4);
	ASSERT_EQ(decode(CREATE, &bytes, &req), 0);
	ASSERT_EQ(req.n_volume_capabilities, 75);
	for (size_t i = 0; i < 75; i++)
		ASSERT_EQ(req.volume_capabilities[i].access,
			  i % 2 ? VOL_ACCESS_BLOCK : VOL_ACCESS_MOUNT);
	bytes = message_encode(CREATE, arena, &req);
	ASSERT_EQ(bytes.n, 300);
	ASSERT_TRUE(memcmp(bytes.data, data, 300) == 0);
	arena_free(arena);
}

TEST(what_is_encoded_decodes_to_the_same)
{
	struct csi_node_unstage_volume_request in = { .volume_id = "vol",
						      .staging_target_path = "/staging/größe" };
	struct csi_node_unstage_volume_request back;
	struct msg_bytes bytes;

	arena = arena_new();
	bytes = message_encode(&csi_node_unstage_volume_request_type, arena, &in);
	ASSERT_EQ(decode(&csi_node_unstage_volume_request_type, &bytes, &back), 0);
	ASSERT_STR(back.volume_id, "vol");
	ASSERT_STR(back.staging_target_path, "/staging/größe");
	arena_free(arena);
}

TEST(sizes_beyond_an_int64_become_its_maximum)
{
	const struct csi_get_capacity_response in = { .available_capacity = UINT64_MAX,
						      .has_minimum_volume_size = true };
	struct csi_get_capacity_response back;
	struct msg_bytes bytes;

	arena = arena_new();
	bytes = message_encode(&csi_get_capacity_response_type, arena, &in);
	ASSERT_EQ(decode(&csi_get_capacity_response_type, &bytes, &back), 0);
	ASSERT_TRUE(back.available_capacity == INT64_MAX);
	ASSERT_TRUE(back.has_minimum_volume_size && back.minimum_volume_size == 0);
	ASSERT_FALSE(back.has_maximum_volume_size);
	arena_free(arena);
}

TEST(times_keep_their_signs)
{
	const struct csi_snapshot in = { .snapshot_id = "s",
					 .has_creation_time = true,
					 .creation_time = { .seconds = -5, .nanos = -1 } };
	struct csi_snapshot back;
	struct msg_bytes bytes;

	arena = arena_new();
	bytes = message_encode(&csi_snapshot_type, arena, &in);
	ASSERT_EQ(decode(&csi_snapshot_type, &bytes, &back), 0);
	ASSERT_TRUE(back.creation_time.seconds == -5 && back.creation_time.nanos == -1);
	arena_free(arena);
}

TEST(secrets_never_reach_the_dump)
{
	static struct strpair pair = { "key", "hunter2" };
	static struct strpair token = { "csi.storage.k8s.io/serviceAccount.tokens", "hunter2" };
	static const char *const flags[] = { "hunter2" };
	const struct csi_node_stage_volume_request req = {
		.volume_id = "v",
		.secrets = { { &pair, 1 } },
		.volume_context = { &token, 1 },
		.volume_capability = { .access = VOL_ACCESS_MOUNT,
				       .mode = VOL_MODE_SINGLE_NODE_WRITER,
				       .mount_flags = flags,
				       .n_mount_flags = 1 },
	};
	autostr struct str text = STR_INIT;

	dump_message(STAGE, &req, &text);
	ASSERT_STR(str_get(&text),
		   "{\"volume_id\":\"v\",\"volume_capability\":{\"mount\":{\"mount_flags\":"
		   "\"***stripped***\"},\"access_mode\":{\"mode\":\"SINGLE_NODE_WRITER\"}},"
		   "\"secrets\":\"***stripped***\",\"volume_context\":{"
		   "\"csi.storage.k8s.io/serviceAccount.tokens\":\"***stripped***\"}}");
}

TEST(what_a_reply_lacks_is_named)
{
	const struct csi_controller_get_volume_response entries[] = { { .has_volume = true } };
	const struct csi_list_volumes_response reply = { .entries = entries, .n_entries = 1 };
	struct err err;

	ASSERT_ERR(fields_check_required(&csi_list_volumes_response_type, &reply, &err), &err,
		   ERR_INVALID_ARGUMENT, "entries.volume.volume_id: required");
}

TEST(every_rpc_is_logged_by_a_field_that_it_has)
{
	for (size_t i = 0; i < CSI_N_RPCS; i++) {
		const struct msg_field *id =
			message_find(csi_rpcs[i].request, csi_rpcs[i].id_field);

		ASSERT_TRUE(*csi_rpcs[i].id_field == '\0' || (id && id->kind == MSG_STRING));
	}
}

RUN_TESTS(UNIT(well_formed_messages_pass), UNIT(unknown_fields_of_newer_versions_are_let_through),
	  UNIT(malformed_bytes_are_internal), UNIT(bad_strings_are_named_by_their_path),
	  UNIT(too_many_fields_are_refused_before_they_cost_memory),
	  UNIT(negative_sizes_are_refused_by_name), UNIT(an_empty_message_decodes_to_defaults),
	  UNIT(maps_are_sorted_and_the_last_of_equal_keys_counts),
	  UNIT(a_bad_byte_is_found_wherever_it_is), UNIT(maps_of_any_length_are_sorted),
	  UNIT(strings_of_any_length_come_whole),
	  UNIT(of_a_oneof_the_last_member_counts_and_begins_anew),
	  UNIT(an_inner_message_that_comes_twice_is_merged),
	  UNIT(a_source_of_an_unknown_kind_is_there_but_has_no_kind), UNIT(long_lists_grow),
	  UNIT(what_is_encoded_decodes_to_the_same), UNIT(sizes_beyond_an_int64_become_its_maximum),
	  UNIT(times_keep_their_signs), UNIT(secrets_never_reach_the_dump),
	  UNIT(what_a_reply_lacks_is_named), UNIT(every_rpc_is_logged_by_a_field_that_it_has))
