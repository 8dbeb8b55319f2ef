/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl node list, pool list - the nodes of a cluster and their pools, as this call finds them
 *
 * Each agent was asked when the fleet was opened (ctl_connect.c). What a pool holds is asked of its
 * own agent and not of all as one, so that a node that is away is a line of its own and does not
 * hide the others.
 */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "cmd/ctl.h"
#include "cmd/fleet.h"
#include "cmd/table.h"
#include "csi/router.h"
#include "volume/topology.h"

#define PAGE 500

struct member {
	struct csi_router_state state; /* its texts and pools in the arena */
};

/* A pool of a member. n_…: UINT64_MAX where its agent cannot tell. */
struct held {
	const struct member *member;
	struct uuid pool;
	uint64_t available, largest, n_volumes, n_snapshots, n_ailing;
	const char *why; /* not known; "" */
};

struct found {
	struct arena *arena;
	VEC(struct member) members;
	VEC(struct held) pools;
};

int ctl_check_agents(const struct ctl_options *opts, struct err *err)
{
	if (!str_is_empty(opts->agents) || !str_is_empty(opts->agents_service))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "say which nodes: --agents-service=NAMESPACE/NAME, or --agents=ADDRESS,...");
}

static int note(void *arg, const struct csi_router_state *state)
{
	struct found *f = arg;
	struct member m = { *state };

	m.state.name = arena_strdup(f->arena, state->name);
	m.state.why = arena_strdup(f->arena, state->why);
	m.state.version = arena_strdup(f->arena, state->version);
	m.state.pools = arena_memdup(f->arena, state->pools, state->n_pools * sizeof(struct uuid));
	vec_push(&f->members, m);
	return 0;
}

static void find_members(struct ctl *ctl, struct found *f)
{
	*f = (struct found){ .arena = ctl->ctx->arena };
	fleet_each(ctl->fleet, note, f);
}

static void done(struct found *f)
{
	vec_done(&f->members);
	vec_done(&f->pools);
}

static const char *state_of(const struct csi_router_state *s)
{
	return s->is_reachable ? "reachable" : s->is_known ? "away" : "never answered";
}

/* ---- nodes ---- */

static void put_nodes(struct json_writer *w, const struct found *f)
{
	for (size_t i = 0; i < f->members.n; i++) {
		const struct csi_router_state *s = &f->members.v[i].state;

		json_begin_object(w);
		json_field_string(w, "node", s->name);
		json_field_bool(w, "reachable", s->is_reachable);
		if (*s->why)
			json_field_string(w, "why", s->why);
		if (*s->version)
			json_field_string(w, "version", s->version);
		json_field_u64(w, "pools", s->n_pools);
		json_field_u64(w, "shared_pools", s->n_shared_pools);
		json_end_object(w);
	}
}

static void print_nodes(struct ctl *ctl, const struct found *f)
{
	static const char *const headings[] = { "NODE", "STATE", "POOLS", "VERSION", "WHY" };
	struct table *t = table_new(headings, ARRAY_LEN(headings));

	for (size_t i = 0; i < f->members.n; i++) {
		const struct csi_router_state *s = &f->members.v[i].state;
		autofree char *n = xasprintf("%zu", s->n_pools);
		const char *why =
			s->n_shared_pools ? "another node shows a pool of it, too" : s->why;

		table_row(t, (const char *const[]){ s->name, state_of(s), n,
						    *s->version ? s->version : NULL,
						    *why ? why : NULL });
	}
	table_print(t, ctl->out);
	table_free(t);
}

static void print_items(struct ctl *ctl, void (*put)(struct json_writer *w, const struct found *f),
			const struct found *f)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	json_begin_object(&w);
	json_key(&w, "items");
	json_begin_array(&w);
	put(&w, f);
	json_end_array(&w);
	json_end_object(&w);
	ctl_print_document(ctl, &json);
}

static int node_list(struct ctl *ctl, struct err *err)
{
	struct found f;

	(void)err;
	find_members(ctl, &f);
	if (ctl->output == CTL_TABLE)
		print_nodes(ctl, &f);
	else if (ctl->output != CTL_ID)
		print_items(ctl, put_nodes, &f);
	for (size_t i = 0; ctl->output == CTL_ID && i < f.members.n; i++)
		str_appendf(ctl->out, "%s\n", f.members.v[i].state.name);
	done(&f);
	return 0;
}

/* ---- pools ---- */

static void count(uint64_t *n, const struct held *h, enum vol_kind kind, const char *text)
{
	struct vol_id id;
	struct err ignored;

	if (vol_id_parse(kind, text, &id, &ignored) == 0 &&
	    memcmp(&id.pool, &h->pool, sizeof(id.pool)) == 0)
		++*n;
}

static int count_volumes(struct ctl *ctl, struct held *h, struct err *err)
{
	struct csi_list_volumes_request req = { .max_entries = PAGE, .starting_token = "" };
	struct csi_list_volumes_response page;

	h->n_volumes = 0;
	do {
		if (csi_list_volumes(&h->member->state.service, ctl->ctx, &req, &page, err) < 0)
			return -1;
		for (size_t i = 0; i < page.n_entries; i++)
			count(&h->n_volumes, h, VOL_KIND_VOLUME, page.entries[i].volume.volume_id);
		req.starting_token = page.next_token;
	} while (!str_is_empty(page.next_token));
	return 0;
}

static int count_snapshots(struct ctl *ctl, struct held *h, struct err *err)
{
	struct csi_list_snapshots_request req = { .max_entries = PAGE, .starting_token = "" };
	struct csi_list_snapshots_response page;

	h->n_snapshots = 0;
	do {
		if (csi_list_snapshots(&h->member->state.service, ctl->ctx, &req, &page, err) < 0)
			return -1;
		for (size_t i = 0; i < page.n_entries; i++)
			count(&h->n_snapshots, h, VOL_KIND_SNAPSHOT,
			      page.entries[i].snapshot.snapshot_id);
		req.starting_token = page.next_token;
	} while (!str_is_empty(page.next_token));
	return 0;
}

/* Those that something is wrong with. */
static int count_ailing(struct ctl *ctl, struct held *h, struct err *err)
{
	struct csi_controller_list_volume_health_request req = { .max_entries = PAGE,
								 .starting_token = "" };
	struct csi_controller_list_volume_health_response page;

	h->n_ailing = 0;
	do {
		if (csi_controller_list_volume_health(&h->member->state.service, ctl->ctx, &req,
						      &page, err) < 0)
			return -1;
		for (size_t i = 0; i < page.n_entries; i++) {
			if (page.entries[i].n_health_statuses > 0)
				count(&h->n_ailing, h, VOL_KIND_VOLUME, page.entries[i].volume_id);
		}
		req.starting_token = page.next_token;
	} while (!str_is_empty(page.next_token));
	return 0;
}

static int ask_room(struct ctl *ctl, const char *driver, struct held *h, struct err *err)
{
	const struct strpair pair = { vol_segment_key(ctl->ctx->arena, driver, &h->pool),
				      VOL_SEGMENT_VALUE };
	struct csi_get_capacity_request req = { .has_accessible_topology = true };
	struct csi_get_capacity_response room;

	req.accessible_topology.segments = strmap_from(ctl->ctx->arena, &pair, 1);
	if (csi_get_capacity(&h->member->state.service, ctl->ctx, &req, &room, err) < 0)
		return -1;
	h->available = room.available_capacity;
	h->largest = room.has_maximum_volume_size ? room.maximum_volume_size : UINT64_MAX;
	return 0;
}

/* What an agent has no call for is not known; any other trouble is why. */
static bool is_mute(const struct err *err)
{
	return err->code == ERR_UNIMPLEMENTED;
}

static void ask_pool(struct ctl *ctl, const char *driver, struct held *h)
{
	struct err err;

	if ((ask_room(ctl, driver, h, &err) < 0 && !is_mute(&err)) ||
	    (count_volumes(ctl, h, &err) < 0 && !is_mute(&err)) ||
	    (count_snapshots(ctl, h, &err) < 0 && !is_mute(&err)) ||
	    (count_ailing(ctl, h, &err) < 0 && !is_mute(&err)))
		h->why = arena_strdup(ctl->ctx->arena, err.msg);
}

static int find_pools(struct ctl *ctl, struct found *f, struct err *err)
{
	struct csi_get_plugin_info_request ask = {};
	struct csi_get_plugin_info_response info;

	find_members(ctl, f);
	if (csi_get_plugin_info(ctl->service, ctl->ctx, &ask, &info, err) < 0)
		return -1;
	for (size_t i = 0; i < f->members.n; i++) {
		const struct member *m = &f->members.v[i];

		for (size_t k = 0; k < m->state.n_pools; k++) {
			struct held h = { .member = m,
					  .pool = m->state.pools[k],
					  .available = UINT64_MAX,
					  .largest = UINT64_MAX,
					  .n_volumes = UINT64_MAX,
					  .n_snapshots = UINT64_MAX,
					  .n_ailing = UINT64_MAX,
					  .why = m->state.why };

			if (m->state.is_reachable)
				ask_pool(ctl, info.name, &h);
			vec_push(&f->pools, h);
		}
	}
	return 0;
}

static void put_number(struct json_writer *w, const char *name, uint64_t n)
{
	if (n != UINT64_MAX)
		json_field_u64(w, name, n);
}

static void put_pools(struct json_writer *w, const struct found *f)
{
	for (size_t i = 0; i < f->pools.n; i++) {
		const struct held *h = &f->pools.v[i];
		char identity[UUID_TEXT_MAX];

		uuid_format(&h->pool, identity);
		json_begin_object(w);
		json_field_string(w, "identity", identity);
		json_field_string(w, "node", h->member->state.name);
		json_field_bool(w, "reachable", h->member->state.is_reachable);
		put_number(w, "available_bytes", h->available);
		put_number(w, "maximum_volume_bytes", h->largest);
		put_number(w, "volumes", h->n_volumes);
		put_number(w, "snapshots", h->n_snapshots);
		put_number(w, "ailing_volumes", h->n_ailing);
		if (*h->why)
			json_field_string(w, "why", h->why);
		json_end_object(w);
	}
}

/* NULL for what is not known. */
static const char *number(char text[CMD_BYTES_MAX], uint64_t n, bool is_bytes)
{
	if (n == UINT64_MAX)
		return NULL;
	if (is_bytes)
		cmd_format_bytes(n, text);
	else
		(void)snprintf(text, CMD_BYTES_MAX, "%" PRIu64, n);
	return text;
}

static void print_pools(struct ctl *ctl, const struct found *f)
{
	static const char *const headings[] = { "POOL",    "NODE",      "STATE",  "AVAILABLE",
						"VOLUMES", "SNAPSHOTS", "AILING", "WHY" };
	struct table *t = table_new(headings, ARRAY_LEN(headings));

	for (size_t i = 0; i < f->pools.n; i++) {
		const struct held *h = &f->pools.v[i];
		char identity[UUID_TEXT_MAX], a[CMD_BYTES_MAX], v[CMD_BYTES_MAX], s[CMD_BYTES_MAX],
			ailing[CMD_BYTES_MAX];

		uuid_format(&h->pool, identity);
		table_row(t, (const char *const[]){
				     identity, h->member->state.name, state_of(&h->member->state),
				     number(a, h->available, true), number(v, h->n_volumes, false),
				     number(s, h->n_snapshots, false),
				     number(ailing, h->n_ailing, false), *h->why ? h->why : NULL });
	}
	table_print(t, ctl->out);
	table_free(t);
}

int ctl_pool_list(struct ctl *ctl, struct err *err)
{
	struct found f;
	int r = find_pools(ctl, &f, err);

	if (r == 0 && ctl->output == CTL_TABLE)
		print_pools(ctl, &f);
	else if (r == 0 && ctl->output != CTL_ID)
		print_items(ctl, put_pools, &f);
	for (size_t i = 0; r == 0 && ctl->output == CTL_ID && i < f.pools.n; i++) {
		char identity[UUID_TEXT_MAX];

		uuid_format(&f.pools.v[i].pool, identity);
		str_appendf(ctl->out, "%s\n", identity);
	}
	done(&f);
	return r;
}

/* clang-format off */
const struct ctl_verb ctl_node_verbs[] = {
	{ .group = "node", .name = "list", .check = ctl_check_agents, .run = node_list, .takes = "agents,agents-service",
	  .summary = "The nodes whose agents are asked, whether they answer, and why not." },
	{ .name = NULL },
};
/* clang-format on */
