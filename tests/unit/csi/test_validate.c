/* SPDX-License-Identifier: Apache-2.0 */
/* The limits of CSI: what is refused, by which field and which number. */
#include "csi/validate.h"

#include "base/mem.h"
#include "base/str.h"
#include "check.h"
#include "csi/fields.h"

#include <limits.h>

static char long_text[8192];

/* n times 'x'; one at a time. */
static const char *text_of(size_t n)
{
	memset(long_text, 'x', n);
	long_text[n] = '\0';
	return long_text;
}

/* A clean path of n bytes. */
static const char *path_of(size_t n)
{
	for (size_t i = 0; i < n; i++)
		long_text[i] = i % 200 ? 'p' : '/';
	long_text[n] = '\0';
	return long_text;
}

static const struct vol_capability good_cap = { .access = VOL_ACCESS_MOUNT,
						.mode = VOL_MODE_SINGLE_NODE_WRITER,
						.fs_type = "",
						.mount_group = "" };

static struct csi_create_volume_request good_create(void)
{
	return (struct csi_create_volume_request){ .name = "pvc-1",
						   .volume_capabilities = &good_cap,
						   .n_volume_capabilities = 1,
						   .volume_content_source = { .id = "" } };
}

static struct csi_node_publish_volume_request good_publish(void)
{
	return (struct csi_node_publish_volume_request){ .volume_id = "v",
							 .staging_target_path = "/staging",
							 .target_path = "/target",
							 .volume_capability = good_cap };
}

TEST(names_have_1_to_128_bytes_of_allowed_characters)
{
	static const struct {
		const char *name, *say; /* say NULL: taken */
	} cases[] = {
		{ "pvc-1", NULL },
		{ "Größe 1/2 \t\n", NULL },
		{ "", "name: required" },
		{ "a\x01", "control character" },
		{ "a\x1f", "control character" },
		{ "a\x7f", "control character" },
		{ "a\xc2\x85", "control character" },
		{ "a\xc2\xa0", NULL },
		{ "\xff", "name: not UTF-8" },
	};
	struct csi_create_volume_request req = good_create();
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		req.name = cases[i].name;
		if (cases[i].say)
			ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
				   cases[i].say);
		else
			ASSERT_OK(validate_create_volume(&req, &err), &err);
	}
	req.name = text_of(128);
	ASSERT_OK(validate_create_volume(&req, &err), &err);
	req.name = text_of(129);
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "name: 129 bytes, at most 128");
}

TEST(capabilities_are_required_and_of_known_modes)
{
	struct csi_create_volume_request req = good_create();
	struct vol_capability cap = good_cap;
	struct err err;

	req.n_volume_capabilities = 0;
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "volume_capabilities: required");
	req = good_create();
	req.volume_capabilities = &cap;
	cap.mode = VOL_MODE_UNKNOWN;
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT, "access_mode");
	cap.mode = (enum vol_mode)42;
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "unknown value 42");
	cap.mode = (enum vol_mode) - 1;
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "unknown value -1");
	cap = good_cap;
	cap.fs_type = text_of(129);
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT, "fs_type: 129");
}

TEST(an_access_type_is_required_and_a_known_one)
{
	struct csi_node_stage_volume_request req = { .volume_id = "v",
						     .staging_target_path = "/s" };
	struct err err;

	ASSERT_ERR(validate_stage(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "volume_capability: required");
	req.volume_capability.mode = VOL_MODE_SINGLE_NODE_WRITER;
	ASSERT_ERR(validate_stage(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "access_type: required, block or mount");
	req.volume_capability.access = VOL_ACCESS_BLOCK;
	ASSERT_OK(validate_stage(&req, &err), &err);
}

TEST(a_source_of_an_unknown_kind_is_refused)
{
	struct csi_create_volume_request req = good_create();
	struct err err;

	req.has_volume_content_source = true;
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "volume_content_source.type: required");
	req.volume_content_source = (struct csi_content_source){ CSI_SOURCE_SNAPSHOT, "" };
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "volume_content_source.snapshot.snapshot_id: required");
}

TEST(lists_have_an_end)
{
	struct csi_create_volume_request req = good_create();
	struct vol_capability *many = xcalloc(1001, sizeof(*many));
	struct err err;

	for (size_t i = 0; i < 1001; i++)
		many[i] = good_cap;
	req.volume_capabilities = many;
	req.n_volume_capabilities = 1000;
	ASSERT_OK(validate_create_volume(&req, &err), &err);
	req.n_volume_capabilities = 1001;
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "volume_capabilities: 1001 elements, at most 1000");
	free(many);
}

TEST(mount_flags_have_4_kib_together)
{
	struct csi_create_volume_request req = good_create();
	struct vol_capability cap = good_cap;
	const char *flags[] = { text_of(2048), long_text, "x" };
	struct err err;

	req.volume_capabilities = &cap;
	cap.mount_flags = flags;
	cap.n_mount_flags = 2;
	ASSERT_OK(validate_create_volume(&req, &err), &err);
	cap.n_mount_flags = 3;
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "mount_flags: 4097 bytes, at most 4096");
}

TEST(maps_have_4_kib_together)
{
	struct csi_create_volume_request req = good_create();
	struct strpair pair = { "k", NULL };
	struct err err;

	pair.value = text_of(4095);
	req.parameters = (struct strmap){ &pair, 1 };
	ASSERT_OK(validate_create_volume(&req, &err), &err);
	pair.value = text_of(4096);
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "parameters: 4097 bytes, at most 4096");
	req.mutable_parameters = req.parameters;
	req.parameters = STRMAP_EMPTY;
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "mutable_parameters");
}

TEST(secrets_are_refused_without_being_told)
{
	struct csi_create_volume_request req = good_create();
	struct strpair pair = { "my key!", "hunter2" };
	struct err err;

	req.secrets.map = (struct strmap){ &pair, 1 };
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT, "secrets: ");
	ASSERT_TRUE(!strstr(err.msg, "hunter2") && !strstr(err.msg, "my key"));
	pair.key = "my-key_1.x";
	ASSERT_OK(validate_create_volume(&req, &err), &err);
}

TEST(a_limit_below_the_requirement_is_refused)
{
	struct csi_create_volume_request req = good_create();
	struct err err;

	req.capacity_range = (struct vol_range){ 10, 9 };
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "limit_bytes 9 is less than required_bytes 10");
}

TEST(topologies_need_segments)
{
	struct csi_create_volume_request req = good_create();
	struct vol_topology empty = { 0 };
	struct csi_get_capacity_request capacity = { .has_accessible_topology = true };
	struct err err;

	req.accessibility_requirements.requisite = (struct vol_topologies){ &empty, 1 };
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "requisite.segments: required");
	ASSERT_ERR(validate_get_capacity(&capacity, &err), &err, ERR_INVALID_ARGUMENT,
		   "accessible_topology.segments: required");
}

TEST(paths_are_absolute_and_clean)
{
	static const char *const bad[] = {
		"",       "relative", "./x", "/",     "/a/../b", "/a/..",
		"/a/./b", "/a//b",    "/a/", "/a\nb", "/a\x7f",  "/\xff",
	};
	struct csi_node_unpublish_volume_request req = { .volume_id = "v" };
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		req.target_path = bad[i];
		ASSERT_ERR(validate_unpublish(&req, &err), &err, ERR_INVALID_ARGUMENT,
			   "target_path");
	}
	req.target_path = "/a/b..c/.d";
	ASSERT_OK(validate_unpublish(&req, &err), &err);
	req.target_path = path_of(PATH_MAX - 1);
	ASSERT_OK(validate_unpublish(&req, &err), &err);
	req.target_path = path_of(PATH_MAX);
	ASSERT_ERR(validate_unpublish(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "target_path: 4096 bytes, at most 4095");
}

TEST(publish_wants_staging_and_a_target_of_its_own)
{
	struct csi_node_publish_volume_request req = good_publish();
	struct err err;

	ASSERT_OK(validate_publish(&req, &err), &err);
	req.staging_target_path = "";
	ASSERT_ERR(validate_publish(&req, &err), &err, ERR_FAILED_PRECONDITION,
		   "staging_target_path: required");
	req.staging_target_path = "/target";
	ASSERT_ERR(validate_publish(&req, &err), &err, ERR_INVALID_ARGUMENT, "within each other");
	req.staging_target_path = "/target/below";
	ASSERT_ERR(validate_publish(&req, &err), &err, ERR_INVALID_ARGUMENT, "within each other");
	req = good_publish();
	req.target_path = "/staging/below";
	ASSERT_ERR(validate_publish(&req, &err), &err, ERR_INVALID_ARGUMENT, "within each other");
	req.target_path = "/staging-2";
	ASSERT_OK(validate_publish(&req, &err), &err);
	req.target_path = "";
	ASSERT_ERR(validate_publish(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "target_path: required");
}

TEST(ids_are_required_everywhere)
{
	struct csi_node_stage_volume_request stage = { .volume_id = "",
						       .staging_target_path = "/s",
						       .volume_capability = good_cap };
	struct csi_validate_volume_capabilities_request validate = {
		.volume_id = "", .volume_capabilities = &good_cap, .n_volume_capabilities = 1
	};
	struct csi_node_publish_volume_request publish = good_publish();
	struct csi_node_unstage_volume_request unstage = { .staging_target_path = "/s" };
	struct csi_node_unpublish_volume_request unpublish = { .target_path = "/t" };
	struct csi_node_get_volume_stats_request stats = { .volume_path = "/t" };
	struct csi_delete_volume_request delete = { .volume_id = "" };
	struct err err;

	publish.volume_id = "";
	ASSERT_ERR(validate_stage(&stage, &err), &err, ERR_INVALID_ARGUMENT, "volume_id: required");
	ASSERT_ERR(validate_validate(&validate, &err), &err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(validate_publish(&publish, &err), &err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(validate_unstage(&unstage, &err), &err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(validate_unpublish(&unpublish, &err), &err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(fields_check(&csi_delete_volume_request_type, &delete, &err), &err,
		   ERR_INVALID_ARGUMENT, "volume_id: required");
	delete.volume_id = text_of(129);
	ASSERT_ERR(fields_check(&csi_delete_volume_request_type, &delete, &err), &err,
		   ERR_INVALID_ARGUMENT, "volume_id: 129 bytes, at most 128");
	ASSERT_ERR(fields_check(&csi_node_get_volume_stats_request_type, &stats, &err), &err,
		   ERR_INVALID_ARGUMENT, "volume_id");
	stats = (struct csi_node_get_volume_stats_request){ .volume_id = "v" };
	ASSERT_ERR(fields_check(&csi_node_get_volume_stats_request_type, &stats, &err), &err,
		   ERR_INVALID_ARGUMENT, "volume_path");
}

TEST(stats_take_any_path_and_leave_the_rest_to_not_found)
{
	const struct csi_node_get_volume_stats_request stats = { .volume_id = "v",
								 .volume_path = "some/path" };
	struct err err;

	ASSERT_OK(fields_check(&csi_node_get_volume_stats_request_type, &stats, &err), &err);
}

TEST(driver_names_and_node_ids_keep_to_csi)
{
	static const char *const bad[] = { "", "-x", "x-", "a_b", "a b", ".a" };
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ASSERT_ERR(validate_driver_name(bad[i], &err), &err, ERR_INVALID_ARGUMENT,
			   "driver name");
	ASSERT_OK(validate_driver_name("pool.cleat.csi", &err), &err);
	ASSERT_OK(validate_driver_name(text_of(63), &err), &err);
	ASSERT_ERR(validate_driver_name(text_of(64), &err), &err, ERR_INVALID_ARGUMENT, "63");
	ASSERT_OK(validate_node_id(text_of(256), &err), &err);
	ASSERT_ERR(validate_node_id(text_of(257), &err), &err, ERR_INVALID_ARGUMENT, "257");
}

RUN_TESTS(UNIT(names_have_1_to_128_bytes_of_allowed_characters),
	  UNIT(capabilities_are_required_and_of_known_modes),
	  UNIT(an_access_type_is_required_and_a_known_one),
	  UNIT(a_source_of_an_unknown_kind_is_refused), UNIT(lists_have_an_end),
	  UNIT(mount_flags_have_4_kib_together), UNIT(maps_have_4_kib_together),
	  UNIT(secrets_are_refused_without_being_told),
	  UNIT(a_limit_below_the_requirement_is_refused), UNIT(topologies_need_segments),
	  UNIT(paths_are_absolute_and_clean), UNIT(publish_wants_staging_and_a_target_of_its_own),
	  UNIT(ids_are_required_everywhere),
	  UNIT(stats_take_any_path_and_leave_the_rest_to_not_found),
	  UNIT(driver_names_and_node_ids_keep_to_csi))
