/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pools of this process. A pool's name is the operator's word for its kind; its identity is its
 * own, and ids and topology are made of it. Two pools on one filesystem would count its free space
 * twice, so the second is refused.
 *
 * Pools come while the process runs (a disk that was missing at the start) and are retired (a disk
 * that died), but no struct backend goes before the end: so one that a call has found stays, and
 * walking needs no more than a copy of the list.
 */
#include "backend/registry.h"

#include <assert.h>
#include <pthread.h>

#include "backend/cephfs/cephfs.h"
#include "backend/mem/mem.h"
#include "backend/pool/pool.h"
#include "backend/rbd/rbd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

#define NAME_MAX_BYTES 63

struct missing {
	char *name;
	char *where;
	char *why;
};

struct registry {
	const struct backend_kind *const *kinds;
	size_t n_kinds;
	pthread_mutex_t lock; /* guards all; never held across a call to a backend */
	VEC(struct backend *) backends;
	VEC(struct backend *) retired;
	VEC(struct missing) missing;
	unsigned caps; /* of all that were open, and of the kinds of those that are missing */
};

static const struct backend_kind *const all_kinds[] = { &pool_kind, &mem_kind, &rbd_kind,
							&cephfs_kind };

struct registry *registry_new_of(const struct backend_kind *const *kinds, size_t n_kinds)
{
	struct registry *r = xcalloc(1, sizeof(struct registry));

	pthread_mutex_init(&r->lock, NULL);
	r->kinds = kinds;
	r->n_kinds = n_kinds;
	return r;
}

struct registry *registry_new(void)
{
	return registry_new_of(all_kinds, ARRAY_LEN(all_kinds));
}

/* Readers lock too. */
static struct registry *lock(const struct registry *r)
{
	struct registry *shared = (struct registry *)(uintptr_t)r;

	pthread_mutex_lock(&shared->lock);
	return shared;
}

static void unlock(struct registry *r)
{
	pthread_mutex_unlock(&r->lock);
}

static void free_missing(struct missing *m)
{
	free(m->name);
	free(m->where);
	free(m->why);
}

static void close_one(struct backend *b)
{
	free(b->where);
	pthread_mutex_destroy(&b->use_lock);
	backend_close(b);
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	for (size_t i = r->backends.n; i > 0; i--)
		close_one(r->backends.v[i - 1]);
	vec_done(&r->backends);
	for (size_t i = r->retired.n; i > 0; i--)
		close_one(r->retired.v[i - 1]);
	vec_done(&r->retired);
	for (size_t i = 0; i < r->missing.n; i++)
		free_missing(&r->missing.v[i]);
	vec_done(&r->missing);
	pthread_mutex_destroy(&r->lock);
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

/* A bit of caps is set exactly when its functions are there; an instance need not be able to do all
 * that is there for groups. */
static void assert_ops(const struct backend *b, const struct backend_kind *kind)
{
	const struct backend_ops *ops = b->ops;
	bool can_attach = b->caps & BACKEND_ATTACH;
	bool can_mount = b->caps & BACKEND_MOUNT;
	bool can_note = b->caps & BACKEND_NOTES;
	bool can_snapshot = b->caps & BACKEND_SNAPSHOT;
	bool can_group = b->caps & BACKEND_GROUP;
	bool can_compare = b->caps & BACKEND_CHANGED_BLOCKS;

	assert(ops->name && ops->close && ops->info && ops->create && ops->remove && ops->stat &&
	       ops->each);
	/* what is there and not set is what this process does not do, as a controller alone */
	assert(!can_attach || (ops->attach && ops->detach && ops->find_device && ops->settle &&
			       ops->find_reader && ops->drop_reader));
	assert((b->caps & ~kind->caps) == 0 && !ops->resolve == !ops->format_id);
	assert(can_mount == (ops->mount != NULL) && !(can_mount && can_attach) &&
	       !(kind->caps & BACKEND_MOUNT) == !kind->is_mount_of);
	assert(!can_note || (ops->note_get && ops->note_set));
	assert(!ops->staging_take == !ops->staging_forget);
	assert(!(b->caps & BACKEND_GROW) == !ops->grow);
	assert(!(b->caps & BACKEND_MODIFY) == !ops->modify);
	assert(!(b->caps & BACKEND_FENCE) == !ops->publish && !ops->publish == !ops->unpublish);
	assert(can_snapshot == (ops->snapshot_create != NULL) &&
	       can_snapshot == (ops->snapshot_remove != NULL) &&
	       can_snapshot == (ops->snapshot_stat != NULL) &&
	       can_snapshot == (ops->snapshot_each != NULL));
	assert(!can_group || (ops->group_create && ops->group_remove && ops->group_stat));
	assert(can_compare == (ops->allocated != NULL) && can_compare == (ops->changed != NULL));
}

static const char *where_of(const struct backend_config *config)
{
	return str_or(config->image, str_or(config->dir, ""));
}

/* With the lock. */
static void forget_missing(struct registry *r, const char *where)
{
	for (size_t i = r->missing.n; i > 0; i--) {
		if (!str_is_equal(r->missing.v[i - 1].where, where))
			continue;
		free_missing(&r->missing.v[i - 1]);
		r->missing.v[i - 1] = r->missing.v[--r->missing.n];
	}
}

/* With the lock. */
static void put_missing(struct registry *r, const char *name, const char *where, const char *why)
{
	forget_missing(r, where);
	vec_push(&r->missing,
		 ((struct missing){
			 .name = xstrdup(name), .where = xstrdup(where), .why = xstrdup(why) }));
}

static const struct backend_kind *find_kind(const struct backend_kind *const *kinds, size_t n_kinds,
					    const char *name, size_t n, struct err *err)
{
	char known[64] = "";

	for (size_t i = 0; i < n_kinds; i++) {
		size_t len = strlen(known);

		if (strlen(kinds[i]->name) == n && memcmp(kinds[i]->name, name, n) == 0)
			return kinds[i];
		(void)snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "",
			       kinds[i]->name); /* fits: the table is short */
	}
	err_set(err, ERR_INVALID_ARGUMENT, "'%.*s' is no kind of backend; there are: %s", (int)n,
		name, known);
	return NULL;
}

void registry_miss(struct registry *r, const struct backend_config *config, const char *why)
{
	const struct backend_kind *kind;
	struct err ignored;

	kind = find_kind(r->kinds, r->n_kinds, config->kind, strlen(config->kind), &ignored);
	(void)lock(r);
	r->caps |= kind ? kind->caps : 0;
	put_missing(r, str_or(config->name, "default"), where_of(config), why);
	unlock(r);
}

void registry_retire(struct registry *r, struct backend *b, const char *why)
{
	(void)lock(r);
	for (size_t i = 0; i < r->backends.n; i++) {
		if (r->backends.v[i] != b)
			continue;
		memmove(&r->backends.v[i], &r->backends.v[i + 1],
			(r->backends.n - i - 1) * sizeof(b));
		r->backends.n--;
		vec_push(&r->retired, b);
		put_missing(r, b->pool_name, b->where, why);
		break;
	}
	unlock(r);
	backend_retire(b);
}

size_t registry_missing(const struct registry *r, struct arena *a,
			const struct registry_missing **ret_missing)
{
	struct registry *shared = lock(r);
	size_t n = shared->missing.n;
	struct registry_missing *v = arena_array(a, n, sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = (struct registry_missing){
			.name = arena_strdup(a, shared->missing.v[i].name),
			.where = arena_strdup(a, shared->missing.v[i].where),
			.why = arena_strdup(a, shared->missing.v[i].why),
		};
	unlock(shared);
	*ret_missing = v;
	return n;
}

struct registry_pools registry_pools(const struct registry *r, struct arena *a)
{
	struct registry *shared = lock(r);
	size_t n = shared->backends.n;
	struct registry_pools pools = { .n = n };

	if (n)
		pools.v = arena_memdup(a, shared->backends.v, n * sizeof(*pools.v));
	unlock(shared);
	return pools;
}

int registry_configure(struct arena *a, const char *text, struct backend_config *config,
		       struct err *err)
{
	const char *colon = text[0] == '/' ? NULL : strchr(text, ':');
	const struct backend_kind *kind = &pool_kind; /* a bare path is a pool's */

	if (colon)
		kind = find_kind(all_kinds, ARRAY_LEN(all_kinds), text, (size_t)(colon - text),
				 err);
	if (!kind)
		return -1;
	config->kind = kind->name;
	return kind->configure(a, colon ? colon + 1 : text, config, err);
}

/* Storage elsewhere is the only instance: its volumes, classes and topology are of another kind. */
static int check_alone(const struct registry *r, const struct backend_kind *kind, struct err *err)
{
	const struct backend *first = registry_count(r) > 0 ? registry_at(r, 0) : NULL;

	if (!first || !((kind->caps | first->caps) & BACKEND_ELSEWHERE))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "'%s' and '%s' in one process: give each a driver of its own",
		       first->ops->name, kind->name);
}

int registry_open(struct registry *r, struct ctx *ctx, const struct backend_config *config,
		  struct err *err)
{
	struct backend_config named = *config;
	const struct backend_kind *kind;
	struct backend *b = NULL;

	named.name = str_or(config->name, "default");
	if (registry_check_name(named.name, err) < 0)
		return -1;
	kind = find_kind(r->kinds, r->n_kinds, config->kind, strlen(config->kind), err);
	if (kind && check_alone(r, kind, err) < 0)
		return -1;
	if (!kind || kind->open(ctx, &named, r, &b, err) < 0)
		return err_wrap(err, "open pool '%s'", named.name);
	assert_ops(b, kind);
	b->kind = kind;
	b->where = xstrdup(where_of(config));
	pthread_mutex_init(&b->use_lock, NULL);
	(void)lock(r);
	vec_push(&r->backends, b);
	r->caps |= b->caps;
	forget_missing(r, where_of(config));
	unlock(r);
	return 0;
}

size_t registry_count(const struct registry *r)
{
	struct registry *shared = lock(r);
	size_t n = shared->backends.n;

	unlock(shared);
	return n;
}

struct backend *registry_at(const struct registry *r, size_t i)
{
	struct registry *shared = lock(r);
	struct backend *b;

	assert(i < shared->backends.n);
	b = shared->backends.v[i];
	unlock(shared);
	return b;
}

typedef bool (*match_fn)(const struct backend *b, const void *what);

static struct backend *find(const struct registry *r, match_fn matches, const void *what)
{
	struct registry *shared = lock(r);
	struct backend *found = NULL;

	for (size_t i = 0; i < shared->backends.n && !found; i++) {
		if (matches(shared->backends.v[i], what))
			found = shared->backends.v[i];
	}
	unlock(shared);
	return found;
}

static bool has_name(const struct backend *b, const void *name)
{
	return str_is_equal(b->pool_name, name);
}

static bool has_identity(const struct backend *b, const void *id)
{
	return memcmp(&b->identity, id, sizeof(b->identity)) == 0;
}

static bool has_filesystem(const struct backend *b, const void *fs)
{
	return memcmp(&b->filesystem, fs, sizeof(b->filesystem)) == 0;
}

struct backend *registry_find_name(const struct registry *r, const char *name)
{
	return find(r, has_name, name);
}

struct backend *registry_find_identity(const struct registry *r, const struct uuid *id)
{
	return find(r, has_identity, id);
}

struct backend *registry_find_filesystem(const struct registry *r, const struct uuid *fs)
{
	static const struct uuid none;

	return memcmp(fs, &none, sizeof(none)) == 0 ? NULL : find(r, has_filesystem, fs);
}

/* What a dead pool has mounted here still has to come down, also under a handle of its own. */
static bool resolve_retired(const struct registry *r, enum vol_kind kind, const char *id,
			    char ret_token[VOL_TOKEN_MAX])
{
	struct registry *shared = lock(r);
	bool is_found = false;
	struct err ignored;

	for (size_t i = 0; i < shared->retired.n && !is_found; i++)
		is_found =
			backend_resolve(shared->retired.v[i], kind, id, ret_token, &ignored) == 0;
	unlock(shared);
	return is_found;
}

int registry_resolve(const struct registry *r, enum vol_kind kind, const char *id,
		     struct backend **ret_backend, char ret_token[VOL_TOKEN_MAX], struct err *err)
{
	autoarena struct arena *a = arena_new();
	const struct registry_pools pools = registry_pools(r, a);
	struct vol_id ours;
	struct err why;

	for (size_t i = 0; i < pools.n; i++) {
		if (backend_resolve(pools.v[i], kind, id, ret_token, &why) < 0)
			continue;
		*ret_backend = pools.v[i];
		return 0;
	}
	if (resolve_retired(r, kind, id, ret_token)) {
		*ret_backend = NULL;
		return 0;
	}
	if (vol_id_parse(kind, id, &ours, err) < 0)
		return -1;
	memcpy(ret_token, ours.token, sizeof(ours.token));
	*ret_backend = NULL;
	return 0;
}

static bool is_asked(const struct backend *b, const char *name, enum vol_kind kind, const char *id)
{
	char token[VOL_TOKEN_MAX];
	struct err ignored;

	if (!str_is_empty(id))
		return backend_resolve(b, kind, id, token, &ignored) == 0;
	return str_is_empty(name) || str_is_equal(b->pool_name, name);
}

enum backend_lane registry_lane(const struct registry *r, const char *name, enum vol_kind kind,
				const char *id)
{
	struct registry *shared = lock(r);
	enum backend_lane lane = BACKEND_LANE_OF_RPC;

	for (size_t i = 0; i < shared->backends.n + shared->retired.n; i++) {
		const struct backend *b = i < shared->backends.n
						  ? shared->backends.v[i]
						  : shared->retired.v[i - shared->backends.n];

		if (b->kind->lane == BACKEND_LANE_REMOTE && is_asked(b, name, kind, id))
			lane = BACKEND_LANE_REMOTE;
	}
	unlock(shared);
	return lane;
}

struct mount_of {
	const char *token;
	const struct host_mountinfo *mount;
};

static bool has_mount(const struct backend *b, const void *what)
{
	const struct mount_of *of = what;

	return (b->caps & BACKEND_MOUNT) && b->kind->is_mount_of(b, of->token, of->mount);
}

bool registry_is_mount_of(const struct registry *r, const struct backend *b, const char *token,
			  const struct host_mountinfo *mount)
{
	struct mount_of of = { token, mount };

	if (b)
		return has_mount(b, &of);
	for (size_t i = 0; i < r->n_kinds; i++) {
		/* what a living pool knows as its own is never another's */
		if (r->kinds[i]->is_mount_of && r->kinds[i]->is_mount_of(NULL, token, mount))
			return !find(r, has_mount, &of);
	}
	return false;
}

unsigned registry_caps(const struct registry *r)
{
	struct registry *shared = lock(r);
	unsigned caps = shared->caps;

	unlock(shared);
	return caps;
}
