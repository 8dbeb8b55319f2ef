/* SPDX-License-Identifier: Apache-2.0 */
/* Why a snapshot waits, and why an attachment does. */
#include "cmd/explain.h"

#include "base/mem.h"
#include "base/str.h"

/* ---- snapshots ---- */

static bool is_ready(const struct explain *x)
{
	return json_bool(json_path(x->snapshot.root, "status.readyToUse"), false);
}

static bool snapshot_being_deleted(struct explain *x, struct explain_blocker *b)
{
	const char *finalizers = fact_finalizers(x, &x->snapshot);

	if (!*fact_string(&x->snapshot, "metadata.deletionTimestamp"))
		return false;
	if (strstr(finalizers, "volumesnapshot-as-source-protection"))
		return explain_say(x, b, &x->snapshot,
				   "it is being deleted, and a claim is still to be made of it",
				   explain_text(x, "kubectl -n %s get pvc", x->snapshot.ns));
	return explain_say(x, b, &x->snapshot,
			   explain_text(x,
					"it is being deleted and waits for those whose finalizers "
					"it has: %s",
					finalizers),
			   explain_text(x, "kubectl -n %s describe volumesnapshot %s",
					x->snapshot.ns, x->snapshot.name));
}

static bool content_missing(struct explain *x, struct explain_blocker *b)
{
	return fact_is_gone(&x->content) &&
	       explain_say(x, b, &x->content,
			   explain_text(x,
					"VolumeSnapshotContent %s, which it is bound to, is not "
					"there",
					x->content.name),
			   "kubectl get volumesnapshotcontents; cleat ctl orphans list");
}

static bool snapshot_class_missing(struct explain *x, struct explain_blocker *b)
{
	return !is_ready(x) && fact_is_gone(&x->snapshot_class) &&
	       explain_say(x, b, &x->snapshot_class,
			   explain_text(x, "VolumeSnapshotClass %s is not there",
					x->snapshot_class.name),
			   "kubectl get volumesnapshotclass");
}

static bool snapshot_claim_missing(struct explain *x, struct explain_blocker *b)
{
	return !is_ready(x) && fact_is_gone(&x->claim) &&
	       explain_say(x, b, &x->claim,
			   explain_text(x, "claim %s, which it is to be cut of, is not there",
					x->claim.name),
			   explain_text(x, "kubectl -n %s get pvc", x->snapshot.ns));
}

static bool snapshot_claim_not_bound(struct explain *x, struct explain_blocker *b)
{
	if (is_ready(x) || !fact_is_there(&x->claim) || fact_is_there(&x->content) ||
	    str_is_equal(fact_string(&x->claim, "status.phase"), "Bound"))
		return false;
	return explain_say(
		x, b, &x->claim,
		explain_text(x, "claim %s, which it is to be cut of, has no volume yet",
			     x->claim.name),
		explain_text(x, "cleat ctl explain pvc %s -n %s", x->claim.name, x->claim.ns));
}

static bool snapshot_nobody_leads(struct explain *x, struct explain_blocker *b)
{
	bool is_bound = x->content.state != FACT_UNASKED;

	return !is_ready(x) &&
	       explain_nobody_leads(x, is_bound ? "snapshotter" : "snapshot-controller", b);
}

static bool snapshot_failed(struct explain *x, struct explain_blocker *b)
{
	const char *error = fact_string(&x->content, "status.error.message");

	if (!*error)
		error = fact_string(&x->snapshot, "status.error.message");
	return !is_ready(x) && *error &&
	       explain_say(x, b, &x->snapshot, explain_text(x, "it fails: %s", error),
			   explain_text(x, "kubectl -n %s describe volumesnapshot %s",
					x->snapshot.ns, x->snapshot.name));
}

static bool snapshot_not_bound(struct explain *x, struct explain_blocker *b)
{
	return !is_ready(x) && x->content.state == FACT_UNASKED &&
	       explain_say(x, b, &x->snapshot, "no snapshot-controller has made its content",
			   "kubectl get pods -A | grep snapshot-controller");
}

static bool snapshot_being_copied(struct explain *x, struct explain_blocker *b)
{
	return !is_ready(x) && fact_is_there(&x->content) &&
	       *fact_string(&x->content, "status.snapshotHandle") &&
	       explain_say(x, b, &x->content,
			   "it is cut, and the driver has not all of its bytes yet",
			   "cleat ctl snapshot list");
}

const struct explain_rule explain_snapshot_rules[] = {
	{ "snapshot-being-deleted", snapshot_being_deleted },
	{ "content-missing", content_missing },
	{ "snapshot-class-missing", snapshot_class_missing },
	{ "snapshot-claim-missing", snapshot_claim_missing },
	{ "snapshot-claim-not-bound", snapshot_claim_not_bound },
	{ "snapshot-nobody-leads", snapshot_nobody_leads },
	{ "snapshot-failed", snapshot_failed },
	{ "snapshot-not-bound", snapshot_not_bound },
	{ "snapshot-being-copied", snapshot_being_copied },
	{ NULL, NULL },
};

/* ---- attachments ---- */

static bool is_attached(const struct explain *x)
{
	return json_bool(json_path(x->attachment.root, "status.attached"), false);
}

static bool is_going(const struct explain *x)
{
	return *fact_string(&x->attachment, "metadata.deletionTimestamp");
}

static bool attachment_pv_missing(struct explain *x, struct explain_blocker *b)
{
	return !is_attached(x) && fact_is_gone(&x->pv) &&
	       explain_say(x, b, &x->pv,
			   explain_text(x, "PersistentVolume %s is not there", x->pv.name),
			   "cleat ctl orphans list");
}

static bool attachment_node_gone(struct explain *x, struct explain_blocker *b)
{
	return !is_attached(x) && explain_node_is_gone(x, b);
}

static bool attachment_driver_not_on_node(struct explain *x, struct explain_blocker *b)
{
	return !is_attached(x) && explain_driver_is_not_on_node(x, b);
}

static bool attachment_nobody_leads(struct explain *x, struct explain_blocker *b)
{
	return (!is_attached(x) || is_going(x)) && explain_nobody_leads(x, "attacher", b);
}

static bool detach_failed(struct explain *x, struct explain_blocker *b)
{
	const char *error = fact_string(&x->attachment, "status.detachError.message");

	return is_going(x) && *error &&
	       explain_say(
		       x, b, &x->attachment,
		       explain_text(x,
				    "it is being deleted, and the driver does not detach its "
				    "volume: %s",
				    error),
		       explain_text(x, "kubectl describe volumeattachment %s", x->attachment.name));
}

static bool attach_failed(struct explain *x, struct explain_blocker *b)
{
	const char *error = fact_string(&x->attachment, "status.attachError.message");

	return !is_attached(x) && *error &&
	       explain_say(
		       x, b, &x->attachment,
		       explain_text(x, "the driver does not attach its volume: %s", error),
		       explain_text(x, "kubectl describe volumeattachment %s", x->attachment.name));
}

static bool attachment_being_deleted(struct explain *x, struct explain_blocker *b)
{
	return is_going(x) &&
	       explain_say(
		       x, b, &x->attachment,
		       explain_text(x,
				    "it is being deleted and waits for those whose finalizers "
				    "it has: %s",
				    fact_finalizers(x, &x->attachment)),
		       explain_text(x, "kubectl describe volumeattachment %s", x->attachment.name));
}

const struct explain_rule explain_attachment_rules[] = {
	{ "attachment-pv-missing", attachment_pv_missing },
	{ "attachment-node-gone", attachment_node_gone },
	{ "attachment-driver-not-on-node", attachment_driver_not_on_node },
	{ "attachment-nobody-leads", attachment_nobody_leads },
	{ "detach-failed", detach_failed },
	{ "attach-failed", attach_failed },
	{ "attachment-being-deleted", attachment_being_deleted },
	{ NULL, NULL },
};
