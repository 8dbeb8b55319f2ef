/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl ceph audit - a pool of Ceph's, or a filesystem, its journal and the cluster, beside
 * each other
 *
 * What is told: entries of the journal without their image, images without an entry, and what of
 * either no PersistentVolume or VolumeSnapshotContent names. Reads everything, changes nothing, but
 * with --yes: then names whose image or entry is gone, and that no object names, become free again.
 * It asks the cluster with the Secret that the classes name, and runs where that may be read, as in
 * the provisioner's pod.
 */
#include <string.h>

#include "backend/cephfs/audit.h"
#include "backend/rbd/audit.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cmd/ctl.h"
#include "cmd/table.h"
#include "control/core.h"
#include "control/list.h"
#include "control/secrets.h"
#include "control/snapshots.h"

struct line {
	const char *what, *kind, *name, *image, *handle, *object, *advice;
};

struct audit {
	struct ctl *ctl;
	const struct kube_type *type; /* of the objects that are being read */
	struct map *objects;          /* handle → "PV/NAME" */
	VEC(struct line) lines;
	struct ceph_audited done;
	uint64_t n_unused;
};

static const struct {
	const char *what, *advice, *of_filesystems; /* NULL: the same advice */
} troubles[CEPH_TROUBLES] = {
	[CEPH_TROUBLE_NONE] = { "unused",
				"nothing in this cluster names it; a PersistentVolume of another "
				"cluster may" },
	[CEPH_TROUBLE_UNFINISHED] = { "unfinished",
				      "the same CreateVolume or CreateSnapshot ends it; or "
				      "deleting what it is for" },
	[CEPH_TROUBLE_NO_IMAGE] = { "no image",
				    "delete the object that names it, then --yes frees the name" },
	[CEPH_TROUBLE_NO_OBJECT] = { "no entry", "--yes frees the name" },
	[CEPH_TROUBLE_NO_ENTRY] = { "no name", "look into it, then: rbd trash mv",
				    "look into it, then: ceph fs subvolume rm, or snapshot rm" },
	[CEPH_TROUBLE_NO_COUNT] = { "no count",
				    "its snapshot may be deleted under it; --yes counts it" },
	[CEPH_TROUBLE_GOING] = { "going", "it was deleted, and Ceph's manager removes it by and "
					  "by; if it stays, --yes tells it so once more" },
};

/* ---- objects ---- */

static void keep(struct audit *a, const char *handle, const struct kube_object *o)
{
	if (!str_is_empty(handle))
		(void)map_put(a->objects, handle,
			      arena_printf(a->ctl->ctx->arena, "%s/%s", o->type->kind, o->name));
}

static int see(void *arg, const struct json *item)
{
	struct audit *a = arg;
	autokobj const struct kube_object *o = kube_object_decode(a->type, item);

	if (o && a->type == &core_pv_type) {
		keep(a, core_pv_of(o)->handle, o);
	} else if (o) {
		keep(a, snapshot_content_of(o)->handle, o);
		keep(a, snapshot_content_of(o)->source_handle, o);
	}
	return 0;
}

static int read_objects(struct audit *a, struct err *err)
{
	static const struct kube_type *const types[] = { &core_pv_type, &snapshot_content_type };

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		a->type = types[i];
		if (list_each(a->ctl->kube, a->ctl->ctx, types[i], NULL, see, a, err) < 0 &&
		    (i == 0 || err->code != ERR_NOT_FOUND)) /* no CRDs, none of these */
			return -1;
	}
	return 0;
}

/* ---- findings ---- */

/* NULL: none names it. */
static const char *find_object(const struct audit *a, const struct ceph_finding *f)
{
	const char *object = *f->handle ? map_find(a->objects, f->handle) : NULL;

	for (size_t i = 0; i < f->n_also && !object; i++)
		object = map_find(a->objects, f->also[i]);
	return object;
}

static bool is_of_filesystem(const struct audit *a)
{
	return !str_is_empty(a->ctl->opts->fs_name);
}

/* Where no entry is, only that it is an image is known, or what a filesystem says it is. */
static const char *kind_of(const struct audit *a, const struct ceph_finding *f)
{
	if (f->trouble == CEPH_TROUBLE_NO_ENTRY && f->kind == VOL_KIND_VOLUME)
		return is_of_filesystem(a) ? "subvolume" : "image";
	return f->kind == VOL_KIND_SNAPSHOT ? "snapshot" : "volume";
}

static const char *advice_of(const struct audit *a, enum ceph_trouble trouble)
{
	const char *other = troubles[trouble].of_filesystems;

	return is_of_filesystem(a) && other ? other : troubles[trouble].advice;
}

/* A name is not freed that an object has; a reference may be added for any. */
static int take_finding(void *arg, const struct ceph_finding *f, struct err *err)
{
	struct audit *a = arg;
	struct arena *arena = a->ctl->ctx->arena;
	const char *object = find_object(a, f);

	(void)err;
	if (f->trouble == CEPH_TROUBLE_NONE && object)
		return 0;
	a->n_unused += f->trouble == CEPH_TROUBLE_NONE;
	vec_push(&a->lines, ((struct line){
				    .what = troubles[f->trouble].what,
				    .kind = kind_of(a, f),
				    .name = arena_strdup(arena, f->name),
				    .image = arena_strdup(arena, f->image),
				    .handle = arena_strdup(arena, f->handle),
				    .object = str_or(object, ""),
				    .advice = advice_of(a, f->trouble),
			    }));
	return a->ctl->opts->yes && (!object || f->trouble == CEPH_TROUBLE_NO_COUNT);
}

/* ---- the answer ---- */

static void print_table(struct audit *a)
{
	static const char *const headings[] = {
		"WHAT", "KIND", "NAME", "IMAGE", "OBJECT", "WAY OUT"
	};
	struct table *t = table_new(headings, ARRAY_LEN(headings));

	for (size_t i = 0; i < a->lines.n; i++) {
		const struct line *l = &a->lines.v[i];

		table_row(t, (const char *const[]){ l->what, l->kind, *l->name ? l->name : NULL,
						    *l->image ? l->image : NULL,
						    *l->object ? l->object : NULL, l->advice });
	}
	if (a->lines.n > 0)
		table_print(t, a->ctl->out);
	table_free(t);
	str_appendf(a->ctl->out,
		    "%llu entries, %llu images; %llu do not fit, %llu of them mended; %llu that no "
		    "object names\n",
		    (unsigned long long)a->done.n_entries, (unsigned long long)a->done.n_images,
		    (unsigned long long)a->done.n_troubles, (unsigned long long)a->done.n_mended,
		    (unsigned long long)a->n_unused);
}

static void put_line(struct json_writer *w, const struct line *l)
{
	json_begin_object(w);
	json_field_string(w, "what", l->what);
	json_field_string(w, "kind", l->kind);
	json_field_string(w, "name", l->name);
	json_field_string(w, "image", l->image);
	json_field_string(w, "handle", l->handle);
	json_field_string(w, "object", l->object);
	json_end_object(w);
}

static void print_json(struct audit *a)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	json_begin_object(&w);
	json_field_u64(&w, "entries", a->done.n_entries);
	json_field_u64(&w, "images", a->done.n_images);
	json_field_u64(&w, "mended", a->done.n_mended);
	json_key(&w, "items");
	json_begin_array(&w);
	for (size_t i = 0; i < a->lines.n; i++)
		put_line(&w, &a->lines.v[i]);
	json_end_array(&w);
	json_end_object(&w);
	ctl_print_document(a->ctl, &json);
}

static void print(struct audit *a)
{
	switch (a->ctl->output) {
	case CTL_TABLE:
		print_table(a);
		break;
	case CTL_JSON:
	case CTL_YAML:
		print_json(a);
		break;
	case CTL_ID:
		for (size_t i = 0; i < a->lines.n; i++)
			str_appendf(a->ctl->out, "%s\n",
				    str_or(a->lines.v[i].handle, a->lines.v[i].image));
		break;
	}
}

/* ---- the verb ---- */

static int read_secret(struct ctl *ctl, struct secrets *ret, struct err *err)
{
	const char *slash = strchr(ctl->opts->secret, '/');
	const struct secret_ref ref = {
		.ns = slash ? arena_strndup(ctl->ctx->arena, ctl->opts->secret,
					    (size_t)(slash - ctl->opts->secret))
			    : ctl->ns,
		.name = slash ? slash + 1 : ctl->opts->secret,
	};

	return secret_fetch(ctl->kube, ctl->ctx, &ref, ret, err);
}

static int look(struct audit *a, const struct secrets *secrets, struct err *err)
{
	const struct ctl_options *o = a->ctl->opts;
	const char *instance = str_or(o->journal_instance, "");
	const struct rbd_audit pool = { .config_dir = o->config_dir,
					.instance = instance,
					.cluster = o->ceph_cluster,
					.pool = o->pool,
					.secrets = secrets };
	const struct cephfs_audit fs = { .config_dir = o->config_dir,
					 .instance = instance,
					 .cluster = o->ceph_cluster,
					 .fs_name = o->fs_name,
					 .secrets = secrets };

	return is_of_filesystem(a) ? cephfs_audit(a->ctl->ctx, &fs, take_finding, a, &a->done, err)
				   : rbd_audit(a->ctl->ctx, &pool, take_finding, a, &a->done, err);
}

static int run_audit(struct ctl *ctl, struct err *err)
{
	struct audit a = { .ctl = ctl, .lines = VEC_INIT, .objects = map_new() };
	struct secrets secrets = { .map = STRMAP_EMPTY };
	int r;

	r = read_secret(ctl, &secrets, err) < 0 || read_objects(&a, err) < 0
		    ? -1
		    : look(&a, &secrets, err);
	if (r == 0)
		print(&a);
	vec_done(&a.lines);
	map_free(a.objects);
	return r;
}

static int check_place(const struct ctl_options *opts, struct err *err)
{
	if (str_is_empty(opts->pool) != str_is_empty(opts->fs_name))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "ceph audit needs one of --pool and --fs-name: a pool of images, or a "
		       "filesystem");
}

/* clang-format off */
const struct ctl_verb ctl_ceph_verbs[] = {
	{ .group = "ceph", .name = "audit", .needs = "ceph-cluster,secret", .takes = "pool,fs-name,config-dir,journal-instance,yes", .reads_cluster = true,
	  .asks_no_driver = true, .check = check_place, .run = run_audit,
	  .summary = "What the journal of a pool, or of a filesystem, its images and the cluster tell of each other that does not fit." },
	{ .name = NULL },
};
/* clang-format on */
