/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our finalizer on PVs: put there before the volume is attached, so that the PV, which says what
 * there is to detach, outlives its attachments; taken off when the PV is being deleted and no
 * attachment names it. It stays on a PV that is not, however often that is attached. One that was
 * migrated to our driver and is its in-tree driver's again is given back as well.
 */
#include "control/attach-internal.h"

#include "base/log.h"
#include "base/str.h"
#include "control/object.h"
#include "kube/fence.h"
#include "kube/informer.h"

static bool is_given_back(const struct attacher *a, const struct kube_object *o)
{
	return !*core_pv_of(o)->driver &&
	       !str_is_equal(strmap_find(&o->annotations, ANN_MIGRATED_TO), a->csi.name);
}

bool attach_volume_is_wanted(const struct attacher *a, const struct kube_object *pv)
{
	return attach_is_marked(a, pv) && (pv->is_deleting || is_given_back(a, pv));
}

int attach_volume_protect(struct attacher *a, struct ctx *ctx, const struct kube_object **pv,
			  bool is_wanted, struct err *err)
{
	const struct object_store store = { a->client, a->pvs, &core_pv_type };

	return object_protect(&store, ctx, pv, a->finalizer, is_wanted, err);
}

static int find_any(void *arg, const struct kube_object *o)
{
	*(bool *)arg = true;
	return 1;
}

enum queue_verdict attach_volume_reconcile(void *arg, struct ctx *ctx, const char *key,
					   int64_t *ret_after_ns)
{
	struct attacher *a = arg;
	autokobj const struct kube_object *pv = NULL;
	bool is_used = false;
	struct err err;

	if (str_is_equal(key, LIST_KEY))
		return attach_list_reconcile(a, ctx, ret_after_ns);
	pv = informer_get(a->pvs, "", key);
	if (!pv || !attach_volume_is_wanted(a, pv))
		return QUEUE_DONE;
	/* Whoever goes as the last one asks again. */
	informer_each_in(a->attachments, STORAGE_ATTACHMENTS_BY_PV, key, find_any, &is_used);
	if (is_used)
		return QUEUE_DONE;
	if (attach_volume_protect(a, ctx, &pv, false, &err) == 0) {
		log_info("persistentvolume let go", log_str("pv", key));
		return QUEUE_DONE;
	}
	if (!fence_is_cut_off(a->fence, ctx))
		log_warn("finalizer not taken off", log_str("pv", key), log_err(&err));
	return QUEUE_RETRY;
}
