/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_ERRAND_H
#define BACKEND_CEPH_ERRAND_H

#include "backend/ceph/conn.h"

/*
 * A call of librados that ends when the cluster answers it and not before, run on a thread of the
 * login's own. Who asked for it waits for as long as he may and then leaves; the errand goes on,
 * with all that the library writes to in its own memory, and is freed by whoever is last. So the
 * library never has to give up what the cluster may yet answer.
 *
 * Each login has ERRAND_THREADS of them, made when they are needed. Others wait for a free one,
 * unless all of them are at what nobody waits for any more: then they are refused at once.
 */
#define ERRAND_THREADS 4

struct ceph_errand {
	/* The maker's. What it is called is for people, and is the errand's own or a constant. */
	const char *name;
	/* What the library answers. On the errand's thread; touches nothing of its caller's. */
	int (*run)(struct ceph_errand *e, const struct ceph_lib *lib, rados_t rados);
	void (*free)(struct ceph_errand *e, const struct ceph_lib *lib);
	bool is_managers; /* a command to the manager */

	/* errand.c's; under the lock of the connections */
	struct ceph_conns *conns;
	struct account *account;
	struct link *link; /* NULL once it has ended */
	const struct ceph_lib *lib;
	char *cluster;
	int64_t since_ns;
	int done_fd; /* readable when it has ended */
	unsigned n_refs;
	bool is_begun, is_left;
	int rc;
};

/*
 * Runs it and waits. 1: ret_rc is what the library answered, and what the errand has brought may be
 * looked at. 0: it was not within the connection's time limit. -1: the ctx's time is up, whether it
 * was begun or not; or UNAVAILABLE: refused, naming the oldest that hangs. Each time the caller
 * gives the errand back by ceph_errand_put.
 */
int ceph_errand_run(struct ceph_conn *conn, struct ctx *ctx, struct ceph_errand *e, int *ret_rc,
		    struct err *err);
void ceph_errand_put(struct ceph_errand *e);

#endif
