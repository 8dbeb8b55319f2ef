/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CORE_H
#define CONTROL_CORE_H

#include "kube/object.h"

/*
 * The kinds of the API's core group that controllers read, and of each the fields that some
 * controller uses; nothing else is kept in caches. A field is added here and in its decoder.
 */
#define ANN_PROVISIONER "volume.kubernetes.io/storage-provisioner"
#define ANN_PROVISIONER_BETA "volume.beta.kubernetes.io/storage-provisioner"
#define ANN_MIGRATED_TO "pv.kubernetes.io/migrated-to"
#define ANN_SELECTED_NODE "volume.kubernetes.io/selected-node"

/* On a PV: the Secret that its volume is modified with. */
#define ANN_MODIFY_SECRET_NAME "volume.kubernetes.io/controller-modify-secret-name"
#define ANN_MODIFY_SECRET_NS "volume.kubernetes.io/controller-modify-secret-namespace"

/* On a PV that grew: how large its claim was, for those who go back; until the claim has grown too.
 */
#define ANN_PRE_RESIZE "volume.alpha.kubernetes.io/pre-resize-capacity"

/* On a PV: DeleteVolume comes before the object goes. */
#define PV_FINALIZER "external-provisioner.volume.kubernetes.io/finalizer"

/* allocatedResourceStatuses["storage"], and modifyVolumeStatus.status. */
enum core_resize {
	CORE_RESIZE_NONE,
	CORE_RESIZE_IN_PROGRESS, /* Controller…, and so the next */
	CORE_RESIZE_INFEASIBLE,
	CORE_RESIZE_NODE_PENDING,
	CORE_RESIZE_NODE_IN_PROGRESS,
	CORE_RESIZE_NODE_INFEASIBLE,
	CORE_RESIZE_OTHER, /* a word of a newer Kubernetes */
};
enum core_modify {
	CORE_MODIFY_NONE,
	CORE_MODIFY_PENDING,
	CORE_MODIFY_IN_PROGRESS,
	CORE_MODIFY_INFEASIBLE,
	CORE_MODIFY_OTHER,
};
/* The API's words; "" of …NONE and …OTHER. */
const char *core_resize_text(enum core_resize resize);
const char *core_modify_text(enum core_modify modify);

struct core_pvc {
	struct kube_object meta;
	const char *volume_name;
	const char *class_name;  /* "" when nil or empty */
	const char *volume_mode; /* "Filesystem" (default) or "Block" */
	struct kube_string_list access_modes;
	uint64_t request_bytes;
	bool has_bad_request; /* the quantity does not parse or overflows */
	bool has_selector;
	uint8_t resize;          /* enum core_resize, of the status */
	uint8_t modify;          /* enum core_modify, of the status */
	const char *source_kind; /* of dataSource, else dataSourceRef; "" none */
	const char *source_api_group;
	const char *source_name;
	const char *source_namespace; /* of dataSourceRef; "": the claim's own */
	const char *attributes_class; /* volumeAttributesClassName */
	/* Of the status. */
	const char *phase;
	const char *current_attributes_class;
	uint64_t capacity_bytes; /* 0: none yet */
	uint64_t health;         /* of healthStatus: core_health_hash() of each, added; 0: none */
};
uint64_t core_health_hash(const char *status, const char *reason, const char *message);

struct core_pv {
	struct kube_object meta;
	const char *driver; /* spec.csi.driver, "" if no CSI volume */
	const char *handle;
	const char *class_name;
	const char *reclaim_policy;
	const char *claim_ns, *claim_name, *claim_uid;
	const char *phase;
	uint64_t capacity_bytes;
	/* Of its node affinity, where that is one list of labels, core_label_hash() of each: enough
	 * to tell whether it may be on a node. n_place 0: anywhere, or it is not so simple. */
	const uint64_t *place;
	uint32_t n_place;
	bool has_attach_secret; /* one of those that a driver may be attached or detached with */
};
uint64_t core_label_hash(const char *key, const char *value);
/* Whether a node with these labels is where it has to be; as of one that may be anywhere. */
bool core_pv_is_at(const struct core_pv *v, const struct strmap *labels);

/* Its labels are kept; all that is used of it is in its metadata. */
extern const struct kube_type core_node_type;
extern const struct kube_type core_pvc_type;
extern const struct kube_type core_pv_type;
/* Never cached; for their paths. */
extern const struct kube_type core_pod_type;
extern const struct kube_type core_secret_type;
extern const struct kube_type core_namespace_type;

/* An index of nodes whose only key all of them have. */
#define CORE_ALL_NODES "all nodes"
const char *core_node_any(const struct kube_object *node, size_t i);

/* Checked downcasts; the type is asserted. NULL gives NULL. */
const struct core_pvc *core_pvc_of(const struct kube_object *o);
const struct core_pv *core_pv_of(const struct kube_object *o);

/* An index of claims by class: those that have no volume yet. */
#define CORE_WAITING_BY_CLASS "waiting by class"
const char *core_waiting_class(const struct kube_object *claim, size_t i);
/* By the VolumeAttributesClass that they want, those that do not have it. */
#define CORE_MODIFIED_BY_CLASS "modified by class"
const char *core_wanted_attributes(const struct kube_object *claim, size_t i);
/* Of the same claims by the name of their data source, whatever kind that is of. */
#define CORE_WAITING_BY_SOURCE "waiting by source"
const char *core_pvc_source_ns(const struct kube_object *claim); /* where its source is */
const char *core_waiting_source(const struct kube_object *claim, size_t i);

/* An index of the claimed PVs of each CSI driver, by its name. */
#define CORE_BOUND_BY_DRIVER "bound by driver"
const char *core_bound_driver(const struct kube_object *pv, size_t i);

/* What the claim's data source is: a snapshot, another claim; of any other kind a populator's
 * affair. */
bool core_pvc_is_of_snapshot(const struct core_pvc *claim);
bool core_pvc_is_of_claim(const struct core_pvc *claim);

#endif
