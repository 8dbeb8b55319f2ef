/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/ceph/elsewhere.h"

#include <stdio.h>
#include <stdlib.h>

#define LOG_ROOM "backend.ceph"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "volume/size.h"

/* There is one in a process, so the identity only has to differ from those of pools. */
void ceph_elsewhere_init(struct ceph_elsewhere *e, const struct backend_kind *kind,
			 const struct backend_ops *ops, unsigned staging,
			 const struct backend_config *config, const struct ceph_lib *lib)
{
	const struct backend_ceph_config *ceph = &config->ceph;

	*e = (struct ceph_elsewhere){
		.base = { .ops = ops, .caps = kind->caps, .pool_name = xstrdup(config->name) },
		.config = ceph_config_new(config->dir),
		.conns = ceph_conns_new(&(struct ceph_conns_options){
			.lib = lib, .has_librbd = kind->caps & BACKEND_ATTACH }),
		.instance = xstrdup(str_or(ceph->instance, "default")),
		.cluster_name = xstrdup(str_or(ceph->cluster_name, "")),
		.keeps_names = ceph->keeps_names,
		.state_dir = xstrdup(str_or(config->state_dir, "")),
	};
	if (!e->state_dir[0])
		e->base.caps &= ~staging;
	uuid_make(&e->base.identity);
}

void ceph_elsewhere_done(struct ceph_elsewhere *e)
{
	ceph_conns_free(e->conns);
	ceph_config_free(e->config);
	free(e->instance);
	free(e->cluster_name);
	free(e->state_dir);
	free(e->base.pool_name);
}

int ceph_elsewhere_connect(struct ceph_elsewhere *e, struct ctx *ctx, const char *cluster,
			   const struct secrets *secrets, enum ceph_login_as as,
			   struct ceph_cluster *ret_cluster, struct ceph_conn **ret_conn,
			   struct err *err)
{
	struct ceph_login login;

	if (ceph_config_find(e->config, ctx->arena, cluster, ret_cluster, err) < 0 ||
	    ceph_login_read(secrets, as, &login, err) < 0)
		return -1;
	login.cluster = ret_cluster->id;
	login.monitors = ret_cluster->monitors;
	if (ceph_conn_get(e->conns, ctx, &login, ret_conn, err) < 0)
		return -1;
	atomic_store(&e->base.n_background, 1); /* a connection, which may become idle */
	return 0;
}

static bool is_handles_own(const struct ceph_candidate *at, const struct ceph_handle *handle)
{
	return at->pool_id == handle->pool_id && str_is_equal(at->cluster, handle->cluster);
}

static int refuse_unknown(const struct ceph_candidate *at, const struct ceph_handle *handle,
			  size_t n_more, struct err *err)
{
	if (n_more == 0)
		return -1;
	if (is_handles_own(at, handle))
		return err_wrap(err,
				"its handle names cluster '%s', and only where it is certainly not "
				"there it is looked for as cluster-mapping.json says; if that "
				"cluster is lost, take it out of config.json",
				at->cluster);
	return err_wrap(err, "cluster-mapping.json leads to cluster '%s', number %lld", at->cluster,
			(long long)at->pool_id);
}

int ceph_elsewhere_search(struct ceph_elsewhere *e, enum ceph_mapped what,
			  const struct ceph_handle *handle, ceph_look_fn fn, void *arg,
			  struct err *err)
{
	struct ceph_candidates all;
	struct err why = { .code = ERR_OK };

	ceph_config_candidates(e->config, what, handle, &all);
	if (ceph_config_keep_known(e->config, &all, err) < 0)
		return -1;
	for (size_t i = 0; i < all.n; i++) {
		int rc = fn(arg, &all.v[i], all.n == 1 && all.doubt.code == ERR_OK, err);

		if (rc < 0)
			return refuse_unknown(&all.v[i], handle, all.n - 1, err);
		if (rc > 0 && !is_handles_own(&all.v[i], handle))
			log_debug("a handle of another cluster is mapped",
				  log_str("uuid", handle->uuid), log_str("from", handle->cluster),
				  log_str("to", all.v[i].cluster),
				  log_i64("number", all.v[i].pool_id));
		if (rc > 0)
			return 1;
		if (i == 0)
			why = *err;
	}
	*err = why;
	if (all.doubt.code == ERR_OK)
		return 0;
	*err = all.doubt;
	err->code = ERR_FAILED_PRECONDITION;
	return err_wrap(err, "it is not where its handle says, and where else to look is not "
			     "known");
}

int ceph_elsewhere_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info,
			struct err *err)
{
	if (ctx_check(ctx, err) < 0)
		return -1;
	*ret_info = (struct backend_info){
		.name = b->pool_name,
		.max_volume_bytes = VOL_SIZE_MAX,
	};
	return 0;
}

static int refuse_list(const char *what, struct err *err)
{
	return err_set(err, ERR_UNIMPLEMENTED,
		       "%s of Ceph are not listed: a list brings no secret to ask a cluster with",
		       what);
}

int ceph_elsewhere_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn,
			void *arg, struct err *err)
{
	return refuse_list("volumes", err);
}

int ceph_elsewhere_snapshot_each(struct backend *b, struct ctx *ctx, const char *after,
				 backend_each_snapshot_fn fn, void *arg, struct err *err)
{
	return refuse_list("snapshots", err);
}

void ceph_elsewhere_format_id(const struct backend *b, enum vol_kind kind, const char *token,
			      char ret_id[VOL_ID_MAX])
{
	(void)snprintf(ret_id, VOL_ID_MAX, "%s", token);
}

int ceph_elsewhere_configure(struct arena *a, const char *spec, struct backend_config *config,
			     struct err *err)
{
	if (spec[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "'%.80s' is no absolute path of the directory that has ceph-csi's "
			       "config.json; write %s:/etc/ceph-csi-config",
			       spec, config->kind);
	config->dir = arena_strdup(a, spec);
	return 0;
}
