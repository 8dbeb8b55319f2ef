/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ceph-csi's image-meta.json (its version 3). The device of the kernel's client is not in it, that
 * program finds it by pool and image as we do; of the rest only the options of unmapping are of use
 * here, and go into our own record, unless there is one.
 *
 * What that program has staged by rbd-nbd or decrypted on the node goes by ways that this one does
 * not have, and is refused before anything of it is taken down, if the kernel has it yet: the file
 * stays where a node was restarted. One that nobody can read, or that tells of another volume's
 * image, is no reason to keep a volume up: it is as if it were not there.
 */
#include "backend/rbd/stash.h"

#include <stdio.h>
#include <string.h>

#define LOG_ROOM "backend.rbd"
#include "backend/rbd/here.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/blockdev.h"
#include "host/fs.h"

#define STASH "image-meta.json"
#define STASH_HALF STASH ".new"
#define STASH_VERSION 3

int image_stash_format(const struct image_stash *stash, char ret_text[IMAGE_STASH_MAX],
		       struct err *err)
{
	autostr struct str text = STR_INIT;
	struct json_writer w = JSON_WRITER(&text);

	json_begin_object(&w);
	json_key(&w, "Version");
	json_put_i64(&w, STASH_VERSION);
	json_field_string(&w, "pool", stash->pool);
	json_field_string(&w, "radosNamespace", stash->ns);
	json_field_string(&w, "image", stash->image);
	json_field_string(&w, "unmapOptions", stash->unmap_options);
	json_key(&w, "accessType");
	json_put_bool(&w, stash->is_nbd);
	json_key(&w, "encrypted");
	json_put_bool(&w, stash->is_encrypted);
	json_field_string(&w, "device", stash->device);
	json_field_string(&w, "logDir", "");
	json_field_string(&w, "logFileStrategy", "");
	json_end_object(&w);
	if (text.len >= IMAGE_STASH_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "its " STASH " would have %zu bytes",
			       text.len);
	memcpy(ret_text, text.buf, text.len + 1);
	return 0;
}

static int take_text(const struct json *v, const char *key, char ret_text[IMAGE_STASH_NAME_MAX])
{
	const char *text = str_or(json_get_string(v, key), "");

	if (strlen(text) >= IMAGE_STASH_NAME_MAX || strchr(text, '\n'))
		return -1;
	memcpy(ret_text, text, strlen(text) + 1);
	return 0;
}

int image_stash_parse(const char *text, struct image_stash *ret_stash)
{
	autojson struct json_doc *doc = NULL;
	struct image_stash stash;
	const struct json *root;
	struct err ignored;

	if (json_parse(text, strlen(text), &doc, &ignored) < 0)
		return -1;
	root = json_root(doc);
	if (take_text(root, "pool", stash.pool) < 0 ||
	    take_text(root, "radosNamespace", stash.ns) < 0 ||
	    take_text(root, "image", stash.image) < 0 ||
	    take_text(root, "unmapOptions", stash.unmap_options) < 0 ||
	    take_text(root, "device", stash.device) < 0 || !stash.pool[0] || !stash.image[0])
		return -1;
	stash.is_nbd = json_bool(json_get(root, "accessType"), false);
	stash.is_encrypted = json_bool(json_get(root, "encrypted"), false);
	*ret_stash = stash;
	return 0;
}

int image_stash_write(const char *dir, const struct image_stash *stash, struct err *err)
{
	autohostfd int dir_fd = -1;
	autohostfd int fd = -1;
	char text[IMAGE_STASH_MAX];

	if (image_stash_format(stash, text, err) < 0 || host_dir_open(dir, &dir_fd, err) < 0 ||
	    host_file_open_or_make(dir_fd, STASH_HALF, &fd, err) < 0 ||
	    host_file_set_text(fd, text, err) < 0)
		return -1;
	return host_file_rename(dir_fd, STASH_HALF, STASH, err);
}

/* 1, or 0 if there is none to be read. */
static int read_stash(const char *dir, struct image_stash *ret_stash, struct err *err)
{
	autohostfd int dir_fd = -1;
	autohostfd int fd = -1;
	char text[IMAGE_STASH_MAX];

	if (host_dir_open(dir, &dir_fd, err) < 0 ||
	    host_file_open(dir_fd, STASH, true, &fd, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (host_file_get_text(fd, text, sizeof(text), err) < 0)
		return -1;
	return image_stash_parse(text, ret_stash) == 0;
}

/* The UUID at the end of a name, which nobody else gives an image: a file that came here with a
 * directory that was copied tells of another. */
static bool is_of(const struct image_stash *stash, const struct ceph_handle *handle)
{
	return str_has_suffix(stash->image, handle->uuid);
}

/* Whether the kernel has it by the way that the file tells, which may be left from before a
 * restart: 1, 0; what is no name of a device is in doubt. */
static int is_up(const struct images *images, const struct image_stash *stash,
		 const struct ceph_handle *handle, struct err *err)
{
	static const struct image_attached none;
	struct host_krbd mapped;

	if (stash->is_nbd)
		return host_nbd_is_used(stash->device, err);
	return image_here_find_mapped(images, handle, &none, &mapped, err);
}

static int refuse_way(const struct image_stash *stash, struct err *err)
{
	if (stash->is_encrypted)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"ceph-csi has staged it encrypted, which is not done here; take it down by "
			"that program (its image back into the DaemonSet, then drain the node)");
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "ceph-csi has staged it by rbd-nbd, as '%.64s', whose server ended with "
		       "that program; unmount it, and run 'rbd-nbd unmap %.64s' on this node",
		       stash->device, stash->device);
}

/* 1: by a way that is ours as well. 0: what it tells of is gone. */
static int check_way(const struct images *images, const struct image_stash *stash,
		     const struct ceph_handle *handle, struct err *err)
{
	int rc;

	if (!stash->is_nbd && !stash->is_encrypted)
		return 1;
	rc = is_up(images, stash, handle, err);
	return rc > 0 ? refuse_way(stash, err) : rc;
}

/* The pool is not the handle's where cluster-mapping.json led to another; that may be gone by now,
 * and the kernel knows it by the name that the file tells. */
static int find_pool(const struct image_stash *stash, const struct ceph_handle *handle,
		     struct image_attached *how, struct err *err)
{
	struct host_krbd dev;
	int rc = host_krbd_find_named(stash->pool, stash->ns, stash->image, &dev, err);

	if (rc > 0 && dev.pool_id >= 0 && dev.pool_id != handle->pool_id) {
		how->is_mapped = true;
		how->pool_id = dev.pool_id;
	}
	return rc < 0 ? -1 : 0;
}

/* What the record is to have; one that is there knows more, unless it is torn. */
static int keep(struct images *images, const char *token, const struct ceph_handle *handle,
		const struct image_stash *stash, struct err *err)
{
	struct image_attached how = { .fsid = "" }, had;
	char text[IMAGE_ATTACHED_MAX];

	if (image_state_get(images, token, IMAGE_ATTACHED, text, sizeof(text), err) < 0)
		return -1;
	if (text[0] && image_attached_parse(text, &had) == 0)
		return 0;
	if (find_pool(stash, handle, &how, err) < 0 ||
	    ceph_krbd_options_parse("unmapOptions", stash->unmap_options, how.unmap_options, err) <
		    0)
		return -1;
	memcpy(how.image, stash->image, strlen(stash->image) + 1);
	image_attached_format(&how, text);
	return image_state_set(images, token, IMAGE_ATTACHED, text, err);
}

/* 1: there is one, of this volume, with something to take over; 0. */
static int look_at_stash(const struct images *images, const struct ceph_handle *handle,
			 const char *dir, struct image_stash *ret_stash, struct err *err)
{
	struct err why;
	int found = read_stash(dir, ret_stash, &why);

	if (found < 0)
		log_warn("what ceph-csi has staged is not known", log_str("path", dir),
			 log_err(&why));
	if (found <= 0)
		return 0;
	if (!is_of(ret_stash, handle)) {
		log_warn("ceph-csi's " STASH " is another volume's", log_str("path", dir),
			 log_str("image", ret_stash->image));
		return 0;
	}
	found = check_way(images, ret_stash, handle, err);
	if (found == 0)
		log_info("what ceph-csi's " STASH " tells of is gone", log_str("path", dir),
			 log_str("device", ret_stash->device));
	return found;
}

int image_staging_take(struct backend *b, struct ctx *ctx, const char *token, const char *dir,
		       struct err *err)
{
	struct image_stash stash;
	struct ceph_handle handle;
	struct err why;
	int found;

	if (ctx_check(ctx, err) < 0 || ceph_handle_parse(token, &handle, err) < 0)
		return -1;
	found = look_at_stash(images_of(b), &handle, dir, &stash, err);
	if (found < 0)
		return -1;
	if (found > 0 && keep(images_of(b), token, &handle, &stash, &why) < 0)
		log_warn("the options of unmapping that ceph-csi kept are not known",
			 log_str("volume", token), log_err(&why));
	return 0;
}

int image_staging_forget(struct backend *b, struct ctx *ctx, const char *dir, struct err *err)
{
	autohostfd int dir_fd = -1;

	(void)b;
	if (ctx_check(ctx, err) < 0)
		return -1;
	if (host_dir_open(dir, &dir_fd, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return host_file_unlink(dir_fd, STASH_HALF, err) < 0 ||
			       host_file_unlink(dir_fd, STASH, err) < 0
		       ? -1
		       : 0;
}
