/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leader election as client-go does it. One step at a time, a worker job, and a
 * timer for the next:
 *
 *   read the lease ─┬ none ──────────────────────────────► create it: ours
 *                   ├ ours, or nobody's ─────────────────► write renewTime: ours
 *                   ├ another's, changed within its time ► wait
 *                   └ another's, and stale ──────────────► write us in: ours
 *
 * Clocks of machines differ, so the times in the lease are for people: staleness
 * is measured by our own clock from the moment when we saw the lease change.
 * Writes carry the resource version that was read, so of two takers one loses.
 *
 * Holding counts from before the renewal was sent. A step ends by the renew
 * deadline at the latest, since its requests do; then, or when another holder is
 * seen, on_lost runs before anything else is tried.
 */
#define LOG_ROOM "kube.lease"
#include "kube/lease.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "kube/client.h"

#include <stdatomic.h>

#define DURATION_NS (15 * NS_PER_S)
#define RENEW_DEADLINE_NS (10 * NS_PER_S)
#define RETRY_NS (5 * NS_PER_S)
#define RELEASE_TIMEOUT_NS (5 * NS_PER_S)

struct lease {
	struct ev_loop *loop;
	struct work *work;
	struct kube_client *client;
	struct lease_options opts; /* its strings are ours */
	char *collection;
	char *path;
	struct ev_timer *timer; /* loop only */

	/* Of the one step at a time. */
	char *seen_version;
	int64_t seen_ns; /* when it came to that version */

	atomic_bool is_held;
	_Atomic int64_t renewed_ns;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t idle;
	bool at_work;
	bool closed;
	int64_t next_ns; /* delay of the next step */
};

bool lease_is_held(const struct lease *l)
{
	return atomic_load(&l->is_held) &&
	       clock_now_ns() - atomic_load(&l->renewed_ns) < l->opts.renew_deadline_ns;
}

static void set_held(struct lease *l, bool is_held)
{
	if (atomic_exchange(&l->is_held, is_held) == is_held)
		return;
	metric_set(METRIC_LEADER, is_held, METRIC_ARGS(l->opts.name));
	if (is_held)
		l->opts.on_won(l->opts.arg);
	else
		l->opts.on_lost(l->opts.arg);
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

static void put_metadata(struct lease *l, struct json_writer *w, const struct record *old)
{
	json_key(w, "metadata");
	if (old) {
		json_put_value(w, json_get(old->root, "metadata"));
		return;
	}
	json_begin_object(w);
	json_field_string(w, "name", l->opts.name);
	json_field_string(w, "namespace", l->opts.ns);
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

static int write_lease(struct lease *l, struct ctx *ctx, const struct record *old,
		       const char *holder, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);
	int64_t sent_ns = clock_now_ns();
	int r;

	put_lease(l, &w, old, holder);
	r = old ? kube_update(l->client, ctx, l->path, str_get(&body), &doc, err)
		: kube_create(l->client, ctx, l->collection, str_get(&body), &doc, err);
	if (r < 0)
		return -1;
	atomic_store(&l->renewed_ns, sent_ns);
	return 0;
}

/* ---- one step ---- */

/* Whether its holder has let it go stale, by our clock. */
static bool is_stale(struct lease *l, const struct record *r)
{
	const char *version = str_or(json_path_string(r->root, "metadata.resourceVersion"), "");

	if (!str_is_equal(l->seen_version, version)) {
		free(l->seen_version);
		l->seen_version = xstrdup(version);
		l->seen_ns = clock_now_ns();
	}
	return clock_now_ns() - l->seen_ns >= r->duration_ns;
}

/* 1: ours now; 0: another's; -1: could not be told. */
static int try_lease(struct lease *l, struct ctx *ctx, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct record r;

	if (kube_get(l->client, ctx, l->path, &doc, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -1;
		return write_lease(l, ctx, NULL, l->opts.identity, err) < 0 ? -1 : 1;
	}
	r = read_record(doc);
	if (!is_stale(l, &r) && *r.holder && strcmp(r.holder, l->opts.identity) != 0)
		return 0;
	return write_lease(l, ctx, &r, l->opts.identity, err) < 0 ? -1 : 1;
}

static int64_t time_left_ns(const struct lease *l)
{
	return atomic_load(&l->renewed_ns) + l->opts.renew_deadline_ns - clock_now_ns();
}

static int64_t step(struct lease *l)
{
	bool was_held = atomic_load(&l->is_held);
	int64_t limit_ns = was_held ? time_left_ns(l) : l->opts.renew_deadline_ns;
	struct ctx ctx;
	struct err err;
	int r;

	if (was_held && limit_ns <= 0) {
		set_held(l, false);
		return 0;
	}
	ctx_init(&ctx, limit_ns);
	r = try_lease(l, &ctx, &err);
	ctx_done(&ctx);
	if (r < 0)
		log_debug("lease not written", log_str("lease", l->opts.name), log_err(&err));
	if (r >= 0)
		set_held(l, r > 0);
	else if (was_held && time_left_ns(l) <= 0)
		set_held(l, false);
	if (!atomic_load(&l->is_held))
		return random_jitter_ns(l->opts.retry_ns, 0.2);
	return time_left_ns(l) < l->opts.retry_ns ? time_left_ns(l) : l->opts.retry_ns;
}

static void on_timer(void *arg);

static void arm(void *arg)
{
	struct lease *l = arg;
	int64_t delay_ns;

	pthread_mutex_lock(&l->lock);
	delay_ns = l->next_ns;
	pthread_mutex_unlock(&l->lock);
	if (!l->timer)
		l->timer = ev_timer_new(l->loop, on_timer, l);
	ev_timer_start(l->timer, delay_ns > 0 ? delay_ns : 0, 0);
}

static void end_work(struct lease *l, int64_t next_ns)
{
	LOCK_SCOPE(&l->lock);
	l->at_work = false;
	l->next_ns = next_ns;
	if (l->closed)
		pthread_cond_broadcast(&l->idle);
	else
		ev_post(l->loop, arm, l);
}

static void run_step(void *arg)
{
	struct lease *l = arg;

	end_work(l, step(l));
}

static void on_timer(void *arg)
{
	struct lease *l = arg;
	bool closed;

	pthread_mutex_lock(&l->lock);
	closed = l->closed;
	l->at_work = !closed;
	pthread_mutex_unlock(&l->lock);
	if (!closed && work_submit(l->work, WORK_API, run_step, l) < 0)
		end_work(l, l->opts.retry_ns / 10); /* the lane is full */
}

/* ---- the door ---- */

struct lease *lease_new(struct ev_loop *loop, struct work *work, struct kube_client *client,
			const struct lease_options *opts)
{
	struct lease *l = xcalloc(1, sizeof(*l));

	l->loop = loop;
	l->work = work;
	l->client = client;
	l->opts = *opts;
	l->opts.ns = xstrdup(opts->ns);
	l->opts.name = xstrdup(opts->name);
	l->opts.identity = xstrdup(opts->identity);
	l->opts.duration_ns = opts->duration_ns ? opts->duration_ns : DURATION_NS;
	l->opts.renew_deadline_ns =
		opts->renew_deadline_ns ? opts->renew_deadline_ns : RENEW_DEADLINE_NS;
	l->opts.retry_ns = opts->retry_ns ? opts->retry_ns : RETRY_NS;
	l->collection = xasprintf("/apis/coordination.k8s.io/v1/namespaces/%s/leases", opts->ns);
	l->path = xasprintf("%s/%s", l->collection, opts->name);
	pthread_mutex_init(&l->lock, NULL);
	sync_cond_init(&l->idle);
	metric_set(METRIC_LEADER, 0, METRIC_ARGS(l->opts.name));
	return l;
}

void lease_start(struct lease *l)
{
	ev_post(l->loop, arm, l);
}

static void free_text(const char *text)
{
	union {
		const char *in;
		char *out;
	} u = { .in = text };

	free(u.out); /* was made by lease_new */
}

static void destroy(void *arg)
{
	struct lease *l = arg;

	ev_timer_free(l->timer);
	pthread_cond_destroy(&l->idle);
	pthread_mutex_destroy(&l->lock);
	free_text(l->opts.ns);
	free_text(l->opts.name);
	free_text(l->opts.identity);
	free(l->collection);
	free(l->path);
	free(l->seen_version);
	free(l);
}

static void give_back(struct lease *l)
{
	autojson struct json_doc *doc = NULL;
	struct record r;
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, RELEASE_TIMEOUT_NS);
	if (kube_get(l->client, &ctx, l->path, &doc, &err) == 0) {
		r = read_record(doc);
		if (strcmp(r.holder, l->opts.identity) == 0 &&
		    write_lease(l, &ctx, &r, "", &err) < 0)
			log_debug("lease not given back", log_str("lease", l->opts.name),
				  log_err(&err));
	}
	ctx_done(&ctx);
}

void lease_free(struct lease *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->closed = true;
	while (l->at_work)
		(void)sync_cond_wait_until(&l->idle, &l->lock, INT64_MAX);
	pthread_mutex_unlock(&l->lock);
	if (atomic_load(&l->is_held)) {
		give_back(l);
		metric_set(METRIC_LEADER, 0, METRIC_ARGS(l->opts.name));
	}
	ev_post(l->loop, destroy, l); /* behind every arm */
}
