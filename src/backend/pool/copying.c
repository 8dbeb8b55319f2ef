/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots that are copied in the background.
 *
 *   claim alone → record "copying" → name → claim shared
 *     └─► piece ─► piece ─► … ─► sync ─► record ─► ready
 *           └── the volume is wanted ─► the rest is shared ─► sync ─► record ─► ready
 *
 * What is copied is a volume that is not attached: nobody writes to it, so the moment of the
 * snapshot is when it was claimed, and the copy may take hours. It has its name from then on, and
 * its record says that it is not ready, in a word that an older cleat refuses by.
 *
 * Who wants to change the volume does not wait for that: copying_settle.c.
 *
 * The claim goes with the process. What the next one finds half copied it goes on with, from where
 * the record says, if the volume was not written to since (its mtime is in the record): else the
 * bytes of that moment are nowhere any more, and the snapshot goes.
 *
 * Who is at one has it alone (is_busy). Others that want it cancel him, if he copies, and wait.
 */
#include <errno.h>
#include <time.h>

#include "backend/pool/copying-internal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "host/extent.h"
#include "volume/size.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define PIECE_BYTES (64 * MIB)
#define NOTE_BYTES GIB /* is copied twice at most after a kill */
#define RETRY_NS (30 * NS_PER_S)
#define STOP_NS (10 * NS_PER_S) /* for the piece that is being copied */

void pool_copying_init(struct pool *p)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->copying_idle, &attr);
	pthread_condattr_destroy(&attr);
}

static void end_promise(struct pool *p, struct pool_copying *c, uint64_t left)
{
	if (c->promised > left) {
		pool_promise_end(p, c->promised - left);
		c->promised = left;
	}
}

static void free_one(struct pool_copying *c)
{
	host_fd_close(c->fd);
	host_fd_close(c->from_fd);
	free(c);
}

void pool_copying_end(struct pool *p, struct pool_copying *c)
{
	end_promise(p, c, 0);
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->copying.n; i++) {
		if (p->copying.v[i] == c) {
			p->copying.v[i] = p->copying.v[--p->copying.n];
			atomic_fetch_sub(&p->base.n_background, 1);
			break;
		}
	}
	pthread_cond_broadcast(&p->copying_idle);
	pthread_mutex_unlock(&p->lock);
	free_one(c);
}

void pool_copying_give_back(struct pool *p, struct pool_copying *c)
{
	pthread_mutex_lock(&p->lock);
	c->is_busy = false;
	c->ctx = NULL;
	pthread_cond_broadcast(&p->copying_idle);
	pthread_mutex_unlock(&p->lock);
}

void pool_copying_drop_all(struct pool *p)
{
	for (size_t i = 0; i < p->copying.n; i++)
		free_one(p->copying.v[i]);
	vec_done(&p->copying);
	atomic_store(&p->base.n_background, 0);
}

void pool_copying_done(struct pool *p)
{
	pool_copying_drop_all(p);
	pthread_cond_destroy(&p->copying_idle);
}

/* Under p->lock. */
static struct pool_copying *find_one(const struct pool *p, const char *snapshot, const char *source)
{
	for (size_t i = 0; i < p->copying.n; i++) {
		struct pool_copying *c = p->copying.v[i];

		if (snapshot ? str_is_equal(c->snapshot, snapshot)
			     : str_is_equal(c->source, source))
			return c;
	}
	return NULL;
}

/* Under p->lock; false when the time is over. */
static bool wait_idle(struct pool *p, int64_t until_ns)
{
	int64_t left_ns = until_ns - clock_now_ns();
	struct timespec until;

	if (left_ns <= 0)
		return false;
	(void)clock_gettime(CLOCK_MONOTONIC, &until); /* exists on every Linux */
	left_ns += until.tv_nsec;
	until.tv_sec += left_ns / NS_PER_S;
	until.tv_nsec = left_ns % NS_PER_S;
	return pthread_cond_timedwait(&p->copying_idle, &p->lock, &until) != ETIMEDOUT;
}

int pool_copying_take(struct pool *p, struct ctx *ctx, const char *snapshot, const char *source,
		      struct pool_copying **ret, struct err *err)
{
	int64_t limit_ns = ctx_remaining_ns(ctx) < STOP_NS ? ctx_remaining_ns(ctx) : STOP_NS;
	int64_t until_ns = clock_now_ns() + limit_ns;
	struct pool_copying *c;
	bool is_taken = false;
	bool is_over = false;

	pthread_mutex_lock(&p->lock);
	while ((c = find_one(p, snapshot, source)) && c->is_busy && !is_over) {
		c->is_wanted = true;
		if (c->ctx)
			ctx_cancel(c->ctx);
		is_over = !wait_idle(p, until_ns);
	}
	if (c) {
		is_taken = !c->is_busy;
		c->is_busy = true;
		c->is_wanted = false;
	}
	pthread_mutex_unlock(&p->lock);
	if (c && !is_taken)
		return err_set(err, ERR_ABORTED,
			       "a copy of it for a snapshot is being ended; try again");
	*ret = c;
	return is_taken;
}

static void add(struct pool *p, struct pool_copying *c)
{
	pthread_mutex_lock(&p->lock);
	vec_push(&p->copying, c);
	atomic_fetch_add(&p->base.n_background, 1);
	pthread_mutex_unlock(&p->lock);
}

static int write_record(struct pool_copying *c, struct err *err)
{
	char text[RECORD_MAX];

	record_format(RECORD_SNAPSHOT, &c->record, text);
	return host_file_set_attr(c->fd, SNAPSHOT_ATTR, text, err);
}

int pool_copying_finish(struct pool_copying *c, struct err *err)
{
	if (host_file_sync(c->fd, err) < 0)
		return -1;
	c->record.is_copying = false;
	if (write_record(c, err) < 0) {
		c->record.is_copying = true;
		return -1;
	}
	return host_file_sync(c->fd, err);
}

/* So far a restart need not go back. */
static int note_progress(struct pool_copying *c, struct err *err)
{
	if (c->at - c->record.copied_bytes < NOTE_BYTES)
		return 0;
	if (host_file_sync(c->fd, err) < 0)
		return -1;
	c->record.copied_bytes = c->at - c->at % VOL_SIZE_UNIT;
	return write_record(c, err);
}

/* How much there is to copy yet, by what the snapshot has. */
static int measure_left(const struct pool_copying *c, uint64_t *ret_left, struct err *err)
{
	struct host_file file;

	if (host_file_look(c->fd, &file, err) < 0)
		return -1;
	*ret_left = c->data_bytes > file.allocated_bytes ? c->data_bytes - file.allocated_bytes : 0;
	return 0;
}

int pool_copying_promise(struct pool *p, struct ctx *ctx, struct pool_copying *c, struct err *err)
{
	uint64_t left;

	if (c->is_promised)
		return 0;
	if (pool_data_bytes(ctx, c->from_fd, 0, &c->data_bytes, err) < 0 ||
	    measure_left(c, &left, err) < 0 || pool_promise(p, left, err) < 0)
		return -1;
	c->promised = left;
	c->is_promised = true;
	return 0;
}

/* 1 if that was the last. */
static int copy_piece(struct pool *p, struct ctx *ctx, struct pool_copying *c, struct err *err)
{
	uint64_t left;

	if (pool_copying_promise(p, ctx, c, err) < 0)
		return -1;
	if (c->at < c->record.bytes &&
	    host_file_copy_data(ctx, c->from_fd, c->fd, c->at, PIECE_BYTES, &c->at, err) < 0)
		return -1;
	if (pool_settle_space(p, err) < 0 || measure_left(c, &left, err) < 0)
		return -1;
	end_promise(p, c, left);
	if (c->at < c->record.bytes)
		return note_progress(c, err);
	return pool_copying_finish(c, err) < 0 ? -1 : 1;
}

/* Of a piece; err: NULL if it is there. */
static void note_outcome(struct pool *p, struct pool_copying *c, const struct err *err)
{
	bool is_new = false;

	if (err && (err->code == ERR_CANCELLED || err->code == ERR_DEADLINE_EXCEEDED))
		return;
	pthread_mutex_lock(&p->lock);
	if (err) {
		is_new = !c->has_failed || !str_is_equal(c->failure.msg, err->msg);
		c->failure = *err;
		c->retry_ns = clock_now_ns() + RETRY_NS;
	}
	c->has_failed = err != NULL;
	pthread_mutex_unlock(&p->lock);
	if (is_new)
		log_warn("a snapshot's copy stands still; it is tried again twice a minute",
			 log_str("pool", p->base.pool_name), log_str("snapshot", c->snapshot),
			 log_err(err));
}

static struct pool_copying *take_due(struct pool *p, struct ctx *ctx)
{
	int64_t now_ns = clock_now_ns();
	struct pool_copying *found = NULL;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->copying.n && !found; i++) {
		struct pool_copying *c = p->copying.v[i];

		if (!c->is_busy && !c->is_wanted && c->retry_ns <= now_ns)
			found = c;
	}
	if (found) {
		found->is_busy = true;
		found->ctx = ctx;
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

void pool_copying_log(const struct pool *p, const struct pool_copying *c, const char *text)
{
	log_info(text, log_str("pool", p->base.pool_name), log_str("snapshot", c->snapshot),
		 log_str("volume", c->source), log_u64("copied", c->at));
}

/* A piece of one that is due; false if none is. */
static bool tend_one(struct pool *p, int64_t limit_ns)
{
	struct pool_copying *c;
	struct ctx ctx;
	struct err err;
	int rc;

	ctx_init(&ctx, limit_ns);
	c = take_due(p, &ctx);
	if (c) {
		rc = copy_piece(p, &ctx, c, &err);
		note_outcome(p, c, rc < 0 ? &err : NULL);
		if (rc > 0) {
			pool_copying_log(p, c, "a snapshot was copied whole");
			pool_copying_end(p, c);
		} else {
			pool_copying_give_back(p, c);
		}
	}
	ctx_done(&ctx);
	return c;
}

#define PIECE_NS (60 * NS_PER_S)

int pool_tend(struct backend *b, struct ctx *ctx, struct err *err)
{
	struct pool *p = pool_from(b);

	while (ctx_check(ctx, err) == 0) {
		if (!tend_one(p, PIECE_NS))
			return 0;
	}
	return err->code == ERR_DEADLINE_EXCEEDED ? 0 : -1;
}

static struct pool_copying *new_one(const char *snapshot, const struct record *record,
				    const struct pool_volume *from, int fd)
{
	struct pool_copying *c = xcalloc(1, sizeof(*c));

	*c = (struct pool_copying){ .record = *record,
				    .no_reserve = from->record.no_reserve,
				    .fd = fd,
				    .from_fd = from->fd,
				    .at = record->copied_bytes };
	(void)snprintf(c->snapshot, sizeof(c->snapshot), "%s", snapshot);
	(void)snprintf(c->source, sizeof(c->source), "%s", record->source);
	return c;
}

/* The claim alone ends; whoever was quicker in between has it. */
static int share_claim(int fd, struct err *err)
{
	return host_file_claim(fd, false, err);
}

/* As it is since it was claimed. */
static int note_source(struct pool_copying *c, const struct host_file *before, struct err *err)
{
	struct host_file now;

	if (host_file_look(c->from_fd, &now, err) < 0)
		return -1;
	if (now.bytes != before->bytes)
		return err_set(err, ERR_ABORTED, "the volume has grown meanwhile");
	c->record.is_copying = true;
	c->record.source_changed_ns = now.changed_ns;
	return 0;
}

static int name_it(struct pool *p, const struct pool_copying *c, struct err *err)
{
	if (host_file_link(c->fd, p->snapshot_fd, c->snapshot, err) < 0)
		return -1;
	pool_know(p, POOL_SNAPSHOTS, c->snapshot, &(struct pool_entry){ 0 });
	return 0;
}

int pool_copying_begin(struct pool *p, const struct record *record,
		       const struct pool_copy_plan *plan, const char *token, struct err *err)
{
	struct pool_copying *c = new_one(token, record, plan->from, plan->fd);
	int rc;

	c->data_bytes = c->promised = plan->promised;
	c->is_promised = c->is_busy = true;
	add(p, c);
	rc = note_source(c, &plan->from->file, err);
	if (rc == 0)
		rc = host_file_resize(c->fd, record->bytes, err);
	if (rc == 0)
		rc = write_record(c, err);
	if (rc == 0)
		rc = host_file_sync(c->fd, err);
	if (rc == 0)
		rc = name_it(p, c, err);
	if (rc == 0)
		rc = share_claim(c->from_fd, err);
	if (rc < 0)
		pool_copying_end(p, c);
	else
		pool_copying_give_back(p, c);
	return rc;
}

int pool_copying_cancel(struct pool *p, struct ctx *ctx, const char *token, struct err *err)
{
	struct pool_copying *c;
	int rc = pool_copying_take(p, ctx, token, NULL, &c, err);

	if (rc > 0)
		pool_copying_end(p, c);
	return rc < 0 ? -1 : 0;
}

/* 1 if it is known; then ret_failure is why it stands still (code ERR_OK: it does not). */
static int look(struct pool *p, const char *token, struct err *ret_failure)
{
	const struct pool_copying *c;

	ret_failure->code = ERR_OK;
	pthread_mutex_lock(&p->lock);
	c = find_one(p, token, NULL);
	if (c && c->has_failed)
		*ret_failure = c->failure;
	pthread_mutex_unlock(&p->lock);
	return c != NULL;
}

static int lose(struct pool *p, const char *token, const struct pool_snapshot *found,
		const char *why, struct err *err)
{
	log_warn("a snapshot that was not copied whole is removed",
		 log_str("pool", p->base.pool_name), log_str("snapshot", token),
		 log_str("volume", found->snap.source), log_str("why", why));
	if (pool_unlink(p, POOL_SNAPSHOTS, token, found->fd, err) < 0)
		return -1;
	return err_set(err, ERR_NOT_FOUND, "no such snapshot (%s)", why);
}

/* The volume as it was then, claimed. NOT_FOUND: it is not there any more, or another. */
static int reclaim(const struct pool_snapshot *found, const struct pool_volume *from,
		   struct err *err)
{
	struct host_file now;

	if (pool_claim_still(from->fd, err) < 0 || host_file_look(from->fd, &now, err) < 0)
		return -1;
	if (now.changed_ns != found->record.source_changed_ns)
		return err_set(err, ERR_NOT_FOUND,
			       "its volume was written to before it was copied");
	return share_claim(from->fd, err);
}

static int resume_found(struct pool *p, const char *token, struct pool_snapshot *found,
			struct err *err)
{
	struct pool_volume from;
	struct pool_copying *c;
	int rc = pool_find_whole(p, found->snap.source, true, ERR_FAILED_PRECONDITION, &from, err);

	if (rc == 0) {
		rc = reclaim(found, &from, err);
		if (rc < 0)
			host_fd_close(from.fd);
	}
	if (rc < 0 && err->code == ERR_NOT_FOUND) {
		struct err why = *err;

		return lose(p, token, found, why.msg, err);
	}
	if (rc < 0)
		return err_wrap(err, "go on copying volume '%s'", found->snap.source);
	c = new_one(token, &found->record, &from, found->fd);
	found->fd = -1;
	add(p, c);
	return 0;
}

/* One that is not ready and that nobody copies. */
static int resume(struct pool *p, const char *token, struct err *err)
{
	struct pool_snapshot found;
	int rc = 0;

	if (pool_find_any_snapshot(p, token, false, &found, err) < 0)
		return -1;
	if (found.kind == POOL_FILE_WHOLE && found.record.is_copying)
		rc = resume_found(p, token, &found, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_copying_check(struct pool *p, const char *token, struct err *err)
{
	struct err failure;

	if (look(p, token, &failure) == 0)
		return resume(p, token, err);
	if (failure.code == ERR_OK)
		return 0;
	*err = failure;
	return err_wrap(err, "its copy stands still");
}

void pool_copying_resume(struct pool *p)
{
	struct pool_names names;
	struct err err;

	if (pool_names_read(p, POOL_SNAPSHOTS, "", &names, &err) < 0) {
		log_warn("snapshots that are being copied could not be looked for",
			 log_str("pool", p->base.pool_name), log_err(&err));
		return;
	}
	for (size_t i = 0; i < names.n; i++) {
		if (resume(p, names.v[i], &err) < 0 && err.code != ERR_NOT_FOUND &&
		    err.code != ERR_FAILED_PRECONDITION)
			log_warn("a snapshot's copy cannot go on",
				 log_str("pool", p->base.pool_name),
				 log_str("snapshot", names.v[i]), log_err(&err));
	}
	pool_names_done(&names);
}
