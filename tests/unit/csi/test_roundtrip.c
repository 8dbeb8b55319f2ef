/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csi/client → bytes → csi/server → service and back: what goes in comes out, for every method. The
 * service at the end keeps the last request as text and answers something that has every field set.
 */
#include "csi/client.h"
#include "csi/server.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "check.h"
#include "fake_grpc.h"

static char seen[4096];    /* the last request */
static struct err failure; /* code ≠ OK: the next call fails so */
static char lines[16384];  /* what was logged */

#define SEE(...)                                                 \
	do {                                                     \
		(void)snprintf(seen, sizeof(seen), __VA_ARGS__); \
		if (failure.code != ERR_OK) {                    \
			*err = failure;                          \
			failure.code = ERR_OK;                   \
			return -1;                               \
		}                                                \
	} while (0)

static struct strpair pairs[] = { { "a", "1" }, { "b", "2" } };
static const char *const flags[] = { "noatime", "nodev" };
static struct vol_topology topologies[] = { { { pairs, 1 } }, { { pairs, 2 } } };
static const char *const nodes[] = { "n1", "n2" };
static const struct vol_capability caps[] = {
	{ .access = VOL_ACCESS_MOUNT,
	  .mode = VOL_MODE_SINGLE_NODE_MULTI_WRITER,
	  .fs_type = "xfs",
	  .mount_flags = flags,
	  .n_mount_flags = 2,
	  .mount_group = "g" },
	{ .access = VOL_ACCESS_BLOCK,
	  .mode = VOL_MODE_SINGLE_NODE_READER_ONLY,
	  .fs_type = "",
	  .mount_group = "" },
};

static const uint64_t plugin_bits = CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE) |
				    CSI_CAP_BIT(CSI_PLUGIN_SNAPSHOT_METADATA_SERVICE) |
				    CSI_EXPANSION_BIT(CSI_EXPANSION_OFFLINE);
static const uint64_t rpc_bits = CSI_CAP_BIT(1) | CSI_CAP_BIT(7) | CSI_CAP_BIT(13);

static const char *map_text(struct arena *a, const struct strmap *m)
{
	const char *text = "";

	for (size_t i = 0; i < m->n; i++)
		text = arena_printf(a, "%s%s=%s,", text, m->v[i].key, m->v[i].value);
	return text;
}

static const char *topologies_text(struct arena *a, const struct vol_topologies *t)
{
	const char *text = "";

	for (size_t i = 0; i < t->n; i++)
		text = arena_printf(a, "%s[%s]", text, map_text(a, &t->v[i].segments));
	return text;
}

static bool caps_are_ours(const struct vol_capability *v, size_t n)
{
	return n == 2 && vol_capability_is_equal(&v[0], &caps[0]) &&
	       vol_capability_is_equal(&v[1], &caps[1]);
}

static struct csi_volume full_volume(void)
{
	return (struct csi_volume){ .volume_id = "v1",
				    .capacity_bytes = UINT64_C(1) << 40,
				    .volume_context = { pairs, 2 },
				    .has_content_source = true,
				    .content_source = { CSI_SOURCE_SNAPSHOT, "snap" },
				    .accessible_topology = { topologies, 2 } };
}

/* The signature of a row of rpc.def. */
#define SERVE(name)                                                                              \
	static int s_##name(void *impl, struct ctx *ctx, const struct csi_##name##_request *req, \
			    struct csi_##name##_response *ret, struct err *err)

SERVE(get_plugin_info)
{
	SEE("info");
	*ret = (struct csi_get_plugin_info_response){ "d.test", "9", { pairs, 2 } };
	return 0;
}
SERVE(get_plugin_capabilities)
{
	SEE("caps");
	ret->capabilities = csi_capabilities(ctx->arena, plugin_bits, &ret->n_capabilities);
	return 0;
}
SERVE(probe)
{
	SEE("probe");
	*ret = (struct csi_probe_response){ .has_ready = true, .ready = false };
	return 0;
}
SERVE(controller_get_capabilities)
{
	SEE("bits");
	ret->capabilities = csi_capabilities(ctx->arena, rpc_bits, &ret->n_capabilities);
	return 0;
}
SERVE(create_volume)
{
	struct arena *a = ctx->arena;

	SEE("%s %ju-%ju caps=%d params=%s mutable=%s secret=%s source=%d:%s req=%s pref=%s",
	    req->name, (uintmax_t)req->capacity_range.required_bytes,
	    (uintmax_t)req->capacity_range.limit_bytes,
	    caps_are_ours(req->volume_capabilities, req->n_volume_capabilities),
	    map_text(a, &req->parameters), map_text(a, &req->mutable_parameters),
	    str_or(secrets_find(&req->secrets, "key"), "-"), (int)req->volume_content_source.kind,
	    req->volume_content_source.id,
	    topologies_text(a, &req->accessibility_requirements.requisite),
	    topologies_text(a, &req->accessibility_requirements.preferred));
	ret->has_volume = true;
	ret->volume = full_volume();
	return 0;
}
SERVE(delete_volume)
{
	SEE("delete %s %s", req->volume_id, str_or(secrets_find(&req->secrets, "key"), "-"));
	return 0;
}
SERVE(validate_volume_capabilities)
{
	struct arena *a = ctx->arena;

	SEE("validate %s caps=%d context=%s params=%s", req->volume_id,
	    caps_are_ours(req->volume_capabilities, req->n_volume_capabilities),
	    map_text(a, &req->volume_context), map_text(a, &req->parameters));
	ret->has_confirmed = true;
	ret->confirmed.parameters = req->parameters;
	ret->message = "because";
	return 0;
}
SERVE(list_volumes)
{
	struct csi_controller_get_volume_response *entries =
		arena_array(ctx->arena, 2, sizeof(*entries));

	SEE("list %u %s", req->max_entries, req->starting_token);
	entries[0] = (struct csi_controller_get_volume_response){
		true, full_volume(), true, { nodes, 2 }
	};
	entries[1] = (struct csi_controller_get_volume_response){
		true, full_volume(), false, { NULL, 0 }
	};
	ret->entries = entries;
	ret->n_entries = 2;
	ret->next_token = "more";
	return 0;
}
SERVE(get_capacity)
{
	struct arena *a = ctx->arena;

	SEE("capacity caps=%d params=%s topology=%d:%s",
	    caps_are_ours(req->volume_capabilities, req->n_volume_capabilities),
	    map_text(a, &req->parameters), req->has_accessible_topology,
	    map_text(a, &req->accessible_topology.segments));
	*ret = (struct csi_get_capacity_response){ 3, true, 2, true, 1 };
	return 0;
}
SERVE(controller_get_volume)
{
	SEE("get %s", req->volume_id);
	*ret = (struct csi_controller_get_volume_response){
		true, full_volume(), true, { nodes, 2 }
	};
	return 0;
}
SERVE(node_get_capabilities)
{
	SEE("bits");
	ret->capabilities = csi_capabilities(ctx->arena, rpc_bits, &ret->n_capabilities);
	return 0;
}
SERVE(node_get_info)
{
	SEE("node info");
	*ret = (struct csi_node_get_info_response){ "n1", 12, true, { { pairs, 2 } } };
	return 0;
}
SERVE(node_stage_volume)
{
	struct arena *a = ctx->arena;

	SEE("stage %s %s cap=%d publish=%s context=%s secret=%s", req->volume_id,
	    req->staging_target_path, vol_capability_is_equal(&req->volume_capability, &caps[0]),
	    map_text(a, &req->publish_context), map_text(a, &req->volume_context),
	    str_or(secrets_find(&req->secrets, "key"), "-"));
	return 0;
}
SERVE(node_unstage_volume)
{
	SEE("unstage %s %s", req->volume_id, req->staging_target_path);
	return 0;
}
SERVE(node_publish_volume)
{
	struct arena *a = ctx->arena;

	SEE("publish %s %s %s ro=%d cap=%d publish=%s context=%s secret=%s", req->volume_id,
	    req->staging_target_path, req->target_path, req->readonly,
	    vol_capability_is_equal(&req->volume_capability, &caps[1]),
	    map_text(a, &req->publish_context), map_text(a, &req->volume_context),
	    str_or(secrets_find(&req->secrets, "key"), "-"));
	return 0;
}
SERVE(node_unpublish_volume)
{
	SEE("unpublish %s %s", req->volume_id, req->target_path);
	return 0;
}
SERVE(node_get_volume_stats)
{
	static const struct csi_volume_usage usage[] = {
		{ .unit = CSI_VOLUME_USAGE_UNIT_BYTES, .total = 10, .used = 4, .available = 6 },
		{ .unit = CSI_VOLUME_USAGE_UNIT_INODES, .total = 3, .used = 1, .available = 2 }
	};

	SEE("stats %s %s %s", req->volume_id, req->volume_path, req->staging_target_path);
	ret->usage = usage;
	ret->n_usage = 2;
	return 0;
}
SERVE(controller_expand_volume)
{
	SEE("expand %s %ju", req->volume_id, (uintmax_t)req->capacity_range.required_bytes);
	*ret = (struct csi_controller_expand_volume_response){ 1 << 30, true };
	return 0;
}

/* Three messages; the failure comes after the second. */
static int s_get_metadata_delta(void *impl, struct ctx *ctx,
				const struct csi_get_metadata_delta_request *req,
				struct csi_stream *out, struct err *err)
{
	(void)snprintf(seen, sizeof(seen), "delta %s %s %ju %u %s", req->base_snapshot_id,
		       req->target_snapshot_id, (uintmax_t)req->starting_offset, req->max_results,
		       str_or(secrets_find(&req->secrets, "key"), "-"));
	for (uint64_t i = 0; i < 3; i++) {
		const struct csi_block_metadata blocks[] = { { i * 8, 4 }, { i * 8 + 4, 4 } };
		const struct csi_get_metadata_delta_response message = {
			.block_metadata_type = CSI_BLOCK_METADATA_TYPE_FIXED_LENGTH,
			.volume_capacity_bytes = 24,
			.block_metadata = blocks,
			.n_block_metadata = 2,
		};

		if (i == 2 && failure.code != ERR_OK) {
			*err = failure;
			return -1;
		}
		if (csi_get_metadata_delta_send(out, &message, err) < 0)
			return -1;
	}
	return 0;
}

static const struct csi_service_ops ops = {
	.get_metadata_delta = s_get_metadata_delta,
	.get_plugin_info = s_get_plugin_info,
	.get_plugin_capabilities = s_get_plugin_capabilities,
	.probe = s_probe,
	.controller_get_capabilities = s_controller_get_capabilities,
	.create_volume = s_create_volume,
	.delete_volume = s_delete_volume,
	.validate_volume_capabilities = s_validate_volume_capabilities,
	.list_volumes = s_list_volumes,
	.get_capacity = s_get_capacity,
	.controller_get_volume = s_controller_get_volume,
	.controller_expand_volume = s_controller_expand_volume,
	.node_get_capabilities = s_node_get_capabilities,
	.node_get_info = s_node_get_info,
	.node_stage_volume = s_node_stage_volume,
	.node_unstage_volume = s_node_unstage_volume,
	.node_publish_volume = s_node_publish_volume,
	.node_unpublish_volume = s_node_unpublish_volume,
	.node_get_volume_stats = s_node_get_volume_stats,
};

static void keep_line(void *arg, const char *line)
{
	size_t n = strlen(lines);

	(void)arg;
	(void)snprintf(lines + n, sizeof(lines) - n, "%s\n", line);
}

struct fixture {
	struct csi_server *server;
	struct csi_client *client;
	struct csi_service remote;
	struct ctx ctx;
	struct err err;
};

static struct fixture *begin(void)
{
	static const struct csi_service service = { &ops, NULL };
	static const struct csi_server_options options = {
		.scope = CSI_SERVER_ALL,
		.driver_name = "d.test",
		.lanes = { [CSI_RPC_HOST] = 7, [CSI_RPC_STORE] = 5 },
	};
	static struct fixture f;

	fake_grpc_reset();
	lines[0] = seen[0] = '\0';
	failure.code = ERR_OK;
	log_init(&(struct log_options){ .format = LOG_TEXT, .verbosity = 5 });
	log_set_sink(keep_line, NULL);
	f.server = csi_server_new(fake_grpc_server(), &service, &options);
	f.client = csi_client_new(fake_grpc_channel());
	f.remote = csi_client_service(f.client);
	ctx_init(&f.ctx, 0);
	return &f;
}

static void end(struct fixture *f)
{
	ctx_done(&f->ctx);
	csi_client_free(f->client);
	csi_server_free(f->server);
	log_set_sink(NULL, NULL);
	log_init(&(struct log_options){ .format = LOG_TEXT, .verbosity = 2 });
}

static void assert_full_volume(const struct csi_volume *vol)
{
	struct csi_volume want = full_volume();

	ASSERT_STR(vol->volume_id, want.volume_id);
	ASSERT_TRUE(vol->capacity_bytes == want.capacity_bytes);
	ASSERT_TRUE(strmap_is_equal(&vol->volume_context, &want.volume_context));
	ASSERT_EQ(vol->content_source.kind, CSI_SOURCE_SNAPSHOT);
	ASSERT_STR(vol->content_source.id, "snap");
	ASSERT_EQ(vol->accessible_topology.n, 2);
	ASSERT_TRUE(
		strmap_is_equal(&vol->accessible_topology.v[1].segments, &topologies[1].segments));
}

static struct strpair secret = { "key", "hunter2" };

TEST(identity_goes_there_and_back)
{
	struct fixture *f = begin();
	struct csi_get_plugin_info_response info;
	struct csi_get_plugin_capabilities_response got;
	struct csi_probe_response probe;

	ASSERT_OK(csi_get_plugin_info(&f->remote, &f->ctx,
				      &(const struct csi_get_plugin_info_request){}, &info,
				      &f->err),
		  &f->err);
	ASSERT_STR(info.name, "d.test");
	ASSERT_STR(info.vendor_version, "9");
	ASSERT_STR(strmap_find(&info.manifest, "b"), "2");
	ASSERT_OK(csi_get_plugin_capabilities(&f->remote, &f->ctx,
					      &(const struct csi_get_plugin_capabilities_request){},
					      &got, &f->err),
		  &f->err);
	ASSERT_TRUE(csi_capability_bits(got.capabilities, got.n_capabilities) == plugin_bits);
	ASSERT_OK(csi_probe(&f->remote, &f->ctx, &(const struct csi_probe_request){}, &probe,
			    &f->err),
		  &f->err);
	ASSERT_FALSE(csi_probe_is_ready(&probe));
	end(f);
}

TEST(create_and_delete_go_there_and_back)
{
	struct fixture *f = begin();
	struct csi_create_volume_request req = {
		.name = "pvc-1",
		.capacity_range = { 5, 7 },
		.volume_capabilities = caps,
		.n_volume_capabilities = 2,
		.parameters = { pairs, 2 },
		.mutable_parameters = { pairs, 1 },
		.secrets = { { &secret, 1 } },
		.has_volume_content_source = true,
		.volume_content_source = { CSI_SOURCE_VOLUME, "src" },
		.accessibility_requirements.requisite = { topologies, 2 },
		.accessibility_requirements.preferred = { topologies, 1 },
	};
	const struct csi_delete_volume_request delete = { .volume_id = "v1",
							  .secrets = { { &secret, 1 } } };
	struct csi_create_volume_response reply;

	ASSERT_OK(csi_create_volume(&f->remote, &f->ctx, &req, &reply, &f->err), &f->err);
	ASSERT_STR(seen,
		   "pvc-1 5-7 caps=1 params=a=1,b=2, mutable=a=1, secret=hunter2 source=2:src "
		   "req=[a=1,][a=1,b=2,] pref=[a=1,]");
	assert_full_volume(&reply.volume);
	ASSERT_OK(csi_delete_volume(&f->remote, &f->ctx, &delete,
				    &(struct csi_delete_volume_response){}, &f->err),
		  &f->err);
	ASSERT_STR(seen, "delete v1 hunter2");
	end(f);
}

TEST(questions_about_volumes_go_there_and_back)
{
	struct fixture *f = begin();
	struct csi_validate_volume_capabilities_request req = { .volume_id = "v1",
								.volume_capabilities = caps,
								.n_volume_capabilities = 2,
								.volume_context = { pairs, 1 },
								.parameters = { pairs, 2 } };
	struct csi_get_capacity_request ask = { .volume_capabilities = caps,
						.n_volume_capabilities = 2,
						.parameters = { pairs, 1 },
						.accessible_topology = topologies[1],
						.has_accessible_topology = true };
	struct csi_validate_volume_capabilities_response validated;
	struct csi_controller_get_volume_response status;
	struct csi_list_volumes_response list;
	struct csi_get_capacity_response capacity;

	ASSERT_OK(csi_validate_volume_capabilities(&f->remote, &f->ctx, &req, &validated, &f->err),
		  &f->err);
	ASSERT_STR(seen, "validate v1 caps=1 context=a=1, params=a=1,b=2,");
	ASSERT_TRUE(validated.has_confirmed);
	ASSERT_STR(validated.message, "because");
	ASSERT_OK(csi_list_volumes(&f->remote, &f->ctx,
				   &(const struct csi_list_volumes_request){
					   .max_entries = 9, .starting_token = "tok" },
				   &list, &f->err),
		  &f->err);
	ASSERT_STR(seen, "list 9 tok");
	ASSERT_EQ(list.n_entries, 2);
	ASSERT_STR(list.next_token, "more");
	assert_full_volume(&list.entries[0].volume);
	ASSERT_EQ(list.entries[0].status.n_published_node_ids, 2);
	ASSERT_STR(list.entries[0].status.published_node_ids[1], "n2");
	ASSERT_EQ(list.entries[1].status.n_published_node_ids, 0);
	ASSERT_OK(csi_get_capacity(&f->remote, &f->ctx, &ask, &capacity, &f->err), &f->err);
	ASSERT_STR(seen, "capacity caps=1 params=a=1, topology=1:a=1,b=2,");
	ASSERT_TRUE(capacity.available_capacity == 3 && capacity.maximum_volume_size == 2 &&
		    capacity.minimum_volume_size == 1);
	ASSERT_OK(csi_controller_get_volume(
			  &f->remote, &f->ctx,
			  &(const struct csi_controller_get_volume_request){ .volume_id = "v1" },
			  &status, &f->err),
		  &f->err);
	assert_full_volume(&status.volume);
	ASSERT_EQ(status.status.n_published_node_ids, 2);
	end(f);
}

TEST(node_calls_go_there_and_back)
{
	struct fixture *f = begin();
	struct csi_node_stage_volume_request stage = { .volume_id = "v1",
						       .publish_context = { pairs, 1 },
						       .staging_target_path = "/s",
						       .volume_capability = caps[0],
						       .secrets = { { &secret, 1 } },
						       .volume_context = { pairs, 2 } };
	struct csi_node_publish_volume_request publish = { .volume_id = "v1",
							   .publish_context = { pairs, 2 },
							   .staging_target_path = "/s",
							   .target_path = "/t",
							   .volume_capability = caps[1],
							   .readonly = true,
							   .secrets = { { &secret, 1 } },
							   .volume_context = { pairs, 1 } };
	struct csi_node_get_info_response info;
	struct csi_node_get_volume_stats_response stats;

	ASSERT_OK(csi_node_stage_volume(&f->remote, &f->ctx, &stage,
					&(struct csi_node_stage_volume_response){}, &f->err),
		  &f->err);
	ASSERT_STR(seen, "stage v1 /s cap=1 publish=a=1, context=a=1,b=2, secret=hunter2");
	ASSERT_OK(csi_node_publish_volume(&f->remote, &f->ctx, &publish,
					  &(struct csi_node_publish_volume_response){}, &f->err),
		  &f->err);
	ASSERT_STR(seen,
		   "publish v1 /s /t ro=1 cap=1 publish=a=1,b=2, context=a=1, secret=hunter2");
	ASSERT_OK(csi_node_unpublish_volume(&f->remote, &f->ctx,
					    &(const struct csi_node_unpublish_volume_request){
						    .volume_id = "v1", .target_path = "/t" },
					    &(struct csi_node_unpublish_volume_response){},
					    &f->err),
		  &f->err);
	ASSERT_STR(seen, "unpublish v1 /t");
	ASSERT_OK(csi_node_unstage_volume(&f->remote, &f->ctx,
					  &(const struct csi_node_unstage_volume_request){
						  .volume_id = "v1", .staging_target_path = "/s" },
					  &(struct csi_node_unstage_volume_response){}, &f->err),
		  &f->err);
	ASSERT_STR(seen, "unstage v1 /s");
	ASSERT_OK(csi_node_get_volume_stats(&f->remote, &f->ctx,
					    &(const struct csi_node_get_volume_stats_request){
						    .volume_id = "v1",
						    .volume_path = "/t",
						    .staging_target_path = "/s" },
					    &stats, &f->err),
		  &f->err);
	ASSERT_STR(seen, "stats v1 /t /s");
	ASSERT_EQ(stats.n_usage, 2);
	ASSERT_TRUE(stats.usage[1].unit == CSI_VOLUME_USAGE_UNIT_INODES &&
		    stats.usage[1].total == 3 && stats.usage[1].used == 1);
	ASSERT_OK(csi_node_get_info(&f->remote, &f->ctx,
				    &(const struct csi_node_get_info_request){}, &info, &f->err),
		  &f->err);
	ASSERT_STR(info.node_id, "n1");
	ASSERT_TRUE(info.max_volumes_per_node == 12 && info.has_accessible_topology);
	ASSERT_STR(strmap_find(&info.accessible_topology.segments, "b"), "2");
	end(f);
}

TEST(growth_goes_there_and_back)
{
	struct fixture *f = begin();
	const struct csi_controller_expand_volume_request req = {
		.volume_id = "v1", .capacity_range = { .required_bytes = 7 }
	};
	struct csi_controller_expand_volume_response reply;

	ASSERT_OK(csi_controller_expand_volume(&f->remote, &f->ctx, &req, &reply, &f->err),
		  &f->err);
	ASSERT_STR(seen, "expand v1 7");
	ASSERT_TRUE(reply.capacity_bytes == 1 << 30 && reply.node_expansion_required);
	end(f);
}

/* Writes the offsets down; has enough at the enough-th message. */
struct reader {
	char text[256];
	unsigned n, enough;
};

static int read_delta(void *arg, const void *message, struct err *err)
{
	const struct csi_get_metadata_delta_response *m = message;
	struct reader *r = arg;
	size_t len = strlen(r->text);

	for (size_t i = 0; i < m->n_block_metadata; i++)
		len += (size_t)snprintf(r->text + len, sizeof(r->text) - len, "%ju+%ju ",
					(uintmax_t)m->block_metadata[i].byte_offset,
					(uintmax_t)m->block_metadata[i].size_bytes);
	(void)snprintf(r->text + len, sizeof(r->text) - len, "of %ju; ",
		       (uintmax_t)m->volume_capacity_bytes);
	if (++r->n == r->enough)
		return err_set(err, ERR_OUT_OF_RANGE, "enough for me");
	return 0;
}

static int ask_delta(struct fixture *f, const struct csi_service *s, struct reader *r)
{
	const struct csi_get_metadata_delta_request req = { .base_snapshot_id = "s1",
							    .target_snapshot_id = "s2",
							    .starting_offset = 8,
							    .max_results = 2,
							    .secrets = { { &secret, 1 } } };

	return csi_get_metadata_delta(
		s, &f->ctx, &req, &(struct csi_stream){ .take = read_delta, .arg = r }, &f->err);
}

TEST(a_stream_arrives_message_by_message)
{
	autostr struct str text = STR_INIT;
	struct fixture *f = begin();
	struct reader r = { .text = "" };

	ASSERT_OK(ask_delta(f, &f->remote, &r), &f->err);
	ASSERT_STR(seen, "delta s1 s2 8 2 hunter2");
	ASSERT_STR(r.text, "0+4 4+4 of 24; 8+4 12+4 of 24; 16+4 20+4 of 24; ");
	ASSERT_TRUE(strstr(lines, "\"call served\" method=\"/csi.v1.SnapshotMetadata/"
				  "GetMetadataDelta\" snapshot=\"s2\" code=\"OK\"") != NULL);
	ASSERT_TRUE(strstr(lines, "messages=3") && strstr(lines, "byte_offset") &&
		    !strstr(lines, "hunter2"));
	metric_render(&text);
	ASSERT_TRUE(strstr(str_get(&text),
			   "csi_plugin_operations_seconds_count{driver_name=\"d.test\","
			   "method_name=\"/csi.v1.SnapshotMetadata/GetMetadataDelta\","
			   "grpc_status_code=\"OK\"}") != NULL);
	end(f);
}

TEST(a_stream_in_this_process_needs_no_wire)
{
	const struct csi_service here = { &ops, NULL };
	struct fixture *f = begin();
	struct reader r = { .text = "", .enough = 3 };

	ASSERT_ERR(ask_delta(f, &here, &r), &f->err, ERR_OUT_OF_RANGE, "enough for me");
	ASSERT_STR(r.text, "0+4 4+4 of 24; 8+4 12+4 of 24; 16+4 20+4 of 24; ");
	end(f);
}

TEST(a_stream_that_fails_in_the_middle_tells_what_came_before)
{
	struct fixture *f = begin();
	struct reader r = { .text = "" };

	err_set(&failure, ERR_DATA_LOSS, "block 16 is gone");
	ASSERT_ERR(ask_delta(f, &f->remote, &r), &f->err, ERR_DATA_LOSS, "block 16 is gone");
	ASSERT_STR(r.text, "0+4 4+4 of 24; 8+4 12+4 of 24; ");
	ASSERT_TRUE(strstr(lines, "call failed") && strstr(lines, "messages=2"));
	end(f);
}

TEST(a_reader_that_has_enough_ends_the_stream_with_its_own_words)
{
	struct fixture *f = begin();
	struct reader r = { .text = "", .enough = 2 };

	ASSERT_ERR(ask_delta(f, &f->remote, &r), &f->err, ERR_OUT_OF_RANGE, "enough for me");
	ASSERT_EQ(r.n, 2);
	ASSERT_TRUE(strstr(lines, "code=\"CANCELLED\"") && strstr(lines, "messages=1"));
	end(f);
}

TEST(a_bad_message_of_a_stream_is_the_other_sides_fault)
{
	struct fixture *f = begin();
	struct reader r = { .text = "" };

	fake_grpc_set_reply("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	ASSERT_ERR(ask_delta(f, &f->remote, &r), &f->err, ERR_INTERNAL,
		   "GetMetadataDelta: volume_capacity_bytes: -1");
	ASSERT_EQ(r.n, 0);
	end(f);
}

TEST(capability_bits_go_there_and_back)
{
	struct fixture *f = begin();
	struct csi_controller_get_capabilities_response controller;
	struct csi_node_get_capabilities_response node;

	ASSERT_OK(csi_controller_get_capabilities(
			  &f->remote, &f->ctx,
			  &(const struct csi_controller_get_capabilities_request){}, &controller,
			  &f->err),
		  &f->err);
	ASSERT_TRUE(csi_capability_bits(controller.capabilities, controller.n_capabilities) ==
		    rpc_bits);
	ASSERT_OK(csi_node_get_capabilities(&f->remote, &f->ctx,
					    &(const struct csi_node_get_capabilities_request){},
					    &node, &f->err),
		  &f->err);
	ASSERT_TRUE(csi_capability_bits(node.capabilities, node.n_capabilities) == rpc_bits);
	end(f);
}

TEST(errors_arrive_with_code_and_words)
{
	struct fixture *f = begin();

	err_set(&failure, ERR_FAILED_PRECONDITION, "in use at '/x'");
	ASSERT_ERR(csi_node_unstage_volume(&f->remote, &f->ctx,
					   &(const struct csi_node_unstage_volume_request){
						   .volume_id = "v1", .staging_target_path = "/s" },
					   &(struct csi_node_unstage_volume_response){}, &f->err),
		   &f->err, ERR_FAILED_PRECONDITION, "in use at '/x'");
	ASSERT_TRUE(strstr(lines, "call failed") && strstr(lines, "FAILED_PRECONDITION"));
	end(f);
}

TEST(bad_requests_are_named_by_field)
{
	static const struct {
		const char *path, *bytes;
		size_t n;
		enum err_code code;
		const char *say;
	} cases[] = {
#define CASE(p, b, c, s) { "/csi.v1." p, b, sizeof(b) - 1, c, s }
		CASE("Node/NodeStageVolume",
		     "\x0a\x03"
		     "a\0b",
		     ERR_INVALID_ARGUMENT, "volume_id: has a NUL"),
		CASE("Node/NodeStageVolume", "\x0a\x09v", ERR_INTERNAL, "cannot decode"),
		/* capacity_range.required_bytes = -1 */
		CASE("Controller/CreateVolume",
		     "\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", ERR_INVALID_ARGUMENT,
		     "capacity_range.required_bytes: -1 is negative"),
		CASE("Controller/ListVolumes", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		     ERR_INVALID_ARGUMENT, "max_entries: -1 is negative"),
	};
	struct fixture *f = begin();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_ERR(
			fake_grpc_call(&f->ctx, cases[i].path, cases[i].bytes, cases[i].n, &f->err),
			&f->err, cases[i].code, cases[i].say);
	ASSERT_STR(seen, "");
	end(f);
}

TEST(bad_replies_are_the_other_sides_fault)
{
	struct fixture *f = begin();
	struct csi_controller_get_volume_response status;
	struct csi_get_capacity_response capacity;

	fake_grpc_set_reply("\x0a\x7f", 2);
	ASSERT_ERR(csi_controller_get_volume(
			   &f->remote, &f->ctx,
			   &(const struct csi_controller_get_volume_request){ .volume_id = "v1" },
			   &status, &f->err),
		   &f->err, ERR_INTERNAL, "ControllerGetVolume");
	fake_grpc_set_reply("\x0a\x00", 2);
	ASSERT_ERR(csi_controller_get_volume(
			   &f->remote, &f->ctx,
			   &(const struct csi_controller_get_volume_request){ .volume_id = "v1" },
			   &status, &f->err),
		   &f->err, ERR_INTERNAL, "volume_id: required");
	fake_grpc_set_reply("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	ASSERT_ERR(csi_get_capacity(&f->remote, &f->ctx, &(struct csi_get_capacity_request){ 0 },
				    &capacity, &f->err),
		   &f->err, ERR_INTERNAL, "available_capacity: -1");
	end(f);
}

/* What would be lost on the wire is refused in this process too, where callers would see it. */
static int forget_has_volume(void *impl, struct ctx *ctx,
			     const struct csi_controller_get_volume_request *req,
			     struct csi_controller_get_volume_response *ret, struct err *err)
{
	ret->volume = full_volume();
	return 0;
}

static int forget_has_status(void *impl, struct ctx *ctx,
			     const struct csi_list_volumes_request *req,
			     struct csi_list_volumes_response *ret, struct err *err)
{
	static const struct csi_controller_get_volume_response entry = { .has_volume = true,
									 .volume.volume_id = "v1",
									 .status = { nodes, 2 } };

	ret->entries = &entry;
	ret->n_entries = 1;
	return 0;
}

TEST(a_forgotten_has_is_told_to_whoever_calls)
{
	static const struct csi_service_ops forgetful = {
		.controller_get_volume = forget_has_volume,
		.list_volumes = forget_has_status,
		.get_capacity = s_get_capacity,
	};
	const struct csi_service here = { &forgetful, NULL };
	struct fixture *f = begin();
	struct csi_get_capacity_response capacity;
	struct csi_controller_get_volume_response one;
	struct csi_list_volumes_response list;

	ASSERT_ERR(csi_controller_get_volume(
			   &here, &f->ctx,
			   &(const struct csi_controller_get_volume_request){ .volume_id = "v1" },
			   &one, &f->err),
		   &f->err, ERR_INTERNAL,
		   "reply of ControllerGetVolume: volume: filled, but its has_ is not set");
	ASSERT_ERR(
		csi_list_volumes(&here, &f->ctx,
				 &(const struct csi_list_volumes_request){ .starting_token = "" },
				 &list, &f->err),
		&f->err, ERR_INTERNAL, "reply of ListVolumes: entries.status: filled");
	ASSERT_ERR(csi_get_capacity(&here, &f->ctx,
				    &(const struct csi_get_capacity_request){
					    .accessible_topology = topologies[1] },
				    &capacity, &f->err),
		   &f->err, ERR_INTERNAL, "GetCapacity: accessible_topology: filled");
	ASSERT_STR(seen, "");
	end(f);
}

TEST(secrets_never_reach_the_log)
{
	static struct strpair context[] = {
		{ "csi.storage.k8s.io/serviceAccount.tokens", "eyJtoken" }, { "plain", "visible" }
	};
	struct fixture *f = begin();
	struct csi_node_stage_volume_request req = { .volume_id = "v1",
						     .staging_target_path = "/s",
						     .volume_capability = caps[0],
						     .secrets = { { &secret, 1 } },
						     .volume_context = { context, 2 } };

	ASSERT_OK(csi_node_stage_volume(&f->remote, &f->ctx, &req,
					&(struct csi_node_stage_volume_response){}, &f->err),
		  &f->err);
	ASSERT_TRUE(strstr(seen, "hunter2") != NULL);
	ASSERT_TRUE(strstr(lines, "GRPC call") && strstr(lines, "visible") && strstr(lines, "/s"));
	ASSERT_TRUE(strstr(lines, "***stripped***") != NULL);
	ASSERT_TRUE(!strstr(lines, "hunter2") && !strstr(lines, "eyJtoken") &&
		    !strstr(lines, "noatime"));
	end(f);
}

TEST(calls_are_counted_by_method_and_code)
{
	autostr struct str text = STR_INIT;
	struct fixture *f = begin();

	ASSERT_OK(csi_node_unpublish_volume(&f->remote, &f->ctx,
					    &(const struct csi_node_unpublish_volume_request){
						    .volume_id = "v1", .target_path = "/t" },
					    &(struct csi_node_unpublish_volume_response){},
					    &f->err),
		  &f->err);
	err_set(&failure, ERR_NOT_FOUND, "gone");
	ASSERT_TRUE(csi_node_unpublish_volume(&f->remote, &f->ctx,
					      &(const struct csi_node_unpublish_volume_request){
						      .volume_id = "v1", .target_path = "/t" },
					      &(struct csi_node_unpublish_volume_response){},
					      &f->err) < 0);
	metric_render(&text);
	ASSERT_TRUE(strstr(str_get(&text),
			   "csi_plugin_operations_seconds_count{driver_name=\"d.test\","
			   "method_name=\"/csi.v1.Node/NodeUnpublishVolume\","
			   "grpc_status_code=\"OK\"}") != NULL);
	ASSERT_TRUE(strstr(str_get(&text), "grpc_status_code=\"NotFound\"") != NULL);
	end(f);
}

TEST(a_clients_calls_are_counted_once_the_driver_said_its_name)
{
	autostr struct str before = STR_INIT;
	autostr struct str after = STR_INIT;
	struct csi_get_plugin_info_response info;
	struct fixture *f = begin();
	struct csi_probe_response probe;

	ASSERT_OK(csi_probe(&f->remote, &f->ctx, &(const struct csi_probe_request){}, &probe,
			    &f->err),
		  &f->err);
	metric_render(&before);
	ASSERT_TRUE(strstr(str_get(&before), "unknown-driver") == NULL);
	ASSERT_TRUE(strstr(str_get(&before),
			   "csi_sidecar_operations_seconds_count{driver_name=\"\"") == NULL);
	ASSERT_OK(csi_get_plugin_info(&f->remote, &f->ctx,
				      &(const struct csi_get_plugin_info_request){}, &info,
				      &f->err),
		  &f->err);
	ASSERT_OK(csi_probe(&f->remote, &f->ctx, &(const struct csi_probe_request){}, &probe,
			    &f->err),
		  &f->err);
	metric_render(&after);
	ASSERT_TRUE(strstr(str_get(&after), "/csi.v1.Identity/GetPluginInfo") != NULL);
	ASSERT_TRUE(strstr(str_get(&after), "csi_sidecar_operations_seconds_count{driver_name=") !=
		    NULL);
	end(f);
}

TEST(constant_answers_are_inline_and_the_rest_has_a_lane)
{
	struct fixture *f = begin();

	ASSERT_TRUE(fake_grpc_find("/csi.v1.Identity/Probe")->is_inline);
	ASSERT_TRUE(fake_grpc_find("/csi.v1.Node/NodeGetCapabilities")->is_inline);
	ASSERT_FALSE(fake_grpc_find("/csi.v1.Controller/ListVolumes")->is_inline);
	ASSERT_EQ(fake_grpc_find("/csi.v1.Node/NodeStageVolume")->lane, 7);
	ASSERT_EQ(fake_grpc_find("/csi.v1.Controller/CreateVolume")->lane, 5);
	/* what this service does not have is refused without a worker */
	ASSERT_TRUE(fake_grpc_find("/csi.v1.Controller/CreateSnapshot")->is_inline);
	ASSERT_ERR(fake_grpc_call(&f->ctx, "/csi.v1.Controller/CreateSnapshot", "", 0, &f->err),
		   &f->err, ERR_UNIMPLEMENTED, "CreateSnapshot is not offered");
	ASSERT_TRUE(fake_grpc_find("/csi.v1.SnapshotMetadata/GetMetadataAllocated")->is_inline);
	ASSERT_FALSE(fake_grpc_find("/csi.v1.SnapshotMetadata/GetMetadataDelta")->is_inline);
	end(f);
}

TEST(what_a_service_lacks_is_unimplemented)
{
	static const struct csi_service_ops nothing = { 0 };
	struct csi_service s = { &nothing, NULL };
	struct csi_stream out = { 0 };
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	for (size_t i = 0; i < CSI_N_RPCS; i++) {
		void *request = arena_alloc(ctx.arena, csi_rpcs[i].request->size);
		void *reply = arena_alloc(ctx.arena, csi_rpcs[i].response->size);

		ASSERT_FALSE(csi_rpcs[i].is_served(&s));
		ASSERT_TRUE(!csi_rpcs[i].call != !csi_rpcs[i].stream);
		ASSERT_ERR(csi_rpcs[i].call ? csi_rpcs[i].call(&s, &ctx, request, reply, &err)
					    : csi_rpcs[i].stream(&s, &ctx, request, &out, &err),
			   &err, ERR_UNIMPLEMENTED, csi_rpcs[i].method);
	}
	ctx_done(&ctx);
}

RUN_TESTS(UNIT(identity_goes_there_and_back), UNIT(create_and_delete_go_there_and_back),
	  UNIT(questions_about_volumes_go_there_and_back), UNIT(node_calls_go_there_and_back),
	  UNIT(growth_goes_there_and_back), UNIT(a_stream_arrives_message_by_message),
	  UNIT(a_stream_in_this_process_needs_no_wire),
	  UNIT(a_stream_that_fails_in_the_middle_tells_what_came_before),
	  UNIT(a_reader_that_has_enough_ends_the_stream_with_its_own_words),
	  UNIT(a_bad_message_of_a_stream_is_the_other_sides_fault),
	  UNIT(capability_bits_go_there_and_back), UNIT(errors_arrive_with_code_and_words),
	  UNIT(bad_requests_are_named_by_field), UNIT(bad_replies_are_the_other_sides_fault),
	  UNIT(a_forgotten_has_is_told_to_whoever_calls), UNIT(secrets_never_reach_the_log),
	  UNIT(calls_are_counted_by_method_and_code),
	  UNIT(a_clients_calls_are_counted_once_the_driver_said_its_name),
	  UNIT(constant_answers_are_inline_and_the_rest_has_a_lane),
	  UNIT(what_a_service_lacks_is_unimplemented))
