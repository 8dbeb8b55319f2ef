/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much room there is.
 *
 * Thick volumes are fallocated before they have a name, so the filesystem's own free figure already
 * knows of them; what it does not know are creates that looked and have not allocated yet. Those
 * are added up in pending_bytes, so that a hundred creates at once cannot each be promised the last
 * gigabyte. A promise ends when the blocks are there: longer, and they would count twice while mkfs
 * runs. A figure that was asked before some promise ended may not know its blocks yet, so it is
 * asked again. The reserve (5 %, at least 1 GiB, at most a quarter) keeps metadata, deletes and
 * copy-on-write of later snapshots working.
 *
 * The sets of known tokens, which only counts are taken from, are read from the directories at open
 * and again whenever the mtime of one is not the one we left, so that a file that a person removed
 * is seen. Our own changes put and take single tokens, which does no harm when a scan at the same
 * time has seen them already; a scan that missed one leaves an older mtime behind and is followed
 * by another.
 */
#include "backend/pool/pool-internal.h"

#define LOG_ROOM "backend"
#include "base/log.h"
#include "base/num.h"
#include "volume/size.h"

/* Values of pool_seen.known: only their addresses count. */
static char known_whole;
static char known_damaged;

static uint64_t reserve_of(const struct pool *p, uint64_t total_bytes)
{
	uint64_t reserve = p->reserve_bytes;

	if (reserve == 0) {
		reserve = total_bytes / 20 > GIB ? total_bytes / 20 : GIB;
		reserve = reserve < total_bytes / 4 ? reserve : total_bytes / 4;
	}
	return reserve;
}

/* Under p->lock. */
static uint64_t available_in(const struct pool *p, const struct host_fs *fs)
{
	uint64_t taken = reserve_of(p, fs->total_bytes) + p->pending_bytes;
	uint64_t left = fs->free_bytes > taken ? fs->free_bytes - taken : 0;

	return left - left % VOL_SIZE_UNIT;
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

int pool_available(struct pool *p, uint64_t *ret_bytes, struct err *err)
{
	struct host_fs fs;

	if (look_and_lock(p, &fs, err) < 0)
		return -1;
	*ret_bytes = available_in(p, &fs);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

int pool_promise(struct pool *p, uint64_t bytes, struct err *err)
{
	char text[NUM_QUANTITY_MAX];
	struct host_fs fs;
	uint64_t available;

	if (look_and_lock(p, &fs, err) < 0)
		return -1;
	available = available_in(p, &fs);
	if (bytes <= available)
		p->pending_bytes += bytes;
	pthread_mutex_unlock(&p->lock);
	if (bytes <= available)
		return 0;
	/* Without the numbers of the moment, by which Events of the same trouble would not be
	 * counted together. */
	log_debug("no room", log_str("pool", p->dir), log_u64("bytes", bytes),
		  log_u64("free", fs.free_bytes), log_u64("available", available));
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

void pool_know(struct pool *p, enum pool_shelf shelf, const char *token, bool is_there)
{
	struct pool_seen *seen = &p->seen[shelf];
	struct host_file dir;
	struct err err;
	bool is_current = host_file_look(pool_shelf_fd(p, shelf), &dir, &err) == 0;

	pthread_mutex_lock(&p->lock);
	if (is_there)
		(void)map_put(seen->known, token, &known_whole);
	else
		(void)map_take(seen->known, token);
	seen->changed_ns = is_current ? dir.changed_ns : 0;
	pthread_mutex_unlock(&p->lock);
}

struct scan {
	enum pool_shelf shelf;
	struct map *known;
	uint64_t n_damaged;
	uint64_t n_foreign;
};

static int look_at_name(struct pool *p, const struct scan *scan, const char *name,
			enum pool_file *ret_kind, char damage[96], struct err *err)
{
	struct pool_snapshot snapshot;
	struct pool_volume volume;

	if (scan->shelf == POOL_VOLUMES) {
		if (pool_find(p, name, true, &volume, err) < 0)
			return -1;
		host_fd_close(volume.fd);
		*ret_kind = volume.kind;
		memcpy(damage, volume.vol.damage, sizeof(volume.vol.damage));
		return 0;
	}
	if (pool_find_snapshot(p, name, true, &snapshot, err) < 0)
		return -1;
	host_fd_close(snapshot.fd);
	*ret_kind = snapshot.kind;
	memcpy(damage, snapshot.snap.damage, sizeof(snapshot.snap.damage));
	return 0;
}

/* What one name of the directory is: counted, and warned of if it is damaged. */
static int scan_name(struct pool *p, const char *name, struct scan *scan, struct err *err)
{
	enum pool_file kind;
	char damage[96];

	if (look_at_name(p, scan, name, &kind, damage, err) < 0)
		return err->code == ERR_NOT_FOUND || err->code == ERR_FAILED_PRECONDITION ? 0 : -1;
	switch (kind) {
	case POOL_FILE_WHOLE:
		(void)map_put(scan->known, name, &known_whole);
		break;
	case POOL_FILE_DAMAGED:
		(void)map_put(scan->known, name, &known_damaged);
		scan->n_damaged++;
		log_warn(scan->shelf == POOL_VOLUMES
				 ? "damaged volume: listed, not served, not deleted"
				 : "damaged snapshot: listed, not served, not deleted",
			 log_str("pool", p->base.pool_name), log_str("dir", p->dir),
			 log_str("token", name), log_str("damage", damage));
		break;
	case POOL_FILE_FOREIGN:
		scan->n_foreign++;
		break;
	}
	return 0;
}

static void take_scan(struct pool *p, const struct scan *scan, int64_t changed_ns)
{
	struct pool_seen *seen = &p->seen[scan->shelf];
	struct map *old;

	pthread_mutex_lock(&p->lock);
	old = seen->known;
	*seen = (struct pool_seen){ scan->known, scan->n_damaged, changed_ns };
	pthread_mutex_unlock(&p->lock);
	map_free(old);
}

static int scan_shelf(struct pool *p, enum pool_shelf shelf, struct err *err)
{
	struct scan scan = { .shelf = shelf };
	struct pool_names names;
	struct host_file dir;
	int rc = 0;

	if (host_file_look(pool_shelf_fd(p, shelf), &dir, err) < 0 ||
	    pool_names_read(p, shelf, "", &names, err) < 0)
		return -1;
	scan.known = map_new();
	for (size_t i = 0; i < names.n && rc == 0; i++)
		rc = scan_name(p, names.v[i], &scan, err);
	scan.n_foreign += names.n_other;
	pool_names_done(&names);
	if (rc < 0) {
		map_free(scan.known);
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
	if (scan_changed(p, err) < 0 || look_and_lock(p, &fs, err) < 0)
		return -1;
	*ret_info = (struct backend_info){
		.name = b->pool_name,
		.identity = b->identity,
		.total_bytes = fs.total_bytes,
		.available_bytes = available_in(p, &fs),
		.n_volumes = n_whole(&p->seen[POOL_VOLUMES]),
		.n_damaged = p->seen[POOL_VOLUMES].n_damaged,
		.n_snapshots = n_whole(&p->seen[POOL_SNAPSHOTS]),
		.n_damaged_snapshots = p->seen[POOL_SNAPSHOTS].n_damaged,
	};
	pthread_mutex_unlock(&p->lock);
	ret_info->max_volume_bytes =
		ret_info->available_bytes < VOL_SIZE_MAX ? ret_info->available_bytes : VOL_SIZE_MAX;
	return 0;
}
