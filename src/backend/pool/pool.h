/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_POOL_H
#define BACKEND_POOL_POOL_H

#include "backend/registry.h"
#include "host/repair.h"

/*
 * "pool:/DIR": opens the directory (or image) of config as a pool. FAILED_PRECONDITION: not
 * suitable, not where it was when it was last served, no pool yet and not the root of its
 * filesystem (unless config->may_init), or another living process has it; says what was found and
 * the way out. ALREADY_EXISTS: others has a pool on the same filesystem, or one of the same
 * identity. Nothing but ".cleat" is made in the directory, and not even that when it is refused.
 */
extern const struct backend_kind pool_kind;

/*
 * Has the filesystem of one volume checked, or repaired, by its own tool, while the pool may be
 * open in another process. FAILED_PRECONDITION: it is attached (staged), being checked, damaged as
 * a file, or raw. output gets what the tool said.
 */
struct pool_check {
	const char *dir;
	const char *token;
	bool repair;
	struct str *output; /* may be NULL */
};
struct pool_checked {
	char name[129];
	char fs[8];
	enum host_verdict verdict;
};
int pool_check(struct ctx *ctx, const struct pool_check *what, struct pool_checked *ret,
	       struct err *err);

/*
 * What the files of a pool say of it, whether or not a driver serves it, which is not disturbed.
 * NOT_FOUND: no pool; else as the disk answers.
 */
struct pool_status_ask {
	const char *dir;
	uint64_t reserve_bytes; /* as the driver was told to keep free; 0: by rule */
	unsigned overcommit;    /* … of thin volumes, percent; 0: VOL_OVERCOMMIT_DEFAULT */
};
struct pool_status {
	struct uuid identity;
	char node[257]; /* that serves or served it; "" */
	bool is_served;
	int server;         /* the process; 0: of another container */
	const char *medium; /* static: the filesystem that it lies on, and what follows */
	uint64_t total_bytes, free_bytes;
	uint64_t kept_bytes;      /* of the free ones for metadata and deletes */
	uint64_t reserved_bytes;  /* … for overwriting what volumes share with snapshots */
	uint64_t available_bytes; /* … for thick volumes, if none is being made */
	uint64_t volume_bytes;    /* the sum of the volumes' sizes */
	uint64_t n_thin;          /* of the volumes */
	uint64_t thin_bytes;      /* the sum of their sizes */
	uint64_t thin_used_bytes; /* blocks that they have */
	uint64_t thin_kept_bytes; /* of the free ones refused to thick volumes for them */
	uint64_t thin_available_bytes;
	unsigned overcommit;      /* percent */
	unsigned percent;         /* how full */
	uint64_t overdrawn_bytes; /* of what is kept and reserved so much is taken */
	uint64_t n_volumes, n_snapshots, n_damaged, n_damaged_snapshots;
	uint64_t n_copying; /* of the snapshots: not ready yet */
	uint64_t n_foreign; /* what is not cleat's */
};
int pool_status(struct ctx *ctx, const struct pool_status_ask *ask, struct pool_status *ret,
		struct err *err);

/*
 * What is not as it should be in a pool. With repair, and while no driver serves it, what is
 * provably ours and of no use to anybody goes (POOL_TROUBLE_HALF_MADE, _TEMPLATE, _DEVICE), and
 * what may be frozen is thawed; else nothing is changed and a driver is not disturbed. NOT_FOUND:
 * no pool; else what keeps the whole of it from being looked at.
 */
enum pool_trouble {
	POOL_TROUBLE_READ_ONLY,  /* the pool's filesystem */
	POOL_TROUBLE_IDENTITY,   /* not readable, or not of this place */
	POOL_TROUBLE_FOREIGN,    /* a file that is not ours where ours are */
	POOL_TROUBLE_UNKNOWN,    /* something in .cleat that this version does not know */
	POOL_TROUBLE_NEWER,      /* a volume or snapshot that a newer version made */
	POOL_TROUBLE_OTHER_POOL, /* one that was made for another pool */
	POOL_TROUBLE_LINKED,     /* one with more than one name */
	POOL_TROUBLE_DAMAGED,    /* one that is not whole otherwise */
	POOL_TROUBLE_UNREADABLE, /* could not be looked at */
	POOL_TROUBLE_HALF_MADE,  /* left by a process that was killed */
	POOL_TROUBLE_FROZEN,     /* a filesystem that such a process may have left frozen */
	POOL_TROUBLE_TEMPLATE,   /* does not read as it was written */
	POOL_TROUBLE_DEVICE,     /* one of ours that nothing explains */
	POOL_TROUBLE_BY_HAND,    /* a person's device over a file of ours */
	POOL_TROUBLE_BUFFERED,   /* a device without the direct I/O that it should have */
	POOL_TROUBLE_UNLINKED,   /* a device over a file that has no name any more */
	POOL_TROUBLES
};
struct pool_finding {
	enum pool_trouble trouble;
	const char *path;
	const char *detail; /* "" if there is no more to say */
	bool can_mend;      /* by repair */
	bool is_mended;
	const char *failure; /* why it was not, though it was to be; NULL */
};
typedef void (*pool_finding_fn)(void *arg, const struct pool_finding *finding);
struct pool_doctor {
	const char *dir;
	bool repair;
};
struct pool_examined {
	bool is_served;
	int server; /* as in pool_status */
	uint64_t n_found;
	uint64_t n_left; /* of those, not mended */
};
int pool_examine(struct ctx *ctx, const struct pool_doctor *what, pool_finding_fn fn, void *arg,
		 struct pool_examined *ret, struct err *err);

/*
 * A person's word for a pool that is not where it was: moved (it keeps its identity, and what is
 * seen now is recorded), or a copy (a new identity; the volumes in it were made for the old one
 * and are reported, not served). Nothing but .cleat/pool is changed, at once and durably.
 * FAILED_PRECONDITION: no pool, or a living process serves it.
 */
struct pool_adopt {
	const char *dir;
	bool is_copy;
	const char *node_id; /* NULL or "": the next node that serves it is recorded then */
};
struct pool_adopted {
	struct uuid before; /* zero if it could not be read */
	struct uuid identity;
};
int pool_adopt(const struct pool_adopt *how, struct pool_adopted *ret, struct err *err);

#endif
