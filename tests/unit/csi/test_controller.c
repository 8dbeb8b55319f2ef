/* SPDX-License-Identifier: Apache-2.0 */
/* Identity and Controller over two pools on the fake host: "disk" (8 GiB less its reserve) and
 * "ram". */
#include "base/mem.h"
#include "base/str.h"
#include "fixture.h"
#include "volume/owner.h"
#include "volume/topology.h"

static struct csi_create_volume_request request(const char *name, const struct vol_capability *cap)
{
	return (struct csi_create_volume_request){ .name = name,
						   .capacity_range = { 64 * MIB, 0 },
						   .volume_capabilities = cap,
						   .n_volume_capabilities = 1,
						   .volume_content_source = { .id = "" } };
}

static int create(struct fixture *f, const struct csi_create_volume_request *req,
		  struct csi_volume *vol)
{
	struct csi_create_volume_response reply;
	int r = csi_create_volume(&f->csi, &f->ctx, req, &reply, &f->err);

	*vol = reply.volume;
	return r;
}

/* The pool's name in the volume's topology: "d.test/NAME". */
/* The name of the pool that a volume says it lies in. */
static const char *pool_of(struct fixture *f, const struct csi_volume *vol)
{
	const struct strpair *place;

	assert_int_equal(vol->accessible_topology.n, 1);
	assert_int_equal(vol->accessible_topology.v[0].segments.n, 1);
	place = &vol->accessible_topology.v[0].segments.v[0];
	assert_string_equal(place->value, "here");
	for (size_t i = 0; i < registry_count(f->pools); i++) {
		const struct backend *b = registry_at(f->pools, i);

		if (str_is_equal(vol_segment_key(f->ctx.arena, "d.test", &b->identity), place->key))
			return b->pool_name;
	}
	return place->key;
}

static struct strmap segments_of(struct fixture *f, const char *pool)
{
	const struct backend *b = registry_find_name(f->pools, pool);
	struct csi_node_get_info_response info;
	struct strpair pair = { vol_segment_key(f->ctx.arena, "d.test", &b->identity), NULL };

	ASSERT_OK(csi_node_get_info(&f->csi, &f->ctx, &(const struct csi_node_get_info_request){},
				    &info, &f->err),
		  &f->err);
	pair.value = strmap_find(&info.accessible_topology.segments, pair.key);
	assert_non_null(pair.value);
	return strmap_from(f->ctx.arena, &pair, 1);
}

TEST(identity_tells_what_is_there)
{
	struct fixture *f = fixture_begin();
	struct csi_get_plugin_capabilities_response caps;
	struct csi_get_plugin_info_response info;
	struct csi_probe_response probe;
	const uint64_t always = CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE) |
				CSI_CAP_BIT(CSI_PLUGIN_VOLUME_ACCESSIBILITY_CONSTRAINTS) |
				CSI_EXPANSION_BIT(CSI_EXPANSION_ONLINE);

	ASSERT_OK(csi_get_plugin_info(&f->csi, &f->ctx,
				      &(const struct csi_get_plugin_info_request){}, &info,
				      &f->err),
		  &f->err);
	ASSERT_STR(info.name, "d.test");
	ASSERT_STR(info.vendor_version, "1");
	ASSERT_OK(csi_get_plugin_capabilities(&f->csi, &f->ctx,
					      &(const struct csi_get_plugin_capabilities_request){},
					      &caps, &f->err),
		  &f->err);
	ASSERT_TRUE((csi_capability_bits(caps.capabilities, caps.n_capabilities) & always) ==
		    always);
	ASSERT_OK(csi_probe(&f->csi, &f->ctx, &(const struct csi_probe_request){}, &probe, &f->err),
		  &f->err);
	ASSERT_TRUE(probe.has_ready && probe.ready);
	fixture_end(f);
}

TEST(a_driver_serves_what_it_was_told_to)
{
	struct fixture *f = fixture_begin();
	struct csi_driver_options opts = { .name = "d.test",
					   .version = "1",
					   .node_id = "n1",
					   .serve_node = true,
					   .pools = f->pools };
	struct csi_driver *node;
	struct csi_service s;
	struct csi_controller_get_capabilities_response caps;
	struct csi_node_get_capabilities_response node_caps;

	ASSERT_OK(csi_driver_new(&opts, &node, &f->err), &f->err);
	s = csi_driver_service(node);
	ASSERT_ERR(csi_controller_get_capabilities(
			   &s, &f->ctx, &(const struct csi_controller_get_capabilities_request){},
			   &caps, &f->err),
		   &f->err, ERR_UNIMPLEMENTED, "ControllerGetCapabilities");
	ASSERT_OK(csi_node_get_capabilities(&s, &f->ctx,
					    &(const struct csi_node_get_capabilities_request){},
					    &node_caps, &f->err),
		  &f->err);
	csi_driver_free(node);
	opts.name = "no_name";
	ASSERT_ERR(csi_driver_new(&opts, &node, &f->err), &f->err, ERR_INVALID_ARGUMENT, "no_name");
	fixture_end(f);
}

TEST(creating_twice_gives_the_same_volume)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct csi_volume one, two;

	ASSERT_OK(create(f, &req, &one), &f->err);
	ASSERT_TRUE(one.capacity_bytes == 64 * MIB);
	ASSERT_STR(pool_of(f, &one), "disk");
	ASSERT_OK(create(f, &req, &two), &f->err);
	ASSERT_STR(one.volume_id, two.volume_id);
	req.capacity_range = (struct vol_range){ 1 * MIB, 64 * MIB };
	ASSERT_OK(create(f, &req, &two), &f->err);
	ASSERT_EQ(fake_host_n_files(), 1);
	fixture_end(f);
}

TEST(the_same_name_with_other_wishes_is_refused)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct strpair buffered = { "directIO", "preferred" };
	struct csi_volume vol;

	fixture_add_mem(f, GIB);
	ASSERT_OK(create(f, &req, &vol), &f->err);
	req.capacity_range.required_bytes = 128 * MIB;
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS,
		   "the volume exists with 64Mi");
	req = request("v", &cap_mount);
	req.capacity_range = (struct vol_range){ 0, 32 * MIB };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS,
		   "the volume exists with 64Mi");
	req = request("v", &cap_block);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, "ext4");
	req = request("v", &cap_mount);
	req.parameters = (struct strmap){ &buffered, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, "directIO");
	fixture_end(f);
}

TEST(a_retry_stays_in_the_pool_that_has_the_volume)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct strpair pool = { "pool", "disk" };
	struct csi_volume vol;

	fixture_add_mem(f, 20 * GIB);
	req.parameters = (struct strmap){ &pool, 1 };
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "disk");
	req.parameters = STRMAP_EMPTY;
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "disk");
	pool.value = "ram";
	req.parameters = (struct strmap){ &pool, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, "pool 'disk'");
	fixture_end(f);
}

/* What was begun takes room, so that another pool has more now. */
TEST(a_retry_stays_in_the_pool_that_has_begun)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct csi_create_volume_request other = request("other", &cap_mount);
	struct strpair written = { "allocation", "written" };
	struct csi_volume vol;

	fixture_add_mem(f, 7 * GIB + 512 * MIB);
	req.parameters = (struct strmap){ &written, 1 };
	req.capacity_range.required_bytes = GIB;
	fake_host_slow_gaps(1);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ABORTED, "the next goes on");
	ASSERT_OK(create(f, &other, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "ram");
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "disk");
	ASSERT_TRUE(fake_host_is_written("v"));
	fixture_end(f);
}

TEST(pools_are_chosen_by_parameter_topology_and_room)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("roomiest", &cap_mount);
	struct vol_topology disk, ram;
	struct csi_volume vol;

	fixture_add_mem(f, 20 * GIB);
	disk.segments = segments_of(f, "disk");
	ram.segments = segments_of(f, "ram");
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "ram");
	req = request("requisite", &cap_mount);
	req.accessibility_requirements.requisite = (struct vol_topologies){ &disk, 1 };
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "disk");
	req = request("preferred", &cap_mount);
	req.accessibility_requirements.requisite =
		(struct vol_topologies){ (struct vol_topology[]){ ram, disk }, 2 };
	req.accessibility_requirements.preferred =
		(struct vol_topologies){ (struct vol_topology[]){ disk, ram }, 2 };
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "disk");
	req.name = "preferred-but-too-small";
	req.capacity_range.required_bytes = 12 * GIB;
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "ram");
	fixture_end(f);
}

/* As upstream's provisioner sends a node: one term with all of its keys. */
TEST(a_term_with_several_pools_reaches_each)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct csi_get_capacity_request asked = { .has_accessible_topology = true };
	struct csi_get_capacity_response capacity;
	struct csi_node_get_info_response info;
	struct csi_volume vol;

	fixture_add_mem(f, 20 * GIB);
	ASSERT_OK(csi_node_get_info(&f->csi, &f->ctx, &(const struct csi_node_get_info_request){},
				    &info, &f->err),
		  &f->err);
	req.accessibility_requirements.requisite =
		(struct vol_topologies){ &info.accessible_topology, 1 };
	req.accessibility_requirements.preferred = req.accessibility_requirements.requisite;
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "ram");
	asked.accessible_topology = info.accessible_topology;
	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &asked, &capacity, &f->err), &f->err);
	ASSERT_TRUE(capacity.available_capacity > 26 * GIB);
	ASSERT_TRUE(capacity.maximum_volume_size <= 20 * GIB);
	fixture_end(f);
}

TEST(what_does_not_fit_is_resource_exhausted)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct strpair elsewhere = { "d.test/ffffffffffffffffffffffffffffffff", "here" };
	struct vol_topology other = { { &elsewhere, 1 } };
	struct csi_volume vol;

	req.capacity_range.required_bytes = 9 * GIB;
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_RESOURCE_EXHAUSTED, "pool 'disk'");
	req = request("v", &cap_mount);
	req.accessibility_requirements.requisite = (struct vol_topologies){ &other, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_RESOURCE_EXHAUSTED, "in the topology");
	elsewhere = (struct strpair){ "topology.kubernetes.io/zone", "z1" };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_RESOURCE_EXHAUSTED,
		   "topology.kubernetes.io/zone");
	ASSERT_EQ(fake_host_n_files(), 0);
	fixture_end(f);
}

TEST(what_is_not_supported_is_refused_by_field)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct vol_capability two[] = { cap_mount, cap_mount };
	struct vol_capability shared = cap_mount;
	struct strpair pair = { "pool", "nowhere" };
	struct csi_volume vol;

	req.mutable_parameters = (struct strmap){ &pair, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT, "mutable_parameters");
	req = request("v", &cap_mount);
	req.parameters = (struct strmap){ &pair, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT, "there are: disk");
	pair.key = "Pool";
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT, "'pool'");
	two[1].fs_type = "xfs";
	req = request("v", two);
	req.n_volume_capabilities = 2;
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT, "one filesystem");
	shared.mode = VOL_MODE_MULTI_NODE_MULTI_WRITER;
	req = request("v", &shared);
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT,
		   "access mode ReadWriteMany");
	req = request("v", &cap_mount);
	req.capacity_range = (struct vol_range){ 0, 1 * MIB };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_OUT_OF_RANGE, "limit_bytes");
	ASSERT_EQ(fake_host_n_files(), 0);
	fixture_end(f);
}

/* F7: as provisioners send it. */
TEST(the_filesystem_under_its_old_key_must_agree)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct strpair pair = { "fsType", "xfs" };
	struct csi_volume vol;

	req.parameters = (struct strmap){ &pair, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT,
		   "the key is csi.storage.k8s.io/fstype");
	pair.value = "ext4";
	ASSERT_OK(create(f, &req, &vol), &f->err);
	fixture_end(f);
}

TEST(capabilities_decide_what_is_inside)
{
	struct fixture *f = fixture_begin();
	struct vol_capability both[] = { cap_block, cap_mount };
	struct csi_create_volume_request req = request("both", both);
	struct csi_volume vol;
	struct uuid uuid;

	req.n_volume_capabilities = 2;
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(fake_host_fs_of("both", &uuid), "ext4");
	req = request("raw", &cap_block);
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(fake_host_fs_of("raw", &uuid), "");
	fixture_end(f);
}

TEST(deleting_what_is_not_there_is_fine)
{
	struct fixture *f = fixture_begin();

	f->id = "some-other-drivers-id";
	ASSERT_OK(do_delete(f), &f->err);
	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_delete(f), &f->err);
	ASSERT_OK(do_delete(f), &f->err);
	f->id = "";
	ASSERT_ERR(do_delete(f), &f->err, ERR_INVALID_ARGUMENT, "volume_id");
	fixture_end(f);
}

TEST(a_volume_of_a_pool_that_is_not_here_is_not_called_deleted)
{
	struct fixture *f = fixture_begin();

	f->id = "v1-00112233445566778899aabbccddeeff-v";
	ASSERT_ERR(do_delete(f), &f->err, ERR_UNAVAILABLE, "not on this node");
	fixture_end(f);
}

TEST(what_may_be_in_a_missing_pool_is_for_another_time)
{
	struct fixture *f = fixture_begin();
	const struct backend_config gone = { .kind = "pool", .name = "gone", .dir = "/gone" };
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct strpair pool = { "pool", "gone" };
	struct strpair elsewhere = { "d.test/00112233445566778899aabbccddeeff", "here" };
	struct vol_topology other = { { &elsewhere, 1 } };
	struct csi_controller_get_volume_response status;
	struct csi_volume vol;

	registry_miss(f->pools, &gone, "no such disk");
	f->id = "v1-00112233445566778899aabbccddeeff-v";
	ASSERT_ERR(do_delete(f), &f->err, ERR_UNAVAILABLE, "'gone' at '/gone': no such disk");
	ASSERT_ERR(do_stage(f, "/s1", &cap_mount), &f->err, ERR_UNAVAILABLE, "no such disk");
	ASSERT_ERR(csi_controller_get_volume(
			   &f->csi, &f->ctx,
			   &(const struct csi_controller_get_volume_request){ .volume_id = f->id },
			   &status, &f->err),
		   &f->err, ERR_UNAVAILABLE, "no such disk");
	req.parameters = (struct strmap){ &pool, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_UNAVAILABLE, "no such disk");
	req = request("v", &cap_mount);
	req.accessibility_requirements.requisite = (struct vol_topologies){ &other, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_UNAVAILABLE, "no such disk");
	req = request("v", &cap_mount);
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "disk");
	fixture_end(f);
}

TEST(lists_tell_whom_a_volume_was_made_for_and_its_making_does_not)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct strpair of[] = { { "csi.storage.k8s.io/pvc/name", "data" },
				{ "csi.storage.k8s.io/pvc/namespace", "ns" } };
	struct csi_list_volumes_response list;
	const struct strmap *context;
	struct csi_volume vol;

	req.parameters = strmap_from(f->ctx.arena, of, ARRAY_LEN(of));
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_EQ(vol.volume_context.n, 1);
	ASSERT_OK(csi_list_volumes(&f->csi, &f->ctx,
				   &(const struct csi_list_volumes_request){ .max_entries = 0,
									     .starting_token = "" },
				   &list, &f->err),
		  &f->err);
	ASSERT_EQ(list.n_entries, 1);
	context = &list.entries[0].volume.volume_context;
	ASSERT_STR(strmap_find(context, VOL_OWNER_CLAIM), "ns/data");
	assert_non_null(strmap_find(context, VOL_OWNER_CREATED));
	assert_null(strmap_find(context, VOL_OWNER_CLUSTER)); /* the driver was not told */
	fixture_end(f);
}

TEST(a_dead_pool_takes_nothing_else_along)
{
	struct fixture *f = fixture_begin();
	struct csi_create_volume_request req = request("on-disk", &cap_mount);
	struct csi_get_capacity_request asked = { 0 };
	struct vol_topology disk;
	struct csi_get_capacity_response capacity;
	struct csi_list_volumes_response list;
	struct csi_node_get_info_response info;
	struct csi_volume vol;

	fixture_add_mem(f, GIB);
	disk.segments = segments_of(f, "disk");
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "disk");
	fake_host_kill_disk();
	req = request("v", &cap_mount);
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_STR(pool_of(f, &vol), "ram");
	ASSERT_OK(csi_list_volumes(&f->csi, &f->ctx,
				   &(const struct csi_list_volumes_request){ .max_entries = 0,
									     .starting_token = "" },
				   &list, &f->err),
		  &f->err);
	ASSERT_EQ(list.n_entries, 1);
	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &asked, &capacity, &f->err), &f->err);
	ASSERT_TRUE(capacity.available_capacity > 0 && capacity.available_capacity < GIB);
	ASSERT_OK(csi_node_get_info(&f->csi, &f->ctx, &(const struct csi_node_get_info_request){},
				    &info, &f->err),
		  &f->err);
	ASSERT_EQ(info.accessible_topology.segments.n, 1);
	/* who asks for that place alone gets its own answer, and never a second volume */
	req = request("on-disk", &cap_mount);
	req.accessibility_requirements.requisite = (struct vol_topologies){ &disk, 1 };
	assert_int_equal(create(f, &req, &vol), -1);
	asked = (struct csi_get_capacity_request){ .has_accessible_topology = true,
						   .accessible_topology = disk };
	assert_int_equal(csi_get_capacity(&f->csi, &f->ctx, &asked, &capacity, &f->err), -1);
	fixture_end(f);
}

TEST(several_pools_may_have_one_name)
{
	struct fixture *f = fixture_begin();
	const struct backend_config more = { .kind = "mem", .name = "disk", .mem_bytes = 20 * GIB };
	struct csi_create_volume_request req = request("v", &cap_mount);
	struct strpair pool = { "pool", "disk" };
	struct csi_get_capacity_request asked = { .parameters = { &pool, 1 } };
	struct csi_get_capacity_response capacity;
	struct csi_volume first, again;

	fixture_add_mem(f, 40 * GIB);
	ASSERT_OK(registry_open(f->pools, &f->ctx, &more, &f->err), &f->err);
	req.parameters = (struct strmap){ &pool, 1 };
	req.capacity_range.required_bytes = 15 * GIB;
	ASSERT_OK(create(f, &req, &first), &f->err);
	ASSERT_STR(pool_of(f, &first), "disk");
	/* found where it is, although the other one has more room now */
	ASSERT_OK(create(f, &req, &again), &f->err);
	ASSERT_STR(first.volume_id, again.volume_id);
	req.name = "w";
	req.capacity_range.required_bytes = 6 * GIB;
	ASSERT_OK(create(f, &req, &again), &f->err);
	ASSERT_TRUE(strncmp(first.volume_id, again.volume_id, 35) != 0);
	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &asked, &capacity, &f->err), &f->err);
	ASSERT_TRUE(capacity.maximum_volume_size == 5 * GIB);
	ASSERT_TRUE(capacity.available_capacity > 5 * GIB && capacity.available_capacity < 8 * GIB);
	fixture_end(f);
}

TEST(damaged_volumes_are_neither_deleted_nor_listed)
{
	struct fixture *f = fixture_begin();
	struct csi_list_volumes_response list;
	struct csi_controller_get_volume_response status;

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	fake_host_set_size("v", 4096);
	ASSERT_ERR(do_delete(f), &f->err, ERR_FAILED_PRECONDITION, "damaged");
	ASSERT_TRUE(fake_host_has("v"));
	ASSERT_OK(csi_list_volumes(&f->csi, &f->ctx,
				   &(const struct csi_list_volumes_request){ .max_entries = 0,
									     .starting_token = "" },
				   &list, &f->err),
		  &f->err);
	ASSERT_EQ(list.n_entries, 0);
	ASSERT_ERR(csi_controller_get_volume(
			   &f->csi, &f->ctx,
			   &(const struct csi_controller_get_volume_request){ .volume_id = f->id },
			   &status, &f->err),
		   &f->err, ERR_DATA_LOSS, "damaged");
	fixture_end(f);
}

TEST(lists_come_in_pages_over_all_pools)
{
	static const char *const names[] = { "a", "b", "c", "d", "e" };
	struct fixture *f = fixture_begin();
	struct strpair pool = { "pool", "" };
	struct csi_list_volumes_response list;
	const char *token = "";
	size_t n = 0;

	fixture_add_mem(f, GIB);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct csi_create_volume_request req = request(names[i], &cap_mount);
		struct csi_volume vol;

		pool.value = i < 3 ? "disk" : "ram";
		req.parameters = (struct strmap){ &pool, 1 };
		ASSERT_OK(create(f, &req, &vol), &f->err);
	}
	ASSERT_OK(csi_list_volumes(&f->csi, &f->ctx,
				   &(const struct csi_list_volumes_request){ .max_entries = 0,
									     .starting_token = "" },
				   &list, &f->err),
		  &f->err);
	ASSERT_EQ(list.n_entries, 5);
	ASSERT_STR(list.next_token, "");
	do {
		ASSERT_OK(csi_list_volumes(&f->csi, &f->ctx,
					   &(const struct csi_list_volumes_request){
						   .max_entries = 2, .starting_token = token },
					   &list, &f->err),
			  &f->err);
		for (size_t i = 0; i < list.n_entries; i++, n++)
			ASSERT_TRUE(str_has_suffix(list.entries[i].volume.volume_id, names[n]));
		token = list.next_token;
		/* the token stays good when its volume goes */
		if (n == 2) {
			f->id = token;
			ASSERT_OK(do_delete(f), &f->err);
		}
	} while (*token);
	ASSERT_EQ(n, 5);
	fixture_end(f);
}

TEST(a_bad_token_is_aborted)
{
	static const char *const tokens[] = { "invalid-token",
					      "v1-00112233445566778899aabbccddeeff-a" };
	struct fixture *f = fixture_begin();
	struct csi_list_volumes_response list;

	for (size_t i = 0; i < ARRAY_LEN(tokens); i++)
		ASSERT_ERR(csi_list_volumes(&f->csi, &f->ctx,
					    &(const struct csi_list_volumes_request){
						    .max_entries = 0, .starting_token = tokens[i] },
					    &list, &f->err),
			   &f->err, ERR_ABORTED, "starting_token");
	fixture_end(f);
}

TEST(capacity_is_of_the_pools_that_are_asked)
{
	struct fixture *f = fixture_begin();
	struct vol_capability shared = cap_mount;
	struct strpair pool = { "pool", "ram" };
	struct strpair useless[] = { { "csi.storage.k8s.io/fstype", "btrfs" },
				     { "fsType", "zfs" },
				     { "colour", "green" } };
	struct strpair elsewhere = { "d.test/ffffffffffffffffffffffffffffffff", "here" };
	struct csi_get_capacity_request req = { 0 };
	struct csi_get_capacity_response all, one;

	fixture_add_mem(f, GIB);
	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &req, &all, &f->err), &f->err);
	ASSERT_TRUE(all.available_capacity > all.maximum_volume_size &&
		    all.maximum_volume_size > GIB);
	ASSERT_TRUE(all.minimum_volume_size == 16 * MIB);
	req.parameters = (struct strmap){ &pool, 1 };
	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &req, &one, &f->err), &f->err);
	ASSERT_TRUE(one.available_capacity == GIB && one.maximum_volume_size == GIB);
	req = (struct csi_get_capacity_request){ .has_accessible_topology = true,
						 .accessible_topology = { segments_of(f, "ram") } };
	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &req, &one, &f->err), &f->err);
	ASSERT_TRUE(one.available_capacity == GIB);
	req.accessible_topology.segments = (struct strmap){ &elsewhere, 1 };
	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &req, &one, &f->err), &f->err);
	ASSERT_TRUE(one.available_capacity == 0 && one.maximum_volume_size == 0);
	/* a class that no volume can be made for has no capacity, and that is no error */
	for (size_t i = 0; i < ARRAY_LEN(useless); i++) {
		req = (struct csi_get_capacity_request){ .parameters = { &useless[i], 1 } };
		ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &req, &one, &f->err), &f->err);
		ASSERT_TRUE(one.available_capacity == 0 && one.maximum_volume_size == 0);
	}
	shared.mode = VOL_MODE_MULTI_NODE_MULTI_WRITER;
	req = (struct csi_get_capacity_request){ .volume_capabilities = &shared,
						 .n_volume_capabilities = 1 };
	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &req, &one, &f->err), &f->err);
	ASSERT_TRUE(one.available_capacity == 0);
	fixture_end(f);
}

TEST(validation_answers_and_does_not_fail)
{
	struct fixture *f = fixture_begin();
	struct vol_capability xfs = cap_mount;
	struct csi_validate_volume_capabilities_request req = { .volume_capabilities = &cap_mount,
								.n_volume_capabilities = 1 };
	struct csi_validate_volume_capabilities_response got;

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	req.volume_id = f->id;
	ASSERT_OK(csi_validate_volume_capabilities(&f->csi, &f->ctx, &req, &got, &f->err), &f->err);
	ASSERT_TRUE(got.has_confirmed);
	xfs.fs_type = "xfs";
	req.volume_capabilities = &xfs;
	ASSERT_OK(csi_validate_volume_capabilities(&f->csi, &f->ctx, &req, &got, &f->err), &f->err);
	ASSERT_FALSE(got.has_confirmed);
	ASSERT_TRUE(strstr(got.message, "ext4") != NULL);
	req.volume_id = "unknown";
	ASSERT_ERR(csi_validate_volume_capabilities(&f->csi, &f->ctx, &req, &got, &f->err), &f->err,
		   ERR_NOT_FOUND, "unknown");
	fixture_end(f);
}

TEST(a_volume_is_told_by_its_id)
{
	struct fixture *f = fixture_begin();
	struct csi_controller_get_volume_response status;

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(csi_controller_get_volume(
			  &f->csi, &f->ctx,
			  &(const struct csi_controller_get_volume_request){ .volume_id = f->id },
			  &status, &f->err),
		  &f->err);
	ASSERT_STR(status.volume.volume_id, f->id);
	ASSERT_TRUE(status.volume.capacity_bytes == 64 * MIB);
	ASSERT_OK(do_delete(f), &f->err);
	ASSERT_ERR(csi_controller_get_volume(
			   &f->csi, &f->ctx,
			   &(const struct csi_controller_get_volume_request){ .volume_id = f->id },
			   &status, &f->err),
		   &f->err, ERR_NOT_FOUND, f->id);
	fixture_end(f);
}

RUN_TESTS(UNIT(identity_tells_what_is_there), UNIT(a_driver_serves_what_it_was_told_to),
	  UNIT(creating_twice_gives_the_same_volume),
	  UNIT(the_same_name_with_other_wishes_is_refused),
	  UNIT(a_retry_stays_in_the_pool_that_has_the_volume),
	  UNIT(a_retry_stays_in_the_pool_that_has_begun),
	  UNIT(pools_are_chosen_by_parameter_topology_and_room),
	  UNIT(a_term_with_several_pools_reaches_each),
	  UNIT(what_may_be_in_a_missing_pool_is_for_another_time),
	  UNIT(lists_tell_whom_a_volume_was_made_for_and_its_making_does_not),
	  UNIT(a_dead_pool_takes_nothing_else_along), UNIT(several_pools_may_have_one_name),
	  UNIT(what_does_not_fit_is_resource_exhausted),
	  UNIT(what_is_not_supported_is_refused_by_field),
	  UNIT(the_filesystem_under_its_old_key_must_agree),
	  UNIT(capabilities_decide_what_is_inside), UNIT(deleting_what_is_not_there_is_fine),
	  UNIT(a_volume_of_a_pool_that_is_not_here_is_not_called_deleted),
	  UNIT(damaged_volumes_are_neither_deleted_nor_listed),
	  UNIT(lists_come_in_pages_over_all_pools), UNIT(a_bad_token_is_aborted),
	  UNIT(capacity_is_of_the_pools_that_are_asked), UNIT(validation_answers_and_does_not_fail),
	  UNIT(a_volume_is_told_by_its_id))
