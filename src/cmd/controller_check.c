/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controller_check - is this command line one that can work?
 *
 * Looks at words only, as serve_check does for the driver: every refusal here is a usage error
 * (exit 2).
 */
#include <string.h>

#include "base/str.h"
#include "cmd/controller_run.h"
#include "cmd/controllers.h"
#include "cmd/fleet.h"

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
	if (o->backoff_max_ns < o->backoff_ns)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--retry-interval-max is below --retry-interval-start");
	if (o->workers == 0 || o->workers > 256)
		return err_set(err, ERR_INVALID_ARGUMENT, "--worker-threads=%u: from 1 to 256",
			       o->workers);
	return 0;
}

static int check_service(const struct controller_options *o, struct err *err)
{
	const char *slash = strchr(o->agents_service, '/');

	if (slash && (slash == o->agents_service || !slash[1] || strchr(slash + 1, '/')))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--agents-service=%.200s: a Service's name, or NAMESPACE/NAME",
			       o->agents_service);
	if (!cmd_tls_is_set(&o->tls) && !o->insecure)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--agents-service needs --tls-cert, --tls-key and --tls-ca (or "
			       "--insecure): agents are reached over the network");
	return 0;
}

int controller_check(const struct controller_options *o, struct err *err)
{
	if (controllers_check_names(controller_rows, n_controller_rows, o->controllers, err) < 0 ||
	    check_times(o, err) < 0 || cmd_tls_check(&o->tls, err) < 0 ||
	    http_check(o->http_endpoint, o->metrics_path, err) < 0)
		return -1;
	if (!str_is_empty(o->agents) && !str_is_empty(o->agents_service))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--agents and --agents-service exclude each other");
	if (!str_is_empty(o->agents_service))
		return check_service(o, err);
	if (!str_is_empty(o->agents))
		return fleet_check("agents", o->agents, &o->tls, o->insecure, err);
	return address_check("csi-address", o->csi_address, &o->tls, o->insecure, err);
}
