/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream at a time, and a timer for the next one:
 *
 *              ┌────────── 410, or the sync broke off ───────────┐
 *              ▼                                                 │
 *   start ─► SYNCING ── initial-events-end ──► WATCHING ─────────┤
 *              │ 400, 422, ERROR: no WatchList    ▲  └─ ended ─► again from the
 *              ▼                                  │              last position
 *           LISTING ── page, page, last page ─────┘
 *
 * Every failure leads to the next stream after a backoff; only a watch that
 * lived for a while and ended as it should is followed at once. The items of a
 * stream are decoded and applied one by one as they come in, so a list of any
 * length needs no more memory than the objects that are kept of it. Bytes are
 * consumed when they are applied: a slow loop slows the server down.
 *
 * All of this runs on the I/O thread. What other threads see is in cache.c,
 * and the few words under `lock`.
 */
#define LOG_ROOM "kube.watch"
#include "kube/informer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "kube/cache.h"
#include "kube/client-internal.h"
#include "kube/split.h"

#include <stdatomic.h>
#include <stdio.h>

#define BACKOFF_MIN_NS (800 * NS_PER_MS)
#define BACKOFF_MAX_NS (30 * NS_PER_S)
#define PAGE_LIMIT 500
#define WATCH_MIN_S 300
#define WATCH_SPREAD_S 300
#define ANSWER_NS (60 * NS_PER_S)    /* for a page, and past a watch's own end */
#define SOUND_LIFE_NS (5 * NS_PER_S) /* a watch that lived so long may be followed at once */
#define BODY_MAX (64u << 10)

enum phase { SYNCING, LISTING, WATCHING };

struct informer {
	struct kube_client *client;
	struct ev_loop *loop;
	enum kube_kind kind;
	struct cache cache;
	atomic_bool is_synced;
	atomic_bool is_started;

	pthread_mutex_t lock;
	char trouble[ERR_MSG_MAX]; /* under lock */

	/* All below: loop only. */
	enum phase phase;
	bool lacks_watch_list; /* the server refused it */
	bool has_error_event;  /* this stream brought an ERROR */
	bool needs_sync;
	struct ev_timer *retry;
	struct ev_timer *guard;
	struct http_stream *stream;
	struct split split;
	char *path;
	int status;
	struct str body;    /* of a reply that is no success */
	struct str version; /* of the list being read, or of the last event */
	struct str next_page;
	int64_t opened_ns;
	int64_t backoff_ns;
};

static void open_stream(struct informer *i);

static const char *verb_of(const struct informer *i)
{
	return i->phase == LISTING ? "list" : "watch";
}

static void set_trouble(struct informer *i, const char *text)
{
	LOCK_SCOPE(&i->lock);
	(void)snprintf(i->trouble, sizeof(i->trouble), "%s", text);
}

static void set_text(struct str *s, const char *text)
{
	str_reset(s);
	str_append(s, str_or(text, ""));
}

/* ---- after a stream ---- */

static void close_stream(struct informer *i)
{
	http_cancel(TAKE_PTR(i->stream));
	split_done(&i->split);
	ev_timer_stop(i->guard);
}

static void on_retry(void *arg)
{
	open_stream(arg);
}

static void open_later(struct informer *i, int64_t delay_ns)
{
	ev_timer_start(i->retry, delay_ns, 0);
}

static void back_off(struct informer *i)
{
	open_later(i, random_jitter_ns(i->backoff_ns, 0.3));
	i->backoff_ns = i->backoff_ns * 2 < BACKOFF_MAX_NS ? i->backoff_ns * 2 : BACKOFF_MAX_NS;
}

/*
 * A server without WatchList says so by status; one whose etcd cannot tell how far it is (older
 * than 3.4.25) only in the stream, with a code that means nothing. Pages are never wrong, so any
 * other word than "gone" will do.
 */
static bool is_refusal(const struct informer *i, const struct err *why)
{
	if (i->status == 200)
		return i->has_error_event && why->code != ERR_OUT_OF_RANGE;
	return i->status >= 400 && why->code == ERR_INVALID_ARGUMENT;
}

/* The stream is no good any more; why it was, and what comes next. */
static void give_up(struct informer *i, const struct err *why)
{
	close_stream(i);
	log_debug("watch ended", log_str("resource", kube_kind_resource(i->kind)), log_err(why));
	if (i->phase == SYNCING && is_refusal(i, why)) {
		i->lacks_watch_list = true;
		open_later(i, 0);
		return;
	}
	if (i->phase != WATCHING || why->code == ERR_OUT_OF_RANGE)
		i->needs_sync = true;
	if (why->code != ERR_OUT_OF_RANGE)
		set_trouble(i, why->msg);
	back_off(i);
}

static void on_guard(void *arg)
{
	struct informer *i = arg;
	struct err why;

	(void)err_set(&why, ERR_UNAVAILABLE, "%s %s: nothing came of it in time", verb_of(i),
		      kube_kind_resource(i->kind));
	give_up(i, &why);
}

static void finish_sync(struct informer *i)
{
	cache_end_sync(&i->cache, str_get(&i->version));
	i->needs_sync = false;
	i->phase = WATCHING;
	log_debug("in sync", log_str("resource", kube_kind_resource(i->kind)),
		  log_u64("objects", informer_count(i)));
	atomic_store(&i->is_synced, true);
	mem_trim(); /* the documents of the list have come and gone */
}

/* ---- what a stream brings ---- */

static int apply_item(struct informer *i, const struct json *item)
{
	struct kube_object *o = kube_object_decode(i->kind, item);

	if (o)
		cache_apply(&i->cache, o);
	return 0;
}

static int take_list_part(struct informer *i, enum split_part part, const struct json *v)
{
	if (part == SPLIT_ITEM)
		return apply_item(i, v);
	set_text(&i->version, json_get_string(v, "resourceVersion"));
	set_text(&i->next_page, json_get_string(v, "continue"));
	return 0;
}

static void take_bookmark(struct informer *i, const struct json *object)
{
	const struct json *meta = json_get(object, "metadata");
	const char *end =
		json_get_string(json_get(meta, "annotations"), "k8s.io/initial-events-end");

	set_text(&i->version, json_get_string(meta, "resourceVersion"));
	if (i->phase == WATCHING)
		cache_set_position(&i->cache, str_get(&i->version));
	else if (str_is_equal(end, "true"))
		finish_sync(i);
}

static int fail_event(struct informer *i, const struct json *object, struct err *err)
{
	autofree char *text = json_text(object);
	int64_t status = 0;

	i->has_error_event = true;
	(void)json_int(json_get(object, "code"), &status); /* 0: UNKNOWN, as good as any */
	return kube_reply_error("watch", i->path, (int)status, text, strlen(text), err);
}

static int take_event(struct informer *i, const struct json *event, struct err *err)
{
	const struct json *object = json_get(event, "object");
	const char *type = str_or(json_get_string(event, "type"), "");
	autokobj const struct kube_object *o = NULL;

	if (strcmp(type, "ERROR") == 0)
		return fail_event(i, object, err);
	if (strcmp(type, "BOOKMARK") == 0) {
		take_bookmark(i, object);
		return 0;
	}
	o = kube_object_decode(i->kind, object);
	if (!o)
		return err_set(err, ERR_INTERNAL, "watch %s: an event '%s' without an object",
			       kube_kind_resource(i->kind), type);
	if (strcmp(type, "DELETED") == 0)
		cache_remove(&i->cache, o);
	else
		cache_apply(&i->cache, kube_object_ref(o));
	if (i->phase == WATCHING) {
		set_text(&i->version, o->resource_version);
		cache_set_position(&i->cache, o->resource_version);
	}
	return 0;
}

static int on_part(void *arg, enum split_part part, const char *text, size_t n, struct err *err)
{
	struct informer *i = arg;
	autojson struct json_doc *doc = NULL;

	if (json_parse(text, n, &doc, err) < 0) {
		err->code = ERR_INTERNAL;
		return err_wrap(err, "%s %s", verb_of(i), kube_kind_resource(i->kind));
	}
	if (i->phase == LISTING)
		return take_list_part(i, part, json_root(doc));
	return take_event(i, json_root(doc), err);
}

static void on_reply(void *arg, int status, const struct h2_header *headers, size_t n)
{
	struct informer *i = arg;

	i->status = status;
	if (status != 200)
		return;
	kube_client_note_reply(i->client, "GET", status, NULL);
	i->backoff_ns = BACKOFF_MIN_NS;
	set_trouble(i, "");
}

static void on_data(void *arg, const uint8_t *bytes, size_t n)
{
	struct informer *i = arg;
	struct err err;

	if (i->status == 200) {
		if (split_feed(&i->split, bytes, n, &err) < 0)
			give_up(i, &err);
	} else if (i->body.len < BODY_MAX) {
		str_append_n(&i->body, bytes, n < BODY_MAX ? n : BODY_MAX);
	}
}

static void finish_page(struct informer *i)
{
	close_stream(i);
	if (i->next_page.len == 0)
		finish_sync(i);
	open_stream(i);
}

/* A reply that came to its proper end. */
static void on_complete(struct informer *i)
{
	struct err why;

	if (i->phase == LISTING && split_is_complete(&i->split) && i->version.len > 0) {
		finish_page(i);
		return;
	}
	if (i->phase == WATCHING && clock_now_ns() - i->opened_ns >= SOUND_LIFE_NS) {
		close_stream(i);
		open_later(i, 0);
		return;
	}
	(void)err_set(&why, ERR_UNAVAILABLE, "%s %s: the reply ended early", verb_of(i),
		      kube_kind_resource(i->kind));
	give_up(i, &why);
}

static void on_end(void *arg, const struct err *why)
{
	struct informer *i = arg;
	struct err err = *why;

	i->stream = NULL;
	if (why->code != ERR_OK) {
		(void)err_wrap(&err, "%s %s", verb_of(i), kube_kind_resource(i->kind));
		kube_client_note_failure(i->client, "GET", &err);
		give_up(i, &err);
	} else if (i->status != 200) {
		(void)kube_reply_error(verb_of(i), i->path, i->status, str_get(&i->body),
				       i->body.len, &err);
		kube_client_note_reply(i->client, "GET", i->status, &err);
		give_up(i, &err);
	} else {
		on_complete(i);
	}
}

/* ---- the next stream ---- */

/* Opaque text of the server into a query. */
static void append_escaped(struct str *s, const char *text)
{
	for (; *text; text++) {
		bool is_plain = (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
				(*text >= 'A' && *text <= 'Z') || strchr("-_.~", *text);

		if (is_plain)
			str_append_char(s, *text);
		else
			str_appendf(s, "%%%02X", (unsigned char)*text);
	}
}

static char *make_path(const struct informer *i, unsigned timeout_s)
{
	struct str s = STR_INIT;

	str_append(&s, kube_kind_path(i->kind));
	if (i->phase == LISTING) {
		str_appendf(&s, "?limit=%d", PAGE_LIMIT);
		if (i->next_page.len > 0) {
			str_append(&s, "&continue=");
			append_escaped(&s, str_get(&i->next_page));
		}
		return str_take(&s);
	}
	str_appendf(&s, "?watch=true&allowWatchBookmarks=true&timeoutSeconds=%u", timeout_s);
	if (i->phase == SYNCING) {
		str_append(&s, "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
	} else {
		str_append(&s, "&resourceVersion=");
		append_escaped(&s, str_get(&i->version));
	}
	return str_take(&s);
}

/* The phase that comes next; a sync begins from nothing. */
static void choose_phase(struct informer *i)
{
	if (i->phase == LISTING && i->needs_sync && i->next_page.len > 0)
		return; /* the next page */
	if (!i->needs_sync) {
		i->phase = WATCHING;
		return;
	}
	i->phase = i->lacks_watch_list ? LISTING : SYNCING;
	cache_begin_sync(&i->cache);
}

static void open_stream(struct informer *i)
{
	static const struct http_stream_ops ops = {
		.on_reply = on_reply,
		.on_data = on_data,
		.on_end = on_end,
	};
	unsigned timeout_s = WATCH_MIN_S + (unsigned)random_below(WATCH_SPREAD_S);
	struct err err;

	choose_phase(i);
	free(i->path);
	i->path = make_path(i, timeout_s);
	str_done(&i->body);
	str_reset(&i->next_page);
	i->status = 0;
	i->has_error_event = false;
	i->opened_ns = clock_now_ns();
	split_init(&i->split, i->phase == LISTING ? SPLIT_LIST : SPLIT_EVENTS, on_part, i);
	i->stream = kube_stream_open(i->client, i->path, &ops, i, &err);
	if (!i->stream) {
		give_up(i, &err);
		return;
	}
	ev_timer_start(i->guard, i->phase == LISTING ? ANSWER_NS : timeout_s * NS_PER_S + ANSWER_NS,
		       0);
}

/* ---- the door ---- */

struct informer *informer_new(struct kube_client *client, enum kube_kind kind)
{
	struct informer *i = xcalloc(1, sizeof(*i));

	i->client = client;
	i->loop = kube_client_loop(client);
	i->kind = kind;
	i->needs_sync = true;
	i->backoff_ns = BACKOFF_MIN_NS;
	cache_init(&i->cache);
	pthread_mutex_init(&i->lock, NULL);
	return i;
}

static void destroy(void *arg)
{
	struct informer *i = arg;

	if (i->retry) {
		close_stream(i);
		ev_timer_free(i->retry);
		ev_timer_free(i->guard);
	}
	cache_done(&i->cache);
	pthread_mutex_destroy(&i->lock);
	str_done(&i->body);
	str_done(&i->version);
	str_done(&i->next_page);
	free(i->path);
	free(i);
}

void informer_free(struct informer *i)
{
	if (!i)
		return;
	cache_drop_handlers(&i->cache);
	ev_post(i->loop, destroy, i);
}

struct replay {
	struct informer *i;
	struct cache_handler handler;
};

static void run_replay(void *arg)
{
	struct replay *r = arg;

	cache_replay(&r->i->cache, r->handler.fn, r->handler.arg);
	free(r);
}

int informer_on_change(struct informer *i, informer_change_fn fn, void *arg)
{
	struct replay *r;
	int n = cache_add_handler(&i->cache, fn, arg);

	if (n < 0 || !atomic_load(&i->is_started))
		return n;
	r = xmalloc(sizeof(*r));
	*r = (struct replay){ i, { fn, arg } };
	ev_post(i->loop, run_replay, r);
	return 0;
}

void informer_off_change(struct informer *i, informer_change_fn fn, void *arg)
{
	cache_drop_handler(&i->cache, fn, arg);
}

static void start(void *arg)
{
	struct informer *i = arg;

	i->retry = ev_timer_new(i->loop, on_retry, i);
	i->guard = ev_timer_new(i->loop, on_guard, i);
	open_stream(i);
}

void informer_start(struct informer *i)
{
	if (!atomic_exchange(&i->is_started, true))
		ev_post(i->loop, start, i);
}

bool informer_has_synced(const struct informer *i)
{
	return atomic_load(&i->is_synced);
}

void informer_trouble(struct informer *i, char *ret_text)
{
	LOCK_SCOPE(&i->lock);
	memcpy(ret_text, i->trouble, ERR_MSG_MAX);
}

const struct kube_object *informer_get(struct informer *i, const char *ns, const char *name)
{
	return cache_get(&i->cache, ns, name);
}

void informer_each(struct informer *i, informer_each_fn fn, void *arg)
{
	const struct kube_object *o;

	LOCK_SCOPE(&i->cache.lock);
	for (size_t it = 0; (o = store_next(&i->cache.store, &it));)
		if (fn(arg, o) != 0)
			return;
}

size_t informer_count(struct informer *i)
{
	LOCK_SCOPE(&i->cache.lock);
	return i->cache.store.n;
}

struct write_note {
	struct informer *i;
	const struct kube_object *old_obj;
	const struct kube_object *new_obj;
};

static void report_write(void *arg)
{
	struct write_note *n = arg;

	cache_report(&n->i->cache, n->old_obj, n->new_obj);
	kube_object_unref(n->old_obj);
	kube_object_unref(n->new_obj);
	free(n);
}

void informer_note_write(struct informer *i, const struct kube_object *o)
{
	const struct kube_object *old_obj = NULL;
	struct write_note *n;

	if (!cache_note(&i->cache, o, &old_obj))
		return;
	n = xmalloc(sizeof(*n));
	*n = (struct write_note){ i, old_obj, o };
	ev_post(i->loop, report_write, n);
}
