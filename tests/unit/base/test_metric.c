/* SPDX-License-Identifier: Apache-2.0 */
/* The registry is one a process, so each test has a metric of its own. */
#include "base/metric.h"

#include "../check.h"

#include "base/mem.h"

#include <pthread.h>

static void assert_has(const char *line)
{
	autostr struct str text = STR_INIT;

	metric_render(&text);
	if (!strstr(text.buf, line))
		fail_msg("no '%s' in:\n%s", line, text.buf);
}

static size_t count_lines(const char *prefix)
{
	autostr struct str text = STR_INIT;
	size_t n = 0;

	metric_render(&text);
	for (const char *at = text.buf; (at = strstr(at, prefix)); at++)
		n += at == text.buf || at[-1] == '\n';
	return n;
}

TEST(a_metric_is_silent_until_first_used)
{
	ASSERT_EQ(count_lines("workqueue_depth"), 0);
	metric_set(METRIC_WORKQUEUE_DEPTH, 0, METRIC_ARGS("claims"));
	ASSERT_EQ(count_lines("workqueue_depth"), 1);
	assert_has("# HELP workqueue_depth Keys waiting in a work queue.\n"
		   "# TYPE workqueue_depth gauge\n"
		   "workqueue_depth{name=\"claims\"} 0\n");
}

TEST(what_is_expected_is_there_with_nothing_counted)
{
	autostr struct str s = STR_INIT;

	metric_expect(METRIC_DELETE_FAILED, METRIC_ARGS("expected"));
	metric_expect(METRIC_DELETE_SECONDS, METRIC_ARGS("expected"));
	metric_add(METRIC_DELETE_TOTAL, 2, METRIC_ARGS("expected"));
	metric_expect(METRIC_DELETE_TOTAL, METRIC_ARGS("expected"));
	metric_render(&s);
	assert_non_null(
		strstr(str_get(&s),
		       "controller_persistentvolume_delete_failed_total{class=\"expected\"} 0\n"));
	assert_non_null(strstr(str_get(&s), "controller_persistentvolume_delete_duration_seconds_"
					    "count{class=\"expected\"} 0\n"));
	assert_non_null(strstr(str_get(&s),
			       "controller_persistentvolume_delete_total{class=\"expected\"} 2\n"));
}

TEST(counters_add_up_by_series)
{
	metric_add(METRIC_PROVISION_TOTAL, 1, METRIC_ARGS("fast", "snapshot"));
	metric_add(METRIC_PROVISION_TOTAL, 2, METRIC_ARGS("fast", "snapshot"));
	metric_add(METRIC_PROVISION_TOTAL, 1, METRIC_ARGS("fast", ""));
	assert_has("controller_persistentvolumeclaim_provision_total{class=\"fast\",source="
		   "\"snapshot\"} 3\n");
	assert_has(
		"controller_persistentvolumeclaim_provision_total{class=\"fast\",source=\"\"} 1\n");
}

TEST(a_histogram_has_cumulative_buckets_sum_and_count)
{
	metric_observe(METRIC_DELETE_SECONDS, 0.1, METRIC_ARGS("c"));
	metric_observe(METRIC_DELETE_SECONDS, 3, METRIC_ARGS("c"));
	metric_observe(METRIC_DELETE_SECONDS, 1000, METRIC_ARGS("c"));
	assert_has("_duration_seconds_bucket{class=\"c\",le=\"0.05\"} 0\n");
	assert_has("_duration_seconds_bucket{class=\"c\",le=\"0.1\"} 1\n");
	assert_has("_duration_seconds_bucket{class=\"c\",le=\"2.5\"} 1\n");
	assert_has("_duration_seconds_bucket{class=\"c\",le=\"5\"} 2\n");
	assert_has("_duration_seconds_bucket{class=\"c\",le=\"600\"} 2\n");
	assert_has("_duration_seconds_bucket{class=\"c\",le=\"+Inf\"} 3\n");
	assert_has("_duration_seconds_sum{class=\"c\"} 1003.1\n");
	assert_has("_duration_seconds_count{class=\"c\"} 3\n");
	assert_has("# TYPE controller_persistentvolume_delete_duration_seconds histogram\n");
}

TEST(label_values_are_escaped)
{
	metric_set(METRIC_LEADER, 1, METRIC_ARGS("a\"b\\c\n-"));
	assert_has("leader_election_master_status{name=\"a\\\"b\\\\c\\n-\"} 1\n");
}

TEST(series_beyond_512_become_other)
{
	for (int i = 0; i < 600; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%d", i); /* fits */
		metric_add(METRIC_WORKQUEUE_ADDS, 1, METRIC_ARGS(name));
		metric_add(METRIC_WORKQUEUE_ADDS, 1, METRIC_ARGS("0"));
	}
	ASSERT_EQ(count_lines("workqueue_adds_total{"), 512);
	assert_has("workqueue_adds_total{name=\"510\"} 1\n");
	assert_has("workqueue_adds_total{name=\"0\"} 601\n");
	assert_has("workqueue_adds_total{name=\"other\"} 89\n");
}

static void set_gauge(void *arg)
{
	metric_set(METRIC_POOL_VOLUMES, (*(int *)arg)++, METRIC_ARGS("p"));
}

TEST(hooks_run_before_each_render)
{
	static int n = 3;

	metric_on_render(set_gauge, &n);
	assert_has("cleat_pool_volumes{pool=\"p\"} 3\n");
	assert_has("cleat_pool_volumes{pool=\"p\"} 4\n");
}

static void *add_many(void *arg)
{
	for (int i = 0; i < 1000; i++)
		metric_add(METRIC_WORKQUEUE_RETRIES, 1, METRIC_ARGS("q"));
	return NULL;
}

TEST(threads_lose_no_count)
{
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_create(&threads[i], NULL, add_many, NULL);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	assert_has("workqueue_retries_total{name=\"q\"} 4000\n");
}

TEST(the_process_is_described)
{
	assert_has("\nprocess_cpu_seconds_total ");
	assert_has("\nprocess_resident_memory_bytes ");
	assert_has("\nprocess_virtual_memory_bytes ");
	assert_has("\nprocess_start_time_seconds 1");
	assert_has("\nprocess_open_fds ");
	assert_has("\nprocess_max_fds ");
	assert_has("\ncleat_build_info{version=\"");
}

RUN_TESTS(UNIT(a_metric_is_silent_until_first_used),
	  UNIT(what_is_expected_is_there_with_nothing_counted), UNIT(counters_add_up_by_series),
	  UNIT(a_histogram_has_cumulative_buckets_sum_and_count), UNIT(label_values_are_escaped),
	  UNIT(series_beyond_512_become_other), UNIT(hooks_run_before_each_render),
	  UNIT(threads_lose_no_count), UNIT(the_process_is_described))
