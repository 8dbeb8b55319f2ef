/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream at a time, and a timer for the next one. Which stream comes after which end is the
 * table `moves` below; in words:
 *
 *   start ─► SYNCING ── initial-events-end, in the same stream ──► WATCHING ─► again from the
 *              │ 400, 422, ERROR: no WatchList                      ▲    │     last position
 *              ▼                                                 ▲  │    ├─ 410: SYNCING
 *           LISTING ── page, page, last page ────────────────────┼──┘    │    or LISTING
 *                                                                └── ASKING ─ behind: SYNCING
 *
 * ASKING, before each further watch: is the server as far as we are? With a store of an earlier day
 * it takes a watch from a version that is yet to come, and is silent until that has.
 *
 * A page that breaks off is asked for again, whole: the token of the next one counts only when the
 * page is complete, or what the broken one still had would be missing for ever.
 *
 * Every failure leads to the next stream after a backoff, which grows until a stream has proved
 * good: a page or a sync is complete, an event was taken, or a watch lived for a while. A status
 * of 200 alone proves nothing, since the error may be the first event. Only a watch that lived and
 * ended as it should is followed at once. The items of a stream are decoded and applied one by one
 * as they come in, so a list of any length needs no more memory than the objects that are kept of
 * it. Bytes are consumed when they are applied: a slow loop slows the server down.
 *
 * All of this runs on the I/O thread. What other threads see is in cache.c and informer.c.
 */
#define LOG_ROOM "kube.watch"
#include "kube/informer-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "kube/client-internal.h"
#include "kube/object-internal.h"
#include "kube/path.h"

#include <stdio.h>

#define BACKOFF_MIN_NS (800 * NS_PER_MS)
#define BACKOFF_MAX_NS (30 * NS_PER_S)
#define PAGE_LIMIT 500
#define WATCH_MIN_S 300
#define WATCH_SPREAD_S 300
#define ANSWER_NS (60 * NS_PER_S) /* without a byte of a list; and past a watch's own end */
#define DENIED_AGAIN_NS (60 * NS_PER_S)
#define SOUND_LIFE_NS (5 * NS_PER_S) /* a watch that lived so long may be followed at once */
#define BODY_MAX (64u << 10)

/* How a stream came to its end. */
enum outcome {
	PAGE,    /* complete, and there is another */
	LAST,    /* complete, and the last */
	ENDED,   /* a watch, properly and after a while */
	BROKE,   /* anything else */
	GONE,    /* what we go on from is no more there */
	REFUSED, /* the server does not do what was asked */
	N_OUTCOMES
};

struct move {
	enum phase next;
	bool is_anew; /* a sync from its beginning */
	bool at_once; /* no backoff */
};

static const struct move moves[N_PHASES][N_OUTCOMES] = {
	[SYNCING] = {
		[PAGE] = { SYNCING, .is_anew = true },
		[LAST] = { SYNCING, .is_anew = true },
		[ENDED] = { SYNCING, .is_anew = true },
		[BROKE] = { SYNCING, .is_anew = true },
		[GONE] = { SYNCING, .is_anew = true },
		[REFUSED] = { LISTING, .is_anew = true, .at_once = true },
	},
	[LISTING] = {
		[PAGE] = { LISTING, .at_once = true },
		[LAST] = { WATCHING, .at_once = true },
		[ENDED] = { LISTING },
		[BROKE] = { LISTING },
		[GONE] = { LISTING, .is_anew = true },
		[REFUSED] = { LISTING, .is_anew = true },
	},
	[WATCHING] = {
		[PAGE] = { WATCHING },
		[LAST] = { WATCHING },
		[ENDED] = { ASKING, .at_once = true },
		[BROKE] = { ASKING },
		[GONE] = { SYNCING, .is_anew = true },
		[REFUSED] = { SYNCING, .is_anew = true },
	},
	[ASKING] = {
		[LAST] = { WATCHING, .at_once = true },
		[BROKE] = { ASKING },
		[GONE] = { SYNCING, .is_anew = true },
		[REFUSED] = { SYNCING, .is_anew = true },
	},
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

static void set_absent(struct informer *i, bool is_absent)
{
	LOCK_SCOPE(&i->lock);
	i->is_absent = is_absent;
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
	ev_timer_stop(i->sound);
}

/* The server answers, but not this (a right that is missing, mostly): nobody else would say so.
 * Once a minute at most; the next attempt is never that far. Of a kind that may rightly be missing
 * it is said once. */
static void tell_denied(struct informer *i, const struct err *why)
{
	int64_t now_ns = clock_now_ns();

	bool is_absent = i->type->is_custom && i->status == 404;
	bool is_first = i->denied_ns == 0;

	set_absent(i, is_absent);
	if (is_first)
		i->denied_ns = now_ns;
	else if (is_absent || now_ns - i->told_ns < DENIED_AGAIN_NS)
		return;
	i->told_ns = now_ns;
	if (is_absent) {
		log_info("the cluster has no such kind (yet): waiting for its CRD",
			 log_str("resource", i->type->resource),
			 log_str("version", i->type->group_version));
		return;
	}
	log_warn("the API server does not let us watch", log_str("resource", i->type->resource),
		 log_err(why), log_duration("age", now_ns - i->denied_ns));
}

/* The stream has proved good. */
static void is_well(struct informer *i)
{
	i->backoff_ns = BACKOFF_MIN_NS;
	set_trouble(i, "");
	set_absent(i, false);
	if (i->denied_ns == 0)
		return;
	log_info("the API server lets us watch again", log_str("resource", i->type->resource),
		 log_duration("after", clock_now_ns() - i->denied_ns));
	i->denied_ns = 0;
}

static void on_sound(void *arg)
{
	is_well(arg);
}

static void on_retry(void *arg)
{
	open_stream(arg);
}

static void open_later(struct informer *i, bool at_once)
{
	int64_t next_ns = i->backoff_ns * 2;

	if (at_once) {
		ev_timer_start(i->retry, 0, 0);
		return;
	}
	ev_timer_start(i->retry, random_jitter_ns(i->backoff_ns, 0.3), 0);
	i->backoff_ns = next_ns < BACKOFF_MAX_NS ? next_ns : BACKOFF_MAX_NS;
}

static void end_stream(struct informer *i, enum outcome how)
{
	const struct move *move = &moves[i->phase][how];

	close_stream(i);
	i->phase = move->next;
	i->is_anew = move->is_anew;
	if (i->is_anew && i->phase == SYNCING && i->lacks_watch_list)
		i->phase = LISTING;
	open_later(i, move->at_once);
}

/*
 * A server without WatchList says so by status; one whose etcd cannot tell how far it is (older
 * than 3.4.25) only in the stream, with a code that means nothing. Pages are never wrong, so any
 * other word than "gone" will do. A watch or page that is "invalid" was asked for by a version or
 * token that this server does not know.
 */
static bool is_refusal(const struct informer *i, const struct err *why)
{
	if (i->status == 200)
		return i->phase == SYNCING && i->has_error_event;
	return i->status >= 400 && why->code == ERR_INVALID_ARGUMENT;
}

/* 410; or the server counts from an earlier version than ours: its store was restored. */
static bool is_gone(const struct err *why)
{
	return why->code == ERR_OUT_OF_RANGE || strstr(why->msg, "Too large resource version");
}

/* A right that is missing: for whom, since many share one account. */
static struct err name_users(const struct informer *i, const struct err *why)
{
	struct err named = *why;

	if (i->status == 403 && i->needed_by)
		(void)err_set(&named, why->code, "%s (needed by %s)", why->msg, i->needed_by);
	return named;
}

/* The stream is no good any more; why it was. */
static void give_up(struct informer *i, const struct err *why)
{
	enum outcome how = is_gone(why) ? GONE : is_refusal(i, why) ? REFUSED : BROKE;
	struct err named = name_users(i, why);

	log_debug("watch ended", log_str("resource", i->type->resource), log_err(why));
	if (i->phase == SYNCING && how == REFUSED)
		i->lacks_watch_list = true;
	else if (how != GONE)
		set_trouble(i, named.msg);
	if (how == BROKE && (i->status == 403 || i->status == 404))
		tell_denied(i, &named);
	end_stream(i, how);
}

static void on_guard(void *arg)
{
	struct informer *i = arg;
	struct err why;

	(void)err_set(&why, ERR_UNAVAILABLE, "%s %s: nothing came of it in time", verb_of(i),
		      i->type->resource);
	give_up(i, &why);
}

/* Everything that there is was listed. OUT_OF_RANGE: not to be believed by its versions. */
static int finish_sync(struct informer *i, struct err *err)
{
	if (!cache_end_sync(&i->cache, str_get(&i->version))) {
		i->must_replace = true;
		return err_set(err, ERR_OUT_OF_RANGE,
			       "%s %s: the API server's versions went back to %s (a restored "
			       "etcd?); all is read anew",
			       verb_of(i), i->type->resource, str_get(&i->version));
	}
	i->must_replace = false;
	is_well(i);
	log_debug("in sync", log_str("resource", i->type->resource),
		  log_u64("objects", informer_count(i)));
	atomic_store(&i->is_synced, true);
	mem_trim(); /* the documents of the list have come and gone */
	return 0;
}

/* For a page, a sync, or a watch beyond its own end. */
static void start_guard(struct informer *i)
{
	bool is_watch = i->phase == WATCHING;

	ev_timer_start(i->guard, is_watch ? i->timeout_s * NS_PER_S + ANSWER_NS : ANSWER_NS, 0);
}

/* ---- what a stream brings ---- */

static int apply_item(struct informer *i, const struct json *item)
{
	struct kube_object *o = kube_object_decode(i->type, item);

	if (o)
		cache_apply(&i->cache, o);
	return 0;
}

static int behind_err(const struct informer *i, const char *version, struct err *err)
{
	return err_set(err, ERR_OUT_OF_RANGE,
		       "%s %s: the API server is at version %s, and was at %s", verb_of(i),
		       i->type->resource, version, str_get(&i->version));
}

/* Its one object, if there is any, we have. */
static int take_answer(struct informer *i, enum split_part part, const struct json *v,
		       struct err *err)
{
	const char *version = str_or(json_get_string(v, "resourceVersion"), "");

	if (part == SPLIT_ITEM)
		return 0;
	if (kube_version_compare(version, str_get(&i->version)) < 0)
		return behind_err(i, version, err);
	i->is_as_far = true;
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

static int take_bookmark(struct informer *i, const struct json *object, struct err *err)
{
	const struct json *meta = json_get(object, "metadata");
	const char *version = str_or(json_get_string(meta, "resourceVersion"), "");
	const char *end =
		json_get_string(json_get(meta, "annotations"), "k8s.io/initial-events-end");

	if (i->phase == WATCHING && kube_version_compare(version, str_get(&i->version)) < 0)
		return behind_err(i, version, err);
	set_text(&i->version, version);
	if (i->phase == WATCHING) {
		cache_set_position(&i->cache, version);
		return 0;
	}
	if (!str_is_equal(end, "true"))
		return 0;
	if (finish_sync(i, err) < 0)
		return -1;
	i->phase = WATCHING;
	start_guard(i);
	return 0;
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
	if (strcmp(type, "BOOKMARK") == 0)
		return take_bookmark(i, object, err);
	o = kube_object_decode(i->type, object);
	if (!o)
		return err_set(err, ERR_INTERNAL, "watch %s: an event '%s' without an object",
			       i->type->resource, type);
	if (strcmp(type, "DELETED") == 0)
		cache_remove(&i->cache, o);
	else
		cache_apply(&i->cache, kube_object_ref(o));
	if (i->phase == WATCHING) {
		set_text(&i->version, o->resource_version);
		is_well(i);
	}
	return 0;
}

static int on_part(void *arg, enum split_part part, const char *text, size_t n, struct err *err)
{
	struct informer *i = arg;
	autojson struct json_doc *doc = NULL;

	if (json_parse(text, n, &doc, err) < 0) {
		err->code = ERR_INTERNAL;
		return err_wrap(err, "%s %s", verb_of(i), i->type->resource);
	}
	if (i->phase == LISTING)
		return take_list_part(i, part, json_root(doc));
	if (i->phase == ASKING)
		return take_answer(i, part, json_root(doc), err);
	return take_event(i, json_root(doc), err);
}

static void on_reply(void *arg, int status, const struct h2_header *headers, size_t n)
{
	struct informer *i = arg;

	i->status = status;
	if (status != 200)
		return;
	kube_client_note_reply(i->client, "GET", status, NULL);
	if (i->phase == WATCHING)
		ev_timer_start(i->sound, SOUND_LIFE_NS, 0);
}

static void on_data(void *arg, const uint8_t *bytes, size_t n)
{
	struct informer *i = arg;
	struct err err;

	if (i->status == 200) {
		if (i->phase != WATCHING)
			start_guard(i);
		if (split_feed(&i->split, bytes, n, &err) < 0)
			give_up(i, &err);
	} else if (i->body.len < BODY_MAX) {
		str_append_n(&i->body, bytes, n < BODY_MAX ? n : BODY_MAX);
	}
}

static void finish_page(struct informer *i)
{
	struct err why;

	set_text(&i->page, str_get(&i->next_page));
	if (i->page.len > 0) {
		is_well(i);
		end_stream(i, PAGE);
	} else if (finish_sync(i, &why) < 0) {
		give_up(i, &why);
	} else {
		end_stream(i, LAST);
	}
}

/* A reply that came to its proper end. */
static void on_complete(struct informer *i)
{
	struct err why;

	if (i->phase == LISTING && split_is_complete(&i->split) && i->version.len > 0) {
		finish_page(i);
		return;
	}
	if (i->phase == ASKING
		    ? i->is_as_far && split_is_complete(&i->split)
		    : i->phase == WATCHING && clock_now_ns() - i->opened_ns >= SOUND_LIFE_NS) {
		end_stream(i, i->phase == ASKING ? LAST : ENDED);
		return;
	}
	(void)err_set(&why, ERR_UNAVAILABLE, "%s %s: the reply ended early", verb_of(i),
		      i->type->resource);
	give_up(i, &why);
}

static void on_end(void *arg, const struct err *why)
{
	struct informer *i = arg;
	struct err err = *why;

	i->stream = NULL;
	if (why->code != ERR_OK) {
		(void)err_wrap(&err, "%s %s", verb_of(i), i->type->resource);
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

static void append_selectors(const struct informer *i, struct str *s)
{
	if (i->label_selector) {
		str_append(s, "&labelSelector=");
		append_escaped(s, i->label_selector);
	}
	if (i->field_selector) {
		str_append(s, "&fieldSelector=");
		append_escaped(s, i->field_selector);
	}
}

static int make_path(const struct informer *i, char **ret_path, struct err *err)
{
	autofree char *collection = NULL;
	struct str s = STR_INIT;

	if (kube_collection_path(i->type, i->ns, &collection, err) < 0)
		return -1;
	str_append(&s, collection);
	if (i->phase == LISTING || i->phase == ASKING)
		str_appendf(&s, "?limit=%d", i->phase == ASKING ? 1 : PAGE_LIMIT);
	else
		str_appendf(&s, "?watch=true&allowWatchBookmarks=true&timeoutSeconds=%u",
			    i->timeout_s);
	append_selectors(i, &s);
	if (i->phase == LISTING && i->page.len > 0) {
		str_append(&s, "&continue=");
		append_escaped(&s, str_get(&i->page));
	} else if (i->phase == SYNCING) {
		str_append(&s, "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
	} else if (i->phase == WATCHING || i->phase == ASKING) {
		str_append(&s, "&resourceVersion=");
		append_escaped(&s, str_get(&i->version));
		str_append(&s, i->phase == ASKING ? "&resourceVersionMatch=NotOlderThan" : "");
	}
	*ret_path = str_take(&s);
	return 0;
}

static void begin_sync(struct informer *i)
{
	i->is_anew = false;
	str_reset(&i->page);
	cache_begin_sync(&i->cache, i->must_replace);
}

static void open_stream(struct informer *i)
{
	static const struct http_stream_ops ops = {
		.on_reply = on_reply,
		.on_data = on_data,
		.on_end = on_end,
	};
	struct err err;

	if (i->is_anew)
		begin_sync(i);
	i->timeout_s = WATCH_MIN_S + (unsigned)random_below(WATCH_SPREAD_S);
	free(TAKE_PTR(i->path));
	str_done(&i->body);
	str_reset(&i->next_page);
	i->status = 0;
	i->has_error_event = false;
	i->is_as_far = false;
	i->opened_ns = clock_now_ns();
	split_init(&i->split, i->phase == LISTING || i->phase == ASKING ? SPLIT_LIST : SPLIT_EVENTS,
		   on_part, i);
	if (make_path(i, &i->path, &err) == 0)
		i->stream = kube_stream_open(i->client, i->path, &ops, i, &err);
	if (!i->stream)
		give_up(i, &err);
	else
		start_guard(i);
}

void informer_stream_start(struct informer *i)
{
	i->retry = ev_timer_new(i->loop, on_retry, i);
	i->guard = ev_timer_new(i->loop, on_guard, i);
	i->sound = ev_timer_new(i->loop, on_sound, i);
	i->is_anew = true;
	i->backoff_ns = BACKOFF_MIN_NS;
	open_stream(i);
}

void informer_stream_stop(struct informer *i)
{
	if (!i->retry)
		return;
	close_stream(i);
	ev_timer_free(i->retry);
	ev_timer_free(i->guard);
	ev_timer_free(i->sound);
}
