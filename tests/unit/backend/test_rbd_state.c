/* SPDX-License-Identifier: Apache-2.0 */
/* What the node keeps of an image: texts that are whole whatever call fails or kills. */
#include "backend/rbd/state.h"
#include "base/mem.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_krbd.h"
#include "host/fs.h"

#define TOKEN "0001-0002-c1-0000000000000001-ef8bee5a-62a9-41fa-88f5-f0784edfb316"
#define OTHER "0001-0002-c1-0000000000000001-8a46b2d4-2c94-44fe-b220-211d3d900cae"
#define STATE "/run/rbd"
#define N_CALLS_MAX 100

static char state_dir[] = STATE;
static struct images images = { .ceph.state_dir = state_dir };

static void begin(struct ctx *ctx)
{
	ceph_config_free(images.ceph.config);
	images.ceph.config = ceph_config_new("/nowhere");
	fake_host_reset(UINT64_C(1) << 30);
	fake_krbd_reset(true);
	fake_host_add_dir(STATE);
	ctx_init(ctx, 0);
}

static bool has_directory(const char *token)
{
	autohostfd int state_fd = -1;
	autohostfd int fd = -1;
	struct err err;

	ASSERT_OK(host_dir_open(STATE, &state_fd, &err), &err);
	return host_dir_open_at(state_fd, token, &fd, &err) == 0;
}

static int set(struct ctx *ctx, const char *token, const char *note, struct err *err)
{
	return image_note_set(&images.ceph.base, ctx, token, note, err);
}

static void assert_note(struct ctx *ctx, const char *token, const char *want)
{
	char note[BACKEND_NOTE_MAX + 1];
	struct err err;

	ASSERT_OK(image_note_get(&images.ceph.base, ctx, token, note, &err), &err);
	ASSERT_STR(note, want);
}

TEST(a_note_is_kept_until_it_is_empty)
{
	struct ctx ctx;
	struct err err;

	begin(&ctx);
	assert_note(&ctx, TOKEN, "");
	ASSERT_OK(set(&ctx, TOKEN, "", &err), &err);
	ASSERT_FALSE(has_directory(TOKEN));
	ASSERT_OK(set(&ctx, TOKEN, "staged", &err), &err);
	ASSERT_OK(set(&ctx, TOKEN, "staged and more", &err), &err);
	assert_note(&ctx, TOKEN, "staged and more");
	assert_note(&ctx, OTHER, "");
	ASSERT_OK(set(&ctx, TOKEN, "", &err), &err);
	assert_note(&ctx, TOKEN, "");
	ASSERT_FALSE(has_directory(TOKEN));
	ctx_done(&ctx);
}

TEST(a_note_is_the_old_or_the_new_whatever_fails)
{
	for (unsigned n = 1; n < N_CALLS_MAX; n++) {
		char note[BACKEND_NOTE_MAX + 1];
		struct ctx ctx;
		struct err err;
		int rc;

		begin(&ctx);
		ASSERT_OK(set(&ctx, TOKEN, "old", &err), &err);
		fake_host_fail_at(n);
		rc = set(&ctx, TOKEN, "new", &err);
		n = fake_host_failed() ? n : N_CALLS_MAX;
		fake_host_fail_at(0);
		ASSERT_OK(image_note_get(&images.ceph.base, &ctx, TOKEN, note, &err), &err);
		ASSERT_STR(note, rc == 0 ? "new" : "old");
		ASSERT_OK(set(&ctx, TOKEN, "new", &err), &err);
		assert_note(&ctx, TOKEN, "new");
		ASSERT_OK(set(&ctx, TOKEN, "", &err), &err);
		ASSERT_FALSE(has_directory(TOKEN));
		ctx_done(&ctx);
	}
}

TEST(a_process_that_stages_nothing_says_so)
{
	char nothing[] = "";
	struct images none = { .ceph.state_dir = nothing };
	char note[BACKEND_NOTE_MAX + 1];
	struct ctx ctx;
	struct err err;

	begin(&ctx);
	ASSERT_ERR(image_note_get(&none.ceph.base, &ctx, TOKEN, note, &err), &err,
		   ERR_FAILED_PRECONDITION, "stages nothing");
	ctx_done(&ctx);
}

TEST(a_record_is_read_as_it_was_written_or_not_at_all)
{
	static const char *const torn[] = { "",
					    "img",
					    "img\n",
					    "img\nfsid\n",
					    "\na\nb\n",
					    "img\nfsid\nforce",
					    "1\n2\n3\n4\n5",
					    "1\n2\n3\n4\nx\n",
					    "1\n2\n3\n4\n05\n",
					    "1\n2\n3\n4\n-5\n",
					    "1\n2\n3\n4\n\n",
					    "1\n2\n3\n4\n5\n6\n",
					    "1\n2\n3\n4",
					    "1\n2\n3\n\n",
					    "1\n2\n3\n\n\n",
					    "1\n2\n3\n\n5 0 0 0",
					    "1\n2\n3\n\n05 0 0 0\n",
					    "1\n2\n3\n\n5 0 0\n",
					    "1\n2\n3\n\n5 0 0 0 0\n",
					    "1\n2\n3\n\n0 0 0 0\n",
					    "1\n2\n3\n\n0 0 0 1\n",
					    "1\n2\n3\n\n5 0 0 0\n6\n",
					    "1\n2\n3\n\n6\n5 0 0\n",
					    "1\n2\n3\n\n6\n7\n",
					    "1\n2\n3\n\n6\n5 0 0 0\n7\n" };
	struct image_attached how = { .image = "csi-vol-1", .fsid = "f", .unmap_options = "force" };
	char text[IMAGE_ATTACHED_MAX];
	struct image_attached got;

	image_attached_format(&how, text);
	ASSERT_EQ(image_attached_parse(text, &got), 0);
	ASSERT_STR(got.image, "csi-vol-1");
	ASSERT_STR(got.fsid, "f");
	ASSERT_STR(got.unmap_options, "force");
	ASSERT_STR(got.client, "");
	(void)snprintf(how.client, sizeof(how.client), "10.0.0.7:0/4711");
	image_attached_format(&how, text);
	ASSERT_EQ(image_attached_parse(text, &got), 0);
	ASSERT_STR(got.client, "10.0.0.7:0/4711");
	ASSERT_FALSE(got.is_mapped);
	how.is_mapped = true;
	how.pool_id = 2;
	for (int i = 0; i < 2; i++) {
		image_attached_format(&how, text);
		ASSERT_EQ(image_attached_parse(text, &got), 0);
		ASSERT_STR(got.client, how.client);
		ASSERT_TRUE(got.is_mapped);
		ASSERT_EQ(got.pool_id, 2);
		how.client[0] = '\0';
	}
	ASSERT_FALSE(vol_limits_are_set(&got.limits));
	how.limits = (struct vol_limits){ .read_iops = 5, .write_bandwidth = 1 << 20 };
	for (int i = 0; i < 4; i++) {
		how.client[0] = i & 1 ? '1' : '\0';
		how.is_mapped = i & 2;
		image_attached_format(&how, text);
		ASSERT_EQ(image_attached_parse(text, &got), 0);
		ASSERT_STR(got.client, how.client);
		ASSERT_EQ(got.is_mapped, how.is_mapped);
		ASSERT_TRUE(vol_limits_are_equal(&got.limits, &how.limits));
	}
	for (size_t i = 0; i < ARRAY_LEN(torn); i++)
		ASSERT_EQ(image_attached_parse(torn[i], &got), -1);
}

/* Without a cluster, a config.json or a secret. */
TEST(what_goes_down_asks_this_machine_alone)
{
	struct backend_device dev;
	struct ctx ctx;
	struct err err;

	begin(&ctx);
	ASSERT_ERR(image_find_device(&images.ceph.base, &ctx, TOKEN, &dev, &err), &err,
		   ERR_NOT_FOUND, "not attached");
	ASSERT_OK(image_detach(&images.ceph.base, &ctx, TOKEN, &err), &err);
	fake_krbd_add("f", 1, "csi-vol-8a46b2d4-2c94-44fe-b220-211d3d900cae");
	fake_krbd_add("f", 2, "csi-vol-ef8bee5a-62a9-41fa-88f5-f0784edfb316");
	ASSERT_ERR(image_find_device(&images.ceph.base, &ctx, TOKEN, &dev, &err), &err,
		   ERR_NOT_FOUND, "not attached");
	fake_krbd_add("f", 1, "csi-vol-ef8bee5a-62a9-41fa-88f5-f0784edfb316");
	ASSERT_OK(image_find_device(&images.ceph.base, &ctx, TOKEN, &dev, &err), &err);
	ASSERT_STR(dev.path, "/dev/rbd2");
	ASSERT_TRUE(dev.is_direct);
	fake_krbd_set_busy(true);
	ASSERT_ERR(image_detach(&images.ceph.base, &ctx, TOKEN, &err), &err,
		   ERR_FAILED_PRECONDITION, "in use");
	fake_krbd_set_busy(false);
	ASSERT_OK(image_detach(&images.ceph.base, &ctx, TOKEN, &err), &err);
	ASSERT_EQ(fake_krbd_n_mapped(), 2);
	ASSERT_FALSE(has_directory(TOKEN));
	ctx_done(&ctx);
}

TEST(a_detach_that_fails_is_done_by_the_next)
{
	for (unsigned n = 1; n < N_CALLS_MAX; n++) {
		struct ctx ctx;
		struct err err;

		begin(&ctx);
		ASSERT_OK(image_state_set(&images, TOKEN, IMAGE_ATTACHED, "odd\nf\nforce\n", &err),
			  &err);
		fake_krbd_add("f", 1, "odd");
		fake_host_fail_at(n);
		(void)image_detach(&images.ceph.base, &ctx, TOKEN, &err); /* or it is done */
		n = fake_host_failed() ? n : N_CALLS_MAX;
		fake_host_fail_at(0);
		ASSERT_OK(image_detach(&images.ceph.base, &ctx, TOKEN, &err), &err);
		ASSERT_EQ(fake_krbd_n_mapped(), 0);
		ASSERT_STR(fake_krbd_options(), "force");
		ASSERT_FALSE(has_directory(TOKEN));
		ctx_done(&ctx);
	}
}

RUN_TESTS(UNIT(a_note_is_kept_until_it_is_empty), UNIT(a_note_is_the_old_or_the_new_whatever_fails),
	  UNIT(a_process_that_stages_nothing_says_so),
	  UNIT(a_record_is_read_as_it_was_written_or_not_at_all),
	  UNIT(what_goes_down_asks_this_machine_alone),
	  UNIT(a_detach_that_fails_is_done_by_the_next))
