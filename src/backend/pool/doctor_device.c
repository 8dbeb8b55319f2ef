/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loop devices that a pool's files have and should not, or not so.
 *
 * A device of ours goes by itself when its mount does, but that of a raw volume, which stays until
 * the volume is unstaged; as long as a volume is staged its file has a note that says so. So one
 * that is mounted nowhere here and whose volume has no note is left over. It is ours if its sectors
 * have our size and it holds a claim on the file, which a person's `losetup` does not take. Letting
 * go of it cannot hurt: the kernel keeps a device as long as anybody has it open or mounted, in
 * whatever namespace.
 *
 * A device over a file that was unlinked has the only copy of its bytes, so that is never let go.
 */
#include "backend/pool/doctor-internal.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/loopdev.h"
#include "host/mount.h"
#include "volume/id.h"

struct over {
	struct doctor *d;
	const struct pool_volume *vol;
	const char *path;
	struct host_loop loop;
	struct host_loop_file file;
	char detail[VOL_TOKEN_MAX + 64];
};

typedef int (*find_fn)(const struct host_loop_file *file, struct host_loop *ret_loop,
		       int *ret_hold_fd, struct err *err);

static int note_mount(void *arg, const char *path, bool read_only)
{
	(void)path;
	(void)read_only;
	*(bool *)arg = true;
	return 1;
}

/* 1 if it is in use, as far as can be seen from here. */
static int is_in_use(const struct over *over, struct err *err)
{
	autofree char *note = xmalloc(BACKEND_NOTE_MAX + 1);
	bool is_mounted = false;

	if (host_mount_each(over->loop.devno, note_mount, &is_mounted, err) < 0)
		return -1;
	if (is_mounted)
		return 1;
	if (host_file_get_attr(over->vol->fd, POOL_NOTE_ATTR, note, BACKEND_NOTE_MAX + 1, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return note[0] != '\0';
}

struct look_for {
	dev_t devno;
	bool is_found;
};

static int match(void *arg, const struct host_loop_seen *seen)
{
	struct look_for *look = arg;

	look->is_found = look->is_found || seen->devno == look->devno;
	return look->is_found;
}

/* 1 if one of ours bound it: sectors of our size, and a claim. */
static int is_ours(const struct over *over, struct err *err)
{
	struct look_for look = { .devno = over->loop.devno };
	autohostfd int fd = -1; /* a claim goes with its opening of the file */

	if (host_loop_each_named(over->vol->vol.token, match, &look, err) < 0)
		return -1;
	if (!look.is_found)
		return 0;
	if (host_file_open(over->d->pool.dir_fd, over->vol->vol.token, true, &fd, err) < 0)
		return -1;
	if (host_file_claim(fd, true, err) == 0)
		return 0;
	return err->code == ERR_ABORTED ? 1 : -1;
}

static int let_go(const struct over *over, find_fn find, struct err *err)
{
	struct host_loop now;
	int rc;

	if (host_loop_detach(&over->loop, over->file.device, over->file.inode, err) < 0)
		return -1;
	rc = find(&over->file, &now, NULL, err);
	if (rc > 0 && now.devno == over->loop.devno)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "somebody has it open, or mounted where it cannot be seen from "
			       "here; it goes when its last user does");
	return rc < 0 ? -1 : 0;
}

static int judge_left(struct over *over, find_fn find, struct err *err)
{
	struct doctor *d = over->d;
	int rc;

	/* beside a driver one that is not kept may be on its way to its mount; and the claim, which
	 * tells whose it is, could refuse the driver its own */
	if (d->seen.is_served) {
		if (!over->loop.is_autoclear)
			(void)doctor_may_mend(d, POOL_TROUBLE_DEVICE, over->loop.path,
					      over->detail);
		return 0;
	}
	rc = is_ours(over, err);
	if (rc < 0)
		return -1;
	if (rc == 0) {
		doctor_report(d, POOL_TROUBLE_BY_HAND, over->loop.path, over->detail);
		return 0;
	}
	if (!doctor_may_mend(d, POOL_TROUBLE_DEVICE, over->loop.path, over->detail))
		return 0;
	rc = let_go(over, find, err);
	doctor_report_mended(d, POOL_TROUBLE_DEVICE, over->loop.path, over->detail, rc, err);
	return 0;
}

static int look_at(struct over *over, find_fn find, struct err *err)
{
	int rc = find(&over->file, &over->loop, NULL, err);

	if (rc <= 0)
		return rc;
	rc = is_in_use(over, err);
	if (rc < 0)
		return -1;
	(void)snprintf(over->detail, sizeof(over->detail), "over '%s'", over->vol->vol.token);
	if (rc == 0)
		return judge_left(over, find, err);
	if (!over->loop.is_direct && over->vol->kind == POOL_FILE_WHOLE &&
	    !over->vol->record.allow_buffered)
		doctor_report(over->d, POOL_TROUBLE_BUFFERED, over->loop.path, over->detail);
	return 0;
}

void doctor_look_at_devices(struct doctor *d, const struct pool_volume *vol, const char *path)
{
	struct over over = {
		.d = d,
		.vol = vol,
		.path = path,
		.file = { .fd = vol->fd,
			  .device = vol->file.device,
			  .inode = vol->file.inode,
			  .bytes = vol->file.bytes,
			  .name = vol->vol.token },
	};
	struct err err;

	if (look_at(&over, host_loop_find, &err) < 0 ||
	    look_at(&over, host_loop_find_reader, &err) < 0)
		doctor_report(d, POOL_TROUBLE_UNREADABLE, path, err.msg);
}

static int report_unlinked(void *arg, const struct host_loop_seen *seen)
{
	char detail[PATH_MAX + 64];

	(void)snprintf(detail, sizeof(detail), "over '%s'", seen->file);
	doctor_report(arg, POOL_TROUBLE_UNLINKED, seen->path, detail);
	return 0;
}

int doctor_look_for_unlinked(struct doctor *d, struct err *err)
{
	return host_loop_each_unlinked(d->dir.device, report_unlinked, d, err);
}
