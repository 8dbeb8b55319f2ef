/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_SERVE_H
#define CMD_SERVE_H

#include "cmd/cmd.h"
#include "cmd/pools.h"
#include "cmd/remote.h"

/*
 * What `cleat driver` and `cleat node` were told. They are the same process but for kubelet: node
 * also registers, and may serve the fleet over TCP beside kubelet's socket.
 */
struct serve_options {
	struct cmd_common common;
	const char *endpoint;
	const char *driver_name;
	const char *node_id;
	const char *cluster_id;
	struct pools_options pools;
	struct cmd_tls tls;
	bool insecure;
	unsigned max_volumes;
	const char *cgroup_root;
	const char *http_endpoint;
	const char *metrics_path;
	int64_t shutdown_timeout_ns;
	bool no_controller, no_node; /* of these services nothing is served */
	bool fence_nodes;            /* the controller asks the API server about lost nodes */
	/* node alone */
	bool is_node;
	const char *kubelet_dir;
	const char *registration_path;
	const char *fleet_endpoint;
	const char *certificate_signer; /* in place of tls.cert and tls.key */
	const char *kubeconfig;         /* for it, and for fence_nodes */
	int64_t certificate_lifetime_ns;
};

/* clang-format off */
#define SERVE_DRIVER_OPTIONS                                                                                  \
	{ .name = "driver-name", .type = OPT_STRING, .offset = offsetof(struct serve_options, driver_name),   \
	  .arg = "NAME", .fallback = "pool.cleat.csi",                                                        \
	  .help = "The driver's name, as in CSIDriver and StorageClass." },                                   \
	{ .name = "max-volumes-per-node", .type = OPT_UINT,                                                   \
	  .offset = offsetof(struct serve_options, max_volumes), .arg = "N", .fallback = "0",                 \
	  .help = "How many volumes the scheduler may bring here; 0: as many as it likes." },                 \
	{ .name = "cgroup-root", .type = OPT_STRING, .offset = offsetof(struct serve_options, cgroup_root),   \
	  .arg = "DIR", .fallback = "/sys/fs/cgroup",                                                         \
	  .help = "Where the node's cgroups are mounted, in which limits of I/O are held against pods." },    \
	{ .name = "cluster-id", .type = OPT_STRING, .offset = offsetof(struct serve_options, cluster_id),     \
	  .arg = "UID", .help = "The cluster's uid (that of its namespace kube-system), kept with each volume, "\
				"so that another cluster never takes it for its own." },                      \
	POOLS_OPTIONS(struct serve_options, pools)
#define SERVE_PROCESS_OPTIONS                                                                                 \
	{ .name = "insecure", .type = OPT_BOOL, .offset = offsetof(struct serve_options, insecure),           \
	  .help = "Allow tcp:// beyond loopback without TLS: anyone who reaches the port may delete volumes." },\
	{ .name = "Process", .type = OPT_GROUP },                                                             \
	{ .name = "http-endpoint", .type = OPT_STRING, .offset = offsetof(struct serve_options, http_endpoint),\
	  .arg = "HOST:PORT", .help = "Where /metrics, /healthz and /readyz are served; nowhere unless given." },\
	{ .name = "metrics-path", .type = OPT_STRING, .offset = offsetof(struct serve_options, metrics_path), \
	  .arg = "PATH", .fallback = "/metrics", .help = "Where metrics are on it." },                        \
	{ .name = "shutdown-timeout", .type = OPT_DURATION,                                                   \
	  .offset = offsetof(struct serve_options, shutdown_timeout_ns), .arg = "TIME", .fallback = "25s",    \
	  .help = "How long calls that run may take to end after SIGTERM. A second signal ends at once." }
/* clang-format on */

/*
 * Everything that can be judged from the command line alone: INVALID_ARGUMENT names the option that
 * is missing, malformed or contradicts another. ret_configs lives in the arena.
 */
int serve_check(const struct serve_options *opts, struct arena *a,
		struct backend_config **ret_configs, size_t *ret_n, struct err *err);

/* Reads the command line, whose options are of struct serve_options, and serves until SIGTERM or
 * SIGINT. Returns an exit code. */
int serve_main(const struct cmd *cmd, bool is_node, int argc, char **argv);
/* The same with options that were read by somebody else. */
int serve_run(const struct cmd *cmd, const struct serve_options *opts);

#endif
