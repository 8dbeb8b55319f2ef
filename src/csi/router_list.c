/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of all members, in the order of their names, which is the same whoever comes and goes.
 *
 * A token says whose page is next, and by which token of its own: "LENGTH:NAME:TOKEN". When that
 * member is gone meanwhile, the list goes on with the one that would come after it. Without
 * max_entries everything is one page, as CSI wants it.
 *
 * The three lists are alike, so one function fills them by the description of their messages. What
 * lies in a pool that was forgotten is in none of them: it would be taken for something to use or
 * to clean up.
 */
#include "csi/router-internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct list {
	const struct csi_rpc *rpc;
	const struct msg_field *max, *from;      /* of the request */
	const struct msg_field *entries, *token; /* of the reply */
	size_t entry_bytes;
	size_t wanted; /* 0: all */
	char *all;     /* malloc */
	size_t n;
};

static void describe(struct list *l, const struct csi_rpc *rpc)
{
	l->rpc = rpc;
	l->max = message_find(rpc->request, "max_entries");
	l->from = message_find(rpc->request, "starting_token");
	l->entries = message_find(rpc->response, "entries");
	l->token = message_find(rpc->response, "next_token");
	l->entry_bytes = l->entries->type->size;
}

static void set_string(const struct msg_field *field, void *msg, const char *text)
{
	memcpy((char *)msg + field->offset, &text, sizeof(text));
}

/* The id of what an entry tells of, which is in the entry or in a message in it; "". */
static const char *id_in(const struct msg_type *type, const char *name, const void *entry)
{
	const struct msg_field *field = message_find(type, name);

	for (size_t i = 0; !field && i < type->n_fields; i++) {
		const struct msg_field *inner = &type->fields[i];

		if (inner->kind == MSG_MESSAGE && inner->label != MSG_MANY &&
		    message_find(inner->type, name) && message_count(inner, entry))
			return id_in(inner->type, name, message_value(inner, entry, 0));
	}
	return field && message_count(field, entry) ? message_string(message_value(field, entry, 0))
						    : "";
}

static bool is_forgotten(struct csi_router *r, const struct list *l, const void *entry)
{
	bool is_snapshot = l->rpc == &csi_rpcs[CSI_RPC_ListSnapshots];
	const char *text =
		id_in(l->entries->type, is_snapshot ? "snapshot_id" : "volume_id", entry);
	struct vol_id id;
	struct err ignored;

	return vol_id_parse(is_snapshot ? VOL_KIND_SNAPSHOT : VOL_KIND_VOLUME, text, &id,
			    &ignored) == 0 &&
	       csi_router_has_forgotten(r, &id.pool);
}

static void add(struct csi_router *r, struct list *l, const void *reply)
{
	size_t n = message_count(l->entries, reply);

	if (n > 0)
		l->all = xrealloc(l->all, (l->n + n) * l->entry_bytes);
	for (size_t i = 0; i < n; i++) {
		const void *entry = message_value(l->entries, reply, i);

		if (!is_forgotten(r, l, entry))
			memcpy(l->all + l->n++ * l->entry_bytes, entry, l->entry_bytes);
	}
}

static const char *token_of(struct arena *a, const char *name, const char *inner)
{
	return arena_printf(a, "%zu:%s:%s", strlen(name), name, inner);
}

/* ABORTED, as CSI wants it: the list is to be begun anew. */
static int parse_token(struct arena *a, const char *text, const char **ret_name,
		       const char **ret_inner, struct err *err)
{
	const char *end = text;
	size_t n = 0;

	*ret_name = *ret_inner = "";
	if (str_is_empty(text))
		return 0;
	while (*end >= '0' && *end <= '9' && n < NAME_MAX)
		n = n * 10 + (size_t)(*end++ - '0');
	if (end == text || *end != ':' || strlen(end + 1) <= n || end[1 + n] != ':')
		return err_set(err, ERR_ABORTED,
			       "starting_token '%.64s' is none that a list ended with", text);
	*ret_name = arena_strndup(a, end + 1, n);
	*ret_inner = end + 2 + n;
	return 0;
}

/* One page of a member: its own next token in ret_inner. */
static int ask(struct csi_router *r, struct list *l, struct ctx *ctx, struct router_visit *v,
	       void *req, const char **ret_inner, struct err *err)
{
	void *reply = arena_alloc(ctx->arena, l->rpc->response->size);
	uint32_t max = l->wanted ? (uint32_t)(l->wanted - l->n) : 0;
	int rc;

	set_string(l->from, req, *ret_inner);
	memcpy((char *)req + l->max->offset, &max, sizeof(max));
	rc = l->rpc->call(&v->member->service, ctx, req, reply, err);
	if (rc < 0)
		return router_blame(v->member, err);
	add(r, l, reply);
	*ret_inner = message_count(l->token, reply)
			     ? message_string(message_value(l->token, reply, 0))
			     : "";
	return 0;
}

static bool is_full(const struct list *l)
{
	return l->wanted && l->n >= l->wanted;
}

/* ret_token: where the next page begins, "" at the end. */
static int walk(struct csi_router *r, struct list *l, struct ctx *ctx, void *req,
		const char **ret_token, struct err *err)
{
	bool is_behind = false;
	const char *name, *inner;
	struct router_visit v;

	if (parse_token(ctx->arena, *ret_token, &name, &inner, err) < 0)
		return -1;
	for (;;) {
		int rc = router_enter_next(r, name, is_behind, &v, err);

		*ret_token = "";
		if (rc <= 0)
			return rc;
		if (!str_is_equal(v.member->name, name))
			inner = "";
		name = arena_strdup(ctx->arena, v.member->name);
		if (is_full(l)) {
			router_leave(r, &v);
			*ret_token = token_of(ctx->arena, name, "");
			return 0;
		}
		do
			rc = ask(r, l, ctx, &v, req, &inner, err);
		while (rc == 0 && *inner && !is_full(l));
		router_leave(r, &v);
		if (rc < 0)
			return -1;
		if (*inner) {
			*ret_token = token_of(ctx->arena, name, inner);
			return 0;
		}
		is_behind = true;
	}
}

int router_list(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx, const void *req,
		void *ret, struct err *err)
{
	void *own = arena_memdup(ctx->arena, req, rpc->request->size);
	struct list l = { .all = NULL };
	const char *token;
	uint32_t max;
	int rc;

	describe(&l, rpc);
	memcpy(&max, (const char *)req + l.max->offset, sizeof(max));
	l.wanted = max;
	token = message_string((const char *)req + l.from->offset);
	rc = walk(r, &l, ctx, own, &token, err);
	if (rc == 0 && l.n > 0) {
		const void *entries = arena_memdup(ctx->arena, l.all, l.n * l.entry_bytes);

		memcpy((char *)ret + l.entries->offset, &entries, sizeof(entries));
		memcpy((char *)ret + l.entries->aux, &l.n, sizeof(l.n));
	}
	if (rc == 0)
		set_string(l.token, ret, token);
	free(l.all);
	return rc;
}
