/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What backend.h says of snapshots and of volumes that are made of something, sentence by sentence,
 * for every backend. Linked with the fake host (suite unit) and, as root, with the real one (suite
 * root).
 */
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "contract_run.h"
#include "host/mount.h"
#include "volume/id.h"

static struct backend_snapshot snap; /* of the last call */

static int make(struct run *run, const struct backend_spec *spec)
{
	return backend_create(run->b, run->ctx, spec, &run->vol, &run->err);
}

static int create(struct run *run, const char *name, uint64_t bytes, const char *fs)
{
	return make(run, &(struct backend_spec){ .name = name,
						 .token = name,
						 .bytes = bytes,
						 .fs = fs,
						 .allow_buffered = true });
}

static int create_of(struct run *run, const char *name, enum backend_source kind,
		     const char *source)
{
	return make(run, &(struct backend_spec){ .name = name,
						 .token = name,
						 .bytes = 16 * MIB,
						 .fs = "",
						 .allow_buffered = true,
						 .source_kind = kind,
						 .source = source });
}

static int take(struct run *run, const char *name, const char *source)
{
	return backend_snapshot_create(
		run->b, run->ctx,
		&(struct backend_snapshot_spec){ .name = name, .token = name, .source = source },
		&snap, &run->err);
}

static int remove_volume(struct run *run, const char *token)
{
	return backend_remove(run->b, run->ctx, token, NULL, &run->err);
}

static int remove_snapshot(struct run *run, const char *token)
{
	return backend_snapshot_remove(run->b, run->ctx, token, NULL, &run->err);
}

static int find(struct run *run, const char *token)
{
	return backend_snapshot_stat(run->b, run->ctx, token, NULL, &snap, &run->err);
}

static struct backend_info info(struct run *run)
{
	struct backend_info now;

	ASSERT_OK(backend_info(run->b, run->ctx, &now, &run->err), &run->err);
	return now;
}

static void attach(struct run *run, const char *token)
{
	ASSERT_OK(backend_attach(run->b, run->ctx, token,
				 &(struct backend_attach_options){ .hold = true }, &run->dev,
				 &run->err),
		  &run->err);
}

static void detach(struct run *run, const char *token)
{
	ASSERT_OK(backend_detach(run->b, run->ctx, token, &run->err), &run->err);
}

static void write_raw(struct run *run, const char *token, const char *text)
{
	attach(run, token);
	contract_write(run->dev.path, text);
	detach(run, token);
}

static void assert_raw(struct run *run, const char *token, const char *text)
{
	char is[64];

	attach(run, token);
	contract_read(run->dev.path, is);
	detach(run, token);
	ASSERT_STR(is, text);
}

CONTRACT(takes_a_snapshot_and_finds_it)
{
	ASSERT_OK(create(run, "v", 64 * MIB, "ext4"), &run->err);
	ASSERT_OK(take(run, "s", "v"), &run->err);
	ASSERT_TRUE(snap.is_ready);
	snap = (struct backend_snapshot){ 0 };
	ASSERT_OK(find(run, "s"), &run->err);
	ASSERT_STR(snap.token, "s");
	ASSERT_STR(snap.name, "s");
	ASSERT_STR(snap.source, "v");
	ASSERT_STR(snap.group, "");
	ASSERT_STR(snap.fs, "ext4");
	ASSERT_EQ(snap.bytes, 64 * MIB);
	ASSERT_TRUE(snap.created_ns > 0 && snap.is_ready && !snap.is_damaged);
}

CONTRACT(gives_the_same_snapshot_again)
{
	int64_t created_ns;

	ASSERT_OK(create(run, "v", 4 * MIB, ""), &run->err);
	ASSERT_OK(create(run, "w", 4 * MIB, ""), &run->err);
	ASSERT_OK(take(run, "s", "v"), &run->err);
	created_ns = snap.created_ns;
	ASSERT_OK(take(run, "s", "v"), &run->err);
	ASSERT_EQ(snap.created_ns, created_ns);
	ASSERT_ERR(take(run, "s", "w"), &run->err, ERR_ALREADY_EXISTS, "of volume 'v'");
	ASSERT_ERR(backend_snapshot_create(run->b, run->ctx,
					   &(struct backend_snapshot_spec){
						   .name = "other", .token = "s", .source = "v" },
					   &snap, &run->err),
		   &run->err, ERR_ALREADY_EXISTS, "name 's'");
	ASSERT_OK(remove_volume(run, "v"), &run->err);
	ASSERT_OK(take(run, "s", "v"), &run->err);
	ASSERT_EQ(snap.created_ns, created_ns);
	ASSERT_ERR(take(run, "t", "v"), &run->err, ERR_NOT_FOUND, "volume 'v'");
}

CONTRACT(a_volume_of_a_snapshot_has_what_was_there_then)
{
	ASSERT_OK(create(run, "v", 16 * MIB, ""), &run->err);
	write_raw(run, "v", "then");
	ASSERT_OK(take(run, "s", "v"), &run->err);
	write_raw(run, "v", "later");
	ASSERT_OK(create_of(run, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &run->err);
	ASSERT_EQ(run->vol.source_kind, BACKEND_SOURCE_SNAPSHOT);
	ASSERT_STR(run->vol.source, "s");
	assert_raw(run, "c", "then");
	assert_raw(run, "v", "later");
	write_raw(run, "c", "own");
	assert_raw(run, "v", "later");
	ASSERT_OK(create_of(run, "d", BACKEND_SOURCE_SNAPSHOT, "s"), &run->err);
	assert_raw(run, "d", "then");
}

CONTRACT(a_volume_of_a_volume_has_what_is_there_now)
{
	ASSERT_OK(create(run, "v", 16 * MIB, ""), &run->err);
	write_raw(run, "v", "now");
	ASSERT_OK(create_of(run, "c", BACKEND_SOURCE_VOLUME, "v"), &run->err);
	ASSERT_EQ(run->vol.source_kind, BACKEND_SOURCE_VOLUME);
	ASSERT_STR(run->vol.source, "v");
	write_raw(run, "v", "later");
	assert_raw(run, "c", "now");
}

CONTRACT(is_made_of_its_source_alone)
{
	ASSERT_OK(create(run, "v", 16 * MIB, ""), &run->err);
	ASSERT_OK(take(run, "s", "v"), &run->err);
	ASSERT_OK(create_of(run, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &run->err);
	ASSERT_OK(create_of(run, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &run->err);
	ASSERT_ERR(create_of(run, "c", BACKEND_SOURCE_SNAPSHOT, "t"), &run->err, ERR_ALREADY_EXISTS,
		   "made of");
	ASSERT_ERR(create_of(run, "c", BACKEND_SOURCE_VOLUME, "s"), &run->err, ERR_ALREADY_EXISTS,
		   "made of");
	ASSERT_ERR(create(run, "c", 16 * MIB, ""), &run->err, ERR_ALREADY_EXISTS, "made of");
	ASSERT_ERR(create_of(run, "v", BACKEND_SOURCE_SNAPSHOT, "s"), &run->err, ERR_ALREADY_EXISTS,
		   "made");
	/* it needs the source no more */
	ASSERT_OK(remove_snapshot(run, "s"), &run->err);
	ASSERT_OK(create_of(run, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &run->err);
}

CONTRACT(refuses_a_source_that_does_not_do)
{
	struct backend_spec spec = { .name = "c",
				     .token = "c",
				     .bytes = 64 * MIB,
				     .fs = "ext4",
				     .source_kind = BACKEND_SOURCE_SNAPSHOT,
				     .source = "s" };
	uint64_t before;

	ASSERT_OK(create(run, "v", 64 * MIB, "ext4"), &run->err);
	ASSERT_OK(take(run, "s", "v"), &run->err);
	before = info(run).available_bytes;
	for (int i = 0; i < 2; i++) {
		spec.source = "none";
		ASSERT_ERR(make(run, &spec), &run->err, ERR_NOT_FOUND, "'none'");
		spec.source = "../v";
		ASSERT_ERR(make(run, &spec), &run->err, ERR_NOT_FOUND, "source");
		spec.source = i ? "v" : "s";
		spec.bytes = 60 * MIB;
		ASSERT_ERR(make(run, &spec), &run->err, ERR_OUT_OF_RANGE, "67108864 bytes");
		spec.bytes = 64 * MIB;
		spec.fs = "";
		ASSERT_ERR(make(run, &spec), &run->err, ERR_INVALID_ARGUMENT, "'ext4'");
		spec.fs = "ext4";
		spec.source_kind = BACKEND_SOURCE_VOLUME;
	}
	ASSERT_EQ(info(run).available_bytes, before);
	ASSERT_ERR(backend_stat(run->b, run->ctx, "c", NULL, &run->vol, &run->err), &run->err,
		   ERR_NOT_FOUND, "c");
}

/* What is larger than its source has zeros behind it. */
CONTRACT(a_volume_may_be_larger_than_its_source)
{
	struct backend_spec spec = { .name = "c",
				     .token = "c",
				     .bytes = 24 * MIB,
				     .fs = "",
				     .allow_buffered = true,
				     .source_kind = BACKEND_SOURCE_SNAPSHOT,
				     .source = "s" };

	ASSERT_OK(create(run, "v", 16 * MIB, ""), &run->err);
	write_raw(run, "v", "then");
	ASSERT_OK(take(run, "s", "v"), &run->err);
	ASSERT_OK(make(run, &spec), &run->err);
	ASSERT_EQ(run->vol.bytes, 24 * MIB);
	assert_raw(run, "c", "then");
	ASSERT_OK(take(run, "t", "c"), &run->err);
	ASSERT_EQ(snap.bytes, 24 * MIB);
}

static void mount_volume(struct run *run, const char *token)
{
	const char *dir = contract_mount_dir();
	const struct host_mount_options opts = { .fs = "ext4" };

	ASSERT_OK(backend_attach(run->b, run->ctx, token, &(struct backend_attach_options){ 0 },
				 &run->dev, &run->err),
		  &run->err);
	ASSERT_OK(host_mount_device(run->ctx, run->dev.path, dir, &opts, &run->err), &run->err);
	ASSERT_OK(backend_settle(run->b, run->ctx, token, dir, &run->err), &run->err);
}

static void umount_volume(struct run *run, const char *token)
{
	ASSERT_OK(host_mount_umount(run->ctx, contract_mount_dir(), &run->err), &run->err);
	detach(run, token);
}

static void assert_file(struct run *run, const char *token, const char *text)
{
	char is[64];

	mount_volume(run, token);
	contract_read(contract_mount_dir(), is);
	umount_volume(run, token);
	ASSERT_STR(is, text);
}

static int take_frozen(struct run *run, const char *name, const char *source)
{
	return backend_snapshot_create(
		run->b, run->ctx,
		&(struct backend_snapshot_spec){ .name = name,
						 .token = name,
						 .source = source,
						 .options = { .freeze = true } },
		&snap, &run->err);
}

CONTRACT(has_what_was_written_before_into_a_mounted_filesystem)
{
	struct backend_spec spec = { .name = "c",
				     .token = "c",
				     .bytes = 64 * MIB,
				     .fs = "ext4",
				     .allow_buffered = true,
				     .source_kind = BACKEND_SOURCE_SNAPSHOT,
				     .source = "s" };

	ASSERT_OK(create(run, "v", 64 * MIB, "ext4"), &run->err);
	mount_volume(run, "v");
	contract_write(contract_mount_dir(), "then");
	if (shares_blocks(run))
		ASSERT_OK(take(run, "s", "v"), &run->err);
	else
		ASSERT_OK(take_frozen(run, "s", "v"), &run->err);
	contract_write(contract_mount_dir(), "later");
	umount_volume(run, "v");
	ASSERT_OK(make(run, &spec), &run->err);
	assert_file(run, "c", "then");
	assert_file(run, "v", "later");
	mount_volume(run, "v");
	contract_write(contract_mount_dir(), "now");
	spec.name = spec.token = "d";
	spec.source_kind = BACKEND_SOURCE_VOLUME;
	spec.source = "v";
	ASSERT_OK(make(run, &spec), &run->err);
	umount_volume(run, "v");
	assert_file(run, "d", "now");
}

CONTRACT(freezes_a_mounted_filesystem_and_thaws_it)
{
	const struct backend_spec spec = { .name = "c",
					   .token = "c",
					   .bytes = 64 * MIB,
					   .fs = "ext4",
					   .allow_buffered = true,
					   .source_kind = BACKEND_SOURCE_SNAPSHOT,
					   .source = "s" };

	ASSERT_OK(create(run, "v", 64 * MIB, "ext4"), &run->err);
	mount_volume(run, "v");
	contract_write(contract_mount_dir(), "then");
	ASSERT_OK(take_frozen(run, "s", "v"), &run->err);
	contract_write(contract_mount_dir(), "later"); /* would wait for ever */
	umount_volume(run, "v");
	ASSERT_OK(make(run, &spec), &run->err);
	assert_file(run, "c", "then");
	/* nothing to freeze */
	ASSERT_OK(take_frozen(run, "t", "v"), &run->err);
	ASSERT_OK(create(run, "w", 64 * MIB, "ext4"), &run->err);
	ASSERT_OK(backend_attach(run->b, run->ctx, "w", &(struct backend_attach_options){ 0 },
				 &run->dev, &run->err),
		  &run->err);
	ASSERT_ERR(take_frozen(run, "u", "w"), &run->err, ERR_FAILED_PRECONDITION, run->dev.path);
	detach(run, "w");
}

/* Memory has to be copied, and nothing holds a raw device while it is. */
static bool is_refused_in_use(struct run *run)
{
	if (!str_is_equal(run->b->ops->name, "mem") && shares_blocks(run))
		return false;
	ASSERT_ERR(take(run, "s", "v"), &run->err, ERR_FAILED_PRECONDITION, run->dev.path);
	return true;
}

CONTRACT(has_what_was_written_before_into_a_device)
{
	ASSERT_OK(create(run, "v", 16 * MIB, ""), &run->err);
	attach(run, "v");
	contract_write(run->dev.path, "then");
	if (is_refused_in_use(run)) {
		detach(run, "v");
		return;
	}
	ASSERT_OK(take(run, "s", "v"), &run->err);
	contract_write(run->dev.path, "later");
	detach(run, "v");
	ASSERT_OK(create_of(run, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &run->err);
	assert_raw(run, "c", "then");
}

static void make_family(struct run *run)
{
	ASSERT_OK(create(run, "v", 16 * MIB, ""), &run->err);
	write_raw(run, "v", "kept");
	ASSERT_OK(take(run, "s", "v"), &run->err);
	ASSERT_OK(create_of(run, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &run->err);
}

/* What is left of the family has all its bytes. */
static void assert_family(struct run *run, const char *left)
{
	if (strchr(left, 'v'))
		assert_raw(run, "v", "kept");
	if (strchr(left, 'c'))
		assert_raw(run, "c", "kept");
	if (!strchr(left, 's'))
		return;
	ASSERT_OK(create_of(run, "of-s", BACKEND_SOURCE_SNAPSHOT, "s"), &run->err);
	assert_raw(run, "of-s", "kept");
	ASSERT_OK(remove_volume(run, "of-s"), &run->err);
}

/* A volume, its snapshot, and one made of that. */
CONTRACT(removes_what_hangs_together_in_any_order)
{
	static const char orders[][4] = { "vsc", "vcs", "svc", "scv", "cvs", "csv" };
	uint64_t before = info(run).available_bytes;

	for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
		make_family(run);
		for (const char *one = orders[i]; *one; one++) {
			const char token[] = { *one, '\0' };

			ASSERT_OK(token[0] == 's' ? remove_snapshot(run, token)
						  : remove_volume(run, token),
				  &run->err);
			assert_family(run, one + 1);
		}
		ASSERT_EQ(info(run).available_bytes, before);
	}
}

CONTRACT(removes_a_snapshot_and_removes_it_again)
{
	uint64_t before;

	ASSERT_OK(create(run, "v", 16 * MIB, ""), &run->err);
	write_raw(run, "v", "some");
	before = info(run).available_bytes;
	ASSERT_OK(take(run, "s", "v"), &run->err);
	ASSERT_EQ(info(run).n_snapshots, 1);
	ASSERT_EQ(info(run).n_volumes, 1);
	ASSERT_OK(remove_snapshot(run, "s"), &run->err);
	ASSERT_OK(remove_snapshot(run, "s"), &run->err);
	ASSERT_OK(remove_snapshot(run, "never-was"), &run->err);
	ASSERT_OK(remove_snapshot(run, "../v"), &run->err);
	ASSERT_ERR(find(run, "s"), &run->err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_EQ(info(run).n_snapshots, 0);
	ASSERT_EQ(info(run).available_bytes, before);
	assert_raw(run, "v", "some");
}

/* Each kind has tokens of its own. */
CONTRACT(a_snapshot_may_be_called_as_a_volume_is)
{
	ASSERT_OK(create(run, "a", 16 * MIB, ""), &run->err);
	write_raw(run, "a", "then");
	ASSERT_OK(take(run, "a", "a"), &run->err);
	ASSERT_OK(remove_volume(run, "a"), &run->err);
	ASSERT_OK(find(run, "a"), &run->err);
	ASSERT_OK(create_of(run, "a", BACKEND_SOURCE_SNAPSHOT, "a"), &run->err);
	assert_raw(run, "a", "then");
	ASSERT_OK(remove_snapshot(run, "a"), &run->err);
	assert_raw(run, "a", "then");
}

struct seen {
	char tokens[128];
	size_t stop_after;
	size_t n;
};

static int see(void *arg, const struct backend_snapshot *one)
{
	struct seen *seen = arg;
	size_t len = strlen(seen->tokens);

	(void)snprintf(seen->tokens + len, sizeof(seen->tokens) - len, "%s ", one->token);
	return ++seen->n == seen->stop_after;
}

CONTRACT(lists_snapshots_in_order_from_anywhere)
{
	static const char *const names[] = { "c", "a", "b-2", "b", "b-10" };
	struct seen all = { 0 }, rest = { 0 }, first = { .stop_after = 2 };

	ASSERT_OK(create(run, "v", MIB, ""), &run->err);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		ASSERT_OK(take(run, names[i], "v"), &run->err);
	ASSERT_OK(backend_snapshot_each(run->b, run->ctx, "", see, &all, &run->err), &run->err);
	ASSERT_STR(all.tokens, "a b b-10 b-2 c ");
	ASSERT_OK(backend_snapshot_each(run->b, run->ctx, "b-10", see, &rest, &run->err),
		  &run->err);
	ASSERT_STR(rest.tokens, "b-2 c ");
	ASSERT_OK(backend_snapshot_each(run->b, run->ctx, "", see, &first, &run->err), &run->err);
	ASSERT_STR(first.tokens, "a b ");
}

CONTRACT(takes_no_snapshot_once_cancelled)
{
	struct ctx cancelled;
	struct ctx *whole = run->ctx;

	ASSERT_OK(create(run, "v", 4 * MIB, ""), &run->err);
	ctx_init(&cancelled, 0);
	ctx_cancel(&cancelled);
	run->ctx = &cancelled;
	ASSERT_ERR(take(run, "s", "v"), &run->err, ERR_CANCELLED, "s");
	run->ctx = whole;
	ctx_done(&cancelled);
	ASSERT_ERR(find(run, "s"), &run->err, ERR_NOT_FOUND, "no such snapshot");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BOTH(takes_a_snapshot_and_finds_it),
		BOTH(gives_the_same_snapshot_again),
		BOTH(a_volume_of_a_snapshot_has_what_was_there_then),
		BOTH(a_volume_of_a_volume_has_what_is_there_now),
		BOTH(is_made_of_its_source_alone),
		BOTH(refuses_a_source_that_does_not_do),
		BOTH(a_volume_may_be_larger_than_its_source),
		BOTH(has_what_was_written_before_into_a_mounted_filesystem),
		BOTH(freezes_a_mounted_filesystem_and_thaws_it),
		BOTH(has_what_was_written_before_into_a_device),
		BOTH(removes_what_hangs_together_in_any_order),
		BOTH(removes_a_snapshot_and_removes_it_again),
		BOTH(a_snapshot_may_be_called_as_a_volume_is),
		BOTH(lists_snapshots_in_order_from_anywhere),
		BOTH(takes_no_snapshot_once_cancelled),
	};
	int rc;

	if (contract_was_guard(argc, argv))
		return 0;
	rc = contract_setup();
	if (rc)
		return rc;
	rc = cmocka_run_group_tests_name("contract-snapshot", tests, NULL, NULL);
	contract_teardown();
	return rc;
}
