/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_PEER_SHARE_H
#define CMD_PEER_SHARE_H

#include "base/err.h"

/*
 * Who has how many of what there is little of, so that one who gives nothing back leaves the others
 * some: a host may have so many at a time and no more. Whoever uses it locks it.
 */
struct peer_share;

struct peer_share *peer_share_new(unsigned n_each);
void peer_share_free(struct peer_share *s); /* NULL is fine */

/* peer: as conn_peer; its port does not count. UNAVAILABLE: it has all that it may. */
int peer_share_take(struct peer_share *s, const char *peer, struct err *err);
void peer_share_give(struct peer_share *s, const char *peer); /* one that it took */

#endif
