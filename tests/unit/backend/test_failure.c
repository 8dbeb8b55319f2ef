/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every host call of every operation fails once, and at every host call the process dies once and
 * the power goes once. After each, the same operation called again must succeed, and there must be
 * the state that it promises and nothing else: no device, fd, nameless file or half volume.
 */
#include "backend/registry.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"
#include "host/blockdev.h"
#include "volume/id.h"

#define N_CALLS_MAX 200

/* How the n-th call goes wrong. */
enum trouble {
	TROUBLE_FAIL,  /* it fails, the process lives on */
	TROUBLE_KILL,  /* SIGKILL just before it */
	TROUBLE_POWER, /* and what was not synced is lost */
	TROUBLES,
};

struct process {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
};

static int try_open(struct process *p, const struct backend_config *config)
{
	ctx_init(&p->ctx, 0);
	p->r = registry_new();
	if (registry_open(p->r, &p->ctx, config, &p->err) < 0)
		return -1;
	p->b = registry_at(p->r, 0);
	return 0;
}

static int try_start(struct process *p)
{
	const struct backend_config config = { .kind = "pool",
					       .dir = "/pool",
					       .reserve_bytes = 100 * MIB };

	return try_open(p, &config);
}

static void start(struct process *p)
{
	ASSERT_OK(try_start(p), &p->err);
}

static void stop(struct process *p)
{
	registry_free(p->r);
	ctx_done(&p->ctx);
}

/* What is undone after trouble, so that the operation can be called again. */
static void recover(struct process *p, enum trouble trouble)
{
	if (trouble == TROUBLE_FAIL) {
		fake_host_fail_at(0);
		return;
	}
	stop(p); /* only its memory: the dead close nothing */
	if (trouble == TROUBLE_KILL)
		fake_host_kill();
	else
		fake_host_power_cut();
	start(p);
}

static int create_as(struct process *p, const char *name, const char *fs, bool is_written)
{
	const struct backend_spec spec = { .name = name,
					   .token = name,
					   .bytes = str_is_equal(fs, "xfs") ? 320 * MIB : 64 * MIB,
					   .fs = fs,
					   .is_written = is_written };
	struct backend_volume vol;

	return backend_create(p->b, &p->ctx, &spec, &vol, &p->err);
}

static int create(struct process *p, const char *name, const char *fs)
{
	return create_as(p, name, fs, false);
}

static int attach(struct process *p, bool hold)
{
	const struct backend_attach_options opts = { .hold = hold };
	struct backend_device dev;

	return backend_attach(p->b, &p->ctx, "v", &opts, &dev, &p->err);
}

static int create_ext4(struct process *p)
{
	return create(p, "v", "ext4");
}

static int create_xfs(struct process *p)
{
	return create(p, "v", "xfs");
}

static int create_thin(struct process *p)
{
	const struct backend_spec spec = {
		.name = "v", .token = "v", .bytes = 320 * MIB, .fs = "xfs", .is_thin = true
	};
	struct backend_volume vol;

	return backend_create(p->b, &p->ctx, &spec, &vol, &p->err);
}

/* With some bytes of its user's. */
static int create_thin_written(struct process *p)
{
	if (create_thin(p) < 0)
		return -1;
	fake_host_write("v", 0, 8 * MIB);
	return 0;
}

static int grow_thin(struct process *p)
{
	struct backend_volume vol;

	return backend_grow(p->b, &p->ctx, "v", 640 * MIB, NULL, &vol, &p->err);
}

static int create_raw(struct process *p)
{
	return create(p, "v", "");
}

static int create_written_out(struct process *p)
{
	return create_as(p, "v", "ext4", true);
}

static int attach_fs(struct process *p)
{
	return attach(p, false);
}

static int attach_raw(struct process *p)
{
	return attach(p, true);
}

static int detach(struct process *p)
{
	return backend_detach(p->b, &p->ctx, "v", &p->err);
}

static int remove_volume(struct process *p)
{
	return backend_remove(p->b, &p->ctx, "v", NULL, &p->err);
}

/* Leaves a template with wrong bytes. */
static int spoil(struct process *p)
{
	if (create_ext4(p) < 0)
		return -1;
	fake_host_spoil_templates();
	return remove_volume(p);
}

static int grow(struct process *p)
{
	struct backend_volume vol;

	return backend_grow(p->b, &p->ctx, "v", 128 * MIB, NULL, &vol, &p->err);
}

/* A newer cleat's word is there already. */
static int mark_state(struct process *p)
{
	fake_host_set_attr("v", "user.cleat.state", "cleat state 1\nwish=5\n");
	return attach_raw(p);
}

static int set_note(struct process *p)
{
	return backend_note_set(p->b, &p->ctx, "v", "staged", &p->err);
}

static const struct vol_limits limits = { .write_iops = 500, .read_bandwidth = 8192 };

static int create_limited(struct process *p)
{
	const struct backend_spec spec = {
		.name = "v", .token = "v", .bytes = 64 * MIB, .fs = "", .limits = limits
	};
	struct backend_volume vol;

	return backend_create(p->b, &p->ctx, &spec, &vol, &p->err);
}

static int modify(struct process *p)
{
	return backend_modify(p->b, &p->ctx, "v", &limits, NULL, &p->err);
}

/* With some bytes of its user's. */
static int create_written(struct process *p)
{
	if (create_ext4(p) < 0)
		return -1;
	fake_host_write("v", 0, 8 * MIB);
	fake_host_write("v", 16 * MIB, MIB);
	return 0;
}

static int create_in_use(struct process *p)
{
	return create_written(p) < 0 ? -1 : attach_raw(p);
}

static int take_snapshot(struct process *p)
{
	const struct backend_snapshot_spec spec = { .name = "s", .token = "s", .source = "v" };
	struct backend_snapshot snap;

	return backend_snapshot_create(p->b, &p->ctx, &spec, &snap, &p->err);
}

static int remove_snapshot(struct process *p)
{
	return backend_snapshot_remove(p->b, &p->ctx, "s", NULL, &p->err);
}

static int create_of(struct process *p, enum backend_source kind, const char *source)
{
	const struct backend_spec spec = {
		.name = "c",
		.token = "c",
		.bytes = 64 * MIB,
		.fs = "ext4",
		.source_kind = kind,
		.source = source,
	};
	struct backend_volume vol;

	return backend_create(p->b, &p->ctx, &spec, &vol, &p->err);
}

static int create_copy_of_thin(struct process *p, enum backend_source kind, const char *source,
			       bool is_thin)
{
	const struct backend_spec spec = {
		.name = "c",
		.token = "c",
		.bytes = 320 * MIB,
		.fs = "xfs",
		.is_thin = is_thin,
		.source_kind = kind,
		.source = source,
	};
	struct backend_volume vol;

	return backend_create(p->b, &p->ctx, &spec, &vol, &p->err);
}

static int create_thin_of_snapshot(struct process *p)
{
	return create_copy_of_thin(p, BACKEND_SOURCE_SNAPSHOT, "s", true);
}

static int create_thin_of_volume(struct process *p)
{
	return create_copy_of_thin(p, BACKEND_SOURCE_VOLUME, "v", true);
}

static int create_thick_of_snapshot(struct process *p)
{
	return create_copy_of_thin(p, BACKEND_SOURCE_SNAPSHOT, "s", false);
}

static int create_of_snapshot(struct process *p)
{
	return create_of(p, BACKEND_SOURCE_SNAPSHOT, "s");
}

static int create_of_volume(struct process *p)
{
	return create_of(p, BACKEND_SOURCE_VOLUME, "v");
}

static int nothing(struct process *p)
{
	(void)p;
	return 0;
}

/* Nothing is promised to what is not there, and the sizes of thin volumes are what they are. */
static void assert_promised_once(struct process *p, uint64_t thin_bytes)
{
	struct backend_info info;

	ASSERT_OK(backend_info(p->b, &p->ctx, &info, &p->err), &p->err);
	ASSERT_EQ(info.thin.bytes, thin_bytes);
	ASSERT_TRUE(info.available_bytes + info.reserved_bytes + info.thin.kept_bytes +
			    fake_host_used_bytes() + 4096 >
		    1900 * MIB);
}

static void assert_thin(struct process *p, const char *token, uint64_t bytes)
{
	struct backend_volume vol;

	ASSERT_OK(backend_stat(p->b, &p->ctx, token, NULL, &vol, &p->err), &p->err);
	ASSERT_TRUE(vol.is_thin && !vol.is_damaged);
	ASSERT_EQ(vol.bytes, bytes);
	ASSERT_STR(fake_host_fs_of(token, &(struct uuid){ 0 }), "xfs");
}

static void assert_whole_thin(struct process *p)
{
	assert_thin(p, "v", 320 * MIB);
	ASSERT_TRUE(fake_host_used_bytes() < 9 * MIB);
	assert_promised_once(p, 320 * MIB);
}

static void assert_grown_thin(struct process *p)
{
	assert_thin(p, "v", 640 * MIB);
	ASSERT_TRUE(fake_host_used_bytes() < 9 * MIB);
	assert_promised_once(p, 640 * MIB);
}

static void assert_cloned_thin(struct process *p)
{
	assert_thin(p, "v", 320 * MIB);
	assert_thin(p, "c", 320 * MIB);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_TRUE(fake_host_used_bytes() < 3 * 9 * MIB); /* each its own, where none is shared */
	assert_promised_once(p, 640 * MIB);
}

static void assert_cloned_thick(struct process *p)
{
	struct backend_volume vol;

	ASSERT_OK(backend_stat(p->b, &p->ctx, "c", NULL, &vol, &p->err), &p->err);
	ASSERT_FALSE(vol.is_thin || vol.is_damaged);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_TRUE(fake_host_used_bytes() >= 320 * MIB);
	assert_promised_once(p, 320 * MIB);
}

static void assert_whole(struct process *p)
{
	struct backend_volume vol;
	struct uuid uuid, template = { 0 };
	const char *fs;

	ASSERT_OK(backend_stat(p->b, &p->ctx, "v", NULL, &vol, &p->err), &p->err);
	ASSERT_FALSE(vol.is_damaged);
	ASSERT_EQ(fake_host_n_files(), fake_host_has("foreign.img") ? 2 : 1);
	fs = fake_host_fs_of("v", &uuid);
	ASSERT_STR(fs, vol.fs);
	memset(&template, 0x11, sizeof(template));
	if (fs[0])
		ASSERT_TRUE(memcmp(&uuid, &template, sizeof(uuid)) != 0);
	ASSERT_TRUE(fake_host_used_bytes() >= vol.bytes);
}

static void assert_written(struct process *p)
{
	assert_whole(p);
	ASSERT_TRUE(fake_host_is_written("v"));
}

static void assert_attached(struct process *p)
{
	struct backend_device dev;

	assert_whole(p);
	ASSERT_OK(backend_find_device(p->b, &p->ctx, "v", &dev, &p->err), &p->err);
	ASSERT_EQ(fake_host_n_loops(), 1);
}

static void assert_detached(struct process *p)
{
	assert_whole(p);
	ASSERT_EQ(fake_host_n_loops(), 0);
}

/* Whatever was done of it: the old volume, or the new one. */
static void assert_old_or_new(struct process *p)
{
	struct backend_volume vol;

	assert_whole(p);
	ASSERT_OK(backend_stat(p->b, &p->ctx, "v", NULL, &vol, &p->err), &p->err);
	ASSERT_TRUE(vol.bytes == 64 * MIB || vol.bytes == 128 * MIB);
}

static void assert_grown(struct process *p)
{
	struct backend_device dev;
	struct backend_volume vol;
	uint64_t bytes = 0;

	assert_whole(p);
	ASSERT_OK(backend_stat(p->b, &p->ctx, "v", NULL, &vol, &p->err), &p->err);
	ASSERT_EQ(vol.bytes, 128 * MIB);
	ASSERT_TRUE(fake_host_used_bytes() < 129 * MIB);
	if (backend_find_device(p->b, &p->ctx, "v", &dev, &p->err) < 0)
		return;
	ASSERT_OK(host_block_size(dev.path, &bytes, &p->err), &p->err);
	ASSERT_EQ(bytes, 128 * MIB);
}

static void assert_grown_and_marked(struct process *p)
{
	assert_grown(p);
	assert_non_null(strstr(fake_host_attr("v", "user.cleat.state"), "wish=5\n"));
}

static void assert_gone(struct process *p)
{
	(void)p;
	ASSERT_FALSE(fake_host_has("v"));
	ASSERT_TRUE(fake_host_used_bytes() < MIB);
}

static void assert_noted(struct process *p)
{
	char note[BACKEND_NOTE_MAX + 1];

	assert_whole(p);
	ASSERT_OK(backend_note_get(p->b, &p->ctx, "v", note, &p->err), &p->err);
	ASSERT_STR(note, "staged");
}

static void assert_limited(struct process *p)
{
	struct backend_volume vol;

	assert_whole(p);
	ASSERT_OK(backend_stat(p->b, &p->ctx, "v", NULL, &vol, &p->err), &p->err);
	ASSERT_TRUE(vol_limits_are_equal(&vol.limits, &limits));
}

/* A whole clone of the volume, thick, and its bytes beside those that it shares. */
static void assert_cloned(struct process *p)
{
	struct backend_volume vol;

	ASSERT_OK(backend_stat(p->b, &p->ctx, "c", NULL, &vol, &p->err), &p->err);
	ASSERT_FALSE(vol.is_damaged);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_EQ(fake_host_n_files(), 3);
	ASSERT_TRUE(fake_host_used_bytes() >= 128 * MIB - 9 * MIB);
}

static void assert_snapped(struct process *p)
{
	struct backend_snapshot snap;
	struct backend_info info;

	ASSERT_OK(backend_info(p->b, &p->ctx, &info, &p->err), &p->err);
	ASSERT_EQ(info.n_snapshots, 1);
	ASSERT_EQ(info.n_damaged_snapshots, 0);
	ASSERT_OK(backend_snapshot_stat(p->b, &p->ctx, "s", NULL, &snap, &p->err), &p->err);
	ASSERT_TRUE(snap.is_ready && !snap.is_damaged);
	ASSERT_OK(create_of_snapshot(p), &p->err);
	assert_cloned(p);
}

/* The volume is gone, its snapshot is not. */
static void assert_survived(struct process *p)
{
	ASSERT_FALSE(fake_host_has("v"));
	ASSERT_OK(create_of_snapshot(p), &p->err);
	ASSERT_EQ(fake_host_n_files(), 2);
}

static void assert_unsnapped(struct process *p)
{
	struct backend_snapshot snap;

	ASSERT_ERR(backend_snapshot_stat(p->b, &p->ctx, "s", NULL, &snap, &p->err), &p->err,
		   ERR_NOT_FOUND, "snapshot");
	assert_whole(p);
}

/* Where the pool lies; those that cannot share blocks copy. */
static const struct medium {
	const char *type;
	bool has_reflink;
} media[] = { { "xfs", true }, { "btrfs", true }, { "ext4", false } };

struct operation {
	const char *name;
	int (*prepare[2])(struct process *p);
	int (*run)(struct process *p);
	void (*check)(struct process *p);
	void (*check_before_again)(struct process *p); /* NULL: anything */
	bool needs_reflink;
};

/* One run of the operation with trouble at call n; false when the operation has fewer calls. */
static bool run_with_trouble(const struct operation *op, const struct medium *medium,
			     enum trouble trouble, unsigned n)
{
	struct process p;
	bool is_reached;
	int rc;

	fake_host_reset(2000 * MIB);
	fake_host_set_fs(medium->type, medium->has_reflink, false);
	fake_host_add_foreign("foreign.img");
	fake_host_add_foreign_loop();
	start(&p);
	ASSERT_OK(op->prepare[0](&p), &p.err);
	ASSERT_OK(op->prepare[1](&p), &p.err);
	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
	rc = op->run(&p);
	is_reached = fake_host_failed();
	if (!is_reached)
		ASSERT_EQ(rc, 0);
	if (is_reached)
		recover(&p, trouble);
	fake_host_fail_at(0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	if (op->check_before_again)
		op->check_before_again(&p);
	if (op->run(&p) < 0)
		fail_msg("%s on %s, trouble %d at call %u, then again: %s", op->name, medium->type,
			 (int)trouble, n, p.err.msg);
	ASSERT_TRUE(fake_host_has("foreign.img"));
	op->check(&p);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_EQ(fake_host_n_foreign_touched(), 0);
	ASSERT_OK(detach(&p), &p.err);
	ASSERT_OK(remove_snapshot(&p), &p.err);
	ASSERT_OK(backend_remove(p.b, &p.ctx, "c", NULL, &p.err), &p.err);
	ASSERT_OK(remove_volume(&p), &p.err);
	ASSERT_TRUE(fake_host_used_bytes() < MIB);
	stop(&p);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_loops(), 0);
	return is_reached;
}

static void run_on(const struct operation *op, const struct medium *medium)
{
	for (int trouble = 0; trouble < TROUBLES; trouble++) {
		unsigned n = 1;

		while (run_with_trouble(op, medium, (enum trouble)trouble, n)) {
			n++;
			ASSERT_TRUE(n < N_CALLS_MAX);
		}
		ASSERT_TRUE(n > 1);
	}
}

static void run_all(const struct operation *op)
{
	for (size_t i = 0; i < sizeof(media) / sizeof(media[0]); i++) {
		if (media[i].has_reflink || !op->needs_reflink)
			run_on(op, &media[i]);
	}
}

TEST(create_survives_trouble_at_every_call)
{
	const struct operation ops[] = {
		{ "create ext4", { nothing, nothing }, create_ext4, assert_whole },
		{ "create ext4 again", { create_ext4, remove_volume }, create_ext4, assert_whole },
		{ "create ext4 anew", { spoil, nothing }, create_ext4, assert_whole },
		{ "create xfs", { nothing, nothing }, create_xfs, assert_whole },
		{ "create raw", { nothing, nothing }, create_raw, assert_whole },
		{ "create thin", { nothing, nothing }, create_thin, assert_whole_thin },
		{ "create written", { nothing, nothing }, create_written_out, assert_written },
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		run_all(&ops[i]);
}

TEST(remove_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){
		"remove", { create_ext4, nothing }, remove_volume, assert_gone });
}

TEST(attach_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){
		"attach", { create_ext4, nothing }, attach_fs, assert_attached });
	run_all(&(const struct operation){
		"attach raw", { create_raw, nothing }, attach_raw, assert_attached });
}

TEST(detach_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){
		"detach", { create_ext4, attach_fs }, detach, assert_detached });
	run_all(&(const struct operation){
		"detach raw", { create_raw, attach_raw }, detach, assert_detached });
}

TEST(growth_survives_trouble_at_every_call)
{
	const struct operation ops[] = {
		{ "grow", { create_raw, nothing }, grow, assert_grown, assert_old_or_new },
		{ "grow with a device",
		  { create_raw, mark_state },
		  grow,
		  assert_grown_and_marked,
		  assert_old_or_new },
		{ "grow ext4", { create_ext4, attach_fs }, grow, assert_grown, assert_old_or_new },
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		run_all(&ops[i]);
}

/* What grow said is done stays done. */
TEST(a_grown_volume_survives_a_power_cut)
{
	struct process p;

	fake_host_reset(2000 * MIB);
	start(&p);
	ASSERT_OK(create_ext4(&p), &p.err);
	ASSERT_OK(grow(&p), &p.err);
	fake_host_fail_from(1);
	(void)attach_fs(&p);
	stop(&p);
	fake_host_power_cut();
	start(&p);
	assert_grown(&p);
	stop(&p);
}

TEST(growth_of_a_thin_volume_survives_trouble_at_every_call)
{
	const struct operation ops[] = {
		{ "grow thin", { create_thin_written, nothing }, grow_thin, assert_grown_thin },
		{ "grow thin in use",
		  { create_thin_written, attach_fs },
		  grow_thin,
		  assert_grown_thin },
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		run_all(&ops[i]);
}

TEST(copies_of_a_thin_volume_survive_trouble_at_every_call)
{
	const struct operation ops[] = {
		{ "thin of snapshot",
		  { create_thin_written, take_snapshot },
		  create_thin_of_snapshot,
		  assert_cloned_thin },
		{ "thin of volume",
		  { create_thin_written, attach_fs },
		  create_thin_of_volume,
		  assert_cloned_thin,
		  NULL,
		  true },
		{ "thick of snapshot",
		  { create_thin_written, take_snapshot },
		  create_thick_of_snapshot,
		  assert_cloned_thick },
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		run_all(&ops[i]);
}

TEST(note_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){
		"note", { create_raw, nothing }, set_note, assert_noted });
}

TEST(limits_survive_trouble_at_every_call)
{
	run_all(&(const struct operation){
		"create with limits", { nothing, nothing }, create_limited, assert_limited });
	run_all(&(const struct operation){
		"modify", { create_raw, nothing }, modify, assert_limited });
}

TEST(snapshots_survive_trouble_at_every_call)
{
	const struct operation ops[] = {
		{ "snapshot", { create_written, nothing }, take_snapshot, assert_snapped },
		{ "snapshot in use",
		  { create_in_use, nothing },
		  take_snapshot,
		  assert_snapped,
		  NULL,
		  true },
		{ "remove snapshot",
		  { create_written, take_snapshot },
		  remove_snapshot,
		  assert_unsnapped },
		{ "remove volume",
		  { create_written, take_snapshot },
		  remove_volume,
		  assert_survived },
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		run_all(&ops[i]);
}

TEST(create_of_a_source_survives_trouble_at_every_call)
{
	const struct operation ops[] = {
		{ "of snapshot",
		  { create_written, take_snapshot },
		  create_of_snapshot,
		  assert_cloned },
		{ "of volume", { create_written, nothing }, create_of_volume, assert_cloned },
		{ "of volume in use",
		  { create_in_use, nothing },
		  create_of_volume,
		  assert_cloned,
		  NULL,
		  true },
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		run_all(&ops[i]);
}

/* What create said is done stays done, whatever happens next. */
TEST(a_created_volume_survives_a_power_cut)
{
	struct process p;

	fake_host_reset(2000 * MIB);
	start(&p);
	ASSERT_OK(create_ext4(&p), &p.err);
	fake_host_fail_from(1);
	(void)attach_fs(&p);
	stop(&p);
	fake_host_power_cut();
	start(&p);
	assert_whole(&p);
	stop(&p);
}

TEST(a_removed_volume_stays_removed_after_a_power_cut)
{
	struct process p;

	fake_host_reset(2000 * MIB);
	start(&p);
	ASSERT_OK(create_ext4(&p), &p.err);
	ASSERT_OK(remove_volume(&p), &p.err);
	fake_host_fail_from(1);
	(void)attach_fs(&p);
	stop(&p);
	fake_host_power_cut();
	start(&p);
	assert_gone(&p);
	stop(&p);
}

TEST(a_device_of_a_dead_process_is_gone_or_found_again)
{
	struct process p;
	struct backend_device dev;

	fake_host_reset(2000 * MIB);
	start(&p);
	ASSERT_OK(create_raw(&p), &p.err);
	ASSERT_OK(attach_fs(&p), &p.err);
	fake_host_fail_from(1);
	(void)detach(&p);
	stop(&p);
	fake_host_kill();
	ASSERT_EQ(fake_host_n_loops(), 0);
	start(&p);
	ASSERT_OK(attach_raw(&p), &p.err);
	fake_host_fail_from(1);
	(void)detach(&p);
	stop(&p);
	fake_host_kill();
	ASSERT_EQ(fake_host_n_loops(), 1);
	start(&p);
	ASSERT_OK(backend_find_device(p.b, &p.ctx, "v", &dev, &p.err), &p.err);
	ASSERT_OK(detach(&p), &p.err);
	stop(&p);
	ASSERT_EQ(fake_host_n_loops(), 0);
}

TEST(opening_survives_trouble_at_every_call)
{
	bool is_reached = true;

	for (unsigned n = 1; is_reached; n++) {
		struct process p;
		int rc;

		fake_host_reset(2000 * MIB);
		fake_host_fail_from(n);
		rc = try_start(&p);
		is_reached = fake_host_failed();
		ASSERT_TRUE(is_reached || rc == 0);
		stop(&p);
		fake_host_kill();
		ASSERT_EQ(fake_host_n_fds(), 0);
		start(&p);
		ASSERT_OK(create_ext4(&p), &p.err);
		stop(&p);
	}
	fake_host_reset(0);
}

TEST(making_an_image_survives_trouble_at_every_call)
{
	const struct backend_config config = {
		.kind = "pool", .name = "try", .image = "/data/pool.img", .image_bytes = GIB
	};

	for (int trouble = TROUBLE_KILL; trouble < TROUBLES; trouble++) {
		bool is_reached = true;

		for (unsigned n = 1; is_reached; n++) {
			struct process p;
			int rc;

			fake_host_reset(GIB);
			fake_host_add_dir("/data");
			fake_host_fail_from(n);
			rc = try_open(&p, &config);
			is_reached = fake_host_failed();
			ASSERT_TRUE(is_reached || rc == 0);
			stop(&p);
			if (trouble == TROUBLE_KILL)
				fake_host_kill();
			else
				fake_host_power_cut();
			ASSERT_EQ(fake_host_n_nameless(), 0);
			ASSERT_EQ(fake_host_n_fds(), 0);
			ASSERT_OK(try_open(&p, &config), &p.err);
			ASSERT_EQ(fake_host_n_mounts(), 1);
			ASSERT_EQ(fake_host_n_loops(), 1);
			ASSERT_OK(create_ext4(&p), &p.err);
			stop(&p);
			ASSERT_EQ(fake_host_n_loops(), 0);
		}
	}
	fake_host_reset(0);
}

RUN_TESTS(UNIT(create_survives_trouble_at_every_call), UNIT(remove_survives_trouble_at_every_call),
	  UNIT(attach_survives_trouble_at_every_call), UNIT(detach_survives_trouble_at_every_call),
	  UNIT(growth_survives_trouble_at_every_call),
	  UNIT(growth_of_a_thin_volume_survives_trouble_at_every_call),
	  UNIT(copies_of_a_thin_volume_survive_trouble_at_every_call),
	  UNIT(a_grown_volume_survives_a_power_cut), UNIT(note_survives_trouble_at_every_call),
	  UNIT(snapshots_survive_trouble_at_every_call),
	  UNIT(create_of_a_source_survives_trouble_at_every_call),
	  UNIT(limits_survive_trouble_at_every_call), UNIT(a_created_volume_survives_a_power_cut),
	  UNIT(a_removed_volume_stays_removed_after_a_power_cut),
	  UNIT(a_device_of_a_dead_process_is_gone_or_found_again),
	  UNIT(opening_survives_trouble_at_every_call),
	  UNIT(making_an_image_survives_trouble_at_every_call))
