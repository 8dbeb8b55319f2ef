/* SPDX-License-Identifier: Apache-2.0 */
/* Health of volumes and pools, on the fake host. */
#include "csi/health.h"

#include "base/clock.h"
#include "csi/driver-internal.h"
#include "fixture.h"

static struct csi_volume_health ask(struct fixture *f)
{
	const struct csi_node_get_volume_health_request of_node = { .volume_id = f->id,
								    .volume_publish_path = "",
								    .staging_target_path = "" };
	const struct csi_controller_get_volume_health_request of_controller = { .volume_id =
											f->id };
	struct csi_node_get_volume_health_response node;
	struct csi_controller_get_volume_health_response controller;

	ASSERT_OK(csi_node_get_volume_health(&f->csi, &f->ctx, &of_node, &node, &f->err), &f->err);
	ASSERT_OK(csi_controller_get_volume_health(&f->csi, &f->ctx, &of_controller, &controller,
						   &f->err),
		  &f->err);
	ASSERT_STR(node.volume_health.volume_id, f->id);
	ASSERT_EQ(node.volume_health.n_health_statuses, controller.volume_health.n_health_statuses);
	return node.volume_health;
}

static void assert_well(struct fixture *f)
{
	ASSERT_EQ(ask(f).n_health_statuses, 0);
}

static void assert_only(struct fixture *f, const char *reason, const char *text)
{
	struct csi_volume_health health = ask(f);

	ASSERT_EQ(health.n_health_statuses, 1);
	ASSERT_STR(health.health_statuses[0].reason, reason);
	assert_non_null(strstr(health.health_statuses[0].message, text));
}

static struct csi_node_get_storage_health_response ask_storage(struct fixture *f)
{
	const struct csi_node_get_storage_health_request req = { 0 };
	struct csi_node_get_storage_health_response reply;

	ASSERT_OK(csi_node_get_storage_health(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err);
	return reply;
}

static void up(struct fixture *f, const struct vol_capability *cap)
{
	ASSERT_OK(do_create(f, "v", cap, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", cap, false), &f->err);
}

static void down(struct fixture *f)
{
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
}

TEST(a_volume_is_well_from_its_birth_on)
{
	struct fixture *f = fixture_begin();
	char id[VOL_ID_MAX];

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	assert_well(f);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	assert_well(f);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_mount, false), &f->err);
	assert_well(f);
	(void)snprintf(id, sizeof(id), "%s", f->id);
	fixture_restart(f, false);
	assert_well(f);
	f->id = id;
	fixture_restart(f, true);
	assert_well(f);
	ASSERT_EQ(ask_storage(f).n_backend_health, 0);
	fixture_end(f);
}

TEST(a_mem_volume_is_well_without_direct_io)
{
	struct fixture *f = fixture_begin();
	struct strpair in_ram = { "pool", "ram" };
	struct csi_create_volume_request req = { .name = "m",
						 .capacity_range = { 64 * MIB, 0 },
						 .volume_capabilities = &cap_block,
						 .n_volume_capabilities = 1,
						 .parameters = { &in_ram, 1 },
						 .volume_content_source = { .id = "" } };
	struct csi_create_volume_response reply;

	fake_host_set_direct(false);
	fixture_add_mem(f, GIB);
	ASSERT_OK(csi_create_volume(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err);
	f->id = reply.volume.volume_id;
	ASSERT_OK(do_stage(f, "/s1", &cap_block), &f->err);
	assert_well(f);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	fixture_end(f);
}

TEST(what_became_of_a_filesystem_is_told)
{
	struct fixture *f = fixture_begin();

	up(f, &cap_mount);
	fake_host_set_condition("v", true, false);
	assert_only(f, "FilesystemReadOnly", "cleat ctl volume check");
	fake_host_set_condition("v", true, true);
	assert_only(f, "FilesystemShutDown", "/s1");
	fake_host_set_condition("v", false, false);
	fake_host_set_errors("v", true);
	assert_only(f, "FilesystemErrors", "1 errors since 1970-01-01T00:00:01Z");
	fake_host_set_errors("v", false);
	assert_well(f);
	down(f);
	fixture_end(f);
}

TEST(a_file_that_was_removed_is_told_as_long_as_its_device_is_there)
{
	const struct vol_capability *const caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < 2; i++) {
		struct fixture *f = fixture_begin();
		const struct csi_node_get_volume_health_request req = { .volume_publish_path = "",
									.staging_target_path = "" };
		struct csi_node_get_volume_health_request of = req;

		up(f, caps[i]);
		fake_host_unlink("v");
		assert_only(f, "BackingFileMissing", "/dev/loop");
		ASSERT_EQ(ask_storage(f).n_backend_health, 1);
		ASSERT_STR(ask_storage(f).backend_health[0].reason, "BackingFilesMissing");
		fixture_restart(f, false);
		assert_only(f, "BackingFileMissing", "/dev/loop");
		down(f);
		of.volume_id = f->id;
		ASSERT_ERR(csi_node_get_volume_health(
				   &f->csi, &f->ctx, &of,
				   &(struct csi_node_get_volume_health_response){ 0 }, &f->err),
			   &f->err, ERR_NOT_FOUND, f->id);
		ASSERT_EQ(ask_storage(f).n_backend_health, 0);
		fixture_end(f);
	}
}

TEST(damage_and_a_dead_disk_are_told)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	fake_host_set_size("v", 4096);
	assert_only(f, "VolumeDamaged", "backup");
	ASSERT_EQ(ask(f).health_statuses[0].status, CSI_VOLUME_HEALTH_ERROR_TYPE_DATA_LOSS);
	fake_host_set_size("v", 64 * MIB);
	assert_well(f);
	fake_host_kill_disk();
	assert_only(f, "PoolGone", "/pool");
	ASSERT_STR(ask_storage(f).backend_health[0].reason, "PoolGone");
	fixture_end(f);
}

static void fill_to(struct fixture *f, const char *name, unsigned percent, uint64_t usable)
{
	ASSERT_OK(do_create(f, name, &cap_block, usable / 100 * percent / MIB * MIB), &f->err);
}

TEST(a_pool_is_nearly_full_at_80_and_almost_at_90_percent)
{
	struct fixture *f = fixture_begin();
	const uint64_t usable = 8 * GIB - 100 * MIB;

	fill_to(f, "a", 79, usable);
	ASSERT_EQ(ask_storage(f).n_backend_health, 0);
	fill_to(f, "b", 2, usable);
	ASSERT_EQ(ask_storage(f).n_backend_health, 1);
	ASSERT_STR(ask_storage(f).backend_health[0].reason, "PoolNearlyFull");
	fill_to(f, "c", 10, usable);
	ASSERT_EQ(ask_storage(f).n_backend_health, 1);
	ASSERT_STR(ask_storage(f).backend_health[0].reason, "PoolAlmostFull");
	fixture_end(f);
}

TEST(what_does_not_answer_is_told_and_asked_no_more)
{
	struct fixture *f = fixture_begin();
	const struct csi_node_get_volume_stats_request stats = { .volume_path = "/s1",
								 .staging_target_path = "" };
	struct csi_node_get_volume_stats_request of = stats;
	struct csi_node_get_volume_stats_response reply;

	up(f, &cap_mount);
	of.volume_id = f->id;
	clock_fake_set(100 * NS_PER_S);
	ASSERT_OK(looks_begin(f->driver->looks, "v", &f->err), &f->err); /* and it hangs */
	clock_fake_advance(LOOKS_PATIENCE_NS);
	assert_only(f, "NotAnswering", "since 1970-01-01T00:01:40Z");
	ASSERT_ERR(csi_node_get_volume_stats(&f->csi, &f->ctx, &of, &reply, &f->err), &f->err,
		   ERR_UNAVAILABLE, "has not come back");
	ASSERT_EQ(csi_driver_n_silent(f->driver), 1);
	looks_end(f->driver->looks, "v");
	assert_well(f);
	ASSERT_OK(csi_node_get_volume_stats(&f->csi, &f->ctx, &of, &reply, &f->err), &f->err);
	clock_fake_set(-1);
	fixture_end(f);
}

/* A failure is said, or nothing is; never a condition that is not there. */
TEST(no_call_that_fails_makes_a_condition)
{
	struct fixture *f = fixture_begin();
	const struct csi_controller_get_volume_health_request of = { .volume_id = "" };
	struct csi_controller_get_volume_health_request req = of;
	struct csi_controller_get_volume_health_response reply;
	bool has_failed = true;

	up(f, &cap_mount);
	req.volume_id = f->id;
	for (unsigned n = 1; has_failed; n++) {
		int r;

		fake_host_fail_at(n);
		r = csi_controller_get_volume_health(&f->csi, &f->ctx, &req, &reply, &f->err);
		has_failed = fake_host_failed();
		fake_host_fail_at(0);
		if (r == 0)
			ASSERT_EQ(reply.volume_health.n_health_statuses, 0);
		else
			ASSERT_TRUE(has_failed);
	}
	down(f);
	fixture_end(f);
}

TEST(lists_have_what_is_not_well_and_what_has_no_file)
{
	struct fixture *f = fixture_begin();
	struct csi_controller_list_volume_health_request req = { .max_entries = 1,
								 .starting_token = "" };
	struct csi_controller_list_volume_health_response page;

	ASSERT_OK(do_create(f, "a", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_create(f, "c", &cap_mount, 64 * MIB), &f->err);
	fake_host_set_size("c", 4096);
	ASSERT_OK(do_create(f, "b", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	fake_host_unlink("b");
	ASSERT_OK(csi_controller_list_volume_health(&f->csi, &f->ctx, &req, &page, &f->err),
		  &f->err);
	ASSERT_EQ(page.n_entries, 1);
	ASSERT_STR(page.entries[0].volume_id, f->id);
	ASSERT_STR(page.next_token, f->id);
	req.starting_token = page.next_token;
	ASSERT_OK(csi_controller_list_volume_health(&f->csi, &f->ctx, &req, &page, &f->err),
		  &f->err);
	ASSERT_EQ(page.n_entries, 1);
	ASSERT_STR(page.entries[0].health_statuses[0].reason, "VolumeDamaged");
	ASSERT_STR(page.next_token, "");
	req.starting_token = "nonsense";
	ASSERT_ERR(csi_controller_list_volume_health(&f->csi, &f->ctx, &req, &page, &f->err),
		   &f->err, ERR_ABORTED, "starting_token");
	csi_driver_watch_health(f->driver, &f->ctx);
	csi_driver_watch_health(f->driver, &f->ctx);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	csi_driver_watch_health(f->driver, &f->ctx);
	fixture_end(f);
}

TEST(messages_end_where_kubelet_ends_them)
{
	autoarena struct arena *a = arena_new();
	struct health health = { .a = a };
	struct pool_health pools = { .a = a };
	struct csi_node_get_storage_health_response reply;
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text + 1023, "\xc3\xa4", 2); /* cut in its middle */
	health_add(&health, HEALTH_DAMAGED, "%s", text);
	health_add(&health, HEALTH_DAMAGED, "again");
	ASSERT_EQ(health.n, 1);
	ASSERT_EQ(strlen(health.entries[0].message), 1023);
	for (int i = 0; i < 100; i++)
		pool_health_add(&pools, POOL_HEALTH_GONE, "pool number %d", i);
	pool_health_reply(&pools, &reply);
	ASSERT_EQ(reply.n_backend_health, 1);
	ASSERT_TRUE(strlen(reply.backend_health[0].message) <= 1024);
}

RUN_TESTS(UNIT(a_volume_is_well_from_its_birth_on), UNIT(a_mem_volume_is_well_without_direct_io),
	  UNIT(what_became_of_a_filesystem_is_told),
	  UNIT(a_file_that_was_removed_is_told_as_long_as_its_device_is_there),
	  UNIT(damage_and_a_dead_disk_are_told),
	  UNIT(a_pool_is_nearly_full_at_80_and_almost_at_90_percent),
	  UNIT(what_does_not_answer_is_told_and_asked_no_more),
	  UNIT(no_call_that_fails_makes_a_condition),
	  UNIT(lists_have_what_is_not_well_and_what_has_no_file),
	  UNIT(messages_end_where_kubelet_ends_them))
