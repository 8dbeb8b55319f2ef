/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend.h, sentence by sentence, for every backend. The same file is linked with the fake host
 * (suite unit) and, as root, with the real one (suite root).
 */
#include "backend/backend.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "contract_run.h"
#include "host/blockdev.h"
#include "host/mount.h"
#include "volume/id.h"

static int create(struct run *run, const char *name, uint64_t bytes, const char *fs)
{
	char token[VOL_TOKEN_MAX];
	const struct backend_spec spec = {
		.name = name, .token = token, .bytes = bytes, .fs = fs, .allow_buffered = true
	};

	vol_token_from_name(name, token);
	return backend_create(run->b, run->ctx, &spec, &run->vol, &run->err);
}

static int attach(struct run *run, const char *token, bool read_only, bool hold)
{
	const struct backend_attach_options opts = { .read_only = read_only, .hold = hold };

	return backend_attach(run->b, run->ctx, token, &opts, &run->dev, &run->err);
}

static int find(struct run *run, const char *token)
{
	return backend_find_device(run->b, run->ctx, token, &run->dev, &run->err);
}

static int detach(struct run *run, const char *token)
{
	return backend_detach(run->b, run->ctx, token, &run->err);
}

static int remove_volume(struct run *run, const char *token)
{
	return backend_remove(run->b, run->ctx, token, NULL, &run->err);
}

static uint64_t available(struct run *run)
{
	struct backend_info info;

	ASSERT_OK(backend_info(run->b, run->ctx, &info, &run->err), &run->err);
	return info.available_bytes;
}

CONTRACT(makes_a_volume_and_finds_it)
{
	ASSERT_OK(create(run, "pvc-1", 64 * MIB, "ext4"), &run->err);
	ASSERT_OK(backend_stat(run->b, run->ctx, "pvc-1", NULL, &run->vol, &run->err), &run->err);
	ASSERT_STR(run->vol.token, "pvc-1");
	ASSERT_STR(run->vol.name, "pvc-1");
	ASSERT_STR(run->vol.fs, "ext4");
	ASSERT_EQ(run->vol.bytes, 64 * MIB);
	ASSERT_TRUE(run->vol.allow_buffered);
	ASSERT_FALSE(run->vol.is_damaged);
	ASSERT_TRUE(run->vol.created_ns > 0);
}

CONTRACT(tells_whom_a_volume_was_made_for)
{
	const struct backend_spec spec = {
		.name = "pvc-1",
		.token = "pvc-1",
		.bytes = 4 * MIB,
		.fs = "",
		.allow_buffered = true,
		.owner = { .cluster = "c-1", .claim_namespace = "ns", .claim_name = "data" },
	};

	ASSERT_OK(backend_create(run->b, run->ctx, &spec, &run->vol, &run->err), &run->err);
	ASSERT_OK(backend_stat(run->b, run->ctx, "pvc-1", NULL, &run->vol, &run->err), &run->err);
	ASSERT_STR(run->vol.cluster, "c-1");
	ASSERT_STR(run->vol.claim_namespace, "ns");
	ASSERT_STR(run->vol.claim_name, "data");
}

/* The beginning of a name would be somebody else's. */
CONTRACT(tells_no_part_of_a_name_that_is_too_long)
{
	char longest[BACKEND_OWNER_MAX] = "", longer[BACKEND_OWNER_MAX + 1] = "";
	struct backend_spec spec = {
		.name = "pvc-1",
		.token = "pvc-1",
		.bytes = 4 * MIB,
		.fs = "",
		.allow_buffered = true,
		.owner = { .cluster = "c-1", .claim_namespace = longest, .claim_name = longer },
	};

	memset(longest, 'n', sizeof(longest) - 1);
	memset(longer, 'n', sizeof(longer) - 1);
	ASSERT_OK(backend_create(run->b, run->ctx, &spec, &run->vol, &run->err), &run->err);
	ASSERT_OK(backend_stat(run->b, run->ctx, "pvc-1", NULL, &run->vol, &run->err), &run->err);
	ASSERT_STR(run->vol.cluster, "c-1");
	ASSERT_STR(run->vol.claim_namespace, longest);
	ASSERT_STR(run->vol.claim_name, "");
}

CONTRACT(keeps_a_name_that_is_no_token)
{
	const char *name = "Ein Name mit Ümlaut/und ../Pfad";
	char token[VOL_TOKEN_MAX];

	vol_token_from_name(name, token);
	ASSERT_OK(create(run, name, 4 * MIB, ""), &run->err);
	ASSERT_OK(backend_stat(run->b, run->ctx, token, NULL, &run->vol, &run->err), &run->err);
	ASSERT_STR(run->vol.name, name);
}

CONTRACT(gives_the_same_volume_again_whatever_its_size)
{
	ASSERT_OK(create(run, "pvc-1", 64 * MIB, "ext4"), &run->err);
	ASSERT_OK(create(run, "pvc-1", 128 * MIB, "ext4"), &run->err);
	ASSERT_EQ(run->vol.bytes, 64 * MIB);
}

CONTRACT(refuses_a_name_that_is_taken_by_another_kind)
{
	ASSERT_OK(create(run, "pvc-1", 300 * MIB, "xfs"), &run->err);
	ASSERT_ERR(create(run, "pvc-1", 300 * MIB, "ext4"), &run->err, ERR_ALREADY_EXISTS, "xfs");
	ASSERT_ERR(create(run, "pvc-1", 300 * MIB, ""), &run->err, ERR_ALREADY_EXISTS, "xfs");
}

CONTRACT(refuses_a_token_that_another_name_has)
{
	const struct backend_spec spec = {
		.name = "other", .token = "pvc-1", .bytes = 4 * MIB, .fs = ""
	};

	ASSERT_OK(create(run, "pvc-1", 4 * MIB, ""), &run->err);
	ASSERT_ERR(backend_create(run->b, run->ctx, &spec, &run->vol, &run->err), &run->err,
		   ERR_ALREADY_EXISTS, "'pvc-1'");
}

CONTRACT(refuses_what_does_not_fit_and_takes_nothing)
{
	uint64_t before = available(run);

	ASSERT_ERR(create(run, "big", before + 4096, ""), &run->err, ERR_RESOURCE_EXHAUSTED, "fit");
	ASSERT_EQ(available(run), before);
	ASSERT_ERR(backend_stat(run->b, run->ctx, "big", NULL, &run->vol, &run->err), &run->err,
		   ERR_NOT_FOUND, "big");
	ASSERT_OK(create(run, "one", 512 * MIB, ""), &run->err);
	ASSERT_TRUE(available(run) <= before - 512 * MIB);
	ASSERT_ERR(create(run, "two", 1024 * MIB, ""), &run->err, ERR_RESOURCE_EXHAUSTED, "fit");
	ASSERT_OK(remove_volume(run, "one"), &run->err);
	ASSERT_OK(create(run, "two", 1024 * MIB, ""), &run->err);
}

CONTRACT(refuses_sizes_that_are_none)
{
	ASSERT_ERR(create(run, "v", 0, ""), &run->err, ERR_OUT_OF_RANGE, "size 0");
	ASSERT_ERR(create(run, "v", 4 * MIB + 1, ""), &run->err, ERR_OUT_OF_RANGE, "multiple");
	ASSERT_ERR(create(run, "v", UINT64_MAX - 4095, ""), &run->err, ERR_OUT_OF_RANGE,
		   "multiple");
	ASSERT_ERR(create(run, "v", 4 * MIB, "ext4"), &run->err, ERR_OUT_OF_RANGE, "least");
	ASSERT_ERR(create(run, "v", 64 * MIB, "zfs"), &run->err, ERR_INVALID_ARGUMENT, "zfs");
}

CONTRACT(removes_and_removes_again)
{
	uint64_t before = available(run);

	ASSERT_OK(create(run, "pvc-1", 64 * MIB, ""), &run->err);
	ASSERT_OK(remove_volume(run, "pvc-1"), &run->err);
	ASSERT_OK(remove_volume(run, "pvc-1"), &run->err);
	ASSERT_OK(remove_volume(run, "never-was"), &run->err);
	ASSERT_EQ(available(run), before);
}

CONTRACT(attaches_once_and_finds_the_device)
{
	dev_t devno;

	ASSERT_OK(create(run, "pvc-1", 64 * MIB, ""), &run->err);
	ASSERT_ERR(find(run, "pvc-1"), &run->err, ERR_NOT_FOUND, "not attached");
	ASSERT_OK(attach(run, "pvc-1", false, false), &run->err);
	ASSERT_TRUE(str_has_prefix(run->dev.path, "/dev/loop"));
	devno = run->dev.devno;
	ASSERT_OK(attach(run, "pvc-1", false, false), &run->err);
	ASSERT_EQ(run->dev.devno, devno);
	ASSERT_OK(find(run, "pvc-1"), &run->err);
	ASSERT_EQ(run->dev.devno, devno);
	ASSERT_OK(detach(run, "pvc-1"), &run->err);
	ASSERT_ERR(find(run, "pvc-1"), &run->err, ERR_NOT_FOUND, "not attached");
	ASSERT_OK(detach(run, "pvc-1"), &run->err);
}

CONTRACT(gives_two_volumes_two_devices)
{
	dev_t devno;

	ASSERT_OK(create(run, "a", 4 * MIB, ""), &run->err);
	ASSERT_OK(create(run, "b", 4 * MIB, ""), &run->err);
	ASSERT_OK(attach(run, "a", false, true), &run->err);
	devno = run->dev.devno;
	ASSERT_OK(attach(run, "b", false, true), &run->err);
	ASSERT_TRUE(run->dev.devno != devno);
	ASSERT_OK(detach(run, "a"), &run->err);
	ASSERT_OK(find(run, "b"), &run->err);
	ASSERT_OK(detach(run, "b"), &run->err);
}

CONTRACT(does_not_attach_for_writing_what_is_attached_read_only)
{
	ASSERT_OK(create(run, "pvc-1", 4 * MIB, ""), &run->err);
	ASSERT_OK(attach(run, "pvc-1", true, true), &run->err);
	ASSERT_ERR(attach(run, "pvc-1", false, true), &run->err, ERR_FAILED_PRECONDITION,
		   "read-only");
	ASSERT_OK(detach(run, "pvc-1"), &run->err);
	ASSERT_OK(attach(run, "pvc-1", false, true), &run->err);
	ASSERT_OK(detach(run, "pvc-1"), &run->err);
}

CONTRACT(gives_a_reader_beside_the_device)
{
	const struct backend_attach_options opts = { .read_only = true,
						     .hold = true,
						     .reader = true };
	struct backend_device reader;
	struct backend_device again;

	ASSERT_OK(create(run, "raw", 4 * MIB, ""), &run->err);
	ASSERT_OK(attach(run, "raw", false, true), &run->err);
	ASSERT_ERR(backend_find_reader(run->b, run->ctx, "raw", &reader, &run->err), &run->err,
		   ERR_NOT_FOUND, "no reader");
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(backend_attach(run->b, run->ctx, "raw", &opts, &reader, &run->err),
			  &run->err);
		ASSERT_TRUE(reader.is_read_only && reader.devno != run->dev.devno);
		ASSERT_OK(backend_find_reader(run->b, run->ctx, "raw", &again, &run->err),
			  &run->err);
		ASSERT_TRUE(again.devno == reader.devno && again.is_read_only);
		ASSERT_OK(find(run, "raw"), &run->err);
		ASSERT_TRUE(run->dev.devno != reader.devno && !run->dev.is_read_only);
	}
	ASSERT_OK(backend_drop_reader(run->b, run->ctx, "raw", &run->err), &run->err);
	ASSERT_OK(backend_drop_reader(run->b, run->ctx, "raw", &run->err), &run->err);
	ASSERT_ERR(backend_find_reader(run->b, run->ctx, "raw", &reader, &run->err), &run->err,
		   ERR_NOT_FOUND, "no reader");
	ASSERT_OK(find(run, "raw"), &run->err);
	ASSERT_OK(backend_attach(run->b, run->ctx, "raw", &opts, &reader, &run->err), &run->err);
	ASSERT_OK(detach(run, "raw"), &run->err);
	ASSERT_ERR(backend_find_reader(run->b, run->ctx, "raw", &reader, &run->err), &run->err,
		   ERR_NOT_FOUND, "no reader");
	ASSERT_OK(remove_volume(run, "raw"), &run->err);
}

/* The device went by somebody's hand. */
CONTRACT(takes_a_reader_that_is_left_over_for_no_device)
{
	const struct backend_attach_options opts = { .read_only = true,
						     .hold = true,
						     .reader = true };
	struct backend_device reader;

	ASSERT_OK(create(run, "raw", 4 * MIB, ""), &run->err);
	ASSERT_OK(backend_attach(run->b, run->ctx, "raw", &opts, &reader, &run->err), &run->err);
	ASSERT_ERR(find(run, "raw"), &run->err, ERR_NOT_FOUND, "not attached");
	ASSERT_OK(attach(run, "raw", false, true), &run->err);
	ASSERT_OK(detach(run, "raw"), &run->err);
	ASSERT_OK(backend_attach(run->b, run->ctx, "raw", &opts, &reader, &run->err), &run->err);
	ASSERT_OK(remove_volume(run, "raw"), &run->err);
}

CONTRACT(does_not_remove_what_is_attached)
{
	ASSERT_OK(create(run, "pvc-1", 4 * MIB, ""), &run->err);
	ASSERT_OK(attach(run, "pvc-1", false, true), &run->err);
	ASSERT_ERR(remove_volume(run, "pvc-1"), &run->err, ERR_FAILED_PRECONDITION, run->dev.path);
	ASSERT_OK(backend_stat(run->b, run->ctx, "pvc-1", NULL, &run->vol, &run->err), &run->err);
	ASSERT_OK(detach(run, "pvc-1"), &run->err);
	ASSERT_OK(remove_volume(run, "pvc-1"), &run->err);
}

CONTRACT(keeps_a_held_device_and_lets_go_of_the_other_when_settled)
{
	ASSERT_OK(create(run, "raw", 4 * MIB, ""), &run->err);
	ASSERT_OK(attach(run, "raw", false, true), &run->err);
	ASSERT_OK(backend_settle(run->b, run->ctx, "raw", "/", &run->err), &run->err);
	ASSERT_OK(find(run, "raw"), &run->err);
	ASSERT_OK(detach(run, "raw"), &run->err);
	ASSERT_OK(attach(run, "raw", false, false), &run->err);
	ASSERT_OK(backend_settle(run->b, run->ctx, "raw", "/", &run->err), &run->err);
	ASSERT_ERR(find(run, "raw"), &run->err, ERR_NOT_FOUND, "not attached");
}

static void mount_once(struct run *run, const char *name, uint64_t bytes, const char *fs)
{
	const char *dir = contract_mount_dir();
	const struct host_mount_options opts = { .fs = fs };
	struct host_mount_at at;

	ASSERT_OK(create(run, name, bytes, fs), &run->err);
	ASSERT_OK(attach(run, name, false, false), &run->err);
	ASSERT_OK(host_mount_device(run->ctx, run->dev.path, dir, &opts, &run->err), &run->err);
	ASSERT_OK(backend_settle(run->b, run->ctx, name, dir, &run->err), &run->err);
	ASSERT_OK(host_mount_look(dir, &at, &run->err), &run->err);
	ASSERT_TRUE(at.is_mount_root);
	ASSERT_OK(find(run, name), &run->err);
	ASSERT_EQ(at.device, run->dev.devno);
	ASSERT_ERR(remove_volume(run, name), &run->err, ERR_FAILED_PRECONDITION, "in use");
	ASSERT_OK(detach(run, name), &run->err);
	ASSERT_OK(find(run, name), &run->err);
	ASSERT_OK(host_mount_umount(run->ctx, dir, &run->err), &run->err);
	ASSERT_ERR(find(run, name), &run->err, ERR_NOT_FOUND, "not attached");
	ASSERT_OK(remove_volume(run, name), &run->err);
}

CONTRACT(leaves_the_device_to_the_mount_and_to_nobody_after_it)
{
	mount_once(run, "one", 64 * MIB, "ext4");
	mount_once(run, "two", 64 * MIB, "ext4");
	mount_once(run, "three", 320 * MIB, "xfs");
}

static int grow(struct run *run, const char *token, uint64_t bytes)
{
	return backend_grow(run->b, run->ctx, token, bytes, NULL, &run->vol, &run->err);
}

static uint64_t device_bytes(struct run *run, const struct backend_device *dev)
{
	uint64_t bytes = 0;

	ASSERT_OK(host_block_size(dev->path, &bytes, &run->err), &run->err);
	return bytes;
}

CONTRACT(grows_and_is_as_large_from_then_on)
{
	uint64_t before;

	ASSERT_OK(create(run, "pvc-1", 64 * MIB, ""), &run->err);
	before = available(run);
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(grow(run, "pvc-1", 192 * MIB), &run->err);
		ASSERT_EQ(run->vol.bytes, 192 * MIB);
		ASSERT_STR(run->vol.name, "pvc-1");
		ASSERT_TRUE(available(run) <= before - 128 * MIB);
		ASSERT_TRUE(available(run) > before - 160 * MIB);
	}
	ASSERT_OK(backend_stat(run->b, run->ctx, "pvc-1", NULL, &run->vol, &run->err), &run->err);
	ASSERT_EQ(run->vol.bytes, 192 * MIB);
	ASSERT_OK(create(run, "pvc-1", 64 * MIB, ""), &run->err);
	ASSERT_EQ(run->vol.bytes, 192 * MIB);
	ASSERT_OK(attach(run, "pvc-1", false, false), &run->err);
	ASSERT_EQ(device_bytes(run, &run->dev), 192 * MIB);
}

CONTRACT(never_makes_a_volume_smaller)
{
	ASSERT_OK(create(run, "pvc-1", 64 * MIB, ""), &run->err);
	ASSERT_OK(grow(run, "pvc-1", 32 * MIB), &run->err);
	ASSERT_EQ(run->vol.bytes, 64 * MIB);
	ASSERT_OK(grow(run, "pvc-1", 96 * MIB), &run->err);
	ASSERT_OK(grow(run, "pvc-1", 64 * MIB), &run->err);
	ASSERT_EQ(run->vol.bytes, 96 * MIB);
	ASSERT_OK(attach(run, "pvc-1", false, false), &run->err);
	ASSERT_EQ(device_bytes(run, &run->dev), 96 * MIB);
}

CONTRACT(grows_the_devices_that_there_are)
{
	const struct backend_attach_options opts = { .read_only = true,
						     .hold = true,
						     .reader = true };
	struct backend_device reader;

	ASSERT_OK(create(run, "raw", 4 * MIB, ""), &run->err);
	ASSERT_OK(attach(run, "raw", false, true), &run->err);
	ASSERT_OK(grow(run, "raw", 8 * MIB), &run->err);
	ASSERT_EQ(device_bytes(run, &run->dev), 8 * MIB);
	ASSERT_OK(backend_attach(run->b, run->ctx, "raw", &opts, &reader, &run->err), &run->err);
	ASSERT_OK(grow(run, "raw", 16 * MIB), &run->err);
	ASSERT_EQ(device_bytes(run, &run->dev), 16 * MIB);
	ASSERT_EQ(device_bytes(run, &reader), 16 * MIB);
	ASSERT_OK(detach(run, "raw"), &run->err);
}

CONTRACT(refuses_growth_that_does_not_fit_and_takes_nothing)
{
	uint64_t before;

	ASSERT_OK(create(run, "pvc-1", 64 * MIB, ""), &run->err);
	before = available(run);
	ASSERT_ERR(grow(run, "pvc-1", 64 * MIB + before + 4096), &run->err, ERR_OUT_OF_RANGE,
		   "are free");
	ASSERT_EQ(available(run), before);
	ASSERT_OK(backend_stat(run->b, run->ctx, "pvc-1", NULL, &run->vol, &run->err), &run->err);
	ASSERT_EQ(run->vol.bytes, 64 * MIB);
	ASSERT_ERR(grow(run, "pvc-1", 64 * MIB + 1), &run->err, ERR_OUT_OF_RANGE, "multiple");
	ASSERT_OK(grow(run, "pvc-1", 128 * MIB), &run->err);
	ASSERT_OK(remove_volume(run, "pvc-1"), &run->err);
	ASSERT_TRUE(available(run) >= before + 64 * MIB);
}

CONTRACT(keeps_a_note)
{
	autofree char *note = xmalloc(BACKEND_NOTE_MAX + 1);
	autofree char *full = xcalloc(1, BACKEND_NOTE_MAX + 2);

	memset(full, 'x', BACKEND_NOTE_MAX);
	ASSERT_OK(create(run, "pvc-1", 4 * MIB, ""), &run->err);
	ASSERT_OK(backend_note_get(run->b, run->ctx, "pvc-1", note, &run->err), &run->err);
	ASSERT_STR(note, "");
	if (shares_blocks(run)) {
		ASSERT_OK(backend_note_set(run->b, run->ctx, "pvc-1", full, &run->err), &run->err);
	} else { /* ext4 keeps 4 KiB of all attributes */
		ASSERT_ERR(backend_note_set(run->b, run->ctx, "pvc-1", full, &run->err), &run->err,
			   ERR_RESOURCE_EXHAUSTED, "ea_inode");
		full[BACKEND_NOTE_MAX / 2] = '\0';
		ASSERT_OK(backend_note_set(run->b, run->ctx, "pvc-1", full, &run->err), &run->err);
		full[BACKEND_NOTE_MAX / 2] = 'x';
	}
	ASSERT_OK(backend_note_get(run->b, run->ctx, "pvc-1", note, &run->err), &run->err);
	ASSERT_TRUE(str_has_prefix(full, note) && strlen(note) >= BACKEND_NOTE_MAX / 2);
	full[BACKEND_NOTE_MAX] = 'x';
	ASSERT_ERR(backend_note_set(run->b, run->ctx, "pvc-1", full, &run->err), &run->err,
		   ERR_RESOURCE_EXHAUSTED, "4096");
	ASSERT_OK(backend_note_set(run->b, run->ctx, "pvc-1", "", &run->err), &run->err);
	ASSERT_OK(backend_note_get(run->b, run->ctx, "pvc-1", note, &run->err), &run->err);
	ASSERT_STR(note, "");
}

struct seen {
	char tokens[128];
	size_t stop_after;
	size_t n;
};

static int see(void *arg, const struct backend_volume *vol)
{
	struct seen *seen = arg;
	size_t len = strlen(seen->tokens);

	(void)snprintf(seen->tokens + len, sizeof(seen->tokens) - len, "%s ", vol->token);
	return ++seen->n == seen->stop_after;
}

static int modify(struct run *run, const char *token, const struct vol_limits *limits)
{
	return backend_modify(run->b, run->ctx, token, limits, NULL, &run->err);
}

static int compare_limits(void *arg, const struct backend_volume *vol)
{
	ASSERT_TRUE(vol_limits_are_equal(arg, &vol->limits));
	return 0;
}

CONTRACT(keeps_limits_from_the_birth_on_and_new_ones)
{
	const struct backend_spec spec = { .name = "pvc-1",
					   .token = "pvc-1",
					   .bytes = 64 * MIB,
					   .fs = "",
					   .allow_buffered = true,
					   .limits = { .read_iops = 500 } };
	struct vol_limits other = { .write_iops = 7, .write_bandwidth = 20 * MIB };

	ASSERT_OK(backend_create(run->b, run->ctx, &spec, &run->vol, &run->err), &run->err);
	ASSERT_TRUE(vol_limits_are_equal(&run->vol.limits, &spec.limits));
	ASSERT_OK(attach(run, "pvc-1", false, true), &run->err);
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(modify(run, "pvc-1", &other), &run->err);
		ASSERT_OK(backend_stat(run->b, run->ctx, "pvc-1", NULL, &run->vol, &run->err),
			  &run->err);
		ASSERT_TRUE(vol_limits_are_equal(&run->vol.limits, &other));
		ASSERT_EQ(run->vol.bytes, 64 * MIB);
	}
	ASSERT_OK(backend_each(run->b, run->ctx, "", compare_limits, &other, &run->err), &run->err);
	ASSERT_OK(backend_create(run->b, run->ctx, &spec, &run->vol, &run->err), &run->err);
	ASSERT_TRUE(vol_limits_are_equal(&run->vol.limits, &other));
	ASSERT_OK(modify(run, "pvc-1", &(struct vol_limits){ 0 }), &run->err);
	ASSERT_OK(backend_stat(run->b, run->ctx, "pvc-1", NULL, &run->vol, &run->err), &run->err);
	ASSERT_FALSE(vol_limits_are_set(&run->vol.limits));
	ASSERT_OK(detach(run, "pvc-1"), &run->err);
	ASSERT_ERR(modify(run, "never", &other), &run->err, ERR_NOT_FOUND, "never");
}

CONTRACT(lists_in_order_from_anywhere)
{
	static const char *const names[] = { "c", "a", "b-2", "b", "b-10" };
	struct seen all = { 0 }, rest = { 0 }, first = { .stop_after = 2 };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		ASSERT_OK(create(run, names[i], MIB, ""), &run->err);
	ASSERT_OK(backend_each(run->b, run->ctx, "", see, &all, &run->err), &run->err);
	ASSERT_STR(all.tokens, "a b b-10 b-2 c ");
	ASSERT_OK(backend_each(run->b, run->ctx, "b-10", see, &rest, &run->err), &run->err);
	ASSERT_STR(rest.tokens, "b-2 c ");
	ASSERT_OK(backend_each(run->b, run->ctx, "", see, &first, &run->err), &run->err);
	ASSERT_STR(first.tokens, "a b ");
}

CONTRACT(knows_nothing_of_what_never_was)
{
	char note[BACKEND_NOTE_MAX + 1];

	ASSERT_ERR(backend_stat(run->b, run->ctx, "none", NULL, &run->vol, &run->err), &run->err,
		   ERR_NOT_FOUND, "none");
	ASSERT_ERR(attach(run, "none", false, false), &run->err, ERR_NOT_FOUND, "none");
	ASSERT_ERR(grow(run, "none", 4 * MIB), &run->err, ERR_NOT_FOUND, "none");
	ASSERT_ERR(find(run, "none"), &run->err, ERR_NOT_FOUND, "none");
	ASSERT_ERR(backend_note_get(run->b, run->ctx, "none", note, &run->err), &run->err,
		   ERR_NOT_FOUND, "none");
	ASSERT_ERR(backend_note_set(run->b, run->ctx, "none", "x", &run->err), &run->err,
		   ERR_NOT_FOUND, "none");
	ASSERT_OK(detach(run, "none"), &run->err);
	ASSERT_OK(backend_settle(run->b, run->ctx, "none", "/", &run->err), &run->err);
}

CONTRACT(takes_no_name_that_leads_out_of_the_pool)
{
	static const char *const bad[] = { "", ".", "..", "../x", "a/b", ".cleat", "/etc/passwd" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const struct backend_spec spec = {
			.name = "x", .token = bad[i], .bytes = 4 * MIB, .fs = ""
		};

		ASSERT_ERR(backend_create(run->b, run->ctx, &spec, &run->vol, &run->err), &run->err,
			   ERR_INVALID_ARGUMENT, "token");
		ASSERT_ERR(backend_stat(run->b, run->ctx, bad[i], NULL, &run->vol, &run->err),
			   &run->err, ERR_NOT_FOUND, "name");
		ASSERT_OK(remove_volume(run, bad[i]), &run->err);
		ASSERT_OK(detach(run, bad[i]), &run->err);
	}
}

CONTRACT(counts_its_volumes)
{
	struct backend_info info;

	ASSERT_OK(create(run, "a", 4 * MIB, ""), &run->err);
	ASSERT_OK(create(run, "b", 4 * MIB, ""), &run->err);
	ASSERT_OK(create(run, "b", 4 * MIB, ""), &run->err);
	ASSERT_OK(backend_info(run->b, run->ctx, &info, &run->err), &run->err);
	ASSERT_EQ(info.n_volumes, 2);
	ASSERT_EQ(info.n_damaged, 0);
	ASSERT_STR(info.name, "default");
	ASSERT_TRUE(info.available_bytes <= info.total_bytes);
	ASSERT_OK(remove_volume(run, "a"), &run->err);
	ASSERT_OK(backend_info(run->b, run->ctx, &info, &run->err), &run->err);
	ASSERT_EQ(info.n_volumes, 1);
}

CONTRACT(does_nothing_once_cancelled)
{
	uint64_t before = available(run);
	struct ctx cancelled;
	struct ctx *whole = run->ctx;

	ctx_init(&cancelled, 0);
	ctx_cancel(&cancelled);
	run->ctx = &cancelled;
	ASSERT_ERR(create(run, "pvc-1", 64 * MIB, "ext4"), &run->err, ERR_CANCELLED, "pvc-1");
	run->ctx = whole;
	ctx_done(&cancelled);
	ASSERT_EQ(available(run), before);
	ASSERT_ERR(backend_stat(run->b, run->ctx, "pvc-1", NULL, &run->vol, &run->err), &run->err,
		   ERR_NOT_FOUND, "pvc-1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(makes_a_volume_and_finds_it),
		BOTH(tells_whom_a_volume_was_made_for),
		BOTH(tells_no_part_of_a_name_that_is_too_long),
		BOTH(keeps_a_name_that_is_no_token),
		BOTH(gives_the_same_volume_again_whatever_its_size),
		BOTH(refuses_a_name_that_is_taken_by_another_kind),
		BOTH(refuses_a_token_that_another_name_has),
		BOTH(refuses_what_does_not_fit_and_takes_nothing),
		BOTH(refuses_sizes_that_are_none),
		BOTH(removes_and_removes_again),
		BOTH(attaches_once_and_finds_the_device),
		BOTH(gives_two_volumes_two_devices),
		BOTH(does_not_attach_for_writing_what_is_attached_read_only),
		BOTH(gives_a_reader_beside_the_device),
		BOTH(takes_a_reader_that_is_left_over_for_no_device),
		BOTH(does_not_remove_what_is_attached),
		BOTH(keeps_a_held_device_and_lets_go_of_the_other_when_settled),
		BOTH(leaves_the_device_to_the_mount_and_to_nobody_after_it),
		BOTH(grows_and_is_as_large_from_then_on),
		BOTH(never_makes_a_volume_smaller),
		BOTH(grows_the_devices_that_there_are),
		BOTH(refuses_growth_that_does_not_fit_and_takes_nothing),
		BOTH(keeps_a_note),
		BOTH(keeps_limits_from_the_birth_on_and_new_ones),
		BOTH(lists_in_order_from_anywhere),
		BOTH(knows_nothing_of_what_never_was),
		BOTH(takes_no_name_that_leads_out_of_the_pool),
		BOTH(counts_its_volumes),
		BOTH(does_nothing_once_cancelled),
	};
	int rc = contract_setup();

	if (rc)
		return rc;
	rc = cmocka_run_group_tests_name("contract", tests, NULL, NULL);
	contract_teardown();
	return rc;
}
