/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CONTROLLER_EARLY_H
#define CMD_CONTROLLER_EARLY_H

#include "base/err.h"
#include "base/str.h"

struct controller_options;
struct controller_early;
struct ev_loop;
struct kube_config;
struct work;

/*
 * Controllers that work before the driver is there, since without their work it may never come:
 * agents have no certificate to answer with until one is signed. They have an election of their own
 * (Lease cleat-DRIVER-early), so that a process that waits for the driver keeps nobody from work.
 */
struct controller_early_options {
	const struct controller_options *opts;
	struct ev_loop *loop;
	struct work *work;
	const struct kube_config *config;
	const char *lease_ns, *identity;
};

/* The loop runs. All of it is borrowed and outlives it. NULL in *ret_early: none of --controllers
 * is such a one. */
int controller_early_open(const struct controller_early_options *opts,
			  struct controller_early **ret_early, struct err *err);
/* What is wrong, a line each; nothing if all is well. Any thread. NULL is fine. */
void controller_early_report(struct controller_early *e, struct str *report);
/* While the loop and the workers run; not on the loop. NULL is fine. */
void controller_early_close(struct controller_early *e);

#endif
