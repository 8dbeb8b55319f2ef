/* SPDX-License-Identifier: Apache-2.0 */
/* Written by merge patches of one annotation, so that neither the leader, who writes the same
 * Lease, nor another operator is in the way. */
#include "control/forgotten.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "control/list.h"
#include "kube/client.h"
#include "kube/path.h"
#include "kube/type.h"

#define PREFIX "forgotten.cleat.csi/"

static void take_pools(struct arena *arena, const struct json *annotations,
		       struct forgotten_pools *ret)
{
	const struct json *value;
	struct uuid *pools;
	const char *key;
	size_t n = 0;

	for (struct json_it it = json_each(annotations); json_next(&it, &key, &value);)
		n += str_has_prefix(key, PREFIX);
	pools = arena_array(arena, n, sizeof(*pools));
	ret->v = pools;
	for (struct json_it it = json_each(annotations); json_next(&it, &key, &value);) {
		if (str_has_prefix(key, PREFIX) &&
		    uuid_parse(key + strlen(PREFIX), &pools[ret->n]) == 0)
			ret->n++;
	}
}

int forgotten_read(const struct forgotten_place *at, struct ctx *ctx, struct forgotten_pools *ret,
		   struct err *err)
{
	struct forgotten_pools found = { .lease_uid = "" };
	autojson struct json_doc *doc = NULL;
	autofree char *path = NULL;

	if (kube_object_path(&kube_lease_type, at->ns, at->name, &path, err) < 0)
		return -1;
	if (kube_get(at->client, ctx, path, &doc, err) == 0) {
		found.lease_uid = arena_strdup(
			ctx->arena, str_or(json_path_string(json_root(doc), "metadata.uid"), ""));
		take_pools(ctx->arena, json_path(json_root(doc), "metadata.annotations"), &found);
	} else if (err->code != ERR_NOT_FOUND) {
		return -1;
	}
	*ret = found;
	return 0;
}

static void put_patch(struct str *out, const struct uuid *pool, bool is_forgotten)
{
	struct json_writer w = JSON_WRITER(out);
	char identity[UUID_TEXT_MAX], now[CLOCK_TEXT_MAX];
	autofree char *key = NULL;

	uuid_format(pool, identity);
	key = xasprintf(PREFIX "%s", identity);
	clock_format_micro(clock_wall_ns(), now);
	json_begin_object(&w);
	json_key(&w, "metadata");
	json_begin_object(&w);
	json_key(&w, "annotations");
	json_begin_object(&w);
	if (is_forgotten) {
		json_field_string(&w, key, now);
	} else {
		json_key(&w, key);
		json_put_null(&w);
	}
	json_end_object(&w);
	json_end_object(&w);
	json_end_object(&w);
}

int forgotten_write(const struct forgotten_place *at, struct ctx *ctx, const struct uuid *pool,
		    bool is_forgotten, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	autostr struct str body = STR_INIT;
	autofree char *path = NULL;

	put_patch(&body, pool, is_forgotten);
	return kube_object_path(&kube_lease_type, at->ns, at->name, &path, err) < 0
		       ? -1
		       : kube_patch(at->client, ctx, path, KUBE_MERGE, str_get(&body), &doc, err);
}

struct look_for {
	struct arena *arena;
	const char *name;
	VEC(const char *) found;
};

static int note(void *arg, const struct json *lease)
{
	struct look_for *look = arg;

	if (str_is_equal(str_or(json_path_string(lease, "metadata.name"), ""), look->name))
		vec_push(&look->found,
			 arena_strdup(look->arena,
				      str_or(json_path_string(lease, "metadata.namespace"), "")));
	return 0;
}

int forgotten_namespaces(struct kube_client *client, struct ctx *ctx, const char *ns,
			 const char *name, const char ***ret_ns, size_t *ret_n, struct err *err)
{
	struct look_for look = { .arena = ctx->arena, .name = name, .found = VEC_INIT };
	int r = list_each(client, ctx, &kube_lease_type, ns, note, &look, err);

	if (r == 0) {
		*ret_n = look.found.n;
		*ret_ns = arena_memdup(ctx->arena, look.found.v,
				       look.found.n * sizeof(*look.found.v));
	}
	vec_done(&look.found);
	return r;
}
