/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What moves the tests' Kubernetes: queues worked off in this thread in fake time, the loop's
 * timers, and of the controller-manager the parts that a provisioner waits for: binding a claim to
 * the PV that names it, releasing a PV whose claim is gone, and taking off the protection
 * finalizers.
 */
#include "fake/kube-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "kube/fence.h"
#include "kube/path.h"
#include "kube/queue.h"

#include <assert.h>

#define CUT_OFF_RETRY_NS (100 * NS_PER_MS)

struct item {
	int64_t due_ns; /* INT64_MAX: not waiting */
	size_t turn;    /* of those that are due, the first to come is the first */
	unsigned failures;
	bool is_at_work;
};

struct queue {
	struct queue_options opts; /* name is the copy below */
	char *name;
	queue_reconcile_fn fn;
	void *arg;
	struct map *items;   /* key → struct item */
	struct ctx *at_work; /* NULL: none */
	bool is_running;
	struct queue *next;
};

struct ev_timer {
	ev_timer_fn fn;
	void *arg;
	bool is_on;
	struct ev_timer *next;
};

static struct {
	struct queue *queues;
	struct ev_timer *timers;
	size_t reconciles;
	size_t claims_added, volumes_added;
	size_t turns;
	int64_t now_ns;
	bool has_manager;
} run;

void fake_run_reset(void)
{
	memset(&run, 0, sizeof(run));
	run.now_ns = 1000 * NS_PER_S;
	run.has_manager = true;
	clock_fake_set(run.now_ns);
}

void fake_reset(void)
{
	fake_api_reset();
	fake_cache_reset();
	fake_run_reset();
}

void ev_call(struct ev_loop *loop, ev_post_fn fn, void *arg)
{
	fn(arg);
}

struct ev_timer *ev_timer_new(struct ev_loop *loop, ev_timer_fn fn, void *arg)
{
	struct ev_timer *t = xcalloc(1, sizeof(*t));

	t->fn = fn;
	t->arg = arg;
	t->next = run.timers;
	run.timers = t;
	return t;
}

void ev_timer_start(struct ev_timer *t, int64_t delay_ns, int64_t repeat_ns)
{
	t->is_on = true;
}

void ev_timer_stop(struct ev_timer *t)
{
	t->is_on = false;
}

void ev_timer_free(struct ev_timer *t)
{
	struct ev_timer **at = &run.timers;

	while (*at && *at != t)
		at = &(*at)->next;
	if (*at)
		*at = t->next;
	free(t);
}

struct queue *queue_new(struct ev_loop *loop, struct work *work, const struct queue_options *opts,
			queue_reconcile_fn fn, void *arg)
{
	struct queue *q = xcalloc(1, sizeof(*q));

	*q = (struct queue){
		.opts = *opts, .fn = fn, .arg = arg, .items = map_new(), .next = run.queues
	};
	q->opts.name = q->name = xstrdup(opts->name);
	run.queues = q;
	return q;
}

void queue_free(struct queue *q)
{
	struct queue **at = &run.queues;
	const char *key;
	void *item;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	for (size_t it = 0; map_next(q->items, &it, &key, &item);)
		free(item);
	map_free(q->items);
	free(q->name);
	free(q);
}

static struct item *get_item(struct queue *q, const char *key)
{
	struct item *item = map_find(q->items, key);

	if (!item) {
		item = xcalloc(1, sizeof(*item));
		item->due_ns = INT64_MAX;
		map_put(q->items, key, item);
	}
	return item;
}

void queue_add_after(struct queue *q, const char *key, int64_t delay_ns)
{
	struct item *item = get_item(q, key);

	if (run.now_ns + delay_ns >= item->due_ns)
		return;
	item->due_ns = run.now_ns + delay_ns;
	item->turn = ++run.turns;
}

void queue_add(struct queue *q, const char *key)
{
	if (*key && str_is_equal(q->opts.name, "claims"))
		run.claims_added++;
	else if (*key && str_is_equal(q->opts.name, "volumes"))
		run.volumes_added++;
	queue_add_after(q, key, 0);
}

void queue_pause(struct queue *q)
{
	q->is_running = false;
	if (q->at_work)
		ctx_cancel(q->at_work);
}

void queue_resume(struct queue *q)
{
	q->is_running = true;
}

/* As kube/queue.c: under the fence, and what was cut off has not failed. */
static enum queue_verdict reconcile(struct queue *q, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	enum queue_verdict verdict;
	struct fence_member member;
	struct err err;

	*ret_after_ns = CUT_OFF_RETRY_NS;
	if (q->opts.fence && fence_join(q->opts.fence, &member, ctx, &err) < 0)
		return QUEUE_RETRY_AFTER;
	q->at_work = ctx;
	verdict = q->fn(q->arg, ctx, key, ret_after_ns);
	q->at_work = NULL;
	if (verdict == QUEUE_RETRY && fence_check(q->opts.fence, ctx, &err) < 0) {
		*ret_after_ns = CUT_OFF_RETRY_NS;
		verdict = QUEUE_RETRY_AFTER;
	}
	if (q->opts.fence)
		fence_leave(q->opts.fence, &member);
	return verdict;
}

static void work_off(struct queue *q, const char *key, struct item *item)
{
	int64_t base_ns = q->opts.backoff_base_ns ? q->opts.backoff_base_ns : NS_PER_S;
	int64_t max_ns = q->opts.backoff_max_ns ? q->opts.backoff_max_ns : 300 * NS_PER_S;
	int64_t after_ns = 0;
	struct ctx ctx;

	item->due_ns = INT64_MAX;
	item->is_at_work = true;
	run.reconciles += *key != '\0'; /* the provisioner's own housekeeping does not count */
	ctx_init(&ctx, q->opts.timeout_ns);
	switch (reconcile(q, &ctx, key, &after_ns)) {
	case QUEUE_DONE:
		item->failures = 0;
		break;
	case QUEUE_RETRY:
		after_ns = item->failures < 20 ? base_ns << item->failures : max_ns;
		item->failures++;
		queue_add_after(q, key, after_ns < max_ns ? after_ns : max_ns);
		break;
	case QUEUE_RETRY_AFTER:
		queue_add_after(q, key, after_ns);
		break;
	}
	ctx_done(&ctx);
	item->is_at_work = false;
}

static bool is_due(const struct item *item)
{
	return item->due_ns <= run.now_ns && !item->is_at_work;
}

/* One key that is due now, of any queue. */
static bool run_one(void)
{
	for (struct queue *q = run.queues; q; q = q->next) {
		autofree char *first = NULL;
		struct item *found = NULL;
		const char *key;
		void *item;

		if (!q->is_running)
			continue;
		for (size_t it = 0; map_next(q->items, &it, &key, &item);) {
			if (!is_due(item) || (found && found->turn < ((struct item *)item)->turn))
				continue;
			found = item;
			free(first);
			first = xstrdup(key);
		}
		if (!found)
			continue;
		work_off(q, first, found);
		return true;
	}
	return false;
}

static void run_timers(void)
{
	for (struct ev_timer *t = run.timers; t; t = t->next)
		if (t->is_on)
			t->fn(t->arg);
}

static void without_protection(const char *path, const struct json *meta)
{
	autostr struct str patch = STR_INIT;
	struct json_writer w = JSON_WRITER(&patch);
	const struct json *value;
	const char *none;

	str_append(&patch, "{\"metadata\":{\"finalizers\":");
	json_begin_array(&w);
	for (struct json_it it = json_each(json_get(meta, "finalizers"));
	     json_next(&it, &none, &value);)
		if (!str_has_prefix(json_string(value), "kubernetes.io/"))
			json_put_value(&w, value);
	json_end_array(&w);
	str_append(&patch, "}}");
	fake_merge(path, str_get(&patch));
}

static bool is_protected(const struct json *meta)
{
	const struct json *value;
	const char *none;

	for (struct json_it it = json_each(json_get(meta, "finalizers"));
	     json_next(&it, &none, &value);)
		if (str_has_prefix(json_string(value), "kubernetes.io/"))
			return true;
	return false;
}

/* Whether the claim that a PV names is there with the right UID, and unbound. */
static int look_at_claim(const struct json *ref, char **ret_path)
{
	autojson struct json_doc *doc = NULL;
	const char *text;
	struct err err;

	if (kube_object_path(&core_pvc_type, json_get_string(ref, "namespace"),
			     json_get_string(ref, "name"), ret_path, &err) < 0 ||
	    !fake_has(*ret_path))
		return -1;
	text = fake_text(*ret_path);
	if (json_parse(text, strlen(text), &doc, &err) < 0 ||
	    !str_is_equal(json_path_string(json_root(doc), "metadata.uid"),
			  json_get_string(ref, "uid")))
		return -1;
	return str_is_empty(json_path_string(json_root(doc), "spec.volumeName"));
}

static bool manage_pv(const char *path, const struct json *root)
{
	const struct json *ref = json_path(root, "spec.claimRef");
	const char *phase = json_path_string(root, "status.phase");
	autofree char *claim_path = NULL;
	autofree char *patch = NULL;
	int is_unbound;

	if (!ref)
		return false;
	is_unbound = look_at_claim(ref, &claim_path);
	if (is_unbound < 0 && !str_is_equal(phase, "Released")) {
		fake_merge(path, "{\"status\":{\"phase\":\"Released\"}}");
		return true;
	}
	if (is_unbound != 1)
		return false;
	patch = xasprintf("{\"spec\":{\"volumeName\":\"%s\"},\"status\":{\"phase\":\"Bound\"}}",
			  json_path_string(root, "metadata.name"));
	fake_merge(claim_path, patch);
	fake_merge(path, "{\"status\":{\"phase\":\"Bound\"}}");
	return true;
}

static bool manage_object(const char *path, const char *text)
{
	autojson struct json_doc *doc = NULL;
	const struct json *meta;
	struct err err;
	const struct kube_type *type = fake_type(text);

	if (json_parse(text, strlen(text), &doc, &err) < 0)
		return false;
	meta = json_get(json_root(doc), "metadata");
	if (json_get(meta, "deletionTimestamp") && is_protected(meta) &&
	    (type != &core_pv_type ||
	     !str_is_equal(json_path_string(json_root(doc), "status.phase"), "Bound"))) {
		without_protection(path, meta);
		return true;
	}
	return type == &core_pv_type && manage_pv(path, json_root(doc));
}

void fake_employ_manager(bool is_on)
{
	run.has_manager = is_on;
}

bool fake_manage(void)
{
	const char *path;
	void *text;

	for (size_t it = 0; map_next(fake_objects(), &it, &path, &text);) {
		autofree char *copy = xstrdup(path);

		if (manage_object(copy, text))
			return true;
	}
	return false;
}

void fake_settle(void)
{
	bool is_moving = true;

	for (unsigned round = 0; is_moving; round++) {
		assert(round < 1000);
		is_moving = run.has_manager && fake_manage();
		fake_sync();
		run_timers();
		is_moving |= run_one();
	}
}

static int64_t next_due(void)
{
	int64_t due_ns = INT64_MAX;
	const char *key;
	void *item;

	for (struct queue *q = run.queues; q; q = q->next)
		for (size_t it = 0; map_next(q->items, &it, &key, &item);)
			if (q->is_running && ((struct item *)item)->due_ns < due_ns)
				due_ns = ((struct item *)item)->due_ns;
	return due_ns;
}

void fake_run(int64_t limit_ns)
{
	int64_t end_ns = run.now_ns + limit_ns;

	fake_settle();
	while (next_due() <= end_ns) {
		run.now_ns = next_due();
		clock_fake_set(run.now_ns);
		fake_settle();
	}
	run.now_ns = end_ns;
	clock_fake_set(end_ns);
}

size_t fake_adds(const char *queue)
{
	return str_is_equal(queue, "claims") ? run.claims_added : run.volumes_added;
}

size_t fake_reconciles(void)
{
	return run.reconciles;
}
