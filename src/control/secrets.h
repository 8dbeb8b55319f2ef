/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SECRETS_H
#define CONTROL_SECRETS_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/strmap.h"

#include <stdbool.h>

struct kube_client;

/* The Secrets that a StorageClass may name, and for which call. */
enum secret_kind {
	SECRET_PROVISIONER,
	SECRET_CONTROLLER_PUBLISH,
	SECRET_NODE_STAGE,
	SECRET_NODE_PUBLISH,
	SECRET_CONTROLLER_EXPAND,
	SECRET_NODE_EXPAND,
	SECRET_CONTROLLER_MODIFY,
	SECRET_KINDS,
};

struct secret_ref {
	const char *ns; /* "" = none configured */
	const char *name;
};
static inline bool secret_ref_is_set(const struct secret_ref *r)
{
	return r->name && *r->name;
}

/* By two members of an object, such as "name" and "namespace" of a reference; unset without them.
 * Borrowed. */
struct secret_ref secret_ref_at(const struct json *object, const char *name_key,
				const char *ns_key);

/* What ${…} in the class's templates may stand for. */
struct secret_vars {
	const char *pv_name;
	const char *claim_ns, *claim_name;
	const struct json *annotations; /* the claim's; NULL if there are none */
};

/* What Kubernetes' own parameters of classes begin with. */
#define PARAM_PREFIX "csi.storage.k8s.io/"

/* Whether a parameter with Kubernetes' prefix is about secrets. */
bool secret_key_is_known(const char *key);

/*
 * The Secret that params name for the kind: {"", ""} if none. INVALID_ARGUMENT names the key: name
 * without namespace, both old and new spelling, unknown ${token}, a result that is no DNS name.
 */
int secret_ref_resolve(struct arena *arena, const struct strmap *params, enum secret_kind kind,
		       const struct secret_vars *vars, struct secret_ref *ret_ref, struct err *err);

/* The Secrets that a VolumeSnapshotClass or a VolumeGroupSnapshotClass may name. */
enum snapshot_secret {
	SNAPSHOT_SECRET, /* to cut and to delete */
	SNAPSHOT_SECRET_LIST,
	SNAPSHOT_SECRET_GROUP,
	SNAPSHOT_SECRET_GROUP_GET,
	SNAPSHOT_SECRETS,
};

/* Of the snapshot, or of the group snapshot. */
struct snapshot_vars {
	const char *content_name;
	const char *ns, *name;
};

bool snapshot_secret_key_is_known(const char *key);
/* As above. The templates' tokens are of snapshots or of group snapshots, as `which` is. */
int secret_ref_resolve_snapshot(struct arena *arena, const struct strmap *params,
				enum snapshot_secret which, const struct snapshot_vars *vars,
				struct secret_ref *ret_ref, struct err *err);

/* The Secret's data, decoded; empty for an unset reference. */
int secret_fetch(struct kube_client *client, struct ctx *ctx, const struct secret_ref *ref,
		 struct secrets *ret_secrets, struct err *err);

#endif
