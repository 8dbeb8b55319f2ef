/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bare way, which is the limit: the calls of librados and librbd without which what ceph-csi
 * keeps would not be there, in this process, over one connection, without a look at anything first.
 *
 *   create:    reserve → rbd_create4 → id;   reserve: directory's key, then the object with its
 *   keys (two operations of omaps); id: open, rbd_get_id, close, one more key
 *   snapshot:  reserve → open → snap → clone v2 → snap off → close → open → snap → id
 *   restore:   reserve → clone v2 → id
 *   clone:     reserve → open → snap → clone v2 → snap off → close → the same of that → id
 *   expand:    open → resize → close
 *   delete:    (snap off →) trash, the manager's task → object, directory's key
 *   lookup:    one key of the directory
 *
 * perf_ceph_bare MONITORS USER POOL, the key in the environment's CEPH_KEY. One request a line,
 * answered by the microseconds that it took, so that whoever asks can measure in turns.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "base/clock.h"
#include "base/mem.h"

#define N_FILLED_AT_ONCE 500u
#define FEATURES                                                                      \
	(RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP | \
	 RBD_FEATURE_FAST_DIFF | RBD_FEATURE_DEEP_FLATTEN)
#define HIDDEN_FEATURES (RBD_FEATURE_LAYERING | RBD_FEATURE_DEEP_FLATTEN)
#define TEXT_MAX 160u

struct bare {
	rados_t cluster;
	rados_ioctx_t io;
	const char *pool;
};

struct kind {
	const char *directory, *key, *name_key, *prefix;
};

/* Of an instance of its own, so that a driver may serve the same pool meanwhile. */
static const struct kind volumes = { "csi.volumes.bare", "csi.volume.", "csi.volname", "csi-vol-" };
static const struct kind snapshots = { "csi.snaps.bare", "csi.snap.", "csi.snapname", "csi-snap-" };

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
	exit(1);
}

static void check(const char *what, const char *name, int rc)
{
	if (rc < 0)
		die("perf_ceph_bare: %s '%s': %s", what, name, strerror(-rc));
}

#define TEXT(buf, ...) ((void)snprintf(buf, sizeof(buf), __VA_ARGS__), (const char *)(buf))

/* --- the journal */

static void put(struct bare *b, const char *object, const char *const *keys,
		const char *const *values, size_t n)
{
	rados_write_op_t op = rados_create_write_op();
	size_t lens[8];

	for (size_t i = 0; i < n; i++)
		lens[i] = strlen(values[i]);
	rados_write_op_omap_set(op, keys, values, lens, n);
	check("write", object, rados_write_op_operate(op, b->io, object, NULL, 0));
	rados_release_write_op(op);
}

static void reserve(struct bare *b, const struct kind *kind, const char *name)
{
	char key[TEXT_MAX], object[TEXT_MAX], image[TEXT_MAX];
	const char *keys[] = { kind->name_key, "csi.imagename", "csi.volume.owner" };
	const char *values[] = { name, TEXT(image, "%s%s", kind->prefix, name), "ns1" };
	const char *entry = TEXT(key, "%s%s", kind->key, name);
	size_t len = strlen(name);
	rados_write_op_t op = rados_create_write_op();
	int found = 0;

	/* an absent key is equal to an empty value, but only of an object that is there */
	rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	rados_write_op_omap_cmp(op, entry, LIBRADOS_CMPXATTR_OP_EQ, "", 0, &found);
	rados_write_op_omap_set(op, &entry, &name, &len, 1);
	check("reserve", name, rados_write_op_operate(op, b->io, kind->directory, NULL, 0));
	rados_release_write_op(op);
	put(b, TEXT(object, "%s%s", kind->key, name), keys, values, ARRAY_LEN(keys));
}

static void forget(struct bare *b, const struct kind *kind, const char *name)
{
	char key[TEXT_MAX];
	const char *entry = TEXT(key, "%s%s", kind->key, name);
	rados_write_op_t op = rados_create_write_op();

	check("remove", key, rados_remove(b->io, key));
	rados_write_op_omap_rm_keys(op, &entry, 1);
	check("forget", name, rados_write_op_operate(op, b->io, kind->directory, NULL, 0));
	rados_release_write_op(op);
}

static void look_up(struct bare *b, const char *name)
{
	char key[TEXT_MAX];
	const char *entry = TEXT(key, "%s%s", volumes.key, name);
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t found;
	char *k = NULL, *value = NULL;
	size_t len = 0;
	int rc = 0;

	rados_read_op_omap_get_vals_by_keys(op, &entry, 1, &found, &rc);
	check("look up", name, rados_read_op_operate(op, b->io, volumes.directory, 0));
	if (rados_omap_get_next(found, &k, &value, &len) < 0 || !k)
		die("perf_ceph_bare: no entry of '%s'", name);
	rados_omap_get_end(found);
	rados_release_read_op(op);
}

static void fill(struct bare *b, const char *many)
{
	unsigned n = (unsigned)strtoul(many, NULL, 10);
	static char texts[N_FILLED_AT_ONCE][64];
	const char *keys[N_FILLED_AT_ONCE], *values[N_FILLED_AT_ONCE];
	size_t lens[N_FILLED_AT_ONCE];

	for (unsigned done = 0; done < n; done += N_FILLED_AT_ONCE) {
		rados_write_op_t op = rados_create_write_op();

		for (unsigned i = 0; i < N_FILLED_AT_ONCE; i++) {
			keys[i] = TEXT(texts[i], "csi.volume.pvc-filled-%08u-0000-000000000000",
				       done + i);
			values[i] = "00000000-0000-0000-0000-000000000000";
			lens[i] = strlen(values[i]);
		}
		rados_write_op_omap_set(op, keys, values, lens, N_FILLED_AT_ONCE);
		check("fill", volumes.directory,
		      rados_write_op_operate(op, b->io, volumes.directory, NULL, 0));
		rados_release_write_op(op);
	}
}

/* --- images */

static rbd_image_t open_image(struct bare *b, const char *image)
{
	rbd_image_t opened;

	check("open", image, rbd_open(b->io, image, &opened, NULL));
	return opened;
}

static rbd_image_options_t options_of(uint64_t features)
{
	rbd_image_options_t options;

	rbd_image_options_create(&options);
	check("options", "",
	      rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, features));
	check("options", "",
	      rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2));
	return options;
}

static void create_image(struct bare *b, const char *image, uint64_t bytes)
{
	rbd_image_options_t options;

	rbd_image_options_create(&options);
	check("options", image,
	      rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, FEATURES));
	check("create", image, rbd_create4(b->io, image, bytes, options));
	rbd_image_options_destroy(options);
}

static void clone_image(struct bare *b, const char *parent, const char *snap, const char *image,
			uint64_t features)
{
	rbd_image_options_t options = options_of(features);

	check("clone", image, rbd_clone3(b->io, parent, snap, b->io, image, options));
	rbd_image_options_destroy(options);
}

static void note_id(struct bare *b, const struct kind *kind, const char *name)
{
	char object[TEXT_MAX], image[TEXT_MAX], id[64];
	const char *key = "csi.imageid", *value = id;
	rbd_image_t opened;

	(void)TEXT(image, "%s%s", kind->prefix, name);
	check("open", image, rbd_open_read_only(b->io, image, &opened, NULL));
	check("id", image, rbd_get_id(opened, id, sizeof(id)));
	(void)rbd_close(opened);
	put(b, TEXT(object, "%s%s", kind->key, name), &key, &value, 1);
}

/* A clone of source as it is, by a snapshot that goes at once. */
static void branch(struct bare *b, const char *source, const char *snap, const char *image,
		   uint64_t features)
{
	rbd_image_t opened = open_image(b, source);

	check("snapshot", source, rbd_snap_create(opened, snap));
	clone_image(b, source, snap, image, features);
	check("snapshot off", source, rbd_snap_remove(opened, snap));
	(void)rbd_close(opened);
}

static void drop_image(struct bare *b, const char *image)
{
	char id[64], command[TEXT_MAX * 2];
	const char *words = command;
	char *out = NULL, *text = NULL;
	size_t out_len, text_len;
	rbd_image_t opened = open_image(b, image);

	check("id", image, rbd_get_id(opened, id, sizeof(id)));
	(void)rbd_close(opened);
	check("trash", image, rbd_trash_move(b->io, image, 0));
	(void)TEXT(command,
		   "{\"prefix\":\"rbd task add trash remove\",\"image_id_spec\":\"%s/%s\"}",
		   b->pool, id);
	check("task", image,
	      rados_mgr_command(b->cluster, &words, 1, "", 0, &out, &out_len, &text, &text_len));
	rados_buffer_free(out);
	rados_buffer_free(text);
}

/* --- requests: name, and what it is made of or how large */

static void create(struct bare *b, const char *name, const char *bytes)
{
	char image[TEXT_MAX];

	reserve(b, &volumes, name);
	create_image(b, TEXT(image, "csi-vol-%s", name), strtoull(bytes, NULL, 10));
	note_id(b, &volumes, name);
}

static void snapshot(struct bare *b, const char *name, const char *volume)
{
	char image[TEXT_MAX], source[TEXT_MAX];
	rbd_image_t opened;

	reserve(b, &snapshots, name);
	(void)TEXT(image, "csi-snap-%s", name);
	branch(b, TEXT(source, "csi-vol-%s", volume), image, image, HIDDEN_FEATURES);
	opened = open_image(b, image);
	check("snapshot", image, rbd_snap_create(opened, image));
	(void)rbd_close(opened);
	note_id(b, &snapshots, name);
}

static void restore(struct bare *b, const char *name, const char *from)
{
	char image[TEXT_MAX], parent[TEXT_MAX];

	reserve(b, &volumes, name);
	(void)TEXT(parent, "csi-snap-%s", from);
	clone_image(b, parent, parent, TEXT(image, "csi-vol-%s", name), FEATURES);
	note_id(b, &volumes, name);
}

static void clone_volume(struct bare *b, const char *name, const char *from)
{
	char image[TEXT_MAX], between[TEXT_MAX + 8], source[TEXT_MAX];

	reserve(b, &volumes, name);
	(void)TEXT(image, "csi-vol-%s", name);
	(void)TEXT(between, "%s-temp", image);
	branch(b, TEXT(source, "csi-vol-%s", from), between, between, HIDDEN_FEATURES);
	branch(b, between, image, image, FEATURES);
	note_id(b, &volumes, name);
}

static void expand(struct bare *b, const char *name, const char *bytes)
{
	char image[TEXT_MAX];
	rbd_image_t opened = open_image(b, TEXT(image, "csi-vol-%s", name));

	check("expand", image, rbd_resize(opened, strtoull(bytes, NULL, 10)));
	(void)rbd_close(opened);
}

static void delete (struct bare *b, const char *name, const char *between)
{
	char image[TEXT_MAX];

	drop_image(b, TEXT(image, "csi-vol-%s", name));
	if (between[0])
		drop_image(b, TEXT(image, "csi-vol-%s-temp", name));
	forget(b, &volumes, name);
}

static void delete_snapshot(struct bare *b, const char *name, const char *unused)
{
	char image[TEXT_MAX];
	rbd_image_t opened = open_image(b, TEXT(image, "csi-snap-%s", name));

	(void)unused;
	check("snapshot off", image, rbd_snap_remove(opened, image));
	(void)rbd_close(opened);
	drop_image(b, image);
	forget(b, &snapshots, name);
}

static void lookup(struct bare *b, const char *name, const char *unused)
{
	(void)unused;
	look_up(b, name);
}

static void fill_directory(struct bare *b, const char *many, const char *unused)
{
	(void)unused;
	fill(b, many);
}

/* Nothing but the image, which figures of other machines can be held against. */
static void image(struct bare *b, const char *name, const char *bytes)
{
	create_image(b, name, strtoull(bytes, NULL, 10));
}

static void image_off(struct bare *b, const char *name, const char *unused)
{
	(void)unused;
	check("remove", name, rbd_remove(b->io, name));
}

static void connect_to(struct bare *b, char **argv)
{
	const char *key = getenv("CEPH_KEY");
	char user[TEXT_MAX];

	if (!key)
		die("perf_ceph_bare: CEPH_KEY is not set");
	b->pool = argv[3];
	check("connect to", argv[1],
	      rados_create2(&b->cluster, "ceph", TEXT(user, "client.%s", argv[2]), 0));
	check("set", "mon_host", rados_conf_set(b->cluster, "mon_host", argv[1]));
	check("set", "key", rados_conf_set(b->cluster, "key", key));
	check("set", "timeout", rados_conf_set(b->cluster, "rados_osd_op_timeout", "30"));
	check("connect to", argv[1], rados_connect(b->cluster));
	check("open pool", argv[3], rados_ioctx_create(b->cluster, argv[3], &b->io));
}

/* clang-format off */
static const struct request {
	const char *word;
	void (*run)(struct bare *b, const char *name, const char *more);
} requests[] = {
	{ "create", create },     { "snapshot", snapshot },   { "restore", restore },
	{ "clone", clone_volume }, { "expand", expand },      { "delete", delete },
	{ "delete-snapshot", delete_snapshot },               { "lookup", lookup },
	{ "fill", fill_directory }, { "image", image },       { "image-off", image_off },
};
/* clang-format on */

static int64_t serve(struct bare *b, char *line)
{
	char word[32], name[96], more[96] = "";
	int64_t began;

	if (sscanf(line, "%31s %95s %95s", word, name, more) < 2)
		die("perf_ceph_bare: not a request: %s", line);
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		if (strcmp(requests[i].word, word) != 0)
			continue;
		began = clock_now_ns();
		requests[i].run(b, name, more);
		return clock_now_ns() - began;
	}
	die("perf_ceph_bare: no such request: '%s'", word);
}

int main(int argc, char **argv)
{
	struct bare b;
	char line[256];

	if (argc != 4)
		die("usage: CEPH_KEY=KEY perf_ceph_bare MONITORS USER POOL");
	connect_to(&b, argv);
	while (fgets(line, sizeof(line), stdin)) {
		(void)printf("%lld\n", (long long)(serve(&b, line) / NS_PER_US));
		(void)fflush(stdout);
	}
	rados_ioctx_destroy(b.io);
	rados_shutdown(b.cluster);
	return 0;
}
