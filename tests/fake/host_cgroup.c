/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/host_cgroup.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "fake/host-internal.h"

#define N_MAX 32

static struct {
	bool is_missing;
	char pods[N_MAX][HOST_POD_UID_MAX];
	size_t n_pods;
	struct line {
		char uid[HOST_POD_UID_MAX];
		dev_t device;
		struct host_io_limits limits;
	} lines[N_MAX];
	size_t n_lines;
	unsigned n_writes;
	void (*at_write)(void *arg);
	void *arg;
} groups;

void fake_cgroup_reset(void)
{
	memset(&groups, 0, sizeof(groups));
}

void fake_cgroup_set_controller(bool is_there)
{
	groups.is_missing = !is_there;
}

void fake_cgroup_add_pod(const char *uid)
{
	(void)snprintf(groups.pods[groups.n_pods++], HOST_POD_UID_MAX, "%s", uid);
}

static bool has_pod(const char *uid)
{
	for (size_t i = 0; i < groups.n_pods; i++) {
		if (str_is_equal(groups.pods[i], uid))
			return true;
	}
	return false;
}

void fake_cgroup_remove_pod(const char *uid)
{
	for (size_t i = 0; i < groups.n_pods; i++) {
		if (str_is_equal(groups.pods[i], uid))
			memcpy(groups.pods[i], groups.pods[--groups.n_pods], HOST_POD_UID_MAX);
	}
	for (size_t i = groups.n_lines; i > 0; i--) {
		if (str_is_equal(groups.lines[i - 1].uid, uid))
			groups.lines[i - 1] = groups.lines[--groups.n_lines];
	}
}

static struct line *find_line(const char *uid, dev_t device)
{
	for (size_t i = 0; i < groups.n_lines; i++) {
		if (groups.lines[i].device == device && str_is_equal(groups.lines[i].uid, uid))
			return &groups.lines[i];
	}
	return NULL;
}

static bool are_none(const struct host_io_limits *limits)
{
	return !limits->read_iops && !limits->write_iops && !limits->read_bytes &&
	       !limits->write_bytes;
}

void fake_cgroup_set(const char *uid, dev_t device, const struct host_io_limits *limits)
{
	struct line *line = find_line(uid, device);

	if (!line && !are_none(limits)) {
		line = &groups.lines[groups.n_lines++];
		(void)snprintf(line->uid, sizeof(line->uid), "%s", uid);
		line->device = device;
	}
	if (line)
		line->limits = *limits;
	if (line && are_none(limits))
		*line = groups.lines[--groups.n_lines];
}

struct host_io_limits fake_cgroup_get(const char *uid, dev_t device)
{
	const struct line *line = find_line(uid, device);

	return line ? line->limits : (struct host_io_limits){ 0 };
}

size_t fake_cgroup_n_lines(void)
{
	return groups.n_lines;
}

unsigned fake_cgroup_n_writes(void)
{
	return groups.n_writes;
}

void fake_cgroup_at_write(void (*fn)(void *arg), void *arg)
{
	groups.at_write = fn;
	groups.arg = arg;
}

int host_cgroup_check(const char *root, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	return groups.is_missing ? err_set(err, ERR_FAILED_PRECONDITION,
					   "the kernel limits no I/O by the cgroups at '%s'", root)
				 : 0;
}

int host_cgroup_limit(const char *root, const char *pod_uid, dev_t device,
		      const struct host_io_limits *limits, struct err *err)
{
	struct host_io_limits now = fake_cgroup_get(pod_uid, device);
	void (*at_write)(void *arg) = groups.at_write;

	if (host_cgroup_check(root, err) < 0)
		return -1;
	if (!has_pod(pod_uid))
		return are_none(limits)
			       ? 0
			       : err_set(err, ERR_NOT_FOUND, "pod '%s' has no cgroup", pod_uid);
	if (memcmp(&now, limits, sizeof(now)) == 0)
		return 0;
	groups.n_writes++;
	groups.at_write = NULL;
	fake_cgroup_set(pod_uid, device, limits);
	if (at_write)
		at_write(groups.arg);
	return 1;
}

int host_cgroup_each(const char *root, host_cgroup_fn fn, void *arg, struct err *err)
{
	if (host_cgroup_check(root, err) < 0)
		return -1;
	for (size_t i = 0; i < groups.n_lines; i++) {
		if (fn(arg, groups.lines[i].uid, groups.lines[i].device) != 0)
			return 0;
	}
	return 0;
}

bool host_pod_uid_is_valid(const char *uid)
{
	return uid[0] && strlen(uid) < HOST_POD_UID_MAX && !strpbrk(uid, "/.");
}
