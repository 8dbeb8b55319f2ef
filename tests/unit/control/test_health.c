/* SPDX-License-Identifier: Apache-2.0 */
/* What a driver says of its volumes' health, as claims tell of it; lists that fail midway, volumes
 * that nobody can tell of, words that the API would refuse, and every step gone wrong. */
#include "check.h"
#include "control/core.h"
#include "control/health-internal.h"
#include "control/health.h"
#include "fake/kube.h"
#include "fake/service.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "kube/informer.h"

#include <stdio.h>
#include <string.h>

#define DRIVER "pool.cleat.csi"
#define MINUTE (60 * NS_PER_S)
#define LOOK (6 * MINUTE) /* one more, every five minutes */
#define CLAIM "/api/v1/namespaces/default/persistentvolumeclaims/"
#define PV "/api/v1/persistentvolumes/"
#define VOLUMES 3
#define STEPS_MAX 40
#define GONE CSI_VOLUME_HEALTH_ERROR_TYPE_INACCESSIBLE

/* What the driver has to say: of volume v0, v1, v2. */
static struct {
	struct csi_volume_health_volume_health_entry words[VOLUMES][20];
	size_t n[VOLUMES];
	unsigned fails_at; /* page of a list that is UNAVAILABLE, from 1; 0: none */
	enum err_code get_error;
	bool lies, lists_for_ever;
	unsigned n_lists, n_gets;
} driver;

static void drop_line(void *arg, const char *line)
{
}

static void say(size_t volume, enum csi_volume_health_error_type type, const char *reason,
		const char *message)
{
	driver.words[volume][driver.n[volume]++] =
		(struct csi_volume_health_volume_health_entry){ type, reason, message };
}

static struct csi_volume_health health_of(struct arena *a, size_t volume)
{
	return (struct csi_volume_health){
		.volume_id = arena_printf(a, "v%zu", volume),
		.health_statuses = driver.words[volume],
		.n_health_statuses = driver.n[volume],
	};
}

/* A page a volume, also of those that are well: they are left out. */
static int list(void *impl, struct ctx *ctx,
		const struct csi_controller_list_volume_health_request *req,
		struct csi_controller_list_volume_health_response *ret, struct err *err)
{
	size_t at = strlen(req->starting_token);
	struct csi_volume_health *entry = arena_alloc(ctx->arena, sizeof(*entry));
	bool is_lost;

	driver.n_lists++;
	if (fake_step(&is_lost, err) < 0)
		return -1;
	if (is_lost || at + 1 == driver.fails_at)
		return err_set(err, ERR_UNAVAILABLE, "no such page");
	*entry = health_of(ctx->arena, at);
	ret->entries = entry;
	ret->n_entries = entry->n_health_statuses > 0;
	ret->next_token = arena_strndup(ctx->arena, "xxx", at + 1 < VOLUMES ? at + 1 : 0);
	if (driver.lists_for_ever)
		ret->next_token = at ? req->starting_token : "x";
	return 0;
}

static int get(void *impl, struct ctx *ctx,
	       const struct csi_controller_get_volume_health_request *req,
	       struct csi_controller_get_volume_health_response *ret, struct err *err)
{
	bool is_lost;

	driver.n_gets++;
	if (fake_step(&is_lost, err) < 0)
		return -1;
	if (is_lost || driver.get_error)
		return err_set(err, driver.get_error ? driver.get_error : ERR_UNAVAILABLE, "no");
	ret->has_volume_health = true;
	ret->volume_health = health_of(ctx->arena, (size_t)(req->volume_id[1] - '0'));
	if (driver.lies)
		ret->volume_health.volume_id = "another";
	return 0;
}

static struct csi_service service(void)
{
	static struct csi_service_ops ops;
	struct csi_service s = fake_service_get();

	ops = *s.ops;
	ops.controller_list_volume_health = list;
	ops.controller_get_volume_health = get;
	return (struct csi_service){ &ops, s.impl };
}

static void put_volume(size_t i, const char *driver_name, const char *phase)
{
	autofree char *claim_path = xasprintf(CLAIM "c%zu", i);
	autofree char *pv_path = xasprintf(PV "pv%zu", i);
	autofree char *claim = xasprintf(
		"{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"c%zu\",\"namespace\":"
		"\"default\",\"uid\":\"u%zu\"},\"spec\":{\"volumeName\":\"pv%zu\"},\"status\":{"
		"\"phase\":\"Bound\"}}",
		i, i, i);
	autofree char *pv = xasprintf(
		"{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"pv%zu\"},\"spec\":{"
		"\"csi\":{\"driver\":\"%s\",\"volumeHandle\":\"v%zu\"},\"claimRef\":{\"namespace\":"
		"\"default\",\"name\":\"c%zu\",\"uid\":\"u%zu\"}},\"status\":{\"phase\":\"%s\"}}",
		i, driver_name, i, i, i, phase);

	fake_put(claim_path, claim);
	fake_put(pv_path, pv);
}

static void begin(void)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	fake_service_reset();
	memset(&driver, 0, sizeof(driver));
	fake_service.caps |=
		CSI_CAP_BIT(CSI_CTRL_LIST_VOLUME_HEALTH) | CSI_CAP_BIT(CSI_CTRL_GET_VOLUME_HEALTH);
	fake_employ_manager(false);
	for (size_t i = 0; i < VOLUMES; i++)
		put_volume(i, DRIVER, "Bound");
}

struct watching {
	struct informer *pvs, *pvcs;
	struct health_monitor *monitor;
};

static void start(struct watching *w)
{
	w->pvs = informer_new(NULL, &core_pv_type, NULL);
	w->pvcs = informer_new(NULL, &core_pvc_type, NULL);
	w->monitor = health_monitor_new(&(struct health_monitor_options){
		.pvs = w->pvs,
		.pvcs = w->pvcs,
		.service = service(),
		.driver_name = DRIVER,
	});
	health_monitor_start(w->monitor);
}

static void stop(struct watching *w)
{
	health_monitor_free(w->monitor);
	informer_free(w->pvs);
	informer_free(w->pvcs);
}

static bool is_told(size_t i, const char *text)
{
	autofree char *path = xasprintf(CLAIM "c%zu", i);

	return strstr(fake_text(path), text);
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, part)); at++)
		n++;
	return n;
}

static unsigned events(const char *reason)
{
	return count(fake_events(), reason);
}

TEST(what_is_wrong_is_told_and_taken_back)
{
	autostr struct str page = STR_INIT;
	struct watching w;

	begin();
	say(1, CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED, "PoolNearlyFull", "87 %");
	say(1, GONE, "PoolGone", "");
	start(&w);
	fake_run(MINUTE);
	assert_true(is_told(1, "\"healthStatus\":{\"healthConditions\":[{\"status\":"
			       "\"Inaccessible\",\"reason\":\"PoolGone\"},{\"status\":\"Degraded\","
			       "\"reason\":\"PoolNearlyFull\",\"message\":\"87 %\"}],"
			       "\"lastTransitionTime\":\""));
	ASSERT_FALSE(is_told(0, "healthStatus"));
	assert_non_null(strstr(fake_events(),
			       "Warning VolumeConditionAbnormal: Inaccessible (PoolGone); Degraded "
			       "(PoolNearlyFull): 87 %"));
	metric_render(&page);
	assert_non_null(
		strstr(str_get(&page), "cleat_volumes_unwell{driver_name=\"" DRIVER "\"} 1"));
	ASSERT_EQ(driver.n_gets, 0);

	driver.words[1][0].message = "88 %"; /* the status follows, and no Event */
	fake_run(LOOK);
	assert_true(is_told(1, "88 %"));
	ASSERT_EQ(events("VolumeConditionAbnormal"), 1);
	fake_run(58 * MINUTE);
	ASSERT_EQ(events("VolumeConditionAbnormal"), 2); /* within the hour that Events last */

	driver.n[1] = 0;
	fake_run(LOOK);
	ASSERT_FALSE(is_told(1, "healthStatus"));
	ASSERT_EQ(events("Normal VolumeConditionNormal"), 1);
	assert_true(driver.n_gets > 0); /* its absence alone says nothing */
	fake_run(LOOK);
	ASSERT_EQ(events("Normal VolumeConditionNormal"), 1);
	stop(&w);
}

TEST(what_nobody_can_tell_of_stays_as_it_was)
{
	static const enum err_code codes[] = { ERR_NOT_FOUND, ERR_UNAVAILABLE,
					       ERR_DEADLINE_EXCEEDED, ERR_INTERNAL };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct watching w;

		begin();
		say(1, GONE, "PoolGone", "");
		start(&w);
		fake_run(MINUTE);
		driver.n[1] = 0;
		driver.get_error = codes[i];
		fake_run(LOOK);
		assert_true(is_told(1, "PoolGone"));
		driver.get_error = ERR_OK;
		driver.lies = true;
		fake_run(LOOK);
		assert_true(is_told(1, "PoolGone"));
		driver.lies = false;
		fake_run(LOOK);
		ASSERT_FALSE(is_told(1, "PoolGone"));
		stop(&w);
	}
}

TEST(without_a_whole_list_each_is_asked_for)
{
	struct watching w;

	begin();
	say(0, GONE, "PoolGone", "");
	say(2, GONE, "PoolGone", "");
	driver.fails_at = 2; /* behind v0 */
	start(&w);
	fake_run(MINUTE);
	assert_true(is_told(0, "PoolGone") && is_told(2, "PoolGone"));
	ASSERT_FALSE(is_told(1, "healthStatus"));
	ASSERT_EQ(driver.n_gets, 2); /* v0 was in what came */
	driver.fails_at = 0;
	driver.lists_for_ever = true;
	fake_run(LOOK);
	assert_true(is_told(2, "PoolGone"));
	assert_true(driver.n_lists < 10);
	stop(&w);
	/* And a driver that has no list. */
	begin();
	fake_service.caps &= ~CSI_CAP_BIT(CSI_CTRL_LIST_VOLUME_HEALTH);
	say(2, GONE, "PoolGone", "");
	start(&w);
	fake_run(MINUTE);
	ASSERT_EQ(driver.n_lists, 0);
	ASSERT_EQ(driver.n_gets, VOLUMES);
	assert_true(is_told(2, "PoolGone"));
	driver.get_error = ERR_DEADLINE_EXCEEDED; /* nobody answers: not one after the other */
	driver.n_gets = 0;
	fake_service.caps &= ~CSI_CAP_BIT(CSI_CTRL_LIST_VOLUME_HEALTH);
	fake_run(5 * MINUTE);
	assert_true(driver.n_gets <= 3);
	stop(&w);
}

TEST(only_claimed_volumes_of_this_driver_count)
{
	struct watching w;

	begin();
	put_volume(0, "other.csi", "Bound");
	put_volume(1, DRIVER, "Released");
	fake_merge(PV "pv2", "{\"spec\":{\"claimRef\":{\"uid\":\"of-one-that-is-gone\"}}}");
	for (size_t i = 0; i < VOLUMES; i++)
		say(i, GONE, "PoolGone", "");
	start(&w);
	fake_run(LOOK);
	for (size_t i = 0; i < VOLUMES; i++)
		ASSERT_FALSE(is_told(i, "healthStatus"));
	ASSERT_EQ(events("VolumeCondition"), 0);
	stop(&w);
}

TEST(an_api_server_without_the_field_gets_it_once_an_hour)
{
	struct watching w;
	unsigned before;

	begin();
	fake_drop("healthStatus");
	for (size_t i = 0; i < VOLUMES; i++)
		say(i, GONE, "PoolGone", "");
	start(&w);
	fake_run(MINUTE);
	ASSERT_EQ(events("VolumeConditionAbnormal"), VOLUMES);
	fake_set_plan((struct fake_plan){ 0 });
	fake_run(50 * MINUTE);
	before = fake_steps();
	ASSERT_EQ(before % VOLUMES, 0); /* pages of lists, and nothing else */
	ASSERT_EQ(events("VolumeConditionAbnormal"), VOLUMES);
	driver.n[1] = 0;
	fake_run(LOOK);
	ASSERT_EQ(events("Normal VolumeConditionNormal"), 1);
	stop(&w);
}

TEST(the_next_leader_takes_back_what_this_one_told)
{
	struct watching w;

	begin();
	say(1, GONE, "PoolGone", "");
	start(&w);
	fake_run(MINUTE);
	stop(&w);
	driver.n[1] = 0;
	start(&w);
	fake_run(MINUTE);
	ASSERT_FALSE(is_told(1, "healthStatus"));
	ASSERT_EQ(events("Normal VolumeConditionNormal"), 1);
	stop(&w);
}

TEST(words_that_the_api_would_refuse_are_in_an_event_alone)
{
	char long_message[1500];
	struct watching w;

	begin();
	memset(long_message, 'x', sizeof(long_message));
	long_message[sizeof(long_message) - 1] = '\0';
	memcpy(&long_message[1023], "\xc3\xa4", 2); /* not to be cut in two */
	say(0, 77, "Odd", "of a newer CSI");
	say(0, GONE, "not a reason", "spoken");
	say(0, GONE, "", "nothing");
	say(1, GONE, "Twice", "one");
	say(1, GONE, "Twice", "two");
	say(1, GONE, "Long", long_message);
	for (size_t i = 0; i < 20; i++)
		say(2, GONE,
		    (const char *[]){ "A", "B", "C", "D", "E", "F", "G", "H", "I", "J",
				      "K", "L", "M", "N", "O", "P", "Q", "R", "S", "T" }[i],
		    "");
	start(&w);
	fake_run(MINUTE);
	ASSERT_FALSE(is_told(0, "healthStatus"));
	assert_non_null(strstr(fake_events(), "Warning UnknownVolumeHealthCondition: "));
	assert_non_null(strstr(fake_events(), "type 77 (Odd): of a newer CSI"));
	assert_non_null(strstr(fake_events(), "(not a reason): spoken"));
	assert_true(is_told(1, "\"message\":\"one\"") && !is_told(1, "\"two\""));
	assert_true(is_told(1, "xxx\"") && !is_told(1, "\xc3"));
	ASSERT_EQ(count(fake_text(CLAIM "c2"), "\"reason\""), HEALTH_CONDITIONS_MAX);
	stop(&w);
}

TEST(a_claim_that_may_not_be_written_keeps_no_other_from_being_told)
{
	struct watching w;

	begin();
	say(0, GONE, "PoolGone", "");
	say(2, GONE, "PoolGone", "");
	fake_refuse("persistentvolumeclaims/c0", 403,
		    "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\"}");
	start(&w);
	fake_run(MINUTE);
	ASSERT_FALSE(is_told(0, "healthStatus"));
	assert_true(is_told(2, "PoolGone"));
	ASSERT_EQ(events("VolumeConditionAbnormal"), 2); /* Events are another right */
	fake_run(LOOK);
	ASSERT_EQ(events("VolumeConditionAbnormal"), 2);
	fake_refuse(NULL, 0, NULL);
	fake_run(LOOK);
	assert_true(is_told(0, "PoolGone"));
	stop(&w);
}

/* Whatever goes wrong at whatever step, nothing untrue is told, and the next look is right. */
TEST(every_step_goes_wrong_in_every_way)
{
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_LOSE, FAKE_KILL,
						  FAKE_KILL_AFTER };
	unsigned n_steps = 0;

	for (unsigned at = 1; at <= STEPS_MAX; at++)
		for (size_t f = 0; f < ARRAY_LEN(faults); f++) {
			struct watching w;

			begin();
			say(0, GONE, "PoolGone", "");
			start(&w);
			fake_run(MINUTE);
			driver.n[0] = 0;
			say(1, GONE, "PoolGone", "");
			fake_set_plan((struct fake_plan){
				.at = at, .fault = faults[f], .code = ERR_UNAVAILABLE });
			fake_run(LOOK);
			n_steps = fake_steps();
			ASSERT_FALSE(is_told(2, "healthStatus"));
			stop(&w); /* the process dies */
			fake_set_plan((struct fake_plan){ 0 });
			start(&w);
			fake_run(LOOK);
			ASSERT_FALSE(is_told(0, "healthStatus"));
			assert_true(is_told(1, "PoolGone"));
			stop(&w);
		}
	assert_in_range(n_steps, 5, STEPS_MAX);
}

RUN_TESTS(UNIT(what_is_wrong_is_told_and_taken_back), UNIT(what_nobody_can_tell_of_stays_as_it_was),
	  UNIT(without_a_whole_list_each_is_asked_for),
	  UNIT(only_claimed_volumes_of_this_driver_count),
	  UNIT(an_api_server_without_the_field_gets_it_once_an_hour),
	  UNIT(the_next_leader_takes_back_what_this_one_told),
	  UNIT(words_that_the_api_would_refuse_are_in_an_event_alone),
	  UNIT(a_claim_that_may_not_be_written_keeps_no_other_from_being_told),
	  UNIT(every_step_goes_wrong_in_every_way))
