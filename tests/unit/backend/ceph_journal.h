/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BACKEND_CEPH_JOURNAL_H
#define TESTS_UNIT_BACKEND_CEPH_JOURNAL_H

#include "backend/ceph/journal.h"
#include "check.h"
#include "fake/ceph.h"

/* A process with a connection to the fake cluster and the journal of volumes of pool "rbd". */
struct process {
	struct ceph_conns *conns;
	struct ceph_conn *conn;
	struct ceph_journal journal;
	struct ctx ctx;
	struct err err;
};

static inline int process_try_start(struct process *p)
{
	const struct ceph_conns_options opts = { .lib = fake_ceph_lib() };
	const struct ceph_login login = { "c1", FAKE_CEPH_MONITORS, FAKE_CEPH_USER, FAKE_CEPH_KEY };

	ctx_init(&p->ctx, 0);
	p->conns = ceph_conns_new(&opts);
	p->conn = NULL;
	p->journal = (struct ceph_journal){ .kind = CEPH_JOURNAL_VOLUMES, .instance = "" };
	if (ceph_conn_get(p->conns, &p->ctx, &login, &p->conn, &p->err) < 0)
		return -1;
	p->journal.conn = p->conn;
	return ceph_conn_open_pool(p->conn, "rbd", "", &p->journal.io, &p->err);
}

static inline void process_start(struct process *p)
{
	ASSERT_OK(process_try_start(p), &p->err);
}

static inline void process_stop(struct process *p)
{
	if (p->journal.io)
		fake_ceph_lib()->rados_ioctx_destroy(p->journal.io);
	ceph_conn_put(p->conn);
	ceph_conns_free(p->conns);
	ctx_done(&p->ctx);
}

#endif
