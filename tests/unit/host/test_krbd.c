/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's RBD client as a tree of files and a function that stands for what the kernel does
 * with what is written. Lines and answers are those that were seen on Linux 6.12.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "host/blockdev.h"
#include "host/krbd-internal.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#define FSID "3c5dc2b6-2b3b-4d61-a5f4-0c2ee8a53f1b"

struct kernel {
	struct scratch s;
	char sys[96], dev[96];
	struct krbd_at at;
	struct ctx ctx;
	struct err err;
	char line[1024]; /* the last that was written */
	unsigned n_writes;
	int answer;      /* of the next writes */
	unsigned n_busy; /* so many unmaps are EBUSY */
	bool is_old;     /* no single_major files */
	bool has_no_keys;
	char key_name[64];
	size_t key_bytes;
};

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ASSERT_TRUE(fd >= 0);
	ASSERT_EQ(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

static void make_dir(char *path, size_t cap, const char *above, const char *name)
{
	(void)snprintf(path, cap, "%s/%s", above, name);
	ASSERT_TRUE(mkdir(path, 0700) == 0 || errno == EEXIST);
}

/* What the kernel shows of a mapped image. */
static void show(struct kernel *k, unsigned id, const char *pool, const char *ns, const char *image,
		 bool is_read_only)
{
	char dir[200], block[200], name[40], text[40];

	(void)snprintf(name, sizeof(name), "bus/rbd/devices/%u", id);
	make_dir(dir, sizeof(dir), k->sys, name);
	put_file(dir, "pool", pool);
	put_file(dir, "pool_id", "7\n");
	put_file(dir, "pool_ns", ns);
	put_file(dir, "name", image);
	put_file(dir, "current_snap", "-\n");
	put_file(dir, "cluster_fsid", FSID "\n");
	put_file(dir, "client_addr", "10.98.0.11:0/3141592653\n");
	put_file(dir, "major", "252\n");
	(void)snprintf(text, sizeof(text), "%u\n", id * 16);
	put_file(dir, "minor", text);
	put_file(dir, "size", "1073741824\n");
	(void)snprintf(name, sizeof(name), "block/rbd%u", id);
	make_dir(block, sizeof(block), k->sys, name);
	put_file(block, "ro", is_read_only ? "1\n" : "0\n");
	(void)snprintf(name, sizeof(name), "rbd%u", id);
	put_file(k->dev, name, "");
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void hide(struct kernel *k, unsigned id)
{
	char path[200];

	(void)snprintf(path, sizeof(path), "%s/bus/rbd/devices/%u", k->sys, id);
	ASSERT_EQ(nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static int put(void *arg, const char *path, const char *text)
{
	struct kernel *k = arg;
	bool is_add = strstr(path, "/bus/rbd/add");
	char pool[64], image[64];
	const char *words = strchr(text, ' ');
	unsigned id;

	if (k->is_old && strstr(path, "single_major"))
		return -ENOENT;
	k->n_writes++;
	(void)snprintf(k->line, sizeof(k->line), "%s", text);
	if (k->answer)
		return k->answer;
	if (!is_add) {
		if (k->n_busy > 0)
			return k->n_busy--, -EBUSY;
		ASSERT_EQ(sscanf(text, "%u", &id), 1);
		hide(k, id);
		return 0;
	}
	assert_non_null(words);
	words = strchr(words + 1, ' ') + 1;
	ASSERT_EQ(sscanf(words, "%63s %63s", pool, image), 2);
	show(k, 3, pool, strstr(text, "_pool_ns=ns1") ? "ns1" : "", image, strstr(text, ",ro"));
	return 0;
}

static long add_key(void *arg, const char *name, const void *bytes, size_t n)
{
	struct kernel *k = arg;

	(void)bytes;
	if (k->has_no_keys)
		return -EPERM;
	(void)snprintf(k->key_name, sizeof(k->key_name), "%s", name);
	k->key_bytes = n;
	return INT32_MAX; /* nobody's */
}

static void begin(struct kernel *k)
{
	char path[200];

	*k = (struct kernel){ .answer = 0 };
	scratch_init(&k->s);
	make_dir(k->sys, sizeof(k->sys), k->s.path, "sys");
	make_dir(k->dev, sizeof(k->dev), k->s.path, "dev");
	make_dir(path, sizeof(path), k->sys, "bus");
	make_dir(path, sizeof(path), k->sys, "block");
	make_dir(path, sizeof(path), k->sys, "bus/rbd");
	put_file(path, "supported_features", "0x1bf\n");
	make_dir(path, sizeof(path), k->sys, "bus/rbd/devices");
	k->at = (struct krbd_at){
		.sys = k->sys, .dev = k->dev, .put = put, .arg = k, .add_key = add_key
	};
	ctx_init(&k->ctx, 30 * NS_PER_S);
}

static void end(struct kernel *k)
{
	ctx_done(&k->ctx);
	ASSERT_EQ(nftw(k->sys, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
	ASSERT_EQ(nftw(k->dev, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
	scratch_done(&k->s);
}

static struct host_krbd_spec spec_of(const char *image)
{
	return (struct host_krbd_spec){ .monitors = "10.98.0.1:43301",
					.user = "csi-rbd",
					.key = "QUJDREVGR0g=",
					.fsid = FSID,
					.pool = "rbd",
					.ns = "",
					.image = image,
					.options = "",
					.features = 61 + 256 };
}

TEST(an_image_is_mapped_by_one_line_and_found_again)
{
	struct host_krbd_spec spec = spec_of("img1");
	struct host_krbd dev, again;
	struct kernel k;

	begin(&k);
	ASSERT_OK(krbd_map(&k.at, &k.ctx, &spec, &dev, &k.err), &k.err);
	ASSERT_TRUE(
		strstr(k.line, "10.98.0.1:43301 name=csi-rbd,key=client.csi-rbd,mount_timeout="));
	ASSERT_TRUE(strstr(k.line, " rbd img1 -"));
	ASSERT_STR(k.key_name, "client.csi-rbd");
	ASSERT_EQ(k.key_bytes, 8);
	ASSERT_EQ(dev.id, 3);
	ASSERT_EQ(dev.bytes, 1073741824);
	ASSERT_STR(dev.client_addr, "10.98.0.11:0/3141592653");
	ASSERT_TRUE(strstr(dev.path, "/dev/rbd3"));
	ASSERT_OK(krbd_map(&k.at, &k.ctx, &spec, &again, &k.err), &k.err);
	ASSERT_EQ(k.n_writes, 1);
	ASSERT_EQ(again.id, 3);
	end(&k);
}

TEST(a_device_is_known_by_cluster_pool_and_image)
{
	static const struct {
		struct krbd_look look;
		bool is_found;
	} cases[] = {
		{ { .fsid = "", .pool_id = 7, .image = "csi-vol-a" }, true },
		{ { .fsid = FSID, .pool_id = 7, .image = "csi-vol-a" }, true },
		{ { .fsid = "", .pool_id = 8, .image = "csi-vol-a" }, false },
		{ { .fsid = "other", .pool_id = 7, .image = "csi-vol-a" }, false },
		{ { .fsid = "", .pool_id = 7, .image = "csi-vol-" }, false },
		{ { .fsid = "", .pool_id = 7, .ending = "-vol-a" }, true },
		{ { .fsid = "", .pool_id = 7, .ending = "-vol-b" }, false },
		{ { .fsid = "", .pool_id = -1, .pool = "rbd", .ns = "ns1", .image = "csi-vol-a" },
		  true },
		{ { .fsid = "", .pool_id = -1, .pool = "rbd", .ns = "ns2", .image = "csi-vol-a" },
		  false },
	};
	struct host_krbd dev;
	struct kernel k;

	begin(&k);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_EQ(krbd_find(&k.at, &cases[i].look, &dev, &k.err), 0);
	show(&k, 5, "rbd", "ns1", "csi-vol-a", false);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_EQ(krbd_find(&k.at, &cases[i].look, &dev, &k.err), cases[i].is_found);
	ASSERT_EQ(dev.pool_id, 7);
	end(&k);
}

TEST(what_the_class_says_is_in_the_line)
{
	struct host_krbd_spec spec = spec_of("img1");
	struct host_krbd dev;
	struct kernel k;

	begin(&k);
	k.is_old = true; /* and the other file is taken */
	k.has_no_keys = true;
	spec.options = "ms_mode=crc,queue_depth=64";
	spec.monitors = "[v2:10.98.0.1:43300/0,v1:10.98.0.1:43301/0]";
	spec.ns = "ns1";
	spec.read_only = true;
	ASSERT_OK(krbd_map(&k.at, &k.ctx, &spec, &dev, &k.err), &k.err);
	ASSERT_TRUE(str_has_prefix(k.line, "10.98.0.1:43300 name=csi-rbd,secret=QUJDREVGR0g=,"));
	ASSERT_TRUE(strstr(k.line, ",ms_mode=crc,queue_depth=64,ro,_pool_ns=ns1 rbd img1 -"));
	ASSERT_TRUE(dev.is_read_only);
	spec.read_only = false;
	ASSERT_ERR(krbd_map(&k.at, &k.ctx, &spec, &dev, &k.err), &k.err, ERR_FAILED_PRECONDITION,
		   "mapped read-only");
	end(&k);
}

TEST(a_cluster_of_the_second_protocol_alone_needs_no_option)
{
	struct host_krbd_spec spec = spec_of("img1");
	autostr struct str line = STR_INIT;
	struct err err;

	spec.monitors = "10.0.0.1:3300,v2:10.0.0.2:3300";
	ASSERT_OK(krbd_line(&spec, NULL, 0, &line, &err), &err);
	ASSERT_STR(line.buf, "10.0.0.1:3300,10.0.0.2:3300 name=csi-rbd,key=client.csi-rbd,"
			     "ms_mode=prefer-crc rbd img1 -");
}

TEST(a_line_holds_no_more_than_one_image)
{
	struct err err;

	for (int i = 0; i < 6; i++) {
		struct host_krbd_spec spec = spec_of(i == 0 ? "a b" : i == 1 ? "a@s" : "img1");
		autostr struct str line = STR_INIT;

		spec.pool = i == 2 ? "rbd\nrbd" : "rbd";
		spec.options = i == 3 ? "ro" : i == 4 ? "queue_depth=1,secret=x" : "";
		spec.user = i == 5 ? "a,b" : "csi-rbd";
		ASSERT_ERR(krbd_line(&spec, NULL, 0, &line, &err), &err, ERR_INVALID_ARGUMENT, "");
		ASSERT_EQ(line.len, 0);
	}
}

TEST(features_that_the_kernel_lacks_are_named_before_mapping)
{
	struct host_krbd_spec spec = spec_of("img1");
	struct host_krbd dev;
	struct kernel k;

	begin(&k);
	spec.features |= 64 | UINT64_C(1) << 40;
	ASSERT_ERR(krbd_map(&k.at, &k.ctx, &spec, &dev, &k.err), &k.err, ERR_FAILED_PRECONDITION,
		   "image: journaling, bit 40 (");
	ASSERT_EQ(k.n_writes, 0);
	end(&k);
}

TEST(options_that_need_the_lock_are_refused_without_it)
{
	struct host_krbd_spec spec = spec_of("img1");
	struct host_krbd dev;
	struct kernel k;

	begin(&k);
	spec.options = "queue_depth=64,exclusive";
	spec.features = 1;
	ASSERT_ERR(krbd_map(&k.at, &k.ctx, &spec, &dev, &k.err), &k.err, ERR_FAILED_PRECONDITION,
		   "'exclusive' is for images with the feature exclusive-lock");
	spec.options = "lock_on_read";
	ASSERT_ERR(krbd_map(&k.at, &k.ctx, &spec, &dev, &k.err), &k.err, ERR_FAILED_PRECONDITION,
		   "'lock_on_read'");
	ASSERT_EQ(k.n_writes, 0);
	spec.features = 1 | 4;
	ASSERT_OK(krbd_map(&k.at, &k.ctx, &spec, &dev, &k.err), &k.err);
	end(&k);
}

TEST(what_the_kernel_answers_has_its_code)
{
	static const struct {
		int os;
		enum err_code code;
		const char *words;
	} cases[] = {
		{ ENOENT, ERR_NOT_FOUND, "no image 'img1' in the pool 'rbd'" },
		{ EACCES, ERR_UNAUTHENTICATED, "csi-rbd" },
		{ ETIMEDOUT, ERR_UNAVAILABLE, "10.98.0.1:43301" },
		{ ESHUTDOWN, ERR_UNAVAILABLE, "blocklist" },
		{ EINVAL, ERR_INVALID_ARGUMENT, "map options" },
		{ EROFS, ERR_FAILED_PRECONDITION, "/sys/bus/rbd" },
		{ EIO, ERR_INTERNAL, "img1" },
	};
	struct host_krbd_spec spec = spec_of("img1");
	struct host_krbd dev;
	struct kernel k;

	begin(&k);
	k.has_no_keys = true;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		k.answer = -cases[i].os;
		ASSERT_ERR(krbd_map(&k.at, &k.ctx, &spec, &dev, &k.err), &k.err, cases[i].code,
			   cases[i].words);
		ASSERT_TRUE(!strstr(k.err.msg, "QUJD"));
	}
	spec.key = "not base64!";
	ASSERT_ERR(krbd_map(&k.at, &k.ctx, &spec, &dev, &k.err), &k.err, ERR_INVALID_ARGUMENT,
		   "no base64");
	ASSERT_TRUE(!strstr(k.err.msg, "not base64!"));
	end(&k);
}

TEST(unmapping_is_tried_until_it_is_not_busy)
{
	struct host_krbd dev = { .id = 4, .path = "/dev/rbd4" };
	struct kernel k;

	begin(&k);
	show(&k, 4, "rbd", "", "img1", false);
	k.n_busy = 2;
	ASSERT_OK(krbd_unmap(&k.at, &k.ctx, &dev, "force", &k.err), &k.err);
	ASSERT_STR(k.line, "4 force");
	ASSERT_EQ(k.n_writes, 3);
	k.answer = -ENOENT; /* gone already */
	ASSERT_OK(krbd_unmap(&k.at, &k.ctx, &dev, "", &k.err), &k.err);
	ASSERT_STR(k.line, "4");
	end(&k);
}

TEST(what_stays_busy_says_who_has_it)
{
	struct host_krbd dev = { .id = 4, .path = "/dev/rbd4" };
	struct kernel k;
	struct stat st;

	begin(&k);
	show(&k, 4, "rbd", "", "img1", false);
	k.n_busy = UINT32_MAX;
	ASSERT_EQ(stat("/", &st), 0);
	dev.devno = st.st_dev; /* which is mounted, certainly */
	k.ctx.deadline_ns = clock_now_ns() + 600 * NS_PER_MS;
	ASSERT_ERR(krbd_unmap(&k.at, &k.ctx, &dev, "", &k.err), &k.err, ERR_FAILED_PRECONDITION,
		   "in use: mounted at '/");
	ctx_cancel(&k.ctx);
	k.n_writes = 0;
	ASSERT_ERR(krbd_unmap(&k.at, &k.ctx, &dev, "", &k.err), &k.err, ERR_FAILED_PRECONDITION,
		   "in use");
	ASSERT_EQ(k.n_writes, 1);
	end(&k);
}

/* What rbd-nbd has is asked of sysfs; a name that is none is in doubt. */
TEST(a_network_block_device_that_is_not_there_is_free)
{
	static const char *const strange[] = { "",          "/dev/nbd",       "/dev/nbd0p1",
					       "/dev/rbd0", "/dev/nbd../sda", "/dev/nbd123456789" };
	struct err err;

	ASSERT_EQ(host_nbd_is_used("/dev/nbd99999", &err), 0);
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++)
		ASSERT_ERR(host_nbd_is_used(strange[i], &err), &err, ERR_FAILED_PRECONDITION,
			   "not known");
}

RUN_TESTS(UNIT(a_network_block_device_that_is_not_there_is_free),
	  UNIT(an_image_is_mapped_by_one_line_and_found_again),
	  UNIT(a_device_is_known_by_cluster_pool_and_image),
	  UNIT(what_the_class_says_is_in_the_line),
	  UNIT(a_cluster_of_the_second_protocol_alone_needs_no_option),
	  UNIT(a_line_holds_no_more_than_one_image),
	  UNIT(features_that_the_kernel_lacks_are_named_before_mapping),
	  UNIT(options_that_need_the_lock_are_refused_without_it),
	  UNIT(what_the_kernel_answers_has_its_code), UNIT(unmapping_is_tried_until_it_is_not_busy),
	  UNIT(what_stays_busy_says_who_has_it))
