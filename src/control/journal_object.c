/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Lease objects of a journal: their text, and the requests. What others wrote into them
 * (labels, annotations of other prefixes) stays.
 *
 * A further object is made only after the first one says how many there are: one who was deposed
 * and then makes it, behind the back of a leader that found none, would have an intent that nobody
 * reads. To say so he must write into the first, where he meets the leader's term; and a leader who
 * reads it there makes the object himself.
 */
#include "control/journal-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/list.h"
#include "kube/client.h"
#include "kube/path.h"

#define PREFIX JOURNAL_PREFIX
#define TERM_KEY PREFIX "term"
#define COUNT_KEY PREFIX "leases"
#define WRITE_TRIES 5

struct journal_object *journal_object_add(struct journal *j)
{
	struct journal_object *o = &j->objects[j->n_objects++];
	unsigned n = j->n_objects;

	if (j->node)
		o->name = n == 1 ? xasprintf("%s-%s", j->name, j->node)
				 : xasprintf("%s.%u-%s", j->name, n, j->node);
	else
		o->name = n == 1 ? xstrdup(j->name) : xasprintf("%s-%u", j->name, n);
	return o;
}

static bool is_there(const struct journal_object *o)
{
	return o->doc && !o->is_removed;
}

/* Takes doc. */
static void see_object(struct journal_object *o, struct json_doc *doc)
{
	json_free(o->doc);
	o->doc = doc;
	o->is_removed = false;
}

/* ---- the object's text; under the lock ---- */

/* How many objects the first one says there are. */
static unsigned count_of(const struct journal *j)
{
	const struct json *annotations =
		json_path(json_root(j->objects[0].doc), "metadata.annotations");
	const char *text = json_get_string(annotations, COUNT_KEY);
	uint64_t n = 1;

	if (!text || str_parse_u64(text, &n) < 0)
		return 1;
	return n > j->objects_max ? j->objects_max : (unsigned)n;
}

static void put_annotations(const struct journal *j, unsigned object, struct json_writer *w)
{
	const struct json *old =
		json_path(json_root(j->objects[object].doc), "metadata.annotations");
	unsigned n = count_of(j) > j->n_objects ? count_of(j) : j->n_objects;
	const struct json *value;
	const char *key;
	void *v;

	json_begin_object(w);
	for (struct json_it it = json_each(old); json_next(&it, &key, &value);) {
		if (str_has_prefix(key, PREFIX))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	json_field_string(w, TERM_KEY, j->term);
	if (object == 0 && n > 1) {
		autofree char *count = xasprintf("%u", n);

		json_field_string(w, COUNT_KEY, count);
	}
	for (size_t it = 0; map_next(j->entries, &it, NULL, &v);) {
		const struct journal_entry *e = v;
		autofree char *name = xasprintf(PREFIX "%s", e->uid);

		if (e->object == object && journal_is_kept(e))
			json_field_string(w, name, e->text);
	}
	json_end_object(w);
}

/* Of one that is made anew what people wrote; the rest was the API server's, about the old one. */
static bool is_kept_field(const struct journal_object *o, const char *key)
{
	if (o->is_removed)
		return str_is_equal(key, "labels");
	return !str_is_equal(key, "annotations") && !str_is_equal(key, "managedFields");
}

static void put_metadata(const struct journal *j, unsigned object, struct json_writer *w)
{
	const struct journal_object *o = &j->objects[object];
	const struct json *value;
	const char *key;

	json_begin_object(w);
	for (struct json_it it = json_each(json_get(json_root(o->doc), "metadata"));
	     json_next(&it, &key, &value);) {
		if (!is_kept_field(o, key))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	if (!is_there(o)) {
		json_field_string(w, "name", o->name);
		json_field_string(w, "namespace", j->ns);
	}
	json_key(w, "annotations");
	put_annotations(j, object, w);
	json_end_object(w);
}

static void put_object(const struct journal *j, unsigned object, struct str *out)
{
	struct json_writer w = JSON_WRITER(out);
	char now[CLOCK_TEXT_MAX];

	clock_format_micro(clock_wall_ns(), now);
	json_begin_object(&w);
	json_field_string(&w, "apiVersion", "coordination.k8s.io/v1");
	json_field_string(&w, "kind", "Lease");
	json_key(&w, "metadata");
	put_metadata(j, object, &w);
	json_key(&w, "spec");
	json_begin_object(&w);
	json_field_string(&w, "holderIdentity", j->holder);
	json_field_string(&w, "renewTime", now);
	json_end_object(&w);
	json_end_object(&w);
}

/* ---- requests; not under the lock ---- */

static int read_object(struct journal *j, struct ctx *ctx, const struct journal_object *o,
		       struct json_doc **ret_doc, struct err *err)
{
	autofree char *path = NULL;

	if (kube_object_path(&kube_lease_type, j->ns, o->name, &path, err) < 0)
		return -1;
	return kube_get(j->client, ctx, path, ret_doc, err);
}

/* 403 is also said where the right is there: then nothing may be made without a record. */
static void weigh_refusal(const struct kube_verdict *verdict, struct err *err)
{
	if (err->code != ERR_PERMISSION_DENIED)
		return;
	if (kube_verdict_has(verdict, "NamespaceTerminating"))
		err->code = ERR_FAILED_PRECONDITION;
	else if (kube_verdict_is_over_quota(verdict))
		err->code = ERR_RESOURCE_EXHAUSTED;
}

static int send_object(struct journal *j, struct ctx *ctx, unsigned object, const char *body,
		       struct json_doc **ret_doc, struct err *err)
{
	const struct journal_object *o = &j->objects[object];
	autofree char *path = NULL;
	struct kube_verdict verdict = { 0 };
	struct kube_write write = { .verb = is_there(o) ? KUBE_UPDATE : KUBE_CREATE,
				    .body = body,
				    .verdict = &verdict };

	if ((is_there(o) ? kube_object_path(&kube_lease_type, j->ns, o->name, &path, err)
			 : kube_collection_path(&kube_lease_type, j->ns, &path, err)) < 0)
		return -1;
	write.path = path;
	if (kube_write(j->client, ctx, &write, ret_doc, err) == 0)
		return 0;
	weigh_refusal(&verdict, err);
	return -1;
}

static const char *term_of(const struct json_doc *doc)
{
	const struct json *annotations = json_path(json_root(doc), "metadata.annotations");

	return str_or(json_get_string(annotations, TERM_KEY), "");
}

/* After a conflict: the object as it is, if the term in it is still ours. */
static int read_again(struct journal *j, struct ctx *ctx, struct journal_object *o, struct err *err)
{
	struct json_doc *doc = NULL;

	if (read_object(j, ctx, o, &doc, err) < 0)
		return -1;
	if (!str_is_equal(term_of(doc), j->term)) {
		json_free(doc);
		return err_set(err, ERR_ABORTED, "another process leads now: %s is in its term",
			       o->name);
	}
	see_object(o, doc);
	return 0;
}

static bool is_about_journal(const char *key)
{
	return str_is_equal(key, TERM_KEY) || str_is_equal(key, COUNT_KEY);
}

static bool is_conflict(const struct err *err)
{
	return err->code == ERR_ABORTED || err->code == ERR_ALREADY_EXISTS;
}

/* Until it is written, or cannot be. Only the one thread that writes touches doc meanwhile. One
 * that was removed by hand is made anew, with all that is known to have been in it, by whomever:
 * which pools are forgotten stands there too (forgotten.h). */
static int write_until(struct journal *j, struct ctx *ctx, unsigned object, struct err *err)
{
	struct journal_object *o = &j->objects[object];

	for (unsigned tries = 1;; tries++) {
		autostr struct str body = STR_INIT;
		struct json_doc *doc = NULL;

		pthread_mutex_lock(&j->lock);
		put_object(j, object, &body);
		pthread_mutex_unlock(&j->lock);
		if (send_object(j, ctx, object, str_get(&body), &doc, err) == 0) {
			see_object(o, doc);
			return 0;
		}
		if (is_there(o) && err->code == ERR_NOT_FOUND && tries < WRITE_TRIES) {
			log_warn("a lease of the journal was removed, made anew",
				 log_str("lease", o->name));
			o->is_removed = true;
			continue;
		}
		if (!is_conflict(err) || tries == WRITE_TRIES || read_again(j, ctx, o, err) < 0)
			return err_wrap(err, "write lease %s", o->name);
	}
}

int journal_object_write(struct journal *j, struct ctx *ctx, unsigned object, struct err *err)
{
	if (object > 0 && !is_there(&j->objects[object]) && write_until(j, ctx, 0, err) < 0)
		return -1;
	return write_until(j, ctx, object, err);
}

/* ---- taking over ---- */

static void take_over(struct journal *j, unsigned object)
{
	const struct json *annotations =
		json_path(json_root(j->objects[object].doc), "metadata.annotations");
	const struct json *value;
	const char *key;

	for (struct json_it it = json_each(annotations); json_next(&it, &key, &value);) {
		autoarena struct arena *arena = NULL;
		const char *text = json_string(value);
		struct intent intent;
		struct err err;

		if (!text || !str_has_prefix(key, PREFIX) || is_about_journal(key))
			continue;
		arena = arena_new();
		key += strlen(PREFIX);
		if (map_find(j->entries, key))
			continue;
		if (intent_parse(arena, key, text, &intent, &err) == 0) {
			journal_add(j, &intent, key, text, object, DURABLE);
			continue;
		}
		log_warn("an intent of another version is left alone",
			 log_str("lease", j->objects[object].name), log_err(&err));
		journal_add(j, NULL, key, text, object, DURABLE);
	}
}

/* Reads the object, or makes it if the first one tells of it, and writes the term into it: 1; 0:
 * there is no such object. */
static int claim_object(struct journal *j, struct ctx *ctx, unsigned object, struct err *err)
{
	struct journal_object *o = &j->objects[object];
	unsigned n_told = object > 0 ? count_of(j) : 1;

	for (unsigned tries = 1;; tries++) {
		autostr struct str body = STR_INIT;
		struct json_doc *doc = NULL;

		if (read_object(j, ctx, o, &doc, err) == 0)
			see_object(o, TAKE_PTR(doc));
		else if (err->code != ERR_NOT_FOUND)
			return -1;
		else if (object >= n_told)
			return 0;
		else
			o->is_removed = o->doc;
		take_over(j, object);
		put_object(j, object, &body);
		if (send_object(j, ctx, object, str_get(&body), &doc, err) == 0) {
			see_object(o, doc);
			return 1;
		}
		if (!is_conflict(err) || tries == WRITE_TRIES)
			return -1;
		/* The one before us wrote once more: what it wrote is ours too. */
	}
}

int journal_object_claim_all(struct journal *j, struct ctx *ctx, struct err *err)
{
	while (j->n_objects < j->objects_max) {
		int r;

		(void)journal_object_add(j);
		r = claim_object(j, ctx, j->n_objects - 1, err);
		if (r < 0)
			return err_wrap(err, "open the journal, lease %s",
					j->objects[j->n_objects - 1].name);
		if (r == 0) {
			struct journal_object *o = &j->objects[--j->n_objects];

			free(o->name);
			json_free(o->doc);
			*o = (struct journal_object){ 0 };
			break;
		}
	}
	return 0;
}

/* ---- looking on ---- */

static int note_uids(void *arg, const struct json *lease)
{
	struct map *uids = arg;
	const struct json *value;
	const char *key;

	for (struct json_it it = json_each(json_path(lease, "metadata.annotations"));
	     json_next(&it, &key, &value);)
		if (str_has_prefix(key, PREFIX) && !is_about_journal(key))
			map_put(uids, key + strlen(PREFIX), uids);
	return 0;
}

static int look_at(struct kube_client *client, struct ctx *ctx, const char *ns, const char *name,
		   struct map *uids, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	autofree char *path = NULL;

	if (kube_object_path(&kube_lease_type, ns, name, &path, err) < 0)
		return -1;
	if (kube_get(client, ctx, path, &doc, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return note_uids(uids, json_root(doc));
}

int journal_look(struct kube_client *client, struct ctx *ctx, const char *ns, const char *name,
		 struct map *uids, struct err *err)
{
	int r = name ? look_at(client, ctx, ns, name, uids, err)
		     : list_each(client, ctx, &kube_lease_type, ns, note_uids, uids, err);

	return r < 0 ? err_wrap(err, "the journal of what is being made") : 0;
}
