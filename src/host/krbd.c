/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's RBD client by its files in sysfs; krbd_line.c makes the line that maps.
 *
 * write(2) of that line waits until the image is mapped and cannot be interrupted, so it gets a
 * mount_timeout that ends before the caller's deadline does. What it made is then looked for like
 * anything else: by cluster, pool and image, never by which number is new, since others map too.
 *
 * The key goes by the keyring of this thread, which no other thread sees, so two clusters whose
 * users have one name do not get each other's; the kernel copies it while it maps, and then it is
 * taken away again. Where a container may not do that (seccomp), or libceph is not loaded yet, it
 * is in the line, and in config_info, which root alone may read.
 *
 * Unmapping is EBUSY while anybody has the device open, udev's blkid for a moment after each close
 * among them; nothing tells when that ends, so it is tried again.
 */
#include "host/krbd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/hex.h"
#include "base/mem.h"
#include "host/ceph_monitors.h"
#include "host/err-internal.h"
#include "host/krbd-internal.h"
#include "host/users.h"

#define UNMAP_NS (20 * NS_PER_S)
#define UNMAP_AGAIN_MS 100
#define LEFT_FOR_WORDS_NS (500 * NS_PER_MS) /* of a deadline, to look who has it */
#define TIMEOUT_MAX_S 60
#define TIMEOUT_MIN_S 5
#define EXCLUSIVE_LOCK (UINT64_C(1) << 2) /* of the image's features */

static int put_sysfs(void *arg, const char *path, const char *text)
{
	autofd int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	(void)arg;
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text)); /* one write is one command */
	return n < 0 ? -errno : 0;
}

static long add_key(void *arg, const char *name, const void *bytes, size_t n)
{
	long serial = syscall(SYS_add_key, "ceph", name, bytes, n, KEY_SPEC_THREAD_KEYRING);

	(void)arg;
	return serial < 0 ? -errno : serial;
}

static const struct krbd_at real = {
	.sys = "/sys",
	.dev = "/dev",
	.put = put_sysfs,
	.add_key = add_key,
};

/* A line below sys; false if there is none. */
static bool read_line(const struct krbd_at *at, const char *path, char *ret_text, size_t cap)
{
	char whole[300];
	autofd int fd = -1;
	ssize_t n;

	(void)snprintf(whole, sizeof(whole), "%s/%s", at->sys, path);
	fd = open(whole, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, ret_text, cap - 1);
	ret_text[n > 0 ? n : 0] = '\0';
	ret_text[strcspn(ret_text, "\n")] = '\0';
	return n >= 0;
}

static bool read_attr(const struct krbd_at *at, uint32_t id, const char *attr, char *ret_text,
		      size_t cap)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "bus/rbd/devices/%u/%s", id, attr);
	return read_line(at, path, ret_text, cap);
}

static bool is_attr(const struct krbd_at *at, uint32_t id, const char *attr, const char *want)
{
	char text[256];

	return read_attr(at, id, attr, text, sizeof(text)) && str_is_equal(text, want);
}

/* False while the device comes or goes. */
static bool fill(const struct krbd_at *at, uint32_t id, struct host_krbd *ret_dev)
{
	struct host_krbd dev = { .id = (int)id };
	uint32_t major, minor;
	char path[64];
	char text[64];

	if (!read_attr(at, id, "major", text, sizeof(text)) ||
	    str_parse_u32(text, UINT32_MAX, &major) < 0 ||
	    !read_attr(at, id, "minor", text, sizeof(text)) ||
	    str_parse_u32(text, UINT32_MAX, &minor) < 0 ||
	    !read_attr(at, id, "size", text, sizeof(text)) || str_parse_u64(text, &dev.bytes) < 0)
		return false;
	dev.devno = makedev(major, minor);
	(void)snprintf(dev.path, sizeof(dev.path), "%s/rbd%u", at->dev, id);
	(void)read_attr(at, id, "client_addr", dev.client_addr, sizeof(dev.client_addr));
	if (!read_attr(at, id, "pool_id", text, sizeof(text)) ||
	    str_parse_i64(text, &dev.pool_id) < 0)
		dev.pool_id = -1;
	(void)snprintf(path, sizeof(path), "block/rbd%u/ro", id);
	dev.is_read_only = read_line(at, path, text, sizeof(text)) && str_is_equal(text, "1");
	*ret_dev = dev;
	return true;
}

static bool is_wanted(const struct krbd_at *at, uint32_t id, const struct krbd_look *look)
{
	char text[256];
	int64_t pool_id;

	if (!read_attr(at, id, "name", text, sizeof(text)) ||
	    !(look->image ? str_is_equal(text, look->image) : str_has_suffix(text, look->ending)) ||
	    !is_attr(at, id, "current_snap", "-"))
		return false;
	if (look->fsid[0] && !is_attr(at, id, "cluster_fsid", look->fsid))
		return false;
	if (look->pool_id >= 0)
		return read_attr(at, id, "pool_id", text, sizeof(text)) &&
		       str_parse_i64(text, &pool_id) == 0 && pool_id == look->pool_id;
	return is_attr(at, id, "pool", look->pool) &&
	       (is_attr(at, id, "pool_ns", look->ns) || !look->ns[0]);
}

int krbd_find(const struct krbd_at *at, const struct krbd_look *look, struct host_krbd *ret_dev,
	      struct err *err)
{
	const struct dirent *entry;
	autodir DIR *dir = NULL;
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/bus/rbd/devices", at->sys);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : host_err(err, errno, "list '%s'", path);
	while ((errno = 0, entry = readdir(dir))) {
		uint32_t id;

		if (str_parse_u32(entry->d_name, INT32_MAX, &id) == 0 && is_wanted(at, id, look) &&
		    fill(at, id, ret_dev))
			return 1;
	}
	return errno ? host_err(err, errno, "list '%s'", path) : 0;
}

static int check_features(const struct krbd_at *at, uint64_t features, struct err *err)
{
	autostr struct str names = STR_INIT;
	uint64_t known = 0;
	char text[32];

	/* kernels before 4.15 do not say, and refuse by themselves */
	if (!read_line(at, "bus/rbd/supported_features", text, sizeof(text)))
		return 0;
	for (const char *c = text + (str_has_prefix(text, "0x") ? 2 : 0); hex_digit(*c) >= 0; c++)
		known = known << 4 | (uint64_t)hex_digit(*c);
	if (known == 0 || !(features & ~known))
		return 0;
	krbd_features(features & ~known, &names);
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "this kernel's RBD client lacks features of the image: %s (take them off, "
		       "rbd feature disable, or choose mounter=fuse in the class)",
		       str_get(&names));
}

/* Of the kernel's refusal nothing but EINVAL would be seen. */
static int check_options(const struct host_krbd_spec *spec, struct err *err)
{
	static const char *const with_lock[] = { "exclusive", "lock_on_read" };

	if (spec->features & EXCLUSIVE_LOCK)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(with_lock); i++) {
		if (host_ceph_has_option(spec->options, with_lock[i]))
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "the map option '%s' is for images with the feature "
				       "exclusive-lock, which this one lacks (imageFeatures of the "
				       "class; rbd feature enable)",
				       with_lock[i]);
	}
	return 0;
}

/* Where commands go: single_major since Linux 3.14, unless the module was told otherwise. */
static int put_command(const struct krbd_at *at, const char *command, const char *text)
{
	char path[256];
	int rc;

	(void)snprintf(path, sizeof(path), "%s/bus/rbd/%s_single_major", at->sys, command);
	rc = at->put(at->arg, path, text);
	if (rc != -ENOENT || access(path, F_OK) == 0)
		return rc;
	(void)snprintf(path, sizeof(path), "%s/bus/rbd/%s", at->sys, command);
	return at->put(at->arg, path, text);
}

static int map_failed(const struct host_krbd_spec *spec, int os, struct err *err)
{
	switch (os) {
	case ENOENT:
		return err_set(err, ERR_NOT_FOUND, "there is no image '%s' in the pool '%s'%s%s",
			       spec->image, spec->pool, spec->ns[0] ? ", namespace " : "",
			       spec->ns);
	case EACCES:
	case EPERM:
		return err_os(err, ERR_UNAUTHENTICATED, os,
			      "the cluster refuses user '%s' (key, or rights on pool '%s')",
			      spec->user, spec->pool);
	case ETIMEDOUT:
		return err_set(err, ERR_UNAVAILABLE,
			       "no monitor of '%s' answered the kernel in time (with version 2 of "
			       "the protocol the class's mapOptions need an ms_mode)",
			       spec->monitors);
	case ESHUTDOWN:
		return err_set(err, ERR_UNAVAILABLE,
			       "this node is on the cluster's blocklist (ceph osd blocklist ls); "
			       "one that was lost is fenced until a volume is attached to it once "
			       "it is back");
	case EROFS:
		return err_os(err, ERR_FAILED_PRECONDITION, os,
			      "write to /sys/bus/rbd (it has to be the node's own, not mounted "
			      "read-only)");
	case EINVAL:
	case ENXIO:
		return err_os(err, ERR_INVALID_ARGUMENT, os,
			      "the kernel does not take the map options '%s', or a feature of the "
			      "image (dmesg says which)",
			      spec->options);
	default:
		return host_err(err, os, "map image '%s' of pool '%s'", spec->image, spec->pool);
	}
}

static unsigned timeout_of(struct ctx *ctx)
{
	int64_t left_s = ctx_remaining_ns(ctx) / NS_PER_S - 1;

	if (left_s > TIMEOUT_MAX_S)
		return TIMEOUT_MAX_S;
	return left_s < TIMEOUT_MIN_S ? TIMEOUT_MIN_S : (unsigned)left_s;
}

/* The serial of the key in the keyring, -errno when it cannot be there; -EINVAL: no key at all. */
static long lend_key(const struct krbd_at *at, const struct host_krbd_spec *spec)
{
	size_t n = 0;
	char *bytes = base64_decode(spec->key, &n);
	char name[128];
	long serial;

	if (!bytes || n == 0) {
		free(bytes);
		return -EINVAL;
	}
	(void)snprintf(name, sizeof(name), "client.%s", spec->user);
	serial = at->add_key(at->arg, name, bytes, n);
	explicit_bzero(bytes, n);
	free(bytes);
	return serial == -EINVAL ? -EOPNOTSUPP : serial;
}

static int map_anew(const struct krbd_at *at, struct ctx *ctx, const struct host_krbd_spec *spec,
		    struct err *err)
{
	autowipe struct str line = STR_INIT;
	long serial = lend_key(at, spec);
	int rc;

	if (serial == -EINVAL)
		return err_set(err, ERR_INVALID_ARGUMENT, "the key of user '%s' is no base64",
			       spec->user);
	rc = krbd_line(spec, serial < 0 ? spec->key : NULL, timeout_of(ctx), &line, err);
	if (rc == 0 && (rc = ctx_check(ctx, err)) == 0) {
		int os = -put_command(at, "add", line.buf);

		rc = os ? map_failed(spec, os, err) : 0;
	}
	if (serial > 0)
		(void)syscall(SYS_keyctl, KEYCTL_INVALIDATE,
			      serial); /* it expires with the thread */
	return rc;
}

/* Where /dev is a container's own, nobody makes the node. */
static int make_node(const struct host_krbd *dev, struct err *err)
{
	if (access(dev->path, F_OK) == 0)
		return 0;
	if (mknod(dev->path, S_IFBLK | 0600, dev->devno) < 0 && errno != EEXIST)
		return host_err(err, errno, "make the device node '%s'", dev->path);
	return 0;
}

int krbd_map(const struct krbd_at *at, struct ctx *ctx, const struct host_krbd_spec *spec,
	     struct host_krbd *ret_dev, struct err *err)
{
	const struct krbd_look look = { .fsid = spec->fsid,
					.pool_id = -1,
					.pool = spec->pool,
					.ns = spec->ns,
					.image = spec->image };
	struct host_krbd dev;
	int rc = krbd_find(at, &look, &dev, err);

	if (rc < 0)
		return -1;
	if (rc == 0) {
		if (check_features(at, spec->features, err) < 0 || check_options(spec, err) < 0 ||
		    map_anew(at, ctx, spec, err) < 0)
			return -1;
		rc = krbd_find(at, &look, &dev, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return err_set(err, ERR_INTERNAL,
				       "the kernel mapped '%s' and does not list it in "
				       "/sys/bus/rbd/devices",
				       spec->image);
	}
	if (dev.is_read_only != spec->read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is mapped %s as '%s'; unmap that first",
			       dev.is_read_only ? "read-only" : "for writing", dev.path);
	if (make_node(&dev, err) < 0)
		return -1;
	*ret_dev = dev;
	return 0;
}

/* Until until_ns: 0, or the last -errno. */
static int try_unmap(const struct krbd_at *at, struct ctx *ctx, const char *text, int64_t until_ns)
{
	for (;;) {
		int rc = put_command(at, "remove", text);
		struct pollfd fd = { .fd = ctx_cancel_fd(ctx), .events = POLLIN };

		if (rc != -EBUSY || ctx_is_cancelled(ctx) || clock_now_ns() >= until_ns)
			return rc;
		(void)poll(&fd, 1, UNMAP_AGAIN_MS);
	}
}

int krbd_unmap(const struct krbd_at *at, struct ctx *ctx, const struct host_krbd *dev,
	       const char *options, struct err *err)
{
	int64_t left_ns = ctx_remaining_ns(ctx);
	autostr struct str users = STR_INIT;
	char text[128];
	int rc;

	if (strlen(options) > 100 || strpbrk(options, " \n"))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "the unmap options '%s' are none that the kernel takes", options);
	(void)snprintf(text, sizeof(text), "%d%s%s", dev->id, options[0] ? " " : "", options);
	rc = try_unmap(at, ctx, text,
		       clock_now_ns() + (left_ns < UNMAP_NS ? left_ns : UNMAP_NS) -
			       LEFT_FOR_WORDS_NS);
	if (rc == 0 || rc == -ENOENT || rc == -ENODEV)
		return 0;
	if (rc != -EBUSY)
		return host_err(err, -rc, "unmap '%s'", dev->path);
	host_device_users(dev->devno, &users);
	return err_set(err, ERR_FAILED_PRECONDITION, "unmap '%s': it is in use: %s", dev->path,
		       str_or(users.buf, "by nobody that /proc shows"));
}

bool host_krbd_is_here(void)
{
	return access("/sys/bus/rbd", F_OK) == 0;
}

int host_krbd_map(struct ctx *ctx, const struct host_krbd_spec *spec, struct host_krbd *ret_dev,
		  struct err *err)
{
	return krbd_map(&real, ctx, spec, ret_dev, err);
}

int host_krbd_find(const char *fsid, int64_t pool_id, const char *image, struct host_krbd *ret_dev,
		   struct err *err)
{
	const struct krbd_look look = { .fsid = fsid, .pool_id = pool_id, .image = image };

	return krbd_find(&real, &look, ret_dev, err);
}

int host_krbd_find_named(const char *pool, const char *ns, const char *image,
			 struct host_krbd *ret_dev, struct err *err)
{
	const struct krbd_look look = {
		.fsid = "", .pool_id = -1, .pool = pool, .ns = ns, .image = image
	};

	return krbd_find(&real, &look, ret_dev, err);
}

int host_krbd_find_ending(int64_t pool_id, const char *ending, struct host_krbd *ret_dev,
			  struct err *err)
{
	const struct krbd_look look = { .fsid = "", .pool_id = pool_id, .ending = ending };

	return krbd_find(&real, &look, ret_dev, err);
}

int host_krbd_unmap(struct ctx *ctx, const struct host_krbd *dev, const char *options,
		    struct err *err)
{
	return krbd_unmap(&real, ctx, dev, options, err);
}
