/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adoption: the object that an orphan would have, made by hand. A PV is as the provisioner would
 * have written it, as far as the driver tells, with two differences: it is kept when its claim goes
 * (Retain), since whoever adopts wants the data; and it is bound to a claim by name and not by UID,
 * since the claim that it was made for is gone. Contents refer to what is there already
 * (source.snapshotHandle), as those of snapshots that were imported do.
 */
#include "control/orphan-internal.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "control/object.h"
#include "control/provision-internal.h"
#include "control/snapshots.h"

/* What the pool driver tells of the inside of a volume. */
#define CONTEXT_FS "filesystem"
#define CONTEXT_FS_NONE "none"

static void begin(struct json_writer *w, const struct kube_type *type, const char *name)
{
	json_begin_object(w);
	json_field_string(w, "apiVersion", type->group_version);
	json_field_string(w, "kind", type->kind);
	json_key(w, "metadata");
	json_begin_object(w);
	json_field_string(w, "name", name);
}

static void write_ref(struct json_writer *w, const char *key, const char *kind, const char *version,
		      const struct orphan_adoption *how)
{
	json_key(w, key);
	json_begin_object(w);
	json_field_string(w, "apiVersion", version);
	json_field_string(w, "kind", kind);
	json_field_string(w, "namespace", how->ns);
	json_field_string(w, "name", how->name);
	json_end_object(w);
}

/* ---- volumes ---- */

static bool is_block(const struct orphan *o, const struct orphan_adoption *how)
{
	return how->is_block ||
	       (str_is_empty(how->fs) &&
		str_is_equal(strmap_find(&o->context, CONTEXT_FS), CONTEXT_FS_NONE));
}

static void write_csi(struct json_writer *w, const struct orphan_look *look, const struct orphan *o,
		      const struct orphan_adoption *how)
{
	const char *fs = str_or(how->fs, str_or(strmap_find(&o->context, CONTEXT_FS), ""));

	json_key(w, "csi");
	json_begin_object(w);
	json_field_string(w, "driver", look->driver);
	json_field_string(w, "volumeHandle", o->id);
	if (!is_block(o, how) && *fs && !str_is_equal(fs, CONTEXT_FS_NONE))
		json_field_string(w, "fsType", fs);
	json_key(w, "volumeAttributes");
	json_put_strmap(w, &o->context);
	json_end_object(w);
}

static void write_volume(struct json_writer *w, const struct orphan_look *look,
			 const struct orphan *o, const struct orphan_adoption *how)
{
	char capacity[NUM_QUANTITY_MAX];

	begin(w, orphan_object_type(o->kind), o->name);
	json_key(w, "annotations");
	json_begin_object(w);
	json_field_string(w, ANN_PROVISIONED_BY, look->driver);
	json_end_object(w);
	json_end_object(w);
	num_format_quantity(o->bytes, capacity);
	json_key(w, "spec");
	json_begin_object(w);
	json_key(w, "capacity");
	json_begin_object(w);
	json_field_string(w, "storage", capacity);
	json_end_object(w);
	json_key(w, "accessModes");
	json_begin_array(w);
	json_put_string(w, str_or(how->access_mode, "ReadWriteOnce"));
	json_end_array(w);
	json_field_string(w, "persistentVolumeReclaimPolicy", "Retain");
	json_field_string(w, "volumeMode", is_block(o, how) ? "Block" : "Filesystem");
	json_field_string(w, "storageClassName", str_or(how->class_name, ""));
	if (!str_is_empty(how->name))
		write_ref(w, "claimRef", "PersistentVolumeClaim", "v1", how);
	pv_write_affinity(w, &o->places);
	write_csi(w, look, o, how);
	json_end_object(w);
	json_end_object(w);
}

/* ---- snapshots and groups ---- */

static void write_source(struct json_writer *w, const struct orphan *o)
{
	json_key(w, "source");
	json_begin_object(w);
	if (o->kind == ORPHAN_SNAPSHOT) {
		json_field_string(w, "snapshotHandle", o->id);
	} else {
		json_key(w, "groupSnapshotHandles");
		json_begin_object(w);
		json_field_string(w, "volumeGroupSnapshotHandle", o->id);
		json_key(w, "volumeSnapshotHandles");
		json_begin_array(w);
		for (size_t i = 0; i < o->members.n; i++)
			json_put_string(w, o->members.v[i]);
		json_end_array(w);
		json_end_object(w);
	}
	json_end_object(w);
}

static void write_content(struct json_writer *w, const struct orphan_look *look,
			  struct arena *arena, const struct orphan *o,
			  const struct orphan_adoption *how)
{
	const struct kube_type *type = orphan_object_type(o->kind);
	bool is_group = o->kind == ORPHAN_GROUP;

	begin(w, type, orphan_object_name(arena, o));
	json_end_object(w);
	json_key(w, "spec");
	json_begin_object(w);
	json_field_string(w, "deletionPolicy", "Retain");
	json_field_string(w, "driver", look->driver);
	if (!str_is_empty(how->class_name))
		json_field_string(
			w, is_group ? "volumeGroupSnapshotClassName" : "volumeSnapshotClassName",
			how->class_name);
	write_source(w, o);
	write_ref(w, is_group ? "volumeGroupSnapshotRef" : "volumeSnapshotRef",
		  is_group ? "VolumeGroupSnapshot" : "VolumeSnapshot", type->group_version, how);
	json_end_object(w);
	json_end_object(w);
}

static int check(const struct orphan *o, const struct orphan_adoption *how, struct err *err)
{
	if (o->kind == ORPHAN_VOLUME && o->bytes == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "the driver does not tell how large volume %s is; write its PV by "
			       "hand",
			       o->id);
	if (o->kind == ORPHAN_VOLUME || !str_is_empty(how->name))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "a %s is adopted for an object of a namespace, which is to be named",
		       orphan_kind_name(o->kind));
}

int orphan_adopt(const struct orphan_look *look, struct ctx *ctx, const struct orphan *o,
		 const struct orphan_adoption *how, const char **ret_object, struct err *err)
{
	const struct object_store store = { look->client, NULL, orphan_object_type(o->kind) };
	autokobj const struct kube_object *made = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);

	if (check(o, how, err) < 0)
		return -1;
	if (o->kind == ORPHAN_VOLUME)
		write_volume(&w, look, o, how);
	else
		write_content(&w, look, ctx->arena, o, how);
	if (object_create(&store, ctx, NULL, str_get(&body), &made, err) < 0)
		return err_wrap(err, "adopt %s %s", orphan_kind_name(o->kind), o->id);
	*ret_object = arena_strdup(ctx->arena, made->name);
	return 0;
}
