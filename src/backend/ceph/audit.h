/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_AUDIT_H
#define BACKEND_CEPH_AUDIT_H

#include "backend/registry.h"

/*
 * What a journal and what it names tell of each other, for people (`cleat ctl ceph audit`): a call
 * that was killed, a cluster that was restored, or what was removed by hand leaves what does not
 * fit, and only whoever sees both sides finds it. Images are a pool's, or a filesystem's
 * subvolumes.
 */
enum ceph_trouble {
	CEPH_TROUBLE_NONE,       /* an entry with its image; told too, since the caller knows PVs */
	CEPH_TROUBLE_UNFINISHED, /* an entry of a call that has not ended: it may go on */
	CEPH_TROUBLE_NO_IMAGE,   /* an entry whose image was whole and is gone */
	CEPH_TROUBLE_NO_OBJECT,  /* a name in the directory without the entry that it names */
	CEPH_TROUBLE_NO_ENTRY,   /* an image of our names that no entry names */
	CEPH_TROUBLE_NO_COUNT,   /* a volume shows a snapshot, which does not know of it */
	CEPH_TROUBLE_GOING,      /* a subvolume that was deleted, and that Ceph has yet to remove */
	CEPH_TROUBLES,
};

struct ceph_finding {
	enum ceph_trouble trouble;
	enum vol_kind kind; /* of what it is; of an image of a pool that is left, VOLUME */
	const char *name;   /* the CO's; "" where only an image is left */
	const char *image;  /* "" where nobody tells; "SUBVOLUME@SNAPSHOT" */
	const char *handle; /* "" where only an image is left */
	/* What PVs may call it that come from another site: cluster-mapping.json leads from each to
	 * it. */
	const char *const *also;
	size_t n_also;
	bool can_mend; /* the journal's side alone; an image is never removed here, but for what
			  was deleted */
};

/* 1: mend it, if it can be; 0: go on; -1 with err: stop. */
typedef int (*ceph_finding_fn)(void *arg, const struct ceph_finding *finding, struct err *err);

struct ceph_audited {
	uint64_t n_entries, n_images; /* of our names */
	uint64_t n_troubles;
	uint64_t n_mended;
};

#endif
