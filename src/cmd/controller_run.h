/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CONTROLLER_RUN_H
#define CMD_CONTROLLER_RUN_H

#include "cmd/cmd.h"
#include "cmd/remote.h"

struct controller_row;

/* What `cleat controller` was told. */
struct controller_options {
	struct cmd_common common;
	const struct controller_row *as; /* called by its program's name; NULL: by ours */
	const char *controllers;
	const char *csi_address;
	const char *agents;         /* in its place; "" or NULL */
	const char *agents_service; /* the same, "[NAMESPACE/]NAME" */
	const char *agents_port;
	const char *agents_account; /* "[NAMESPACE/]NAME" of their ServiceAccount */
	const char *agents_signer;  /* "" or NULL: the driver's name and "/agent" */
	const char *agents_ca_cert, *agents_ca_key;
	int64_t agents_lifetime_ns; /* of a certificate */
	const char *driver_name;    /* what it must call itself; "" = anything */
	struct cmd_tls tls;
	bool insecure;
	int64_t timeout_ns;
	const char *kubeconfig;
	const char *context;
	const char *master; /* the API server's URL, in place of that there */
	unsigned qps, burst;
	bool election;
	const char *election_ns;
	const char *election_labels; /* "k:v,k2:v2" */
	const char *identity;
	int64_t lease_ns, renew_ns, retry_ns;
	unsigned workers;
	int64_t backoff_ns, backoff_max_ns;
	const char *prefix;
	const char *fs;
	bool attacher_lends;  /* the secret for growing, to attach */
	unsigned name_digits; /* 0: all */
	bool topology, attributes, groups;
	bool extra_metadata, strict, immediate, publish_readonly;
	bool prevent_mode_conversion, cross_namespace;
	bool distributed; /* each node has a snapshotter */
	bool node_deployment, node_immediate;
	int64_t node_base_ns, node_max_ns;
	const char *node_name;
	bool enable_capacity; /* beside the named ones */
	bool capacity_immediate;
	int64_t capacity_poll_ns, capacity_keep_ns;
	const char *capacity_owner_level; /* a number, also below 0 */
	const char *capacity_ns, *capacity_pod;
	unsigned capacity_workers, capacity_qps, capacity_burst;
	int64_t resizer_timeout_ns, resizer_modify_timeout_ns; /* 0: timeout_ns */
	bool resizer_extra_metadata, resizer_handles_use;
	int64_t snapshotter_timeout_ns;
	const char *snapshotter_prefix, *snapshotter_group_prefix;
	unsigned snapshotter_digits, snapshotter_group_digits; /* 0: all */
	bool snapshotter_extra_metadata;
	int64_t attacher_timeout_ns, attacher_reconcile_ns;
	unsigned attacher_max_entries;
	int64_t orphans_interval_ns, orphans_delete_after_ns;
	int64_t health_interval_ns, health_timeout_ns;
	unsigned metadata_port; /* 0: snapshot metadata is not served */
	const char *metadata_cert, *metadata_key, *metadata_audience;
	unsigned metadata_minutes;
	const char *http_endpoint;
	const char *metrics_path;
};

/* INVALID_ARGUMENT names the option that is malformed or contradicts another. */
int controller_check(const struct controller_options *o, struct err *err);

/* What --agents-signer and --agents-account come to, malloc'ed: "pool.cleat.csi/agent",
 * "system:serviceaccount:NAMESPACE:NAME". */
char *controller_signer(const struct controller_options *o);
char *controller_agents_account(const struct controller_options *o, const char *own_ns);

/* What the row's program of upstream does: argv has its options, but for those that stand for
 * others here (controller_args). Returns an exit code; a Lease that is lost ends it with
 * CMD_FAILED. */
int controller_as(const struct controller_row *row, int argc, char **argv);

/* Runs until SIGTERM or SIGINT. Returns an exit code. */
int controller_run(const struct cmd *cmd, const struct controller_options *opts);

#endif
