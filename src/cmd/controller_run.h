/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CONTROLLER_RUN_H
#define CMD_CONTROLLER_RUN_H

#include "cmd/cmd.h"
#include "cmd/remote.h"

/* What `cleat controller` was told. */
struct controller_options {
	struct cmd_common common;
	const char *controllers;
	const char *csi_address;
	const char *agents;         /* in its place; "" or NULL */
	const char *agents_service; /* the same, "[NAMESPACE/]NAME" */
	const char *agents_port;
	const char *driver_name; /* what it must call itself; "" = anything */
	struct cmd_tls tls;
	bool insecure;
	int64_t timeout_ns;
	const char *kubeconfig;
	const char *context;
	unsigned qps, burst;
	bool election;
	const char *election_ns;
	const char *identity;
	int64_t lease_ns, renew_ns, retry_ns;
	unsigned workers;
	int64_t backoff_ns, backoff_max_ns;
	const char *prefix;
	const char *fs;
	bool extra_metadata, strict, immediate;
	bool prevent_mode_conversion;
	int64_t resizer_timeout_ns, resizer_modify_timeout_ns; /* 0: timeout_ns */
	bool resizer_extra_metadata, resizer_handles_use;
	int64_t snapshotter_timeout_ns;
	const char *snapshotter_prefix, *snapshotter_group_prefix;
	bool snapshotter_extra_metadata;
	int64_t attacher_timeout_ns, attacher_reconcile_ns;
	unsigned attacher_max_entries;
	const char *http_endpoint;
	const char *metrics_path;
};

/* INVALID_ARGUMENT names the option that is malformed or contradicts another. */
int controller_check(const struct controller_options *o, struct err *err);

/* Runs until SIGTERM or SIGINT. Returns an exit code. */
int controller_run(const struct cmd *cmd, const struct controller_options *opts);

#endif
