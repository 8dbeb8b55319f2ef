/* SPDX-License-Identifier: Apache-2.0 */
/* The journal against a small API server of this file's, which may be asked by many threads. */
#include "check.h"

#include <limits.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/journal.h"
#include "event/sync.h"
#include "kube/client.h"

#include <poll.h>
#include <stdatomic.h>

#define THREADS 64
#define LEASES_PATH "/apis/coordination.k8s.io/v1/namespaces/ns/leases/"
#define FIRST LEASES_PATH "j"

static struct {
	pthread_mutex_t lock;
	struct map *objects; /* path → text */
	unsigned version;
	unsigned n_writes;
	enum err_code fails; /* every write, with this */
	bool loses;          /* the answer of the next write */
	int takes_ms;        /* each write */
} api = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int answer(const char *text, struct json_doc **ret, struct err *err)
{
	return ret ? json_parse(text, strlen(text), ret, err) : 0;
}

int kube_get(struct kube_client *c, struct ctx *ctx, const char *path, struct json_doc **ret,
	     struct err *err)
{
	const char *text;

	LOCK_SCOPE(&api.lock);
	text = map_find(api.objects, path);
	return text ? answer(text, ret, err) : err_set(err, ERR_NOT_FOUND, "no %s", path);
}

static void put_metadata(struct json_writer *w, const struct json *meta)
{
	const struct json *value;
	const char *key;

	json_begin_object(w);
	for (struct json_it it = json_each(meta); json_next(&it, &key, &value);) {
		if (str_is_equal(key, "resourceVersion"))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	{
		autofree char *version = xasprintf("%u", ++api.version);

		json_field_string(w, "resourceVersion", version);
	}
	json_end_object(w);
}

static int store(const char *path, const char *body, struct json_doc **ret, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct str text = STR_INIT;
	struct json_writer w = JSON_WRITER(&text);

	if (json_parse(body, strlen(body), &doc, err) < 0)
		return -1;
	json_begin_object(&w);
	json_key(&w, "metadata");
	put_metadata(&w, json_get(json_root(doc), "metadata"));
	json_end_object(&w);
	free(map_put(api.objects, path, str_take(&text)));
	api.n_writes++;
	if (api.loses) {
		api.loses = false;
		return err_set(err, ERR_UNAVAILABLE, "the answer got lost");
	}
	return answer(map_find(api.objects, path), ret, err);
}

static const char *version_of(const char *text, char version[16])
{
	autojson struct json_doc *doc = NULL;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	(void)snprintf(version, 16, "%s",
		       str_or(json_path_string(json_root(doc), "metadata.resourceVersion"), ""));
	return version;
}

static int update(const char *path, const char *body, struct json_doc **ret, struct err *err)
{
	char is[16], wanted[16];

	if (api.takes_ms)
		(void)poll(NULL, 0, api.takes_ms);
	LOCK_SCOPE(&api.lock);
	if (api.fails)
		return err_set(err, api.fails, "update leases: no");
	if (!map_find(api.objects, path))
		return err_set(err, ERR_NOT_FOUND, "no %s", path);
	if (!str_is_equal(version_of(map_find(api.objects, path), is), version_of(body, wanted)))
		return err_set(err, ERR_ABORTED, "%s was changed", path);
	return store(path, body, ret, err);
}

static int create(const char *path, const char *body, struct json_doc **ret, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	autofree char *full = NULL;

	ASSERT_OK(json_parse(body, strlen(body), &doc, err), err);
	full = xasprintf("%s/%s", path, json_path_string(json_root(doc), "metadata.name"));
	LOCK_SCOPE(&api.lock);
	if (api.fails)
		return err_set(err, api.fails, "create leases: no");
	if (map_find(api.objects, full))
		return err_set(err, ERR_ALREADY_EXISTS, "%s is there", full);
	return store(full, body, ret, err);
}

int kube_write(struct kube_client *c, struct ctx *ctx, const struct kube_write *write,
	       struct json_doc **ret, struct err *err)
{
	if (write->verb == KUBE_CREATE)
		return create(write->path, write->body, ret, err);
	ASSERT_EQ(write->verb, KUBE_UPDATE);
	return update(write->path, write->body, ret, err);
}

/* ---- the fixture ---- */

static struct ctx ctx;
static struct err err;

static int set_up(void **state)
{
	api.objects = map_new();
	api.version = api.n_writes = 0;
	api.fails = ERR_OK;
	api.loses = false;
	api.takes_ms = 0;
	ctx_init(&ctx, 0);
	return 0;
}

static int tear_down(void **state)
{
	void *text;

	for (size_t it = 0; map_next(api.objects, &it, NULL, &text);)
		free(text);
	map_free(api.objects);
	ctx_done(&ctx);
	return 0;
}

static struct journal *make(size_t object_bytes, unsigned objects_max)
{
	return journal_new(&(struct journal_options){ .ns = "ns",
						      .name = "j",
						      .holder = "me",
						      .object_bytes = object_bytes,
						      .objects_max = objects_max });
}

static struct intent make_intent(const char *uid, const char *place)
{
	static struct vol_capability cap = { .access = VOL_ACCESS_MOUNT,
					     .mode = VOL_MODE_SINGLE_NODE_WRITER,
					     .fs_type = "ext4",
					     .mount_group = "" };
	struct intent it = { .uid = uid,
			     .ns = "default",
			     .claim = "data",
			     .claim_version = "7",
			     .class_name = "fast",
			     .provisioner = "d",
			     .reclaim_policy = "Delete",
			     .volume_mode = "Filesystem",
			     .fs_type = "ext4",
			     .attributes_class = "",
			     .place = place };

	it.request.name = uid;
	it.request.capacity_range.required_bytes = 1 << 20;
	it.request.volume_capabilities = &cap;
	it.request.n_volume_capabilities = 1;
	it.request.volume_content_source.id = "";
	return it;
}

static int put(struct journal *j, const char *uid, const char *place)
{
	struct intent it = make_intent(uid, place);

	return journal_put(j, &ctx, &it, &err);
}

static struct journal *open_journal(size_t object_bytes, unsigned objects_max)
{
	struct journal *j = make(object_bytes, objects_max);

	ASSERT_OK(journal_open(j, &ctx, &err), &err);
	return j;
}

static bool is_stored(const char *path, const char *uid)
{
	const char *text;

	LOCK_SCOPE(&api.lock);
	text = map_find(api.objects, path);
	return text && strstr(text, uid);
}

/* ---- tests ---- */

TEST(an_intent_is_durable_when_put_and_gone_when_flushed)
{
	struct journal *j = open_journal(0, 0);
	struct intent it;
	autoarena struct arena *arena = arena_new();

	ASSERT_OK(put(j, "u1", "here"), &err);
	ASSERT_TRUE(is_stored(FIRST, "u1") && journal_has(j, "u1"));
	ASSERT_EQ(journal_find(j, arena, "u1", &it, &err), 1);
	ASSERT_STR(it.claim, "data");
	ASSERT_STR(journal_key(j, arena, "u1"), "default/data");
	journal_drop(j, "u1");
	ASSERT_FALSE(journal_has(j, "u1"));
	ASSERT_TRUE(is_stored(FIRST, "u1"));
	ASSERT_OK(journal_flush(j, &ctx, &err), &err);
	ASSERT_FALSE(is_stored(FIRST, "u1"));
	journal_free(j);
}

/* Opening 1; an intent alone 1; what it drops rides along with the next. */
TEST(a_drop_rides_along)
{
	struct journal *j = open_journal(0, 0);

	ASSERT_OK(put(j, "u1", ""), &err);
	journal_drop(j, "u1");
	ASSERT_OK(put(j, "u2", ""), &err);
	ASSERT_EQ(api.n_writes, 3);
	ASSERT_TRUE(!is_stored(FIRST, "u1") && is_stored(FIRST, "u2"));
	ASSERT_OK(put(j, "u2", ""), &err); /* the same again is no write */
	ASSERT_OK(journal_flush(j, &ctx, &err), &err);
	ASSERT_EQ(api.n_writes, 3);
	journal_free(j);
}

/* While intents come, what they leave goes with the next of them. */
TEST(a_drop_has_time_until_nobody_puts)
{
	struct journal *j = open_journal(0, 0);

	ASSERT_EQ(journal_flush_in(j, 600 * NS_PER_S), 0);
	ASSERT_OK(put(j, "u1", ""), &err);
	ASSERT_EQ(journal_flush_in(j, 600 * NS_PER_S), 0);
	journal_drop(j, "u1");
	ASSERT_TRUE(journal_flush_in(j, 600 * NS_PER_S) > 500 * NS_PER_S);
	ASSERT_EQ(journal_flush_in(j, 0), 0);
	ASSERT_OK(put(j, "u2", ""), &err);
	ASSERT_EQ(journal_flush_in(j, 600 * NS_PER_S), 0);
	ASSERT_FALSE(is_stored(FIRST, "u1"));
	journal_free(j);
}

static struct journal *shared;

static void *put_one(void *arg)
{
	autofree char *uid = xasprintf("u%u", *(unsigned *)arg);
	struct intent it = make_intent(uid, "here");
	struct ctx own;
	struct err why;
	bool is_well;

	ctx_init(&own, 0);
	is_well = journal_put(shared, &own, &it, &why) == 0 && is_stored(FIRST, uid);
	ctx_done(&own);
	return is_well ? arg : NULL;
}

TEST(many_go_together_in_few_writes)
{
	pthread_t threads[THREADS];
	unsigned numbers[THREADS];

	shared = open_journal(0, 0);
	api.takes_ms = 2;
	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = i;
		ASSERT_EQ(pthread_create(&threads[i], NULL, put_one, &numbers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		void *is_well;

		(void)pthread_join(threads[i], &is_well);
		ASSERT_TRUE(is_well != NULL);
	}
	ASSERT_TRUE(api.n_writes < THREADS / 2);
	journal_free(shared);
}

static struct journal *open_gathering(int64_t gather_ns, unsigned crowd)
{
	struct journal *j = journal_new(&(struct journal_options){
		.ns = "ns", .name = "j", .holder = "me", .gather_ns = gather_ns, .crowd = crowd });

	ASSERT_OK(journal_open(j, &ctx, &err), &err);
	return j;
}

/* Opening 1; the first at once 1; the others when they are a crowd, long before their time 1. */
TEST(those_of_a_burst_wait_for_each_other)
{
	pthread_t threads[4];
	unsigned numbers[ARRAY_LEN(threads)];

	shared = open_gathering(600 * NS_PER_S, ARRAY_LEN(threads));
	ASSERT_OK(put(shared, "first", ""), &err);
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
		numbers[i] = i;
		ASSERT_EQ(pthread_create(&threads[i], NULL, put_one, &numbers[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
		void *is_well;

		(void)pthread_join(threads[i], &is_well);
		ASSERT_TRUE(is_well != NULL);
	}
	ASSERT_EQ(api.n_writes, 3);
	journal_free(shared);
}

TEST(nobody_waits_for_others_longer_than_that)
{
	struct journal *j = open_gathering(20 * NS_PER_MS, 4);
	int64_t begin_ns = clock_now_ns();

	ASSERT_OK(put(j, "u1", ""), &err);
	ASSERT_OK(put(j, "u2", ""), &err);
	ASSERT_TRUE(clock_now_ns() - begin_ns >= 20 * NS_PER_MS);
	ASSERT_TRUE(is_stored(FIRST, "u1") && is_stored(FIRST, "u2"));
	ASSERT_EQ(api.n_writes, 3);
	journal_free(j);
}

TEST(who_is_cut_off_while_it_waits_for_others_has_put_nothing)
{
	struct journal *j = open_gathering(600 * NS_PER_S, 4);
	struct intent it = make_intent("u2", "");
	struct ctx own;

	ASSERT_OK(put(j, "u1", ""), &err);
	ctx_init(&own, 10 * NS_PER_MS);
	ASSERT_ERR(journal_put(j, &own, &it, &err), &err, ERR_DEADLINE_EXCEEDED,
		   "record the intent");
	ctx_done(&own);
	ASSERT_FALSE(journal_has(j, "u2"));
	ASSERT_OK(journal_flush(j, &ctx, &err), &err);
	ASSERT_TRUE(is_stored(FIRST, "u1") && !is_stored(FIRST, "u2"));
	journal_free(j);
}

TEST(the_next_leader_finds_it_and_the_deposed_one_can_write_no_more)
{
	struct journal *old = open_journal(0, 0);
	struct journal *new;
	autoarena struct arena *arena = arena_new();
	struct intent_strings uids;

	ASSERT_OK(put(old, "u1", ""), &err);
	new = open_journal(0, 0);
	uids = journal_uids(new, arena, "default/data");
	ASSERT_EQ(uids.n, 1);
	ASSERT_STR(uids.v[0], "u1");
	ASSERT_ERR(put(old, "u2", ""), &err, ERR_ABORTED, "another process leads");
	ASSERT_FALSE(journal_is_open(old) || is_stored(FIRST, "u2"));
	ASSERT_OK(put(new, "u3", ""), &err);
	ASSERT_TRUE(is_stored(FIRST, "u1") && is_stored(FIRST, "u3"));
	journal_free(old);
	journal_free(new);
}

/* kubectl label, say. */
TEST(a_change_by_others_is_kept_and_no_reason_to_stop)
{
	struct journal *j = open_journal(0, 0);
	struct str text = STR_INIT;
	char *was;

	was = map_take(api.objects, FIRST);
	str_append(&text, "{\"metadata\":{\"labels\":{\"team\":\"blue\"},");
	str_append(&text, strstr(was, "\"name\""));
	free(was);
	(void)map_put(api.objects, FIRST, str_take(&text));
	{
		struct err ignored;
		struct json_doc *doc = NULL;

		/* a version of its own */
		ASSERT_OK(store(FIRST, map_find(api.objects, FIRST), &doc, &ignored), &ignored);
		json_free(doc);
	}
	ASSERT_OK(put(j, "u1", ""), &err);
	ASSERT_TRUE(is_stored(FIRST, "u1") && is_stored(FIRST, "blue"));
	journal_free(j);
}

TEST(a_write_that_may_have_got_through_is_taken_back)
{
	struct journal *j = open_journal(0, 0);

	api.loses = true;
	ASSERT_ERR(put(j, "u1", ""), &err, ERR_UNAVAILABLE, "lost");
	ASSERT_FALSE(journal_has(j, "u1"));
	ASSERT_TRUE(is_stored(FIRST, "u1"));
	ASSERT_OK(put(j, "u2", ""), &err);
	ASSERT_FALSE(is_stored(FIRST, "u1"));
	journal_free(j);
}

TEST(nothing_is_taken_while_it_is_closed)
{
	struct journal *j = make(0, 0);

	ASSERT_ERR(put(j, "u1", ""), &err, ERR_ABORTED, "not open");
	ASSERT_OK(journal_open(j, &ctx, &err), &err);
	journal_close(j);
	ASSERT_ERR(put(j, "u1", ""), &err, ERR_ABORTED, "not open");
	ASSERT_OK(journal_open(j, &ctx, &err), &err);
	ASSERT_OK(put(j, "u1", ""), &err);
	journal_free(j);
}

/* Pausing cancels whoever opens, and closes. */
TEST(an_open_that_was_cancelled_opens_nothing)
{
	struct journal *j = make(0, 0);
	struct ctx cancelled;

	ctx_init(&cancelled, 0);
	ctx_cancel(&cancelled);
	ASSERT_TRUE(journal_open(j, &cancelled, &err) < 0);
	ASSERT_FALSE(journal_is_open(j));
	ctx_done(&cancelled);
	ASSERT_OK(journal_open(j, &ctx, &err), &err);
	journal_free(j);
}

TEST(past_one_object_there_are_more_and_an_end)
{
	struct journal *j = open_journal(800, 3);
	struct journal *next;
	autoarena struct arena *arena = arena_new();
	unsigned n = 0;

	for (;; n++) {
		autofree char *uid = xasprintf("u%u", n);

		if (put(j, uid, "") < 0)
			break;
	}
	ASSERT_EQ(err.code, ERR_RESOURCE_EXHAUSTED);
	ASSERT_TRUE(strstr(err.msg, "full") && n > 3);
	ASSERT_TRUE(map_find(api.objects, FIRST "-2") && map_find(api.objects, FIRST "-3"));
	ASSERT_FALSE(map_find(api.objects, FIRST "-4"));
	next = open_journal(800, 3);
	ASSERT_EQ(journal_uids(next, arena, NULL).n, n);
	journal_free(j);
	journal_free(next);
}

/* How many intents one object of 800 bytes takes. */
static struct journal *open_node(const char *node)
{
	struct journal *j = journal_new(&(struct journal_options){ .ns = "ns",
								   .name = "j",
								   .node = node,
								   .holder = node,
								   .object_bytes = 400,
								   .objects_max = 2 });

	ASSERT_OK(journal_open(j, &ctx, &err), &err);
	return j;
}

/* A node may be named as another one's second object would be. */
TEST(no_node_s_object_is_another_s_or_that_of_all)
{
	static const char *const nodes[] = { "w", "w-2", "2-w", "w.2" };
	static const char *const paths[] = { LEASES_PATH "j-w",   LEASES_PATH "j.2-w",
					     LEASES_PATH "j-w-2", LEASES_PATH "j.2-w-2",
					     LEASES_PATH "j-2-w", LEASES_PATH "j.2-2-w",
					     LEASES_PATH "j-w.2", LEASES_PATH "j.2-w.2" };
	struct journal *js[ARRAY_LEN(nodes)];

	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		js[i] = open_node(nodes[i]);
	for (unsigned k = 0; k < 2; k++) {
		for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
			autofree char *uid = xasprintf("u%u-%zu", k, i);

			ASSERT_OK(put(js[i], uid, ""), &err);
			ASSERT_TRUE(is_stored(paths[2 * i + k], uid));
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		journal_free(js[i]);
}

static unsigned fill_one(struct journal *j)
{
	unsigned n = 0;

	while (!map_find(api.objects, FIRST "-2")) {
		autofree char *uid = xasprintf("u%u", n);

		if (put(j, uid, "") < 0)
			break;
		n++;
	}
	return n;
}

/* The leader found one object; whoever was deposed must not make a second that nobody reads. */
TEST(the_deposed_one_makes_no_further_object)
{
	struct journal *old = open_journal(800, 1);
	unsigned n = fill_one(old);
	struct journal *new;

	journal_free(old);
	old = open_journal(800, 3); /* with all that, it is full */
	ASSERT_TRUE(n > 0);
	new = open_journal(800, 3);
	ASSERT_ERR(put(old, "late", ""), &err, ERR_ABORTED, "another process leads");
	ASSERT_FALSE(map_find(api.objects, FIRST "-2"));
	ASSERT_OK(put(new, "next", ""), &err);
	ASSERT_TRUE(is_stored(FIRST "-2", "next"));
	journal_free(old);
	journal_free(new);
}

/* Killed between telling of an object and making it. */
TEST(an_object_that_was_told_of_is_made_by_the_next_leader)
{
	struct journal *j;

	(void)map_put(api.objects, FIRST,
		      xstrdup("{\"metadata\":{\"name\":\"j\",\"resourceVersion\":\"1\","
			      "\"annotations\":{\"intents.cleat.csi/leases\":\"2\"}}}"));
	j = open_journal(800, 3);
	ASSERT_TRUE(is_stored(FIRST "-2", "intents.cleat.csi/term"));
	ASSERT_TRUE(is_stored(FIRST, "\"intents.cleat.csi/leases\":\"2\""));
	ASSERT_FALSE(map_find(api.objects, FIRST "-3"));
	journal_free(j);
}

/* kubectl delete lease */
TEST(an_object_removed_by_hand_is_made_anew)
{
	struct journal *j = open_journal(0, 0);

	ASSERT_OK(put(j, "u1", ""), &err);
	free(map_take(api.objects, FIRST));
	ASSERT_OK(put(j, "u2", ""), &err);
	ASSERT_TRUE(is_stored(FIRST, "u1") && is_stored(FIRST, "u2"));
	journal_free(j);
}

/* Which pools are forgotten, above all. */
TEST(one_made_anew_has_what_others_wrote_into_it)
{
	struct journal *j;

	(void)map_put(
		api.objects, FIRST,
		xstrdup("{\"metadata\":{\"name\":\"j\",\"resourceVersion\":\"1\",\"uid\":\"old\","
			"\"labels\":{\"team\":\"blue\"},\"annotations\":{\"forgotten.cleat.csi/p\":"
			"\"then\"}}}"));
	j = open_journal(0, 0);
	free(map_take(api.objects, FIRST));
	ASSERT_OK(put(j, "u1", ""), &err);
	ASSERT_TRUE(is_stored(FIRST, "u1"));
	ASSERT_TRUE(is_stored(FIRST, "\"forgotten.cleat.csi/p\":\"then\""));
	ASSERT_TRUE(is_stored(FIRST, "\"labels\":{\"team\":\"blue\"}"));
	ASSERT_FALSE(is_stored(FIRST, "\"uid\":\"old\""));
	ASSERT_OK(put(j, "u2", ""), &err);
	ASSERT_TRUE(is_stored(FIRST, "u2") && is_stored(FIRST, "forgotten.cleat.csi/p"));
	journal_free(j);
}

TEST(dead_places_leave_room_for_the_others)
{
	struct journal *j = open_journal(8000, 4);
	unsigned n_before = UINT_MAX;

	for (unsigned dead = 0; dead < 3; dead++) {
		autofree char *place = xasprintf("dead%u=here", dead);
		unsigned n = 0;

		for (;; n++) {
			autofree char *uid = xasprintf("dead%u-%u", dead, n);

			if (put(j, uid, place) < 0)
				break;
		}
		ASSERT_EQ(err.code, ERR_RESOURCE_EXHAUSTED);
		ASSERT_TRUE(strstr(err.msg, place) && n > 1 && n < n_before);
		n_before = n;
	}
	ASSERT_OK(put(j, "u1", "other=here"), &err);
	journal_free(j);
}

static void take_line(void *arg, const char *line)
{
	str_append(arg, line);
}

TEST(where_leases_are_forbidden_it_is_memory_and_says_so)
{
	struct journal *j = make(0, 0);
	autostr struct str lines = STR_INIT;

	api.fails = ERR_PERMISSION_DENIED;
	log_set_sink(take_line, &lines);
	ASSERT_OK(journal_open(j, &ctx, &err), &err);
	log_set_sink(NULL, NULL);
	ASSERT_TRUE(strstr(str_get(&lines), "intents are kept in memory only"));
	ASSERT_OK(put(j, "u1", ""), &err);
	ASSERT_TRUE(journal_has(j, "u1"));
	journal_drop(j, "u1");
	ASSERT_OK(journal_flush(j, &ctx, &err), &err);
	journal_free(j);
}

TEST(what_a_later_version_wrote_is_left_alone)
{
	struct journal *j;
	autoarena struct arena *arena = arena_new();
	struct intent it;

	(void)map_put(
		api.objects, FIRST,
		xstrdup("{\"metadata\":{\"name\":\"j\",\"resourceVersion\":\"1\",\"annotations\":"
			"{\"intents.cleat.csi/u9\":\"{\\\"needs\\\":[\\\"x\\\"]}\"}}}"));
	j = open_journal(0, 0);
	ASSERT_EQ(journal_uids(j, arena, NULL).n, 0);
	ASSERT_EQ(journal_find(j, arena, "u9", &it, &err), -1);
	ASSERT_OK(put(j, "u1", ""), &err);
	ASSERT_TRUE(is_stored(FIRST, "u9"));
	journal_free(j);
}

#define J(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(J(an_intent_is_durable_when_put_and_gone_when_flushed), J(a_drop_rides_along),
	  J(a_drop_has_time_until_nobody_puts), J(many_go_together_in_few_writes),
	  J(those_of_a_burst_wait_for_each_other), J(nobody_waits_for_others_longer_than_that),
	  J(who_is_cut_off_while_it_waits_for_others_has_put_nothing),
	  J(the_next_leader_finds_it_and_the_deposed_one_can_write_no_more),
	  J(a_change_by_others_is_kept_and_no_reason_to_stop),
	  J(a_write_that_may_have_got_through_is_taken_back),
	  J(nothing_is_taken_while_it_is_closed), J(an_open_that_was_cancelled_opens_nothing),
	  J(past_one_object_there_are_more_and_an_end),
	  J(no_node_s_object_is_another_s_or_that_of_all),
	  J(the_deposed_one_makes_no_further_object),
	  J(an_object_that_was_told_of_is_made_by_the_next_leader),
	  J(an_object_removed_by_hand_is_made_anew), J(one_made_anew_has_what_others_wrote_into_it),
	  J(dead_places_leave_room_for_the_others),
	  J(where_leases_are_forbidden_it_is_memory_and_says_so),
	  J(what_a_later_version_wrote_is_left_alone))
