/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A text is written beside the old one and takes its name, so a reader sees one or the other. No
 * sync: what a power cut takes away belongs to mounts that it takes away as well.
 */
#include "backend/ceph/state.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "host/fs.h"
#include "host/mount.h"

static int open_state(const char *state_dir, int *ret_fd, struct err *err)
{
	if (!state_dir[0])
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"this process stages nothing: it has no directory for what it stages");
	return host_dir_open(state_dir, ret_fd, err);
}

int ceph_state_get(const char *state_dir, const char *token, const char *name, char *ret_text,
		   size_t cap, struct err *err)
{
	autohostfd int state_fd = -1;
	autohostfd int dir_fd = -1;
	autohostfd int fd = -1;

	if (open_state(state_dir, &state_fd, err) < 0)
		return -1;
	if (host_dir_open_at(state_fd, token, &dir_fd, err) < 0 ||
	    host_file_open(dir_fd, name, true, &fd, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -1;
		ret_text[0] = '\0';
		return 0;
	}
	return host_file_get_text(fd, ret_text, cap, err);
}

static int take_away(const char *state_dir, int state_fd, const char *token, const char *name,
		     struct err *err)
{
	autohostfd int dir_fd = -1;
	char path[PATH_MAX];
	struct err ignored;

	if (host_dir_open_at(state_fd, token, &dir_fd, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (host_file_unlink(dir_fd, name, err) < 0)
		return -1;
	/* unless there is more in it */
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", state_dir, token) < sizeof(path))
		(void)host_mount_remove_target(path, &ignored);
	return 0;
}

int ceph_state_set(const char *state_dir, const char *token, const char *name, const char *text,
		   struct err *err)
{
	autohostfd int state_fd = -1;
	autohostfd int dir_fd = -1;
	autohostfd int fd = -1;
	char half[32];

	if (open_state(state_dir, &state_fd, err) < 0)
		return -1;
	if (!text[0])
		return take_away(state_dir, state_fd, token, name, err);
	(void)snprintf(half, sizeof(half), "%s.new", name);
	if (host_dir_make(state_fd, token, &dir_fd, err) < 0 ||
	    host_file_open_or_make(dir_fd, half, &fd, err) < 0 ||
	    host_file_set_text(fd, text, err) < 0)
		return -1;
	return host_file_rename(dir_fd, half, name, err);
}
