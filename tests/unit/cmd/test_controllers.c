/* SPDX-License-Identifier: Apache-2.0 */
/* The table of controllers, and what is done with one: here with rows of the test's own. */
#include "check.h"

#include "base/mem.h"
#include "base/str.h"
#include "cmd/controller_run.h"
#include "cmd/controllers.h"
#include "control/core.h"
#include "control/storage.h"
#include "fake/kube.h"
#include "kube/informer.h"

static struct str said; /* "new one, start one, …" */

static void say(const char *what, const void *controller)
{
	str_appendf(&said, "%s %s, ", what, (const char *)controller);
}

static void *make(const char *name, const struct controllers *all, bool has_pvs)
{
	ASSERT_TRUE(controllers_cache(all, &core_pvc_type));
	ASSERT_EQ(controllers_cache(all, &core_pv_type) != NULL, has_pvs);
	say("new", name);
	return xstrdup(name);
}

static void *new_one(const struct controller_env *env, const struct controllers *all)
{
	return make("one", all, env->driver.has_topology);
}

static void *new_two(const struct controller_env *env, const struct controllers *all)
{
	return make("two", all, env->driver.has_topology);
}

static void start(void *controller)
{
	say("start", controller);
}

static void pause_it(void *controller)
{
	say("pause", controller);
}

static void free_it(void *controller)
{
	say("free", controller);
	free(controller);
}

static bool has_topology(const struct controller_env *env)
{
	return env->driver.has_topology;
}

static bool has_a_node(const struct controller_driver *driver)
{
	return driver->node_caps;
}

static const struct controller_flag flags[] = {
	{ "threads", "one-threads" },
	{ "slow", "one-slow" },
	{ NULL, NULL },
};

static const struct controller_row rows[] = {
	{ .name = "one",
	  .program = "csi-one",
	  .flags = flags,
	  .component = "external-one",
	  .n_queues = 2,
	  .caps = 1,
	  .without = "cannot do one",
	  .needs = { { &core_pvc_type }, { &core_pv_type, has_topology } },
	  .new = new_one,
	  .start = start,
	  .pause = pause_it,
	  .free = free_it },
	{ .name = "two",
	  .n_queues = 1,
	  .caps = 6,
	  .without = "cannot do two",
	  .needs = { { &core_pv_type, has_topology }, { &core_pvc_type } },
	  .new = new_two,
	  .start = start,
	  .pause = pause_it,
	  .free = free_it },
};

static void expect(const char *want)
{
	ASSERT_STR(str_get(&said), want);
	str_reset(&said);
}

static void begin(struct controllers *c, const char *names, bool with_topology)
{
	const struct controller_env env = { .driver_name = "d",
					    .driver.has_topology = with_topology };

	fake_reset();
	*c = (struct controllers){ 0 };
	controllers_init(c, rows, ARRAY_LEN(rows), names, &env);
}

static void end(struct controllers *c)
{
	controllers_free(c);
	controllers_free_caches(c);
	str_done(&said);
}

TEST(the_named_ones_live_together_on_one_cache_a_kind)
{
	struct controllers c;

	begin(&c, "two,one,two", true);
	expect("new one, new two, ");
	ASSERT_EQ(c.caches.n, 2);
	controllers_start(&c);
	expect("start one, start two, ");
	controllers_pause(&c);
	expect("pause one, pause two, ");
	controllers_free(&c);
	expect("free one, free two, ");
	ASSERT_EQ(c.caches.n, 2);
	end(&c);
}

TEST(the_others_are_not_made)
{
	struct controllers c;

	begin(&c, "two", false);
	expect("new two, ");
	ASSERT_EQ(c.caches.n, 1);
	end(&c);
}

/* A start that failed half way takes down what there is. */
TEST(none_at_all_can_be_taken_down)
{
	struct controllers c = { 0 };

	controllers_start(&c);
	controllers_pause(&c);
	end(&c);
	end(&c);
}

TEST(names_are_those_of_rows)
{
	static const char *const bad[] = { "", "on", "ones", "one,three", ",one", "one,,two" };
	struct err err;

	ASSERT_OK(controllers_check_names(rows, 2, "one", &err), &err);
	ASSERT_OK(controllers_check_names(rows, 2, "two,one", &err), &err);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ASSERT_ERR(controllers_check_names(rows, 2, bad[i], &err), &err,
			   ERR_INVALID_ARGUMENT, "there is: one, two");
	ASSERT_EQ(controllers_queues(rows, 2, "two,one,two"), 3);
	ASSERT_EQ(controllers_queues(rows, 2, "two"), 1);
}

TEST(events_bear_the_component_of_their_row)
{
	struct controllers c;

	begin(&c, "one,two", false);
	ASSERT_STR(fake_events(), "recorder of 'external-one d'\nrecorder of 'd'\n");
	end(&c);
}

static void expect_choice(const char *names, uint64_t caps, const char *want)
{
	const struct controller_driver driver = { .caps = caps };
	autofree char *chosen = NULL;
	struct err err;

	ASSERT_OK(controllers_choose(rows, 2, names, &driver, &chosen, &err), &err);
	ASSERT_STR(chosen, want);
}

TEST(a_driver_must_have_what_the_named_ones_need)
{
	const struct controller_driver driver = { .caps = 1 | 2 };
	char *chosen = NULL;
	struct err err;

	expect_choice("one", 1 | 2, "one");
	ASSERT_ERR(controllers_choose(rows, 2, "one,two", &driver, &chosen, &err), &err,
		   ERR_FAILED_PRECONDITION, "cannot do two");
}

TEST(auto_is_what_the_driver_has_enough_for)
{
	const struct controller_driver driver = { .caps = 2 };
	char *chosen = NULL;
	struct err err;

	ASSERT_OK(controllers_check_names(rows, 2, "auto", &err), &err);
	expect_choice("auto", 1 | 2, "one");
	expect_choice("auto", 6, "two");
	expect_choice("auto", 7, "one,two");
	ASSERT_ERR(controllers_choose(rows, 2, "auto", &driver, &chosen, &err), &err,
		   ERR_FAILED_PRECONDITION, "cannot do two");
	ASSERT_EQ(controllers_queues(rows, 2, "auto"), 3);
}

TEST(a_row_may_judge_the_driver_itself_and_wait_to_be_named)
{
	struct controller_row own[] = { rows[0], rows[1] };
	const struct controller_driver driver = { .caps = 7 }, node = { .node_caps = 1 };
	const struct controller_driver none = { 0 };
	autofree char *by_name = NULL;
	autofree char *chosen = NULL;
	autofree char *named = NULL;
	struct err err;

	own[1].does_without = true;
	ASSERT_OK(controllers_choose(own, 2, "two", &none, &by_name, &err), &err);
	ASSERT_STR(by_name, "two");
	ASSERT_ERR(controllers_choose(own, 2, "auto", &none, &chosen, &err), &err,
		   ERR_FAILED_PRECONDITION, "cannot do two");
	own[0].is_able = has_a_node;
	ASSERT_ERR(controllers_choose(own, 2, "one", &driver, &chosen, &err), &err,
		   ERR_FAILED_PRECONDITION, "cannot do one");
	ASSERT_OK(controllers_choose(own, 2, "one", &node, &chosen, &err), &err);
	own[1].only_by_name = true;
	ASSERT_EQ(controllers_queues(own, 2, "auto"), 2);
	ASSERT_EQ(controllers_queues(own, 2, "two"), 1);
	ASSERT_ERR(controllers_choose(own, 2, "auto", &driver, &chosen, &err), &err,
		   ERR_FAILED_PRECONDITION, "cannot do one");
	ASSERT_OK(controllers_choose(own, 2, "two", &driver, &named, &err), &err);
	ASSERT_STR(named, "two");
}

TEST(options_of_a_program_of_upstream_have_names_of_ours)
{
	static const char *const argv[] = { "csi-one",    "--threads=3", "-slow", "x", "threads",
					    "--thread=1", "--",          "--",    NULL };
	static const char *const want[] = {
		"csi-one", "--controllers=one", "--one-threads=3", "--one-slow",
		"x",       "threads",           "--thread=1",      "--",
		"--"
	};
	char **args = controller_args(&rows[0], argv);

	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		ASSERT_STR(args[i], want[i]);
	assert_null(args[ARRAY_LEN(want)]);
	controller_args_free(args);
	args = controller_args(&rows[1], argv);
	ASSERT_STR(args[2], "--threads=3");
	controller_args_free(args);
}

TEST(a_program_of_upstream_is_its_row)
{
	static const char *const others[] = { "cleat", "/usr/bin/cleat", "one", "csi-one-x", "",
					      "/",     "csi-attacher" };

	ASSERT_TRUE(controllers_find_program(rows, 2, "csi-one") == &rows[0]);
	ASSERT_TRUE(controllers_find_program(rows, 2, "/usr/bin/csi-one") == &rows[0]);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_null(controllers_find_program(rows, 2, others[i]));
}

TEST(the_controller_of_the_cluster_needs_no_driver_and_is_never_chosen)
{
	const struct controller_driver able = { .caps = UINT64_MAX };
	autofree char *names = NULL;
	struct err err;

	ASSERT_FALSE(
		controllers_need_driver(controller_rows, n_controller_rows, "snapshot-controller"));
	ASSERT_TRUE(controllers_need_driver(controller_rows, n_controller_rows,
					    "snapshot-controller,snapshotter"));
	ASSERT_TRUE(controllers_need_driver(controller_rows, n_controller_rows, CONTROLLERS_AUTO));
	ASSERT_OK(controllers_choose(controller_rows, n_controller_rows, CONTROLLERS_AUTO, &able,
				     &names, &err),
		  &err);
	ASSERT_TRUE(strstr(names, "snapshotter") != NULL);
	assert_null(strstr(names, "snapshot-controller"));
}

TEST(a_nodes_snapshotter_reads_what_is_marked_for_it)
{
	struct controller_options opts = { .node_name = "n1" };
	const struct controller_env env = { .opts = &opts };
	const struct controller_row *row = NULL;

	for (size_t i = 0; i < n_controller_rows; i++)
		if (str_is_equal(controller_rows[i].name, "snapshotter"))
			row = &controller_rows[i];
	ASSERT_TRUE(row);
	for (int of_node = 0; of_node < 2; of_node++) {
		opts.node_deployment = of_node;
		for (const struct controller_need *need = row->needs; need->type; need++) {
			struct controller_scope scope = { 0 };

			if (!need->select)
				continue;
			need->select(&env, &scope);
			ASSERT_STR(scope.label_selector,
				   of_node ? "snapshot.storage.kubernetes.io/managed-by=n1" : "");
		}
	}
	ASSERT_TRUE(row->needs[0].select && row->needs[2].select && !row->needs[1].select);
}

TEST(early_ones_run_apart_from_those_of_the_driver)
{
	const struct controller_driver able = { .caps = UINT64_MAX };
	autofree char *early = NULL, *none = NULL, *names = NULL, *alone = NULL;
	struct err err;

	early = controllers_early(controller_rows, n_controller_rows, "certificates,provisioner");
	ASSERT_STR(early, "certificates");
	none = controllers_early(controller_rows, n_controller_rows, CONTROLLERS_AUTO);
	ASSERT_STR(none, "");
	ASSERT_FALSE(controllers_need_driver(controller_rows, n_controller_rows, "certificates"));
	ASSERT_OK(controllers_choose(controller_rows, n_controller_rows, "certificates,provisioner",
				     &able, &names, &err),
		  &err);
	ASSERT_STR(names, "provisioner");
	ASSERT_OK(controllers_choose(controller_rows, n_controller_rows, "certificates", &able,
				     &alone, &err),
		  &err);
	ASSERT_STR(alone, "");
}

TEST(the_rows_that_there_are_are_whole)
{
	for (size_t i = 0; i < n_controller_rows; i++) {
		const struct controller_row *row = &controller_rows[i];

		ASSERT_TRUE(row->name && row->new && row->start && row->pause && row->free);
		ASSERT_TRUE(row->without && row->needs[0].type);
		assert_null(row->needs[CONTROLLER_NEEDS_MAX - 1].type);
		ASSERT_TRUE(!row->program ||
			    controllers_find_program(controller_rows, n_controller_rows,
						     row->program) == row);
		/* for people: of names in it only capabilities, which are capitals */
		for (const char *at = row->without; (at = strchr(at, '_')); at++)
			ASSERT_TRUE(at > row->without && at[-1] >= 'A' && at[-1] <= 'Z');
		for (size_t k = 0; k < i; k++)
			ASSERT_FALSE(str_is_equal(row->name, controller_rows[k].name));
	}
}

RUN_TESTS(UNIT(the_named_ones_live_together_on_one_cache_a_kind), UNIT(the_others_are_not_made),
	  UNIT(none_at_all_can_be_taken_down), UNIT(names_are_those_of_rows),
	  UNIT(events_bear_the_component_of_their_row),
	  UNIT(a_driver_must_have_what_the_named_ones_need),
	  UNIT(auto_is_what_the_driver_has_enough_for),
	  UNIT(a_row_may_judge_the_driver_itself_and_wait_to_be_named),
	  UNIT(options_of_a_program_of_upstream_have_names_of_ours),
	  UNIT(a_program_of_upstream_is_its_row),
	  UNIT(the_controller_of_the_cluster_needs_no_driver_and_is_never_chosen),
	  UNIT(a_nodes_snapshotter_reads_what_is_marked_for_it),
	  UNIT(early_ones_run_apart_from_those_of_the_driver),
	  UNIT(the_rows_that_there_are_are_whole))
