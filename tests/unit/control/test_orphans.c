/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orphans: the rule by a table, the watch over them, and every step of its looks gone wrong. The
 * driver has what a test puts there; who knows of it stands in the API or in the journal.
 */
#include "check.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "control/orphan.h"
#include "control/orphans.h"
#include "fake/kube.h"
#include "fake/service.h"
#include "kube/fence.h"
#include "kube/informer.h"

#include <stdio.h>

#define DRIVER "pool.cleat.csi"
#define MINUTE (60 * NS_PER_S)
#define HOUR (60 * MINUTE)
#define STEPS_MAX 100
#define UID "0b5e9d3c-5d5e-4c8e-9d6e-0a8f6f1d2c3b"
#define UID_2 "1c6f0e4d-6e6f-4d9f-8e7f-1b907a2e3d4c"
#define PV "/api/v1/persistentvolumes/pvc-" UID
#define CLAIM "/api/v1/namespaces/default/persistentvolumeclaims/data-0"
#define SNAPSHOT_API "/apis/snapshot.storage.k8s.io/v1/"
#define GROUP_API "/apis/groupsnapshot.storage.k8s.io/v1/"
#define JOURNAL "/apis/coordination.k8s.io/v1/namespaces/default/leases/cleat-intents"

static void drop_line(void *arg, const char *line)
{
}

static void put(const char *path, const char *kind, const char *meta, const char *rest)
{
	autofree char *text = xasprintf("{\"kind\":\"%s\",\"apiVersion\":\"v1\",\"metadata\":{"
					"\"name\":\"%s\"%s%s}%s%s}",
					kind, strrchr(path, '/') + 1, *meta ? "," : "", meta,
					*rest ? "," : "", rest);

	fake_put(path, text);
}

static void put_pv(const char *path, const char *handle)
{
	autofree char *spec = xasprintf(
		"\"spec\":{\"csi\":{\"driver\":\"" DRIVER "\",\"volumeHandle\":\"%s\"}}", handle);

	put(path, "PersistentVolume", "", spec);
}

static void begin(void)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	fake_service_reset();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_LIST_VOLUMES) |
			     CSI_CAP_BIT(CSI_CTRL_LIST_SNAPSHOTS) |
			     CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT);
	fake_service.cluster = "this-cluster";
	put("/api/v1/namespaces/kube-system", "Namespace", "\"uid\":\"this-cluster\"", "");
	put("/apis/storage.k8s.io/v1/csidrivers/" DRIVER, "CSIDriver", "", "");
}

struct watching {
	struct informer *pvs, *contents, *group_contents;
	struct orphans *orphans;
};

static void start(struct watching *w, struct orphans_options opts)
{
	w->pvs = informer_new(NULL, &core_pv_type, NULL);
	w->contents = informer_new(NULL, &snapshot_content_type, NULL);
	w->group_contents = informer_new(NULL, &group_content_type, NULL);
	opts.pvs = w->pvs;
	opts.contents = w->contents;
	opts.group_contents = w->group_contents;
	opts.service = fake_service_get();
	opts.driver_name = DRIVER;
	opts.interval_ns = 10 * MINUTE;
	w->orphans = orphans_new(&opts);
	orphans_start(w->orphans);
}

static void stop(struct watching *w)
{
	orphans_free(w->orphans);
	informer_free(w->pvs);
	informer_free(w->contents);
	informer_free(w->group_contents);
}

static void watch(struct orphans_options opts, int64_t limit_ns)
{
	struct watching w;

	start(&w, opts);
	fake_run(limit_ns);
	stop(&w);
}

static const struct orphans_options telling = { 0 };
static const struct orphans_options deleting = { .delete_after_ns = HOUR };

static bool is_counted(const char *kind, unsigned n)
{
	autofree char *line = xasprintf("cleat_orphans{kind=\"%s\"} %u\n", kind, n);
	autostr struct str page = STR_INIT;

	metric_render(&page);
	return strstr(str_get(&page), line);
}

static bool is_told(void)
{
	return strstr(fake_events(), "OrphanFound");
}

/* ---- names ---- */

TEST(a_name_is_found_in_an_id_as_a_word_of_its_own)
{
	/* clang-format off */
	static const struct {
		const char *id, *prefix, *name;
	} cases[] = {
		{ "v1-0123-pvc-" UID, "pvc", "pvc-" UID },
		{ "pvc-" UID, "pvc", "pvc-" UID },
		{ "server#share#pvc-" UID "#1", "pvc", "pvc-" UID },
		{ "a-pvc-" UID_2 "/pvc-x", "pvc", "pvc-" UID_2 },
		{ "pvc-pvc-" UID, "pvc", "pvc-" UID },
		{ "g1-0-groupsnapshot-" UID, "groupsnapshot", "groupsnapshot-" UID },
		{ "g1-0-groupsnapshot-" UID, "snapshot", NULL },
		{ "xpvc-" UID, "pvc", NULL },
		{ "pvc-" UID "0", "pvc", NULL },
		{ "pvc-0b5e9d3c", "pvc", NULL },
		{ "pvc_" UID, "pvc", NULL },
		{ "pvc-" UID, "vol", NULL },
		{ UID, "pvc", NULL },
		{ "", "pvc", NULL },
		{ "pvc", "pvc", NULL },
		{ "pvc-", "pvc", NULL },
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = 0;
		const char *at = orphan_name_in(cases[i].id, cases[i].prefix, &n);
		autofree char *name = at ? xstrndup(at, n) : NULL;

		ASSERT_TRUE(str_is_equal(name, cases[i].name));
	}
}

/* ---- the rule ---- */

TEST(an_orphan_is_what_nothing_tells_of)
{
	static const char *const members[] = { "m1", "m2" };
	/* clang-format off */
	static const struct {
		enum orphan_kind kind;
		const char *uid, *name, *handle; /* what is known */
		bool is_one;
	} cases[] = {
		{ ORPHAN_VOLUME, "", "", "", true },
		{ ORPHAN_VOLUME, "u-2", "pvc-u2", "other", true },
		{ ORPHAN_VOLUME, "u", "", "", false },
		{ ORPHAN_VOLUME, "", "pvc-u", "", false },
		{ ORPHAN_VOLUME, "", "", "id", false },
		{ ORPHAN_VOLUME, "", "snapcontent-u", "", true },
		{ ORPHAN_SNAPSHOT, "", "", "", true },
		{ ORPHAN_SNAPSHOT, "u", "", "", false },
		{ ORPHAN_SNAPSHOT, "", "snapcontent-u", "", false },
		{ ORPHAN_SNAPSHOT, "", "pvc-u", "", true },
		{ ORPHAN_SNAPSHOT, "", "", "id", false },
		{ ORPHAN_GROUP, "", "", "", true },
		{ ORPHAN_GROUP, "", "groupsnapcontent-u", "", false },
		{ ORPHAN_GROUP, "", "snapcontent-u", "", true },
		{ ORPHAN_GROUP, "", "", "m2", false },
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct orphan o = {
			.kind = cases[i].kind, .id = "id", .name = "pvc-u", .uid = "u"
		};
		struct orphan_facts facts = { map_new(), map_new(), map_new() };

		if (o.kind == ORPHAN_GROUP)
			o.members = (struct intent_strings){ members, 2 };
		map_put(facts.uids, cases[i].uid, &o);
		map_put(facts.names, cases[i].name, &o);
		map_put(facts.handles, cases[i].handle, &o);
		ASSERT_EQ(orphan_is_one(&o, &facts), cases[i].is_one);
		map_free(facts.uids);
		map_free(facts.names);
		map_free(facts.handles);
	}
}

/* ---- telling ---- */

TEST(a_volume_that_nothing_tells_of_is_told_at_the_second_look)
{
	struct watching w;

	begin();
	fake_service_put_volume("pvc-" UID);
	start(&w, telling);
	fake_run(11 * MINUTE);
	ASSERT_FALSE(is_told());
	ASSERT_TRUE(is_counted("volume", 0));
	fake_run(10 * MINUTE);
	assert_non_null(strstr(fake_events(), "Warning OrphanFound: 1 volume that nothing in the "
					      "cluster tells of any more, such as id-pvc-" UID));
	ASSERT_TRUE(is_counted("volume", 1));
	ASSERT_TRUE(is_counted("snapshot", 0));
	fake_run(HOUR); /* told once, never deleted */
	ASSERT_STR(strchr(strstr(fake_events(), "OrphanFound"), '\n'), "\n");
	ASSERT_EQ(fake_service.n_volumes, 1);
	put_pv(PV, "id-pvc-" UID); /* adopted */
	fake_run(10 * MINUTE);
	ASSERT_TRUE(is_counted("volume", 0));
	stop(&w);
}

static void know_by_pv(void)
{
	put_pv(PV, "id-pvc-" UID);
}

static void know_by_name(void)
{
	put_pv(PV, "other");
}

static void know_by_handle(void)
{
	put_pv("/api/v1/persistentvolumes/made-by-hand", "id-pvc-" UID);
	put_pv("/api/v1/persistentvolumes/another", "id-other");
}

static void know_by_claim(void)
{
	put(CLAIM, "PersistentVolumeClaim", "\"namespace\":\"default\",\"uid\":\"" UID "\"", "");
}

static void know_by_intent(void)
{
	put(JOURNAL, "Lease", "\"annotations\":{\"intents.cleat.csi/leases\":\"2\"}", "");
	put(JOURNAL "-2", "Lease", "\"annotations\":{\"intents.cleat.csi/" UID "\":\"{}\"}", "");
}

static void know_by_intent_of_a_node(void)
{
	put(JOURNAL, "Lease", "", "");
	put(JOURNAL "-node-7", "Lease", "\"annotations\":{\"intents.cleat.csi/" UID "\":\"{}\"}",
	    "");
}

static void be_of_another_cluster(void)
{
	fake_service.cluster = "another-cluster";
}

TEST(what_anything_tells_of_is_no_orphan)
{
	static void (*const ways[])(void) = { know_by_pv,           know_by_name,
					      know_by_handle,       know_by_claim,
					      know_by_intent,       know_by_intent_of_a_node,
					      be_of_another_cluster };

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		begin();
		fake_service_put_volume("pvc-" UID);
		ways[i]();
		watch(deleting, 5 * HOUR);
		ASSERT_FALSE(is_told());
		ASSERT_EQ(fake_service.n_volumes, 1);
	}
}

TEST(what_has_another_name_is_nobodys)
{
	begin();
	fake_service_put_volume("data");
	fake_service_put_snapshot("daily");
	watch(deleting, 5 * HOUR);
	ASSERT_FALSE(is_told());
	ASSERT_EQ(fake_service.n_volumes, 1);
	ASSERT_EQ(fake_service.n_snapshots, 1);
}

TEST(while_all_is_known_by_caches_the_api_server_is_not_asked_for_lists)
{
	struct watching w;

	begin();
	fake_service_put_volume("pvc-" UID);
	know_by_pv();
	start(&w, telling);
	fake_run(11 * MINUTE);
	fake_set_plan((struct fake_plan){ 0 });
	fake_run(10 * MINUTE);
	ASSERT_EQ(fake_steps(), 3); /* which cluster, ListVolumes, ListSnapshots */
	stop(&w);
}

TEST(snapshots_and_groups_are_told_as_well)
{
	begin();
	put_pv("/api/v1/persistentvolumes/source", "vol-1");
	fake_service_put_snapshot("snapshot-" UID);
	fake_service_put_group("groupsnapshot-" UID_2);
	watch(telling, 21 * MINUTE);
	assert_non_null(strstr(fake_events(), "1 snapshot that nothing"));
	assert_non_null(strstr(fake_events(), "1 group that nothing"));
	assert_null(strstr(fake_events(), "2 "));
	ASSERT_EQ(fake_service.n_snapshots, 2);
}

TEST(a_snapshot_with_a_content_is_no_orphan)
{
	begin();
	fake_service_put_snapshot("snapshot-" UID);
	put(SNAPSHOT_API "volumesnapshotcontents/by-hand", "VolumeSnapshotContent", "",
	    "\"spec\":{\"driver\":\"" DRIVER
	    "\",\"source\":{\"snapshotHandle\":\"snap-snapshot-" UID "\"}}");
	watch(telling, HOUR);
	ASSERT_FALSE(is_told());
}

TEST(a_group_whose_member_has_a_content_is_no_orphan)
{
	begin();
	fake_service_put_group("groupsnapshot-" UID);
	put(SNAPSHOT_API "volumesnapshotcontents/member", "VolumeSnapshotContent", "",
	    "\"spec\":{\"driver\":\"" DRIVER
	    "\"},\"status\":{\"snapshotHandle\":\"snap-groupsnapshot-" UID "-a\"}");
	watch(telling, HOUR);
	ASSERT_FALSE(is_told());
}

TEST(without_the_kinds_of_snapshots_nothing_is_said_of_them)
{
	begin();
	fake_absent("snapshot.storage.k8s.io");
	fake_service_put_volume("pvc-" UID);
	fake_service_put_snapshot("snapshot-" UID_2);
	fake_service_put_group("groupsnapshot-" UID_2);
	watch(deleting, 5 * HOUR);
	assert_non_null(strstr(fake_events(), "1 volume that nothing"));
	assert_null(strstr(fake_events(), "snapshot that nothing"));
	assert_null(strstr(fake_events(), "group that nothing"));
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_EQ(fake_service.n_snapshots, 2);
}

TEST(a_list_that_broke_off_says_nothing_and_forgets_nothing)
{
	struct watching w;

	begin();
	fake_service_put_volume("pvc-" UID);
	start(&w, telling);
	fake_run(21 * MINUTE);
	ASSERT_TRUE(is_counted("volume", 1));
	fake_service.lists_for_ever = true;
	fake_service.list_page = 1;
	fake_run(30 * MINUTE);
	ASSERT_TRUE(is_counted("volume", 1));
	fake_service.lists_for_ever = false;
	fake_run(10 * MINUTE);
	stop(&w);
	ASSERT_STR(strchr(strstr(fake_events(), "OrphanFound"), '\n'), "\n");
}

/* ---- deleting ---- */

TEST(nothing_is_deleted_before_its_time)
{
	struct watching w;

	begin();
	fake_service_put_volume("pvc-" UID);
	start(&w, deleting);
	fake_run(69 * MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 1);
	fake_run(10 * MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 0);
	assert_non_null(strstr(fake_events(), "Normal OrphanDeleted: volume id-pvc-" UID));
	fake_run(10 * MINUTE);
	ASSERT_TRUE(is_counted("volume", 0));
	stop(&w);
}

TEST(the_time_begins_anew_with_each_leader)
{
	struct watching w;

	begin();
	fake_service_put_volume("pvc-" UID);
	start(&w, deleting);
	fake_run(65 * MINUTE);
	orphans_pause(w.orphans);
	ASSERT_TRUE(is_counted("volume", 0));
	orphans_start(w.orphans);
	fake_run(50 * MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 1);
	stop(&w);
}

static void take_long(void)
{
	clock_fake_advance(31 * NS_PER_S);
}

TEST(what_a_look_said_long_ago_is_looked_at_again)
{
	begin();
	fake_service_put_volume("pvc-" UID);
	fake_service_put_volume("pvc-" UID_2);
	fake_service.on_delete = take_long;
	watch(deleting, 71 * MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_EQ(fake_service.n_listed, 7 + 1); /* each ten minutes, and at once */
}

/* The volume that comes first hangs, the other goes. */
static unsigned n_tries;

static void hang_at_first(void)
{
	clock_fake_advance(60 * NS_PER_S);
	fake_service.delete_error = n_tries++ == 0 ? ERR_DEADLINE_EXCEEDED : ERR_OK;
}

TEST(one_that_cannot_be_deleted_is_tried_again_at_the_next_look_and_holds_up_no_other)
{
	struct watching w;

	begin();
	n_tries = 0;
	fake_service_put_volume("pvc-" UID);
	fake_service_put_volume("pvc-" UID_2);
	fake_service.on_delete = hang_at_first;
	start(&w, deleting);
	fake_run(74 * MINUTE);
	ASSERT_EQ(n_tries, 2);
	ASSERT_EQ(fake_service.n_volumes, 1);
	ASSERT_EQ(fake_service.n_listed, 7 + 1); /* at once, for the other */
	fake_run(20 * MINUTE);
	ASSERT_EQ(n_tries, 3);
	ASSERT_EQ(fake_service.n_volumes, 0);
	stop(&w);
}

static int64_t slow_at_ns;

static void be_slow_once(void)
{
	if (clock_now_ns() < slow_at_ns)
		return;
	clock_fake_advance(31 * NS_PER_S);
	slow_at_ns = INT64_MAX;
	know_by_handle();
}

/* Whose snapshots are is asked after the API server's lists; meanwhile it was adopted by hand. */
TEST(what_the_api_server_said_long_ago_is_not_acted_upon)
{
	begin();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_GET_VOLUME);
	fake_service_put_volume("pvc-" UID);
	fake_service_put_snapshot("snapshot-" UID_2);
	slow_at_ns = clock_now_ns() + 70 * MINUTE; /* the look at which it is due */
	fake_service.on_get = be_slow_once;
	watch(deleting, 2 * HOUR);
	ASSERT_EQ(slow_at_ns, INT64_MAX);
	ASSERT_EQ(fake_service.n_volumes, 1);
}

TEST(a_driver_that_is_always_slow_to_say_whose_they_are_keeps_no_orphan)
{
	begin();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_GET_VOLUME);
	fake_service_put_volume("pvc-" UID);
	fake_service_put_snapshot("snapshot-" UID_2);
	fake_service.on_get = take_long;
	watch(deleting, 75 * MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_EQ(fake_service.n_listed, 7);
}

TEST(of_many_snapshots_of_a_volume_it_is_asked_once)
{
	begin();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_GET_VOLUME);
	fake_service.source_cluster = "this-cluster";
	fake_service_put_snapshot("snapshot-" UID);
	fake_service_put_snapshot("snapshot-" UID_2);
	watch(deleting, 75 * MINUTE);
	ASSERT_EQ(fake_service.n_got, 7);
	ASSERT_EQ(fake_service.n_snapshots, 0);
}

TEST(a_driver_that_hangs_is_asked_once_a_look)
{
	begin();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_GET_VOLUME);
	fake_service.get_error = ERR_DEADLINE_EXCEEDED;
	put_pv("/api/v1/persistentvolumes/source", "vol-1");
	fake_service_put_snapshot("snapshot-" UID);
	fake_service_put_snapshot("snapshot-" UID_2);
	watch(deleting, 75 * MINUTE);
	ASSERT_EQ(fake_service.n_got, 7);
	ASSERT_EQ(fake_service.n_snapshots, 2);
}

static void be_in_use(void)
{
	fake_service.in_use = "n1";
}

static void tell_no_owner(void)
{
	fake_service.cluster = NULL;
}

TEST(what_may_be_anothers_or_is_in_use_is_told_and_kept)
{
	static void (*const ways[])(void) = { be_in_use, tell_no_owner };

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		begin();
		fake_service_put_volume("pvc-" UID);
		ways[i]();
		watch(deleting, 5 * HOUR);
		ASSERT_TRUE(is_told());
		ASSERT_EQ(fake_service.n_volumes, 1);
	}
}

TEST(snapshots_of_volumes_that_are_known_here_go_too)
{
	begin();
	put_pv("/api/v1/persistentvolumes/source", "vol-1");
	fake_service_put_snapshot("snapshot-" UID);
	fake_service_put_group("groupsnapshot-" UID_2);
	watch(deleting, 2 * HOUR);
	ASSERT_EQ(fake_service.n_snapshots, 0);
	ASSERT_EQ(fake_service.n_groups, 0);
}

TEST(snapshots_of_volumes_that_nobody_knows_stay)
{
	begin();
	fake_service_put_snapshot("snapshot-" UID);
	watch(deleting, 5 * HOUR);
	ASSERT_TRUE(is_told());
	ASSERT_EQ(fake_service.n_snapshots, 1);
}

/* Two clusters reach the storage, and the volume was handed from one to the other. */
TEST(snapshots_of_a_volume_that_is_anothers_or_perhaps_stay_though_it_is_known)
{
	static const enum err_code errors[] = { ERR_OK, ERR_UNAVAILABLE };

	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		begin();
		fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_GET_VOLUME);
		fake_service.source_cluster = "other-cluster";
		fake_service.get_error = errors[i];
		put_pv("/api/v1/persistentvolumes/source", "vol-1");
		fake_service_put_snapshot("snapshot-" UID);
		watch(deleting, 5 * HOUR);
		ASSERT_TRUE(is_told());
		ASSERT_EQ(fake_service.n_snapshots, 1);
	}
}

TEST(when_most_of_all_would_go_nothing_goes)
{
	begin();
	for (unsigned i = 0; i < 12; i++) {
		autofree char *name = xasprintf("pvc-%08x-5d5e-4c8e-9d6e-0a8f6f1d2c3b", i);

		fake_service_put_volume(name);
	}
	watch(deleting, 5 * HOUR);
	assert_non_null(strstr(fake_events(), "12 volumes that nothing"));
	ASSERT_EQ(fake_service.n_volumes, 12);
}

/* The contents of all snapshots were taken away, with their CRD: the volumes say nothing for them.
 */
TEST(when_most_of_a_kind_would_go_none_of_it_goes)
{
	begin();
	put_pv("/api/v1/persistentvolumes/source", "vol-1");
	for (unsigned i = 0; i < 40; i++) {
		autofree char *name = xasprintf("pvc-%08x-5d5e-4c8e-9d6e-0a8f6f1d2c3b", i);
		autofree char *pv = xasprintf("/api/v1/persistentvolumes/%s", name);
		autofree char *handle = xasprintf("id-%s", name);

		fake_service_put_volume(name);
		put_pv(pv, handle);
	}
	for (unsigned i = 0; i < 11; i++) {
		autofree char *name = xasprintf("snapshot-%08x-5d5e-4c8e-9d6e-0a8f6f1d2c3b", i);

		fake_service_put_snapshot(name);
	}
	fake_service_put_volume("pvc-" UID);
	watch(deleting, 5 * HOUR);
	ASSERT_EQ(fake_service.n_snapshots, 11);
	ASSERT_EQ(fake_service.n_volumes, 40);
}

/* ---- every step gone wrong ---- */

/* clang-format off */
static const struct {
	enum fake_fault fault;
	enum err_code code;
} troubles[] = {
	{ FAKE_FAIL, ERR_UNAVAILABLE },
	{ FAKE_FAIL, ERR_NOT_FOUND },
	{ FAKE_FAIL, ERR_PERMISSION_DENIED },
	{ FAKE_FAIL, ERR_INTERNAL },
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
};
/* clang-format on */

/* One orphan among three volumes, of which two are known in ways that need the lists. */
static void prepare(void)
{
	begin();
	fake_service_put_volume("pvc-" UID_2);
	fake_service_put_volume("pvc-" UID);
	know_by_handle();
	fake_service_put_volume("pvc-2d7f0e4d-6e6f-4d9f-8e7f-1b907a2e3d4c");
	put(CLAIM, "PersistentVolumeClaim",
	    "\"namespace\":\"default\",\"uid\":\"2d7f0e4d-6e6f-4d9f-8e7f-1b907a2e3d4c\"", "");
}

static void assert_only_it_went(void)
{
	ASSERT_EQ(fake_service.n_volumes, 2);
	ASSERT_FALSE(fake_service_has("pvc-" UID_2));
	ASSERT_EQ(fake_service.n_deleted, 1);
}

TEST(after_any_trouble_the_orphan_goes_and_nothing_else)
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault, .code = troubles[t].code };
		bool is_reached;

		do {
			struct watching w;

			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX * 2);
			prepare();
			start(&w, deleting);
			fake_set_plan(plan);
			fake_run(80 * MINUTE);
			is_reached = fake_steps() >= plan.at;
			ASSERT_TRUE(fake_service.n_volumes >= 2);
			ASSERT_TRUE(fake_service_has("pvc-" UID));
			stop(&w);
			fake_set_plan((struct fake_plan){ 0 });
			watch(deleting, 2 * HOUR);
			assert_only_it_went();
		} while (is_reached);
		ASSERT_TRUE(plan.at > 20);
	}
}

/* Under our name for it, or by hand under any. */
static const char *adopted_as;

static void adopt_it(void *arg)
{
	if (!fake_has(adopted_as) && fake_service_has("pvc-" UID_2))
		put_pv(adopted_as, "id-pvc-" UID_2);
}

/* Adopted before whatever step, it stays; but between the last look at the API server and the call
 * nobody can tell. */
static void adopt_at_each_step(const char *as, unsigned n_lost_most)
{
	unsigned at = 0, n_lost = 0;
	bool is_reached;

	adopted_as = as;
	do {
		struct watching w;

		at++;
		ASSERT_TRUE(at < STEPS_MAX * 2);
		prepare();
		start(&w, deleting);
		fake_set_plan((struct fake_plan){ .at = at, .hook = adopt_it });
		fake_run(80 * MINUTE);
		is_reached = fake_steps() >= at;
		stop(&w);
		if (fake_has(as))
			n_lost += !fake_service_has("pvc-" UID_2);
	} while (is_reached);
	ASSERT_TRUE(n_lost >= 1 && n_lost <= n_lost_most);
}

TEST(what_is_adopted_meanwhile_stays)
{
	/* the step of DeleteVolume itself */
	adopt_at_each_step("/api/v1/persistentvolumes/pvc-" UID_2, 1);
	/* and that of the question for our name, and of the list's second page, which need not have
	 * what came after the first */
	adopt_at_each_step("/api/v1/persistentvolumes/restored-by-hand", 3);
}

TEST(who_was_deposed_deletes_nothing)
{
	struct orphans_options opts = deleting;
	struct watching w;

	begin();
	opts.fence = fence_new();
	fence_open(opts.fence, FENCE_NO_LIMIT);
	fake_service_put_volume("pvc-" UID);
	start(&w, opts);
	fake_run(65 * MINUTE);
	fence_close(opts.fence);
	fake_run(HOUR);
	stop(&w);
	fence_free(opts.fence);
	ASSERT_EQ(fake_service.n_volumes, 1);
}

static void pause_it(void *arg)
{
	orphans_pause(((struct watching *)arg)->orphans);
}

/* Before whatever step of a look. */
TEST(who_was_paused_counts_no_more)
{
	unsigned at = 0;
	bool is_reached;

	do {
		struct watching w;

		at++;
		ASSERT_TRUE(at < STEPS_MAX);
		begin();
		fake_service_put_volume("pvc-" UID);
		start(&w, telling);
		fake_run(11 * MINUTE);
		fake_set_plan((struct fake_plan){ .at = at, .hook = pause_it, .arg = &w });
		fake_run(15 * MINUTE);
		is_reached = fake_steps() >= at;
		ASSERT_TRUE(is_counted("volume", is_reached ? 0 : 1));
		stop(&w);
	} while (is_reached);
	ASSERT_TRUE(at > 5);
}

RUN_TESTS(UNIT(a_name_is_found_in_an_id_as_a_word_of_its_own),
	  UNIT(an_orphan_is_what_nothing_tells_of),
	  UNIT(a_volume_that_nothing_tells_of_is_told_at_the_second_look),
	  UNIT(what_anything_tells_of_is_no_orphan), UNIT(what_has_another_name_is_nobodys),
	  UNIT(while_all_is_known_by_caches_the_api_server_is_not_asked_for_lists),
	  UNIT(snapshots_and_groups_are_told_as_well), UNIT(a_snapshot_with_a_content_is_no_orphan),
	  UNIT(a_group_whose_member_has_a_content_is_no_orphan),
	  UNIT(without_the_kinds_of_snapshots_nothing_is_said_of_them),
	  UNIT(a_list_that_broke_off_says_nothing_and_forgets_nothing),
	  UNIT(nothing_is_deleted_before_its_time),
	  UNIT(what_a_look_said_long_ago_is_looked_at_again),
	  UNIT(the_time_begins_anew_with_each_leader),
	  UNIT(what_may_be_anothers_or_is_in_use_is_told_and_kept),
	  UNIT(snapshots_of_volumes_that_are_known_here_go_too),
	  UNIT(one_that_cannot_be_deleted_is_tried_again_at_the_next_look_and_holds_up_no_other),
	  UNIT(what_the_api_server_said_long_ago_is_not_acted_upon),
	  UNIT(a_driver_that_is_always_slow_to_say_whose_they_are_keeps_no_orphan),
	  UNIT(of_many_snapshots_of_a_volume_it_is_asked_once), UNIT(who_was_paused_counts_no_more),
	  UNIT(a_driver_that_hangs_is_asked_once_a_look),
	  UNIT(snapshots_of_volumes_that_nobody_knows_stay),
	  UNIT(snapshots_of_a_volume_that_is_anothers_or_perhaps_stay_though_it_is_known),
	  UNIT(when_most_of_all_would_go_nothing_goes),
	  UNIT(when_most_of_a_kind_would_go_none_of_it_goes),
	  UNIT(after_any_trouble_the_orphan_goes_and_nothing_else),
	  UNIT(what_is_adopted_meanwhile_stays), UNIT(who_was_deposed_deletes_nothing))
