/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_POOL_INTERNAL_H
#define BACKEND_POOL_POOL_INTERNAL_H

#include "backend/filedev.h"
#include "backend/pool/identity.h"
#include "backend/pool/lines.h"
#include "backend/pool/pool.h"
#include "backend/pool/record.h"

#include <pthread.h>

#define POOL_NOTE_ATTR "user.cleat.note"

struct pool {
	struct backend base;
	char *dir;              /* as given, for messages */
	int dir_fd;             /* the pool */
	int meta_fd;            /* .cleat */
	int template_fd;        /* .cleat/templates */
	int lock_fd;            /* .cleat/lock */
	uint64_t reserve_bytes; /* as configured; 0: by rule */
	bool is_image;          /* we mounted it: unmount at close if nobody uses it */
	struct filedev_holds holds;

	pthread_mutex_t lock;   /* guards what follows; never held across a syscall */
	uint64_t pending_bytes; /* promised to creates that have not allocated yet */
	uint64_t n_ended;       /* promises so far */
	struct map *known;      /* tokens in the directory; the value is pool_known_whole or
				   pool_known_damaged */
	uint64_t n_damaged;
	int64_t seen_ns; /* mtime of dir_fd that known belongs to */
};

struct pool *pool_from(struct backend *b);

/* open.c: .cleat/lock, for as long as ret_lock_fd is open. FAILED_PRECONDITION names the process
 * that has it. */
int pool_take_lock(int meta_fd, const char *dir, int *ret_lock_fd, struct err *err);
/* What is recorded of a pool, as it is now; the identity is left zero. */
int pool_see(int dir_fd, const char *node_id, struct pool_identity *ret_seen, struct err *err);

/* work.c: removes what is in .cleat/work, with the lock held. What cannot be is logged. */
void pool_sweep_work(const struct pool *p);

/* volume.c */
enum pool_file {
	POOL_FILE_VOLUME,
	POOL_FILE_DAMAGED, /* has a record of ours but is not whole */
	POOL_FILE_FOREIGN, /* not ours: left alone */
};
struct pool_volume {
	int fd; /* the caller's to close (host_fd_close) */
	struct host_file file;
	enum pool_file kind;
	struct backend_volume vol; /* unless foreign */
};
/* NOT_FOUND when there is no such file. */
int pool_find(struct pool *p, const char *token, bool read_only, struct pool_volume *ret_volume,
	      struct err *err);
/* A volume's state, which is empty if none was ever written; written, but not synced. The file is
 * the caller's alone meanwhile. */
int pool_state_read(int fd, struct state *ret_state, struct err *err);
int pool_state_write(int fd, const struct state *state, struct err *err);
/* The names in the pool that may be volumes, sorted, > after. Free with pool_names_done. */
struct pool_names {
	char **v;
	size_t n;
	size_t cap;
	uint64_t n_other; /* directories, devices, names that no volume can have */
};
int pool_names_read(struct pool *p, const char *after, struct pool_names *ret_names,
		    struct err *err);
void pool_names_done(struct pool_names *names);

int pool_remove(struct backend *b, struct ctx *ctx, const char *token,
		const struct secrets *secrets, struct err *err);
int pool_modify(struct backend *b, struct ctx *ctx, const char *token,
		const struct vol_limits *limits, const struct secrets *secrets, struct err *err);
int pool_stat(struct backend *b, struct ctx *ctx, const char *token, struct backend_volume *ret_vol,
	      struct err *err);
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
int pool_settle(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		struct err *err);

/* space.c */
int pool_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info, struct err *err);
/* Sets bytes aside for a create, or RESOURCE_EXHAUSTED with the figures. */
int pool_promise(struct pool *p, uint64_t bytes, struct err *err);
void pool_promise_end(struct pool *p, uint64_t bytes);
/* After we linked or unlinked a volume. */
void pool_know(struct pool *p, const char *token, bool is_there);
/* Reads the directory again; warns of what is damaged or foreign. */
int pool_scan(struct pool *p, struct err *err);

/* create.c */
int pool_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		struct backend_volume *ret_vol, struct err *err);

/* template.c: puts an ext4 with this UUID into the nameless, allocated file. */
int pool_fill_ext4(struct pool *p, struct ctx *ctx, int fd, uint64_t bytes, const struct uuid *uuid,
		   struct err *err);

/* image.c: makes, attaches and mounts config->image; ret_dir (malloc'ed) is where. */
int pool_image_mount(struct ctx *ctx, const struct backend_config *config, char **ret_dir,
		     struct err *err);

#endif
