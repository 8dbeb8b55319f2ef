/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote - the CSI service behind an address
 *
 * Three objects with one life: certificates, channel, client. The channel connects by itself when a
 * call needs it, so opening never fails for a driver that is not there yet.
 */
#include "cmd/remote.h"

#include "base/mem.h"
#include "base/str.h"
#include "csi/client.h"
#include "grpc/client.h"
#include "net/tls.h"

struct remote {
	struct tls *tls;
	struct grpc_channel *channel;
	struct csi_client *client;
};

int remote_open(struct ev_loop *loop, const char *address, const struct cmd_tls *tls,
		struct remote **ret_remote, struct err *err)
{
	const struct tls_options options = {
		.cert_file = tls->cert,
		.key_file = tls->key,
		.ca_file = tls->ca,
		.server_name = str_is_empty(tls->server_name) ? NULL : tls->server_name,
	};
	struct net_addr addr;
	struct remote *r;

	if (net_addr_parse(address, &addr, err) < 0)
		return -1;
	r = xcalloc(1, sizeof(*r));
	if (cmd_tls_is_set(tls) && tls_new(&options, &r->tls, err) < 0) {
		free(r);
		return -1;
	}
	r->channel = grpc_channel_new(loop, &addr, r->tls);
	r->client = csi_client_new(r->channel);
	*ret_remote = r;
	return 0;
}

void remote_close(struct remote *r)
{
	if (!r)
		return;
	csi_client_free(r->client);
	grpc_channel_free(r->channel);
	tls_unref(r->tls);
	free(r);
}

struct csi_service remote_service(struct remote *r)
{
	return csi_client_service(r->client);
}
