/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_DRIVER_H
#define CONTROL_DRIVER_H

#include "csi/service.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct driver_caps {
	uint64_t plugin, controller; /* csi_capability_bits(); controller 0 without its service */
};

/*
 * struct driver - the driver behind a service, and what it can
 *
 * It is asked when that is first needed, and again as soon as another process may be behind the
 * address. What a controller calls it with goes through here for its time limit. Any thread.
 */
struct driver {
	struct csi_service service; /* fixed, as the two below */
	char *name;                 /* what it must call itself */
	int64_t timeout_ns;         /* of one call */
	pthread_mutex_t lock;       /* guards what follows; nothing is called while it is held */
	bool has_caps;
	uint64_t caps_link; /* csi_link_changes() when they were asked for */
	struct driver_caps caps;
};

/* The service is copied; what it points to must outlive the driver. */
void driver_init(struct driver *d, const struct csi_service *service, const char *name,
		 int64_t timeout_ns);
void driver_done(struct driver *d);

/* FAILED_PRECONDITION: another driver is behind the address now. */
int driver_ask(struct driver *d, struct ctx *ctx, struct driver_caps *ret_caps, struct err *err);

/* Bounds ctx for one call; what it returns goes back into ctx->deadline_ns afterwards. */
int64_t driver_limit(const struct driver *d, struct ctx *ctx);
/* The same for calls that have a time limit of their own. */
int64_t driver_limit_to(struct ctx *ctx, int64_t timeout_ns);

/* A driver's error that is no final answer: what it was asked for may be under way. (Of making
 * something that has a name there is more to doubt, or less: claim.c, content.c.) */
bool driver_is_in_doubt(enum err_code code);

#endif
