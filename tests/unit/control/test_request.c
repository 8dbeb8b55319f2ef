/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters, filesystem, access modes: tables. */
#include "check.h"
#include "control/provision-internal.h"

#define MAP_MAX 4

static struct strmap make_map(struct arena *a, const char *const pairs[][2])
{
	struct strpair list[MAP_MAX];
	size_t n = 0;

	for (; n < MAP_MAX && pairs[n][0]; n++)
		list[n] = (struct strpair){ pairs[n][0], pairs[n][1] };
	return strmap_from(a, list, n);
}

TEST(own_keys_are_stripped_and_unknown_ones_refused)
{
	static const struct {
		const char *pairs[MAP_MAX][2];
		size_t n_left;     /* that reach the driver */
		const char *error; /* "" = none */
	} cases[] = {
		{ { { "pool", "p" }, { "csi.storage.k8s.io/fstype", "xfs" } }, 1, "" },
		{ { { "fstype", "xfs" }, { "csiNodeStageSecretName", "s" } }, 2, "" },
		{ { { "csi.storage.k8s.io/secret-name", "s" },
		    { "csi.storage.k8s.io/node-expand-secret-name", "s" } },
		  0,
		  "" },
		{ { { "csi.storage.k8s.io/fsType", "xfs" } }, 0, "'csi.storage.k8s.io/fsType'" },
		{ { { "csi.storage.k8s.io/pvc/name", "x" } }, 0, "'csi.storage.k8s.io/pvc/name'" },
		{ { { "csi.storage.k8s.io/", "x" } }, 0, "unknown parameter" },
		{ { { NULL, NULL } }, 0, "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		autoarena struct arena *a = arena_new();
		struct strmap map = make_map(a, cases[i].pairs), left = STRMAP_EMPTY;
		struct err err;
		int r = request_strip_parameters(a, &map, &left, &err);

		if (*cases[i].error)
			ASSERT_ERR(r, &err, ERR_INVALID_ARGUMENT, cases[i].error);
		else
			ASSERT_OK(r, &err);
		ASSERT_EQ(left.n, cases[i].n_left);
	}
}

TEST(filesystem_comes_from_either_spelling_but_not_both)
{
	static const struct {
		const char *pairs[MAP_MAX][2];
		const char *want; /* NULL = refused */
	} cases[] = {
		{ { { "csi.storage.k8s.io/fstype", "xfs" } }, "xfs" },
		{ { { "FsType", "ext4" } }, "ext4" },
		{ { { "pool", "p" } }, "dflt" },
		{ { { "csi.storage.k8s.io/fstype", "" } }, "dflt" },
		{ { { "csi.storage.k8s.io/fstype", "xfs" }, { "fstype", "xfs" } }, NULL },
		{ { { "fsType", "xfs" }, { "fstype", "ext4" } }, NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		autoarena struct arena *a = arena_new();
		struct strmap map = make_map(a, cases[i].pairs);
		const char *fs = "";
		struct err err;
		int r = request_fs_type(&map, "dflt", &fs, &err);

		if (!cases[i].want) {
			ASSERT_ERR(r, &err, ERR_INVALID_ARGUMENT, "both give a filesystem");
			continue;
		}
		ASSERT_OK(r, &err);
		ASSERT_STR(fs, cases[i].want);
	}
}

TEST(access_modes_follow_the_capability)
{
	static const struct {
		const char *mode;
		enum vol_mode plain, with_multi_writer;
	} cases[] = {
		{ "ReadWriteOnce", VOL_MODE_SINGLE_NODE_WRITER, VOL_MODE_SINGLE_NODE_MULTI_WRITER },
		{ "ReadWriteOncePod", VOL_MODE_SINGLE_NODE_WRITER,
		  VOL_MODE_SINGLE_NODE_SINGLE_WRITER },
		{ "ReadOnlyMany", VOL_MODE_MULTI_NODE_READER_ONLY,
		  VOL_MODE_MULTI_NODE_READER_ONLY },
		{ "ReadWriteMany", VOL_MODE_MULTI_NODE_MULTI_WRITER,
		  VOL_MODE_MULTI_NODE_MULTI_WRITER },
	};
	enum vol_mode mode;
	struct err err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ASSERT_OK(request_access_mode(cases[i].mode, false, &mode, &err), &err);
		ASSERT_EQ(mode, cases[i].plain);
		ASSERT_OK(request_access_mode(cases[i].mode, true, &mode, &err), &err);
		ASSERT_EQ(mode, cases[i].with_multi_writer);
	}
	ASSERT_ERR(request_access_mode("ReadSometimes", true, &mode, &err), &err,
		   ERR_INVALID_ARGUMENT, "ReadSometimes");
}

RUN_TESTS(UNIT(own_keys_are_stripped_and_unknown_ones_refused),
	  UNIT(filesystem_comes_from_either_spelling_but_not_both),
	  UNIT(access_modes_follow_the_capability))
