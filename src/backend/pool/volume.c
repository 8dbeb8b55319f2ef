/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes that are there: listed, removed, attached, noted.
 *
 * Removal unlinks, syncs the directory and then frees the blocks by truncating through the fd it
 * still has: XFS reaps unlinked inodes in the background, and a pool that says "full" right after a
 * delete would be wrong. It truncates only a file that has no name left: one that somebody linked
 * in the last moment keeps its bytes.
 *
 * What is read while something is made of it is claimed by its reader (cut.c), and removal wants
 * the claim alone. A loop device has a claim as well and keeps it for a moment after it is seen to
 * be gone, so the claim is asked for more than once; nothing in the kernel tells when it goes.
 */
#include <poll.h>

#include "backend/pool/pool-internal.h"
#include "base/mem.h"
#include "base/str.h"

#define LOG_ROOM "backend"
#include "base/log.h"

int pool_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn, void *arg,
	      struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_names names;
	int rc = 0;

	if (pool_names_read(p, POOL_VOLUMES, after, &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++) {
		struct pool_volume found;

		rc = ctx_check(ctx, err);
		if (rc < 0)
			break;
		if (pool_find_ours(p, names.v[i], true, &found, err) < 0) {
			rc = err->code == ERR_NOT_FOUND ? 0 : -1;
			if (rc < 0)
				break;
			continue;
		}
		host_fd_close(found.fd);
		if (fn(arg, &found.vol) != 0)
			break;
	}
	pool_names_done(&names);
	return rc;
}

int pool_stat(struct backend *b, struct ctx *ctx, const char *token, const struct secrets *secrets,
	      struct backend_volume *ret_vol, struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_volume found;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (pool_find_ours(p, token, true, &found, err) < 0)
		return err->code == ERR_NOT_FOUND && pool_half_is_there(p, token)
			       ? err_set(err, ERR_ABORTED, "it is being made")
			       : -1;
	host_fd_close(found.fd);
	*ret_vol = found.vol;
	return 0;
}

#define CLAIM_TRIES 100
#define CLAIM_WAIT_MS 2

int pool_claim_alone(int fd, struct err *err)
{
	int rc = host_file_claim(fd, true, err);

	for (unsigned i = 0; rc < 0 && err->code == ERR_ABORTED && i < CLAIM_TRIES; i++) {
		(void)poll(NULL, 0, CLAIM_WAIT_MS);
		rc = host_file_claim(fd, true, err);
	}
	if (rc < 0 && err->code == ERR_ABORTED)
		return err_set(err, ERR_ABORTED,
			       "a volume or a snapshot is being made of it, or it is being checked "
			       "(cleat ctl volume check)");
	return rc;
}

static int free_blocks(struct pool *p, const char *token, int fd, struct err *err)
{
	struct host_file now;

	if (host_file_look(fd, &now, err) < 0)
		return -1;
	if (now.n_links == 0)
		return host_file_resize(fd, 0, err);
	log_warn("a deleted file was given another name meanwhile; it keeps its bytes",
		 log_str("pool", p->base.pool_name), log_str("token", token),
		 log_u64("inode", now.inode));
	return 0;
}

int pool_unlink(struct pool *p, enum pool_shelf shelf, const char *token, int fd, struct err *err)
{
	int dir_fd = pool_shelf_fd(p, shelf);
	int rc;

	if (pool_claim_alone(fd, err) < 0 || host_file_unlink(dir_fd, token, err) < 0 ||
	    host_dir_sync(dir_fd, err) < 0)
		return -1;
	pool_know(p, shelf, token, NULL);
	rc = free_blocks(p, token, fd, err) < 0 ? -1 : pool_settle_space(p, err);
	pool_reserve_doubt(p);
	return rc;
}

static int unlink_volume(struct pool *p, struct ctx *ctx, const char *token,
			 const struct pool_volume *found, struct err *err)
{
	struct backend_device dev;
	int rc;

	filedev_release(&p->holds, token);
	rc = filedev_find(FILEDEV_MAIN, found->fd, &found->file, token, &dev, err);
	if (rc == 0) /* a reader without the device that it was beside is left over */
		rc = filedev_drop_reader(found->fd, &found->file, token, &dev, err);
	if (rc < 0)
		return -1;
	if (rc > 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is attached as '%s' and in use on this node", dev.path);
	return ctx_check(ctx, err) < 0 ||
			       pool_copying_settle(p, ctx, token, POOL_WANTED_GONE, err) < 0
		       ? -1
		       : pool_unlink(p, POOL_VOLUMES, token, found->fd, err);
}

/* A process killed between unlink and sync may be why the file is gone: only after the sync is that
 * certain. Or a person removed it, and a device still has its bytes. */
static int remove_gone(struct pool *p, const char *token, struct err *err)
{
	struct backend_device dev;
	struct host_file dir;
	int rc;

	filedev_release(&p->holds, token);
	if (host_file_look(p->dir_fd, &dir, err) < 0)
		return -1;
	rc = filedev_find_unlinked(dir.device, token, &dev, err);
	if (rc > 0)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"its file was removed by somebody, but '%s' still has its bytes and is "
			"in use on this node",
			dev.path);
	if (rc < 0 || host_dir_sync(p->dir_fd, err) < 0)
		return -1;
	pool_forget(p, POOL_VOLUMES, token);
	return 0;
}

int pool_remove(struct backend *b, struct ctx *ctx, const char *token,
		const struct secrets *secrets, struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_volume found;
	int rc;

	pool_half_drop(p, token);
	if (pool_find_whole(p, token, false, ERR_FAILED_PRECONDITION, &found, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -1;
		return remove_gone(p, token, err);
	}
	rc = unlink_volume(p, ctx, token, &found, err);
	host_fd_close(found.fd);
	return rc;
}

/* Synced also when it is there already: whoever wrote it may have been killed before its own. */
static int set_limits(int fd, const struct vol_limits *limits, struct err *err)
{
	struct state state;

	if (pool_state_read(fd, &state, err) < 0)
		return -1;
	if (!vol_limits_are_equal(&state.limits, limits)) {
		state.limits = *limits;
		if (pool_state_write(fd, &state, err) < 0)
			return -1;
	}
	return host_file_sync(fd, err);
}

int pool_modify(struct backend *b, struct ctx *ctx, const char *token,
		const struct vol_limits *limits, const struct secrets *secrets, struct err *err)
{
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0 ||
	    pool_find_whole(pool_from(b), token, false, ERR_DATA_LOSS, &found, err) < 0)
		return -1;
	rc = set_limits(found.fd, limits, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_attach(struct backend *b, struct ctx *ctx, const char *token,
		const struct backend_attach_options *opts, struct backend_device *ret_dev,
		struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_volume found;
	int rc;

	if (pool_find_whole(p, token, opts->read_only, ERR_DATA_LOSS, &found, err) < 0)
		return -1;
	rc = host_file_claim(found.fd, false, err); /* check.c */
	if (rc < 0 && err->code == ERR_ABORTED)
		(void)err_set(err, ERR_ABORTED,
			      "it is being checked (cleat ctl volume check) or copied");
	if (rc == 0)
		rc = pool_copying_settle(p, ctx, token, POOL_WANTED_ATTACHED, err);
	rc = rc < 0 ? rc
		    : filedev_attach(&p->holds, ctx,
				     &(struct filedev_attach){
					     .token = token,
					     .name = token,
					     .fd = found.fd,
					     .file = found.file,
					     .opts = *opts,
					     .allow_buffered = found.vol.allow_buffered,
					     .keep_allocated = !found.vol.is_thin,
				     },
				     ret_dev, err);
	host_fd_close(found.fd);
	return rc;
}

static int get_device(struct backend *b, struct ctx *ctx, const char *token, enum filedev_role role,
		      struct backend_device *ret_dev, struct err *err)
{
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0 || pool_find_ours(pool_from(b), token, true, &found, err) < 0)
		return -1;
	rc = filedev_get(role, found.fd, &found.file, token, ret_dev, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_find_device(struct backend *b, struct ctx *ctx, const char *token,
		     struct backend_device *ret_dev, struct err *err)
{
	return get_device(b, ctx, token, FILEDEV_MAIN, ret_dev, err);
}

int pool_detach(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (pool_find_ours(p, token, true, &found, err) < 0) {
		filedev_release(&p->holds, token);
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	}
	rc = filedev_detach(&p->holds, token, token, found.fd, &found.file, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_find_reader(struct backend *b, struct ctx *ctx, const char *token,
		     struct backend_device *ret_dev, struct err *err)
{
	return get_device(b, ctx, token, FILEDEV_READER, ret_dev, err);
}

int pool_drop_reader(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	struct backend_device dev;
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (pool_find_ours(pool_from(b), token, true, &found, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	rc = filedev_drop_reader(found.fd, &found.file, token, &dev, err);
	host_fd_close(found.fd);
	return rc < 0 ? -1 : 0;
}

int pool_each_lost(struct backend *b, struct ctx *ctx, backend_lost_fn fn, void *arg,
		   struct err *err)
{
	struct host_file dir;

	if (ctx_check(ctx, err) < 0 || host_file_look(pool_from(b)->dir_fd, &dir, err) < 0)
		return -1;
	return filedev_each_lost(dir.device, fn, arg, err);
}

int pool_settle(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		struct err *err)
{
	struct pool *p = pool_from(b);

	(void)ctx;
	filedev_release(&p->holds, token);
	return pool_thaw_mounted(p, token, mount_path, err);
}

int pool_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
		  struct err *err)
{
	autofree char *note = xmalloc(BACKEND_NOTE_MAX + 1);
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0 || pool_find_ours(pool_from(b), token, true, &found, err) < 0)
		return -1;
	rc = host_file_get_attr(found.fd, POOL_NOTE_ATTR, note, BACKEND_NOTE_MAX + 1, err);
	host_fd_close(found.fd);
	if (rc < 0 && err->code != ERR_NOT_FOUND)
		return -1;
	(void)snprintf(ret_note, BACKEND_NOTE_MAX + 1, "%s", rc < 0 ? "" : note);
	return 0;
}

static int fail_note(const struct pool *p, const char *note, struct err *err)
{
	if (err->code != ERR_RESOURCE_EXHAUSTED || p->fs_kind != HOST_FS_KIND_EXT4)
		return -1;
	return err_set(err, ERR_RESOURCE_EXHAUSTED,
		       "its note of %zu bytes has no room: ext4 keeps 4 KiB of attributes a file "
		       "(tune2fs -O ea_inode lets it keep more), or the pool at '%s' is full",
		       strlen(note), p->dir);
}

int pool_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
		  struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0 || pool_find_ours(p, token, false, &found, err) < 0)
		return -1;
	rc = host_file_set_attr(found.fd, POOL_NOTE_ATTR, note, err);
	host_fd_close(found.fd);
	return rc < 0 ? fail_note(p, note, err) : 0;
}
