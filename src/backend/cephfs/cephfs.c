/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend of subvolumes. Most of what an instance is all kinds of Ceph are: ceph/elsewhere.h.
 *
 * A volume that a person has made (staticVolume) has whatever id its PV says. What the room above
 * wants of a token (a name of a file, a word of the mount table) an id need not be, so its token is
 * made of the id's hash; nobody asks for the id again.
 */
#include "backend/cephfs/cephfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cephfs/subvolume.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "volume/size.h"

/* What a process can alone that stages. */
#define STAGING BACKEND_NOTES
#define COPY_WAIT_NS (4 * NS_PER_S)
#define STATIC_TOKEN "static-"
#define STATIC_HASH_BYTES 20

static void subvolumes_close(struct backend *b)
{
	struct subvolumes *s = subvolumes_of(b);

	mounted_done(&s->servers);
	ceph_elsewhere_done(&s->ceph);
	free(s->kernel_options);
	free(s->fuse_options);
	free(s);
}

bool subvolume_is_static(const char *token)
{
	return str_has_prefix(token, STATIC_TOKEN);
}

static void make_static_token(const char *id, char ret_token[VOL_TOKEN_MAX])
{
	uint8_t hash[SHA256_BYTES];

	sha256(id, strlen(id), hash);
	memcpy(ret_token, STATIC_TOKEN, sizeof(STATIC_TOKEN));
	hex_format(hash, STATIC_HASH_BYTES, ret_token + strlen(STATIC_TOKEN));
}

/* Whatever the cluster: one that is not configured is no reason to say that a volume is gone. A
 * handle of another version is refused by the call, for the same reason. */
static int subvolumes_resolve(const struct backend *b, enum vol_kind kind, const char *id,
			      char ret_token[VOL_TOKEN_MAX], struct err *err)
{
	struct ceph_handle handle;

	if (kind == VOL_KIND_GROUP || !*id || strlen(id) >= VOL_TOKEN_MAX)
		return err_set(err, ERR_NOT_FOUND, "'%.128s' is no handle of Ceph's", id);
	if (ceph_handle_parse(id, &handle, err) < 0 && err->code != ERR_FAILED_PRECONDITION) {
		if (kind != VOL_KIND_VOLUME)
			return -1;
		make_static_token(id, ret_token);
		return 0;
	}
	memcpy(ret_token, id, strlen(id) + 1);
	return 0;
}

/* Connections that nobody has used for some minutes, and servers that have ended. */
static int subvolumes_tend(struct backend *b, struct ctx *ctx, struct err *err)
{
	struct subvolumes *s = subvolumes_of(b);

	if (ctx_check(ctx, err) < 0)
		return -1;
	mounted_reap(&s->servers);
	ceph_conns_sweep(s->ceph.conns);
	return 0;
}

static const struct backend_ops subvolumes_ops = {
	.name = "cephfs",
	.close = subvolumes_close,
	.info = ceph_elsewhere_info,
	.create = subvolume_create,
	.remove = subvolume_remove,
	.grow = subvolume_grow,
	.stat = subvolume_stat,
	.each = ceph_elsewhere_each,
	.mount = subvolume_mount,
	.note_get = subvolume_note_get,
	.note_set = subvolume_note_set,
	.resolve = subvolumes_resolve,
	.format_id = ceph_elsewhere_format_id,
	.snapshot_create = subvolume_snapshot_create,
	.snapshot_remove = subvolume_snapshot_remove,
	.snapshot_stat = subvolume_snapshot_stat,
	.snapshot_each = ceph_elsewhere_snapshot_each,
	.tend = subvolumes_tend,
};

struct backend *subvolumes_new(const struct backend_config *config, const struct ceph_lib *lib)
{
	const struct backend_ceph_config *ceph = &config->ceph;
	struct subvolumes *s = xcalloc(1, sizeof(*s));

	ceph_elsewhere_init(&s->ceph, &cephfs_kind, &subvolumes_ops, STAGING, config, lib);
	s->kernel_options = xstrdup(str_or(ceph->kernel_mount_options, ""));
	s->fuse_options = xstrdup(str_or(ceph->fuse_mount_options, ""));
	mounted_init(&s->servers);
	s->copy_wait_ns = COPY_WAIT_NS;
	return &s->ceph.base;
}

static int subvolumes_open(struct ctx *ctx, const struct backend_config *config,
			   const struct registry *others, struct backend **ret_backend,
			   struct err *err)
{
	(void)others;
	if (ctx_check(ctx, err) < 0)
		return -1;
	*ret_backend = subvolumes_new(config, NULL);
	return 0;
}

const struct backend_kind cephfs_kind = {
	.name = "cephfs",
	.caps = BACKEND_ELSEWHERE | BACKEND_MOUNT | BACKEND_GROW | BACKEND_SNAPSHOT |
		BACKEND_CLONE | STAGING,
	.lane = BACKEND_LANE_REMOTE,
	.configure = ceph_elsewhere_configure,
	.open = subvolumes_open,
	.is_mount_of = subvolume_is_mount_of,
};
