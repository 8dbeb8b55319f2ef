/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_ORPHAN_H
#define CONTROL_ORPHAN_H

#include "control/intent.h"

#include <stdbool.h>
#include <stdint.h>

struct kube_client;

/*
 * Orphans: volumes, snapshots and groups of snapshots that a driver has and that were made for a
 * claim, a VolumeSnapshot or a VolumeGroupSnapshot which is gone, as is the PV or content that
 * would tell of them. That they were made for one is seen by their names, which controllers make of
 * its UID ("pvc-<uid>"), where the driver's ids show these; what has another name is nobody's
 * orphan, and so is what the driver says that it was made for another cluster (volume/owner.h).
 *
 * First the driver is asked for all it has, then the journal and the API server, never a cache: so
 * what was made meanwhile is not seen, and what was there before has its record or its object by
 * then.
 */
enum orphan_kind { ORPHAN_VOLUME, ORPHAN_SNAPSHOT, ORPHAN_GROUP, ORPHAN_KINDS };
const char *orphan_kind_name(enum orphan_kind kind); /* "volume", "snapshot", "group" */

/* Memory is the ctx's arena; strings are never NULL. */
struct orphan {
	enum orphan_kind kind;
	const char *id;
	const char *name;    /* "pvc-<uid>" */
	const char *uid;     /* in name: of what it was made for */
	const char *claim;   /* of a volume, "namespace/name", if the driver tells */
	const char *created; /* RFC 3339, if the driver tells */
	const char *source;  /* of a snapshot: the volume's id */
	const char *node; /* of a volume: one where it is published, as far as the driver tells */
	uint64_t bytes;
	bool is_ours; /* a volume that the driver says was made for this cluster, or a snapshot of
			 one, or of one that is known here and that it does not say it of any;
			 else only the name speaks for it */
	struct strmap context; /* of a volume, without the owner */
	struct vol_topologies places;
	struct intent_strings members; /* of a group: its snapshots' ids */
};

struct orphan_list {
	const struct orphan *v;
	size_t n;
	size_t n_lost[ORPHAN_KINDS]; /* how many of each kind */
	size_t n_seen[ORPHAN_KINDS]; /* what there is of such names, with those that are none */
	/* Of each kind: why nothing could be said; "" if all was seen. */
	const char *unknown[ORPHAN_KINDS];
	bool broke_off[ORPHAN_KINDS]; /* for its list did, which is trouble */
	int64_t read_ns;              /* clock_now_ns() when the API server's lists had been read */
};

struct orphan_look {
	struct kube_client *client;
	const struct csi_service *service;
	const char *driver;
	uint64_t caps;      /* of its controller service */
	int64_t timeout_ns; /* of one CSI call; 0: none but the ctx's */
	/* Whose Leases are read: any with intents in it counts, since each node may have a
	 * provisioner, and a journal, of its own. NULL: those of all namespaces. */
	const char *journal_ns;
	const char *prefixes[ORPHAN_KINDS]; /* "pvc", "snapshot", "groupsnapshot" */
	/* Spares the lists of the API server where nothing can be an orphan: a cache has what tells
	 * of it. NULL: nobody knows. */
	bool (*is_known)(void *arg, const struct orphan *o);
	void *arg;
};

/*
 * 0 also where a kind could not be judged (ret->unknown says so: the driver does not list it, or
 * the list broke off, or the cluster has no such objects). -1: the API server, or the journal, was
 * not there to the end.
 */
int orphan_find(const struct orphan_look *look, struct ctx *ctx, struct orphan_list *ret,
		struct err *err);

/* What is known of the cluster; maps of strings to anything. */
struct map;
struct orphan_facts {
	struct map *uids;    /* of claims, VolumeSnapshots, VolumeGroupSnapshots and intents */
	struct map *names;   /* of PVs and contents */
	struct map *handles; /* that PVs and contents name */
};
/* The one rule. */
bool orphan_is_one(const struct orphan *o, const struct orphan_facts *facts);

/*
 * Deletions one after another. Which PVs and contents there are is read anew before the first of a
 * kind, and again before one that comes a second later; a list for each would be too much of them.
 */
struct orphan_deletions {
	struct orphan_facts facts[ORPHAN_KINDS];
	int64_t read_ns[ORPHAN_KINDS]; /* clock_now_ns() before they were read; 0: they were not */
};
void orphan_deletions_init(struct orphan_deletions *d);
void orphan_deletions_done(struct orphan_deletions *d);
/*
 * Looks once more at the API server for whatever tells of the orphan, by the name that we would
 * give it or made by hand, then deletes it. Idempotent. FAILED_PRECONDITION: it is no orphan any
 * more, or it is in use. The call has no Secrets, for the class that named them is not known.
 */
int orphan_delete(const struct orphan_look *look, struct ctx *ctx, const struct orphan *o,
		  struct orphan_deletions *d, struct err *err);

/* How an orphan comes back. Strings may be NULL or "". */
struct orphan_adoption {
	const char *ns, *name; /* of the claim, or of the VolumeSnapshot or VolumeGroupSnapshot:
				  which need not be there yet. Of a volume neither: any claim that
				  fits */
	const char *class_name;
	const char *fs;          /* "": as the driver tells */
	const char *access_mode; /* "": ReadWriteOnce */
	bool is_block;
};
/*
 * Makes the object that tells of it, which keeps it (Retain), and gives that one's name. The name
 * comes from the orphan's, so it is made once: ALREADY_EXISTS. INVALID_ARGUMENT: what is missing.
 */
int orphan_adopt(const struct orphan_look *look, struct ctx *ctx, const struct orphan *o,
		 const struct orphan_adoption *how, const char **ret_object, struct err *err);

/*
 * Where "PREFIX-<uid>" stands in an id, as a word of its own, and how long that is; NULL: nowhere.
 */
const char *orphan_name_in(const char *id, const char *prefix, size_t *ret_n);

#endif
