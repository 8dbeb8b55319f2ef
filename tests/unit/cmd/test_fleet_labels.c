/* SPDX-License-Identifier: Apache-2.0 */
/* A pool's label on the node that had it: goes when both agents say so, now, and else stays. The
 * fleet and the timer are made up here; the API and its cache are tests/fake's. */
#include "check.h"

#include "base/clock.h"
#include "base/ctx.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/fleet.h"
#include "cmd/fleet_labels.h"
#include "cmd/periodic.h"
#include "csi/router.h"
#include "fake/kube.h"
#include "kube/fence.h"
#include "kube/informer.h"

#include <string.h>

#define DRIVER "pool.cleat.csi"
#define IDENTITY "11111111111111111111111111111111"
#define LABEL DRIVER "/" IDENTITY
#define MINUTE (60 * NS_PER_S)
#define NODE "/api/v1/nodes/"

static const struct uuid pool = {
	{ 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17 },
};

/* ---- in place of the fleet and the timer ---- */

static struct csi_router_state agents[3];
static unsigned n_doubts;
static struct periodic_options looks;

void fleet_each(struct fleet *f, int (*fn)(void *arg, const struct csi_router_state *state),
		void *arg)
{
	(void)f;
	for (size_t i = 0; i < ARRAY_LEN(agents); i++)
		(void)fn(arg, &agents[i]);
}

void fleet_doubt(struct fleet *f, const char *name)
{
	(void)f;
	(void)name;
	n_doubts++;
}

static bool is_forgotten;

bool fleet_has_forgotten(struct fleet *f, const struct uuid *of)
{
	(void)f;
	return is_forgotten && memcmp(of, &pool, sizeof(pool)) == 0;
}

struct periodic *periodic_new(const struct periodic_options *opts)
{
	looks = *opts;
	return NULL;
}

int periodic_stop(struct periodic *p, int64_t timeout_ns)
{
	(void)p;
	(void)timeout_ns;
	return 0;
}

void periodic_free(struct periodic *p)
{
	(void)p;
}

/* ---- a cluster ---- */

struct env {
	struct informer *nodes;
	struct fence *fence;
	struct fleet_labels *labels;
};

static void drop_line(void *arg, const char *line)
{
	(void)arg;
	(void)line;
}

static void put_node(const char *name, const char *labels)
{
	autofree char *path = xasprintf(NODE "%s", name);
	autofree char *text = xasprintf("{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":{"
					"\"name\":\"%s\",\"labels\":{%s}}}",
					name, labels);

	fake_put(path, text);
}

static void set_agent(size_t i, const char *name, bool has_pool)
{
	agents[i] = (struct csi_router_state){ .name = name,
					       .is_known = true,
					       .is_reachable = true,
					       .why = "",
					       .told_ns = clock_now_ns(),
					       .n_pools = has_pool,
					       .pools = &pool };
}

/* The pool was old's, and is new's now. */
static void setup(struct env *e)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	n_doubts = 0;
	is_forgotten = false;
	put_node("old", "\"" LABEL "\":\"here\",\"other.csi/" IDENTITY "\":\"here\"");
	put_node("new", "\"" LABEL "\":\"here\"");
	put_node("third", "");
	set_agent(0, "old", false);
	set_agent(1, "new", true);
	set_agent(2, "third", false);
	e->nodes = informer_new(NULL, &core_node_type, NULL);
	e->fence = fence_new();
	fence_open(e->fence, FENCE_NO_LIMIT);
	fake_set_fence(e->fence);
	fake_sync();
	e->labels = fleet_labels_new(&(const struct fleet_labels_options){
		.fence = e->fence, .nodes = e->nodes, .driver_name = DRIVER });
}

static void teardown(struct env *e)
{
	fleet_labels_free(e->labels);
	fake_set_fence(NULL);
	fence_free(e->fence);
	informer_free(e->nodes);
}

static void look(void)
{
	struct ctx ctx;

	ctx_init(&ctx, looks.timeout_ns);
	looks.run(looks.arg, &ctx);
	ctx_done(&ctx);
}

static bool has_label(const char *name)
{
	autofree char *path = xasprintf(NODE "%s", name);

	return strstr(fake_text(path), LABEL);
}

TEST(the_label_goes_from_the_node_that_has_the_pool_no_more)
{
	struct env e;

	setup(&e);
	look();
	ASSERT_FALSE(has_label("old"));
	ASSERT_TRUE(has_label("new"));
	assert_non_null(strstr(fake_text(NODE "old"), "other.csi/" IDENTITY));
	ASSERT_EQ(n_doubts, 0);
	teardown(&e);
}

static void be_away(struct env *e)
{
	(void)e;
	agents[0].is_reachable = false;
}

static void be_shown_by_two(struct env *e)
{
	(void)e;
	set_agent(2, "third", true);
}

static void be_shown_by_nobody(struct env *e)
{
	(void)e;
	set_agent(1, "new", false);
}

static void be_deposed(struct env *e)
{
	fence_close(e->fence);
}

TEST(in_doubt_it_stays)
{
	static void (*const ways[])(struct env * e) = { be_away, be_shown_by_two,
							be_shown_by_nobody, be_deposed };

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		struct env e;

		setup(&e);
		ways[i](&e);
		look();
		ASSERT_TRUE(has_label("old"));
		teardown(&e);
	}
}

/* The disk came back: kubelet has labelled its node again, and the agents are asked once a minute.
 */
TEST(what_an_agent_said_a_while_ago_is_asked_again)
{
	struct env e;

	for (size_t late = 0; late < 2; late++) {
		setup(&e);
		fake_run(MINUTE);
		set_agent(1 - late, late ? "old" : "new", !late);
		look();
		ASSERT_TRUE(has_label("old"));
		ASSERT_EQ(n_doubts, 2);
		set_agent(0, "old", true);
		set_agent(1, "new", false);
		look();
		ASSERT_TRUE(has_label("old"));
		teardown(&e);
	}
}

TEST(a_node_that_was_written_meanwhile_is_looked_at_again)
{
	struct env e;

	setup(&e);
	fake_freeze(true);
	fake_merge(NODE "old", "{\"metadata\":{\"labels\":{\"more\":\"1\"}}}");
	look();
	ASSERT_TRUE(has_label("old"));
	fake_freeze(false);
	fake_sync();
	look();
	ASSERT_FALSE(has_label("old"));
	teardown(&e);
}

/* The disk was lost, and the node has another. */
TEST(the_label_of_a_forgotten_pool_goes)
{
	struct env e;

	setup(&e);
	set_agent(1, "new", false);
	is_forgotten = true;
	look();
	ASSERT_FALSE(has_label("old"));
	ASSERT_FALSE(has_label("new"));
	assert_non_null(strstr(fake_text(NODE "old"), "other.csi/" IDENTITY));
	teardown(&e);
}

/* Who is away may be back with the disk, labelled anew, before it is asked. */
TEST(of_a_forgotten_pool_too_what_is_away_says_nothing)
{
	struct env e;

	setup(&e);
	be_away(&e);
	set_agent(1, "new", false);
	agents[1].is_reachable = false;
	is_forgotten = true;
	look();
	ASSERT_TRUE(has_label("old"));
	ASSERT_TRUE(has_label("new"));
	teardown(&e);
}

/* It came back after all, and somebody may remember it. */
TEST(the_label_of_a_forgotten_pool_that_is_shown_stays)
{
	struct env e;

	setup(&e);
	is_forgotten = true;
	be_shown_by_two(&e);
	look();
	ASSERT_TRUE(has_label("old"));
	ASSERT_TRUE(has_label("new"));
	teardown(&e);
}

TEST(of_a_forgotten_pool_too_old_news_are_asked_again)
{
	struct env e;

	setup(&e);
	set_agent(1, "new", false);
	is_forgotten = true;
	fake_run(MINUTE);
	look();
	ASSERT_TRUE(has_label("old"));
	ASSERT_EQ(n_doubts, 2);
	teardown(&e);
}

RUN_TESTS(UNIT(the_label_of_a_forgotten_pool_goes),
	  UNIT(of_a_forgotten_pool_too_what_is_away_says_nothing),
	  UNIT(the_label_of_a_forgotten_pool_that_is_shown_stays),
	  UNIT(of_a_forgotten_pool_too_old_news_are_asked_again),
	  UNIT(the_label_goes_from_the_node_that_has_the_pool_no_more), UNIT(in_doubt_it_stays),
	  UNIT(what_an_agent_said_a_while_ago_is_asked_again),
	  UNIT(a_node_that_was_written_meanwhile_is_looked_at_again))
