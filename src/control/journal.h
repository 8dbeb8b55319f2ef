/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_JOURNAL_H
#define CONTROL_JOURNAL_H

#include "base/ctx.h"
#include "base/err.h"
#include "control/intent.h"

#include <stdbool.h>
#include <stddef.h>

struct kube_client;

/*
 * struct journal - the intents of the leader, kept in annotations of Lease objects of its own
 *
 * An intent says that a volume may come to be which no PV tells of. It is durable before
 * CreateVolume begins, and stays until the volume has its PV or is known not to exist. Puts of many
 * threads go together in one write; one that comes alone is written at once, those of a burst a
 * moment later, so that there are more of them in a write. Every write is
 * conditional on the version of the object, into which journal_open() wrote this process's term; so
 * one that was deposed meanwhile fails with ABORTED, and its caller makes nothing.
 *
 * Where the right to write Leases is missing the journal keeps intents in memory only, as
 * external-provisioner does, and says so in the log.
 */
struct journal;

struct journal_options {
	struct kube_client *client;
	/* The first object is NAME and later ones NAME-2, NAME-3 …; those of a node's own journal
	 * are NAME-NODE, NAME.2-NODE, NAME.3-NODE …, which no other node's can be. Copied; node
	 * NULL: of none. */
	const char *ns, *name, *node;
	const char *holder;   /* this process, for people. Copied */
	size_t object_bytes;  /* of intents in one object; 0: 240 KiB (annotations end at 256) */
	unsigned objects_max; /* 0: 16. A place may fill half of all */
	/* A put within gather_ns of the last write's begin waits for the rest of it, or until
	 * `crowd` of them wait (0: 8). Where writes take long it is more, up to four times that,
	 * since the API server is busy then. 0: it does not wait. */
	int64_t gather_ns;
	unsigned crowd;
};

/* NAME of a journal beside the lease of that name. */
struct journal *journal_new(const struct journal_options *opts);
void journal_free(struct journal *j); /* nobody may be in a call; NULL is fine */

/*
 * For a new leader: forgets everything, writes its term into each object and takes over what stands
 * there, which journal_uids() then tells. Until it has succeeded, puts fail.
 */
int journal_open(struct journal *j, struct ctx *ctx, struct err *err);
/* The lease is lost: puts fail from now on, and so does an open that is under way, whose ctx was
 * cancelled before. Any thread. */
void journal_close(struct journal *j);
bool journal_is_open(struct journal *j);

/*
 * 0: durable. ABORTED: not open, or deposed. RESOURCE_EXHAUSTED: the journal, the share of the
 * intent's place in it, or the namespace's quota, is full. FAILED_PRECONDITION: the namespace is
 * being deleted. After any failure nothing may be made; should the write have got
 * through nevertheless, it is taken out with the next one, or settled by the next leader. Any
 * thread; blocks.
 */
int journal_put(struct journal *j, struct ctx *ctx, const struct intent *it, struct err *err);
/* Goes out with the next write; without one, by journal_flush. Any thread. */
void journal_drop(struct journal *j, const char *uid);
/* In how long some object that has drops to write will not have been written for rest_ns: until
 * then the next write may take them along. 0: now, or there are none. Any thread. */
int64_t journal_flush_in(struct journal *j, int64_t rest_ns);
/* Writes what is not written yet. Any thread; blocks. */
int journal_flush(struct journal *j, struct ctx *ctx, struct err *err);

bool journal_has(struct journal *j, const char *uid); /* durable, and not dropped */
/* 1 and *ret_it, in the arena; 0: none. -1: one that this version cannot read, and so leaves. */
int journal_find(struct journal *j, struct arena *arena, const char *uid, struct intent *ret_it,
		 struct err *err);
/*
 * For those who only look, beside any leader: adds the UIDs of all intents that stand in the API to
 * a set. name: that Lease alone, which need not be there; NULL: any of the namespace, or of all
 * namespaces if ns is NULL, for those who may list them.
 */
struct map;
int journal_look(struct kube_client *client, struct ctx *ctx, const char *ns, const char *name,
		 struct map *uids, struct err *err);

/* The UIDs of intents for claims of this "namespace/name", all if key is NULL; in the arena. */
struct intent_strings journal_uids(struct journal *j, struct arena *arena, const char *key);
/* "namespace/name" of an intent's claim, in the arena; NULL: no such intent, or it cannot be read.
 */
const char *journal_key(struct journal *j, struct arena *arena, const char *uid);

#endif
