/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_SERVICE_H
#define TESTS_FAKE_SERVICE_H

/*
 * A CSI driver in memory: idempotent by name, with knobs. Each call is a
 * step of the plan in fake/kube.h.
 */
#include "csi/service.h"

struct fake_service {
	/* Knobs; fake_service_reset() sets what a plain topology-aware driver has. */
	bool has_topology;
	uint64_t caps;
	const char *roomy_key; /* GetCapacity: the segment with the most room; NULL: UNAVAILABLE */
	const char *full_key;  /* GetCapacity: the segment that has more, but takes no volume */
	unsigned n_asked_room; /* calls of GetCapacity */
	uint64_t room_bytes;   /* its answer everywhere, if ≠ 0 */
	bool tells_no_maximum; /* with that */
	enum err_code capacity_error; /* of every GetCapacity */
	char last_capacity[512];
	uint64_t link_changes;
	const char *name;
	const char *full_node; /* of fake_service_at(): has no room */
	uint64_t free_bytes;   /* less: RESOURCE_EXHAUSTED */
	uint64_t answer_bytes; /* capacity in the answer, if ≠ 0 */
	bool answers_no_capacity;
	bool forgets_sources;       /* the answer tells of no content_source */
	enum err_code create_error; /* of every CreateVolume */
	enum err_code delete_error;
	enum err_code expand_error, modify_error;
	uint64_t expand_bytes;        /* capacity in the answer, if ≠ 0 */
	bool needs_node;              /* node_expansion_required in the answer */
	enum err_code snapshot_error; /* of every CreateSnapshot */
	enum err_code snapshot_delete_error;
	unsigned ready_after;        /* so many CreateSnapshots later it is ready to use */
	bool ignores_list_filter;    /* ListSnapshots tells of all */
	enum err_code publish_error; /* of every ControllerPublishVolume */
	enum err_code unpublish_error;
	const char *publish_context; /* value of "disk" in its answer; NULL: there is none */
	unsigned list_page;          /* ListVolumes: volumes a page; 0: all */
	unsigned list_fails_at;      /* the page that is UNAVAILABLE, from 1; 0: none */
	const char *cluster; /* ListVolumes: whom those that were made are for; NULL: not told */
	const char *source_cluster; /* ControllerGetVolume: the same of any; NULL: there is none */
	enum err_code get_error;    /* of every ControllerGetVolume */
	unsigned n_got;             /* calls of it */
	const char *in_use; /* ListVolumes: the node where all that were made are; NULL: none */
	bool lists_no_status;
	bool lists_for_ever;       /* the same token again and again */
	enum err_code group_error; /* of every CreateVolumeGroupSnapshot */
	bool tells_changes;        /* has SNAPSHOT_METADATA_SERVICE */
	unsigned n_told; /* messages of GetMetadataAllocated or -Delta, which then fails… */
	enum err_code told_error; /* …with this */
	char last_told[512];      /* what it was asked */
	/* What happened. */
	unsigned n_snapshots;     /* that exist now */
	unsigned n_groups;        /* that exist now; their snapshots count above */
	unsigned n_cut, n_undone; /* calls that made or removed one */
	char last_snapshot_request[1024];
	char last_list_secrets[256];
	unsigned n_volumes;                            /* that exist now */
	unsigned n_created, n_deleted;                 /* calls that made or removed one */
	unsigned n_published, n_unpublished, n_listed; /* calls */
	unsigned n_attached;                           /* volumes at nodes now */
	void (*on_publish)(void);                      /* during each; NULL: nothing happens */
	void (*on_delete)(void);                       /* the same of DeleteVolume */
	void (*on_get)(void);                          /* and of ControllerGetVolume */
	char last_publish[1024], last_unpublish[256];
	int64_t longest_ns; /* that a caller would have waited */
	char last_request[4096];
	char last_delete_secrets[256];
	unsigned n_expanded, n_modified; /* calls that the driver carried out */
	char last_expand[512], last_modify[512];
	char modified[256]; /* the parameters that a volume has now */
};

extern struct fake_service fake_service;

void fake_service_reset(void);
struct csi_service fake_service_get(void);
/* One of a node's own: what it has is called "NODE.NAME". node: a constant. */
struct csi_service fake_service_at(const char *node);
bool fake_service_has(const char *name);
bool fake_service_has_snapshot(const char *name); /* its id is snap-NAME */
void fake_service_put_snapshot(const char *name); /* made by somebody else */
void fake_service_put_volume(const char *name);   /* the same; its id is id-NAME */
void fake_service_put_group(const char *name);    /* group-NAME with one member, snap-NAME-a */
/* Whether the volume is at the node; and by hand, behind the controller's back. */
bool fake_service_is_attached(const char *handle, const char *node_id);
void fake_service_attach(const char *handle, const char *node_id, bool is_attached);

#endif
