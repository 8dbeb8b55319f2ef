/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_COMMAND_H
#define BACKEND_CEPH_COMMAND_H

#include "backend/ceph/conn.h"
#include "base/str.h"

/* Commands that a cluster's daemons take as JSON, as `ceph` of the command line sends them. */
enum ceph_command_to { CEPH_COMMAND_MONITOR, CEPH_COMMAND_MANAGER };

struct ceph_answer {
	int rc;             /* librados': 0 or a negative errno */
	const char *text;   /* what was answered, "" if nothing; in the ctx's arena, as the next */
	const char *status; /* one line for a person; "" */
};

/* 0: ret_answer tells. -1: the ctx's time is up, or too many others are not answered (UNAVAILABLE).
 * Ends within the connection's time limit, with ETIMEDOUT; then, and where the ctx's time was up,
 * it may be done yet, whenever the daemon comes to it. Answers above some MiB are cut to "". */
int ceph_command_send(struct ceph_conn *conn, struct ctx *ctx, enum ceph_command_to to,
		      const char *json, struct ceph_answer *ret_answer, struct err *err);

#endif
