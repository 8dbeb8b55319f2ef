/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_MOUNT_H
#define HOST_MOUNT_H

#include "base/ctx.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Mounts by the new mount API (fsopen … move_mount, Linux ≥5.2; mount_setattr ≥5.12), never by a
 * tool. Paths are clean, absolute and as the kernel names them (host_path_resolve): a symlink in
 * one is refused wherever it is, FAILED_PRECONDITION, since it came after the caller looked.
 * Everything is a step of its own and idempotence is the caller's, who asks host_mount_look()
 * first.
 */

/* What is at a path. All of it from one O_PATH fd: statx, fstatfs; mountinfo is read only when the
 * filesystem there is dead (shut down, its disk gone), which must not keep it from being unmounted.
 */
struct host_mount_at {
	bool exists;
	bool is_dir;
	bool is_symlink;
	bool is_block_device;   /* the node itself is a block device (raw block target) */
	bool is_mount_root;     /* STATX_ATTR_MOUNT_ROOT (≥5.8) */
	bool is_dead;           /* the filesystem answers with an error; the rest is from mountinfo,
				   and rdev and fs_magic are not known */
	bool is_read_only;      /* of the mount */
	dev_t device;           /* st_dev: the block device below a filesystem */
	dev_t rdev;             /* of a device node */
	unsigned long fs_magic; /* statfs f_type */
};
/* A path that does not exist is success with exists = false. Errors: INTERNAL, PERMISSION_DENIED.
 */
int host_mount_look(const char *path, struct host_mount_at *ret_at, struct err *err);

struct host_mount_options {
	const char *fs;           /* "ext4" */
	const char *const *flags; /* as in PV mountOptions: "noatime", "discard", "nouuid" … */
	size_t n_flags;
	bool read_only;
	const char *secret; /* one more option of the filesystem, "secret=…", which no message
			       shows; NULL: none */
};
/* Whether this kernel has the filesystem, or gets it when asked (modprobe): 1, or 0. That it cannot
 * be asked is neither. */
int host_mount_knows(const char *fs, struct err *err);
/*
 * Mounts the block device (or what else opts->fs takes for its source) at the existing directory
 * target. Flags of the VFS (ro rw noatime
 * relatime nodiratime nosuid nodev noexec sync dirsync lazytime nosymfollow …) become mount
 * attributes, the others go to the filesystem; what the kernel says about a refused option (its fs
 * context log) is in the message. INVALID_ARGUMENT for an option refused, which is named; DATA_LOSS
 * for a filesystem that is damaged (its log cannot be replayed, it needs repair); INTERNAL for the
 * rest.
 */
int host_mount_device(struct ctx *ctx, const char *device, const char *target,
		      const struct host_mount_options *opts, struct err *err);

/* Bind mount of source (directory or device node) onto existing target, private copy of flags:
 * read_only and VFS flags. */
int host_mount_bind(struct ctx *ctx, const char *source, const char *target, bool read_only,
		    const char *const *flags, size_t n_flags, struct err *err);

/* Unmounts what is mounted at target (UMOUNT_NOFOLLOW, never lazy, never forced). 0 when nothing is
 * mounted there. FAILED_PRECONDITION when busy. */
int host_mount_umount(struct ctx *ctx, const char *target, struct err *err);

/* Every mount point in this namespace whose filesystem lies on devno (st_dev), or that binds the
 * device node rdev == devno. Reads /proc/self/mountinfo: not for hot paths. fn ≠0 stops. */
typedef int (*host_mount_fn)(void *arg, const char *path, bool read_only);
int host_mount_each(dev_t devno, host_mount_fn fn, void *arg, struct err *err);

/* One line of mountinfo (proc(5)): octal escapes undone. */
struct host_mountinfo {
	uint64_t id;
	uint64_t parent; /* the mount that it lies on */
	dev_t device;
	char *root; /* point into line, which is changed */
	char *point;
	char *fs;
	char *source;
	char *super_options; /* of the filesystem, not of this mount; "" if there are none */
	bool read_only;
};
int host_mountinfo_parse(char *line, struct host_mountinfo *ret_info);

/*
 * The mount table of this namespace, for mounts that no device number tells apart: each line, or
 * that of the mount on top at the path. Neither asks any filesystem but proc, so a server that
 * answers nothing holds nobody up. fn ≠0 stops. find_top: 1 and the line, whose words are in
 * *ret_line (to be freed), or 0.
 */
typedef int (*host_mountinfo_fn)(void *arg, const struct host_mountinfo *info);
int host_mountinfo_each(host_mountinfo_fn fn, void *arg, struct err *err);
int host_mountinfo_find_top(const char *path, char **ret_line, struct host_mountinfo *ret_info,
			    struct err *err);
/* The line of the mount that the path lies on, as the kernel resolves it: it has to be alive. 1, or
 * 0 if there is nothing at the path, or its mount is in no table (any more). */
int host_mountinfo_find_under(const char *path, char **ret_line, struct host_mountinfo *ret_info,
			      struct err *err);

/* The mount that the fd lies on, by number: 1 and what there is of ret_at (is_mount_root if the fd
 * is at path, where it is mounted), or 0 if it is in no table (any more). Asks no filesystem but
 * proc. */
int host_mount_look_at_fd(int fd, const char *path, struct host_mount_at *ret_at, struct err *err);

/* The options of the filesystem that the fd lies on ("rw,errors=remount-ro"), from the mount table,
 * cut at the size: 1, or 0 if its mount is in no table (any more). */
#define HOST_SUPER_OPTIONS_MAX 1024
int host_mount_super_options(int fd, const char *path, char ret_options[HOST_SUPER_OPTIONS_MAX],
			     struct err *err);

/* Makes the directory (0750) or empty file (0600) a bind mount needs; 0 when it is there already
 * and of that kind. The parent must exist. ret_made tells whether this call made it. */
int host_mount_make_target(const char *path, bool is_dir, bool *ret_made, struct err *err);
/* rmdir or unlink; 0 when it is gone already; FAILED_PRECONDITION if it is a mount point or a
 * directory with entries. */
int host_mount_remove_target(const char *path, struct err *err);

#endif
