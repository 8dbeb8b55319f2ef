/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides of a filesystem, beside each other.
 *
 *   subvolumes ──► directory ──► its entries, each with what it names ──► subvolumes that none has
 *   named, and the snapshots of all
 *
 * Nothing stands still meanwhile, so whatever seems to be missing is looked for once more by its
 * name before it is told.
 *
 * A subvolume without an entry is no stranger as long as it is there for snapshots alone that have
 * theirs; nor for some time after the last of them: if that goes while the manager has not removed
 * the data yet, which is one of its queue, what is left goes with the data. A snapshot has an entry
 * of its own, or is what an unfinished clone is made of, whose entry says so.
 *
 * Mended is the journal alone, what counts who shows a snapshot, and what was deleted. Another
 * subvolume may hold somebody's data, whoever lost its name; removing it is a person's word to
 * Ceph, not to us.
 */
#include "backend/cephfs/audit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backend/cephfs/backing.h"
#include "backend/cephfs/subvolume.h"
#include "backend/cephfs/view.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

#define YOUNG_S 600 /* longer than any call, and the cluster's clock is another */

struct named {
	const char *name, *uuid;
};

struct audit {
	struct subvolume_place place;
	struct ceph_candidates places; /* how handles may call the filesystem; its own first */
	struct map *subvolumes;        /* of our names; value: seen, or unseen */
	ceph_finding_fn fn;
	void *arg;
	struct ceph_audited done;
	VEC(struct named) names; /* of one directory */
	VEC(const char *) snaps; /* of one subvolume, of our names */
	size_t n_snaps;          /* of any */
};

/* What the map's values point to. */
static char unseen, seen;

/* All that may name one thing; the filesystem's own first. */
struct handles {
	char text[CEPH_CANDIDATES_MAX][VOL_TOKEN_MAX];
	const char *v[CEPH_CANDIDATES_MAX];
};

static int keep_subvolume(void *arg, const char *name)
{
	struct audit *a = arg;

	if (*subvolume_uuid_in_name(name))
		(void)map_put(a->subvolumes, name, &unseen);
	return 0;
}

static int keep_snap(void *arg, const char *name)
{
	struct audit *a = arg;

	a->n_snaps++;
	if (*subvolume_uuid_in_name(name))
		vec_push(&a->snaps, arena_strdup(a->place.ctx->arena, name));
	return 0;
}

static int keep_name(void *arg, const char *name, const char *uuid)
{
	struct audit *a = arg;
	struct arena *arena = a->place.ctx->arena;

	vec_push(&a->names,
		 ((struct named){ arena_strdup(arena, name), arena_strdup(arena, uuid) }));
	return 0;
}

/* ---- entries ---- */

struct judged {
	enum ceph_trouble trouble;
	bool is_kept; /* a deleted snapshot that volumes show: nobody is to name it */
};

/* 1, or 0: long ago, or not at all. */
static int is_young(struct audit *a, const struct ceph_journal *j, const char *uuid,
		    struct err *err)
{
	const char *object =
		arena_printf(a->place.ctx->arena, "%s%s",
			     j->kind == CEPH_JOURNAL_VOLUMES ? "csi.volume." : "csi.snap.", uuid);
	time_t changed = 0;
	int rc;

	if (ctx_check(a->place.ctx, err) < 0)
		return -1;
	rc = a->place.lib->rados_stat(a->place.io, object, NULL, &changed);
	if (rc < 0 && rc != -ENOENT)
		return ceph_conn_failed(a->place.conn, rc, err, "look at '%s'", object);
	return rc == 0 && clock_wall_ns() / NS_PER_S - changed < YOUNG_S;
}

/* Its image is not there. */
static int judge_missing(struct audit *a, const struct ceph_journal *j,
			 const struct ceph_entry *entry, struct judged *ret, struct err *err)
{
	int rc = is_young(a, j, entry->uuid, err);

	ret->trouble = rc > 0 ? CEPH_TROUBLE_UNFINISHED : CEPH_TROUBLE_NO_IMAGE;
	return rc < 0 ? -1 : 0;
}

static int judge_view(struct audit *a, const struct ceph_journal *j, const struct ceph_entry *entry,
		      struct judged *ret, struct err *err)
{
	struct subvolume_view view;
	struct backing backing;
	int rc;

	if (subvolume_view_look(&a->place, entry->backing, &view, err) < 0)
		return err->code == ERR_NOT_FOUND ? judge_missing(a, j, entry, ret, err) : -1;
	if (backing_read(&a->place, entry->backing, entry->image, &backing, err) < 0)
		return -1;
	if (backing.volume != BACKING_REF_NONE)
		return 0;
	rc = is_young(a, j, entry->uuid, err);
	ret->trouble = rc > 0 ? CEPH_TROUBLE_UNFINISHED : CEPH_TROUBLE_NO_COUNT;
	return rc < 0 ? -1 : 0;
}

static int judge_volume(struct audit *a, const struct ceph_journal *j,
			const struct ceph_entry *entry, struct judged *ret, struct err *err)
{
	struct subvolume_look look;
	int found;

	if (map_find(a->subvolumes, entry->image))
		(void)map_put(a->subvolumes, entry->image, &seen);
	if (*entry->backing)
		return judge_view(a, j, entry, ret, err);
	found = *entry->image ? subvolume_look(&a->place, entry->image, &look, err) : 0;
	if (found < 0)
		return -1;
	if (!found || look.state == SUBVOLUME_RETAINED)
		return judge_missing(a, j, entry, ret, err);
	if (look.state == SUBVOLUME_COPYING)
		ret->trouble = CEPH_TROUBLE_UNFINISHED;
	return 0;
}

static int judge_snapshot(struct audit *a, const struct ceph_journal *j,
			  const struct ceph_entry *entry, const char *handle, struct judged *ret,
			  struct err *err)
{
	struct subvolume_snap_look look;
	struct backing backing;
	int found = *entry->image && *entry->source ? subvolume_look_snap(&a->place, entry->source,
									  entry->image, &look, err)
						    : 0;

	if (found < 0 || backing_read(&a->place, handle, NULL, &backing, err) < 0)
		return -1;
	if (!found)
		return judge_missing(a, j, entry, ret, err);
	if (backing.snapshot == BACKING_REF_MASKED && backing.n == 0)
		ret->trouble = CEPH_TROUBLE_UNFINISHED;
	ret->is_kept = backing.snapshot == BACKING_REF_MASKED && backing.n > 0;
	return 0;
}

/* ---- telling, and mending ---- */

static int mend(struct audit *a, const struct ceph_journal *j, const struct ceph_finding *f,
		const struct ceph_entry *entry, struct err *err)
{
	if (f->trouble == CEPH_TROUBLE_NO_COUNT)
		return backing_add(&a->place, entry->backing, entry->image, err);
	if (f->kind == VOL_KIND_SNAPSHOT && backing_forget(&a->place, f->handle, err) < 0)
		return -1;
	return j->kind == CEPH_JOURNAL_VOLUMES
		       ? subvolume_forget(j, &a->place, entry, err)
		       : ceph_journal_forget(j, a->place.ctx, entry->uuid, entry->name, err);
}

static int tell(struct audit *a, const struct ceph_journal *j, const struct ceph_finding *f,
		const struct ceph_entry *entry, struct err *err)
{
	int wanted;

	a->done.n_troubles += f->trouble != CEPH_TROUBLE_NONE;
	wanted = a->fn(a->arg, f, err);
	if (wanted <= 0 || !f->can_mend)
		return wanted < 0 ? -1 : 0;
	if (mend(a, j, f, entry, err) < 0)
		return -1;
	a->done.n_mended++;
	return 0;
}

/* Read again last, since it may have been forgotten since its directory was. */
static int tell_entry(struct audit *a, const struct ceph_journal *j, struct ceph_finding *f,
		      const struct named *n, struct err *err)
{
	struct ceph_entry entry = { .pool_id = -1 };

	if (f->trouble == CEPH_TROUBLE_NONE)
		return tell(a, j, f, &entry, err);
	if (ceph_journal_find(j, a->place.ctx, n->name, &entry, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!str_is_equal(entry.uuid, n->uuid))
		return 0;
	if (!*entry.name) /* its object is not there */
		entry.name = n->name;
	f->can_mend = f->trouble != CEPH_TROUBLE_UNFINISHED;
	return tell(a, j, f, &entry, err);
}

static void make_handles(const struct audit *a, const char *uuid, struct handles *ret)
{
	for (size_t i = 0; i < a->places.n; i++) {
		struct ceph_handle handle = { .pool_id = a->places.v[i].pool_id };

		memcpy(handle.cluster, a->places.v[i].cluster, sizeof(handle.cluster));
		(void)snprintf(handle.uuid, sizeof(handle.uuid), "%s", uuid);
		ceph_handle_format(&handle, ret->text[i]);
		ret->v[i] = ret->text[i];
	}
}

static int look_at_entry(struct audit *a, const struct ceph_journal *j, const struct named *n,
			 const struct ceph_entry *entry, struct ceph_finding *f, struct err *err)
{
	struct judged judged = { .trouble = CEPH_TROUBLE_NONE };
	bool is_snapshot = j->kind == CEPH_JOURNAL_SNAPSHOTS;

	f->image = is_snapshot
			   ? arena_printf(a->place.ctx->arena, "%s@%s", entry->source, entry->image)
			   : entry->image;
	if ((is_snapshot ? judge_snapshot(a, j, entry, f->handle, &judged, err)
			 : judge_volume(a, j, entry, &judged, err)) < 0)
		return -1;
	if (judged.is_kept)
		return 0;
	f->trouble = judged.trouble;
	return tell_entry(a, j, f, n, err);
}

static int look_at_name(struct audit *a, const struct ceph_journal *j, const struct named *n,
			struct err *err)
{
	struct handles handles;
	struct ceph_finding f = {
		.kind = j->kind == CEPH_JOURNAL_VOLUMES ? VOL_KIND_VOLUME : VOL_KIND_SNAPSHOT,
		.name = n->name,
		.image = "",
		.handle = handles.text[0],
		.also = handles.v + 1,
		.n_also = a->places.n - 1,
	};
	struct ceph_entry entry;

	make_handles(a, n->uuid, &handles);
	if (ceph_journal_read(j, a->place.ctx, n->uuid, &entry, err) == 0)
		return look_at_entry(a, j, n, &entry, &f, err);
	if (err->code != ERR_NOT_FOUND)
		return -1;
	f.trouble = CEPH_TROUBLE_NO_OBJECT;
	return tell_entry(a, j, &f, n, err);
}

static int look_at_journal(struct audit *a, enum ceph_journal_kind kind, struct err *err)
{
	const struct ceph_journal j = subvolume_place_journal(&a->place, kind);

	a->names.n = 0;
	if (ceph_journal_each(&j, a->place.ctx, keep_name, a, err) < 0)
		return -1;
	a->done.n_entries += a->names.n;
	for (size_t i = 0; i < a->names.n; i++) {
		if (ctx_check(a->place.ctx, err) < 0 ||
		    look_at_name(a, &j, &a->names.v[i], err) < 0)
			return -1;
	}
	return 0;
}

/* ---- what has no entry ---- */

/* 1, 0, -1. */
static int has_entry(const struct audit *a, enum ceph_journal_kind kind, const char *name,
		     struct err *err)
{
	const struct ceph_journal j = subvolume_place_journal(&a->place, kind);
	struct ceph_entry entry;

	if (ceph_journal_read(&j, a->place.ctx, subvolume_uuid_in_name(name), &entry, err) == 0)
		return 1;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

/* Of the journal's own, or of a clone whose entry is there. */
static int has_snap_entry(const struct audit *a, const char *snap, struct err *err)
{
	int found = has_entry(a, CEPH_JOURNAL_SNAPSHOTS, snap, err);

	return found != 0 ? found : has_entry(a, CEPH_JOURNAL_VOLUMES, snap, err);
}

/* Nobody has it any more, and nothing of it can be had back. */
static int tell_going(struct audit *a, const char *name, struct err *err)
{
	const struct ceph_finding f = { .trouble = CEPH_TROUBLE_GOING,
					.kind = VOL_KIND_VOLUME,
					.name = "",
					.image = name,
					.handle = "",
					.can_mend = true };
	int wanted = a->fn(a->arg, &f, err);

	a->done.n_troubles++;
	if (wanted <= 0)
		return wanted;
	if (subvolume_discard(&a->place, name, err) < 0)
		return -1;
	a->done.n_mended++;
	return 0;
}

static int tell_left(struct audit *a, enum vol_kind kind, const char *image, struct err *err)
{
	const struct ceph_finding f = { .trouble = CEPH_TROUBLE_NO_ENTRY,
					.kind = kind,
					.name = "",
					.image = image,
					.handle = "" };

	return tell(a, NULL, &f, NULL, err);
}

/* 1: it has an entry; 0: not, or it is gone. */
static int look_at_snap(struct audit *a, const char *name, const char *snap, struct err *err)
{
	struct subvolume_snap_look look;
	int found = ctx_check(a->place.ctx, err) < 0 ? -1 : has_snap_entry(a, snap, err);

	if (found != 0)
		return found;
	found = subvolume_look_snap(&a->place, name, snap, &look, err);
	if (found <= 0)
		return found;
	return tell_left(a, VOL_KIND_SNAPSHOT,
			 arena_printf(a->place.ctx->arena, "%s@%s", name, snap), err);
}

/* ret_n_known: that have an entry. */
static int look_at_snaps(struct audit *a, const char *name, size_t *ret_n_known, struct err *err)
{
	*ret_n_known = 0;
	a->snaps.n = a->n_snaps = 0;
	if (subvolume_each_snap(&a->place, name, keep_snap, a, err) < 0)
		return -1;
	for (size_t i = 0; i < a->snaps.n; i++) {
		int known = look_at_snap(a, name, a->snaps.v[i], err);

		if (known < 0)
			return -1;
		*ret_n_known += (size_t)known;
	}
	return 0;
}

static int look_at_subvolume(struct audit *a, const char *name, bool is_seen, struct err *err)
{
	struct subvolume_look look;
	size_t n_known;
	int found;

	if (look_at_snaps(a, name, &n_known, err) < 0)
		return -1;
	if (is_seen)
		return 0;
	found = has_entry(a, CEPH_JOURNAL_VOLUMES, name, err);
	if (found != 0)
		return found < 0 ? -1 : 0;
	found = subvolume_look(&a->place, name, &look, err);
	if (found <= 0 || (look.state == SUBVOLUME_RETAINED && n_known > 0))
		return found < 0 ? -1 : 0;
	if (look.state == SUBVOLUME_RETAINED && a->n_snaps == 0)
		return tell_going(a, name, err);
	return tell_left(a, VOL_KIND_VOLUME, name, err);
}

static int look_at_rest(struct audit *a, struct err *err)
{
	const char *name;
	void *mark;

	for (size_t it = 0; map_next(a->subvolumes, &it, &name, &mark);) {
		if (ctx_check(a->place.ctx, err) < 0 ||
		    look_at_subvolume(a, name, mark == &seen, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- all of it ---- */

static int find_places(struct audit *a, struct err *err)
{
	const struct subvolume_place *p = &a->place;
	struct ceph_handle here = { .pool_id = p->fscid };

	(void)snprintf(here.cluster, sizeof(here.cluster), "%s", p->cluster.id);
	ceph_config_names(p->subvolumes->ceph.config, CEPH_MAPPED_FILESYSTEMS, &here, &a->places);
	if (a->places.doubt.code == ERR_OK)
		return 0;
	*err = a->places.doubt;
	err->code = ERR_FAILED_PRECONDITION;
	return err_wrap(err, "what handles of other clusters mean");
}

static int look(struct audit *a, struct err *err)
{
	if (find_places(a, err) < 0 || subvolume_each(&a->place, keep_subvolume, a, err) < 0)
		return -1;
	a->done.n_images = map_count(a->subvolumes);
	return look_at_journal(a, CEPH_JOURNAL_VOLUMES, err) < 0 ||
			       look_at_journal(a, CEPH_JOURNAL_SNAPSHOTS, err) < 0 ||
			       look_at_rest(a, err) < 0
		       ? -1
		       : 0;
}

int cephfs_audit_with(const struct ceph_lib *lib, struct ctx *ctx, const struct cephfs_audit *what,
		      ceph_finding_fn fn, void *arg, struct ceph_audited *ret, struct err *err)
{
	const struct backend_config config = { .name = "audit",
					       .dir = what->config_dir,
					       .ceph = { .instance = what->instance } };
	struct backend *b = subvolumes_new(&config, lib);
	struct audit a = { .fn = fn, .arg = arg, .names = VEC_INIT, .snaps = VEC_INIT };
	int rc = subvolume_place_open(subvolumes_of(b), ctx, what->cluster, what->fs_name,
				      what->secrets, &a.place, err);

	if (rc == 0) {
		a.subvolumes = map_new();
		rc = look(&a, err);
		map_free(a.subvolumes);
		vec_done(&a.names);
		vec_done(&a.snaps);
		subvolume_place_close(&a.place);
	}
	b->ops->close(b);
	if (rc == 0)
		*ret = a.done;
	return rc;
}

int cephfs_audit(struct ctx *ctx, const struct cephfs_audit *what, ceph_finding_fn fn, void *arg,
		 struct ceph_audited *ret, struct err *err)
{
	return cephfs_audit_with(NULL, ctx, what, fn, arg, ret, err);
}
