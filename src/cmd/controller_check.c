/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controller_check - is this command line one that can work?
 *
 * Looks at words only, as serve_check does for the driver: every refusal here is a usage error
 * (exit 2).
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/controller_run.h"
#include "cmd/controllers.h"
#include "cmd/fleet.h"
#include "cmd/metadata_server.h"
#include "kube/path.h"

#define LEVEL_MAX 8
#define LIFETIME_MIN_NS (10 * NS_PER_S)

static int check_times(const struct controller_options *o, struct err *err)
{
	if (o->lease_ns <= o->renew_ns || o->renew_ns <= o->retry_ns)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--leader-election-lease-duration must be above -renew-deadline, "
			       "and that above "
			       "-retry-period");
	if (o->timeout_ns == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "--timeout must be above 0");
	if (o->snapshotter_timeout_ns == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "--snapshotter-timeout must be above 0");
	if (o->attacher_timeout_ns == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "--attacher-timeout must be above 0");
	if (o->health_interval_ns == 0 || o->health_timeout_ns == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--health-interval and --health-timeout must be above 0");
	if (o->orphans_interval_ns == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "--orphans-interval must be above 0");
	if (o->backoff_max_ns < o->backoff_ns)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--retry-interval-max is below --retry-interval-start");
	if (o->workers == 0 || o->workers > 256)
		return err_set(err, ERR_INVALID_ARGUMENT, "--worker-threads=%u: from 1 to 256",
			       o->workers);
	return 0;
}

static int check_names(const struct controller_options *o, struct err *err)
{
	static const unsigned max = 32;
	const char *labels = str_or(o->election_labels, "");

	if (o->name_digits > max || o->snapshotter_digits > max ||
	    o->snapshotter_group_digits > max)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--volume-name-uuid-length and its like: %u at most", max);
	for (const char *at = labels; *at; at += strcspn(at, ","), at += *at == ',') {
		size_t n = strcspn(at, ",");
		const char *colon = memchr(at, ':', n);

		if (!colon || colon == at)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "--leader-election-labels=%.200s: KEY:VALUE, with commas "
				       "between several",
				       labels);
	}
	return 0;
}

/* Of all rows only these know how to share the work by nodes. */
static bool are_of_nodes(const char *names)
{
	for (size_t i = 0; i < n_controller_rows; i++)
		if (controller_is_named(&controller_rows[i], names) &&
		    !str_is_equal(controller_rows[i].name, "provisioner") &&
		    !str_is_equal(controller_rows[i].name, "capacity") &&
		    !str_is_equal(controller_rows[i].name, "snapshotter"))
			return false;
	return true;
}

static int check_node(const struct controller_options *o, struct err *err)
{
	if (!o->node_deployment)
		return 0;
	if (str_is_empty(o->node_name))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--node-deployment needs NODE_NAME in the environment, or "
			       "--node-name");
	if (kube_name_check("--node-name", o->node_name, err) < 0)
		return -1;
	if (o->election)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--node-deployment and --leader-election exclude each other: each "
			       "node has controllers of its own");
	if (!are_of_nodes(o->controllers))
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"--node-deployment goes with provisioner, capacity and snapshotter of "
			"--controllers, and no other");
	if (o->node_base_ns == 0 || o->node_max_ns == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--node-deployment-base-delay and -max-delay must be above 0");
	return 0;
}

static int check_capacity(const struct controller_options *o, struct err *err)
{
	int64_t level;

	if (str_parse_i64(o->capacity_owner_level, &level) < 0 || level < -1 || level > LEVEL_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--capacity-ownerref-level=%.40s: from -1 to %d",
			       o->capacity_owner_level, LEVEL_MAX);
	if (o->capacity_poll_ns < NS_PER_S)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--capacity-poll-interval must be at least 1s");
	if (o->capacity_workers == 0 || o->capacity_workers > 256)
		return err_set(err, ERR_INVALID_ARGUMENT, "--capacity-threads=%u: from 1 to 256",
			       o->capacity_workers);
	return 0;
}

static int check_metadata(const struct controller_options *o, struct err *err)
{
	if (o->metadata_port == 0)
		return 0;
	if (o->metadata_port > 65535)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--snapshot-metadata-port=%u: at most 65535", o->metadata_port);
	if (!controllers_need_driver(controller_rows, n_controller_rows, o->controllers))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--snapshot-metadata-port needs a driver, and none of "
			       "--controllers=%s has one",
			       o->controllers);
	if (str_is_empty(o->metadata_cert) || str_is_empty(o->metadata_key))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--snapshot-metadata-port needs --snapshot-metadata-tls-cert and "
			       "--snapshot-metadata-tls-key: tokens are not taken in the clear");
	if (o->metadata_minutes == 0 || o->metadata_minutes > METADATA_MINUTES_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--snapshot-metadata-max-streaming-duration-min=%u: from 1 to %u",
			       o->metadata_minutes, METADATA_MINUTES_MAX);
	return 0;
}

/* certificates is never among those of "auto". */
static bool signs(const struct controller_options *o)
{
	autofree char *early =
		controllers_early(controller_rows, n_controller_rows, o->controllers);

	return *early != '\0';
}

static int check_signer(const struct controller_options *o, struct err *err)
{
	if (!signs(o))
		return 0;
	if (str_is_empty(o->agents_account) || str_is_empty(o->agents_ca_cert) ||
	    str_is_empty(o->agents_ca_key))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "certificates of --controllers needs --agents-account, "
			       "--agents-ca-cert and --agents-ca-key");
	if (str_is_empty(o->driver_name))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "certificates of --controllers needs --driver-name: it works before "
			       "the driver is there to be asked");
	if (o->agents_lifetime_ns < LIFETIME_MIN_NS)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--agents-certificate-lifetime must be at least 10s");
	return 0;
}

int controller_check(const struct controller_options *o, struct err *err)
{
	if (controllers_check_names(controller_rows, n_controller_rows, o->controllers, err) < 0 ||
	    check_times(o, err) < 0 || check_names(o, err) < 0 || check_capacity(o, err) < 0 ||
	    check_metadata(o, err) < 0 || check_node(o, err) < 0 || check_signer(o, err) < 0 ||
	    cmd_tls_check(&o->tls, err) < 0 ||
	    http_check(o->http_endpoint, o->metrics_path, err) < 0)
		return -1;
	if (!str_is_empty(o->agents) && !str_is_empty(o->agents_service))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--agents and --agents-service exclude each other");
	if (!str_is_empty(o->agents_service))
		return fleet_check_service("agents-service", o->agents_service, &o->tls,
					   o->insecure, err);
	if (!str_is_empty(o->agents))
		return fleet_check("agents", o->agents, &o->tls, o->insecure, err);
	return address_check("csi-address", o->csi_address, &o->tls, o->insecure, err);
}
