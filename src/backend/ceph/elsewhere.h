/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_ELSEWHERE_H
#define BACKEND_CEPH_ELSEWHERE_H

#include "backend/backend.h"
#include "backend/ceph/config.h"
#include "backend/ceph/conn.h"
#include "backend/registry.h"

/*
 * What all kinds of Ceph are alike in: one instance for all clusters of config.json, since a handle
 * names its own; opening connects to nobody and reads nothing, so a cluster that is away, or a
 * config.json that comes later, is the trouble of the calls that need it. What nobody can be asked
 * without a secret (which volumes there are, how much room) is not answered.
 */
struct ceph_elsewhere { /* first member of a kind's own struct; fixed once it is open */
	struct backend base;
	struct ceph_config *config;
	struct ceph_conns *conns;
	char *instance;     /* of the journal; "default" */
	char *cluster_name; /* "": none */
	bool keeps_names;   /* in metadata */
	char *state_dir;    /* "": this process stages nothing */
};

/* staging: what a process can alone that stages. lib NULL: the real one. */
void ceph_elsewhere_init(struct ceph_elsewhere *e, const struct backend_kind *kind,
			 const struct backend_ops *ops, unsigned staging,
			 const struct backend_config *config, const struct ceph_lib *lib);
void ceph_elsewhere_done(struct ceph_elsewhere *e);

/* as: of a secret that has both. ret_cluster is in the ctx's arena; ret_conn is ended by
 * ceph_conn_put. NOT_FOUND: config.json has no such cluster. */
int ceph_elsewhere_connect(struct ceph_elsewhere *e, struct ctx *ctx, const char *cluster,
			   const struct secrets *secrets, enum ceph_login_as as,
			   struct ceph_cluster *ret_cluster, struct ceph_conn **ret_conn,
			   struct err *err);

/*
 * Looks for what a handle names: where the handle says, if config.json has that cluster, and if it
 * is certainly not there, where cluster-mapping.json leads to, in its order. fn looks at one place,
 * which is_only if there is no other: 1, it is there, and the search ends; 0 with err: it certainly
 * is not; -1: not known, and the search ends, since what is at the first that does not answer must
 * not be taken for what is at the second. 1; 0 with err: nowhere; -1. All places that are told of
 * stay as the handle has them.
 */
typedef int (*ceph_look_fn)(void *arg, const struct ceph_candidate *at, bool is_only,
			    struct err *err);
int ceph_elsewhere_search(struct ceph_elsewhere *e, enum ceph_mapped what,
			  const struct ceph_handle *handle, ceph_look_fn fn, void *arg,
			  struct err *err);

/* As backend_ops and backend_kind have them. */
int ceph_elsewhere_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info,
			struct err *err);
int ceph_elsewhere_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn,
			void *arg, struct err *err);
int ceph_elsewhere_snapshot_each(struct backend *b, struct ctx *ctx, const char *after,
				 backend_each_snapshot_fn fn, void *arg, struct err *err);
/* A token is the whole handle. */
void ceph_elsewhere_format_id(const struct backend *b, enum vol_kind kind, const char *token,
			      char ret_id[VOL_ID_MAX]);
/* "/etc/ceph-csi-config" */
int ceph_elsewhere_configure(struct arena *a, const char *spec, struct backend_config *config,
			     struct err *err);

#endif
