/* SPDX-License-Identifier: Apache-2.0 */
/* A driver that keeps volumes as names in a table, and writes down what it was asked in a line that
 * a test can compare. */
#include "fake/service.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake/kube.h"
#include "volume/owner.h"

#include <stdio.h>

struct fake_service fake_service;
static struct map *volumes;   /* name → &fake_service */
static struct map *snapshots; /* the same */
static struct map *attached;  /* "volume_id node_id" → the same */

void fake_service_reset(void)
{
	map_free(volumes);
	volumes = map_new();
	map_free(snapshots);
	snapshots = map_new();
	map_free(attached);
	attached = map_new();
	fake_service = (struct fake_service){
		.has_topology = true,
		.name = "pool.cleat.csi",
		.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME),
		.free_bytes = UINT64_MAX,
	};
}

bool fake_service_has(const char *name)
{
	return map_find(volumes, name);
}

static int begin(const struct ctx *ctx, bool *ret_lost, struct err *err)
{
	if (ctx_remaining_ns(ctx) > fake_service.longest_ns)
		fake_service.longest_ns = ctx_remaining_ns(ctx);
	return fake_step(ret_lost, err);
}

/* What the driver was told, for tests to compare. */
#define NOTE(field, text) \
	(void)snprintf(fake_service.field, sizeof(fake_service.field), "%s", str_get(text))

/* A call that changes something: `no` is what the driver fails it with, if anything. */
static int begin_change(const struct ctx *ctx, enum err_code no, bool *ret_lost, struct err *err)
{
	if (begin(ctx, ret_lost, err) < 0)
		return -1;
	return no ? err_set(err, no, "the driver says no") : 0;
}

static int end_change(bool is_lost, struct err *err)
{
	return is_lost ? err_set(err, ERR_DEADLINE_EXCEEDED, "the answer got lost") : 0;
}

/* A call that asks: where the answer gets lost nothing has happened. */
static int begin_question(const struct ctx *ctx, struct err *err)
{
	bool is_lost;

	if (begin(ctx, &is_lost, err) < 0)
		return -1;
	return is_lost ? err_set(err, ERR_UNAVAILABLE, "the answer got lost") : 0;
}

static uint64_t link_changes(void *impl)
{
	return fake_service.link_changes;
}

static int get_plugin_info(void *impl, struct ctx *ctx,
			   const struct csi_get_plugin_info_request *req,
			   struct csi_get_plugin_info_response *ret, struct err *err)
{
	if (begin_question(ctx, err) < 0)
		return -1;
	ret->name = fake_service.name;
	ret->vendor_version = "1";
	return 0;
}

static int get_plugin_capabilities(void *impl, struct ctx *ctx,
				   const struct csi_get_plugin_capabilities_request *req,
				   struct csi_get_plugin_capabilities_response *ret,
				   struct err *err)
{
	if (begin_question(ctx, err) < 0)
		return -1;
	ret->capabilities = csi_capabilities(
		ctx->arena,
		CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE) |
			(fake_service.has_topology
				 ? CSI_CAP_BIT(CSI_PLUGIN_VOLUME_ACCESSIBILITY_CONSTRAINTS)
				 : 0) |
			(fake_service.tells_changes
				 ? CSI_CAP_BIT(CSI_PLUGIN_SNAPSHOT_METADATA_SERVICE)
				 : 0),
		&ret->n_capabilities);
	return 0;
}

static int controller_get_capabilities(void *impl, struct ctx *ctx,
				       const struct csi_controller_get_capabilities_request *req,
				       struct csi_controller_get_capabilities_response *ret,
				       struct err *err)
{
	if (begin_question(ctx, err) < 0)
		return -1;
	ret->capabilities = csi_capabilities(ctx->arena, fake_service.caps, &ret->n_capabilities);
	return 0;
}

static void put_map(struct str *out, const struct strmap *m)
{
	str_append_char(out, '{');
	for (size_t i = 0; i < m->n; i++)
		str_appendf(out, "%s%s=%s", i ? "," : "", m->v[i].key, m->v[i].value);
	str_append_char(out, '}');
}

static void put_places(struct str *out, const char *what, const struct vol_topologies *places)
{
	str_appendf(out, " %s=[", what);
	for (size_t i = 0; i < places->n; i++)
		put_map(out, &places->v[i].segments);
	str_append_char(out, ']');
}

static void put_capability(struct str *out, const struct vol_capability *cap)
{
	str_appendf(out, "%s:%d:%s", cap->access == VOL_ACCESS_BLOCK ? "block" : "mount",
		    (int)cap->mode, cap->fs_type);
	for (size_t i = 0; i < cap->n_mount_flags; i++)
		str_appendf(out, ":%s", cap->mount_flags[i]);
}

static void put_secrets(struct str *out, const struct secrets *secrets)
{
	str_append(out, " secrets=");
	put_map(out, &secrets->map);
}

static void write_request(const struct csi_create_volume_request *req)
{
	autostr struct str out = STR_INIT;

	str_appendf(&out, "name=%s bytes=%llu caps=[", req->name,
		    (unsigned long long)req->capacity_range.required_bytes);
	for (size_t i = 0; i < req->n_volume_capabilities; i++) {
		str_append(&out, i ? "," : "");
		put_capability(&out, &req->volume_capabilities[i]);
	}
	str_append(&out, "] params=");
	put_map(&out, &req->parameters);
	str_append(&out, " mutable=");
	put_map(&out, &req->mutable_parameters);
	put_secrets(&out, &req->secrets);
	put_places(&out, "requisite", &req->accessibility_requirements.requisite);
	put_places(&out, "preferred", &req->accessibility_requirements.preferred);
	if (req->has_volume_content_source)
		str_appendf(&out, " source=%s:%s",
			    req->volume_content_source.kind == CSI_SOURCE_SNAPSHOT ? "snapshot"
										   : "volume",
			    req->volume_content_source.id);
	NOTE(last_request, &out);
}

/* As it is called in its driver; in the arena. */
static const char *own_name(struct arena *arena, const char *node, const char *name)
{
	return node ? arena_printf(arena, "%s.%s", node, name) : name;
}

static int create_volume(void *impl, struct ctx *ctx, const struct csi_create_volume_request *req,
			 struct csi_create_volume_response *ret, struct err *err)
{
	const char *name = own_name(ctx->arena, impl, req->name);
	bool is_lost, is_full = impl && str_is_equal(impl, fake_service.full_node);

	write_request(req);
	if (begin_change(ctx, fake_service.create_error, &is_lost, err) < 0)
		return -1;
	if (!fake_service_has(name)) {
		if (is_full || req->capacity_range.required_bytes > fake_service.free_bytes)
			return err_set(err, ERR_RESOURCE_EXHAUSTED, "no room for %s", name);
		map_put(volumes, name, &fake_service);
		fake_service.n_volumes++;
		fake_service.n_created++;
	}
	if (end_change(is_lost, err) < 0)
		return -1;
	ret->has_volume = true;
	ret->volume = (struct csi_volume){
		.volume_id = arena_printf(ctx->arena, "id-%s", name),
		.capacity_bytes = fake_service.answer_bytes ? fake_service.answer_bytes
							    : req->capacity_range.required_bytes,
		.volume_context = strmap_with(ctx->arena, &STRMAP_EMPTY, "hint", "on"),
		.accessible_topology = { .v = req->accessibility_requirements.preferred.v,
					 .n = req->accessibility_requirements.preferred.n ? 1 : 0 },
	};
	if (req->has_volume_content_source && !fake_service.forgets_sources) {
		ret->volume.has_content_source = true;
		ret->volume.content_source = req->volume_content_source;
	}
	if (fake_service.answers_no_capacity)
		ret->volume.capacity_bytes = 0;
	return 0;
}

bool fake_service_is_attached(const char *handle, const char *node_id)
{
	autofree char *key = xasprintf("%s %s", handle, node_id);

	return map_find(attached, key);
}

void fake_service_attach(const char *handle, const char *node_id, bool is_attached)
{
	autofree char *key = xasprintf("%s %s", handle, node_id);

	if (is_attached)
		map_put(attached, key, &fake_service);
	else
		map_take(attached, key);
	fake_service.n_attached = (unsigned)map_count(attached);
}

static int publish(void *impl, struct ctx *ctx,
		   const struct csi_controller_publish_volume_request *req,
		   struct csi_controller_publish_volume_response *ret, struct err *err)
{
	autostr struct str out = STR_INIT;
	bool is_lost;

	str_appendf(&out, "%s to %s ", req->volume_id, req->node_id);
	put_capability(&out, &req->volume_capability);
	str_append(&out, req->readonly ? " ro context=" : " rw context=");
	put_map(&out, &req->volume_context);
	put_secrets(&out, &req->secrets);
	NOTE(last_publish, &out);
	if (begin(ctx, &is_lost, err) < 0)
		return -1;
	fake_service.n_published++;
	if (fake_service.on_publish)
		fake_service.on_publish();
	if (fake_service.publish_error)
		return err_set(err, fake_service.publish_error, "the driver says no");
	fake_service_attach(req->volume_id, req->node_id, true);
	if (end_change(is_lost, err) < 0)
		return -1;
	if (fake_service.publish_context)
		ret->publish_context = strmap_with(ctx->arena, &STRMAP_EMPTY, "disk",
						   fake_service.publish_context);
	return 0;
}

static int unpublish(void *impl, struct ctx *ctx,
		     const struct csi_controller_unpublish_volume_request *req,
		     struct csi_controller_unpublish_volume_response *ret, struct err *err)
{
	autostr struct str out = STR_INIT;
	bool is_lost;

	str_appendf(&out, "%s from %s secrets=", req->volume_id, req->node_id);
	put_map(&out, &req->secrets.map);
	NOTE(last_unpublish, &out);
	if (begin(ctx, &is_lost, err) < 0)
		return -1;
	fake_service.n_unpublished++;
	if (fake_service.unpublish_error)
		return err_set(err, fake_service.unpublish_error, "the driver says no");
	fake_service_attach(req->volume_id, req->node_id, false);
	return end_change(is_lost, err);
}

/* One entry a node that a volume is at. */
static void fill_entry(struct arena *arena, const char *key,
		       struct csi_controller_get_volume_response *entry)
{
	const char *space = strchr(key, ' ');
	const char **nodes = arena_array(arena, 1, sizeof(*nodes));

	nodes[0] = arena_strdup(arena, space + 1);
	entry->has_volume = true;
	entry->volume.volume_id = arena_strndup(arena, key, (size_t)(space - key));
	entry->has_status = !fake_service.lists_no_status;
	if (!entry->has_status)
		return;
	entry->status.published_node_ids = nodes;
	entry->status.n_published_node_ids = 1;
}

/* A volume that was made, with whom it is for. */
static void fill_made(struct arena *arena, const char *name,
		      struct csi_controller_get_volume_response *entry)
{
	const char **nodes = arena_array(arena, 1, sizeof(*nodes));

	entry->has_volume = true;
	entry->volume.volume_id = arena_printf(arena, "id-%s", name);
	entry->volume.capacity_bytes = 1 << 30;
	entry->volume.volume_context = strmap_with(arena, &STRMAP_EMPTY, "filesystem", "xfs");
	if (fake_service.cluster)
		entry->volume.volume_context = strmap_with(arena, &entry->volume.volume_context,
							   VOL_OWNER_CLUSTER, fake_service.cluster);
	if (!fake_service.in_use)
		return;
	nodes[0] = fake_service.in_use;
	entry->has_status = true;
	entry->status.published_node_ids = nodes;
	entry->status.n_published_node_ids = 1;
}

static int get_volume(void *impl, struct ctx *ctx,
		      const struct csi_controller_get_volume_request *req,
		      struct csi_controller_get_volume_response *ret, struct err *err)
{
	if (begin_question(ctx, err) < 0)
		return -1;
	fake_service.n_got++;
	if (fake_service.on_get)
		fake_service.on_get();
	if (fake_service.get_error)
		return err_set(err, fake_service.get_error, "the volume cannot be looked at");
	if (!fake_service.source_cluster)
		return err_set(err, ERR_NOT_FOUND, "no volume %s", req->volume_id);
	ret->has_volume = true;
	ret->volume.volume_id = req->volume_id;
	ret->volume.volume_context = strmap_with(ctx->arena, &STRMAP_EMPTY, VOL_OWNER_CLUSTER,
						 fake_service.source_cluster);
	return 0;
}

static int list_volumes(void *impl, struct ctx *ctx, const struct csi_list_volumes_request *req,
			struct csi_list_volumes_response *ret, struct err *err)
{
	size_t n = map_count(attached) + map_count(volumes);
	size_t page = fake_service.list_page ? fake_service.list_page : n + 1;
	struct csi_controller_get_volume_response *entries =
		arena_array(ctx->arena, page, sizeof(*entries));
	size_t at = strlen(req->starting_token), i = 0;
	const char *key;
	void *none;

	if (begin_question(ctx, err) < 0)
		return -1;
	fake_service.n_listed++;
	if (fake_service.n_listed == fake_service.list_fails_at)
		return err_set(err, ERR_UNAVAILABLE, "the page cannot be had");
	for (size_t it = 0; map_next(attached, &it, &key, &none); i++)
		if (i >= at * page && i < (at + 1) * page)
			fill_entry(ctx->arena, key, &entries[ret->n_entries++]);
	for (size_t it = 0; map_next(volumes, &it, &key, &none); i++)
		if (i >= at * page && i < (at + 1) * page)
			fill_made(ctx->arena, key, &entries[ret->n_entries++]);
	ret->entries = entries;
	/* A token is as long as the number of its page. */
	ret->next_token =
		arena_strndup(ctx->arena, "xxxxxxxxxxxxxxxx", (at + 1) * page < i ? at + 1 : 0);
	if (fake_service.lists_for_ever)
		ret->next_token = "again";
	return 0;
}

static int get_capacity(void *impl, struct ctx *ctx, const struct csi_get_capacity_request *req,
			struct csi_get_capacity_response *ret, struct err *err)
{
	autostr struct str out = STR_INIT;
	bool is_lost, is_roomy;

	put_map(&out, &req->accessible_topology.segments);
	put_map(&out, &req->parameters);
	NOTE(last_capacity, &out);
	if (begin(ctx, &is_lost, err) < 0)
		return -1;
	fake_service.n_asked_room++;
	if (fake_service.capacity_error)
		return err_set(err, fake_service.capacity_error, "the pool does not answer");
	if (!is_lost && impl && str_is_equal(impl, fake_service.full_node))
		return 0;
	if (!is_lost && fake_service.room_bytes) {
		ret->available_capacity = fake_service.room_bytes;
		ret->has_maximum_volume_size = !fake_service.tells_no_maximum;
		ret->maximum_volume_size =
			ret->has_maximum_volume_size ? fake_service.room_bytes / 2 : 0;
		return 0;
	}
	if (is_lost || !fake_service.roomy_key)
		return err_set(err, ERR_UNAVAILABLE, "the agent of the node is away");
	is_roomy = strmap_find(&req->accessible_topology.segments, fake_service.roomy_key);
	ret->available_capacity = is_roomy ? UINT64_C(9) << 30 : 1 << 30;
	ret->has_maximum_volume_size = true;
	ret->maximum_volume_size = is_roomy ? UINT64_C(8) << 30 : 1 << 29;
	if (fake_service.full_key &&
	    strmap_find(&req->accessible_topology.segments, fake_service.full_key)) {
		ret->available_capacity = UINT64_C(16) << 30;
		ret->maximum_volume_size = 0;
	}
	return 0;
}

static int delete_volume(void *impl, struct ctx *ctx, const struct csi_delete_volume_request *req,
			 struct csi_delete_volume_response *ret, struct err *err)
{
	autostr struct str keys = STR_INIT;
	bool is_lost;

	put_map(&keys, &req->secrets.map);
	NOTE(last_delete_secrets, &keys);
	if (fake_service.on_delete)
		fake_service.on_delete();
	if (begin_change(ctx, fake_service.delete_error, &is_lost, err) < 0)
		return -1;
	if (map_take(volumes, req->volume_id + strlen("id-"))) {
		fake_service.n_volumes--;
		fake_service.n_deleted++;
	}
	return end_change(is_lost, err);
}

bool fake_service_has_snapshot(const char *name)
{
	return map_find(snapshots, name);
}

void fake_service_put_snapshot(const char *name)
{
	map_put(snapshots, name, &fake_service);
	fake_service.n_snapshots++;
}

void fake_service_put_volume(const char *name)
{
	map_put(volumes, name, &fake_service);
	fake_service.n_volumes++;
}

void fake_service_put_group(const char *name)
{
	autofree char *group = xasprintf("group %s", name);
	autofree char *member = xasprintf("%s-a", name);

	map_put(snapshots, group, &fake_service);
	fake_service.n_groups++;
	fake_service_put_snapshot(member);
}

/* The group that a snapshot is a member of, NULL: none. */
static const char *group_of(const char *snapshot)
{
	const char *name;
	void *none;

	for (size_t it = 0; map_next(snapshots, &it, &name, &none);)
		if (str_has_prefix(name, "group ") &&
		    str_has_prefix(snapshot, name + strlen("group ")) &&
		    !str_is_equal(snapshot, name + strlen("group ")))
			return name + strlen("group ");
	return NULL;
}

static void write_snapshot_request(const struct csi_create_snapshot_request *req)
{
	autostr struct str out = STR_INIT;

	str_appendf(&out, "name=%s source=%s params=", req->name, req->source_volume_id);
	put_map(&out, &req->parameters);
	put_secrets(&out, &req->secrets);
	NOTE(last_snapshot_request, &out);
}

static struct csi_snapshot describe_snapshot(struct ctx *ctx, const char *name, bool is_ready)
{
	return (struct csi_snapshot){
		.snapshot_id = arena_printf(ctx->arena, "snap-%s", name),
		.source_volume_id = "vol-1",
		.size_bytes = 1 << 30,
		.has_creation_time = true,
		.creation_time = { .seconds = 1700000000, .nanos = 5 },
		.ready_to_use = is_ready,
		.group_snapshot_id = "",
	};
}

static int create_snapshot(void *impl, struct ctx *ctx,
			   const struct csi_create_snapshot_request *req,
			   struct csi_create_snapshot_response *ret, struct err *err)
{
	bool is_lost;

	write_snapshot_request(req);
	if (begin_change(ctx, fake_service.snapshot_error, &is_lost, err) < 0)
		return -1;
	if (!fake_service_has_snapshot(req->name)) {
		fake_service_put_snapshot(req->name);
		fake_service.n_cut++;
	}
	if (end_change(is_lost, err) < 0)
		return -1;
	ret->has_snapshot = true;
	ret->snapshot = describe_snapshot(ctx, req->name, fake_service.ready_after == 0);
	if (fake_service.ready_after)
		fake_service.ready_after--;
	return 0;
}

static int delete_snapshot(void *impl, struct ctx *ctx,
			   const struct csi_delete_snapshot_request *req,
			   struct csi_delete_snapshot_response *ret, struct err *err)
{
	autostr struct str keys = STR_INIT;
	bool is_lost;

	put_map(&keys, &req->secrets.map);
	NOTE(last_delete_secrets, &keys);
	if (begin_change(ctx, fake_service.snapshot_delete_error, &is_lost, err) < 0)
		return -1;
	if (map_take(snapshots, req->snapshot_id + strlen("snap-"))) {
		fake_service.n_snapshots--;
		fake_service.n_undone++;
	}
	return end_change(is_lost, err);
}

static int list_snapshots(void *impl, struct ctx *ctx, const struct csi_list_snapshots_request *req,
			  struct csi_list_snapshots_response *ret, struct err *err)
{
	struct csi_list_snapshots_response_entry *entries;
	autostr struct str keys = STR_INIT;
	const char *name;
	void *value;

	put_map(&keys, &req->secrets.map);
	NOTE(last_list_secrets, &keys);
	if (begin_question(ctx, err) < 0)
		return -1;
	entries = arena_array(ctx->arena, fake_service.n_snapshots, sizeof(*entries));
	for (size_t it = 0; map_next(snapshots, &it, &name, &value);) {
		struct csi_snapshot s = describe_snapshot(ctx, name, fake_service.ready_after == 0);

		if (str_has_prefix(name, "group ") ||
		    (!fake_service.ignores_list_filter && *req->snapshot_id &&
		     !str_is_equal(s.snapshot_id, req->snapshot_id)))
			continue;
		if (group_of(name))
			s.group_snapshot_id = arena_printf(ctx->arena, "group-%s", group_of(name));
		entries[ret->n_entries++] = (struct csi_list_snapshots_response_entry){ true, s };
	}
	ret->entries = entries;
	return 0;
}

static int controller_expand_volume(void *impl, struct ctx *ctx,
				    const struct csi_controller_expand_volume_request *req,
				    struct csi_controller_expand_volume_response *ret,
				    struct err *err)
{
	autostr struct str out = STR_INIT;
	bool is_lost;

	str_appendf(&out, "%s bytes=%llu ", req->volume_id,
		    (unsigned long long)req->capacity_range.required_bytes);
	put_capability(&out, &req->volume_capability);
	put_secrets(&out, &req->secrets);
	NOTE(last_expand, &out);
	if (begin_change(ctx, fake_service.expand_error, &is_lost, err) < 0)
		return -1;
	fake_service.n_expanded++;
	if (end_change(is_lost, err) < 0)
		return -1;
	ret->capacity_bytes = fake_service.expand_bytes ? fake_service.expand_bytes
							: req->capacity_range.required_bytes;
	ret->node_expansion_required = fake_service.needs_node;
	return 0;
}

static int controller_modify_volume(void *impl, struct ctx *ctx,
				    const struct csi_controller_modify_volume_request *req,
				    struct csi_controller_modify_volume_response *ret,
				    struct err *err)
{
	autostr struct str out = STR_INIT;
	autostr struct str params = STR_INIT;
	bool is_lost;

	put_map(&params, &req->mutable_parameters);
	str_appendf(&out, "%s mutable=%s secrets=", req->volume_id, str_get(&params));
	put_map(&out, &req->secrets.map);
	NOTE(last_modify, &out);
	if (begin_change(ctx, fake_service.modify_error, &is_lost, err) < 0)
		return -1;
	fake_service.n_modified++;
	NOTE(modified, &params);
	return end_change(is_lost, err);
}

/* A group NAME of the volumes A and B: snapshots NAME-A and NAME-B. */
static struct csi_volume_group_snapshot describe_group(struct ctx *ctx, const char *name,
						       const char *const *sources, size_t n)
{
	struct csi_snapshot *members = arena_array(ctx->arena, n, sizeof(*members));
	bool is_ready = fake_service.ready_after == 0;

	for (size_t i = 0; i < n; i++) {
		members[i] = describe_snapshot(
			ctx, arena_printf(ctx->arena, "%s-%s", name, sources[i]), is_ready);
		members[i].source_volume_id = sources[i];
		members[i].group_snapshot_id = arena_printf(ctx->arena, "group-%s", name);
	}
	return (struct csi_volume_group_snapshot){
		.group_snapshot_id = arena_printf(ctx->arena, "group-%s", name),
		.snapshots = members,
		.n_snapshots = n,
		.has_creation_time = true,
		.creation_time = { .seconds = 1700000000 },
		.ready_to_use = is_ready,
	};
}

static int create_group(void *impl, struct ctx *ctx,
			const struct csi_create_volume_group_snapshot_request *req,
			struct csi_create_volume_group_snapshot_response *ret, struct err *err)
{
	autofree char *group = xasprintf("group %s", req->name);
	bool is_lost;

	if (begin_change(ctx, fake_service.group_error, &is_lost, err) < 0)
		return -1;
	if (!map_find(snapshots, group)) {
		map_put(snapshots, group, &fake_service);
		fake_service.n_groups++;
		for (size_t i = 0; i < req->n_source_volume_ids; i++) {
			autofree char *member =
				xasprintf("%s-%s", req->name, req->source_volume_ids[i]);

			fake_service_put_snapshot(member);
		}
	}
	if (end_change(is_lost, err) < 0)
		return -1;
	ret->has_group_snapshot = true;
	ret->group_snapshot =
		describe_group(ctx, req->name, req->source_volume_ids, req->n_source_volume_ids);
	if (fake_service.ready_after)
		fake_service.ready_after--;
	return 0;
}

static int delete_group(void *impl, struct ctx *ctx,
			const struct csi_delete_volume_group_snapshot_request *req,
			struct csi_delete_volume_group_snapshot_response *ret, struct err *err)
{
	autofree char *group = xasprintf("group %s", req->group_snapshot_id + strlen("group-"));
	bool is_lost;

	if (begin(ctx, &is_lost, err) < 0)
		return -1;
	for (size_t i = 0; i < req->n_snapshot_ids; i++)
		if (map_take(snapshots, req->snapshot_ids[i] + strlen("snap-")))
			fake_service.n_snapshots--;
	if (map_take(snapshots, group))
		fake_service.n_groups--;
	return end_change(is_lost, err);
}

/* Of members called snap-NAME-VOLUME. */
static int get_group(void *impl, struct ctx *ctx,
		     const struct csi_get_volume_group_snapshot_request *req,
		     struct csi_get_volume_group_snapshot_response *ret, struct err *err)
{
	const char *name = req->group_snapshot_id + strlen("group-");
	const char **sources = arena_array(ctx->arena, req->n_snapshot_ids, sizeof(*sources));
	autofree char *group = xasprintf("group %s", name);

	if (begin_question(ctx, err) < 0)
		return -1;
	if (!map_find(snapshots, group))
		return err_set(err, ERR_NOT_FOUND, "no group %s", name);
	for (size_t i = 0; i < req->n_snapshot_ids; i++)
		sources[i] = req->snapshot_ids[i] + strlen("snap-") + strlen(name) + 1;
	ret->has_group_snapshot = true;
	ret->group_snapshot = describe_group(ctx, name, sources, req->n_snapshot_ids);
	return 0;
}

static int end_told(struct err *err)
{
	return fake_service.told_error ? err_set(err, fake_service.told_error, "the driver says no")
				       : 0;
}

/* Messages of one range each, the n-th at n KiB. */
static int get_metadata_allocated(void *impl, struct ctx *ctx,
				  const struct csi_get_metadata_allocated_request *req,
				  struct csi_stream *out, struct err *err)
{
	autostr struct str text = STR_INIT;

	str_appendf(&text, "of=%s from=%lld max=%u left=%llds secrets=", req->snapshot_id,
		    (long long)req->starting_offset, req->max_results,
		    (long long)(ctx_remaining_ns(ctx) / 1000000000));
	put_map(&text, &req->secrets.map);
	NOTE(last_told, &text);
	if (begin_question(ctx, err) < 0)
		return -1;
	for (unsigned i = 0; i < fake_service.n_told; i++) {
		const struct csi_block_metadata range = { i * UINT64_C(1024), 512 };
		const struct csi_get_metadata_allocated_response message = {
			.block_metadata_type = CSI_BLOCK_METADATA_TYPE_VARIABLE_LENGTH,
			.volume_capacity_bytes = 1 << 20,
			.block_metadata = &range,
			.n_block_metadata = 1,
		};

		if (csi_get_metadata_allocated_send(out, &message, err) < 0)
			return -1;
	}
	return end_told(err);
}

static int get_metadata_delta(void *impl, struct ctx *ctx,
			      const struct csi_get_metadata_delta_request *req,
			      struct csi_stream *out, struct err *err)
{
	autostr struct str text = STR_INIT;

	str_appendf(&text, "base=%s target=%s from=%lld max=%u secrets=", req->base_snapshot_id,
		    req->target_snapshot_id, (long long)req->starting_offset, req->max_results);
	put_map(&text, &req->secrets.map);
	NOTE(last_told, &text);
	if (begin_question(ctx, err) < 0)
		return -1;
	for (unsigned i = 0; i < fake_service.n_told; i++) {
		const struct csi_get_metadata_delta_response message = {
			.block_metadata_type = CSI_BLOCK_METADATA_TYPE_FIXED_LENGTH,
		};

		if (csi_get_metadata_delta_send(out, &message, err) < 0)
			return -1;
	}
	return end_told(err);
}

static struct csi_service get(void *impl)
{
	static const struct csi_service_ops ops = {
		.link_changes = link_changes,
		.get_plugin_info = get_plugin_info,
		.get_plugin_capabilities = get_plugin_capabilities,
		.controller_get_capabilities = controller_get_capabilities,
		.create_volume = create_volume,
		.delete_volume = delete_volume,
		.get_capacity = get_capacity,
		.controller_expand_volume = controller_expand_volume,
		.controller_modify_volume = controller_modify_volume,
		.create_snapshot = create_snapshot,
		.delete_snapshot = delete_snapshot,
		.list_snapshots = list_snapshots,
		.create_volume_group_snapshot = create_group,
		.delete_volume_group_snapshot = delete_group,
		.get_volume_group_snapshot = get_group,
		.controller_publish_volume = publish,
		.controller_unpublish_volume = unpublish,
		.list_volumes = list_volumes,
		.controller_get_volume = get_volume,
		.get_metadata_allocated = get_metadata_allocated,
		.get_metadata_delta = get_metadata_delta,
	};

	return (struct csi_service){ &ops, impl };
}

struct csi_service fake_service_get(void)
{
	return get(NULL);
}

struct csi_service fake_service_at(const char *node)
{
	union {
		const char *in;
		void *out;
	} u = { .in = node };

	return get(u.out);
}
