/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_EXPLAIN_INTERNAL_H
#define CMD_EXPLAIN_INTERNAL_H

#include "cmd/explain.h"
#include "control/list.h"

/* explain_list.c. What may not be read goes into x->unread and is no failure. */
const char *explain_keep(struct explain *x, const char *text); /* a copy; "" for NULL */
int explain_note_unread(struct explain *x, const char *what, const struct err *err);
/* *ret_has: the list could be read. A kind that the server lacks has no objects. */
int explain_list(struct explain *x, const struct kube_type *type, const char *ns, list_fn fn,
		 bool *ret_has, struct err *err);
int explain_list_classes(struct explain *x, struct err *err);
int explain_list_registered(struct explain *x, struct err *err);
int explain_list_pods(struct explain *x, const char *ns, struct err *err);
int explain_list_rooms(struct explain *x, struct err *err);
int explain_list_leases(struct explain *x, struct err *err);
/* Of the objects of the chain as it is by then. */
int explain_list_events(struct explain *x, const char *ns, struct err *err);
/* The claim of a volume of a pod, malloc'ed; NULL: it has none. */
char *explain_claim_of(const struct json *pod, const struct json *volume);

#endif
