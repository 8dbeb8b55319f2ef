/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rules have in common: how a fact is named and told, and the rules that several subjects
 * share.
 */
#include "cmd/explain.h"

#include "base/mem.h"
#include "base/str.h"
#include "cmd/controllers.h"
#include "control/core.h"
#include "control/snapshots.h"
#include "control/storage.h"

#include <stdarg.h>

/* ---- facts ---- */

const char *fact_string(const struct fact *f, const char *dotted)
{
	return str_or(json_path_string(f->root, dotted), "");
}

const char *explain_text(struct explain *x, const char *fmt, ...)
{
	autostr struct str s = STR_INIT;
	va_list ap;

	va_start(ap, fmt);
	str_vappendf(&s, fmt, ap);
	va_end(ap);
	return arena_strdup(x->ctx->arena, str_get(&s));
}

const char *fact_title(struct explain *x, const struct fact *f)
{
	return explain_text(x, "%s %s%s%s", f->type->kind, f->ns, *f->ns ? "/" : "", f->name);
}

const char *fact_finalizers(struct explain *x, const struct fact *f)
{
	autostr struct str s = STR_INIT;
	const struct json *value;
	const char *none;

	for (struct json_it it = json_each(json_path(f->root, "metadata.finalizers"));
	     json_next(&it, &none, &value);)
		str_appendf(&s, "%s%s", s.len ? ", " : "", str_or(json_string(value), ""));
	return arena_strdup(x->ctx->arena, str_get(&s));
}

size_t explain_chain(const struct explain *x, const struct fact *ret[EXPLAIN_CHAIN_MAX])
{
	const struct fact *const all[] = {
		&x->pod,   &x->snapshot,         &x->snapshot_class, &x->content, &x->claim,
		&x->class, &x->attributes_class, &x->source,         &x->pv,      &x->attachment,
		&x->node,  &x->csi_node,         &x->driver,
	};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i]->state != FACT_UNASKED)
			ret[n++] = all[i];
	return n;
}

/* ---- states, for people ---- */

static const char *state_of_claim(struct explain *x, const struct fact *f)
{
	const char *size = fact_string(f, "spec.resources.requests.storage");
	const char *has = fact_string(f, "status.capacity.storage");

	return explain_text(x, "%s, asks for %s%s%s", fact_string(f, "status.phase"), size,
			    *has ? ", has " : "", has);
}

static const char *state_of_class(struct explain *x, const struct fact *f)
{
	return explain_text(x, "%s, %s", fact_string(f, "provisioner"),
			    str_or(fact_string(f, "volumeBindingMode"), "Immediate"));
}

static const char *state_of_pv(struct explain *x, const struct fact *f)
{
	return explain_text(x, "%s, %s, %s, volume %s", fact_string(f, "status.phase"),
			    fact_string(f, "spec.capacity.storage"),
			    fact_string(f, "spec.persistentVolumeReclaimPolicy"),
			    str_or(fact_string(f, "spec.csi.volumeHandle"), "not of CSI"));
}

static const char *state_of_node(struct explain *x, const struct fact *f)
{
	struct explain_blocker ignored = { 0 };
	bool is_bad = explain_node_is_not_ready(x, &ignored);

	return explain_text(
		x, "%s%s", is_bad ? "not ready" : "ready",
		json_bool(json_path(f->root, "spec.unschedulable"), false) ? ", cordoned" : "");
}

static bool has_driver(const struct json *csi_node, const char *name)
{
	const struct json *driver;
	const char *none;

	for (struct json_it it = json_each(json_path(csi_node, "spec.drivers"));
	     json_next(&it, &none, &driver);)
		if (str_is_equal(json_get_string(driver, "name"), name))
			return true;
	return false;
}

static const char *state_of_csi_node(struct explain *x, const struct fact *f)
{
	if (!*x->driver_name)
		return explain_text(x, "%zu drivers",
				    json_count(json_path(f->root, "spec.drivers")));
	return has_driver(f->root, x->driver_name) ? "the driver is registered"
						   : "the driver is not registered";
}

static const char *state_of_snapshot(struct explain *x, const struct fact *f)
{
	return json_bool(json_path(f->root, "status.readyToUse"), false) ? "ready" : "not ready";
}

static const char *state_of_attachment(struct explain *x, const struct fact *f)
{
	return explain_text(x, "%s, to node %s",
			    json_bool(json_path(f->root, "status.attached"), false)
				    ? "attached"
				    : "not attached",
			    fact_string(f, "spec.nodeName"));
}

static const char *state_of_driver(struct explain *x, const struct fact *f)
{
	return json_bool(json_path(f->root, "spec.attachRequired"), true) ? "volumes are attached"
									  : "nothing is attached";
}

static const char *state_of_pod(struct explain *x, const struct fact *f)
{
	const char *node = fact_string(f, "spec.nodeName");

	return explain_text(x, "%s, %s%s", fact_string(f, "status.phase"),
			    *node ? "on node " : "on no node", node);
}

const char *explain_state(struct explain *x, const struct fact *f)
{
	static const struct {
		const struct kube_type *type;
		const char *(*tell)(struct explain *x, const struct fact *f);
	} ways[] = {
		{ &core_pvc_type, state_of_claim },
		{ &storage_class_type, state_of_class },
		{ &core_pv_type, state_of_pv },
		{ &core_node_type, state_of_node },
		{ &storage_csi_node_type, state_of_csi_node },
		{ &snapshot_type, state_of_snapshot },
		{ &snapshot_content_type, state_of_snapshot },
		{ &storage_attachment_type, state_of_attachment },
		{ &storage_driver_type, state_of_driver },
		{ &core_pod_type, state_of_pod },
	};
	bool is_going = *fact_string(f, "metadata.deletionTimestamp");

	if (f->state == FACT_GONE)
		return "is not there";
	if (f->state == FACT_UNKNOWN)
		return "may not be read";
	for (size_t i = 0; i < ARRAY_LEN(ways); i++)
		if (ways[i].type == f->type)
			return explain_text(x, "%s%s", ways[i].tell(x, f),
					    is_going ? ", being deleted" : "");
	return "is there";
}

/* ---- rules ---- */

bool explain_say(struct explain *x, struct explain_blocker *b, const struct fact *about,
		 const char *what, const char *next)
{
	b->object = fact_title(x, about);
	b->what = what;
	b->next = next;
	return true;
}

const struct explain_event *explain_warning(const struct explain *x, const struct fact *about,
					    const char *reason)
{
	for (size_t i = 0; i < x->events.n; i++) {
		const struct explain_event *e = &x->events.v[i];

		if (str_is_equal(e->type, "Warning") && str_is_equal(e->kind, about->type->kind) &&
		    str_is_equal(e->name, about->name) &&
		    (!reason || str_is_equal(e->reason, reason)))
			return e;
	}
	return NULL;
}

/* Whose own election it is does all of the driver's work, as far as a Lease tells. */
bool explain_nobody_leads(struct explain *x, const char *controller, struct explain_blocker *b)
{
	const struct explain_lease *last = NULL;

	for (size_t i = 0; i < x->leases.n; i++) {
		const struct explain_lease *lease = &x->leases.v[i];

		if (lease->row && !str_is_equal(lease->row->name, controller))
			continue;
		if (lease->is_current)
			return false;
		last = lease;
	}
	if (!last)
		return false; /* a controller may run without an election */
	b->object = explain_text(x, "Lease %s/%s", last->ns, last->name);
	b->what = *last->holder
			  ? explain_text(x,
					 "no %s of driver %s leads: '%s' renewed its Lease last at "
					 "%s",
					 controller, x->driver_name, last->holder, last->renewed)
			  : explain_text(x, "no %s of driver %s leads: its Lease has no holder",
					 controller, x->driver_name);
	b->next = explain_text(x, "kubectl -n %s get pods -o wide", last->ns);
	return true;
}

bool explain_node_is_gone(struct explain *x, struct explain_blocker *b)
{
	return fact_is_gone(&x->node) &&
	       explain_say(x, b, &x->node,
			   explain_text(x, "it is for node %s, which is not there any more",
					x->node.name),
			   "kubectl get nodes");
}

bool explain_node_is_not_ready(struct explain *x, struct explain_blocker *b)
{
	const struct json *condition;
	const char *none;

	for (struct json_it it = json_each(json_path(x->node.root, "status.conditions"));
	     json_next(&it, &none, &condition);) {
		if (!str_is_equal(json_get_string(condition, "type"), "Ready") ||
		    str_is_equal(json_get_string(condition, "status"), "True"))
			continue;
		return explain_say(
			x, b, &x->node,
			explain_text(x, "node %s is not ready: %s", x->node.name,
				     str_or(json_get_string(condition, "message"), "no reason")),
			explain_text(x, "kubectl describe node %s", x->node.name));
	}
	return false;
}

bool explain_driver_is_not_on_node(struct explain *x, struct explain_blocker *b)
{
	if (!*x->driver_name || x->csi_node.state == FACT_UNASKED ||
	    x->csi_node.state == FACT_UNKNOWN || has_driver(x->csi_node.root, x->driver_name))
		return false;
	return explain_say(
		x, b, &x->csi_node,
		explain_text(x, "driver %s is not registered on node %s", x->driver_name,
			     x->node.name),
		explain_text(x, "kubectl get pods -A -o wide --field-selector spec.nodeName=%s",
			     x->node.name));
}

const struct explain_rule *explain_rules(enum explain_subject subject)
{
	static const struct explain_rule *const rules[EXPLAIN_SUBJECTS] = {
		[EXPLAIN_CLAIM] = explain_claim_rules,
		[EXPLAIN_POD] = explain_pod_rules,
		[EXPLAIN_SNAPSHOT] = explain_snapshot_rules,
		[EXPLAIN_ATTACHMENT] = explain_attachment_rules,
	};

	return rules[subject];
}

bool explain_find(struct explain *x, struct explain_blocker *ret)
{
	for (const struct explain_rule *r = explain_rules(x->subject); r->name; r++) {
		*ret = (struct explain_blocker){ .rule = r->name };
		if (r->applies(x, ret))
			return true;
	}
	*ret = (struct explain_blocker){ 0 };
	return false;
}
