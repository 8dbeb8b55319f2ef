/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake of librados does what journal.c relies on, as an OSD does it: operations are whole or
 * not at all, an absent key compares as empty, and trouble comes at the call it was asked for.
 */
#include <errno.h>

#include "base/str.h"
#include "check.h"
#include "fake/ceph.h"

static const struct ceph_lib *lib;

static rados_t connect_as(const char *key)
{
	rados_t cluster;

	ASSERT_EQ(lib->rados_create2(&cluster, "ceph", "client." FAKE_CEPH_USER, 0), 0);
	ASSERT_EQ(lib->rados_conf_set(cluster, "mon_host", FAKE_CEPH_MONITORS), 0);
	ASSERT_EQ(lib->rados_conf_set(cluster, "key", key), 0);
	return cluster;
}

static rados_t start(rados_ioctx_t *ret_io)
{
	rados_t cluster;

	lib = fake_ceph_lib();
	fake_ceph_reset();
	cluster = connect_as(FAKE_CEPH_KEY);
	ASSERT_EQ(lib->rados_connect(cluster), 0);
	ASSERT_EQ(lib->rados_ioctx_create(cluster, "rbd", ret_io), 0);
	return cluster;
}

static void stop(rados_t cluster, rados_ioctx_t io)
{
	lib->rados_ioctx_destroy(io);
	lib->rados_shutdown(cluster);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
	ASSERT_EQ(fake_ceph_n_handles(), 0);
}

/* Sets the key if it is absent, and makes the object. */
static int reserve(rados_ioctx_t io, const char *key, const char *value)
{
	rados_write_op_t op = lib->rados_create_write_op();
	size_t n = strlen(value);
	int rc, cmp = 1;

	lib->rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	lib->rados_write_op_omap_cmp(op, key, LIBRADOS_CMPXATTR_OP_EQ, "", 0, &cmp);
	lib->rados_write_op_omap_set(op, &key, &value, &n, 1);
	rc = lib->rados_write_op_operate(op, io, "dir", NULL, 0);
	lib->rados_release_write_op(op);
	return rc;
}

TEST(a_key_is_set_once)
{
	rados_ioctx_t io;
	rados_t cluster = start(&io);

	ASSERT_EQ(reserve(io, "a", "1"), 0);
	ASSERT_EQ(reserve(io, "a", "2"), -ECANCELED);
	ASSERT_EQ(reserve(io, "b", "3"), 0);
	ASSERT_STR(fake_ceph_omap_get(1, "", "dir", "a"), "1");
	ASSERT_EQ(fake_ceph_omap_count(1, "", "dir"), 2);
	stop(cluster, io);
}

TEST(an_absent_object_is_not_compared_with)
{
	rados_ioctx_t io;
	rados_t cluster = start(&io);
	rados_write_op_t op = lib->rados_create_write_op();
	int cmp = 1;

	lib->rados_write_op_omap_cmp(op, "a", LIBRADOS_CMPXATTR_OP_EQ, "", 0, &cmp);
	ASSERT_EQ(lib->rados_write_op_operate(op, io, "dir", NULL, 0), -ENOENT);
	lib->rados_release_write_op(op);
	ASSERT_EQ(fake_ceph_n_objects(1), 0);
	stop(cluster, io);
}

TEST(keys_are_listed_page_by_page)
{
	const char *after = "";
	rados_ioctx_t io;
	rados_t cluster = start(&io);
	unsigned char more = 1;
	size_t n_pages = 0;
	autostr struct str seen = STR_INIT;

	for (const char *const *k = (const char *const[]){ "c", "a", "x", "b", NULL }; *k; k++)
		ASSERT_EQ(reserve(io, *k, "v"), 0);
	for (; more; n_pages++) {
		rados_read_op_t op = lib->rados_create_read_op();
		rados_omap_iter_t it;
		char *key, *value;
		size_t n;
		int rc;

		lib->rados_read_op_omap_get_vals2(op, after, "", 3, &it, &more, &rc);
		ASSERT_EQ(lib->rados_read_op_operate(op, io, "dir", 0), 0);
		while (lib->rados_omap_get_next(it, &key, &value, &n) == 0 && key) {
			str_append(&seen, key);
			after = key[0] == 'c' ? "c" : after;
		}
		lib->rados_omap_get_end(it);
		lib->rados_release_read_op(op);
	}
	ASSERT_STR(str_get(&seen), "abcx");
	ASSERT_EQ(n_pages, 2);
	stop(cluster, io);
}

TEST(what_a_key_is_worth_is_told_at_connect)
{
	rados_t cluster;

	lib = fake_ceph_lib();
	fake_ceph_reset();
	cluster = connect_as("AQBhYmNkZWZnaBAAYWJjZGVmZ2hhYmNkZWZneA==");
	ASSERT_EQ(lib->rados_connect(cluster), -EACCES);
	lib->rados_shutdown(cluster);
	cluster = connect_as("no key");
	ASSERT_EQ(lib->rados_connect(cluster), -EINVAL);
	lib->rados_shutdown(cluster);
}

TEST(trouble_comes_at_its_call)
{
	rados_ioctx_t io;
	rados_t cluster = start(&io);

	fake_ceph_fail_at(2, EIO);
	ASSERT_EQ(reserve(io, "a", "1"), 0);
	ASSERT_FALSE(fake_ceph_trouble_came());
	ASSERT_EQ(reserve(io, "b", "1"), -EIO);
	ASSERT_EQ(reserve(io, "b", "1"), 0);

	fake_ceph_lose_at(1);
	ASSERT_EQ(reserve(io, "c", "1"), -ETIMEDOUT);
	ASSERT_EQ(reserve(io, "c", "1"), -ECANCELED); /* it had been done */

	fake_ceph_kill_at(1);
	ASSERT_EQ(reserve(io, "d", "1"), -ESHUTDOWN);
	ASSERT_EQ(reserve(io, "d", "1"), -ESHUTDOWN);
	fake_ceph_kill();
	ASSERT_EQ(reserve(io, "d", "1"), -ESHUTDOWN); /* a handle of the dead */
	ASSERT_EQ(fake_ceph_omap_count(1, "", "dir"), 3);
	stop(cluster, io);
}

static int create(rados_ioctx_t io, const char *name)
{
	rbd_image_options_t o;
	int rc;

	lib->rbd_image_options_create(&o);
	rc = lib->rbd_create4(io, name, 1 << 20, o);
	lib->rbd_image_options_destroy(o);
	return rc;
}

/* As librbd leaves it: the name is taken, and there is nothing to open. */
TEST(who_dies_while_it_makes_an_image_leaves_half)
{
	rados_ioctx_t io;
	rados_t cluster = start(&io);
	rbd_image_t image;

	fake_ceph_kill_at(1);
	ASSERT_EQ(create(io, "a"), -ESHUTDOWN);
	ASSERT_EQ(fake_ceph_n_images(1), 0);
	fake_ceph_kill_within(1);
	ASSERT_EQ(create(io, "a"), -ESHUTDOWN);
	fake_ceph_kill();
	stop(cluster, io);
	cluster = connect_as(FAKE_CEPH_KEY);
	ASSERT_EQ(lib->rados_connect(cluster), 0);
	ASSERT_EQ(lib->rados_ioctx_create(cluster, "rbd", &io), 0);
	ASSERT_EQ(create(io, "a"), -EEXIST);
	ASSERT_EQ(lib->rbd_open(io, "a", &image, NULL), -ENOENT);
	ASSERT_EQ(lib->rbd_remove(io, "a"), 0);
	ASSERT_EQ(create(io, "a"), 0);
	stop(cluster, io);
}

TEST(watches_of_the_dead_are_gone)
{
	rados_ioctx_t io;
	rados_t cluster = start(&io);
	rbd_image_t image;

	ASSERT_EQ(create(io, "a"), 0);
	fake_ceph_set_watched(1, "", "a", "10.0.0.9:0/7");
	ASSERT_EQ(lib->rbd_open(io, "a", &image, NULL), 0);
	ASSERT_EQ(fake_ceph_n_watchers(1, "", "a"), 2);
	fake_ceph_kill();
	ASSERT_EQ(fake_ceph_n_watchers(1, "", "a"), 1);
	ASSERT_EQ(lib->rbd_snap_create(image, "s"), -ESHUTDOWN);
	ASSERT_EQ(lib->rbd_close(image), 0);
	fake_ceph_set_watched(1, "", "a", NULL);
	ASSERT_EQ(fake_ceph_n_watchers(1, "", "a"), 0);
	stop(cluster, io);
}

/* A parent in the trash goes when its last clone has. */
TEST(the_manager_tries_again)
{
	rados_ioctx_t io;
	rados_t cluster = start(&io);
	const char *command;
	rbd_image_options_t o;
	rbd_image_t image;
	char id[32], text[128];

	ASSERT_EQ(create(io, "a"), 0);
	ASSERT_EQ(lib->rbd_open(io, "a", &image, NULL), 0);
	ASSERT_EQ(lib->rbd_get_id(image, id, sizeof(id)), 0);
	ASSERT_EQ(lib->rbd_snap_create(image, "s"), 0);
	lib->rbd_image_options_create(&o);
	ASSERT_EQ(lib->rbd_image_options_set_uint64(o, RBD_IMAGE_OPTION_CLONE_FORMAT, 2), 0);
	ASSERT_EQ(lib->rbd_clone3(io, "a", "s", io, "b", o), 0);
	lib->rbd_image_options_destroy(o);
	ASSERT_EQ(lib->rbd_snap_remove(image, "s"), 0);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rbd_trash_move(io, "a", 0), 0);
	(void)snprintf(text, sizeof(text),
		       "{\"prefix\":\"rbd task add trash remove\",\"image_id_spec\":\"rbd/%s\"}",
		       id);
	command = text;
	ASSERT_EQ(lib->rados_mgr_command(cluster, &command, 1, "", 0, NULL, NULL, NULL, NULL), 0);
	ASSERT_EQ(fake_ceph_n_trash(1), 1);
	ASSERT_EQ(lib->rbd_remove(io, "b"), 0);
	ASSERT_EQ(fake_ceph_n_images(1), 0);
	stop(cluster, io);
}

TEST(the_blocklisted_come_back_by_a_new_connection)
{
	rados_ioctx_t io;
	rados_t cluster = start(&io);

	fake_ceph_blocklist(FAKE_CEPH_MONITORS);
	ASSERT_EQ(reserve(io, "a", "1"), -ESHUTDOWN);
	stop(cluster, io);
	cluster = connect_as(FAKE_CEPH_KEY);
	ASSERT_EQ(lib->rados_connect(cluster), 0);
	ASSERT_EQ(lib->rados_ioctx_create(cluster, "rbd", &io), 0);
	ASSERT_EQ(reserve(io, "a", "1"), 0);
	stop(cluster, io);
}

RUN_TESTS(UNIT(a_key_is_set_once), UNIT(an_absent_object_is_not_compared_with),
	  UNIT(keys_are_listed_page_by_page), UNIT(what_a_key_is_worth_is_told_at_connect),
	  UNIT(trouble_comes_at_its_call), UNIT(who_dies_while_it_makes_an_image_leaves_half),
	  UNIT(watches_of_the_dead_are_gone), UNIT(the_manager_tries_again),
	  UNIT(the_blocklisted_come_back_by_a_new_connection))
