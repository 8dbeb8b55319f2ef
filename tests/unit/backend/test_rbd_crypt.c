/* SPDX-License-Identifier: Apache-2.0 */
/* Encrypted volumes as the controller has them: entries, metadata and sizes are ceph-csi's. */
#include "backend/rbd/luks.h"
#include "rbd_world.h"

#include "base/clock.h"
#include "ceph_failure.h"

#include <pthread.h>

#define HEADER (16 * MIB)

static const struct strpair with_passphrase[] = { { "encryptionPassphrase", "open sesame" },
						  { "userID", FAKE_CEPH_USER },
						  { "userKey", FAKE_CEPH_KEY } };
static const struct secrets passphrase = { { (struct strpair *)(uintptr_t)with_passphrase,
					     ARRAY_LEN(with_passphrase) } };

static int make_by(struct world *w, const char *name, const char *encrypted,
		   enum backend_source kind, const char *source, uint64_t bytes,
		   struct backend_volume *ret_vol)
{
	struct backend_spec spec = spec_of(name, kind, source);
	struct strmap map = strmap_with(w->ctx.arena, &class, "encrypted", encrypted);

	spec.parameters = &map;
	spec.secrets = &passphrase;
	spec.bytes = bytes;
	return backend_create(w->b, &w->ctx, &spec, ret_vol, &w->err);
}

static int make_encrypted(struct world *w, const char *name, enum backend_source kind,
			  const char *source, struct backend_volume *ret_vol)
{
	return make_by(w, name, "true", kind, source, kind == BACKEND_SOURCE_NONE ? GIB : 0,
		       ret_vol);
}

static const char *meta(const char *image, const char *key)
{
	return str_or(fake_ceph_image_meta(POOL, "", image, key), "(absent)");
}

static uint64_t raw_bytes(struct world *w, const char *image)
{
	struct image_place p;
	struct image_look look;

	ASSERT_OK(image_place_open((struct images *)w->b, &w->ctx, "c1", "rbd", "", &secrets, &p,
				   &w->err),
		  &w->err);
	ASSERT_OK(image_look(&p, image, 0, &look, &w->err), &w->err);
	image_place_close(&p);
	return look.bytes;
}

static void assert_encrypted(struct world *w, const struct backend_volume *vol, uint64_t bytes)
{
	const char *image = image_name(w, "csi-vol-", vol->token);
	const char *object = image_name(w, "csi.volume.", vol->token);

	ASSERT_EQ(vol->bytes, bytes);
	ASSERT_EQ(raw_bytes(w, image), bytes + HEADER);
	ASSERT_STR(omap(object, "csi.volume.encryptKMS"), "default");
	ASSERT_STR(omap(object, "csi.volume.encryptionType"), "block");
	ASSERT_STR(meta(image, "rbd.csi.ceph.com/encrypted"), "encryptionPrepared");
	ASSERT_STR(meta(image, "rbd.csi.ceph.com/luks2HeaderSize"), "16777216");
}

TEST(a_volume_has_what_was_asked_besides_its_header)
{
	struct backend_volume vol;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make_encrypted(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	assert_encrypted(&w, &vol, GIB);
	ASSERT_STR(strmap_find(&vol.context, "encrypted"), "true");
	ASSERT_OK(make_encrypted(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_EQ(vol.bytes, GIB);
	ASSERT_OK(backend_stat(w.b, &w.ctx, vol.token, &secrets, &vol, &w.err), &w.err);
	ASSERT_EQ(vol.bytes, GIB);
	ASSERT_OK(backend_grow(w.b, &w.ctx, vol.token, 2 * GIB, &secrets, &vol, &w.err), &w.err);
	assert_encrypted(&w, &vol, 2 * GIB);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	assert_nothing_left();
	world_end(&w);
}

TEST(a_volume_of_a_plain_class_has_no_word_of_it)
{
	struct backend_volume vol;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make_by(&w, "v", "false", BACKEND_SOURCE_NONE, NULL, GIB, &vol), &w.err);
	ASSERT_EQ(raw_bytes(&w, image_name(&w, "csi-vol-", vol.token)), GIB);
	ASSERT_STR(meta(image_name(&w, "csi-vol-", vol.token), LUKS_STATE_WORD), "(absent)");
	ASSERT_STR(omap(image_name(&w, "csi.volume.", vol.token), "csi.volume.encryptKMS"),
		   "(absent)");
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	world_end(&w);
}

TEST(what_is_made_of_an_encrypted_one_is_encrypted)
{
	struct backend_snapshot snap, stays;
	struct backend_volume vol, copy;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make_encrypted(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &snap), &w.err);
	ASSERT_OK(cut_by(&w, &staying_class, "t", vol.token, &stays), &w.err);
	ASSERT_EQ(snap.bytes, GIB);
	ASSERT_EQ(stays.bytes, GIB);
	ASSERT_STR(omap(image_name(&w, "csi.snap.", snap.token), "csi.volume.encryptKMS"),
		   "default");
	ASSERT_STR(omap(image_name(&w, "csi.snap.", snap.token), "csi.volume.encryptionType"),
		   "block");
	ASSERT_OK(make_encrypted(&w, "r", BACKEND_SOURCE_SNAPSHOT, snap.token, &copy), &w.err);
	assert_encrypted(&w, &copy, GIB);
	ASSERT_OK(make_by(&w, "r2", "true", BACKEND_SOURCE_SNAPSHOT, stays.token, GIB, &copy),
		  &w.err);
	assert_encrypted(&w, &copy, GIB);
	ASSERT_OK(make_encrypted(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &copy), &w.err);
	assert_encrypted(&w, &copy, GIB);
	world_end(&w);
}

/* librbd would not read all of it. */
TEST(no_copy_is_larger_than_its_parent)
{
	struct backend_snapshot snap;
	struct backend_volume vol, copy;
	unsigned n = 0;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make_encrypted(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &snap), &w.err);
	ASSERT_ERR(make_by(&w, "r", "true", BACKEND_SOURCE_SNAPSHOT, snap.token, 2 * GIB, &copy),
		   &w.err, ERR_OUT_OF_RANGE, "ask for 1Gi");
	assert_has(2, 1, 1);
	ASSERT_OK(make_encrypted(&w, "r", BACKEND_SOURCE_SNAPSHOT, snap.token, &copy), &w.err);
	ASSERT_OK(backend_grow(w.b, &w.ctx, copy.token, GIB, &secrets, &copy, &w.err), &w.err);
	while (backend_grow(w.b, &w.ctx, copy.token, 2 * GIB, &secrets, &copy, &w.err) < 0) {
		ASSERT_ERR(-1, &w.err, ERR_ABORTED, "flattened");
		ASSERT_EQ(raw_bytes(&w, image_name(&w, "csi-vol-", copy.token)), GIB + HEADER);
		ASSERT_TRUE(n++ < 10);
	}
	ASSERT_TRUE(n > 0);
	assert_encrypted(&w, &copy, 2 * GIB);
	world_end(&w);
}

/* The first is never formatted again, so its copies must not be. */
TEST(a_copy_of_one_that_was_written_to_is_not_called_empty)
{
	struct backend_snapshot snap;
	struct backend_volume vol, copy;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make_encrypted(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	fake_ceph_set_image_meta(POOL, "", image_name(&w, "csi-vol-", vol.token), LUKS_STATE_WORD,
				 LUKS_ENCRYPTED);
	ASSERT_OK(cut(&w, "s", vol.token, &snap), &w.err);
	ASSERT_OK(make_encrypted(&w, "r", BACKEND_SOURCE_SNAPSHOT, snap.token, &copy), &w.err);
	ASSERT_STR(meta(image_name(&w, "csi-vol-", copy.token), LUKS_STATE_WORD), LUKS_ENCRYPTED);
	ASSERT_OK(make_encrypted(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &copy), &w.err);
	ASSERT_STR(meta(image_name(&w, "csi-vol-", copy.token), LUKS_STATE_WORD), LUKS_ENCRYPTED);
	world_end(&w);
}

TEST(a_class_that_does_not_fit_its_source_is_refused_and_leaves_nothing)
{
	struct backend_volume plain, vol, copy;
	struct backend_snapshot snap;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "p", BACKEND_SOURCE_NONE, NULL, &plain), &w.err);
	ASSERT_OK(make_encrypted(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &snap), &w.err);
	ASSERT_ERR(make_encrypted(&w, "c", BACKEND_SOURCE_VOLUME, plain.token, &copy), &w.err,
		   ERR_INVALID_ARGUMENT, "is not encrypted");
	ASSERT_ERR(make(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &copy), &w.err,
		   ERR_INVALID_ARGUMENT, "encrypted: \"true\"");
	ASSERT_ERR(make(&w, "c", BACKEND_SOURCE_SNAPSHOT, snap.token, &copy), &w.err,
		   ERR_INVALID_ARGUMENT, "is encrypted");
	ASSERT_ERR(make_by(&w, "c", "true", BACKEND_SOURCE_SNAPSHOT, snap.token, GIB - MIB, &copy),
		   &w.err, ERR_OUT_OF_RANGE, "1Gi");
	ASSERT_ERR(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &copy), &w.err, ERR_ALREADY_EXISTS,
		   "encrypted");
	ASSERT_ERR(make_encrypted(&w, "p", BACKEND_SOURCE_NONE, NULL, &copy), &w.err,
		   ERR_ALREADY_EXISTS, "not encrypted");
	assert_has(3, 2, 1);
	world_end(&w);
}

TEST(a_secret_without_passphrase_is_told_before_anything_is_made)
{
	struct backend_spec spec = spec_of("v", BACKEND_SOURCE_NONE, NULL);
	struct backend_volume vol;
	struct strmap map;
	struct world w;

	world_begin(&w);
	map = strmap_with(w.ctx.arena, &class, "encrypted", "true");
	spec.parameters = &map;
	ASSERT_ERR(backend_create(w.b, &w.ctx, &spec, &vol, &w.err), &w.err, ERR_INVALID_ARGUMENT,
		   "encryptionPassphrase");
	assert_nothing_left();
	world_end(&w);
}

TEST(what_a_key_service_encrypts_is_left_to_ceph_csi)
{
	struct backend_volume vol, copy;
	struct backend_snapshot snap;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make_encrypted(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	fake_ceph_omap_set(POOL, "", image_name(&w, "csi.volume.", vol.token),
			   "csi.volume.encryptKMS", "vault-1");
	ASSERT_ERR(cut(&w, "s", vol.token, &snap), &w.err, ERR_FAILED_PRECONDITION, "vault-1");
	ASSERT_ERR(make_encrypted(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &copy), &w.err,
		   ERR_FAILED_PRECONDITION, "vault-1");
	ASSERT_OK(backend_grow(w.b, &w.ctx, vol.token, 2 * GIB, &secrets, &vol, &w.err), &w.err);
	ASSERT_EQ(vol.bytes, 2 * GIB);
	world_end(&w);
}

static int take_range(void *arg, const struct backend_range *range)
{
	(void)arg;
	(void)range;
	return 0;
}

TEST(blocks_of_an_encrypted_one_are_not_told)
{
	struct backend_snapshot one, two;
	struct backend_volume vol;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make_encrypted(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(cut_by(&w, &staying_class, "s", vol.token, &one), &w.err);
	ASSERT_OK(cut_by(&w, &staying_class, "t", vol.token, &two), &w.err);
	ASSERT_ERR(image_snapshot_allocated(w.b, &w.ctx, one.token, &secrets, 0, take_range, NULL,
					    &w.err),
		   &w.err, ERR_FAILED_PRECONDITION, "encrypted");
	ASSERT_ERR(image_snapshot_changed(w.b, &w.ctx, one.token, two.token, &secrets, 0,
					  take_range, NULL, &w.err),
		   &w.err, ERR_FAILED_PRECONDITION, "encrypted");
	world_end(&w);
}

/* ---- the same with trouble at each call ---- */

static void set_scene(struct scene *s, const struct operation *op)
{
	world_begin(&s->w);
	if (op->has_volume)
		ASSERT_OK(make_encrypted(&s->w, "source", BACKEND_SOURCE_NONE, NULL, &s->volume),
			  &s->w.err);
	if (op->has_snapshot)
		ASSERT_OK(cut(&s->w, "snap", s->volume.token, &s->snapshot), &s->w.err);
}

static void delete_all(struct scene *s)
{
	delete_named(s, POOL, "");
	assert_nothing_left();
}

static int run_create(struct scene *s)
{
	return make_encrypted(&s->w, "made", BACKEND_SOURCE_NONE, NULL, &s->made);
}

static int run_restore(struct scene *s)
{
	return make_encrypted(&s->w, "made", BACKEND_SOURCE_SNAPSHOT, s->snapshot.token, &s->made);
}

static int run_clone(struct scene *s)
{
	return make_encrypted(&s->w, "made", BACKEND_SOURCE_VOLUME, s->volume.token, &s->made);
}

static void check_made(struct scene *s)
{
	assert_encrypted(&s->w, &s->made, GIB);
}

TEST(trouble_at_any_call_leaves_no_volume_that_is_half_encrypted)
{
	run_all(&(struct operation){ .run = run_create, .check = check_made });
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .run = run_restore,
				     .check = check_made });
	run_all(&(struct operation){ .has_volume = true, .run = run_clone, .check = check_made });
}

static void *wait_for_turn(void *arg)
{
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	*(int *)arg = image_crypt_begin(&ctx, &err);
	ctx_done(&ctx);
	return NULL;
}

TEST(two_derive_a_key_at_once_and_others_wait)
{
	struct ctx ctx;
	struct err err;
	pthread_t third;
	int got = -1;

	ctx_init(&ctx, 0);
	ASSERT_OK(image_crypt_begin(&ctx, &err), &err);
	ASSERT_OK(image_crypt_begin(&ctx, &err), &err);
	ctx.deadline_ns = clock_now_ns() + 10 * NS_PER_MS;
	ASSERT_ERR(image_crypt_begin(&ctx, &err), &err, ERR_DEADLINE_EXCEEDED, "other encrypted");
	ASSERT_EQ(pthread_create(&third, NULL, wait_for_turn, &got), 0);
	image_crypt_end();
	ASSERT_EQ(pthread_join(third, NULL), 0);
	ASSERT_EQ(got, 0);
	image_crypt_end();
	image_crypt_end();
	ctx_done(&ctx);
}

RUN_TESTS(UNIT(a_volume_has_what_was_asked_besides_its_header),
	  UNIT(a_volume_of_a_plain_class_has_no_word_of_it),
	  UNIT(what_is_made_of_an_encrypted_one_is_encrypted),
	  UNIT(no_copy_is_larger_than_its_parent),
	  UNIT(a_copy_of_one_that_was_written_to_is_not_called_empty),
	  UNIT(a_class_that_does_not_fit_its_source_is_refused_and_leaves_nothing),
	  UNIT(a_secret_without_passphrase_is_told_before_anything_is_made),
	  UNIT(what_a_key_service_encrypts_is_left_to_ceph_csi),
	  UNIT(blocks_of_an_encrypted_one_are_not_told),
	  UNIT(trouble_at_any_call_leaves_no_volume_that_is_half_encrypted),
	  UNIT(two_derive_a_key_at_once_and_others_wait))
