/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_HOST_INTERNAL_H
#define TESTS_FAKE_HOST_INTERNAL_H

#include "base/err.h"
#include "base/uuid.h"
#include "base/vec.h"
#include "fake/host.h"

#define FAKE_FIRST_FD (1 << 20)
#define FAKE_N_LOOPS 64

struct fake_inode;

enum fake_frozen {
	FAKE_THAWED,
	FAKE_FROZEN,
	FAKE_TIMED_OUT,   /* thawed by its guard */
	FAKE_LEFT_FROZEN, /* nobody's guard */
};

struct fake_fs {
	dev_t device;
	char type[16];
	bool has_reflink;
	bool is_read_only;
	bool is_shut_down;
	bool has_no_inode; /* for one more file */
	enum fake_frozen frozen;
	uint64_t total_bytes;
	struct uuid uuid;
	struct fake_inode *root;
};

enum fake_kind { FAKE_FILE, FAKE_DIR, FAKE_SYMLINK, FAKE_BLOCK };

struct fake_attr {
	char *name;
	char *value;
};

struct fake_entry {
	char *name;
	struct fake_inode *inode;
	bool is_durable; /* the directory was synced since it was linked */
	bool is_gone;    /* unlinked, and the directory not synced since */
};

/* What was written into a file. Places and contents are addresses in spaces without an end: equal
 * ones are the same block, or the same bytes. */
struct fake_piece {
	uint64_t start;
	uint64_t bytes;
	uint64_t place;
	uint64_t content;
};

/* What a power cut leaves of a file that was synced before. */
struct fake_durable {
	bool is_there;
	uint64_t bytes;
	uint64_t allocated_bytes;
	VEC(struct fake_attr) attrs;
	VEC(struct fake_piece) map;
};

struct fake_inode {
	uint64_t number;
	struct fake_fs *on;
	enum fake_kind kind;
	dev_t rdev; /* FAKE_BLOCK */
	uint64_t bytes;
	uint64_t allocated_bytes;
	int64_t changed_ns;
	bool has_gaps;   /* blocks that were never written */
	bool is_written; /* its bytes: the next sync of a directory makes it durable as well */
	bool is_synced;
	bool is_foreign;
	bool is_nocow;
	char text[1024];
	VEC(struct fake_attr) attrs;
	VEC(struct fake_entry) entries;
	VEC(struct fake_piece) map; /* in order; apart from what mkfs put inside */
	unsigned n_extents;         /* the answer to how many there are; 0: as many as there are */
	bool is_blurred;            /* none of its places is certain */
	unsigned n_links;
	unsigned n_users; /* fds, loop devices */
	int locked_by;    /* fd, 0 if none */
	struct fake_durable durable;
	char fs[8];        /* what mkfs put inside */
	uint64_t fs_bytes; /* as big as that is */
	bool has_errors;   /* says its superblock */
	bool is_half_grown;
	bool growth_is_in_log; /* an xfs that no copy of would mount */
	bool copies_lag;       /* an xfs that only its first superblock knows to have grown */
	bool is_spoilt;        /* a template with wrong bytes */
	struct uuid fs_uuid;
	char label[24];
	struct fake_fs *inner; /* once it was mounted */
};

enum fake_claim { FAKE_CLAIM_NONE, FAKE_CLAIM_SHARED, FAKE_CLAIM_ALONE };

struct fake_fd {
	struct fake_inode *inode; /* NULL: free, or a held loop device */
	int loop;                 /* -1 */
	bool is_open;
	bool is_read_only;
	enum fake_claim claim;
};

struct fake_loop {
	struct fake_inode *backing; /* NULL: free */
	uint64_t bytes;             /* of the device: the file's when it was bound, or since told */
	bool is_read_only;
	bool is_direct;
	bool is_autoclear;
	bool is_reader;
	bool is_foreign;
	enum fake_claim claim; /* of the fd that it was bound with */
	char name[80];         /* of the file, when it was bound */
	unsigned n_users;      /* held fds and mounts */
};

struct fake_mount {
	char path[256];
	struct fake_inode *root;
	struct fake_fs *fs;
	int loop; /* device mounts; -1: binds of them, and the rest */
	bool is_read_only;
	char flags[128]; /* of a bind, in order, with commas */
	uint64_t id;
	char source[128]; /* of what has no device; "" */
	dev_t device;
};

struct fake_world {
	VEC(struct fake_inode *) inodes;
	VEC(struct fake_fs *) filesystems;
	VEC(struct fake_fd) fds;
	VEC(struct fake_mount) mounts;
	struct fake_loop loops[FAKE_N_LOOPS];
	struct fake_fs *pool;
	struct fake_fs *memory;
	bool can_direct;
	bool cannot_grow_ext4; /* while it is mounted */
	bool must_move_ext4;
	bool is_pool_dead;
	struct fake_fs *remote; /* all that is mounted without a device; NULL before the first */
	bool is_server_silent, are_probes_broken;
	bool is_write_stopped;
	size_t n_forced;
	const char *remote_dir; /* in each mount of such a filesystem; NULL: nothing */
	const char *client;     /* filesystem of other machines that the kernel knows; NULL: none */
	size_t n_hangs;
	uint64_t next_mount;
	uint64_t next_number;
	uint64_t next_address;
	int64_t time_ns;
	size_t n_touched;
	unsigned n_gap_calls;       /* so many more end with their time over */
	int64_t copy_ns;            /* that a piece of a copy takes */
	void (*at_mkfs)(void *arg); /* NULL */
	void *at_mkfs_arg;
	void (*after_map)(void *arg); /* NULL */
	void *after_map_arg;
	void (*at_clone)(void *arg); /* NULL */
	void *at_clone_arg;
	const char *link_before_unlink; /* NULL */
	unsigned n_calls;
	unsigned fail_at;
	enum err_code fail_code; /* ERR_OK: INTERNAL */
	unsigned fail_from;
};
extern struct fake_world world;

/* Counts a call; -1 with err when this one is to fail. */
int fake_step(struct err *err);
/* The same for a call that the file's filesystem has to answer, which a dead one does not. */
int fake_step_on(const struct fake_inode *inode, struct err *err);
bool fake_is_dead(void);

struct fake_fs *fake_fs_new(const char *type, dev_t device, uint64_t total_bytes);
struct fake_inode *fake_inode_new(struct fake_fs *on, enum fake_kind kind);
void fake_inode_put(struct fake_inode *inode); /* n_users-- and frees when nobody knows it */
int fake_fd_new(struct fake_inode *inode, int loop, bool is_read_only);
struct fake_fd *fake_fd_get(int fd);
struct fake_inode *fake_change(int fd); /* the file's content is changed */
struct fake_inode *fake_pool_file(const char *name);
struct fake_entry *fake_entry_find(struct fake_inode *dir,
				   const char *name); /* not the gone ones */
void fake_entry_add(struct fake_inode *dir, const char *name, struct fake_inode *inode,
		    bool is_durable);
/* All names in it are durable, and none of those that are gone comes back. */
void fake_entries_sync(struct fake_inode *dir);
void fake_attr_put(struct fake_inode *inode, const char *name, const char *value);
void fake_entry_remove(struct fake_inode *dir, const char *name);
/* Through mounts; NULL when there is none. ret_mount may be NULL. */
struct fake_inode *fake_lookup(const char *path, struct fake_mount **ret_mount);

/* Whether the mount's server is to be asked and is silent: counted, with err. */
bool fake_hangs(const struct fake_mount *mount, struct err *err);
int fake_loop_of(const char *path); /* the number of a device, -1 */
uint64_t fake_fs_used_bytes(const struct fake_fs *fs);
/* New bytes at a new place. */
void fake_map_write(struct fake_inode *inode, uint64_t start, uint64_t bytes);
/* Takes start … end out of the map. */
void fake_map_cut(struct fake_inode *inode, uint64_t start, uint64_t end);
/* The same contents at new places. */
void fake_map_copy(struct fake_inode *to, const struct fake_inode *from);
/* How much the files would take more if none shared a block. */
uint64_t fake_map_saved_bytes(const struct fake_fs *fs);

void fake_loop_put(int loop); /* a user less; clears itself */
void fake_block_power_cut(void);
void fake_guards_thaw(void); /* whom they guarded it for is dead */

/* host_durable.c: what a sync keeps, what a power cut leaves, and its end. */
void fake_durable_keep(struct fake_inode *inode);
void fake_durable_restore(struct fake_inode *inode);
void fake_attrs_done(struct fake_inode *inode);

#endif
