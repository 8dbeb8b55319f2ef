/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PersistentVolume of a new volume: how it is written and how it is saved. Its shape is
 * external-provisioner's to the letter, since other programs read it (the binder, the attacher,
 * kubelet, backup tools). It is born with the finalizer that keeps it until DeleteVolume has
 * succeeded, and with a claimRef that binds it to this very claim (UID), so that a claim deleted
 * meanwhile makes it Released and not somebody else's.
 *
 * Its name is the volume's, made from the claim's UID; so "already exists" is our own earlier self
 * whose answer got lost, which is looked at and not assumed.
 */
#include "control/provision-internal.h"

#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/informer.h"
#include "kube/path.h"
#include "kube/quantity.h"

#define IDENTITY_KEY "storage.kubernetes.io/csiProvisionerIdentity"

static void write_meta(struct json_writer *w, const struct attempt *a)
{
	const struct secret_ref *provisioner = &a->it.refs[SECRET_PROVISIONER];
	const struct secret_ref *modify = &a->it.refs[SECRET_CONTROLLER_MODIFY];

	json_key(w, "metadata");
	json_begin_object(w);
	json_field_string(w, "name", a->pv_name);
	json_key(w, "annotations");
	json_begin_object(w);
	json_field_string(w, ANN_PROVISIONED_BY, a->it.provisioner);
	json_field_string(w, ANN_DELETE_SECRET_NAME, str_or(provisioner->name, ""));
	json_field_string(w, ANN_DELETE_SECRET_NS, str_or(provisioner->ns, ""));
	if (secret_ref_is_set(modify)) {
		json_field_string(w, ANN_MODIFY_SECRET_NAME, modify->name);
		json_field_string(w, ANN_MODIFY_SECRET_NS, modify->ns);
	}
	json_end_object(w);
	json_key(w, "finalizers");
	json_begin_array(w);
	json_put_string(w, PV_FINALIZER);
	json_end_array(w);
	json_end_object(w);
}

static void write_strings(struct json_writer *w, const char *key, const struct intent_strings *list)
{
	json_key(w, key);
	json_begin_array(w);
	for (size_t i = 0; i < list->n; i++)
		json_put_string(w, list->v[i]);
	json_end_array(w);
}

static void write_claim_ref(struct json_writer *w, const struct attempt *a)
{
	json_key(w, "claimRef");
	json_begin_object(w);
	json_field_string(w, "kind", "PersistentVolumeClaim");
	json_field_string(w, "apiVersion", "v1");
	json_field_string(w, "namespace", a->it.ns);
	json_field_string(w, "name", a->it.claim);
	json_field_string(w, "uid", a->uid);
	json_field_string(w, "resourceVersion", a->it.claim_version);
	json_end_object(w);
}

static void write_secret_ref(struct json_writer *w, const char *key, const struct secret_ref *ref)
{
	if (!secret_ref_is_set(ref))
		return;
	json_key(w, key);
	json_begin_object(w);
	json_field_string(w, "name", ref->name);
	json_field_string(w, "namespace", ref->ns);
	json_end_object(w);
}

static void write_csi(struct json_writer *w, const struct attempt *a,
		      const struct csi_volume *volume)
{
	struct strmap attributes =
		strmap_with(a->ctx->arena, &volume->volume_context, IDENTITY_KEY, a->p->identity);

	json_key(w, "csi");
	json_begin_object(w);
	json_field_string(w, "driver", a->p->driver);
	json_field_string(w, "volumeHandle", volume->volume_id);
	if (!str_is_equal(a->it.volume_mode, "Block") && !str_is_empty(a->it.fs_type))
		json_field_string(w, "fsType", a->it.fs_type);
	if (a->p->publish_readonly && a->it.access_modes.n == 1 &&
	    str_is_equal(a->it.access_modes.v[0], "ReadOnlyMany"))
		json_field_bool(w, "readOnly", true);
	json_key(w, "volumeAttributes");
	json_put_strmap(w, &attributes);
	write_secret_ref(w, "controllerPublishSecretRef", &a->it.refs[SECRET_CONTROLLER_PUBLISH]);
	write_secret_ref(w, "nodeStageSecretRef", &a->it.refs[SECRET_NODE_STAGE]);
	write_secret_ref(w, "nodePublishSecretRef", &a->it.refs[SECRET_NODE_PUBLISH]);
	write_secret_ref(w, "controllerExpandSecretRef", &a->it.refs[SECRET_CONTROLLER_EXPAND]);
	write_secret_ref(w, "nodeExpandSecretRef", &a->it.refs[SECRET_NODE_EXPAND]);
	json_end_object(w);
}

static void write_term(struct json_writer *w, const struct strmap *segments)
{
	json_begin_object(w);
	json_key(w, "matchExpressions");
	json_begin_array(w);
	for (size_t i = 0; i < segments->n; i++) {
		json_begin_object(w);
		json_field_string(w, "key", segments->v[i].key);
		json_field_string(w, "operator", "In");
		json_key(w, "values");
		json_begin_array(w);
		json_put_string(w, segments->v[i].value);
		json_end_array(w);
		json_end_object(w);
	}
	json_end_array(w);
	json_end_object(w);
}

void pv_write_affinity(struct json_writer *w, const struct vol_topologies *places)
{
	if (places->n == 0)
		return;
	json_key(w, "nodeAffinity");
	json_begin_object(w);
	json_key(w, "required");
	json_begin_object(w);
	json_key(w, "nodeSelectorTerms");
	json_begin_array(w);
	for (size_t i = 0; i < places->n; i++)
		write_term(w, &places->v[i].segments);
	json_end_array(w);
	json_end_object(w);
	json_end_object(w);
}

static void write_spec(struct json_writer *w, const struct attempt *a,
		       const struct csi_volume *volume)
{
	const struct intent *it = &a->it;
	char capacity[NUM_QUANTITY_MAX];

	num_format_quantity(volume->capacity_bytes, capacity);
	json_key(w, "spec");
	json_begin_object(w);
	json_key(w, "capacity");
	json_begin_object(w);
	json_field_string(w, "storage", capacity);
	json_end_object(w);
	write_strings(w, "accessModes", &it->access_modes);
	if (it->mount_options.n)
		write_strings(w, "mountOptions", &it->mount_options);
	json_field_string(w, "persistentVolumeReclaimPolicy", it->reclaim_policy);
	json_field_string(w, "volumeMode", it->volume_mode);
	json_field_string(w, "storageClassName", it->class_name);
	if (*it->attributes_class)
		json_field_string(w, "volumeAttributesClassName", it->attributes_class);
	write_claim_ref(w, a);
	pv_write_affinity(w, &volume->accessible_topology);
	write_csi(w, a, volume);
	json_end_object(w);
}

static void write_pv(const struct attempt *a, const struct csi_volume *volume, struct str *out)
{
	struct json_writer w = JSON_WRITER(out);

	json_begin_object(&w);
	json_field_string(&w, "kind", "PersistentVolume");
	json_field_string(&w, "apiVersion", "v1");
	write_meta(&w, a);
	write_spec(&w, a, volume);
	json_end_object(&w);
}

int pv_is_saved(struct attempt *a, const char *handle, struct err *err)
{
	autofree char *path = NULL;
	autojson struct json_doc *doc = NULL;
	autokobj const struct kube_object *o = NULL;
	const struct core_pv *pv;

	if (kube_object_path(&core_pv_type, NULL, a->pv_name, &path, err) < 0)
		return -1;
	if (kube_get(a->p->client, a->ctx, path, &doc, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	o = kube_object_decode(&core_pv_type, json_root(doc));
	pv = core_pv_of(o);
	if (!pv || !str_is_equal(pv->claim_uid, a->uid) ||
	    !str_is_equal(pv->driver, a->p->driver) ||
	    (handle && !str_is_equal(pv->handle, handle)))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "persistentvolume %s exists and is not this claim's", a->pv_name);
	informer_note_write(a->p->caches.pvs, o);
	return 1;
}

int pv_save(struct attempt *a, const struct csi_volume *volume, struct err *err)
{
	autofree char *path = NULL;
	autostr struct str body = STR_INIT;
	autojson struct json_doc *doc = NULL;
	autokobj const struct kube_object *o = NULL;
	int saved;

	if (kube_collection_path(&core_pv_type, NULL, &path, err) < 0)
		return -1;
	write_pv(a, volume, &body);
	if (kube_create(a->p->client, a->ctx, path, str_get(&body), &doc, err) < 0) {
		if (err->code != ERR_ALREADY_EXISTS)
			return err_wrap(err, "save persistentvolume %s", a->pv_name);
		saved = pv_is_saved(a, volume->volume_id, err);
		if (saved == 0)
			return err_set(err, ERR_ABORTED,
				       "persistentvolume %s went away while it was saved",
				       a->pv_name);
		return saved < 0 ? -1 : 0;
	}
	o = kube_object_decode(&core_pv_type, json_root(doc));
	if (o)
		informer_note_write(a->p->caches.pvs, o);
	return 0;
}
