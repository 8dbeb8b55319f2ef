/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_ORPHAN_INTERNAL_H
#define CONTROL_ORPHAN_INTERNAL_H

#include "control/orphan.h"

#include "base/map.h"
#include "base/vec.h"

#define OWN_NAMESPACE "kube-system" /* its UID is the cluster's */

/* One search, from the driver's lists to what is left. */
struct search {
	const struct orphan_look *look;
	struct ctx *ctx;
	const char *cluster;        /* UID of OWN_NAMESPACE */
	VEC(struct orphan *) found; /* what may be one, in the ctx's arena */
	struct map *groups;         /* id → struct orphan, or &orphan_known_group */
	size_t n_seen[ORPHAN_KINDS];
	const char *unknown[ORPHAN_KINDS];
	bool broke_off[ORPHAN_KINDS];
	bool is_slow; /* the driver, with questions about single volumes */
};
extern struct orphan orphan_known_group;

/* The object that would tell of it, in the arena: "pvc-…", "snapcontent-…", "groupsnapcontent-…".
 */
const char *orphan_object_name(struct arena *arena, const struct orphan *o);
const struct kube_type *orphan_object_type(enum orphan_kind kind);

/* orphan_list.c: all that the driver has of such names, into found; what could not be listed into
 * unknown. -1: the ctx ended. */
int orphan_list_all(struct search *s, struct err *err);
enum orphan_owner { ORPHAN_OURS, ORPHAN_ANOTHERS, ORPHAN_NOT_TOLD, ORPHAN_IN_DOUBT };
/* Whom the driver says that the volume was made for; in doubt: it could not be asked. */
enum orphan_owner orphan_volume_owner(struct search *s, const char *id);

/* orphan_facts.c: what the journal and the API server tell. Facts of kinds that the cluster lacks
 * are missing, and that kind is unknown. */
void orphan_facts_init(struct orphan_facts *facts);
void orphan_facts_done(struct orphan_facts *facts);
int orphan_read_journal(struct search *s, struct orphan_facts *facts, struct err *err);
int orphan_read_objects(struct search *s, struct orphan_facts *facts, struct err *err);
/* Those of one kind alone. NOT_FOUND: the cluster lacks it. */
int orphan_read_kind(const struct orphan_look *look, struct ctx *ctx, const struct kube_type *type,
		     struct orphan_facts *facts, struct err *err);

#endif
