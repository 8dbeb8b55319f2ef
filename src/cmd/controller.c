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
#include "cmd/cmd.h"
#include "cmd/controller_run.h"
#include "cmd/controllers.h"
#include "cmd/remote.h"

/* clang-format off */
static const struct opt options[] = {
	{ .name = "What runs", .type = OPT_GROUP },
	{ .name = "controllers", .type = OPT_STRING, .offset = offsetof(struct controller_options, controllers),
	  .arg = "NAME,...", .fallback = CONTROLLERS_AUTO,
	  .help = "Controllers to run: provisioner, attacher, resizer, snapshotter, snapshot-controller. auto: each that the "
		  "driver has enough for, but for the last, which a cluster has once." },
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
	{ .name = "Attacher", .type = OPT_GROUP },
	{ .name = "attacher-timeout", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, attacher_timeout_ns), .arg = "TIME", .fallback = "15s",
	  .help = "How long one of its CSI calls may take before it is repeated." },
	{ .name = "attacher-reconcile-sync", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, attacher_reconcile_ns), .arg = "TIME", .fallback = "1m",
	  .help = "Time between two looks at what the driver lists as attached, if it can tell; 0: never." },
	{ .name = "attacher-max-entries", .type = OPT_UINT,
	  .offset = offsetof(struct controller_options, attacher_max_entries), .arg = "N", .fallback = "0",
	  .help = "Volumes in a page of that list; 0: as many as the driver likes." },
	{ .name = "Resizer", .type = OPT_GROUP },
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
	{ .name = "snapshotter-timeout", .type = OPT_DURATION,
	  .offset = offsetof(struct controller_options, snapshotter_timeout_ns), .arg = "TIME", .fallback = "1m",
	  .help = "How long one of its CSI calls may take before it is repeated." },
	{ .name = "snapshotter-name-prefix", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, snapshotter_prefix), .arg = "PREFIX", .fallback = "snapshot",
	  .help = "Names of snapshots are PREFIX-<uid of the VolumeSnapshot>." },
	{ .name = "snapshotter-group-name-prefix", .type = OPT_STRING,
	  .offset = offsetof(struct controller_options, snapshotter_group_prefix), .arg = "PREFIX",
	  .fallback = "groupsnapshot", .help = "Those of group snapshots." },
	{ .name = "snapshotter-extra-create-metadata", .type = OPT_BOOL,
	  .offset = offsetof(struct controller_options, snapshotter_extra_metadata),
	  .help = "Tell the driver the names of the VolumeSnapshot and its content as parameters." },
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

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct controller_options opts = { 0 };
	struct err err;
	int status;

	if (!cmd_parse(cmd, &opts, argc, argv, NULL, NULL, &status))
		return status;
	if (controller_check(&opts, &err) < 0)
		return cmd_usage(cmd, "%s", err.msg);
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
