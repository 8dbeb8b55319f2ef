/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a workload may ask of a volume that one node uses at a time.
 *
 * Mount flags are an allow list, not a deny list: they come from whoever may write a StorageClass
 * or a PV, end in the kernel with full rights, and a few of them are harmful (errors=panic takes
 * the host down, norecovery and barrier=0 lose data). A flag that is not listed is refused by name,
 * before anything is made. The kernel still has the last word on the value.
 *
 * Multi-node modes are refused: a second node cannot reach the disk, and saying yes would let the
 * CO schedule there.
 */
#include "volume/capability.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

enum flag_kind {
	FLAG_EXT4 = 1,
	FLAG_XFS = 2,
	FLAG_ANY = FLAG_EXT4 | FLAG_XFS,
	FLAG_MOUNT = 4, /* of each mount, not of the filesystem */
	FLAG_CEPH = 8,
	FLAG_ALL = FLAG_ANY | FLAG_CEPH,
};

struct flag_rule {
	const char *name; /* with a '=' at the end: takes a value */
	unsigned kinds;
};

#define FLAG_VALUE_MAX 64
/* Where CSIDriver says seLinuxMount kubelet adds it, in quotes: a context has commas. */
#define SELINUX_CONTEXT "context="
#define CONTEXT_MAX 256

static const char *const mode_names[] = {
	[VOL_MODE_UNKNOWN] = "UNKNOWN",
	[VOL_MODE_SINGLE_NODE_WRITER] = "SINGLE_NODE_WRITER",
	[VOL_MODE_SINGLE_NODE_READER_ONLY] = "SINGLE_NODE_READER_ONLY",
	[VOL_MODE_MULTI_NODE_READER_ONLY] = "MULTI_NODE_READER_ONLY",
	[VOL_MODE_MULTI_NODE_SINGLE_WRITER] = "MULTI_NODE_SINGLE_WRITER",
	[VOL_MODE_MULTI_NODE_MULTI_WRITER] = "MULTI_NODE_MULTI_WRITER",
	[VOL_MODE_SINGLE_NODE_SINGLE_WRITER] = "SINGLE_NODE_SINGLE_WRITER",
	[VOL_MODE_SINGLE_NODE_MULTI_WRITER] = "SINGLE_NODE_MULTI_WRITER",
};

/* clang-format off */
static const struct flag_rule flag_rules[] = {
	{ "defaults", FLAG_ALL | FLAG_MOUNT },
	{ "ro", FLAG_ALL | FLAG_MOUNT },          { "rw", FLAG_ALL | FLAG_MOUNT },
	{ "noatime", FLAG_ALL | FLAG_MOUNT },     { "relatime", FLAG_ALL | FLAG_MOUNT },
	{ "strictatime", FLAG_ALL | FLAG_MOUNT }, { "nodiratime", FLAG_ALL | FLAG_MOUNT },
	{ "nosuid", FLAG_ALL | FLAG_MOUNT },      { "nodev", FLAG_ALL | FLAG_MOUNT },
	{ "noexec", FLAG_ALL | FLAG_MOUNT },      { "nosymfollow", FLAG_ALL | FLAG_MOUNT },
	{ "sync", FLAG_ALL },                     { "dirsync", FLAG_ALL },
	{ "lazytime", FLAG_ANY },                 { "discard", FLAG_ANY },
	{ "nodiscard", FLAG_ANY },                { SELINUX_CONTEXT, FLAG_ANY },
	{ "data=", FLAG_EXT4 },         { "commit=", FLAG_EXT4 },
	{ "errors=continue", FLAG_EXT4 }, { "errors=remount-ro", FLAG_EXT4 },
	{ "delalloc", FLAG_EXT4 },
	{ "nodelalloc", FLAG_EXT4 },    { "auto_da_alloc", FLAG_EXT4 },
	{ "noauto_da_alloc", FLAG_EXT4 }, { "max_batch_time=", FLAG_EXT4 },
	{ "min_batch_time=", FLAG_EXT4 }, { "stripe=", FLAG_EXT4 },
	{ "init_itable=", FLAG_EXT4 },  { "noinit_itable", FLAG_EXT4 },
	{ "inode_readahead_blks=", FLAG_EXT4 },
	{ "inode64", FLAG_XFS },        { "largeio", FLAG_XFS },
	{ "swalloc", FLAG_XFS },        { "wsync", FLAG_XFS | FLAG_CEPH },
	{ "allocsize=", FLAG_XFS },     { "logbsize=", FLAG_XFS },
	{ "logbufs=", FLAG_XFS },       { "noquota", FLAG_XFS },
	{ "nouuid", FLAG_XFS },
	{ "rsize=", FLAG_CEPH },        { "wsize=", FLAG_CEPH },
	{ "rasize=", FLAG_CEPH },       { "ms_mode=", FLAG_CEPH },
	{ "recover_session=", FLAG_CEPH }, { "mount_timeout=", FLAG_CEPH },
	{ "nowsync", FLAG_CEPH },
	{ "rbytes", FLAG_CEPH },        { "norbytes", FLAG_CEPH },
	{ "dirstat", FLAG_CEPH },       { "nodirstat", FLAG_CEPH },
	{ "noshare", FLAG_CEPH },       { "nocrc", FLAG_CEPH },
	{ "acl", FLAG_CEPH },           { "noacl", FLAG_CEPH },
	{ "_netdev", FLAG_CEPH },
};
/* clang-format on */

const char *vol_mode_name(enum vol_mode mode)
{
	if ((unsigned)mode >= ARRAY_LEN(mode_names))
		return "UNKNOWN";
	return mode_names[mode];
}

bool vol_mode_is_single_node(enum vol_mode mode)
{
	return mode == VOL_MODE_SINGLE_NODE_WRITER || mode == VOL_MODE_SINGLE_NODE_READER_ONLY ||
	       mode == VOL_MODE_SINGLE_NODE_SINGLE_WRITER ||
	       mode == VOL_MODE_SINGLE_NODE_MULTI_WRITER;
}

bool vol_mode_is_reader_only(enum vol_mode mode)
{
	return mode == VOL_MODE_SINGLE_NODE_READER_ONLY || mode == VOL_MODE_MULTI_NODE_READER_ONLY;
}

bool vol_mode_has_many_targets(enum vol_mode mode)
{
	return mode == VOL_MODE_SINGLE_NODE_MULTI_WRITER ||
	       mode == VOL_MODE_MULTI_NODE_READER_ONLY ||
	       mode == VOL_MODE_MULTI_NODE_SINGLE_WRITER ||
	       mode == VOL_MODE_MULTI_NODE_MULTI_WRITER;
}

const char *vol_fs_resolve(const char *fs_type)
{
	if (str_is_empty(fs_type))
		return VOL_FS_DEFAULT;
	if (str_is_equal(fs_type, "ext4"))
		return "ext4";
	if (str_is_equal(fs_type, "xfs"))
		return "xfs";
	return NULL;
}

#define WORD_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

static bool is_flag_value(const char *value)
{
	size_t n = strlen(value);

	return n > 0 && n <= FLAG_VALUE_MAX && strspn(value, WORD_CHARS) == n;
}

/* "user:role:type:level", in quotes or without. */
static bool is_context(const char *value)
{
	size_t n_quotes = *value == '"';
	size_t n = strspn(value + n_quotes, WORD_CHARS ":.,");

	return n > 0 && n <= CONTEXT_MAX &&
	       str_is_equal(value + n_quotes + n, n_quotes ? "\"" : "");
}

static const struct flag_rule *find_rule(const char *flag)
{
	for (size_t i = 0; i < ARRAY_LEN(flag_rules); i++) {
		const struct flag_rule *rule = &flag_rules[i];
		bool has_value = str_has_suffix(rule->name, "=");

		if (has_value ? str_has_prefix(flag, rule->name) : str_is_equal(flag, rule->name))
			return rule;
	}
	return NULL;
}

static bool is_flag_allowed(const char *flag, unsigned fs)
{
	const struct flag_rule *rule = find_rule(flag);

	if (!rule || !(rule->kinds & fs))
		return false;
	if (str_is_equal(rule->name, SELINUX_CONTEXT))
		return is_context(flag + strlen(rule->name));
	return !str_has_suffix(rule->name, "=") || is_flag_value(flag + strlen(rule->name));
}

static int refuse_flag(const char *flag, const char *fs, unsigned bit, struct err *err)
{
	autostr struct str list = STR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(flag_rules); i++) {
		if (flag_rules[i].kinds & bit)
			str_appendf(&list, "%s%s", list.len ? ", " : "", flag_rules[i].name);
	}
	return err_set(
		err, ERR_INVALID_ARGUMENT,
		"volume_capability.mount.mount_flags: '%.40s' is not allowed for %s; allowed "
		"are %s",
		flag, fs, list.buf);
}

static int check_flags(const struct vol_capability *cap, const char *fs, unsigned bit,
		       struct err *err)
{
	bool ro = false;
	bool rw = false;

	for (size_t i = 0; i < cap->n_mount_flags; i++) {
		const char *flag = cap->mount_flags[i];

		ro |= str_is_equal(flag, "ro");
		rw |= str_is_equal(flag, "rw");
		if (!is_flag_allowed(flag, bit))
			return refuse_flag(flag, fs, bit, err);
	}
	if (ro && rw)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.mount.mount_flags: both 'ro' and 'rw'");
	return 0;
}

/* For people who wrote a claim and not a CSI message. */
static const char *kubernetes_mode(enum vol_mode mode)
{
	if (mode == VOL_MODE_MULTI_NODE_READER_ONLY)
		return "ReadOnlyMany";
	return "ReadWriteMany";
}

int vol_capability_check(const struct vol_capability *cap, struct err *err)
{
	const char *fs;

	if (cap->mode == VOL_MODE_UNKNOWN)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.access_mode: required and must not be UNKNOWN");
	if (!vol_mode_is_single_node(cap->mode))
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"access mode %s is not supported (volume_capability.access_mode %s): "
			"a volume is used by one node at a time; use ReadWriteOnce or "
			"ReadWriteOncePod",
			kubernetes_mode(cap->mode), vol_mode_name(cap->mode));
	if (cap->access == VOL_ACCESS_BLOCK)
		return 0;
	fs = vol_fs_resolve(cap->fs_type);
	if (!fs)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.mount.fs_type: '%.64s' is not supported; use "
			       "ext4 or xfs",
			       cap->fs_type);
	if (!str_is_empty(cap->mount_group))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.mount.volume_mount_group: not supported, %s has "
			       "no mount option for a group; the CO changes the group itself "
			       "(fsGroupPolicy File)",
			       fs);
	return check_flags(cap, fs, str_is_equal(fs, "xfs") ? FLAG_XFS : FLAG_EXT4, err);
}

int vol_capability_check_shared(const struct vol_capability *cap, struct err *err)
{
	if (cap->mode == VOL_MODE_UNKNOWN)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.access_mode: required and must not be UNKNOWN");
	if (cap->access == VOL_ACCESS_BLOCK)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.block: a filesystem that is shared has no block "
			       "devices; use volumeMode Filesystem");
	if (!str_is_empty(cap->mount_group))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.mount.volume_mount_group: not supported; the CO "
			       "changes the group itself (fsGroupPolicy File)");
	return check_flags(cap, "a shared filesystem", FLAG_CEPH, err);
}

static const char *comparable_fs(const struct vol_capability *cap)
{
	const char *fs = vol_fs_resolve(cap->fs_type);

	return fs ? fs : cap->fs_type;
}

static bool has_flag(const struct vol_capability *cap, const char *flag)
{
	for (size_t i = 0; i < cap->n_mount_flags; i++) {
		if (str_is_equal(cap->mount_flags[i], flag))
			return true;
	}
	return false;
}

static bool has_flags_of(const struct vol_capability *cap, const struct vol_capability *other)
{
	for (size_t i = 0; i < other->n_mount_flags; i++) {
		if (!has_flag(cap, other->mount_flags[i]))
			return false;
	}
	return true;
}

bool vol_capability_is_equal(const struct vol_capability *a, const struct vol_capability *b)
{
	if (a->access != b->access || a->mode != b->mode)
		return false;
	if (a->access == VOL_ACCESS_BLOCK)
		return true;
	return str_is_equal(comparable_fs(a), comparable_fs(b)) &&
	       str_is_equal(str_or(a->mount_group, ""), str_or(b->mount_group, "")) &&
	       has_flags_of(a, b) && has_flags_of(b, a);
}

bool vol_flag_is_of_mount(const char *flag)
{
	const struct flag_rule *rule = find_rule(flag);

	return rule && rule->kinds & FLAG_MOUNT;
}

static int compare_flags(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

size_t vol_capability_flags(const struct vol_capability *cap, bool of_mount, const char **ret_flags)
{
	size_t n = 0;
	size_t kept = 0;

	for (size_t i = 0; i < cap->n_mount_flags; i++) {
		const char *flag = cap->mount_flags[i];

		if (vol_flag_is_of_mount(flag) == of_mount && !str_is_equal(flag, "defaults") &&
		    !str_is_equal(flag, "rw"))
			ret_flags[n++] = flag;
	}
	if (n > 1)
		qsort(ret_flags, n, sizeof(*ret_flags), compare_flags);
	for (size_t i = 0; i < n; i++) {
		if (kept == 0 || !str_is_equal(ret_flags[kept - 1], ret_flags[i]))
			ret_flags[kept++] = ret_flags[i];
	}
	return kept;
}
