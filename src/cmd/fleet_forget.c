/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An operator forgets a pool once in years: a look each five seconds costs less than a watch.
 *
 * A Lease that somebody removed says nothing: until there is one again, pools stay forgotten. The
 * journal makes it anew with what it last saw there, which may be older than what was said since:
 * what a new Lease lacks of the old one is served again, and said so, since nobody meant it.
 */
#include "cmd/fleet_forget.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "cmd/fleet.h"
#include "cmd/lanes.h"
#include "cmd/periodic.h"
#include "control/forgotten.h"
#include "event/loop.h"

#define FIRST_NS NS_PER_MS
#define EVERY_NS (5 * NS_PER_S)
#define TIMEOUT_NS (30 * NS_PER_S)

struct fleet_forget {
	struct fleet_forget_options opts;
	char *ns, *name;
	struct periodic *looks;
	/* Of the look alone, as the last one found it. */
	char *lease_uid; /* NULL: no Lease yet */
	VEC(struct uuid) known;
	bool is_missing;
};

static bool is_among(const struct forgotten_pools *pools, const struct uuid *pool)
{
	for (size_t i = 0; i < pools->n; i++)
		if (memcmp(&pools->v[i], pool, sizeof(*pool)) == 0)
			return true;
	return false;
}

static void tell_lost(const struct fleet_forget *f, const struct forgotten_pools *now)
{
	char identity[UUID_TEXT_MAX];

	for (size_t i = 0; i < f->known.n; i++) {
		if (is_among(now, &f->known.v[i]))
			continue;
		uuid_format(&f->known.v[i], identity);
		log_warn("a pool that was forgotten is served again: the lease that said so was "
			 "removed; 'cleat ctl pool forget' says it again",
			 log_str("pool", identity), log_str("lease", f->name));
	}
}

static void tell_missing(struct fleet_forget *f)
{
	if (f->known.n > 0 && !f->is_missing)
		log_warn("the lease that says which pools are forgotten is gone, they stay so "
			 "until there is one again",
			 log_str("lease", f->name), log_u64("forgotten", f->known.n));
	f->is_missing = true;
}

static void remember(struct fleet_forget *f, const struct forgotten_pools *now)
{
	free(f->lease_uid);
	f->lease_uid = xstrdup(now->lease_uid);
	f->is_missing = false;
	f->known.n = 0;
	for (size_t i = 0; i < now->n; i++)
		vec_push(&f->known, now->v[i]);
}

static void look(void *arg, struct ctx *ctx)
{
	struct fleet_forget *f = arg;
	const struct forgotten_place at = { f->opts.client, f->ns, f->name };
	struct forgotten_pools now;
	struct err err;

	if (forgotten_read(&at, ctx, &now, &err) < 0)
		return; /* the client tells when the API server is away */
	if (!*now.lease_uid) {
		tell_missing(f);
		return;
	}
	if (f->lease_uid && !str_is_equal(f->lease_uid, now.lease_uid))
		tell_lost(f, &now);
	remember(f, &now);
	if (fleet_forget(f->opts.fleet, now.v, now.n))
		log_info("pools were forgotten, or remembered again", log_u64("forgotten", now.n));
}

static void start(void *arg)
{
	struct fleet_forget *f = arg;

	f->looks = periodic_new(&(struct periodic_options){
		.loop = f->opts.loop,
		.work = f->opts.work,
		.lane = LANE_API,
		.first_ns = FIRST_NS,
		.every_ns = EVERY_NS,
		.timeout_ns = TIMEOUT_NS,
		.run = look,
		.arg = f,
	});
}

struct fleet_forget *fleet_forget_new(const struct fleet_forget_options *opts)
{
	struct fleet_forget *f = xcalloc(1, sizeof(*f));

	f->opts = *opts;
	f->ns = xstrdup(opts->ns);
	f->name = xstrdup(opts->name);
	ev_call(opts->loop, start, f);
	return f;
}

void fleet_forget_free(struct fleet_forget *f)
{
	if (!f)
		return;
	(void)periodic_stop(f->looks, INT64_MAX);
	periodic_free(f->looks);
	vec_done(&f->known);
	free(f->lease_uid);
	free(f->name);
	free(f->ns);
	free(f);
}
