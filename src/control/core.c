/* SPDX-License-Identifier: Apache-2.0 */
/* Which fields of claims, volumes and nodes are kept; how that is done is kube/pack.h's. */
#include "control/core.h"

#include "base/hash.h"
#include "base/str.h"
#include "kube/pack.h"

/* The annotation that came before the field still goes before it, as for Kubernetes' own
 * controllers. */
static const char *pack_class(struct packer *p, const struct json *item)
{
	static const char key[] = "volume.beta.kubernetes.io/storage-class";
	const struct json *annotations = json_path(item, "metadata.annotations");

	if (json_get_string(annotations, key))
		return pack_get(p, annotations, key);
	return pack_get(p, json_get(item, "spec"), "storageClassName");
}

static const char *const resize_words[CORE_RESIZE_OTHER] = {
	[CORE_RESIZE_IN_PROGRESS] = "ControllerResizeInProgress",
	[CORE_RESIZE_INFEASIBLE] = "ControllerResizeInfeasible",
	[CORE_RESIZE_NODE_PENDING] = "NodeResizePending",
	[CORE_RESIZE_NODE_IN_PROGRESS] = "NodeResizeInProgress",
	[CORE_RESIZE_NODE_INFEASIBLE] = "NodeResizeInfeasible",
};
static const char *const modify_words[CORE_MODIFY_OTHER] = {
	[CORE_MODIFY_PENDING] = "Pending",
	[CORE_MODIFY_IN_PROGRESS] = "InProgress",
	[CORE_MODIFY_INFEASIBLE] = "Infeasible",
};

const char *core_resize_text(enum core_resize resize)
{
	return resize < CORE_RESIZE_OTHER ? str_or(resize_words[resize], "") : "";
}

const char *core_modify_text(enum core_modify modify)
{
	return modify < CORE_MODIFY_OTHER ? str_or(modify_words[modify], "") : "";
}

/* Its number in the list; 0 without one, n if it is none of them. */
static uint8_t find_state(const char *word, const char *const *words, uint8_t n)
{
	if (str_is_empty(word))
		return 0;
	for (uint8_t i = 1; i < n; i++)
		if (str_is_equal(word, words[i]))
			return i;
	return n;
}

uint64_t core_health_hash(const char *status, const char *reason, const char *message)
{
	uint64_t h = hash_fnv1a_64(HASH_FNV1A_64_START, status, strlen(status) + 1);

	h = hash_fnv1a_64(h, reason, strlen(reason) + 1);
	return hash_fnv1a_64(h, message, strlen(message));
}

/* Whatever their order is. */
static uint64_t decode_health(const struct json *conditions)
{
	const struct json *c;
	uint64_t sum = 0;
	const char *none;

	for (struct json_it it = json_each(conditions); json_next(&it, &none, &c);)
		sum += core_health_hash(str_or(json_get_string(c, "status"), ""),
					str_or(json_get_string(c, "reason"), ""),
					str_or(json_get_string(c, "message"), ""));
	return sum;
}

static void decode_pvc_status(struct packer *p, const struct json *status, struct core_pvc *c)
{
	const struct json *resize = json_get(status, "allocatedResourceStatuses");

	c->phase = pack_get(p, status, "phase");
	c->current_attributes_class = pack_get(p, status, "currentVolumeAttributesClassName");
	(void)pack_quantity(json_path(status, "capacity.storage"), &c->capacity_bytes);
	c->resize = find_state(json_get_string(resize, "storage"), resize_words, CORE_RESIZE_OTHER);
	c->modify = find_state(json_path_string(status, "modifyVolumeStatus.status"), modify_words,
			       CORE_MODIFY_OTHER);
	c->health = decode_health(json_path(status, "healthStatus.healthConditions"));
}

static void decode_pvc(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct core_pvc *c = (struct core_pvc *)o;
	const struct json *spec = json_get(item, "spec");
	const struct json *source = json_get(spec, "dataSource");
	const char *mode = json_get_string(spec, "volumeMode");

	if (!json_is_object(source))
		source = json_get(spec, "dataSourceRef");
	c->volume_name = pack_get(p, spec, "volumeName");
	c->class_name = pack_class(p, item);
	c->volume_mode = pack_string(p, str_or(mode, "Filesystem"));
	c->access_modes = pack_strings(p, json_get(spec, "accessModes"));
	c->has_bad_request =
		!pack_quantity(json_path(spec, "resources.requests.storage"), &c->request_bytes);
	c->has_selector = json_is_object(json_get(spec, "selector"));
	c->source_kind = pack_get(p, source, "kind");
	c->source_api_group = pack_get(p, source, "apiGroup");
	c->source_name = pack_get(p, source, "name");
	c->source_namespace = pack_get(p, source, "namespace");
	c->attributes_class = pack_get(p, spec, "volumeAttributesClassName");
	decode_pvc_status(p, json_get(item, "status"), c);
}

uint64_t core_label_hash(const char *key, const char *value)
{
	uint64_t h = hash_fnv1a_64(HASH_FNV1A_64_START, key, strlen(key) + 1);

	return hash_fnv1a_64(h, value, strlen(value));
}

static bool has_label(const struct strmap *labels, uint64_t hash)
{
	for (size_t i = 0; i < labels->n; i++)
		if (core_label_hash(labels->v[i].key, labels->v[i].value) == hash)
			return true;
	return false;
}

bool core_pv_is_at(const struct core_pv *v, const struct strmap *labels)
{
	for (size_t i = 0; i < v->n_place; i++)
		if (!has_label(labels, v->place[i]))
			return false;
	return true;
}

/* The one value of a "key In [value]"; NULL of anything else. */
static const char *only_value(const struct json *expression)
{
	const struct json *values = json_get(expression, "values"), *value;
	struct json_it it = json_each(values);

	if (!str_is_equal(json_get_string(expression, "operator"), "In") ||
	    !json_get_string(expression, "key") || !json_is_array(values) ||
	    json_count(values) != 1 || !json_next(&it, NULL, &value))
		return NULL;
	return json_string(value);
}

static void decode_place(struct packer *p, const struct json *spec, struct core_pv *v)
{
	const struct json *terms = json_path(spec, "nodeAffinity.required.nodeSelectorTerms");
	struct json_it it = json_each(terms);
	const struct json *term = NULL, *all, *one;
	uint64_t *place;
	size_t n;

	if (!json_is_array(terms) || json_count(terms) != 1 || !json_next(&it, NULL, &term))
		return;
	all = json_get(term, "matchExpressions");
	n = json_is_array(all) ? json_count(all) : 0;
	for (it = json_each(all); n && json_next(&it, NULL, &one);)
		n = only_value(one) ? n : 0;
	place = pack_array(p, n, sizeof(*place));
	if (!place || n == 0)
		return;
	for (it = json_each(all); json_next(&it, NULL, &one);)
		place[v->n_place++] = core_label_hash(json_get_string(one, "key"), only_value(one));
	v->place = place;
}

static void decode_pv(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct core_pv *v = (struct core_pv *)o;
	const struct json *spec = json_get(item, "spec");
	const struct json *csi = json_get(spec, "csi");
	const struct json *claim = json_get(spec, "claimRef");

	v->driver = pack_get(p, csi, "driver");
	v->handle = pack_get(p, csi, "volumeHandle");
	v->class_name = pack_class(p, item);
	v->reclaim_policy = pack_get(p, spec, "persistentVolumeReclaimPolicy");
	v->claim_ns = pack_get(p, claim, "namespace");
	v->claim_name = pack_get(p, claim, "name");
	v->claim_uid = pack_get(p, claim, "uid");
	v->phase = pack_path(p, item, "status.phase");
	(void)pack_quantity(json_path(spec, "capacity.storage"),
			    &v->capacity_bytes); /* 0: unknown */
	v->has_attach_secret = json_is_object(json_get(csi, "controllerPublishSecretRef")) ||
			       json_is_object(json_get(csi, "controllerExpandSecretRef"));
	decode_place(p, spec, v);
}

const struct core_pvc *core_pvc_of(const struct kube_object *o)
{
	return kube_object_as(o, &core_pvc_type);
}

const struct core_pv *core_pv_of(const struct kube_object *o)
{
	return kube_object_as(o, &core_pv_type);
}

const char *core_bound_driver(const struct kube_object *pv, size_t i)
{
	const struct core_pv *v = core_pv_of(pv);

	return i == 0 && *v->driver && *v->claim_name && str_is_equal(v->phase, "Bound") ? v->driver
											 : NULL;
}

const char *core_node_any(const struct kube_object *node, size_t i)
{
	return i == 0 ? node->type->kind : NULL;
}

const char *core_waiting_class(const struct kube_object *claim, size_t i)
{
	const struct core_pvc *c = core_pvc_of(claim);

	return i == 0 && !*c->volume_name && *c->class_name ? c->class_name : NULL;
}

bool core_pvc_is_of_snapshot(const struct core_pvc *claim)
{
	return str_is_equal(claim->source_kind, "VolumeSnapshot") &&
	       str_is_equal(claim->source_api_group, "snapshot.storage.k8s.io");
}

bool core_pvc_is_of_claim(const struct core_pvc *claim)
{
	return str_is_equal(claim->source_kind, "PersistentVolumeClaim") &&
	       !*claim->source_api_group;
}

const char *core_pvc_source_ns(const struct kube_object *claim)
{
	const char *ns = core_pvc_of(claim)->source_namespace;

	return *ns ? ns : claim->ns;
}

const char *core_waiting_source(const struct kube_object *claim, size_t i)
{
	const struct core_pvc *c = core_pvc_of(claim);

	return i == 0 && !*c->volume_name && *c->source_name ? c->source_name : NULL;
}

const char *core_wanted_attributes(const struct kube_object *claim, size_t i)
{
	const struct core_pvc *c = core_pvc_of(claim);

	if (i || !*c->attributes_class ||
	    str_is_equal(c->attributes_class, c->current_attributes_class))
		return NULL;
	return c->attributes_class;
}

const struct kube_type core_node_type = {
	.kind = "Node",
	.resource = "nodes",
	.group_version = "v1",
	.keeps_labels = true,
	.words = KUBE_WORDS("kubernetes.io/hostname"),
};

const struct kube_type core_pvc_type = {
	.kind = "PersistentVolumeClaim",
	.resource = "persistentvolumeclaims",
	.group_version = "v1",
	.is_namespaced = true,
	.size = sizeof(struct core_pvc),
	.decode = decode_pvc,
	.annotations = KUBE_WORDS(ANN_MIGRATED_TO, ANN_PROVISIONER_BETA, ANN_SELECTED_NODE,
				  ANN_PROVISIONER),
	.words = KUBE_WORDS("Block", "Bound", "Filesystem", "Lost", "Pending",
			    "PersistentVolumeClaim", "ReadOnlyMany", "ReadWriteMany",
			    "ReadWriteOnce", "ReadWriteOncePod", "VolumeSnapshot", "default",
			    "kubernetes.io/pvc-protection", "snapshot.storage.k8s.io"),
};

const struct kube_type core_pv_type = {
	.kind = "PersistentVolume",
	.resource = "persistentvolumes",
	.group_version = "v1",
	.size = sizeof(struct core_pv),
	.decode = decode_pv,
	.annotations = KUBE_WORDS(ANN_MIGRATED_TO, ANN_PRE_RESIZE),
	.words = KUBE_WORDS("Available", "Bound", "Delete", "Failed", "Pending", "Released",
			    "Retain", "default", PV_FINALIZER, "kubernetes.io/pv-protection"),
};

const struct kube_type core_pod_type = {
	.kind = "Pod",
	.resource = "pods",
	.group_version = "v1",
	.is_namespaced = true,
};

const struct kube_type core_secret_type = {
	.kind = "Secret",
	.resource = "secrets",
	.group_version = "v1",
	.is_namespaced = true,
};

const struct kube_type core_namespace_type = {
	.kind = "Namespace",
	.resource = "namespaces",
	.group_version = "v1",
};
