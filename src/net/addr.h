/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

/*
 * Where to listen or to connect: "unix:///run/x.sock", "unix:/run/x.sock", "/run/x.sock",
 * "tcp://host", "tcp://host:port", "tcp://[::1]:10000", "tcp://:10000" (all addresses). A value;
 * nothing to free.
 */
#define NET_ADDR_HOST_MAX 254
#define NET_ADDR_TEXT_MAX 280
#define NET_ADDR_DEFAULT_PORT 10000

enum net_addr_kind {
	NET_ADDR_UNIX,
	NET_ADDR_TCP,
};

struct net_addr {
	enum net_addr_kind kind;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char host[NET_ADDR_HOST_MAX]; /* name or address without brackets; "" = any */
	uint16_t port;                /* 0: the system chooses (listeners) */
};

/* INVALID_ARGUMENT says what is wrong: unknown scheme, relative path, path over the 107 bytes of
 * sun_path, bad port. */
int net_addr_parse(const char *text, struct net_addr *ret_addr, struct err *err);
void net_addr_format(const struct net_addr *addr, char ret_text[NET_ADDR_TEXT_MAX]);
/* A numeric address of the loopback range, or "localhost". */
bool net_addr_is_loopback(const struct net_addr *addr);

#endif
