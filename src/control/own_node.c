/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provisioner beside the driver of one node, of which each node has one, without a leader
 * (external-provisioner's node deployment). Who makes a volume is said by the claim: the node that
 * is selected. The scheduler selects it where a class waits for the first consumer; where it does
 * not, the nodes compete:
 *
 *   hold back for a random time ── another one is selected by then ──► leave it
 *     ▼
 *   is there room here? ── no ──► later again
 *     ▼ yes
 *   write this node into the claim, as it was read ── conflict ──► later again
 *     ▼
 *   the claim is this node's, as any other
 *
 * A node with a claim whose volume it has no room for gives it back, as any provisioner does, and
 * the race begins anew. Volumes of the same name may come to be on two nodes, when a claim goes
 * from one to the other while the first is in doubt; each journal has its own, and the one that no
 * PV tells of is deleted (claim.c). A PV is deleted by the node whose labels its affinity asks for.
 */
#include "control/provision-internal.h"

#include "base/log.h"
#include "base/str.h"
#include "kube/fence.h"
#include "kube/informer.h"

static const char *selected_node(const struct kube_object *claim)
{
	return str_or(strmap_find(&claim->annotations, ANN_SELECTED_NODE), "");
}

bool own_node_is_selected(const struct provisioner *p, const struct kube_object *claim)
{
	return str_is_equal(selected_node(claim), p->node_name);
}

bool own_node_is_for(const struct provisioner *p, const struct kube_object *claim,
		     const struct storage_class *class)
{
	if (*selected_node(claim))
		return own_node_is_selected(p, claim);
	/* A source of another kind is a populator's, wherever it is. */
	return p->owns_immediate && !class->is_wait_for_first_consumer &&
	       (!*core_pvc_of(claim)->source_kind || core_pvc_is_of_snapshot(core_pvc_of(claim)) ||
		core_pvc_is_of_claim(core_pvc_of(claim)));
}

/* ---- volumes ---- */

static bool is_registered(const struct provisioner *p)
{
	autokobj const struct kube_object *csi_node =
		p->caches.csi_nodes ? informer_get(p->caches.csi_nodes, "", p->node_name) : NULL;

	return storage_csi_node_find(storage_csi_node_of(csi_node), p->driver);
}

int own_node_has_volume(const struct provisioner *p, const struct kube_object *pv)
{
	const struct core_pv *v = core_pv_of(pv);
	autokobj const struct kube_object *node =
		p->caches.nodes ? informer_get(p->caches.nodes, "", p->node_name) : NULL;

	if (v->n_place == 0)
		return 0; /* it is anywhere, or in several places: nobody's alone */
	if (node && core_pv_is_at(v, &node->labels))
		return 1;
	return node && is_registered(p) ? 0 : -1;
}

int own_node_has_saved(struct attempt *a, struct err *err)
{
	autokobj const struct kube_object *pv = informer_get(a->p->caches.pvs, "", a->pv_name);
	int has = pv ? own_node_has_volume(a->p, pv) : -1;

	return has < 0 ? err_set(err, ERR_ABORTED, "node '%s' does not tell yet whether it has %s",
				 a->p->node_name, a->pv_name)
		       : has;
}

/* ---- the race ---- */

/* Whether the class's allowedTopologies leave this node. */
static bool is_allowed(struct attempt *a)
{
	const struct vol_topologies *terms = &a->it.request.accessibility_requirements.requisite;
	autokobj const struct kube_object *node =
		informer_get(a->p->caches.nodes, "", a->p->node_name);
	struct err err;

	if (attempt_class(a)->n_allowed == 0)
		return true;
	if (!node || topology_require(a, &err) < 0)
		return false;
	for (size_t i = 0; i < terms->n; i++)
		if (strmap_is_subset(&terms->v[i].segments, &node->labels))
			return true;
	return false;
}

/* What cannot be told is left to CreateVolume, whose words the user sees. */
static bool has_room(struct attempt *a)
{
	const struct csi_create_volume_request *r = &a->it.request;
	struct csi_get_capacity_request ask = { 0 };
	struct csi_get_capacity_response room;
	int64_t deadline_ns;
	struct err err;
	int rc;

	if (request_build(a, &err) < 0 ||
	    !(a->caps.controller & CSI_CAP_BIT(CSI_CTRL_GET_CAPACITY)))
		return true;
	ask.volume_capabilities = r->volume_capabilities;
	ask.n_volume_capabilities = r->n_volume_capabilities;
	ask.parameters = r->parameters;
	ask.has_accessible_topology = r->accessibility_requirements.requisite.n > 0;
	if (ask.has_accessible_topology)
		ask.accessible_topology = r->accessibility_requirements.requisite.v[0];
	deadline_ns = driver_limit(&a->p->csi, a->ctx);
	rc = csi_get_capacity(&a->p->csi.service, a->ctx, &ask, &room, &err);
	a->ctx->deadline_ns = deadline_ns;
	return rc < 0 || r->capacity_range.required_bytes <= (room.has_maximum_volume_size
								      ? room.maximum_volume_size
								      : room.available_capacity);
}

/* As the next try comes. */
static enum queue_verdict try_later(struct attempt *a, int64_t *ret_after_ns)
{
	memo_lost_race(a->p, a->uid);
	*ret_after_ns = memo_race_ns(a->p, a->uid);
	return QUEUE_RETRY_AFTER;
}

enum queue_verdict own_node_race(struct attempt *a, int64_t *ret_after_ns)
{
	struct err err;
	int r;

	*ret_after_ns = memo_race_ns(a->p, a->uid);
	if (*ret_after_ns > 0)
		return QUEUE_RETRY_AFTER;
	if (driver_ask(&a->p->csi, a->ctx, &a->caps, &err) < 0)
		return QUEUE_RETRY;
	if (!attempt_has_topology(a) || !is_allowed(a) || !has_room(a))
		return try_later(a, ret_after_ns);
	r = attempt_select_node(a, a->p->node_name, &err);
	if (r < 0) {
		if (err.code != ERR_ABORTED && !fence_is_cut_off(a->p->fence, a->ctx))
			log_warn("claim not taken for this node", log_str("claim", a->key),
				 log_err(&err));
		return try_later(a, ret_after_ns);
	}
	memo_forget(a->p, a->uid);
	if (r == 0)
		return QUEUE_DONE;
	log_debug("claim taken for this node", log_str("claim", a->key));
	*ret_after_ns = 1; /* now it is as any other */
	return QUEUE_RETRY_AFTER;
}
