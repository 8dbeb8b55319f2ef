/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool for trying out: an image file that cleat makes, attaches and mounts itself.
 *
 * The image is born as volumes are: nameless, sized (sparse), XFS with reflink inside and labelled,
 * then linked; so a file of that name is either whole and ours or not ours. Everything after that
 * is found again rather than remembered: the loop device by the image's inode, the mount by its
 * device; a process that comes after a SIGKILL goes on where the other was. The mount keeps the
 * device (AUTOCLEAR); unmounting is all that pool_close has to do.
 */
#include <stdlib.h>

#include "backend/pool/pool-internal.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "host/loopdev.h"
#include "host/mkfs.h"
#include "host/mount.h"
#include "host/resolve.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define IMAGE_LABEL "cleat-pool"
#define IMAGE_DIR "/run/cleat/pools"
#define IMAGE_MIN_BYTES (UINT64_C(512) << 20)

static int make_image(struct ctx *ctx, const char *name, int parent_fd, uint64_t bytes, int *ret_fd,
		      struct err *err)
{
	autohostfd int fd = -1;
	struct uuid uuid;

	if (bytes == 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it does not exist; with --pool-size it would be made");
	if (bytes < IMAGE_MIN_BYTES)
		return err_set(err, ERR_FAILED_PRECONDITION, "--pool-size must be at least 512Mi");
	uuid_make(&uuid);
	if (host_file_make(parent_fd, &fd, err) < 0 || host_file_resize(fd, bytes, err) < 0 ||
	    host_mkfs_xfs(ctx, fd, &uuid, IMAGE_LABEL, err) < 0 ||
	    host_file_resize(fd, bytes, err) < 0 || host_file_sync(fd, err) < 0 ||
	    host_file_link(fd, parent_fd, name, err) < 0 || host_dir_sync(parent_fd, err) < 0)
		return -1;
	log_info("pool image made", log_str("image", name), log_u64("bytes", bytes));
	/* Opened by its name: the kernel tells the name by which a loop device's file was opened,
	 * and a restarted process finds the device by it. */
	return host_file_open(parent_fd, name, false, ret_fd, err);
}

static int check_image(int fd, uint64_t want_bytes, struct err *err)
{
	struct host_probe probe;
	struct host_file file;

	if (host_probe(fd, &probe, err) < 0 || host_file_look(fd, &file, err) < 0)
		return -1;
	if (!str_is_equal(probe.type, "xfs") || !str_is_equal(probe.label, IMAGE_LABEL))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it exists and is no pool image of cleat's (it holds %s%s%s); it is "
			       "left as it is, give another name",
			       probe.type[0] ? probe.type : "nothing that is known",
			       probe.label[0] ? " labelled " : "", probe.label);
	if (want_bytes && file.bytes != want_bytes)
		log_warn("the pool image keeps the size it was made with",
			 log_u64("bytes", file.bytes), log_u64("asked", want_bytes));
	return 0;
}

static int open_image(struct ctx *ctx, const struct backend_config *config, int *ret_fd,
		      struct err *err)
{
	autofree char *parent = NULL;
	autohostfd int parent_fd = -1;
	const char *name = strrchr(config->image, '/');

	parent = name ? xstrndup(config->image,
				 name == config->image ? 1 : (size_t)(name - config->image))
		      : xstrdup(".");
	name = name ? name + 1 : config->image;
	if (!path_is_name(name))
		return err_set(err, ERR_INVALID_ARGUMENT, "that is not the name of a file");
	if (host_dir_open(parent, &parent_fd, err) < 0)
		return -1;
	if (host_file_open(parent_fd, name, false, ret_fd, err) == 0) {
		if (check_image(*ret_fd, config->image_bytes, err) == 0)
			return 0;
		host_fd_close(*ret_fd);
		*ret_fd = -1;
		return -1;
	}
	if (err->code != ERR_NOT_FOUND)
		return -1;
	if (make_image(ctx, name, parent_fd, config->image_bytes, ret_fd, err) < 0)
		return -1;
	/* Opened anew: a device over the fd that was nameless shows no name by which it is found.
	 */
	host_fd_close(*ret_fd);
	*ret_fd = -1;
	return host_file_open(parent_fd, name, false, ret_fd, err);
}

/* The device of the image; ret_hold_fd keeps it until the mount does. */
static int attach_image(struct ctx *ctx, int fd, const char *name, struct host_loop *ret_loop,
			int *ret_hold_fd, struct err *err)
{
	struct host_file file;
	int rc;

	if (host_file_look(fd, &file, err) < 0)
		return -1;
	rc = host_loop_find(&(struct host_loop_file){ .fd = fd,
						      .device = file.device,
						      .inode = file.inode,
						      .bytes = file.bytes,
						      .name = name },
			    ret_loop, ret_hold_fd, err);
	if (rc == 0)
		rc = host_loop_attach(ctx, fd,
				      &(struct host_loop_options){ .allow_buffered = true },
				      ret_loop, ret_hold_fd, err);
	return rc < 0 ? -1 : 0;
}

static int mark_used(void *arg, const char *name, bool is_regular)
{
	(void)name;
	(void)is_regular;
	*(bool *)arg = true;
	return 1;
}

static int mount_image(struct ctx *ctx, const char *dir, const struct host_loop *loop,
		       struct err *err)
{
	static const char *const flags[] = { "nosuid", "nodev", "noexec" };
	struct host_mount_at at;
	autohostfd int dir_fd = -1;
	bool is_used = false;

	if (host_mount_look(dir, &at, err) < 0)
		return -1;
	if (at.exists && at.is_mount_root && at.device == loop->devno)
		return 0;
	if (at.is_mount_root)
		return err_set(err, ERR_FAILED_PRECONDITION, "something else is mounted at '%s'",
			       dir);
	if (host_dir_open(dir, &dir_fd, err) < 0 ||
	    host_dir_each(dir_fd, mark_used, &is_used, err) < 0)
		return -1;
	if (is_used)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s', where it would be mounted, is not empty", dir);
	return host_mount_device(ctx, loop->path, dir,
				 &(struct host_mount_options){
					 .fs = "xfs",
					 .flags = flags,
					 .n_flags = ARRAY_LEN(flags),
				 },
				 err);
}

/* /run/cleat/pools/NAME with its parents. */
static int make_own_dir(const char *name, char **ret_dir, struct err *err)
{
	autohostfd int run_fd = -1;
	autohostfd int cleat_fd = -1;
	autohostfd int pools_fd = -1;
	autohostfd int fd = -1;

	if (host_dir_open("/run", &run_fd, err) < 0 ||
	    host_dir_make(run_fd, "cleat", &cleat_fd, err) < 0 ||
	    host_dir_make(cleat_fd, "pools", &pools_fd, err) < 0 ||
	    host_dir_make(pools_fd, name, &fd, err) < 0)
		return -1;
	*ret_dir = path_join(IMAGE_DIR, name);
	return 0;
}

int pool_image_mount(struct ctx *ctx, const struct backend_config *config, char **ret_dir,
		     struct err *err)
{
	autohostfd int fd = -1;
	autohostfd int hold_fd = -1;
	autofree char *dir = NULL;
	char real[PATH_MAX];
	const char *name = strrchr(config->image, '/');
	struct host_loop loop;

	name = name ? name + 1 : config->image;

	if (open_image(ctx, config, &fd, err) < 0)
		return err_wrap(err, "pool image '%s'", config->image);
	if (str_is_empty(config->dir)) {
		if (make_own_dir(config->name, &dir, err) < 0)
			return err_wrap(err, "pool image '%s'", config->image);
	} else {
		dir = xstrdup(config->dir);
	}
	if (host_path_resolve(-1, "", dir, real, err) < 0 ||
	    attach_image(ctx, fd, name, &loop, &hold_fd, err) < 0 ||
	    mount_image(ctx, real, &loop, err) < 0)
		return err_wrap(err, "pool image '%s'", config->image);
	*ret_dir = xstrdup(real);
	return 0;
}
