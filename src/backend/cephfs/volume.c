/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: an entry of ceph-csi's journal, which is in the metadata pool, and a subvolume.
 *
 *   create:         entry ──► subvolume ──► metadata
 *   copy of S:      entry ──► clone of S's snapshot (the manager copies, minutes long) ──► size ──►
 *                   metadata, of which cleat/source is the last
 *   copy of V:      entry ──► snapshot of V of the new one's name ──► clone … ──► without that
 *                   snapshot ──► metadata
 *   view of S:      nothing of this (view.h)
 *   remove:         subvolume ──► entry
 *
 * The entry comes first and goes last, so whatever a killed call has made can be found by it again.
 * It says of what a copy is made ("SUBVOLUME/SNAPSHOT", or "SUBVOLUME" whose snapshot is named as
 * the copy is), so a snapshot that was cut for a copy which nobody waits for goes with the entry,
 * and no subvolume is taken for a copy that was begun as something else.
 * While the manager copies, each call answers ABORTED and how far it is; the same call again goes
 * on from there. A copy that failed is removed, and begun anew by the next call.
 *
 * A subvolume with snapshots stays without its data's name until the last of them goes: such a one
 * under an entry is what a removal was killed behind, and its name is free.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "backend/cephfs/backing.h"
#include "backend/cephfs/subvolume.h"
#include "backend/cephfs/view.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

/* A copy may become complete between one look and the next. */
#define LOOKS 2
#define LOOK_AGAIN_MS 200

struct making {
	const struct backend_spec *spec;
	struct ceph_fs_params params;
	struct subvolume_place place;
	struct ceph_journal journal;
	struct ceph_entry entry;
	struct subvolume_look look; /* once it is whole */
	bool has_failed;            /* the copy, which is removed */
	bool is_retry;              /* a call that was killed, failed or went on may have begun */
	/* What it is made of: */
	struct ceph_entry source; /* volume or snapshot */
	const char *from;         /* a snapshot of this subvolume; NULL: it is not there any more */
	const char *made_of;      /* as the entry has it; "" */
	struct err why_not;       /* from is NULL */
	struct subvolume_view view; /* root NULL: it is none */
};

static struct strmap make_context(const struct making *m)
{
	struct arena *a = m->place.ctx->arena;
	struct strmap context = STRMAP_EMPTY;

	for (size_t i = 0; i < m->spec->parameters->n; i++) {
		const struct strpair *pair = &m->spec->parameters->v[i];

		if (!str_has_prefix(pair->key, SUBVOLUME_KUBERNETES))
			context = strmap_with(a, &context, pair->key, pair->value);
	}
	context = strmap_with(a, &context, "subvolumeName", m->entry.image);
	if (m->view.root) {
		context = strmap_with(a, &context, VIEW_ID_KEY, m->spec->source);
		context = strmap_with(a, &context, VIEW_INSIDE_KEY, m->view.inside);
	}
	return strmap_with(a, &context, "subvolumePath", m->look.path);
}

static void fill_made(struct making *m, struct backend_volume *ret_vol)
{
	subvolume_fill(&m->place, &m->entry, &m->look, ret_vol);
	ret_vol->source_kind = m->spec->source_kind;
	if (m->spec->source_kind != BACKEND_SOURCE_NONE)
		(void)snprintf(ret_vol->source, sizeof(ret_vol->source), "%s", m->spec->source);
	ret_vol->context = make_context(m);
}

static bool is_copy(const struct making *m)
{
	return m->spec->source_kind != BACKEND_SOURCE_NONE;
}

static int reserve(struct making *m, struct err *err)
{
	const struct ceph_reservation what = { .name = m->spec->name,
					       .prefix = m->params.prefix,
					       .source = m->made_of,
					       .owner = m->params.owner,
					       .pool_id = -1 };

	if (ceph_journal_reserve(&m->journal, m->place.ctx, &what, &m->entry, err) < 0)
		return -1;
	m->is_retry = !m->entry.is_new;
	return subvolume_entry_check(&m->entry, m->spec->name, err);
}

/* ---- what it is made of ---- */

static const char *snap_of(const struct making *m)
{
	return m->spec->source_kind == BACKEND_SOURCE_SNAPSHOT ? m->source.image : m->entry.image;
}

static int find_source(struct making *m, struct err *err)
{
	bool is_snapshot = m->spec->source_kind == BACKEND_SOURCE_SNAPSHOT;
	struct ceph_handle handle;

	if (ceph_handle_parse(m->spec->source, &handle, err) < 0 ||
	    subvolume_place_find(&m->place, &handle,
				 is_snapshot ? CEPH_JOURNAL_SNAPSHOTS : CEPH_JOURNAL_VOLUMES,
				 m->spec->secrets, &m->source, err) < 0)
		return -1;
	if (!*m->source.image || (is_snapshot && !*m->source.source))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the journal's entry '%s' is torn: another program has changed it",
			       handle.uuid);
	if (*m->source.backing)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "it shows snapshot '%s' and has nothing of its own; make volumes of "
			       "that one",
			       m->source.backing);
	m->from = is_snapshot ? m->source.source : m->source.image;
	m->made_of = is_snapshot
			     ? arena_printf(m->place.ctx->arena, "%s/%s", m->from, m->source.image)
			     : m->from;
	return 0;
}

/* 0: not told any more. */
static int source_bytes(const struct making *m, uint64_t *ret_bytes, struct err *err)
{
	struct subvolume_look look;
	const char *kept = "";
	int found;

	*ret_bytes = 0;
	if (m->spec->source_kind == BACKEND_SOURCE_SNAPSHOT &&
	    subvolume_get_word(&m->place, m->from, snap_of(m), SUBVOLUME_BYTES_WORD, &kept, err) <
		    0)
		return -1;
	if (*kept && str_parse_u64(kept, ret_bytes) == 0)
		return 0;
	found = subvolume_look(&m->place, m->from, &look, err);
	if (found < 0)
		return -1;
	if (m->spec->source_kind == BACKEND_SOURCE_VOLUME && found > 0 &&
	    look.state == SUBVOLUME_COPYING)
		return err_set(err, ERR_ABORTED, "it is itself being copied");
	if (m->spec->source_kind == BACKEND_SOURCE_VOLUME &&
	    (!found || look.state == SUBVOLUME_RETAINED))
		return err_set(err, ERR_NOT_FOUND, "its subvolume '%s' is not there", m->from);
	*ret_bytes = found > 0 ? look.bytes : 0;
	return 0;
}

static int check_size(const struct making *m, uint64_t bytes, struct err *err)
{
	if (m->spec->bytes && m->spec->bytes < bytes)
		return err_set(err, ERR_OUT_OF_RANGE,
			       "it has %llu bytes, and the volume is to have %llu; ask for at "
			       "least as many",
			       (unsigned long long)bytes, (unsigned long long)m->spec->bytes);
	return 0;
}

static int check_snapshot(const struct making *m, struct err *err)
{
	struct subvolume_snap_look snap;
	int found = subvolume_look_snap(&m->place, m->from, snap_of(m), &snap, err);
	int is_masked = found > 0 ? backing_is_masked(&m->place, m->spec->source, err) : 0;

	if (found < 0 || is_masked < 0)
		return -1;
	return found && !is_masked
		       ? 0
		       : err_set(err, ERR_NOT_FOUND, "subvolume '%s' has no snapshot '%s'%s",
				 m->from, snap_of(m), is_masked ? " that is not deleted" : "");
}

static int check_source(const struct making *m, struct err *err)
{
	uint64_t bytes;

	if ((m->spec->source_kind == BACKEND_SOURCE_SNAPSHOT && check_snapshot(m, err) < 0) ||
	    source_bytes(m, &bytes, err) < 0)
		return -1;
	return check_size(m, bytes, err);
}

static int begin_copy(struct making *m, struct err *err)
{
	bool is_volume = m->spec->source_kind == BACKEND_SOURCE_VOLUME;

	if (check_source(m, err) < 0)
		return -1;
	/* what a killed call has cut is not how the volume is now */
	if (is_volume && m->is_retry &&
	    subvolume_drop_snap(&m->place, m->from, snap_of(m), err) < 0)
		return -1;
	if (is_volume && subvolume_snap(&m->place, m->from, snap_of(m), err) < 0)
		return -1;
	return subvolume_clone(&m->place, m->from, snap_of(m), m->entry.image, m->params.pool, err);
}

static int drop_failed(struct making *m, const char *why, struct err *err)
{
	if (subvolume_discard(&m->place, m->entry.image, err) < 0)
		return -1;
	m->has_failed = true;
	return err_set(err, ERR_ABORTED,
		       "the cluster's manager could not copy it: %s; it is begun anew when asked "
		       "again",
		       str_or(why, "it was stopped"));
}

/* 0: it is done. */
static int await_copy(struct making *m, struct err *err)
{
	struct subvolume_copying copying;

	if (subvolume_copying(&m->place, m->entry.image, &copying, err) < 0)
		return -1;
	if (copying.state != COPYING_DONE && is_copy(m) &&
	    (!str_is_equal(copying.source, m->from) || !str_is_equal(copying.snap, snap_of(m))))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "subvolume '%s' exists and is being made of snapshot '%s' of '%s'",
			       m->entry.image, copying.snap, copying.source);
	if (copying.state == COPYING_DONE)
		return 0;
	if (!is_copy(m))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "subvolume '%s' exists and is being made of snapshot '%s' of '%s'; "
			       "now none is asked",
			       m->entry.image, copying.snap, copying.source);
	if (copying.state == COPYING_FAILED)
		return drop_failed(m, copying.why, err);
	return err_set(err, ERR_ABORTED,
		       "the cluster's manager is copying it%s%s; the same call again tells when it "
		       "is done",
		       *copying.progress ? ", " : "", copying.progress);
}

static int look_whole(struct making *m, struct err *err)
{
	for (int i = 0; i < LOOKS; i++) {
		int found = subvolume_look(&m->place, m->entry.image, &m->look, err);

		if (found < 0)
			return -1;
		if (!found || m->look.state == SUBVOLUME_RETAINED)
			return err_set(err, ERR_ABORTED, "subvolume '%s' was removed meanwhile",
				       m->entry.image);
		if (m->look.state == SUBVOLUME_WHOLE)
			return 0;
		if (await_copy(m, err) < 0)
			return -1;
	}
	return err_set(err, ERR_ABORTED, "subvolume '%s' is complete and is not ready yet",
		       m->entry.image);
}

/* Of a copy that this call has begun. */
static int look_for_some_time(struct making *m, struct err *err)
{
	struct ctx *ctx = m->place.ctx;
	int64_t left_ns = ctx_remaining_ns(ctx) / 2;
	int64_t wait_ns = m->place.subvolumes->copy_wait_ns;
	int64_t until_ns = clock_now_ns() + (left_ns < wait_ns ? left_ns : wait_ns);

	while (look_whole(m, err) < 0) {
		struct pollfd fd = { .fd = ctx_cancel_fd(ctx), .events = POLLIN };

		if (err->code != ERR_ABORTED || m->has_failed || clock_now_ns() >= until_ns)
			return -1;
		(void)poll(&fd, 1, LOOK_AGAIN_MS);
		if (ctx_check(ctx, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- and what is done when it is there ---- */

static int set_words(const struct making *m, struct err *err)
{
	const struct subvolume_word words[] = {
		{ SUBVOLUME_CLUSTER_WORD, m->place.subvolumes->ceph.cluster_name },
		{ SUBVOLUME_KUBERNETES "pv/name", m->params.volume },
		{ SUBVOLUME_KUBERNETES "pvc/name", m->params.claim },
		{ SUBVOLUME_KUBERNETES "pvc/namespace", m->params.owner },
	};

	return m->place.subvolumes->ceph.keeps_names
		       ? subvolume_set_words(&m->place, m->entry.image, NULL, words,
					     ARRAY_LEN(words), err)
		       : 0;
}

static int finish_copy(struct making *m, struct err *err)
{
	const struct subvolume_word made_of = { SUBVOLUME_SOURCE_WORD, m->spec->source };

	if (m->look.bytes < m->spec->bytes) {
		if (subvolume_resize(&m->place, m->entry.image, m->spec->bytes, err) < 0)
			return -1;
		m->look.bytes = m->spec->bytes;
	}
	if (m->spec->source_kind == BACKEND_SOURCE_VOLUME &&
	    subvolume_drop_snap(&m->place, m->from, snap_of(m), err) < 0)
		return -1;
	if (set_words(m, err) < 0)
		return -1;
	return subvolume_set_words(&m->place, m->entry.image, NULL, &made_of, 1, err);
}

/* Of one that is whole: that it was made in the way that is asked. */
static int check_way(const struct making *m, struct err *err)
{
	if (m->look.is_clone == is_copy(m))
		return 0;
	return err_set(err, ERR_ALREADY_EXISTS, "subvolume '%s' exists and is %s; now %s is asked",
		       m->entry.image, is_copy(m) ? "no copy" : "a copy",
		       is_copy(m) ? "one" : "none");
}

/* Of one that is whole. 1: it is as asked; 0: a copy that is not finished. */
static int take_whole(struct making *m, struct err *err)
{
	const char *source = is_copy(m) ? m->spec->source : "";
	const char *made_of;

	if (subvolume_get_word(&m->place, m->entry.image, NULL, SUBVOLUME_SOURCE_WORD, &made_of,
			       err) < 0)
		return -1;
	if (*made_of && !str_is_equal(made_of, source))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "subvolume '%s' exists and was made of '%s'; now '%s' is asked",
			       m->entry.image, made_of, str_or(source, "none"));
	if (check_way(m, err) < 0)
		return -1;
	if (is_copy(m))
		return *made_of ? 1 : 0;
	return set_words(m, err) < 0 ? -1 : 1;
}

static int make_empty(struct making *m, bool is_begun, struct err *err)
{
	if ((!is_begun &&
	     subvolume_make(&m->place, m->entry.image, m->spec->bytes, m->params.pool, err) < 0) ||
	    look_whole(m, err) < 0 || check_way(m, err) < 0)
		return -1;
	return set_words(m, err);
}

static int make_copy(struct making *m, bool is_begun, struct err *err)
{
	if (!m->from) {
		*err = m->why_not;
		return -1;
	}
	if ((!is_begun && begin_copy(m, err) < 0) ||
	    (is_begun ? look_whole : look_for_some_time)(m, err) < 0 || check_way(m, err) < 0 ||
	    finish_copy(m, err) < 0)
		return err_wrap(err, "source '%s'", m->spec->source);
	return 0;
}

/* The entry that this very call has made for a copy that cannot be: nobody would ever come for it.
 * Where it is in doubt it stays, for the next call. */
static void give_back(const struct making *m, const struct err *why)
{
	struct subvolume_look look;
	struct err ignored;

	if (!is_copy(m) || m->is_retry ||
	    (why->code != ERR_NOT_FOUND && why->code != ERR_INVALID_ARGUMENT &&
	     why->code != ERR_OUT_OF_RANGE) ||
	    subvolume_look(&m->place, m->entry.image, &look, &ignored) != 0)
		return;
	(void)subvolume_forget(&m->journal, &m->place, &m->entry, &ignored);
}

/* Of a copy whose source is gone: one that was finished before is there all the same. */
static int find_entry(struct making *m, struct err *err)
{
	if (ceph_journal_find(&m->journal, m->place.ctx, m->spec->name, &m->entry, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			*err = m->why_not;
		return -1;
	}
	m->is_retry = true;
	return subvolume_entry_check(&m->entry, m->spec->name, err);
}

static int open_entry(struct making *m, struct err *err)
{
	m->made_of = "";
	if (!is_copy(m) || find_source(m, err) == 0)
		return reserve(m, err);
	(void)err_wrap(err, "source '%s'", m->spec->source);
	if (err->code != ERR_NOT_FOUND)
		return -1;
	m->why_not = *err;
	return find_entry(m, err);
}

/* ceph-csi, and an entry of no copy, do not say. */
static int check_entry(const struct making *m, struct err *err)
{
	if (*m->entry.backing)
		return err_set(
			err, ERR_ALREADY_EXISTS,
			"it exists and shows snapshot '%s'; now a volume of its own is asked",
			m->entry.backing);
	if (!*m->entry.source || (is_copy(m) && !m->from) ||
	    str_is_equal(m->entry.source, m->made_of))
		return 0;
	return err_set(err, ERR_ALREADY_EXISTS, "it exists and is made of '%s'; now '%s' is asked",
		       m->entry.source, str_or(m->made_of, "none"));
}

/* 1: it is there, perhaps not whole. 0: it is to be made under the entry. */
static int look_for_subvolume(struct making *m, struct err *err)
{
	int found =
		m->is_retry ? subvolume_look_to_make(&m->place, m->entry.image, &m->look, err) : 0;

	if (found <= 0 || m->look.state != SUBVOLUME_RETAINED)
		return found;
	if (is_copy(m) && !m->from) {
		*err = m->why_not;
		return -1;
	}
	return subvolume_forget(&m->journal, &m->place, &m->entry, err) < 0 ? -1 : reserve(m, err);
}

static int make(struct making *m, bool is_begun, struct err *err)
{
	int rc = is_begun && m->look.state == SUBVOLUME_WHOLE ? take_whole(m, err) : 0;

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	return is_copy(m) ? make_copy(m, is_begun, err) : make_empty(m, is_begun, err);
}

static int create_view(struct making *m, struct err *err)
{
	uint64_t bytes = m->view.bytes;

	if (check_size(m, bytes, err) < 0)
		return err_wrap(err, "source '%s'", m->spec->source);
	if (subvolume_view_make(&m->place, m->spec, &m->params, &m->entry, err) < 0)
		return -1;
	m->look = (struct subvolume_look){ .bytes = m->spec->bytes > bytes ? m->spec->bytes : bytes,
					   .path = m->view.root,
					   .created_ns = m->view.created_ns };
	return 0;
}

static int create(struct making *m, struct err *err)
{
	int is_view = subvolume_view_choose(&m->place, m->spec, &m->params, &m->view, err);
	int found;

	if (is_view != 0)
		return is_view < 0 ? -1 : create_view(m, err);
	m->journal = subvolume_place_journal(&m->place, CEPH_JOURNAL_VOLUMES);
	if (open_entry(m, err) < 0)
		return -1;
	found = look_for_subvolume(m, err);
	if (found < 0 || check_entry(m, err) < 0)
		return -1;
	if (make(m, found > 0, err) == 0)
		return 0;
	give_back(m, err);
	return -1;
}

int subvolume_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		     struct backend_volume *ret_vol, struct err *err)
{
	struct making m = { .spec = spec };
	int rc;

	if (ceph_fs_params_parse(spec->parameters, &m.params, err) < 0 ||
	    subvolume_place_open(subvolumes_of(b), ctx, m.params.cluster, m.params.fs_name,
				 spec->secrets, &m.place, err) < 0)
		return -1;
	rc = create(&m, err);
	if (rc == 0)
		fill_made(&m, ret_vol);
	subvolume_place_close(&m.place);
	return rc;
}
