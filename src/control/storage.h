/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_STORAGE_H
#define CONTROL_STORAGE_H

#include "kube/object.h"

/*
 * The kinds of storage.k8s.io that controllers read, and of each the fields that some controller
 * uses.
 */
struct storage_term { /* one key of a StorageClass's allowedTopologies term */
	const char *key;
	struct kube_string_list values;
};
struct storage_terms {
	const struct storage_term *v;
	size_t n;
};

struct storage_class {
	struct kube_object meta;
	const char *provisioner;
	struct strmap parameters;
	const char *reclaim_policy; /* "Delete" when absent */
	struct kube_string_list mount_options;
	bool is_wait_for_first_consumer;
	const struct storage_terms *allowed; /* OR of terms, AND of keys */
	size_t n_allowed;
};

struct storage_csi_driver {
	const char *name;
	const char *node_id;
	struct kube_string_list topology_keys;
	bool has_topology_keys; /* a list, were it empty */
};
struct storage_csi_node {
	struct kube_object meta;
	const struct storage_csi_driver *drivers;
	size_t n_drivers;
};

/* What an attached volume's driver answered is not kept, nor what is known of errors. */
struct storage_attachment {
	struct kube_object meta;
	const char *attacher;
	const char *node_name;
	const char *pv_name;       /* "" if none is named */
	const char *inline_handle; /* of inlineVolumeSpec; "" without a CSI volume in it */
	bool has_inline;
	bool is_attached;
	bool has_metadata;
};

/*
 * What a segment of nodes has for volumes of a class. Its slot is class and segment in one word, by
 * which it is found whatever it is called; that of an object whose nodeTopology is no mere list of
 * labels, as we make them, is its name behind '?', which no other has.
 */
#define STORAGE_SLOT_BYTES 33
struct storage_capacity {
	struct kube_object meta;
	const char *slot;
	struct strmap segment; /* nothing where the slot is a name */
	const char *owner_uid; /* of the owner that is its controller; "" none */
	bool has_capacity, has_maximum;
	uint64_t capacity_bytes, maximum_bytes;
};
void storage_slot(const char *class_name, const struct strmap *segment,
		  char ret_slot[STORAGE_SLOT_BYTES]);

/* On an attachment: what its node was called when it was attached. */
#define ANN_NODE_ID "csi.alpha.kubernetes.io/node-id"

extern const struct kube_type storage_class_type;
extern const struct kube_type storage_csi_node_type;
extern const struct kube_type storage_attachment_type;
/* Its metadata alone: that it is there. What is in one is read when it is used. */
extern const struct kube_type storage_attributes_class_type;
extern const struct kube_type storage_capacity_type;
/* Never cached. */
extern const struct kube_type storage_driver_type;

/* Checked downcasts; the type is asserted. NULL gives NULL. */
const struct storage_class *storage_class_of(const struct kube_object *o);
const struct storage_csi_node *storage_csi_node_of(const struct kube_object *o);
const struct storage_attachment *storage_attachment_of(const struct kube_object *o);
const struct storage_capacity *storage_capacity_of(const struct kube_object *o);

/* The driver as it registered there; NULL: it did not, or csi_node is NULL. */
const struct storage_csi_driver *storage_csi_node_find(const struct storage_csi_node *csi_node,
						       const char *driver);

/* Indexes: of CSINodes by each driver that is registered there, of attachments by volume. */
#define STORAGE_NODES_BY_DRIVER "nodes by driver"
const char *storage_csi_node_driver(const struct kube_object *csi_node, size_t i);
#define STORAGE_ATTACHMENTS_BY_PV "attachments by volume"
const char *storage_attachment_pv(const struct kube_object *attachment, size_t i);
/* Of attachments by driver, and of those that are not attached by node. */
#define STORAGE_ATTACHMENTS_BY_DRIVER "attachments by driver"
const char *storage_attachment_driver(const struct kube_object *attachment, size_t i);
#define STORAGE_WAITING_BY_NODE "waiting attachments by node"
const char *storage_attachment_waiting(const struct kube_object *attachment, size_t i);
/* Of capacities by slot, and by the driver that their label names. */
#define STORAGE_CAPACITIES_BY_SLOT "capacities by slot"
const char *storage_capacity_slot(const struct kube_object *capacity, size_t i);
#define STORAGE_CAPACITIES_BY_DRIVER "capacities by driver"
const char *storage_capacity_driver(const struct kube_object *capacity, size_t i);
#define STORAGE_LABEL_DRIVER "csi.storage.k8s.io/drivername"
#define STORAGE_LABEL_MANAGER "csi.storage.k8s.io/managed-by"
/* Of classes by their driver. */
#define STORAGE_CLASSES_BY_DRIVER "classes by driver"
const char *storage_class_driver(const struct kube_object *class_obj, size_t i);

#endif
