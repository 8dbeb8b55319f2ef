/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: an entry of the journal and a snapshot of the subvolume.
 *
 *   create: entry ──► snapshot ──► metadata (how large the volume was)
 *   remove: masked ──► snapshot ──► entry
 *   remove, of one that volumes show (view.h): masked; the last of these takes the rest
 *
 * It is there at once, and outlives its volume: a subvolume that is removed stays for its
 * snapshots, and goes with the last of them. One that is masked is not there for anybody else.
 */
#include <stdio.h>
#include <string.h>

#define LOG_ROOM "backend.cephfs"
#include "backend/cephfs/backing.h"
#include "backend/cephfs/subvolume.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

struct cutting {
	const struct backend_snapshot_spec *spec;
	struct ceph_fs_snapshot_params params;
	struct ceph_handle volume; /* the source's */
	struct subvolume_place place;
	struct ceph_journal journal;
	struct ceph_entry entry;
	struct subvolume_snap_look look;
};

/* What a volume made of it has at least: as was kept when it was cut, or as the volume has now. */
static int find_bytes(const struct subvolume_place *p, const struct ceph_entry *entry,
		      struct subvolume_snap_look *look, struct err *err)
{
	struct subvolume_look volume;
	const char *kept;
	int found;

	if (subvolume_get_word(p, entry->source, entry->image, SUBVOLUME_BYTES_WORD, &kept, err) <
	    0)
		return -1;
	if (*kept && str_parse_u64(kept, &look->bytes) == 0)
		return 0;
	found = subvolume_look(p, entry->source, &volume, err);
	if (found > 0 && volume.state == SUBVOLUME_WHOLE)
		look->bytes = volume.bytes;
	return found < 0 ? -1 : 0;
}

int subvolume_snapshot_look(const struct subvolume_place *p, const struct ceph_entry *entry,
			    struct subvolume_snap_look *ret_look, struct err *err)
{
	int found = subvolume_look_snap(p, entry->source, entry->image, ret_look, err);

	return found <= 0 ? found : find_bytes(p, entry, ret_look, err) < 0 ? -1 : 1;
}

static void fill_snapshot(const struct subvolume_place *p, const struct ceph_entry *entry,
			  const struct subvolume_snap_look *look, struct backend_snapshot *ret_snap)
{
	const char *source = subvolume_uuid_in_name(entry->source);

	*ret_snap = (struct backend_snapshot){ .bytes = look->bytes,
					       .fs = SUBVOLUMES_FS,
					       .created_ns = look->created_ns,
					       .is_ready = true };
	subvolume_token(p, entry->uuid, ret_snap->token);
	if (*source)
		subvolume_token(p, source, ret_snap->source);
	(void)snprintf(ret_snap->name, sizeof(ret_snap->name), "%s", entry->name);
}

static int check_source(const struct cutting *c, struct err *err)
{
	if (str_is_equal(subvolume_uuid_in_name(c->entry.source), c->volume.uuid))
		return 0;
	return err_set(err, ERR_ALREADY_EXISTS, "it exists and is of subvolume '%s'",
		       c->entry.source);
}

static int set_words(const struct cutting *c, uint64_t bytes, struct err *err)
{
	bool keeps = c->place.subvolumes->ceph.keeps_names;
	const char *size = arena_printf(c->place.ctx->arena, "%llu", (unsigned long long)bytes);
	const struct subvolume_word words[] = {
		{ SUBVOLUME_BYTES_WORD, bytes ? size : "" },
		{ SUBVOLUME_CLUSTER_WORD, keeps ? c->place.subvolumes->ceph.cluster_name : "" },
		{ SUBVOLUME_KUBERNETES "volumesnapshot/name", keeps ? c->params.snapshot : "" },
		{ SUBVOLUME_KUBERNETES "volumesnapshot/namespace", keeps ? c->params.owner : "" },
		{ SUBVOLUME_KUBERNETES "volumesnapshotcontent/name",
		  keeps ? c->params.content : "" },
	};

	return subvolume_set_words(&c->place, c->entry.source, c->entry.image, words,
				   ARRAY_LEN(words), err);
}

/* The name is its own until the last volume that shows it goes. */
static int check_not_masked(const struct cutting *c, struct err *err)
{
	char handle[VOL_TOKEN_MAX];
	int rc;

	subvolume_token(&c->place, c->entry.uuid, handle);
	rc = backing_is_masked(&c->place, handle, err);
	if (rc <= 0)
		return rc;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "snapshot '%s' of this name was deleted, and is there until the volumes are "
		       "deleted that show it",
		       c->entry.image);
}

/* 1: it is there, whatever became of its volume. 0: it is to be made. */
static int take_existing(struct cutting *c, struct err *err)
{
	int found;

	if (ceph_journal_find(&c->journal, c->place.ctx, c->spec->name, &c->entry, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!*c->entry.source || !*c->entry.image)
		return 0; /* torn: the reservation says, or completes it */
	if (check_source(c, err) < 0)
		return -1;
	found = subvolume_snapshot_look(&c->place, &c->entry, &c->look, err);
	if (found <= 0)
		return found;
	return check_not_masked(c, err) < 0 || set_words(c, c->look.bytes, err) < 0 ? -1 : 1;
}

static int find_volume(const struct cutting *c, struct ceph_entry *ret_entry,
		       struct subvolume_look *ret_look, struct err *err)
{
	struct ceph_journal volumes = subvolume_place_journal(&c->place, CEPH_JOURNAL_VOLUMES);
	int found;

	if (ceph_journal_read(&volumes, c->place.ctx, c->volume.uuid, ret_entry, err) < 0)
		return -1;
	if (*ret_entry->backing)
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"it shows snapshot '%s' and has nothing of its own that could be cut; "
			"use that one",
			ret_entry->backing);
	found = *ret_entry->image ? subvolume_look(&c->place, ret_entry->image, ret_look, err) : 0;
	if (found < 0)
		return -1;
	if (!found || ret_look->state == SUBVOLUME_RETAINED)
		return err_set(err, ERR_NOT_FOUND, "filesystem '%s' has no subvolume '%s'",
			       c->place.fs_name, ret_entry->image);
	if (ret_look->state == SUBVOLUME_COPYING)
		return err_set(err, ERR_ABORTED, "it is being copied and not made yet");
	return 0;
}

static int reserve(struct cutting *c, const struct ceph_entry *volume, const char *path,
		   struct err *err)
{
	const struct ceph_reservation what = { .name = c->spec->name,
					       .prefix = c->params.prefix,
					       .source = volume->image,
					       .owner = "", /* ceph-csi has none of these */
					       .path = path,
					       .pool_id = -1 };

	if (ceph_journal_reserve(&c->journal, c->place.ctx, &what, &c->entry, err) < 0)
		return -1;
	return subvolume_entry_check(&c->entry, c->spec->name, err) < 0 ? -1 : check_source(c, err);
}

static int cut(struct cutting *c, struct err *err)
{
	struct subvolume_look look;
	struct ceph_entry volume;
	int found;

	if (find_volume(c, &volume, &look, err) < 0)
		return err_wrap(err, "volume '%s'", c->spec->source);
	if (reserve(c, &volume, look.path, err) < 0 ||
	    subvolume_snap(&c->place, volume.image, c->entry.image, err) < 0 ||
	    set_words(c, look.bytes, err) < 0)
		return -1;
	found = subvolume_look_snap(&c->place, volume.image, c->entry.image, &c->look, err);
	if (found <= 0)
		return found < 0 ? -1
				 : err_set(err, ERR_ABORTED, "snapshot '%s' was removed meanwhile",
					   c->entry.image);
	c->look.bytes = look.bytes;
	return 0;
}

static int check_class(const struct cutting *c, struct err *err)
{
	if (str_is_equal(c->params.cluster, c->place.cluster.id))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: clusterID: '%s' is asked, and volume '%s' is in '%s'",
		       c->params.cluster, c->spec->source, c->place.cluster.id);
}

/* A new one is named by where it is, whatever its volume's handle says. */
static void fill_made(struct cutting *c, struct backend_snapshot *ret_snap)
{
	c->place.told_cluster = c->place.cluster.id;
	c->place.told_fscid = c->place.fscid;
	fill_snapshot(&c->place, &c->entry, &c->look, ret_snap);
	(void)snprintf(ret_snap->source, sizeof(ret_snap->source), "%s", c->spec->source);
}

int subvolume_snapshot_create(struct backend *b, struct ctx *ctx,
			      const struct backend_snapshot_spec *spec,
			      struct backend_snapshot *ret_snap, struct err *err)
{
	struct cutting c = { .spec = spec };
	int found;
	int rc;

	if (ceph_fs_snapshot_params_parse(spec->options.parameters, &c.params, err) < 0 ||
	    ceph_handle_parse(spec->source, &c.volume, err) < 0)
		return -1;
	if (subvolume_place_open_handle(subvolumes_of(b), ctx, &c.volume, spec->options.secrets,
					&c.place, err) < 0)
		return -1;
	c.journal = subvolume_place_journal(&c.place, CEPH_JOURNAL_SNAPSHOTS);
	found = check_class(&c, err) < 0 ? -1 : take_existing(&c, err);
	rc = found == 0 ? cut(&c, err) : found;
	if (rc >= 0)
		fill_made(&c, ret_snap);
	subvolume_place_close(&c.place);
	return rc < 0 ? -1 : 0;
}

static int remove_entry(const struct subvolume_place *p, const struct ceph_journal *journal,
			const struct ceph_entry *entry, struct err *err)
{
	return ceph_journal_forget(journal, p->ctx, entry->uuid, entry->name, err);
}

static int drop_snap(const struct subvolume_place *p, const struct ceph_entry *entry,
		     struct err *err)
{
	return *entry->image && *entry->source
		       ? subvolume_drop_snap(p, entry->source, entry->image, err)
		       : 0;
}

int subvolume_snapshot_remove_entry(const struct subvolume_place *p, const char *handle,
				    struct err *err)
{
	const struct ceph_journal journal = subvolume_place_journal(p, CEPH_JOURNAL_SNAPSHOTS);
	struct ceph_handle parsed;
	struct ceph_entry entry;

	if (ceph_handle_parse(handle, &parsed, err) < 0)
		return -1;
	if (ceph_journal_read(&journal, p->ctx, parsed.uuid, &entry, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return drop_snap(p, &entry, err) < 0 ? -1 : remove_entry(p, &journal, &entry, err);
}

/* 1: volumes show it, and it stays for them. */
static int mask(const struct subvolume_entry *f, const char *handle, struct err *err)
{
	uint32_t n;

	if (backing_mask(&f->place, handle, &n, err) < 0)
		return -1;
	if (n > 0)
		log_info("a deleted snapshot stays for the volumes that show it",
			 log_str("snapshot", handle), log_u64("volumes", n));
	return n > 0;
}

/* Nothing is masked of what cannot be looked at. */
static int remove_found(const struct subvolume_entry *f, const char *handle, struct err *err)
{
	struct subvolume_snap_look look;
	int found = *f->entry.image && *f->entry.source
			    ? subvolume_look_snap(&f->place, f->entry.source, f->entry.image, &look,
						  err)
			    : 0;
	int stays = found > 0 ? mask(f, handle, err) : found;

	if (stays != 0)
		return stays < 0 ? -1 : 0;
	if ((found > 0 && drop_snap(&f->place, &f->entry, err) < 0) ||
	    backing_forget(&f->place, handle, err) < 0)
		return -1;
	return remove_entry(&f->place, &f->journal, &f->entry, err);
}

int subvolume_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			      const struct secrets *secrets, struct err *err)
{
	struct subvolume_entry f;
	int rc;

	if (subvolume_entry_open(b, ctx, token, CEPH_JOURNAL_SNAPSHOTS, secrets, &f, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	rc = remove_found(&f, token, err);
	subvolume_place_close(&f.place);
	return rc;
}

static int stat_found(const struct subvolume_entry *f, const char *handle,
		      struct backend_snapshot *ret_snap, struct err *err)
{
	struct subvolume_snap_look look;
	int is_masked = backing_is_masked(&f->place, handle, err);
	int found = is_masked != 0 ? is_masked
		    : *f->entry.source && *f->entry.image
			    ? subvolume_snapshot_look(&f->place, &f->entry, &look, err)
			    : 0;

	if (found < 0)
		return -1;
	if (!found || is_masked)
		return err_set(err, ERR_NOT_FOUND, "subvolume '%s' has no snapshot '%s'",
			       f->entry.source, f->entry.image);
	fill_snapshot(&f->place, &f->entry, &look, ret_snap);
	return 0;
}

int subvolume_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
			    const struct secrets *secrets, struct backend_snapshot *ret_snap,
			    struct err *err)
{
	struct subvolume_entry f;
	int rc;

	if (subvolume_entry_open(b, ctx, token, CEPH_JOURNAL_SNAPSHOTS, secrets, &f, err) < 0)
		return -1;
	rc = stat_found(&f, token, ret_snap, err);
	subvolume_place_close(&f.place);
	return rc;
}
