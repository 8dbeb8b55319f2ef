/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much room there is.
 *
 * Thick volumes are fallocated before they have a name, so the filesystem's own free figure already
 * knows of them; what it does not know are creates that looked and have not allocated yet. Those
 * are added up in pending_bytes, so that a hundred creates at once cannot each be promised the last
 * gigabyte. A promise ends when the blocks are there: longer, and they would count twice while mkfs
 * runs. A figure that was asked before some promise ended may not know its blocks yet, so it is
 * asked again. The reserve (5 %, at least 1 GiB, at most a quarter) keeps metadata and deletes
 * working. What volumes share and may overwrite is taken off as well (reserve.c).
 *
 * The sets of known tokens, which only counts are taken from, are read from the directories at open
 * and again whenever the mtime of one is not the one we left, so that a file that a person removed
 * is seen. Our own changes put and take single tokens, which does no harm when a scan at the same
 * time has seen them already; a scan that missed one leaves an older mtime behind and is followed
 * by another.
 */
#include <stdlib.h>

#include "backend/pool/pool-internal.h"

#define LOG_ROOM "backend"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "volume/size.h"

uint64_t pool_kept_bytes(uint64_t reserve_bytes, uint64_t total_bytes)
{
	uint64_t reserve = reserve_bytes;

	if (reserve == 0) {
		reserve = total_bytes / 20 > GIB ? total_bytes / 20 : GIB;
		reserve = reserve < total_bytes / 4 ? reserve : total_bytes / 4;
	}
	return reserve;
}

/* Under p->lock. */
static struct vol_space space_in(const struct pool *p, const struct host_fs *fs,
				 uint64_t *ret_n_thin)
{
	struct vol_space space = {
		.total_bytes = fs->total_bytes,
		.free_bytes = fs->free_bytes,
		.kept_bytes = pool_kept_bytes(p->reserve_bytes, fs->total_bytes),
		.pending_bytes = p->pending_bytes,
		.shared_bytes = p->reserved_bytes,
		.overcommit = p->overcommit,
	};

	pool_thin_add(p, &space, ret_n_thin);
	return space;
}

static int fail_gone(const struct pool *p, struct err *err)
{
	err->code = ERR_UNAVAILABLE;
	return err_wrap(err, "the pool at '%s' is gone", p->dir);
}

/* A disk that was mounted over the directory since it was opened is the one the operator means;
 * going on with what is below would fill the wrong disk. */
static int check_place(const struct pool *p, struct err *err)
{
	bool is_covered;

	if (host_dir_is_covered(p->dir_fd, p->dir, &is_covered, err) < 0)
		return fail_gone(p, err);
	if (is_covered)
		return err_set(err, ERR_UNAVAILABLE,
			       "something was mounted at '%s' since the pool there was opened; "
			       "unmount it, or restart cleat to serve what is there now",
			       p->dir);
	return 0;
}

static int look(struct pool *p, struct host_fs *ret_fs, struct err *err)
{
	if (host_fs_look(p->dir_fd, ret_fs, err) < 0)
		return fail_gone(p, err);
	if (check_place(p, err) < 0)
		return -1;
	if (ret_fs->is_read_only)
		return err_set(err, ERR_UNAVAILABLE,
			       "the filesystem of '%s' became read-only (see dmesg); mount it "
			       "again read-write",
			       p->dir);
	return 0;
}

/* A look and the promises of the same moment; p->lock is taken if 0. */
static int look_and_lock(struct pool *p, struct host_fs *ret_fs, struct err *err)
{
	uint64_t n_ended;

	pthread_mutex_lock(&p->lock);
	do {
		n_ended = p->n_ended;
		pthread_mutex_unlock(&p->lock);
		if (look(p, ret_fs, err) < 0)
			return -1;
		pthread_mutex_lock(&p->lock);
	} while (n_ended != p->n_ended);
	return 0;
}

int pool_space_and_lock(struct pool *p, struct vol_space *ret_space, struct err *err)
{
	struct host_fs fs;
	uint64_t n_thin;

	if (look_and_lock(p, &fs, err) < 0)
		return -1;
	*ret_space = space_in(p, &fs, &n_thin);
	return 0;
}

int pool_look_and_lock(struct pool *p, uint64_t *ret_available, struct err *err)
{
	struct vol_space space;

	if (pool_space_and_lock(p, &space, err) < 0)
		return -1;
	*ret_available = vol_space_for_thick(&space);
	return 0;
}

int pool_available(struct pool *p, uint64_t *ret_bytes, struct err *err)
{
	if (pool_look_and_lock(p, ret_bytes, err) < 0)
		return -1;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

/* 1, or 0 if it does not fit. */
static int try_promise(struct pool *p, uint64_t bytes, uint64_t *ret_available, struct err *err)
{
	bool fits;

	if (pool_look_and_lock(p, ret_available, err) < 0)
		return -1;
	fits = bytes <= *ret_available;
	if (fits)
		p->pending_bytes += bytes;
	pthread_mutex_unlock(&p->lock);
	return fits;
}

int pool_promise(struct pool *p, uint64_t bytes, struct err *err)
{
	char text[NUM_QUANTITY_MAX];
	uint64_t available;
	int rc = try_promise(p, bytes, &available, err);

	if (rc == 0) {
		pool_reserve_measure(p);
		pool_thin_measure(p);
		rc = try_promise(p, bytes, &available, err);
	}
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	/* Without the numbers of the moment, by which Events of the same trouble would not be
	 * counted together. */
	log_debug("no room", log_str("pool", p->dir), log_u64("bytes", bytes),
		  log_u64("available", available));
	num_format_quantity(bytes, text);
	return err_set(err, ERR_RESOURCE_EXHAUSTED,
		       "%s do not fit into what the pool at '%s' has free beside its reserve", text,
		       p->dir);
}

void pool_promise_end(struct pool *p, uint64_t bytes)
{
	pthread_mutex_lock(&p->lock);
	p->pending_bytes -= bytes;
	p->n_ended++;
	pthread_mutex_unlock(&p->lock);
}

/* Under p->lock. */
static void forget(struct pool *p, enum pool_shelf shelf, const char *token)
{
	struct pool_entry *entry = map_take(p->seen[shelf].known, token);

	if (!entry)
		return;
	p->reserved_bytes -= entry->shared_bytes;
	p->seen[shelf].n_damaged -= entry->is_damaged;
	free(entry);
}

void pool_know(struct pool *p, enum pool_shelf shelf, const char *token,
	       const struct pool_entry *entry)
{
	struct pool_entry *known = NULL;
	struct host_file dir;
	struct err err;
	bool is_current = host_file_look(pool_shelf_fd(p, shelf), &dir, &err) == 0;

	if (entry) {
		known = xmalloc(sizeof(*known));
		*known = *entry;
	}
	pthread_mutex_lock(&p->lock);
	forget(p, shelf, token);
	if (known) {
		known->number = ++p->n_known;
		p->reserved_bytes += known->shared_bytes;
		(void)map_put(p->seen[shelf].known, token, known);
	}
	p->seen[shelf].changed_ns = is_current ? dir.changed_ns : 0;
	pthread_mutex_unlock(&p->lock);
}

void pool_forget(struct pool *p, enum pool_shelf shelf, const char *token)
{
	pthread_mutex_lock(&p->lock);
	forget(p, shelf, token);
	pthread_mutex_unlock(&p->lock);
}

static void free_entries(struct map *known)
{
	const char *token;
	void *entry;

	for (size_t it = 0; map_next(known, &it, &token, &entry);)
		free(entry);
	map_free(known);
}

void pool_seen_done(struct pool_seen *seen)
{
	free_entries(seen->known);
}

struct scan {
	enum pool_shelf shelf;
	struct map *known;
	uint64_t n_known; /* when it began */
	uint64_t n_damaged;
	uint64_t n_foreign;
	bool has_clones;
};

static void warn_damaged(const struct pool *p, const struct scan *scan, const char *name,
			 const char *damage)
{
	log_warn(scan->shelf == POOL_VOLUMES ? "damaged volume: listed, not served, not deleted"
					     : "damaged snapshot: listed, not served, not deleted",
		 log_str("pool", p->base.pool_name), log_str("dir", p->dir), log_str("token", name),
		 log_str("damage", damage));
}

static void note(const struct pool *p, struct scan *scan, const char *name, enum pool_file kind,
		 const char *damage, const struct pool_entry *entry)
{
	struct pool_entry *known;

	if (kind == POOL_FILE_FOREIGN) {
		scan->n_foreign++;
		return;
	}
	known = xmalloc(sizeof(*known));
	*known = *entry;
	known->is_damaged = kind == POOL_FILE_DAMAGED;
	(void)map_put(scan->known, name, known);
	scan->n_damaged += known->is_damaged;
	if (known->is_damaged)
		warn_damaged(p, scan, name, damage);
}

static int scan_volume(struct pool *p, const char *name, struct scan *scan, struct err *err)
{
	struct pool_volume found;
	struct pool_entry entry = { 0 };

	if (pool_find(p, name, true, &found, err) < 0)
		return -1;
	host_fd_close(found.fd);
	entry.no_reserve = found.record.no_reserve;
	entry.is_thin = found.record.is_thin;
	entry.bytes = found.file.bytes;
	entry.allocated_bytes = found.file.allocated_bytes;
	entry.shared_bytes = found.file.allocated_bytes < found.file.bytes
				     ? found.file.allocated_bytes
				     : found.file.bytes;
	scan->has_clones = scan->has_clones || found.record.source_kind != BACKEND_SOURCE_NONE;
	note(p, scan, name, found.kind, found.vol.damage, &entry);
	return 0;
}

static int scan_snapshot(struct pool *p, const char *name, struct scan *scan, struct err *err)
{
	struct pool_snapshot found;

	if (pool_find_snapshot(p, name, true, &found, err) < 0)
		return -1;
	host_fd_close(found.fd);
	note(p, scan, name, found.kind, found.snap.damage, &(struct pool_entry){ 0 });
	return 0;
}

/* What one name of the directory is: counted, and warned of if it is damaged. */
static int scan_name(struct pool *p, const char *name, struct scan *scan, struct err *err)
{
	int rc = scan->shelf == POOL_VOLUMES ? scan_volume(p, name, scan, err)
					     : scan_snapshot(p, name, scan, err);

	return rc == 0 || err->code == ERR_NOT_FOUND || err->code == ERR_FAILED_PRECONDITION ? 0
											     : -1;
}

/* What became known while the directory was read, and may not have been in it, stays. */
static void keep_young(const struct pool_seen *seen, const struct scan *scan)
{
	const char *token;
	void *value;

	for (size_t it = 0; map_next(seen->known, &it, &token, &value);) {
		const struct pool_entry *entry = value;

		if (entry->number > scan->n_known && !map_find(scan->known, token)) {
			struct pool_entry *kept = xmalloc(sizeof(*kept));

			*kept = *entry;
			(void)map_put(scan->known, token, kept);
		}
	}
}

static void take_scan(struct pool *p, const struct scan *scan, int64_t changed_ns)
{
	struct pool_seen *seen = &p->seen[scan->shelf];
	struct map *old;

	pthread_mutex_lock(&p->lock);
	keep_young(seen, scan);
	old = seen->known;
	*seen = (struct pool_seen){ scan->known, scan->n_damaged, changed_ns };
	if (scan->shelf == POOL_VOLUMES)
		pool_reserve_take_scan(
			p, old,
			p->can_clone &&
				(scan->has_clones || map_count(p->seen[POOL_SNAPSHOTS].known) > 0));
	pthread_mutex_unlock(&p->lock);
	free_entries(old);
}

static int scan_shelf(struct pool *p, enum pool_shelf shelf, struct err *err)
{
	struct scan scan = { .shelf = shelf };
	struct pool_names names;
	struct host_file dir;
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	scan.n_known = p->n_known;
	pthread_mutex_unlock(&p->lock);
	if (host_file_look(pool_shelf_fd(p, shelf), &dir, err) < 0 ||
	    pool_names_read(p, shelf, "", &names, err) < 0)
		return -1;
	scan.known = map_new();
	for (size_t i = 0; i < names.n && rc == 0; i++)
		rc = scan_name(p, names.v[i], &scan, err);
	scan.n_foreign += names.n_other;
	pool_names_done(&names);
	if (rc < 0) {
		free_entries(scan.known);
		return -1;
	}
	if (scan.n_foreign)
		log_warn("files that are not cleat's in the pool are left alone",
			 log_str("pool", p->base.pool_name), log_str("dir", p->dir),
			 log_str("shelf", shelf == POOL_VOLUMES ? "" : ".cleat/snapshots"),
			 log_u64("files", scan.n_foreign));
	take_scan(p, &scan, dir.changed_ns);
	return 0;
}

int pool_scan(struct pool *p, struct err *err)
{
	for (int shelf = 0; shelf < POOL_SHELVES; shelf++) {
		if (scan_shelf(p, (enum pool_shelf)shelf, err) < 0)
			return -1;
	}
	return 0;
}

/* Scans what somebody else changed. */
static int scan_changed(struct pool *p, struct err *err)
{
	for (int shelf = 0; shelf < POOL_SHELVES; shelf++) {
		struct host_file dir;
		bool is_current;

		if (host_file_look(pool_shelf_fd(p, (enum pool_shelf)shelf), &dir, err) < 0)
			return -1;
		pthread_mutex_lock(&p->lock);
		is_current = p->seen[shelf].changed_ns == dir.changed_ns;
		pthread_mutex_unlock(&p->lock);
		if (!is_current && scan_shelf(p, (enum pool_shelf)shelf, err) < 0)
			return -1;
	}
	return 0;
}

static uint64_t n_whole(const struct pool_seen *seen)
{
	return map_count(seen->known) - seen->n_damaged;
}

/* Under p->lock. */
static void fill_info(const struct pool *p, const struct host_fs *fs, struct backend_info *info)
{
	uint64_t n_thin;
	const struct vol_space space = space_in(p, fs, &n_thin);
	uint64_t available = vol_space_for_thick(&space);

	*info = (struct backend_info){
		.name = p->base.pool_name,
		.identity = p->base.identity,
		.total_bytes = space.total_bytes,
		.usable_bytes = space.total_bytes > space.kept_bytes
					? space.total_bytes - space.kept_bytes
					: 0,
		.available_bytes = available,
		.reserved_bytes = space.shared_bytes,
		.max_volume_bytes = available < VOL_SIZE_MAX ? available : VOL_SIZE_MAX,
		.overdrawn_bytes = vol_space_overdrawn(&space),
		.thin = { .overcommit = space.overcommit,
			  .n_volumes = n_thin,
			  .bytes = space.thin_bytes,
			  .used_bytes = vol_space_thin_used(&space),
			  .kept_bytes = vol_space_unpromised(&space) - available,
			  .max_bytes = pool_thin_room(&space) },
		.n_volumes = n_whole(&p->seen[POOL_VOLUMES]),
		.n_damaged = p->seen[POOL_VOLUMES].n_damaged,
		.n_snapshots = n_whole(&p->seen[POOL_SNAPSHOTS]),
		.n_damaged_snapshots = p->seen[POOL_SNAPSHOTS].n_damaged,
	};
	if (info->thin.max_bytes > VOL_SIZE_MAX)
		info->thin.max_bytes = VOL_SIZE_MAX;
}

int pool_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info, struct err *err)
{
	struct pool *p = pool_from(b);
	struct host_fs fs;

	if (ctx_check(ctx, err) < 0)
		return -1;
	pool_halves_drop_old(p);
	if (host_fs_look(p->dir_fd, &fs, err) < 0) {
		/* a machine short of memory says nothing about the disk */
		ret_info->is_dead = err->code != ERR_RESOURCE_EXHAUSTED;
		return fail_gone(p, err);
	}
	if (scan_changed(p, err) < 0)
		return -1;
	pool_reserve_look(p);
	pool_thin_measure(p);
	if (look_and_lock(p, &fs, err) < 0)
		return -1;
	fill_info(p, &fs, ret_info);
	pthread_mutex_unlock(&p->lock);
	return 0;
}
