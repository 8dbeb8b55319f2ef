/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_EXPLAIN_H
#define CMD_EXPLAIN_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/json.h"
#include "base/vec.h"
#include "kube/type.h"

#include <stdbool.h>
#include <stdint.h>

struct controller_row;
struct kube_client;

/*
 * Why something waits: the chain of objects from a pod, claim, snapshot or attachment to the driver
 * is read from the API server, and rules look at it, one after the other, from what is missing to
 * what only somebody's Event tells. The first that applies is the blocker. A rule speaks only of
 * what was read: what may not be read is unknown and makes none apply.
 *
 * Nothing is ever written. Memory is the ctx's arena and the documents, until explain_done.
 */
enum explain_subject {
	EXPLAIN_CLAIM,
	EXPLAIN_POD,
	EXPLAIN_SNAPSHOT,
	EXPLAIN_ATTACHMENT,
	EXPLAIN_SUBJECTS,
};

enum fact_state { FACT_UNASKED, FACT_THERE, FACT_GONE, FACT_UNKNOWN };

/* An object that something names. */
struct fact {
	const struct kube_type *type;
	const char *ns, *name;
	enum fact_state state;
	const char *why;         /* FACT_UNKNOWN */
	const struct json *root; /* FACT_THERE */
};

/* A pod that uses the claim. */
struct explain_pod {
	const char *name;
	const char *unscheduled; /* what the scheduler says; "" if it has a node */
};

struct explain_event {
	const char *kind, *name; /* what it is about */
	const char *type, *reason, *message, *when;
};

struct explain_lease {
	const struct controller_row *row; /* that it is of alone; NULL: of cleat's own election */
	const char *ns, *name, *holder, *renewed;
	bool is_current;
};

/* A node, seen from a pod that has none: which of the pod's volumes can be reached from there. */
struct explain_node {
	const char *name;
	uint64_t reaches; /* bit i: the volume of claims.v[i], or nothing is known of where it is */
	bool takes_pods;  /* ready, and not cordoned */
};
#define EXPLAIN_VOLUMES_MAX 64

struct explain_room {
	uint64_t bytes; /* the largest volume that it says it takes */
};

struct explain {
	struct kube_client *client;
	struct ctx *ctx;
	enum explain_subject subject;
	struct fact pod, claim, class, attributes_class, source, pv, snapshot, snapshot_class,
		content, attachment, node, csi_node, driver;
	const char *driver_name; /* "" as long as nobody names it */
	const char *claim_class; /* NULL: the claim names none */
	size_t n_default_classes;
	size_t n_registered; /* nodes that have the driver; while has_nodes */
	bool has_nodes, has_pods, has_leases, has_room, has_events, has_all_nodes;
	VEC(struct explain_pod) pods;
	VEC(struct explain_event) events; /* newest first, of the objects of the chain */
	VEC(struct explain_lease) leases; /* of controllers of the driver */
	VEC(struct explain_room) rooms;   /* CSIStorageCapacity of the class */
	VEC(const char *) unread;         /* what could not be read, and why */
	VEC(struct explain *) claims;     /* of a pod: each of its claims */
	VEC(struct explain_node) nodes;   /* of a pod without a node; all that there are */
	VEC(struct json_doc *) docs;
};

/* What blocks, in words, and what can be done about it without harm. */
struct explain_blocker {
	const char *rule;   /* "class-missing"; NULL: nothing was found */
	const char *object; /* "StorageClass fast" */
	const char *what;
	const char *next;
};

/*
 * Reads all that belongs to the object. NOT_FOUND: it is not there itself. Other failures: the API
 * server was not there to the end; what may not be read is no failure.
 */
int explain_read(struct explain *x, const char *ns, const char *name, struct err *err);
void explain_done(struct explain *x);
/* false, and an empty blocker: nothing was found that blocks. */
bool explain_find(struct explain *x, struct explain_blocker *ret);

/* The rules, in their order, of each subject; to the first without a name. */
struct explain_rule {
	const char *name;
	bool (*applies)(struct explain *x, struct explain_blocker *b);
};
extern const struct explain_rule explain_claim_rules[];
extern const struct explain_rule explain_pod_rules[];
extern const struct explain_rule explain_snapshot_rules[];
extern const struct explain_rule explain_attachment_rules[];
const struct explain_rule *explain_rules(enum explain_subject subject);

/* The facts of the chain that were asked for, in its order; how many. */
#define EXPLAIN_CHAIN_MAX 14
size_t explain_chain(const struct explain *x, const struct fact *ret[EXPLAIN_CHAIN_MAX]);
/* How it is with one: "Pending, 1Gi". In the arena. */
const char *explain_state(struct explain *x, const struct fact *f);

/* ---- for rules ---- */

static inline bool fact_is_gone(const struct fact *f)
{
	return f->state == FACT_GONE;
}
static inline bool fact_is_there(const struct fact *f)
{
	return f->state == FACT_THERE;
}
/* "" if it is not there. */
const char *fact_string(const struct fact *f, const char *dotted);
/* "StorageClass fast", "PersistentVolumeClaim default/data"; in the arena. */
const char *fact_title(struct explain *x, const struct fact *f);
/* Fills and returns true. object NULL: the fact is what it is about. */
bool explain_say(struct explain *x, struct explain_blocker *b, const struct fact *about,
		 const char *what, const char *next);
/* arena_printf in the explanation's arena. */
const char *explain_text(struct explain *x, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The newest Warning of that reason about it; any if reason is NULL. NULL: none. */
const struct explain_event *explain_warning(const struct explain *x, const struct fact *about,
					    const char *reason);
/* Finalizers but those that are named; "a, b", or "". */
const char *fact_finalizers(struct explain *x, const struct fact *f);

/* Shared by subjects: nobody does that controller's work (a name in --controllers) though there are
 * Leases of those who would; the driver is not on the node; the node is gone. */
bool explain_nobody_leads(struct explain *x, const char *controller, struct explain_blocker *b);
bool explain_node_is_gone(struct explain *x, struct explain_blocker *b);
bool explain_node_is_not_ready(struct explain *x, struct explain_blocker *b);
bool explain_driver_is_not_on_node(struct explain *x, struct explain_blocker *b);

#endif
