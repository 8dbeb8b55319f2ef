/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person says of a pool that is not where it was: moved, or a copy.
 *
 * The program cannot know which it is, and a wrong guess serves stale content or deletes the wrong
 * file. Both answers replace one small file and nothing else: volumes know by the identity in their
 * record which pool they were made for, so after --copy they are reported and not served, without a
 * change to any of them.
 */
#include "backend/pool/pool-internal.h"

static int open_meta(const char *dir, int *ret_dir_fd, int *ret_meta_fd, int *ret_lock_fd,
		     struct err *err)
{
	if (host_dir_open(dir, ret_dir_fd, err) < 0)
		return -1;
	if (host_dir_open_at(*ret_dir_fd, ".cleat", ret_meta_fd, err) < 0)
		return err->code != ERR_NOT_FOUND
			       ? -1
			       : err_set(err, ERR_FAILED_PRECONDITION, "'%s' is no pool", dir);
	return pool_take_lock(*ret_meta_fd, dir, ret_lock_fd, err);
}

static int replace_identity(int dir_fd, int meta_fd, const struct pool_adopt *how,
			    struct pool_adopted *ret, struct err *err)
{
	struct pool_identity before, after;

	if (pool_identity_read(meta_fd, &before, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "it has no identity yet; the first start gives it one");
		/* a copy needs nothing of what was there before */
		if (err->code != ERR_FAILED_PRECONDITION || !how->is_copy)
			return -1;
		before = (struct pool_identity){ 0 };
	}
	if (pool_see(dir_fd, how->node_id, &after, err) < 0)
		return -1;
	after.identity = before.identity;
	if (how->is_copy)
		uuid_make(&after.identity);
	if (pool_identity_write(meta_fd, &after, true, err) < 0)
		return -1;
	*ret = (struct pool_adopted){ .before = before.identity, .identity = after.identity };
	return 0;
}

int pool_adopt(const struct pool_adopt *how, struct pool_adopted *ret, struct err *err)
{
	autohostfd int dir_fd = -1;
	autohostfd int meta_fd = -1;
	autohostfd int lock_fd = -1;

	if (open_meta(how->dir, &dir_fd, &meta_fd, &lock_fd, err) < 0)
		return -1;
	if (replace_identity(dir_fd, meta_fd, how, ret, err) < 0)
		return err_wrap(err, "adopt '%s'", how->dir);
	return 0;
}
