/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods' cgroups and their limits on trees of plain directories and files, laid out as kubelet and
 * systemd do; what the kernel makes of them is shown by tests/integration/test_limits.py.
 */
#include "host/cgroup.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "check.h"
#include "scratch.h"

#define UID "6b1a2c3d-0000-4000-8000-00000000000a"
#define UID_ "6b1a2c3d_0000_4000_8000_00000000000a"

static struct scratch dir;
static struct err err;

static void begin(void)
{
	scratch_init(&dir);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	return ftw->level > 0 ? remove(path) : 0;
}

static void end(void)
{
	ASSERT_EQ(nftw(dir.path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
	scratch_done(&dir);
}

static void put(const char *path, const char *text)
{
	autofree char *whole = xasprintf("%s/%s", dir.path, path);
	autofd int fd = -1;

	for (char *slash = whole + strlen(dir.path) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		(void)mkdir(whole, 0700);
		*slash = '/';
	}
	fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ASSERT_TRUE(fd >= 0);
	ASSERT_EQ(fd_write_all(fd, text, strlen(text)), 0);
}

/* What is in the file; a write there begins at its start and leaves what is behind. */
static const char *get(const char *path)
{
	static char text[512];
	autofree char *whole = xasprintf("%s/%s", dir.path, path);
	autofd int fd = open(whole, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	ASSERT_TRUE(n >= 0);
	text[n] = '\0';
	return text;
}

static void begin_v2(void)
{
	begin();
	put("cgroup.controllers", "cpuset cpu io memory pids\n");
}

static const char *const throttles[] = { "read_iops", "write_iops", "read_bps", "write_bps" };

static void put_v1(const char *group)
{
	for (size_t i = 0; i < ARRAY_LEN(throttles); i++) {
		autofree char *path =
			xasprintf("blkio/%s/blkio.throttle.%s_device", group, throttles[i]);

		put(path, "");
	}
}

static void begin_v1(void)
{
	begin();
	put_v1(".");
}

static int limit(const char *uid, const struct host_io_limits *limits)
{
	return host_cgroup_limit(dir.path, uid, makedev(7, 3), limits, &err);
}

static const struct host_io_limits some = { .read_iops = 500, .write_bytes = 1048576 };
static const struct host_io_limits none;

TEST(uids_are_what_may_be_in_a_name)
{
	static const char *const good[] = { UID, "0", "d41d8cd98f00b204e9800998ecf8427e", "a-B-9" };
	static const char *const bad[] = {
		"",    "-a",
		"a/b", "..",
		"a.b", "a b",
		"a_b", "0123456789012345678901234567890123456789012345678901234567890123",
	};

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ASSERT_TRUE(host_pod_uid_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ASSERT_FALSE(host_pod_uid_is_valid(bad[i]));
}

TEST(what_cannot_limit_says_why)
{
	begin();
	ASSERT_ERR(host_cgroup_check(dir.path, &err), &err, ERR_FAILED_PRECONDITION,
		   "neither blkio (v1) nor cgroup.controllers (v2)");
	ASSERT_ERR(host_cgroup_check("/nowhere", &err), &err, ERR_FAILED_PRECONDITION,
		   "--cgroup-root");
	put("cgroup.controllers", "cpuset cpu ios memory pids\n");
	ASSERT_ERR(host_cgroup_check(dir.path, &err), &err, ERR_FAILED_PRECONDITION,
		   "io is not in cgroup.controllers");
	put("cgroup.controllers", "cpuset cpu memory io\n");
	ASSERT_OK(host_cgroup_check(dir.path, &err), &err);
	/* a hybrid machine: v1 has what limits */
	put("cgroup.controllers", "");
	put_v1(".");
	ASSERT_OK(host_cgroup_check(dir.path, &err), &err);
	end();
}

TEST(a_pod_is_found_wherever_kubelet_puts_it)
{
	static const char *const places[] = {
		"kubepods/pod" UID,
		"kubepods/burstable/pod" UID,
		"kubepods/besteffort/pod" UID,
		"kubepods.slice/kubepods-pod" UID_ ".slice",
		"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_ ".slice",
		"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_ ".slice",
		"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
		"kubelet-kubepods-burstable-pod" UID_ ".slice",
		"kubelet/kubepods/besteffort/pod" UID,
		"k8s/node1/kubepods/pod" UID,
	};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		autofree char *file = xasprintf("%s/io.max", places[i]);

		begin_v2();
		put("system.slice/a.service/io.max", "");
		put("kubepods/pod1-2-3/io.max", "");
		ASSERT_ERR(limit(UID, &some), &err, ERR_NOT_FOUND, UID);
		put(file, "");
		ASSERT_EQ(limit(UID, &some), 1);
		ASSERT_STR(get(file), "7:3 rbps=max wbps=1048576 riops=500 wiops=max\n");
		ASSERT_EQ(limit(UID, &some), 0);
		ASSERT_STR(get("kubepods/pod1-2-3/io.max"), "");
		end();
	}
}

TEST(names_that_only_look_like_a_pods_are_passed_over)
{
	begin_v2();
	put("pod" UID "/io.max", "");
	put("system.slice/pod" UID "/io.max", "");
	put("kubepods/other/pod" UID "/io.max", "");
	put("a/b/c/d/kubepods/pod" UID "/io.max", "");
	ASSERT_ERR(limit(UID, &some), &err, ERR_NOT_FOUND, UID);
	ASSERT_ERR(limit("../../etc", &some), &err, ERR_NOT_FOUND, "no cgroup");
	ASSERT_EQ(limit(UID, &none), 0);
	end();
}

TEST(limits_are_written_where_the_kernel_says_otherwise)
{
	static const char file[] = "kubepods/pod" UID "/io.max";

	begin_v2();
	put(file, "8:0 rbps=1 wbps=2 riops=3 wiops=4\n"
		  "7:3 rbps=max wbps=1048576 riops=500 wiops=max\n");
	ASSERT_EQ(limit(UID, &some), 0);
	put(file, "7:33 rbps=max wbps=1048576 riops=500 wiops=max\n");
	ASSERT_EQ(limit(UID, &some), 1);
	put(file, "7:3 rbps=max wbps=1048577 riops=500 wiops=max\n");
	ASSERT_EQ(limit(UID, &some), 1);
	put(file, "7:3 rbps=1 wbps=2 riops=3 wiops=4\n");
	ASSERT_EQ(limit(UID, &none), 1);
	ASSERT_TRUE(str_has_prefix(get(file), "7:3 rbps=max wbps=max riops=max wiops=max\n"));
	put(file, "8:0 rbps=1 wbps=2 riops=3 wiops=4\n");
	ASSERT_EQ(limit(UID, &none), 0);
	end();
}

TEST(a_cgroup_without_the_controller_is_named)
{
	begin_v2();
	put("kubepods/pod" UID "/cgroup.procs", "");
	ASSERT_ERR(limit(UID, &some), &err, ERR_FAILED_PRECONDITION, "io.max");
	end();
}

TEST(in_v1_each_cgroup_of_the_pod_gets_the_limit)
{
	begin_v1();
	put_v1("kubepods/burstable/pod" UID);
	put_v1("kubepods/burstable/pod" UID "/c1");
	put_v1("kubepods/burstable/pod" UID "/c2/deeper");
	put_v1("kubepods/burstable/pod1-2-3/c1");
	put("blkio/kubepods/burstable/pod" UID "/c1/blkio.throttle.read_iops_device",
	    "7:3 500\n7:4 9\n");
	put("blkio/kubepods/burstable/pod" UID "/c2/note", "no cgroup's files");
	put_v1("kubepods/burstable/pod" UID "/c2");
	ASSERT_EQ(limit(UID, &some), 4);
	ASSERT_EQ(limit(UID, &some), 0);
	ASSERT_STR(get("blkio/kubepods/burstable/pod" UID "/blkio.throttle.read_iops_device"),
		   "7:3 500\n");
	ASSERT_STR(get("blkio/kubepods/burstable/pod" UID "/c1/blkio.throttle.read_iops_device"),
		   "7:3 500\n7:4 9\n");
	ASSERT_STR(get("blkio/kubepods/burstable/pod" UID
		       "/c2/deeper/blkio.throttle.write_bps_device"),
		   "7:3 1048576\n");
	ASSERT_STR(get("blkio/kubepods/burstable/pod" UID "/blkio.throttle.write_iops_device"), "");
	ASSERT_STR(get("blkio/kubepods/burstable/pod1-2-3/c1/blkio.throttle.read_iops_device"), "");
	put_v1("kubepods/burstable/pod" UID "/c3"); /* a container that starts later */
	ASSERT_EQ(limit(UID, &some), 1);
	ASSERT_EQ(limit(UID, &none), 5);
	ASSERT_TRUE(str_has_prefix(
		get("blkio/kubepods/burstable/pod" UID "/c3/blkio.throttle.write_bps_device"),
		"7:3 0\n"));
	end();
}

static int collect(void *arg, const char *uid, dev_t device)
{
	str_appendf(arg, "%s %u:%u\n", uid, major(device), minor(device));
	return 0;
}

static int stop(void *arg, const char *uid, dev_t device)
{
	(void)collect(arg, uid, device);
	return 1;
}

TEST(every_line_of_every_pod_is_told)
{
	autostr struct str told = STR_INIT;

	begin_v2();
	put("kubepods.slice/kubepods-pod" UID_ ".slice/io.max",
	    "7:3 rbps=1 wbps=max riops=max wiops=max\nnonsense\n259:1 rbps=1\n");
	put("kubepods.slice/kubepods-pod" UID_ ".slice/c1/io.max", "7:9 rbps=1\n");
	put("kubepods.slice/io.max", "7:8 rbps=1\n");
	put("system.slice/io.max", "7:7 rbps=1\n");
	ASSERT_OK(host_cgroup_each(dir.path, collect, &told, &err), &err);
	ASSERT_STR(str_get(&told), UID " 7:3\n" UID " 259:1\n");
	end();

	str_reset(&told);
	begin_v1();
	put_v1("kubepods/pod1-2");
	put("blkio/kubepods/pod1-2/c1/blkio.throttle.write_bps_device", "7:3 5\n7:4 6\n");
	ASSERT_OK(host_cgroup_each(dir.path, collect, &told, &err), &err);
	ASSERT_STR(str_get(&told), "1-2 7:3\n1-2 7:4\n");
	str_reset(&told);
	ASSERT_OK(host_cgroup_each(dir.path, stop, &told, &err), &err);
	ASSERT_STR(str_get(&told), "1-2 7:3\n");
	end();
}

TEST(what_the_kernel_writes_is_read)
{
	static const struct {
		const char *text;
		struct host_io_limits want;
	} cases[] = {
		{ "", { 0 } },
		{ "7:3", { 0 } },
		{ "7:3 ", { 0 } },
		{ "7:3 rbps=max wbps=max riops=max wiops=max\n", { 0 } },
		{ "8:0 rbps=5\n7:3 rbps=1 wbps=2 riops=3 wiops=4\n",
		  { .read_bytes = 1, .write_bytes = 2, .read_iops = 3, .write_iops = 4 } },
		{ "7:3 wiops=18446744073709551615", { .write_iops = UINT64_MAX } },
		{ "7:3 wiops=99999999999999999999999999\n", { 0 } },
		{ "7:3 rbps=1\n8:0 wbps=9\n", { .read_bytes = 1 } },
		{ "7:3 later=7 rbps=1\n", { .read_bytes = 1 } },
		{ " 7:3 rbps=1\n", { 0 } },
		{ "17:3 rbps=1\n7:31 rbps=2\n", { 0 } },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct host_io_limits got;

		host_cgroup_parse_max(cases[i].text, makedev(7, 3), &got);
		ASSERT_EQ(memcmp(&got, &cases[i].want, sizeof(got)), 0);
	}
	ASSERT_EQ(host_cgroup_parse_throttle("8:0 1\n7:3 500\n7:33 7\n", makedev(7, 3)), 500);
	ASSERT_EQ(host_cgroup_parse_throttle("7:33 7\n", makedev(7, 3)), 0);
	ASSERT_EQ(host_cgroup_parse_throttle("7:3 x\n", makedev(7, 3)), 0);
	ASSERT_EQ(host_cgroup_parse_throttle("4294967296:3 5", makedev(0, 3)), 0);
}

RUN_TESTS(UNIT(uids_are_what_may_be_in_a_name), UNIT(what_cannot_limit_says_why),
	  UNIT(a_pod_is_found_wherever_kubelet_puts_it),
	  UNIT(names_that_only_look_like_a_pods_are_passed_over),
	  UNIT(limits_are_written_where_the_kernel_says_otherwise),
	  UNIT(a_cgroup_without_the_controller_is_named),
	  UNIT(in_v1_each_cgroup_of_the_pod_gets_the_limit), UNIT(every_line_of_every_pod_is_told),
	  UNIT(what_the_kernel_writes_is_read))
