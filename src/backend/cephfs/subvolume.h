/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_SUBVOLUME_H
#define BACKEND_CEPHFS_SUBVOLUME_H

#include "backend/cephfs/cephfs-internal.h"

/*
 * One subvolume by the manager's commands, in the group of config.json. Whoever is killed finds
 * each of them done or not; all may be given again. That something is not there is said of a group
 * that is: else FAILED_PRECONDITION, since config.json may have named another when it was made.
 */
enum subvolume_state {
	SUBVOLUME_WHOLE,
	SUBVOLUME_COPYING, /* a clone that is not complete, or will never be: ask for its copying */
	SUBVOLUME_RETAINED, /* removed, and there for its snapshots alone */
};

struct subvolume_look {
	enum subvolume_state state;
	bool is_clone;      /* it was made by subvolume_clone; not of one that is not whole */
	uint64_t bytes;     /* its quota; 0: none, or it is not whole */
	const char *path;   /* from the filesystem's root; "" if not whole */
	int64_t created_ns; /* wall clock; 0: not known */
};
/* 1, or 0 if there is none. */
int subvolume_look(const struct subvolume_place *p, const char *name,
		   struct subvolume_look *ret_look, struct err *err);
/* The same for whoever is going to make it: 0 also when there is no group. */
int subvolume_look_to_make(const struct subvolume_place *p, const char *name,
			   struct subvolume_look *ret_look, struct err *err);

/* pool: of its data; "": the filesystem's choice. The group is made if it is not there. One that is
 * there already is given the size: look first. */
int subvolume_make(const struct subvolume_place *p, const char *name, uint64_t bytes,
		   const char *pool, struct err *err);
/* Never smaller. */
int subvolume_resize(const struct subvolume_place *p, const char *name, uint64_t bytes,
		     struct err *err);
/* 0 also when there is none. Its snapshots stay, and with them what of it they need. One that is
 * still being copied is stopped first, and a snapshot of its own name that it was being made of
 * goes with it; ABORTED: it has not stopped yet. */
int subvolume_discard(const struct subvolume_place *p, const char *name, struct err *err);

int subvolume_snap(const struct subvolume_place *p, const char *name, const char *snap,
		   struct err *err);
struct subvolume_snap_look {
	uint64_t bytes; /* that it has; 0: not told */
	int64_t created_ns;
};
int subvolume_look_snap(const struct subvolume_place *p, const char *name, const char *snap,
			struct subvolume_snap_look *ret_look, struct err *err);
/* The same of what an entry says, which is whole, and with bytes where anything tells them. */
int subvolume_snapshot_look(const struct subvolume_place *p, const struct ceph_entry *entry,
			    struct subvolume_snap_look *ret_look, struct err *err);
/* Of this place, with its entry. 0 also when there is none. */
int subvolume_snapshot_remove_entry(const struct subvolume_place *p, const char *handle,
				    struct err *err);
/* 0 also when there is none. ABORTED: something is being made of it. */
int subvolume_drop_snap(const struct subvolume_place *p, const char *name, const char *snap,
			struct err *err);

/* Begins to make subvolume "to" of the snapshot; 0 also when it is there already, of whatever. */
int subvolume_clone(const struct subvolume_place *p, const char *name, const char *snap,
		    const char *to, const char *pool, struct err *err);
/* All of the group, or all snapshots of one; none if it is not there. fn ≠0 stops. */
typedef int (*subvolume_name_fn)(void *arg, const char *name);
int subvolume_each(const struct subvolume_place *p, subvolume_name_fn fn, void *arg,
		   struct err *err);
int subvolume_each_snap(const struct subvolume_place *p, const char *name, subvolume_name_fn fn,
			void *arg, struct err *err);

struct subvolume_copying {
	enum { COPYING_GOES_ON, COPYING_DONE, COPYING_FAILED } state; /* FAILED: or was stopped */
	const char *source, *snap;                                    /* "" once it is done */
	const char *progress; /* "35%", "" if the cluster does not tell */
	const char *why;      /* FAILED */
};
/* NOT_FOUND. One that was never a copy is done. */
int subvolume_copying(const struct subvolume_place *p, const char *name,
		      struct subvolume_copying *ret_copying, struct err *err);

/*
 * Words that are kept with a subvolume, or with snapshot snap of it (NULL: none). Managers before
 * 16.2.8 have none: nothing is found and nothing kept there.
 */
struct subvolume_word {
	const char *key;
	const char *value; /* NULL, "": leave it */
};
int subvolume_set_words(const struct subvolume_place *p, const char *name, const char *snap,
			const struct subvolume_word *words, size_t n, struct err *err);
/* ret_value "": it has none. */
int subvolume_get_word(const struct subvolume_place *p, const char *name, const char *snap,
		       const char *key, const char **ret_value, struct err *err);

/* What is told of a volume. */
void subvolume_fill(const struct subvolume_place *p, const struct ceph_entry *entry,
		    const struct subvolume_look *look, struct backend_volume *ret_vol);
/* An entry whose subvolume is gone, and before it the snapshot that was cut for its copy: only
 * where that has ended in the middle there is one. */
int subvolume_forget(const struct ceph_journal *j, const struct subvolume_place *p,
		     const struct ceph_entry *entry, struct err *err);

/* "<prefix><UUID>": the UUID, or "". */
const char *subvolume_uuid_in_name(const char *name);

/* What something was made of, as a handle, kept last: it says that the copy is finished. */
#define SUBVOLUME_SOURCE_WORD "cleat/source"
#define SUBVOLUME_BYTES_WORD "cleat/bytes"
#define SUBVOLUME_CLUSTER_WORD "csi.ceph.com/cluster/name"
#define SUBVOLUME_KUBERNETES "csi.storage.k8s.io/"

#endif
