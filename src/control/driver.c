/* SPDX-License-Identifier: Apache-2.0 */
/* Questions whose answers hold as long as the link does; a driver that was replaced behind
 * the same address has another link. */
#include "control/driver.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/sync.h"

void driver_init(struct driver *d, const struct csi_service *service, const char *name,
		 int64_t timeout_ns)
{
	*d = (struct driver){
		.service = *service,
		.name = xstrdup(name),
		.timeout_ns = timeout_ns,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
}

void driver_done(struct driver *d)
{
	pthread_mutex_destroy(&d->lock);
	free(d->name);
}

int64_t driver_limit_to(struct ctx *ctx, int64_t timeout_ns)
{
	int64_t deadline_ns = ctx->deadline_ns;
	int64_t limit_ns = clock_now_ns() + timeout_ns;

	if (limit_ns < deadline_ns)
		ctx->deadline_ns = limit_ns;
	return deadline_ns;
}

int64_t driver_limit(const struct driver *d, struct ctx *ctx)
{
	return driver_limit_to(ctx, d->timeout_ns);
}

bool driver_is_in_doubt(enum err_code code)
{
	return code == ERR_CANCELLED || code == ERR_DEADLINE_EXCEEDED || code == ERR_UNAVAILABLE ||
	       code == ERR_ABORTED || code == ERR_RESOURCE_EXHAUSTED;
}

/* The driver's name, which must still be ours, and what it can. */
static int ask_all(struct driver *d, struct ctx *ctx, struct driver_caps *caps, struct err *err)
{
	struct csi_offers offers;

	if (csi_ask_offers(&d->service, ctx, &offers, err) < 0)
		return err_wrap(err, "ask driver %s for its capabilities", d->name);
	if (!str_is_equal(offers.name, d->name))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the driver behind the address is '%s' now, and was '%s'",
			       offers.name, d->name);
	*caps = (struct driver_caps){ offers.plugin, offers.controller };
	return 0;
}

int driver_ask(struct driver *d, struct ctx *ctx, struct driver_caps *ret_caps, struct err *err)
{
	uint64_t link = csi_link_changes(&d->service);
	struct driver_caps caps = { 0 };
	int64_t deadline_ns;
	int r;

	{
		LOCK_SCOPE(&d->lock);
		if (d->has_caps && d->caps_link == link) {
			*ret_caps = d->caps;
			return 0;
		}
	}
	deadline_ns = driver_limit(d, ctx);
	r = ask_all(d, ctx, &caps, err);
	ctx->deadline_ns = deadline_ns;
	if (r < 0)
		return -1;
	LOCK_SCOPE(&d->lock);
	d->caps = caps;
	d->caps_link = link;
	d->has_caps = true;
	*ret_caps = caps;
	return 0;
}
