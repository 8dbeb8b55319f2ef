/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory becomes a pool: what is looked at before the first volume, and the backend's table.
 *
 * Which filesystems can have one, and what differs, is in medium.c; XFS with reflink is where
 * snapshots, clones and thick files over loop devices were measured to work well together. One
 * living process a pool: flock on .cleat/lock, which the kernel drops with its holder however that
 * died; the pid inside is only for the words of the refusal. Everything that cleat keeps beside
 * volumes is below .cleat (0700); the volumes are files of mode 0600 at the top.
 *
 * Which pool it is stands in .cleat/pool (identity.c). A directory that has none becomes a pool
 * only if it is the root of its filesystem: else a disk that is not mounted would quietly become a
 * pool on the disk below. What is looked at is looked at before the first change, so a directory
 * that is refused stays as it was.
 */
#include <assert.h>
#include <stdlib.h>

#include "backend/pool/pool-internal.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "host/loopdev.h"
#include "host/mount.h"

static const struct backend_ops pool_ops; /* the last thing in this file */

struct pool *pool_from(struct backend *b)
{
	assert(b->ops == &pool_ops);
	return container_of(b, struct pool, base);
}

static void close_fds(struct pool *p)
{
	int *const fds[] = { &p->lock_fd,     &p->frozen_fd, &p->group_fd, &p->snapshot_fd,
			     &p->template_fd, &p->meta_fd,   &p->dir_fd };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		host_fd_close(*fds[i]);
		*fds[i] = -1;
	}
}

static void pool_let_go(struct backend *b)
{
	struct pool *p = pool_from(b);
	struct ctx ctx;
	struct err err;

	filedev_holds_done(&p->holds);
	pool_halves_drop_all(p);
	pool_copying_drop_all(p);
	close_fds(p);
	if (p->is_image) {
		/* busy means that volumes of it are attached: then it stays, and is found again by
		 * the next process */
		ctx_init(&ctx, 0);
		(void)host_mount_umount(&ctx, p->dir, &err);
		host_loop_sweep(); /* the image's device */
		ctx_done(&ctx);
	}
}

static void pool_close(struct backend *b)
{
	struct pool *p = pool_from(b);

	if (b->life != BACKEND_LET_GO)
		pool_let_go(b);
	pool_copying_done(p);
	pthread_mutex_destroy(&p->lock);
	for (int shelf = 0; shelf < POOL_SHELVES; shelf++)
		pool_seen_done(&p->seen[shelf]);
	pool_frozen_done(p);
	free(p->base.pool_name);
	free(p->dir);
	free(p);
}

static int check_fs(const struct pool *p, struct host_fs *ret_fs, struct err *err)
{
	return host_fs_look(p->dir_fd, ret_fs, err) < 0 ? -1 : pool_check_medium(p, ret_fs, err);
}

int pool_take_lock(int meta_fd, const char *dir, int *ret_lock_fd, struct err *err)
{
	char holder_text[32] = "unknown (of another container?)";
	int holder = 0;

	if (host_lock_take(meta_fd, "lock", ret_lock_fd, &holder, err) == 0)
		return 0;
	if (err->code != ERR_ABORTED)
		return -1;
	if (holder)
		(void)snprintf(holder_text, sizeof(holder_text), "%d", holder);
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "'%s' is in use by another cleat, process %s; end it first", dir,
		       holder_text);
}

int pool_see(int dir_fd, const char *node_id, struct pool_identity *ret_seen, struct err *err)
{
	struct pool_identity seen = { 0 };
	struct host_file dir;
	struct host_fs fs;

	if (!line_can_hold(str_or(node_id, ""), sizeof(seen.node)))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "the node id '%.80s' is longer than %zu bytes or has control "
			       "characters",
			       node_id, sizeof(seen.node) - 1);
	if (host_fs_look(dir_fd, &fs, err) < 0 || host_file_look(dir_fd, &dir, err) < 0)
		return -1;
	seen.filesystem = fs.tree;
	seen.inode = dir.inode;
	(void)snprintf(seen.node, sizeof(seen.node), "%s", str_or(node_id, ""));
	*ret_seen = seen;
	return 0;
}

static int check_may_be_made(const struct pool *p, const struct backend_config *config,
			     struct err *err)
{
	bool is_root;

	if (config->image || config->may_init)
		return 0;
	if (host_dir_is_fs_root(p->dir_fd, &is_root, err) < 0)
		return -1;
	if (is_root)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "'%s' is no pool yet and no mounted filesystem of its own, but a directory "
		       "of another: is its disk not mounted? Mount it, or say --pool-init to make "
		       "a pool in this very directory",
		       p->dir);
}

/* The identity that is there: 1 if it is this place's, 0 if there is none. Changes nothing. */
static int find_identity(const struct pool *p, int meta_fd, const struct pool_identity *seen,
			 struct pool_identity *ret_id, struct err *err)
{
	struct pool_identity id;

	if (pool_identity_read(meta_fd, &id, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			return 0;
		return err_wrap(err, "the pool at '%s'", p->dir);
	}
	if (pool_identity_compare(&id, seen, p->follows, p->dir, err) < 0)
		return -1;
	*ret_id = id;
	return 1;
}

/* Before the first change: whether this place is a pool already, and may be one. */
static int check_place(const struct pool *p, const struct backend_config *config,
		       const struct pool_identity *seen, struct err *err)
{
	struct pool_identity id;
	autohostfd int meta_fd = -1;
	int rc = 0;

	if (host_dir_open_at(p->dir_fd, ".cleat", &meta_fd, err) == 0)
		rc = find_identity(p, meta_fd, seen, &id, err);
	else if (err->code != ERR_NOT_FOUND)
		return -1;
	return rc == 0 ? check_may_be_made(p, config, err) : rc < 0 ? -1 : 0;
}

/* With the lock held. A killed process may have left anything up to the identity's own name. */
static int take_identity(struct pool *p, const struct pool_identity *seen, struct err *err)
{
	struct pool_identity id = *seen;
	int rc = find_identity(p, p->meta_fd, seen, &id, err);
	bool is_recorded = rc > 0 && (str_is_equal(id.node, seen->node) || !seen->node[0]);
	bool is_followed = rc > 0 && !is_recorded && id.node[0];

	if (rc < 0)
		return -1;
	if (rc == 0) {
		if (pool_prepare_medium(p, err) < 0)
			return -1;
		uuid_make(&id.identity);
	}
	if (is_followed)
		log_warn("a pool that another node served is taken to be moved here",
			 log_str("pool", p->base.pool_name), log_str("dir", p->dir),
			 log_str("before", id.node), log_str("node", seen->node));
	(void)snprintf(id.node, sizeof(id.node), "%s", str_or(seen->node, id.node));
	if (!is_recorded && pool_identity_write(p->meta_fd, &id, rc > 0, err) < 0)
		return err_wrap(err, "write the identity of '%s'", p->dir);
	/* whoever linked it may have been killed before the directory was synced */
	if (is_recorded && host_dir_sync(p->meta_fd, err) < 0)
		return -1;
	p->base.identity = id.identity;
	return 0;
}

static int check_others(const struct pool *p, const struct registry *others, struct err *err)
{
	const struct backend *same = registry_find_filesystem(others, &p->base.filesystem);

	if (same)
		return err_set(err, ERR_ALREADY_EXISTS,
			       "'%s' lies on the same filesystem as pool '%s', or on a copy of "
			       "it; one directory of it can be a pool",
			       p->dir, same->pool_name);
	same = registry_find_identity(others, &p->base.identity);
	if (same)
		return err_set(err, ERR_ALREADY_EXISTS,
			       "'%s' has the same identity as pool '%s', so one is a copy: cleat "
			       "ctl pool adopt --copy",
			       p->dir, same->pool_name);
	return 0;
}

static int open_dir(struct pool *p, struct err *err)
{
	if (host_dir_open(p->dir, &p->dir_fd, err) == 0)
		return 0;
	if (err->code != ERR_NOT_FOUND && err->code != ERR_FAILED_PRECONDITION)
		return -1;
	err->code = ERR_FAILED_PRECONDITION;
	return err_wrap(err,
			"a pool is a directory on XFS with reflink, btrfs or ext4 (mkfs.xfs -m "
			"reflink=1 DEVICE and mount it, or try --pool-image=FILE)");
}

static int open_all(struct pool *p, const struct backend_config *config,
		    const struct registry *others, struct err *err)
{
	struct pool_identity seen;
	struct host_fs fs;

	if (open_dir(p, err) < 0 || check_fs(p, &fs, err) < 0 ||
	    pool_see(p->dir_fd, config->node_id, &seen, err) < 0)
		return -1;
	pool_take_medium(p, &fs);
	if (check_others(p, others, err) < 0 || check_place(p, config, &seen, err) < 0)
		return -1;
	if (host_dir_make(p->dir_fd, ".cleat", &p->meta_fd, err) < 0 ||
	    host_dir_make(p->meta_fd, "templates", &p->template_fd, err) < 0 ||
	    host_dir_make(p->meta_fd, "snapshots", &p->snapshot_fd, err) < 0 ||
	    host_dir_make(p->meta_fd, "groups", &p->group_fd, err) < 0 ||
	    host_dir_make(p->meta_fd, "frozen", &p->frozen_fd, err) < 0)
		return err_wrap(err, "prepare '%s/.cleat'", p->dir);
	if (pool_take_lock(p->meta_fd, p->dir, &p->lock_fd, err) < 0 ||
	    take_identity(p, &seen, err) < 0 || check_others(p, others, err) < 0)
		return -1;
	pool_thaw_left(p);
	pool_sweep_work(p);
	pool_group_sweep_all(p);
	if (pool_scan(p, err) < 0)
		return -1;
	pool_reserve_measure(p);
	pool_copying_resume(p);
	pool_warn_of_medium(p);
	return 0;
}

static int pool_open(struct ctx *ctx, const struct backend_config *config,
		     const struct registry *others, struct backend **ret_backend, struct err *err)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	p->base.ops = &pool_ops;
	p->base.caps = pool_kind.caps;
	p->base.pool_name = xstrdup(config->name);
	p->dir_fd = p->meta_fd = p->template_fd = p->snapshot_fd = -1;
	p->group_fd = p->frozen_fd = p->lock_fd = -1;
	p->reserve_bytes = config->reserve_bytes;
	p->follows = config->follows_moved;
	p->overcommit = config->overcommit ? config->overcommit : VOL_OVERCOMMIT_DEFAULT;
	pthread_mutex_init(&p->lock, NULL);
	for (int shelf = 0; shelf < POOL_SHELVES; shelf++)
		p->seen[shelf].known = map_new();
	p->left_frozen = map_new();
	filedev_holds_init(&p->holds);
	pool_halves_init(p);
	pool_copying_init(p);
	if (!config->image)
		p->dir = xstrdup(config->dir);
	else if (pool_image_mount(ctx, config, &p->dir, err) < 0)
		goto fail;
	p->is_image = config->image;
	if (open_all(p, config, others, err) < 0) {
		if (config->image)
			err_wrap(err, "pool image '%s' (for adopt, mount it at '%s' yourself)",
				 config->image, p->dir);
		goto fail;
	}
	*ret_backend = &p->base;
	return 0;
fail:
	pool_close(&p->base);
	return -1;
}

static const struct backend_ops pool_ops = {
	.name = "pool",
	.close = pool_close,
	.let_go = pool_let_go,
	.info = pool_info,
	.create = pool_create,
	.remove = pool_remove,
	.grow = pool_grow,
	.modify = pool_modify,
	.stat = pool_stat,
	.each = pool_each,
	.attach = pool_attach,
	.find_device = pool_find_device,
	.detach = pool_detach,
	.find_reader = pool_find_reader,
	.drop_reader = pool_drop_reader,
	.each_lost = pool_each_lost,
	.note_get = pool_note_get,
	.note_set = pool_note_set,
	.settle = pool_settle,
	.settle_growth = pool_settle_growth,
	.snapshot_create = pool_snapshot_create,
	.snapshot_remove = pool_snapshot_remove,
	.snapshot_stat = pool_snapshot_stat,
	.snapshot_each = pool_snapshot_each,
	.allocated = pool_allocated,
	.changed = pool_changed,
	.tend = pool_tend,
	.group_create = pool_group_create,
	.group_remove = pool_group_remove,
	.group_stat = pool_group_stat,
};

/* "/srv/pool" */
static int pool_configure(struct arena *a, const char *spec, struct backend_config *config,
			  struct err *err)
{
	if (!path_is_clean(spec) || str_is_equal(spec, "/"))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "'%s' is not an absolute path without '.', '..' and double slashes",
			       spec);
	config->dir = arena_strdup(a, spec);
	return 0;
}

const struct backend_kind pool_kind = {
	.name = "pool",
	.caps = BACKEND_ATTACH | BACKEND_NOTES | BACKEND_GROW | BACKEND_SNAPSHOT | BACKEND_CLONE |
		BACKEND_GROUP | BACKEND_MODIFY | BACKEND_CHANGED_BLOCKS | BACKEND_DIRECT |
		BACKEND_THIN,
	.configure = pool_configure,
	.open = pool_open,
};
