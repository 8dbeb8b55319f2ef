/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SNAPSHOT_OPS_H
#define CONTROL_SNAPSHOT_OPS_H

/*
 * How long snapshots and groups take to be made, to be ready and to go, by the names of
 * external-snapshotter: snapshot_controller_operation_total_seconds and
 * snapshot_controller_operations_in_flight. An operation begins when a reconcile first sees that it
 * is to be done and ends when one sees that it is; so it has no end here if another process brings
 * it about, and one that was begun by another counts from here. Thread-safe.
 */
#include <stdbool.h>

struct snapshot_ops;

/* What a reconcile knows of one object. uid and driver are copied. */
struct snapshot_seen {
	const char *uid;
	const char *driver; /* "": not known, or not any more */
	bool is_dynamic;    /* to be cut, not brought by name */
	bool is_created;    /* there is a moment that it is of */
	bool is_ready;
	bool is_deleting;
	bool is_let_go; /* being deleted, and nothing of ours holds it */
};

enum snapshot_ops_kind { SNAPSHOT_OPS_SNAPSHOT, SNAPSHOT_OPS_GROUP };

struct snapshot_ops *snapshot_ops_new(void);
void snapshot_ops_free(struct snapshot_ops *o); /* NULL is fine */

/* A new one is closed: what is seen counts for nothing. */
void snapshot_ops_open(struct snapshot_ops *o);
/* Whatever is under way will be brought to its end elsewhere, and is forgotten; reconciles that are
 * yet to return begin nothing. */
void snapshot_ops_close(struct snapshot_ops *o);

/* key: "ns/name". seen NULL: there is no such object any more. What is seen twice counts once. */
void snapshot_ops_look(struct snapshot_ops *o, enum snapshot_ops_kind kind, const char *key,
		       const struct snapshot_seen *seen);

#endif
