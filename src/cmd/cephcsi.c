/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat cephcsi - what ceph-csi's program does, with its options
 *
 * In a manifest of ceph-csi only the image is changed: driver name, classes, secrets, ConfigMap,
 * handles and journal stay. It is `cleat driver` over the backend "rbd" or "cephfs", with the
 * defaults of that program: the clusters are in /etc/ceph-csi-config/config.json, and what a node
 * has to remember is beside the socket, in a directory of the host. kubelet is told by the
 * registrar beside it, and the API server by the controllers.
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/path.h"
#include "cmd/serve.h"
#include "cmd/sidecar.h"
#include "net/addr.h"

#define CONFIG_DIR "/etc/ceph-csi-config"

struct cephcsi_options {
	struct serve_options serve; /* first: cmd_common is its first */
	const char *type;
	const char *config_dir;
	unsigned metricsport;
	int64_t timeout_ns;
	bool controllerserver;
	bool nodeserver;
};

#define AT(member) offsetof(struct cephcsi_options, member)
/* clang-format off */
static const struct opt options[] = {
	{ .name = "What is served where", .type = OPT_GROUP },
	{ .name = "type", .type = OPT_STRING, .offset = AT(type), .arg = "TYPE",
	  .help = "What to be: rbd, cephfs, or liveness, a page that tells whether the driver answers. Required." },
	{ .name = "endpoint", .type = OPT_STRING, .offset = AT(serve.endpoint), .arg = "ADDRESS",
	  .fallback = "unix:///tmp/csi.sock", .help = "The CSI socket." },
	{ .name = "nodeid", .type = OPT_STRING, .offset = AT(serve.node_id), .arg = "ID",
	  .help = "This node's name. Required." },
	{ .name = "drivername", .type = OPT_STRING, .offset = AT(serve.driver_name), .arg = "NAME",
	  .help = "The driver's name; TYPE.csi.ceph.com unless given." },
	{ .name = "controllerserver", .type = OPT_BOOL, .offset = AT(controllerserver),
	  .help = "Serve the Controller." },
	{ .name = "nodeserver", .type = OPT_BOOL, .offset = AT(nodeserver),
	  .help = "Serve the Node. Both are unless one is named." },
	{ .name = "Ceph", .type = OPT_GROUP },
	{ .name = "config-dir", .type = OPT_STRING, .offset = AT(config_dir), .arg = "DIR",
	  .fallback = CONFIG_DIR, .help = "Where config.json is." },
	{ .name = "state-dir", .type = OPT_STRING, .offset = AT(serve.pools.state_dir), .arg = "DIR",
	  .help = "Where a node keeps what has to outlive the process, on the host; beside the socket unless given." },
	{ .name = "instanceid", .type = OPT_STRING, .offset = AT(serve.pools.ceph.instance), .arg = "ID",
	  .fallback = "default", .help = "Whose journal in the pools." },
	{ .name = "clustername", .type = OPT_STRING, .offset = AT(serve.pools.ceph.cluster_name), .arg = "NAME",
	  .help = "Kept with each image or subvolume under --setmetadata." },
	{ .name = "setmetadata", .type = OPT_BOOL, .offset = AT(serve.pools.ceph.keeps_names),
	  .help = "Keep the names of claims, volumes and snapshots as metadata of the images or subvolumes." },
	{ .name = "rbdsoftmaxclonedepth", .type = OPT_UINT, .offset = AT(serve.pools.ceph.soft_depth), .arg = "N",
	  .fallback = "4", .help = "From how many parents on the manager is asked to flatten an image." },
	{ .name = "rbdhardmaxclonedepth", .type = OPT_UINT, .offset = AT(serve.pools.ceph.hard_depth), .arg = "N",
	  .fallback = "8", .help = "From how many parents on it is flattened before it is used." },
	{ .name = "maxsnapshotsonimage", .type = OPT_UINT, .offset = AT(serve.pools.ceph.max_snapshots), .arg = "N",
	  .fallback = "450", .help = "How many snapshots an image may have." },
	{ .name = "fence-nodes", .type = OPT_BOOL, .offset = AT(serve.fence_nodes),
	  .help = "rbd, controller: put nodes that are gone or out of service (the taint node.kubernetes.io/out-of-service) on "
		  "the cluster's blocklist before their volumes may be used elsewhere. Needs get of nodes." },
	{ .name = "kubeconfig", .type = OPT_STRING, .offset = AT(serve.kubeconfig), .arg = "FILE",
	  .help = "For --fence-nodes; without it the pod's service account is used." },
	{ .name = "cgroup-root", .type = OPT_STRING, .offset = AT(serve.cgroup_root), .arg = "DIR",
	  .fallback = "/sys/fs/cgroup",
	  .help = "rbd, node: where the node's cgroups are mounted, in which limits of I/O of what the kernel's client has "
		  "are held against pods." },
	{ .name = "kernelmountoptions", .type = OPT_STRING, .offset = AT(serve.pools.ceph.kernel_mount_options), .arg = "OPTIONS",
	  .help = "cephfs: of each mount by the kernel, beside the class's, where config.json says none." },
	{ .name = "fusemountoptions", .type = OPT_STRING, .offset = AT(serve.pools.ceph.fuse_mount_options), .arg = "OPTIONS",
	  .help = "cephfs: the same of each mount by ceph-fuse." },
	{ .name = "Process", .type = OPT_GROUP },
	{ .name = "http-endpoint", .type = OPT_STRING, .offset = AT(serve.http_endpoint), .arg = "HOST:PORT",
	  .help = "Where /metrics, /healthz and /readyz are served; nowhere unless given." },
	{ .name = "metricspath", .type = OPT_STRING, .offset = AT(serve.metrics_path), .arg = "PATH",
	  .fallback = "/metrics", .help = "Where metrics are on it." },
	{ .name = "metricsport", .type = OPT_UINT, .offset = AT(metricsport), .arg = "PORT", .fallback = "11111",
	  .help = "liveness: the page's port, at $POD_IP." },
	{ .name = "timeout", .type = OPT_DURATION, .offset = AT(timeout_ns), .arg = "TIME", .fallback = "3s",
	  .help = "liveness: how long the driver may take to answer." },
	{ .name = "shutdown-timeout", .type = OPT_DURATION, .offset = AT(serve.shutdown_timeout_ns), .arg = "TIME",
	  .fallback = "25s", .help = "How long calls that run may take to end after SIGTERM." },
	CMD_COMMON_OPTIONS(struct serve_options),
	{ .type = OPT_END },
};
/* clang-format on */

/* The directory of the socket, which kubelet's plugins have on the host. */
static const char *default_state_dir(struct arena *a, const char *endpoint)
{
	autofree char *dir = NULL;
	struct net_addr addr;
	struct err ignored;

	if (net_addr_parse(endpoint, &addr, &ignored) < 0 || addr.kind != NET_ADDR_UNIX)
		return "";
	dir = path_parent(addr.path);
	return dir ? arena_strdup(a, dir) : "";
}

/* The page that a ServiceMonitor of ceph-csi scrapes. */
static int serve_liveness(const struct cephcsi_options *o)
{
	autoarena struct arena *a = arena_new();
	const char *ip = str_or(getenv("POD_IP"), "");
	bool is_v6 = strchr(ip, ':') != NULL;
	const char *argv[] = {
		cmd_livenessprobe.name,
		"--liveness-metric",
		arena_printf(a, "--csi-address=%s", o->serve.endpoint),
		arena_printf(a, "--http-endpoint=%s%s%s:%u", is_v6 ? "[" : "", ip, is_v6 ? "]" : "",
			     o->metricsport),
		arena_printf(a, "--metrics-path=%s", o->serve.metrics_path),
		arena_printf(a, "--probe-timeout=%llims", (long long)(o->timeout_ns / NS_PER_MS)),
		arena_printf(a, "--v=%u", o->serve.common.verbosity),
		NULL,
	};
	char *words[ARRAY_LEN(argv)];

	for (size_t i = 0; i < ARRAY_LEN(argv); i++)
		words[i] = argv[i] ? arena_strdup(a, argv[i]) : NULL;
	return cmd_livenessprobe.run(&cmd_livenessprobe, ARRAY_LEN(argv) - 1, words);
}

static int serve(const struct cmd *cmd, struct cephcsi_options *o)
{
	autoarena struct arena *a = arena_new();
	const char *type = str_or(o->type, "");
	const char *pool = arena_printf(a, "ceph=%s:%s", type, o->config_dir);
	struct serve_options *s = &o->serve;

	if (str_is_equal(type, "liveness"))
		return serve_liveness(o);
	if (!str_is_equal(type, "rbd") && !str_is_equal(type, "cephfs"))
		return cmd_usage(cmd, "--type=%s: there are rbd, cephfs and liveness", type);
	s->driver_name = str_or(s->driver_name, arena_printf(a, "%s.csi.ceph.com", type));
	s->no_controller = o->nodeserver && !o->controllerserver;
	s->no_node = o->controllerserver && !o->nodeserver;
	if (s->fence_nodes && s->no_controller)
		return cmd_usage(
			cmd, "--fence-nodes is the controller's, which --nodeserver alone is not");
	if (s->fence_nodes && !str_is_equal(type, "rbd"))
		return cmd_usage(cmd,
				 "--fence-nodes is for --type=rbd: of --type=%s no lost node's "
				 "clients are known",
				 type);
	s->pools.backend = "pool";
	s->pools.pool = (struct opt_list){ &pool, 1 };
	if (s->no_node || !str_is_equal(type, "rbd"))
		s->cgroup_root = "";
	if (s->no_node)
		s->pools.state_dir = "";
	else if (str_is_empty(s->pools.state_dir))
		s->pools.state_dir = default_state_dir(a, s->endpoint);
	return serve_run(cmd, s);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct cephcsi_options opts = { 0 };
	int status;

	if (!cmd_parse(cmd, &opts, argc, argv, NULL, NULL, &status))
		return status;
	return serve(cmd, &opts);
}

const struct cmd cmd_cephcsi = {
	.name = "cephcsi",
	.program = "cephcsi",
	.summary = "Serve Ceph's images or filesystems as ceph-csi does, with its options.",
	.synopsis = "cleat cephcsi --type=rbd|cephfs --nodeid=ID [option...]",
	.about = "As a manifest of ceph-csi has it:\n"
		 "  cephcsi --type=rbd --controllerserver=true --nodeid=$(NODE_ID) "
		 "--endpoint=$(CSI_ENDPOINT) \\\n"
		 "    --drivername=rbd.csi.ceph.com --setmetadata=true\n",
	.options = options,
	.run = run,
};
