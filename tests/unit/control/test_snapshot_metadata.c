/* SPDX-License-Identifier: Apache-2.0 */
/* Who is told what has changed in a snapshot: reviews, objects, Secrets, and the driver's stream;
 * and that nobody is told anything when a step before it goes wrong, in whatever way. */
#include "check.h"
#include "control/snapshot_metadata.h"
#include "control/snapshots.h"
#include "fake/kube.h"
#include "fake/service.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define DRIVER "pool.cleat.csi"
#define SNAP "/apis/snapshot.storage.k8s.io/v1/"
#define SNAPSHOT SNAP "namespaces/apps/volumesnapshots/snap"
#define CONTENT SNAP "volumesnapshotcontents/content"
#define CLASS SNAP "volumesnapshotclasses/snaps"
#define SERVICE "/apis/cbt.storage.k8s.io/v1beta1/snapshotmetadataservices/" DRIVER
#define SECRET "/api/v1/namespaces/apps/secrets/key-snap"
#define TOKENS "tokenreviews"
#define ACCESS "subjectaccessreviews"
#define YES                                                                                   \
	"{\"status\":{\"authenticated\":true,\"audiences\":[\"aud\"],\"user\":{\"username\":" \
	"\"joe\","                                                                            \
	"\"uid\":\"7\",\"groups\":[\"a\",\"b\"],\"extra\":{\"k\":[\"v\"]}}}}"
#define MAY "{\"status\":{\"allowed\":true}}"
#define STEPS 11 /* of a call that goes well: see below */

static void drop_line(void *arg, const char *line)
{
}

static void put_snapshot(void)
{
	fake_put(
		SNAPSHOT,
		"{\"kind\":\"VolumeSnapshot\",\"metadata\":{\"name\":\"snap\",\"namespace\":"
		"\"apps\",\"uid\":\"s1\"},\"spec\":{\"volumeSnapshotClassName\":\"snaps\"},"
		"\"status\":{\"boundVolumeSnapshotContentName\":\"content\",\"readyToUse\":true}}");
	fake_put(
		CONTENT,
		"{\"kind\":\"VolumeSnapshotContent\",\"metadata\":{\"name\":\"content\"},\"spec\":{"
		"\"driver\":\"" DRIVER "\",\"volumeSnapshotRef\":{\"namespace\":\"apps\",\"name\":"
		"\"snap\",\"uid\":\"s1\"}},\"status\":{\"snapshotHandle\":\"snap-7\","
		"\"readyToUse\":"
		"true}}");
	fake_put(CLASS,
		 "{\"kind\":\"VolumeSnapshotClass\",\"metadata\":{\"name\":\"snaps\"},"
		 "\"driver\":\"" DRIVER "\",\"parameters\":{"
		 "\"csi.storage.k8s.io/snapshotter-secret-name\":\"key-${volumesnapshot.name}\","
		 "\"csi.storage.k8s.io/snapshotter-secret-namespace\":"
		 "\"${volumesnapshot.namespace}\"}}");
	fake_put(SECRET, "{\"kind\":\"Secret\",\"metadata\":{\"name\":\"key-snap\"},\"data\":{"
			 "\"password\":\"aHVudGVy\"}}");
	fake_put(SERVICE, "{\"kind\":\"SnapshotMetadataService\",\"metadata\":{\"name\":\"" DRIVER
			  "\"},\"spec\":{\"audience\":\"aud\"}}");
}

static void begin(void)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	fake_service_reset();
	fake_service.tells_changes = true;
	fake_service.n_told = 3;
	put_snapshot();
	fake_answer(TOKENS, YES);
	fake_answer(ACCESS, MAY);
}

/* What a caller got. */
struct told {
	unsigned n, enough; /* ≠ 0: it goes after so many */
	uint64_t last_offset;
};

static int take(void *arg, const void *message, struct err *err)
{
	const struct csi_get_metadata_allocated_response *m = message;
	struct told *t = arg;

	if (t->enough && t->n == t->enough)
		return err_set(err, ERR_CANCELLED, "gone");
	t->n++;
	if (m->n_block_metadata)
		t->last_offset = m->block_metadata[0].byte_offset;
	return 0;
}

static struct snapshot_metadata *make(const char *audience)
{
	return snapshot_metadata_new(&(struct snapshot_metadata_options){
		.service = fake_service_get(),
		.driver_name = DRIVER,
		.audience = audience,
		.timeout_ns = 10 * NS_PER_S,
		.stream_ns = 600 * NS_PER_S,
	});
}

static int ask_of(struct snapshot_metadata *sm, const char *ns, const char *name, struct told *told,
		  struct err *err)
{
	const struct snapmeta_get_metadata_allocated_request req = {
		.security_token = "s3cr3t",
		.namespace = ns,
		.snapshot_name = name,
		.starting_offset = 5,
		.max_results = 6,
	};
	struct csi_stream out = { .take = take, .arg = told };
	struct ctx ctx;
	int r;

	told->n = 0;
	ctx_init(&ctx, 0);
	r = snapshot_metadata_allocated(sm, &ctx, &req, &out, err);
	ctx_done(&ctx);
	return r;
}

static int ask(struct told *told, struct err *err)
{
	struct snapshot_metadata *sm = make("");
	int r = ask_of(sm, "apps", "snap", told, err);

	snapshot_metadata_free(sm);
	return r;
}

static void assert_refused(enum err_code code, const char *text)
{
	struct told told = { 0 };
	struct err err;

	ASSERT_ERR(ask(&told, &err), &err, code, text);
	ASSERT_EQ(told.n, 0);
	assert_null(strstr(err.msg, "s3cr3t"));
}

TEST(who_may_is_told_what_the_driver_tells)
{
	struct told told = { 0 };
	struct err err;

	begin();
	ASSERT_OK(ask(&told, &err), &err);
	ASSERT_EQ(told.n, 3);
	ASSERT_EQ(told.last_offset, 2048);
	ASSERT_EQ(fake_steps(), STEPS);
	assert_non_null(strstr(fake_service.last_told, "of=snap-7 from=5 max=6"));
	assert_non_null(strstr(fake_service.last_told, "secrets={password=hunter}"));
	assert_non_null(strstr(fake_service.last_told, "left=600s")); /* not the 10 before */
	assert_non_null(strstr(fake_asked(TOKENS), "\"token\":\"s3cr3t\",\"audiences\":[\"aud\"]"));
	assert_non_null(strstr(fake_asked(ACCESS),
			       "\"user\":\"joe\",\"uid\":\"7\",\"groups\":[\"a\",\"b\"],\"extra\":{"
			       "\"k\":[\"v\"]},\"resourceAttributes\":{\"namespace\":\"apps\","
			       "\"verb\":\"get\",\"group\":\"snapshot.storage.k8s.io\",\"version\":"
			       "\"v1\",\"resource\":\"volumesnapshots\"}"));
}

TEST(the_older_one_goes_by_its_handle)
{
	struct snapshot_metadata *sm;
	const struct snapmeta_get_metadata_delta_request req = {
		.security_token = "s3cr3t",
		.namespace = "apps",
		.base_snapshot_id = "snap-1",
		.target_snapshot_name = "snap",
		.max_results = 9,
	};
	struct told told = { 0 };
	struct csi_stream out = { .take = take, .arg = &told };
	struct ctx ctx;
	struct err err;

	begin();
	sm = make("other");
	fake_answer(TOKENS,
		    "{\"status\":{\"authenticated\":true,\"audiences\":[\"x\",\"other\"]}}");
	ctx_init(&ctx, 0);
	ASSERT_OK(snapshot_metadata_delta(sm, &ctx, &req, &out, &err), &err);
	ctx_done(&ctx);
	ASSERT_EQ(told.n, 3);
	assert_non_null(strstr(fake_service.last_told, "base=snap-1 target=snap-7 from=0 max=9"));
	assert_non_null(strstr(fake_asked(TOKENS), "[\"other\"]"));
	snapshot_metadata_free(sm);
}

TEST(tokens_of_nobody_or_for_others_are_refused)
{
	static const char *const answers[] = {
		"{\"status\":{\"authenticated\":false,\"error\":\"expired\"}}",
		"{\"status\":{\"authenticated\":true}}",
		"{\"status\":{\"authenticated\":true,\"audiences\":[]}}",
		"{\"status\":{\"authenticated\":true,\"audiences\":[\"audi\",\"au\"]}}",
		"{\"status\":{\"authenticated\":\"true\",\"audiences\":[\"aud\"]}}",
		"{\"status\":{\"audiences\":[\"aud\"]}}",
		"{}",
		"[]",
	};

	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		begin();
		fake_answer(TOKENS, answers[i]);
		assert_refused(ERR_UNAUTHENTICATED, "'aud'");
		ASSERT_STR(fake_asked(ACCESS), "");
	}
}

TEST(who_may_not_is_refused)
{
	static const char *const answers[] = {
		"{\"status\":{\"allowed\":false,\"reason\":\"no rule\"}}",
		"{\"status\":{\"allowed\":true,\"denied\":true,\"reason\":\"no rule\"}}",
		"{\"status\":{\"reason\":\"no rule\"}}",
		"{}",
	};

	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		begin();
		fake_answer(ACCESS, answers[i]);
		assert_refused(ERR_PERMISSION_DENIED, "joe");
		ASSERT_STR(fake_service.last_told, "");
	}
}

struct object_case {
	const char *path, *patch; /* patch NULL: it is not there */
	enum err_code code;
	const char *text;
};

/* clang-format off */
static const struct object_case object_cases[] = {
	{ SERVICE, NULL, ERR_INTERNAL, "SnapshotMetadataService '" DRIVER "'" },
	{ SERVICE, "{\"spec\":null}", ERR_INTERNAL, "no spec.audience" },
	{ SNAPSHOT, NULL, ERR_UNAVAILABLE, "VolumeSnapshot 'snap'" },
	{ SNAPSHOT, "{\"status\":null}", ERR_UNAVAILABLE, "'snap' is not yet ready" },
	{ SNAPSHOT, "{\"status\":{\"readyToUse\":false}}", ERR_UNAVAILABLE, "'snap' is not yet ready" },
	{ SNAPSHOT, "{\"status\":{\"boundVolumeSnapshotContentName\":null}}", ERR_UNAVAILABLE, "boundVolumeSnapshotContentName" },
	{ SNAPSHOT, "{\"status\":{\"boundVolumeSnapshotContentName\":\"../x\"}}", ERR_INVALID_ARGUMENT, "../x" },
	{ CONTENT, NULL, ERR_UNAVAILABLE, "VolumeSnapshotContent 'content'" },
	{ CONTENT, "{\"status\":null}", ERR_UNAVAILABLE, "'content' is not yet ready" },
	{ CONTENT, "{\"status\":{\"snapshotHandle\":null}}", ERR_UNAVAILABLE, "snapshotHandle" },
	{ CONTENT, "{\"spec\":{\"driver\":\"other.csi\"}}", ERR_INVALID_ARGUMENT, "other.csi" },
	{ CONTENT, "{\"spec\":{\"volumeSnapshotRef\":null}}", ERR_FAILED_PRECONDITION, "not bound" },
	{ CONTENT, "{\"spec\":{\"volumeSnapshotRef\":{\"namespace\":\"other\"}}}", ERR_FAILED_PRECONDITION, "not bound" },
	{ CONTENT, "{\"spec\":{\"volumeSnapshotRef\":{\"name\":\"other\"}}}", ERR_FAILED_PRECONDITION, "not bound" },
	{ CONTENT, "{\"spec\":{\"volumeSnapshotRef\":{\"uid\":\"other\"}}}", ERR_FAILED_PRECONDITION, "not bound" },
	{ CLASS, NULL, ERR_UNAVAILABLE, "VolumeSnapshotClass 'snaps'" },
	{ CLASS, "{\"parameters\":{\"csi.storage.k8s.io/snapshotter-secret-namespace\":null}}", ERR_UNAVAILABLE, "'snaps'" },
	{ CLASS, "{\"parameters\":{\"csi.storage.k8s.io/snapshotter-secret-name\":\"${x}\"}}", ERR_UNAVAILABLE, "${x}" },
	{ SECRET, NULL, ERR_UNAVAILABLE, "apps/key-snap" },
};
/* clang-format on */

TEST(objects_that_are_not_as_they_must_be_are_named)
{
	for (size_t i = 0; i < ARRAY_LEN(object_cases); i++) {
		begin();
		if (object_cases[i].patch)
			fake_merge(object_cases[i].path, object_cases[i].patch);
		else
			fake_delete(object_cases[i].path);
		assert_refused(object_cases[i].code, object_cases[i].text);
		ASSERT_STR(fake_service.last_told, "");
	}
}

TEST(names_that_are_none_are_asked_for_nowhere)
{
	static const char *const names[] = { "..", "a/b", "a?b", "" };
	struct told told = { 0 };
	struct snapshot_metadata *sm;
	struct err err;

	begin();
	sm = make("");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ASSERT_ERR(ask_of(sm, names[i], "snap", &told, &err), &err, ERR_INVALID_ARGUMENT,
			   "namespace");
		ASSERT_ERR(ask_of(sm, "apps", names[i], &told, &err), &err, ERR_INVALID_ARGUMENT,
			   "VolumeSnapshot");
	}
	snapshot_metadata_free(sm);
}

static void put_default(const char *name, const char *driver, const char *value)
{
	autofree char *path = xasprintf(SNAP "volumesnapshotclasses/%s", name);
	autofree char *json = xasprintf(
		"{\"kind\":\"VolumeSnapshotClass\",\"metadata\":{\"name\":\"%s\",\"annotations\":{"
		"\"snapshot.storage.kubernetes.io/is-default-class\":\"%s\"}},\"driver\":\"%s\","
		"\"parameters\":{\"csi.storage.k8s.io/snapshotter-secret-name\":\"key-snap\","
		"\"csi.storage.k8s.io/snapshotter-secret-namespace\":\"apps\"}}",
		name, value, driver);

	fake_put(path, json);
}

TEST(a_snapshot_without_a_class_is_of_the_only_default_one)
{
	struct told told = { 0 };
	struct err err;

	begin();
	fake_merge(SNAPSHOT, "{\"spec\":{\"volumeSnapshotClassName\":null}}");
	put_default("of-others", "other.csi", "true");
	put_default("no-default", DRIVER, "false");
	ASSERT_OK(ask(&told, &err), &err);
	assert_non_null(strstr(fake_service.last_told, "secrets={}"));
	put_default("default", DRIVER, "true");
	ASSERT_OK(ask(&told, &err), &err);
	assert_non_null(strstr(fake_service.last_told, "password=hunter"));
	put_default("default-too", DRIVER, "true");
	assert_refused(ERR_UNAVAILABLE, "multiple default");
}

TEST(of_a_class_that_is_gone_the_content_knows_the_secret)
{
	struct told told = { 0 };
	struct err err;

	begin();
	fake_delete(CLASS);
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":{\"" ANN_SNAPSHOT_SECRET_NAME
			    "\":\"key-snap\",\"" ANN_SNAPSHOT_SECRET_NS "\":\"apps\"}}}");
	ASSERT_OK(ask(&told, &err), &err);
	assert_non_null(strstr(fake_service.last_told, "password=hunter"));
}

TEST(another_driver_or_one_that_cannot_is_asked_nothing)
{
	begin();
	fake_service.name = "other.csi";
	assert_refused(ERR_UNAVAILABLE, "not yet ready");
	begin();
	fake_service.tells_changes = false;
	assert_refused(ERR_UNAVAILABLE, "SNAPSHOT_METADATA_SERVICE");
	ASSERT_STR(fake_service.last_told, "");
}

TEST(the_drivers_errors_are_passed_on_and_what_came_before_them_was_told)
{
	static const struct {
		enum err_code theirs, ours;
	} codes[] = { { ERR_OUT_OF_RANGE, ERR_OUT_OF_RANGE },
		      { ERR_NOT_FOUND, ERR_NOT_FOUND },
		      { ERR_FAILED_PRECONDITION, ERR_FAILED_PRECONDITION },
		      { ERR_UNAVAILABLE, ERR_UNAVAILABLE },
		      { ERR_UNKNOWN, ERR_INTERNAL } };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct told told = { 0 };
		struct err err;

		begin();
		fake_service.told_error = codes[i].theirs;
		ASSERT_ERR(ask(&told, &err), &err, codes[i].ours, "the driver says no");
		ASSERT_EQ(told.n, 3);
	}
}

TEST(a_caller_that_goes_ends_the_drivers_stream)
{
	struct told told = { .enough = 2 };
	struct err err;

	begin();
	fake_service.n_told = 1000000;
	ASSERT_ERR(ask(&told, &err), &err, ERR_CANCELLED, "gone");
	ASSERT_EQ(told.n, 2);
}

/* Reviews, objects, the driver's three questions: whichever fails, however, nobody is told
 * anything; and the next call is as if there had been none. */
TEST(every_step_goes_wrong_in_every_way)
{
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_LOSE, FAKE_KILL,
						  FAKE_KILL_AFTER };
	static const enum err_code codes[] = { ERR_UNAVAILABLE,       ERR_NOT_FOUND,
					       ERR_PERMISSION_DENIED, ERR_INTERNAL,
					       ERR_DEADLINE_EXCEEDED, ERR_UNAUTHENTICATED };

	for (unsigned at = 1; at <= STEPS; at++)
		for (size_t f = 0; f < ARRAY_LEN(faults); f++)
			for (size_t c = 0; c < ARRAY_LEN(codes); c++) {
				struct told told = { 0 };
				struct err err;

				begin();
				fake_set_plan((struct fake_plan){
					.at = at, .fault = faults[f], .code = codes[c] });
				assert_true(ask(&told, &err) < 0);
				ASSERT_EQ(told.n, 0);
				/* What is not the caller's fault is not told as if it were. */
				assert_true(at == STEPS || (err.code != ERR_UNAUTHENTICATED &&
							    err.code != ERR_PERMISSION_DENIED));
				fake_set_plan((struct fake_plan){ 0 });
				ASSERT_OK(ask(&told, &err), &err);
				ASSERT_EQ(told.n, 3);
			}
}

RUN_TESTS(UNIT(who_may_is_told_what_the_driver_tells), UNIT(the_older_one_goes_by_its_handle),
	  UNIT(tokens_of_nobody_or_for_others_are_refused), UNIT(who_may_not_is_refused),
	  UNIT(objects_that_are_not_as_they_must_be_are_named),
	  UNIT(names_that_are_none_are_asked_for_nowhere),
	  UNIT(a_snapshot_without_a_class_is_of_the_only_default_one),
	  UNIT(of_a_class_that_is_gone_the_content_knows_the_secret),
	  UNIT(another_driver_or_one_that_cannot_is_asked_nothing),
	  UNIT(the_drivers_errors_are_passed_on_and_what_came_before_them_was_told),
	  UNIT(a_caller_that_goes_ends_the_drivers_stream),
	  UNIT(every_step_goes_wrong_in_every_way))
