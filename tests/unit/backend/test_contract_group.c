/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What backend.h says of groups of snapshots, sentence by sentence, for every backend. Linked with
 * the fake host (suite unit) and, as root, with the real one (suite root).
 */
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "contract_run.h"
#include "host/mount.h"
#include "volume/id.h"

static struct backend_group group; /* of the last call */

static int create(struct run *run, const char *name, uint64_t bytes, const char *fs)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = bytes, .fs = fs, .allow_buffered = true
	};

	return backend_create(run->b, run->ctx, &spec, &run->vol, &run->err);
}

static int restore(struct run *run, const char *name, const struct backend_snapshot *of)
{
	const struct backend_spec spec = {
		.name = name,
		.token = name,
		.bytes = of->bytes,
		.fs = of->fs,
		.allow_buffered = true,
		.source_kind = BACKEND_SOURCE_SNAPSHOT,
		.source = of->token,
	};

	return backend_create(run->b, run->ctx, &spec, &run->vol, &run->err);
}

static int take_of(struct run *run, const char *name, const char *const *sources, size_t n)
{
	const struct backend_group_spec spec = {
		.name = name, .token = name, .sources = sources, .n_sources = n
	};

	return backend_group_create(run->b, run->ctx, &spec, &group, &run->err);
}

static int take(struct run *run, const char *name, const char *one, const char *two)
{
	return take_of(run, name, (const char *const[]){ one, two }, 2);
}

static int find(struct run *run, const char *name)
{
	return backend_group_stat(run->b, run->ctx, name, &group, &run->err);
}

static int remove_group(struct run *run, const char *name)
{
	return backend_group_remove(run->b, run->ctx, name, NULL, &run->err);
}

static int remove_snapshot(struct run *run, const char *token)
{
	return backend_snapshot_remove(run->b, run->ctx, token, NULL, &run->err);
}

static uint64_t n_snapshots(struct run *run)
{
	struct backend_info info;

	ASSERT_OK(backend_info(run->b, run->ctx, &info, &run->err), &run->err);
	ASSERT_EQ(info.n_damaged_snapshots, 0);
	return info.n_snapshots;
}

static void create_two(struct run *run)
{
	ASSERT_OK(create(run, "v", 4 * MIB, ""), &run->err);
	ASSERT_OK(create(run, "w", 8 * MIB, ""), &run->err);
}

static void attach(struct run *run, const char *token, bool hold)
{
	const struct backend_attach_options opts = { .hold = hold };

	ASSERT_OK(backend_attach(run->b, run->ctx, token, &opts, &run->dev, &run->err), &run->err);
}

static void detach(struct run *run, const char *token)
{
	ASSERT_OK(backend_detach(run->b, run->ctx, token, &run->err), &run->err);
}

static void mount_at(struct run *run, const char *token, const char *dir)
{
	const struct host_mount_options opts = { .fs = "ext4" };

	attach(run, token, false);
	ASSERT_OK(host_mount_device(run->ctx, run->dev.path, dir, &opts, &run->err), &run->err);
	ASSERT_OK(backend_settle(run->b, run->ctx, token, dir, &run->err), &run->err);
}

static void umount_from(struct run *run, const char *token, const char *dir)
{
	ASSERT_OK(host_mount_umount(run->ctx, dir, &run->err), &run->err);
	detach(run, token);
}

static void assert_file(struct run *run, const char *token, const char *text)
{
	char is[64];

	mount_at(run, token, contract_mount_dir());
	contract_read(contract_mount_dir(), is);
	umount_from(run, token, contract_mount_dir());
	ASSERT_STR(is, text);
}

static void assert_member(const struct backend_snapshot *m, const char *source, uint64_t bytes)
{
	ASSERT_STR(m->source, source);
	ASSERT_STR(m->group, "g");
	ASSERT_STR(m->name, m->token);
	ASSERT_EQ(m->bytes, bytes);
	ASSERT_TRUE(m->is_ready && !m->is_damaged);
	ASSERT_EQ(m->created_ns, group.created_ns);
}

CONTRACT(takes_a_group_and_finds_it)
{
	struct backend_snapshot one;

	create_two(run);
	ASSERT_OK(take(run, "g", "w", "v"), &run->err);
	group = (struct backend_group){ 0 };
	ASSERT_OK(find(run, "g"), &run->err);
	ASSERT_STR(group.token, "g");
	ASSERT_STR(group.name, "g");
	ASSERT_TRUE(group.created_ns > 0);
	ASSERT_EQ(group.n_members, 2);
	assert_member(&group.members[0], "v", 4 * MIB);
	assert_member(&group.members[1], "w", 8 * MIB);
	ASSERT_TRUE(strcmp(group.members[0].token, group.members[1].token) != 0);
	ASSERT_EQ(n_snapshots(run), 2);
	ASSERT_OK(backend_snapshot_stat(run->b, run->ctx, group.members[1].token, NULL, &one,
					&run->err),
		  &run->err);
	assert_member(&one, "w", 8 * MIB);
	ASSERT_OK(remove_group(run, "g"), &run->err);
}

CONTRACT(gives_the_same_group_again)
{
	int64_t created_ns;
	char member[VOL_TOKEN_MAX];

	create_two(run);
	ASSERT_OK(create(run, "x", 4 * MIB, ""), &run->err);
	ASSERT_OK(take(run, "g", "v", "w"), &run->err);
	created_ns = group.created_ns;
	memcpy(member, group.members[0].token, sizeof(member));
	ASSERT_OK(take(run, "g", "w", "v"), &run->err);
	ASSERT_EQ(group.created_ns, created_ns);
	ASSERT_STR(group.members[0].token, member);
	ASSERT_ERR(take(run, "g", "v", "x"), &run->err, ERR_ALREADY_EXISTS, "other volumes");
	ASSERT_ERR(take_of(run, "g", (const char *const[]){ "v" }, 1), &run->err,
		   ERR_ALREADY_EXISTS, "other volumes");
	ASSERT_ERR(take_of(run, "g", (const char *const[]){ "v", "w", "x" }, 3), &run->err,
		   ERR_ALREADY_EXISTS, "other volumes");
	ASSERT_ERR(backend_group_create(run->b, run->ctx,
					&(struct backend_group_spec){
						.name = "other",
						.token = "g",
						.sources = (const char *const[]){ "v", "w" },
						.n_sources = 2 },
					&group, &run->err),
		   &run->err, ERR_ALREADY_EXISTS, "name 'g'");
	/* also when its volumes are gone */
	ASSERT_OK(backend_remove(run->b, run->ctx, "v", NULL, &run->err), &run->err);
	ASSERT_OK(take(run, "g", "v", "w"), &run->err);
	ASSERT_EQ(group.created_ns, created_ns);
	ASSERT_OK(remove_group(run, "g"), &run->err);
}

CONTRACT(makes_all_members_or_none)
{
	create_two(run);
	ASSERT_ERR(take(run, "g", "v", "x"), &run->err, ERR_NOT_FOUND, "volume 'x'");
	ASSERT_ERR(find(run, "g"), &run->err, ERR_NOT_FOUND, "no such group");
	attach(run, "w", true);
	ASSERT_ERR(take(run, "g", "v", "w"), &run->err, ERR_FAILED_PRECONDITION, "volume 'w'");
	ASSERT_TRUE(strstr(run->err.msg, run->dev.path) != NULL);
	detach(run, "w");
	ASSERT_ERR(find(run, "g"), &run->err, ERR_NOT_FOUND, "no such group");
	ASSERT_EQ(n_snapshots(run), 0);
	ASSERT_OK(take(run, "g", "v", "w"), &run->err);
	ASSERT_OK(remove_group(run, "g"), &run->err);
}

CONTRACT(a_raw_device_that_nobody_can_write_to_holds_still)
{
	create_two(run);
	ASSERT_OK(
		backend_attach(run->b, run->ctx, "w",
			       &(struct backend_attach_options){ .read_only = true, .hold = true },
			       &run->dev, &run->err),
		&run->err);
	ASSERT_OK(take(run, "g", "v", "w"), &run->err);
	detach(run, "w");
	ASSERT_OK(remove_group(run, "g"), &run->err);
}

CONTRACT(has_what_was_written_before_into_all)
{
	ASSERT_OK(create(run, "v", 64 * MIB, "ext4"), &run->err);
	ASSERT_OK(create(run, "w", 64 * MIB, "ext4"), &run->err);
	mount_at(run, "v", contract_mount_dir());
	mount_at(run, "w", contract_other_mount_dir());
	contract_write(contract_mount_dir(), "then v");
	contract_write(contract_other_mount_dir(), "then w");
	ASSERT_OK(take(run, "g", "v", "w"), &run->err);
	contract_write(contract_mount_dir(), "later"); /* would wait for ever */
	contract_write(contract_other_mount_dir(), "later");
	umount_from(run, "v", contract_mount_dir());
	umount_from(run, "w", contract_other_mount_dir());
	ASSERT_OK(restore(run, "rv", &group.members[0]), &run->err);
	ASSERT_OK(restore(run, "rw", &group.members[1]), &run->err);
	assert_file(run, "rv", "then v");
	assert_file(run, "rw", "then w");
	assert_file(run, "v", "later");
	ASSERT_OK(remove_group(run, "g"), &run->err);
	assert_file(run, "rw", "then w");
}

CONTRACT(a_member_goes_with_its_group_alone)
{
	create_two(run);
	ASSERT_OK(take(run, "g", "v", "w"), &run->err);
	ASSERT_ERR(remove_snapshot(run, group.members[0].token), &run->err, ERR_INVALID_ARGUMENT,
		   "group 'g'");
	ASSERT_EQ(n_snapshots(run), 2);
	/* nor is it the answer to who asks for a snapshot of its name */
	ASSERT_ERR(backend_snapshot_create(
			   run->b, run->ctx,
			   &(struct backend_snapshot_spec){ .name = group.members[0].name,
							    .token = group.members[0].token,
							    .source = "v" },
			   &(struct backend_snapshot){ 0 }, &run->err),
		   &run->err, ERR_ALREADY_EXISTS, "group 'g'");
	ASSERT_OK(remove_group(run, "g"), &run->err);
	ASSERT_OK(remove_snapshot(run, group.members[0].token), &run->err);
	ASSERT_EQ(n_snapshots(run), 0);
}

CONTRACT(removes_a_group_and_removes_it_again)
{
	struct backend_info before, after;

	create_two(run);
	ASSERT_OK(backend_info(run->b, run->ctx, &before, &run->err), &run->err);
	ASSERT_OK(remove_group(run, "g"), &run->err);
	ASSERT_OK(take(run, "g", "v", "w"), &run->err);
	ASSERT_OK(remove_group(run, "g"), &run->err);
	ASSERT_OK(remove_group(run, "g"), &run->err);
	ASSERT_ERR(find(run, "g"), &run->err, ERR_NOT_FOUND, "no such group");
	ASSERT_OK(backend_info(run->b, run->ctx, &after, &run->err), &run->err);
	ASSERT_EQ(after.n_snapshots, 0);
	ASSERT_TRUE(after.available_bytes + MIB >= before.available_bytes);
	/* and the name is free, for others too */
	ASSERT_OK(take_of(run, "g", (const char *const[]){ "w" }, 1), &run->err);
	ASSERT_EQ(group.n_members, 1);
	ASSERT_OK(remove_group(run, "g"), &run->err);
}

CONTRACT(a_snapshot_of_the_name_of_a_member_is_in_the_way)
{
	char token[VOL_TOKEN_MAX];
	struct backend_snapshot snap;

	create_two(run);
	vol_token_of_member("g", "w", token);
	ASSERT_OK(backend_snapshot_create(run->b, run->ctx,
					  &(struct backend_snapshot_spec){
						  .name = token, .token = token, .source = "v" },
					  &snap, &run->err),
		  &run->err);
	ASSERT_ERR(take(run, "g", "v", "w"), &run->err, ERR_ALREADY_EXISTS, token);
	ASSERT_EQ(n_snapshots(run), 1);
	ASSERT_OK(remove_snapshot(run, token), &run->err);
	ASSERT_OK(take(run, "g", "v", "w"), &run->err);
	ASSERT_OK(remove_group(run, "g"), &run->err);
}

CONTRACT(takes_no_group_once_cancelled)
{
	struct ctx *whole = run->ctx;
	struct ctx cancelled;

	create_two(run);
	ctx_init(&cancelled, 0);
	ctx_cancel(&cancelled);
	run->ctx = &cancelled;
	ASSERT_ERR(take(run, "g", "v", "w"), &run->err, ERR_CANCELLED, "g");
	run->ctx = whole;
	ctx_done(&cancelled);
	ASSERT_EQ(n_snapshots(run), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BOTH(takes_a_group_and_finds_it),
		BOTH(gives_the_same_group_again),
		BOTH(makes_all_members_or_none),
		BOTH(a_raw_device_that_nobody_can_write_to_holds_still),
		BOTH(has_what_was_written_before_into_all),
		BOTH(a_member_goes_with_its_group_alone),
		BOTH(removes_a_group_and_removes_it_again),
		BOTH(a_snapshot_of_the_name_of_a_member_is_in_the_way),
		BOTH(takes_no_group_once_cancelled),
	};
	int rc;

	if (contract_was_guard(argc, argv))
		return 0;
	rc = contract_setup();
	if (rc)
		return rc;
	rc = cmocka_run_group_tests_name("contract-group", tests, NULL, NULL);
	contract_teardown();
	return rc;
}
