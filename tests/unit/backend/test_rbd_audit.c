/* SPDX-License-Identifier: Apache-2.0 */
/* Pools in which journal and images do not fit, and what is told of them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/rbd/audit.h"
#include "backend/rbd/rbd-internal.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/ceph.h"

#define POOL 1
#define DIRECTORY "csi.volumes.default"
#define N_FOUND_MAX 8

static struct strpair secret_pairs[] = { { "userID", FAKE_CEPH_USER },
					 { "userKey", FAKE_CEPH_KEY } };
static struct strpair class_pairs[] = { { "clusterID", "c1" }, { "pool", "rbd" } };
static struct strpair cut_pairs[] = { { "clusterID", "c1" } };
static const struct secrets secrets = { { secret_pairs, 2 } };
static const struct strmap class = { class_pairs, 2 };
static const struct strmap cut_class = { cut_pairs, 1 };

struct seen {
	enum ceph_trouble trouble;
	enum vol_kind kind;
	char name[64], image[80], handle[VOL_TOKEN_MAX], also[VOL_TOKEN_MAX];
};

static struct {
	char dir[64], file[96];
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct backend_volume vol;
	struct seen seen[N_FOUND_MAX];
	size_t n_seen;
	struct ceph_audited done;
	bool is_mending;
} t;

static void begin(void)
{
	struct backend_config config = { .name = "ceph", .dir = t.dir };
	FILE *f;

	fake_ceph_reset();
	(void)snprintf(t.dir, sizeof(t.dir), "/tmp/rbd-audit.XXXXXX");
	ASSERT_TRUE(mkdtemp(t.dir) != NULL);
	(void)snprintf(t.file, sizeof(t.file), "%s/config.json", t.dir);
	f = fopen(t.file, "we");
	ASSERT_TRUE(f != NULL);
	(void)fputs("[{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS "\"]}]", f);
	ASSERT_EQ(fclose(f), 0);
	ctx_init(&t.ctx, 0);
	t.b = images_new(&config, fake_ceph_lib());
	t.is_mending = false;
}

static void end(void)
{
	t.b->ops->close(t.b);
	ctx_done(&t.ctx);
	ASSERT_EQ(unlink(t.file), 0);
	ASSERT_EQ(rmdir(t.dir), 0);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
	ASSERT_EQ(fake_ceph_n_handles(), 0);
}

static void make(const char *name)
{
	const struct backend_spec spec = { .name = name,
					   .token = name,
					   .bytes = 1 * GIB,
					   .fs = "",
					   .secrets = &secrets,
					   .parameters = &class };

	ASSERT_OK(image_create(t.b, &t.ctx, &spec, &t.vol, &t.err), &t.err);
}

static const char *image_of(void)
{
	return strmap_find(&t.vol.context, "imageName");
}

/* The entry's object; its UUID is what the handle ends with. */
static const char *object_of(void)
{
	return arena_printf(t.ctx.arena, "csi.volume.%s",
			    t.vol.token + strlen(t.vol.token) - (UUID_TEXT_MAX - 1));
}

static int keep(void *arg, const struct ceph_finding *f, struct err *err)
{
	struct seen *s = &t.seen[t.n_seen++];

	ASSERT_TRUE(t.n_seen <= N_FOUND_MAX);
	s->trouble = f->trouble;
	s->kind = f->kind;
	(void)snprintf(s->name, sizeof(s->name), "%s", f->name);
	(void)snprintf(s->image, sizeof(s->image), "%s", f->image);
	(void)snprintf(s->handle, sizeof(s->handle), "%s", f->handle);
	(void)snprintf(s->also, sizeof(s->also), "%s", f->n_also == 1 ? f->also[0] : "");
	return t.is_mending;
}

static int audit(void)
{
	const struct rbd_audit what = { .config_dir = t.dir,
					.instance = "",
					.cluster = "c1",
					.pool = "rbd",
					.secrets = &secrets };

	t.n_seen = 0;
	return rbd_audit_with(fake_ceph_lib(), &t.ctx, &what, keep, NULL, &t.done, &t.err);
}

static void assert_seen(size_t i, enum ceph_trouble trouble, const char *name, const char *image)
{
	ASSERT_TRUE(i < t.n_seen);
	ASSERT_EQ(t.seen[i].trouble, trouble);
	ASSERT_STR(t.seen[i].name, name);
	ASSERT_STR(t.seen[i].image, image);
}

TEST(what_fits_is_told_with_its_handle)
{
	struct backend_snapshot snap;
	struct backend_snapshot_spec cut = { .name = "s",
					     .token = "s",
					     .options = { .secrets = &secrets,
							  .parameters = &cut_class } };

	begin();
	make("v");
	cut.source = t.vol.token;
	ASSERT_OK(image_snapshot_create(t.b, &t.ctx, &cut, &snap, &t.err), &t.err);
	ASSERT_OK(audit(), &t.err);
	ASSERT_EQ(t.n_seen, 2);
	assert_seen(0, CEPH_TROUBLE_NONE, "v", image_of());
	ASSERT_STR(t.seen[0].handle, t.vol.token);
	ASSERT_EQ(t.seen[1].kind, VOL_KIND_SNAPSHOT);
	ASSERT_STR(t.seen[1].handle, snap.token);
	ASSERT_EQ(t.done.n_entries, 2);
	ASSERT_EQ(t.done.n_images, 2);
	ASSERT_EQ(t.done.n_troubles, 0);
	end();
}

TEST(a_clones_hidden_parent_is_no_stranger)
{
	struct backend_spec spec = { .name = "copy",
				     .token = "copy",
				     .fs = "",
				     .source_kind = BACKEND_SOURCE_VOLUME,
				     .secrets = &secrets,
				     .parameters = &class };

	begin();
	make("v");
	spec.source = t.vol.token;
	ASSERT_OK(image_create(t.b, &t.ctx, &spec, &t.vol, &t.err), &t.err);
	ASSERT_OK(audit(), &t.err);
	ASSERT_EQ(t.done.n_images, 3);
	ASSERT_EQ(t.done.n_troubles, 0);
	end();
}

TEST(an_entry_without_its_image_is_told_and_frees_its_name)
{
	begin();
	make("v");
	fake_ceph_remove_image(POOL, "", image_of());
	ASSERT_OK(audit(), &t.err);
	ASSERT_EQ(t.n_seen, 1);
	assert_seen(0, CEPH_TROUBLE_NO_IMAGE, "v", image_of());
	ASSERT_EQ(t.done.n_mended, 0);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", DIRECTORY), 1);
	t.is_mending = true;
	ASSERT_OK(audit(), &t.err);
	ASSERT_EQ(t.done.n_mended, 1);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", DIRECTORY), 0);
	ASSERT_FALSE(fake_ceph_has_object(POOL, "", object_of()));
	ASSERT_OK(audit(), &t.err);
	ASSERT_EQ(t.n_seen, 0);
	end();
}

TEST(a_name_without_its_entry_is_told_and_freed)
{
	begin();
	make("v");
	fake_ceph_remove_object(POOL, "", object_of());
	fake_ceph_remove_image(POOL, "", image_of());
	t.is_mending = true;
	ASSERT_OK(audit(), &t.err);
	assert_seen(0, CEPH_TROUBLE_NO_OBJECT, "v", "");
	ASSERT_EQ(t.done.n_mended, 1);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", DIRECTORY), 0);
	end();
}

TEST(an_image_that_no_entry_names_is_told_and_left)
{
	begin();
	make("v");
	fake_ceph_omap_rm(POOL, "", DIRECTORY, "csi.volume.v");
	fake_ceph_remove_object(POOL, "", object_of());
	t.is_mending = true;
	ASSERT_OK(audit(), &t.err);
	ASSERT_EQ(t.n_seen, 1);
	assert_seen(0, CEPH_TROUBLE_NO_ENTRY, "", image_of());
	ASSERT_EQ(t.done.n_mended, 0);
	ASSERT_TRUE(fake_ceph_has_image(POOL, "", image_of()));
	end();
}

TEST(what_a_call_has_begun_is_told_and_left)
{
	begin();
	make("v");
	fake_ceph_omap_rm(POOL, "", object_of(), "csi.imageid");
	t.is_mending = true;
	ASSERT_OK(audit(), &t.err);
	assert_seen(0, CEPH_TROUBLE_UNFINISHED, "v", image_of());
	ASSERT_EQ(t.done.n_mended, 0);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", DIRECTORY), 1);
	end();
}

TEST(each_call_may_fail_and_nothing_is_changed_by_it)
{
	begin();
	make("v");
	for (unsigned n = 1; n < 100; n++) {
		int r;

		fake_ceph_fail_at(n, EIO);
		r = audit();
		if (!fake_ceph_trouble_came())
			break;
		ASSERT_TRUE(r < 0);
		ASSERT_EQ(fake_ceph_omap_count(POOL, "", DIRECTORY), 1);
	}
	fake_ceph_fail_at(0, 0);
	ASSERT_OK(audit(), &t.err);
	assert_seen(0, CEPH_TROUBLE_NONE, "v", image_of());
	end();
}

static void map(const char *text)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/cluster-mapping.json", t.dir);
	f = fopen(path, "we");
	ASSERT_TRUE(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* PVs that were restored from the other site's have its handles. */
TEST(what_the_other_site_calls_it_is_told_as_well)
{
	char path[128];

	begin();
	make("v");
	ASSERT_OK(audit(), &t.err);
	ASSERT_STR(t.seen[0].also, "");
	map("[{\"clusterIDMapping\":{\"site1\":\"c1\"},\"RBDPoolIDMapping\":[{\"7\":\"1\"}]}]");
	ASSERT_OK(audit(), &t.err);
	ASSERT_EQ(t.n_seen, 1);
	ASSERT_STR(t.seen[0].handle, t.vol.token);
	ASSERT_TRUE(str_has_prefix(t.seen[0].also, "0001-0005-site1-0000000000000007-"));
	ASSERT_TRUE(str_has_suffix(t.seen[0].also, t.vol.token + strlen(t.vol.token) - 36));
	map("[{]");
	ASSERT_ERR(audit(), &t.err, ERR_FAILED_PRECONDITION, "cluster-mapping.json");
	(void)snprintf(path, sizeof(path), "%s/cluster-mapping.json", t.dir);
	ASSERT_EQ(unlink(path), 0);
	end();
}

RUN_TESTS(UNIT(what_fits_is_told_with_its_handle), UNIT(a_clones_hidden_parent_is_no_stranger),
	  UNIT(an_entry_without_its_image_is_told_and_frees_its_name),
	  UNIT(a_name_without_its_entry_is_told_and_freed),
	  UNIT(an_image_that_no_entry_names_is_told_and_left),
	  UNIT(what_a_call_has_begun_is_told_and_left),
	  UNIT(each_call_may_fail_and_nothing_is_changed_by_it),
	  UNIT(what_the_other_site_calls_it_is_told_as_well))
