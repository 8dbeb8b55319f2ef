/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_check - is this command line one that can work?
 *
 * Looks at words only, never at the machine, so every refusal here is a usage error (exit 2) and a
 * table of cases tests it. What the machine must have is looked at in serve.c (exit 1).
 */
#include "base/clock.h"
#include "base/path.h"
#include "cmd/serve.h"

/* What Kubernetes lets a request ask for. */
#define LIFETIME_MIN_NS (600 * NS_PER_S)

static int require(const char *value, const char *option, const char *what, struct err *err)
{
	if (!str_is_empty(value))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "--%s is missing: %s", option, what);
}

static int check_kubelet_dir(const struct serve_options *opts, struct err *err)
{
	if ((!opts->is_node && str_is_empty(opts->kubelet_dir)) || path_is_clean(opts->kubelet_dir))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "--kubelet-dir=%s is not an absolute, clean path",
		       opts->kubelet_dir);
}

/* "": limits of I/O are refused. */
static int check_cgroup_root(const struct serve_options *opts, struct err *err)
{
	if (str_is_empty(opts->cgroup_root) || path_is_clean(opts->cgroup_root))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "--cgroup-root=%s is not an absolute, clean path",
		       opts->cgroup_root);
}

/* Files are then those of the other side's authority alone. */
static int check_certificates(const struct serve_options *opts, struct err *err)
{
	if (str_is_empty(opts->certificate_signer))
		return cmd_tls_check(&opts->tls, err);
	if (!str_is_empty(opts->tls.cert) || !str_is_empty(opts->tls.key))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--certificate-signer and --tls-cert, --tls-key exclude each other");
	if (str_is_empty(opts->tls.ca))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--certificate-signer needs --tls-ca: TLS is mutual");
	if (str_is_empty(opts->fleet_endpoint))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--certificate-signer needs --fleet-endpoint");
	if (opts->certificate_lifetime_ns < LIFETIME_MIN_NS)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--certificate-lifetime must be at least 10m");
	return 0;
}

static int check_node(const struct serve_options *opts, struct err *err)
{
	if (!str_is_empty(opts->endpoint) && !address_is_unix(opts->endpoint))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--endpoint=%s: kubelet speaks to a socket; tcp:// goes to "
			       "--fleet-endpoint",
			       opts->endpoint);
	if (!str_is_empty(opts->registration_path) && !path_is_clean(opts->registration_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--kubelet-registration-path=%s is not an absolute, clean path",
			       opts->registration_path);
	if (str_is_empty(opts->fleet_endpoint)) {
		if (cmd_tls_is_set(&opts->tls))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "--tls-cert needs --fleet-endpoint");
		return 0;
	}
	if (address_is_unix(opts->fleet_endpoint))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--fleet-endpoint=%s: the fleet is reached by tcp://",
			       opts->fleet_endpoint);
	return address_check("fleet-endpoint", opts->fleet_endpoint, &opts->tls, opts->insecure,
			     err);
}

int serve_check(const struct serve_options *opts, struct arena *a,
		struct backend_config **ret_configs, size_t *ret_n, struct err *err)
{
	const struct cmd_tls none = { 0 };

	if (require(opts->node_id, "node-id", "the name of this node", err) < 0 ||
	    check_certificates(opts, err) < 0 || check_kubelet_dir(opts, err) < 0 ||
	    check_cgroup_root(opts, err) < 0 ||
	    http_check(opts->http_endpoint, opts->metrics_path, err) < 0 ||
	    pools_configure(a, &opts->pools, opts->node_id, ret_configs, ret_n, err) < 0)
		return -1;
	if (opts->is_node) {
		if (check_node(opts, err) < 0)
			return -1;
		return str_is_empty(opts->endpoint)
			       ? 0
			       : address_check("endpoint", opts->endpoint, &none, false, err);
	}
	if (require(opts->endpoint, "endpoint", "unix:///run/cleat.sock or tcp://host:port", err) <
	    0)
		return -1;
	return address_check("endpoint", opts->endpoint, &opts->tls, opts->insecure, err);
}
