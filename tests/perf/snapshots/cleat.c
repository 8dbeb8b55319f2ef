/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat's way: RPCs of a real driver, over its socket. What is measured begins before the request
 * is encoded and ends when the reply is decoded.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define CALL_NS (60 * NS_PER_S)

static char base_id[VOL_ID_MAX], grown_id[VOL_ID_MAX];
static char list_ids[2 * LISTED][VOL_ID_MAX];

/* The call of an RPC, its time as one of op's unless that is N_OPS, and its good end. */
#define CALL(b, op, rpc, req, ret, ctx)                                      \
	do {                                                                 \
		struct err err = { 0 };                                      \
		struct span call_span;                                       \
                                                                             \
		if ((op) != N_OPS)                                           \
			span_begin((b), CLEAT, &call_span);                  \
		if (csi_##rpc(&(b)->service, (ctx), (req), (ret), &err) < 0) \
			die(#rpc ": %s", err.msg);                           \
		if ((op) != N_OPS)                                           \
			span_end((b), CLEAT, (op), &call_span);              \
	} while (0)

static struct vol_capability capability(const char *fs)
{
	return (struct vol_capability){ .access = fs[0] ? VOL_ACCESS_MOUNT : VOL_ACCESS_BLOCK,
					.mode = VOL_MODE_SINGLE_NODE_WRITER,
					.fs_type = fs,
					.mount_group = "" };
}

static void create(struct bench *b, enum op op, const char *name, uint64_t bytes, const char *fs,
		   const struct csi_content_source *source, char ret_id[VOL_ID_MAX])
{
	const struct vol_capability cap = capability(fs);
	const struct csi_create_volume_request req = {
		.name = name,
		.capacity_range.required_bytes = bytes,
		.volume_capabilities = &cap,
		.n_volume_capabilities = 1,
		.has_volume_content_source = source != NULL,
		.volume_content_source = source ? *source : (struct csi_content_source){ .id = "" },
	};
	struct csi_create_volume_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, op, create_volume, &req, &ret, &ctx);
	(void)snprintf(ret_id, VOL_ID_MAX, "%s", ret.volume.volume_id);
	ctx_done(&ctx);
}

void cleat_create(struct bench *b, const char *name, uint64_t bytes, const char *fs,
		  const struct csi_content_source *source, char ret_id[VOL_ID_MAX])
{
	create(b, N_OPS, name, bytes, fs, source, ret_id);
}

static void delete_volume(struct bench *b, enum op op, const char *id)
{
	const struct csi_delete_volume_request req = { .volume_id = id };
	struct csi_delete_volume_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, op, delete_volume, &req, &ret, &ctx);
	ctx_done(&ctx);
}

void cleat_delete(struct bench *b, const char *id)
{
	delete_volume(b, N_OPS, id);
}

static void stage(struct bench *b, enum op op, const char *id, const char *fs, const char *at)
{
	const struct csi_node_stage_volume_request req = { .volume_id = id,
							   .staging_target_path = at,
							   .volume_capability = capability(fs) };
	struct csi_node_stage_volume_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, op, node_stage_volume, &req, &ret, &ctx);
	ctx_done(&ctx);
}

void cleat_stage(struct bench *b, const char *id, const char *fs, const char *at)
{
	stage(b, N_OPS, id, fs, at);
}

static void publish(struct bench *b, enum op op, const char *id, const char *at, const char *target)
{
	const struct csi_node_publish_volume_request req = {
		.volume_id = id,
		.staging_target_path = at,
		.target_path = target,
		.volume_capability = capability("ext4"),
	};
	struct csi_node_publish_volume_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, op, node_publish_volume, &req, &ret, &ctx);
	ctx_done(&ctx);
}

void cleat_publish(struct bench *b, const char *id, const char *at, const char *target)
{
	publish(b, N_OPS, id, at, target);
}

static void unpublish(struct bench *b, enum op op, const char *id, const char *target)
{
	const struct csi_node_unpublish_volume_request req = { .volume_id = id,
							       .target_path = target };
	struct csi_node_unpublish_volume_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, op, node_unpublish_volume, &req, &ret, &ctx);
	ctx_done(&ctx);
}

void cleat_unpublish(struct bench *b, const char *id, const char *target)
{
	unpublish(b, N_OPS, id, target);
}

static void unstage(struct bench *b, enum op op, const char *id, const char *at)
{
	const struct csi_node_unstage_volume_request req = { .volume_id = id,
							     .staging_target_path = at };
	struct csi_node_unstage_volume_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, op, node_unstage_volume, &req, &ret, &ctx);
	ctx_done(&ctx);
}

void cleat_unstage(struct bench *b, const char *id, const char *at)
{
	unstage(b, N_OPS, id, at);
}

static void snapshot(struct bench *b, enum op op, const char *id, const char *name,
		     char ret_id[VOL_ID_MAX])
{
	const struct csi_create_snapshot_request req = { .source_volume_id = id, .name = name };
	struct csi_create_snapshot_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, op, create_snapshot, &req, &ret, &ctx);
	if (!ret.snapshot.ready_to_use)
		die("snapshot '%s' is not ready", name);
	(void)snprintf(ret_id, VOL_ID_MAX, "%s", ret.snapshot.snapshot_id);
	ctx_done(&ctx);
}

static void delete_snapshot(struct bench *b, enum op op, const char *id)
{
	const struct csi_delete_snapshot_request req = { .snapshot_id = id };
	struct csi_delete_snapshot_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, op, delete_snapshot, &req, &ret, &ctx);
	ctx_done(&ctx);
}

/* Both halves, as one sample. */
static void expand(struct bench *b, uint64_t bytes, const char *at)
{
	const struct csi_controller_expand_volume_request more = {
		.volume_id = grown_id,
		.capacity_range.required_bytes = bytes,
		.volume_capability = capability("xfs"),
	};
	const struct csi_node_expand_volume_request there = {
		.volume_id = grown_id,
		.volume_path = at,
		.capacity_range.required_bytes = bytes,
		.staging_target_path = at,
		.volume_capability = capability("xfs"),
	};
	struct csi_controller_expand_volume_response ret;
	struct csi_node_expand_volume_response ret_there;
	struct span span;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	span_begin(b, CLEAT, &span);
	CALL(b, N_OPS, controller_expand_volume, &more, &ret, &ctx);
	CALL(b, N_OPS, node_expand_volume, &there, &ret_there, &ctx);
	span_end(b, CLEAT, EXPAND, &span);
	ctx_done(&ctx);
}

static void list(struct bench *b)
{
	const struct csi_list_snapshots_request req = { .max_entries = LISTED,
							.starting_token = "",
							.source_volume_id = "",
							.snapshot_id = "" };
	struct csi_list_snapshots_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, LIST, list_snapshots, &req, &ret, &ctx);
	if (ret.n_entries != LISTED || !ret.next_token[0])
		die("ListSnapshots gave no full page");
	ctx_done(&ctx);
}

static void probe(struct bench *b)
{
	const struct csi_probe_request req = {};
	struct csi_probe_response ret;
	struct ctx ctx;

	ctx_init(&ctx, CALL_NS);
	CALL(b, PROBE, probe, &req, &ret, &ctx);
	ctx_done(&ctx);
}

/* CREATE and DELETE of one that is not staged. */
static void round_small(struct bench *b, enum op op, const char *fs, unsigned round)
{
	char id[VOL_ID_MAX], name[64], at[256], target[256];

	(void)snprintf(name, sizeof(name), "small-%d-%u", op, round);
	create(b, op, name, SMALL_BYTES, fs, NULL, id);
	if (op == CREATE_EXT4) {
		(void)place(at, b->base, "cleat-small", 0);
		(void)place(target, b->base, "cleat-target", 0);
		stage(b, STAGE, id, fs, at);
		publish(b, PUBLISH, id, at, target);
		unpublish(b, UNPUBLISH, id, target);
		unstage(b, UNSTAGE, id, at);
	}
	delete_volume(b, op == CREATE_EXT4 ? DELETE : N_OPS, id);
}

void cleat_round(struct bench *b, unsigned round)
{
	struct csi_content_source source = { .kind = CSI_SOURCE_SNAPSHOT };
	char idle[VOL_ID_MAX], dirty[VOL_ID_MAX], restored[VOL_ID_MAX];
	char name[64], at[256];

	probe(b);
	round_small(b, CREATE_EXT4, "ext4", round);
	round_small(b, CREATE_XFS, "xfs", round);
	round_small(b, CREATE_RAW, "", round);
	(void)snprintf(name, sizeof(name), "idle-%u", round);
	snapshot(b, SNAPSHOT_IDLE, base_id, name, idle);
	make_dirty(place(at, b->base, "cleat-base", 0), round);
	(void)snprintf(name, sizeof(name), "dirty-%u", round);
	snapshot(b, SNAPSHOT_DIRTY, base_id, name, dirty);
	source.id = idle;
	(void)snprintf(name, sizeof(name), "restored-%u", round);
	create(b, RESTORE, name, BASE_BYTES, "ext4", &source, restored);
	delete_volume(b, DELETE_RESTORED, restored);
	delete_snapshot(b, DELETE_SNAPSHOT, idle);
	delete_snapshot(b, N_OPS, dirty);
	expand(b, SMALL_BYTES + (round + 1) * GROWTH_BYTES, place(at, b->base, "cleat-grown", 0));
	list(b);
}

void cleat_clone(struct bench *b, unsigned round)
{
	struct csi_content_source source = { .kind = CSI_SOURCE_VOLUME };
	char id[VOL_ID_MAX], data[VOL_ID_MAX], name[64];

	create(b, N_OPS, "data", SMALL_BYTES, "", NULL, data); /* it is there */
	source.id = data;
	(void)snprintf(name, sizeof(name), "clone-%u", round);
	create(b, CLONE, name, SMALL_BYTES, "", &source, id);
	delete_volume(b, DELETE_CLONE, id);
}

void cleat_start(struct bench *b)
{
	char at[256], name[64], id[VOL_ID_MAX];

	(void)place(at, b->base, "cleat-small", 0);
	if (mkdir(at, 0700) < 0)
		die("make '%s'", at);
	create(b, N_OPS, "grown", SMALL_BYTES, "xfs", NULL, grown_id);
	if (mkdir(place(at, b->base, "cleat-grown", 0), 0700) < 0)
		die("make '%s'", at);
	stage(b, N_OPS, grown_id, "xfs", at);
	create(b, N_OPS, "base", BASE_BYTES, "ext4", NULL, base_id);
	if (mkdir(place(at, b->base, "cleat-base", 0), 0700) < 0)
		die("make '%s'", at);
	stage(b, N_OPS, base_id, "ext4", at);
	create(b, N_OPS, "data", SMALL_BYTES, "", NULL, id);
	for (unsigned i = 0; i < 2 * LISTED; i++) {
		(void)snprintf(name, sizeof(name), "listed-%03u", i);
		snapshot(b, N_OPS, id, name, list_ids[i]);
	}
}

void cleat_stop(struct bench *b)
{
	char at[256], id[VOL_ID_MAX];

	for (unsigned i = 0; i < 2 * LISTED; i++)
		delete_snapshot(b, N_OPS, list_ids[i]);
	create(b, N_OPS, "data", SMALL_BYTES, "", NULL, id);
	delete_volume(b, N_OPS, id);
	unstage(b, N_OPS, grown_id, place(at, b->base, "cleat-grown", 0));
	(void)rmdir(at);
	delete_volume(b, N_OPS, grown_id);
	unstage(b, N_OPS, base_id, place(at, b->base, "cleat-base", 0));
	(void)rmdir(at);
	delete_volume(b, N_OPS, base_id);
	(void)rmdir(place(at, b->base, "cleat-small", 0));
}
