/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as the flags of Kubernetes storage components write them. Only text is looked at here:
 * names are resolved when a connection is made, so that a moved Service is found again.
 */
#include "net/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static int parse_unix(const char *path, struct net_addr *ret_addr, struct err *err)
{
	struct net_addr addr = { .kind = NET_ADDR_UNIX };

	if (path[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT, "socket path '%s' is not absolute", path);
	if (strlen(path) >= sizeof(addr.path))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "socket path '%s' is %zu bytes long, at most %zu fit", path,
			       strlen(path), sizeof(addr.path) - 1);
	memcpy(addr.path, path, strlen(path) + 1);
	*ret_addr = addr;
	return 0;
}

static int parse_port(const char *text, const char *whole, uint16_t *ret_port, struct err *err)
{
	uint32_t port = 0;

	if (str_parse_u32(text, UINT16_MAX, &port) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "port '%s' in '%s' is not a number from 0 to 65535", text, whole);
	*ret_port = (uint16_t)port;
	return 0;
}

static int parse_tcp(const char *rest, const char *whole, struct net_addr *ret_addr,
		     struct err *err)
{
	struct net_addr addr = { .kind = NET_ADDR_TCP, .port = NET_ADDR_DEFAULT_PORT };
	const char *host = rest, *host_end = NULL, *port = NULL;

	if (rest[0] == '[') {
		host = rest + 1;
		host_end = strchr(host, ']');
		if (!host_end || (host_end[1] != '\0' && host_end[1] != ':'))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "'%s': '[' without a matching ']'", whole);
		port = host_end[1] == ':' ? host_end + 2 : NULL;
	} else {
		host_end = strchr(rest, ':');
		if (host_end && strchr(host_end + 1, ':'))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "'%s': write an IPv6 address as [address]:port", whole);
		port = host_end ? host_end + 1 : NULL;
		host_end = host_end ? host_end : rest + strlen(rest);
	}
	if ((size_t)(host_end - host) >= sizeof(addr.host))
		return err_set(err, ERR_INVALID_ARGUMENT, "host in '%s' is longer than %zu bytes",
			       whole, sizeof(addr.host) - 1);
	for (const char *p = host; p < host_end; p++)
		if (*p <= ' ' || *p == '/' || *p == '@' || *p == 127)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "'%s' has a character that no host name has", whole);
	memcpy(addr.host, host, (size_t)(host_end - host));
	if (port && parse_port(port, whole, &addr.port, err) < 0)
		return -1;
	*ret_addr = addr;
	return 0;
}

int net_addr_parse(const char *text, struct net_addr *ret_addr, struct err *err)
{
	if (str_has_prefix(text, "unix://"))
		return parse_unix(text + strlen("unix://"), ret_addr, err);
	if (str_has_prefix(text, "unix:"))
		return parse_unix(text + strlen("unix:"), ret_addr, err);
	if (text[0] == '/')
		return parse_unix(text, ret_addr, err);
	if (str_has_prefix(text, "tcp://"))
		return parse_tcp(text + strlen("tcp://"), text, ret_addr, err);
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "address '%s' is neither unix:///path nor tcp://host:port", text);
}

void net_addr_format(const struct net_addr *addr, char ret_text[NET_ADDR_TEXT_MAX])
{
	if (addr->kind == NET_ADDR_UNIX)
		snprintf(ret_text, NET_ADDR_TEXT_MAX, "unix://%s", addr->path);
	else if (strchr(addr->host, ':'))
		snprintf(ret_text, NET_ADDR_TEXT_MAX, "tcp://[%s]:%u", addr->host, addr->port);
	else
		snprintf(ret_text, NET_ADDR_TEXT_MAX, "tcp://%s:%u", addr->host, addr->port);
}

bool net_addr_is_loopback(const struct net_addr *addr)
{
	struct in_addr v4 = { 0 };

	if (addr->kind != NET_ADDR_TCP)
		return false;
	if (str_is_equal(addr->host, "localhost") || str_is_equal(addr->host, "::1"))
		return true;
	return inet_pton(AF_INET, addr->host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}
