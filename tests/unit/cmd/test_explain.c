/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl explain: of each rule a cluster in which it is the one that applies, and of each
 * subject one in which nothing blocks. What is read comes from the API server of tests/fake.
 */
#include "check.h"

#include "base/clock.h"
#include "base/ctx.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/explain.h"
#include "fake/kube.h"

#define CORE "/api/v1/"
#define SPACE CORE "namespaces/default/"
#define STORAGE "/apis/storage.k8s.io/v1/"
#define SNAPSHOTS "/apis/snapshot.storage.k8s.io/v1/"
#define DRIVER "pool.cleat.csi"
#define LEASES "/apis/coordination.k8s.io/v1/namespaces/cleat-system/leases/"

/* meta: members of metadata; rest: of the object. Both without the first comma, both may be "". */
static void put(const char *path, const char *kind, const char *meta, const char *rest)
{
	const char *space = strstr(path, "/namespaces/");
	autofree char *ns = NULL, *text = NULL;

	if (space) {
		space += strlen("/namespaces/");
		ns = xasprintf(",\"namespace\":\"%.*s\"", (int)strcspn(space, "/"), space);
	}
	text = xasprintf("{\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\"%s%s%s}%s%s}", kind,
			 strrchr(path, '/') + 1, ns ? ns : "", *meta ? "," : "", meta,
			 *rest ? "," : "", rest);
	fake_put(path, text);
}

static void put_claim(const char *meta, const char *spec, const char *phase, const char *status)
{
	autofree char *rest =
		xasprintf("\"spec\":{%s%s\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},"
			  "\"status\":{\"phase\":\"%s\"%s%s}",
			  spec, *spec ? "," : "", phase, *status ? "," : "", status);
	autofree char *all = xasprintf("\"uid\":\"c1\"%s%s", *meta ? "," : "", meta);

	put(SPACE "persistentvolumeclaims/data", "PersistentVolumeClaim", all, rest);
}

#define HANDED "\"annotations\":{\"volume.kubernetes.io/storage-provisioner\":\"" DRIVER "\"}"
#define OF_FAST "\"storageClassName\":\"fast\""
#define PLACED                                                                    \
	"\"annotations\":{\"volume.kubernetes.io/storage-provisioner\":\"" DRIVER \
	"\",\"volume.kubernetes.io/selected-node\":\"n1\"}"

static void put_class(const char *mode)
{
	autofree char *rest =
		xasprintf("\"provisioner\":\"" DRIVER "\",\"volumeBindingMode\":\"%s\"", mode);

	put(STORAGE "storageclasses/fast", "StorageClass", "", rest);
}

static void put_node(const char *name, const char *labels, const char *ready, const char *more)
{
	autofree char *path = xasprintf(CORE "nodes/%s", name);
	autofree char *meta = xasprintf("\"labels\":{%s}", labels);
	autofree char *rest =
		xasprintf("\"spec\":{%s},\"status\":{\"conditions\":[{\"type\":\"Ready\","
			  "\"status\":\"%s\",\"message\":\"kubelet says so\"}]}",
			  more, ready);

	put(path, "Node", meta, rest);
}

static void put_csi_node(const char *drivers)
{
	autofree char *rest = xasprintf("\"spec\":{\"drivers\":[%s]}", drivers);

	put(STORAGE "csinodes/n1", "CSINode", "", rest);
}

static void put_driver(const char *spec)
{
	autofree char *rest = xasprintf("\"spec\":{%s}", spec);

	put(STORAGE "csidrivers/" DRIVER, "CSIDriver", "", rest);
}

#define REGISTERED "{\"name\":\"" DRIVER "\",\"nodeID\":\"n1\"}"

static void put_lease(const char *name, const char *holder, bool is_current)
{
	autofree char *path = xasprintf(LEASES "%s", name);
	char now[CLOCK_TEXT_MAX];
	autofree char *rest = NULL;

	clock_format_micro(clock_wall_ns() - (is_current ? 0 : 3600 * NS_PER_S), now);
	rest = xasprintf("\"spec\":{\"holderIdentity\":\"%s\",\"renewTime\":\"%s\","
			 "\"leaseDurationSeconds\":15}",
			 holder, now);
	put(path, "Lease", "", rest);
}

static void put_event(const char *name, const char *kind, const char *about, const char *reason,
		      const char *message, const char *when)
{
	autofree char *path = xasprintf(SPACE "events/%s", name);
	autofree char *rest = xasprintf(
		"\"involvedObject\":{\"kind\":\"%s\",\"name\":\"%s\"},\"type\":\"Warning\","
		"\"reason\":\"%s\",\"message\":\"%s\",\"lastTimestamp\":\"%s\"",
		kind, about, reason, message, when);

	put(path, "Event", "", rest);
}

static void put_pod(const char *spec, const char *status, const char *meta)
{
	autofree char *rest =
		xasprintf("\"spec\":{%s%s\"volumes\":[{\"name\":\"v\",\"persistentVolumeClaim\":{"
			  "\"claimName\":\"data\"}}]},\"status\":{%s}",
			  spec, *spec ? "," : "", status);

	put(SPACE "pods/app", "Pod", meta, rest);
}

#define UNSCHEDULED                                                                              \
	"\"phase\":\"Pending\",\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"False\"," \
	"\"message\":\"0/1 nodes are available\"}]"

/* A volume that is bound to the claim, on nodes with the label zone=ZONE. */
static void put_pv(const char *name, const char *uid, const char *zone)
{
	autofree char *path = xasprintf(CORE "persistentvolumes/%s", name);
	autofree char *rest = xasprintf(
		"\"spec\":{\"csi\":{\"driver\":\"" DRIVER
		"\",\"volumeHandle\":\"h\"},\"claimRef\":{"
		"\"namespace\":\"default\",\"name\":\"other\",\"uid\":\"%s\"},\"nodeAffinity\":{"
		"\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"zone\","
		"\"operator\":\"In\",\"values\":[\"%s\"]}]}]}}},\"status\":{\"phase\":\"Bound\"}",
		uid, zone);

	put(path, "PersistentVolume", "", rest);
}

/* All that a claim needs to get its volume: class, driver, node. */
static void put_good(const char *mode)
{
	put_class(mode);
	put_driver("\"attachRequired\":false");
	put_node("n1", "\"zone\":\"a\"", "True", "");
	put_csi_node(REGISTERED);
	put_lease("cleat-pool-cleat-csi", "cleat-0", true);
}

/* ---- claims ---- */

static void claim_fine(void)
{
	put_good("Immediate");
	put_pv("pv-1", "c1", "a");
	put_claim(HANDED, OF_FAST ",\"volumeName\":\"pv-1\"", "Bound", "");
}

static void claim_just_made(void)
{
	put_good("Immediate");
	put_claim(HANDED, OF_FAST, "Pending", "");
}

static void claim_being_deleted(void)
{
	claim_fine();
	put_claim("\"deletionTimestamp\":\"2026-01-01T00:00:00Z\",\"finalizers\":[\"kubernetes.io/"
		  "pvc-protection\"]",
		  OF_FAST, "Bound", "");
	put_pod("\"nodeName\":\"n1\"", "\"phase\":\"Running\"", "");
}

static void claim_lost(void)
{
	put_claim(HANDED, OF_FAST ",\"volumeName\":\"pv-1\"", "Lost", "");
}

static void no_class(void)
{
	put_class("Immediate");
	put_claim("", "", "Pending", "");
}

static void static_only(void)
{
	put_claim("", "\"storageClassName\":\"\"", "Pending", "");
}

static void class_missing(void)
{
	put_claim("", OF_FAST, "Pending", "");
}

static void volume_missing(void)
{
	put_good("Immediate");
	put_claim("", OF_FAST ",\"volumeName\":\"pv-1\"", "Pending", "");
}

static void volume_taken(void)
{
	put_good("Immediate");
	put_pv("pv-1", "another", "a");
	put_claim("", OF_FAST ",\"volumeName\":\"pv-1\"", "Pending", "");
}

#define OF_SNAPSHOT                                                                   \
	OF_FAST ",\"dataSource\":{\"apiGroup\":\"snapshot.storage.k8s.io\",\"kind\":" \
		"\"VolumeSnapshot\",\"name\":\"snap\"}"

static void source_missing(void)
{
	put_good("Immediate");
	put_claim(HANDED, OF_SNAPSHOT, "Pending", "");
}

static void source_not_ready(void)
{
	source_missing();
	put(SNAPSHOTS "namespaces/default/volumesnapshots/snap", "VolumeSnapshot", "",
	    "\"status\":{\"readyToUse\":false}");
}

static void attributes_class_missing(void)
{
	put_good("Immediate");
	put_claim(HANDED, OF_FAST ",\"volumeAttributesClassName\":\"gold\"", "Pending", "");
}

static void no_consumer(void)
{
	put_good("WaitForFirstConsumer");
	put_claim("", OF_FAST, "Pending", "");
}

static void consumer_not_scheduled(void)
{
	no_consumer();
	put_pod("", UNSCHEDULED, "");
}

static void node_gone(void)
{
	put_good("WaitForFirstConsumer");
	fake_delete(CORE "nodes/n1");
	put_claim(PLACED, OF_FAST, "Pending", "");
}

static void driver_nowhere(void)
{
	put_good("Immediate");
	put_csi_node("");
	put_claim(HANDED, OF_FAST, "Pending", "");
}

static void driver_not_on_node(void)
{
	put_good("WaitForFirstConsumer");
	put_csi_node("");
	put(STORAGE "csinodes/n2", "CSINode", "", "\"spec\":{\"drivers\":[" REGISTERED "]}");
	put_claim(PLACED, OF_FAST, "Pending", "");
}

static void not_handed_over(void)
{
	put_good("Immediate");
	put_claim("", OF_FAST, "Pending", "");
}

static void nobody_leads(void)
{
	claim_just_made();
	put_lease("cleat-pool-cleat-csi", "cleat-0", false);
	put_event("e", "PersistentVolumeClaim", "data", "ProvisioningFailed", "of long ago",
		  "2026");
}

#define LEASE_PROVISIONER "pool-cleat-csi"
#define LEASE_ATTACHER "external-attacher-leader-pool-cleat-csi"
#define LEASE_RESIZER "external-resizer-pool-cleat-csi"
#define LEASE_SNAPSHOTTER "external-snapshotter-leader-pool-cleat-csi"
#define LEASE_HEALTH "external-health-monitor-leader-pool-cleat-csi"
#define LEASE_SNAPSHOTS "snapshot-controller-leader"

/* By upstream's names each has an election of its own, and all lead but one. */
static void put_leases(const char *dead)
{
	static const char *const names[] = { LEASE_PROVISIONER, LEASE_ATTACHER, LEASE_RESIZER,
					     LEASE_SNAPSHOTTER, LEASE_HEALTH,   LEASE_SNAPSHOTS };

	fake_delete(LEASES "cleat-pool-cleat-csi");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		put_lease(names[i], "a", !str_is_equal(names[i], dead));
}

static void no_provisioner_leads(void)
{
	claim_just_made();
	put_leases(LEASE_PROVISIONER);
}

static void no_attacher_is_needed(void)
{
	claim_just_made();
	put_leases(LEASE_ATTACHER);
}

static void no_room(void)
{
	claim_just_made();
	put_driver("\"storageCapacity\":true");
	put(STORAGE "namespaces/cleat-system/csistoragecapacities/a", "CSIStorageCapacity", "",
	    "\"storageClassName\":\"fast\",\"capacity\":\"5Gi\",\"maximumVolumeSize\":\"512Mi\"");
	put(STORAGE "namespaces/cleat-system/csistoragecapacities/b", "CSIStorageCapacity", "",
	    "\"storageClassName\":\"slow\",\"capacity\":\"5Gi\"");
}

static void provisioning_failed(void)
{
	claim_just_made();
	put_event("e1", "PersistentVolumeClaim", "data", "ProvisioningFailed", "older",
		  "2026-01-01");
	put_event("e2", "PersistentVolumeClaim", "data", "ProvisioningFailed", "pool is full",
		  "2026-01-02");
	put_event("e3", "PersistentVolumeClaim", "another", "ProvisioningFailed", "no",
		  "2026-01-03");
}

static void grow(const char *state)
{
	autofree char *status = xasprintf("\"capacity\":{\"storage\":\"512Mi\"},"
					  "\"allocatedResourceStatuses\":{\"storage\":\"%s\"}",
					  state);

	claim_fine();
	put_claim(HANDED, OF_FAST ",\"volumeName\":\"pv-1\"", "Bound", status);
}

static void resize_infeasible(void)
{
	grow("ControllerResizeInfeasible");
}

static void no_resizer_leads(void)
{
	grow("ControllerResizeInProgress");
	put_leases(LEASE_RESIZER);
}

static void resize_waits_for_pod(void)
{
	grow("NodeResizePending");
}

static void resize_failed(void)
{
	grow("ControllerResizeInProgress");
	put_event("e", "PersistentVolumeClaim", "data", "VolumeResizeFailed", "no", "2026-01-01");
}

static void modify_failed(void)
{
	claim_fine();
	put_claim(HANDED, OF_FAST ",\"volumeName\":\"pv-1\"", "Bound",
		  "\"modifyVolumeStatus\":{\"status\":\"Infeasible\"}");
	put_event("e", "PersistentVolumeClaim", "data", "VolumeModifyFailed", "no", "2026-01-01");
}

/* ---- pods ---- */

static void pod_fine(void)
{
	claim_fine();
	put_pod("\"nodeName\":\"n1\"", "\"phase\":\"Running\"", "");
}

static void pod_ended(void)
{
	claim_fine();
	put_pod("\"nodeName\":\"n1\"", "\"phase\":\"Succeeded\"", "");
}

static void pod_being_deleted(void)
{
	claim_fine();
	put_node("n1", "", "Unknown", "");
	put_pod("\"nodeName\":\"n1\"", "\"phase\":\"Running\"",
		"\"deletionTimestamp\":\"2026-01-01T00:00:00Z\",\"finalizers\":[\"a/b\"]");
}

static void claim_missing(void)
{
	put_pod("", UNSCHEDULED, "");
}

static void claim_waits(void)
{
	class_missing();
	put_pod("", UNSCHEDULED, "");
}

static void volume_nowhere(void)
{
	claim_fine();
	put_pv("pv-1", "c1", "b");
	put_pod("", UNSCHEDULED, "");
}

static void volumes_apart(void)
{
	claim_fine();
	put_node("n2", "\"zone\":\"b\"", "True", "");
	put_pv("pv-2", "c2", "b");
	put(SPACE "persistentvolumeclaims/more", "PersistentVolumeClaim", "\"uid\":\"c2\"",
	    "\"spec\":{\"volumeName\":\"pv-2\"," OF_FAST "},\"status\":{\"phase\":\"Bound\"}");
	put(SPACE "pods/app", "Pod", "",
	    "\"spec\":{\"volumes\":[{\"persistentVolumeClaim\":{\"claimName\":\"data\"}},"
	    "{\"persistentVolumeClaim\":{\"claimName\":\"more\"}}]},\"status\":{" UNSCHEDULED "}");
}

static void volume_node_takes_no_pods(void)
{
	claim_fine();
	put_node("n1", "\"zone\":\"a\"", "True", "\"unschedulable\":true");
	put_node("n2", "\"zone\":\"b\"", "True", "");
	put_pod("", UNSCHEDULED, "");
}

static void not_scheduled(void)
{
	claim_fine();
	put_pod("", UNSCHEDULED, "");
}

static void on_node(void)
{
	put_pod("\"nodeName\":\"n1\"", "\"phase\":\"Pending\"", "");
}

static void pod_node_gone(void)
{
	claim_fine();
	fake_delete(CORE "nodes/n1");
	on_node();
}

static void pod_node_not_ready(void)
{
	claim_fine();
	put_node("n1", "", "False", "");
	on_node();
}

static void pod_driver_not_on_node(void)
{
	claim_fine();
	put_csi_node("{\"name\":\"another\"}");
	on_node();
}

static void put_attachment(const char *meta, const char *status)
{
	autofree char *rest =
		xasprintf("\"spec\":{\"attacher\":\"" DRIVER "\",\"nodeName\":\"n1\",\"source\":{"
			  "\"persistentVolumeName\":\"pv-1\"}},\"status\":{%s}",
			  status);

	put(STORAGE "volumeattachments/va-1", "VolumeAttachment", meta, rest);
}

static void attachment_fails(void)
{
	claim_fine();
	put_driver("");
	put_attachment("", "\"attached\":false,\"attachError\":{\"message\":\"disk is away\"}");
	on_node();
}

static void attachment_waits(void)
{
	claim_fine();
	put_driver("\"attachRequired\":true");
	on_node();
}

static void mount_failed(void)
{
	claim_fine();
	on_node();
	put_event("e", "Pod", "app", "FailedMount", "superblock is broken", "2026-01-01");
}

/* ---- snapshots ---- */

static void put_snapshot(const char *meta, const char *source, const char *status)
{
	autofree char *rest =
		xasprintf("\"spec\":{\"volumeSnapshotClassName\":\"snaps\",\"source\":{"
			  "%s}},\"status\":{%s}",
			  source, status);

	put(SNAPSHOTS "namespaces/default/volumesnapshots/snap", "VolumeSnapshot", meta, rest);
}

static void put_snapshot_class(void)
{
	put(SNAPSHOTS "volumesnapshotclasses/snaps", "VolumeSnapshotClass", "",
	    "\"driver\":\"" DRIVER "\"");
}

static void put_content(const char *status)
{
	autofree char *rest =
		xasprintf("\"spec\":{\"driver\":\"" DRIVER "\"},\"status\":{%s}", status);

	put(SNAPSHOTS "volumesnapshotcontents/content", "VolumeSnapshotContent", "", rest);
}

#define OF_DATA "\"persistentVolumeClaimName\":\"data\""
#define BOUND "\"boundVolumeSnapshotContentName\":\"content\""

static void snapshot_good(void)
{
	claim_fine();
	put_snapshot_class();
}

static void snapshot_fine(void)
{
	snapshot_good();
	put_content("\"readyToUse\":true");
	put_snapshot("", OF_DATA, BOUND ",\"readyToUse\":true");
}

static void snapshot_being_deleted(void)
{
	snapshot_fine();
	put_snapshot("\"deletionTimestamp\":\"2026-01-01T00:00:00Z\",\"finalizers\":[\"provisioner."
		     "storage.kubernetes.io/volumesnapshot-as-source-protection\"]",
		     OF_DATA, BOUND ",\"readyToUse\":true");
}

static void content_missing(void)
{
	snapshot_good();
	put_snapshot("", OF_DATA, BOUND);
}

static void snapshot_class_missing(void)
{
	claim_fine();
	put_snapshot("", OF_DATA, "");
}

static void snapshot_claim_missing(void)
{
	put_snapshot_class();
	put_snapshot("", OF_DATA, "");
}

static void snapshot_claim_not_bound(void)
{
	claim_just_made();
	put_snapshot_class();
	put_snapshot("", OF_DATA, "");
}

static void snapshot_nobody_leads(void)
{
	snapshot_good();
	put_lease("cleat-pool-cleat-csi", "", false);
	put_content("");
	put_snapshot("", OF_DATA, BOUND);
}

static void no_snapshotter_leads(void)
{
	snapshot_good();
	put_leases(LEASE_SNAPSHOTTER);
	put_content("");
	put_snapshot("", OF_DATA, BOUND);
}

static void no_snapshot_controller_leads(void)
{
	snapshot_good();
	put_leases(LEASE_SNAPSHOTS);
	put_snapshot("", OF_DATA, "");
}

static void snapshot_failed(void)
{
	snapshot_good();
	put_content("\"error\":{\"message\":\"too many pieces\"}");
	put_snapshot("", OF_DATA, BOUND);
}

static void snapshot_not_bound(void)
{
	snapshot_good();
	put_snapshot("", OF_DATA, "");
}

static void snapshot_being_copied(void)
{
	snapshot_good();
	put_content("\"snapshotHandle\":\"s\",\"readyToUse\":false");
	put_snapshot("", OF_DATA, BOUND);
}

/* ---- attachments ---- */

static void attachment_good(const char *meta, const char *status)
{
	claim_fine();
	put_attachment(meta, status);
}

static void attachment_fine(void)
{
	attachment_good("", "\"attached\":true");
}

static void attachment_pv_missing(void)
{
	attachment_good("", "\"attached\":false");
	fake_delete(CORE "persistentvolumes/pv-1");
}

static void attachment_node_gone(void)
{
	attachment_good("", "\"attached\":false");
	fake_delete(CORE "nodes/n1");
}

static void attachment_driver_not_on_node(void)
{
	attachment_good("", "\"attached\":false");
	put_csi_node("");
}

static void attachment_nobody_leads(void)
{
	attachment_good("", "\"attached\":false");
	fake_delete(LEASES "cleat-pool-cleat-csi");
	put_lease("external-attacher-leader-pool-cleat-csi", "x", false);
}

static void no_attacher_leads(void)
{
	attachment_good("", "\"attached\":false");
	put_leases(LEASE_ATTACHER);
}

#define GOING "\"deletionTimestamp\":\"2026-01-01T00:00:00Z\",\"finalizers\":[\"a/b\"]"

static void detach_failed(void)
{
	attachment_good(GOING, "\"attached\":true,\"detachError\":{\"message\":\"in use\"}");
}

static void attach_failed(void)
{
	attachment_good("", "\"attached\":false,\"attachError\":{\"message\":\"disk is away\"}");
}

static void attachment_being_deleted(void)
{
	attachment_good(GOING, "\"attached\":true");
}

/* clang-format off */
static const struct {
	enum explain_subject subject;
	const char *rule; /* NULL: nothing is found */
	void (*put)(void);
	const char *says;
	const char *next;
} cases[] = {
	{ EXPLAIN_CLAIM, NULL, claim_fine, NULL, NULL },
	{ EXPLAIN_CLAIM, NULL, claim_just_made, NULL, NULL },
	{ EXPLAIN_CLAIM, "claim-being-deleted", claim_being_deleted, "pod app uses it", "get pod app" },
	{ EXPLAIN_CLAIM, "claim-lost", claim_lost, "PersistentVolume pv-1 was taken away", "orphans list" },
	{ EXPLAIN_CLAIM, "no-class", no_class, "names no StorageClass", "get storageclass" },
	{ EXPLAIN_CLAIM, "static-only", static_only, "by hand", "get pv" },
	{ EXPLAIN_CLAIM, "class-missing", class_missing, "StorageClass fast is not there", "get storageclass" },
	{ EXPLAIN_CLAIM, "volume-missing", volume_missing, "PersistentVolume pv-1, which is not there", "get pv" },
	{ EXPLAIN_CLAIM, "volume-taken", volume_taken, "another claim, default/other", "pv-1" },
	{ EXPLAIN_CLAIM, "source-missing", source_missing, "VolumeSnapshot default/snap, which is not there", "data" },
	{ EXPLAIN_CLAIM, "source-not-ready", source_not_ready, "not ready to use yet", "explain snapshot snap -n default" },
	{ EXPLAIN_CLAIM, "attributes-class-missing", attributes_class_missing, "gold is not there", "volumeattributesclass" },
	{ EXPLAIN_CLAIM, "no-consumer", no_consumer, "no pod uses it yet", "get pods" },
	{ EXPLAIN_CLAIM, "consumer-not-scheduled", consumer_not_scheduled, "app, has no node: 0/1 nodes", "explain pod app" },
	{ EXPLAIN_CLAIM, "node-gone", node_gone, "node n1, which is not there", "get nodes" },
	{ EXPLAIN_CLAIM, "driver-nowhere", driver_nowhere, "no node has driver " DRIVER, "csinodes" },
	{ EXPLAIN_CLAIM, "driver-not-on-node", driver_not_on_node, "not registered on node n1", "n1" },
	{ EXPLAIN_CLAIM, "not-handed-over", not_handed_over, "controller-manager", "kube-controller-manager" },
	{ EXPLAIN_CLAIM, "nobody-leads", nobody_leads, "'cleat-0' renewed its Lease last", "-n cleat-system get pods" },
	{ EXPLAIN_CLAIM, "nobody-leads", no_provisioner_leads, "no provisioner of driver " DRIVER " leads: 'a'", "-n cleat-system get pods" },
	{ EXPLAIN_CLAIM, "nobody-leads", no_resizer_leads, "no resizer of driver " DRIVER, "-n cleat-system get pods" },
	{ EXPLAIN_CLAIM, NULL, no_attacher_is_needed, NULL, NULL },
	{ EXPLAIN_CLAIM, "no-room", no_room, "the largest volume that StorageClass fast has room for is 512Mi", "csistoragecapacities" },
	{ EXPLAIN_CLAIM, "provisioning-failed", provisioning_failed, "pool is full (2026-01-02)", "ctl health" },
	{ EXPLAIN_CLAIM, "resize-infeasible", resize_infeasible, "cannot grow to 1Gi", "edit pvc data" },
	{ EXPLAIN_CLAIM, "resize-waits-for-pod", resize_waits_for_pod, "when a pod uses it", "get pods" },
	{ EXPLAIN_CLAIM, "resize-failed", resize_failed, "does not grow: no", "health" },
	{ EXPLAIN_CLAIM, "modify-failed", modify_failed, "(Infeasible): no", "volumeattributesclass" },
	{ EXPLAIN_POD, NULL, pod_fine, NULL, NULL },
	{ EXPLAIN_POD, "pod-ended", pod_ended, "has ended (Succeeded)", "describe pod app" },
	{ EXPLAIN_POD, "pod-being-deleted", pod_being_deleted, "nobody ends it: node n1 is not ready", "describe node n1" },
	{ EXPLAIN_POD, "claim-missing", claim_missing, "claim data, which is not there", "get pvc" },
	{ EXPLAIN_POD, "claim-waits", claim_waits, "its claim data waits: StorageClass fast is not there", "get storageclass" },
	{ EXPLAIN_POD, "volume-nowhere", volume_nowhere, "claim data can be reached from none", "pv-1" },
	{ EXPLAIN_POD, "volumes-apart", volumes_apart, "different nodes", "get pv" },
	{ EXPLAIN_POD, "volume-node-takes-no-pods", volume_node_takes_no_pods, "node n1 alone", "describe node n1" },
	{ EXPLAIN_POD, "not-scheduled", not_scheduled, "0/1 nodes are available", "describe pod app" },
	{ EXPLAIN_POD, "node-gone", pod_node_gone, "node n1, which is not there", "get nodes" },
	{ EXPLAIN_POD, "node-not-ready", pod_node_not_ready, "kubelet says so", "describe node n1" },
	{ EXPLAIN_POD, "driver-not-on-node", pod_driver_not_on_node, DRIVER " is not registered on node n1", "n1" },
	{ EXPLAIN_POD, "attachment-fails", attachment_fails, "disk is away", "explain attachment va-1" },
	{ EXPLAIN_POD, "attachment-waits", attachment_waits, "no VolumeAttachment", "kube-controller-manager" },
	{ EXPLAIN_POD, "mount-failed", mount_failed, "superblock is broken", "health" },
	{ EXPLAIN_SNAPSHOT, NULL, snapshot_fine, NULL, NULL },
	{ EXPLAIN_SNAPSHOT, "snapshot-being-deleted", snapshot_being_deleted, "still to be made of it", "get pvc" },
	{ EXPLAIN_SNAPSHOT, "content-missing", content_missing, "VolumeSnapshotContent content", "orphans list" },
	{ EXPLAIN_SNAPSHOT, "snapshot-class-missing", snapshot_class_missing, "snaps is not there", "volumesnapshotclass" },
	{ EXPLAIN_SNAPSHOT, "snapshot-claim-missing", snapshot_claim_missing, "claim data", "get pvc" },
	{ EXPLAIN_SNAPSHOT, "snapshot-claim-not-bound", snapshot_claim_not_bound, "no volume yet", "explain pvc data" },
	{ EXPLAIN_SNAPSHOT, "snapshot-nobody-leads", snapshot_nobody_leads, "has no holder", "cleat-system" },
	{ EXPLAIN_SNAPSHOT, "snapshot-nobody-leads", no_snapshotter_leads, "no snapshotter of", "cleat-system" },
	{ EXPLAIN_SNAPSHOT, "snapshot-nobody-leads", no_snapshot_controller_leads, "no snapshot-controller of", "cleat-system" },
	{ EXPLAIN_SNAPSHOT, "snapshot-failed", snapshot_failed, "too many pieces", "snap" },
	{ EXPLAIN_SNAPSHOT, "snapshot-not-bound", snapshot_not_bound, "no snapshot-controller", "snapshot-controller" },
	{ EXPLAIN_SNAPSHOT, "snapshot-being-copied", snapshot_being_copied, "not all of its bytes", "snapshot list" },
	{ EXPLAIN_ATTACHMENT, NULL, attachment_fine, NULL, NULL },
	{ EXPLAIN_ATTACHMENT, "attachment-pv-missing", attachment_pv_missing, "pv-1 is not there", "orphans" },
	{ EXPLAIN_ATTACHMENT, "attachment-node-gone", attachment_node_gone, "node n1", "get nodes" },
	{ EXPLAIN_ATTACHMENT, "attachment-driver-not-on-node", attachment_driver_not_on_node, "not registered on node n1", "n1" },
	{ EXPLAIN_ATTACHMENT, "attachment-nobody-leads", attachment_nobody_leads, "'x' renewed", "cleat-system" },
	{ EXPLAIN_ATTACHMENT, "attachment-nobody-leads", no_attacher_leads, "no attacher of", "cleat-system" },
	{ EXPLAIN_ATTACHMENT, "detach-failed", detach_failed, "in use", "va-1" },
	{ EXPLAIN_ATTACHMENT, "attach-failed", attach_failed, "disk is away", "va-1" },
	{ EXPLAIN_ATTACHMENT, "attachment-being-deleted", attachment_being_deleted, "a/b", "va-1" },
};
/* clang-format on */

static const char *const names[] = {
	[EXPLAIN_CLAIM] = "data",
	[EXPLAIN_POD] = "app",
	[EXPLAIN_SNAPSHOT] = "snap",
	[EXPLAIN_ATTACHMENT] = "va-1",
};

static void check_case(size_t i)
{
	struct explain x = { .subject = cases[i].subject };
	struct explain_blocker b;
	struct ctx ctx;
	struct err err;

	fake_reset();
	cases[i].put();
	ctx_init(&ctx, 0);
	x.ctx = &ctx;
	ASSERT_OK(explain_read(&x, "default", names[cases[i].subject], &err), &err);
	(void)explain_find(&x, &b);
	if (!str_is_equal(b.rule, cases[i].rule))
		(void)fprintf(stderr, "case %zu: %s, wanted %s\n", i, str_or(b.rule, "nothing"),
			      str_or(cases[i].rule, "nothing"));
	ASSERT_TRUE(str_is_equal(b.rule, cases[i].rule));
	if (b.rule && (!strstr(b.what, cases[i].says) || !strstr(b.next, cases[i].next))) {
		(void)fprintf(stderr, "%s: '%s', next '%s'\n", b.rule, b.what, b.next);
		fail();
	}
	explain_done(&x);
	ctx_done(&ctx);
}

TEST(each_rule_finds_its_own)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check_case(i);
}

TEST(each_rule_has_a_case)
{
	for (int subject = 0; subject < EXPLAIN_SUBJECTS; subject++) {
		const struct explain_rule *r = explain_rules((enum explain_subject)subject);

		for (; r->name; r++) {
			bool is_tried = false;

			for (size_t i = 0; i < ARRAY_LEN(cases); i++)
				is_tried |= (int)cases[i].subject == subject &&
					    str_is_equal(cases[i].rule, r->name);
			if (!is_tried)
				(void)fprintf(stderr, "no case of %s\n", r->name);
			ASSERT_TRUE(is_tried);
		}
	}
}

TEST(what_is_not_there_itself_is_an_error)
{
	for (int subject = 0; subject < EXPLAIN_SUBJECTS; subject++) {
		struct explain x = { .subject = (enum explain_subject)subject };
		struct ctx ctx;
		struct err err;

		fake_reset();
		ctx_init(&ctx, 0);
		x.ctx = &ctx;
		ASSERT_ERR(explain_read(&x, "default", names[subject], &err), &err, ERR_NOT_FOUND,
			   names[subject]);
		explain_done(&x);
		ctx_done(&ctx);
	}
}

/* Each read refused in turn: no rule speaks of what nobody could read, and none is an error but
 * that of the object itself. */
TEST(what_may_not_be_read_is_told_and_nothing_is_guessed)
{
	for (int subject = 0; subject < EXPLAIN_SUBJECTS; subject++) {
		unsigned at = 0, n_steps;

		do {
			struct explain x = { .subject = (enum explain_subject)subject };
			struct explain_blocker b;
			struct ctx ctx;
			struct err err;
			int r;

			at++;
			fake_reset();
			if (subject == EXPLAIN_SNAPSHOT)
				snapshot_fine();
			else
				attachment_fine();
			on_node();
			ctx_init(&ctx, 0);
			x.ctx = &ctx;
			fake_set_plan((struct fake_plan){
				.at = at, .fault = FAKE_FAIL, .code = ERR_PERMISSION_DENIED });
			r = explain_read(&x, "default", names[subject], &err);
			n_steps = fake_steps();
			if (at == 1)
				ASSERT_EQ(r, -1);
			else
				ASSERT_OK(r, &err);
			if (at > 1 && explain_find(&x, &b))
				(void)fprintf(stderr, "step %u: %s\n", at, b.rule);
			ASSERT_FALSE(at > 1 && explain_find(&x, &b));
			explain_done(&x);
			ctx_done(&ctx);
		} while (n_steps >= at);
		ASSERT_TRUE(at > 5);
	}
}

RUN_TESTS(UNIT(each_rule_finds_its_own), UNIT(each_rule_has_a_case),
	  UNIT(what_is_not_there_itself_is_an_error),
	  UNIT(what_may_not_be_read_is_told_and_nothing_is_guessed))
