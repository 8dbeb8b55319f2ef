/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attempt and its record: what goes into the journal, what comes out of it, and the writes
 * to a claim that a provisioner has to make, giving it back to the scheduler or taking it for its
 * node. They are made as external-provisioner makes them: the whole claim as read, with the version
 * read.
 */
#include "control/provision-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/fence.h"
#include "kube/path.h"

#define WRITE_TRIES 4
/* Drops ride along with the next intent; they are written apart when none came for so long. */
#define FLUSH_NS (300 * NS_PER_MS)

static struct object_store claim_store(const struct attempt *a)
{
	return (struct object_store){ a->p->client, a->p->caches.pvcs, &core_pvc_type };
}

int attempt_read_claim(struct attempt *a, struct err *err)
{
	const struct object_store store = claim_store(a);

	return object_read_whole(&store, a->ctx, a->claim.obj->ns, a->claim.obj->name, &a->claim,
				 err);
}

/* The claim as read, with this node as the selected one; NULL: with none. status is left out: it is
 * another endpoint's. */
static void write_claim(struct json_writer *w, const struct json *root, const char *node)
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
		if (str_is_equal(key, "annotations"))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	json_key(w, "annotations");
	json_begin_object(w);
	for (struct json_it it = json_each(json_get(meta, "annotations"));
	     json_next(&it, &key, &value);) {
		if (str_is_equal(key, ANN_SELECTED_NODE))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	if (node)
		json_field_string(w, ANN_SELECTED_NODE, node);
	json_end_object(w);
	json_end_object(w);
	json_end_object(w);
}

static int update_claim(struct attempt *a, const char *node, struct err *err)
{
	const struct object_store store = claim_store(a);
	autofree char *path = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);
	struct json_doc *doc = NULL;

	if (kube_object_path(store.type, a->claim.obj->ns, a->claim.obj->name, &path, err) < 0)
		return -1;
	write_claim(&w, json_root(a->claim.doc), node);
	if (kube_update(a->p->client, a->ctx, path, str_get(&body), &doc, err) < 0)
		return -1;
	return object_take_whole(&store, doc, &a->claim, err);
}

int attempt_unselect_node(struct attempt *a, struct err *err)
{
	for (unsigned tries = 1; tries <= WRITE_TRIES; tries++) {
		if (attempt_read_claim(a, err) < 0)
			return err->code == ERR_NOT_FOUND ? 0 : -1;
		if (!str_is_equal(a->uid, a->claim.obj->uid) ||
		    !strmap_find(&a->claim.obj->annotations, ANN_SELECTED_NODE))
			return 0;
		if (update_claim(a, NULL, err) == 0 || err->code == ERR_NOT_FOUND)
			return 0;
		if (err->code != ERR_ABORTED)
			break;
	}
	return err_wrap(err, "give the claim back to the scheduler");
}

int attempt_select_node(struct attempt *a, const char *node, struct err *err)
{
	if (attempt_read_claim(a, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!str_is_equal(a->uid, a->claim.obj->uid) || a->claim.obj->is_deleting ||
	    *attempt_claim(a)->volume_name)
		return 0;
	if (strmap_find(&a->claim.obj->annotations, ANN_SELECTED_NODE))
		return 0;
	return update_claim(a, node, err) < 0 ? -1 : 1;
}

void attempt_fill_intent(struct attempt *a)
{
	const struct core_pvc *claim = attempt_claim(a);
	const struct storage_class *class = attempt_class(a);
	struct intent *it = &a->it;

	it->uid = a->uid;
	it->ns = a->claim.obj->ns;
	it->claim = a->claim.obj->name;
	it->claim_version = a->claim.obj->resource_version;
	it->class_name = class->meta.name;
	it->provisioner = class->provisioner;
	it->reclaim_policy = class->reclaim_policy;
	it->volume_mode = claim->volume_mode;
	it->attributes_class = claim->attributes_class;
	it->access_modes = (struct intent_strings){ claim->access_modes.v, claim->access_modes.n };
	it->mount_options =
		(struct intent_strings){ class->mount_options.v, class->mount_options.n };
	it->place = intent_place(a->ctx->arena, &it->request);
}

int attempt_load_intent(struct attempt *a, struct err *err)
{
	int found = journal_find(a->p->journal, a->ctx->arena, a->uid, &a->it, err);

	if (found == 0)
		return err_set(err, ERR_ABORTED, "the intent is gone from the journal");
	if (found < 0)
		return -1;
	a->pv_name = a->it.request.name;
	return secret_fetch(a->p->client, a->ctx, &a->it.refs[SECRET_PROVISIONER],
			    &a->it.request.secrets, err);
}

void attempt_drop_intent(struct attempt *a)
{
	journal_drop(a->p->journal, a->uid);
	queue_add_after(a->p->claims, JOURNAL_KEY, FLUSH_NS);
}

enum queue_verdict attempt_reconcile_journal(struct provisioner *p, struct ctx *ctx,
					     int64_t *ret_after_ns)
{
	bool is_open = journal_is_open(p->journal);
	struct intent_strings uids;
	struct err err;

	*ret_after_ns = is_open ? journal_flush_in(p->journal, FLUSH_NS) : 0;
	if (*ret_after_ns > 0)
		return QUEUE_RETRY_AFTER;
	if ((is_open ? journal_flush(p->journal, ctx, &err) : journal_open(p->journal, ctx, &err)) <
	    0) {
		if (fence_is_cut_off(p->fence, ctx))
			return QUEUE_RETRY;
		log_warn("journal not written", log_err(&err));
		memo_set_trouble(p, is_open ? "" : err.msg);
		return QUEUE_RETRY;
	}
	memo_set_trouble(p, "");
	if (is_open)
		return QUEUE_DONE;
	uids = journal_uids(p->journal, ctx->arena, NULL);
	log_info("journal is open", log_u64("intents", uids.n));
	for (size_t i = 0; i < uids.n; i++)
		queue_add(p->claims, journal_key(p->journal, ctx->arena, uids.v[i]));
	return QUEUE_DONE;
}
