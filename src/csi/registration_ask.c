/* SPDX-License-Identifier: Apache-2.0 */
/* The other side of registration.c: what kubelet asks first. */
#include "csi/registration.h"

#include "base/ctx.h"
#include "base/mem.h"
#include "base/str.h"
#include "csi/messages.h"
#include "grpc/client.h"

static int ask(struct grpc_channel *channel, struct ctx *ctx,
	       struct registration_plugin_info *ret_info, struct err *err)
{
	struct msg_bytes out = message_encode(&registration_info_request_type, ctx->arena,
					      &(const struct registration_info_request){});
	struct msg_bytes in = { 0 };

	if (grpc_channel_call(channel, ctx, CSI_REGISTRATION_GET_INFO, out.data, out.n, &in.data,
			      &in.n, err) < 0)
		return -1;
	return message_decode(&registration_plugin_info_type, ctx->arena, &in, MSG_FIELDS_REPLY,
			      ret_info, err);
}

int csi_registration_ask(struct ev_loop *loop, const char *socket_path, struct ctx *ctx,
			 const char *driver_name, struct err *err)
{
	autofree char *address = xasprintf("unix://%s", socket_path);
	struct registration_plugin_info info;
	struct grpc_channel *channel;
	struct net_addr addr;
	int r;

	if (net_addr_parse(address, &addr, err) < 0)
		return -1;
	channel = grpc_channel_new(loop, &addr, NULL);
	r = ask(channel, ctx, &info, err);
	grpc_channel_free(channel);
	if (r == 0 && !str_is_equal(info.name, driver_name))
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' registers '%.100s'", socket_path,
			       info.name);
	return r;
}
