/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver says is attached (ListVolumes with published nodes) against what attachments say.
 * Where they differ the attachment is worked off once more, whatever its status says: the calls are
 * idempotent, so a wrong answer costs a call.
 *
 * That a volume is not in the list counts only when all pages were read, and of a volume without a
 * status nothing is known. An attachment that was at work or was written to while the list came in
 * is left to the next one: the list may be older than it.
 *
 * Memory: one record an attachment and one page of the list.
 */
#include "control/attach-internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "kube/fence.h"
#include "kube/informer.h"

#define PAGES_MAX 100000

/* An attachment as it stood when the list began. */
struct record {
	const struct kube_object *obj; /* owned */
	const char *handle;            /* into obj or pv */
	const char *node_id;           /* the arena's */
	const struct kube_object *pv;  /* owned; NULL: inline */
	bool is_listed, is_unknown;
	struct record *next; /* of the same handle */
};

struct records {
	struct attacher *a;
	struct ctx *ctx;
	VEC(struct record *) all;
	struct map *by_handle; /* handle → struct record */
};

static int collect(void *arg, const struct kube_object *o)
{
	struct records *r = arg;
	struct record *record = arena_alloc(r->ctx->arena, sizeof(*record));

	record->obj = kube_object_ref(o);
	vec_push(&r->all, record);
	return 0;
}

/* False if it cannot be told what the driver would call it. */
static bool identify(struct records *r, struct record *record)
{
	const struct storage_attachment *va = storage_attachment_of(record->obj);
	struct err err;

	record->handle = va->inline_handle;
	if (!va->has_inline) {
		record->pv = informer_get(r->a->pvs, "", va->pv_name);
		if (!record->pv || !str_is_equal(core_pv_of(record->pv)->driver, r->a->csi.name))
			return false;
		record->handle = core_pv_of(record->pv)->handle;
	}
	return *record->handle && !attach_is_at_work(r->a, record->obj->name) &&
	       attach_node_id(r->a, r->ctx, record->obj, true, &record->node_id, &err) == 0;
}

static void gather(struct records *r)
{
	informer_each_in(r->a->attachments, STORAGE_ATTACHMENTS_BY_DRIVER, r->a->csi.name, collect,
			 r);
	for (size_t i = 0; i < r->all.n; i++) {
		struct record *record = r->all.v[i];

		if (!identify(r, record)) {
			record->is_unknown = true;
			continue;
		}
		record->next = map_put(r->by_handle, record->handle, record);
	}
}

static void drop(struct records *r)
{
	for (size_t i = 0; i < r->all.n; i++) {
		kube_object_unref(r->all.v[i]->obj);
		kube_object_unref(r->all.v[i]->pv);
	}
	vec_done(&r->all);
	map_free(r->by_handle);
}

static bool is_published(const struct csi_volume_status *status, const char *node_id)
{
	for (size_t i = 0; i < status->n_published_node_ids; i++)
		if (str_is_equal(status->published_node_ids[i], node_id))
			return true;
	return false;
}

static void take_page(struct records *r, const struct csi_list_volumes_response *page)
{
	for (size_t i = 0; i < page->n_entries; i++) {
		const struct csi_controller_get_volume_response *entry = &page->entries[i];
		struct record *record =
			entry->has_volume ? map_find(r->by_handle, entry->volume.volume_id) : NULL;

		for (; record; record = record->next) {
			record->is_unknown |= !entry->has_status;
			record->is_listed |=
				entry->has_status && is_published(&entry->status, record->node_id);
		}
	}
}

/* The page lives in an arena of its own, which the next one takes over. */
static int ask_page(struct records *r, struct arena *arena, char **token, struct err *err)
{
	struct attacher *a = r->a;
	struct arena *own = r->ctx->arena;
	int64_t deadline_ns = driver_limit(&a->csi, r->ctx);
	autofree char *from = TAKE_PTR(*token);
	const struct csi_list_volumes_request req = { .max_entries = a->max_entries,
						      .starting_token = from };
	struct csi_list_volumes_response page;
	int res;

	arena_reset(arena);
	r->ctx->arena = arena;
	res = csi_list_volumes(&a->csi.service, r->ctx, &req, &page, err);
	r->ctx->arena = own;
	r->ctx->deadline_ns = deadline_ns;
	if (res < 0)
		return -1;
	take_page(r, &page);
	if (*page.next_token && str_is_equal(page.next_token, from))
		return err_set(err, ERR_INTERNAL, "driver %s goes on from token '%s' for ever",
			       a->csi.name, from);
	*token = xstrdup(page.next_token);
	return 0;
}

static int ask_all(struct records *r, struct err *err)
{
	autoarena struct arena *arena = arena_new();
	autofree char *token = xstrdup("");

	for (unsigned n = 0; n < PAGES_MAX; n++) {
		if (fence_check(r->a->fence, r->ctx, err) < 0 ||
		    ask_page(r, arena, &token, err) < 0)
			return -1;
		if (!*token)
			return 0;
	}
	return err_set(err, ERR_INTERNAL, "driver %s has not come to an end after %u pages",
		       r->a->csi.name, PAGES_MAX);
}

static bool is_as_before(struct attacher *a, const struct kube_object *before)
{
	autokobj const struct kube_object *now = informer_get(a->attachments, "", before->name);

	return now && str_is_equal(now->uid, before->uid) &&
	       str_is_equal(now->resource_version, before->resource_version) &&
	       !attach_is_at_work(a, before->name);
}

static void compare(struct records *r)
{
	for (size_t i = 0; i < r->all.n; i++) {
		const struct record *record = r->all.v[i];
		const struct storage_attachment *va = storage_attachment_of(record->obj);

		if (record->is_unknown || record->is_listed == va->is_attached ||
		    !is_as_before(r->a, record->obj))
			continue;
		log_warn(va->is_attached ? "volume is not attached as its attachment says"
					 : "volume is attached, its attachment says it is not",
			 log_str("attachment", record->obj->name),
			 log_str("volume", record->handle), log_str("node", va->node_name));
		attach_force(r->a, record->obj);
	}
}

enum queue_verdict attach_list_reconcile(struct attacher *a, struct ctx *ctx, int64_t *ret_after_ns)
{
	const uint64_t wanted = CSI_CAP_BIT(CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME) |
				CSI_CAP_BIT(CSI_CTRL_LIST_VOLUMES) |
				CSI_CAP_BIT(CSI_CTRL_LIST_VOLUMES_PUBLISHED_NODES);
	struct records r = { .a = a, .ctx = ctx, .all = VEC_INIT };
	struct driver_caps caps;
	struct err err;
	int res;

	*ret_after_ns = a->list_interval_ns;
	res = driver_ask(&a->csi, ctx, &caps, &err);
	if (res == 0 && (caps.controller & wanted) != wanted)
		return QUEUE_RETRY_AFTER;
	if (res == 0) {
		r.by_handle = map_new();
		gather(&r);
		res = r.all.n ? ask_all(&r, &err) : 0;
		if (res == 0)
			compare(&r);
		drop(&r);
	}
	if (res < 0 && !fence_is_cut_off(a->fence, ctx))
		log_warn("what is attached is not known, the driver did not list it to the end",
			 log_err(&err));
	return QUEUE_RETRY_AFTER;
}
