/* SPDX-License-Identifier: Apache-2.0 */
/* The GroupController over the pools "disk" and "ram". */
#include "base/mem.h"
#include "base/str.h"
#include "fixture.h"

#define ELSEWHERE "00112233445566778899aabbccddeeff"

static struct csi_volume_group_snapshot group; /* of the last call that succeeded */

static int take_of(struct fixture *f, const char *name, const char *const *ids, size_t n)
{
	const struct csi_create_volume_group_snapshot_request req = { .name = name,
								      .source_volume_ids = ids,
								      .n_source_volume_ids = n };
	struct csi_create_volume_group_snapshot_response reply;

	if (csi_create_volume_group_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err) < 0)
		return -1;
	group = reply.group_snapshot;
	return 0;
}

static int take(struct fixture *f, const char *one, const char *two)
{
	return take_of(f, "g", (const char *const[]){ one, two }, 2);
}

static int get(struct fixture *f, const char *id, const char *const *members, size_t n)
{
	const struct csi_get_volume_group_snapshot_request req = { .group_snapshot_id = id,
								   .snapshot_ids = members,
								   .n_snapshot_ids = n };
	struct csi_get_volume_group_snapshot_response reply;

	if (csi_get_volume_group_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err) < 0)
		return -1;
	group = reply.group_snapshot;
	return 0;
}

static int delete_group(struct fixture *f, const char *id, const char *const *members, size_t n)
{
	const struct csi_delete_volume_group_snapshot_request req = { .group_snapshot_id = id,
								      .snapshot_ids = members,
								      .n_snapshot_ids = n };
	struct csi_delete_volume_group_snapshot_response reply;

	return csi_delete_volume_group_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err);
}

static size_t n_snapshots(struct fixture *f)
{
	const struct csi_list_snapshots_request req = { .snapshot_id = "",
							.source_volume_id = "",
							.starting_token = "" };
	struct csi_list_snapshots_response page;

	ASSERT_OK(csi_list_snapshots(&f->csi, &f->ctx, &req, &page, &f->err), &f->err);
	for (size_t i = 0; i < page.n_entries; i++)
		ASSERT_STR(page.entries[i].snapshot.group_snapshot_id, group.group_snapshot_id);
	return page.n_entries;
}

/* "v" and "w" on the disk. */
static struct fixture *begin(const char *ids[2])
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ids[0] = f->id;
	ASSERT_OK(do_create(f, "w", &cap_block, 64 * MIB), &f->err);
	ids[1] = f->id;
	return f;
}

static uint64_t plugin_caps(struct fixture *f)
{
	const struct csi_get_plugin_capabilities_request req = {};
	struct csi_get_plugin_capabilities_response caps;

	ASSERT_OK(csi_get_plugin_capabilities(&f->csi, &f->ctx, &req, &caps, &f->err), &f->err);
	return csi_capability_bits(caps.capabilities, caps.n_capabilities);
}

static uint64_t group_caps(struct fixture *f)
{
	const struct csi_group_controller_get_capabilities_request req = {};
	struct csi_group_controller_get_capabilities_response caps;

	ASSERT_OK(csi_group_controller_get_capabilities(&f->csi, &f->ctx, &req, &caps, &f->err),
		  &f->err);
	return csi_capability_bits(caps.capabilities, caps.n_capabilities);
}

TEST(is_offered_if_a_pool_can)
{
	const uint64_t service = CSI_CAP_BIT(CSI_PLUGIN_GROUP_CONTROLLER_SERVICE);
	const char *ids[2];
	struct fixture *f = begin(ids);

	ASSERT_TRUE((plugin_caps(f) & service) == service);
	ASSERT_TRUE(group_caps(f) ==
		    CSI_CAP_BIT(CSI_GROUP_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT));
	fixture_take_caps(f, "disk", BACKEND_GROUP);
	ASSERT_ERR(take(f, ids[0], ids[1]), &f->err, ERR_FAILED_PRECONDITION,
		   "pool 'disk' (pool), which cannot");
	fixture_end(f);
}

TEST(a_group_is_told_as_it_is)
{
	const char *ids[2], *members[2], *id;
	struct fixture *f = begin(ids);

	ASSERT_OK(take(f, ids[1], ids[0]), &f->err);
	id = group.group_snapshot_id;
	ASSERT_TRUE(str_has_prefix(id, "g1-") && str_has_suffix(id, "-g"));
	ASSERT_EQ(group.n_snapshots, 2);
	ASSERT_TRUE(group.ready_to_use && group.has_creation_time);
	for (size_t i = 0; i < 2; i++) {
		const struct csi_snapshot *s = &group.snapshots[i];

		members[i] = s->snapshot_id;
		ASSERT_STR(s->source_volume_id, ids[i]);
		ASSERT_STR(s->group_snapshot_id, id);
		ASSERT_TRUE(s->ready_to_use && s->size_bytes == 64 * MIB);
		ASSERT_EQ(s->creation_time.seconds, group.creation_time.seconds);
		ASSERT_EQ(s->creation_time.nanos, group.creation_time.nanos);
	}
	ASSERT_OK(get(f, id, (const char *const[]){ members[1], members[0] }, 2), &f->err);
	ASSERT_STR(group.group_snapshot_id, id);
	ASSERT_EQ(group.n_snapshots, 2);
	ASSERT_EQ(n_snapshots(f), 2);
	ASSERT_OK(delete_group(f, id, members, 2), &f->err);
	ASSERT_EQ(n_snapshots(f), 0);
	ASSERT_OK(delete_group(f, id, members, 2), &f->err);
	ASSERT_ERR(get(f, id, members, 2), &f->err, ERR_NOT_FOUND, id);
	fixture_end(f);
}

TEST(a_name_is_one_group_of_one_set_of_volumes)
{
	const char *ids[2], *ram[2], *id;
	struct fixture *f = begin(ids);

	fixture_add_mem(f, GIB);
	ram[0] = do_create_in_ram(f, "x", &cap_mount, 64 * MIB);
	ram[1] = do_create_in_ram(f, "y", &cap_mount, 64 * MIB);
	ASSERT_OK(take(f, ids[0], ids[1]), &f->err);
	id = group.group_snapshot_id;
	ASSERT_OK(take(f, ids[1], ids[0]), &f->err);
	ASSERT_STR(group.group_snapshot_id, id);
	ASSERT_ERR(take_of(f, "g", ids, 1), &f->err, ERR_ALREADY_EXISTS, "other volumes");
	ASSERT_ERR(take(f, ram[0], ram[1]), &f->err, ERR_ALREADY_EXISTS, "exists in pool 'disk'");
	fixture_end(f);
}

TEST(a_group_lies_in_one_pool)
{
	const char *ids[2], *ram;
	char elsewhere[VOL_ID_MAX];
	struct fixture *f = begin(ids);

	fixture_add_mem(f, GIB);
	ram = do_create_in_ram(f, "x", &cap_mount, 64 * MIB);
	ASSERT_ERR(take(f, ids[0], ram), &f->err, ERR_FAILED_PRECONDITION,
		   "have to be in one pool");
	ASSERT_TRUE(strstr(f->err.msg, ids[0]) && strstr(f->err.msg, "in pool 'disk'"));
	ASSERT_TRUE(strstr(f->err.msg, ram) && strstr(f->err.msg, "in pool 'ram'"));
	(void)snprintf(elsewhere, sizeof(elsewhere), "v1-" ELSEWHERE "-x");
	ASSERT_ERR(take(f, ids[0], elsewhere), &f->err, ERR_FAILED_PRECONDITION,
		   "not on this node");
	ASSERT_ERR(take_of(f, "g", (const char *const[]){ elsewhere }, 1), &f->err, ERR_UNAVAILABLE,
		   elsewhere);
	ASSERT_EQ(n_snapshots(f), 0);
	fixture_end(f);
}

TEST(one_bad_volume_is_named_and_nothing_made)
{
	const char *ids[2];
	char unknown[VOL_ID_MAX];
	struct fixture *f = begin(ids);

	ASSERT_ERR(take(f, ids[0], ids[0]), &f->err, ERR_INVALID_ARGUMENT, "named twice");
	ASSERT_TRUE(strstr(f->err.msg, ids[0]) != NULL);
	ASSERT_ERR(take(f, ids[0], "nothing"), &f->err, ERR_NOT_FOUND, "'nothing'");
	(void)snprintf(unknown, sizeof(unknown), "%.36sx", ids[0]);
	ASSERT_ERR(take(f, ids[0], unknown), &f->err, ERR_NOT_FOUND, "volume 'x'");
	ASSERT_ERR(take_of(f, "g", NULL, 0), &f->err, ERR_INVALID_ARGUMENT, "source_volume_ids");
	ASSERT_ERR(take_of(f, "", ids, 2), &f->err, ERR_INVALID_ARGUMENT, "name");
	f->id = ids[1];
	ASSERT_OK(do_stage(f, "/s2", &cap_block), &f->err);
	ASSERT_ERR(take(f, ids[0], ids[1]), &f->err, ERR_FAILED_PRECONDITION, "volume 'w'");
	ASSERT_EQ(n_snapshots(f), 0);
	ASSERT_OK(do_unstage(f, "/s2"), &f->err);
	ASSERT_OK(take(f, ids[0], ids[1]), &f->err);
	fixture_end(f);
}

TEST(a_group_has_a_largest_size)
{
	const char *ids[BACKEND_GROUP_MAX + 1];
	struct fixture *f = fixture_begin();

	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		ids[i] = arena_printf(f->ctx.arena, "v1-" ELSEWHERE "-v%zu", i);
	ASSERT_ERR(take_of(f, "g", ids, ARRAY_LEN(ids)), &f->err, ERR_INVALID_ARGUMENT,
		   "129 volumes, a group has 128 at most");
	fixture_end(f);
}

TEST(who_knows_other_members_gets_nothing)
{
	const char *ids[2], *members[3], *id;
	struct fixture *f = begin(ids);

	ASSERT_OK(take(f, ids[0], ids[1]), &f->err);
	id = group.group_snapshot_id;
	members[0] = group.snapshots[0].snapshot_id;
	members[1] = group.snapshots[1].snapshot_id;
	members[2] = do_snapshot(f, "s", ids[0]);
	for (size_t n = 0; n <= 3; n++) {
		if (n == 2)
			continue;
		ASSERT_ERR(get(f, id, members, n), &f->err, ERR_INVALID_ARGUMENT, "snapshot_ids");
		ASSERT_ERR(delete_group(f, id, members, n), &f->err, ERR_INVALID_ARGUMENT,
			   members[n < 2 ? n : 2]);
	}
	ASSERT_OK(do_delete_snapshot(f, members[2]), &f->err);
	ASSERT_EQ(n_snapshots(f), 2);
	ASSERT_TRUE(do_delete_snapshot(f, members[0]) < 0);
	ASSERT_EQ(f->err.code, ERR_INVALID_ARGUMENT);
	ASSERT_OK(delete_group(f, id, members, 2), &f->err);
	fixture_end(f);
}

TEST(ids_that_name_no_group)
{
	static const struct {
		const char *id;
		enum err_code get, remove;
	} cases[] = {
		{ "", ERR_INVALID_ARGUMENT, ERR_INVALID_ARGUMENT },
		{ "nothing", ERR_NOT_FOUND, ERR_OK },
		{ "s1-" ELSEWHERE "-g", ERR_NOT_FOUND, ERR_OK },
		{ "g1-" ELSEWHERE "-g", ERR_UNAVAILABLE, ERR_UNAVAILABLE },
		{ "g2-" ELSEWHERE "-g", ERR_FAILED_PRECONDITION, ERR_FAILED_PRECONDITION },
	};
	struct fixture *f = fixture_begin();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ASSERT_EQ(get(f, cases[i].id, NULL, 0), -1);
		ASSERT_EQ(f->err.code, cases[i].get);
		ASSERT_EQ(delete_group(f, cases[i].id, NULL, 0),
			  cases[i].remove == ERR_OK ? 0 : -1);
		if (cases[i].remove != ERR_OK)
			ASSERT_EQ(f->err.code, cases[i].remove);
	}
	fixture_end(f);
}

TEST(a_volume_is_made_of_a_member)
{
	const char *ids[2], *members[2], *id;
	struct fixture *f = begin(ids);
	struct csi_create_volume_request req = { .name = "c",
						 .volume_capabilities = &cap_mount,
						 .n_volume_capabilities = 1,
						 .has_volume_content_source = true };
	struct csi_create_volume_response reply;

	ASSERT_OK(take(f, ids[0], ids[1]), &f->err);
	id = group.group_snapshot_id;
	members[0] = group.snapshots[0].snapshot_id;
	members[1] = group.snapshots[1].snapshot_id;
	req.volume_content_source.kind = CSI_SOURCE_SNAPSHOT;
	req.volume_content_source.id = members[0];
	ASSERT_OK(csi_create_volume(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err);
	ASSERT_OK(delete_group(f, id, members, 2), &f->err);
	ASSERT_EQ(n_snapshots(f), 0);
	fixture_end(f);
}

RUN_TESTS(UNIT(is_offered_if_a_pool_can), UNIT(a_group_is_told_as_it_is),
	  UNIT(a_name_is_one_group_of_one_set_of_volumes), UNIT(a_group_lies_in_one_pool),
	  UNIT(one_bad_volume_is_named_and_nothing_made), UNIT(a_group_has_a_largest_size),
	  UNIT(who_knows_other_members_gets_nothing), UNIT(ids_that_name_no_group),
	  UNIT(a_volume_is_made_of_a_member))
