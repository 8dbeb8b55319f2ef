/* SPDX-License-Identifier: Apache-2.0 */
/* CreateVolume from a snapshot and from a volume, and what NodeStage makes of it. */
#include "base/mem.h"
#include "base/str.h"
#include "fake/host_usage.h"
#include "fixture.h"
#include "volume/topology.h"

#define ELSEWHERE "00112233445566778899aabbccddeeff"

static struct vol_capability with_fs(const char *fs)
{
	struct vol_capability cap = cap_mount;

	cap.fs_type = fs;
	return cap;
}

static struct csi_create_volume_request request(const char *name, const struct vol_capability *cap,
						unsigned kind, const char *source)
{
	return (struct csi_create_volume_request){ .name = name,
						   .volume_capabilities = cap,
						   .n_volume_capabilities = 1,
						   .has_volume_content_source = true,
						   .volume_content_source = { kind, source } };
}

static int create(struct fixture *f, const struct csi_create_volume_request *req,
		  struct csi_volume *vol)
{
	struct csi_create_volume_response reply;
	int r = csi_create_volume(&f->csi, &f->ctx, req, &reply, &f->err);

	*vol = reply.volume;
	return r;
}

static void assert_source(const struct csi_volume *vol, unsigned kind, const char *id)
{
	ASSERT_TRUE(vol->has_content_source);
	ASSERT_EQ(vol->content_source.kind, kind);
	ASSERT_STR(vol->content_source.id, id);
}

/* The pool "ram", a volume "v" of an xfs of 512 MiB in it, and its snapshot "s". */
static const char *the_volume, *the_snapshot;
static struct fixture *begin(void)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability xfs = with_fs("xfs");

	fixture_add_mem(f, 20 * GIB);
	the_volume = do_create_in_ram(f, "v", &xfs, 512 * MIB);
	the_snapshot = do_snapshot(f, "s", the_volume);
	ASSERT_TRUE(the_snapshot != NULL);
	return f;
}

TEST(a_copy_is_where_and_what_its_source_is)
{
	struct fixture *f = begin();
	const struct {
		unsigned kind;
		const char *id;
	} sources[] = { { CSI_SOURCE_SNAPSHOT, the_snapshot }, { CSI_SOURCE_VOLUME, the_volume } };
	const struct vol_capability cap = with_fs("");

	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		struct csi_create_volume_request req =
			request(i ? "w1" : "w0", &cap, sources[i].kind, sources[i].id);
		struct csi_controller_get_volume_response got;
		struct csi_list_volumes_response list;
		struct csi_volume vol, again;

		ASSERT_OK(create(f, &req, &vol), &f->err);
		ASSERT_TRUE(strncmp(vol.volume_id, the_volume, strlen("v1-") + 32) == 0);
		ASSERT_TRUE(vol.capacity_bytes == 512 * MIB);
		ASSERT_STR(strmap_find(&vol.volume_context, "filesystem"), "xfs");
		assert_source(&vol, sources[i].kind, sources[i].id);
		ASSERT_OK(create(f, &req, &again), &f->err);
		ASSERT_STR(again.volume_id, vol.volume_id);
		assert_source(&again, sources[i].kind, sources[i].id);
		ASSERT_OK(
			csi_controller_get_volume(&f->csi, &f->ctx,
						  &(const struct csi_controller_get_volume_request){
							  .volume_id = vol.volume_id },
						  &got, &f->err),
			&f->err);
		assert_source(&got.volume, sources[i].kind, sources[i].id);
		ASSERT_OK(csi_list_volumes(
				  &f->csi, &f->ctx,
				  &(const struct csi_list_volumes_request){ .starting_token = "" },
				  &list, &f->err),
			  &f->err);
		ASSERT_FALSE(list.entries[0].volume.has_content_source);
		assert_source(&list.entries[i + 1].volume, sources[i].kind, sources[i].id);
	}
	fixture_end(f);
}

TEST(sizes_are_the_sources_or_more)
{
	static const struct {
		uint64_t required, limit, want;
		const char *say;
	} cases[] = {
		{ 0, 0, 512 * MIB, NULL },
		{ 0, GIB, 512 * MIB, NULL },
		{ 512 * MIB, 512 * MIB, 512 * MIB, NULL },
		{ GIB, 0, GIB, NULL },
		{ 511 * MIB, 0, 0, "required_bytes: 511Mi is less than the source has, 512Mi" },
		{ 0, 511 * MIB, 0, "limit_bytes: 511Mi is less than the source has, 512Mi" },
		{ 400 * MIB, 500 * MIB, 0, "512Mi" },
	};
	struct fixture *f = begin();
	const struct vol_capability cap = with_fs("xfs");

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct csi_create_volume_request req =
			request(arena_printf(f->ctx.arena, "w%zu", i), &cap, CSI_SOURCE_SNAPSHOT,
				the_snapshot);
		struct csi_volume vol;

		req.capacity_range = (struct vol_range){ cases[i].required, cases[i].limit };
		if (!cases[i].say) {
			ASSERT_OK(create(f, &req, &vol), &f->err);
			ASSERT_TRUE(vol.capacity_bytes == cases[i].want);
			continue;
		}
		ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_OUT_OF_RANGE, cases[i].say);
		ASSERT_TRUE(strstr(f->err.msg, the_snapshot) != NULL);
	}
	fixture_end(f);
}

TEST(what_is_inside_cannot_be_had_otherwise)
{
	struct fixture *f = begin();
	const char *raw = do_create_in_ram(f, "raw", &cap_block, 64 * MIB);
	const char *raw_snapshot = do_snapshot(f, "r", raw);
	const struct vol_capability ext4 = with_fs("ext4"), any = with_fs("");
	const struct vol_capability both[] = { any, with_fs("xfs") };
	struct csi_create_volume_request req =
		request("w", &cap_block, CSI_SOURCE_VOLUME, the_volume);
	struct csi_volume vol;

	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT,
		   "has an xfs filesystem; ask for mount access");
	req = request("w", &ext4, CSI_SOURCE_SNAPSHOT, the_snapshot);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT,
		   "fs_type ext4 is asked, and snapshot");
	ASSERT_TRUE(strstr(f->err.msg, "has xfs; ask for xfs") != NULL);
	req = request("w", &any, CSI_SOURCE_SNAPSHOT, raw_snapshot);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT,
		   "is a raw block device; ask for block access");
	req = request("w", &cap_block, CSI_SOURCE_SNAPSHOT, raw_snapshot);
	ASSERT_OK(create(f, &req, &vol), &f->err);
	req = request("x", both, CSI_SOURCE_SNAPSHOT, the_snapshot);
	req.n_volume_capabilities = 2;
	ASSERT_OK(create(f, &req, &vol), &f->err);
	fixture_end(f);
}

TEST(a_copy_is_not_made_elsewhere)
{
	struct fixture *f = begin();
	const struct vol_capability cap = with_fs("xfs");
	struct backend *disk = registry_find_name(f->pools, "disk");
	struct strpair place = { vol_segment_key(f->ctx.arena, "d.test", &disk->identity), "here" };
	struct vol_topology there = { { &place, 1 } };
	struct strpair pool = { "pool", "disk" };
	struct csi_create_volume_request req =
		request("w", &cap, CSI_SOURCE_SNAPSHOT, the_snapshot);
	struct csi_volume vol;

	req.parameters = (struct strmap){ &pool, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT,
		   "pool: 'disk' is asked, and the source");
	ASSERT_TRUE(strstr(f->err.msg, "is in pool 'ram'") != NULL);
	req.parameters = STRMAP_EMPTY;
	req.accessibility_requirements.requisite = (struct vol_topologies){ &there, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_RESOURCE_EXHAUSTED,
		   "in pool 'ram' on node 'n1'");
	req.accessibility_requirements.requisite = (struct vol_topologies){ NULL, 0 };
	req.accessibility_requirements.preferred = (struct vol_topologies){ &there, 1 };
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_TRUE(strncmp(vol.volume_id, the_volume, strlen("v1-") + 32) == 0);
	fixture_end(f);
}

TEST(a_source_that_is_not_there_is_named)
{
	static const struct {
		unsigned kind;
		const char *id;
		enum err_code code;
		const char *say;
	} cases[] = {
		{ CSI_SOURCE_SNAPSHOT, "non-existing", ERR_NOT_FOUND,
		  "snapshot_id 'non-existing'" },
		{ CSI_SOURCE_VOLUME, "non-existing", ERR_NOT_FOUND, "volume_id 'non-existing'" },
		{ CSI_SOURCE_SNAPSHOT, "s1-" ELSEWHERE "-s", ERR_UNAVAILABLE,
		  "snapshot 's1-" ELSEWHERE "-s': its pool is not on this node" },
		{ CSI_SOURCE_VOLUME, "v1-" ELSEWHERE "-v", ERR_UNAVAILABLE, "not on this node" },
		{ CSI_SOURCE_VOLUME, "v7-" ELSEWHERE "-v", ERR_FAILED_PRECONDITION, "version" },
	};
	struct fixture *f = begin();
	const struct vol_capability cap = with_fs("xfs");
	struct csi_create_volume_request req;
	struct csi_volume vol;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		req = request("w", &cap, cases[i].kind, cases[i].id);
		ASSERT_ERR(create(f, &req, &vol), &f->err, cases[i].code, cases[i].say);
		ASSERT_TRUE(strstr(f->err.msg, "volume_content_source") != NULL ||
			    cases[i].code == ERR_UNAVAILABLE);
	}
	ASSERT_OK(do_delete_snapshot(f, the_snapshot), &f->err);
	req = request("w", &cap, CSI_SOURCE_SNAPSHOT, the_snapshot);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_NOT_FOUND, the_snapshot);
	f->id = the_volume;
	ASSERT_OK(do_delete(f), &f->err);
	req = request("w", &cap, CSI_SOURCE_VOLUME, the_volume);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_NOT_FOUND, the_volume);
	fixture_end(f);
}

static void unready(struct backend_snapshot *snap)
{
	snap->is_ready = false;
}

static void spoil(struct backend_snapshot *snap)
{
	snap->is_damaged = true;
	(void)snprintf(snap->damage, sizeof(snap->damage), "two links");
}

TEST(a_source_that_cannot_serve_is_for_later)
{
	struct fixture *f = begin();
	const struct vol_capability cap = with_fs("xfs");
	struct csi_create_volume_request req =
		request("w", &cap, CSI_SOURCE_SNAPSHOT, the_snapshot);
	struct spy *spy = fixture_spy(f);
	struct csi_volume vol;

	spy->change = unready;
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_FAILED_PRECONDITION, "is not ready");
	spy->change = spoil;
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_FAILED_PRECONDITION, "damaged: two links");
	spy->change = NULL;
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_EQ(spy->volume.source_kind, BACKEND_SOURCE_SNAPSHOT);
	ASSERT_FALSE(spy->volume.no_reserve);
	fixture_end(f);
}

TEST(a_damaged_volume_is_no_source)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability cap = with_fs("");
	struct csi_create_volume_request req;
	struct csi_volume vol;

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	registry_find_name(f->pools, "disk")->caps |= BACKEND_CLONE;
	fake_host_set_size("v", 4096);
	req = request("w", &cap, CSI_SOURCE_VOLUME, f->id);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_FAILED_PRECONDITION, "damaged");
	fixture_end(f);
}

TEST(a_pool_that_copies_nothing_says_so)
{
	struct fixture *f = begin();
	const struct vol_capability cap = with_fs("");
	struct csi_create_volume_request req = request("w", &cap, CSI_SOURCE_VOLUME, the_volume);
	struct csi_volume vol;

	fixture_take_caps(f, "ram", BACKEND_CLONE);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT, "in pool 'ram' (mem)");
	fixture_end(f);
}

TEST(a_name_has_one_source)
{
	struct fixture *f = begin();
	const struct vol_capability cap = with_fs("xfs");
	const char *other = do_snapshot(f, "other", the_volume);
	struct csi_create_volume_request req =
		request("w", &cap, CSI_SOURCE_SNAPSHOT, the_snapshot);
	struct csi_volume vol;

	ASSERT_OK(create(f, &req, &vol), &f->err);
	req = request("w", &cap, CSI_SOURCE_SNAPSHOT, other);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, other);
	ASSERT_TRUE(strstr(f->err.msg, the_snapshot) != NULL);
	req = request("w", &cap, CSI_SOURCE_VOLUME, the_volume);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, "now volume");
	req = request("w", &cap, CSI_SOURCE_SNAPSHOT, "s1-" ELSEWHERE "-s");
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, "made of snapshot");
	req = request("w", &cap, CSI_SOURCE_NONE, "");
	req.has_volume_content_source = false;
	req.capacity_range.required_bytes = 512 * MIB;
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, "now no source");
	req = request("v", &cap, CSI_SOURCE_SNAPSHOT, the_snapshot);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, "made of no source");
	/* one that is larger now is not the one that was asked */
	req = request("w", &cap, CSI_SOURCE_SNAPSHOT, the_snapshot);
	req.capacity_range.required_bytes = GIB;
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, "with 512Mi");
	fixture_end(f);
}

TEST(what_was_made_stays_when_its_source_goes)
{
	struct fixture *f = begin();
	const struct vol_capability cap = with_fs("");
	struct csi_create_volume_request of_snapshot =
		request("w", &cap, CSI_SOURCE_SNAPSHOT, the_snapshot);
	struct csi_create_volume_request of_volume =
		request("x", &cap, CSI_SOURCE_VOLUME, the_volume);
	struct csi_volume vol, again;

	ASSERT_OK(create(f, &of_snapshot, &vol), &f->err);
	ASSERT_OK(create(f, &of_volume, &vol), &f->err);
	ASSERT_OK(do_delete_snapshot(f, the_snapshot), &f->err);
	f->id = the_volume;
	ASSERT_OK(do_delete(f), &f->err);
	ASSERT_OK(create(f, &of_snapshot, &again), &f->err);
	assert_source(&again, CSI_SOURCE_SNAPSHOT, the_snapshot);
	ASSERT_OK(create(f, &of_volume, &again), &f->err);
	ASSERT_STR(again.volume_id, vol.volume_id);
	assert_source(&again, CSI_SOURCE_VOLUME, the_volume);
	fixture_end(f);
}

TEST(the_reserve_is_given_up_by_the_class)
{
	struct fixture *f = begin();
	struct strpair pairs[] = { { "pool", "ram" }, { "snapshotReserve", "none" } };
	struct csi_create_volume_request req = { .name = "w",
						 .volume_capabilities = &cap_mount,
						 .n_volume_capabilities = 1,
						 .parameters = { pairs, 2 },
						 .volume_content_source = { .id = "" } };
	struct spy *spy = fixture_spy(f);
	struct csi_volume vol;

	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_TRUE(spy->volume.no_reserve);
	fixture_end(f);
}

static void assert_staged_with(struct fixture *f, const char *id, const struct vol_capability *cap,
			       const char *flags)
{
	f->id = id;
	ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
	ASSERT_STR(fake_host_mount_flags("/s1"), flags);
	/* again, as it is */
	ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", cap, false), &f->err);
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
}

TEST(a_copy_of_an_xfs_is_mounted_beside_it)
{
	struct fixture *f = begin();
	struct vol_capability cap = with_fs("");
	struct csi_create_volume_request req =
		request("w", &cap, CSI_SOURCE_SNAPSHOT, the_snapshot);
	const char *const flags[] = { "noatime" };
	const char *ext4;
	struct csi_volume copy, ext4_copy;

	ASSERT_OK(create(f, &req, &copy), &f->err);
	ext4 = do_create_in_ram(f, "e", &cap_mount, 64 * MIB);
	req = request("f", &cap, CSI_SOURCE_VOLUME, ext4);
	ASSERT_OK(create(f, &req, &ext4_copy), &f->err);
	assert_staged_with(f, the_volume, &cap, "");
	assert_staged_with(f, copy.volume_id, &cap, "nouuid");
	assert_staged_with(f, ext4_copy.volume_id, &cap, "");
	cap.mount_flags = flags;
	cap.n_mount_flags = 1;
	assert_staged_with(f, copy.volume_id, &cap, "nouuid,noatime");
	assert_node_is_clean();
	fixture_end(f);
}

RUN_TESTS(UNIT(a_copy_is_where_and_what_its_source_is), UNIT(sizes_are_the_sources_or_more),
	  UNIT(what_is_inside_cannot_be_had_otherwise), UNIT(a_copy_is_not_made_elsewhere),
	  UNIT(a_source_that_is_not_there_is_named), UNIT(a_source_that_cannot_serve_is_for_later),
	  UNIT(a_damaged_volume_is_no_source), UNIT(a_pool_that_copies_nothing_says_so),
	  UNIT(a_name_has_one_source), UNIT(what_was_made_stays_when_its_source_goes),
	  UNIT(the_reserve_is_given_up_by_the_class), UNIT(a_copy_of_an_xfs_is_mounted_beside_it))
