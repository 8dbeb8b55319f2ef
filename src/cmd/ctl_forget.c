/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl pool forget, remember - a pool that is gone for good, and one that came back after all
 *
 * Says so in the cluster, where the controllers read it (control/forgotten.h); the node that had
 * the pool is not asked, since it is gone. Nothing is changed without --yes: what is lost is told.
 */
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cmd/controllers.h"
#include "cmd/ctl.h"
#include "cmd/table.h"
#include "control/core.h"
#include "control/forgotten.h"
#include "control/group_snapshots.h"
#include "control/list.h"
#include "control/snapshots.h"

struct lost {
	const char *kind, *name, *of; /* of: "namespace/name" of what it was made for, "" */
};

struct losses {
	struct ctl *ctl;
	const struct kube_type *type;
	struct uuid pool;
	VEC(struct lost) found;
};

/* ---- what is lost with it ---- */

static bool is_in_pool(const struct losses *l, enum vol_kind kind, const char *handle)
{
	struct vol_id id;
	struct err ignored;

	return vol_id_parse(kind, handle, &id, &ignored) == 0 &&
	       memcmp(&id.pool, &l->pool, sizeof(id.pool)) == 0;
}

static void note(struct losses *l, const struct kube_object *o, const char *ns, const char *name)
{
	struct arena *a = l->ctl->ctx->arena;
	const char *of = *ns ? arena_printf(a, "%s/%s", ns, name) : "";

	vec_push(&l->found, ((struct lost){ o->type->kind, arena_strdup(a, o->name), of }));
}

static int see(void *arg, const struct json *item)
{
	struct losses *l = arg;
	autokobj const struct kube_object *o = kube_object_decode(l->type, item);

	if (o && l->type == &core_pv_type) {
		const struct core_pv *pv = core_pv_of(o);

		if (is_in_pool(l, VOL_KIND_VOLUME, pv->handle))
			note(l, o, pv->claim_ns, pv->claim_name);
	} else if (o && l->type == &snapshot_content_type) {
		const struct snapshot_content *content = snapshot_content_of(o);

		if (is_in_pool(l, VOL_KIND_SNAPSHOT, str_or(content->handle, "")) ||
		    is_in_pool(l, VOL_KIND_SNAPSHOT, str_or(content->source_handle, "")))
			note(l, o, "", "");
	} else if (o) {
		const struct group_content *content = group_content_of(o);

		if (is_in_pool(l, VOL_KIND_GROUP, str_or(content->handle, "")))
			note(l, o, "", "");
	}
	return 0;
}

static int look(struct losses *l, struct err *err)
{
	static const struct kube_type *const types[] = { &core_pv_type, &snapshot_content_type,
							 &group_content_type };

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		l->type = types[i];
		if (list_each(l->ctl->kube, l->ctl->ctx, types[i], NULL, see, l, err) < 0 &&
		    (i == 0 || err->code != ERR_NOT_FOUND)) /* no CRDs, none of these */
			return -1;
	}
	return 0;
}

static void print_losses(struct ctl *ctl, const struct losses *l)
{
	static const char *const headings[] = { "KIND", "NAME", "OF" };
	struct table *t = table_new(headings, ARRAY_LEN(headings));

	for (size_t i = 0; i < l->found.n; i++)
		table_row(t, (const char *const[]){ l->found.v[i].kind, l->found.v[i].name,
						    *l->found.v[i].of ? l->found.v[i].of : NULL });
	if (l->found.n > 0)
		table_print(t, ctl->out);
	table_free(t);
}

static void put_losses(struct json_writer *w, const struct losses *l)
{
	json_key(w, "lost");
	json_begin_array(w);
	for (size_t i = 0; i < l->found.n; i++) {
		json_begin_object(w);
		json_field_string(w, "kind", l->found.v[i].kind);
		json_field_string(w, "name", l->found.v[i].name);
		if (*l->found.v[i].of)
			json_field_string(w, "of", l->found.v[i].of);
		json_end_object(w);
	}
	json_end_array(w);
}

/* l NULL: nothing is. */
static void print_fate(struct ctl *ctl, const struct uuid *pool, const char *fate,
		       const struct losses *l)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);
	char identity[UUID_TEXT_MAX];

	uuid_format(pool, identity);
	switch (ctl->output) {
	case CTL_ID:
		str_appendf(ctl->out, "%s\n", identity);
		break;
	case CTL_JSON:
	case CTL_YAML:
		json_begin_object(&w);
		json_field_string(&w, "identity", identity);
		json_field_string(&w, "done", fate);
		if (l)
			put_losses(&w, l);
		json_end_object(&w);
		ctl_print_document(ctl, &json);
		break;
	case CTL_TABLE:
		str_appendf(ctl->out, "pool %s %s%s\n", identity, fate,
			    l && l->found.n > 0 ? "; with it are lost:" : "");
		if (l)
			print_losses(ctl, l);
		break;
	}
}

/* ---- where it is said ---- */

/* The Lease of the one namespace that has it. */
static int find_place(struct ctl *ctl, struct forgotten_place *ret, struct err *err)
{
	const char *ns = str_is_empty(ctl->opts->journal_ns) ? NULL : ctl->opts->journal_ns;
	const char *driver = ctl->opts->driver_name;
	char lease[CONTROLLER_LEASE_MAX];
	const char *name, **found;
	size_t n;

	controller_own_lease_name(driver, lease);
	name = arena_printf(ctl->ctx->arena, "%s-intents", lease);
	if (forgotten_namespaces(ctl->kube, ctl->ctx, ns, name, &found, &n, err) < 0)
		return -1;
	if (n == 0)
		return err_set(err, ERR_NOT_FOUND,
			       "there is no Lease %s%s%s: no controller of driver '%s' has been "
			       "here (--driver-name, --journal-namespace)",
			       name, ns ? " in namespace " : "", ns ? ns : "", driver);
	if (n > 1)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"namespaces '%s' and '%s' both have a Lease %s: say whose controller "
			"is meant (--journal-namespace)",
			found[0], found[1], name);
	*ret = (struct forgotten_place){ ctl->kube, found[0], name };
	return 0;
}

static int parse_pool(struct ctl *ctl, struct uuid *ret, struct err *err)
{
	/* as messages have it; as ids and labels do */
	if (uuid_parse(ctl->id, ret) == 0 || (strlen(ctl->id) == 2 * sizeof(ret->b) &&
					      hex_parse(ctl->id, sizeof(ret->b), ret->b) == 0))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "'%.80s' is no pool's identity: that is 32 hex digits, with dashes or "
		       "without, as in the ids of its volumes and in the labels of its node",
		       ctl->id);
}

int ctl_pool_forget(struct ctl *ctl, struct err *err)
{
	struct losses l = { .ctl = ctl, .found = VEC_INIT };
	struct forgotten_place at;
	int r;

	if (parse_pool(ctl, &l.pool, err) < 0 || find_place(ctl, &at, err) < 0)
		return -1;
	r = look(&l, err);
	if (r == 0 && ctl->opts->yes)
		r = forgotten_write(&at, ctl->ctx, &l.pool, true, err);
	if (r == 0)
		print_fate(ctl, &l.pool,
			   ctl->opts->yes ? "is forgotten" : "would be forgotten, with --yes", &l);
	vec_done(&l.found);
	return r;
}

int ctl_pool_remember(struct ctl *ctl, struct err *err)
{
	struct forgotten_place at;
	struct uuid pool;

	if (parse_pool(ctl, &pool, err) < 0 || find_place(ctl, &at, err) < 0 ||
	    forgotten_write(&at, ctl->ctx, &pool, false, err) < 0)
		return -1;
	print_fate(ctl, &pool, "is served again where it is", NULL);
	return 0;
}
