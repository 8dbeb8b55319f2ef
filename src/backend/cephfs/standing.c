/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that are there: what is told of them, how they grow and go. The order of steps is in
 * volume.c. */
#include <stdio.h>
#include <string.h>

#include "backend/cephfs/subvolume.h"
#include "backend/cephfs/view.h"
#include "base/str.h"

void subvolume_fill(const struct subvolume_place *p, const struct ceph_entry *entry,
		    const struct subvolume_look *look, struct backend_volume *ret_vol)
{
	*ret_vol = (struct backend_volume){
		.bytes = look->bytes,
		.fs = SUBVOLUMES_FS,
		.created_ns = look->created_ns,
		.is_read_only = *entry->backing,
	};
	subvolume_token(p, entry->uuid, ret_vol->token);
	(void)snprintf(ret_vol->name, sizeof(ret_vol->name), "%s", entry->name);
	if (strlen(entry->owner) < sizeof(ret_vol->claim_namespace))
		(void)snprintf(ret_vol->claim_namespace, sizeof(ret_vol->claim_namespace), "%s",
			       entry->owner);
}

int subvolume_forget(const struct ceph_journal *j, const struct subvolume_place *p,
		     const struct ceph_entry *entry, struct err *err)
{
	bool has_own_snapshot = *entry->source && !strchr(entry->source, '/');

	if (has_own_snapshot && *entry->image &&
	    subvolume_drop_snap(p, entry->source, entry->image, err) < 0)
		return -1;
	return ceph_journal_forget(j, p->ctx, entry->uuid, entry->name, err);
}

static int discard(const struct subvolume_entry *f, struct err *err)
{
	if (*f->entry.backing)
		return subvolume_view_remove(&f->place, &f->entry, err);
	return *f->entry.image ? subvolume_discard(&f->place, f->entry.image, err) : 0;
}

static int remove_found(const struct subvolume_entry *f, struct err *err)
{
	return discard(f, err) < 0 ? -1 : subvolume_forget(&f->journal, &f->place, &f->entry, err);
}

int subvolume_remove(struct backend *b, struct ctx *ctx, const char *token,
		     const struct secrets *secrets, struct err *err)
{
	struct subvolume_entry f;
	int rc;

	if (subvolume_is_static(token))
		return 0; /* whoever made it removes it */
	if (subvolume_entry_open(b, ctx, token, CEPH_JOURNAL_VOLUMES, secrets, &f, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	rc = remove_found(&f, err);
	subvolume_place_close(&f.place);
	return rc;
}

static int look_at_view(const struct subvolume_entry *f, struct subvolume_look *ret_look,
			struct err *err)
{
	struct subvolume_view view = { .bytes = 0 };

	if (subvolume_view_look(&f->place, f->entry.backing, &view, err) < 0)
		return err_wrap(err, "snapshot '%s'", f->entry.backing);
	*ret_look = (struct subvolume_look){ .bytes = view.bytes, .created_ns = view.created_ns };
	return 0;
}

/* NOT_FOUND: an entry without a subvolume is one of a volume that is being removed, or that nobody
 * was given yet. */
static int look_at(const struct subvolume_entry *f, struct subvolume_look *ret_look,
		   struct err *err)
{
	int found;

	if (*f->entry.backing)
		return look_at_view(f, ret_look, err);
	found = *f->entry.image ? subvolume_look(&f->place, f->entry.image, ret_look, err) : 0;

	if (found < 0)
		return -1;
	if (!found || ret_look->state == SUBVOLUME_RETAINED)
		return err_set(err, ERR_NOT_FOUND, "filesystem '%s' has no subvolume '%s'",
			       f->place.fs_name, f->entry.image);
	if (ret_look->state == SUBVOLUME_COPYING)
		return err_set(err, ERR_ABORTED, "it is being copied and not made yet");
	return 0;
}

static int grow(const struct subvolume_entry *f, uint64_t bytes, struct subvolume_look *ret_look,
		struct err *err)
{
	if (*f->entry.backing)
		return err_set(err, ERR_INVALID_ARGUMENT, "it shows snapshot '%s', and cannot grow",
			       f->entry.backing);
	if (look_at(f, ret_look, err) < 0)
		return -1;
	if (ret_look->bytes >= bytes)
		return 0;
	if (subvolume_resize(&f->place, f->entry.image, bytes, err) < 0)
		return -1;
	ret_look->bytes = bytes;
	return 0;
}

int subvolume_grow(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
		   const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	struct subvolume_look look;
	struct subvolume_entry f;
	int rc;

	if (subvolume_entry_open(b, ctx, token, CEPH_JOURNAL_VOLUMES, secrets, &f, err) < 0)
		return -1;
	rc = grow(&f, bytes, &look, err);
	if (rc == 0)
		subvolume_fill(&f.place, &f.entry, &look, ret_vol);
	subvolume_place_close(&f.place);
	return rc;
}

int subvolume_stat(struct backend *b, struct ctx *ctx, const char *token,
		   const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	struct subvolume_look look;
	struct subvolume_entry f;
	int rc;

	if (subvolume_entry_open(b, ctx, token, CEPH_JOURNAL_VOLUMES, secrets, &f, err) < 0)
		return -1;
	rc = look_at(&f, &look, err);
	if (rc == 0)
		subvolume_fill(&f.place, &f.entry, &look, ret_vol);
	subvolume_place_close(&f.place);
	return rc;
}
