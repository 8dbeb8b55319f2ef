/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every flag of every program, as data. docs/flags.md is checked against what --help prints of
 * this. A flag that comes to have an effect here gets UPSTREAM_TAKEN, and in the controller's row
 * the name of the option if that is another.
 */
#include "cmd/upstream.h"

#include "base/mem.h"
#include "base/path.h"

/* clang-format off */
#define NOT_GO      "threads are as many as there is work for"
#define NO_PROFILES "profiles are a Go program's"
#define NO_RESYNC   "caches are watched, and what failed is tried again by itself"
#define AT_ONCE     "each line is written at once"
#define NO_KLOG     "logs go to stderr"

/* Of component-base. */
static const struct upstream_flag log_flags[] = {
	{ "v", UPSTREAM_LEVEL, UPSTREAM_TAKEN, NULL, "2 unless given; above 10 as 10" },
	{ "vmodule", UPSTREAM_MODULES, UPSTREAM_IDLE, NULL, "its files are those of a Go program" },
	{ "logging-format", UPSTREAM_FORMAT, UPSTREAM_TAKEN, NULL, NULL },
	{ "log-flush-frequency", UPSTREAM_FLUSH, UPSTREAM_IDLE, NULL, AT_ONCE },
	{ "log-text-split-stream", UPSTREAM_OFF, UPSTREAM_IDLE, NULL, "true is refused, as the gate of it cannot be opened" },
	{ "log-json-split-stream", UPSTREAM_OFF, UPSTREAM_IDLE, NULL, "the same" },
	{ "log-text-info-buffer-size", UPSTREAM_NO_SIZE, UPSTREAM_IDLE, NULL, "the same of what is not 0" },
	{ "log-json-info-buffer-size", UPSTREAM_NO_SIZE, UPSTREAM_IDLE, NULL, "the same" },
	{ "version", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "automaxprocs", UPSTREAM_BOOL, UPSTREAM_IDLE, NULL, NOT_GO },
	/* klog's own, which releases of before 2025 had. */
	{ "logtostderr", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "alsologtostderr", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "stderrthreshold", UPSTREAM_TEXT, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "legacy_stderr_threshold_behavior", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "one_output", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "log_dir", UPSTREAM_TEXT, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "log_file", UPSTREAM_TEXT, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "log_file_max_size", UPSTREAM_COUNT, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "log_backtrace_at", UPSTREAM_TEXT, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "add_dir_header", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "skip_headers", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, NO_KLOG },
	{ "skip_log_headers", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, NO_KLOG },
	{ NULL },
};

/* Of what talks to the API server. */
static const struct upstream_flag api_flags[] = {
	{ "kubeconfig", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "unless given also $KUBECONFIG, and ~/.kube/config outside of a cluster" },
	{ "leader-election", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "leader-election-namespace", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "leader-election-lease-duration", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "leader-election-renew-deadline", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "leader-election-retry-period", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "kube-api-qps", UPSTREAM_RATE, UPSTREAM_TAKEN, NULL, "no bound unless given, upstream 5: the API server's own fairness bounds it; rounded up" },
	{ "kube-api-burst", UPSTREAM_INT, UPSTREAM_TAKEN, NULL, "goes with --kube-api-qps" },
	{ "http-endpoint", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "/readyz and /healthz are on it as well" },
	{ "metrics-path", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "retry-interval-start", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "retry-interval-max", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "feature-gates", UPSTREAM_GATES, UPSTREAM_TAKEN, NULL, "which: below" },
	{ "leader-election-type", UPSTREAM_TEXT, UPSTREAM_GONE, NULL, "elections are by Lease" },
	{ NULL },
};

/* Of what stands beside a driver, too. */
static const struct upstream_flag driver_flags[] = {
	{ "csi-address", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "leader-election-labels", UPSTREAM_LABELS, UPSTREAM_TAKEN, NULL, NULL },
	{ "metrics-address", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "deprecated; not with --http-endpoint" },
	{ "connection-timeout", UPSTREAM_TIME, UPSTREAM_GONE, NULL, "the driver is waited for" },
	{ NULL },
};

static const struct upstream_flag provisioner_flags[] = {
	{ "master", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "worker-threads", UPSTREAM_THREADS, UPSTREAM_TAKEN, "100", "at most 256" },
	{ "volume-name-prefix", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "volume-name-uuid-length", UPSTREAM_CUT, UPSTREAM_TAKEN, NULL, NULL },
	{ "strict-topology", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "immediate-topology", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "extra-create-metadata", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "default-fstype", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "controller-publish-readonly", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "prevent-volume-mode-conversion", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "cloning-protection-threads", UPSTREAM_COUNT, UPSTREAM_IDLE, NULL, "the queue that takes finalizers off data sources has --worker-threads" },
	{ "snapshot-orphan-sweep-interval", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, "finalizers of snapshots are taken off as soon as nobody waits for them" },
	{ "enable-pprof", UPSTREAM_BOOL, UPSTREAM_IDLE, NULL, NO_PROFILES },
	{ "enable-capacity", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "capacity-for-immediate-binding", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "capacity-poll-interval", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, "at least 1s" },
	{ "capacity-ownerref-level", UPSTREAM_SIGNED, UPSTREAM_TAKEN, NULL, "from -1 to 8" },
	{ "capacity-threads", UPSTREAM_THREADS, UPSTREAM_TAKEN, "1", "at most 8 at once" },
	{ "kube-api-capacity-qps", UPSTREAM_RATE, UPSTREAM_TAKEN, NULL, "of writes; no bound unless given" },
	{ "kube-api-capacity-burst", UPSTREAM_INT, UPSTREAM_TAKEN, NULL, NULL },
	{ "node-deployment", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, "with NODE_NAME in the environment" },
	{ "node-deployment-immediate-binding", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "node-deployment-base-delay", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "node-deployment-max-delay", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ NULL },
};

static const struct upstream_flag attacher_flags[] = {
	{ "resync", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, NO_RESYNC },
	{ "timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "worker-threads", UPSTREAM_THREADS, UPSTREAM_TAKEN, "10", "of attaching, and as many of detaching; at most 256" },
	{ "max-entries", UPSTREAM_INT, UPSTREAM_TAKEN, NULL, NULL },
	{ "reconcile-sync", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "default-fstype", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "max-grpc-log-length", UPSTREAM_INT, UPSTREAM_IDLE, NULL, "replies are not logged at length" },
	{ NULL },
};

static const struct upstream_flag resizer_flags[] = {
	{ "master", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "resync-period", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, NO_RESYNC },
	{ "workers", UPSTREAM_THREADS, UPSTREAM_TAKEN, "10", "at most 256" },
	{ "timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, "where given, of the next two as well" },
	{ "resize-timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "modify-timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "extra-modify-metadata", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "handle-volume-inuse-error", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ NULL },
};

static const struct upstream_flag snapshotter_flags[] = {
	{ "resync-period", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, NO_RESYNC },
	{ "timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "worker-threads", UPSTREAM_THREADS, UPSTREAM_TAKEN, "10", "at most 256" },
	{ "snapshot-name-prefix", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "snapshot-name-uuid-length", UPSTREAM_CUT, UPSTREAM_TAKEN, NULL, NULL },
	{ "groupsnapshot-name-prefix", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "groupsnapshot-name-uuid-length", UPSTREAM_CUT, UPSTREAM_TAKEN, NULL, NULL },
	{ "extra-create-metadata", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "node-deployment", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, "with NODE_NAME in the environment" },
	{ "enable-volume-group-snapshots", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, "groups are served where the driver has them" },
	{ NULL },
};

static const struct upstream_flag snapshot_controller_flags[] = {
	{ "resync-period", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, NO_RESYNC },
	{ "worker-threads", UPSTREAM_THREADS, UPSTREAM_TAKEN, "10", "at most 256" },
	{ "prevent-volume-mode-conversion", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "retry-crd-interval-max", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, "CRDs are waited for as long as it takes; /readyz says so" },
	{ "enable-distributed-snapshotting", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, "contents of groups are marked as well" },
	{ "enable-volume-group-snapshots", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, "groups are served where their CRDs are" },
	{ NULL },
};

static const struct upstream_flag probe_flags[] = {
	{ "csi-address", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "probe-timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "http-endpoint", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "health-port", UPSTREAM_COUNT, UPSTREAM_TAKEN, NULL, "deprecated; not with --http-endpoint" },
	{ "metrics-address", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "deprecated; not with --http-endpoint" },
	{ "metrics-path", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "connection-timeout", UPSTREAM_TIME, UPSTREAM_GONE, NULL, "the driver is waited for" },
	{ NULL },
};

static const struct upstream_flag registrar_flags[] = {
	{ "csi-address", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "kubelet-registration-path", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "required" },
	{ "plugin-registration-path", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "http-endpoint", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "health-port", UPSTREAM_COUNT, UPSTREAM_TAKEN, NULL, "deprecated; not with --http-endpoint" },
	{ "mode", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "deprecated" },
	{ "connection-timeout", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, "deprecated" },
	{ "enable-pprof", UPSTREAM_BOOL, UPSTREAM_IDLE, NULL, NO_PROFILES },
	{ NULL },
};

static const struct upstream_flag cephcsi_flags[] = {
	{ "type", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "rbd, cephfs, liveness" },
	{ "endpoint", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "drivername", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "nodeid", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "required" },
	{ "controllerserver", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "nodeserver", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "instanceid", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "clustername", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "setmetadata", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "rbdsoftmaxclonedepth", UPSTREAM_COUNT, UPSTREAM_TAKEN, NULL, NULL },
	{ "rbdhardmaxclonedepth", UPSTREAM_COUNT, UPSTREAM_TAKEN, NULL, NULL },
	{ "maxsnapshotsonimage", UPSTREAM_COUNT, UPSTREAM_TAKEN, NULL, NULL },
	{ "metricspath", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "minsnapshotsonimage", UPSTREAM_COUNT, UPSTREAM_IDLE, NULL, "no more are flattened than have to be" },
	{ "skipforceflatten", UPSTREAM_BOOL, UPSTREAM_MISSING, "false", "an image that hangs on too many is flattened first" },
	{ "domainlabels", UPSTREAM_TEXT, UPSTREAM_MISSING, "", "volumes of Ceph are reached from everywhere" },
	{ "enable-read-affinity", UPSTREAM_BOOL, UPSTREAM_MISSING, "false", "reads go to the primary" },
	{ "crush-location-labels", UPSTREAM_TEXT, UPSTREAM_IDLE, NULL, "the same" },
	{ "csi-addons-endpoint", UPSTREAM_TEXT, UPSTREAM_IDLE, NULL, "what csi-addons asks is not served" },
	{ "metricsport", UPSTREAM_COUNT, UPSTREAM_TAKEN, NULL, "of the type liveness, at $POD_IP" },
	{ "polltime", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, "the driver is asked at each scrape" },
	{ "timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, "of the type liveness" },
	{ "pidlimit", UPSTREAM_INT, UPSTREAM_IDLE, NULL, "no tool is run for each call" },
	{ "logslowopinterval", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, "each call says what it waits for" },
	{ "profiling", UPSTREAM_BOOL, UPSTREAM_IDLE, NULL, NO_PROFILES },
	{ "stagingpath", UPSTREAM_TEXT, UPSTREAM_IDLE, NULL, "a node's staging paths come with the calls" },
	{ "forcecephkernelclient", UPSTREAM_BOOL, UPSTREAM_IDLE, NULL, "the kernel's client is taken where there is one" },
	{ "kernelmountoptions", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "fusemountoptions", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "radosnamespacecephfs", UPSTREAM_TEXT, UPSTREAM_MISSING, "csi", "config.json says it (cephFS.radosNamespace)" },
	{ "enablegrpcmetrics", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, "metrics are served at --http-endpoint" },
	{ "histogramoption", UPSTREAM_TEXT, UPSTREAM_GONE, NULL, "the same" },
	/* ours */
	{ "config-dir", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "not upstream's: where config.json is" },
	{ "state-dir", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "not upstream's" },
	{ "cgroup-root", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "not upstream's, of the type rbd: where the node's cgroups are, for limits of I/O" },
	{ "http-endpoint", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "not upstream's" },
	{ "shutdown-timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, "not upstream's" },
	{ NULL },
};

static const struct upstream_flag metadata_flags[] = {
	{ "csi-address", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "port", UPSTREAM_COUNT, UPSTREAM_TAKEN, NULL, NULL },
	{ "tls-cert", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "required, here or as TLS_CERT_PATH" },
	{ "tls-key", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "required, here or as TLS_KEY_PATH" },
	{ "tls-min-version", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "VersionTLS12 or VersionTLS13" },
	{ "tls-cipher-suites", UPSTREAM_TEXT, UPSTREAM_MISSING, "", "ciphers are OpenSSL's choice" },
	{ "tls-curve-preferences", UPSTREAM_TEXT, UPSTREAM_MISSING, "", "curves are OpenSSL's choice" },
	{ "audience", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "max-streaming-duration-min", UPSTREAM_COUNT, UPSTREAM_TAKEN, NULL, NULL },
	{ "http-endpoint", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "/readyz and /healthz are on it as well" },
	{ "metrics-path", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, NULL },
	{ "disable-metrics", UPSTREAM_BOOL, UPSTREAM_TAKEN, NULL, NULL },
	{ "kubeconfig", UPSTREAM_TEXT, UPSTREAM_TAKEN, NULL, "unless given also $KUBECONFIG, and ~/.kube/config outside of a cluster" },
	{ "kube-api-qps", UPSTREAM_RATE, UPSTREAM_TAKEN, NULL, "rounded up" },
	{ "kube-api-burst", UPSTREAM_INT, UPSTREAM_TAKEN, NULL, NULL },
	{ NULL },
};

static const struct upstream_flag monitor_flags[] = {
	{ "list-volumes-interval", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, "also where volumes are asked for one by one" },
	{ "timeout", UPSTREAM_TIME, UPSTREAM_TAKEN, NULL, NULL },
	{ "monitor-interval", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, "all volumes are looked at each --list-volumes-interval" },
	{ "volume-list-add-interval", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, "the same" },
	{ "worker-threads", UPSTREAM_COUNT, UPSTREAM_IDLE, NULL, "one looks at all of them" },
	{ "resync", UPSTREAM_TIME, UPSTREAM_IDLE, NULL, NO_RESYNC },
	{ "enable-node-watcher", UPSTREAM_BOOL, UPSTREAM_GONE, NULL, "nodes that fail are Kubernetes' own to tell of" },
	{ "node-list-add-interval", UPSTREAM_TIME, UPSTREAM_GONE, NULL, "goes with --enable-node-watcher" },
	{ NULL },
};

#define RELEASE_GATE { "ReleaseLeaderElectionOnExit", 'a', false, false, NULL }

static const struct upstream_gate provisioner_gates[] = {
	{ "Topology", 'G', true, false, "topology" },
	{ "VolumeAttributesClass", 'G', true, false, NULL },
	{ "CrossNamespaceVolumeDataSource", 'a', false, false, "cross-namespace-sources" },
	RELEASE_GATE,
	{ "HonorPVReclaimPolicy", 'x', true, true, NULL },
	{ NULL },
};
static const struct upstream_gate attacher_gates[] = {
	{ "MutableCSINodeAllocatableCount", 'G', true, false, NULL },
	RELEASE_GATE,
	{ NULL },
};
static const struct upstream_gate resizer_gates[] = {
	{ "AnnotateFsResize", 'b', true, false, NULL },
	{ "VolumeAttributesClass", 'G', true, false, "volume-attributes-class" },
	RELEASE_GATE,
	{ "RecoverVolumeExpansionFailure", 'x', true, true, NULL },
	{ NULL },
};
static const struct upstream_gate monitor_gates[] = {
	RELEASE_GATE,
	{ NULL },
};
static const struct upstream_gate snapshotter_gates[] = {
	{ "CSIVolumeGroupSnapshot", 'G', true, false, "group-snapshots" },
	RELEASE_GATE,
	{ NULL },
};
static const struct upstream_gate snapshot_controller_gates[] = {
	{ "CSIVolumeGroupSnapshot", 'G', true, false, NULL },
	RELEASE_GATE,
	{ NULL },
};

const struct upstream_gate upstream_server_gates[] = {
	{ "AllAlpha", 'a', false }, { "AllBeta", 'b', false },
	{ "APIResponseCompression", 'b', true }, { "APIServerIdentity", 'b', true },
	{ "APIServerWebhookAuthenticationToken", 'a', false }, { "APIServingWithRoutine", 'a', false },
	{ "AggregatedDiscoveryRemoveBetaType", 'd', true, true },
	{ "AllowParsingUserUIDFromCertAuth", 'b', true }, { "AllowUnsafeMalformedObjectDeletion", 'b', true },
	{ "CBORServingAndStorage", 'a', false }, { "ComponentFlagz", 'b', true }, { "ComponentStatusz", 'b', true },
	{ "ConcurrentWatchObjectDecode", 'b', true }, { "ConsistentListFromCacheSkipTimeoutFallback", 'a', false },
	{ "ConstrainedImpersonation", 'b', true }, { "CoordinatedLeaderElection", 'b', false },
	{ "DeclarativeValidation", 'G', true, true }, { "DeclarativeValidationBeta", 'b', true },
	{ "DeclarativeValidationTakeover", 'd', false, true }, { "DetectCacheInconsistency", 'b', true },
	{ "EtcdRangeStream", 'b', true }, { "ExcludeAdmissionWebhookVirtualResources", 'b', true },
	{ "KMSv1", 'd', false }, { "ListFromCacheSnapshot", 'b', true },
	{ "ManifestBasedAdmissionControlConfig", 'b', true }, { "MutatingAdmissionPolicy", 'G', true },
	{ "NativeHistograms", 'b', true }, { "OpenAPIEnums", 'b', true }, { "RemoteRequestHeaderUID", 'b', true },
	{ "SeparateCacheWatchRPC", 'd', false, true }, { "ShardedListAndWatch", 'a', false },
	{ "SizeBasedListCostEstimate", 'b', true }, { "StorageVersionAPI", 'a', false },
	{ "StorageVersionHash", 'b', true }, { "StructuredAuthenticationConfigurationEgressSelector", 'b', true },
	{ "StructuredAuthenticationConfigurationJWKSMetrics", 'b', true },
	{ "TokenRequestServiceAccountUIDValidation", 'b', true }, { "UnauthenticatedHTTP2DOSMitigation", 'b', true },
	{ "UnknownVersionInteroperabilityProxy", 'b', true }, { "WatchCacheInitializationPostStartHook", 'G', true, true },
	{ "WatchList", 'b', true }, { "WatchListCompression", 'b', true }, { "WebhookRoundTripLoadBalancing", 'b', true },
	{ NULL },
};
/* clang-format on */

const struct upstream_program upstream_programs[] = {
	{
		.name = "csi-provisioner",
		.release = "external-provisioner 6.4",
		.flags = { provisioner_flags, driver_flags, api_flags, log_flags },
		.gates = provisioner_gates,
		.bad_gate_exit = 255,
		.mixes_words = true,
	},
	{
		.name = "csi-attacher",
		.release = "external-attacher 4.13",
		.flags = { attacher_flags, driver_flags, api_flags, log_flags },
		.gates = attacher_gates,
		.bad_gate_exit = 1,
	},
	{
		.name = "csi-resizer",
		.release = "external-resizer 2.3",
		.flags = { resizer_flags, driver_flags, api_flags, log_flags },
		.gates = resizer_gates,
		.bad_gate_exit = 1,
	},
	{
		.name = "csi-snapshotter",
		.release = "external-snapshotter 8.7",
		.flags = { snapshotter_flags, driver_flags, api_flags, log_flags },
		.gates = snapshotter_gates,
		.bad_gate_exit = 255,
	},
	{
		.name = "snapshot-controller",
		.release = "external-snapshotter 8.7",
		.flags = { snapshot_controller_flags, api_flags, log_flags },
		.gates = snapshot_controller_gates,
		.bad_gate_exit = 255,
	},
	{
		.name = "livenessprobe",
		.release = "livenessprobe 2.19",
		.flags = { probe_flags, log_flags },
	},
	{
		.name = "csi-node-driver-registrar",
		.release = "node-driver-registrar 2.17",
		.flags = { registrar_flags, log_flags },
	},
	{
		.name = "csi-snapshot-metadata",
		.release = "external-snapshot-metadata 1.1",
		.flags = { metadata_flags, log_flags },
	},
	{
		.name = "cephcsi",
		.release = "ceph-csi 3.15",
		.flags = { cephcsi_flags, log_flags },
	},
	{
		.name = "csi-external-health-monitor-controller",
		.release = "external-health-monitor 0.19",
		.flags = { monitor_flags, driver_flags, api_flags, log_flags },
		.gates = monitor_gates,
		.bad_gate_exit = 1,
	},
};
const size_t n_upstream_programs = ARRAY_LEN(upstream_programs);

const struct upstream_program *upstream_find(const char *argv0)
{
	const char *name = path_last(argv0);

	for (size_t i = 0; i < n_upstream_programs; i++)
		if (str_is_equal(upstream_programs[i].name, name))
			return &upstream_programs[i];
	return NULL;
}

const struct upstream_flag *upstream_flag_at(const struct upstream_program *p, size_t i)
{
	for (size_t list = 0; list < UPSTREAM_LISTS_MAX && p->flags[list]; list++)
		for (const struct upstream_flag *f = p->flags[list]; f->name; f++)
			if (i-- == 0)
				return f;
	return NULL;
}

static const struct upstream_gate *find_gate(const struct upstream_gate *gates, const char *name)
{
	for (; gates->name; gates++)
		if (str_is_equal(gates->name, name))
			return gates;
	return NULL;
}

const struct upstream_gate *upstream_gate_find(const struct upstream_program *p, const char *name)
{
	const struct upstream_gate *own = find_gate(p->gates, name);

	return own ? own : find_gate(upstream_server_gates, name);
}
