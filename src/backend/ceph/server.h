/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_SERVER_H
#define BACKEND_CEPH_SERVER_H

#include "base/ctx.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Processes that serve a volume on this node and outlive the agent: this program again, started
 * with a word and the volume's token. Whoever starts one says the rest over a socket, a key among
 * it, and hears whether it serves:
 *
 *     agent                          server
 *       order (one message)     →
 *                               ←      answer (one message): it serves, or why not
 *       (end of the socket)     →      if it comes before the answer: undoes all and ends
 *
 * From the answer on they know nothing of each other.
 */
#define CEPH_SERVER_ORDER_MAX 32768

/* An order is a row of texts that each end in a NUL, the first a word that says which row it is: a
 * server of another version of this program is never started, so one that differs is a mistake.
 * Appended to a string that is wiped; taken apart they point into bytes, and -1: it is none of n
 * texts that begins with first. */
void ceph_server_order_encode(const char *const *texts, size_t n_texts, struct str *out);
int ceph_server_order_decode(const char *bytes, size_t n, const char *first, const char **texts,
			     size_t n_texts);

struct ceph_server {
	const char *word, *token;
	int64_t undo_ns; /* it watches the socket, and needs no longer than this to undo all; 0: it
			    does not, and is killed at once */
};
/* The agent's side: 0 once it serves; else why not, and it is gone. The socket ends before anything
 * is done to the process, so that what it has started ends with it, also if the agent is killed
 * meanwhile. ret_pid NULL: not wanted. */
int ceph_server_start(struct ctx *ctx, const struct ceph_server *server, const struct str *order,
		      pid_t *ret_pid, struct err *err);

/* The server's side. bytes has room for CEPH_SERVER_ORDER_MAX. -1: it was not started as one. */
int ceph_server_read(char *bytes, size_t *ret_n);
/* NULL: it serves. -1: nobody waits for it any more. */
int ceph_server_answer(const struct err *err);
/* Whoever ordered it is gone. */
bool ceph_server_is_alone(void);
/* The lock on this file, of the one server that a volume has at a time. ABORTED: another one has
 * it, and which process that is. */
int ceph_server_lock(int dir_fd, const char *name, int *ret_fd, struct err *err);

#endif
