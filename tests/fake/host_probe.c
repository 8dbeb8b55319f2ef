/* SPDX-License-Identifier: Apache-2.0 */
/* What a child process would be asked: here nothing hangs, so it is simply told. */
#include "host/probe.h"

#include "base/str.h"
#include "fake/host-internal.h"
#include "host/mount.h"

int host_mount_knows(const char *fs, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	return str_is_equal(fs, world.client);
}

int host_mount_answers(struct ctx *ctx, const char *path, int64_t ns, struct err *err)
{
	struct fake_mount *mount = NULL;

	(void)ns;
	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	if (world.are_probes_broken)
		return err_set(err, ERR_UNAVAILABLE, "there is no process to be had");
	(void)fake_lookup(path, &mount);
	return !(world.is_server_silent && mount && mount->fs == world.remote);
}

int host_mount_flush(struct ctx *ctx, const char *path, int64_t ns, struct err *err)
{
	struct fake_mount *mount = NULL;

	(void)ns;
	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	(void)fake_lookup(path, &mount);
	return !(world.is_write_stopped && mount && mount->fs == world.remote);
}

int host_mount_force(struct ctx *ctx, const char *path, int64_t ns, struct err *err)
{
	(void)ns;
	world.n_forced++;
	return host_mount_umount(ctx, path, err);
}
