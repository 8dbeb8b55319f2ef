/* SPDX-License-Identifier: Apache-2.0 */
/* Three questions whose answers hold as long as the link does; a driver that was replaced behind
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

int64_t driver_limit(const struct driver *d, struct ctx *ctx)
{
	int64_t deadline_ns = ctx->deadline_ns;
	int64_t limit_ns = clock_now_ns() + d->timeout_ns;

	if (limit_ns < deadline_ns)
		ctx->deadline_ns = limit_ns;
	return deadline_ns;
}

static int ask_controller(struct driver *d, struct ctx *ctx, struct driver_caps *caps,
			  struct err *err)
{
	const struct csi_controller_get_capabilities_request ask = {};
	struct csi_controller_get_capabilities_response reply;

	if (!(caps->plugin & CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE)))
		return 0;
	if (csi_controller_get_capabilities(&d->service, ctx, &ask, &reply, err) < 0)
		return -1;
	caps->controller = csi_capability_bits(reply.capabilities, reply.n_capabilities);
	return 0;
}

/* The driver's name, which must still be ours, and what it can. */
static int ask_all(struct driver *d, struct ctx *ctx, struct driver_caps *caps, struct err *err)
{
	const struct csi_get_plugin_capabilities_request ask_plugin = {};
	const struct csi_get_plugin_info_request ask_info = {};
	struct csi_get_plugin_capabilities_response plugin;
	struct csi_get_plugin_info_response info;

	if (csi_get_plugin_info(&d->service, ctx, &ask_info, &info, err) < 0 ||
	    csi_get_plugin_capabilities(&d->service, ctx, &ask_plugin, &plugin, err) < 0)
		return err_wrap(err, "ask driver %s for its capabilities", d->name);
	caps->plugin = csi_capability_bits(plugin.capabilities, plugin.n_capabilities);
	if (ask_controller(d, ctx, caps, err) < 0)
		return err_wrap(err, "ask driver %s for its capabilities", d->name);
	if (str_is_equal(info.name, d->name))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "the driver behind the address is '%s' now, and was '%s'", info.name,
		       d->name);
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
