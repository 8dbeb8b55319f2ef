/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include "backend/device.h"
#include "backend/node.h"
#include "base/ctx.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/uuid.h"
#include "volume/id.h"
#include "volume/io_limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The door to storage. A backend makes, finds, attaches and deletes volumes of one kind; struct
 * backend is one opened instance of it (a pool). Callers outside backend/ use backend_create() …
 * below, which live in guard.c: they assert that the capability was asked, check names and ranges,
 * log at debug and assert that a failing backend set its error.
 *
 * Every operation is idempotent, may be killed at any instruction, and when called again with the
 * same arguments ends in the same state with nothing leaked. All block, so they run on workers,
 * several at once. Two operations on the same volume never run at once: csi/inflight sees to that.
 * Volumes, snapshots and groups are named by token (volume/id.h); one snapshot may be read and
 * removed at once, and its source may do anything meanwhile.
 */
struct backend;

/* What an instance can do, bit by bit; a set bit means that the pointers of the same name are there
 * (registry.c asserts). What the driver advertises is computed from them. */
enum backend_cap {
	BACKEND_ATTACH = 1 << 0,         /* attach, detach: block devices on this host */
	BACKEND_NOTES = 1 << 1,          /* note_get, note_set */
	BACKEND_GROW = 1 << 2,           /* grow */
	BACKEND_SNAPSHOT = 1 << 3,       /* snapshot_…; create with a snapshot as source */
	BACKEND_CLONE = 1 << 4,          /* create with a volume as source */
	BACKEND_GROUP = 1 << 5,          /* group_… */
	BACKEND_CHANGED_BLOCKS = 1 << 6, /* allocated, changed */
	BACKEND_MODIFY = 1 << 7,         /* modify; create with limits */
	BACKEND_MOUNT = 1 << 8,          /* mount, and is_mount_of of the kind; not with ATTACH */
	BACKEND_DIRECT = 1 << 9,     /* devices have direct I/O unless the volume allows other */
	BACKEND_THIN = 1 << 10,      /* create with is_thin */
	BACKEND_ELSEWHERE = 1 << 11, /* see below */
	BACKEND_FENCE = 1 << 12,     /* publish, unpublish */
};

/*
 * BACKEND_ELSEWHERE: storage of other machines, of which this process is one user among several. It
 * has handles of its own (resolve, format_id), which are its tokens too; every node reaches it, so
 * it has no topology; a class's parameters are its own, and it checks them; nothing is asked of it
 * without the secrets that a request brings, so nothing is listed and info tells no sizes; a volume
 * gets its filesystem on the node where it is staged first. It is the only instance of a process.
 */

/* Thin volumes of an instance: volume/space.h has the rule. */
struct backend_thin {
	unsigned overcommit; /* percent; 0 without BACKEND_THIN, as all of it */
	uint64_t n_volumes;
	uint64_t bytes;      /* the sum of their sizes */
	uint64_t used_bytes; /* blocks that they have */
	uint64_t kept_bytes; /* what thick ones are refused although it is free, for the rule */
	uint64_t max_bytes;  /* the largest new one now; 0 when the pool is too full */
};

struct backend_info {
	const char *name;     /* of the pool; lives as long as the backend */
	struct uuid identity; /* its own: the same on whatever node and disk it is */
	uint64_t total_bytes;
	uint64_t usable_bytes;    /* of these: all but the reserve, which no volume gets */
	uint64_t available_bytes; /* what new volumes may still take: free minus promised minus
				     reserve */
	uint64_t reserved_bytes;  /* kept free for overwriting what volumes share with snapshots and
				     each other; not among the available ones */
	uint64_t max_volume_bytes; /* the largest single volume now */
	uint64_t overdrawn_bytes;  /* of the reserve and of reserved_bytes so much is taken */
	struct backend_thin thin;
	uint64_t n_volumes;
	uint64_t n_damaged;
	uint64_t n_snapshots;
	uint64_t n_damaged_snapshots;
	bool is_dead; /* also where the call fails, and the only thing set then: what lies under the
			 pool answers with errors and will not come back to this instance */
};

/* Whom a volume was made for; each NULL or "" if it is not known. What another cluster owns is
 * nobody's orphan. */
struct backend_owner {
	const char *cluster; /* uid of its namespace kube-system */
	const char *claim_namespace;
	const char *claim_name;
	const char *claim_uid;
};

/* A word of it that is longer than this less one is not kept, and no part of it either. */
#define BACKEND_OWNER_MAX 254

/* What a volume begins with. */
enum backend_source {
	BACKEND_SOURCE_NONE, /* nothing, or an empty filesystem */
	BACKEND_SOURCE_SNAPSHOT,
	BACKEND_SOURCE_VOLUME, /* as it is at the moment of the call */
};

/* What CreateVolume asks for. Borrowed for the call. */
struct backend_spec {
	const char *name; /* the CO's whole name, ≤128 bytes; kept beside the volume and compared */
	const char *token; /* vol_token_from_name(name) */
	uint64_t bytes;    /* multiple of VOL_SIZE_UNIT; 0, with BACKEND_ELSEWHERE and a source: as
			      many as that has */
	const char *fs;    /* "ext4", "xfs", or "" for raw bytes and with BACKEND_MOUNT */
	bool allow_buffered; /* attach may fall back to buffered I/O */
	bool is_written;     /* each block is written once before the volume is there */
	bool no_reserve;     /* room for overwriting what snapshots share is not kept free */
	bool is_thin;        /* it gets its blocks when they are written, and gives them back when
				they are discarded; fs is "xfs", not is_written, no_reserve or not */
	enum backend_source source_kind;
	const char *source; /* its token, in this same backend; NULL for none */
	bool is_read_only;  /* nobody will write to it; with BACKEND_ELSEWHERE alone */
	const struct secrets *secrets;
	struct backend_owner owner;
	struct vol_limits limits; /* kept with the volume; csi/ has them applied */
	/* With BACKEND_ELSEWHERE, of the class; NULL else. token is then made of the name and known
	 * to nobody, and fs is "". Keys of limits in it were read into limits. */
	const struct strmap *parameters;
};

struct backend_volume {
	char token[VOL_TOKEN_MAX];
	char name[129];
	uint64_t bytes;
	char fs[8]; /* as in the spec; with BACKEND_MOUNT the backend's own ("nfs4"), never "" */
	bool allow_buffered;
	enum backend_source source_kind; /* as in the spec; what it names may be gone */
	char source[VOL_TOKEN_MAX];
	bool is_damaged; /* listed, never served, never deleted; why: damage */
	char damage[96];
	int64_t created_ns; /* wall clock */
	bool is_thin;
	bool is_read_only; /* by what it is: nobody can write to it */
	struct vol_limits limits;
	/* The owner, as it was told when the volume was made; each "" if it was not. */
	char cluster[BACKEND_OWNER_MAX];
	char claim_namespace[BACKEND_OWNER_MAX];
	char claim_name[BACKEND_OWNER_MAX];
	struct strmap context; /* of create, with BACKEND_ELSEWHERE: the volume_context, in the
				  ctx's arena */
};

struct backend_snapshot {
	char token[VOL_TOKEN_MAX];
	char name[129];
	char source[VOL_TOKEN_MAX]; /* the volume it was taken of, which may be gone; "": unknown */
	char group[VOL_TOKEN_MAX];  /* "": of its own; else it goes with that group */
	uint64_t bytes;             /* of the volume then: what one made of it has at least */
	char fs[8];                 /* of the volume */
	int64_t created_ns;         /* wall clock: the moment that it shows */
	bool is_ready;              /* its bytes are all there; else they are being copied */
	bool is_damaged;
	char damage[96];
};

/* What a snapshot class says, for one or for a group. */
struct backend_snapshot_options {
	bool freeze; /* a mounted filesystem is frozen meanwhile, not only written out */
	/* Sharing the blocks of a file with more extents than this stops its writers for long
	 * (11 us each); 0: no limit. */
	uint64_t max_extents;
	/* Above the limit: a copy instead of a refusal, if the volume is not in use or frozen
	 * (freeze), and small enough to be kept still for so long. */
	bool copy_above;
	const struct secrets *secrets;
	struct backend_owner owner;      /* of the snapshot: claim_… are the VolumeSnapshot's */
	const struct strmap *parameters; /* as in backend_spec */
};

struct backend_snapshot_spec {
	const char *name; /* as backend_spec's */
	const char *token;
	const char *source; /* token of the volume */
	struct backend_snapshot_options options;
};

/* Snapshots of several volumes at one point in time. */
/* Each takes five descriptors while it is cut, of the 1,024 that a process may have. */
#define BACKEND_GROUP_MAX 128
struct backend_group_spec {
	const char *name;
	const char *token;
	const char *const *sources; /* tokens, none twice */
	size_t n_sources;           /* 1 … BACKEND_GROUP_MAX */
	struct backend_snapshot_options options;
};

struct backend_group {
	char token[VOL_TOKEN_MAX];
	char name[129];
	int64_t created_ns;
	struct backend_snapshot *members; /* in the ctx's arena; in the order of their sources'
					     tokens */
	size_t n_members;
};

/* Part of a snapshot; multiples of 4096 but at the end. */
struct backend_range {
	uint64_t offset;
	uint64_t bytes;
};

#define BACKEND_NOTE_MAX 4096

/* ≠0 stops the walk, which is then 0. */
typedef int (*backend_each_fn)(void *arg, const struct backend_volume *vol);
typedef int (*backend_each_snapshot_fn)(void *arg, const struct backend_snapshot *snap);
/* ≠0 stops. */
typedef int (*backend_lost_fn)(void *arg, const char *token, const struct backend_device *dev);
/* May block for as long as a slow reader does: the backend holds no lock and no more than a page of
 * its own meanwhile. */
typedef int (*backend_range_fn)(void *arg, const struct backend_range *range);

struct backend_ops {
	const char *name; /* "pool", "mem" */

	void (*close)(struct backend *b);
	/* NULL: nothing to do. Lets go of all that keeps the place busy, so that it can be
	 * unmounted. Once, when no call runs; none but close comes after it. */
	void (*let_go)(struct backend *b);

	/* Cheap enough for each scrape, each placement decision and the I/O thread (NodeGetInfo):
	 * who would have to ask another machine tells what it heard last. UNAVAILABLE if the pool
	 * is gone. */
	int (*info)(struct backend *b, struct ctx *ctx, struct backend_info *ret_info,
		    struct err *err);

	/*
	 * Makes the volume, whole or not at all: durable when it returns 0, with its filesystem if
	 * one is asked. If the token exists with the same name, fs, allow_buffered and is_thin it
	 * is returned as it is, whatever its size (the caller compares the range). ALREADY_EXISTS:
	 * other name, fs, mode or source. RESOURCE_EXHAUSTED: does not fit beside what is promised
	 * and the reserve; a thin one also when the pool is too full for more of them.
	 * FAILED_PRECONDITION: a damaged volume has the token.
	 *
	 * With is_written it may take longer than a call has. ABORTED says how far it came; the
	 * same call again goes on from there. UNAVAILABLE: too many are at it.
	 *
	 * With a source it has the source's bytes, its filesystem's UUID among them, and zeros
	 * behind them if it is larger (the filesystem is grown when it is staged). NOT_FOUND: no
	 * such source. OUT_OF_RANGE: smaller than the source. INVALID_ARGUMENT: other fs than the
	 * source's. FAILED_PRECONDITION: not ready or damaged. A volume as source is cut as a
	 * snapshot without freeze is.
	 */
	int (*create)(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		      struct backend_volume *ret_vol, struct err *err);

	/* secrets: of the request, may be NULL. 0 also when there is none. FAILED_PRECONDITION:
	 * attached here, or damaged; it is then
	 * untouched. */
	int (*remove)(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, struct err *err);

	/*
	 * At least that many bytes (multiple of VOL_SIZE_UNIT), durable, and the device, if there
	 * is one, shows them; the filesystem inside is the caller's. One that has them is returned
	 * as it is, its device mended if a kill came between. NOT_FOUND; DATA_LOSS if damaged;
	 * OUT_OF_RANGE: does not fit, says how much there is. RESOURCE_EXHAUSTED: it is thin,
	 * and the pool too full.
	 */
	int (*grow)(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
		    const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err);

	/* The volume has these limits, all four, durable when it returns 0, attached or not.
	 * Nothing is done to its devices; what keeps the limits by itself, on whatever machine, has
	 * them then. NOT_FOUND; DATA_LOSS if damaged; UNAVAILABLE: they are kept, but not everybody
	 * who has it may have heard; again. */
	int (*modify)(struct backend *b, struct ctx *ctx, const char *token,
		      const struct vol_limits *limits, const struct secrets *secrets,
		      struct err *err);

	/* secrets: as of remove. NOT_FOUND; ABORTED: create has begun it here and not ended; a
	 * damaged one is found, with is_damaged. */
	int (*stat)(struct backend *b, struct ctx *ctx, const char *token,
		    const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err);

	/* All volumes whose token is > after ("" = from the start), in byte order of tokens. Not a
	 * snapshot in time. */
	int (*each)(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn,
		    void *arg, struct err *err);

	/* NULL: each. The same of what is attached here, where each would have to ask others: of
	 * each volume its token and, in limits, what its device's are (struct backend_device). In
	 * no order. Where it fails, what could be seen was told. */
	int (*each_here)(struct backend *b, struct ctx *ctx, backend_each_fn fn, void *arg,
			 struct err *err);

	/*
	 * A block device whose bytes are the volume's; the one that is there already if there is
	 * one (same read_only), found by the backing inode, never by a name. NOT_FOUND; DATA_LOSS
	 * for a damaged volume; FAILED_PRECONDITION if attached otherwise, or without direct I/O
	 * where the volume does not allow that.
	 *
	 * The device is kept open by this process (a read-only fd in the backend) until settle(),
	 * detach() or its death, whichever is first: AUTOCLEAR thus cannot take it away before the
	 * caller's mount has it, and a SIGKILL in between still leaves nothing. So: attach, mount,
	 * settle; or attach, mount failed, detach. With hold nothing is kept open.
	 */
	int (*attach)(struct backend *b, struct ctx *ctx, const char *token,
		      const struct backend_attach_options *opts, struct backend_device *ret_dev,
		      struct err *err);
	/* The device, if attached: 0 with ret_dev; NOT_FOUND if it is not attached. Changes
	 * nothing. */
	int (*find_device)(struct backend *b, struct ctx *ctx, const char *token,
			   struct backend_device *ret_dev, struct err *err);
	/*
	 * Both NULL: a volume is staged at the path that the CO gives. Else its handles are another
	 * driver's, too, which stages at PATH/ID (a directory, or a file where the device is raw),
	 * and keeps word of it in PATH: so it is done here, and either takes down what the other
	 * brought up. attach writes such a word (opts->staging) before it makes the device.
	 *
	 * staging_take comes before a volume goes down: what detach has to know and only that word
	 * tells is kept. FAILED_PRECONDITION: it was brought up in a way that cannot be undone
	 * here. staging_forget comes last; 0 also when there is no such word, or no such path.
	 */
	int (*staging_take)(struct backend *b, struct ctx *ctx, const char *token, const char *path,
			    struct err *err);
	int (*staging_forget)(struct backend *b, struct ctx *ctx, const char *path,
			      struct err *err);
	/* 0 also when not attached or unknown. A device that is still mounted or open stays until
	 * its last user goes. The reader goes too. */
	int (*detach)(struct backend *b, struct ctx *ctx, const char *token, struct err *err);

	/*
	 * The reader: what those get who may only read a volume that others write to. Writing to it
	 * is refused whatever is done to it. It has a page cache of its own, so that what the other
	 * device's users write is seen through it by direct I/O or after BLKFLSBUF. find_reader as
	 * find_device, drop_reader as detach; it is no obstacle to detach or remove.
	 */
	int (*find_reader)(struct backend *b, struct ctx *ctx, const char *token,
			   struct backend_device *ret_dev, struct err *err);
	int (*drop_reader)(struct backend *b, struct ctx *ctx, const char *token, struct err *err);

	/*
	 * The CO will stage the volume on the node, and has taken it off the node. Storage that
	 * other machines reach makes sure that one which was lost writes no more: after unpublish
	 * of a node that is gone or out of service it is fenced, where it may have the volume yet,
	 * and publish lets it in again once it is back and has nothing of before. Secrets are the
	 * request's; without any nothing is fenced, and the log says so. FAILED_PRECONDITION: the
	 * node is fenced and not back, or cannot be fenced.
	 */
	int (*publish)(struct backend *b, struct ctx *ctx, const char *token,
		       const struct backend_use *use, struct err *err);
	int (*unpublish)(struct backend *b, struct ctx *ctx, const char *token,
			 const struct backend_use *use, struct err *err);

	/* Devices that keep the bytes of volumes of this instance whose files somebody has removed:
	 * what is in use goes on, and is lost when it ends. In no order. NULL: that cannot be. */
	int (*each_lost)(struct backend *b, struct ctx *ctx, backend_lost_fn fn, void *arg,
			 struct err *err);

	/*
	 * Storage that is no block device here: mounts the volume at the path, read-write, where
	 * nothing of it is mounted; whole or not at all, also after a kill. The kind's is_mount_of
	 * (registry.h) has to know the mount and each bind of it. NOT_FOUND; UNAVAILABLE where the
	 * storage does not answer; INVALID_ARGUMENT names a flag that it does not take.
	 *
	 * There is no operation that takes it down: that is umount(2), when the storage is gone,
	 * too. So the mount has timeouts of its own for what umount has to write, and what serves
	 * it (a FUSE process) ends with it.
	 */
	int (*mount)(struct backend *b, struct ctx *ctx, const char *token,
		     const struct backend_mount_options *opts, struct err *err);

	/*
	 * Both NULL: its volumes and snapshots have ids of ours (volume/id.h), made of its identity
	 * and the token. Else it has handles of its own, such as another driver made: resolve says
	 * whether id is one and by which token the other operations know it, format_id makes the id
	 * that CreateVolume answers. Neither looks at storage. resolve: 0, or NOT_FOUND.
	 */
	int (*resolve)(const struct backend *b, enum vol_kind kind, const char *id,
		       char ret_token[VOL_TOKEN_MAX], struct err *err);
	void (*format_id)(const struct backend *b, enum vol_kind kind, const char *token,
			  char ret_id[VOL_ID_MAX]);

	/*
	 * One text of ≤ BACKEND_NOTE_MAX bytes kept with the volume for csi/node (how it is staged
	 * and published). Survives SIGKILL of this process, need not survive a power cut. No note:
	 * "". ret_note has room for BACKEND_NOTE_MAX + 1.
	 */
	int (*note_get)(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
			struct err *err);
	int (*note_set)(struct backend *b, struct ctx *ctx, const char *token, const char *note,
			struct err *err);

	/*
	 * After each successful mount of an attached device: the mount holds it from now on, the
	 * backend lets go. (Nothing else is left to settle: a filesystem has its own UUID before
	 * its volume has a name.) 0 also when not attached.
	 */
	int (*settle)(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		      struct err *err);

	/*
	 * After the mounted filesystem of an attached volume has grown: it survives a power cut,
	 * and so do copies of it, as before. It may be frozen for a moment. 0 also when not
	 * attached or not mounted. FAILED_PRECONDITION, ABORTED: it could not be (now). NULL:
	 * nothing to do.
	 */
	int (*settle_growth)(struct backend *b, struct ctx *ctx, const char *token,
			     struct err *err);

	/*
	 * The volume as it is at one moment during the call, whole or not at all, and durable when
	 * ret_snap says ready. What was written before the call is in it: a mounted filesystem is
	 * written out (or frozen), a raw device flushed. It lives on when the volume is deleted.
	 * One that has the token already is returned if it has the name and the source.
	 *
	 * ALREADY_EXISTS: other name or source. NOT_FOUND: no such volume. DATA_LOSS: it is
	 * damaged. RESOURCE_EXHAUSTED: no room to overwrite what would be shared.
	 * FAILED_PRECONDITION: too many extents and no copy is wanted, or it cannot be frozen.
	 */
	int (*snapshot_create)(struct backend *b, struct ctx *ctx,
			       const struct backend_snapshot_spec *spec,
			       struct backend_snapshot *ret_snap, struct err *err);
	/* As remove. INVALID_ARGUMENT: a member of a group, which goes with it alone. ABORTED: a
	 * volume is being made of it. */
	int (*snapshot_remove)(struct backend *b, struct ctx *ctx, const char *token,
			       const struct secrets *secrets, struct err *err);
	/* As stat and each. Those whose moment is not fixed yet are not there. */
	int (*snapshot_stat)(struct backend *b, struct ctx *ctx, const char *token,
			     const struct secrets *secrets, struct backend_snapshot *ret_snap,
			     struct err *err);
	int (*snapshot_each)(struct backend *b, struct ctx *ctx, const char *after,
			     backend_each_snapshot_fn fn, void *arg, struct err *err);

	/* Goes on with what is done in the background (snapshots that are not ready), for as long
	 * as the ctx has or until there is nothing to go on with. What is wrong with one thing is
	 * told to who asks for that. Called each second or so while n_background is not 0, by one
	 * thread at a time. NULL: there is no such thing. */
	int (*tend)(struct backend *b, struct ctx *ctx, struct err *err);

	/*
	 * Snapshots of all of them at one moment, for which writes to all are held together; all or
	 * none, also after a kill at any instruction. What is mounted is frozen, whatever the
	 * options say, and copy_above makes no copy. As snapshot_create; FAILED_PRECONDITION names
	 * the volume that cannot be held (one whose raw device is attached for writing), or has too
	 * many extents; ALREADY_EXISTS: other name or other volumes, in whatever order.
	 */
	int (*group_create)(struct backend *b, struct ctx *ctx,
			    const struct backend_group_spec *spec, struct backend_group *ret_group,
			    struct err *err);
	/* 0 also when there is none. With all its members, or, if one is damaged
	 * (FAILED_PRECONDITION) or being read (ABORTED), with none. */
	int (*group_remove)(struct backend *b, struct ctx *ctx, const char *token,
			    const struct secrets *secrets, struct err *err);
	/* NOT_FOUND; DATA_LOSS: a member is gone or damaged. */
	int (*group_stat)(struct backend *b, struct ctx *ctx, const char *token,
			  struct backend_group *ret_group, struct err *err);

	/*
	 * What of a ready snapshot is not zero, and what of target differs from base, a snapshot
	 * of the same volume: ranges in order, that neither overlap nor touch, from the one that
	 * ends after offset from on; more than differs may be told, never less. NOT_FOUND names the
	 * snapshot; also in mid-walk, when one is deleted. FAILED_PRECONDITION: not ready, not of
	 * one volume, or laid out so that it cannot be told. The walk ends with the error if fn is
	 * <0 (fn sets err), and well if it is >0. secrets: of the request, may be NULL.
	 */
	int (*allocated)(struct backend *b, struct ctx *ctx, const char *token,
			 const struct secrets *secrets, uint64_t from, backend_range_fn fn,
			 void *arg, struct err *err);
	int (*changed)(struct backend *b, struct ctx *ctx, const char *base, const char *target,
		       const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		       struct err *err);
};

/*
 *   SERVED ── backend_retire ──► RETIRED ── the last call ends ──► LET_GO
 *
 * Calls that begin after SERVED are refused, so what ops->let_go lets go of is used by none.
 */
enum backend_life { BACKEND_SERVED, BACKEND_RETIRED, BACKEND_LET_GO };

struct backend_kind;

/* First member of every backend's own struct. */
struct backend {
	const struct backend_ops *ops;
	const struct backend_kind *kind; /* registry.c's */
	unsigned caps;
	char *pool_name;
	struct uuid identity;
	struct uuid filesystem;   /* that it lies on; zero: on none that another could share */
	atomic_uint n_background; /* its own: things that tend has to go on with */
	char *where;              /* registry.c's */
	const char *medium; /* its own, static: what it lies on and what follows, for people; NULL:
			       nothing to say */

	pthread_mutex_t use_lock; /* guard.c's, as what follows */
	unsigned n_calls;
	enum backend_life life;
};

/* guard.c: the calls, with the contracts above. */
void backend_close(struct backend *b);
/* Ends the service of a dead instance: from now on every call is UNAVAILABLE, and when those that
 * run have ended (the last of them does it) the place is let go of. Any thread; once. */
void backend_retire(struct backend *b);
int backend_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info,
		 struct err *err);
int backend_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		   struct backend_volume *ret_vol, struct err *err);
int backend_remove(struct backend *b, struct ctx *ctx, const char *token,
		   const struct secrets *secrets, struct err *err);
int backend_grow(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
		 const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err);
int backend_modify(struct backend *b, struct ctx *ctx, const char *token,
		   const struct vol_limits *limits, const struct secrets *secrets, struct err *err);
int backend_stat(struct backend *b, struct ctx *ctx, const char *token,
		 const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err);
int backend_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn,
		 void *arg, struct err *err);
int backend_each_here(struct backend *b, struct ctx *ctx, backend_each_fn fn, void *arg,
		      struct err *err);
int backend_attach(struct backend *b, struct ctx *ctx, const char *token,
		   const struct backend_attach_options *opts, struct backend_device *ret_dev,
		   struct err *err);
int backend_find_device(struct backend *b, struct ctx *ctx, const char *token,
			struct backend_device *ret_dev, struct err *err);
int backend_detach(struct backend *b, struct ctx *ctx, const char *token, struct err *err);
int backend_staging_take(struct backend *b, struct ctx *ctx, const char *token, const char *path,
			 struct err *err);
int backend_staging_forget(struct backend *b, struct ctx *ctx, const char *path, struct err *err);
int backend_find_reader(struct backend *b, struct ctx *ctx, const char *token,
			struct backend_device *ret_dev, struct err *err);
int backend_drop_reader(struct backend *b, struct ctx *ctx, const char *token, struct err *err);
int backend_publish(struct backend *b, struct ctx *ctx, const char *token,
		    const struct backend_use *use, struct err *err);
int backend_unpublish(struct backend *b, struct ctx *ctx, const char *token,
		      const struct backend_use *use, struct err *err);
int backend_each_lost(struct backend *b, struct ctx *ctx, backend_lost_fn fn, void *arg,
		      struct err *err);
int backend_mount(struct backend *b, struct ctx *ctx, const char *token,
		  const struct backend_mount_options *opts, struct err *err);
int backend_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
		     struct err *err);
int backend_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
		     struct err *err);
int backend_settle_growth(struct backend *b, struct ctx *ctx, const char *token, struct err *err);
int backend_settle(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		   struct err *err);
int backend_snapshot_create(struct backend *b, struct ctx *ctx,
			    const struct backend_snapshot_spec *spec,
			    struct backend_snapshot *ret_snap, struct err *err);
int backend_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			    const struct secrets *secrets, struct err *err);
int backend_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
			  const struct secrets *secrets, struct backend_snapshot *ret_snap,
			  struct err *err);
int backend_snapshot_each(struct backend *b, struct ctx *ctx, const char *after,
			  backend_each_snapshot_fn fn, void *arg, struct err *err);
int backend_tend(struct backend *b, struct ctx *ctx, struct err *err);
int backend_group_create(struct backend *b, struct ctx *ctx, const struct backend_group_spec *spec,
			 struct backend_group *ret_group, struct err *err);
int backend_group_remove(struct backend *b, struct ctx *ctx, const char *token,
			 const struct secrets *secrets, struct err *err);
int backend_group_stat(struct backend *b, struct ctx *ctx, const char *token,
		       struct backend_group *ret_group, struct err *err);
int backend_allocated(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		      struct err *err);
int backend_changed(struct backend *b, struct ctx *ctx, const char *base, const char *target,
		    const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		    struct err *err);
/* Also of a retired backend: it asks nothing of the storage. */
int backend_resolve(const struct backend *b, enum vol_kind kind, const char *id,
		    char ret_token[VOL_TOKEN_MAX], struct err *err);
void backend_format_id(const struct backend *b, enum vol_kind kind, const char *token,
		       char ret_id[VOL_ID_MAX]);

#endif
