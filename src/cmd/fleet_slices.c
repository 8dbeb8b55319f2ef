/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   a slice changes (loop) -> a worker reads all of them from the cache, and tells the fleet
 *
 * One worker at a time; what changes meanwhile makes it go round once more. It is of the slow lane,
 * as who leaves has calls that may take a while to end.
 */
#include "cmd/fleet_slices.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/mem.h"
#include "cmd/fleet.h"
#include "cmd/lanes.h"
#include "control/discovery.h"
#include "control/list.h"
#include "event/sync.h"
#include "event/work.h"
#include "kube/informer.h"

struct fleet_slices {
	struct fleet_slices_options opts;
	char *ns, *service, *port;
	struct informer *cache;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;
	bool is_working;
	bool is_stale; /* something changed since the worker looked */
	bool is_stopping;
};

/* found: the slices of the Service. */
static void set_members(struct fleet *fleet, const struct kube_objects *found, const char *port)
{
	autoarena struct arena *a = arena_new();
	const struct discovery_slice **slices = arena_array(a, found->n, sizeof(*slices));
	const struct discovery_place *places;
	struct fleet_member *members;
	size_t n;

	for (size_t i = 0; i < found->n; i++)
		slices[i] = discovery_slice_of(found->v[i]);
	places = discovery_places(a, slices, found->n, port, &n);
	members = arena_array(a, n, sizeof(*members));
	for (size_t i = 0; i < n; i++)
		members[i] = (struct fleet_member){ places[i].node_name, places[i].address, true };
	fleet_set(fleet, members, n);
}

static void tell(struct fleet_slices *s)
{
	autokobjs struct kube_objects found = { 0 };

	informer_each_in(s->cache, DISCOVERY_SLICES_BY_SERVICE, s->service, kube_objects_add,
			 &found);
	set_members(s->opts.fleet, &found, s->port);
}

struct reading {
	const char *service;
	struct kube_objects found;
};

static int see(void *arg, const struct json *item)
{
	struct reading *r = arg;
	autokobj const struct kube_object *o = kube_object_decode(&discovery_slice_type, item);

	if (o && str_is_equal(str_or(discovery_slice_service(o, 0), ""), r->service))
		(void)kube_objects_add(&r->found, o);
	return 0;
}

int fleet_slices_read(const struct fleet_slices_options *opts, struct ctx *ctx, struct err *err)
{
	struct reading r = { .service = opts->service };
	int rc = list_each(opts->client, ctx, &discovery_slice_type, opts->ns, see, &r, err);

	if (rc == 0 && r.found.n == 0)
		rc = err_set(err, ERR_NOT_FOUND, "there is no EndpointSlice of Service %s/%s",
			     opts->ns, opts->service);
	if (rc == 0)
		set_members(opts->fleet, &r.found, opts->port);
	kube_objects_done(&r.found);
	return rc;
}

/* Whether there is (still) anything to do; if not, the worker is done. */
static bool next(struct fleet_slices *s)
{
	LOCK_SCOPE(&s->lock);

	if (s->is_stale && !s->is_stopping) {
		s->is_stale = false;
		return true;
	}
	s->is_working = false;
	pthread_cond_broadcast(&s->idle);
	return false;
}

static void work_off(void *arg)
{
	struct fleet_slices *s = arg;

	while (next(s))
		tell(s);
}

/* On the loop. What goes while the cache is not whole yet may be on its way. */
static void changed(void *arg, const struct kube_object *old_obj, const struct kube_object *new_obj)
{
	struct fleet_slices *s = arg;
	LOCK_SCOPE(&s->lock);

	(void)old_obj;
	(void)new_obj;
	s->is_stale = true;
	if (!s->is_working && !s->is_stopping)
		s->is_working = work_submit(s->opts.work, LANE_SLOW, work_off, s) == 0;
}

struct fleet_slices *fleet_slices_new(const struct fleet_slices_options *opts)
{
	struct fleet_slices *s = xcalloc(1, sizeof(*s));
	autofree char *selector = xasprintf(DISCOVERY_SERVICE_LABEL "=%s", opts->service);

	s->opts = *opts;
	s->ns = xstrdup(opts->ns);
	s->service = xstrdup(opts->service);
	s->port = xstrdup(opts->port);
	pthread_mutex_init(&s->lock, NULL);
	sync_cond_init(&s->idle);
	s->cache = informer_new(
		opts->client, &discovery_slice_type,
		&(const struct informer_options){ .ns = s->ns, .label_selector = selector });
	informer_add_index(s->cache, DISCOVERY_SLICES_BY_SERVICE, discovery_slice_service);
	informer_on_change(s->cache, changed, s);
	informer_start(s->cache);
	return s;
}

struct informer *fleet_slices_cache(struct fleet_slices *s)
{
	return s->cache;
}

void fleet_slices_free(struct fleet_slices *s)
{
	if (!s)
		return;
	informer_off_change(s->cache, changed, s);
	{
		LOCK_SCOPE(&s->lock);
		s->is_stopping = true;
		while (s->is_working)
			(void)sync_cond_wait_until(&s->idle, &s->lock, INT64_MAX);
	}
	informer_free(s->cache);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s->port);
	free(s->service);
	free(s->ns);
	free(s);
}
