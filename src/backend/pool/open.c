/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory becomes a pool: what is looked at before the first volume, and the backend's table.
 *
 * XFS with reflink and nothing else, because snapshots, clones and thick files over loop devices
 * were measured to work well together only there. One living process a pool: flock on .cleat/lock,
 * which the kernel drops with its holder however that died; the pid inside is only for the words of
 * the refusal. Everything that cleat keeps beside volumes is below .cleat (0700); the volumes are
 * files of mode 0600 at the top.
 */
#include <assert.h>
#include <stdlib.h>

#include "backend/pool/pool-internal.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/mount.h"

#define RIGHT_WAY "mkfs.xfs -m reflink=1 DEVICE and mount it, or try --pool-image=FILE"

extern const struct backend_ops backend_pool;

struct pool *pool_from(struct backend *b)
{
	assert(b->ops == &backend_pool);
	return container_of(b, struct pool, base);
}

static void close_fds(struct pool *p)
{
	int *const fds[] = { &p->lock_fd, &p->template_fd, &p->meta_fd, &p->dir_fd };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		host_fd_close(*fds[i]);
		*fds[i] = -1;
	}
}

static void pool_close(struct backend *b)
{
	struct pool *p = pool_from(b);
	struct ctx ctx;
	struct err err;

	loop_holds_done(&p->holds);
	close_fds(p);
	if (p->is_image) {
		/* busy means that volumes of it are attached: then it stays, and is found again by
		 * the next process */
		ctx_init(&ctx, 0);
		(void)host_mount_umount(&ctx, p->dir, &err);
		ctx_done(&ctx);
	}
	pthread_mutex_destroy(&p->lock);
	map_free(p->known);
	free(p->base.pool_name);
	free(p->dir);
	free(p);
}

static int check_fs(const struct pool *p, struct host_fs *ret_fs, struct err *err)
{
	if (host_fs_look(p->dir_fd, ret_fs, err) < 0)
		return -1;
	if (!ret_fs->is_xfs)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' lies on %s, a pool needs XFS with reflink: " RIGHT_WAY, p->dir,
			       ret_fs->type);
	if (!ret_fs->has_reflink)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the XFS of '%s' was made without reflink, which cannot be "
			       "added: " RIGHT_WAY,
			       p->dir);
	if (ret_fs->is_read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the filesystem of '%s' is read-only: mount -o remount,rw", p->dir);
	return 0;
}

static int take_lock(struct pool *p, struct err *err)
{
	char text[32] = "";

	if (host_file_open_or_make(p->meta_fd, "lock", &p->lock_fd, err) < 0)
		return -1;
	if (host_file_lock(p->lock_fd, err) < 0) {
		struct err read_err;

		if (err->code != ERR_ABORTED)
			return -1;
		if (host_file_get_text(p->lock_fd, text, sizeof(text), &read_err) < 0)
			text[0] = '\0';
		text[strspn(text, "0123456789")] = '\0';
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' is in use by another cleat, process %s; end it first", p->dir,
			       str_or(text, "unknown"));
	}
	(void)snprintf(text, sizeof(text), "%d\n", (int)getpid());
	/* a full pool must still open; the number is only for people */
	if (host_file_set_text(p->lock_fd, text, err) < 0 && err->code != ERR_RESOURCE_EXHAUSTED)
		return -1;
	return 0;
}

static int open_all(struct pool *p, const struct registry *others, struct err *err)
{
	const struct backend *same;
	struct host_fs fs;

	if (host_dir_open(p->dir, &p->dir_fd, err) < 0) {
		if (err->code == ERR_NOT_FOUND || err->code == ERR_FAILED_PRECONDITION) {
			err->code = ERR_FAILED_PRECONDITION;
			return err_wrap(err, "a pool is a directory on XFS with reflink (" RIGHT_WAY
					     ")");
		}
		return -1;
	}
	if (check_fs(p, &fs, err) < 0)
		return -1;
	p->base.identity = fs.uuid;
	same = registry_find_identity(others, &fs.uuid);
	if (same)
		return err_set(err, ERR_ALREADY_EXISTS,
			       "'%s' lies on the same filesystem as pool '%s'; one directory of it "
			       "can be a pool",
			       p->dir, same->pool_name);
	if (host_dir_make(p->dir_fd, ".cleat", &p->meta_fd, err) < 0 ||
	    host_dir_make(p->meta_fd, "templates", &p->template_fd, err) < 0)
		return err_wrap(err, "prepare '%s/.cleat'", p->dir);
	if (take_lock(p, err) < 0)
		return -1;
	return pool_scan(p, err);
}

int pool_open(struct ctx *ctx, const struct backend_config *config, const struct registry *others,
	      struct backend **ret_backend, struct err *err)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	p->base.ops = &backend_pool;
	p->base.pool_name = xstrdup(config->name);
	p->dir_fd = p->meta_fd = p->template_fd = p->lock_fd = -1;
	p->reserve_bytes = config->reserve_bytes;
	pthread_mutex_init(&p->lock, NULL);
	p->known = map_new();
	loop_holds_init(&p->holds);
	if (!config->image)
		p->dir = xstrdup(config->dir);
	else if (pool_image_mount(ctx, config, &p->dir, err) < 0)
		goto fail;
	p->is_image = config->image;
	if (open_all(p, others, err) < 0)
		goto fail;
	*ret_backend = &p->base;
	return 0;
fail:
	pool_close(&p->base);
	return -1;
}

const struct backend_ops backend_pool = {
	.name = "pool",
	.caps = BACKEND_ATTACH | BACKEND_NOTES,
	.lane = BACKEND_LANE_HOST,
	.close = pool_close,
	.info = pool_info,
	.create = pool_create,
	.remove = pool_remove,
	.stat = pool_stat,
	.each = pool_each,
	.attach = pool_attach,
	.find_device = pool_find_device,
	.detach = pool_detach,
	.find_reader = pool_find_reader,
	.drop_reader = pool_drop_reader,
	.note_get = pool_note_get,
	.note_set = pool_note_set,
	.settle = pool_settle,
};
