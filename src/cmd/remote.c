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

int cmd_tls_load(const struct cmd_tls *tls, struct tls **ret_tls, struct err *err)
{
	const struct tls_options options = {
		.cert_file = tls->cert,
		.key_file = tls->key,
		.ca_file = tls->ca,
		.server_name = str_is_empty(tls->server_name) ? NULL : tls->server_name,
	};

	*ret_tls = NULL;
	return cmd_tls_is_set(tls) ? tls_new(&options, ret_tls, err) : 0;
}

int remote_open_with(struct ev_loop *loop, const char *address, struct tls *tls,
		     const char *expected, struct remote **ret_remote, struct err *err)
{
	struct net_addr addr;
	struct remote *r;

	if (net_addr_parse(address, &addr, err) < 0)
		return -1;
	r = xcalloc(1, sizeof(*r));
	r->tls = tls ? tls_ref(tls) : NULL;
	r->channel = grpc_channel_new(loop, &addr, r->tls);
	if (tls && expected)
		grpc_channel_expect(r->channel, expected);
	r->client = csi_client_new(r->channel);
	*ret_remote = r;
	return 0;
}

int remote_open(struct ev_loop *loop, const char *address, const struct cmd_tls *tls,
		struct remote **ret_remote, struct err *err)
{
	struct tls *loaded;
	int rc;

	if (cmd_tls_load(tls, &loaded, err) < 0)
		return -1;
	rc = remote_open_with(loop, address, loaded, NULL, ret_remote, err);
	tls_unref(loaded);
	return rc;
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

void remote_connect(struct remote *r)
{
	grpc_channel_connect(r->channel);
}

bool remote_is_connected(const struct remote *r)
{
	return grpc_channel_is_connected(r->channel);
}

struct csi_service remote_service(struct remote *r)
{
	return csi_client_service(r->client);
}
