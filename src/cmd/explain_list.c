/* SPDX-License-Identifier: Apache-2.0 */
/* What lists tell beside the chain: default classes, registered nodes, pods of a claim, room, who
 * leads, Events. */
#include "cmd/explain-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/controllers.h"
#include "control/core.h"
#include "control/list.h"
#include "control/storage.h"
#include "kube/quantity.h"

#include <stdlib.h>

#define ANN_DEFAULT_CLASS "storageclass.kubernetes.io/is-default-class"
#define ANN_DEFAULT_CLASS_BETA "storageclass.beta.kubernetes.io/is-default-class"
#define EVENTS_MAX 2000

const char *explain_keep(struct explain *x, const char *text)
{
	return arena_strdup(x->ctx->arena, str_or(text, ""));
}

/* What may not be read is told, and is no failure. */
int explain_note_unread(struct explain *x, const char *what, const struct err *err)
{
	if (err->code != ERR_PERMISSION_DENIED)
		return -1;
	vec_push(&x->unread, arena_printf(x->ctx->arena, "%s: %s", what, err->msg));
	return 0;
}

/* *ret_has: the list could be read. A kind that the server lacks has no objects. */
int explain_list(struct explain *x, const struct kube_type *type, const char *ns, list_fn fn,
		 bool *ret_has, struct err *err)
{
	*ret_has = false;
	if (list_each(x->client, x->ctx, type, ns, fn, x, err) >= 0 || err->code == ERR_NOT_FOUND) {
		*ret_has = true;
		return 0;
	}
	return explain_note_unread(x, type->resource, err);
}

static const struct kube_type capacity_type = {
	.kind = "CSIStorageCapacity",
	.resource = "csistoragecapacities",
	.group_version = "storage.k8s.io/v1",
	.is_namespaced = true,
};

/* ---- what lists tell ---- */

static int see_class(void *arg, const struct json *class)
{
	struct explain *x = arg;
	const struct json *annotations = json_path(class, "metadata.annotations");

	x->n_default_classes +=
		str_is_equal(json_get_string(annotations, ANN_DEFAULT_CLASS), "true") ||
		str_is_equal(json_get_string(annotations, ANN_DEFAULT_CLASS_BETA), "true");
	return 0;
}

static int see_csi_node(void *arg, const struct json *csi_node)
{
	struct explain *x = arg;
	const struct json *driver;
	const char *none;

	for (struct json_it it = json_each(json_path(csi_node, "spec.drivers"));
	     json_next(&it, &none, &driver);)
		x->n_registered += str_is_equal(json_get_string(driver, "name"), x->driver_name);
	return 0;
}

static bool has_ended(const struct json *pod)
{
	const char *phase = json_path_string(pod, "status.phase");

	return str_is_equal(phase, "Succeeded") || str_is_equal(phase, "Failed");
}

static const char *scheduler_says(struct explain *x, const struct json *pod)
{
	const struct json *condition;
	const char *none;

	for (struct json_it it = json_each(json_path(pod, "status.conditions"));
	     json_next(&it, &none, &condition);)
		if (str_is_equal(json_get_string(condition, "type"), "PodScheduled") &&
		    str_is_equal(json_get_string(condition, "status"), "False"))
			return explain_keep(x, json_get_string(condition, "message"));
	return json_path_string(pod, "spec.nodeName") ? "" : "the scheduler has not looked at it";
}

/* The claim of a volume of a pod, malloc'ed; NULL: it has none. */
char *explain_claim_of(const struct json *pod, const struct json *volume)
{
	const char *named = json_path_string(volume, "persistentVolumeClaim.claimName");

	if (named)
		return xstrdup(named);
	if (!json_is_object(json_get(volume, "ephemeral")))
		return NULL;
	return xasprintf("%s-%s", str_or(json_path_string(pod, "metadata.name"), ""),
			 str_or(json_get_string(volume, "name"), ""));
}

static int see_pod(void *arg, const struct json *pod)
{
	struct explain *x = arg;
	const struct json *volume;
	const char *none;

	for (struct json_it it = json_each(json_path(pod, "spec.volumes"));
	     !has_ended(pod) && json_next(&it, &none, &volume);) {
		autofree char *name = explain_claim_of(pod, volume);

		if (!str_is_equal(name, x->claim.name))
			continue;
		vec_push(&x->pods, ((struct explain_pod){
					   explain_keep(x, json_path_string(pod, "metadata.name")),
					   scheduler_says(x, pod) }));
		break;
	}
	return 0;
}

static int see_capacity(void *arg, const struct json *capacity)
{
	struct explain *x = arg;
	const char *largest = json_get_string(capacity, "maximumVolumeSize");
	uint64_t bytes = 0;

	if (!largest)
		largest = json_get_string(capacity, "capacity");
	if (str_is_equal(json_get_string(capacity, "storageClassName"), x->class.name)) {
		(void)kube_quantity_parse(str_or(largest, "0"), &bytes);
		vec_push(&x->rooms, ((struct explain_room){ bytes }));
	}
	return 0;
}

static bool is_own_lease(const struct explain *x, const char *name)
{
	char own[CONTROLLER_LEASE_MAX];

	controller_own_lease_name(x->driver_name, own);
	return *x->driver_name && str_is_equal(name, own);
}

/* Whose election is called so by upstream's name; NULL: nobody's. A cluster's one is of snapshots
 * alone. */
static const struct controller_row *find_row(const struct explain *x, const char *name)
{
	for (size_t i = 0; i < n_controller_rows; i++) {
		const struct controller_row *row = &controller_rows[i];
		bool is_meant = row->needs_no_driver ? x->subject == EXPLAIN_SNAPSHOT
						     : *x->driver_name != '\0';
		char lease[CONTROLLER_LEASE_MAX];

		if (!row->lease || !is_meant)
			continue;
		controller_lease_name(row, x->driver_name, lease);
		if (str_is_equal(name, lease))
			return row;
	}
	return NULL;
}

/* Times of the API are all UTC and of one form, so they compare as texts. */
static bool is_current(const struct json *lease, const char *renewed)
{
	int64_t seconds = 0;
	char oldest[CLOCK_TEXT_MAX];

	(void)json_int(json_path(lease, "spec.leaseDurationSeconds"), &seconds);
	clock_format_micro(clock_wall_ns() - seconds * NS_PER_S, oldest);
	return strcmp(renewed, oldest) >= 0;
}

static int see_lease(void *arg, const struct json *lease)
{
	struct explain *x = arg;
	const char *name = str_or(json_path_string(lease, "metadata.name"), "");
	const char *holder = str_or(json_path_string(lease, "spec.holderIdentity"), "");
	const char *renewed = str_or(json_path_string(lease, "spec.renewTime"), "");
	const struct controller_row *row = find_row(x, name);

	if (!row && !is_own_lease(x, name))
		return 0;
	vec_push(&x->leases,
		 ((struct explain_lease){
			 .row = row,
			 .ns = explain_keep(x, json_path_string(lease, "metadata.namespace")),
			 .name = explain_keep(x, name),
			 .holder = explain_keep(x, holder),
			 .renewed = explain_keep(x, renewed),
			 .is_current = *holder && is_current(lease, renewed) }));
	return 0;
}

static bool is_about_chain(struct explain *x, const struct json *about)
{
	const char *kind = str_or(json_get_string(about, "kind"), "");
	const char *name = str_or(json_get_string(about, "name"), "");
	const char *uid = str_or(json_get_string(about, "uid"), "");
	const struct fact *chain[EXPLAIN_CHAIN_MAX];
	size_t n = explain_chain(x, chain);

	for (size_t i = 0; i < n; i++) {
		const char *now = fact_string(chain[i], "metadata.uid");

		if (str_is_equal(chain[i]->type->kind, kind) &&
		    str_is_equal(chain[i]->name, name) &&
		    (!*uid || !*now || str_is_equal(uid, now))) /* not of one before it */
			return true;
	}
	return false;
}

static const char *time_of(const struct json *event)
{
	static const char *const fields[] = { "series.lastObservedTime", "lastTimestamp",
					      "eventTime", "firstTimestamp" };

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (!str_is_empty(json_path_string(event, fields[i])))
			return json_path_string(event, fields[i]);
	return "";
}

static int see_event(void *arg, const struct json *event)
{
	struct explain *x = arg;
	const struct json *about = json_get(event, "involvedObject");

	if (!is_about_chain(x, about) || x->events.n >= EVENTS_MAX)
		return 0;
	vec_push(&x->events, ((struct explain_event){
				     .kind = explain_keep(x, json_get_string(about, "kind")),
				     .name = explain_keep(x, json_get_string(about, "name")),
				     .type = explain_keep(x, json_get_string(event, "type")),
				     .reason = explain_keep(x, json_get_string(event, "reason")),
				     .message = explain_keep(x, json_get_string(event, "message")),
				     .when = explain_keep(x, time_of(event)) }));
	return 0;
}

static int compare_events(const void *a, const void *b)
{
	return strcmp(((const struct explain_event *)b)->when,
		      ((const struct explain_event *)a)->when);
}

/* Of cluster-scoped objects Events are in "default". */
int explain_list_events(struct explain *x, const char *ns, struct err *err)
{
	if (explain_list(x, &kube_event_type, ns, see_event, &x->has_events, err) < 0)
		return -1;
	if (!str_is_equal(ns, "default") && x->has_events &&
	    explain_list(x, &kube_event_type, "default", see_event, &x->has_events, err) < 0)
		return -1;
	if (x->events.n)
		qsort(x->events.v, x->events.n, sizeof(*x->events.v), compare_events);
	return 0;
}

/* ---- the lists ---- */

int explain_list_classes(struct explain *x, struct err *err)
{
	bool has;

	if (explain_list(x, &storage_class_type, NULL, see_class, &has, err) < 0)
		return -1;
	x->n_default_classes += !has; /* nobody knows */
	return 0;
}

int explain_list_registered(struct explain *x, struct err *err)
{
	return explain_list(x, &storage_csi_node_type, NULL, see_csi_node, &x->has_nodes, err);
}

int explain_list_pods(struct explain *x, const char *ns, struct err *err)
{
	return explain_list(x, &core_pod_type, ns, see_pod, &x->has_pods, err);
}

int explain_list_rooms(struct explain *x, struct err *err)
{
	return explain_list(x, &capacity_type, NULL, see_capacity, &x->has_room, err);
}

int explain_list_leases(struct explain *x, struct err *err)
{
	return explain_list(x, &kube_lease_type, NULL, see_lease, &x->has_leases, err);
}
