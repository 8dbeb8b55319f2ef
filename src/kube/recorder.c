/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever records only formats the text and leaves; one worker job at a time
 * writes what has gathered, in order, and ends when nothing is left.
 *
 * Two small tables of fixed size, least recently used goes first: series (the
 * same event again is a PATCH of its count) and budgets (25 events an object,
 * one more each 300 s). Both may forget at any time: then an event is written
 * anew, which is what happens after a restart, too. They keep hashes and no
 * text: small blocks that live long, made in a storm, would hold a page each of
 * what the storm allocated.
 *
 * Written are 10 at once, then 25 a second; but while more than 10 wait and others
 * keep coming, none before it is 5 s old: what people read may come late, what pods
 * wait for may not.
 *
 * An API server that is away must cost neither memory nor workers: what does
 * not fit into the list is dropped, and so is what could not be written.
 */
#define LOG_ROOM "kube.recorder"
#include "kube/recorder.h"

#include "base/bucket.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"
#include "event/sync.h"
#include "event/work.h"
#include "kube/client-internal.h"
#include "kube/object-internal.h"
#include "kube/path.h"

#include <inttypes.h>
#include <stdio.h>

#define PENDING_MAX 1024
#define KNOWN_MAX 256
#define MESSAGE_MAX 1024
#define NAME_MAX_BYTES 253
#define WRITE_TIMEOUT_NS (10 * NS_PER_S)
/* Events are two of the four or five writes that a claim costs the API server. In a storm of claims
 * they wait for the work that they tell of: until it is quiet, or they are late. */
#define PACE_BURST 10
#define PACE_NS (NS_PER_S / 25)
#define STORM 10
#define QUIET_NS (NS_PER_S / 2)
#define LATE_NS (5 * NS_PER_S)

/* Of one object's events. */
static const struct bucket_rule budget_rule = { .size = 25, .every_ns = 300 * NS_PER_S };

struct event {
	struct event *next;
	const struct kube_object *about; /* a reference */
	enum recorder_type type;
	char *reason;
	char *message;
	int64_t recorded_ns;
};

/* One line of a table; key 0: free. */
struct known {
	uint64_t key;
	int64_t used_ns;
	struct bucket budget; /* budgets */
	uint64_t stamp;       /* series: what the Event's name ends with; 0: not written yet */
	unsigned count;       /* series */
};

struct recorder {
	struct work *work;
	unsigned lane;
	struct kube_client *client;
	char *component;
	char *instance;
	uint64_t seed[2];
	struct known series[KNOWN_MAX]; /* of the one job */

	pthread_mutex_t lock; /* all below */
	pthread_cond_t idle;
	struct known budgets[KNOWN_MAX];
	struct event *first;
	struct event **last;
	unsigned n_pending;
	int64_t pace_ns;     /* when the next one may be written */
	int64_t recorded_ns; /* the last one */
	bool at_work;
	bool closed;
};

/* ---- tables ---- */

/* The line with that key, or a fresh one in place of the least recently used. */
static struct known *find_known(const struct recorder *r, struct known *table, const char *text)
{
	uint64_t key = map_hash(r->seed, text);
	struct known *oldest = &table[0];
	int64_t now_ns = clock_now_ns();

	key += key == 0;
	for (size_t i = 0; i < KNOWN_MAX; i++) {
		if (table[i].key == key) {
			table[i].used_ns = now_ns;
			return &table[i];
		}
		if (!table[i].key || (oldest->key && table[i].used_ns < oldest->used_ns))
			oldest = &table[i];
	}
	*oldest = (struct known){ .key = key, .used_ns = now_ns };
	bucket_init(&oldest->budget, &budget_rule, now_ns);
	return oldest;
}

static void free_event(struct event *e)
{
	kube_object_unref(e->about);
	free(e->reason);
	free(e->message);
	free(e);
}

/* ---- writing ---- */

static const char *type_name(enum recorder_type type)
{
	return type == RECORDER_WARNING ? "Warning" : "Normal";
}

static void put_about(struct json_writer *w, const struct kube_object *o)
{
	json_key(w, "involvedObject");
	json_begin_object(w);
	json_field_string(w, "kind", o->type->kind);
	json_field_string(w, "apiVersion", o->type->group_version);
	if (*o->ns)
		json_field_string(w, "namespace", o->ns);
	json_field_string(w, "name", o->name);
	json_field_string(w, "uid", o->uid);
	json_field_string(w, "resourceVersion", o->resource_version);
	json_end_object(w);
}

static char *make_name(const struct event *e, uint64_t stamp)
{
	bool is_long = strlen(e->about->name) + strlen(".0123456789abcdef") > NAME_MAX_BYTES;

	return xasprintf("%s.%016" PRIx64, is_long ? e->about->uid : e->about->name, stamp);
}

static void put_body(struct recorder *r, struct json_writer *w, const struct event *e,
		     const char *ns, const char *name)
{
	char now[CLOCK_TEXT_MAX];

	clock_format(clock_wall_ns(), now);
	json_begin_object(w);
	json_field_string(w, "kind", "Event");
	json_field_string(w, "apiVersion", "v1");
	json_key(w, "metadata");
	json_begin_object(w);
	json_field_string(w, "name", name);
	json_field_string(w, "namespace", ns);
	json_end_object(w);
	put_about(w, e->about);
	json_field_string(w, "reason", e->reason);
	json_field_string(w, "message", e->message);
	json_key(w, "source");
	json_begin_object(w);
	json_field_string(w, "component", r->component);
	json_end_object(w);
	json_field_string(w, "firstTimestamp", now);
	json_field_string(w, "lastTimestamp", now);
	json_field_u64(w, "count", 1);
	json_field_string(w, "type", type_name(e->type));
	json_field_string(w, "reportingComponent", r->component);
	json_field_string(w, "reportingInstance", r->instance);
	json_end_object(w);
}

static int write_first(struct recorder *r, struct ctx *ctx, struct known *series,
		       const struct event *e, struct err *err)
{
	uint64_t stamp = (uint64_t)clock_wall_ns();
	autofree char *name = make_name(e, stamp);
	const char *ns = str_or(e->about->ns, "default");
	autofree char *path = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);

	put_body(r, &w, e, ns, name);
	if (kube_collection_path(&kube_event_type, ns, &path, err) < 0 ||
	    kube_write_unfenced(r->client, ctx, "POST", path, "application/json", str_get(&body),
				err) < 0)
		return -1;
	series->stamp = stamp;
	series->count = 1;
	return 0;
}

static int write_again(struct recorder *r, struct ctx *ctx, struct known *series,
		       const struct event *e, struct err *err)
{
	autofree char *name = make_name(e, series->stamp);
	const char *ns = str_or(e->about->ns, "default");
	autofree char *path = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);
	char now[CLOCK_TEXT_MAX];

	clock_format(clock_wall_ns(), now);
	json_begin_object(&w);
	json_field_u64(&w, "count", series->count + 1);
	json_field_string(&w, "lastTimestamp", now);
	json_end_object(&w);
	if (kube_object_path(&kube_event_type, ns, name, &path, err) < 0 ||
	    kube_write_unfenced(r->client, ctx, "PATCH", path, "application/merge-patch+json",
				str_get(&body), err) < 0)
		return -1;
	series->count++;
	return 0;
}

static void write_event(struct recorder *r, const struct event *e)
{
	const struct kube_object *o = e->about;
	autofree char *key = xasprintf("%s/%s/%s/%s/%d/%s/%s", o->type->kind, o->ns, o->name,
				       o->uid, e->type, e->reason, e->message);
	struct known *series = find_known(r, r->series, key);
	struct ctx ctx;
	struct err err;
	int result = -1;

	ctx_init(&ctx, WRITE_TIMEOUT_NS);
	err.code = ERR_NOT_FOUND;
	if (series->stamp)
		result = write_again(r, &ctx, series, e, &err);
	if (result < 0 && err.code == ERR_NOT_FOUND) /* new, or its time to live was over */
		result = write_first(r, &ctx, series, e, &err);
	if (result < 0) {
		log_debug("event not written", log_str("reason", e->reason), log_err(&err));
		*series = (struct known){ 0 };
	}
	ctx_done(&ctx);
}

/* Under the lock: when the first one may be written. */
static int64_t due_ns(const struct recorder *r)
{
	int64_t late_ns = r->first->recorded_ns + LATE_NS;
	int64_t quiet_ns = r->recorded_ns + QUIET_NS;
	int64_t calm_ns = quiet_ns < late_ns ? quiet_ns : late_ns;

	if (r->n_pending <= STORM || r->n_pending > PENDING_MAX / 2 || calm_ns < r->pace_ns)
		return r->pace_ns;
	return calm_ns;
}

/* Under the lock: until the first one may be written, or the recorder is closed. */
static void keep_pace(struct recorder *r)
{
	int64_t now_ns = clock_now_ns();

	if (r->pace_ns < now_ns - PACE_BURST * PACE_NS)
		r->pace_ns = now_ns - PACE_BURST * PACE_NS;
	r->pace_ns += PACE_NS;
	while (!r->closed && clock_now_ns() < due_ns(r))
		(void)sync_cond_wait_until(&r->idle, &r->lock, due_ns(r));
}

static struct event *take_event(struct recorder *r)
{
	struct event *e;

	LOCK_SCOPE(&r->lock);
	if (r->first)
		keep_pace(r);
	e = r->closed ? NULL : r->first;
	if (!e) {
		r->at_work = false;
		pthread_cond_broadcast(&r->idle);
		return NULL;
	}
	r->first = e->next;
	if (!r->first)
		r->last = &r->first;
	r->n_pending--;
	return e;
}

static void run(void *arg)
{
	struct recorder *r = arg;
	struct event *e;

	while ((e = take_event(r))) {
		write_event(r, e);
		free_event(e);
	}
}

/* ---- the door ---- */

struct recorder *recorder_new(struct work *work, unsigned lane, struct kube_client *client,
			      const char *component, const char *instance)
{
	struct recorder *r = xcalloc(1, sizeof(*r));

	r->work = work;
	r->lane = lane;
	r->client = client;
	r->component = xstrdup(component);
	r->instance = xstrdup(instance);
	r->last = &r->first;
	random_bytes(r->seed, sizeof(r->seed));
	pthread_mutex_init(&r->lock, NULL);
	sync_cond_init(&r->idle);
	return r;
}

void recorder_free(struct recorder *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->closed = true;
	pthread_cond_broadcast(&r->idle);
	while (r->at_work)
		(void)sync_cond_wait_until(&r->idle, &r->lock, INT64_MAX);
	pthread_mutex_unlock(&r->lock);
	while (r->first) {
		struct event *e = r->first;

		r->first = e->next;
		free_event(e);
	}
	pthread_cond_destroy(&r->idle);
	pthread_mutex_destroy(&r->lock);
	free(r->component);
	free(r->instance);
	free(r);
}

/* Cut at the limit, but not inside a character. */
static void cut(char *message)
{
	size_t n = strlen(message);

	if (n <= MESSAGE_MAX)
		return;
	n = MESSAGE_MAX;
	while (n > 0 && ((unsigned char)message[n] & 0xc0) == 0x80)
		n--;
	message[n] = '\0';
}

static struct event *make_event(const struct kube_object *about, enum recorder_type type,
				const char *reason, char *message)
{
	struct event *e = xcalloc(1, sizeof(*e));

	cut(message);
	e->about = kube_object_ref(about);
	e->type = type;
	e->reason = xstrdup(reason);
	e->message = message;
	return e;
}

/* Puts it on the list; true if a job must be submitted for it. */
static bool queue_event(struct recorder *r, struct event *e)
{
	const struct kube_object *o = e->about;
	autofree char *key = xasprintf("%s/%s/%s/%s", o->type->kind, o->ns, o->name, o->uid);
	bool is_first;

	LOCK_SCOPE(&r->lock);
	if (r->closed || r->n_pending == PENDING_MAX ||
	    !bucket_take(&find_known(r, r->budgets, key)->budget, &budget_rule, clock_now_ns())) {
		free_event(e);
		return false;
	}
	e->recorded_ns = r->recorded_ns = clock_now_ns();
	*r->last = e;
	r->last = &e->next;
	r->n_pending++;
	is_first = !r->at_work;
	r->at_work = true;
	return is_first;
}

void recorder_event(struct recorder *r, const struct kube_object *about, enum recorder_type type,
		    const char *reason, const char *fmt, ...)
{
	struct str message = STR_INIT;
	va_list ap;

	va_start(ap, fmt);
	str_vappendf(&message, fmt, ap);
	va_end(ap);
	if (!queue_event(r, make_event(about, type, reason, str_take(&message))))
		return;
	if (work_submit(r->work, r->lane, run, r) == 0)
		return;
	/* The lane is full: the next event tries again. */
	LOCK_SCOPE(&r->lock);
	r->at_work = false;
	pthread_cond_broadcast(&r->idle);
}
