/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl - answers as a table, as JSON, or as ids alone
 *
 * The JSON keeps the field names of csi.proto, so what is true of a reply on the wire is true of it
 * here.
 */
#include "base/json.h"
#include "base/mem.h"
#include "cmd/ctl.h"
#include "cmd/pretty.h"
#include "cmd/table.h"
#include "volume/id.h"

/* What json holds, in the form that was asked for. */
void ctl_print_document(struct ctl *ctl, const struct str *json)
{
	autojson struct json_doc *doc = NULL;
	struct err err;

	if (json_parse(str_get(json), json->len, &doc, &err) < 0) {
		str_appendf(ctl->out, "%s\n", str_get(json)); /* deeper than the parser goes */
		return;
	}
	if (ctl->output == CTL_YAML)
		pretty_yaml(json_root(doc), ctl->out);
	else
		pretty_json(json_root(doc), ctl->out);
}

static const void *item_at(const struct ctl_shape *shape, const void *items, size_t i)
{
	return (const char *)items + i * shape->item_bytes;
}

static void print_ids(struct ctl *ctl, const struct ctl_shape *shape, const void *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		str_appendf(ctl->out, "%s\n", shape->id(item_at(shape, items, i)));
}

void ctl_print_one(struct ctl *ctl, const struct ctl_shape *shape, const void *item)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	switch (ctl->output) {
	case CTL_ID:
		print_ids(ctl, shape, item, 1);
		break;
	case CTL_JSON:
	case CTL_YAML:
		shape->put(&w, item);
		ctl_print_document(ctl, &json);
		break;
	case CTL_TABLE:
		shape->print_table(ctl, item, 1);
		break;
	}
}

void ctl_print_all(struct ctl *ctl, const struct ctl_shape *shape, const void *items, size_t n)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	switch (ctl->output) {
	case CTL_ID:
		print_ids(ctl, shape, items, n);
		break;
	case CTL_JSON:
	case CTL_YAML:
		json_begin_object(&w);
		json_key(&w, "items");
		json_begin_array(&w);
		for (size_t i = 0; i < n; i++)
			shape->put(&w, item_at(shape, items, i));
		json_end_array(&w);
		json_end_object(&w);
		ctl_print_document(ctl, &json);
		break;
	case CTL_TABLE:
		shape->print_table(ctl, items, n);
		break;
	}
}

bool ctl_is_id(const struct ctl_shape *shape, const char *text)
{
	struct vol_id id;
	struct err ignored;

	return vol_id_parse(shape->kind, text, &id, &ignored) == 0;
}

int ctl_choose_id(const struct ctl_shape *shape, const char *text, const void *items, size_t n,
		  const char **ret_id, struct err *err)
{
	char token[VOL_TOKEN_MAX];
	const char *found = NULL;
	struct vol_id id;
	struct err ignored;

	vol_token_from_name(text, token);
	for (size_t i = 0; i < n; i++) {
		const char *one = shape->id(item_at(shape, items, i));

		if (str_is_equal(one, text)) {
			*ret_id = text;
			return 0;
		}
		if (vol_id_parse(shape->kind, one, &id, &ignored) < 0 ||
		    !str_is_equal(id.token, token))
			continue;
		if (found)
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "two %ss are called '%s': %s and %s; say which by its id",
				       vol_kind_name(shape->kind), text, found, one);
		found = one;
	}
	*ret_id = str_or(found, text);
	return 0;
}

static void put_strmap(struct json_writer *w, const char *key, const struct strmap *map)
{
	json_key(w, key);
	json_put_strmap(w, map);
}

void ctl_put_topologies(struct json_writer *w, const struct vol_topologies *topologies)
{
	json_key(w, "accessible_topology");
	json_begin_array(w);
	for (size_t i = 0; i < topologies->n; i++) {
		json_begin_object(w);
		put_strmap(w, "segments", &topologies->v[i].segments);
		json_end_object(w);
	}
	json_end_array(w);
}

static void put_source(struct json_writer *w, const struct csi_content_source *source)
{
	bool is_snapshot = source->kind == CSI_SOURCE_SNAPSHOT;

	json_key(w, "content_source");
	json_begin_object(w);
	json_key(w, is_snapshot ? "snapshot" : "volume");
	json_begin_object(w);
	json_field_string(w, is_snapshot ? "snapshot_id" : "volume_id", source->id);
	json_end_object(w);
	json_end_object(w);
}

static void put_volume(struct json_writer *w, const struct csi_volume *v,
		       const struct csi_volume_status *status)
{
	json_begin_object(w);
	json_field_string(w, "volume_id", v->volume_id);
	json_field_u64(w, "capacity_bytes", v->capacity_bytes);
	put_strmap(w, "volume_context", &v->volume_context);
	if (v->has_content_source)
		put_source(w, &v->content_source);
	ctl_put_topologies(w, &v->accessible_topology);
	if (status) {
		json_key(w, "published_node_ids");
		json_begin_array(w);
		for (size_t i = 0; i < status->n_published_node_ids; i++)
			json_put_string(w, status->published_node_ids[i]);
		json_end_array(w);
	}
	json_end_object(w);
}

void ctl_print_volume(struct ctl *ctl, const struct csi_volume *volume)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);
	char bytes[CMD_BYTES_MAX];

	switch (ctl->output) {
	case CTL_ID:
		str_appendf(ctl->out, "%s\n", volume->volume_id);
		break;
	case CTL_JSON:
	case CTL_YAML:
		put_volume(&w, volume, NULL);
		ctl_print_document(ctl, &json);
		break;
	case CTL_TABLE:
		cmd_format_bytes(volume->capacity_bytes, bytes);
		str_appendf(ctl->out, "volume %s, %s\n", volume->volume_id, bytes);
		break;
	}
}

static void append_where(const struct csi_volume *v, struct str *out)
{
	for (size_t j = 0; j < v->accessible_topology.n; j++) {
		const struct strmap *m = &v->accessible_topology.v[j].segments;

		for (size_t k = 0; k < m->n; k++)
			str_appendf(out, "%s%s=%s", out->len ? "," : "", m->v[k].key,
				    m->v[k].value);
	}
}

static void append_state(const struct csi_volume_status *status, struct str *out)
{
	for (size_t i = 0; i < status->n_published_node_ids; i++)
		str_appendf(out, "%s%s", i ? "," : "in use on ", status->published_node_ids[i]);
}

/* "snapshot daily", by the name it was made with. */
static void append_source(const struct csi_volume *v, struct str *out)
{
	enum vol_kind kind =
		v->content_source.kind == CSI_SOURCE_SNAPSHOT ? VOL_KIND_SNAPSHOT : VOL_KIND_VOLUME;
	struct vol_id id;
	struct err ignored;

	if (!v->has_content_source)
		return;
	str_appendf(out, "%s %s", vol_kind_name(kind),
		    vol_id_parse(kind, v->content_source.id, &id, &ignored) == 0
			    ? id.token
			    : v->content_source.id);
}

static const char *id_of(const void *item)
{
	const struct csi_controller_get_volume_response *entry = item;

	return entry->volume.volume_id;
}

static void put_entry(struct json_writer *w, const void *item)
{
	const struct csi_controller_get_volume_response *entry = item;

	put_volume(w, &entry->volume, &entry->status);
}

static void print_table(struct ctl *ctl, const void *items, size_t n)
{
	static const char *const headings[] = { "NAME", "SIZE",   "FILESYSTEM", "STATE",
						"FROM", "VOLUME", "WHERE" };
	const struct csi_controller_get_volume_response *entries = items;
	struct table *t = table_new(headings, ARRAY_LEN(headings));

	for (size_t i = 0; i < n; i++) {
		const struct csi_volume *v = &entries[i].volume;
		autostr struct str where = STR_INIT;
		autostr struct str state = STR_INIT;
		autostr struct str from = STR_INIT;
		char bytes[CMD_BYTES_MAX];
		struct vol_id id;
		struct err ignored;
		bool is_ours = vol_id_parse(VOL_KIND_VOLUME, v->volume_id, &id, &ignored) == 0;

		append_where(v, &where);
		append_state(&entries[i].status, &state);
		append_source(v, &from);
		cmd_format_bytes(v->capacity_bytes, bytes);
		table_row(t, (const char *const[]){ is_ours ? id.token : NULL, bytes,
						    strmap_find(&v->volume_context, "filesystem"),
						    state.len ? str_get(&state) : NULL,
						    from.len ? str_get(&from) : NULL, v->volume_id,
						    str_get(&where) });
	}
	table_print(t, ctl->out);
	table_free(t);
}

const struct ctl_shape ctl_volume_shape = {
	.kind = VOL_KIND_VOLUME,
	.item_bytes = sizeof(struct csi_controller_get_volume_response),
	.id = id_of,
	.put = put_entry,
	.print_table = print_table,
};

void ctl_print_done(struct ctl *ctl, const char *what)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);
	static const char *const fields[] = { [VOL_KIND_VOLUME] = "volume_id",
					      [VOL_KIND_SNAPSHOT] = "snapshot_id",
					      [VOL_KIND_GROUP] = "group_snapshot_id" };

	switch (ctl->output) {
	case CTL_ID:
		break;
	case CTL_JSON:
	case CTL_YAML:
		json_begin_object(&w);
		json_field_string(&w, fields[ctl->kind], ctl->id);
		json_field_string(&w, "done", what);
		json_end_object(&w);
		ctl_print_document(ctl, &json);
		break;
	case CTL_TABLE:
		str_appendf(ctl->out, "%s %s %s\n", vol_kind_name(ctl->kind), ctl->id, what);
		break;
	}
}

struct facts {
	struct csi_get_plugin_info_response plugin;
	uint64_t caps; /* csi_capability_bits() */
	struct csi_node_get_info_response node;
	struct csi_get_capacity_response capacity;
	bool ready, has_node, has_capacity;
};

/* A driver may leave out Node or GetCapacity; that is a fact to print and no failure. */
static int ask_facts(struct ctl *ctl, struct facts *f, struct err *err)
{
	const struct csi_get_plugin_capabilities_request ask_caps = {};
	const struct csi_get_plugin_info_request ask_info = {};
	const struct csi_node_get_info_request ask_node = {};
	const struct csi_get_capacity_request any = { 0 };
	const struct csi_probe_request ask_probe = {};
	struct csi_get_plugin_capabilities_response caps;
	struct csi_probe_response probe;
	struct err ignored;

	if (csi_get_plugin_info(ctl->service, ctl->ctx, &ask_info, &f->plugin, err) < 0 ||
	    csi_get_plugin_capabilities(ctl->service, ctl->ctx, &ask_caps, &caps, err) < 0 ||
	    csi_probe(ctl->service, ctl->ctx, &ask_probe, &probe, err) < 0)
		return -1;
	f->caps = csi_capability_bits(caps.capabilities, caps.n_capabilities);
	f->ready = csi_probe_is_ready(&probe);
	f->has_node = csi_node_get_info(ctl->service, ctl->ctx, &ask_node, &f->node, &ignored) == 0;
	f->has_capacity =
		csi_get_capacity(ctl->service, ctl->ctx, &any, &f->capacity, &ignored) == 0;
	return 0;
}

static void put_facts(struct json_writer *w, const struct facts *f)
{
	json_begin_object(w);
	json_field_string(w, "name", f->plugin.name);
	json_field_string(w, "vendor_version", f->plugin.vendor_version);
	json_field_bool(w, "ready", f->ready);
	if (f->plugin.manifest.n > 0)
		put_strmap(w, "manifest", &f->plugin.manifest);
	json_field_bool(w, "controller_service",
			f->caps & CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE));
	if (f->has_node) {
		json_field_string(w, "node_id", f->node.node_id);
		json_field_u64(w, "max_volumes_per_node", f->node.max_volumes_per_node);
		put_strmap(w, "accessible_topology", &f->node.accessible_topology.segments);
	}
	if (f->has_capacity) {
		json_field_u64(w, "available_capacity", f->capacity.available_capacity);
		json_field_u64(w, "maximum_volume_size", f->capacity.maximum_volume_size);
	}
	json_end_object(w);
}

static void print_facts(struct str *out, const struct facts *f)
{
	char bytes[CMD_BYTES_MAX];

	str_appendf(out, "driver     %s %s, %s\n", f->plugin.name, f->plugin.vendor_version,
		    f->ready ? "ready" : "not ready");
	if (f->has_node) {
		const struct strmap *m = &f->node.accessible_topology.segments;

		str_appendf(out, "node       %s\n", f->node.node_id);
		for (size_t i = 0; i < m->n; i++)
			str_appendf(out, "pool       %s = %s\n", m->v[i].key, m->v[i].value);
	}
	for (size_t i = 0; i < f->plugin.manifest.n; i++)
		str_appendf(out, "lies on    %s: %s\n", f->plugin.manifest.v[i].key,
			    f->plugin.manifest.v[i].value);
	if (f->has_capacity) {
		cmd_format_bytes(f->capacity.available_capacity, bytes);
		str_appendf(out, "available  %s", bytes);
		if (f->capacity.maximum_volume_size) {
			cmd_format_bytes(f->capacity.maximum_volume_size, bytes);
			str_appendf(out, ", in one volume %s", bytes);
		}
		str_append(out, "\n");
	}
}

int ctl_info(struct ctl *ctl, struct err *err)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);
	struct facts facts = { 0 };

	if (ask_facts(ctl, &facts, err) < 0)
		return -1;
	if (ctl->output == CTL_JSON || ctl->output == CTL_YAML) {
		put_facts(&w, &facts);
		ctl_print_document(ctl, &json);
	} else {
		print_facts(ctl->out, &facts);
	}
	return 0;
}
