/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is not as it should be in a pool, and what may be mended by a program.
 *
 * Looking opens files for reading and asks the kernel's tables, so a driver that serves the pool is
 * not disturbed. Mended is only what is provably ours and of no use to anybody: half-made things of
 * a dead process, a spoilt template, a device that no mount and no note of a volume explains. All
 * else may be somebody's only data and is named with the way out. For mending the pool's lock is
 * taken, so no driver is at work meanwhile; one that serves does the same by itself, as it goes.
 *
 * One thing that cannot be looked at is a finding like others; the rest is looked at all the same.
 */
#include <stdlib.h>

#include "backend/pool/doctor-internal.h"
#include "backend/pool/group-internal.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/vec.h"
#include "volume/id.h"

#define ADOPT_FILE POOL_IDENTITY_FILE ".new"

static void tell(struct doctor *d, const struct pool_finding *finding)
{
	d->seen.n_found++;
	d->seen.n_left += !finding->is_mended;
	d->fn(d->arg, finding);
}

void doctor_report(struct doctor *d, enum pool_trouble trouble, const char *path,
		   const char *detail)
{
	tell(d, &(struct pool_finding){ .trouble = trouble, .path = path, .detail = detail });
}

void doctor_report_mended(struct doctor *d, enum pool_trouble trouble, const char *path,
			  const char *detail, int rc, const struct err *err)
{
	tell(d, &(struct pool_finding){ .trouble = trouble,
					.path = path,
					.detail = detail,
					.can_mend = true,
					.is_mended = rc == 0,
					.failure = rc < 0 ? err->msg : NULL });
}

/* Whose files are is not known without an identity, and so not what is of no use. */
bool doctor_may_mend(struct doctor *d, enum pool_trouble trouble, const char *path,
		     const char *detail)
{
	const char *failure = d->pool.lock_fd < 0
				      ? "a driver serves the pool"
				      : "it is not certain that this is the pool it was";

	if (d->what->repair && d->pool.lock_fd >= 0 && d->is_in_place)
		return true;
	tell(d, &(struct pool_finding){ .trouble = trouble,
					.path = path,
					.detail = detail,
					.can_mend = true,
					.failure = d->what->repair ? failure : NULL });
	return false;
}

static void mend_by_unlink(struct doctor *d, enum pool_trouble trouble, int dir_fd,
			   const char *name, const char *path, const char *detail)
{
	struct err err;
	int rc;

	if (!doctor_may_mend(d, trouble, path, detail))
		return;
	rc = host_file_unlink(dir_fd, name, &err) < 0 ? -1 : host_dir_sync(dir_fd, &err);
	doctor_report_mended(d, trouble, path, detail, rc, &err);
}

struct entry {
	char *name;
	bool is_regular;
};

struct entries {
	VEC(struct entry) v;
};

static int collect(void *arg, const char *name, bool is_regular)
{
	struct entries *entries = arg;

	vec_push(&entries->v, ((struct entry){ xstrdup(name), is_regular }));
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* In the order of their names. */
static int read_entries(int dir_fd, struct entries *ret, struct err *err)
{
	int rc = host_dir_each(dir_fd, collect, ret, err);

	if (ret->v.n)
		qsort(ret->v.v, ret->v.n, sizeof(ret->v.v[0]), compare);
	return rc;
}

static void entries_done(struct entries *entries)
{
	for (size_t i = 0; i < entries->v.n; i++)
		free(entries->v.v[i].name);
	vec_done(&entries->v);
}

/* The judgement of find.c, by what a person can do about it. */
static enum pool_trouble trouble_of(const struct doctor *d, const struct record *record,
				    const struct host_file *file, const char *damage)
{
	bool is_of_here = memcmp(&record->pool, &d->pool.base.identity, sizeof(record->pool)) == 0;

	if (strstr(damage, LINE_NEWER))
		return POOL_TROUBLE_NEWER;
	if (record->name[0] && !is_of_here)
		return POOL_TROUBLE_OTHER_POOL;
	return file->n_links > 1 ? POOL_TROUBLE_LINKED : POOL_TROUBLE_DAMAGED;
}

static void report_damaged(struct doctor *d, const struct record *record,
			   const struct host_file *file, const char *path, const char *damage)
{
	enum pool_trouble trouble = trouble_of(d, record, file, damage);

	/* whose all of them are is what is not known then */
	if (trouble != POOL_TROUBLE_OTHER_POOL || d->has_identity)
		doctor_report(d, trouble, path, damage);
}

static int look_at_volume(struct doctor *d, const char *name, const char *path, struct err *err)
{
	struct pool_volume found;

	if (pool_find(&d->pool, name, true, &found, err) < 0)
		return -1;
	if (found.kind == POOL_FILE_FOREIGN)
		doctor_report(d, POOL_TROUBLE_FOREIGN, path, "it has no record of a volume");
	else if (found.kind == POOL_FILE_DAMAGED)
		report_damaged(d, &found.record, &found.file, path, found.vol.damage);
	if (found.kind != POOL_FILE_FOREIGN)
		doctor_look_at_devices(d, &found, path);
	host_fd_close(found.fd);
	return 0;
}

static int look_at_snapshot(struct doctor *d, const char *name, const char *path, struct err *err)
{
	struct pool_snapshot found;

	if (pool_find_snapshot(&d->pool, name, true, &found, err) < 0)
		return -1;
	if (found.kind == POOL_FILE_FOREIGN)
		doctor_report(d, POOL_TROUBLE_FOREIGN, path, "it has no record of a snapshot");
	else if (found.kind == POOL_FILE_DAMAGED)
		report_damaged(d, &found.record, &found.file, path, found.snap.damage);
	host_fd_close(found.fd);
	return 0;
}

static void look_at_file(struct doctor *d, enum pool_shelf shelf, const struct entry *entry,
			 const char *path)
{
	struct err err;
	int rc;

	if (!entry->is_regular || !vol_token_is_valid(entry->name)) {
		doctor_report(d, POOL_TROUBLE_FOREIGN, path,
			      entry->is_regular ? "nothing of cleat's has such a name"
						: "it is no regular file");
		return;
	}
	rc = shelf == POOL_VOLUMES ? look_at_volume(d, entry->name, path, &err)
				   : look_at_snapshot(d, entry->name, path, &err);
	if (rc < 0 && err.code != ERR_NOT_FOUND) /* else it went meanwhile */
		doctor_report(d, POOL_TROUBLE_UNREADABLE, path, err.msg);
}

static int look_at_shelf(struct doctor *d, enum pool_shelf shelf, const char *dir, struct err *err)
{
	struct entries entries = { .v = VEC_INIT };
	int rc = 0;

	if (pool_shelf_fd(&d->pool, shelf) < 0)
		return 0;
	rc = read_entries(pool_shelf_fd(&d->pool, shelf), &entries, err);
	for (size_t i = 0; i < entries.v.n && rc == 0; i++) {
		autofree char *path = path_join(dir, entries.v.v[i].name);

		rc = ctx_check(d->ctx, err);
		if (rc == 0 && !pool_is_own_name(entries.v.v[i].name, entries.v.v[i].is_regular))
			look_at_file(d, shelf, &entries.v.v[i], path);
	}
	entries_done(&entries);
	return rc;
}

static void look_at_template(struct doctor *d, int dir_fd, const struct entry *entry,
			     const char *path)
{
	struct err err;
	int rc = entry->is_regular ? pool_template_check(d->ctx, dir_fd, entry->name, &err) : 1;

	if (rc < 0 && err.code != ERR_NOT_FOUND)
		doctor_report(d, POOL_TROUBLE_UNREADABLE, path, err.msg);
	else if (rc == 0)
		mend_by_unlink(d, POOL_TROUBLE_TEMPLATE, dir_fd, entry->name, path, "");
}

/* What a living driver has there is under way. */
static void look_at_work(struct doctor *d, int dir_fd, const struct entry *entry, const char *path)
{
	if (!entry->is_regular)
		doctor_report(d, POOL_TROUBLE_UNKNOWN, path, "");
	else if (!d->seen.is_served)
		mend_by_unlink(d, POOL_TROUBLE_HALF_MADE, dir_fd, entry->name, path, "");
}

typedef void (*look_fn)(struct doctor *d, int dir_fd, const struct entry *entry, const char *path);

/* A folder of .cleat, if it is there. */
static int look_into(struct doctor *d, const char *folder, look_fn fn, struct err *err)
{
	struct entries entries = { .v = VEC_INIT };
	autofree char *meta = path_join(d->what->dir, ".cleat");
	autofree char *dir = path_join(meta, folder);
	autohostfd int dir_fd = -1;
	int rc;

	if (host_dir_open_at(d->pool.meta_fd, folder, &dir_fd, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	rc = read_entries(dir_fd, &entries, err);
	for (size_t i = 0; i < entries.v.n && rc == 0; i++) {
		autofree char *path = path_join(dir, entries.v.v[i].name);

		rc = ctx_check(d->ctx, err);
		if (rc == 0)
			fn(d, dir_fd, &entries.v.v[i], path);
	}
	entries_done(&entries);
	return rc;
}

/* Of a group that was being made or removed: members that do not count, and the mark itself. */
static void look_at_mark(struct doctor *d, const char *token, const char *path)
{
	static const char detail[] = "half of a group of snapshots";
	struct err err;
	int rc;

	if (d->seen.is_served || !doctor_may_mend(d, POOL_TROUBLE_HALF_MADE, path, detail))
		return;
	rc = pool_group_sweep(&d->pool, token, &err);
	doctor_report_mended(d, POOL_TROUBLE_HALF_MADE, path, detail, rc, &err);
}

static int find_lost_member(const struct doctor *d, const struct group_record *r, char detail[128],
			    struct err *err)
{
	for (size_t i = 0; i < r->n_members; i++) {
		autohostfd int fd = -1;

		if (d->pool.snapshot_fd >= 0 &&
		    host_file_open(d->pool.snapshot_fd, r->members[i].token, true, &fd, err) == 0)
			continue;
		if (d->pool.snapshot_fd >= 0 && err->code != ERR_NOT_FOUND)
			return -1;
		(void)snprintf(detail, 128, "its member '%.60s' is gone", r->members[i].token);
		return 1;
	}
	return 0;
}

/* Members that are there are looked at with the snapshots. */
static void look_at_group(struct doctor *d, int dir_fd, const struct entry *entry, const char *path)
{
	struct group_record r;
	char detail[128];
	struct err err;
	int rc;

	(void)dir_fd;
	if (entry->name[0] == '.' && vol_token_is_valid(entry->name + 1)) {
		look_at_mark(d, entry->name + 1, path);
		return;
	}
	if (!entry->is_regular || !vol_token_is_valid(entry->name)) {
		doctor_report(d, POOL_TROUBLE_UNKNOWN, path, "");
		return;
	}
	if (pool_group_read(&d->pool, entry->name, &r, &err) < 0) {
		if (err.code != ERR_NOT_FOUND)
			doctor_report(d,
				      strstr(err.msg, LINE_NEWER) ? POOL_TROUBLE_NEWER
								  : POOL_TROUBLE_DAMAGED,
				      path, err.msg);
		return;
	}
	rc = find_lost_member(d, &r, detail, &err);
	if (rc != 0)
		doctor_report(d, rc < 0 ? POOL_TROUBLE_UNREADABLE : POOL_TROUBLE_DAMAGED, path,
			      rc < 0 ? err.msg : detail);
	group_record_done(&r);
}

/* What a living driver has there it has frozen, or knows of. */
static void look_at_frozen(struct doctor *d, int dir_fd, const struct entry *entry,
			   const char *path)
{
	char token[VOL_TOKEN_MAX], detail[VOL_TOKEN_MAX + 16];
	struct err err;
	int rc;

	if (!entry->is_regular || !pool_frozen_token(entry->name, token)) {
		doctor_report(d, POOL_TROUBLE_UNKNOWN, path, "");
		return;
	}
	(void)snprintf(detail, sizeof(detail), "volume '%s'", token);
	if (d->seen.is_served || !doctor_may_mend(d, POOL_TROUBLE_FROZEN, path, detail))
		return;
	rc = pool_thaw_volume(&d->pool, token, &err);
	if (rc == 0)
		rc = err_set(&err, ERR_FAILED_PRECONDITION,
			     "it is attached and mounted nowhere here; it is thawed when it is "
			     "staged");
	else if (rc > 0)
		rc = host_file_unlink(dir_fd, entry->name, &err);
	doctor_report_mended(d, POOL_TROUBLE_FROZEN, path, detail, rc, &err);
}

static const struct folder {
	const char *name;
	look_fn look; /* NULL: looked at elsewhere */
} folders[] = {
	{ "snapshots", NULL },       { "frozen", look_at_frozen },
	{ "groups", look_at_group }, { "templates", look_at_template },
	{ "work", look_at_work },
};

static bool is_known(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		if (str_is_equal(folders[i].name, name))
			return true;
	}
	return str_is_equal(name, "lock") || str_is_equal(name, POOL_IDENTITY_FILE);
}

static int look_at_meta(struct doctor *d, struct err *err)
{
	struct entries entries = { .v = VEC_INIT };
	autofree char *dir = path_join(d->what->dir, ".cleat");
	int rc = read_entries(d->pool.meta_fd, &entries, err);

	for (size_t i = 0; i < entries.v.n && rc == 0; i++) {
		const char *name = entries.v.v[i].name;
		autofree char *path = path_join(dir, name);

		if (str_is_equal(name, ADOPT_FILE) && !d->seen.is_served)
			mend_by_unlink(d, POOL_TROUBLE_HALF_MADE, d->pool.meta_fd, name, path, "");
		else if (!is_known(name) && !str_is_equal(name, ADOPT_FILE))
			doctor_report(d, POOL_TROUBLE_UNKNOWN, path, "");
	}
	entries_done(&entries);
	for (size_t i = 0; i < ARRAY_LEN(folders) && rc == 0; i++)
		rc = folders[i].look ? look_into(d, folders[i].name, folders[i].look, err) : 0;
	return rc;
}

/* Who the pool is, and whether it is where it was. */
static void look_at_identity(struct doctor *d)
{
	struct pool_identity recorded, seen;
	struct err err;

	d->has_identity = pool_beside_identify(&d->pool, d->what->dir, &recorded, &err) == 0;
	d->is_in_place = d->has_identity && pool_see(d->pool.dir_fd, "", &seen, &err) == 0 &&
			 pool_identity_compare(&recorded, &seen, false, d->what->dir, &err) == 0;
	if (!d->is_in_place)
		doctor_report(d, POOL_TROUBLE_IDENTITY, d->what->dir, err.msg);
}

static int look_at_filesystem(struct doctor *d, struct err *err)
{
	struct host_fs fs;

	if (host_fs_look(d->pool.dir_fd, &fs, err) < 0 ||
	    host_file_look(d->pool.dir_fd, &d->dir, err) < 0)
		return -1;
	if (fs.is_read_only)
		doctor_report(d, POOL_TROUBLE_READ_ONLY, d->what->dir, "");
	return 0;
}

/* Without repair nothing is locked, so that a driver which starts meanwhile is not refused. */
static int find_server(struct doctor *d, struct err *err)
{
	int rc = pool_beside_find_server(&d->pool, &d->seen.server, err);

	if (rc < 0)
		return -1;
	d->seen.is_served = rc > 0;
	if (rc > 0 || !d->what->repair ||
	    pool_take_lock(d->pool.meta_fd, d->what->dir, &d->pool.lock_fd, err) == 0)
		return 0;
	d->seen.is_served = err->code == ERR_FAILED_PRECONDITION; /* since just now */
	return d->seen.is_served ? 0 : -1;
}

static int examine(struct doctor *d, struct err *err)
{
	autofree char *meta = path_join(d->what->dir, ".cleat");
	autofree char *snapshots = path_join(meta, "snapshots");

	if (look_at_filesystem(d, err) < 0 || find_server(d, err) < 0)
		return -1;
	look_at_identity(d);
	if (look_at_shelf(d, POOL_VOLUMES, d->what->dir, err) < 0 ||
	    look_at_shelf(d, POOL_SNAPSHOTS, snapshots, err) < 0)
		return -1;
	return look_at_meta(d, err) < 0 ? -1 : doctor_look_for_unlinked(d, err);
}

int pool_examine(struct ctx *ctx, const struct pool_doctor *what, pool_finding_fn fn, void *arg,
		 struct pool_examined *ret, struct err *err)
{
	struct doctor d = { .ctx = ctx, .what = what, .fn = fn, .arg = arg };
	int rc;

	if (pool_beside_open(&d.pool, what->dir, err) < 0)
		return -1;
	rc = examine(&d, err);
	pool_beside_close(&d.pool);
	*ret = d.seen;
	return rc < 0 ? err_wrap(err, "examine '%s'", what->dir) : 0;
}
