/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SNAPSHOTTER_INTERNAL_H
#define CONTROL_SNAPSHOTTER_INTERNAL_H

#include "control/snapshotter.h"

#include "control/driver.h"
#include "control/group_snapshots.h"
#include "control/object.h"
#include "control/secrets.h"
#include "control/snapshots.h"
#include "control/sync_gate.h"
#include "kube/queue.h"

/* Who works on contents of one kind. All fixed after snapshotter_new. */
struct cutter {
	const struct content_kind *kind;
	struct snapshotter *s;
	struct object_store contents; /* its cache NULL: the driver cuts none */
	struct informer *classes;
	char *prefix;          /* of the names that are asked for */
	unsigned name_digits;  /* of the UID, behind it; 0: all */
	struct queue *queue;   /* keys: names of contents */
	struct sync_gate gate; /* each its own: a cluster may have the kinds of single ones alone */
};

struct snapshotter {
	struct kube_client *client;
	struct fence *fence;
	struct recorder *recorder;
	struct driver csi;
	bool extra_create_metadata;
	struct cutter single, groups;
};

/* What is called by a driver's names. */
struct cut_ids {
	const char *handle;
	const char *const *members; /* of a group */
	size_t n_members;
};

/* One reconcile of one content. */
struct cut {
	struct cutter *cutter;
	struct ctx *ctx;
	const struct kube_object *obj;       /* owned */
	const struct kube_object *class_obj; /* owned; NULL: it has none, or that is gone */
	bool was_in_doubt;                   /* the annotation was there when we came */
	int64_t *ret_after_ns;
	/* What the driver answered, in the arena; or what is so without asking, the union empty. */
	struct cut_ids made;
	bool is_ready;
	union {
		struct csi_snapshot snapshot;
		struct csi_volume_group_snapshot group;
	};
};

/* What both ways of cutting ask. */
struct cut_request {
	const char *name;
	struct strmap parameters;
	struct secrets secrets;
};

/*
 * struct content_kind - in what contents of single snapshots and contents of groups differ
 *
 * The calls are made within the time of one call, and where they change something behind the fence.
 * Their errors have the driver's code and upstream's words.
 */
struct content_kind {
	const struct kube_type *type;
	const char *noun;                        /* in Events and logs */
	const char *log_key;                     /* under which a handle is logged */
	const char *resource;                    /* of the object that the content is of */
	const char *queue_name, *default_prefix; /* of names */
	const char *being_created, *being_deleted, *secret_name, *secret_ns; /* annotations */
	const char *finalizer;
	const char *create_failed, *check_failed, *delete_failed; /* reasons of Events */
	const char
		*empty_status; /* a patch's "status" that takes off what write_status put there */
	uint64_t create_caps;  /* without these of the controller none is cut; */
	uint64_t look_caps;    /* without these what there is is taken for ready, unread */
	enum snapshot_secret look_secret;

	/* Both fill in what was made. */
	int (*create)(struct cut *c, const struct cut_request *req, struct err *err);
	int (*look)(struct cut *c, const struct secrets *secrets, struct err *err); /* by handle */
	int (*remove)(struct cut *c, const struct cut_ids *ids, const struct secrets *secrets,
		      struct err *err);
	struct cut_ids (*ids_of)(const struct cut *c);       /* as the content has them; borrowed */
	int (*write_status)(struct cut *c, struct err *err); /* as made */
	void (*log_cut)(const struct cut *c);
};

extern const struct content_kind content_kind_single; /* snapshot_content.c */
extern const struct content_kind content_kind_group;  /* group_content.c */

/* content.c. Whether a reconcile could find anything to do. */
bool content_is_wanted(const struct cutter *k, const struct kube_object *content);
enum queue_verdict content_reconcile(void *arg, struct ctx *ctx, const char *key,
				     int64_t *ret_after_ns);
/* For the kinds. The status, part its JSON with the key before it. */
int cut_patch_status(struct cut *c, const char *part, struct err *err);
/* `what`: "rpc error: …", with the code that the call ended with. -1. */
int cut_fail_call(const struct cut *c, const char *what, struct err *err);
/* Nanoseconds since the epoch; otherwise_ns, if it is not told. */
int64_t cut_time_ns(bool is_told, const struct pb_timestamp *time, int64_t otherwise_ns);

#endif
