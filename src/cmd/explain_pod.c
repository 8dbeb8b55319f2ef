/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a pod waits, as far as that is a matter of its volumes: its claims first, then where these
 * are, then the way to its node. What else may keep a pod (images, memory) is the scheduler's and
 * kubelet's to say, whose words are passed on.
 */
#include "cmd/explain.h"

#include "base/mem.h"
#include "base/str.h"
#include "control/storage.h"

static const char *phase(const struct explain *x)
{
	return fact_string(&x->pod, "status.phase");
}

static bool is_running(const struct explain *x)
{
	return str_is_equal(phase(x), "Running");
}

static bool ended(struct explain *x, struct explain_blocker *b)
{
	if (!str_is_equal(phase(x), "Failed") && !str_is_equal(phase(x), "Succeeded"))
		return false;
	return explain_say(
		x, b, &x->pod,
		explain_text(x, "it has ended (%s) and uses no volume any more%s%s", phase(x),
			     *fact_string(&x->pod, "status.message") ? ": " : "",
			     fact_string(&x->pod, "status.message")),
		explain_text(x, "kubectl -n %s describe pod %s", x->pod.ns, x->pod.name));
}

static bool being_deleted(struct explain *x, struct explain_blocker *b)
{
	struct explain_blocker node = { 0 };
	bool is_alone = explain_node_is_gone(x, &node) || explain_node_is_not_ready(x, &node);

	if (!*fact_string(&x->pod, "metadata.deletionTimestamp"))
		return false;
	return explain_say(
		x, b, &x->pod,
		is_alone ? explain_text(x, "it is being deleted, and nobody ends it: %s", node.what)
			 : "it is being deleted and waits for kubelet to end it",
		is_alone
			? node.next
			: explain_text(x, "kubectl -n %s describe pod %s", x->pod.ns, x->pod.name));
}

static bool claim_missing(struct explain *x, struct explain_blocker *b)
{
	for (size_t i = 0; i < x->claims.n; i++) {
		const struct fact *claim = &x->claims.v[i]->claim;

		if (fact_is_gone(claim))
			return explain_say(x, b, claim,
					   explain_text(x, "it uses claim %s, which is not there",
							claim->name),
					   explain_text(x, "kubectl -n %s get pvc", claim->ns));
	}
	return false;
}

/* "pod X has no node" is no news to who asks about pod X. */
static bool is_news(const struct explain_blocker *b)
{
	return !str_is_equal(b->rule, "consumer-not-scheduled");
}

static bool claim_waits(struct explain *x, struct explain_blocker *b)
{
	for (size_t i = 0; i < x->claims.n; i++) {
		struct explain *c = x->claims.v[i];
		struct explain_blocker own;

		if (!fact_is_there(&c->claim) ||
		    str_is_equal(fact_string(&c->claim, "status.phase"), "Bound") ||
		    !explain_find(c, &own) || !is_news(&own))
			continue;
		b->object = own.object;
		b->what = explain_text(x, "its claim %s waits: %s", c->claim.name, own.what);
		b->next = own.next;
		return true;
	}
	return false;
}

/* ---- where its volumes are ---- */

static uint64_t all_volumes(const struct explain *x)
{
	return x->claims.n >= EXPLAIN_VOLUMES_MAX ? UINT64_MAX : (UINT64_C(1) << x->claims.n) - 1;
}

static bool is_judged(const struct explain *x)
{
	return x->has_all_nodes && !*fact_string(&x->pod, "spec.nodeName");
}

static bool volume_nowhere(struct explain *x, struct explain_blocker *b)
{
	uint64_t reached = 0;

	for (size_t i = 0; i < x->nodes.n; i++)
		reached |= x->nodes.v[i].reaches;
	if (!is_judged(x))
		return false;
	for (size_t i = 0; i < x->claims.n && i < EXPLAIN_VOLUMES_MAX; i++)
		if (!(reached >> i & 1))
			return explain_say(
				x, b, &x->claims.v[i]->pv,
				explain_text(x,
					     "the volume of its claim %s can be reached "
					     "from none of the nodes that there are",
					     x->claims.v[i]->claim.name),
				explain_text(x,
					     "kubectl get pv %s -o yaml; kubectl get nodes "
					     "--show-labels",
					     x->claims.v[i]->pv.name));
	return false;
}

static bool volumes_apart(struct explain *x, struct explain_blocker *b)
{
	if (!is_judged(x) || x->claims.n < 2)
		return false;
	for (size_t i = 0; i < x->nodes.n; i++)
		if (x->nodes.v[i].reaches == all_volumes(x))
			return false;
	return explain_say(x, b, &x->pod,
			   "its volumes are on different nodes: from none can all be reached",
			   explain_text(x, "kubectl get pv -o custom-columns=NAME:.metadata.name,"
					   "CLAIM:.spec.claimRef.name,WHERE:.spec.nodeAffinity"));
}

static bool node_takes_no_pods(struct explain *x, struct explain_blocker *b)
{
	const struct explain_node *only = NULL;

	if (!is_judged(x) || x->claims.n == 0)
		return false;
	for (size_t i = 0; i < x->nodes.n; i++) {
		if (x->nodes.v[i].reaches != all_volumes(x))
			continue;
		if (x->nodes.v[i].takes_pods)
			return false;
		only = &x->nodes.v[i];
	}
	if (!only)
		return false;
	return explain_say(
		x, b, &x->pod,
		explain_text(x,
			     "its volumes can be reached from node %s alone, which takes "
			     "no pods: it is cordoned or not ready",
			     only->name),
		explain_text(x, "kubectl describe node %s", only->name));
}

static bool not_scheduled(struct explain *x, struct explain_blocker *b)
{
	const struct json *condition;
	const char *none;

	for (struct json_it it = json_each(json_path(x->pod.root, "status.conditions"));
	     json_next(&it, &none, &condition);)
		if (str_is_equal(json_get_string(condition, "type"), "PodScheduled") &&
		    str_is_equal(json_get_string(condition, "status"), "False"))
			return explain_say(
				x, b, &x->pod,
				explain_text(x, "the scheduler finds no node for it: %s",
					     str_or(json_get_string(condition, "message"),
						    "it does not say why")),
				explain_text(x, "kubectl -n %s describe pod %s", x->pod.ns,
					     x->pod.name));
	return false;
}

/* ---- on its node ---- */

static bool node_is_gone(struct explain *x, struct explain_blocker *b)
{
	return explain_node_is_gone(x, b);
}

static bool node_is_not_ready(struct explain *x, struct explain_blocker *b)
{
	return explain_node_is_not_ready(x, b);
}

static bool driver_is_not_on_node(struct explain *x, struct explain_blocker *b)
{
	if (is_running(x))
		return false;
	for (size_t i = 0; i < x->claims.n; i++) {
		x->driver_name = x->claims.v[i]->driver_name;
		if (fact_is_there(&x->claims.v[i]->driver) && explain_driver_is_not_on_node(x, b))
			return true;
	}
	return false;
}

static bool attachment_fails(struct explain *x, struct explain_blocker *b)
{
	for (size_t i = 0; i < x->claims.n; i++) {
		const struct explain *c = x->claims.v[i];
		const char *error = fact_string(&c->attachment, "status.attachError.message");

		if (!is_running(x) && *error)
			return explain_say(
				x, b, &c->attachment,
				explain_text(x, "the volume of its claim %s is not attached: %s",
					     c->claim.name, error),
				explain_text(x, "cleat ctl explain attachment %s",
					     c->attachment.name));
	}
	return false;
}

static bool is_attached(const struct explain *c)
{
	return !json_bool(json_path(c->driver.root, "spec.attachRequired"), true) ||
	       json_bool(json_path(c->attachment.root, "status.attached"), false);
}

static bool attachment_waits(struct explain *x, struct explain_blocker *b)
{
	for (size_t i = 0; i < x->claims.n; i++) {
		struct explain *c = x->claims.v[i];

		if (is_running(x) || !fact_is_there(&c->driver) || !fact_is_there(&c->pv) ||
		    c->attachment.state == FACT_UNASKED || c->attachment.state == FACT_UNKNOWN ||
		    is_attached(c))
			continue;
		if (fact_is_gone(&c->attachment))
			return explain_say(
				x, b, &c->pv,
				explain_text(x,
					     "there is no VolumeAttachment of the volume "
					     "of its claim %s to node %s",
					     c->claim.name, x->node.name),
				"kubectl -n kube-system get lease kube-controller-manager");
		return explain_say(
			x, b, &c->attachment,
			explain_text(x, "the volume of its claim %s is not attached yet",
				     c->claim.name),
			explain_text(x, "cleat ctl explain attachment %s", c->attachment.name));
	}
	return false;
}

static bool mount_failed(struct explain *x, struct explain_blocker *b)
{
	const struct explain_event *e = explain_warning(x, &x->pod, "FailedMount");

	if (!e)
		e = explain_warning(x, &x->pod, "FailedAttachVolume");
	if (!e)
		e = explain_warning(x, &x->pod, "FailedMapVolume");
	return !is_running(x) && e &&
	       explain_say(x, b, &x->pod,
			   explain_text(x, "kubelet does not get its volume: %s (%s)", e->message,
					e->when),
			   explain_text(x, "cleat ctl health, on node %s", x->node.name));
}

const struct explain_rule explain_pod_rules[] = {
	{ "pod-ended", ended },
	{ "pod-being-deleted", being_deleted },
	{ "claim-missing", claim_missing },
	{ "claim-waits", claim_waits },
	{ "volume-nowhere", volume_nowhere },
	{ "volumes-apart", volumes_apart },
	{ "volume-node-takes-no-pods", node_takes_no_pods },
	{ "not-scheduled", not_scheduled },
	{ "node-gone", node_is_gone },
	{ "node-not-ready", node_is_not_ready },
	{ "driver-not-on-node", driver_is_not_on_node },
	{ "attachment-fails", attachment_fails },
	{ "attachment-waits", attachment_waits },
	{ "mount-failed", mount_failed },
	{ NULL, NULL },
};
