/* SPDX-License-Identifier: Apache-2.0 */
/* Whose volume an id names, and what some pool of a process can. */
#include "backend/pool/pool.h"
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/host.h"

struct env {
	struct registry *r;
	struct ctx ctx;
	struct err err;
};

static void setup(struct env *e)
{
	fake_host_reset(GIB);
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	fake_host_reset(0);
}

static struct backend *add_mem(struct env *e, const char *name)
{
	const struct backend_config config = { .kind = "mem", .name = name, .mem_bytes = GIB };

	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	return registry_at(e->r, registry_count(e->r) - 1);
}

TEST(an_id_is_resolved_by_the_pool_that_it_names)
{
	char token[VOL_TOKEN_MAX];
	char id[VOL_ID_MAX];
	struct backend *one, *two, *found;
	struct env e;

	setup(&e);
	one = add_mem(&e, "one");
	two = add_mem(&e, "two");
	backend_format_id(two, VOL_KIND_VOLUME, "pvc-1", id);
	ASSERT_OK(registry_resolve(e.r, VOL_KIND_VOLUME, id, &found, token, &e.err), &e.err);
	ASSERT_TRUE(found == two && found != one);
	ASSERT_STR(token, "pvc-1");
	ASSERT_ERR(backend_resolve(one, VOL_KIND_VOLUME, id, token, &e.err), &e.err, ERR_NOT_FOUND,
		   "another pool");
	teardown(&e);
}

TEST(an_id_of_a_pool_that_is_not_here_is_known_and_a_strange_one_is_not)
{
	char token[VOL_TOKEN_MAX];
	struct backend *found;
	struct env e;

	setup(&e);
	found = add_mem(&e, "one");
	ASSERT_OK(registry_resolve(e.r, VOL_KIND_VOLUME, "v1-00112233445566778899aabbccddeeff-gone",
				   &found, token, &e.err),
		  &e.err);
	ASSERT_TRUE(found == NULL);
	ASSERT_STR(token, "gone");
	ASSERT_ERR(registry_resolve(e.r, VOL_KIND_VOLUME, "0001-0009-rook-ceph-0000000000000001-x",
				    &found, token, &e.err),
		   &e.err, ERR_NOT_FOUND, "not an id");
	ASSERT_ERR(registry_resolve(e.r, VOL_KIND_VOLUME, "v2-00112233445566778899aabbccddeeff-x",
				    &found, token, &e.err),
		   &e.err, ERR_FAILED_PRECONDITION, "another version");
	teardown(&e);
}

/* Handles of its own: "img/NAME". */
static int resolve_image(const struct backend *b, enum vol_kind kind, const char *id,
			 char ret_token[VOL_TOKEN_MAX], struct err *err)
{
	if (kind != VOL_KIND_VOLUME || !str_has_prefix(id, "img/"))
		return err_set(err, ERR_NOT_FOUND, "no handle of an image");
	(void)snprintf(ret_token, VOL_TOKEN_MAX, "%s", id + strlen("img/"));
	return 0;
}

static void format_image(const struct backend *b, enum vol_kind kind, const char *token,
			 char ret_id[VOL_ID_MAX])
{
	(void)snprintf(ret_id, VOL_ID_MAX, "img/%s", token);
}

TEST(a_backend_may_have_handles_of_its_own)
{
	static const struct backend_ops ops = { .name = "images",
						.resolve = resolve_image,
						.format_id = format_image };
	const struct backend b = { .ops = &ops };
	char token[VOL_TOKEN_MAX];
	char id[VOL_ID_MAX];
	struct err err;

	backend_format_id(&b, VOL_KIND_VOLUME, "a", id);
	ASSERT_STR(id, "img/a");
	ASSERT_OK(backend_resolve(&b, VOL_KIND_VOLUME, id, token, &err), &err);
	ASSERT_STR(token, "a");
	ASSERT_ERR(backend_resolve(&b, VOL_KIND_VOLUME, "v1-00112233445566778899aabbccddeeff-a",
				   token, &err),
		   &err, ERR_NOT_FOUND, "no handle");
}

TEST(what_a_process_can_is_what_some_pool_can_also_while_it_is_away)
{
	const struct backend_config away = { .kind = "pool", .name = "away", .dir = "/nowhere" };
	struct backend *b;
	struct env e;

	setup(&e);
	ASSERT_EQ(registry_caps(e.r), 0);
	registry_miss(e.r, &away, "its disk is not there");
	ASSERT_EQ(registry_caps(e.r), pool_kind.caps);
	b = add_mem(&e, "one");
	ASSERT_EQ(registry_caps(e.r), pool_kind.caps | b->caps);
	registry_retire(e.r, b, "it died");
	ASSERT_EQ(registry_caps(e.r), pool_kind.caps | b->caps);
	teardown(&e);
}

TEST(a_kind_that_there_is_not_is_refused_with_those_there_are)
{
	autoarena struct arena *a = arena_new();
	struct backend_config config = { .kind = "disk" };
	struct env e;

	setup(&e);
	ASSERT_ERR(registry_open(e.r, &e.ctx, &config, &e.err), &e.err, ERR_INVALID_ARGUMENT,
		   "there are: pool, mem");
	ASSERT_ERR(registry_configure(a, "disk:/a", &config, &e.err), &e.err, ERR_INVALID_ARGUMENT,
		   "there are: pool, mem");
	teardown(&e);
}

RUN_TESTS(UNIT(an_id_is_resolved_by_the_pool_that_it_names),
	  UNIT(an_id_of_a_pool_that_is_not_here_is_known_and_a_strange_one_is_not),
	  UNIT(a_backend_may_have_handles_of_its_own),
	  UNIT(what_a_process_can_is_what_some_pool_can_also_while_it_is_away),
	  UNIT(a_kind_that_there_is_not_is_refused_with_those_there_are))
