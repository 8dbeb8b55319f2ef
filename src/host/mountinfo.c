/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount table, for the questions that statx cannot answer: where else is this device mounted,
 * where is this device node bound, and from which source is what is mounted somewhere. Line format:
 * proc(5), "36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda rw". Blank, tab, newline
 * and backslash inside names are octal escapes. Parsing works in place on one line and keeps
 * nothing, so the table's length does not matter; the kernel gives each line whole but not the
 * table as one moment in time.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/err-internal.h"
#include "host/mount.h"
#include "host/resolve-internal.h"

/* Cuts the next word off *rest; NULL at the end. */
static char *next_word(char **rest)
{
	char *word = *rest + strspn(*rest, " ");
	size_t n = strcspn(word, " ");

	if (!n)
		return NULL;
	*rest = word + n;
	if (**rest)
		*(*rest)++ = '\0';
	return word;
}

static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
		    from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

static int parse_device(char *word, dev_t *ret_device)
{
	char *colon = word ? strchr(word, ':') : NULL;
	uint32_t major, minor;

	if (!colon)
		return -EINVAL;
	*colon = '\0';
	if (str_parse_u32(word, UINT32_MAX, &major) < 0 ||
	    str_parse_u32(colon + 1, UINT32_MAX, &minor) < 0)
		return -EINVAL;
	*ret_device = makedev(major, minor);
	return 0;
}

/* Options begin with "ro" or "rw" in every kernel. */
static bool is_ro(const char *options)
{
	return options && str_has_prefix(options, "ro") &&
	       (options[2] == '\0' || options[2] == ',');
}

int host_mountinfo_parse(char *line, struct host_mountinfo *ret_info)
{
	struct host_mountinfo info = { 0 };
	const char *options;
	const char *word;

	line[strcspn(line, "\n")] = '\0';
	word = next_word(&line);
	if (!word || str_parse_u64(word, &info.id) < 0)
		return -EINVAL;
	word = next_word(&line);
	if (!word || str_parse_u64(word, &info.parent) < 0 ||
	    parse_device(next_word(&line), &info.device) < 0)
		return -EINVAL;
	info.root = next_word(&line);
	info.point = next_word(&line);
	options = next_word(&line);
	do
		word = next_word(&line);
	while (word && !str_is_equal(word, "-"));
	info.fs = next_word(&line);
	info.source = next_word(&line);
	if (!word || !info.source)
		return -EINVAL;
	info.super_options = line + strspn(line, " ");
	(void)next_word(&line);
	info.read_only = is_ro(options) || is_ro(info.super_options);
	unescape(info.root);
	unescape(info.point);
	unescape(info.fs);
	unescape(info.source);
	*ret_info = info;
	return 0;
}

static bool is_node_bind(const struct host_mountinfo *info, dev_t devno)
{
	struct host_mount_at at;
	struct err err;

	if (str_is_equal(info->root, "/") ||
	    (!str_is_equal(info->fs, "devtmpfs") && !str_is_equal(info->fs, "tmpfs")))
		return false;
	/* one that cannot be looked at (another container's, a dead server's) is not a bind of ours
	 */
	return host_mount_look(info->point, &at, &err) == 0 && at.is_block_device &&
	       at.rdev == devno;
}

int host_mountinfo_each(host_mountinfo_fn fn, void *arg, struct err *err)
{
	FILE *table = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	int rc = 0;

	if (!table)
		return host_err(err, errno, "read '/proc/self/mountinfo'");
	while (rc == 0 && getline(&line, &cap, table) >= 0) {
		struct host_mountinfo info;

		if (host_mountinfo_parse(line, &info) == 0)
			rc = fn(arg, &info);
	}
	rc = ferror(table) ? errno : 0;
	(void)fclose(table);
	free(line);
	return rc ? host_err(err, rc, "read '/proc/self/mountinfo'") : 0;
}

struct of_device {
	dev_t devno;
	host_mount_fn fn;
	void *arg;
};

static int match_device(void *arg, const struct host_mountinfo *info)
{
	const struct of_device *what = arg;

	if (info->device != what->devno && !is_node_bind(info, what->devno))
		return 0;
	return what->fn(what->arg, info->point, info->read_only);
}

int host_mount_each(dev_t devno, host_mount_fn fn, void *arg, struct err *err)
{
	struct of_device what = { .devno = devno, .fn = fn, .arg = arg };

	return host_mountinfo_each(match_device, &what, err);
}

/* A line and the memory that its words are in. */
struct kept_line {
	const char *path;
	bool is_raised;
	char *text;
	struct host_mountinfo info;
};

static char *copy_word(char **at, const char *word)
{
	char *copy = *at;
	size_t n = strlen(word) + 1;

	memcpy(copy, word, n);
	*at += n;
	return copy;
}

static void keep_line(struct kept_line *kept, const struct host_mountinfo *info)
{
	char *at;

	free(kept->text);
	at = kept->text = xcalloc(strlen(info->root) + strlen(info->point) + strlen(info->fs) +
					  strlen(info->source) + strlen(info->super_options) + 5,
				  1);
	kept->info = *info;
	kept->info.root = copy_word(&at, info->root);
	kept->info.point = copy_word(&at, info->point);
	kept->info.fs = copy_word(&at, info->fs);
	kept->info.source = copy_word(&at, info->source);
	kept->info.super_options = copy_word(&at, info->super_options);
}

static int match_place(void *arg, const struct host_mountinfo *info)
{
	struct kept_line *kept = arg;

	if (str_is_equal(info->point, kept->path))
		keep_line(kept, info);
	return 0;
}

static int match_above(void *arg, const struct host_mountinfo *info)
{
	struct kept_line *kept = arg;

	if (info->parent != kept->info.id || !str_is_equal(info->point, kept->path))
		return 0;
	keep_line(kept, info);
	kept->is_raised = true;
	return 1;
}

/* One of several at a place, and from there up: the table is in the order in which mounts were
 * made, which need not be that in which they lie. */
int host_mountinfo_find_top(const char *path, char **ret_line, struct host_mountinfo *ret_info,
			    struct err *err)
{
	struct kept_line kept = { .path = path };
	int rc = host_mountinfo_each(match_place, &kept, err);

	kept.is_raised = kept.text != NULL;
	while (rc == 0 && kept.is_raised) {
		kept.is_raised = false;
		rc = host_mountinfo_each(match_above, &kept, err);
	}
	if (rc < 0)
		free(kept.text);
	if (rc < 0 || !kept.text)
		return rc;
	*ret_line = kept.text;
	*ret_info = kept.info;
	return 1;
}

/* fdinfo is answered from the kernel's memory, whatever the filesystem says. */
static int mount_id_of(int fd, uint64_t *ret_id)
{
	char path[64];
	char *line = NULL;
	size_t cap = 0;
	int rc = -ENODATA;
	FILE *info;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "re");
	if (!info)
		return -errno;
	while (rc < 0 && getline(&line, &cap, info) >= 0) {
		char *rest = line + strlen("mnt_id:");

		if (!str_has_prefix(line, "mnt_id:"))
			continue;
		rest += strspn(rest, " \t");
		rest[strcspn(rest, "\n")] = '\0';
		rc = str_parse_u64(rest, ret_id);
	}
	(void)fclose(info);
	free(line);
	return rc;
}

/* The line of the mount that the fd lies on: 1, 0 if there is none. *line is the caller's to free.
 */
static int find_line(int fd, const char *path, char **line, struct host_mountinfo *ret_info,
		     struct err *err)
{
	FILE *table = fopen("/proc/self/mountinfo", "re");
	struct host_mountinfo info;
	uint64_t id = 0;
	size_t cap = 0;
	bool is_found = false;
	int rc = table ? mount_id_of(fd, &id) : -errno;

	while (rc == 0 && !is_found && getline(line, &cap, table) >= 0)
		is_found = host_mountinfo_parse(*line, &info) == 0 && info.id == id;
	if (is_found)
		*ret_info = info;
	if (table)
		(void)fclose(table);
	return rc < 0 ? host_err(err, -rc, "ask on which mount '%s' lies", path) : is_found;
}

int host_mount_look_at_fd(int fd, const char *path, struct host_mount_at *ret_at, struct err *err)
{
	struct host_mountinfo info;
	char *line = NULL;
	int rc = find_line(fd, path, &line, &info, err);

	if (rc > 0)
		*ret_at = (struct host_mount_at){ .exists = true,
						  .is_dir = true,
						  .is_dead = true,
						  .is_mount_root = str_is_equal(info.point, path),
						  .is_read_only = info.read_only,
						  .device = info.device };
	free(line);
	return rc;
}

int host_mount_super_options(int fd, const char *path, char ret_options[HOST_SUPER_OPTIONS_MAX],
			     struct err *err)
{
	struct host_mountinfo info;
	char *line = NULL;
	int rc = find_line(fd, path, &line, &info, err);

	if (rc > 0)
		(void)snprintf(ret_options, HOST_SUPER_OPTIONS_MAX, "%s", info.super_options);
	free(line);
	return rc;
}

int host_mountinfo_find_under(const char *path, char **ret_line, struct host_mountinfo *ret_info,
			      struct err *err)
{
	autofd int fd = host_open_real(path, 0);
	char *line = NULL;
	int rc;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return host_err(err, -fd, "look at '%s'", path);
	rc = find_line(fd, path, &line, ret_info, err);
	if (rc > 0)
		*ret_line = line;
	else
		free(line);
	return rc;
}
