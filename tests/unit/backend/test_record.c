/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pool/record.h"
#include "base/mem.h"
#include "base/str.h"
#include "check.h"

#define UUID "0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e"

TEST(reads_what_it_writes)
{
	struct record r = { .bytes = 1 << 20,
			    .fs = "xfs",
			    .allow_buffered = true,
			    .created_ns = 1700000000000000000,
			    .name = "a\nb=c ü" };
	struct record back;
	char text[RECORD_MAX];
	struct err err;

	memset(r.uuid.b, 0x5a, sizeof(r.uuid.b));
	memset(r.pool.b, 0xa5, sizeof(r.pool.b));
	record_format(RECORD_VOLUME, &r, text);
	ASSERT_OK(record_parse(RECORD_VOLUME, text, &back, &err), &err);
	ASSERT_EQ(back.bytes, r.bytes);
	ASSERT_STR(back.fs, "xfs");
	ASSERT_TRUE(back.allow_buffered);
	ASSERT_EQ(back.created_ns, r.created_ns);
	ASSERT_STR(back.name, "a\nb=c ü");
	ASSERT_EQ(memcmp(&back.uuid, &r.uuid, sizeof(r.uuid)), 0);
	ASSERT_EQ(memcmp(&back.pool, &r.pool, sizeof(r.pool)), 0);
}

#define GOOD "cleat 1\nbytes=4096\nfs=\nbuffered=0\ncreated=1\nuuid=" UUID "\npool=" UUID "\n"

TEST(passes_over_what_it_does_not_know_and_refuses_what_it_must_know)
{
	struct record r;
	struct err err;

	ASSERT_OK(record_parse(RECORD_VOLUME, GOOD "colour=green\n=\nneeds=\nname=v", &r, &err),
		  &err);
	ASSERT_STR(r.name, "v");
	ASSERT_ERR(record_parse(RECORD_VOLUME, GOOD "needs=thin,keys\nname=v", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "'thin', which this cleat lacks: a newer one made it");
	ASSERT_ERR(record_parse(RECORD_VOLUME, GOOD "colour\nname=v", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "name");
}

TEST(keeps_the_owner_that_it_can_hold)
{
	static const struct backend_owner owner = { .cluster = "c-1",
						    .claim_namespace = "two\nlines",
						    .claim_name = "data=x" };
	struct record r = { .bytes = 4096, .name = "v" };
	struct record back;
	char text[RECORD_MAX];
	struct err err;

	record_set_owner(&r, &owner);
	record_format(RECORD_VOLUME, &r, text);
	ASSERT_OK(record_parse(RECORD_VOLUME, text, &back, &err), &err);
	ASSERT_STR(back.cluster, "c-1");
	ASSERT_STR(back.claim_namespace, "");
	ASSERT_STR(back.claim_name, "data=x");
	ASSERT_STR(back.claim_uid, "");
	ASSERT_STR(back.name, "v");
}

TEST(a_state_is_read_and_what_it_needs_refused)
{
	struct state now;
	struct err err;

	ASSERT_OK(state_parse("cleat state 1\n", &now, &err), &err);
	ASSERT_EQ(now.bytes, 0);
	ASSERT_OK(state_parse("cleat state 1\nlimit=5\nbytes=8192\n", &now, &err), &err);
	ASSERT_EQ(now.bytes, 8192);
	ASSERT_ERR(state_parse("cleat state 1\nneeds=thin\n", &now, &err), &err,
		   ERR_FAILED_PRECONDITION, "'thin'");
	ASSERT_ERR(state_parse("cleat state 2\n", &now, &err), &err, ERR_FAILED_PRECONDITION,
		   "version");
	ASSERT_ERR(state_parse("cleat state 1\nbytes=1\n", &now, &err), &err,
		   ERR_FAILED_PRECONDITION, "size");
	ASSERT_ERR(state_parse("cleat state 1\nbytes=4096", &now, &err), &err,
		   ERR_FAILED_PRECONDITION, "end");
}

TEST(a_state_is_written_with_all_that_was_in_it)
{
	static const char text[] = "cleat state 1\n"
				   "thin=1\n"
				   "bytes=8192\n"
				   "iops-limit=500,0\n"
				   "bandwidth-limit=0,20971520\n"
				   "later=a=b\n";
	struct state now, back;
	char out[RECORD_MAX];
	struct err err;

	ASSERT_OK(state_parse(text, &now, &err), &err);
	ASSERT_EQ(now.limits.read_iops, 500);
	ASSERT_EQ(now.limits.write_iops, 0);
	ASSERT_EQ(now.limits.read_bandwidth, 0);
	ASSERT_EQ(now.limits.write_bandwidth, 20971520);
	now.bytes = 12288;
	now.limits.write_iops = 7;
	ASSERT_OK(state_format(&now, out, &err), &err);
	ASSERT_STR(out, "cleat state 1\nbytes=12288\niops-limit=500,7\n"
			"bandwidth-limit=0,20971520\nthin=1\nlater=a=b\n");
	ASSERT_OK(state_parse(out, &back, &err), &err);
	ASSERT_EQ(memcmp(&back, &now, sizeof(now)), 0);
	ASSERT_OK(state_format(&(struct state){ 0 }, out, &err), &err);
	ASSERT_STR(out, "cleat state 1\n");
}

TEST(a_state_with_limits_that_are_none_is_refused)
{
	static const struct {
		const char *text;
		const char *part;
	} cases[] = {
		{ "iops-limit=\n", "requests" },
		{ "iops-limit=5\n", "requests" },
		{ "iops-limit=5,\n", "requests" },
		{ "iops-limit=5,6,7\n", "requests" },
		{ "iops-limit=5,-6\n", "requests" },
		{ "iops-limit=5000000000,0\n", "requests" },
		{ "bandwidth-limit=1,0\n", "bandwidth" },
		{ "bandwidth-limit=0,99999999999999999999999999999999999999999999999999\n",
		  "bandwidth" },
	};
	struct state now;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[128];

		(void)snprintf(text, sizeof(text), "cleat state 1\n%s", cases[i].text);
		ASSERT_ERR(state_parse(text, &now, &err), &err, ERR_FAILED_PRECONDITION,
			   cases[i].part);
	}
}

TEST(a_state_that_is_full_takes_no_more)
{
	char text[RECORD_MAX] = "cleat state 1\nlater=";
	char out[RECORD_MAX];
	struct state now;
	struct err err;
	size_t n = strlen(text);

	memset(text + n, 'x', sizeof(text) - n - 2);
	text[sizeof(text) - 2] = '\n';
	ASSERT_OK(state_parse(text, &now, &err), &err);
	ASSERT_OK(state_format(&now, out, &err), &err);
	ASSERT_STR(out, text);
	now.limits.read_iops = 5;
	ASSERT_ERR(state_format(&now, out, &err), &err, ERR_FAILED_PRECONDITION, "no room");
}

TEST(fits_the_longest_name)
{
	struct record r = { .bytes = UINT64_C(1) << 50, .fs = "ext4", .created_ns = INT64_MAX };
	struct record back;
	char text[RECORD_MAX];
	struct err err;

	memset(r.name, 'n', sizeof(r.name) - 1);
	memset(r.cluster, 'c', sizeof(r.cluster) - 1);
	memset(r.claim_namespace, 's', sizeof(r.claim_namespace) - 1);
	memset(r.claim_name, 'd', sizeof(r.claim_name) - 1);
	memset(r.claim_uid, 'u', sizeof(r.claim_uid) - 1);
	memset(r.source, 't', VOL_TOKEN_OWN_MAX - 1);
	memset(r.group, 'g', VOL_TOKEN_OWN_MAX - 1);
	r.source_kind = BACKEND_SOURCE_SNAPSHOT;
	r.no_reserve = r.is_thin = true;
	record_format(RECORD_VOLUME, &r, text);
	ASSERT_OK(record_parse(RECORD_VOLUME, text, &back, &err), &err);
	ASSERT_STR(back.name, r.name);
	ASSERT_STR(back.claim_uid, r.claim_uid);
	ASSERT_STR(back.source, r.source);
	ASSERT_EQ(back.source_kind, BACKEND_SOURCE_SNAPSHOT);
	record_format(RECORD_SNAPSHOT, &r, text);
	ASSERT_OK(record_parse(RECORD_SNAPSHOT, text, &back, &err), &err);
	ASSERT_STR(back.name, r.name);
	ASSERT_STR(back.claim_uid, r.claim_uid);
	ASSERT_STR(back.group, r.group);
}

TEST(says_what_a_volume_was_made_of_and_that_nothing_is_kept_free)
{
	struct record r;
	struct err err;
	char text[RECORD_MAX];

	ASSERT_OK(record_parse(RECORD_VOLUME, GOOD "name=v", &r, &err), &err);
	ASSERT_EQ(r.source_kind, BACKEND_SOURCE_NONE);
	ASSERT_FALSE(r.no_reserve);
	record_format(RECORD_VOLUME, &r, text);
	ASSERT_STR(text, GOOD "name=v");
	ASSERT_OK(
		record_parse(RECORD_VOLUME, GOOD "source=volume:a\nreserve=none\nname=v", &r, &err),
		&err);
	ASSERT_EQ(r.source_kind, BACKEND_SOURCE_VOLUME);
	ASSERT_STR(r.source, "a");
	ASSERT_TRUE(r.no_reserve);
	ASSERT_ERR(record_parse(RECORD_VOLUME, GOOD "source=a\nname=v", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "source");
	ASSERT_ERR(record_parse(RECORD_VOLUME, GOOD "source=volume:../a\nname=v", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "source");
	ASSERT_ERR(record_parse(RECORD_VOLUME, GOOD "reserve=some\nname=v", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "reserve");
}

TEST(says_that_a_volume_is_thin)
{
	struct record r;
	struct err err;
	char text[RECORD_MAX];

	ASSERT_OK(record_parse(RECORD_VOLUME, GOOD "name=v", &r, &err), &err);
	ASSERT_FALSE(r.is_thin);
	ASSERT_OK(record_parse(RECORD_VOLUME, GOOD "provisioning=thin\nname=v", &r, &err), &err);
	ASSERT_TRUE(r.is_thin && r.no_reserve);
	record_format(RECORD_VOLUME, &r, text);
	ASSERT_STR(text, GOOD "reserve=none\nprovisioning=thin\nname=v");
	ASSERT_ERR(record_parse(RECORD_VOLUME, GOOD "provisioning=some\nname=v", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "provisioning");
}

#define SNAPSHOT                                                                                  \
	"cleat snapshot 1\nbytes=4096\nfs=ext4\ncreated=1\nuuid=" UUID "\npool=" UUID "\nsource=" \
	"v\n"

TEST(a_snapshot_has_a_record_of_its_own)
{
	struct record r;
	struct err err;
	char text[RECORD_MAX];

	ASSERT_OK(record_parse(RECORD_SNAPSHOT, SNAPSHOT "name=s", &r, &err), &err);
	ASSERT_STR(r.source, "v");
	ASSERT_STR(r.group, "");
	record_format(RECORD_SNAPSHOT, &r, text);
	ASSERT_STR(text, SNAPSHOT "name=s");
	ASSERT_OK(record_parse(RECORD_SNAPSHOT, SNAPSHOT "group=g\nname=s", &r, &err), &err);
	ASSERT_STR(r.group, "g");
	ASSERT_ERR(record_parse(RECORD_SNAPSHOT, SNAPSHOT "needs=bricks\nname=s", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "'bricks'");
	ASSERT_ERR(record_parse(RECORD_VOLUME, SNAPSHOT "name=s", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "version");
	ASSERT_ERR(record_parse(RECORD_SNAPSHOT, GOOD "name=v", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "version");
	ASSERT_ERR(record_parse(RECORD_SNAPSHOT,
				"cleat snapshot 1\nbytes=4096\nfs=ext4\ncreated=1\nuuid=" UUID
				"\npool=" UUID "\nname=s",
				&r, &err),
		   &err, ERR_FAILED_PRECONDITION, "source");
}

TEST(a_snapshot_that_is_being_copied_says_how_far_it_is)
{
	static const char *const bad[] = {
		"needs=copying\nname=s",
		"copying=5,4096\nname=s",
		"needs=copying\ncopying=5\nname=s",
		"needs=copying\ncopying=5,4097\nname=s",
		"needs=copying\ncopying=,\nname=s",
		"needs=copying\ncopying=x,4096\nname=s",
		"needs=copyings\ncopying=5,0\nname=s",
	};
	struct record r;
	struct err err;
	char text[RECORD_MAX];

	ASSERT_OK(record_parse(RECORD_SNAPSHOT,
			       SNAPSHOT "needs=copying\ncopying=1764072000000000000,8192\nname=s",
			       &r, &err),
		  &err);
	ASSERT_TRUE(r.is_copying);
	ASSERT_EQ(r.source_changed_ns, INT64_C(1764072000000000000));
	ASSERT_EQ(r.copied_bytes, 8192);
	record_format(RECORD_SNAPSHOT, &r, text);
	ASSERT_TRUE(str_has_prefix(text, "cleat snapshot 1\nneeds=copying\n"));
	ASSERT_OK(record_parse(RECORD_SNAPSHOT, text, &r, &err), &err);
	ASSERT_EQ(r.copied_bytes, 8192);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		(void)snprintf(text, sizeof(text), SNAPSHOT "%s", bad[i]);
		ASSERT_ERR(record_parse(RECORD_SNAPSHOT, text, &r, &err), &err,
			   ERR_FAILED_PRECONDITION, "copying");
	}
	ASSERT_ERR(record_parse(RECORD_VOLUME, GOOD "needs=copying\nname=v", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "copying");
}

TEST(refuses_everything_else)
{
	static const struct {
		const char *text;
		const char *part;
	} cases[] = {
		{ "", "version" },
		{ "cleat 2\nbytes=4096\n", "version" },
		{ "cleat 1", "version" },
		{ "cleat 1\n", "size" },
		{ "cleat 1\nbytes=0\n", "size" },
		{ "cleat 1\nbytes=4097\n", "size" },
		{ "cleat 1\nbytes=-4096\n", "size" },
		{ "cleat 1\nbytes=99999999999999999999\n", "size" },
		{ "cleat 1\nbytes=18446744073709547520\n", "size" },
		{ "cleat 1\nbytes=4096\nfs=zfs\n", "filesystem" },
		{ "cleat 1\nbytes=4096\nfs=abcdefghijkl\n", "filesystem" },
		{ "cleat 1\nbytes=4096\nfs=\nbuffered=2\n", "mode" },
		{ "cleat 1\nbytes=4096\nfs=\nbuffered=0\ncreated=x\n", "time" },
		{ "cleat 1\nbytes=4096\nfs=\nbuffered=0\ncreated=1\nuuid=1\n", "UUID" },
		{ "cleat 1\nbytes=4096\nfs=\nbuffered=0\ncreated=1\nuuid=" UUID "\nname=v",
		  "pool" },
		{ GOOD, "name" },
		{ GOOD "name=", "name" },
		{ "cleat 1\nfs=\nbytes=4096\n", "mode" }, /* in any order */
	};
	struct record r;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_ERR(record_parse(RECORD_VOLUME, cases[i].text, &r, &err), &err,
			   ERR_FAILED_PRECONDITION, cases[i].part);
}

RUN_TESTS(UNIT(keeps_the_owner_that_it_can_hold), UNIT(a_state_is_read_and_what_it_needs_refused),
	  UNIT(a_state_is_written_with_all_that_was_in_it),
	  UNIT(a_state_with_limits_that_are_none_is_refused),
	  UNIT(a_state_that_is_full_takes_no_more), UNIT(reads_what_it_writes),
	  UNIT(passes_over_what_it_does_not_know_and_refuses_what_it_must_know),
	  UNIT(says_what_a_volume_was_made_of_and_that_nothing_is_kept_free),
	  UNIT(says_that_a_volume_is_thin), UNIT(a_snapshot_has_a_record_of_its_own),
	  UNIT(a_snapshot_that_is_being_copied_says_how_far_it_is), UNIT(fits_the_longest_name),
	  UNIT(refuses_everything_else))
