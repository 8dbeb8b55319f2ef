/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkers of ext4 and XFS, and what their exit codes mean (e2fsck(8), xfs_repair(8)).
 *
 * A clean verdict of e2fsck -n is not enough: it does not count "errors were found", which the
 * superblock says until a run that may write has looked, and which keeps the volume from being
 * staged.
 */
#include "host/repair.h"

#include "base/clock.h"
#include "base/mem.h"
#include "host/condition.h"
#include "host/err-internal.h"
#include "host/grow.h"
#include "host/spawn.h"

#define E2FSCK_REPAIRED 1
#define E2FSCK_REPAIRED_REBOOT 2
#define E2FSCK_ERRORS_LEFT 4
#define XFS_REPAIR_CORRUPT 1
#define XFS_REPAIR_DIRTY_LOG 2
#define NO_LIMIT_NS (INT64_C(1000) * 24 * 3600 * NS_PER_S)

static int judge_e2fsck(int status, bool repair, enum host_verdict *ret)
{
	if (status == 0)
		*ret = HOST_FS_CLEAN;
	else if (repair && (status & ~(E2FSCK_REPAIRED | E2FSCK_REPAIRED_REBOOT)) == 0)
		*ret = HOST_FS_REPAIRED;
	else if ((status & E2FSCK_ERRORS_LEFT) && status < 2 * E2FSCK_ERRORS_LEFT)
		*ret = HOST_FS_HAS_ERRORS;
	else
		return -1;
	return 0;
}

/* One that may write says 0 whether or not there was something to repair. */
static int judge_xfs_repair(int status, bool repair, enum host_verdict *ret)
{
	if (status == 0)
		*ret = repair ? HOST_FS_REPAIRED : HOST_FS_CLEAN;
	else if (repair && status == XFS_REPAIR_DIRTY_LOG)
		*ret = HOST_FS_WANTS_REPLAY;
	else if (!repair && status == XFS_REPAIR_CORRUPT)
		*ret = HOST_FS_HAS_ERRORS;
	else
		return -1;
	return 0;
}

static int run_tool(struct ctx *ctx, int fd, const char *const *argv, const char *package,
		    struct str *output, int *ret_status, struct err *err)
{
	return host_spawn(ctx,
			  &(struct host_spawn){
				  .tool = argv[0],
				  .package = package,
				  .argv = argv,
				  .pass_fd = fd,
				  .timeout_ns = NO_LIMIT_NS,
				  .output = output,
				  .ret_status = ret_status,
			  },
			  err);
}

/* Of one whose first superblock is damaged the tool is the judge. */
static bool is_half_grown(const char *path)
{
	struct err ignored;
	bool lag = false;

	return host_xfs_copies_lag(path, &lag, &ignored) == 0 && lag;
}

int host_fs_check(struct ctx *ctx, int fd, const char *fs, bool repair, struct str *output,
		  enum host_verdict *ret_verdict, struct err *err)
{
	const char *const e2fsck[] = { "e2fsck", "-f", repair ? "-y" : "-n", HOST_SPAWN_FD_PATH,
				       NULL };
	const char *const xfs_repair[] = { "xfs_repair", "-f", repair ? HOST_SPAWN_FD_PATH : "-n",
					   repair ? NULL : HOST_SPAWN_FD_PATH, NULL };
	bool is_xfs = str_is_equal(fs, "xfs");
	const char *const *argv = is_xfs ? xfs_repair : e2fsck;
	enum host_verdict verdict = HOST_FS_HAS_ERRORS;
	bool has_errors = false;
	char path[64];
	int status = 0;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (is_xfs && is_half_grown(path)) {
		*ret_verdict = HOST_FS_HALF_GROWN;
		return 0;
	}
	if (run_tool(ctx, fd, argv, is_xfs ? "xfsprogs" : "e2fsprogs", output, &status, err) < 0)
		return -1;
	if ((is_xfs ? judge_xfs_repair : judge_e2fsck)(status, repair, &verdict) < 0)
		return err_set(err, ERR_INTERNAL, "%s exited %d", argv[0], status);
	if (verdict != HOST_FS_WANTS_REPLAY &&
	    (host_condition_of_device(path, fs, &has_errors, err) < 0 || has_errors))
		verdict = HOST_FS_HAS_ERRORS;
	*ret_verdict = verdict;
	return 0;
}
