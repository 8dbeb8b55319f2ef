/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat controller - the controllers against one CSI driver
 *
 * The driver may be cleat's own agent on a node (tcp with mutual TLS) or any vendor's on a socket;
 * nothing here knows which. Start-up order is that of the sidecars: connect, Probe until ready, ask
 * the name and capabilities, then caches, then work. Unlike them a driver or API server that goes
 * away later is waited for and does not end the process; /readyz says what is missing meanwhile.
 * Options keep the sidecars' names and, where a name is shared, their defaults.
 */
#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/controller_run.h"
#include "cmd/controllers.h"
#include "cmd/remote.h"

/* clang-format off */
static const struct opt options[] = {
	{ .name = "What runs", .type = OPT_GROUP },
	{ .name = "controllers", .type = OPT_STRING, .offset = offsetof(struct controller_options, controllers),
	  .arg = "NAME,...", .fallback = CONTROLLERS_AUTO,
	  .help = "Controllers to run: provisioner, capacity, attacher, resizer, snapshotter, health, orphans, certificates, snapshot-controller. "
		  "auto: each that the driver has enough for, but for the last three, which are for who asks for them." },
	{ .name = "The driver", .type = OPT_GROUP },
	{ .name = "csi-address", .type = OPT_STRING, .offset = offsetof(struct controller_options, csi_address),
	  .arg = "ADDRESS", .fallback = "/run/csi/socket",
	  .help = "unix:///path.sock, or tcp://host[:10000] with mutual TLS." },
	{ .name = "agents", .type = OPT_STRING, .offset = offsetof(struct controller_options, agents),
	  .arg = "ADDRESS,...", .help = "In place of --csi-address: agents of cleat on several nodes, which are one driver then. Each "
					"call goes to the node that it is for." },
	{ .name = "agents-service", .type = OPT_STRING, .offset = offsetof(struct controller_options, agents_service),
	  .arg = "[NAMESPACE/]NAME", .help = "The same with the agents that are behind a Service, each known by its node; who comes and "
					     "goes is followed by its EndpointSlices." },
	{ .name = "agents-port", .type = OPT_STRING, .offset = offsetof(struct controller_options, agents_port),
	  .arg = "NAME", .fallback = "agent", .help = "Its port's name." },
	{ .name = "agents-account", .type = OPT_STRING, .offset = offsetof(struct controller_options, agents_account),
	  .arg = "[NAMESPACE/]NAME", .help = "Their ServiceAccount: certificates of --controllers signs for no other." },
	{ .name = "agents-signer", .type = OPT_STRING, .offset = offsetof(struct controller_options, agents_signer),
	  .arg = "NAME", .help = "The signerName of their CertificateSigningRequests; DRIVER-NAME/agent unless given." },
	{ .name = "agents-ca-cert", .type = OPT_STRING, .offset = offsetof(struct controller_options, agents_ca_cert),
	  .arg = "FILE", .help = "The authority (PEM) that their certificates are signed by." },
	{ .name = "agents-ca-key", .type = OPT_STRING, .offset = offsetof(struct controller_options, agents_ca_key),
	  .arg = "FILE", .help = "Its private key." },
	{ .name = "agents-certificate-lifetime", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, agents_lifetime_ns), .arg = "TIME", .fallback = "24h",
	  .help = "How long such a certificate is good for, unless less is asked for." },
	{ .name = "driver-name", .type = OPT_STRING, .offset = offsetof(struct controller_options, driver_name),
	  .arg = "NAME", .help = "What the driver must call itself; anything unless given." },
	TLS_OPTIONS(struct controller_options, tls),
	TLS_SERVER_NAME_OPTION(struct controller_options, tls),
	{ .name = "insecure", .type = OPT_BOOL, .offset = offsetof(struct controller_options, insecure),
	  .help = "Allow tcp:// beyond loopback without TLS." },
	{ .name = "timeout", .type = OPT_DURATION, .offset = offsetof(struct controller_options, timeout_ns),
	  .arg = "TIME", .fallback = "10s", .help = "How long one CSI call may take before it is repeated." },
	{ .name = "The cluster", .type = OPT_GROUP },
	{ .name = "kubeconfig", .type = OPT_STRING, .offset = offsetof(struct controller_options, kubeconfig),
	  .arg = "FILE", .help = "Unless given: $KUBECONFIG, else the pod's service account, else ~/.kube/config." },
	{ .name = "context", .type = OPT_STRING, .offset = offsetof(struct controller_options, context),
	  .arg = "NAME", .help = "Context in it; the current one unless given." },
	{ .name = "master", .type = OPT_STRING, .offset = offsetof(struct controller_options, master),
	  .arg = "URL", .help = "The API server, in place of the one named there." },
	{ .name = "kube-api-qps", .type = OPT_UINT, .offset = offsetof(struct controller_options, qps), .arg = "N",
	  .fallback = "0", .help = "At most so many requests a second to the API server; 0: as it allows." },
	{ .name = "kube-api-burst", .type = OPT_UINT, .offset = offsetof(struct controller_options, burst),
	  .arg = "N", .fallback = "0", .help = "How many of them may come at once; 0: a second's." },
	{ .name = "Leader election", .type = OPT_GROUP },
	{ .name = "leader-election", .type = OPT_BOOL, .offset = offsetof(struct controller_options, election),
	  .help = "Work only while holding a Lease; needed as soon as there are two replicas. Losing it stops the "
		  "work, not the process." },
	{ .name = "leader-election-namespace", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, election_ns), .arg = "NAMESPACE", .env = "POD_NAMESPACE",
	  .help = "Where the Lease is; the pod's own namespace unless given." },
	{ .name = "leader-election-identity", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, identity), .arg = "NAME", .env = "POD_NAME",
	  .help = "What this process calls itself in it; the host's name unless given." },
	{ .name = "leader-election-labels", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, election_labels), .arg = "KEY:VALUE,...",
	  .help = "Labels put on the Lease by whoever takes it." },
	{ .name = "leader-election-lease-duration", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, lease_ns), .arg = "TIME", .fallback = "15s",
	  .help = "After this long without renewal another one may take it." },
	{ .name = "leader-election-renew-deadline", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, renew_ns), .arg = "TIME", .fallback = "10s",
	  .help = "After this long without renewal the holder stops." },
	{ .name = "leader-election-retry-period", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, retry_ns), .arg = "TIME", .fallback = "5s",
	  .help = "Time between two tries." },
	{ .name = "Work", .type = OPT_GROUP },
	{ .name = "worker-threads", .type = OPT_UINT, .offset = offsetof(struct controller_options, workers),
	  .arg = "N", .fallback = "16", .help = "Claims worked on at once, and as many volumes, attachments, detachments." },
	{ .name = "retry-interval-start", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, backoff_ns), .arg = "TIME", .fallback = "1s",
	  .help = "Wait after the first failure of an object; doubled with each further one." },
	{ .name = "retry-interval-max", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, backoff_max_ns), .arg = "TIME", .fallback = "5m",
	  .help = "The longest wait." },
	{ .name = "default-fstype", .type = OPT_STRING, .offset = offsetof(struct controller_options, fs),
	  .arg = "TYPE", .help = "Filesystem of claims and volumes that name none; the driver's choice unless given." },
	{ .name = "Provisioner", .type = OPT_GROUP },
	{ .name = "volume-name-prefix", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, prefix), .arg = "PREFIX", .fallback = "pvc",
	  .help = "Names of volumes are PREFIX-<uid of the claim>." },
	{ .name = "volume-name-uuid-length", .type = OPT_UINT,
	  .offset = offsetof(struct controller_options, name_digits), .arg = "N", .fallback = "0",
	  .help = "Only so many digits of the uid, 32 at most; 0: all of it." },
	{ .name = "controller-publish-readonly", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, publish_readonly),
	  .help = "PersistentVolumes of claims that are ReadOnlyMany and nothing else are readOnly." },
	{ .name = "topology", .type = OPT_BOOL, .offset = offsetof(struct controller_options, topology),
	  .fallback = "true", .help = "=false: as if the driver's volumes were reachable from everywhere." },
	{ .name = "extra-create-metadata", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, extra_metadata),
	  .help = "Tell the driver the names of claim and PV as parameters." },
	{ .name = "strict-topology", .type = OPT_BOOL, .offset = offsetof(struct controller_options, strict),
	  .help = "Offer the driver the selected node's topology alone." },
	{ .name = "immediate-topology", .type = OPT_BOOL, .offset = offsetof(struct controller_options, immediate),
	  .fallback = "true", .help = "For claims bound at once, offer all nodes' topology; false: none. On unless "
				      "=false." },
	{ .name = "prevent-volume-mode-conversion", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, prevent_mode_conversion), .fallback = "true",
	  .help = "Refuse a volume of a snapshot whose source had the other volumeMode, unless the snapshot's content "
		  "allows it by annotation. On unless =false." },
	{ .name = "cross-namespace-sources", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, cross_namespace),
	  .help = "Make volumes of snapshots and claims of other namespaces where a ReferenceGrant there allows it (alpha in "
		  "Kubernetes: CrossNamespaceVolumeDataSource)." },
	{ .name = "enable-distributed-snapshotting", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, distributed),
	  .help = "The snapshot-controller marks contents for the node that their volume is on, which has a snapshotter of its "
		  "own (--node-deployment)." },
	{ .name = "node-deployment", .type = OPT_BOOL, .offset = offsetof(struct controller_options, node_deployment),
	  .help = "Beside the driver of one node, where each node has a driver and a provisioner: only that node's volumes are "
		  "made and deleted, and its capacity told; and the snapshotter has what is marked for that node. Without a leader." },
	{ .name = "node-name", .type = OPT_STRING, .offset = offsetof(struct controller_options, node_name), .arg = "NAME",
	  .env = "NODE_NAME", .help = "That node." },
	{ .name = "node-deployment-immediate-binding", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, node_immediate), .fallback = "true",
	  .help = "Compete with the other nodes for claims that are bound before a pod is scheduled. On unless =false." },
	{ .name = "node-deployment-base-delay", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, node_base_ns), .arg = "TIME", .fallback = "20s",
	  .help = "Up to so long a node holds back at first, so that not all write at once." },
	{ .name = "node-deployment-max-delay", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, node_max_ns), .arg = "TIME", .fallback = "60s",
	  .help = "The longest that this may become when others were quicker." },
	{ .name = "Capacity", .type = OPT_GROUP },
	{ .name = "enable-capacity", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, enable_capacity),
	  .help = "Run capacity as well as those of --controllers: tell the scheduler by CSIStorageCapacity objects how much room "
		  "there is on which nodes for volumes of which StorageClass." },
	{ .name = "capacity-for-immediate-binding", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, capacity_immediate),
	  .help = "Also for classes whose volumes are made before a pod is scheduled; the scheduler does not look at these." },
	{ .name = "capacity-poll-interval", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, capacity_poll_ns), .arg = "TIME", .fallback = "1m",
	  .help = "Time after which the driver is asked again though nothing has moved the value that is known here." },
	{ .name = "capacity-max-age", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, capacity_keep_ns), .arg = "TIME", .fallback = "10m",
	  .help = "How long the last value stands while the driver does not tell a new one; then it is withdrawn. 0: for ever." },
	{ .name = "capacity-ownerref-level", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, capacity_owner_level), .arg = "N", .fallback = "1",
	  .help = "Whose the objects are and with whom they go: 0 the pod, 1 its controller (ReplicaSet), 2 that one's (Deployment); "
		  "-1: nobody's." },
	{ .name = "capacity-owner-pod", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, capacity_pod), .arg = "NAME", .env = "POD_NAME",
	  .help = "That pod; without one they are nobody's." },
	{ .name = "capacity-namespace", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, capacity_ns), .arg = "NAMESPACE", .env = "NAMESPACE",
	  .help = "Where the objects and that pod are; as the Lease unless given." },
	{ .name = "capacity-threads", .type = OPT_UINT, .offset = offsetof(struct controller_options, capacity_workers),
	  .arg = "N", .fallback = "4", .help = "So many values are asked for at once, at most 8." },
	{ .name = "kube-api-capacity-qps", .type = OPT_UINT, .offset = offsetof(struct controller_options, capacity_qps),
	  .arg = "N", .fallback = "0", .help = "At most so many of these objects are written a second; 0: as they change." },
	{ .name = "kube-api-capacity-burst", .type = OPT_UINT,
	  .offset = offsetof(struct controller_options, capacity_burst), .arg = "N", .fallback = "0",
	  .help = "How many of them may be written at once; 0: a second's." },
	{ .name = "Attacher", .type = OPT_GROUP },
	{ .name = "attacher-timeout", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, attacher_timeout_ns), .arg = "TIME", .fallback = "15s",
	  .help = "How long one of its CSI calls may take before it is repeated." },
	{ .name = "attacher-reconcile-sync", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, attacher_reconcile_ns), .arg = "TIME", .fallback = "1m",
	  .help = "Time between two looks at what the driver lists as attached, if it can tell; 0: never." },
	{ .name = "attacher-lend-expand-secret", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, attacher_lends),
	  .help = "Attach volumes whose class named no controller-publish-secret with their controller-expand-secret." },
	{ .name = "attacher-max-entries", .type = OPT_UINT,
	  .offset = offsetof(struct controller_options, attacher_max_entries), .arg = "N", .fallback = "0",
	  .help = "Volumes in a page of that list; 0: as many as the driver likes." },
	{ .name = "Resizer", .type = OPT_GROUP },
	{ .name = "volume-attributes-class", .type = OPT_BOOL, .offset = offsetof(struct controller_options, attributes),
	  .fallback = "true", .help = "=false: as if the driver modified no volumes." },
	{ .name = "resizer-resize-timeout", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, resizer_timeout_ns), .arg = "TIME",
	  .help = "How long one call that grows a volume may take; as --timeout unless given." },
	{ .name = "resizer-modify-timeout", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, resizer_modify_timeout_ns), .arg = "TIME",
	  .help = "The same of a call that changes a volume's attributes." },
	{ .name = "resizer-extra-modify-metadata", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, resizer_extra_metadata),
	  .help = "Tell the driver the names of claim and PV when attributes change." },
	{ .name = "resizer-handle-volume-inuse-error", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, resizer_handles_use), .fallback = "true",
	  .help = "Once a driver refused to grow a volume in use, ask it again only when no pod uses the claim. On "
		  "unless =false." },
	{ .name = "Snapshotter", .type = OPT_GROUP },
	{ .name = "group-snapshots", .type = OPT_BOOL, .offset = offsetof(struct controller_options, groups),
	  .fallback = "true", .help = "=false: as if the driver cut no groups." },
	{ .name = "snapshotter-timeout", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, snapshotter_timeout_ns), .arg = "TIME", .fallback = "1m",
	  .help = "How long one of its CSI calls may take before it is repeated." },
	{ .name = "snapshotter-name-prefix", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, snapshotter_prefix), .arg = "PREFIX", .fallback = "snapshot",
	  .help = "Names of snapshots are PREFIX-<uid of the VolumeSnapshot>." },
	{ .name = "snapshotter-group-name-prefix", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, snapshotter_group_prefix), .arg = "PREFIX",
	  .fallback = "groupsnapshot", .help = "Those of group snapshots." },
	{ .name = "snapshotter-name-uuid-length", .type = OPT_UINT,
	  .offset = offsetof(struct controller_options, snapshotter_digits), .arg = "N", .fallback = "0",
	  .help = "Only so many digits of the uid in names of snapshots; 0: all of it." },
	{ .name = "snapshotter-group-name-uuid-length", .type = OPT_UINT,
	  .offset = offsetof(struct controller_options, snapshotter_group_digits), .arg = "N", .fallback = "0",
	  .help = "The same of group snapshots." },
	{ .name = "snapshotter-extra-create-metadata", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, snapshotter_extra_metadata),
	  .help = "Tell the driver the names of the VolumeSnapshot and its content as parameters." },
	{ .name = "Orphans", .type = OPT_GROUP },
	{ .name = "orphans-interval", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, orphans_interval_ns), .arg = "TIME", .fallback = "10m",
	  .help = "Time between two looks for volumes and snapshots that nothing in the cluster tells of." },
	{ .name = "orphans-delete-after", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, orphans_delete_after_ns), .arg = "TIME", .fallback = "0",
	  .help = "Delete those that were made for this cluster once they have been orphans for so long; 0: never." },
	{ .name = "Health", .type = OPT_GROUP },
	{ .name = "health-interval", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, health_interval_ns), .arg = "TIME", .fallback = "5m",
	  .help = "Time between two looks at what the driver says of its volumes' health." },
	{ .name = "health-timeout", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, health_timeout_ns), .arg = "TIME", .fallback = "15s",
	  .help = "How long one of its CSI calls may take." },
	{ .name = "Snapshot metadata", .type = OPT_GROUP },
	{ .name = "snapshot-metadata-port", .type = OPT_UINT,
	  .offset = offsetof(struct controller_options, metadata_port), .arg = "PORT", .fallback = "0",
	  .help = "Where backup software is told which blocks of snapshots have changed, on all addresses and whoever leads; 0: "
		  "nowhere." },
	{ .name = "snapshot-metadata-tls-cert", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, metadata_cert), .arg = "FILE",
	  .help = "The service's certificate (PEM); read again when it changes." },
	{ .name = "snapshot-metadata-tls-key", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, metadata_key), .arg = "FILE", .help = "Its key." },
	{ .name = "snapshot-metadata-audience", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, metadata_audience), .arg = "TEXT",
	  .help = "Whom tokens must be meant for; spec.audience of the SnapshotMetadataService with the driver's name unless "
		  "given." },
	{ .name = "snapshot-metadata-max-streaming-duration-min", .type = OPT_UINT,
	  .offset = offsetof(struct controller_options, metadata_minutes), .arg = "MINUTES", .fallback = "10",
	  .help = "How long one of its calls may take." },
	{ .name = "Process", .type = OPT_GROUP },
	{ .name = "http-endpoint", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, http_endpoint), .arg = "HOST:PORT",
	  .help = "Where /metrics, /healthz and /readyz are served; nowhere unless given." },
	{ .name = "metrics-path", .type = OPT_STRING, .offset = offsetof(struct controller_options, metrics_path),
	  .arg = "PATH", .fallback = "/metrics", .help = "Where metrics are on it." },
	CMD_COMMON_OPTIONS(struct controller_options),
	{ .type = OPT_END },
};
/* clang-format on */

/* As --controllers says, and what --enable-capacity adds. */
static char *controllers_with_capacity(const struct controller_options *o)
{
	bool is_more = o->enable_capacity && !str_is_equal(o->controllers, CONTROLLERS_AUTO);

	return xasprintf("%s%s", o->controllers, is_more ? ",capacity" : "");
}

int controller_as(const struct controller_row *row, int argc, char **argv)
{
	struct controller_options opts = { 0 };
	autofree char *names = NULL;
	struct err err;
	int status;

	if (!cmd_parse(&cmd_controller, &opts, argc, argv, NULL, NULL, &status))
		return status;
	opts.as = row;
	/* Their words were good: what is wrong is between options, for which upstream ends so. */
	if (controller_check(&opts, &err) < 0)
		return cmd_failed(&cmd_controller, &err);
	names = controllers_with_capacity(&opts);
	opts.controllers = names;
	return controller_run(&cmd_controller, &opts);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct controller_options opts = { 0 };
	autofree char *names = NULL;
	struct err err;
	int status;

	if (!cmd_parse(cmd, &opts, argc, argv, NULL, NULL, &status))
		return status;
	if (controller_check(&opts, &err) < 0)
		return cmd_usage(cmd, "%s", err.msg);
	names = controllers_with_capacity(&opts);
	opts.controllers = names;
	return controller_run(cmd, &opts);
}

const struct cmd cmd_controller = {
	.name = "controller",
	.summary = "Run Kubernetes controllers, all or some, against a CSI driver.",
	.synopsis = "cleat controller --csi-address=ADDRESS [option...]",
	.about = "In the cluster, against cleat's agent on a node:\n"
		 "  cleat controller --csi-address=tcp://10.0.0.5:10000 --leader-election "
		 "--http-endpoint=:9809 \\\n"
		 "    --tls-cert=/tls/tls.crt --tls-key=/tls/tls.key --tls-ca=/tls/ca.crt\n"
		 "Beside any vendor's driver, from outside the cluster:\n"
		 "  cleat controller --csi-address=unix:///run/csi/csi.sock "
		 "--kubeconfig=$HOME/.kube/config\n",
	.options = options,
	.run = run,
};
