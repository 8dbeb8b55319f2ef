/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the chain of objects behind a pod, a claim, a snapshot or an attachment, each by its name
 * in the one before, and what lists tell besides: pods, Events, Leases, registered nodes, room.
 * Lists are made only where a rule asks.
 */
#include "cmd/explain-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/core.h"
#include "control/list.h"
#include "control/snapshots.h"
#include "control/storage.h"
#include "kube/client.h"
#include "kube/path.h"
#include "kube/quantity.h"

#include <stdlib.h>

#define ANN_CLASS_BETA "volume.beta.kubernetes.io/storage-class"

/* ---- single objects and lists ---- */

static int read_fact(struct explain *x, struct fact *f, const struct kube_type *type,
		     const char *ns, const char *name, struct err *err)
{
	autofree char *path = NULL;
	struct json_doc *doc = NULL;

	*f = (struct fact){
		.type = type, .ns = explain_keep(x, ns), .name = explain_keep(x, name), .why = ""
	};
	if (kube_object_path(type, ns, name, &path, err) < 0)
		return -1;
	if (kube_get(x->client, x->ctx, path, &doc, err) == 0) {
		vec_push(&x->docs, doc);
		f->root = json_root(doc);
		f->state = FACT_THERE;
		return 0;
	}
	if (err->code == ERR_NOT_FOUND) {
		f->state = FACT_GONE;
		return 0;
	}
	f->state = FACT_UNKNOWN;
	f->why = explain_keep(x, err->msg);
	return explain_note_unread(x, fact_title(x, f), err);
}

/* ---- the parts of the chain ---- */

static int read_driver(struct explain *x, const char *name, struct err *err)
{
	x->driver_name = explain_keep(x, name);
	if (!*x->driver_name || strchr(name, '/')) /* in-tree, or kubernetes.io/no-provisioner */
		return 0;
	return read_fact(x, &x->driver, &storage_driver_type, NULL, name, err);
}

static int read_node(struct explain *x, const char *name, struct err *err)
{
	if (str_is_empty(name))
		return 0;
	if (read_fact(x, &x->node, &core_node_type, NULL, name, err) < 0)
		return -1;
	return read_fact(x, &x->csi_node, &storage_csi_node_type, NULL, name, err);
}

static int read_class(struct explain *x, struct err *err)
{
	const char *named =
		json_get_string(json_path(x->claim.root, "metadata.annotations"), ANN_CLASS_BETA);

	if (!named)
		named = json_path_string(x->claim.root, "spec.storageClassName");
	x->claim_class = named ? explain_keep(x, named) : NULL;
	if (!named)
		return explain_list_classes(x, err);
	if (!*named)
		return 0;
	return read_fact(x, &x->class, &storage_class_type, NULL, named, err);
}

static int read_source(struct explain *x, struct err *err)
{
	const struct json *source = json_path(x->claim.root, "spec.dataSource");
	const char *kind, *name;

	if (!json_is_object(source))
		source = json_path(x->claim.root, "spec.dataSourceRef");
	kind = json_get_string(source, "kind");
	name = json_get_string(source, "name");
	if (!kind || !name || json_get_string(source, "namespace"))
		return 0;
	if (str_is_equal(kind, core_pvc_type.kind))
		return read_fact(x, &x->source, &core_pvc_type, x->claim.ns, name, err);
	if (str_is_equal(kind, snapshot_type.kind))
		return read_fact(x, &x->source, &snapshot_type, x->claim.ns, name, err);
	return 0;
}

static int read_pv(struct explain *x, const char *name, struct err *err)
{
	if (str_is_empty(name))
		return 0;
	return read_fact(x, &x->pv, &core_pv_type, NULL, name, err);
}

static const char *name_driver(const struct explain *x)
{
	const char *driver = fact_string(&x->pv, "spec.csi.driver");

	return *driver ? driver : fact_string(&x->class, "provisioner");
}

/* What only a claim that waits is asked about. */
static int read_wait(struct explain *x, struct err *err)
{
	bool tells_room = json_bool(json_path(x->driver.root, "spec.storageCapacity"), false);

	if (x->driver.state != FACT_UNASKED && explain_list_registered(x, err) < 0)
		return -1;
	if (tells_room && fact_is_there(&x->class) && explain_list_rooms(x, err) < 0)
		return -1;
	return 0;
}

static int read_leases(struct explain *x, struct err *err)
{
	if (!*x->driver_name && x->subject != EXPLAIN_SNAPSHOT)
		return 0;
	return explain_list_leases(x, err);
}

static int read_claim(struct explain *x, const char *ns, const char *name, struct err *err)
{
	const char *attributes;

	if (read_fact(x, &x->claim, &core_pvc_type, ns, name, err) < 0)
		return -1;
	if (!fact_is_there(&x->claim))
		return 0;
	attributes = fact_string(&x->claim, "spec.volumeAttributesClassName");
	if (read_class(x, err) < 0 || read_source(x, err) < 0 ||
	    read_pv(x, fact_string(&x->claim, "spec.volumeName"), err) < 0 ||
	    read_driver(x, name_driver(x), err) < 0)
		return -1;
	if (*attributes && read_fact(x, &x->attributes_class, &storage_attributes_class_type, NULL,
				     attributes, err) < 0)
		return -1;
	return 0;
}

static int read_for_claim(struct explain *x, const char *ns, const char *name, struct err *err)
{
	const struct json *annotations;

	if (read_claim(x, ns, name, err) < 0)
		return -1;
	if (!fact_is_there(&x->claim))
		return 0;
	annotations = json_path(x->claim.root, "metadata.annotations");
	if (explain_list_pods(x, ns, err) < 0)
		return -1;
	if (str_is_equal(fact_string(&x->claim, "status.phase"), "Pending") &&
	    (read_node(x, json_get_string(annotations, ANN_SELECTED_NODE), err) < 0 ||
	     read_wait(x, err) < 0))
		return -1;
	return read_leases(x, err) < 0 ? -1 : explain_list_events(x, ns, err);
}

/* ---- pods ---- */

static bool has_lease(const struct explain *x, const struct explain_lease *lease)
{
	for (size_t i = 0; i < x->leases.n; i++)
		if (str_is_equal(x->leases.v[i].ns, lease->ns) &&
		    str_is_equal(x->leases.v[i].name, lease->name))
			return true;
	return false;
}

/* What was found out about a claim is shown with the pod. */
static void absorb(struct explain *x, const struct explain *claim)
{
	for (size_t i = 0; i < claim->unread.n; i++)
		vec_push(&x->unread, claim->unread.v[i]);
	for (size_t i = 0; i < claim->events.n; i++)
		vec_push(&x->events, claim->events.v[i]);
	for (size_t i = 0; i < claim->leases.n; i++)
		if (!has_lease(x, &claim->leases.v[i]))
			vec_push(&x->leases, claim->leases.v[i]);
}

static int read_claims_of_pod(struct explain *x, struct err *err)
{
	const struct json *volume;
	const char *none;

	for (struct json_it it = json_each(json_path(x->pod.root, "spec.volumes"));
	     json_next(&it, &none, &volume);) {
		autofree char *name = explain_claim_of(x->pod.root, volume);
		struct explain *c;

		if (!name)
			continue;
		c = arena_alloc(x->ctx->arena, sizeof(*c));
		c->client = x->client;
		c->ctx = x->ctx;
		c->driver_name = "";
		c->subject = EXPLAIN_CLAIM;
		vec_push(&x->claims, c);
		if (read_for_claim(c, x->pod.ns, name, err) < 0)
			return -1;
		absorb(x, c);
	}
	return 0;
}

static bool has_value(const struct json *expression, const char *label)
{
	const struct json *value;
	const char *none;

	for (struct json_it it = json_each(json_get(expression, "values"));
	     label && json_next(&it, &none, &value);)
		if (str_is_equal(json_string(value), label))
			return true;
	return false;
}

/* Whatever is not understood is taken to match: nothing is guessed. */
static bool matches(const struct json *term, const struct json *node)
{
	const struct json *labels = json_path(node, "metadata.labels"), *expression;
	const char *none;

	for (struct json_it it = json_each(json_get(term, "matchExpressions"));
	     json_next(&it, &none, &expression);) {
		const char *key = str_or(json_get_string(expression, "key"), "");

		if (str_is_equal(json_get_string(expression, "operator"), "In") &&
		    !has_value(expression, json_get_string(labels, key)))
			return false;
	}
	return true;
}

static bool reaches(const struct json *node, const struct fact *pv)
{
	const struct json *terms =
		json_path(pv->root, "spec.nodeAffinity.required.nodeSelectorTerms");
	const struct json *term;
	const char *none;

	if (json_count(terms) == 0)
		return true;
	for (struct json_it it = json_each(terms); json_next(&it, &none, &term);)
		if (matches(term, node))
			return true;
	return false;
}

static bool takes_pods(const struct json *node)
{
	const struct json *condition;
	const char *none;

	if (json_bool(json_path(node, "spec.unschedulable"), false))
		return false;
	for (struct json_it it = json_each(json_path(node, "status.conditions"));
	     json_next(&it, &none, &condition);)
		if (str_is_equal(json_get_string(condition, "type"), "Ready") &&
		    !str_is_equal(json_get_string(condition, "status"), "True"))
			return false;
	return true;
}

static int see_node(void *arg, const struct json *node)
{
	struct explain *x = arg;
	struct explain_node seen = { .name = explain_keep(x,
							  json_path_string(node, "metadata.name")),
				     .takes_pods = takes_pods(node) };

	for (size_t i = 0; i < x->claims.n && i < EXPLAIN_VOLUMES_MAX; i++)
		if (!fact_is_there(&x->claims.v[i]->pv) || reaches(node, &x->claims.v[i]->pv))
			seen.reaches |= UINT64_C(1) << i;
	vec_push(&x->nodes, seen);
	return 0;
}

static int see_attachment(void *arg, const struct json *attachment)
{
	struct explain *x = arg;

	for (size_t i = 0; i < x->claims.n; i++) {
		const struct explain *c = x->claims.v[i];

		if (!fact_is_there(&c->pv) ||
		    !str_is_equal(json_path_string(attachment, "spec.source.persistentVolumeName"),
				  c->pv.name) ||
		    !str_is_equal(json_path_string(attachment, "spec.nodeName"), x->node.name))
			continue;
		x->claims.v[i]->attachment = (struct fact){
			.type = &storage_attachment_type,
			.ns = "",
			.name = explain_keep(x, json_path_string(attachment, "metadata.name")),
			.state = FACT_GONE, /* until it is read */
		};
	}
	return 0;
}

/* Those of its volumes at its node. */
static int read_attachments(struct explain *x, struct err *err)
{
	bool has;

	if (x->claims.n == 0 || x->node.state == FACT_UNASKED)
		return 0;
	if (explain_list(x, &storage_attachment_type, NULL, see_attachment, &has, err) < 0)
		return -1;
	for (size_t i = 0; i < x->claims.n; i++) {
		struct explain *c = x->claims.v[i];

		if (c->attachment.name && read_fact(c, &c->attachment, &storage_attachment_type,
						    NULL, c->attachment.name, err) < 0)
			return -1;
		if (has && !c->attachment.name)
			c->attachment = (struct fact){ .type = &storage_attachment_type,
						       .ns = "",
						       .name = "",
						       .state = FACT_GONE };
	}
	return 0;
}

static int read_for_pod(struct explain *x, const char *ns, const char *name, struct err *err)
{
	if (read_fact(x, &x->pod, &core_pod_type, ns, name, err) < 0)
		return -1;
	if (!fact_is_there(&x->pod))
		return 0;
	if (read_claims_of_pod(x, err) < 0 ||
	    read_node(x, fact_string(&x->pod, "spec.nodeName"), err) < 0 ||
	    read_attachments(x, err) < 0)
		return -1;
	if (x->node.state == FACT_UNASKED && x->claims.n > 0 &&
	    explain_list(x, &core_node_type, NULL, see_node, &x->has_all_nodes, err) < 0)
		return -1;
	return explain_list_events(x, ns, err);
}

/* ---- snapshots and attachments ---- */

static int read_for_snapshot(struct explain *x, const char *ns, const char *name, struct err *err)
{
	const char *class, *claim, *content;

	if (read_fact(x, &x->snapshot, &snapshot_type, ns, name, err) < 0)
		return -1;
	if (!fact_is_there(&x->snapshot))
		return 0;
	class = fact_string(&x->snapshot, "spec.volumeSnapshotClassName");
	claim = fact_string(&x->snapshot, "spec.source.persistentVolumeClaimName");
	content = fact_string(&x->snapshot, "status.boundVolumeSnapshotContentName");
	if (!*content)
		content = fact_string(&x->snapshot, "spec.source.volumeSnapshotContentName");
	if (*class && read_fact(x, &x->snapshot_class, &snapshot_class_type, NULL, class, err) < 0)
		return -1;
	if (*claim && read_claim(x, ns, claim, err) < 0)
		return -1;
	if (*content && read_fact(x, &x->content, &snapshot_content_type, NULL, content, err) < 0)
		return -1;
	if (!*x->driver_name) {
		const char *driver = fact_string(&x->snapshot_class, "driver");

		if (!*driver)
			driver = fact_string(&x->content, "spec.driver");
		if (read_driver(x, driver, err) < 0)
			return -1;
	}
	return read_leases(x, err) < 0 ? -1 : explain_list_events(x, ns, err);
}

static int read_for_attachment(struct explain *x, const char *name, struct err *err)
{
	if (read_fact(x, &x->attachment, &storage_attachment_type, NULL, name, err) < 0)
		return -1;
	if (!fact_is_there(&x->attachment))
		return 0;
	if (read_pv(x, fact_string(&x->attachment, "spec.source.persistentVolumeName"), err) < 0 ||
	    read_driver(x, fact_string(&x->attachment, "spec.attacher"), err) < 0 ||
	    read_node(x, fact_string(&x->attachment, "spec.nodeName"), err) < 0)
		return -1;
	return read_leases(x, err) < 0 ? -1 : explain_list_events(x, "default", err);
}

int explain_read(struct explain *x, const char *ns, const char *name, struct err *err)
{
	const struct fact *subject = NULL;
	int r = -1;

	x->driver_name = "";
	switch (x->subject) {
	case EXPLAIN_CLAIM:
		r = read_for_claim(x, ns, name, err);
		subject = &x->claim;
		break;
	case EXPLAIN_POD:
		r = read_for_pod(x, ns, name, err);
		subject = &x->pod;
		break;
	case EXPLAIN_SNAPSHOT:
		r = read_for_snapshot(x, ns, name, err);
		subject = &x->snapshot;
		break;
	case EXPLAIN_ATTACHMENT:
	case EXPLAIN_SUBJECTS:
		r = read_for_attachment(x, name, err);
		subject = &x->attachment;
		break;
	}
	if (r < 0 || subject->state == FACT_THERE)
		return r;
	if (subject->state == FACT_UNKNOWN)
		return err_set(err, ERR_PERMISSION_DENIED, "%s", subject->why);
	return err_set(err, ERR_NOT_FOUND, "there is no %s%s", fact_title(x, subject),
		       subject->type->is_custom ? ", or the cluster has none of this kind (its CRD)"
						: "");
}

void explain_done(struct explain *x)
{
	for (size_t i = 0; i < x->claims.n; i++)
		explain_done(x->claims.v[i]);
	for (size_t i = 0; i < x->docs.n; i++)
		json_free(x->docs.v[i]);
	vec_done(&x->claims);
	vec_done(&x->nodes);
	vec_done(&x->docs);
	vec_done(&x->pods);
	vec_done(&x->events);
	vec_done(&x->leases);
	vec_done(&x->rooms);
	vec_done(&x->unread);
}
