/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_MEM_MEM_INTERNAL_H
#define BACKEND_MEM_MEM_INTERNAL_H

#include "backend/filedev.h"
#include "backend/mem/mem.h"

struct mem_volume {
	struct backend_volume vol;
	char file_name[VOL_TOKEN_MAX + 8]; /* "memfd:TOKEN" */
	int fd;
	char *note;         /* may be NULL */
	unsigned n_readers; /* with the lock of struct mem: who makes something of it */
};

struct mem_snapshot {
	struct backend_snapshot snap;
	int fd;
	unsigned n_readers;
};

struct mem {
	struct backend base;
	uint64_t total_bytes;
	struct filedev_holds holds; /* until the mount has the device */
	struct filedev_holds kept;  /* of raw volumes: until detach */
	struct filedev_holds readers;

	pthread_mutex_t lock; /* guards what follows; never held across a syscall */
	struct map *volumes; /* token → struct mem_volume, owned; one is freed only by remove, and
				operations on the same volume never run at once (backend.h), so a
				found one may be used without the lock; who is not sure that it is
				the only one counts himself among the readers */
	struct map *snapshots; /* token → struct mem_snapshot, owned */
	struct map *groups;    /* token → struct backend_group without members, owned */
	uint64_t used_bytes;   /* volumes, snapshots, and those that are under way */
};

struct mem *mem_from(struct backend *b);
/* RESOURCE_EXHAUSTED. */
int mem_take_space(struct mem *m, uint64_t bytes, struct err *err);
void mem_give_space(struct mem *m, uint64_t bytes);

/* snapshot.c */
/* What spec->source has, into the file of a new volume. Errors as backend_ops.create. */
int mem_fill_from_source(struct mem *m, struct ctx *ctx, int fd, const struct backend_spec *spec,
			 struct err *err);
void mem_snapshots_free(struct mem *m);
void mem_free_snapshot(struct mem_snapshot *s);
/* The volume, counted as read; NULL: NOT_FOUND. */
struct mem_volume *mem_begin_volume(struct mem *m, const char *token, struct err *err);
void mem_end_reading(struct mem *m, unsigned *n_readers);
/* One that is in no table yet; fd is its own. */
struct mem_snapshot *mem_new_snapshot(const struct backend_snapshot_spec *spec,
				      const struct mem_volume *v, int64_t moment_ns, int fd);
int mem_copy(struct ctx *ctx, int from_fd, int to_fd, uint64_t bytes, struct err *err);
int mem_snapshot_create(struct backend *b, struct ctx *ctx,
			const struct backend_snapshot_spec *spec, struct backend_snapshot *ret_snap,
			struct err *err);
int mem_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			const struct secrets *secrets, struct err *err);
int mem_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, struct backend_snapshot *ret_snap,
		      struct err *err);
int mem_snapshot_each(struct backend *b, struct ctx *ctx, const char *after,
		      backend_each_snapshot_fn fn, void *arg, struct err *err);

/* changed.c */
int mem_allocated(struct backend *b, struct ctx *ctx, const char *token,
		  const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		  struct err *err);
int mem_changed(struct backend *b, struct ctx *ctx, const char *base, const char *target,
		const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		struct err *err);

/* group.c */
void mem_groups_free(struct mem *m);
int mem_group_create(struct backend *backend, struct ctx *ctx,
		     const struct backend_group_spec *spec, struct backend_group *ret_group,
		     struct err *err);
int mem_group_remove(struct backend *b, struct ctx *ctx, const char *token,
		     const struct secrets *secrets, struct err *err);
int mem_group_stat(struct backend *b, struct ctx *ctx, const char *token,
		   struct backend_group *ret_group, struct err *err);

#endif
