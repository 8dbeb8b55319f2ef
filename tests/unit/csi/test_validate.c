/* SPDX-License-Identifier: Apache-2.0 */
/* The limits of CSI: what is refused, by which field and which number. */
#include "csi/validate.h"

#include "base/mem.h"
#include "base/str.h"
#include "check.h"

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

static struct csi_create_volume good_create(void)
{
	return (struct csi_create_volume){ .name = "pvc-1",
					   .capabilities = &good_cap,
					   .n_capabilities = 1,
					   .content_source = { .id = "" } };
}

static struct csi_publish good_publish(void)
{
	return (struct csi_publish){ .volume_id = "v",
				     .staging_target_path = "/staging",
				     .target_path = "/target",
				     .capability = good_cap };
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
	struct csi_create_volume req = good_create();
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
	struct csi_create_volume req = good_create();
	struct vol_capability cap = good_cap;
	struct err err;

	req.n_capabilities = 0;
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "volume_capabilities: required");
	req = good_create();
	req.capabilities = &cap;
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

TEST(mount_flags_have_4_kib_together)
{
	struct vol_capability cap = good_cap;
	const char *flags[] = { text_of(2048), long_text, "x" };
	struct err err;

	cap.mount_flags = flags;
	cap.n_mount_flags = 2;
	ASSERT_OK(validate_capability(&cap, &err), &err);
	cap.n_mount_flags = 3;
	ASSERT_ERR(validate_capability(&cap, &err), &err, ERR_INVALID_ARGUMENT,
		   "mount_flags: 4097 bytes, at most 4096");
}

TEST(maps_have_4_kib_together)
{
	struct csi_create_volume req = good_create();
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
	struct csi_create_volume req = good_create();
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
	struct csi_create_volume req = good_create();
	struct err err;

	req.capacity_range = (struct vol_range){ 10, 9 };
	ASSERT_ERR(validate_create_volume(&req, &err), &err, ERR_INVALID_ARGUMENT,
		   "limit_bytes 9 is less than required_bytes 10");
}

TEST(topologies_need_segments)
{
	struct csi_create_volume req = good_create();
	struct vol_topology empty = { 0 };
	struct csi_get_capacity capacity = { .has_topology = true };
	struct err err;

	req.requisite = (struct vol_topologies){ &empty, 1 };
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
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ASSERT_ERR(validate_path("target_path", bad[i], &err), &err, ERR_INVALID_ARGUMENT,
			   "target_path");
	ASSERT_OK(validate_path("target_path", "/a/b..c/.d", &err), &err);
	ASSERT_OK(validate_path("target_path", path_of(PATH_MAX - 1), &err), &err);
	ASSERT_ERR(validate_path("target_path", path_of(PATH_MAX), &err), &err,
		   ERR_INVALID_ARGUMENT, "target_path: 4096 bytes, at most 4095");
}

TEST(publish_wants_staging_and_a_target_of_its_own)
{
	struct csi_publish req = good_publish();
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
	struct csi_stage stage = { .volume_id = "",
				   .staging_target_path = "/s",
				   .capability = good_cap };
	struct csi_validate validate = { .volume_id = "",
					 .capabilities = &good_cap,
					 .n_capabilities = 1 };
	struct csi_publish publish = good_publish();
	struct secrets none = { 0 };
	struct err err;

	publish.volume_id = "";
	ASSERT_ERR(validate_stage(&stage, &err), &err, ERR_INVALID_ARGUMENT, "volume_id: required");
	ASSERT_ERR(validate_validate(&validate, &err), &err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(validate_publish(&publish, &err), &err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(validate_unstage("", "/s", &err), &err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(validate_unpublish("", "/t", &err), &err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(validate_delete_volume("", &none, &err), &err, ERR_INVALID_ARGUMENT,
		   "volume_id");
	ASSERT_ERR(validate_stats("", "/t", "", &err), &err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(validate_stats("v", "", "", &err), &err, ERR_INVALID_ARGUMENT, "volume_path");
	ASSERT_ERR(validate_volume_id(text_of(129), &err), &err, ERR_INVALID_ARGUMENT,
		   "volume_id: 129 bytes, at most 128");
}

TEST(stats_take_any_path_and_leave_the_rest_to_not_found)
{
	struct err err;

	ASSERT_OK(validate_stats("v", "some/path", "", &err), &err);
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
	  UNIT(capabilities_are_required_and_of_known_modes), UNIT(mount_flags_have_4_kib_together),
	  UNIT(maps_have_4_kib_together), UNIT(secrets_are_refused_without_being_told),
	  UNIT(a_limit_below_the_requirement_is_refused), UNIT(topologies_need_segments),
	  UNIT(paths_are_absolute_and_clean), UNIT(publish_wants_staging_and_a_target_of_its_own),
	  UNIT(ids_are_required_everywhere),
	  UNIT(stats_take_any_path_and_leave_the_rest_to_not_found),
	  UNIT(driver_names_and_node_ids_keep_to_csi))
