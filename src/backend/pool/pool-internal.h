/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_POOL_INTERNAL_H
#define BACKEND_POOL_POOL_INTERNAL_H

#include "backend/filedev.h"
#include "backend/pool/identity.h"
#include "backend/pool/lines.h"
#include "backend/pool/pool.h"
#include "backend/pool/record.h"
#include "backend/quiesce.h"

#include "base/vec.h"
#include "volume/space.h"

#include <pthread.h>

#define POOL_NOTE_ATTR "user.cleat.note"

/* Where files of ours lie: snapshots in .cleat/snapshots, volumes at the top of the pool; in the
 * order in which they are scanned, since what volumes may share depends on the snapshots. */
enum pool_shelf { POOL_SNAPSHOTS, POOL_VOLUMES, POOL_SHELVES };

/* What is known of a file; only counts and the reserve are taken from it. */
struct pool_entry {
	bool is_damaged;
	uint64_t number; /* how many had become known before */
	/* of volumes: thin.c */
	uint64_t bytes; /* of the file */
	bool is_thin;
	uint64_t allocated_bytes; /* if it is, when it was measured last */
	/* of volumes: reserve.c */
	bool no_reserve;
	bool is_stale;         /* to be measured */
	uint64_t shared_bytes; /* of its bytes others have no more than so many as well */
	uint64_t n_raised;     /* how often that became more */
	unsigned n_cuts;       /* that are about to share more: nothing is given back */
	int64_t measured_ns;
};

struct pool_seen {
	struct map *known; /* token → struct pool_entry, owned */
	uint64_t n_damaged;
	int64_t changed_ns; /* mtime of the directory that this belongs to */
};

/* How far a volume is that is made by copying: create_copy.c. */
struct pool_copied {
	bool is_whole; /* there is nothing (more) to copy */
	uint64_t at;
	uint64_t inode; /* of what it is copied from, as it was then; 0: not begun */
	int64_t changed_ns;
};

/* A volume that is being written out or copied, between two calls: see half.c. */
struct pool_half {
	int fd; /* nameless; -1: none */
	struct pool_copied copied;
	int64_t kept_ns;
	char token[VOL_TOKEN_MAX];
};
#define POOL_HALVES_MAX 4

struct pool {
	struct backend base;
	char *dir;              /* as given, for messages */
	int dir_fd;             /* the pool */
	int meta_fd;            /* .cleat */
	int template_fd;        /* .cleat/templates */
	int snapshot_fd;        /* .cleat/snapshots */
	int group_fd;           /* .cleat/groups */
	int frozen_fd;          /* .cleat/frozen */
	int lock_fd;            /* .cleat/lock */
	uint64_t reserve_bytes; /* as configured; 0: by rule */
	unsigned overcommit;    /* percent */
	bool follows;           /* another node's is ours now, if it differs in nothing else */
	bool is_image;          /* we mounted it: unmount at close if nobody uses it */
	enum host_fs_kind fs_kind;
	bool can_clone; /* its filesystem has files share blocks */
	struct filedev_holds holds;

	pthread_mutex_t lock;        /* guards what follows; never held across a syscall */
	uint64_t pending_bytes;      /* promised to creates that have not allocated yet */
	uint64_t pending_thin_bytes; /* the sizes of thin volumes that are being made */
	uint64_t n_ended;            /* promises so far */
	struct pool_half halves[POOL_HALVES_MAX];
	unsigned n_writers; /* creates that write out */
	struct pool_seen seen[POOL_SHELVES];
	uint64_t n_known;        /* that became known so far */
	uint64_t reserved_bytes; /* the sum of the volumes' shared_bytes */
	struct map *left_frozen; /* token → the name in .cleat/frozen of what nobody here thaws */
	VEC(struct pool_copying *) copying; /* copying.c */
	pthread_cond_t copying_idle;        /* somebody let go of one of these */
};

struct pool *pool_from(struct backend *b);

/* open.c: .cleat/lock, for as long as ret_lock_fd is open. FAILED_PRECONDITION names the process
 * that has it. */
int pool_take_lock(int meta_fd, const char *dir, int *ret_lock_fd, struct err *err);
/* What is recorded of a pool, as it is now; the identity is left zero. */
int pool_see(int dir_fd, const char *node_id, struct pool_identity *ret_seen, struct err *err);

/* medium.c: what differs from filesystem to filesystem. */
/* FAILED_PRECONDITION: no pool can be there; says what was found and the way out. Nothing is made
 * but nameless. */
int pool_check_medium(const struct pool *p, const struct host_fs *fs, struct err *err);
/* For people, static. */
const char *pool_describe_medium(enum host_fs_kind kind);
/* p is what a pool is on this filesystem. */
void pool_take_medium(struct pool *p, const struct host_fs *fs);
/* A directory becomes a pool: what holds for its new files. */
int pool_prepare_medium(const struct pool *p, struct err *err);
/* Logs what a person should know of it. */
void pool_warn_of_medium(const struct pool *p);
/* host_file_make; like_fd: blocks will be shared with this one; -1: with none. */
int pool_make_file(const struct pool *p, int dir_fd, int like_fd, int *ret_fd, struct err *err);
/* A nameless file, all of which is durable with its name, once that is. */
int pool_write_out(const struct pool *p, int fd, struct err *err);
/* What is in the directory under its name is so after a power cut, too. */
int pool_sync_named(const struct pool *p, int dir_fd, struct err *err);
/* What is free is known again, after something was allocated or given back. */
int pool_settle_space(const struct pool *p, struct err *err);

/* beside.c: a pool from outside: as much of one as finding, reading and removing files needs. Of
 * folders that are not there the fd is -1; the identity is set by identify. pool_beside_close is
 * due after 0. NOT_FOUND: no pool. */
int pool_beside_open(struct pool *ret_pool, const char *dir, struct err *err);
void pool_beside_close(struct pool *p);
int pool_beside_identify(struct pool *p, const char *dir, struct pool_identity *ret_id,
			 struct err *err);
/* 1 if a living process serves it, ret_holder its number (0: of another container), or 0. */
int pool_beside_find_server(const struct pool *p, int *ret_holder, struct err *err);

/* work.c: removes what is in .cleat/work, with the lock held. What cannot be is logged. */
void pool_sweep_work(const struct pool *p);

/* find.c */
int pool_shelf_fd(const struct pool *p, enum pool_shelf shelf);
enum pool_file {
	POOL_FILE_WHOLE,
	POOL_FILE_DAMAGED, /* has a record of ours but is not whole */
	POOL_FILE_FOREIGN, /* not ours: left alone */
};
struct pool_volume {
	int fd; /* the caller's to close (host_fd_close) */
	struct host_file file;
	enum pool_file kind;
	struct record record;      /* zero if it cannot be read */
	struct backend_volume vol; /* unless foreign */
};
/* NOT_FOUND when there is no such file. */
int pool_find(struct pool *p, const char *token, bool read_only, struct pool_volume *ret_volume,
	      struct err *err);
/* The same, but NOT_FOUND for what is not ours … */
int pool_find_ours(struct pool *p, const char *token, bool read_only,
		   struct pool_volume *ret_volume, struct err *err);
/* … and this code for what is damaged. */
int pool_find_whole(struct pool *p, const char *token, bool read_only, enum err_code code,
		    struct pool_volume *ret_volume, struct err *err);

struct pool_snapshot {
	int fd; /* the caller's to close (host_fd_close) */
	struct host_file file;
	enum pool_file kind;
	struct record record;         /* zero if it cannot be read */
	struct backend_snapshot snap; /* unless foreign */
};
/* As those of volumes; FAILED_PRECONDITION for what is damaged. A member of a group that is not
 * whole is not there, but for pool_find_any_snapshot. */
int pool_find_any_snapshot(struct pool *p, const char *token, bool read_only,
			   struct pool_snapshot *ret_snapshot, struct err *err);
int pool_find_snapshot(struct pool *p, const char *token, bool read_only,
		       struct pool_snapshot *ret_snapshot, struct err *err);
int pool_find_our_snapshot(struct pool *p, const char *token, bool read_only,
			   struct pool_snapshot *ret_snapshot, struct err *err);
int pool_find_whole_snapshot(struct pool *p, const char *token, bool read_only,
			     struct pool_snapshot *ret_snapshot, struct err *err);

/* A volume's state, which is empty if none was ever written; written, but not synced. The file is
 * the caller's alone meanwhile. */
int pool_state_read(int fd, struct state *ret_state, struct err *err);
int pool_state_write(int fd, const struct state *state, struct err *err);

/* What is in the pool's directory beside volumes: ours, or ext4's own. */
bool pool_is_own_name(const char *name, bool is_regular);

/* The names on a shelf that may be ours, sorted, > after. Free with pool_names_done. */
struct pool_names {
	char **v;
	size_t n;
	size_t cap;
	uint64_t n_other; /* directories, devices, names that nothing of ours can have */
};
int pool_names_read(const struct pool *p, enum pool_shelf shelf, const char *after,
		    struct pool_names *ret_names, struct err *err);
void pool_names_done(struct pool_names *names);

/* volume.c */
/* The claim on a file of ours alone, asked for more than once. ABORTED: somebody reads it. */
int pool_claim_alone(int fd, struct err *err);
/* Ends a file of ours: its name, durably, and its blocks. ABORTED: somebody reads it. */
int pool_unlink(struct pool *p, enum pool_shelf shelf, const char *token, int fd, struct err *err);
int pool_remove(struct backend *b, struct ctx *ctx, const char *token,
		const struct secrets *secrets, struct err *err);
int pool_modify(struct backend *b, struct ctx *ctx, const char *token,
		const struct vol_limits *limits, const struct secrets *secrets, struct err *err);
int pool_stat(struct backend *b, struct ctx *ctx, const char *token, const struct secrets *secrets,
	      struct backend_volume *ret_vol, struct err *err);
int pool_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn, void *arg,
	      struct err *err);
int pool_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
		  struct err *err);
int pool_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
		  struct err *err);
int pool_attach(struct backend *b, struct ctx *ctx, const char *token,
		const struct backend_attach_options *opts, struct backend_device *ret_dev,
		struct err *err);
int pool_find_device(struct backend *b, struct ctx *ctx, const char *token,
		     struct backend_device *ret_dev, struct err *err);
int pool_detach(struct backend *b, struct ctx *ctx, const char *token, struct err *err);
int pool_find_reader(struct backend *b, struct ctx *ctx, const char *token,
		     struct backend_device *ret_dev, struct err *err);
int pool_drop_reader(struct backend *b, struct ctx *ctx, const char *token, struct err *err);
int pool_each_lost(struct backend *b, struct ctx *ctx, backend_lost_fn fn, void *arg,
		   struct err *err);
int pool_settle(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		struct err *err);

/* space.c */
/* What is kept free for metadata and deletes; reserve_bytes as configured, 0: by rule. */
uint64_t pool_kept_bytes(uint64_t reserve_bytes, uint64_t total_bytes);
int pool_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info, struct err *err);
/* Sets bytes aside for a create, or RESOURCE_EXHAUSTED with the figures. */
int pool_promise(struct pool *p, uint64_t bytes, struct err *err);
void pool_promise_end(struct pool *p, uint64_t bytes);
/* What is true of the pool now; p->lock is taken if 0. */
int pool_space_and_lock(struct pool *p, struct vol_space *ret_space, struct err *err);
/* What could be promised to thick volumes now; p->lock is taken if 0. */
int pool_look_and_lock(struct pool *p, uint64_t *ret_available, struct err *err);
/* The same, without the lock. */
int pool_available(struct pool *p, uint64_t *ret_bytes, struct err *err);
/* After we linked something (entry is copied) or unlinked it (NULL). */
void pool_know(struct pool *p, enum pool_shelf shelf, const char *token,
	       const struct pool_entry *entry);
/* What is gone, but perhaps not by us alone: the directory is still to be scanned. */
void pool_forget(struct pool *p, enum pool_shelf shelf, const char *token);
void pool_seen_done(struct pool_seen *seen);
/* Reads the directories again; warns of what is damaged or foreign. */
int pool_scan(struct pool *p, struct err *err);

/* thin.c */
/* What is asked for a thin volume: so much more of size, and blocks that are allocated now. */
struct pool_thin_want {
	uint64_t bytes;
	uint64_t now_bytes;
};
/* For one of this size in which a filesystem is made. */
struct pool_thin_want pool_thin_birth(uint64_t bytes);
/* The largest that can be made with a filesystem now. */
uint64_t pool_thin_room(const struct vol_space *space);
/* RESOURCE_EXHAUSTED says which rule is in the way. Ended when the volume is known, or not. */
int pool_thin_promise(struct pool *p, const struct pool_thin_want *want, struct err *err);
void pool_thin_promise_end(struct pool *p, const struct pool_thin_want *want);
/* Asks the files of thin volumes how many blocks they have. */
void pool_thin_measure(struct pool *p);
/* Under p->lock: adds up the known volumes, and counts the thin ones. */
void pool_thin_add(const struct pool *p, struct vol_space *space, uint64_t *ret_n);
/* The volume's file has another size now. */
void pool_resized(struct pool *p, const char *token, uint64_t bytes);

/* reserve.c */
/*
 * Around what makes blocks of the volume shared, which clone_fd has then: room to write all of them
 * anew is set aside before, and what it really needs is known after. RESOURCE_EXHAUSTED, and then
 * what was made is to be thrown away; the room is given back when it is found that it is not
 * needed. Each begin that succeeded is followed by its end, or by cancel.
 */
int pool_reserve_begin(struct pool *p, struct ctx *ctx, const struct pool_volume *vol,
		       uint64_t *ret_n_raised, struct err *err);
int pool_reserve_end(struct pool *p, const struct pool_volume *vol, int clone_fd, uint64_t n_raised,
		     struct err *err);
void pool_reserve_cancel(struct pool *p, const struct pool_volume *vol);
/* The same for what is shared instead of being copied: the promise becomes room for writing so much
 * anew, at once, and it fits. turned is due when the blocks are shared. */
void pool_reserve_turn(struct pool *p, const char *token, uint64_t shared, uint64_t promised);
void pool_reserve_turned(struct pool *p, const char *token);
/* Blocks went that may have been shared. */
void pool_reserve_doubt(struct pool *p);
/* Measures what is in doubt or old, for no longer than a scrape may take; or all, before something
 * is refused. */
void pool_reserve_look(struct pool *p);
void pool_reserve_measure(struct pool *p);
/* Under p->lock, when a scan of the volumes took the place of what was known before; an entry that
 * is new has what its file has as shared_bytes. may_share: there is something to share with. */
void pool_reserve_take_scan(struct pool *p, const struct map *before, bool may_share);

/* create.c */
int pool_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		struct backend_volume *ret_vol, struct err *err);

/* Whether a volume that is asked for can be made of what has these bytes and this filesystem. */
int pool_check_source(const struct backend_spec *spec, uint64_t bytes, const char *fs,
		      struct err *err);

/* create_copy.c: where files cannot share blocks. */
struct pool_origin {
	struct uuid uuid; /* of the filesystem inside */
	uint64_t bytes;   /* of the file */
	uint64_t data_bytes;
};
/* What the volume is to be made of, if it can be: errors as backend_ops.create. */
int pool_copy_look(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
		   struct pool_origin *ret_origin, struct err *err);
/* Goes on copying it into the allocated file. DEADLINE_EXCEEDED, half a second before the ctx's:
 * how far it came, and a further call goes on, unless the source was changed: then it begins again.
 */
int pool_copy_on(struct pool *p, struct ctx *ctx, const struct backend_spec *spec, int to_fd,
		 struct pool_copied *copied, struct err *err);

/* cut.c */
/* Shares the claim on a file that blocks will be shared with, so that it is not removed meanwhile,
 * for as long as fd is open. ABORTED; NOT_FOUND: it was removed since it was found. */
int pool_claim_source(int fd, const char *what, struct err *err);
/* The claim on a volume alone, so that nobody attaches it, for as long as fd is open. Codes as
 * above.
 */
int pool_claim_still(int fd, struct err *err);
#define POOL_SHARE_EXTENT_US 11 /* what sharing one extent costs */
/* The volume's bytes, as they are at ret_moment_ns, into the new file to_fd, which shares its
 * blocks; how: NULL for a volume that is made of it. POOL_CUT_LATER: they are to be copied in the
 * background, so much is promised for that (ret_promised, else 0), and from->fd has the claim alone
 * since that moment. Errors as backend_ops.snapshot_create. */
#define POOL_CUT_LATER 1
struct pool_cut {
	int64_t moment_ns;
	uint64_t promised;
};
int pool_cut(struct pool *p, struct ctx *ctx, const struct pool_volume *from,
	     const struct backend_snapshot_options *how, int to_fd, struct pool_cut *ret_cut,
	     struct err *err);
/* What a snapshot of it has: its file, which is larger than the volume after a growth that was
 * killed, and then the filesystem inside may be, too. */
uint64_t pool_content_bytes(const struct pool_volume *from);

/* frozen.c: quiesce.h, with a record of what is frozen, for whoever comes when this process and the
 * guards were killed together. */
struct pool_still {
	struct pool *pool;
	struct quiesce quiesce;
	VEC(char *) records; /* names in .cleat/frozen */
};
int pool_still_begin(struct pool *p, struct ctx *ctx, const struct quiesce_what *volumes, size_t n,
		     struct pool_still *ret_still, struct err *err);
/* As quiesce_end. */
int pool_still_end(struct pool_still *still, int rc, struct err *err);
/* With the pool's lock: thaws what an earlier process left frozen where it is mounted now. What
 * cannot be thawed is logged, and stays recorded. */
void pool_thaw_left(struct pool *p);
/* The same of what was just mounted there; 0 also if it was not left frozen. */
int pool_thaw_mounted(struct pool *p, const char *token, const char *mount_path, struct err *err);
/* The volume that a name in .cleat/frozen is of; false if it is no record. */
bool pool_frozen_token(const char *name, char ret_token[VOL_TOKEN_MAX]);
/* Thaws the volume where it is mounted. 1: it is not frozen; 0: it may be when it is mounted again.
 */
int pool_thaw_volume(struct pool *p, const char *token, struct err *err);
void pool_frozen_done(struct pool *p);

/* copy.c: the same, copied. FAILED_PRECONDITION: it cannot be kept still for so long. */
#define POOL_COPY_BYTES_PER_S (200 * MIB) /* what a slow disk can do; measured here: 340 to 800 */
/* What there is to copy of a file from this place on: all but holes and what was never written. */
int pool_data_bytes(struct ctx *ctx, int fd, uint64_t from, uint64_t *ret_bytes, struct err *err);
int pool_copy(struct pool *p, struct ctx *ctx, const struct pool_volume *from, bool freeze,
	      int to_fd, struct pool_cut *ret_cut, struct err *err);
/* Of one that is attached, frozen meanwhile, into a file that has the room; all or an error. */
int pool_copy_attached(struct pool *p, struct ctx *ctx, const struct pool_volume *from, int to_fd,
		       struct err *err);

/* copying.c: snapshots that are copied in the background. */
void pool_copying_init(struct pool *p);
/* When no call runs: what is half copied stays so, for the next process. */
void pool_copying_drop_all(struct pool *p);
void pool_copying_done(struct pool *p);
/* What pool_cut left for later. Both fds and the promise are taken, also on failure. */
struct pool_copy_plan {
	const struct pool_volume *from;
	int fd; /* nameless and empty */
	uint64_t promised;
};
/* It has the name, with this record, and is known not to be ready; its directory is not synced.
 * ALREADY_EXISTS. */
int pool_copying_begin(struct pool *p, const struct record *record,
		       const struct pool_copy_plan *plan, const char *token, struct err *err);
/* Nobody copies it any more, which is about to be removed. ABORTED: somebody still does. */
int pool_copying_cancel(struct pool *p, struct ctx *ctx, const char *token, struct err *err);
/* One that is not ready: 0 if somebody copies it; else why not. NOT_FOUND: it was lost, and is
 * gone now. */
int pool_copying_check(struct pool *p, const char *token, struct err *err);
/* The same at the pool's opening; what is wrong is logged. */
void pool_copying_resume(struct pool *p);
/* The volume, which this process has claimed, is about to be changed: no snapshot depends on its
 * bytes any more. ABORTED: one does, and that ends soon. */
enum pool_wanted { POOL_WANTED_ATTACHED, POOL_WANTED_GROWN, POOL_WANTED_GONE };
int pool_copying_settle(struct pool *p, struct ctx *ctx, const char *volume,
			enum pool_wanted wanted, struct err *err);
int pool_tend(struct backend *b, struct ctx *ctx, struct err *err);

/* snapshot.c */
int pool_snapshot_create(struct backend *b, struct ctx *ctx,
			 const struct backend_snapshot_spec *spec,
			 struct backend_snapshot *ret_snap, struct err *err);
int pool_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			 const struct secrets *secrets, struct err *err);
int pool_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
		       const struct secrets *secrets, struct backend_snapshot *ret_snap,
		       struct err *err);
int pool_snapshot_each(struct backend *b, struct ctx *ctx, const char *after,
		       backend_each_snapshot_fn fn, void *arg, struct err *err);

/* grow.c */
int pool_grow(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
	      const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err);
int pool_settle_growth(struct backend *b, struct ctx *ctx, const char *token, struct err *err);

/* group.c */
enum pool_member {
	POOL_MEMBER_COUNTS,
	POOL_MEMBER_HIDDEN, /* of a group that is not whole yet, or any more */
	POOL_MEMBER_LOST,   /* no group has it, nor had */
};
/* What the snapshot, which is open as fd and whose record names the group, is to it.
 * FAILED_PRECONDITION: the group's record is damaged. */
int pool_group_judge_member(const struct pool *p, const char *group, const char *member, int fd,
			    enum pool_member *ret_state, struct err *err);
/* With the pool's lock: removes what a killed process left of groups. What cannot be is logged. */
void pool_group_sweep_all(struct pool *p);
int pool_group_remove(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, struct err *err);
int pool_group_stat(struct backend *b, struct ctx *ctx, const char *token,
		    struct backend_group *ret_group, struct err *err);

/* group_create.c */
int pool_group_create(struct backend *backend, struct ctx *ctx,
		      const struct backend_group_spec *spec, struct backend_group *ret_group,
		      struct err *err);

/* half.c. What is kept is the pool's to close; -1 if nothing is to be taken. */
void pool_halves_init(struct pool *p);
void pool_half_keep(struct pool *p, const char *token, int fd, const struct pool_copied *copied);
int pool_half_take(struct pool *p, const char *token, struct pool_copied *ret_copied);
/* Forgets it, if it is there. */
void pool_half_drop(struct pool *p, const char *token);
bool pool_half_is_there(struct pool *p, const char *token);
void pool_halves_drop_old(struct pool *p);
void pool_halves_drop_all(struct pool *p);
/* UNAVAILABLE while too many write out. */
int pool_writer_begin(struct pool *p, struct err *err);
void pool_writer_end(struct pool *p);

/* changed.c */
int pool_allocated(struct backend *b, struct ctx *ctx, const char *token,
		   const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		   struct err *err);
int pool_changed(struct backend *b, struct ctx *ctx, const char *base, const char *target,
		 const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		 struct err *err);

/* template.c: puts an ext4 with this UUID into the nameless, allocated file. */
int pool_fill_ext4(struct pool *p, struct ctx *ctx, int fd, uint64_t bytes, const struct uuid *uuid,
		   struct err *err);

/* 1 if the template reads as it was written, or is none of this version; 0 if it is spoilt. */
int pool_template_check(struct ctx *ctx, int template_fd, const char *name, struct err *err);

/* image.c: makes, attaches and mounts config->image; ret_dir (malloc'ed) is where. */
int pool_image_mount(struct ctx *ctx, const struct backend_config *config, char **ret_dir,
		     struct err *err);

#endif
