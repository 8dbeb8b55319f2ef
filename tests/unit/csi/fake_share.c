/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_share.h"

#include <assert.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "fake/host-internal.h"
#include "host/mount.h"

#define N_EXPORTS 8

struct export
{
	char pool[32];
	struct backend_volume vol; /* no token: free */
	char note[BACKEND_NOTE_MAX + 1];
};
static struct export exports[N_EXPORTS];
static bool is_read_only;
struct share_seen share_seen;

void share_reset(void)
{
	memset(exports, 0, sizeof(exports));
	share_seen = (struct share_seen){ "", "", "", "" };
	is_read_only = false;
}

void share_set_read_only(bool only)
{
	is_read_only = only;
}

static struct export *find_export(const char *pool, const char *token)
{
	for (size_t i = 0; i < N_EXPORTS; i++) {
		if (str_is_equal(exports[i].pool, pool) &&
		    str_is_equal(exports[i].vol.token, token))
			return &exports[i];
	}
	return NULL;
}

bool share_has(const char *pool, const char *token)
{
	return find_export(pool, token);
}

const char *share_note(const char *pool, const char *token)
{
	return find_export(pool, token)->note;
}

static int ask_server(struct ctx *ctx, struct err *err)
{
	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	return world.is_server_silent ? err_set(err, ERR_UNAVAILABLE, "the server does not answer")
				      : 0;
}

/* NULL: err says why. */
static struct export *need_export(struct backend *b, struct ctx *ctx, const char *token,
				  struct err *err)
{
	struct export *e;

	if (ask_server(ctx, err) < 0)
		return NULL;
	e = find_export(b->pool_name, token);
	if (!e)
		(void)err_set(err, ERR_NOT_FOUND, "no such export");
	return e;
}

static void share_close(struct backend *b)
{
	free(b->pool_name);
	free(b);
}

static int share_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info,
		      struct err *err)
{
	if (ask_server(ctx, err) < 0)
		return -1;
	*ret_info = (struct backend_info){ .name = b->pool_name,
					   .identity = b->identity,
					   .total_bytes = GIB,
					   .available_bytes = GIB,
					   .max_volume_bytes = GIB };
	return 0;
}

static int share_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
			struct backend_volume *ret_vol, struct err *err)
{
	struct export *e;

	if (ask_server(ctx, err) < 0)
		return -1;
	if (spec->fs[0])
		return err_set(err, ERR_INTERNAL, "what filesystem this is nobody asks here");
	e = find_export(b->pool_name, spec->token);
	if (!e) {
		e = find_export("", "");
		assert(e);
		e->vol = (struct backend_volume){ .bytes = spec->bytes, .fs = "nfs4" };
		(void)snprintf(e->pool, sizeof(e->pool), "%s", b->pool_name);
		(void)snprintf(e->vol.token, sizeof(e->vol.token), "%s", spec->token);
		(void)snprintf(e->vol.name, sizeof(e->vol.name), "%s", spec->name);
	}
	*ret_vol = e->vol;
	return 0;
}

static int share_remove(struct backend *b, struct ctx *ctx, const char *token,
			const struct secrets *secrets, struct err *err)
{
	struct export *e;

	(void)secrets;
	if (ask_server(ctx, err) < 0)
		return -1;
	e = find_export(b->pool_name, token);
	if (e)
		memset(e, 0, sizeof(*e));
	return 0;
}

static int share_stat(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, struct backend_volume *ret_vol,
		      struct err *err)
{
	const struct export *e = need_export(b, ctx, token, err);

	if (!e)
		return -1;
	*ret_vol = e->vol;
	return 0;
}

static int share_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn,
		      void *arg, struct err *err)
{
	if (ask_server(ctx, err) < 0)
		return -1;
	for (size_t i = 0; i < N_EXPORTS; i++) {
		if (str_is_equal(exports[i].pool, b->pool_name) &&
		    strcmp(exports[i].vol.token, after) > 0 && fn(arg, &exports[i].vol) != 0)
			break;
	}
	return 0;
}

static void see(const struct backend_mount_options *opts)
{
	size_t n = 0;

	share_seen = (struct share_seen){ "", "", "", "" };
	(void)snprintf(share_seen.key, sizeof(share_seen.key), "%s",
		       str_or(secrets_find(opts->secrets, "key"), ""));
	(void)snprintf(share_seen.where, sizeof(share_seen.where), "%s",
		       str_or(strmap_find(opts->volume_context, "where"), ""));
	(void)snprintf(share_seen.node, sizeof(share_seen.node), "%s",
		       str_or(strmap_find(opts->publish_context, "node"), ""));
	for (size_t i = 0; i < opts->n_flags && n < sizeof(share_seen.flags); i++)
		n += (size_t)snprintf(share_seen.flags + n, sizeof(share_seen.flags) - n, "%s%s",
				      i ? "," : "", opts->flags[i]);
}

static int share_mount(struct backend *b, struct ctx *ctx, const char *token,
		       const struct backend_mount_options *opts, struct err *err)
{
	struct host_mount_options how = { .fs = "nfs4",
					  .flags = opts->flags,
					  .n_flags = opts->n_flags,
					  .read_only = is_read_only };
	char source[128];

	if (!need_export(b, ctx, token, err))
		return -1;
	see(opts);
	(void)snprintf(source, sizeof(source), "server:/%s/%s", b->pool_name, token);
	return host_mount_device(ctx, source, opts->path, &how, err);
}

static int share_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
			  struct err *err)
{
	const struct export *e = need_export(b, ctx, token, err);

	if (!e)
		return -1;
	memcpy(ret_note, e->note, sizeof(e->note));
	return 0;
}

static int share_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
			  struct err *err)
{
	struct export *e = need_export(b, ctx, token, err);

	if (!e)
		return -1;
	(void)snprintf(e->note, sizeof(e->note), "%s", note);
	return 0;
}

static const struct backend_ops share_ops = {
	.name = "share",
	.close = share_close,
	.info = share_info,
	.create = share_create,
	.remove = share_remove,
	.stat = share_stat,
	.each = share_each,
	.mount = share_mount,
	.note_get = share_note_get,
	.note_set = share_note_set,
};

/* The same server is the same instance again after a restart. */
static int share_open(struct ctx *ctx, const struct backend_config *config,
		      const struct registry *others, struct backend **ret_backend, struct err *err)
{
	struct backend *b = xcalloc(1, sizeof(*b));

	(void)ctx;
	(void)others;
	(void)err;
	b->ops = &share_ops;
	b->caps = BACKEND_MOUNT | BACKEND_NOTES;
	b->pool_name = xstrdup(config->name);
	(void)snprintf((char *)&b->identity, sizeof(b->identity), "%s", config->name);
	*ret_backend = b;
	return 0;
}

static bool is_mount_of(const struct backend *b, const char *token,
			const struct host_mountinfo *mount)
{
	autofree char *source = xasprintf("server:/%s/%s", b ? b->pool_name : "", token);
	autofree char *end = xasprintf("/%s", token);

	if (!str_is_equal(mount->fs, "nfs4"))
		return false;
	return b ? str_is_equal(mount->source, source) : str_has_suffix(mount->source, end);
}

static bool is_mount_of_nothing(const struct backend *b, const char *token,
				const struct host_mountinfo *mount)
{
	(void)b;
	(void)token;
	(void)mount;
	return false;
}

const struct backend_kind share_kind = {
	.name = "share",
	.caps = BACKEND_MOUNT | BACKEND_NOTES,
	.open = share_open,
	.is_mount_of = is_mount_of,
};

const struct backend_kind share_kind_blind = {
	.name = "share",
	.caps = BACKEND_MOUNT | BACKEND_NOTES,
	.open = share_open,
	.is_mount_of = is_mount_of_nothing,
};
