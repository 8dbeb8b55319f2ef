/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of I/O in a pod's cgroup. A file is written to only where it says something else about the
 * device, so that looking each second costs reads alone.
 *
 * v1 (kernel, Documentation/admin-guide/cgroup-v1/blkio-controller.rst): a limit counts for its own
 * cgroup alone, flat. The file keeps requests in 32 bits and cuts off the rest without a word.
 *
 * A cgroup may go at any moment: its files then answer ENODEV, as does a write about a device that
 * is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/cgroup-internal.h"
#include "host/err-internal.h"

#define BELOW_DEPTH 8 /* how far below a pod its cgroups are */

static const struct throttle {
	const char *file;
	size_t offset;
} throttles[] = {
	{ CGROUP_V1_FILE, offsetof(struct host_io_limits, read_iops) },
	{ "blkio.throttle.write_iops_device", offsetof(struct host_io_limits, write_iops) },
	{ "blkio.throttle.read_bps_device", offsetof(struct host_io_limits, read_bytes) },
	{ "blkio.throttle.write_bps_device", offsetof(struct host_io_limits, write_bytes) },
};

static const struct max_key {
	const char *key;
	size_t offset;
} max_keys[] = {
	{ "rbps=", offsetof(struct host_io_limits, read_bytes) },
	{ "wbps=", offsetof(struct host_io_limits, write_bytes) },
	{ "riops=", offsetof(struct host_io_limits, read_iops) },
	{ "wiops=", offsetof(struct host_io_limits, write_iops) },
};

static uint64_t *limit_at(struct host_io_limits *limits, size_t offset)
{
	return (uint64_t *)(void *)((char *)limits + offset);
}

/* The number at the start of text, and where it ends; false if there is none. */
static bool take_number(const char **text, uint64_t *ret)
{
	size_t n = strspn(*text, "0123456789");
	char digits[24];

	if (n == 0 || n >= sizeof(digits))
		return false;
	(void)snprintf(digits, sizeof(digits), "%.*s", (int)n, *text);
	*text += n;
	return str_parse_u64(digits, ret) == 0;
}

/* "7:3 …": the device, and what is behind it. */
static bool take_device(const char **line, dev_t *ret)
{
	uint64_t major, minor;

	if (!take_number(line, &major) || **line != ':' || major > UINT32_MAX)
		return false;
	(*line)++;
	if (!take_number(line, &minor) || **line != ' ' || minor > UINT32_MAX)
		return false;
	(*line)++;
	*ret = makedev((unsigned)major, (unsigned)minor);
	return true;
}

static const char *next_line(const char *text)
{
	const char *end = strchr(text, '\n');

	return end ? end + 1 : text + strlen(text);
}

/* What is behind the device in its line, NULL if it has none. */
static const char *find_line(const char *text, dev_t device)
{
	for (const char *line = text; *line; line = next_line(line)) {
		const char *rest = line;
		dev_t of;

		if (take_device(&rest, &of) && of == device)
			return rest;
	}
	return NULL;
}

void host_cgroup_parse_max(const char *text, dev_t device, struct host_io_limits *ret)
{
	struct host_io_limits limits = { 0 };
	const char *at = find_line(text, device);

	for (; at && *at && *at != '\n'; at += strspn(at, " ")) {
		for (size_t i = 0; i < ARRAY_LEN(max_keys); i++) {
			const char *value = at + strlen(max_keys[i].key);

			/* "max" is none, as is a key that is not there */
			if (str_has_prefix(at, max_keys[i].key))
				(void)take_number(&value, limit_at(&limits, max_keys[i].offset));
		}
		at += strcspn(at, " \n");
	}
	*ret = limits;
}

uint64_t host_cgroup_parse_throttle(const char *text, dev_t device)
{
	const char *at = find_line(text, device);
	uint64_t value = 0;

	return at && take_number(&at, &value) ? value : 0;
}

static int refuse_file(struct err *err, int errnum, const char *verb, const char *file)
{
	if (errnum == ENOENT)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the pod's cgroup has no '%s': the controller is not enabled for it",
			       file);
	if (errnum == ENODEV)
		return err_set(err, ERR_NOT_FOUND, "%s '%s': the cgroup or the device is gone",
			       verb, file);
	return host_err(err, errnum, "%s '%s' of a pod's cgroup", verb, file);
}

static int write_line(int fd, const char *file, const char *line, struct err *err)
{
	autofd int out = openat(fd, file, O_WRONLY | O_CLOEXEC);
	int r = out < 0 ? -errno : fd_write_all(out, line, strlen(line));

	return r < 0 ? refuse_file(err, -r, "write", file) : 0;
}

static int read_text(int fd, const char *file, char **ret_text, struct err *err)
{
	size_t n;
	int r = fd_read_file(fd, file, CGROUP_FILE_MAX, ret_text, &n);

	return r < 0 ? refuse_file(err, -r, "read", file) : 0;
}

static int limit_v2(int fd, dev_t device, const struct host_io_limits *wanted, struct err *err)
{
	autofree char *text = NULL;
	autostr struct str line = STR_INIT;
	struct host_io_limits want = *wanted;
	struct host_io_limits now;

	if (read_text(fd, "io.max", &text, err) < 0)
		return -1;
	host_cgroup_parse_max(text, device, &now);
	if (memcmp(&now, &want, sizeof(now)) == 0)
		return 0;
	str_appendf(&line, "%u:%u", major(device), minor(device));
	for (size_t i = 0; i < ARRAY_LEN(max_keys); i++) {
		uint64_t value = *limit_at(&want, max_keys[i].offset);

		if (value)
			str_appendf(&line, " %s%" PRIu64, max_keys[i].key, value);
		else
			str_appendf(&line, " %smax", max_keys[i].key);
	}
	str_append(&line, "\n");
	return write_line(fd, "io.max", str_get(&line), err) < 0 ? -1 : 1;
}

/* One cgroup: whether something had to be written. */
static int limit_one_v1(int fd, dev_t device, const struct host_io_limits *wanted, struct err *err)
{
	struct host_io_limits want = *wanted;
	int n_written = 0;

	for (size_t i = 0; i < ARRAY_LEN(throttles); i++) {
		uint64_t value = *limit_at(&want, throttles[i].offset);
		autofree char *text = NULL;
		char line[64];

		if (read_text(fd, throttles[i].file, &text, err) < 0)
			return -1;
		if (host_cgroup_parse_throttle(text, device) == value)
			continue;
		(void)snprintf(line, sizeof(line), "%u:%u %" PRIu64 "\n", major(device),
			       minor(device), value);
		if (write_line(fd, throttles[i].file, line, err) < 0)
			return -1;
		n_written++;
	}
	return n_written > 0;
}

struct limit_below {
	dev_t device;
	const struct host_io_limits *wanted;
	unsigned depth;
	int n_changed;
	bool has_failed;
	struct err *err;
};

/* A container's cgroup that goes meanwhile is no failure. */
static int limit_below(void *arg, int dirfd, const char *name)
{
	struct limit_below *below = arg;
	autofd int fd = cgroup_open_dir(dirfd, name);
	int r;

	if (fd < 0)
		return 0;
	r = limit_one_v1(fd, below->device, below->wanted, below->err);
	if (r < 0 && below->err->code != ERR_NOT_FOUND &&
	    faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		below->has_failed = true;
		return 1;
	}
	if (r > 0)
		below->n_changed++;
	if (below->depth == 0)
		return 0;
	below->depth--;
	r = cgroup_each_dir(fd, limit_below, below);
	below->depth++;
	return r;
}

static int limit_v1(int fd, dev_t device, const struct host_io_limits *wanted, struct err *err)
{
	struct limit_below below = {
		.device = device, .wanted = wanted, .depth = BELOW_DEPTH, .err = err
	};
	int r = limit_one_v1(fd, device, wanted, err);

	if (r < 0)
		return -1;
	below.n_changed = r;
	(void)cgroup_each_dir(fd, limit_below, &below);
	return below.has_failed ? -1 : below.n_changed;
}

static bool are_none(const struct host_io_limits *limits)
{
	static const struct host_io_limits none;

	return memcmp(limits, &none, sizeof(none)) == 0;
}

int host_cgroup_limit(const char *root, const char *pod_uid, dev_t device,
		      const struct host_io_limits *limits, struct err *err)
{
	enum cgroup_version version;
	autofd int fd = -1;
	autofd int pod = -1;
	int r;

	if (cgroup_open(root, &version, &fd, err) < 0)
		return -1;
	r = cgroup_open_pod(fd, pod_uid, &pod, err);
	if (r == 0)
		r = version == CGROUP_V2 ? limit_v2(pod, device, limits, err)
					 : limit_v1(pod, device, limits, err);
	return r < 0 && err->code == ERR_NOT_FOUND && are_none(limits) ? 0 : r;
}

struct each {
	enum cgroup_version version;
	host_cgroup_fn fn;
	void *arg;
	const char *uid;
	unsigned depth;
	bool is_stopped;
};

static int tell_lines(struct each *each, const char *text)
{
	for (const char *line = text; *line && !each->is_stopped; line = next_line(line)) {
		const char *rest = line;
		dev_t device;

		if (take_device(&rest, &device))
			each->is_stopped = each->fn(each->arg, each->uid, device) != 0;
	}
	return each->is_stopped;
}

static int tell_file(struct each *each, int fd, const char *file)
{
	autofree char *text = NULL;
	struct err ignored; /* gone, or without the controller: nothing is limited there */

	return read_text(fd, file, &text, &ignored) < 0 ? 0 : tell_lines(each, text);
}

static int tell_group(struct each *each, int fd)
{
	if (each->version == CGROUP_V2)
		return tell_file(each, fd, "io.max");
	for (size_t i = 0; i < ARRAY_LEN(throttles); i++) {
		if (tell_file(each, fd, throttles[i].file) > 0)
			return 1;
	}
	return 0;
}

static int tell_below(void *arg, int dirfd, const char *name)
{
	struct each *each = arg;
	autofd int fd = cgroup_open_dir(dirfd, name);
	int r;

	if (fd < 0)
		return 0;
	if (tell_group(each, fd) > 0)
		return 1;
	if (each->depth == 0)
		return 0;
	each->depth--;
	r = cgroup_each_dir(fd, tell_below, each);
	each->depth++;
	return r;
}

static int tell_pod(void *arg, int pod_fd, const char *uid)
{
	struct each *each = arg;

	each->uid = uid;
	each->depth = BELOW_DEPTH;
	if (tell_group(each, pod_fd) == 0 && each->version == CGROUP_V1)
		(void)cgroup_each_dir(pod_fd, tell_below, each);
	return each->is_stopped;
}

int host_cgroup_each(const char *root, host_cgroup_fn fn, void *arg, struct err *err)
{
	struct each each = { .fn = fn, .arg = arg };
	autofd int fd = -1;

	if (cgroup_open(root, &each.version, &fd, err) < 0)
		return -1;
	cgroup_each_pod(fd, tell_pod, &each);
	return 0;
}
