/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose the objects are, so that they go with whoever made them: the pod, or by levels its
 * controller and that one's. Each level is one read of the object below it; the last owner is only
 * named. Where there are fewer levels than were asked for the topmost is taken.
 */
#include "control/capacity-internal.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/core.h"
#include "event/sync.h"
#include "kube/client.h"
#include "kube/path.h"

struct link {
	const char *api_version, *kind, *name, *uid; /* of a reply */
};

/* The resource of a kind, as its group's API calls it: by the rule that all workloads keep. */
static char *plural(const char *kind)
{
	size_t n = strlen(kind);
	bool is_sibilant = str_has_suffix(kind, "s") || str_has_suffix(kind, "x") ||
			   str_has_suffix(kind, "ch") || str_has_suffix(kind, "sh");
	bool is_y = str_has_suffix(kind, "y");
	char *word = xasprintf("%.*s%s", (int)(n - is_y), kind,
			       is_y          ? "ies"
			       : is_sibilant ? "es"
					     : "s");

	for (char *p = word; *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
	return word;
}

static int read_as(struct capacity *c, struct ctx *ctx, const struct link *at, bool is_namespaced,
		   struct json_doc **ret, struct err *err)
{
	autofree char *resource = plural(at->kind);
	const struct kube_type type = { .kind = at->kind,
					.resource = resource,
					.group_version = at->api_version,
					.is_namespaced = is_namespaced };
	autofree char *path = NULL;

	return kube_object_path(&type, c->ns, at->name, &path, err) < 0
		       ? -1
		       : kube_get(c->objects.client, ctx, path, ret, err);
}

/* An owner is in the namespace, as are workloads, or in none, as is the Node of a static pod. */
static int read_link(struct capacity *c, struct ctx *ctx, const struct link *at,
		     struct json_doc **ret, struct err *err)
{
	int r = read_as(c, ctx, at, true, ret, err);

	if (r < 0 && err->code == ERR_NOT_FOUND)
		r = read_as(c, ctx, at, false, ret, err);
	return r < 0 ? err_wrap(err, "owner of capacities: %s '%s'", at->kind, at->name) : 0;
}

/* The controller among an object's owners: false if it has none. */
static bool read_controller(const struct json *root, struct link *ret)
{
	const struct json *owner;

	for (struct json_it it = json_each(json_path(root, "metadata.ownerReferences"));
	     json_next(&it, NULL, &owner);) {
		if (!json_bool(json_get(owner, "controller"), false))
			continue;
		*ret = (struct link){ str_or(json_get_string(owner, "apiVersion"), ""),
				      str_or(json_get_string(owner, "kind"), ""),
				      str_or(json_get_string(owner, "name"), ""),
				      str_or(json_get_string(owner, "uid"), "") };
		return *ret->api_version && *ret->kind && *ret->name && *ret->uid;
	}
	return false;
}

static void keep(struct capacity *c, const struct link *at)
{
	struct str text = STR_INIT;
	struct json_writer w = JSON_WRITER(&text);

	json_begin_object(&w);
	json_field_string(&w, "apiVersion", at->api_version);
	json_field_string(&w, "kind", at->kind);
	json_field_string(&w, "name", at->name);
	json_field_string(&w, "uid", at->uid);
	json_field_bool(&w, "controller", true);
	json_end_object(&w);
	log_info("capacities have an owner", log_str("kind", at->kind), log_str("name", at->name));
	LOCK_SCOPE(&c->lock);
	free(c->owner.json);
	free(c->owner.uid);
	c->owner = (struct owner){ str_take(&text), xstrdup(at->uid) };
}

/* From one level to the next; each document holds the strings of the link above it. */
static int climb(struct capacity *c, struct ctx *ctx, struct link *at, int levels, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct link above;

	if (levels == 0 && *at->uid) {
		keep(c, at);
		return 0;
	}
	if (read_link(c, ctx, at, &doc, err) < 0)
		return -1;
	if (levels > 0 && read_controller(json_root(doc), &above))
		return climb(c, ctx, &above, levels - 1, err);
	if (levels > 0)
		log_warn("capacities: fewer owners than --capacity-ownerref-level says, the "
			 "topmost is taken",
			 log_str("kind", at->kind), log_str("name", at->name));
	at->uid = str_or(json_path_string(json_root(doc), "metadata.uid"), "");
	keep(c, at);
	return 0;
}

int capacity_find_owner(struct capacity *c, struct ctx *ctx, struct err *err)
{
	struct link pod = { "v1", core_pod_type.kind, c->pod_name, "" };
	bool is_known;

	{
		LOCK_SCOPE(&c->lock);
		is_known = !capacity_has_owner(c) || c->owner.json;
	}
	return is_known ? 0 : climb(c, ctx, &pod, c->owner_level, err);
}
