/* SPDX-License-Identifier: Apache-2.0 */
/* What packed bytes get before protobuf-c sees them. */
#include "csi/wire.h"

#include "base/mem.h"
#include "check.h"

#include "csi.pb-c.h"

#define STAGE (&csi__v1__node_stage_volume_request__descriptor)
#define CREATE (&csi__v1__create_volume_request__descriptor)

static int check(const ProtobufCMessageDescriptor *type, const void *data, size_t n,
		 struct err *err)
{
	/* An exact heap copy: reading past the end is seen by ASan. */
	uint8_t *copy = xmalloc(n ? n : 1);
	struct wire_bytes bytes = { copy, n };
	int r;

	memcpy(copy, data, n);
	r = wire_check(type, &bytes, WIRE_FIELDS_REQUEST, err);
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

TEST(too_many_fields_are_refused_before_they_cost_memory)
{
	/* repeated volume_capabilities, two bytes each */
	size_t n = 2 * (WIRE_FIELDS_REQUEST + 1);
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

TEST(what_is_packed_unpacks_to_the_same)
{
	autoarena struct arena *a = arena_new();
	Csi__V1__NodeUnstageVolumeRequest *in =
		wire_new(a, &csi__v1__node_unstage_volume_request__descriptor);
	Csi__V1__NodeUnstageVolumeRequest *out;
	ProtobufCMessage *msg;
	struct wire_bytes bytes;
	struct err err;

	in->volume_id = arena_strdup(a, "vol");
	in->staging_target_path = arena_strdup(a, "/staging/größe");
	bytes = wire_pack(a, &in->base);
	ASSERT_OK(wire_unpack(a, in->base.descriptor, &bytes, WIRE_FIELDS_REQUEST, &msg, &err),
		  &err);
	out = (Csi__V1__NodeUnstageVolumeRequest *)msg;
	ASSERT_STR(out->volume_id, "vol");
	ASSERT_STR(out->staging_target_path, "/staging/größe");
}

TEST(an_empty_message_unpacks_to_defaults)
{
	autoarena struct arena *a = arena_new();
	struct wire_bytes none = { NULL, 0 };
	ProtobufCMessage *msg;
	struct err err;

	ASSERT_OK(wire_unpack(a, STAGE, &none, WIRE_FIELDS_REQUEST, &msg, &err), &err);
	ASSERT_STR(((Csi__V1__NodeStageVolumeRequest *)msg)->volume_id, "");
	ASSERT_TRUE(((Csi__V1__NodeStageVolumeRequest *)msg)->volume_capability == NULL);
}

RUN_TESTS(UNIT(well_formed_messages_pass), UNIT(unknown_fields_of_newer_versions_are_let_through),
	  UNIT(malformed_bytes_are_internal), UNIT(bad_strings_are_named_by_their_path),
	  UNIT(too_many_fields_are_refused_before_they_cost_memory),
	  UNIT(what_is_packed_unpacks_to_the_same), UNIT(an_empty_message_unpacks_to_defaults))
