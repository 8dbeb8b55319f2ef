/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record, in the API, that a volume may exist which no PV tells of.
 *
 * A volume's name comes from the claim's UID, so a repeated CreateVolume finds what a killed one
 * made. That is enough as long as the claim is there to be repeated for. If it is deleted between
 * CreateVolume and the PV, nothing in the cluster points at the volume any more;
 * external-provisioner remembers such claims in memory and loses them with the process. So before
 * CreateVolume the finalizer INTENT_FINALIZER goes onto the claim, and it goes off when the driver
 * has said finally that it made nothing, or when the claim is bound to its PV (whose own finalizer
 * takes over). In short: the finalizer is there if and only if a volume may exist that no PV
 * records; a claim deleted meanwhile stays Terminating until the driver has answered, then the
 * volume is deleted and the claim goes.
 *
 * Weighed: an annotation dies with the claim; a journal object (ConfigMap, CRD) needs rights and a
 * second thing to keep true; a PV cannot be written first, as its handle is immutable; ListVolumes
 * does not tell names and need not exist. The finalizer costs two updates a volume, with the right
 * (update claims) that external-provisioner's role has already. A person who strips the finalizer
 * by hand strips the record.
 *
 * The claim is read from the API server, not from the cache, and written back whole with the
 * resourceVersion read: the write that records the intent also proves that the claim still is what
 * we read. On the way back it waits for Bound, so that it does not collide with the binder's own
 * writes.
 */
#include "control/provision-internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/informer.h"

#define WRITE_TRIES 3

static int take_document(struct attempt *a, struct json_doc *doc, struct err *err)
{
	struct kube_object *obj = kube_object_decode(KUBE_PVC, json_root(doc));

	if (!obj) {
		json_free(doc);
		return err_set(err, ERR_INTERNAL, "the API server's answer is no claim");
	}
	kube_object_unref(a->obj);
	json_free(a->doc);
	a->obj = obj;
	a->doc = doc;
	informer_note_write(a->p->caches.pvcs, obj);
	return 0;
}

static char *claim_path(const struct attempt *a)
{
	return kube_object_path(KUBE_PVC, a->obj->ns, a->obj->name);
}

int intent_read(struct attempt *a, struct err *err)
{
	autofree char *path = claim_path(a);
	struct json_doc *doc = NULL;

	if (kube_get(a->p->client, a->ctx, path, &doc, err) < 0)
		return -1;
	return take_document(a, doc, err);
}

static void write_annotations(struct json_writer *w, const struct json *annotations, bool unselect)
{
	const struct json *value;
	const char *key;

	json_begin_object(w);
	for (struct json_it it = json_each(annotations); json_next(&it, &key, &value);) {
		if (unselect && str_is_equal(key, ANN_SELECTED_NODE))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	json_end_object(w);
}

static void write_finalizers(struct json_writer *w, const struct json *finalizers, bool is_recorded)
{
	const struct json *value;
	const char *none;

	json_begin_array(w);
	for (struct json_it it = json_each(finalizers); json_next(&it, &none, &value);)
		if (!str_is_equal(json_string(value), INTENT_FINALIZER))
			json_put_value(w, value);
	if (is_recorded)
		json_put_string(w, INTENT_FINALIZER);
	json_end_array(w);
}

/* The claim as read, with our finalizer or without it. status is left out: it is another
 * endpoint's. */
static void write_claim(struct json_writer *w, const struct json *root, bool is_recorded,
			bool unselect)
{
	const struct json *meta = json_get(root, "metadata"), *value;
	const char *key;

	json_begin_object(w);
	for (struct json_it it = json_each(root); json_next(&it, &key, &value);) {
		if (str_is_equal(key, "metadata") || str_is_equal(key, "status"))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	json_key(w, "metadata");
	json_begin_object(w);
	for (struct json_it it = json_each(meta); json_next(&it, &key, &value);) {
		if (str_is_equal(key, "finalizers") || str_is_equal(key, "annotations"))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	json_key(w, "annotations");
	write_annotations(w, json_get(meta, "annotations"), unselect);
	json_key(w, "finalizers");
	write_finalizers(w, json_get(meta, "finalizers"), is_recorded);
	json_end_object(w);
	json_end_object(w);
}

static int update_claim(struct attempt *a, bool is_recorded, bool unselect, struct err *err)
{
	autofree char *path = claim_path(a);
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);
	struct json_doc *doc = NULL;

	if (provision_may_act(a->p, err) < 0)
		return -1;
	write_claim(&w, json_root(a->doc), is_recorded, unselect);
	if (kube_update(a->p->client, a->ctx, path, str_get(&body), &doc, err) < 0)
		return -1;
	return take_document(a, doc, err);
}

int intent_record(struct attempt *a, struct err *err)
{
	if (intent_is_recorded(a->obj))
		return 0;
	if (update_claim(a, true, false, err) < 0)
		return err_wrap(err, "record the intent on the claim");
	return 0;
}

static bool is_settled(const struct attempt *a, bool drop, bool unselect)
{
	return !(drop && intent_is_recorded(a->obj)) &&
	       !(unselect && strmap_find(&a->obj->annotations, ANN_SELECTED_NODE));
}

int intent_settle(struct attempt *a, bool drop, bool unselect, struct err *err)
{
	autofree char *uid = xstrdup(a->obj->uid);

	for (unsigned tries = 1; !is_settled(a, drop, unselect); tries++) {
		int r = update_claim(a, intent_is_recorded(a->obj) && !drop, unselect, err);

		if (r < 0 && err->code == ERR_ABORTED && tries < WRITE_TRIES)
			r = intent_read(a, err);
		if (r < 0 && err->code == ERR_NOT_FOUND)
			return 0;
		if (r < 0)
			return err_wrap(err, "update the claim");
		if (!str_is_equal(uid, a->obj->uid))
			return 0;
	}
	return 0;
}
