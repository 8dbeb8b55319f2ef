/* SPDX-License-Identifier: Apache-2.0 */
/* A service that GetPluginCapabilities does not name is not asked: drivers answer differently then.
 */
#include "csi/service.h"

static int ask_controller(const struct csi_service *s, struct ctx *ctx, struct csi_offers *offers,
			  struct err *err)
{
	const struct csi_controller_get_capabilities_request ask = {};
	struct csi_controller_get_capabilities_response reply;

	if (!(offers->plugin & CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE)))
		return 0;
	if (csi_controller_get_capabilities(s, ctx, &ask, &reply, err) < 0)
		return -1;
	offers->controller = csi_capability_bits(reply.capabilities, reply.n_capabilities);
	return 0;
}

static int ask_group(const struct csi_service *s, struct ctx *ctx, struct csi_offers *offers,
		     struct err *err)
{
	const struct csi_group_controller_get_capabilities_request ask = {};
	struct csi_group_controller_get_capabilities_response reply;

	if (!(offers->plugin & CSI_CAP_BIT(CSI_PLUGIN_GROUP_CONTROLLER_SERVICE)))
		return 0;
	if (csi_group_controller_get_capabilities(s, ctx, &ask, &reply, err) < 0)
		return -1;
	offers->group = csi_capability_bits(reply.capabilities, reply.n_capabilities);
	return 0;
}

int csi_ask_offers(const struct csi_service *s, struct ctx *ctx, struct csi_offers *ret_offers,
		   struct err *err)
{
	const struct csi_get_plugin_capabilities_request ask_plugin = {};
	const struct csi_get_plugin_info_request ask_info = {};
	struct csi_get_plugin_capabilities_response plugin;
	struct csi_get_plugin_info_response info;
	struct csi_offers offers = { 0 };

	if (csi_get_plugin_info(s, ctx, &ask_info, &info, err) < 0 ||
	    csi_get_plugin_capabilities(s, ctx, &ask_plugin, &plugin, err) < 0)
		return -1;
	offers.name = info.name;
	offers.version = info.vendor_version;
	offers.plugin = csi_capability_bits(plugin.capabilities, plugin.n_capabilities);
	if (ask_controller(s, ctx, &offers, err) < 0 || ask_group(s, ctx, &offers, err) < 0)
		return -1;
	*ret_offers = offers;
	return 0;
}
