/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address - what an endpoint on the command line may be
 *
 * A CSI endpoint deletes volumes for whoever can reach it. A socket is guarded by its mode,
 * loopback by being local, all else must show a certificate: an address that would leave the
 * services open to the network is refused before anything listens, unless --insecure says that this
 * is wanted.
 */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "cmd/remote.h"
#include "net/addr.h"

bool cmd_tls_is_set(const struct cmd_tls *tls)
{
	return !str_is_empty(tls->cert) || !str_is_empty(tls->key) || !str_is_empty(tls->ca);
}

int cmd_tls_check(const struct cmd_tls *tls, struct err *err)
{
	const struct {
		const char *name, *value;
	} files[] = { { "tls-cert", tls->cert }, { "tls-key", tls->key }, { "tls-ca", tls->ca } };

	if (!cmd_tls_is_set(tls))
		return 0;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (str_is_empty(files[i].value))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "--%s is missing: TLS is mutual and needs --tls-cert, "
				       "--tls-key and --tls-ca",
				       files[i].name);
	}
	return 0;
}

bool address_is_unix(const char *address)
{
	return address[0] == '/' || str_has_prefix(address, "unix:");
}

int address_check(const char *option, const char *address, const struct cmd_tls *tls, bool insecure,
		  struct err *err)
{
	struct net_addr addr;

	if (net_addr_parse(address, &addr, err) < 0)
		return err_wrap(err, "--%s", option);
	if (addr.kind == NET_ADDR_UNIX) {
		if (cmd_tls_is_set(tls))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "--tls-cert contradicts --%s=%s: a socket has no TLS",
				       option, address);
		return 0;
	}
	if (cmd_tls_is_set(tls) || net_addr_is_loopback(&addr) || insecure)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "--%s=%s is open to the network: give --tls-cert, --tls-key and --tls-ca, "
		       "or --insecure",
		       option, address);
}

int http_check(const char *endpoint, const char *metrics_path, struct err *err)
{
	autofree char *text = NULL;
	struct net_addr addr;

	if (!str_has_prefix(str_or(metrics_path, ""), "/"))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--metrics-path=%s does not begin with '/'", metrics_path);
	if (str_is_empty(endpoint))
		return 0;
	if (!strrchr(endpoint, ':') || endpoint[0] == '/')
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--http-endpoint=%s has no port: write :PORT or HOST:PORT",
			       endpoint);
	text = xasprintf("tcp://%s", endpoint);
	return net_addr_parse(text, &addr, err) < 0 ? err_wrap(err, "--http-endpoint") : 0;
}
