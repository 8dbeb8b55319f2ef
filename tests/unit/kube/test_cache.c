/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/mem.h"
#include "kube/cache.h"
#include "thing.h"

#include <malloc.h>
#include <stdio.h>

struct fixture {
	struct cache cache;
	struct str told; /* "+a1 " new, "~a1>2 " changed, "-a2 " gone; letter is the name, figure
			    the version */
};

static struct kube_object *make(const char *name, unsigned version, const char *uid)
{
	autofree char *text = xasprintf("{\"metadata\":{\"name\":\"%s\",\"uid\":\"%s\","
					"\"resourceVersion\":\"%u\"}}",
					name, uid, version);
	autojson struct json_doc *doc = NULL;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	return kube_object_decode(&thing_type, json_root(doc));
}

static void on_change(void *arg, const struct kube_object *old_obj,
		      const struct kube_object *new_obj)
{
	struct fixture *f = arg;

	if (!old_obj)
		str_appendf(&f->told, "+%s%s ", new_obj->name, new_obj->resource_version);
	else if (!new_obj)
		str_appendf(&f->told, "-%s%s ", old_obj->name, old_obj->resource_version);
	else
		str_appendf(&f->told, "~%s%s>%s ", new_obj->name, old_obj->resource_version,
			    new_obj->resource_version);
}

static void expect(struct fixture *f, const char *want)
{
	ASSERT_STR(str_get(&f->told), want);
	str_reset(&f->told);
}

static void apply(struct fixture *f, const char *name, unsigned version)
{
	cache_apply(&f->cache, make(name, version, "u"));
}

static void remove_at(struct fixture *f, const char *name, unsigned version)
{
	autokobj const struct kube_object *o = make(name, version, "u");

	cache_remove(&f->cache, o);
}

static void note(struct fixture *f, const char *name, unsigned version)
{
	autokobj const struct kube_object *o = make(name, version, "u");

	if (cache_note(&f->cache, o))
		cache_tell(&f->cache);
}

static const char *version_of(struct fixture *f, const char *name)
{
	static char version[32];
	autokobj const struct kube_object *o = cache_get(&f->cache, "", name);

	(void)snprintf(version, sizeof(version), "%s", o ? o->resource_version : "none");
	return version;
}

/* In sync with a list of version 10 that has a (5) and b (9). */
static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	cache_init(&f->cache);
	cache_add_handler(&f->cache, on_change, f);
	cache_begin_sync(&f->cache, false);
	apply(f, "a", 5);
	apply(f, "b", 9);
	ASSERT_TRUE(cache_end_sync(&f->cache, "10"));
	expect(f, "+a5 +b9 ");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	cache_done(&f->cache);
	str_done(&f->told);
	free(f);
	return 0;
}

TEST(events_change_and_remove)
{
	struct fixture *f = *state;

	apply(f, "a", 11);
	apply(f, "c", 12);
	remove_at(f, "b", 13);
	expect(f, "~a5>11 +c12 -b9 ");
	ASSERT_STR(version_of(f, "a"), "11");
	ASSERT_STR(version_of(f, "b"), "none");
}

TEST(old_news_is_not_told)
{
	struct fixture *f = *state;

	apply(f, "a", 5);
	apply(f, "a", 4);
	remove_at(f, "b", 8);
	remove_at(f, "z", 99);
	expect(f, "");
	ASSERT_STR(version_of(f, "b"), "9");
}

TEST(what_a_new_list_lacks_is_gone)
{
	struct fixture *f = *state;

	cache_begin_sync(&f->cache, false);
	apply(f, "b", 9);
	apply(f, "d", 15);
	ASSERT_TRUE(cache_end_sync(&f->cache, "20"));
	expect(f, "+d15 -a5 ");
}

TEST(a_sync_that_breaks_off_deletes_nothing)
{
	struct fixture *f = *state;

	cache_begin_sync(&f->cache, false);
	apply(f, "b", 12);
	cache_begin_sync(&f->cache, false);
	apply(f, "a", 5);
	ASSERT_TRUE(cache_end_sync(&f->cache, "20"));
	expect(f, "~b9>12 -b12 ");
}

TEST(a_write_newer_than_the_list_survives_it)
{
	struct fixture *f = *state;

	cache_begin_sync(&f->cache, false);
	note(f, "w", 25);
	apply(f, "a", 5);
	apply(f, "b", 9);
	ASSERT_TRUE(cache_end_sync(&f->cache, "20"));
	expect(f, "+w25 ");
}

TEST(a_write_is_told_once_whoever_comes_first)
{
	struct fixture *f = *state;

	note(f, "w", 11);
	apply(f, "w", 11);
	apply(f, "x", 12);
	note(f, "x", 12);
	note(f, "a", 13);
	apply(f, "a", 13);
	apply(f, "a", 14);
	expect(f, "+w11 +x12 ~a5>13 ~a13>14 ");
}

TEST(a_write_to_what_is_deleted_since_stays_dead)
{
	struct fixture *f = *state;

	apply(f, "w", 11);
	remove_at(f, "w", 12);
	note(f, "w", 11); /* an answer that was long on its way */
	expect(f, "+w11 -w11 ");
	ASSERT_STR(version_of(f, "w"), "none");
}

/* Noted by a worker, and overtaken by the watch before the loop came to tell it. */
TEST(changes_are_told_in_the_order_in_which_they_were_true)
{
	struct fixture *f = *state;
	autokobj const struct kube_object *first = make("a", 11, "u");
	autokobj const struct kube_object *second = make("b", 12, "u");

	ASSERT_TRUE(cache_note(&f->cache, first));
	apply(f, "a", 13);
	expect(f, "~a5>11 ~a11>13 ");
	ASSERT_TRUE(cache_note(&f->cache, second));
	remove_at(f, "b", 14);
	cache_tell(&f->cache);
	expect(f, "~b9>12 -b12 ");
}

TEST(a_restored_server_is_believed_at_the_second_list)
{
	struct fixture *f = *state;

	apply(f, "c", 30);
	apply(f, "a", 31);
	expect(f, "+c30 ~a5>31 ");
	cache_begin_sync(&f->cache, false);
	apply(f, "a", 7);
	ASSERT_FALSE(cache_end_sync(&f->cache, "20"));
	expect(f, "");
	cache_begin_sync(&f->cache, true);
	apply(f, "a", 7);
	ASSERT_TRUE(cache_end_sync(&f->cache, "21"));
	ASSERT_STR(version_of(f, "a"), "7");
	ASSERT_EQ(f->told.len, strlen("~a31>7 -b9 -c30 "));
	str_reset(&f->told);
	apply(f, "a", 22);
	note(f, "w", 23);
	expect(f, "~a7>22 +w23 ");
}

TEST(a_sync_holds_no_object_twice)
{
	struct fixture *f = *state;
	struct cache *c = &f->cache;

	cache_begin_sync(c, false);
	apply(f, "a", 5);
	apply(f, "b", 11);
	for (const char *const *name = (const char *const[]){ "a", "b", NULL }; *name; name++)
		ASSERT_TRUE(store_find(&c->seen, "", *name) == store_find(&c->store, "", *name));
	ASSERT_TRUE(cache_end_sync(c, "20"));
	ASSERT_EQ(c->seen.cap, 0);
}

TEST(a_deletion_does_not_hit_its_successor)
{
	struct fixture *f = *state;

	note(f, "a", 30); /* deleted and made again by us */
	remove_at(f, "a", 29);
	expect(f, "~a5>30 ");
	ASSERT_STR(version_of(f, "a"), "30");
}

TEST(another_object_of_the_same_name_is_two_changes)
{
	struct fixture *f = *state;

	cache_apply(&f->cache, make("a", 11, "another"));
	expect(f, "-a5 +a11 ");
}

TEST(before_the_first_sync_writes_are_left_to_the_list)
{
	struct cache c;
	autokobj const struct kube_object *o = make("a", 5, "u");

	cache_init(&c);
	ASSERT_FALSE(cache_note(&c, o));
	cache_done(&c);
}

TEST(a_late_handler_hears_what_is_there)
{
	struct fixture *f = *state;

	cache_replay(&f->cache, on_change, f);
	ASSERT_EQ(f->told.len, strlen("+a5 +b9 "));
	str_reset(&f->told);
	cache_drop_handlers(&f->cache);
	cache_replay(&f->cache, on_change, f);
	apply(f, "a", 11);
	expect(f, "");
}

TEST(every_handler_that_comes_is_told)
{
	struct fixture *f = *state;

	for (unsigned i = 1; i < 100; i++)
		cache_add_handler(&f->cache, on_change, f);
	apply(f, "a", 11);
	ASSERT_EQ(f->told.len, 100 * strlen("~a5>11 "));
	str_reset(&f->told);
}

static const char *uid_of(const struct kube_object *o, size_t i)
{
	return i == 0 && *o->uid ? o->uid : NULL;
}

static int append_name(void *arg, const struct kube_object *o)
{
	str_append(arg, o->name);
	return 0;
}

static void expect_in(struct fixture *f, const char *uid, const char *names)
{
	autostr struct str got = STR_INIT;

	cache_each_in(&f->cache, "uid", uid, append_name, &got);
	ASSERT_STR(str_get(&got), names);
}

/* Whatever way an object comes, changes and goes. */
TEST(an_index_has_what_the_cache_has)
{
	struct fixture *f = *state;
	autokobj const struct kube_object *late = make("d", 12, "u2");

	cache_add_index(&f->cache, "uid", uid_of);
	cache_add_index(&f->cache, "uid", uid_of);
	expect_in(f, "none", "");
	remove_at(f, "b", 10);
	expect_in(f, "u", "a");
	cache_apply(&f->cache, make("a", 11, "u2"));
	expect_in(f, "u", "");
	expect_in(f, "u2", "a");
	ASSERT_TRUE(cache_note(&f->cache, late));
	remove_at(f, "a", 13);
	expect_in(f, "u2", "d");
	cache_begin_sync(&f->cache, false);
	cache_apply(&f->cache, make("e", 14, ""));
	cache_apply(&f->cache, make("f", 15, "u3"));
	ASSERT_TRUE(cache_end_sync(&f->cache, "16"));
	expect_in(f, "u2", "");
	expect_in(f, "u3", "f");
	expect_in(f, "", "");
	str_reset(&f->told);
}

/* Returns the bytes in use when all was listed, before the end of the second. */
static size_t list_many(struct cache caches[2], unsigned n, const char *version)
{
	size_t fullest = 0;

	for (unsigned k = 0; k < 2; k++) {
		cache_begin_sync(&caches[k], false);
		for (unsigned i = 0; i < n; i++) {
			char name[64];

			(void)snprintf(name, sizeof(name), "pvc-1f3a1c2e-4d7b-9a51-%08u", i);
			cache_apply(&caches[k], make(name, i + 1, name));
		}
		fullest = mallinfo2().uordblks;
		ASSERT_TRUE(cache_end_sync(&caches[k], version));
	}
	return fullest;
}

/*
 * Claims and volumes of a large cluster. Meanwhile the table of what was seen is there besides, and
 * malloc counts the few freed pieces that it keeps at hand as in use; a sanitizer's tells nothing.
 */
TEST(listing_20000_again_takes_no_more_memory)
{
	struct cache caches[2];
	size_t before;
	size_t fullest;

	cache_init(&caches[0]);
	cache_init(&caches[1]);
	(void)list_many(caches, 10000, "20000");
	before = mallinfo2().uordblks;
	fullest = list_many(caches, 10000, "20001");
	if (fullest > before + before / 8)
		fail_msg("%zu bytes before, %zu at its fullest", before, fullest);
	if (mallinfo2().uordblks > before + before / 1000)
		fail_msg("%zu bytes before, %zu after", before, mallinfo2().uordblks);
	cache_done(&caches[0]);
	cache_done(&caches[1]);
}

#define CACHE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(CACHE(events_change_and_remove), CACHE(old_news_is_not_told),
	  CACHE(what_a_new_list_lacks_is_gone), CACHE(a_sync_that_breaks_off_deletes_nothing),
	  CACHE(a_write_newer_than_the_list_survives_it),
	  CACHE(a_write_is_told_once_whoever_comes_first),
	  CACHE(a_write_to_what_is_deleted_since_stays_dead),
	  CACHE(changes_are_told_in_the_order_in_which_they_were_true),
	  CACHE(a_restored_server_is_believed_at_the_second_list),
	  CACHE(a_sync_holds_no_object_twice), UNIT(listing_20000_again_takes_no_more_memory),
	  CACHE(a_deletion_does_not_hit_its_successor),
	  CACHE(another_object_of_the_same_name_is_two_changes),
	  UNIT(before_the_first_sync_writes_are_left_to_the_list),
	  CACHE(a_late_handler_hears_what_is_there), CACHE(every_handler_that_comes_is_told),
	  CACHE(an_index_has_what_the_cache_has))
