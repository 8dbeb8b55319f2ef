/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of an intent: a JSON object in an annotation. It is read by later versions of cleat, and
 * by people who look for a lost volume, so its members bear CSI's and Kubernetes' words.
 *
 * A record that is read half would repeat another request than the one that was sent, so all that
 * is there must be of the right kind. What a later version adds is passed over, unless that version
 * says in "needs" that the request is not the same without it.
 *
 * The preferred topologies are the requisite ones from some term on (topology.c), which is written
 * as that number: on a thousand nodes the list is half of the record.
 */
#include "control/intent.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

#define LIST_MAX 8192

static const char *const secret_words[SECRET_KINDS] = {
	[SECRET_PROVISIONER] = "provisioner",
	[SECRET_CONTROLLER_PUBLISH] = "controllerPublish",
	[SECRET_NODE_STAGE] = "nodeStage",
	[SECRET_NODE_PUBLISH] = "nodePublish",
	[SECRET_CONTROLLER_EXPAND] = "controllerExpand",
	[SECRET_NODE_EXPAND] = "nodeExpand",
	[SECRET_CONTROLLER_MODIFY] = "controllerModify",
};

static const char *const source_words[] = {
	[CSI_SOURCE_NONE] = "none",
	[CSI_SOURCE_SNAPSHOT] = "snapshot",
	[CSI_SOURCE_VOLUME] = "volume",
};

const char *intent_place(struct arena *arena, const struct csi_create_volume_request *request)
{
	const struct vol_topologies *from =
		request->accessibility_requirements.preferred.n
			? &request->accessibility_requirements.preferred
			: &request->accessibility_requirements.requisite;
	const char *text = "";

	for (size_t i = 0; from->n && i < from->v[0].segments.n; i++)
		text = arena_printf(arena, "%s%s%s=%s", text, i ? "," : "",
				    from->v[0].segments.v[i].key, from->v[0].segments.v[i].value);
	return text;
}

/* ---- writing ---- */

static void put_strings(struct json_writer *w, const char *key, const char *const *v, size_t n)
{
	if (n == 0)
		return;
	json_key(w, key);
	json_begin_array(w);
	for (size_t i = 0; i < n; i++)
		json_put_string(w, v[i]);
	json_end_array(w);
}

static void put_text(struct json_writer *w, const char *key, const char *text)
{
	if (!str_is_empty(text))
		json_field_string(w, key, text);
}

static void put_map(struct json_writer *w, const char *key, const struct strmap *map)
{
	if (map->n == 0)
		return;
	json_key(w, key);
	json_put_strmap(w, map);
}

static void put_places(struct json_writer *w, const char *key, const struct vol_topologies *places)
{
	if (places->n == 0)
		return;
	json_key(w, key);
	json_begin_array(w);
	for (size_t i = 0; i < places->n; i++)
		json_put_strmap(w, &places->v[i].segments);
	json_end_array(w);
}

/* Where in `whole` the list `part` begins, if it is the same list gone round; -1 if it is not. */
static int64_t find_rotation(const struct vol_topologies *whole, const struct vol_topologies *part)
{
	if (whole->n != part->n)
		return -1;
	for (size_t first = 0; first < whole->n; first++) {
		size_t i = 0;

		while (i < part->n && strmap_is_equal(&whole->v[(first + i) % whole->n].segments,
						      &part->v[i].segments))
			i++;
		if (i == part->n)
			return (int64_t)first;
	}
	return -1;
}

static void put_topology(struct json_writer *w, const struct csi_create_volume_request *request)
{
	int64_t first = find_rotation(&request->accessibility_requirements.requisite,
				      &request->accessibility_requirements.preferred);

	put_places(w, "requisite", &request->accessibility_requirements.requisite);
	if (first >= 0)
		json_field_i64(w, "preferredFrom", first);
	else
		put_places(w, "preferred", &request->accessibility_requirements.preferred);
}

static void put_capabilities(struct json_writer *w, const struct csi_create_volume_request *request)
{
	json_key(w, "capabilities");
	json_begin_array(w);
	for (size_t i = 0; i < request->n_volume_capabilities; i++) {
		const struct vol_capability *cap = &request->volume_capabilities[i];

		json_begin_object(w);
		json_field_string(w, "access", cap->access == VOL_ACCESS_BLOCK ? "block" : "mount");
		json_field_i64(w, "mode", cap->mode);
		put_text(w, "fsType", cap->fs_type);
		put_strings(w, "mountFlags", cap->mount_flags, cap->n_mount_flags);
		put_text(w, "mountGroup", cap->mount_group);
		json_end_object(w);
	}
	json_end_array(w);
}

static void put_refs(struct json_writer *w, const struct secret_ref refs[SECRET_KINDS])
{
	json_key(w, "secretRefs");
	json_begin_object(w);
	for (int kind = 0; kind < SECRET_KINDS; kind++) {
		if (!secret_ref_is_set(&refs[kind]))
			continue;
		json_key(w, secret_words[kind]);
		json_begin_object(w);
		json_field_string(w, "namespace", refs[kind].ns);
		json_field_string(w, "name", refs[kind].name);
		json_end_object(w);
	}
	json_end_object(w);
}

static void put_request(struct json_writer *w, const struct csi_create_volume_request *request)
{
	json_field_string(w, "name", request->name);
	json_field_u64(w, "requiredBytes", request->capacity_range.required_bytes);
	if (request->capacity_range.limit_bytes)
		json_field_u64(w, "limitBytes", request->capacity_range.limit_bytes);
	put_capabilities(w, request);
	if (request->volume_content_source.kind != CSI_SOURCE_NONE) {
		json_field_string(w, "source", source_words[request->volume_content_source.kind]);
		json_field_string(w, "sourceId", request->volume_content_source.id);
	}
	put_topology(w, request);
	put_map(w, "parameters", &request->parameters);
	put_map(w, "mutableParameters", &request->mutable_parameters);
}

void intent_write(const struct intent *it, struct str *out)
{
	struct json_writer w = JSON_WRITER(out);

	json_begin_object(&w);
	json_field_string(&w, "namespace", it->ns);
	json_field_string(&w, "claim", it->claim);
	put_text(&w, "claimVersion", it->claim_version);
	put_text(&w, "class", it->class_name);
	put_text(&w, "provisioner", it->provisioner);
	put_text(&w, "reclaimPolicy", it->reclaim_policy);
	put_text(&w, "volumeMode", it->volume_mode);
	put_text(&w, "fsType", it->fs_type);
	put_text(&w, "attributesClass", it->attributes_class);
	put_text(&w, "place", it->place);
	put_strings(&w, "accessModes", it->access_modes.v, it->access_modes.n);
	put_strings(&w, "mountOptions", it->mount_options.v, it->mount_options.n);
	put_request(&w, &it->request);
	put_refs(&w, it->refs);
	json_end_object(&w);
}

/* ---- reading ---- */

static int fail_kind(const char *key, const char *wanted, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "'%s' is no %s", key, wanted);
}

/* A string, "" if it is not there. */
static int get_text(struct arena *arena, const struct json *v, const char *key,
		    const char **ret_text, struct err *err)
{
	const struct json *found = json_get(v, key);
	const char *text = json_string(found);

	if (found && !text)
		return fail_kind(key, "string", err);
	*ret_text = arena_strdup(arena, str_or(text, ""));
	return 0;
}

static int need_text(struct arena *arena, const struct json *v, const char *key,
		     const char **ret_text, struct err *err)
{
	if (get_text(arena, v, key, ret_text, err) < 0)
		return -1;
	return **ret_text ? 0 : err_set(err, ERR_INVALID_ARGUMENT, "'%s' is missing", key);
}

static int get_bytes(const struct json *v, const char *key, uint64_t *ret_bytes, struct err *err)
{
	const struct json *found = json_get(v, key);
	int64_t value = 0;

	if (found && (json_int(found, &value) < 0 || value < 0))
		return fail_kind(key, "size", err);
	*ret_bytes = (uint64_t)value;
	return 0;
}

static int get_list(const struct json *v, const char *key, const struct json **ret_list,
		    struct err *err)
{
	const struct json *found = json_get(v, key);

	if (found && (!json_is_array(found) || json_count(found) > LIST_MAX))
		return fail_kind(key, "list of bearable length", err);
	*ret_list = found;
	return 0;
}

static int get_strings(struct arena *arena, const struct json *v, const char *key,
		       struct intent_strings *ret_strings, struct err *err)
{
	const struct json *list, *value;
	const char **strings, *none;
	size_t n = 0;

	if (get_list(v, key, &list, err) < 0)
		return -1;
	strings = arena_array(arena, json_count(list), sizeof(*strings));
	for (struct json_it it = json_each(list); json_next(&it, &none, &value); n++) {
		if (!json_string(value))
			return fail_kind(key, "list of strings", err);
		strings[n] = arena_strdup(arena, json_string(value));
	}
	*ret_strings = (struct intent_strings){ .v = strings, .n = n };
	return 0;
}

static int read_map(struct arena *arena, const struct json *v, const char *key,
		    struct strmap *ret_map, struct err *err)
{
	struct strmap map = json_strmap(arena, v);

	if (v && (!json_is_object(v) || map.n != json_count(v)))
		return fail_kind(key, "map of strings", err);
	*ret_map = map;
	return 0;
}

static int get_places(struct arena *arena, const struct json *v, const char *key,
		      struct vol_topologies *ret_places, struct err *err)
{
	const struct json *list, *value;
	struct vol_topology *places;
	const char *none;
	size_t n = 0;

	if (get_list(v, key, &list, err) < 0)
		return -1;
	places = arena_array(arena, json_count(list), sizeof(*places));
	for (struct json_it it = json_each(list); json_next(&it, &none, &value); n++)
		if (read_map(arena, value, key, &places[n].segments, err) < 0)
			return -1;
	*ret_places = (struct vol_topologies){ .v = places, .n = n };
	return 0;
}

static int get_topology(struct arena *arena, const struct json *root,
			struct csi_create_volume_request *request, struct err *err)
{
	const struct json *from = json_get(root, "preferredFrom");
	struct vol_topology *preferred;
	int64_t first;

	if (get_places(arena, root, "requisite", &request->accessibility_requirements.requisite,
		       err) < 0)
		return -1;
	if (!from)
		return get_places(arena, root, "preferred",
				  &request->accessibility_requirements.preferred, err);
	if (json_int(from, &first) < 0 || first < 0 ||
	    (size_t)first > request->accessibility_requirements.requisite.n)
		return fail_kind("preferredFrom", "place in the list", err);
	preferred = arena_array(arena, request->accessibility_requirements.requisite.n,
				sizeof(*preferred));
	for (size_t i = 0; i < request->accessibility_requirements.requisite.n; i++)
		preferred[i] = request->accessibility_requirements.requisite
				       .v[((size_t)first + i) %
					  request->accessibility_requirements.requisite.n];
	request->accessibility_requirements.preferred =
		(struct vol_topologies){ .v = preferred,
					 .n = request->accessibility_requirements.requisite.n };
	return 0;
}

static int get_capability(struct arena *arena, const struct json *v, struct vol_capability *cap,
			  struct err *err)
{
	const char *access = str_or(json_get_string(v, "access"), "");
	struct intent_strings flags;
	int64_t mode;

	if (!str_is_equal(access, "block") && !str_is_equal(access, "mount"))
		return fail_kind("access", "\"block\" or \"mount\"", err);
	if (json_int(json_get(v, "mode"), &mode) < 0 || mode < VOL_MODE_UNKNOWN ||
	    mode > VOL_MODE_SINGLE_NODE_MULTI_WRITER)
		return fail_kind("mode", "access mode", err);
	if (get_text(arena, v, "fsType", &cap->fs_type, err) < 0 ||
	    get_text(arena, v, "mountGroup", &cap->mount_group, err) < 0 ||
	    get_strings(arena, v, "mountFlags", &flags, err) < 0)
		return -1;
	cap->access = *access == 'b' ? VOL_ACCESS_BLOCK : VOL_ACCESS_MOUNT;
	cap->mode = (enum vol_mode)mode;
	cap->mount_flags = flags.v;
	cap->n_mount_flags = flags.n;
	return 0;
}

static int get_capabilities(struct arena *arena, const struct json *root,
			    struct csi_create_volume_request *request, struct err *err)
{
	const struct json *list, *value;
	struct vol_capability *caps;
	const char *none;
	size_t n = 0;

	if (get_list(root, "capabilities", &list, err) < 0)
		return -1;
	if (json_count(list) == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "'capabilities' is missing");
	caps = arena_array(arena, json_count(list), sizeof(*caps));
	for (struct json_it it = json_each(list); json_next(&it, &none, &value); n++)
		if (get_capability(arena, value, &caps[n], err) < 0)
			return -1;
	request->volume_capabilities = caps;
	request->n_volume_capabilities = n;
	return 0;
}

static int get_source(struct arena *arena, const struct json *root,
		      struct csi_content_source *source, struct err *err)
{
	const char *kind = str_or(json_get_string(root, "source"), "none");

	*source = (struct csi_content_source){ .kind = CSI_SOURCE_NONE, .id = "" };
	for (size_t i = 0; i < ARRAY_LEN(source_words); i++) {
		if (!str_is_equal(kind, source_words[i]))
			continue;
		source->kind = (unsigned)i;
		return i == CSI_SOURCE_NONE ? 0
					    : need_text(arena, root, "sourceId", &source->id, err);
	}
	return err_set(err, ERR_INVALID_ARGUMENT, "'source' of unknown kind '%s'", kind);
}

static int get_refs(struct arena *arena, const struct json *root, struct secret_ref *refs,
		    struct err *err)
{
	const struct json *all = json_get(root, "secretRefs");

	for (int kind = 0; kind < SECRET_KINDS; kind++) {
		const struct json *ref = json_get(all, secret_words[kind]);

		refs[kind] = (struct secret_ref){ .ns = "", .name = "" };
		if (ref && (need_text(arena, ref, "namespace", &refs[kind].ns, err) < 0 ||
			    need_text(arena, ref, "name", &refs[kind].name, err) < 0))
			return err_wrap(err, "secretRefs.%s", secret_words[kind]);
	}
	return 0;
}

static int get_request(struct arena *arena, const struct json *root,
		       struct csi_create_volume_request *request, struct err *err)
{
	if (need_text(arena, root, "name", &request->name, err) < 0 ||
	    get_bytes(root, "requiredBytes", &request->capacity_range.required_bytes, err) < 0 ||
	    get_bytes(root, "limitBytes", &request->capacity_range.limit_bytes, err) < 0 ||
	    get_capabilities(arena, root, request, err) < 0 ||
	    get_source(arena, root, &request->volume_content_source, err) < 0 ||
	    get_topology(arena, root, request, err) < 0)
		return -1;
	request->has_volume_content_source = request->volume_content_source.kind != CSI_SOURCE_NONE;
	if (read_map(arena, json_get(root, "parameters"), "parameters", &request->parameters, err) <
	    0)
		return -1;
	return read_map(arena, json_get(root, "mutableParameters"), "mutableParameters",
			&request->mutable_parameters, err);
}

static int read_root(struct arena *arena, const struct json *root, struct intent *it,
		     struct err *err)
{
	const struct {
		const char *key;
		const char **text;
	} texts[] = {
		{ "claimVersion", &it->claim_version },
		{ "class", &it->class_name },
		{ "provisioner", &it->provisioner },
		{ "reclaimPolicy", &it->reclaim_policy },
		{ "volumeMode", &it->volume_mode },
		{ "fsType", &it->fs_type },
		{ "attributesClass", &it->attributes_class },
		{ "place", &it->place },
	};

	if (!json_is_object(root))
		return err_set(err, ERR_INVALID_ARGUMENT, "no JSON object");
	if (json_count(json_get(root, "needs")))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "written by a later version, which needs what this one lacks");
	if (need_text(arena, root, "namespace", &it->ns, err) < 0 ||
	    need_text(arena, root, "claim", &it->claim, err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (get_text(arena, root, texts[i].key, texts[i].text, err) < 0)
			return -1;
	if (get_strings(arena, root, "accessModes", &it->access_modes, err) < 0 ||
	    get_strings(arena, root, "mountOptions", &it->mount_options, err) < 0 ||
	    get_request(arena, root, &it->request, err) < 0)
		return -1;
	return get_refs(arena, root, it->refs, err);
}

int intent_parse(struct arena *arena, const char *uid, const char *text, struct intent *ret_it,
		 struct err *err)
{
	struct intent it = { .uid = arena_strdup(arena, uid) };
	autojson struct json_doc *doc = NULL;

	if (json_parse(text, strlen(text), &doc, err) < 0 ||
	    read_root(arena, json_root(doc), &it, err) < 0)
		return err_wrap(err, "intent of claim %s", uid);
	*ret_it = it;
	return 0;
}
