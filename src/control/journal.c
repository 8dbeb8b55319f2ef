/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record, in the API, of volumes that may exist and that no PV tells of.
 *
 * A volume's name comes from the claim's UID, so a repeated CreateVolume finds what a killed one
 * made. That is enough as long as the claim and its class are there to be repeated for. If they go
 * between CreateVolume and the PV, nothing in the cluster points at the volume any more. Therefore
 * the whole request is written down first.
 *
 * Where: in Leases, since every provisioner's role may write those in its own namespace, and in
 * few of them, since what costs is the write, not its size. Weighed and measured: a finalizer on
 * the claim is two updates a claim that collide with the binder's own, and stays behind when cleat
 * is uninstalled; an annotation there dies with the claim.
 *
 * Who: the leader alone. journal_open() puts a term into each object by a conditional write and
 * only then reads what is in it as its own; a deposed leader's next write fails by its version,
 * finds another's term, and closes the journal.
 *
 *   put ──► NEW ──write──► DURABLE ──drop──► DROPPED ──write──► gone
 *              └─ failed ─────────────────────► (may have been written: is taken out)
 *
 * One thread writes at a time, for all who wait: whoever comes while nobody writes. One alone
 * never waits. Where they come one after the other as fast as a write takes, each would still be
 * alone in its write, and such a write costs the API server more than that of a PV does, since the
 * whole object is in it; so writes begin some time apart (gather_ns), unless so many wait already
 * (crowd) that a write for them is cheap, and that who waits could keep others from coming. Drops
 * have time until the puts cease (journal_flush_in).
 */
#include "control/journal-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"
#include "event/sync.h"

#define OBJECT_BYTES ((size_t)240 << 10)
#define OBJECTS_MAX 16
#define CROWD_DEFAULT 8
#define GATHER_WRITES 4 /* so many times as long as a write takes */
#define GATHER_MOST 4   /* but not more than so many times gather_ns */
#define CANCEL_CHECK_NS (50 * NS_PER_MS)

/* ---- entries; under the lock ---- */

static void entry_free(struct journal_entry *e)
{
	free(e->uid);
	free(e->text);
	free(e->key);
	free(e->place);
	free(e);
}

static size_t entry_size(const struct journal_entry *e)
{
	return strlen(JOURNAL_PREFIX) + strlen(e->uid) + strlen(e->text);
}

static void drop_entry(struct journal *j, struct journal_entry *e)
{
	struct journal_object *o = &j->objects[e->object];

	if (journal_is_kept(e))
		o->bytes -= entry_size(e);
	e->state = DROPPED;
	o->is_dirty = true;
}

static struct journal_entry *add_entry(struct journal *j, const struct intent *it, const char *uid,
				       const char *text, unsigned object, enum journal_state state)
{
	struct journal_entry *e = xcalloc(1, sizeof(*e));

	*e = (struct journal_entry){
		.uid = xstrdup(uid),
		.text = xstrdup(text),
		.key = it ? xasprintf("%s/%s", it->ns, it->claim) : NULL,
		.place = xstrdup(it ? it->place : ""),
		.object = object,
		.state = state,
	};
	(void)map_put(j->entries, uid, e); /* was not there */
	j->objects[object].bytes += entry_size(e);
	return e;
}

void journal_add(struct journal *j, const struct intent *intent, const char *uid, const char *text,
		 unsigned object, enum journal_state state)
{
	(void)add_entry(j, intent, uid, text, object, state);
}

static void forget_all(struct journal *j)
{
	void *e;

	for (size_t it = 0; map_next(j->entries, &it, NULL, &e);)
		entry_free(e);
	map_free(j->entries);
	j->entries = map_new();
	for (unsigned i = 0; i < j->n_objects; i++) {
		json_free(j->objects[i].doc);
		free(j->objects[i].name);
		j->objects[i] = (struct journal_object){ 0 };
	}
	j->n_objects = 0;
}

/* ---- one write for all who wait; begins and ends under the lock ---- */

static void mark_batch(struct journal *j, unsigned object)
{
	void *v;

	for (size_t it = 0; map_next(j->entries, &it, NULL, &v);) {
		struct journal_entry *e = v;

		e->is_under_way = e->object == object && (e->state == NEW || e->state == DROPPED);
	}
	j->objects[object].is_dirty = false;
	j->is_writing = true;
	j->objects[object].begun_ns = clock_now_ns();
}

static void settle_entry(struct journal *j, struct journal_entry *e, bool is_written)
{
	if (!e->is_under_way)
		return;
	e->is_under_way = false;
	if (!is_written) {
		if (e->state == NEW) {
			drop_entry(j, e);
			e->state = FAILED;
		}
		j->objects[e->object].is_dirty = true;
	} else if (e->state == NEW) {
		e->state = DURABLE;
	} else if (e->state == DROPPED) {
		(void)map_take(j->entries, e->uid);
		entry_free(e);
	}
}

static void settle_batch(struct journal *j, bool is_written)
{
	bool is_moving = true;

	/* An entry that goes moves others in the map. */
	while (is_moving) {
		void *v;

		is_moving = false;
		for (size_t it = 0; !is_moving && map_next(j->entries, &it, NULL, &v);) {
			is_moving = ((struct journal_entry *)v)->is_under_way;
			settle_entry(j, v, is_written);
		}
	}
	j->is_writing = false;
	pthread_cond_broadcast(&j->changed);
}

/* Under the lock, or while nobody else is in. */
static void note_forbidden(struct journal *j, const struct err *err)
{
	if (!j->is_forbidden)
		log_warn("intents are kept in memory only: a volume that is being made when this "
			 "process is killed may be lost; allow get, create and update of leases",
			 log_str("namespace", j->ns), log_err(err));
	j->is_forbidden = true;
}

static int write_batch(struct journal *j, struct ctx *ctx, unsigned object, struct err *err)
{
	int r = 0;

	mark_batch(j, object);
	if (!j->is_forbidden) {
		pthread_mutex_unlock(&j->lock);
		r = journal_object_write(j, ctx, object, err);
		pthread_mutex_lock(&j->lock);
	}
	if (r < 0 && err->code == ERR_PERMISSION_DENIED) {
		note_forbidden(j, err);
		r = 0;
	}
	if (r < 0) {
		j->failure = *err;
		if (err->code == ERR_ABORTED && !ctx_is_cancelled(ctx))
			j->is_open = false;
	}
	j->took_ns = clock_now_ns() - j->objects[object].begun_ns;
	settle_batch(j, r == 0);
	return r;
}

/* ---- put ---- */

static int check_open(const struct journal *j, struct err *err)
{
	return j->is_open ? 0
			  : err_set(err, ERR_ABORTED, "the journal is not open: another leads now");
}

/* Whether the place may have this much: half of what the others leave, so that any number of dead
 * places together leave some. */
static bool place_has_room(const struct journal *j, const char *place, size_t bytes)
{
	size_t room = j->object_bytes * j->objects_max;
	size_t others = 0;
	void *v;

	for (size_t it = 0; map_next(j->entries, &it, NULL, &v);) {
		const struct journal_entry *e = v;

		if (!journal_is_kept(e))
			continue;
		if (str_is_equal(e->place, place))
			bytes += entry_size(e);
		else
			others += entry_size(e);
	}
	return others < room && bytes <= (room - others) / 2;
}

/* An object with room, made if need be. */
static int find_room(struct journal *j, const struct intent *it, size_t bytes, unsigned *ret_object,
		     struct err *err)
{
	if (*it->place && j->objects_max > 1 && !place_has_room(j, it->place, bytes))
		return err_set(
			err, ERR_RESOURCE_EXHAUSTED,
			"too many volumes of '%s' are in doubt: they fill half of the journal "
			"that others leave; is its node gone for good?",
			it->place);
	for (unsigned i = 0; i < j->n_objects; i++) {
		if (j->objects[i].bytes + bytes <= j->object_bytes) {
			*ret_object = i;
			return 0;
		}
	}
	if (j->n_objects == j->objects_max)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
			       "the journal is full: %u leases of %zu bytes of intents",
			       j->objects_max, j->object_bytes);
	(void)journal_object_add(j);
	*ret_object = j->n_objects - 1;
	return 0;
}

/* Until when a put into the object waits for others to come, 0: not at all. */
static int64_t gather_until(const struct journal *j, unsigned object)
{
	int64_t slow_ns = GATHER_WRITES * j->took_ns, most_ns = GATHER_MOST * j->gather_ns;
	int64_t gather_ns = slow_ns < j->gather_ns ? j->gather_ns : slow_ns;
	int64_t due_ns = j->objects[object].begun_ns + (gather_ns < most_ns ? gather_ns : most_ns);

	return j->is_forbidden || j->n_puts >= j->crowd || clock_now_ns() >= due_ns ? 0 : due_ns;
}

/* While somebody writes, or others are waited for. False: it is this thread's turn to write. */
static bool wait_turn(struct journal *j, unsigned object)
{
	int64_t until_ns = clock_now_ns() + CANCEL_CHECK_NS;
	int64_t due_ns = j->is_writing ? until_ns : gather_until(j, object);

	if (due_ns == 0)
		return false;
	(void)sync_cond_wait_until(&j->changed, &j->lock, due_ns < until_ns ? due_ns : until_ns);
	return true;
}

/* Waits for whoever writes, or writes; until the entry is durable or has failed. */
static int await(struct journal *j, struct ctx *ctx, struct journal_entry *e, struct err *err)
{
	while (e->state == NEW) {
		if (ctx_check(ctx, err) < 0 || check_open(j, err) < 0) {
			if (e->is_under_way) {
				/* Whoever writes settles it; then it goes. */
				(void)sync_cond_wait_until(&j->changed, &j->lock,
							   clock_now_ns() + CANCEL_CHECK_NS);
				continue;
			}
			drop_entry(j, e);
			return -1;
		}
		if (!wait_turn(j, e->object))
			(void)write_batch(j, ctx, e->object, err);
	}
	if (e->state == DURABLE)
		return 0;
	e->state = DROPPED; /* it may have been written */
	*err = j->failure;
	return -1;
}

/* Under the lock, which await() lets go. */
static int put(struct journal *j, struct ctx *ctx, const struct intent *it, const char *text,
	       struct err *err)
{
	struct journal_entry *e = map_find(j->entries, it->uid);
	unsigned object = 0;

	if (check_open(j, err) < 0)
		return -1;
	if (e && e->state == DURABLE && str_is_equal(e->text, text))
		return 0;
	if (e && (e->is_under_way || e->state == NEW || e->state == FAILED))
		return err_set(err, ERR_UNAVAILABLE, "an intent for claim %s is being written",
			       it->uid);
	if (e) {
		drop_entry(j, e);
		(void)map_take(j->entries, e->uid);
		entry_free(e);
	}
	if (find_room(j, it, strlen(JOURNAL_PREFIX) + strlen(it->uid) + strlen(text), &object,
		      err) < 0)
		return -1;
	e = add_entry(j, it, it->uid, text, object, NEW);
	return await(j, ctx, e, err);
}

int journal_put(struct journal *j, struct ctx *ctx, const struct intent *it, struct err *err)
{
	autostr struct str text = STR_INIT;
	int r;

	intent_write(it, &text);
	LOCK_SCOPE(&j->lock);
	j->n_puts++;
	r = put(j, ctx, it, str_get(&text), err);
	j->n_puts--;
	return r < 0 ? err_wrap(err, "record the intent") : 0;
}

void journal_drop(struct journal *j, const char *uid)
{
	struct journal_entry *e;

	LOCK_SCOPE(&j->lock);
	e = j->is_open ? map_find(j->entries, uid) : NULL;
	if (e && e->state == DURABLE)
		drop_entry(j, e);
}

int64_t journal_flush_in(struct journal *j, int64_t rest_ns)
{
	int64_t now_ns = clock_now_ns(), first_ns = INT64_MAX;

	LOCK_SCOPE(&j->lock);
	for (unsigned i = 0; i < j->n_objects; i++)
		if (j->objects[i].is_dirty && j->objects[i].begun_ns + rest_ns < first_ns)
			first_ns = j->objects[i].begun_ns + rest_ns;
	return first_ns == INT64_MAX || first_ns <= now_ns ? 0 : first_ns - now_ns;
}

int journal_flush(struct journal *j, struct ctx *ctx, struct err *err)
{
	LOCK_SCOPE(&j->lock);
	for (unsigned i = 0; i < j->n_objects; i++) {
		while (j->is_writing) {
			if (ctx_check(ctx, err) < 0)
				return -1;
			(void)sync_cond_wait_until(&j->changed, &j->lock,
						   clock_now_ns() + CANCEL_CHECK_NS);
		}
		if (j->objects[i].is_dirty &&
		    (check_open(j, err) < 0 || write_batch(j, ctx, i, err) < 0))
			return -1;
	}
	return 0;
}

/* ---- open ---- */

/* Whoever opens has everything to himself: puts fail, and the rest finds nothing. */
static int begin_open(struct journal *j, struct err *err)
{
	char text[UUID_TEXT_MAX];
	struct uuid uuid;

	LOCK_SCOPE(&j->lock);
	if (j->is_writing || j->n_puts > 0)
		return err_set(err, ERR_UNAVAILABLE, "calls of the last term have not ended yet");
	j->is_open = false;
	j->is_writing = true;
	uuid_make(&uuid);
	uuid_format(&uuid, text);
	free(j->term);
	j->term = xasprintf("%s %s", j->holder, text);
	return 0;
}

int journal_open(struct journal *j, struct ctx *ctx, struct err *err)
{
	int r;

	if (begin_open(j, err) < 0)
		return -1;
	forget_all(j);
	r = journal_object_claim_all(j, ctx, err);
	if (r < 0 && err->code == ERR_PERMISSION_DENIED) {
		note_forbidden(j, err);
		r = 0;
	}
	LOCK_SCOPE(&j->lock);
	j->is_writing = false;
	j->is_open = r == 0 && !ctx_is_cancelled(ctx);
	pthread_cond_broadcast(&j->changed);
	return r < 0 ? -1 : check_open(j, err);
}

void journal_close(struct journal *j)
{
	LOCK_SCOPE(&j->lock);
	j->is_open = false;
	pthread_cond_broadcast(&j->changed);
}

bool journal_is_open(struct journal *j)
{
	LOCK_SCOPE(&j->lock);
	return j->is_open;
}

/* ---- what is in it ---- */

bool journal_has(struct journal *j, const char *uid)
{
	const struct journal_entry *e;

	LOCK_SCOPE(&j->lock);
	e = j->is_open ? map_find(j->entries, uid) : NULL;
	return e && e->state == DURABLE;
}

int journal_find(struct journal *j, struct arena *arena, const char *uid, struct intent *ret_it,
		 struct err *err)
{
	const struct journal_entry *e;

	LOCK_SCOPE(&j->lock);
	e = j->is_open ? map_find(j->entries, uid) : NULL;
	if (!e || e->state != DURABLE)
		return 0;
	return intent_parse(arena, uid, e->text, ret_it, err) < 0 ? -1 : 1;
}

struct intent_strings journal_uids(struct journal *j, struct arena *arena, const char *key)
{
	const char **uids;
	size_t n = 0;
	void *v;

	LOCK_SCOPE(&j->lock);
	if (!j->is_open)
		return (struct intent_strings){ 0 };
	uids = arena_array(arena, map_count(j->entries), sizeof(*uids));
	for (size_t it = 0; map_next(j->entries, &it, NULL, &v);) {
		const struct journal_entry *e = v;

		if (e->state == DURABLE && e->key && (!key || str_is_equal(e->key, key)))
			uids[n++] = arena_strdup(arena, e->uid);
	}
	return (struct intent_strings){ .v = uids, .n = n };
}

const char *journal_key(struct journal *j, struct arena *arena, const char *uid)
{
	const struct journal_entry *e;

	LOCK_SCOPE(&j->lock);
	e = j->is_open ? map_find(j->entries, uid) : NULL;
	return e && e->key ? arena_strdup(arena, e->key) : NULL;
}

struct journal *journal_new(const struct journal_options *opts)
{
	struct journal *j = xcalloc(1, sizeof(*j));

	j->client = opts->client;
	j->ns = xstrdup(opts->ns);
	j->name = xstrdup(opts->name);
	j->node = opts->node ? xstrdup(opts->node) : NULL;
	j->holder = xstrdup(opts->holder);
	j->object_bytes = opts->object_bytes ? opts->object_bytes : OBJECT_BYTES;
	j->objects_max = opts->objects_max ? opts->objects_max : OBJECTS_MAX;
	j->gather_ns = opts->gather_ns;
	j->crowd = opts->crowd ? opts->crowd : CROWD_DEFAULT;
	j->objects = xcalloc(j->objects_max, sizeof(*j->objects));
	j->entries = map_new();
	pthread_mutex_init(&j->lock, NULL);
	sync_cond_init(&j->changed);
	return j;
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	forget_all(j);
	map_free(j->entries);
	free(j->objects);
	free(j->term);
	free(j->ns);
	free(j->name);
	free(j->node);
	free(j->holder);
	pthread_cond_destroy(&j->changed);
	pthread_mutex_destroy(&j->lock);
	free(j);
}
