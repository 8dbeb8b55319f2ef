/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of a router: what they are, who is visited, who hangs.
 *
 *   added ── look ──► known, reachable ◄── look ──► known, away (its pools stay its own)
 *     └───── looks fail: not known
 *
 * A member that hangs costs its own callers and nobody else's: as soon as it has as many of
 * them as the options say and the oldest waits for as long, the next are refused at once. A member
 * that answers may have as many as there come.
 */
#include "csi/router-internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "event/sync.h"
#include "volume/topology.h"

#define HANGING_CALLS 8
#define HANGING_NS (2 * NS_PER_S)
#define POOLS_MAX 64 /* of one member: a driver of ours has a handful */

struct csi_router *csi_router_new(const struct csi_router_options *opts)
{
	struct csi_router *r = xcalloc(1, sizeof(*r));

	r->driver_name = xstrdup(opts->driver_name ? opts->driver_name : "");
	r->hanging_ns = opts->hanging_ns ? opts->hanging_ns : HANGING_NS;
	r->hanging_calls = opts->hanging_calls ? opts->hanging_calls : HANGING_CALLS;
	pthread_mutex_init(&r->lock, NULL);
	sync_cond_init(&r->left);
	return r;
}

void csi_router_free(struct csi_router *r)
{
	if (!r)
		return;
	vec_done(&r->members);
	vec_done(&r->index);
	vec_done(&r->forgotten);
	free(r->driver_name);
	pthread_cond_destroy(&r->left);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

struct csi_router_member *csi_router_add(struct csi_router *r, const char *name,
					 const struct csi_service *service)
{
	struct csi_router_member *m = xcalloc(1, sizeof(*m));
	size_t i;

	m->name = xstrdup(name);
	m->service = *service;
	m->since_ns = clock_now_ns();
	(void)snprintf(m->why, sizeof(m->why), "it has not been asked yet");
	LOCK_SCOPE(&r->lock);
	vec_push(&r->members, m);
	for (i = r->members.n - 1; i > 0 && strcmp(r->members.v[i - 1]->name, name) > 0; i--)
		r->members.v[i] = r->members.v[i - 1];
	r->members.v[i] = m;
	return m;
}

void csi_router_remove(struct csi_router *r, struct csi_router_member *m)
{
	{
		LOCK_SCOPE(&r->lock);
		m->is_leaving = true;
		while (m->n_visits > 0)
			(void)sync_cond_wait_until(&r->left, &r->lock, INT64_MAX);
		for (size_t i = 0; i < r->members.n; i++) {
			if (r->members.v[i] != m)
				continue;
			memmove(&r->members.v[i], &r->members.v[i + 1],
				(r->members.n - i - 1) * sizeof(m));
			r->members.n--;
			break;
		}
		r->is_index_stale = true;
		r->changes++;
	}
	vec_done(&m->facts.pools);
	free(m->name);
	free(m);
}

/* ---- visits ---- */

static bool hangs(const struct csi_router *r, const struct csi_router_member *m)
{
	return m->n_visits >= r->hanging_calls &&
	       clock_now_ns() - m->visits->began_ns >= r->hanging_ns;
}

/* With the lock. */
static int enter(const struct csi_router *r, struct csi_router_member *m, struct router_visit *v,
		 struct err *err)
{
	struct router_visit **last = &m->visits;

	if (hangs(r, m))
		return err_set(
			err, ERR_UNAVAILABLE,
			"node '%s' has %u calls that wait, the oldest for %lld s; repeat this "
			"one later",
			m->name, m->n_visits,
			(long long)((clock_now_ns() - m->visits->began_ns) / NS_PER_S));
	while (*last)
		last = &(*last)->next;
	*last = v;
	*v = (struct router_visit){ .member = m, .began_ns = clock_now_ns() };
	m->n_visits++;
	return 0;
}

void router_leave(struct csi_router *r, struct router_visit *v)
{
	struct csi_router_member *m = v->member;
	struct router_visit **at = &m->visits;
	LOCK_SCOPE(&r->lock);

	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	m->n_visits--;
	pthread_cond_broadcast(&r->left);
}

int router_blame(const struct csi_router_member *m, struct err *err)
{
	return err_wrap(err, "node '%s'", m->name);
}

/* ---- who has it ---- */

static bool is_among(const struct uuid *pools, size_t n, const struct uuid *pool)
{
	for (size_t i = 0; i < n; i++) {
		if (memcmp(&pools[i], pool, sizeof(*pool)) == 0)
			return true;
	}
	return false;
}

/* With the lock. */
static bool is_forgotten(const struct csi_router *r, const struct uuid *pool)
{
	return is_among(r->forgotten.v, r->forgotten.n, pool);
}

bool csi_router_has_forgotten(struct csi_router *r, const struct uuid *pool)
{
	LOCK_SCOPE(&r->lock);

	return is_forgotten(r, pool);
}

bool csi_router_forget(struct csi_router *r, const struct uuid *pools, size_t n)
{
	LOCK_SCOPE(&r->lock);
	bool is_news = r->forgotten.n != n;

	for (size_t i = 0; i < n; i++)
		is_news = is_news || !is_forgotten(r, &pools[i]);
	if (!is_news)
		return false;
	r->forgotten.n = 0;
	for (size_t i = 0; i < n; i++)
		vec_push(&r->forgotten, pools[i]);
	r->changes++;
	return true;
}

static int by_pool(const void *a, const void *b)
{
	const struct router_pool *x = a, *y = b;
	int order = memcmp(&x->pool, &y->pool, sizeof(x->pool));

	return order ? order : strcmp(x->member->name, y->member->name);
}

/* With the lock. */
static void make_index(struct csi_router *r)
{
	r->index.n = 0;
	for (size_t i = 0; i < r->members.n; i++) {
		struct csi_router_member *m = r->members.v[i];

		for (size_t k = 0; k < m->facts.pools.n; k++) {
			const struct router_pool one = { m->facts.pools.v[k], m };

			/* whatever it says, it is one member */
			if (!is_among(m->facts.pools.v, k, &one.pool))
				vec_push(&r->index, one);
		}
	}
	if (r->index.n > 0)
		qsort(r->index.v, r->index.n, sizeof(*r->index.v), by_pool);
	r->is_index_stale = false;
}

/* How many show it; the first two. With the lock. */
static size_t find(struct csi_router *r, const struct uuid *pool, struct csi_router_member *ret[2])
{
	size_t low = 0, high, n = 0;

	if (r->is_index_stale)
		make_index(r);
	high = r->index.n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (memcmp(&r->index.v[middle].pool, pool, sizeof(*pool)) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < r->index.n && memcmp(&r->index.v[low].pool, pool, sizeof(*pool)) == 0; low++) {
		if (r->index.v[low].member->is_leaving)
			continue;
		if (n < 2)
			ret[n] = r->index.v[low].member;
		n++;
	}
	return n;
}

static int refuse_away(const struct csi_router_member *m, struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE, "node '%s' does not answer since %lld s: %s", m->name,
		       (long long)((clock_now_ns() - m->since_ns) / NS_PER_S), m->why);
}

/* Nobody is known to have it; who has not answered yet may. With the lock. */
static int refuse_unknown(const struct csi_router *r, const struct uuid *pool, struct err *err)
{
	autostr struct str who = STR_INIT;
	char text[UUID_TEXT_MAX];

	for (size_t i = 0; i < r->members.n; i++) {
		if (!r->members.v[i]->is_known)
			str_appendf(&who, "%s'%s'", who.len ? ", " : "", r->members.v[i]->name);
	}
	uuid_format(pool, text);
	return who.len ? err_set(err, ERR_UNAVAILABLE,
				 "no node serves pool %s now; not heard of yet: %.300s", text,
				 str_get(&who))
		       : err_set(err, ERR_UNAVAILABLE, "no node serves pool %s now", text);
}

int router_enter_pool(struct csi_router *r, const struct uuid *pool, struct router_visit *v,
		      struct err *err)
{
	struct csi_router_member *who[2] = { NULL, NULL };
	LOCK_SCOPE(&r->lock);
	size_t n = find(r, pool, who);
	char text[UUID_TEXT_MAX];

	if (is_forgotten(r, pool)) {
		uuid_format(pool, text);
		return err_set(err, ERR_NOT_FOUND,
			       "pool %s was forgotten, with all that was in it (cleat ctl pool "
			       "forget)",
			       text);
	}
	if (n == 0)
		return refuse_unknown(r, pool, err);
	if (n > 1) {
		uuid_format(pool, text);
		return err_set(err, ERR_UNAVAILABLE,
			       "nodes '%s' and '%s' both have pool %s: one of them is a copy; run "
			       "'cleat ctl pool adopt --copy DIR' on its node",
			       who[0]->name, who[1]->name, text);
	}
	if (!who[0]->is_reachable)
		return refuse_away(who[0], err);
	return enter(r, who[0], v, err);
}

/* Nobody waits for what it could tell. With the lock. */
static bool is_all_forgotten(const struct csi_router *r, const struct csi_router_member *m)
{
	for (size_t i = 0; i < m->facts.pools.n; i++) {
		if (!is_forgotten(r, &m->facts.pools.v[i]))
			return false;
	}
	return m->facts.pools.n > 0;
}

int router_enter_next(struct csi_router *r, const char *name, bool is_behind,
		      struct router_visit *v, struct err *err)
{
	LOCK_SCOPE(&r->lock);

	for (size_t i = 0; i < r->members.n; i++) {
		struct csi_router_member *m = r->members.v[i];
		int order = strcmp(m->name, name);

		if (order < 0 || (order == 0 && is_behind) || m->is_leaving)
			continue;
		if (!m->is_reachable && is_all_forgotten(r, m))
			continue;
		if (!m->is_reachable)
			return refuse_away(m, err);
		return enter(r, m, v, err) < 0 ? -1 : 1;
	}
	return 0;
}

const struct uuid *router_pools(struct csi_router *r, struct arena *a, size_t *ret_n)
{
	struct csi_router_member *who[2];
	LOCK_SCOPE(&r->lock);
	struct uuid *pools;
	size_t n = 0;

	for (size_t i = 0; i < r->members.n; i++)
		n += r->members.v[i]->facts.pools.n;
	pools = arena_array(a, n, sizeof(*pools));
	n = 0;
	for (size_t i = 0; i < r->members.n; i++) {
		const struct csi_router_member *m = r->members.v[i];

		for (size_t k = 0; k < m->facts.pools.n; k++) {
			if (find(r, &m->facts.pools.v[k], who) == 1 &&
			    !is_forgotten(r, &m->facts.pools.v[k]))
				pools[n++] = m->facts.pools.v[k];
		}
	}
	*ret_n = n;
	return pools;
}

/* With the lock. */
static int nobody_answers(const struct csi_router *r, struct err *err)
{
	if (r->members.n == 0)
		return err_set(err, ERR_UNAVAILABLE, "there is no node with a driver yet");
	return refuse_away(r->members.v[0], err);
}

int router_facts(struct csi_router *r, struct router_facts *ret_all, struct err *err)
{
	struct router_facts all = { 0 };
	LOCK_SCOPE(&r->lock);
	bool is_known = false;

	for (size_t i = 0; i < r->members.n; i++) {
		const struct csi_router_member *m = r->members.v[i];

		all.plugin |= m->facts.plugin;
		all.controller |= m->facts.controller;
		all.group |= m->facts.group;
		if (!is_known && m->is_known)
			memcpy(all.version, m->facts.version, sizeof(all.version));
		is_known = is_known || m->is_known;
	}
	if (!is_known)
		return nobody_answers(r, err);
	*ret_all = all;
	return 0;
}

int router_name(struct csi_router *r, struct arena *a, const char **ret_name, struct err *err)
{
	LOCK_SCOPE(&r->lock);

	if (!*r->driver_name)
		return nobody_answers(r, err);
	*ret_name = arena_strdup(a, r->driver_name);
	return 0;
}

/* ---- looks ---- */

bool csi_router_is_stale(struct csi_router *r, struct csi_router_member *m)
{
	uint64_t link = csi_link_changes(&m->service);
	LOCK_SCOPE(&r->lock);

	return !m->is_looked_at && (!m->is_reachable || m->is_doubted || m->link != link);
}

void csi_router_doubt(struct csi_router *r, const char *name)
{
	LOCK_SCOPE(&r->lock);

	for (size_t i = 0; i < r->members.n; i++)
		if (str_is_equal(r->members.v[i]->name, name))
			r->members.v[i]->is_doubted = true;
}

static int learn_pools(const char *driver, const struct csi_node_get_info_response *info,
		       struct router_facts *facts, struct err *err)
{
	const struct strmap *segments = &info->accessible_topology.segments;

	for (size_t i = 0; info->has_accessible_topology && i < segments->n; i++) {
		struct uuid pool;

		if (vol_segment_parse(segments->v[i].key, driver, &pool) < 0)
			continue;
		if (facts->pools.n == POOLS_MAX)
			return err_set(err, ERR_INTERNAL, "it tells of more than %d pools",
				       POOLS_MAX);
		vec_push(&facts->pools, pool);
	}
	return 0;
}

static int check_name(struct csi_router *r, const char *name, struct err *err)
{
	LOCK_SCOPE(&r->lock);

	if (!*r->driver_name) {
		free(r->driver_name);
		r->driver_name = xstrdup(name);
	}
	return str_is_equal(r->driver_name, name)
		       ? 0
		       : err_set(err, ERR_FAILED_PRECONDITION,
				 "it is driver '%.64s', and the others are '%.64s'", name,
				 r->driver_name);
}

static int ask(struct csi_router *r, const struct csi_service *s, struct ctx *ctx,
	       struct router_facts *facts, struct err *err)
{
	const struct csi_node_get_info_request ask_node = {};
	const struct csi_probe_request ask_probe = {};
	struct csi_node_get_info_response node;
	struct csi_probe_response probe;
	struct csi_offers offers;

	if (csi_probe(s, ctx, &ask_probe, &probe, err) < 0)
		return -1;
	if (!csi_probe_is_ready(&probe))
		return err_set(err, ERR_UNAVAILABLE, "it says that it is not ready yet");
	if (csi_ask_offers(s, ctx, &offers, err) < 0 || check_name(r, offers.name, err) < 0 ||
	    csi_node_get_info(s, ctx, &ask_node, &node, err) < 0)
		return -1;
	(void)snprintf(facts->version, sizeof(facts->version), "%s", offers.version);
	facts->plugin = offers.plugin;
	facts->controller = offers.controller;
	facts->group = offers.group;
	return learn_pools(offers.name, &node, facts, err);
}

static bool is_same(const struct router_facts *a, const struct router_facts *b)
{
	return a->plugin == b->plugin && a->controller == b->controller && a->group == b->group &&
	       str_is_equal(a->version, b->version) && a->pools.n == b->pools.n &&
	       (a->pools.n == 0 ||
		memcmp(a->pools.v, b->pools.v, a->pools.n * sizeof(*a->pools.v)) == 0);
}

/* What it said, or err, is how it is from now on. With the lock. */
static void keep(struct csi_router *r, struct csi_router_member *m, struct router_facts *facts,
		 uint64_t link, const struct err *err)
{
	bool is_news;

	if (m->is_reachable != !err || !m->is_known)
		m->since_ns = clock_now_ns();
	m->is_reachable = !err;
	(void)snprintf(m->why, sizeof(m->why), "%s", err ? err->msg : "");
	if (err)
		return;
	is_news = !m->is_known || !is_same(&m->facts, facts);
	r->changes += is_news;
	r->is_index_stale |= is_news;
	vec_done(&m->facts.pools);
	m->facts = *facts;
	m->told_ns = m->asked_ns;
	m->is_known = true;
	m->link = link;
}

int csi_router_look(struct csi_router *r, struct csi_router_member *m, struct ctx *ctx,
		    struct err *err)
{
	uint64_t link = csi_link_changes(&m->service);
	struct router_facts facts = { 0 };
	int rc;

	{
		LOCK_SCOPE(&r->lock);
		m->is_looked_at = true;
		m->is_doubted = false;
		m->asked_ns = clock_now_ns();
	}
	rc = ask(r, &m->service, ctx, &facts, err);
	/* the first call of a link makes it */
	if (rc == 0 && csi_link_changes(&m->service) != link) {
		vec_done(&facts.pools);
		facts = (struct router_facts){ 0 };
		link = csi_link_changes(&m->service);
		rc = ask(r, &m->service, ctx, &facts, err);
	}
	if (rc < 0)
		vec_done(&facts.pools);
	{
		LOCK_SCOPE(&r->lock);
		m->is_looked_at = false;
		keep(r, m, &facts, link, rc < 0 ? err : NULL);
	}
	return rc;
}

void csi_router_each(struct csi_router *r,
		     int (*fn)(void *arg, const struct csi_router_state *state), void *arg)
{
	struct csi_router_member *who[2];
	LOCK_SCOPE(&r->lock);

	for (size_t i = 0; i < r->members.n; i++) {
		const struct csi_router_member *m = r->members.v[i];
		struct csi_router_state state = { .name = m->name,
						  .is_known = m->is_known,
						  .is_reachable = m->is_reachable,
						  .since_ns = m->since_ns,
						  .why = m->why,
						  .told_ns = m->told_ns,
						  .n_pools = m->facts.pools.n,
						  .pools = m->facts.pools.v,
						  .version = m->facts.version,
						  .service = m->service };

		for (size_t k = 0; k < m->facts.pools.n; k++) {
			if (is_forgotten(r, &m->facts.pools.v[k]))
				state.n_forgotten_pools++;
			else
				state.n_shared_pools += find(r, &m->facts.pools.v[k], who) > 1;
		}
		if (fn(arg, &state) != 0)
			break;
	}
}
