/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a limit makes the kernel wait for the requests that a device has, and looking at a volume
 * for its disk. Neither is part of a page for probes or metrics, which must not hang with a disk;
 * how many looks hang is counted by the timer, which asks memory alone.
 */
#include "cmd/upkeep.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "cmd/lanes.h"
#include "cmd/periodic.h"
#include "csi/driver.h"

#define LIMITS_EVERY_NS NS_PER_S
#define LIMITS_FIRST_NS (NS_PER_S / 10)
#define HEALTH_TICK_NS (10 * NS_PER_S)
#define HEALTH_FIRST_NS NS_PER_S
#define TICKS_PER_LOOK 6
#define TIMEOUT_NS (60 * NS_PER_S)

struct upkeep {
	struct csi_driver *driver;
	unsigned n_ticks; /* loop: of health */
	struct periodic *limits;
	struct periodic *health;
};

static bool limits_are_due(void *arg)
{
	struct upkeep *u = arg;

	return csi_driver_limits_are_due(u->driver);
}

static void keep_limits(void *arg, struct ctx *ctx)
{
	struct upkeep *u = arg;

	csi_driver_keep_limits(u->driver, ctx);
}

static bool look_is_due(void *arg)
{
	struct upkeep *u = arg;

	metric_set(METRIC_LOOKS_HANGING, (double)csi_driver_n_silent(u->driver), METRIC_ARGS(NULL));
	return u->n_ticks++ % TICKS_PER_LOOK == 0;
}

static void look(void *arg, struct ctx *ctx)
{
	struct upkeep *u = arg;

	csi_driver_watch_health(u->driver, ctx);
}

struct upkeep *upkeep_new(struct ev_loop *loop, struct work *work, struct csi_driver *driver)
{
	struct upkeep *u = xcalloc(1, sizeof(*u));

	u->driver = driver;
	u->limits = periodic_new(&(struct periodic_options){
		.loop = loop,
		.work = work,
		.lane = LANE_HOST,
		.first_ns = LIMITS_FIRST_NS,
		.every_ns = LIMITS_EVERY_NS,
		.timeout_ns = TIMEOUT_NS,
		.is_due = limits_are_due,
		.run = keep_limits,
		.arg = u,
	});
	u->health = periodic_new(&(struct periodic_options){
		.loop = loop,
		.work = work,
		.lane = LANE_LOOK,
		.first_ns = HEALTH_FIRST_NS,
		.every_ns = HEALTH_TICK_NS,
		.timeout_ns = TIMEOUT_NS,
		.is_due = look_is_due,
		.run = look,
		.arg = u,
	});
	return u;
}

int upkeep_stop(struct upkeep *u, int64_t timeout_ns)
{
	int64_t deadline = clock_now_ns() + timeout_ns;
	int first, second;

	if (!u)
		return 0;
	first = periodic_stop(u->limits, timeout_ns);
	timeout_ns = deadline - clock_now_ns();
	second = periodic_stop(u->health, timeout_ns > 0 ? timeout_ns : 0);
	return first ? first : second;
}

void upkeep_free(struct upkeep *u)
{
	if (!u)
		return;
	periodic_free(u->limits);
	periodic_free(u->health);
	free(u);
}
