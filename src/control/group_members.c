/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The members of a group that was cut: for each entry of the content's status a VolumeSnapshot in
 * the group's namespace, owned by the group, and a VolumeSnapshotContent, bound to each other from
 * the start. Names are made of the group's UID and the volume, as upstream makes them, so that each
 * comes to be once. What is there already is left as it is.
 *
 * The snapshot comes first, since the content names its UID; as a member it waits for its content
 * and has none made (snapshot_bind.c).
 */
#include "control/snapshot_controller-internal.h"

#include "base/hex.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "kube/informer.h"

const char *group_member_hash(struct arena *arena, const char *group_uid, const char *volume_handle)
{
	const char *text = arena_printf(arena, "%s%s", group_uid, volume_handle);
	uint8_t hash[SHA256_BYTES];
	char *hex = arena_alloc(arena, 2 * SHA256_BYTES + 1);

	sha256(text, strlen(text), hash);
	hex_format(hash, sizeof(hash), hex);
	return hex;
}

const char *group_volume_handle(const struct kube_object *pv, size_t i)
{
	const char *handle = core_pv_of(pv)->handle;

	return i == 0 && *handle ? handle : NULL;
}

/* ---- whose volume it is ---- */

struct volume_search {
	struct arena *arena;
	const char *driver;
	const char *claim, *claim_ns; /* "" if not found */
	const char *name;             /* of its PV; the same */
};

static int see_volume(void *arg, const struct kube_object *o)
{
	struct volume_search *search = arg;

	if (!str_is_equal(core_pv_of(o)->driver, search->driver))
		return 0;
	search->claim = arena_strdup(search->arena, core_pv_of(o)->claim_name);
	search->claim_ns = arena_strdup(search->arena, core_pv_of(o)->claim_ns);
	search->name = arena_strdup(search->arena, o->name);
	return 1;
}

static struct volume_search find_volume(const struct grouping *g, const char *handle)
{
	struct volume_search search = {
		.arena = g->ctx->arena,
		.driver = grouping_content(g)->driver,
		.claim = "",
		.claim_ns = "",
		.name = "",
	};

	informer_each_in(g->s->caches.pvs, GROUP_VOLUMES_BY_HANDLE, handle, see_volume, &search);
	return search;
}

/* Filesystem or Block, as the volume's claim has it, which is as the volume has it; NULL if that is
 * gone, or nobody wants to know. Without it a claim of another mode could be made of the member. */
static const char *find_mode(const struct grouping *g, const struct volume_search *volume)
{
	autokobj const struct kube_object *claim = NULL;

	if (g->s->no_source_mode || !*volume->claim)
		return NULL;
	claim = informer_get(g->s->caches.pvcs, volume->claim_ns, volume->claim);
	return claim ? arena_strdup(g->ctx->arena, core_pvc_of(claim)->volume_mode) : NULL;
}

/* Whose snapshotter takes the member's content down; NULL: any. */
static const char *find_node(const struct grouping *g, const struct volume_search *volume)
{
	autokobj const struct kube_object *pv =
		*volume->name ? informer_get(g->s->caches.pvs, "", volume->name) : NULL;

	return pv ? snapshot_node_of(g->s, g->ctx->arena, pv) : NULL;
}

/* ---- the snapshot ---- */

static void write_snapshot(const struct grouping *g, const char *name, const char *claim,
			   struct str *out)
{
	struct json_writer w = JSON_WRITER(out);

	json_begin_object(&w);
	json_field_string(&w, "apiVersion", snapshot_type.group_version);
	json_field_string(&w, "kind", snapshot_type.kind);
	json_key(&w, "metadata");
	json_begin_object(&w);
	json_field_string(&w, "name", name);
	json_field_string(&w, "namespace", g->obj->ns);
	json_key(&w, "finalizers");
	json_begin_array(&w);
	json_put_string(&w, SNAPSHOT_MEMBER_FINALIZER);
	json_end_array(&w);
	json_key(&w, "ownerReferences");
	json_begin_array(&w);
	json_begin_object(&w);
	json_field_string(&w, "apiVersion", group_snapshot_type.group_version);
	json_field_string(&w, "kind", group_snapshot_type.kind);
	json_field_string(&w, "name", g->obj->name);
	json_field_string(&w, "uid", g->obj->uid);
	json_end_object(&w);
	json_end_array(&w);
	json_end_object(&w);
	json_key(&w, "spec");
	json_begin_object(&w);
	json_key(&w, "source");
	json_begin_object(&w);
	json_field_string(&w, "persistentVolumeClaimName", claim);
	json_end_object(&w);
	json_end_object(&w);
	json_end_object(&w);
}

/* The caller owns *ret. */
static int make_snapshot(const struct grouping *g, const char *hash, const char *claim,
			 const struct kube_object **ret, struct err *err)
{
	const char *name = arena_printf(g->ctx->arena, "snapshot-%s", hash);
	autostr struct str body = STR_INIT;

	*ret = informer_get(g->s->caches.snapshots, g->obj->ns, name);
	if (*ret)
		return 0;
	write_snapshot(g, name, claim, &body);
	if (object_create(&g->s->snapshots, g->ctx, g->obj->ns, str_get(&body), ret, err) == 0)
		return 0;
	if (err->code != ERR_ALREADY_EXISTS)
		return err_wrap(err, "member volumesnapshot %s", name);
	return object_read(&g->s->snapshots, g->ctx, g->obj->ns, name, ret, err);
}

/* ---- its content ---- */

static void copy_secret(struct json_writer *w, const struct kube_object *from)
{
	const char *name = strmap_find(&from->annotations, ANN_GROUP_SECRET_NAME);
	const char *ns = strmap_find(&from->annotations, ANN_GROUP_SECRET_NS);

	if (!name || !ns)
		return;
	json_field_string(w, ANN_SNAPSHOT_SECRET_NAME, name);
	json_field_string(w, ANN_SNAPSHOT_SECRET_NS, ns);
}

static void write_content(const struct grouping *g, const char *name, const char *volume_handle,
			  const struct volume_search *volume, const struct kube_object *snapshot,
			  struct str *out)
{
	const char *mode = find_mode(g, volume);
	const struct group_content *group = grouping_content(g);
	struct json_writer w = JSON_WRITER(out);

	json_begin_object(&w);
	json_field_string(&w, "apiVersion", snapshot_content_type.group_version);
	json_field_string(&w, "kind", snapshot_content_type.kind);
	json_key(&w, "metadata");
	json_begin_object(&w);
	json_field_string(&w, "name", name);
	snapshot_write_node(&w, find_node(g, volume));
	json_key(&w, "annotations");
	json_begin_object(&w);
	json_field_string(&w, ANN_GROUP_HANDLE, group->handle);
	copy_secret(&w, g->content);
	json_end_object(&w);
	json_key(&w, "finalizers");
	json_begin_array(&w);
	json_put_string(&w, SNAPSHOT_CONTENT_FINALIZER);
	json_end_array(&w);
	json_end_object(&w);
	json_key(&w, "spec");
	json_begin_object(&w);
	json_field_string(&w, "driver", group->driver);
	json_field_string(&w, "deletionPolicy", group->deletion_policy);
	if (mode)
		json_field_string(&w, "sourceVolumeMode", mode);
	json_key(&w, "source");
	json_begin_object(&w);
	json_field_string(&w, "volumeHandle", volume_handle);
	json_end_object(&w);
	json_key(&w, "volumeSnapshotRef");
	json_begin_object(&w);
	json_field_string(&w, "apiVersion", snapshot_type.group_version);
	json_field_string(&w, "kind", snapshot_type.kind);
	json_field_string(&w, "namespace", snapshot->ns);
	json_field_string(&w, "name", snapshot->name);
	json_field_string(&w, "uid", snapshot->uid);
	json_end_object(&w);
	json_end_object(&w);
	json_end_object(&w);
}

static int make_content(const struct grouping *g, const char *hash, const char *volume_handle,
			const struct volume_search *volume, const struct kube_object *snapshot,
			const struct kube_object **ret, struct err *err)
{
	const char *name = arena_printf(g->ctx->arena, "snapcontent-%s", hash);
	autostr struct str body = STR_INIT;

	*ret = informer_get(g->s->caches.contents, "", name);
	if (*ret)
		return 0;
	write_content(g, name, volume_handle, volume, snapshot, &body);
	if (object_create(&g->s->contents, g->ctx, NULL, str_get(&body), ret, err) == 0)
		return 0;
	if (err->code != ERR_ALREADY_EXISTS)
		return err_wrap(err, "member volumesnapshotcontent %s", name);
	return object_read(&g->s->contents, g->ctx, NULL, name, ret, err);
}

/* ---- what the group's content tells of it ---- */

static bool is_told(const struct snapshot_content *c, const struct group_content *group,
		    const struct group_member *m)
{
	return str_is_equal(c->handle, m->handle) && c->is_ready == m->is_ready &&
	       str_is_equal(c->group_handle, group->handle);
}

static int tell_content(const struct grouping *g, const struct group_member *m,
			const struct kube_object **content, struct err *err)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);

	if (is_told(snapshot_content_of(*content), grouping_content(g), m))
		return 0;
	str_append(&part, "\"status\":");
	json_begin_object(&w);
	json_field_string(&w, "snapshotHandle", m->handle);
	json_field_string(&w, "volumeGroupSnapshotHandle", grouping_content(g)->handle);
	json_field_bool(&w, "readyToUse", m->is_ready);
	if (m->creation_ns)
		json_field_i64(&w, "creationTime", m->creation_ns);
	if (m->has_restore_bytes)
		json_field_u64(&w, "restoreSize", m->restore_bytes);
	json_end_object(&w);
	return object_patch(&g->s->contents, g->ctx, content, "status", str_get(&part), "", err);
}

/* Which content it has; the rest it takes from there (snapshot_bind.c). */
static int tell_snapshot(const struct grouping *g, const char *content,
			 const struct kube_object **snapshot, struct err *err)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);

	if (*snapshot_of(*snapshot)->bound_content && *snapshot_of(*snapshot)->group_name)
		return 0;
	str_append(&part, "\"status\":");
	json_begin_object(&w);
	json_field_string(&w, "boundVolumeSnapshotContentName", content);
	json_field_string(&w, "volumeGroupSnapshotName", g->obj->name);
	json_end_object(&w);
	return object_patch(&g->s->snapshots, g->ctx, snapshot, "status", str_get(&part), "", err);
}

static int make_member(const struct grouping *g, const struct group_member *m, struct err *err)
{
	const char *hash = group_member_hash(g->ctx->arena, g->obj->uid, m->volume_handle);
	const struct volume_search volume = find_volume(g, m->volume_handle);
	autokobj const struct kube_object *snapshot = NULL, *content = NULL;

	if (make_snapshot(g, hash, volume.claim, &snapshot, err) < 0)
		return -1;
	if (snapshot->is_deleting)
		return 0; /* somebody wants it gone; the group keeps it until it goes itself */
	if (make_content(g, hash, m->volume_handle, &volume, snapshot, &content, err) < 0 ||
	    tell_content(g, m, &content, err) < 0)
		return -1;
	return tell_snapshot(g, content->name, &snapshot, err);
}

int group_make_members(struct grouping *g, struct err *err)
{
	for (size_t i = 0; i < grouping_content(g)->n_members; i++)
		if (make_member(g, &grouping_content(g)->members[i], err) < 0)
			return -1;
	return 0;
}
