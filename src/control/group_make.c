/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of a VolumeGroupSnapshot: the claims that its selector finds, which are asked of the
 * API server, since no cache keeps labels of claims; the class; the content itself. Its name comes
 * from the group's UID, and the group has its finalizer before it is made.
 *
 * Of the selector only matchLabels counts, as upstream has it.
 */
#include "control/snapshot_controller-internal.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "control/secrets.h"
#include "kube/client.h"
#include "kube/informer.h"
#include "kube/path.h"

#define MEMBERS_MAX 1000 /* as CSI bounds lists of volumes */

/* Of the selected claims. In the arena. */
struct selection {
	const char *handles[MEMBERS_MAX];
	size_t n;
	const char *driver;
	const char *node; /* whose snapshotter cuts them; NULL: any */
};

static void append_escaped(struct str *s, const char *text)
{
	for (; *text; text++) {
		bool is_plain = (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
				(*text >= 'A' && *text <= 'Z') || strchr("-_.~", *text);

		if (is_plain)
			str_append_char(s, *text);
		else
			str_appendf(s, "%%%02X", (unsigned char)*text);
	}
}

static int list_claims(const struct grouping *g, struct json_doc **ret, struct err *err)
{
	const struct strmap *labels = &grouping_group(g)->labels;
	autofree char *path = NULL;
	autostr struct str query = STR_INIT;

	if (labels->n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "spec.source.selector.matchLabels is empty: a group is of the "
			       "claims that have these labels");
	if (kube_collection_path(&core_pvc_type, g->obj->ns, &path, err) < 0)
		return -1;
	str_appendf(&query, "%s?labelSelector=", path);
	for (size_t i = 0; i < labels->n; i++) {
		str_append(&query, i ? "%2C" : "");
		append_escaped(&query, labels->v[i].key);
		str_append(&query, "%3D");
		append_escaped(&query, labels->v[i].value);
	}
	return kube_get(g->s->client, g->ctx, str_get(&query), ret, err);
}

/* One snapshotter cuts all of them. */
static int find_node(const struct grouping *g, const struct kube_object *pv, struct selection *sel,
		     struct err *err)
{
	const char *node = snapshot_node_of(g->s, g->ctx->arena, pv);

	if (sel->n && !str_is_equal(str_or(node, ""), str_or(sel->node, "")))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "the PV %s is on node '%s', and others of the group are on '%s': a "
			       "group is cut by the snapshotter of one node",
			       pv->name, str_or(node, ""), str_or(sel->node, ""));
	sel->node = node;
	return 0;
}

static int add_claim(const struct grouping *g, const struct kube_object *o, struct selection *sel,
		     struct err *err)
{
	const struct core_pvc *claim = core_pvc_of(o);
	autokobj const struct kube_object *volume = NULL;
	const struct core_pv *pv;

	if (!str_is_equal(claim->phase, "Bound") || !*claim->volume_name)
		return err_set(err, ERR_FAILED_PRECONDITION, "the PVC %s is not yet bound to a PV",
			       o->name);
	volume = informer_get(g->s->caches.pvs, "", claim->volume_name);
	pv = core_pv_of(volume);
	if (!pv || !str_is_equal(pv->claim_uid, o->uid))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the PV %s is not there or not bound to the PVC %s",
			       claim->volume_name, o->name);
	if (!*pv->driver || (*sel->driver && !str_is_equal(pv->driver, sel->driver)))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "the PV %s of PVC %s is no volume of driver %s", volume->name,
			       o->name, sel->driver);
	if (sel->n == MEMBERS_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "more than %d PVCs are selected",
			       MEMBERS_MAX);
	if (find_node(g, volume, sel, err) < 0)
		return -1;
	sel->driver = arena_strdup(g->ctx->arena, pv->driver);
	sel->handles[sel->n++] = arena_strdup(g->ctx->arena, pv->handle);
	return 0;
}

/* driver "": whatever it is, but the same of all. */
static int select_claims(const struct grouping *g, const char *driver, struct selection **ret_sel,
			 struct err *err)
{
	struct selection *sel = arena_alloc(g->ctx->arena, sizeof(*sel));
	autojson struct json_doc *doc = NULL;
	const struct json *item;
	const char *none;

	sel->driver = driver;
	if (list_claims(g, &doc, err) < 0)
		return -1;
	for (struct json_it it = json_each(json_get(json_root(doc), "items"));
	     json_next(&it, &none, &item);) {
		autokobj const struct kube_object *o = kube_object_decode(&core_pvc_type, item);

		if (o && add_claim(g, o, sel, err) < 0)
			return -1;
	}
	if (sel->n == 0)
		return err_set(err, ERR_NOT_FOUND, "no PVC has the labels of the selector");
	*ret_sel = sel;
	return 0;
}

/* ---- the class ---- */

struct class_search {
	const char *driver;
	struct arena *arena;
	const char *name;
	unsigned n;
};

static int see_class(void *arg, const struct kube_object *o)
{
	struct class_search *search = arg;

	if (!str_is_equal(snapshot_class_of(o)->driver, search->driver))
		return 0;
	search->n++;
	search->name = arena_strdup(search->arena, o->name);
	return 0;
}

static int find_default(const struct grouping *g, const char **ret_name, struct err *err)
{
	struct class_search search = { .arena = g->ctx->arena };
	struct selection *sel;

	if (select_claims(g, "", &sel, err) < 0)
		return -1;
	search.driver = sel->driver;
	informer_each_in(g->s->caches.group_classes, SNAPSHOT_DEFAULT_CLASSES, "true", see_class,
			 &search);
	if (search.n != 1)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "%u default group snapshot classes were found of driver %s",
			       search.n, search.driver);
	*ret_name = search.name;
	return 0;
}

int group_choose_class(struct grouping *g, enum queue_verdict *ret_verdict)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	const char *name;
	struct err err;

	if (*grouping_group(g)->class_name || g->content)
		return 0;
	if (find_default(g, &name, &err) < 0) {
		*ret_verdict = grouping_fail(
			g, "SetDefaultGroupSnapshotClassFailed",
			arena_printf(g->ctx->arena,
				     "Failed to set default group snapshot class with error %s",
				     err.msg));
		return -1;
	}
	str_append(&part, "\"spec\":");
	json_begin_object(&w);
	json_field_string(&w, "volumeGroupSnapshotClassName", name);
	json_end_object(&w);
	if (object_patch(&g->s->groups, g->ctx, &g->obj, NULL, str_get(&part), "", &err) == 0)
		return 0;
	*ret_verdict = grouping_retry_later(g, &err);
	return -1;
}

/* ---- the content ---- */

static void write_meta(struct json_writer *w, const char *name, const char *node,
		       const struct secret_ref *ref)
{
	json_key(w, "metadata");
	json_begin_object(w);
	json_field_string(w, "name", name);
	snapshot_write_node(w, node);
	if (secret_ref_is_set(ref)) {
		json_key(w, "annotations");
		json_begin_object(w);
		json_field_string(w, ANN_GROUP_SECRET_NAME, ref->name);
		json_field_string(w, ANN_GROUP_SECRET_NS, ref->ns);
		json_end_object(w);
	}
	json_key(w, "finalizers");
	json_begin_array(w);
	json_put_string(w, GROUP_CONTENT_FINALIZER);
	json_end_array(w);
	json_end_object(w);
}

static void write_ref(struct json_writer *w, const struct kube_object *group)
{
	json_key(w, "volumeGroupSnapshotRef");
	json_begin_object(w);
	json_field_string(w, "apiVersion", group_snapshot_type.group_version);
	json_field_string(w, "kind", group_snapshot_type.kind);
	json_field_string(w, "namespace", group->ns);
	json_field_string(w, "name", group->name);
	json_field_string(w, "uid", group->uid);
	json_field_string(w, "resourceVersion", group->resource_version);
	json_end_object(w);
}

static void write_content(const struct grouping *g, const struct snapshot_class *class,
			  const struct selection *sel, const char *name,
			  const struct secret_ref *ref, struct str *out)
{
	struct json_writer w = JSON_WRITER(out);

	json_begin_object(&w);
	json_field_string(&w, "apiVersion", group_content_type.group_version);
	json_field_string(&w, "kind", group_content_type.kind);
	write_meta(&w, name, sel->node, ref);
	json_key(&w, "spec");
	json_begin_object(&w);
	json_field_string(&w, "driver", class->driver);
	json_field_string(&w, "deletionPolicy", class->deletion_policy);
	json_field_string(&w, "volumeGroupSnapshotClassName", class->meta.name);
	json_key(&w, "source");
	json_begin_object(&w);
	json_key(&w, "volumeHandles");
	json_begin_array(&w);
	for (size_t i = 0; i < sel->n; i++)
		json_put_string(&w, sel->handles[i]);
	json_end_array(&w);
	json_end_object(&w);
	write_ref(&w, g->obj);
	json_end_object(&w);
	json_end_object(&w);
}

/* The group may have gone while its content was made (snapshot_make.c). */
static int look_back(struct grouping *g, struct err *err)
{
	const struct kube_object *fresh = NULL;
	bool is_same;

	if (object_read(&g->s->groups, g->ctx, g->obj->ns, g->obj->name, &fresh, err) < 0 &&
	    err->code != ERR_NOT_FOUND)
		return -1;
	is_same = fresh && str_is_equal(fresh->uid, g->obj->uid);
	kube_object_unref(fresh);
	if (is_same)
		return 0;
	if (content_let_go(&g->s->group_contents, g->ctx, &g->content, &group_let_go, err) < 0 ||
	    object_delete(&g->s->group_contents, g->ctx, g->content, err) < 0)
		return -1;
	return err_set(err, ERR_ABORTED, "the volumegroupsnapshot went while its content was made");
}

static int create(struct grouping *g, const struct snapshot_class *class,
		  const struct selection *sel, struct err *err)
{
	const char *name = arena_printf(g->ctx->arena, "groupsnapcontent-%s", g->obj->uid);
	const struct snapshot_vars vars = {
		.content_name = name,
		.ns = g->obj->ns,
		.name = g->obj->name,
	};
	autostr struct str body = STR_INIT;
	struct secret_ref ref;

	if (secret_ref_resolve_snapshot(g->ctx->arena, &class->parameters, SNAPSHOT_SECRET_GROUP,
					&vars, &ref, err) < 0)
		return -1;
	write_content(g, class, sel, name, &ref, &body);
	if (object_create(&g->s->group_contents, g->ctx, NULL, str_get(&body), &g->content, err) ==
	    0) {
		recorder_event(
			g->s->recorder, g->obj, RECORDER_NORMAL, "CreatingGroupSnapshot",
			"Waiting for a group snapshot %s/%s to be created by the CSI driver.",
			g->obj->ns, g->obj->name);
		return look_back(g, err);
	}
	if (err->code != ERR_ALREADY_EXISTS)
		return err_wrap(err, "save volumegroupsnapshotcontent %s", name);
	return object_read(&g->s->group_contents, g->ctx, NULL, name, &g->content, err);
}

static int make(struct grouping *g, struct err *err)
{
	const char *name = grouping_group(g)->class_name;
	autokobj const struct kube_object *class =
		informer_get(g->s->caches.group_classes, "", name);
	struct selection *sel;

	if (!class)
		return err_set(err, ERR_NOT_FOUND, "volumegroupsnapshotclass %s is not there",
			       name);
	if (select_claims(g, snapshot_class_of(class)->driver, &sel, err) < 0)
		return -1;
	return create(g, snapshot_class_of(class), sel, err);
}

int group_make_content(struct grouping *g, enum queue_verdict *ret_verdict)
{
	struct err err;

	if (make(g, &err) == 0)
		return 0;
	if (err.code == ERR_ABORTED || err.code == ERR_UNAVAILABLE)
		*ret_verdict = grouping_retry_later(g, &err);
	else
		*ret_verdict = grouping_fail(
			g, "CreateGroupSnapshotContentFailed",
			arena_printf(g->ctx->arena,
				     "Failed to create group snapshot content with error %s",
				     err.msg));
	return -1;
}
