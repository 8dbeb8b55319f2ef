/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of images: what of them librbd refuses, keeps, and lets go of by itself. */
#include "ceph_contract.h"

#include <fcntl.h>
#include <unistd.h>

#define SIZE (UINT64_C(16) << 20)

static rbd_image_options_t options(uint64_t features, bool clone)
{
	rbd_image_options_t o;

	lib->rbd_image_options_create(&o);
	ASSERT_EQ(lib->rbd_image_options_set_uint64(o, RBD_IMAGE_OPTION_FEATURES, features), 0);
	if (clone)
		ASSERT_EQ(lib->rbd_image_options_set_uint64(o, RBD_IMAGE_OPTION_CLONE_FORMAT, 2),
			  0);
	return o;
}

static int create(const char *name, uint64_t features)
{
	rbd_image_options_t o = options(features, false);
	int rc = lib->rbd_create4(io, name, SIZE, o);

	lib->rbd_image_options_destroy(o);
	return rc;
}

static int clone_of(const char *parent, const char *snap, const char *name, uint64_t features)
{
	rbd_image_options_t o = options(features, true);
	int rc = lib->rbd_clone3(io, parent, snap, io, name, o);

	lib->rbd_image_options_destroy(o);
	return rc;
}

static rbd_image_t open_image(const char *name)
{
	rbd_image_t image = NULL;

	ASSERT_EQ(lib->rbd_open(io, name, &image, NULL), 0);
	return image;
}

static int snapshot(const char *name, const char *snap)
{
	rbd_image_t image = open_image(name);
	int rc = lib->rbd_snap_create(image, snap);

	ASSERT_EQ(lib->rbd_close(image), 0);
	return rc;
}

static int unsnapshot(const char *name, const char *snap)
{
	rbd_image_t image = open_image(name);
	int rc = lib->rbd_snap_remove(image, snap);

	ASSERT_EQ(lib->rbd_close(image), 0);
	return rc;
}

static void read_id(const char *name, char ret_id[64])
{
	rbd_image_t image = open_image(name);

	ASSERT_EQ(lib->rbd_get_id(image, ret_id, 64), 0);
	ASSERT_EQ(lib->rbd_close(image), 0);
}

/* How many of a namespace there are. */
static int count_snaps(const char *name, rbd_snap_namespace_type_t type)
{
	rbd_image_t image = open_image(name);
	rbd_snap_info_t snaps[8];
	int max = ARRAY_LEN(snaps), found = 0, n = lib->rbd_snap_list(image, snaps, &max);

	ASSERT_TRUE(n >= 0);
	for (int i = 0; i < n; i++) {
		rbd_snap_namespace_type_t got;

		ASSERT_EQ(lib->rbd_snap_get_namespace_type(image, snaps[i].id, &got), 0);
		found += got == type;
	}
	lib->rbd_snap_list_end(snaps);
	ASSERT_EQ(lib->rbd_close(image), 0);
	return found;
}

TEST(an_image_is_made_once)
{
	const char *name;
	uint64_t size, features;
	struct timespec created;
	rbd_image_t image;
	char id[64];

	begin();
	name = own("made");
	ASSERT_EQ(create(name, 61), 0);
	ASSERT_EQ(create(name, 61), -EEXIST);
	image = open_image(name);
	ASSERT_EQ(lib->rbd_get_size(image, &size), 0);
	ASSERT_TRUE(size == SIZE);
	ASSERT_EQ(lib->rbd_get_features(image, &features), 0);
	ASSERT_TRUE(features == 61);
	ASSERT_EQ(lib->rbd_get_id(image, id, 2), -ERANGE);
	ASSERT_EQ(lib->rbd_get_create_timestamp(image, &created), 0);
	ASSERT_TRUE(created.tv_sec > 0);
	ASSERT_EQ(lib->rbd_resize(image, 2 * SIZE), 0);
	ASSERT_EQ(lib->rbd_get_size(image, &size), 0);
	ASSERT_TRUE(size == 2 * SIZE);
	ASSERT_EQ(lib->rbd_flatten(image), -EINVAL);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rbd_open_read_only(io, name, &image, NULL), 0);
	ASSERT_EQ(lib->rbd_resize(image, SIZE), -EROFS);
	ASSERT_EQ(lib->rbd_snap_create(image, "s"), -EROFS);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rbd_open(io, own("absent"), &image, NULL), -ENOENT);
	ASSERT_EQ(lib->rbd_open(io, name, &image, "absent"), -ENOENT);
	ASSERT_EQ(lib->rbd_remove(io, name), 0);
	ASSERT_EQ(lib->rbd_remove(io, name), -ENOENT);
	end();
}

TEST(what_an_image_cannot_be_is_refused)
{
	static const struct {
		int name;
		uint64_t value;
		int rc;
	} cases[] = {
		{ RBD_IMAGE_OPTION_FEATURES, RBD_FEATURE_LAYERING | RBD_FEATURE_OBJECT_MAP,
		  -EINVAL },
		{ RBD_IMAGE_OPTION_FEATURES, UINT64_C(1) << 40, -ENOSYS },
		{ RBD_IMAGE_OPTION_ORDER, 40, -EDOM },
		{ RBD_IMAGE_OPTION_STRIPE_UNIT, 65536, -EINVAL },
	};
	rbd_image_options_t o;

	begin();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		lib->rbd_image_options_create(&o);
		ASSERT_EQ(lib->rbd_image_options_set_uint64(o, cases[i].name, cases[i].value), 0);
		ASSERT_EQ(lib->rbd_create4(io, own("odd"), SIZE, o), cases[i].rc);
		lib->rbd_image_options_destroy(o);
	}
	lib->rbd_image_options_create(&o);
	ASSERT_EQ(lib->rbd_image_options_set_string(o, RBD_IMAGE_OPTION_DATA_POOL, "absent"), 0);
	ASSERT_EQ(lib->rbd_create4(io, own("odd"), SIZE, o), -ENOENT);
	lib->rbd_image_options_destroy(o);
	end();
}

TEST(metadata_is_kept_and_goes_to_clones)
{
	rbd_image_t image;
	const char *name, *clone;
	char value[16];
	size_t n = 2;

	begin();
	name = own("meta");
	clone = own("meta-clone");
	ASSERT_EQ(create(name, 1), 0);
	image = open_image(name);
	ASSERT_EQ(lib->rbd_metadata_set(image, "k", "value"), 0);
	ASSERT_EQ(lib->rbd_metadata_get(image, "k", value, &n), -ERANGE);
	ASSERT_EQ(n, 6);
	ASSERT_EQ(lib->rbd_metadata_get(image, "k", value, &n), 0);
	ASSERT_STR(value, "value");
	ASSERT_EQ(lib->rbd_metadata_get(image, "absent", value, &n), -ENOENT);
	ASSERT_EQ(lib->rbd_snap_create(image, "s"), 0);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(clone_of(name, "s", clone, 1), 0);
	image = open_image(clone);
	n = sizeof(value);
	ASSERT_EQ(lib->rbd_metadata_get(image, "k", value, &n), 0);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rbd_remove(io, clone), 0);
	ASSERT_EQ(unsnapshot(name, "s"), 0);
	ASSERT_EQ(lib->rbd_remove(io, name), 0);
	end();
}

/* Without an open image, as words.c does it. */
TEST(an_id_and_metadata_are_one_operation_each)
{
	static const char *const keys[] = { "metadata_first", "metadata_second" };
	static const char *const values[] = { "1", "2" };
	static const char *const gone[] = { "metadata_first", "metadata_absent" };
	static const size_t lens[] = { 1, 1 };
	const char *name, *header;
	char id[68], want[64], value[16];
	size_t n = sizeof(value);
	rados_write_op_t op;
	rbd_image_t image;

	begin();
	name = own("words");
	ASSERT_EQ(create(name, 61), 0);
	read_id(name, want);
	ASSERT_EQ(
		lib->rados_read(io, arena_printf(ctx.arena, "rbd_id.%s", name), id, sizeof(id), 0),
		4 + (int)strlen(want));
	ASSERT_TRUE(id[0] == (char)strlen(want) && memcmp(id + 4, want, strlen(want)) == 0);
	ASSERT_EQ(lib->rados_read(io, "rbd_id.absent", id, sizeof(id), 0), -ENOENT);
	header = arena_printf(ctx.arena, "rbd_header.%s", want);
	for (int absent = 0; absent < 2; absent++) {
		/* operating leaves nothing in it */
		op = lib->rados_create_write_op();
		lib->rados_write_op_assert_exists(op);
		lib->rados_write_op_omap_set(op, keys, values, lens, ARRAY_LEN(keys));
		lib->rados_write_op_omap_rm_keys(op, gone, ARRAY_LEN(gone));
		ASSERT_EQ(lib->rados_write_op_operate(op, io, absent ? "rbd_header.absent" : header,
						      NULL, 0),
			  absent ? -ENOENT : 0);
		lib->rados_release_write_op(op);
	}
	image = open_image(name);
	ASSERT_EQ(lib->rbd_metadata_get(image, "second", value, &n), 0);
	ASSERT_STR(value, "2");
	n = sizeof(value);
	ASSERT_EQ(lib->rbd_metadata_get(image, "first", value, &n), -ENOENT);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rbd_remove(io, name), 0);
	end();
}

/* Limits of I/O: read without opening the image, and who has it open is told. */
TEST(a_header_is_read_and_who_has_it_open_is_told)
{
	static const char *const keys[] = { "metadata_conf_rbd_qos_read_iops_limit",
					    "metadata_absent" };
	rados_omap_iter_t iter;
	const char *name, *header;
	char id[64], *key, *value;
	rados_read_op_t op;
	rbd_image_t image;
	int rc = 0;
	size_t n;

	begin();
	name = own("limits");
	ASSERT_EQ(create(name, 61), 0);
	read_id(name, id);
	header = arena_printf(ctx.arena, "rbd_header.%s", id);
	image = open_image(name);
	ASSERT_EQ(lib->rbd_metadata_set(image, "conf_rbd_qos_read_iops_limit", "500"), 0);
	for (int absent = 0; absent < 2; absent++) {
		const char *object = absent ? "rbd_header.absent" : header;

		op = lib->rados_create_read_op();
		lib->rados_read_op_omap_get_vals_by_keys(op, keys, ARRAY_LEN(keys), &iter, &rc);
		ASSERT_EQ(lib->rados_read_op_operate(op, io, object, 0), absent ? -ENOENT : 0);
		ASSERT_EQ(lib->rados_omap_get_next(iter, &key, &value, &n), 0);
		ASSERT_EQ(key == NULL, absent);
		if (!absent)
			ASSERT_TRUE(str_is_equal(key, keys[0]) && n == 3 &&
				    memcmp(value, "500", n) == 0);
		lib->rados_omap_get_end(iter);
		lib->rados_release_read_op(op);
		ASSERT_EQ(lib->rados_notify2(io, object, NULL, 0, 5000, NULL, NULL),
			  absent ? -ENOENT : 0);
	}
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rados_notify2(io, header, NULL, 0, 5000, NULL, NULL), 0);
	ASSERT_EQ(lib->rbd_remove(io, name), 0);
	end();
}

TEST(snapshots_are_told_by_name)
{
	rbd_image_t image;
	rbd_snap_info_t snaps[8];
	const char *name;
	int max = 1;

	begin();
	name = own("snaps");
	ASSERT_EQ(create(name, 61), 0);
	ASSERT_EQ(snapshot(name, "a"), 0);
	ASSERT_EQ(snapshot(name, "a"), -EEXIST);
	ASSERT_EQ(snapshot(name, "b"), 0);
	image = open_image(name);
	ASSERT_EQ(lib->rbd_snap_list(image, snaps, &max), -ERANGE);
	ASSERT_EQ(max, 3);
	ASSERT_EQ(lib->rbd_snap_list(image, snaps, &max), 2);
	ASSERT_STR(snaps[0].name, "a");
	ASSERT_TRUE(snaps[0].size == SIZE);
	lib->rbd_snap_list_end(snaps);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rbd_remove(io, name), -ENOTEMPTY);
	ASSERT_EQ(unsnapshot(name, "a"), 0);
	ASSERT_EQ(unsnapshot(name, "a"), -ENOENT);
	ASSERT_EQ(unsnapshot(name, "b"), 0);
	ASSERT_EQ(lib->rbd_remove(io, name), 0);
	end();
}

TEST(a_clone_needs_its_format_and_its_snapshot)
{
	rbd_image_options_t o;
	const char *name;

	begin();
	name = own("cloned");
	ASSERT_EQ(create(name, 61), 0);
	ASSERT_EQ(snapshot(name, "s"), 0);
	ASSERT_EQ(clone_of(name, "absent", own("c"), 61), -ENOENT);
	ASSERT_EQ(clone_of(own("absent"), "s", own("c"), 61), -ENOENT);
	ASSERT_EQ(clone_of(name, "s", own("c"), 4), -ENOSYS); /* without layering */
	lib->rbd_image_options_create(&o); /* format 1: the snapshot is not protected */
	ASSERT_EQ(lib->rbd_image_options_set_uint64(o, RBD_IMAGE_OPTION_CLONE_FORMAT, 1), 0);
	ASSERT_EQ(lib->rbd_clone3(io, name, "s", io, own("c"), o), -EINVAL);
	lib->rbd_image_options_destroy(o);
	ASSERT_EQ(clone_of(name, "s", own("c"), 61), 0);
	ASSERT_EQ(clone_of(name, "s", own("c"), 61), -EEXIST);
	ASSERT_EQ(lib->rbd_remove(io, own("c")), 0);
	ASSERT_EQ(unsnapshot(name, "s"), 0);
	ASSERT_EQ(lib->rbd_remove(io, name), 0);
	end();
}

static int read_parent(const char *name, rbd_linked_image_spec_t *ret_image,
		       rbd_snap_spec_t *ret_snap)
{
	rbd_image_t image = open_image(name);
	int rc = lib->rbd_get_parent(image, ret_image, ret_snap);

	ASSERT_EQ(lib->rbd_close(image), 0);
	return rc;
}

/* As ceph-csi makes a snapshot: the source's own goes into the trash while its clone lives. */
TEST(a_snapshot_with_a_clone_goes_into_the_trash_and_with_it)
{
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snap;
	uint64_t features;
	rbd_image_t image;
	const char *source, *clone;

	begin();
	source = own("source");
	clone = own("clone");
	ASSERT_EQ(create(source, 61), 0);
	ASSERT_EQ(snapshot(source, "s"), 0);
	ASSERT_EQ(clone_of(source, "s", clone, 33), 0);
	ASSERT_EQ(unsnapshot(source, "s"), 0);
	ASSERT_EQ(count_snaps(source, RBD_SNAP_NAMESPACE_TYPE_USER), 0);
	ASSERT_EQ(count_snaps(source, RBD_SNAP_NAMESPACE_TYPE_TRASH), 1);
	ASSERT_EQ(lib->rbd_remove(io, source), -ENOTEMPTY);
	image = open_image(source);
	ASSERT_EQ(lib->rbd_get_features(image, &features), 0);
	ASSERT_TRUE(features == 317);
	ASSERT_EQ(lib->rbd_close(image), 0);

	ASSERT_EQ(read_parent(clone, &parent, &snap), 0);
	ASSERT_STR(parent.image_name, source);
	ASSERT_STR(parent.pool_name, "rbd");
	ASSERT_STR(parent.pool_namespace, "");
	ASSERT_FALSE(parent.trash);
	ASSERT_EQ(snap.namespace_type, RBD_SNAP_NAMESPACE_TYPE_TRASH);
	ASSERT_TRUE(!str_is_equal(snap.name, "s"));
	lib->rbd_linked_image_spec_cleanup(&parent);
	lib->rbd_snap_spec_cleanup(&snap);

	ASSERT_EQ(lib->rbd_remove(io, clone), 0);
	ASSERT_EQ(count_snaps(source, RBD_SNAP_NAMESPACE_TYPE_TRASH), 0);
	ASSERT_EQ(read_parent(source, &parent, &snap), -ENOENT);
	ASSERT_EQ(lib->rbd_remove(io, source), 0);
	end();
}

TEST(a_flattened_clone_lets_go_of_its_parent)
{
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snap;
	rbd_image_t image;
	const char *source, *clone;

	begin();
	source = own("source");
	clone = own("clone");
	ASSERT_EQ(create(source, 61), 0);
	ASSERT_EQ(snapshot(source, "s"), 0);
	ASSERT_EQ(clone_of(source, "s", clone, 33), 0);
	ASSERT_EQ(unsnapshot(source, "s"), 0);
	image = open_image(clone);
	ASSERT_EQ(lib->rbd_flatten(image), 0);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(read_parent(clone, &parent, &snap), -ENOENT);
	ASSERT_EQ(count_snaps(source, RBD_SNAP_NAMESPACE_TYPE_TRASH), 0);
	ASSERT_EQ(lib->rbd_remove(io, source), 0);
	ASSERT_EQ(lib->rbd_remove(io, clone), 0);
	end();
}

TEST(a_parent_in_the_trash_stays_until_its_clone_is_gone)
{
	rbd_linked_image_spec_t parent;
	rbd_trash_image_info_t info;
	rbd_snap_spec_t snap;
	rbd_image_t image;
	const char *source, *clone;
	char id[64];

	begin();
	source = own("source");
	clone = own("clone");
	ASSERT_EQ(create(source, 61), 0);
	read_id(source, id);
	ASSERT_EQ(snapshot(source, "s"), 0);
	ASSERT_EQ(clone_of(source, "s", clone, 33), 0);
	ASSERT_EQ(unsnapshot(source, "s"), 0);
	ASSERT_EQ(lib->rbd_trash_move(io, source, 0), 0);
	ASSERT_EQ(lib->rbd_trash_move(io, source, 0), -ENOENT);
	ASSERT_EQ(lib->rbd_open(io, source, &image, NULL), -ENOENT);
	ASSERT_EQ(lib->rbd_open_by_id_read_only(io, id, &image, NULL), 0);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rbd_trash_get(io, id, &info), 0);
	ASSERT_STR(info.name, source);
	ASSERT_EQ(info.source, RBD_TRASH_IMAGE_SOURCE_USER);
	lib->rbd_trash_get_cleanup(&info);
	ASSERT_EQ(lib->rbd_trash_remove(io, id, false), -ENOTEMPTY);
	ASSERT_EQ(read_parent(clone, &parent, &snap), 0);
	ASSERT_TRUE(parent.trash);
	ASSERT_STR(parent.image_id, id);
	lib->rbd_linked_image_spec_cleanup(&parent);
	lib->rbd_snap_spec_cleanup(&snap);
	ASSERT_EQ(create(source, 61), 0); /* its name is free */
	ASSERT_EQ(lib->rbd_remove(io, source), 0);
	ASSERT_EQ(lib->rbd_remove(io, clone), 0);
	ASSERT_EQ(lib->rbd_trash_remove(io, id, false), 0);
	ASSERT_EQ(lib->rbd_trash_remove(io, id, false), -ENOENT);
	ASSERT_EQ(lib->rbd_trash_get(io, id, &info), -ENOENT);
	end();
}

TEST(the_trash_keeps_what_has_a_time)
{
	const char *name;
	char id[64];

	begin();
	name = own("kept");
	ASSERT_EQ(create(name, 61), 0);
	read_id(name, id);
	ASSERT_EQ(lib->rbd_trash_move(io, name, 3600), 0);
	ASSERT_EQ(lib->rbd_trash_remove(io, id, false), -EPERM);
	ASSERT_EQ(lib->rbd_trash_remove(io, id, true), 0);
	end();
}

TEST(an_image_in_use_is_not_removed)
{
	rbd_image_watcher_t watchers[4];
	size_t n = 0;
	const char *name;
	rbd_image_t image, reader;
	char id[64];

	begin();
	name = own("used");
	ASSERT_EQ(create(name, 1), 0);
	read_id(name, id);
	ASSERT_EQ(lib->rbd_open_read_only(io, name, &reader, NULL), 0);
	ASSERT_EQ(lib->rbd_watchers_list(reader, watchers, &n), 0); /* a reader has none */
	lib->rbd_watchers_list_cleanup(watchers, n);
	image = open_image(name);
	n = 0;
	ASSERT_EQ(lib->rbd_watchers_list(reader, watchers, &n), -ERANGE);
	ASSERT_EQ(n, 1);
	ASSERT_EQ(lib->rbd_watchers_list(reader, watchers, &n), 0);
	ASSERT_EQ(n, 1);
	ASSERT_TRUE(strchr(watchers[0].addr, ':') != NULL);
	lib->rbd_watchers_list_cleanup(watchers, n);
	ASSERT_EQ(lib->rbd_close(reader), 0);
	ASSERT_EQ(lib->rbd_remove(io, name), -EBUSY);
	ASSERT_EQ(lib->rbd_trash_move(io, name, 0), 0);
	ASSERT_EQ(lib->rbd_trash_remove(io, id, false), -EBUSY);
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rbd_trash_remove(io, id, false), 0);
	end();
}

/* What is in the list of the trash, by name. */
static size_t count_trash(const char *name)
{
	rbd_trash_image_info_t *entries;
	size_t n = 0, found = 0;
	int rc = lib->rbd_trash_list(io, NULL, &n);

	if (rc == 0)
		return 0;
	ASSERT_EQ(rc, -ERANGE);
	entries = xcalloc(n, sizeof(*entries));
	ASSERT_TRUE(lib->rbd_trash_list(io, entries, &n) >= 0);
	for (size_t i = 0; i < n; i++)
		found += str_is_equal(entries[i].name, name);
	lib->rbd_trash_list_cleanup(entries, n);
	free(entries);
	return found;
}

static int task(const char *command)
{
	char *out = NULL, *status = NULL;
	size_t n_out = 0, n_status = 0;
	int rc = lib->rados_mgr_command(ceph_conn_rados(conn), &command, 1, "", 0, &out, &n_out,
					&status, &n_status);

	lib->rados_buffer_free(out);
	lib->rados_buffer_free(status);
	return rc;
}

TEST(the_manager_removes_what_is_in_the_trash)
{
	const char *name, *command;
	char id[64];

	begin();
	name = own("task");
	ASSERT_EQ(create(name, 61), 0);
	read_id(name, id);
	command = arena_printf(ctx.arena,
			       "{\"prefix\":\"rbd task add trash remove\",\"image_id_spec\":"
			       "\"rbd/%s\"}",
			       id);
	ASSERT_EQ(task(command), -ENOENT);
	ASSERT_EQ(lib->rbd_trash_move(io, name, 0), 0);
	ASSERT_EQ(count_trash(name), 1);
	ASSERT_EQ(task(command), 0);
	for (int i = 0; i < 2000000 && count_trash(name); i++)
		;
	ASSERT_EQ(count_trash(name), 0);
	ASSERT_EQ(task("{\"prefix\":\"rbd task add flatten\",\"image_spec\":\"rbd/absent\"}"),
		  -ENOENT);
	end();
}

struct wait {
	int fd[2];
};

static void wake(rbd_completion_t c, void *arg)
{
	struct wait *w = arg;

	ASSERT_EQ(write(w->fd[1], "x", 1), 1);
}

static ssize_t finish(struct wait *w, rbd_completion_t c)
{
	ssize_t rc;
	char x;

	ASSERT_EQ(read(w->fd[0], &x, 1), 1);
	rc = lib->rbd_aio_get_return_value(c);
	lib->rbd_aio_release(c);
	return rc;
}

static rbd_completion_t completion(struct wait *w)
{
	rbd_completion_t c;

	ASSERT_EQ(lib->rbd_aio_create_completion(w, wake, &c), 0);
	return c;
}

static ssize_t write_at(struct wait *w, rbd_image_t image, uint64_t offset, const char *text)
{
	rbd_completion_t c = completion(w);

	ASSERT_EQ(lib->rbd_aio_write(image, offset, strlen(text), text, c), 0);
	return finish(w, c);
}

static void assert_reads(struct wait *w, rbd_image_t image, uint64_t offset, const char *want)
{
	rbd_completion_t c = completion(w);
	char got[16] = { 0 };

	ASSERT_EQ(lib->rbd_aio_read(image, offset, strlen(want), got, c), 0);
	ASSERT_EQ(finish(w, c), strlen(want));
	ASSERT_STR(got, want);
}

TEST(a_clone_reads_as_its_snapshot_until_it_is_written)
{
	const char *source, *clone;
	rbd_image_t image;
	struct wait w;

	begin();
	ASSERT_EQ(pipe2(w.fd, O_CLOEXEC), 0);
	source = own("source");
	clone = own("clone");
	ASSERT_EQ(create(source, 61), 0);
	image = open_image(source);
	ASSERT_EQ(write_at(&w, image, 4090, "then-then"), 0);
	ASSERT_EQ(lib->rbd_snap_create(image, "s"), 0);
	ASSERT_EQ(write_at(&w, image, 4090, "now"), 0);
	ASSERT_EQ(clone_of(source, "s", clone, 33), 0);
	assert_reads(&w, image, 4090, "now");
	ASSERT_EQ(lib->rbd_flush(image), 0);
	ASSERT_EQ(lib->rbd_close(image), 0);
	image = open_image(clone);
	assert_reads(&w, image, 4090, "then-then");
	ASSERT_EQ(write_at(&w, image, 4093, "X"), 0);
	assert_reads(&w, image, 4090, "theX-then");
	ASSERT_EQ(lib->rbd_flatten(image), 0);
	assert_reads(&w, image, 4090, "theX-then");
	ASSERT_EQ(lib->rbd_close(image), 0);
	ASSERT_EQ(lib->rbd_remove(io, clone), 0);
	ASSERT_EQ(unsnapshot(source, "s"), 0);
	ASSERT_EQ(lib->rbd_remove(io, source), 0);
	close(w.fd[0]);
	close(w.fd[1]);
	end();
}

/* What was told, as one range: enough for what is written here. */
struct seen {
	uint64_t from, to;
	unsigned n;
};

static int see_difference(uint64_t offset, size_t n, int exists, void *arg)
{
	struct seen *seen = arg;

	(void)exists;
	seen->from = seen->n++ && seen->from < offset ? seen->from : offset;
	seen->to = seen->to > offset + n ? seen->to : offset + n;
	return 0;
}

static struct seen diff(const char *name, const char *snap, const char *from, bool whole, int want)
{
	struct seen seen = { .n = 0 };
	rbd_image_t image;

	ASSERT_EQ(lib->rbd_open_read_only(io, name, &image, snap), 0);
	ASSERT_EQ(lib->rbd_diff_iterate2(image, from, 0, SIZE, true, whole, see_difference, &seen),
		  want);
	ASSERT_EQ(lib->rbd_close(image), 0);
	return seen;
}

TEST(snapshots_of_one_image_are_compared)
{
	static const uint64_t features[] = { 61, 1 };

	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		const uint64_t object = UINT64_C(4) << 20;
		bool whole = features[i] & RBD_FEATURE_FAST_DIFF;
		struct timespec first = { 0 }, second = { 0 };
		rbd_image_t image;
		rbd_snap_info_t snaps[4];
		int max = ARRAY_LEN(snaps);
		const char *name;
		struct seen seen;
		struct wait w;

		begin();
		ASSERT_EQ(pipe2(w.fd, O_CLOEXEC), 0);
		name = own("compared");
		ASSERT_EQ(create(name, features[i]), 0);
		image = open_image(name);
		ASSERT_EQ(write_at(&w, image, 8192, "first"), 0);
		ASSERT_EQ(lib->rbd_snap_create(image, "a"), 0);
		ASSERT_EQ(write_at(&w, image, object + 4096, "second"), 0);
		ASSERT_EQ(lib->rbd_snap_create(image, "b"), 0);
		ASSERT_EQ(lib->rbd_snap_list(image, snaps, &max), 2);
		ASSERT_EQ(lib->rbd_snap_get_timestamp(image, snaps[0].id, &first), 0);
		ASSERT_EQ(lib->rbd_snap_get_timestamp(image, snaps[1].id, &second), 0);
		ASSERT_TRUE(first.tv_sec > 0 && second.tv_sec >= first.tv_sec);
		lib->rbd_snap_list_end(snaps);
		ASSERT_EQ(lib->rbd_close(image), 0);
		seen = diff(name, "a", NULL, whole, 0);
		ASSERT_TRUE(seen.n > 0 && seen.from <= 8192 && seen.to > 8192 && seen.to <= object);
		seen = diff(name, "b", "a", whole, 0);
		ASSERT_TRUE(seen.n > 0 && seen.from >= object && seen.from <= object + 4096 &&
			    seen.to > object + 4096 && seen.to <= 2 * object);
		ASSERT_EQ(diff(name, "b", "b", whole, 0).n, 0);
		(void)diff(name, "b", "absent", whole, -ENOENT);
		(void)diff(name, "a", "b", whole, -EINVAL);
		ASSERT_EQ(unsnapshot(name, "a"), 0);
		ASSERT_EQ(unsnapshot(name, "b"), 0);
		ASSERT_EQ(lib->rbd_remove(io, name), 0);
		close(w.fd[0]);
		close(w.fd[1]);
		end();
	}
}

RUN_TESTS(UNIT(an_image_is_made_once), UNIT(an_id_and_metadata_are_one_operation_each),
	  UNIT(a_header_is_read_and_who_has_it_open_is_told),
	  UNIT(snapshots_of_one_image_are_compared), UNIT(what_an_image_cannot_be_is_refused),
	  UNIT(metadata_is_kept_and_goes_to_clones), UNIT(snapshots_are_told_by_name),
	  UNIT(a_clone_needs_its_format_and_its_snapshot),
	  UNIT(a_snapshot_with_a_clone_goes_into_the_trash_and_with_it),
	  UNIT(a_flattened_clone_lets_go_of_its_parent),
	  UNIT(a_parent_in_the_trash_stays_until_its_clone_is_gone),
	  UNIT(the_trash_keeps_what_has_a_time), UNIT(an_image_in_use_is_not_removed),
	  UNIT(the_manager_removes_what_is_in_the_trash),
	  UNIT(a_clone_reads_as_its_snapshot_until_it_is_written))
