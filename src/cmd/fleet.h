/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_FLEET_H
#define CMD_FLEET_H

#include "base/err.h"
#include "base/str.h"
#include "cmd/remote.h"
#include "csi/service.h"

#include <stdbool.h>
#include <stdint.h>

struct ctx;
struct ev_loop;
struct work;

/*
 * The agents of many nodes as one CSI service: a connection to each, a look at each that came, came
 * back or did not answer, and the router over them (csi/router.h). Which they are is a fixed list,
 * or told by fleet_set (cmd/fleet_slices.h).
 *
 * With TLS an agent that is known by its node is only believed to be that node's if its certificate
 * says so; and, where --tls-server-name is given, if it has that name and no URI (one certificate
 * for all agents). Of a fixed list no node is known: certificates must name --tls-server-name or,
 * without it, the host of the address.
 */
struct fleet;

struct fleet_member {
	const char *name;    /* of the node; of a fixed list: the address */
	const char *address; /* "tcp://[10.0.0.1]:10000", "unix:///path" */
	bool is_node;        /* the name is a node's, and the certificate has to say so:
				URI cleat://node/NAME */
};

struct fleet_options {
	struct ev_loop *loop; /* runs; as work, outlives it */
	struct work *work;    /* NULL: nothing is looked at but by fleet_look */
	const char *
		agents; /* addresses, comma-separated, as fleet_check found them good; NULL: none */
	const char *driver_name; /* what each must call itself; "" or NULL: what the first does */
	const struct cmd_tls *tls;
	unsigned workers; /* that may be at calls at once; 0: not said */
};

/* INVALID_ARGUMENT names the option and the address that is none, is there twice, or needs TLS. */
int fleet_check(const char *option, const char *agents, const struct cmd_tls *tls, bool insecure,
		struct err *err);

/* The same of a Service: "[NAMESPACE/]NAME". */
int fleet_check_service(const char *option, const char *service, const struct cmd_tls *tls,
			bool insecure, struct err *err);

int fleet_open(const struct fleet_options *opts, struct fleet **ret_fleet, struct err *err);
/* These are its members from now on, no two of one name. Who stays at his address is not disturbed;
 * who goes has his calls ended first. On a worker, one at a time. */
void fleet_set(struct fleet *f, const struct fleet_member *members, size_t n);
struct csi_service fleet_service(struct fleet *f);
/* Looks at all of them, one after the other, each within its part of ctx's time. Those that do not
 * answer are missing then. Not on the loop. */
void fleet_look(struct fleet *f, struct ctx *ctx);
/* csi_router_forget and csi_router_has_forgotten, of its router. Any thread. */
struct uuid;
bool fleet_forget(struct fleet *f, const struct uuid *pools, size_t n);
bool fleet_has_forgotten(struct fleet *f, const struct uuid *pool);
/* csi_router_each, of its router. Any thread. */
struct csi_router_state;
void fleet_each(struct fleet *f, int (*fn)(void *arg, const struct csi_router_state *state),
		void *arg);
/* csi_router_doubt, of its router: the agent is asked within a second. Any thread. */
void fleet_doubt(struct fleet *f, const char *name);
/* A line for each agent that is not served, with the reason, for each pool that two show, and for
 * each that was forgotten and is there. Any thread. */
void fleet_report(struct fleet *f, struct str *report);
/* When no call is under way any more; the loop and the workers run. Not on the loop. NULL is fine.
 */
void fleet_close(struct fleet *f);

#endif
