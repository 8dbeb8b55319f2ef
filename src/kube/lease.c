/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leader election as client-go does it, on the loop. One request at a time and a timer for the next
 * step:
 *
 *   read the lease ─┬ none ──────────────────────────────► create it: ours
 *                   ├ ours, or nobody's ─────────────────► write renewTime: ours
 *                   ├ another's, changed within its time ► wait
 *                   └ another's, and stale ──────────────► write us in: ours
 *
 * Clocks of machines differ, so the times in the lease are for people: staleness is measured by our
 * own clock from the moment when we saw the lease change. Writes carry the resource version that
 * was read, so of two takers one loses.
 *
 * Holding counts from before the renewal was sent. A timer of its own closes the fence at the
 * limit, whatever a request is doing then; and the fence judges the limit itself, should even the
 * loop be late.
 */
#define LOG_ROOM "kube.lease"
#include "kube/lease.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "base/str.h"
#include "base/strmap.h"
#include "base/vec.h"
#include "event/loop.h"
#include "kube/client-internal.h"
#include "kube/fence.h"
#include "kube/path.h"

#define DURATION_NS (15 * NS_PER_S)
#define RENEW_DEADLINE_NS (10 * NS_PER_S)
#define RETRY_NS (5 * NS_PER_S)
#define RELEASE_TIMEOUT_NS (5 * NS_PER_S)
#define BODY_MAX (1u << 20)

enum step { STEP_NONE, STEP_READ, STEP_WRITE };

struct lease {
	struct ev_loop *loop;
	struct kube_client *client;
	struct lease_options opts; /* its strings are ours, but for the labels */
	char *label_text;
	VEC(struct strpair) labels; /* in label_text */
	char *collection;
	char *path;

	bool is_held;

	/* All below: loop only, but for the last steps of lease_free. */
	struct ev_timer *next;  /* the next step */
	struct ev_timer *limit; /* the end of holding */
	struct ev_timer *guard; /* of the request */
	struct http_stream *stream;
	enum step step;
	int64_t sent_ns; /* when the write was begun, by clock_boot_ns() */
	int status;
	struct str body;
	char *seen_version;
	int64_t seen_ns; /* when it came to that version */
	bool is_stopped;
};

static void lose(struct lease *l)
{
	ev_timer_stop(l->limit);
	fence_close(l->opts.fence);
	if (!l->is_held)
		return;
	l->is_held = false;
	metric_set(METRIC_LEADER, 0, METRIC_ARGS(l->opts.name));
	l->opts.on_lost(l->opts.arg);
}

/* Held, counted from when the write was begun; the answer may have come too late. */
static void hold(struct lease *l)
{
	int64_t limit_ns = l->sent_ns + l->opts.renew_deadline_ns;
	int64_t left_ns = limit_ns - clock_boot_ns();

	if (left_ns <= 0) {
		lose(l);
		return;
	}
	fence_open(l->opts.fence, limit_ns);
	ev_timer_start(l->limit, left_ns, 0);
	if (l->is_held)
		return;
	l->is_held = true;
	metric_set(METRIC_LEADER, 1, METRIC_ARGS(l->opts.name));
	l->opts.on_won(l->opts.arg);
}

static void on_limit(void *arg)
{
	struct lease *l = arg;

	log_warn("lease was not renewed in time", log_str("lease", l->opts.name));
	lose(l);
}

/* ---- the object ---- */

struct record {
	const struct json *root;
	const struct json *spec;
	const char *holder;
	int64_t transitions;
	int64_t duration_ns;
	const char *acquired;
};

static struct record read_record(const struct json_doc *doc)
{
	struct record r = { .root = json_root(doc) };
	int64_t seconds = 0;

	r.spec = json_get(r.root, "spec");
	r.holder = str_or(json_get_string(r.spec, "holderIdentity"), "");
	r.acquired = json_get_string(r.spec, "acquireTime");
	(void)json_int(json_get(r.spec, "leaseTransitions"), &r.transitions); /* absent: 0 */
	(void)json_int(json_get(r.spec, "leaseDurationSeconds"), &seconds);
	r.duration_ns = seconds > 0 && seconds < INT32_MAX ? seconds * NS_PER_S : 0;
	return r;
}

/* Fields of the spec that are not ours to know stay as they are. */
static void put_foreign(struct json_writer *w, const struct json *spec)
{
	static const char *const own[] = { "holderIdentity", "leaseDurationSeconds", "acquireTime",
					   "renewTime", "leaseTransitions" };
	const struct json *value;
	const char *key;

	for (struct json_it it = json_each(spec); json_next(&it, &key, &value);) {
		bool is_own = false;

		for (size_t i = 0; i < ARRAY_LEN(own); i++)
			is_own |= str_is_equal(key, own[i]);
		if (!is_own) {
			json_key(w, key);
			json_put_value(w, value);
		}
	}
}

static bool has_label(const struct lease *l, const char *key)
{
	for (size_t i = 0; i < l->labels.n; i++)
		if (str_is_equal(l->labels.v[i].key, key))
			return true;
	return false;
}

/* Ours go over those that are there. */
static void put_labels(const struct lease *l, struct json_writer *w, const struct json *old)
{
	const struct json *value;
	const char *key;

	json_key(w, "labels");
	json_begin_object(w);
	for (struct json_it it = json_each(old); json_next(&it, &key, &value);) {
		if (has_label(l, key))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	for (size_t i = 0; i < l->labels.n; i++)
		json_field_string(w, l->labels.v[i].key, l->labels.v[i].value);
	json_end_object(w);
}

static void put_metadata(struct lease *l, struct json_writer *w, const struct record *old)
{
	const struct json *meta = old ? json_get(old->root, "metadata") : NULL;
	const struct json *labels = json_get(meta, "labels");
	const struct json *value;
	const char *key;

	json_key(w, "metadata");
	json_begin_object(w);
	if (!old) {
		json_field_string(w, "name", l->opts.name);
		json_field_string(w, "namespace", l->opts.ns);
	}
	for (struct json_it it = json_each(meta); json_next(&it, &key, &value);) {
		if (str_is_equal(key, "labels"))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	if (labels || l->labels.n > 0)
		put_labels(l, w, labels);
	json_end_object(w);
}

/* holder: us, or "" to give it back. old: NULL when there is none yet. */
static void put_lease(struct lease *l, struct json_writer *w, const struct record *old,
		      const char *holder)
{
	bool is_new = !old || strcmp(old->holder, holder) != 0;
	bool is_release = *holder == '\0';
	char now[CLOCK_TEXT_MAX];

	clock_format_micro(clock_wall_ns(), now);
	json_begin_object(w);
	json_field_string(w, "apiVersion", "coordination.k8s.io/v1");
	json_field_string(w, "kind", "Lease");
	put_metadata(l, w, old);
	json_key(w, "spec");
	json_begin_object(w);
	put_foreign(w, old ? old->spec : NULL);
	json_field_string(w, "holderIdentity", holder);
	json_field_i64(w, "leaseDurationSeconds", is_release ? 1 : l->opts.duration_ns / NS_PER_S);
	json_field_string(w, "acquireTime", is_new || !old->acquired ? now : old->acquired);
	json_field_string(w, "renewTime", now);
	json_field_i64(w, "leaseTransitions", old ? old->transitions + (is_new && !is_release) : 0);
	json_end_object(w);
	json_end_object(w);
}

/* ---- one step: read, judge, write ---- */

static void send_request(struct lease *l, enum step step, const char *method, const char *path,
			 const char *body);

/* Whether its holder has let it go stale, by our clock. */
static bool is_stale(struct lease *l, const struct record *r)
{
	const char *version = str_or(json_path_string(r->root, "metadata.resourceVersion"), "");

	if (!str_is_equal(l->seen_version, version)) {
		free(l->seen_version);
		l->seen_version = xstrdup(version);
		l->seen_ns = clock_boot_ns();
	}
	return clock_boot_ns() - l->seen_ns >= r->duration_ns;
}

static bool is_mine(const struct lease *l, const struct record *r)
{
	return strcmp(r->holder, l->opts.identity) == 0;
}

static void step_later(struct lease *l)
{

	l->step = STEP_NONE;
	ev_timer_stop(l->guard);
	ev_timer_start(l->next,
		       l->is_held ? l->opts.retry_ns : random_jitter_ns(l->opts.retry_ns, 0.2), 0);
}

static void fail_step(struct lease *l, const struct err *why)
{
	log_debug("lease not written", log_str("lease", l->opts.name), log_err(why));
	step_later(l);
}

static void write_lease(struct lease *l, const struct record *old)
{
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);

	put_lease(l, &w, old, l->opts.identity);
	l->sent_ns = clock_boot_ns();
	if (old)
		send_request(l, STEP_WRITE, "PUT", l->path, str_get(&body));
	else
		send_request(l, STEP_WRITE, "POST", l->collection, str_get(&body));
}

static void judge_lease(struct lease *l, const struct json_doc *doc)
{
	struct record r = read_record(doc);
	bool stale = is_stale(l, &r);

	if (*r.holder && !is_mine(l, &r)) {
		lose(l);
		if (!stale) {
			step_later(l);
			return;
		}
	}
	write_lease(l, &r);
}

/* The whole answer: 200, 201 with the lease; 404: there is none yet. */
static void take_answer(struct lease *l)
{
	autojson struct json_doc *doc = NULL;
	struct err err;

	if (l->step == STEP_READ && l->status == 404) {
		write_lease(l, NULL);
		return;
	}
	if (l->status >= 300) {
		(void)kube_reply_error(l->step == STEP_READ ? "get" : "update", l->path, l->status,
				       str_get(&l->body), l->body.len, &err);
		fail_step(l, &err);
		return;
	}
	if (json_parse(str_get(&l->body), l->body.len, &doc, &err) < 0) {
		fail_step(l, &err);
	} else if (l->step == STEP_READ) {
		judge_lease(l, doc);
	} else {
		hold(l);
		step_later(l);
	}
}

static void on_reply(void *arg, int status, const struct h2_header *headers, size_t n)
{
	struct lease *l = arg;

	l->status = status;
	kube_client_note_reply(l->client, l->step == STEP_READ ? "GET" : "PUT", status, NULL);
}

static void on_data(void *arg, const uint8_t *bytes, size_t n)
{
	struct lease *l = arg;

	if (l->body.len + n <= BODY_MAX)
		str_append_n(&l->body, bytes, n);
}

static void on_end(void *arg, const struct err *why)
{
	struct lease *l = arg;

	l->stream = NULL;
	ev_timer_stop(l->guard);
	if (why->code == ERR_OK) {
		take_answer(l);
		return;
	}
	kube_client_note_failure(l->client, l->step == STEP_READ ? "GET" : "PUT", why);
	fail_step(l, why);
}

static void send_request(struct lease *l, enum step step, const char *method, const char *path,
			 const char *body)
{
	static const struct http_stream_ops ops = {
		.on_reply = on_reply,
		.on_data = on_data,
		.on_end = on_end,
	};
	struct err err;

	l->step = step;
	l->status = 0;
	str_reset(&l->body);
	l->stream = kube_stream_send(l->client, method, path, body, &ops, l, &err);
	if (!l->stream)
		fail_step(l, &err);
	else
		ev_timer_start(l->guard, l->opts.renew_deadline_ns / 2, 0);
}

static void on_guard(void *arg)
{
	struct lease *l = arg;
	struct err why;

	http_cancel(TAKE_PTR(l->stream));
	(void)err_set(&why, ERR_UNAVAILABLE, "%s: no answer in time", l->path);
	kube_client_note_failure(l->client, l->step == STEP_READ ? "GET" : "PUT", &why);
	fail_step(l, &why);
}

static void on_next(void *arg)
{
	struct lease *l = arg;

	send_request(l, STEP_READ, "GET", l->path, NULL);
}

/* ---- the door ---- */

/* Of "k:v,k2:v2"; what has no colon is none. */
static void split_labels(struct lease *l, const char *text)
{
	l->opts.labels = NULL;
	l->label_text = xstrdup(str_or(text, ""));
	for (char *at = l->label_text, *next; *at; at = next) {
		size_t n = strcspn(at, ",");
		char *colon;

		next = at + n + (at[n] == ',');
		at[n] = '\0';
		colon = strchr(at, ':');
		if (!colon)
			continue;
		*colon = '\0';
		vec_push(&l->labels, ((struct strpair){ at, colon + 1 }));
	}
}

int lease_new(struct ev_loop *loop, struct kube_client *client, const struct lease_options *opts,
	      struct lease **ret_lease, struct err *err)
{
	autofree char *collection = NULL;
	autofree char *path = NULL;
	struct lease *l;

	if (kube_collection_path(&kube_lease_type, opts->ns, &collection, err) < 0 ||
	    kube_object_path(&kube_lease_type, opts->ns, opts->name, &path, err) < 0)
		return -1;
	l = xcalloc(1, sizeof(*l));
	l->loop = loop;
	l->client = client;
	l->opts = *opts;
	l->opts.ns = xstrdup(opts->ns);
	l->opts.name = xstrdup(opts->name);
	l->opts.identity = xstrdup(opts->identity);
	split_labels(l, opts->labels);
	l->opts.duration_ns = opts->duration_ns ? opts->duration_ns : DURATION_NS;
	l->opts.renew_deadline_ns =
		opts->renew_deadline_ns ? opts->renew_deadline_ns : RENEW_DEADLINE_NS;
	l->opts.retry_ns = opts->retry_ns ? opts->retry_ns : RETRY_NS;
	l->collection = TAKE_PTR(collection);
	l->path = TAKE_PTR(path);
	metric_set(METRIC_LEADER, 0, METRIC_ARGS(l->opts.name));
	*ret_lease = l;
	return 0;
}

static void start(void *arg)
{
	struct lease *l = arg;

	l->next = ev_timer_new(l->loop, on_next, l);
	l->limit = ev_timer_new(l->loop, on_limit, l);
	l->guard = ev_timer_new(l->loop, on_guard, l);
	on_next(l);
}

void lease_start(struct lease *l)
{
	ev_post(l->loop, start, l);
}

static void stop(void *arg)
{
	struct lease *l = arg;

	fence_close(l->opts.fence);
	if (l->is_stopped || !l->next)
		return;
	l->is_stopped = true;
	http_cancel(TAKE_PTR(l->stream));
	ev_timer_free(l->next);
	ev_timer_free(l->limit);
	ev_timer_free(l->guard);
}

void lease_stop(struct lease *l)
{
	ev_call(l->loop, stop, l);
}

static void free_text(const char *text)
{
	union {
		const char *in;
		char *out;
	} u = { .in = text };

	free(u.out); /* was made by lease_new */
}

static void give_back(struct lease *l)
{
	autojson struct json_doc *doc = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);
	struct record r;
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, RELEASE_TIMEOUT_NS);
	if (kube_get(l->client, &ctx, l->path, &doc, &err) == 0) {
		r = read_record(doc);
		if (is_mine(l, &r)) {
			put_lease(l, &w, &r, "");
			if (kube_write_unfenced(l->client, &ctx, "PUT", l->path, "application/json",
						str_get(&body), &err) < 0)
				log_debug("lease not given back", log_str("lease", l->opts.name),
					  log_err(&err));
		}
	}
	ctx_done(&ctx);
}

void lease_free(struct lease *l)
{
	if (!l)
		return;
	lease_stop(l);
	if (l->is_held) {
		give_back(l);
		metric_set(METRIC_LEADER, 0, METRIC_ARGS(l->opts.name));
	}
	free_text(l->opts.ns);
	free_text(l->opts.name);
	free_text(l->opts.identity);
	vec_done(&l->labels);
	free(l->label_text);
	free(l->collection);
	free(l->path);
	free(l->seen_version);
	str_done(&l->body);
	free(l);
}
