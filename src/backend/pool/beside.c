/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at a pool from outside, by a person's command, whether or not a driver serves it: only
 * what is there is opened, and nothing is made, locked or counted.
 */
#include <stdlib.h>

#include "backend/pool/pool-internal.h"
#include "base/mem.h"

/* -1 and 0 if there is none. */
static int open_folder(const struct pool *p, const char *name, int *ret_fd, struct err *err)
{
	if (host_dir_open_at(p->meta_fd, name, ret_fd, err) == 0)
		return 0;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

int pool_beside_open(struct pool *p, const char *dir, struct err *err)
{
	*p = (struct pool){ .dir = xstrdup(dir),
			    .dir_fd = -1,
			    .meta_fd = -1,
			    .template_fd = -1,
			    .snapshot_fd = -1,
			    .group_fd = -1,
			    .frozen_fd = -1,
			    .lock_fd = -1 };
	pthread_mutex_init(&p->lock, NULL);
	for (int shelf = 0; shelf < POOL_SHELVES; shelf++)
		p->seen[shelf].known = map_new();
	if (host_dir_open(dir, &p->dir_fd, err) < 0) {
		pool_beside_close(p);
		return -1;
	}
	if (host_dir_open_at(p->dir_fd, ".cleat", &p->meta_fd, err) == 0 &&
	    open_folder(p, "snapshots", &p->snapshot_fd, err) == 0 &&
	    open_folder(p, "groups", &p->group_fd, err) == 0 &&
	    open_folder(p, "frozen", &p->frozen_fd, err) == 0)
		return 0;
	if (err->code == ERR_NOT_FOUND)
		(void)err_set(err, ERR_NOT_FOUND, "'%s' is no pool", dir);
	else
		(void)err_wrap(err, "the pool at '%s'", dir);
	pool_beside_close(p);
	return -1;
}

void pool_beside_close(struct pool *p)
{
	host_fd_close(p->lock_fd);
	host_fd_close(p->frozen_fd);
	host_fd_close(p->group_fd);
	host_fd_close(p->snapshot_fd);
	host_fd_close(p->meta_fd);
	host_fd_close(p->dir_fd);
	for (int shelf = 0; shelf < POOL_SHELVES; shelf++)
		pool_seen_done(&p->seen[shelf]);
	pthread_mutex_destroy(&p->lock);
	free(p->dir);
}

int pool_beside_identify(struct pool *p, const char *dir, struct pool_identity *ret_id,
			 struct err *err)
{
	struct pool_identity id;

	if (pool_identity_read(p->meta_fd, &id, err) < 0)
		return err->code == ERR_NOT_FOUND
			       ? err_set(err, ERR_NOT_FOUND, "'%s' is no pool", dir)
			       : err_wrap(err, "the pool at '%s'", dir);
	p->base.identity = id.identity;
	*ret_id = id;
	return 0;
}

int pool_beside_find_server(const struct pool *p, int *ret_holder, struct err *err)
{
	int rc = host_lock_look(p->meta_fd, "lock", ret_holder, err);

	return rc < 0 && err->code == ERR_NOT_FOUND ? 0 : rc;
}
