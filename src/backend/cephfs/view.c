/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   create: entry ──► reference ──► is the snapshot still there?
 *   remove: (the last one of a deleted snapshot: that, and its entry) ──► reference ──► entry
 *
 * Where the snapshot's directory is its volume tells, while it is there; afterwards the snapshot's
 * entry (cleat.path), since the manager tells no metadata of what a deleted volume has. Of a
 * snapshot that ceph-csi has cut of a volume that is gone nobody tells: such a one can be copied,
 * and not shown.
 */
#include "backend/cephfs/view.h"

#include <string.h>

#include "backend/cephfs/backing.h"
#include "backend/cephfs/subvolume.h"
#include "base/mem.h"
#include "base/str.h"

/* 1, or 0 with err. */
static int find_path(const struct subvolume_place *p, const struct ceph_entry *snapshot,
		     const char **ret_path, struct err *err)
{
	struct subvolume_look look;
	int found = subvolume_look(p, snapshot->source, &look, err);

	if (found < 0)
		return -1;
	if (found > 0 && look.state == SUBVOLUME_WHOLE) {
		*ret_path = look.path;
		return 1;
	}
	*ret_path = snapshot->path;
	if (**ret_path == '/')
		return 1;
	(void)err_set(err, ERR_FAILED_PRECONDITION,
		      "snapshot '%s' is of subvolume '%s', which is deleted and alone could tell "
		      "where the snapshot's directory is; it can be copied (backingSnapshot: "
		      "\"false\")",
		      snapshot->image, snapshot->source);
	return 0;
}

static int read_snapshot(const struct subvolume_place *p, const char *handle,
			 struct ceph_entry *ret_entry, struct err *err)
{
	const struct ceph_journal journal = subvolume_place_journal(p, CEPH_JOURNAL_SNAPSHOTS);
	struct ceph_handle parsed;

	if (ceph_handle_parse(handle, &parsed, err) < 0 ||
	    ceph_journal_read(&journal, p->ctx, parsed.uuid, ret_entry, err) < 0)
		return -1;
	if (!*ret_entry->image || !*ret_entry->source)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the journal's entry '%s' is torn: another program has changed it",
			       parsed.uuid);
	return 0;
}

int subvolume_view_look(const struct subvolume_place *p, const char *handle,
			struct subvolume_view *ret_view, struct err *err)
{
	struct subvolume_snap_look look;
	struct ceph_entry snapshot;
	const char *path, *last;
	int rc;

	if (read_snapshot(p, handle, &snapshot, err) < 0 ||
	    (rc = subvolume_snapshot_look(p, &snapshot, &look, err)) < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, "subvolume '%s' has no snapshot '%s'",
			       snapshot.source, snapshot.image);
	rc = find_path(p, &snapshot, &path, err);
	if (rc <= 0)
		return rc;
	last = strrchr(path, '/') + 1;
	*ret_view = (struct subvolume_view){
		.root = arena_strndup(p->ctx->arena, path, (size_t)(last - path)),
		.inside = arena_printf(p->ctx->arena, ".snap/%s/%s", snapshot.image, last),
		.bytes = look.bytes,
		.created_ns = look.created_ns,
	};
	return 1;
}

static int check_wish(const struct backend_spec *spec, struct err *err)
{
	if (spec->source_kind != BACKEND_SOURCE_SNAPSHOT)
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"parameters: backingSnapshot: 'true' is for volumes of a snapshot, and "
			"this one is %s; use a class without it",
			spec->source_kind == BACKEND_SOURCE_NONE ? "to be empty" : "to be a clone");
	if (!spec->is_read_only)
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"parameters: backingSnapshot: 'true' is for volumes that are only read, "
			"and another access mode is asked; ask for ReadOnlyMany, or use a class "
			"without it");
	return 0;
}

/* What an earlier call has begun goes on as it was begun. 1: a view, or nothing; 0: a copy. */
static int find_begun(const struct subvolume_place *p, const struct backend_spec *spec,
		      bool is_wanted, struct err *err)
{
	const struct ceph_journal journal = subvolume_place_journal(p, CEPH_JOURNAL_VOLUMES);
	struct ceph_entry entry;

	if (ceph_journal_find(&journal, p->ctx, spec->name, &entry, err) < 0)
		return err->code == ERR_NOT_FOUND ? 1 : -1;
	if (!*entry.image || *entry.backing)
		return 1;
	return is_wanted ? err_set(err, ERR_ALREADY_EXISTS,
				   "it exists and is a subvolume of its own; now one that shows a "
				   "snapshot is asked")
			 : 0;
}

static int find_source(const struct subvolume_place *p, const struct backend_spec *spec,
		       struct subvolume_view *ret_view, struct err *err)
{
	struct ceph_handle handle;
	struct ceph_entry entry;

	if (ceph_handle_parse(spec->source, &handle, err) < 0 ||
	    subvolume_place_find(p, &handle, CEPH_JOURNAL_SNAPSHOTS, spec->secrets, &entry, err) <
		    0)
		return -1;
	return subvolume_view_look(p, spec->source, ret_view, err);
}

int subvolume_view_choose(const struct subvolume_place *p, const struct backend_spec *spec,
			  const struct ceph_fs_params *params, struct subvolume_view *ret_view,
			  struct err *err)
{
	bool is_wanted = params->backing == CEPH_FS_BACKING_ALWAYS;
	int rc;

	if (is_wanted && check_wish(spec, err) < 0)
		return -1;
	if (params->backing == CEPH_FS_BACKING_NEVER || !spec->is_read_only ||
	    spec->source_kind != BACKEND_SOURCE_SNAPSHOT)
		return 0;
	rc = find_begun(p, spec, is_wanted, err);
	if (rc <= 0)
		return rc;
	rc = find_source(p, spec, ret_view, err);
	if (rc > 0)
		return 1;
	/* one that cannot be shown is copied, unless that is not what the class says */
	return rc == 0 && !is_wanted ? 0 : err_wrap(err, "source '%s'", spec->source);
}

/* The snapshot may have gone before it knew of the volume. */
static int refer(const struct subvolume_place *p, const char *handle, const char *volume,
		 struct err *err)
{
	struct subvolume_view view;
	struct err ignored;

	if (backing_add(p, handle, volume, err) < 0)
		return -1;
	if (subvolume_view_look(p, handle, &view, err) >= 0)
		return 0;
	if (err->code == ERR_NOT_FOUND)
		(void)backing_drop(p, handle, volume, subvolume_snapshot_remove_entry, &ignored);
	return -1;
}

int subvolume_view_make(const struct subvolume_place *p, const struct backend_spec *spec,
			const struct ceph_fs_params *params, struct ceph_entry *ret_entry,
			struct err *err)
{
	const struct ceph_journal journal = subvolume_place_journal(p, CEPH_JOURNAL_VOLUMES);
	const struct ceph_reservation what = { .name = spec->name,
					       .prefix = params->prefix,
					       .source = "",
					       .owner = params->owner,
					       .backing = spec->source,
					       .pool_id = -1 };
	struct ceph_entry entry;
	struct err ignored;

	if (ceph_journal_reserve(&journal, p->ctx, &what, &entry, err) < 0 ||
	    subvolume_entry_check(&entry, spec->name, err) < 0)
		return -1;
	if (!str_is_equal(entry.backing, spec->source))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "it exists and shows '%s'; now '%s' is asked",
			       str_or(entry.backing, "no snapshot"), spec->source);
	if (refer(p, spec->source, entry.image, err) < 0) {
		if (err->code == ERR_NOT_FOUND && entry.is_new) /* nobody would come for it */
			(void)ceph_journal_forget(&journal, p->ctx, entry.uuid, entry.name,
						  &ignored);
		return err_wrap(err, "source '%s'", spec->source);
	}
	*ret_entry = entry;
	return 0;
}

int subvolume_view_remove(const struct subvolume_place *p, const struct ceph_entry *entry,
			  struct err *err)
{
	return *entry->image ? backing_drop(p, entry->backing, entry->image,
					    subvolume_snapshot_remove_entry, err)
			     : 0;
}
