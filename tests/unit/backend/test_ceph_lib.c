/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The libraries come when they are asked for and not before, and one that is missing, broken or
 * old is named. Which of these this run has, CLEAT_CEPH_LIB says; meson.build lays the libraries.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "backend/ceph/lib.h"
#include "base/fd.h"
#include "base/str.h"
#include "check.h"

static struct err err;

static bool is_run(const char *name)
{
	return str_is_equal(str_or(getenv("CLEAT_CEPH_LIB"), "real"), name);
}

static bool is_mapped(const char *library)
{
	char *maps = NULL;
	size_t n;
	bool is;

	ASSERT_EQ(fd_read_file(AT_FDCWD, "/proc/self/maps", 1 << 20, &maps, &n), 0);
	is = strstr(maps, library) != NULL;
	free(maps);
	return is;
}

TEST(the_real_ones_come_when_they_are_asked_for)
{
	const struct ceph_lib *lib, *again;
	int major = 0, minor = 0, extra = 0;
	rados_t cluster;

	if (!is_run("real"))
		return;
	ASSERT_FALSE(is_mapped("librados"));
	if (ceph_lib_load(&lib, &err) < 0) { /* not installed here: then that is what it says */
		ASSERT_EQ(err.code, ERR_FAILED_PRECONDITION);
		ASSERT_TRUE(strstr(err.msg, ".so") && strstr(err.msg, "cannot be loaded"));
		return;
	}
	ASSERT_TRUE(is_mapped("librados") && is_mapped("librbd"));
	ASSERT_OK(ceph_lib_load(&again, &err), &err);
	ASSERT_TRUE(lib == again);
	lib->rbd_version(&major, &minor, &extra);
	ASSERT_TRUE(major >= 1);
	ASSERT_EQ(lib->rados_create2(&cluster, "ceph", "client.x", 0), 0);
	ASSERT_TRUE(lib->rados_conf_set(cluster, "no_such_option", "1") < 0);
	ASSERT_EQ(lib->rados_conf_set(cluster, "mon_host", "127.0.0.1"), 0);
	lib->rados_shutdown(cluster);
}

TEST(an_old_one_is_told_by_what_it_lacks)
{
	const struct ceph_lib *lib = NULL;

	if (!is_run("old"))
		return;
	for (int i = 0; i < 2; i++) {
		ASSERT_ERR(ceph_lib_load(&lib, &err), &err, ERR_FAILED_PRECONDITION,
			   "librados.so.2 here is version 12.2.5 and too old: it has no "
			   "rados_create2; install librados2");
		ASSERT_TRUE(lib == NULL);
	}
}

TEST(one_that_cannot_be_loaded_is_told_with_its_package)
{
	const struct ceph_lib *lib = NULL;

	if (!is_run("broken"))
		return;
	for (int i = 0; i < 2; i++)
		ASSERT_ERR(ceph_lib_load(&lib, &err), &err, ERR_FAILED_PRECONDITION,
			   "librados.so.2, which cannot be loaded here");
	ASSERT_TRUE(strstr(err.msg, "install librados2") != NULL);
	ASSERT_TRUE(lib == NULL);
}

RUN_TESTS(UNIT(the_real_ones_come_when_they_are_asked_for),
	  UNIT(an_old_one_is_told_by_what_it_lacks),
	  UNIT(one_that_cannot_be_loaded_is_told_with_its_package))
