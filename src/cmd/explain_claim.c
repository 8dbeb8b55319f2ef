/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a claim waits: from what is missing, by the way that a claim goes (class, source, node,
 * driver, leader), to what the driver said. After it is bound: what growth and change of its
 * attributes wait for.
 */
#include "cmd/explain.h"

#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "control/core.h"
#include "control/snapshots.h"
#include "kube/quantity.h"

static bool is_pending(const struct explain *x)
{
	return str_is_equal(fact_string(&x->claim, "status.phase"), "Pending");
}

static const char *annotation(const struct fact *f, const char *key)
{
	return str_or(json_get_string(json_path(f->root, "metadata.annotations"), key), "");
}

static bool is_late_binding(const struct explain *x)
{
	return str_is_equal(fact_string(&x->class, "volumeBindingMode"), "WaitForFirstConsumer");
}

static bool being_deleted(struct explain *x, struct explain_blocker *b)
{
	const char *finalizers = fact_finalizers(x, &x->claim);

	if (!*fact_string(&x->claim, "metadata.deletionTimestamp"))
		return false;
	if (strstr(finalizers, "kubernetes.io/pvc-protection") && x->pods.n > 0)
		return explain_say(x, b, &x->claim,
				   explain_text(x, "it is being deleted, and pod %s uses it",
						x->pods.v[0].name),
				   explain_text(x, "kubectl -n %s get pod %s", x->claim.ns,
						x->pods.v[0].name));
	return explain_say(
		x, b, &x->claim,
		explain_text(x,
			     "it is being deleted and waits for those whose finalizers "
			     "it has: %s",
			     finalizers),
		explain_text(x, "kubectl -n %s describe pvc %s", x->claim.ns, x->claim.name));
}

static bool lost(struct explain *x, struct explain_blocker *b)
{
	if (!str_is_equal(fact_string(&x->claim, "status.phase"), "Lost"))
		return false;
	return explain_say(x, b, &x->claim,
			   explain_text(x, "its PersistentVolume %s was taken away",
					fact_string(&x->claim, "spec.volumeName")),
			   "cleat ctl orphans list");
}

static bool no_class(struct explain *x, struct explain_blocker *b)
{
	if (!is_pending(x) || x->claim_class || x->pv.state != FACT_UNASKED ||
	    x->n_default_classes > 0)
		return false;
	return explain_say(x, b, &x->claim, "it names no StorageClass, and none is the default one",
			   "kubectl get storageclass");
}

static bool static_only(struct explain *x, struct explain_blocker *b)
{
	if (!is_pending(x) || !str_is_equal(x->claim_class, "") || x->pv.state != FACT_UNASKED)
		return false;
	return explain_say(
		x, b, &x->claim,
		"its StorageClass is '', so it waits for a PersistentVolume that somebody "
		"makes by hand",
		"kubectl get pv");
}

static bool class_missing(struct explain *x, struct explain_blocker *b)
{
	return is_pending(x) && x->pv.state == FACT_UNASKED && fact_is_gone(&x->class) &&
	       explain_say(x, b, &x->class,
			   explain_text(x, "StorageClass %s is not there", x->class.name),
			   "kubectl get storageclass");
}

static bool volume_missing(struct explain *x, struct explain_blocker *b)
{
	return is_pending(x) && fact_is_gone(&x->pv) &&
	       explain_say(x, b, &x->pv,
			   explain_text(x, "it asks for PersistentVolume %s, which is not there",
					x->pv.name),
			   "kubectl get pv");
}

static bool volume_taken(struct explain *x, struct explain_blocker *b)
{
	const char *uid = fact_string(&x->pv, "spec.claimRef.uid");

	if (!is_pending(x) || !*uid || str_is_equal(uid, fact_string(&x->claim, "metadata.uid")))
		return false;
	return explain_say(
		x, b, &x->pv,
		explain_text(x,
			     "the PersistentVolume that it asks for belongs to another claim, "
			     "%s/%s",
			     fact_string(&x->pv, "spec.claimRef.namespace"),
			     fact_string(&x->pv, "spec.claimRef.name")),
		explain_text(x, "kubectl get pv %s -o yaml", x->pv.name));
}

static bool source_missing(struct explain *x, struct explain_blocker *b)
{
	return is_pending(x) && fact_is_gone(&x->source) &&
	       explain_say(x, b, &x->source,
			   explain_text(x, "it is to be made of %s, which is not there",
					fact_title(x, &x->source)),
			   explain_text(x, "kubectl -n %s get pvc %s -o yaml", x->claim.ns,
					x->claim.name));
}

static bool source_not_ready(struct explain *x, struct explain_blocker *b)
{
	bool is_snapshot = x->source.type == &snapshot_type;

	if (!is_pending(x) || !fact_is_there(&x->source) ||
	    (is_snapshot ? json_bool(json_path(x->source.root, "status.readyToUse"), false)
			 : str_is_equal(fact_string(&x->source, "status.phase"), "Bound")))
		return false;
	return explain_say(
		x, b, &x->source,
		explain_text(x, "it is to be made of %s, which is not %s yet",
			     fact_title(x, &x->source), is_snapshot ? "ready to use" : "bound"),
		explain_text(x, "cleat ctl explain %s %s -n %s", is_snapshot ? "snapshot" : "pvc",
			     x->source.name, x->source.ns));
}

static bool attributes_class_missing(struct explain *x, struct explain_blocker *b)
{
	return fact_is_gone(&x->attributes_class) &&
	       explain_say(x, b, &x->attributes_class,
			   explain_text(x, "VolumeAttributesClass %s is not there",
					x->attributes_class.name),
			   "kubectl get volumeattributesclass");
}

static bool no_consumer(struct explain *x, struct explain_blocker *b)
{
	if (!is_pending(x) || !is_late_binding(x) || !x->has_pods || x->pods.n > 0 ||
	    x->node.state != FACT_UNASKED || x->pv.state != FACT_UNASKED)
		return false;
	return explain_say(
		x, b, &x->claim,
		"no pod uses it yet, and its class makes volumes only for a pod "
		"(WaitForFirstConsumer)",
		explain_text(x, "make a pod that uses it; kubectl -n %s get pods", x->claim.ns));
}

static bool consumer_not_scheduled(struct explain *x, struct explain_blocker *b)
{
	if (!is_pending(x) || !is_late_binding(x) || x->pods.n == 0 ||
	    x->node.state != FACT_UNASKED || x->pv.state != FACT_UNASKED)
		return false;
	for (size_t i = 0; i < x->pods.n; i++)
		if (!*x->pods.v[i].unscheduled)
			return false;
	return explain_say(
		x, b, &x->claim,
		explain_text(x, "the pod that uses it, %s, has no node: %s", x->pods.v[0].name,
			     x->pods.v[0].unscheduled),
		explain_text(x, "cleat ctl explain pod %s -n %s", x->pods.v[0].name, x->claim.ns));
}

static bool driver_nowhere(struct explain *x, struct explain_blocker *b)
{
	return is_pending(x) && x->has_nodes && x->n_registered == 0 &&
	       explain_say(x, b, &x->driver,
			   explain_text(x, "no node has driver %s", x->driver_name),
			   "kubectl get csinodes -o wide");
}

static bool not_handed_over(struct explain *x, struct explain_blocker *b)
{
	if (!is_pending(x) || !fact_is_there(&x->class) || x->pv.state != FACT_UNASKED ||
	    *annotation(&x->claim, ANN_PROVISIONER) || *annotation(&x->claim, ANN_PROVISIONER_BETA))
		return false;
	return explain_say(x, b, &x->claim,
			   "the controller-manager has not handed it to the driver's provisioner",
			   "kubectl -n kube-system get lease kube-controller-manager");
}

static bool no_room(struct explain *x, struct explain_blocker *b)
{
	uint64_t wanted = 0, largest = 0;
	char text[NUM_QUANTITY_MAX];

	if (!is_pending(x) || !x->has_room || x->rooms.n == 0 ||
	    kube_quantity_parse(fact_string(&x->claim, "spec.resources.requests.storage"),
				&wanted) < 0)
		return false;
	for (size_t i = 0; i < x->rooms.n; i++)
		if (x->rooms.v[i].bytes > largest)
			largest = x->rooms.v[i].bytes;
	if (largest >= wanted)
		return false;
	num_format_quantity(largest, text);
	return explain_say(x, b, &x->class,
			   explain_text(x,
					"nowhere is room for it: the largest volume that "
					"StorageClass %s has room for is %s",
					x->class.name, text),
			   "kubectl get csistoragecapacities -A");
}

/* What the provisioner said last. */
static bool provisioning_failed(struct explain *x, struct explain_blocker *b)
{
	const struct explain_event *e = explain_warning(x, &x->claim, "ProvisioningFailed");

	return is_pending(x) && e &&
	       explain_say(x, b, &x->claim,
			   explain_text(x, "the driver does not make its volume: %s (%s)",
					e->message, e->when),
			   "cleat ctl health");
}

/* ---- bound ---- */

static const char *resize_state(const struct explain *x)
{
	return str_or(json_get_string(json_path(x->claim.root, "status.allocatedResourceStatuses"),
				      "storage"),
		      "");
}

static bool resize_infeasible(struct explain *x, struct explain_blocker *b)
{
	const struct explain_event *e = explain_warning(x, &x->claim, "VolumeResizeFailed");

	return strstr(resize_state(x), "Infeasible") &&
	       explain_say(
		       x, b, &x->claim,
		       explain_text(x, "it cannot grow to %s%s%s",
				    fact_string(&x->claim, "spec.resources.requests.storage"),
				    e ? ": " : "", e ? e->message : ""),
		       explain_text(x,
				    "ask for less, but not less than it has: kubectl -n %s edit "
				    "pvc %s",
				    x->claim.ns, x->claim.name));
}

static bool resize_waits_for_node(struct explain *x, struct explain_blocker *b)
{
	return str_is_equal(resize_state(x), core_resize_text(CORE_RESIZE_NODE_PENDING)) &&
	       x->has_pods && x->pods.n == 0 &&
	       explain_say(x, b, &x->claim,
			   "its volume has grown; the filesystem follows when a pod uses it",
			   explain_text(x, "make a pod that uses it; kubectl -n %s get pods",
					x->claim.ns));
}

static bool resize_failed(struct explain *x, struct explain_blocker *b)
{
	const struct explain_event *e = explain_warning(x, &x->claim, "VolumeResizeFailed");

	return *resize_state(x) && e &&
	       explain_say(x, b, &x->claim,
			   explain_text(x, "it does not grow: %s (%s)", e->message, e->when),
			   "cleat ctl health");
}

static bool modify_failed(struct explain *x, struct explain_blocker *b)
{
	const char *state = fact_string(&x->claim, "status.modifyVolumeStatus.status");
	const struct explain_event *e = explain_warning(x, &x->claim, "VolumeModifyFailed");

	return *state && e &&
	       explain_say(x, b, &x->claim,
			   explain_text(x, "its attributes are not changed (%s): %s (%s)", state,
					e->message, e->when),
			   explain_text(x, "kubectl get volumeattributesclass %s -o yaml",
					fact_string(&x->claim, "spec.volumeAttributesClassName")));
}

/* Nobody is needed while nothing is to be done. */
static bool nobody_leads(struct explain *x, struct explain_blocker *b)
{
	if (is_pending(x))
		return explain_nobody_leads(x, "provisioner", b);
	return (*resize_state(x) ||
		json_is_object(json_path(x->claim.root, "status.modifyVolumeStatus"))) &&
	       explain_nobody_leads(x, "resizer", b);
}

static bool node_is_gone(struct explain *x, struct explain_blocker *b)
{
	return is_pending(x) && explain_node_is_gone(x, b);
}

static bool driver_is_not_on_node(struct explain *x, struct explain_blocker *b)
{
	return is_pending(x) && explain_driver_is_not_on_node(x, b);
}

const struct explain_rule explain_claim_rules[] = {
	{ "claim-being-deleted", being_deleted },
	{ "claim-lost", lost },
	{ "no-class", no_class },
	{ "static-only", static_only },
	{ "class-missing", class_missing },
	{ "volume-missing", volume_missing },
	{ "volume-taken", volume_taken },
	{ "source-missing", source_missing },
	{ "source-not-ready", source_not_ready },
	{ "attributes-class-missing", attributes_class_missing },
	{ "no-consumer", no_consumer },
	{ "consumer-not-scheduled", consumer_not_scheduled },
	{ "node-gone", node_is_gone },
	{ "driver-nowhere", driver_nowhere },
	{ "driver-not-on-node", driver_is_not_on_node },
	{ "not-handed-over", not_handed_over },
	{ "nobody-leads", nobody_leads },
	{ "no-room", no_room },
	{ "provisioning-failed", provisioning_failed },
	{ "resize-infeasible", resize_infeasible },
	{ "resize-waits-for-pod", resize_waits_for_node },
	{ "resize-failed", resize_failed },
	{ "modify-failed", modify_failed },
	{ NULL, NULL },
};
