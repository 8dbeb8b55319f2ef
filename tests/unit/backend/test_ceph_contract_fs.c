/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of the manager's subvolumes: which errno says what. The secret of a real cluster has
 * to be one that may ask for them (fs-secret.json in its place). */
#include "ceph_contract.h"

#include "backend/ceph/command.h"
#include "backend/cephfs/audit.h"

#include <poll.h>

#define COPY_S 60

static struct ceph_answer answer;

static int ask(enum ceph_command_to to, const char *json)
{
	ASSERT_OK(ceph_command_send(conn, &ctx, to, json, &answer, &err), &err);
	return answer.rc;
}

/* more: ",\"key\":value…" */
static int manager(const char *prefix, const char *name, const char *more)
{
	return ask(CEPH_COMMAND_MANAGER,
		   arena_printf(ctx.arena,
				"{\"prefix\":\"%s\",\"format\":\"json\",\"vol_name\":\"cephfs\","
				"\"group_name\":\"csi\",\"%s\":\"%s\"%s}",
				prefix,
				str_has_prefix(prefix, "fs clone") ? "clone_name" : "sub_name",
				name, more));
}

static const char *field(const char *path)
{
	autojson struct json_doc *doc = NULL;

	ASSERT_OK(json_parse(answer.text, strlen(answer.text), &doc, &err), &err);
	return arena_strdup(ctx.arena, str_or(json_path_string(json_root(doc), path), ""));
}

static int64_t number(const char *path)
{
	autojson struct json_doc *doc = NULL;
	int64_t value = -1;

	ASSERT_OK(json_parse(answer.text, strlen(answer.text), &doc, &err), &err);
	(void)json_int(json_path(json_root(doc), path), &value);
	return value;
}

static void begin_fs(void)
{
	begin();
	if (!is_real)
		(void)fake_ceph_add_fs(FAKE_CEPH_MONITORS, "cephfs");
	ASSERT_EQ(ask(CEPH_COMMAND_MANAGER,
		      "{\"prefix\":\"fs subvolumegroup create\",\"vol_name\":\"cephfs\","
		      "\"group_name\":\"csi\"}"),
		  0);
}

static const char *snap(const char *name)
{
	return arena_printf(ctx.arena, ",\"snap_name\":\"%s\"", name);
}

static const char *copy_of(const char *to)
{
	return arena_printf(ctx.arena,
			    ",\"snap_name\":\"s\",\"target_sub_name\":\"%s\","
			    "\"target_group_name\":\"csi\"",
			    to);
}

/* It is pending or under way for some time, and says of what. */
static void await_copy(const char *name, const char *source)
{
	for (int i = 0; i < COPY_S * 10; i++) {
		ASSERT_EQ(manager("fs clone status", name, ""), 0);
		if (str_is_equal(field("status.state"), "complete"))
			return;
		ASSERT_STR(field("status.source.subvolume"), source);
		ASSERT_STR(field("status.source.snapshot"), "s");
		if (is_real)
			(void)poll(NULL, 0, 100);
	}
	ASSERT_TRUE(!"complete");
}

TEST(filesystems_are_told_with_numbers_and_pools)
{
	const struct json *all;
	autojson struct json_doc *doc = NULL;

	begin_fs();
	ASSERT_EQ(ask(CEPH_COMMAND_MONITOR, "{\"prefix\":\"fs dump\",\"format\":\"json\"}"), 0);
	ASSERT_OK(json_parse(answer.text, strlen(answer.text), &doc, &err), &err);
	all = json_get(json_root(doc), "filesystems");
	ASSERT_EQ(json_count(all), 1);
	ASSERT_STR(json_path_string(json_at(all, 0), "mdsmap.fs_name"), "cephfs");
	ASSERT_TRUE(!json_is_null(json_path(json_at(all, 0), "mdsmap.metadata_pool")));
	ASSERT_TRUE(!json_is_null(json_get(json_at(all, 0), "id")));
	ASSERT_EQ(ask(CEPH_COMMAND_MANAGER, "{\"prefix\":\"fs no such thing\"}"), -EINVAL);
	end();
}

TEST(a_subvolume_comes_grows_and_goes)
{
	const char *a, *path;

	begin_fs();
	a = own("a");
	path = arena_printf(ctx.arena, "/volumes/csi/%s/", a);
	ASSERT_EQ(ask(CEPH_COMMAND_MANAGER,
		      "{\"prefix\":\"fs subvolumegroup getpath\",\"vol_name\":\"cephfs\","
		      "\"group_name\":\"csi\"}"),
		  0);
	ASSERT_EQ(ask(CEPH_COMMAND_MANAGER,
		      "{\"prefix\":\"fs subvolumegroup getpath\",\"vol_name\":\"cephfs\","
		      "\"group_name\":\"nowhere\"}"),
		  -ENOENT);
	ASSERT_EQ(ask(CEPH_COMMAND_MANAGER,
		      "{\"prefix\":\"fs subvolumegroup getpath\",\"vol_name\":\"nowhere\","
		      "\"group_name\":\"csi\"}"),
		  -ENOENT);
	ASSERT_EQ(manager("fs subvolume info", a, ""), -ENOENT);
	ASSERT_EQ(manager("fs subvolume resize", a, ",\"new_size\":\"1\""), -ENOENT);
	ASSERT_EQ(manager("fs subvolume rm", a, ",\"retain_snapshots\":true"), -ENOENT);
	ASSERT_EQ(manager("fs subvolume create", a, ",\"size\":1048576,\"mode\":\"777\""), 0);
	ASSERT_EQ(manager("fs subvolume info", a, ""), 0);
	ASSERT_EQ(number("bytes_quota"), 1048576);
	ASSERT_STR(field("state"), "complete");
	ASSERT_STR(field("type"), "subvolume");
	ASSERT_TRUE(str_has_prefix(field("path"), path));
	/* what is there is given the size: whoever asks again has to look first */
	ASSERT_EQ(manager("fs subvolume create", a, ",\"size\":2097152,\"mode\":\"777\""), 0);
	ASSERT_EQ(manager("fs subvolume info", a, ""), 0);
	ASSERT_EQ(number("bytes_quota"), 2097152);
	ASSERT_EQ(manager("fs subvolume resize", a, ",\"new_size\":\"4194304\",\"no_shrink\":true"),
		  0);
	ASSERT_EQ(manager("fs subvolume info", a, ""), 0);
	ASSERT_EQ(number("bytes_quota"), 4194304);
	ASSERT_EQ(manager("fs subvolume metadata get", a, ",\"key_name\":\"k\""), -ENOENT);
	ASSERT_EQ(manager("fs subvolume metadata set", a, ",\"key_name\":\"k\",\"value\":\"v\""),
		  0);
	ASSERT_EQ(manager("fs subvolume metadata get", a, ",\"key_name\":\"k\""), 0);
	ASSERT_STR(answer.text, "v\n");
	ASSERT_EQ(manager("fs clone status", a, ""), -ENOTSUP);
	ASSERT_EQ(manager("fs subvolume create", own("b"),
			  ",\"size\":1048576,\"pool_layout\":\"nowhere\""),
		  -EINVAL);
	ASSERT_EQ(manager("fs subvolume rm", a, ",\"retain_snapshots\":true"), 0);
	ASSERT_EQ(manager("fs subvolume info", a, ""), -ENOENT);
	end();
}

TEST(a_copy_takes_its_time_and_its_snapshot_waits)
{
	const char *a, *b;

	begin_fs();
	a = own("a");
	b = own("b");
	ASSERT_EQ(manager("fs subvolume create", a, ",\"size\":1048576,\"mode\":\"777\""), 0);
	ASSERT_EQ(manager("fs subvolume snapshot info", a, snap("s")), -ENOENT);
	ASSERT_EQ(manager("fs subvolume snapshot clone", a, copy_of(b)), -ENOENT);
	ASSERT_EQ(manager("fs subvolume snapshot create", a, snap("s")), 0);
	ASSERT_EQ(manager("fs subvolume snapshot create", a, snap("s")), 0);
	ASSERT_EQ(manager("fs subvolume snapshot info", a, snap("s")), 0);
	ASSERT_TRUE(strlen(field("created_at")) > strlen("2026-11-29 23:27:24"));
	ASSERT_EQ(manager("fs subvolume rm", a, ""), -ENOTEMPTY);
	ASSERT_EQ(manager("fs subvolume snapshot clone", a, copy_of(b)), 0);
	ASSERT_EQ(manager("fs subvolume snapshot clone", a, copy_of(b)), -EEXIST);
	await_copy(b, a);
	ASSERT_EQ(manager("fs subvolume info", b, ""), 0);
	ASSERT_STR(field("type"), "clone");
	ASSERT_EQ(number("bytes_quota"), 1048576);
	ASSERT_EQ(manager("fs clone cancel", b, ""), -EINVAL);
	/* it stays for its snapshot, of which more can be made, and goes with it */
	ASSERT_EQ(manager("fs subvolume rm", a, ",\"retain_snapshots\":true"), 0);
	ASSERT_EQ(manager("fs subvolume info", a, ""), 0);
	ASSERT_STR(field("state"), "snapshot-retained");
	ASSERT_EQ(manager("fs subvolume rm", a, ",\"retain_snapshots\":true"), 0);
	ASSERT_EQ(manager("fs subvolume snapshot rm", a, snap("s")), 0);
	ASSERT_EQ(manager("fs subvolume snapshot rm", a, snap("s")), -ENOENT);
	ASSERT_EQ(manager("fs subvolume info", a, ""), -ENOENT);
	ASSERT_EQ(manager("fs subvolume rm", b, ",\"retain_snapshots\":true"), 0);
	end();
}

/* Its snapshot is free soon after; a real one may be complete before it is stopped. */
TEST(a_copy_is_stopped_and_says_of_what_it_was)
{
	const char *a, *b;
	int rc;

	begin_fs();
	a = own("a");
	b = own("b");
	ASSERT_EQ(manager("fs subvolume create", a, ",\"size\":1048576,\"mode\":\"777\""), 0);
	ASSERT_EQ(manager("fs clone cancel", a, ""), -ENOTSUP);
	ASSERT_EQ(manager("fs subvolume snapshot create", a, snap("s")), 0);
	ASSERT_EQ(manager("fs subvolume snapshot clone", a, copy_of(b)), 0);
	rc = manager("fs clone cancel", b, "");
	if (rc == 0) {
		ASSERT_EQ(manager("fs clone cancel", b, ""), -EINVAL);
		ASSERT_EQ(manager("fs clone status", b, ""), 0);
		ASSERT_STR(field("status.state"), "canceled");
		ASSERT_STR(field("status.source.subvolume"), a);
		ASSERT_STR(field("status.source.snapshot"), "s");
		ASSERT_EQ(manager("fs subvolume rm", b, ",\"retain_snapshots\":true"), -EAGAIN);
	} else {
		ASSERT_TRUE(is_real && rc == -EINVAL);
	}
	for (int i = 0; i < COPY_S * 10 && manager("fs subvolume snapshot rm", a, snap("s")); i++)
		(void)poll(NULL, 0, 100);
	ASSERT_EQ(answer.rc, 0);
	ASSERT_EQ(manager("fs subvolume rm", b, ",\"force\":true"), 0);
	ASSERT_EQ(manager("fs subvolume rm", a, ",\"retain_snapshots\":true"), 0);
	end();
}

/* The audit, asked of a real cluster; over the fake that is test_cephfs_audit.c. */
#define OURS "csi-vol-2b0f4cd4-5a11-4b8a-9d3e-0a8ccf1f8f01"
#define OUR_SNAP "csi-snap-2b0f4cd4-5a11-4b8a-9d3e-0a8ccf1f8f02"

struct audited {
	struct ceph_audited done;
	unsigned n[CEPH_TROUBLES];
	bool is_mending;
};

static int keep_finding(void *arg, const struct ceph_finding *f, struct err *e)
{
	struct audited *a = arg;

	(void)e;
	ASSERT_TRUE(str_has_prefix(f->image, OURS));
	a->n[f->trouble]++;
	return a->is_mending;
}

static struct audited audit(bool is_mending)
{
	struct audited a = { .is_mending = is_mending };
	const struct ceph_login *login = real_login();
	struct strpair pairs[] = { { "adminID", arena_strdup(ctx.arena, login->user) },
				   { "adminKey", arena_strdup(ctx.arena, login->key) } };
	const struct secrets secrets = { { pairs, ARRAY_LEN(pairs) } };
	const struct cephfs_audit what = {
		.config_dir = arena_printf(ctx.arena, "%s/csi", getenv("CLEAT_CEPH")),
		.instance = "",
		.cluster = "c1",
		.fs_name = "cephfs",
		.secrets = &secrets,
	};

	ASSERT_OK(cephfs_audit(&ctx, &what, keep_finding, &a, &a.done, &err), &err);
	return a;
}

TEST(the_audit_of_a_real_filesystem)
{
	begin_fs();
	if (is_real) {
		ASSERT_EQ(manager("fs subvolume create", OURS, ""), 0);
		ASSERT_EQ(audit(true).n[CEPH_TROUBLE_NO_ENTRY], 1);
		ASSERT_EQ(manager("fs subvolume snapshot create", OURS, snap(OUR_SNAP)), 0);
		ASSERT_EQ(audit(true).n[CEPH_TROUBLE_NO_ENTRY], 2);
		ASSERT_EQ(manager("fs subvolume rm", OURS, ",\"retain_snapshots\":true"), 0);
		ASSERT_EQ(audit(true).n[CEPH_TROUBLE_NO_ENTRY], 2);
		ASSERT_EQ(audit(true).done.n_mended, 0);
		ASSERT_EQ(manager("fs subvolume snapshot rm", OURS, snap(OUR_SNAP)), 0);
		/* going, or gone by now */
		ASSERT_EQ(audit(true).n[CEPH_TROUBLE_NO_ENTRY], 0);
		for (int i = 0; i < COPY_S * 10 && audit(true).done.n_images > 0; i++)
			(void)poll(NULL, 0, 100);
		ASSERT_EQ(audit(false).done.n_images, 0);
	}
	end();
}

RUN_TESTS(UNIT(filesystems_are_told_with_numbers_and_pools), UNIT(a_subvolume_comes_grows_and_goes),
	  UNIT(a_copy_takes_its_time_and_its_snapshot_waits),
	  UNIT(a_copy_is_stopped_and_says_of_what_it_was), UNIT(the_audit_of_a_real_filesystem))
