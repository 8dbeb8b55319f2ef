/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of an orphan. Between the search and now somebody may have given it an object, of the
 * name that we would give it, or made one by hand; so that is asked once more, of the API server.
 * One made by hand is found by its handle alone, in a list of all, which may take a second and has
 * what there was when it began; by its name it is one question, which comes last.
 */
#include "control/orphan-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/core.h"
#include "control/driver.h"
#include "control/object.h"
#include "control/snapshots.h"

/* So long a list is good for the next one too. */
#define RECENT_NS NS_PER_S

void orphan_deletions_init(struct orphan_deletions *d)
{
	for (size_t i = 0; i < ORPHAN_KINDS; i++) {
		orphan_facts_init(&d->facts[i]);
		d->read_ns[i] = 0;
	}
}

void orphan_deletions_done(struct orphan_deletions *d)
{
	for (size_t i = 0; i < ORPHAN_KINDS; i++)
		orphan_facts_done(&d->facts[i]);
}

/* 0: there is none of that name. */
static int check_object(const struct orphan_look *look, struct ctx *ctx,
			const struct kube_type *type, const char *ns, const char *name,
			const char *uid, struct err *err)
{
	const struct object_store store = { look->client, NULL, type };
	autokobj const struct kube_object *o = NULL;

	if (object_read(&store, ctx, ns, name, &o, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (uid && !str_is_equal(o->uid, uid))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION, "it is no orphan: there is a %s %s",
		       type->kind, name);
}

static int check_claim(const struct orphan_look *look, struct ctx *ctx, const struct orphan *o,
		       struct err *err)
{
	const char *slash = strchr(o->claim, '/');

	if (!slash)
		return 0;
	return check_object(look, ctx, &core_pvc_type,
			    arena_strndup(ctx->arena, o->claim, (size_t)(slash - o->claim)),
			    slash + 1, o->uid, err);
}

/* Members of a group have contents of their own. */
static int read_objects(const struct orphan_look *look, struct ctx *ctx, enum orphan_kind kind,
			struct orphan_facts *facts, struct err *err)
{
	if (kind == ORPHAN_GROUP &&
	    orphan_read_kind(look, ctx, &snapshot_content_type, facts, err) < 0)
		return -1;
	return orphan_read_kind(look, ctx, orphan_object_type(kind), facts, err);
}

static int read_anew(const struct orphan_look *look, struct ctx *ctx, enum orphan_kind kind,
		     struct orphan_deletions *d, struct err *err)
{
	int64_t now_ns = clock_now_ns();
	struct orphan_facts facts;

	if (d->read_ns[kind] && now_ns - d->read_ns[kind] < RECENT_NS)
		return 0;
	orphan_facts_init(&facts);
	if (read_objects(look, ctx, kind, &facts, err) < 0) {
		orphan_facts_done(&facts);
		return -1;
	}
	orphan_facts_done(&d->facts[kind]);
	d->facts[kind] = facts;
	d->read_ns[kind] = now_ns;
	return 0;
}

static int check_handles(const struct orphan_look *look, struct ctx *ctx, const struct orphan *o,
			 struct orphan_deletions *d, struct err *err)
{
	if (read_anew(look, ctx, o->kind, d, err) < 0)
		return -1;
	if (orphan_is_one(o, &d->facts[o->kind]))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION, "it is no orphan: there is a %s%s for it",
		       orphan_object_type(o->kind)->kind,
		       o->kind == ORPHAN_GROUP ? ", or one of a member's," : "");
}

static int call(const struct orphan_look *look, struct ctx *ctx, const struct orphan *o,
		struct err *err)
{
	const struct secrets none = { .map = STRMAP_EMPTY };

	if (o->kind == ORPHAN_VOLUME) {
		const struct csi_delete_volume_request req = { .volume_id = o->id,
							       .secrets = none };
		struct csi_delete_volume_response reply;

		return csi_delete_volume(look->service, ctx, &req, &reply, err);
	}
	if (o->kind == ORPHAN_SNAPSHOT) {
		const struct csi_delete_snapshot_request req = { .snapshot_id = o->id,
								 .secrets = none };
		struct csi_delete_snapshot_response reply;

		return csi_delete_snapshot(look->service, ctx, &req, &reply, err);
	}
	const struct csi_delete_volume_group_snapshot_request req = {
		.group_snapshot_id = o->id,
		.snapshot_ids = o->members.v,
		.n_snapshot_ids = o->members.n,
		.secrets = none,
	};
	struct csi_delete_volume_group_snapshot_response reply;

	return csi_delete_volume_group_snapshot(look->service, ctx, &req, &reply, err);
}

int orphan_delete(const struct orphan_look *look, struct ctx *ctx, const struct orphan *o,
		  struct orphan_deletions *d, struct err *err)
{
	int64_t deadline_ns;
	int r;

	if (*o->node)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "%s %s is in use on node '%s', by what the API server does not know",
			       orphan_kind_name(o->kind), o->id, o->node);
	if (check_claim(look, ctx, o, err) < 0 || check_handles(look, ctx, o, d, err) < 0 ||
	    check_object(look, ctx, orphan_object_type(o->kind), NULL,
			 orphan_object_name(ctx->arena, o), NULL, err) < 0)
		return err_wrap(err, "%s %s", orphan_kind_name(o->kind), o->id);
	deadline_ns = driver_limit_to(ctx, look->timeout_ns);
	r = call(look, ctx, o, err);
	ctx->deadline_ns = deadline_ns;
	return r < 0 ? err_wrap(err, "delete %s %s", orphan_kind_name(o->kind), o->id) : 0;
}
