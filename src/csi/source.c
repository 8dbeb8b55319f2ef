/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes from snapshots and from volumes: what the source is, and whether what is asked can be
 * made of it. A copy shares its source's blocks, so it lies in the same pool, has the same
 * filesystem and is never smaller. Sources are looked at only when the volume is not there yet: one
 * that is there stays what it is when its source is gone.
 */
#include "csi/source.h"

#include <stdio.h>

#include "base/str.h"

static enum vol_kind id_kind(enum backend_source kind)
{
	return kind == BACKEND_SOURCE_SNAPSHOT ? VOL_KIND_SNAPSHOT : VOL_KIND_VOLUME;
}

static const char *kind_name(const struct source *source)
{
	return vol_kind_name(id_kind(source->kind));
}

int source_resolve(struct csi_driver *d, const struct csi_content_source *asked,
		   struct source *ret_source, struct err *err)
{
	struct source source = { .id = asked->id };

	if (asked->kind != CSI_SOURCE_NONE) {
		source.kind = asked->kind == CSI_SOURCE_SNAPSHOT ? BACKEND_SOURCE_SNAPSHOT
								 : BACKEND_SOURCE_VOLUME;
		if (registry_resolve(d->pools, id_kind(source.kind), asked->id, &source.ref.pool,
				     source.ref.token, err) < 0)
			return err_wrap(err, "volume_content_source");
	}
	*ret_source = source;
	return 0;
}

static int look_at_snapshot(struct csi_driver *d, struct ctx *ctx, const struct source *source,
			    struct source_facts *facts, struct err *err)
{
	struct backend_snapshot snap;
	struct csi_ref ref;

	if (driver_find_snapshot(d, ctx, source->id, NULL, &ref, &snap, err) < 0)
		return -1;
	if (snap.is_damaged)
		return err_set(err, ERR_FAILED_PRECONDITION, "snapshot '%s' is damaged: %s",
			       source->id, snap.damage);
	if (!snap.is_ready)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "snapshot '%s' is not ready: its bytes are still being copied; try "
			       "again when ready_to_use is true",
			       source->id);
	facts->bytes = snap.bytes;
	(void)snprintf(facts->fs, sizeof(facts->fs), "%s", snap.fs); /* of the same size */
	return 0;
}

static int look_at_volume(struct csi_driver *d, struct ctx *ctx, const struct source *source,
			  struct source_facts *facts, struct err *err)
{
	struct backend_volume vol;
	struct csi_ref ref;

	if (driver_find_volume(d, ctx, source->id, NULL, &ref, &vol, err) < 0) {
		if (err->code == ERR_DATA_LOSS)
			err->code = ERR_FAILED_PRECONDITION; /* nothing of this volume is lost */
		return -1;
	}
	facts->bytes = vol.bytes;
	(void)snprintf(facts->fs, sizeof(facts->fs), "%s", vol.fs); /* of the same size */
	return 0;
}

static int check_pool(struct csi_driver *d, const struct source *source, struct err *err)
{
	unsigned needs = source->kind == BACKEND_SOURCE_SNAPSHOT ? BACKEND_SNAPSHOT : BACKEND_CLONE;
	struct csi_ref ref;

	if (driver_find_pool_of(d, id_kind(source->kind), source->id, &ref, err) < 0)
		return -1;
	if (ref.pool->caps & needs)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "%s '%s' is in pool '%s' (%s), which makes no volumes of others",
		       kind_name(source), source->id, ref.pool->pool_name, ref.pool->ops->name);
}

int source_look(struct csi_driver *d, struct ctx *ctx, const struct source *source,
		struct source_facts *ret_facts, struct err *err)
{
	struct source_facts facts = { 0 };
	int r = check_pool(d, source, err);

	if (r == 0)
		r = source->kind == BACKEND_SOURCE_SNAPSHOT
			    ? look_at_snapshot(d, ctx, source, &facts, err)
			    : look_at_volume(d, ctx, source, &facts, err);
	if (r < 0)
		return err_wrap(err, "volume_content_source");
	*ret_facts = facts;
	return 0;
}

int source_choose_fs(const struct source *source, const struct source_facts *facts, bool is_mount,
		     const char *asked, const char **ret_fs, struct err *err)
{
	if (source->ref.pool->caps & BACKEND_MOUNT) {
		if (!is_mount || *asked)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "volume_capabilities: %s '%s' is in pool '%s', which has no "
				       "block devices; ask for mount access without fs_type",
				       kind_name(source), source->id, source->ref.pool->pool_name);
		*ret_fs = "";
		return 0;
	}
	if (!is_mount && *facts->fs)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capabilities: block access is asked, and %s '%s' has an %s "
			       "filesystem; ask for mount access",
			       kind_name(source), source->id, facts->fs);
	if (is_mount && !*facts->fs)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capabilities: mount access is asked, and %s '%s' is a raw "
			       "block device; ask for block access",
			       kind_name(source), source->id);
	if (*asked && !str_is_equal(asked, facts->fs))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capabilities: fs_type %s is asked, and %s '%s' has %s; ask "
			       "for %s, or for none",
			       asked, kind_name(source), source->id, facts->fs, facts->fs);
	*ret_fs = facts->fs;
	return 0;
}

static const char *describe(struct arena *a, enum backend_source kind, const char *id)
{
	return kind == BACKEND_SOURCE_NONE
		       ? "no source"
		       : arena_printf(a, "%s '%s'", vol_kind_name(id_kind(kind)), id);
}

int source_check_existing(struct arena *a, const struct source *source, const struct backend *pool,
			  const struct backend_volume *vol, struct err *err)
{
	bool is_sourced = source->kind != BACKEND_SOURCE_NONE;
	const char *was = "";

	if (vol->source_kind == source->kind &&
	    (!is_sourced ||
	     (source->ref.pool == pool && str_is_equal(source->ref.token, vol->source))))
		return 0;
	if (vol->source_kind != BACKEND_SOURCE_NONE)
		was = driver_format_id(a, pool, id_kind(vol->source_kind), vol->source);
	return err_set(err, ERR_ALREADY_EXISTS,
		       "name '%s': the volume exists, made of %s; now %s is asked", vol->name,
		       describe(a, vol->source_kind, was), describe(a, source->kind, source->id));
}
