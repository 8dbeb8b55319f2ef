/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pools of this process. A pool's name is the operator's word for it and a part of topology
 * keys; its identity is its own. Two pools on one filesystem would count its free space twice, so
 * the second is refused.
 */
#include "backend/registry.h"

#include <assert.h>

#include "backend/mem/mem.h"
#include "backend/pool/pool.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

#define NAME_MAX_BYTES 63

struct registry {
	VEC(struct backend *) backends;
};

struct registry *registry_new(void)
{
	return xcalloc(1, sizeof(struct registry));
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	for (size_t i = r->backends.n; i > 0; i--)
		backend_close(r->backends.v[i - 1]);
	vec_done(&r->backends);
	free(r);
}

int registry_check_name(const char *name, struct err *err)
{
	size_t n = strlen(name);

	if (n == 0 || n > NAME_MAX_BYTES || name[0] == '-' || name[n - 1] == '-' ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "'%.80s' cannot be a pool's name: 1 to 63 of a-z, 0-9 and '-', not "
			       "at an end",
			       name);
	return 0;
}

static int check_name(const struct registry *r, const char *name, struct err *err)
{
	if (registry_check_name(name, err) < 0)
		return -1;
	if (registry_find_name(r, name))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "two pools are called '%s'; name them, as in --pool=NAME=DIR", name);
	return 0;
}

/* A bit of caps is set exactly when its functions are there. */
static void assert_ops(const struct backend_ops *ops)
{
	bool can_attach = ops->caps & BACKEND_ATTACH;
	bool can_note = ops->caps & BACKEND_NOTES;

	assert(ops->name && ops->close && ops->info && ops->create && ops->remove && ops->stat &&
	       ops->each);
	assert(can_attach == (ops->attach != NULL) && can_attach == (ops->detach != NULL) &&
	       can_attach == (ops->find_device != NULL) && can_attach == (ops->settle != NULL) &&
	       can_attach == (ops->find_reader != NULL) &&
	       can_attach == (ops->drop_reader != NULL));
	assert(can_note == (ops->note_get != NULL) && can_note == (ops->note_set != NULL));
}

int registry_open(struct registry *r, struct ctx *ctx, const struct backend_config *config,
		  struct err *err)
{
	struct backend_config named = *config;
	struct backend *b = NULL;
	int rc;

	named.name = str_or(config->name, "default");
	if (check_name(r, named.name, err) < 0)
		return -1;
	if (str_is_equal(config->kind, "pool"))
		rc = pool_open(ctx, &named, r, &b, err);
	else if (str_is_equal(config->kind, "mem"))
		rc = mem_open(ctx, &named, &b, err);
	else
		rc = err_set(err, ERR_INVALID_ARGUMENT, "unknown kind of backend '%s' (pool, mem)",
			     config->kind);
	if (rc < 0)
		return err_wrap(err, "open pool '%s'", named.name);
	assert_ops(b->ops);
	vec_push(&r->backends, b);
	return 0;
}

size_t registry_count(const struct registry *r)
{
	return r->backends.n;
}

struct backend *registry_at(const struct registry *r, size_t i)
{
	assert(i < r->backends.n);
	return r->backends.v[i];
}

struct backend *registry_find_name(const struct registry *r, const char *name)
{
	for (size_t i = 0; i < r->backends.n; i++) {
		if (str_is_equal(r->backends.v[i]->pool_name, name))
			return r->backends.v[i];
	}
	return NULL;
}

struct backend *registry_find_identity(const struct registry *r, const struct uuid *id)
{
	for (size_t i = 0; i < r->backends.n; i++) {
		if (memcmp(r->backends.v[i]->identity.b, id->b, sizeof(id->b)) == 0)
			return r->backends.v[i];
	}
	return NULL;
}

struct backend *registry_find_filesystem(const struct registry *r, const struct uuid *fs)
{
	static const struct uuid none;

	if (memcmp(fs, &none, sizeof(none)) == 0)
		return NULL;
	for (size_t i = 0; i < r->backends.n; i++) {
		if (memcmp(r->backends.v[i]->filesystem.b, fs->b, sizeof(fs->b)) == 0)
			return r->backends.v[i];
	}
	return NULL;
}
