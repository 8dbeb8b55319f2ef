/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A claim and its PV, read whole from the API server before anything is decided: caches keep a few
 * bytes of each, and growing is rare. Where a growth is to be begun they are read from its memory,
 * since whoever waits for it waits for both: the first write then has the claim's version, so it
 * fails if that has changed. What was begun goes on by what is written. What is written here are
 * strategic merge patches with the version that was read, which say only what is meant: conditions
 * are a list by type to them, so those of other controllers stay whatever they are.
 *
 * The answer of each write is what the next one goes by, and goes into the cache at once.
 */
#include "control/resizer-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/path.h"

#define WRITE_TRIES 4

static struct object_store claim_store(const struct claim_work *w)
{
	return (struct object_store){ w->r->client, w->r->pvcs, &core_pvc_type };
}

static struct object_store pv_store(const struct claim_work *w)
{
	return (struct object_store){ w->r->client, w->r->pvs, &core_pv_type };
}

static int read_claim(struct claim_work *w, struct err *err)
{
	const struct object_store store = claim_store(w);

	return object_read_whole(&store, w->ctx, w->claim.obj->ns, w->claim.obj->name, &w->claim,
				 err);
}

static int read_pv(struct claim_work *w, const char *name, struct err *err)
{
	const struct object_store store = pv_store(w);

	return object_read_whole(&store, w->ctx, NULL, name, &w->pv, err);
}

/* Then a write of the claim comes before all else. */
static bool begins_growth(const struct claim_work *w)
{
	const struct core_pvc *claim = work_claim(w);

	return claim->resize == CORE_RESIZE_NONE && claim->modify == CORE_MODIFY_NONE &&
	       claim->request_bytes > claim->capacity_bytes;
}

static int read_claim_to_work(struct claim_work *w, struct err *err)
{
	const struct object_store store = claim_store(w);

	if (begins_growth(w) && object_read_recent(&store, w->ctx, w->claim.obj->ns,
						   w->claim.obj->name, &w->claim, err) < 0)
		return -1;
	return w->claim.doc && begins_growth(w) ? 0 : read_claim(w, err);
}

int claim_work_read(struct claim_work *w, struct err *err)
{
	const struct object_store pvs = pv_store(w);
	const char *name;

	if (read_claim_to_work(w, err) < 0)
		return -1;
	w->uid = arena_strdup(w->ctx->arena, w->claim.obj->uid);
	if (!*work_claim(w)->volume_name)
		return err_set(err, ERR_NOT_FOUND, "the claim is not bound");
	name = work_claim(w)->volume_name;
	return begins_growth(w) ? object_read_recent(&pvs, w->ctx, NULL, name, &w->pv, err)
				: read_pv(w, name, err);
}

void claim_work_done(struct claim_work *w)
{
	object_whole_done(&w->claim);
	object_whole_done(&w->pv);
}

/* ---- conditions ---- */

static const struct json *find_condition(const struct claim_work *w, const char *type)
{
	const struct json *value;
	const char *none;

	for (struct json_it it = json_each(json_get(work_status(w), "conditions"));
	     json_next(&it, &none, &value);)
		if (str_is_equal(json_get_string(value, "type"), type))
			return value;
	return NULL;
}

bool claim_has_condition(const struct claim_work *w, const char *type)
{
	return str_is_equal(json_get_string(find_condition(w, type), "status"), "True");
}

static bool is_set(const struct claim_work *w, const struct claim_condition *c)
{
	const struct json *now = find_condition(w, c->type);

	return str_is_equal(json_get_string(now, "status"), "True") &&
	       str_is_equal(str_or(json_get_string(now, "reason"), ""), str_or(c->reason, "")) &&
	       str_is_equal(str_or(json_get_string(now, "message"), ""), str_or(c->message, ""));
}

static void write_condition(struct json_writer *w, const struct claim_condition *c)
{
	char now[CLOCK_TEXT_MAX];

	clock_format(clock_wall_ns(), now);
	json_begin_object(w);
	json_field_string(w, "type", c->type);
	json_field_string(w, "status", "True");
	json_field_string(w, "lastProbeTime", c->is_probed ? now : NULL);
	json_field_string(w, "lastTransitionTime", now);
	json_field_string(w, "reason", str_is_empty(c->reason) ? NULL : c->reason);
	json_field_string(w, "message", str_is_empty(c->message) ? NULL : c->message);
	json_end_object(w);
}

static bool write_conditions(const struct claim_work *w, struct json_writer *json,
			     const struct claim_status *s)
{
	bool is_any = false;

	for (size_t i = 0; i < CLAIM_CONDITIONS_MAX && s->conditions[i].type; i++)
		is_any |= !is_set(w, &s->conditions[i]);
	for (size_t i = 0; i < CLAIM_DROPS_MAX && s->drops[i]; i++)
		is_any |= find_condition(w, s->drops[i]) != NULL;
	if (!is_any)
		return false;
	json_key(json, "conditions");
	json_begin_array(json);
	for (size_t i = 0; i < CLAIM_CONDITIONS_MAX && s->conditions[i].type; i++)
		if (!is_set(w, &s->conditions[i]))
			write_condition(json, &s->conditions[i]);
	for (size_t i = 0; i < CLAIM_DROPS_MAX && s->drops[i]; i++) {
		if (!find_condition(w, s->drops[i]))
			continue;
		json_begin_object(json);
		json_field_string(json, "$patch", "delete");
		json_field_string(json, "type", s->drops[i]);
		json_end_object(json);
	}
	json_end_array(json);
	return true;
}

/* ---- fields ---- */

/* {"KEY":{"storage":value}}, "" taking it off; false if it is so already. */
static bool write_storage(const struct claim_work *w, struct json_writer *json, const char *key,
			  const char *value)
{
	const char *now = json_get_string(json_get(work_status(w), key), "storage");

	if (!value || str_is_equal(str_or(now, ""), value))
		return false;
	json_key(json, key);
	json_begin_object(json);
	json_field_string(json, "storage", *value ? value : NULL);
	json_end_object(json);
	return true;
}

static bool write_text(const struct json *object, struct json_writer *json, const char *key,
		       const char *value)
{
	if (!value || str_is_equal(str_or(json_get_string(object, key), ""), value))
		return false;
	json_field_string(json, key, *value ? value : NULL);
	return true;
}

static bool write_modify(const struct claim_work *w, struct json_writer *json,
			 const struct claim_status *s)
{
	const struct json *now = json_get(work_status(w), "modifyVolumeStatus");
	const char *then = str_or(json_get_string(now, "targetVolumeAttributesClassName"), "");
	const char *target = str_or(s->modify_target, then);

	if (!s->modify_status ||
	    (str_is_equal(str_or(json_get_string(now, "status"), ""), s->modify_status) &&
	     (!*s->modify_status || str_is_equal(then, target))))
		return false;
	json_key(json, "modifyVolumeStatus");
	if (!*s->modify_status) {
		json_put_null(json);
		return true;
	}
	json_begin_object(json);
	json_field_string(json, "status", s->modify_status);
	json_field_string(json, "targetVolumeAttributesClassName", *target ? target : NULL);
	json_end_object(json);
	return true;
}

static bool write_annotation(const struct json *root, struct json_writer *json, const char *key,
			     const char *value)
{
	const struct json *all = json_path(root, "metadata.annotations");

	if (!value || str_is_equal(str_or(json_get_string(all, key), ""), value))
		return false;
	json_key(json, "annotations");
	json_begin_object(json);
	json_field_string(json, key, *value ? value : NULL);
	json_end_object(json);
	return true;
}

/* What the server holds a write against: this object, as it was read. */
static void write_identity(struct json_writer *json, const struct kube_object *o)
{
	json_field_string(json, "uid", o->uid);
	json_field_string(json, "resourceVersion", o->resource_version);
}

static bool write_status(const struct claim_work *w, struct json_writer *json,
			 const struct claim_status *s)
{
	bool is_news;

	json_begin_object(json);
	json_key(json, "metadata");
	json_begin_object(json);
	write_identity(json, w->claim.obj);
	is_news = write_annotation(json_root(w->claim.doc), json, ANN_NODE_NOT_REQUIRED,
				   s->node_not_required);
	json_end_object(json);
	json_key(json, "status");
	json_begin_object(json);
	is_news |= write_storage(w, json, "capacity", s->capacity);
	is_news |= write_storage(w, json, "allocatedResources", s->allocated);
	is_news |= write_storage(w, json, "allocatedResourceStatuses", s->resize_status);
	is_news |= write_text(work_status(w), json, "currentVolumeAttributesClassName",
			      s->current_class);
	is_news |= write_modify(w, json, s);
	is_news |= write_conditions(w, json, s);
	json_end_object(json);
	json_end_object(json);
	return is_news;
}

int claim_status_write(struct claim_work *w, const struct claim_status *status, struct err *err)
{
	const struct object_store store = claim_store(w);
	autofree char *path = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer json = JSON_WRITER(&body);
	struct json_doc *doc = NULL;
	struct kube_write write = { .verb = KUBE_STRATEGIC, .subresource = "status" };

	if (!write_status(w, &json, status))
		return 0;
	if (kube_object_path(store.type, w->claim.obj->ns, w->claim.obj->name, &path, err) < 0)
		return -1;
	write.path = path;
	write.body = str_get(&body);
	if (kube_write(w->r->client, w->ctx, &write, &doc, err) < 0)
		return err_wrap(err, "write the claim's status");
	return object_take_whole(&store, doc, &w->claim, err);
}

static bool is_same_text(const char *a, const char *b)
{
	return str_is_equal(str_or(a, ""), str_or(b, ""));
}

/* What was begun, and for what: another act began since if it is not so any more. */
static const char *state_of(const struct claim_work *w)
{
	const struct json *status = work_status(w);
	const struct json *modify = json_get(status, "modifyVolumeStatus");

	return arena_printf(
		w->ctx->arena, "%s %s %s %s",
		str_or(json_path_string(status, "allocatedResources.storage"), ""),
		str_or(json_path_string(status, "allocatedResourceStatuses.storage"), ""),
		str_or(json_get_string(modify, "status"), ""),
		str_or(json_get_string(modify, "targetVolumeAttributesClassName"), ""));
}

int claim_status_settle(struct claim_work *w, const struct claim_status *status, struct err *err)
{
	const char *state = state_of(w);

	for (unsigned tries = 1;; tries++) {
		struct err again;

		if (claim_status_write(w, status, err) == 0)
			return 0;
		if (err->code != ERR_ABORTED || tries == WRITE_TRIES || read_claim(w, &again) < 0 ||
		    !is_same_text(w->claim.obj->uid, w->uid) || !str_is_equal(state_of(w), state))
			return -1;
	}
}

/* ---- PV ---- */

static bool write_pv(const struct claim_work *w, struct json_writer *json,
		     const struct pv_fields *f)
{
	const struct json *root = json_root(w->pv.doc), *spec = json_get(root, "spec");
	const char *capacity = json_path_string(spec, "capacity.storage");
	bool is_news;

	json_begin_object(json);
	json_key(json, "metadata");
	json_begin_object(json);
	write_identity(json, w->pv.obj);
	is_news = write_annotation(root, json, ANN_PRE_RESIZE, f->pre_resize);
	json_end_object(json);
	json_key(json, "spec");
	json_begin_object(json);
	is_news |= write_text(spec, json, "volumeAttributesClassName", f->attributes_class);
	if (f->capacity && !is_same_text(f->capacity, capacity)) {
		is_news = true;
		json_key(json, "capacity");
		json_begin_object(json);
		json_field_string(json, "storage", f->capacity);
		json_end_object(json);
	}
	json_end_object(json);
	json_end_object(json);
	return is_news;
}

static int patch_pv(struct claim_work *w, const struct pv_fields *fields, struct err *err)
{
	const struct object_store store = pv_store(w);
	autofree char *path = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer json = JSON_WRITER(&body);
	struct json_doc *doc = NULL;

	if (!write_pv(w, &json, fields))
		return 0;
	if (kube_object_path(store.type, NULL, w->pv.obj->name, &path, err) < 0)
		return -1;
	if (kube_patch(w->r->client, w->ctx, path, KUBE_STRATEGIC, str_get(&body), &doc, err) < 0)
		return err_wrap(err, "write persistentvolume %s", w->pv.obj->name);
	return object_take_whole(&store, doc, &w->pv, err);
}

int claim_work_write_pv(struct claim_work *w, const struct pv_fields *fields, struct err *err)
{
	const char *name = arena_strdup(w->ctx->arena, w->pv.obj->name);
	const char *uid = arena_strdup(w->ctx->arena, w->pv.obj->uid);

	for (unsigned tries = 1;; tries++) {
		struct err again;

		if (patch_pv(w, fields, err) == 0)
			return 0;
		if (err->code != ERR_ABORTED || tries == WRITE_TRIES ||
		    read_pv(w, name, &again) < 0 || !str_is_equal(w->pv.obj->uid, uid))
			return -1;
	}
}
