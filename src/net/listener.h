/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "base/err.h"
#include "net/addr.h"

#include <stdint.h>
#include <sys/types.h>

struct conn;
struct ev_loop;
struct tls;

/*
 * struct listener - accepts connections. I/O thread only.
 *
 * unix: the socket file has the given mode; a socket left by a dead process is replaced; a living
 * one is FAILED_PRECONDITION and names its holder's pid; anything that is no socket is never
 * touched. At close the file is removed only if it still is the one we made (device and inode).
 * tcp: SO_REUSEADDR, dual stack for ":port".
 *
 * Handshakes are for 10 s and LISTENER_HANDSHAKES_MAX at once: a newcomer takes the place of the
 * one that has been at it for longest.
 */
#define LISTENER_HANDSHAKES_MAX 64u
struct listener;

/* The connection is open (TLS done); it must get its ops by conn_set_ops inside the callback, or be
 * closed. */
typedef void (*listener_accept_fn)(void *arg, struct conn *c);

int listener_open(struct ev_loop *loop, const struct net_addr *addr, mode_t mode, struct tls *tls,
		  listener_accept_fn fn, void *arg, struct listener **ret_listener,
		  struct err *err);
uint16_t listener_port(const struct listener *l); /* tcp: what the system chose */
/* Whether a unix listener's file is still ours (kubelet or an admin may have removed it). */
int listener_is_bound(const struct listener *l);
void listener_close(struct listener *l); /* NULL is fine */

#endif
