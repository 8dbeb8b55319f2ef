/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API server of the tests: JSON text by path. Every change is a merge patch on the text (RFC
 * 7396), the one piece of machinery that create, update, patch and delete share. It keeps the rules
 * that a controller can trip over: resourceVersion conflicts, the name taken, finalizers that hold
 * a deleted object, no new finalizer on it, status not written through the main path.
 */
#include "fake/kube-internal.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strmap.h"
#include "kube/client-internal.h"
#include "kube/fence.h"

#include <assert.h>

static struct {
	struct map *objects; /* path → text, owned */
	struct map *old;     /* the same, as remembered; NULL: not wanted */
	unsigned version, uid;
	struct fake_plan plan;
	unsigned steps, recent_reads;
	const struct fence *fence;
	const char *refused_part; /* of paths; NULL: none */
	int refused_status;
	const char *refused_body;
	const char *absent_part; /* of paths; NULL: none */
	const char *dropped;     /* member of a status; NULL: none */
	const struct kube_type *more_type;
	struct {
		const char *part, *answer;
		char *asked; /* owned */
	} questions[4];
} api;

static void free_texts(struct map *texts)
{
	const char *path;
	void *text;

	if (texts)
		for (size_t it = 0; map_next(texts, &it, &path, &text);)
			free(text);
	map_free(texts);
}

void fake_api_reset(void)
{
	free_texts(api.objects);
	free_texts(api.old);
	for (size_t i = 0; i < ARRAY_LEN(api.questions); i++)
		free(api.questions[i].asked);
	memset(&api, 0, sizeof(api));
	api.objects = map_new();
}

void fake_serve_old(void)
{
	const char *path;
	void *text;

	free_texts(api.old);
	api.old = map_new();
	for (size_t it = 0; map_next(api.objects, &it, &path, &text);)
		map_put(api.old, path, xstrdup(text));
}

void fake_set_fence(const struct fence *fence)
{
	api.fence = fence;
}

void fake_set_plan(struct fake_plan plan)
{
	api.plan = plan;
	api.steps = api.recent_reads = 0;
}

unsigned fake_steps(void)
{
	return api.steps;
}

unsigned fake_recent_reads(void)
{
	return api.recent_reads;
}

int fake_step(bool *ret_lost, struct err *err)
{
	bool is_at = ++api.steps == api.plan.at;
	bool is_after = api.plan.at && api.steps > api.plan.at;

	*ret_lost = false;
	if (is_at && api.plan.hook)
		api.plan.hook(api.plan.arg);
	switch (api.plan.fault) {
	case FAKE_NONE:
		break;
	case FAKE_FAIL:
		if (is_at)
			return err_set(err, api.plan.code, "step %u was planned to fail",
				       api.steps);
		break;
	case FAKE_LOSE:
		*ret_lost = is_at;
		break;
	case FAKE_KILL:
		if (is_at || is_after)
			return err_set(err, ERR_UNAVAILABLE, "dead since step %u", api.plan.at);
		break;
	case FAKE_KILL_AFTER:
		*ret_lost = is_at;
		if (is_after)
			return err_set(err, ERR_UNAVAILABLE, "dead since step %u", api.plan.at);
		break;
	}
	return 0;
}

static struct json_doc *parse(const char *text)
{
	struct json_doc *doc;
	struct err err;

	if (json_parse(text, strlen(text), &doc, &err) < 0) {
		(void)fprintf(stderr, "fake API server: %s: %s\n", err.msg, text);
		abort();
	}
	return doc;
}

static void merge(struct json_writer *w, const struct json *base, const struct json *patch)
{
	const struct json *value;
	const char *key;

	if (!json_is_object(patch)) {
		json_put_value(w, patch);
		return;
	}
	json_begin_object(w);
	for (struct json_it it = json_each(json_is_object(base) ? base : NULL);
	     json_next(&it, &key, &value);) {
		if (json_get(patch, key))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	for (struct json_it it = json_each(patch); json_next(&it, &key, &value);) {
		if (json_is_null(value))
			continue;
		json_key(w, key);
		merge(w, json_get(base, key), value);
	}
	json_end_object(w);
}

static char *merge_text(const char *base, const char *patch)
{
	autojson struct json_doc *base_doc = parse(base), *patch_doc = parse(patch);
	struct str out = STR_INIT;
	struct json_writer w = JSON_WRITER(&out);

	merge(&w, json_root(base_doc), json_root(patch_doc));
	return str_take(&out);
}

/* Takes text over. A deleted object without finalizers goes. */
static void store(const char *path, char *text)
{
	autofree char *stamp =
		xasprintf("{\"metadata\":{\"resourceVersion\":\"%u\"}}", ++api.version);
	char *stamped = merge_text(text, stamp);
	autojson struct json_doc *doc = parse(stamped);
	const struct json *meta = json_get(json_root(doc), "metadata");

	free(text);
	if (json_get(meta, "deletionTimestamp") && json_count(json_get(meta, "finalizers")) == 0) {
		free(map_take(api.objects, path));
		free(stamped);
		return;
	}
	free(map_put(api.objects, path, stamped));
}

void fake_put(const char *path, const char *json)
{
	autofree char *uid = xasprintf("{\"metadata\":{\"uid\":\"uid-%u\"}}", ++api.uid);

	store(path, merge_text(uid, json));
}

void fake_merge(const char *path, const char *patch)
{
	const char *old = map_find(api.objects, path);

	assert(old);
	store(path, merge_text(old, patch));
}

void fake_delete(const char *path)
{
	if (map_find(api.objects, path))
		fake_merge(path, "{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"}}");
}

bool fake_has(const char *path)
{
	return map_find(api.objects, path);
}

const char *fake_text(const char *path)
{
	const char *text = map_find(api.objects, path);

	if (!text) {
		(void)fprintf(stderr, "fake API server: no %s\n", path);
		abort();
	}
	return text;
}

struct map *fake_objects(void)
{
	return api.objects;
}

unsigned fake_count(const struct kube_type *type)
{
	unsigned n = 0;
	const char *path;
	void *text;

	for (size_t it = 0; map_next(api.objects, &it, &path, &text);)
		n += fake_type(text) == type;
	return n;
}

const struct kube_type *fake_type(const char *text)
{
	static const struct kube_type *const types[] = {
		&core_pvc_type,         &core_pv_type,
		&storage_class_type,    &core_node_type,
		&storage_csi_node_type, &storage_attachment_type,
		&snapshot_type,         &snapshot_content_type,
		&snapshot_class_type,   &storage_attributes_class_type,
		&group_snapshot_type,   &group_content_type,
		&group_class_type,      &storage_capacity_type,
	};
	autojson struct json_doc *doc = parse(text);

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (str_is_equal(json_get_string(json_root(doc), "kind"), types[i]->kind))
			return types[i];
	if (api.more_type &&
	    str_is_equal(json_get_string(json_root(doc), "kind"), api.more_type->kind))
		return api.more_type;
	return NULL;
}

void fake_add_type(const struct kube_type *type)
{
	api.more_type = type;
}

static int reply(const char *path, bool is_lost, struct json_doc **ret, struct err *err)
{
	const char *text = map_find(api.objects, path);

	if (is_lost)
		return err_set(err, ERR_UNAVAILABLE, "the answer got lost");
	if (ret)
		*ret = parse(text ? text : "{\"kind\":\"Status\"}");
	return 0;
}

/* Whether the object is in the collection; of one that is namespaced also in that of all
 * namespaces. */
static bool is_in(const char *object, const char *collection, size_t n)
{
	const char *what = memrchr(collection, '/', n);
	size_t n_head = (size_t)(what - collection);
	const char *spaces = "/namespaces/", *rest;

	if (strncmp(object, collection, n) == 0 && object[n] == '/')
		return true;
	if (strncmp(object, collection, n_head) != 0 || !str_has_prefix(object + n_head, spaces))
		return false;
	rest = strchr(object + n_head + strlen(spaces), '/');
	return rest && strncmp(rest, what, n - n_head) == 0 && rest[n - n_head] == '/';
}

/* All of the collection, in pieces of one, whatever the limit: the token is how many have been
 * told. */
static struct json_doc *list(const char *path)
{
	size_t n = strcspn(path, "?");
	uint64_t skip = 0;
	const char *token = strstr(path, "&continue=t");
	autostr struct str out = STR_INIT;
	const char *found = NULL, *other;
	size_t n_found = 0;
	void *text;

	if (token)
		(void)str_parse_u64(token + strlen("&continue=t"), &skip);
	for (size_t it = 0; map_next(api.objects, &it, &other, &text);)
		if (is_in(other, path, n) && n_found++ == skip)
			found = text;
	str_appendf(&out, "{\"items\":[%s],\"metadata\":{", found ? found : "");
	if (skip + 1 < n_found)
		str_appendf(&out, "\"continue\":\"t%zu\"", (size_t)skip + 1);
	str_append(&out, "}}");
	return parse(str_get(&out));
}

/* "a%3Db%2Cc%3Dd", of plain characters. */
static bool is_selected(const struct json *root, const char *selector)
{
	const struct json *labels = json_path(root, "metadata.labels");

	for (const char *s = selector; *s;) {
		const char *equals = strstr(s, "%3D"), *end = strstr(equals, "%2C");
		autofree char *key = xstrndup(s, (size_t)(equals - s));
		autofree char *value = end ? xstrndup(equals + 3, (size_t)(end - equals) - 3)
					   : xstrdup(equals + 3);

		if (!str_is_equal(json_get_string(labels, key), value))
			return false;
		s = end ? end + 3 : "";
	}
	return true;
}

/* What a collection holds that has the labels: "/api/…/things?labelSelector=…". */
static int list_selected(const char *path, bool is_lost, struct json_doc **ret, struct err *err)
{
	static const char query[] = "?labelSelector=";
	const char *at = strstr(path, query), *object;
	autofree char *prefix = xasprintf("%.*s/", (int)(at - path), path);
	autostr struct str out = STR_INIT;
	void *text;

	str_append(&out, "{\"kind\":\"List\",\"items\":[");
	for (size_t it = 0; map_next(api.objects, &it, &object, &text);) {
		autojson struct json_doc *doc = parse(text);

		if (!str_has_prefix(object, prefix) ||
		    !is_selected(json_root(doc), at + strlen(query)))
			continue;
		str_appendf(&out, "%s%s", str_has_suffix(str_get(&out), "[") ? "" : ",",
			    (const char *)text);
	}
	str_append(&out, "]}");
	if (is_lost)
		return err_set(err, ERR_UNAVAILABLE, "the answer got lost");
	*ret = parse(str_get(&out));
	return 0;
}

static int get_recent(const char *path, bool is_lost, struct json_doc **ret, struct err *err)
{
	autofree char *object = xstrndup(path, strcspn(path, "?"));
	const char *text = map_find(api.old ? api.old : api.objects, object);

	api.recent_reads++;
	if (is_lost)
		return err_set(err, ERR_UNAVAILABLE, "the answer got lost");
	if (!text)
		return err_set(err, ERR_NOT_FOUND, "no %s", path);
	*ret = parse(text);
	return 0;
}

int kube_get(struct kube_client *c, struct ctx *ctx, const char *path, struct json_doc **ret,
	     struct err *err)
{
	bool is_lost;

	if (fence_check(NULL, ctx, err) < 0 || fake_step(&is_lost, err) < 0)
		return -1;
	if (api.absent_part && strstr(path, api.absent_part))
		return err_set(err, ERR_NOT_FOUND, "the server has no such kind: %s", path);
	if (strstr(path, "?labelSelector="))
		return list_selected(path, is_lost, ret, err);
	if (str_has_suffix(path, "?resourceVersion=0"))
		return get_recent(path, is_lost, ret, err);
	if (strchr(path, '?')) {
		if (is_lost)
			return err_set(err, ERR_UNAVAILABLE, "the answer got lost");
		*ret = list(path);
		return 0;
	}
	if (!fake_has(path))
		return err_set(err, ERR_NOT_FOUND, "no %s", path);
	return reply(path, is_lost, ret, err);
}

/* What the StorageObjectInUseProtection admission plugin and the PV controller do to a new PV. */
static void admit_pv(const char *path, const struct json *body)
{
	autostr struct str patch = STR_INIT;
	struct json_writer w = JSON_WRITER(&patch);
	const struct json *value;
	const char *none;

	str_append(&patch, "{\"status\":{\"phase\":\"Pending\"},\"metadata\":{\"finalizers\":");
	json_begin_array(&w);
	for (struct json_it it = json_each(json_path(body, "metadata.finalizers"));
	     json_next(&it, &none, &value);)
		json_put_value(&w, value);
	json_put_string(&w, "kubernetes.io/pv-protection");
	json_end_array(&w);
	str_append(&patch, "}}");
	fake_merge(path, str_get(&patch));
}

void fake_answer(const char *path_part, const char *answer)
{
	size_t i = 0;

	while (api.questions[i].part && strcmp(api.questions[i].part, path_part) != 0)
		i++;
	assert(i < ARRAY_LEN(api.questions));
	api.questions[i].part = path_part;
	api.questions[i].answer = answer;
}

const char *fake_asked(const char *path_part)
{
	for (size_t i = 0; i < ARRAY_LEN(api.questions); i++)
		if (api.questions[i].asked && str_is_equal(api.questions[i].part, path_part))
			return api.questions[i].asked;
	return "";
}

/* 1: it is one that is only answered. */
static int answer(const char *path, const char *body, struct json_doc **ret, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(api.questions) && api.questions[i].part; i++) {
		bool is_lost;

		if (!strstr(path, api.questions[i].part))
			continue;
		if (fake_step(&is_lost, err) < 0)
			return -1;
		free(api.questions[i].asked);
		api.questions[i].asked = xstrdup(body);
		if (is_lost)
			return err_set(err, ERR_UNAVAILABLE, "the answer got lost");
		*ret = parse(api.questions[i].answer);
		return 1;
	}
	return 0;
}

static int create(const char *path, const char *body, struct json_doc **ret, struct err *err)
{
	autojson struct json_doc *doc = parse(body);
	autofree char *full = xasprintf(
		"%s/%s", path, str_or(json_path_string(json_root(doc), "metadata.name"), ""));
	int answered = answer(path, body, ret, err);
	bool is_lost;

	if (answered != 0)
		return answered < 0 ? -1 : 0;
	if (fake_step(&is_lost, err) < 0)
		return -1;
	if (fake_has(full))
		return err_set(err, ERR_ALREADY_EXISTS, "%s exists", full);
	fake_put(full, body);
	if (fake_type(body) == &core_pv_type)
		admit_pv(full, json_root(doc));
	return reply(full, is_lost, ret, err);
}

static bool is_stale(const char *text, const struct json *body)
{
	autojson struct json_doc *doc = parse(text);
	const char *wanted = json_path_string(body, "metadata.resourceVersion");

	return wanted &&
	       !str_is_equal(wanted, json_path_string(json_root(doc), "metadata.resourceVersion"));
}

static bool has_new_finalizer(const char *text, const struct json *body)
{
	autojson struct json_doc *doc = parse(text);
	const struct json *old = json_path(json_root(doc), "metadata.finalizers"), *value, *other;
	const char *none;

	for (struct json_it it = json_each(json_path(body, "metadata.finalizers"));
	     json_next(&it, &none, &value);) {
		bool is_old = false;

		for (struct json_it jt = json_each(old); json_next(&jt, &none, &other);)
			is_old |= str_is_equal(json_string(value), json_string(other));
		if (!is_old)
			return true;
	}
	return false;
}

/* What update and patch have in common, before the write. */
static int check_write(const char *path, const struct json *body, struct err *err)
{
	const char *text = map_find(api.objects, path);
	autojson struct json_doc *doc = NULL;

	if (!text)
		return err_set(err, ERR_NOT_FOUND, "no %s", path);
	if (is_stale(text, body))
		return err_set(err, ERR_ABORTED, "%s was changed", path);
	doc = parse(text);
	if (json_path(json_root(doc), "metadata.deletionTimestamp") &&
	    has_new_finalizer(text, body))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s is being deleted: no new finalizers",
			       path);
	return 0;
}

/* {"NAME": the object's value, or null}, to be merged. */
static char *part_of(const struct json *root, const char *name)
{
	const struct json *value = json_get(root, name);
	autofree char *text = value ? json_text(value) : xstrdup("null");

	return xasprintf("{\"%s\":%s}", name, text);
}

/* The main path does not write the status, and that of the status nothing else. */
static int update(const struct kube_write *write, struct json_doc **ret, struct err *err)
{
	autojson struct json_doc *doc = parse(write->body), *old = NULL;
	autofree char *status = NULL;
	bool is_lost;

	if (fake_step(&is_lost, err) < 0 || check_write(write->path, json_root(doc), err) < 0)
		return -1;
	old = parse(map_find(api.objects, write->path));
	status = part_of(json_root(write->subresource ? doc : old), "status");
	store(write->path,
	      merge_text(write->subresource ? fake_text(write->path) : write->body, status));
	return reply(write->path, is_lost, ret, err);
}

static char *without_finalizers(const char *text, const struct json *patch)
{
	autojson struct json_doc *doc = parse(text);
	const struct json *gone =
		json_get(json_get(patch, "metadata"), "$deleteFromPrimitiveList/finalizers");
	const struct json *value, *other;
	struct str out = STR_INIT;
	struct json_writer w = JSON_WRITER(&out);
	const char *none;

	str_append(&out, "{\"metadata\":{\"finalizers\":");
	json_begin_array(&w);
	for (struct json_it it = json_each(json_path(json_root(doc), "metadata.finalizers"));
	     json_next(&it, &none, &value);) {
		bool is_gone = false;

		for (struct json_it jt = json_each(gone); json_next(&jt, &none, &other);)
			is_gone |= str_is_equal(json_string(value), json_string(other));
		if (!is_gone)
			json_put_value(&w, value);
	}
	json_end_array(&w);
	str_append(&out, "}}");
	return str_take(&out);
}

static const struct json *find_by_type(const struct json *list, const char *type)
{
	const struct json *value;
	const char *none;

	for (struct json_it it = json_each(list); json_next(&it, &none, &value);)
		if (str_is_equal(json_get_string(value, "type"), type))
			return value;
	return NULL;
}

static void merge_condition(struct json_writer *w, const struct json *old, const struct json *new)
{
	if (str_is_equal(json_get_string(new, "$patch"), "delete"))
		return;
	merge(w, old, new ? new : old);
}

/* And the list of conditions, whose elements it finds by their type. */
static void merge_conditions(struct json_writer *w, const struct json *base,
			     const struct json *patch)
{
	const struct json *value;
	const char *none;

	json_begin_array(w);
	for (struct json_it it = json_each(base); json_next(&it, &none, &value);) {
		const struct json *new = find_by_type(patch, json_get_string(value, "type"));

		if (new)
			merge_condition(w, value, new);
		else
			json_put_value(w, value);
	}
	for (struct json_it it = json_each(patch); json_next(&it, &none, &value);)
		if (!find_by_type(base, json_get_string(value, "type")))
			merge_condition(w, NULL, value);
	json_end_array(w);
}

/* What the object's conditions come to, as a merge patch; NULL if they are not spoken of. */
static char *with_conditions(const char *text, const struct json *patch)
{
	autojson struct json_doc *doc = parse(text);
	const struct json *conditions = json_path(patch, "status.conditions");
	struct str out = STR_INIT;
	struct json_writer w = JSON_WRITER(&out);

	if (!conditions)
		return NULL;
	str_append(&out, "{\"status\":{\"conditions\":");
	merge_conditions(&w, json_path(json_root(doc), "status.conditions"), conditions);
	str_append(&out, "}}");
	return str_take(&out);
}

static int check_uid(const char *text, const struct json *patch, struct err *err)
{
	autojson struct json_doc *doc = parse(text);
	const char *uid = json_path_string(patch, "metadata.uid");

	if (!uid || str_is_equal(uid, json_path_string(json_root(doc), "metadata.uid")))
		return 0;
	return err_set(err, ERR_ABORTED, "the object has another UID");
}

/* Of strategic merge patches what this project uses: finalizers taken off, and conditions by their
 * type. Whoever writes the status may write annotations with it. */
static int strategic(const struct kube_write *write, const struct json *body, bool is_lost,
		     struct json_doc **ret, struct err *err)
{
	const char *path = write->path;
	autofree char *text = NULL;

	if (json_get(json_get(body, "metadata"), "$deleteFromPrimitiveList/finalizers")) {
		text = without_finalizers(fake_text(path), body);
		fake_merge(path, text);
		return reply(path, is_lost, ret, err);
	}
	assert(!json_get(body, write->subresource ? "spec" : "status"));
	text = with_conditions(fake_text(path), body);
	fake_merge(path, write->body);
	if (text)
		fake_merge(path, text);
	return reply(path, is_lost, ret, err);
}

void fake_drop(const char *member)
{
	api.dropped = member;
}

static void drop(const char *path)
{
	autofree char *text = NULL;

	if (!api.dropped)
		return;
	text = xasprintf("{\"status\":{\"%s\":null}}", api.dropped);
	fake_merge(path, text);
}

static int patch(const struct kube_write *write, struct json_doc **ret, struct err *err)
{
	autojson struct json_doc *doc = parse(write->body);
	const char *path = write->path;
	autofree char *text = NULL;
	bool is_lost;

	if (fake_step(&is_lost, err) < 0 || check_write(path, json_root(doc), err) < 0)
		return -1;
	if (check_uid(fake_text(path), json_root(doc), err) < 0)
		return -1;
	if (write->verb == KUBE_STRATEGIC)
		return strategic(write, json_root(doc), is_lost, ret, err);
	text = write->subresource ? part_of(json_root(doc), "status") : xstrdup(write->body);
	fake_merge(path, text);
	drop(path);
	return reply(path, is_lost, ret, err);
}

/* Nobody else's fields here: what is applied is merged, or made. */
static int apply(const struct kube_write *write, struct json_doc **ret, struct err *err)
{
	bool is_lost;

	assert(write->field_manager);
	if (fake_has(write->path))
		return patch(write, ret, err);
	if (fake_step(&is_lost, err) < 0)
		return -1;
	fake_put(write->path, write->body);
	return reply(write->path, is_lost, ret, err);
}

void fake_absent(const char *path_part)
{
	api.absent_part = path_part;
}

void fake_refuse(const char *path_part, int status, const char *body)
{
	api.refused_part = path_part;
	api.refused_status = status;
	api.refused_body = body;
}

/* As the real client tells of such a reply. */
static int refuse(struct ctx *ctx, const struct kube_write *write, struct err *err)
{
	size_t n = strlen(api.refused_body);

	if (write->verdict)
		kube_verdict_read(ctx->arena, api.refused_status, api.refused_body, n,
				  write->verdict);
	return kube_reply_error(write->verb == KUBE_CREATE ? "create" : "update", write->path,
				api.refused_status, api.refused_body, n, err);
}

int kube_write(struct kube_client *c, struct ctx *ctx, const struct kube_write *write,
	       struct json_doc **ret, struct err *err)
{
	if (fence_check(api.fence, ctx, err) < 0)
		return -1;
	if (api.refused_part && strstr(write->path, api.refused_part))
		return refuse(ctx, write, err);
	assert(!write->subresource || str_is_equal(write->subresource, "status") ||
	       str_is_equal(write->subresource, "approval"));
	switch (write->verb) {
	case KUBE_CREATE:
		return create(write->path, write->body, ret, err);
	case KUBE_UPDATE:
		return update(write, ret, err);
	case KUBE_MERGE:
	case KUBE_STRATEGIC:
		return patch(write, ret, err);
	case KUBE_APPLY:
		return apply(write, ret, err);
	case KUBE_JSON_PATCH:
		break;
	}
	return err_set(err, ERR_UNIMPLEMENTED, "the tests' API server takes no JSON patch");
}

int kube_delete(struct kube_client *c, struct ctx *ctx, const char *path, const char *uid,
		struct err *err)
{
	autojson struct json_doc *doc = NULL;
	bool is_lost;

	if (fence_check(api.fence, ctx, err) < 0 || fake_step(&is_lost, err) < 0)
		return -1;
	if (!fake_has(path))
		return 0;
	doc = parse(map_find(api.objects, path));
	if (*uid && !str_is_equal(uid, json_path_string(json_root(doc), "metadata.uid")))
		return err_set(err, ERR_ABORTED, "%s has another UID", path);
	fake_delete(path);
	return reply(path, is_lost, NULL, err);
}
