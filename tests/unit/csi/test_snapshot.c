/* SPDX-License-Identifier: Apache-2.0 */
/* CreateSnapshot, DeleteSnapshot, ListSnapshots, GetSnapshot, over the pools "disk" and "ram". */
#include "base/mem.h"
#include "base/str.h"
#include "fixture.h"
#include "volume/snapshot_params.h"

#define ELSEWHERE "00112233445566778899aabbccddeeff"

static int get(struct fixture *f, const char *id, struct csi_snapshot *ret)
{
	struct csi_get_snapshot_response reply;
	int r = csi_get_snapshot(&f->csi, &f->ctx,
				 &(const struct csi_get_snapshot_request){ .snapshot_id = id },
				 &reply, &f->err);

	*ret = reply.snapshot;
	return r;
}

static int list(struct fixture *f, const char *volume, const char *snapshot, const char *token,
		uint32_t max, struct csi_list_snapshots_response *ret)
{
	return csi_list_snapshots(
		&f->csi, &f->ctx,
		&(const struct csi_list_snapshots_request){ .source_volume_id = volume,
							    .snapshot_id = snapshot,
							    .starting_token = token,
							    .max_entries = max },
		ret, &f->err);
}

static size_t count(struct fixture *f, const char *volume, const char *snapshot)
{
	struct csi_list_snapshots_response page;

	ASSERT_OK(list(f, volume, snapshot, "", 0, &page), &f->err);
	ASSERT_STR(page.next_token, "");
	return page.n_entries;
}

static uint64_t controller_caps(struct fixture *f)
{
	struct csi_controller_get_capabilities_response caps;

	ASSERT_OK(csi_controller_get_capabilities(
			  &f->csi, &f->ctx,
			  &(const struct csi_controller_get_capabilities_request){}, &caps,
			  &f->err),
		  &f->err);
	return csi_capability_bits(caps.capabilities, caps.n_capabilities);
}

TEST(what_some_pool_can_is_advertised)
{
	const uint64_t wanted = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT) |
				CSI_CAP_BIT(CSI_CTRL_LIST_SNAPSHOTS) |
				CSI_CAP_BIT(CSI_CTRL_GET_SNAPSHOT) |
				CSI_CAP_BIT(CSI_CTRL_CLONE_VOLUME);
	struct fixture *f = fixture_begin();

	fixture_add_mem(f, GIB);
	ASSERT_TRUE((controller_caps(f) & wanted) == wanted);
	fixture_end(f);
}

TEST(a_snapshot_is_told_as_it_is)
{
	struct fixture *f = fixture_begin();
	struct csi_snapshot snap;
	const char *volume, *id;

	fixture_add_mem(f, GIB);
	volume = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	id = do_snapshot(f, "s", volume);
	ASSERT_TRUE(id != NULL);
	ASSERT_TRUE(str_has_prefix(id, "s1-") && str_has_suffix(id, "-s"));
	ASSERT_OK(get(f, id, &snap), &f->err);
	ASSERT_STR(snap.snapshot_id, id);
	ASSERT_STR(snap.source_volume_id, volume);
	ASSERT_TRUE(snap.size_bytes == 64 * MIB);
	ASSERT_TRUE(snap.has_creation_time && snap.creation_time.seconds > 0);
	ASSERT_TRUE(snap.creation_time.nanos >= 0 && snap.creation_time.nanos < 1000000000);
	ASSERT_TRUE(snap.ready_to_use);
	ASSERT_STR(snap.group_snapshot_id, "");
	fixture_end(f);
}

TEST(a_name_is_one_snapshot_of_one_volume)
{
	struct fixture *f = fixture_begin();
	const char *one, *two, *id;

	fixture_add_mem(f, GIB);
	one = do_create_in_ram(f, "one", &cap_mount, 64 * MIB);
	two = do_create_in_ram(f, "two", &cap_mount, 64 * MIB);
	id = do_snapshot(f, "s", one);
	ASSERT_STR(do_snapshot(f, "s", one), id);
	ASSERT_TRUE(!do_snapshot(f, "s", two) && f->err.code == ERR_ALREADY_EXISTS);
	/* nor of one in another pool */
	ASSERT_OK(do_create(f, "three", &cap_mount, 64 * MIB), &f->err);
	registry_find_name(f->pools, "disk")->caps |= BACKEND_SNAPSHOT;
	ASSERT_TRUE(!do_snapshot(f, "s", f->id) && f->err.code == ERR_ALREADY_EXISTS);
	ASSERT_TRUE(strstr(f->err.msg, "exists in pool 'ram', of volume") != NULL &&
		    strstr(f->err.msg, one) != NULL);
	/* a volume may be called so too */
	ASSERT_TRUE(do_create_in_ram(f, "s", &cap_mount, 64 * MIB) != NULL);
	fixture_end(f);
}

TEST(a_snapshot_outlives_its_volume)
{
	struct fixture *f = fixture_begin();
	struct csi_snapshot snap;
	const char *volume, *id;

	fixture_add_mem(f, GIB);
	volume = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	id = do_snapshot(f, "s", volume);
	f->id = volume;
	ASSERT_OK(do_delete(f), &f->err);
	ASSERT_OK(get(f, id, &snap), &f->err);
	ASSERT_STR(snap.source_volume_id, volume);
	ASSERT_EQ(count(f, volume, ""), 1);
	ASSERT_STR(do_snapshot(f, "s", volume), id);
	ASSERT_TRUE(!do_snapshot(f, "t", volume) && f->err.code == ERR_NOT_FOUND);
	fixture_end(f);
}

TEST(deleting_what_is_not_there_is_fine)
{
	struct fixture *f = fixture_begin();
	const char *id;

	fixture_add_mem(f, GIB);
	id = do_snapshot(f, "s", do_create_in_ram(f, "v", &cap_mount, 64 * MIB));
	ASSERT_OK(do_delete_snapshot(f, id), &f->err);
	ASSERT_OK(do_delete_snapshot(f, id), &f->err);
	ASSERT_OK(do_delete_snapshot(f, "some-other-drivers-id"), &f->err);
	ASSERT_EQ(count(f, "", ""), 0);
	ASSERT_ERR(do_delete_snapshot(f, ""), &f->err, ERR_INVALID_ARGUMENT, "snapshot_id");
	ASSERT_ERR(do_delete_snapshot(f, "s1-" ELSEWHERE "-s"), &f->err, ERR_UNAVAILABLE,
		   "snapshot 's1-" ELSEWHERE "-s': its pool is not on this node");
	ASSERT_ERR(do_delete_snapshot(f, "s2-" ELSEWHERE "-s"), &f->err, ERR_FAILED_PRECONDITION,
		   "another version");
	fixture_end(f);
}

TEST(bad_arguments_are_named)
{
	static const struct {
		const char *name, *volume, *key, *value;
		enum err_code code;
		const char *say;
	} cases[] = {
		{ "", "v", NULL, NULL, ERR_INVALID_ARGUMENT, "name: required" },
		{ "s", "", NULL, NULL, ERR_INVALID_ARGUMENT, "source_volume_id: required" },
		{ "a\x07", "v", NULL, NULL, ERR_INVALID_ARGUMENT, "name: has a control character" },
		{ "s", "fake", NULL, NULL, ERR_NOT_FOUND, "source_volume_id" },
		{ "s", "v1-" ELSEWHERE "-v", NULL, NULL, ERR_UNAVAILABLE, "not on this node" },
		{ "s", "v2-" ELSEWHERE "-v", NULL, NULL, ERR_FAILED_PRECONDITION, "version" },
		{ "s", "v", "Freeze", "true", ERR_INVALID_ARGUMENT, "'freeze'" },
		{ "s", "v", "freeze", "1", ERR_INVALID_ARGUMENT, "freeze: '1'" },
	};
	struct fixture *f = fixture_begin();
	const char *volume;

	fixture_add_mem(f, GIB);
	volume = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct strpair pair = { cases[i].key, cases[i].value };
		struct csi_create_snapshot_request req = {
			.name = cases[i].name,
			.source_volume_id =
				str_is_equal(cases[i].volume, "v") ? volume : cases[i].volume,
			.parameters = { &pair, cases[i].key ? 1 : 0 },
		};
		struct csi_create_snapshot_response reply;

		ASSERT_ERR(csi_create_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err,
			   cases[i].code, cases[i].say);
	}
	ASSERT_EQ(count(f, "", ""), 0);
	fixture_end(f);
}

TEST(a_pool_without_snapshots_says_so)
{
	struct fixture *f = fixture_begin();
	const char *volume, *id;
	struct csi_snapshot snap;

	fixture_add_mem(f, GIB);
	volume = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	id = do_snapshot(f, "s", volume);
	fixture_take_caps(f, "ram", BACKEND_SNAPSHOT);
	ASSERT_TRUE(!do_snapshot(f, "t", volume) && f->err.code == ERR_FAILED_PRECONDITION);
	ASSERT_TRUE(strstr(f->err.msg, "pool 'ram' (mem), which cannot make snapshots") != NULL);
	ASSERT_ERR(get(f, id, &snap), &f->err, ERR_NOT_FOUND, "has no snapshots");
	ASSERT_OK(do_delete_snapshot(f, id), &f->err);
	ASSERT_EQ(count(f, volume, ""), 0);
	fixture_end(f);
}

TEST(the_class_and_the_owner_reach_the_backend)
{
	struct strpair pairs[] = {
		{ "freeze", "true" },
		{ "maxExtents", "7" },
		{ "whenFragmented", "refuse" },
		{ "csi.storage.k8s.io/volumesnapshot/name", "daily" },
		{ "csi.storage.k8s.io/volumesnapshot/namespace", "shop" },
		{ "csi.storage.k8s.io/volumesnapshotcontent/name",
		  "snapcontent-0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e" },
	};
	struct fixture *f = fixture_begin();
	struct csi_create_snapshot_request req = { .name = "s" };
	struct csi_create_snapshot_response reply;
	struct spy *spy;

	fixture_add_mem(f, GIB);
	req.source_volume_id = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	spy = fixture_spy(f);
	ASSERT_OK(csi_create_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err);
	ASSERT_FALSE(spy->options.freeze);
	ASSERT_TRUE(spy->options.max_extents == VOL_SNAPSHOT_MAX_EXTENTS &&
		    spy->options.copy_above);
	req.parameters = (struct strmap){ pairs, ARRAY_LEN(pairs) };
	ASSERT_OK(csi_create_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err);
	ASSERT_TRUE(spy->options.freeze);
	ASSERT_TRUE(spy->options.max_extents == 7 && !spy->options.copy_above);
	ASSERT_STR(spy->owner[0], "shop");
	ASSERT_STR(spy->owner[1], "daily");
	ASSERT_STR(spy->owner[2], "0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e");
	fixture_end(f);
}

TEST(a_snapshot_wanted_elsewhere_is_not_made)
{
	struct fixture *f = fixture_begin();
	struct strpair elsewhere = { "d.test/" ELSEWHERE, "here" };
	struct vol_topology other = { { &elsewhere, 1 } };
	struct csi_create_snapshot_request req = { .name = "s" };
	struct csi_create_snapshot_response reply;

	fixture_add_mem(f, GIB);
	req.source_volume_id = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	req.accessibility_requirements.requisite = (struct vol_topologies){ &other, 1 };
	ASSERT_ERR(csi_create_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err,
		   ERR_RESOURCE_EXHAUSTED, "its pool 'ram'");
	req.accessibility_requirements.requisite = (struct vol_topologies){ NULL, 0 };
	req.accessibility_requirements.preferred = (struct vol_topologies){ &other, 1 };
	ASSERT_OK(csi_create_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err);
	fixture_end(f);
}

static const char *volume_of_all;

static void meet_others(struct fixture *f)
{
	struct csi_snapshot snap;

	ASSERT_TRUE(!do_snapshot(f, "s", volume_of_all) && f->err.code == ERR_ABORTED);
	ASSERT_TRUE(strstr(f->err.msg, "CreateSnapshot has been running on snapshot 's'") != NULL);
	ASSERT_ERR(do_delete_snapshot(
			   f, str_has_prefix(volume_of_all, "v1-")
				      ? arena_printf(f->ctx.arena, "s1-%.33ss", volume_of_all + 3)
				      : ""),
		   &f->err, ERR_ABORTED, "CreateSnapshot");
	/* neither the volume nor one of the snapshot's name is held up */
	ASSERT_TRUE(do_create_in_ram(f, "s", &cap_mount, 64 * MIB) != NULL);
	ASSERT_TRUE(do_snapshot(f, "t", volume_of_all) != NULL);
	ASSERT_ERR(get(f, "s", &snap), &f->err, ERR_NOT_FOUND, "snapshot_id");
}

TEST(one_call_at_a_time_is_on_a_snapshot)
{
	struct fixture *f = fixture_begin();
	struct spy *spy;

	fixture_add_mem(f, GIB);
	volume_of_all = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	spy = fixture_spy(f);
	spy->during = meet_others;
	ASSERT_TRUE(do_snapshot(f, "s", volume_of_all) != NULL);
	ASSERT_TRUE(do_snapshot(f, "s", volume_of_all) != NULL);
	ASSERT_EQ(count(f, "", ""), 2);
	fixture_end(f);
}

TEST(lists_are_filtered)
{
	struct fixture *f = fixture_begin();
	const char *one, *two, *a, *b;

	fixture_add_mem(f, GIB);
	one = do_create_in_ram(f, "one", &cap_mount, 64 * MIB);
	two = do_create_in_ram(f, "two", &cap_mount, 64 * MIB);
	a = do_snapshot(f, "a", one);
	b = do_snapshot(f, "b", two);
	ASSERT_TRUE(a && b && do_snapshot(f, "c", one));
	ASSERT_EQ(count(f, "", ""), 3);
	ASSERT_EQ(count(f, one, ""), 2);
	ASSERT_EQ(count(f, two, ""), 1);
	ASSERT_EQ(count(f, "", b), 1);
	ASSERT_EQ(count(f, two, b), 1);
	ASSERT_EQ(count(f, one, b), 0);
	/* of what is not there: nothing */
	ASSERT_EQ(count(f, "fake-vol-id", ""), 0);
	ASSERT_EQ(count(f, "", "fake-snap-id"), 0);
	ASSERT_EQ(count(f, "fake-vol-id", a), 0);
	ASSERT_OK(do_delete_snapshot(f, b), &f->err);
	ASSERT_EQ(count(f, "", b), 0);
	ASSERT_EQ(count(f, two, ""), 0);
	fixture_end(f);
}

/* Two pools, a volume "v" in each: the filter is the pool's, too. */
TEST(volumes_of_one_token_in_two_pools_are_two)
{
	struct fixture *f = fixture_begin();
	const char *volume, *snap;

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	fixture_add_mem(f, GIB);
	fake_host_unlink("v"); /* so that the name is free for a moment */
	volume = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	snap = do_snapshot(f, "s", volume);
	ASSERT_TRUE(snap != NULL);
	ASSERT_EQ(count(f, volume, ""), 1);
	ASSERT_EQ(count(f, f->id, ""), 0);
	ASSERT_EQ(count(f, f->id, snap), 0);
	fixture_end(f);
}

TEST(what_lies_in_a_pool_that_is_not_here_is_not_called_gone)
{
	struct fixture *f = fixture_begin();
	const struct backend_config gone = { .kind = "pool", .name = "gone", .dir = "/gone" };
	struct csi_list_snapshots_response page;
	struct csi_snapshot snap;

	fixture_add_mem(f, GIB);
	registry_miss(f->pools, &gone, "no such disk");
	ASSERT_ERR(list(f, "v1-" ELSEWHERE "-v", "", "", 0, &page), &f->err, ERR_UNAVAILABLE,
		   "no such disk");
	ASSERT_ERR(list(f, "", "s1-" ELSEWHERE "-s", "", 0, &page), &f->err, ERR_UNAVAILABLE,
		   "no such disk");
	ASSERT_ERR(get(f, "s1-" ELSEWHERE "-s", &snap), &f->err, ERR_UNAVAILABLE, "no such disk");
	fixture_end(f);
}

TEST(lists_come_in_pages)
{
	static const char *const names[] = { "a", "b", "c", "d", "e" };
	struct fixture *f = fixture_begin();
	struct csi_list_snapshots_response page;
	const char *token = "", *volume;
	size_t n = 0;

	fixture_add_mem(f, GIB);
	volume = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		ASSERT_TRUE(do_snapshot(f, names[i], volume) != NULL);
	do {
		ASSERT_OK(list(f, n < 3 ? "" : volume, "", token, 2, &page), &f->err);
		for (size_t i = 0; i < page.n_entries; i++, n++)
			ASSERT_TRUE(str_has_suffix(page.entries[i].snapshot.snapshot_id, names[n]));
		token = page.next_token;
		/* the token stays good when its snapshot goes */
		if (n == 2)
			ASSERT_OK(do_delete_snapshot(f, token), &f->err);
	} while (*token);
	ASSERT_EQ(n, 5);
	ASSERT_OK(list(f, "", "", "", 2, &page), &f->err);
	ASSERT_OK(list(f, "", "", page.next_token, 0, &page), &f->err);
	ASSERT_EQ(page.n_entries, 2);
	ASSERT_STR(page.next_token, "");
	fixture_end(f);
}

TEST(a_bad_token_is_aborted)
{
	static const char *const tokens[] = { "invalid-token", "s1-" ELSEWHERE "-a",
					      "v1-" ELSEWHERE "-a" };
	struct fixture *f = fixture_begin();
	struct csi_list_snapshots_response page;
	const char *snap;

	fixture_add_mem(f, GIB);
	for (size_t i = 0; i < ARRAY_LEN(tokens); i++)
		ASSERT_ERR(list(f, "", "", tokens[i], 0, &page), &f->err, ERR_ABORTED,
			   "starting_token");
	snap = do_snapshot(f, "s", do_create_in_ram(f, "v", &cap_mount, 64 * MIB));
	ASSERT_ERR(list(f, "", snap, snap, 0, &page), &f->err, ERR_ABORTED, "starting_token");
	fixture_end(f);
}

static void spoil(struct backend_snapshot *snap)
{
	if (!str_is_equal(snap->token, "bad"))
		return;
	snap->is_damaged = true;
	(void)snprintf(snap->damage, sizeof(snap->damage), "two links");
}

TEST(damaged_snapshots_are_told_and_not_listed)
{
	struct fixture *f = fixture_begin();
	struct csi_list_snapshots_response page;
	struct csi_snapshot snap;
	const char *volume, *bad;

	fixture_add_mem(f, GIB);
	volume = do_create_in_ram(f, "v", &cap_mount, 64 * MIB);
	bad = do_snapshot(f, "bad", volume);
	ASSERT_TRUE(bad && do_snapshot(f, "good", volume));
	fixture_spy(f)->change = spoil;
	ASSERT_EQ(count(f, "", ""), 1);
	ASSERT_ERR(get(f, bad, &snap), &f->err, ERR_DATA_LOSS, "damaged: two links");
	ASSERT_ERR(list(f, "", bad, "", 0, &page), &f->err, ERR_DATA_LOSS, "damaged: two links");
	fixture_end(f);
}

static void put_in_group(struct backend_snapshot *snap)
{
	snap->is_ready = false;
	(void)snprintf(snap->group, sizeof(snap->group), "weekly");
}

TEST(a_member_names_its_group)
{
	struct fixture *f = fixture_begin();
	struct csi_list_snapshots_response page;
	struct csi_snapshot snap;
	const char *id;

	fixture_add_mem(f, GIB);
	id = do_snapshot(f, "s", do_create_in_ram(f, "v", &cap_mount, 64 * MIB));
	fixture_spy(f)->change = put_in_group;
	ASSERT_OK(get(f, id, &snap), &f->err);
	ASSERT_TRUE(str_has_prefix(snap.group_snapshot_id, "g1-") &&
		    str_has_suffix(snap.group_snapshot_id, "-weekly"));
	ASSERT_FALSE(snap.ready_to_use);
	ASSERT_OK(list(f, "", id, "", 0, &page), &f->err);
	ASSERT_STR(page.entries[0].snapshot.group_snapshot_id, snap.group_snapshot_id);
	fixture_end(f);
}

RUN_TESTS(UNIT(what_some_pool_can_is_advertised), UNIT(a_snapshot_is_told_as_it_is),
	  UNIT(a_name_is_one_snapshot_of_one_volume), UNIT(a_snapshot_outlives_its_volume),
	  UNIT(deleting_what_is_not_there_is_fine), UNIT(bad_arguments_are_named),
	  UNIT(a_pool_without_snapshots_says_so), UNIT(the_class_and_the_owner_reach_the_backend),
	  UNIT(a_snapshot_wanted_elsewhere_is_not_made), UNIT(one_call_at_a_time_is_on_a_snapshot),
	  UNIT(lists_are_filtered), UNIT(volumes_of_one_token_in_two_pools_are_two),
	  UNIT(what_lies_in_a_pool_that_is_not_here_is_not_called_gone), UNIT(lists_come_in_pages),
	  UNIT(a_bad_token_is_aborted), UNIT(damaged_snapshots_are_told_and_not_listed),
	  UNIT(a_member_names_its_group))
