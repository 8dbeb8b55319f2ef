/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host/freeze.h on the fake host. A guard outlives its parent there too: with the parent's death
 * all that it had frozen is thawed.
 */
#include "fake/host_freeze.h"

#include <assert.h>

#include "base/mem.h"
#include "fake/host-internal.h"
#include "host/blockdev.h"
#include "host/freeze.h"

struct host_freeze {
	size_t n;
	struct fake_fs *fs[];
};

static void thaw(struct host_freeze *f, size_t n)
{
	for (size_t i = 0; i < n; i++)
		f->fs[i]->frozen = FAKE_THAWED;
}

static int freeze_one(struct fake_fs *fs, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	if (fs->frozen == FAKE_FROZEN || fs->frozen == FAKE_LEFT_FROZEN)
		return err_set(err, ERR_ABORTED, "somebody else has frozen it");
	if (fs == world.memory)
		return err_set(err, ERR_FAILED_PRECONDITION, "this kind cannot be frozen");
	fs->frozen = FAKE_FROZEN;
	for (int i = 0; i < FAKE_N_LOOPS; i++) {
		if (world.loops[i].backing && world.loops[i].backing->inner == fs)
			world.loops[i].backing->growth_is_in_log = false;
	}
	return 0;
}

int host_freeze_begin(struct ctx *ctx, struct host_freeze **ret_freeze, const int *dir_fds,
		      size_t n, int64_t limit_ns, struct err *err)
{
	struct host_freeze *f = xcalloc(1, sizeof(*f) + n * sizeof(f->fs[0]));
	bool has_begun;

	assert(n > 0 && n <= HOST_FREEZE_MAX && limit_ns > 0);
	f->n = n;
	/* the guards start */
	has_begun = ctx_check(ctx, err) == 0 && fake_step(err) == 0;
	for (size_t i = 0; has_begun && i < n; i++) {
		f->fs[i] = fake_fd_get(dir_fds[i])->inode->on;
		if (freeze_one(f->fs[i], err) < 0) {
			if (!fake_is_dead())
				thaw(f, i);
			has_begun = false;
		}
	}
	if (!has_begun) {
		free(f);
		return -1;
	}
	*ret_freeze = f;
	return 0;
}

static int judge(const struct host_freeze *f, struct err *err)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->fs[i]->frozen == FAKE_TIMED_OUT)
			return err_set(err, ERR_DEADLINE_EXCEEDED,
				       "a filesystem was thawed before all was done");
		if (f->fs[i]->frozen == FAKE_THAWED)
			return err_set(err, ERR_ABORTED, "somebody else thawed a filesystem");
	}
	return 0;
}

int host_freeze_end(struct host_freeze *f, struct err *err)
{
	int rc = fake_step(err);

	if (rc == 0)
		rc = judge(f, err);
	if (!fake_is_dead())
		thaw(f, f->n);
	free(f);
	return rc;
}

int host_freeze_thaw(int dir_fd, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	fake_fd_get(dir_fd)->inode->on->frozen = FAKE_THAWED;
	return 0;
}

int host_fs_sync(int fd, struct err *err)
{
	const struct fake_inode *inode = fake_fd_get(fd)->inode;
	const struct fake_fs *on;

	if (fake_step_on(inode, err) < 0)
		return -1;
	on = inode->on;
	for (size_t i = world.inodes.n; i > 0; i--) {
		if (i > world.inodes.n) /* names that went for good took files with them */
			continue;
		if (world.inodes.v[i - 1]->on == on && world.inodes.v[i - 1]->kind == FAKE_FILE)
			fake_durable_keep(world.inodes.v[i - 1]);
		else if (world.inodes.v[i - 1]->on == on && world.inodes.v[i - 1]->kind == FAKE_DIR)
			fake_entries_sync(world.inodes.v[i - 1]);
	}
	return 0;
}

int host_block_sync(const char *device, struct err *err)
{
	int i = fake_loop_of(device);

	if (fake_step(err) < 0)
		return -1;
	if (i < 0 || !world.loops[i].backing)
		return err_set(err, ERR_NOT_FOUND, "open '%s'", device);
	world.loops[i].backing->is_synced = true;
	return 0;
}

void fake_guards_thaw(void)
{
	for (size_t i = 0; i < world.filesystems.n; i++) {
		if (world.filesystems.v[i]->frozen != FAKE_LEFT_FROZEN)
			world.filesystems.v[i]->frozen = FAKE_THAWED;
	}
}

size_t fake_host_n_frozen(void)
{
	size_t n = 0;

	for (size_t i = 0; i < world.filesystems.n; i++)
		n += world.filesystems.v[i]->frozen == FAKE_FROZEN ||
		     world.filesystems.v[i]->frozen == FAKE_LEFT_FROZEN;
	return n;
}

static void change_frozen(enum fake_frozen to)
{
	for (size_t i = 0; i < world.filesystems.n; i++) {
		if (world.filesystems.v[i]->frozen == FAKE_FROZEN)
			world.filesystems.v[i]->frozen = to;
	}
}

void fake_host_freeze_times_out(void)
{
	change_frozen(FAKE_TIMED_OUT);
}

void fake_host_thaw_all(void)
{
	change_frozen(FAKE_THAWED);
}

void fake_host_kill_guards(void)
{
	change_frozen(FAKE_LEFT_FROZEN);
}

void fake_host_leave_frozen(const char *path)
{
	struct fake_mount *mount;

	assert(fake_lookup(path, &mount));
	mount->fs->frozen = FAKE_LEFT_FROZEN;
}
