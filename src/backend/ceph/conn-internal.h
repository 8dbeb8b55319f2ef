/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_CONN_INTERNAL_H
#define BACKEND_CEPH_CONN_INTERNAL_H

#include "backend/ceph/conn.h"
#include "backend/ceph/errand.h"
#include "base/sha256.h"
#include "base/vec.h"

#include <pthread.h>

/* Who is at something, for those who are refused meanwhile. */
struct asker {
	char id[24];
	int64_t since_ns;
};

struct link {
	rados_t rados;
	unsigned n_leases;  /* of calls, and of errands that go on without one */
	int64_t used_ns;    /* when the last lease ended */
	rados_t manager;    /* for commands to the manager; NULL: not needed yet, or rados does */
	unsigned n_errands; /* to the manager */
	int64_t manager_used_ns;
};

/* Of one login. */
struct account {
	char *monitors, *user;
	uint8_t key_hash[SHA256_BYTES];
	struct link *link; /* for the next call; NULL: there is none, or it is being made, by: */
	bool is_making;
	struct asker maker;
	int64_t silent_since_ns;       /* 0: the cluster answers */
	const struct ceph_conn *asked; /* by this lease, while it is silent */
	struct asker asker;
	unsigned n_here;                   /* calls and errands that point to it */
	VEC(struct ceph_errand *) errands; /* the oldest first */
	struct work *work;                 /* their threads; NULL: none was needed */
};

struct ceph_conns {
	const struct ceph_lib *lib; /* constant once set; under lock before */
	unsigned op_timeout_s;
	int64_t idle_ns;
	bool has_librbd;              /* constant, as the two above */
	struct ceph_conns *next_left; /* under the lock of those that were left, conn.c */
	pthread_mutex_t lock; /* guards the rest and what it points to; not held across a call of
				 the library */
	pthread_cond_t made;
	VEC(struct account *) accounts;
};

struct ceph_conn {
	struct ceph_conns *conns;
	struct account *account;
	struct link *link; /* the account's, or what was that before it was of no use any more */
	const struct ceph_lib *lib;
	rados_t rados;
	char *cluster;
	bool is_asker;  /* of a silent cluster, until it has answered; its caller's alone */
	bool timed_out; /* under lock */
};

/* connect.c */
int conn_check_login(const struct ceph_login *login, struct err *err);
/* The library's connection; blocks for as long as op_timeout_s. Sets timed_out. */
int ceph_conn_connect(struct ceph_conn *conn, const struct ceph_login *login, rados_t *ret_rados,
		      struct err *err);
/* One more for the manager alone, of the login that "like" has. The library's answer. */
int conn_connect_again(const struct ceph_conns *c, const struct account *a, rados_t like,
		       rados_t *ret_rados);
/* conn.c: */
void conn_count(double by);
void conn_close_link(const struct ceph_lib *lib, struct link *l);
/* Locked. The link, if it is to be closed now. */
struct link *conn_end_lease(const struct account *a, struct link *l);
/* Keeps the books of silence and of connections that are of no use any more. */
void conn_note_failure(struct ceph_conn *conn, int rc);
/* errand.c. Locked: metrics of what this cluster has not answered, of all its logins. */
void errand_report(const struct ceph_conns *c, const char *cluster);

#endif
