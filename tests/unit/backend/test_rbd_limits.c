/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of I/O in an image's metadata: librbd's own words, of which there is one record; each step
 * of a change troubled. */
#include "rbd_world.h"

#include "ceph_failure.h"

#define READ_IOPS "conf_rbd_qos_read_iops_limit"
#define WRITE_IOPS "conf_rbd_qos_write_iops_limit"
#define READ_BPS "conf_rbd_qos_read_bps_limit"
#define WRITE_BPS "conf_rbd_qos_write_bps_limit"

static const struct vol_limits none;
static const struct vol_limits slow = { .read_iops = 500, .write_bandwidth = 20 * MIB };

static void set_scene(struct scene *s, const struct operation *op)
{
	world_begin(&s->w);
	if (op->has_volume)
		ASSERT_OK(make(&s->w, "source", BACKEND_SOURCE_NONE, NULL, &s->volume), &s->w.err);
}

static void delete_all(struct scene *s)
{
	delete_named(s, POOL, "");
	assert_nothing_left();
}

static int make_limited(struct world *w, const char *name, enum backend_source kind,
			const char *source, const struct vol_limits *limits,
			struct backend_volume *ret_vol)
{
	struct backend_spec spec = spec_of(name, kind, source);

	spec.limits = *limits;
	return backend_create(w->b, &w->ctx, &spec, ret_vol, &w->err);
}

static int modify(struct world *w, const char *token, const struct vol_limits *limits)
{
	return backend_modify(w->b, &w->ctx, token, limits, &secrets, &w->err);
}

static void assert_meta(struct world *w, const char *token, const char *key, const char *want)
{
	const char *image = image_name(w, "csi-vol-", token);

	ASSERT_STR(str_or(fake_ceph_image_meta(POOL, "", image, key), ""), want);
}

static void assert_limits(struct world *w, const char *token, const struct vol_limits *want)
{
	struct backend_volume vol;

	ASSERT_OK(backend_stat(w->b, &w->ctx, token, &secrets, &vol, &w->err), &w->err);
	ASSERT_TRUE(vol_limits_are_equal(&vol.limits, want));
}

TEST(they_are_kept_in_words_of_librbd)
{
	struct backend_volume vol, again;
	struct scene s = { 0 };

	world_begin(&s.w);
	ASSERT_OK(make_limited(&s.w, "made", BACKEND_SOURCE_NONE, NULL, &slow, &vol), &s.w.err);
	ASSERT_TRUE(vol_limits_are_equal(&vol.limits, &slow));
	assert_meta(&s.w, vol.token, READ_IOPS, "500");
	assert_meta(&s.w, vol.token, WRITE_BPS, "20971520");
	assert_meta(&s.w, vol.token, WRITE_IOPS, "");
	assert_meta(&s.w, vol.token, READ_BPS, "");
	assert_limits(&s.w, vol.token, &slow);
	/* what is there is told as it is, and the caller compares */
	ASSERT_OK(make_limited(&s.w, "made", BACKEND_SOURCE_NONE, NULL, &none, &again), &s.w.err);
	ASSERT_TRUE(vol_limits_are_equal(&again.limits, &slow));
	ASSERT_STR(again.token, vol.token);
	delete_all(&s);
	world_end(&s.w);
}

TEST(a_change_is_kept_and_told_and_leaves_the_rest)
{
	const struct vol_limits want = { .write_iops = 7, .write_bandwidth = 20 * MIB };
	struct backend_volume vol;
	const char *image;
	struct scene s = { 0 };

	world_begin(&s.w);
	ASSERT_OK(make_limited(&s.w, "made", BACKEND_SOURCE_NONE, NULL, &slow, &vol), &s.w.err);
	image = image_name(&s.w, "csi-vol-", vol.token);
	fake_ceph_set_image_meta(POOL, "", image, "conf_rbd_qos_iops_limit", "900");
	ASSERT_OK(modify(&s.w, vol.token, &want), &s.w.err);
	ASSERT_TRUE(fake_ceph_knows_meta(POOL, "", image));
	assert_limits(&s.w, vol.token, &want);
	assert_meta(&s.w, vol.token, READ_IOPS, "");
	assert_meta(&s.w, vol.token, WRITE_IOPS, "7");
	ASSERT_OK(modify(&s.w, vol.token, &none), &s.w.err);
	assert_limits(&s.w, vol.token, &none);
	assert_meta(&s.w, vol.token, WRITE_BPS, "");
	assert_meta(&s.w, vol.token, "conf_rbd_qos_iops_limit", "900");
	delete_all(&s);
	world_end(&s.w);
}

/* `rbd config image set` is another way to the same record. */
TEST(what_an_administrator_set_is_read_and_what_cannot_be_is_left_alone)
{
	static const char *const strange[] = { "0",           "a",
					       "99999999999", "18446744073709551616",
					       "-1",          "12345678901234567890123456789" };
	const struct vol_limits want = { .read_iops = 80 };
	struct backend_volume vol;
	const char *image;
	struct scene s = { 0 };

	world_begin(&s.w);
	ASSERT_OK(make(&s.w, "made", BACKEND_SOURCE_NONE, NULL, &vol), &s.w.err);
	image = image_name(&s.w, "csi-vol-", vol.token);
	fake_ceph_set_image_meta(POOL, "", image, READ_IOPS, "80");
	for (size_t i = 0; i < ARRAY_LEN(strange); i++) {
		fake_ceph_set_image_meta(POOL, "", image, WRITE_IOPS, strange[i]);
		assert_limits(&s.w, vol.token, &want);
		ASSERT_OK(modify(&s.w, vol.token, &none), &s.w.err);
		assert_meta(&s.w, vol.token, WRITE_IOPS, strange[i]);
		ASSERT_OK(modify(&s.w, vol.token, &want), &s.w.err);
	}
	ASSERT_OK(modify(&s.w, vol.token, &slow), &s.w.err);
	assert_limits(&s.w, vol.token, &slow);
	delete_all(&s);
	world_end(&s.w);
}

TEST(a_copy_has_those_that_are_asked_and_not_its_sources)
{
	const struct vol_limits own = { .read_bandwidth = 1 * MIB };
	struct backend_volume vol, restored, clone;
	struct backend_snapshot snap;
	struct scene s = { 0 };

	world_begin(&s.w);
	ASSERT_OK(make_limited(&s.w, "source", BACKEND_SOURCE_NONE, NULL, &slow, &vol), &s.w.err);
	ASSERT_OK(cut(&s.w, "snap", vol.token, &snap), &s.w.err);
	ASSERT_OK(make(&s.w, "restored", BACKEND_SOURCE_SNAPSHOT, snap.token, &restored), &s.w.err);
	assert_limits(&s.w, restored.token, &none);
	ASSERT_OK(make_limited(&s.w, "clone", BACKEND_SOURCE_VOLUME, vol.token, &own, &clone),
		  &s.w.err);
	assert_limits(&s.w, clone.token, &own);
	assert_limits(&s.w, vol.token, &slow);
	delete_all(&s);
	world_end(&s.w);
}

TEST(a_class_may_say_them_and_no_context_has_them)
{
	struct strpair pairs[ARRAY_LEN(class_pairs) + 1];
	struct backend_spec spec = spec_of("made", BACKEND_SOURCE_NONE, NULL);
	struct strmap limited = { pairs, ARRAY_LEN(pairs) };
	struct backend_volume vol;
	struct scene s = { 0 };

	memcpy(pairs, class_pairs, sizeof(class_pairs));
	pairs[ARRAY_LEN(class_pairs)] = (struct strpair){ "readIOPS", "500" };
	world_begin(&s.w);
	spec.parameters = &limited;
	spec.limits.read_iops = 500; /* by csi/ */
	ASSERT_OK(backend_create(s.w.b, &s.w.ctx, &spec, &vol, &s.w.err), &s.w.err);
	ASSERT_TRUE(strmap_find(&vol.context, "readIOPS") == NULL);
	ASSERT_STR(strmap_find(&vol.context, "pool"), "rbd");
	assert_meta(&s.w, vol.token, READ_IOPS, "500");
	delete_all(&s);
	world_end(&s.w);
}

/* The first call was killed, or failed, before it gave the volume to anybody. */
TEST(a_retry_with_others_has_none_of_the_first)
{
	const struct vol_limits other = { .write_iops = 9 };
	bool came = true;
	unsigned n = 1;

	for (; came; n++) {
		struct backend_volume vol;
		struct scene s = { 0 };

		world_begin(&s.w);
		fake_ceph_kill_at(n);
		came = make_limited(&s.w, "made", BACKEND_SOURCE_NONE, NULL, &slow, &vol) < 0;
		fake_ceph_fail_at(0, 0);
		world_kill(&s.w);
		ASSERT_OK(make_limited(&s.w, "made", BACKEND_SOURCE_NONE, NULL, &other, &vol),
			  &s.w.err);
		assert_limits(&s.w, vol.token, came ? &other : &slow);
		delete_all(&s);
		world_end(&s.w);
	}
	ASSERT_TRUE(n > 3);
}

TEST(what_is_not_there_cannot_be_changed)
{
	struct backend_volume vol;
	struct scene s = { 0 };

	world_begin(&s.w);
	ASSERT_ERR(modify(&s.w,
			  "0001-0002-c1-0000000000000001-ef8bee5a-62a9-41fa-88f5-f0784edfb316",
			  &slow),
		   &s.w.err, ERR_NOT_FOUND, "");
	ASSERT_OK(make(&s.w, "made", BACKEND_SOURCE_NONE, NULL, &vol), &s.w.err);
	fake_ceph_remove_image(POOL, "", image_name(&s.w, "csi-vol-", vol.token));
	ASSERT_ERR(modify(&s.w, vol.token, &slow), &s.w.err, ERR_NOT_FOUND, "csi-vol-");
	delete_all(&s);
	world_end(&s.w);
}

/* ---- trouble ---- */

static int run_create(struct scene *s)
{
	return make_limited(&s->w, "made", BACKEND_SOURCE_NONE, NULL, &slow, &s->made);
}

static void check_create(struct scene *s)
{
	assert_has(1, 1, 0);
	ASSERT_TRUE(vol_limits_are_equal(&s->made.limits, &slow));
	assert_limits(&s->w, s->made.token, &slow);
}

TEST(a_volume_with_limits_is_made_once)
{
	run_all(&(struct operation){ .run = run_create, .check = check_create });
}

static int run_modify(struct scene *s)
{
	return modify(&s->w, s->volume.token, &slow);
}

static void check_modify(struct scene *s)
{
	assert_has(1, 1, 0);
	assert_limits(&s->w, s->volume.token, &slow);
	ASSERT_TRUE(fake_ceph_knows_meta(POOL, "", image_name(&s->w, "csi-vol-", s->volume.token)));
}

TEST(a_change_is_whole_and_told_after_a_retry)
{
	run_all(&(struct operation){
		.has_volume = true, .run = run_modify, .check = check_modify });
}

static int run_lift(struct scene *s)
{
	if (s->made.token[0] == '\0') { /* once, before the trouble is over or not */
		const char *image = image_name(&s->w, "csi-vol-", s->volume.token);

		fake_ceph_set_image_meta(POOL, "", image, READ_IOPS, "500");
		fake_ceph_set_image_meta(POOL, "", image, WRITE_BPS, "20971520");
		(void)snprintf(s->made.token, sizeof(s->made.token), "set");
	}
	return modify(&s->w, s->volume.token, &none);
}

static void check_lift(struct scene *s)
{
	assert_limits(&s->w, s->volume.token, &none);
	assert_meta(&s->w, s->volume.token, READ_IOPS, "");
	ASSERT_TRUE(fake_ceph_knows_meta(POOL, "", image_name(&s->w, "csi-vol-", s->volume.token)));
}

TEST(limits_are_lifted_wholly_after_a_retry)
{
	run_all(&(struct operation){ .has_volume = true, .run = run_lift, .check = check_lift });
}

RUN_TESTS(UNIT(they_are_kept_in_words_of_librbd),
	  UNIT(a_change_is_kept_and_told_and_leaves_the_rest),
	  UNIT(what_an_administrator_set_is_read_and_what_cannot_be_is_left_alone),
	  UNIT(a_copy_has_those_that_are_asked_and_not_its_sources),
	  UNIT(a_class_may_say_them_and_no_context_has_them),
	  UNIT(a_retry_with_others_has_none_of_the_first),
	  UNIT(what_is_not_there_cannot_be_changed), UNIT(a_volume_with_limits_is_made_once),
	  UNIT(a_change_is_whole_and_told_after_a_retry),
	  UNIT(limits_are_lifted_wholly_after_a_retry))
