/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A person's check of one volume, beside a driver that may be serving the pool at the same time.
 *
 * The two keep out of each other's way by a lock on the volume's file that belongs to the opening,
 * not to the process: the driver shares it before it attaches, and the loop device, which has the
 * same opening, keeps it until it goes; the check has it alone. A device that was bound without it
 * (by a hand, or an older version) is found as the driver finds its own.
 */
#include "backend/pool/pool-internal.h"
#include "base/str.h"
#include "host/fs.h"

static int refuse_attached(const struct pool_volume *found, const char *token, struct err *err)
{
	struct backend_device dev;
	int rc = filedev_find(FILEDEV_MAIN, found->fd, &found->file, token, &dev, err);

	if (rc == 0)
		rc = filedev_find(FILEDEV_READER, found->fd, &found->file, token, &dev, err);
	if (rc > 0)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"it is attached as '%s'; take it down first (delete the pods that use "
			"it on this node, or detach the device)",
			dev.path);
	return rc;
}

static int check_found(struct ctx *ctx, const struct pool_check *what,
		       const struct pool_volume *found, struct pool_checked *ret, struct err *err)
{
	struct pool_checked checked = { 0 };

	if (found->kind != POOL_FILE_WHOLE)
		return err_set(err, ERR_FAILED_PRECONDITION, "it is damaged: %s",
			       found->vol.damage);
	if (str_is_empty(found->vol.fs))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is a raw block volume: what is on it is its user's to check");
	if (refuse_attached(found, what->token, err) < 0)
		return -1;
	if (host_file_claim(found->fd, true, err) < 0)
		return err->code == ERR_ABORTED ? err_set(err, ERR_FAILED_PRECONDITION,
							  "it is being attached, or checked by "
							  "another process; take "
							  "it down, or wait")
						: -1;
	(void)snprintf(checked.name, sizeof(checked.name), "%s", found->vol.name);
	(void)snprintf(checked.fs, sizeof(checked.fs), "%s", found->vol.fs);
	if (host_fs_check(ctx, found->fd, checked.fs, what->repair, what->output, &checked.verdict,
			  err) < 0)
		return -1;
	if (what->repair && host_file_sync(found->fd, err) < 0)
		return -1;
	*ret = checked;
	return 0;
}

static int check_named(struct pool *p, struct ctx *ctx, const struct pool_check *what,
		       struct pool_checked *ret, struct err *err)
{
	struct pool_volume found;
	int rc;

	if (pool_find(p, what->token, !what->repair, &found, err) < 0)
		return err->code == ERR_NOT_FOUND
			       ? err_set(err, ERR_NOT_FOUND, "there is no volume '%s' in '%s'",
					 what->token, what->dir)
			       : -1;
	if (found.kind == POOL_FILE_FOREIGN)
		rc = err_set(err, ERR_NOT_FOUND, "'%s/%s' is no volume of cleat's", what->dir,
			     what->token);
	else
		rc = check_found(ctx, what, &found, ret, err);
	host_fd_close(found.fd);
	return rc < 0 ? err_wrap(err, "check volume '%s'", what->token) : 0;
}

int pool_check(struct ctx *ctx, const struct pool_check *what, struct pool_checked *ret,
	       struct err *err)
{
	struct pool_identity id;
	struct pool pool;
	int rc;

	if (pool_beside_open(&pool, what->dir, err) < 0)
		return -1;
	rc = pool_beside_identify(&pool, what->dir, &id, err);
	if (rc == 0)
		rc = check_named(&pool, ctx, what, ret, err);
	pool_beside_close(&pool);
	return rc;
}
