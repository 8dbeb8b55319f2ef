/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides of a pool, beside each other.
 *
 *   images ──► directory ──► its entries, each with its image ──► images that none has named
 *
 * Nothing stands still meanwhile, so whatever seems to be missing is looked for once more by its
 * name before it is told: an image that was made after the list, an entry that was forgotten since.
 *
 * Mended is the journal alone: a name whose image is gone for good, or whose entry is, is free
 * again. An image may hold somebody's data, whoever lost its name; removing it is a person's word
 * to Ceph, not to us.
 */
#include "backend/rbd/audit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/rbd/image.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

#define LIST_GUESS 256
#define TRIES 8 /* for a pool that fills meanwhile */

struct named {
	const char *name, *uuid;
};

struct audit {
	struct image_place place;
	struct ceph_candidates places; /* how handles may call the pool; its own first */
	struct map *images;            /* of our names; value: seen, or unseen */
	ceph_finding_fn fn;
	void *arg;
	struct ceph_audited done;
	VEC(struct named) names; /* of one directory */
};

/* What the map's values point to. */
static char unseen, seen;

static int list_images(const struct image_place *p, rbd_image_spec_t **ret_list, size_t *ret_n)
{
	rbd_image_spec_t *list = NULL;
	size_t n = LIST_GUESS;
	int rc = -ERANGE;

	for (int i = 0; i < TRIES && rc == -ERANGE; i++) {
		free(list);
		list = xcalloc(n + 1, sizeof(*list));
		rc = p->lib->rbd_list2(p->io, list, &n);
	}
	if (rc < 0) {
		free(list);
		return rc;
	}
	*ret_list = list;
	*ret_n = n;
	return 0;
}

static int read_images(struct audit *a, struct err *err)
{
	const struct image_place *p = &a->place;
	rbd_image_spec_t *list;
	size_t n;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = list_images(p, &list, &n);
	if (rc < 0)
		return ceph_conn_failed(p->conn, rc, err, "list the images of '%s'",
					image_spec(p, ""));
	for (size_t i = 0; i < n; i++) {
		if (*image_uuid_in_name(p->ctx->arena, list[i].name))
			(void)map_put(a->images, list[i].name, &unseen);
	}
	p->lib->rbd_image_spec_list_cleanup(list, n);
	free(list);
	a->done.n_images = map_count(a->images);
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

static void see_image(struct audit *a, const char *name)
{
	const char *temp = image_temp_name(a->place.ctx->arena, name);

	if (map_find(a->images, name))
		(void)map_put(a->images, name, &seen);
	if (map_find(a->images, temp)) /* the hidden parent of a clone */
		(void)map_put(a->images, temp, &seen);
}

static enum ceph_trouble judge(const struct ceph_entry *entry, bool has_image)
{
	if (!*entry->image_id)
		return CEPH_TROUBLE_UNFINISHED;
	return has_image ? CEPH_TROUBLE_NONE : CEPH_TROUBLE_NO_IMAGE;
}

/* 1, or 0 where there is no such image now. */
static int look_for_image(struct audit *a, const struct ceph_entry *entry, struct err *err)
{
	const char *name = entry->image;
	struct image_look look;

	if (image_snapshot_stays(entry))
		return image_snapshot_look(&a->place, entry, &look, err);
	if (map_find(a->images, name))
		return 1;
	return *name ? image_look_maybe(&a->place, name, 0, &look, err) : 0;
}

static int tell(struct audit *a, const struct ceph_journal *j, const struct ceph_finding *f,
		const char *uuid, struct err *err)
{
	int wanted;

	a->done.n_troubles += f->trouble != CEPH_TROUBLE_NONE;
	wanted = a->fn(a->arg, f, err);
	if (wanted <= 0 || !f->can_mend)
		return wanted < 0 ? -1 : 0;
	if (ceph_journal_forget(j, a->place.ctx, uuid, f->name, err) < 0)
		return -1;
	a->done.n_mended++;
	return 0;
}

/* Read again last, since it may have been forgotten since its directory was. */
static int tell_entry(struct audit *a, const struct ceph_journal *j, struct ceph_finding *f,
		      const struct named *n, struct err *err)
{
	struct ceph_entry entry;

	if (f->trouble == CEPH_TROUBLE_NONE)
		return tell(a, j, f, n->uuid, err);
	if (ceph_journal_find(j, a->place.ctx, n->name, &entry, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!str_is_equal(entry.uuid, n->uuid))
		return 0;
	f->can_mend = f->trouble == CEPH_TROUBLE_NO_IMAGE || f->trouble == CEPH_TROUBLE_NO_OBJECT;
	return tell(a, j, f, n->uuid, err);
}

struct handles {
	char text[CEPH_CANDIDATES_MAX][VOL_TOKEN_MAX];
	const char *v[CEPH_CANDIDATES_MAX];
};

/* All that may name it; the pool's own first. */
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
	int has_image;

	make_handles(a, n->uuid, &handles);
	if (ceph_journal_read(j, a->place.ctx, n->uuid, &entry, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -1;
		f.trouble = CEPH_TROUBLE_NO_OBJECT;
		return tell_entry(a, j, &f, n, err);
	}
	if (entry.pool_id >= 0 && entry.pool_id != a->place.pool_id)
		return 0; /* its image is in another pool */
	f.image = entry.image;
	see_image(a, image_of_snapshot(&entry));
	has_image = look_for_image(a, &entry, err);
	if (has_image < 0)
		return -1;
	f.trouble = judge(&entry, has_image > 0);
	return tell_entry(a, j, &f, n, err);
}

static int look_at_journal(struct audit *a, enum ceph_journal_kind kind, struct err *err)
{
	const struct ceph_journal j = image_place_journal(&a->place, kind);

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

/* An entry that came since the directory was read, or one that only has lost its name there. */
static int has_entry(const struct audit *a, const char *uuid, struct err *err)
{
	static const enum ceph_journal_kind kinds[] = { CEPH_JOURNAL_VOLUMES,
							CEPH_JOURNAL_SNAPSHOTS };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const struct ceph_journal j = image_place_journal(&a->place, kinds[i]);
		struct ceph_entry entry;

		if (ceph_journal_read(&j, a->place.ctx, uuid, &entry, err) == 0)
			return 1;
		if (err->code != ERR_NOT_FOUND)
			return -1;
	}
	return 0;
}

static int look_at_image(struct audit *a, const char *name, struct err *err)
{
	const struct ceph_finding f = {
		.trouble = CEPH_TROUBLE_NO_ENTRY, .name = "", .image = name, .handle = ""
	};
	struct image_look look;
	int found = has_entry(a, image_uuid_in_name(a->place.ctx->arena, name), err);

	if (found != 0)
		return found < 0 ? -1 : 0;
	found = image_look_maybe(&a->place, name, 0, &look, err);
	if (found <= 0)
		return found;
	return tell(a, NULL, &f, "", err);
}

static int look_at_rest(struct audit *a, struct err *err)
{
	const char *name;
	void *mark;

	for (size_t it = 0; map_next(a->images, &it, &name, &mark);) {
		if (ctx_check(a->place.ctx, err) < 0 ||
		    (mark == &unseen && look_at_image(a, name, err) < 0))
			return -1;
	}
	return 0;
}

static int find_places(struct audit *a, struct err *err)
{
	const struct image_place *p = &a->place;
	struct ceph_handle here = { .pool_id = p->pool_id };

	(void)snprintf(here.cluster, sizeof(here.cluster), "%s", p->cluster.id);
	ceph_config_names(p->images->ceph.config, CEPH_MAPPED_POOLS, &here, &a->places);
	if (a->places.doubt.code == ERR_OK)
		return 0;
	*err = a->places.doubt;
	err->code = ERR_FAILED_PRECONDITION;
	return err_wrap(err, "what handles of other clusters mean");
}

static int look(struct audit *a, struct err *err)
{
	return find_places(a, err) < 0 || read_images(a, err) < 0 ||
			       look_at_journal(a, CEPH_JOURNAL_VOLUMES, err) < 0 ||
			       look_at_journal(a, CEPH_JOURNAL_SNAPSHOTS, err) < 0 ||
			       look_at_rest(a, err) < 0
		       ? -1
		       : 0;
}

int rbd_audit_with(const struct ceph_lib *lib, struct ctx *ctx, const struct rbd_audit *what,
		   ceph_finding_fn fn, void *arg, struct ceph_audited *ret, struct err *err)
{
	const struct backend_config config = { .name = "audit",
					       .dir = what->config_dir,
					       .ceph = { .instance = what->instance } };
	struct backend *b = images_new(&config, lib);
	struct audit a = { .fn = fn, .arg = arg, .names = VEC_INIT };
	int rc;

	rc = image_place_open(images_of(b), ctx, what->cluster, what->pool, "", what->secrets,
			      &a.place, err);
	if (rc == 0) {
		a.images = map_new();
		rc = look(&a, err);
		map_free(a.images);
		vec_done(&a.names);
		image_place_close(&a.place);
	}
	b->ops->close(b);
	if (rc == 0)
		*ret = a.done;
	return rc;
}

int rbd_audit(struct ctx *ctx, const struct rbd_audit *what, ceph_finding_fn fn, void *arg,
	      struct ceph_audited *ret, struct err *err)
{
	return rbd_audit_with(NULL, ctx, what, fn, arg, ret, err);
}
