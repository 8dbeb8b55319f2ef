/* SPDX-License-Identifier: Apache-2.0 */
/* The controllers of a process; which there are says controllers_table.c. */
#include "cmd/controllers.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/controller_run.h"
#include "cmd/lanes.h"
#include "kube/informer.h"
#include "kube/recorder.h"

struct informer *controllers_cache(const struct controllers *c, const struct kube_type *type)
{
	for (size_t i = 0; i < c->types.n; i++)
		if (c->types.v[i] == type)
			return c->caches.v[i];
	return NULL;
}

static bool reads(const struct controller_row *row, const struct kube_type *type,
		  const struct controller_env *env)
{
	for (const struct controller_need *need = row->needs; need->type; need++)
		if (need->type == type && (!need->is_needed || need->is_needed(env)))
			return true;
	return false;
}

/* "provisioner, attacher" */
static char *list_readers(const struct controllers *c, const struct kube_type *type,
			  const struct controller_env *env)
{
	struct str list = STR_INIT;

	for (size_t i = 0; i < c->rows.n; i++)
		if (reads(c->rows.v[i], type, env))
			str_appendf(&list, "%s%s", list.len ? ", " : "", c->rows.v[i]->name);
	return str_take(&list);
}

static struct informer *make_cache(const struct controllers *c, const struct controller_need *need,
				   const struct controller_env *env)
{
	autofree char *readers = list_readers(c, need->type, env);
	struct controller_scope scope = { 0 };

	if (need->select)
		need->select(env, &scope);
	return informer_new(env->client, need->type,
			    &(const struct informer_options){
				    .ns = scope.ns,
				    .label_selector = scope.label_selector,
				    .field_selector = scope.field_selector,
				    .needed_by = readers,
			    });
}

static void add_caches(struct controllers *c, const struct controller_row *row,
		       const struct controller_env *env)
{
	for (const struct controller_need *need = row->needs; need->type; need++) {
		if (controllers_cache(c, need->type) || (need->is_needed && !need->is_needed(env)))
			continue;
		vec_push(&c->caches, make_cache(c, need, env));
		vec_push(&c->types, need->type);
	}
}

static void add_controller(struct controllers *c, const struct controller_row *row,
			   const struct controller_env *env)
{
	autofree char *component = row->needs_no_driver ? xstrdup(row->component)
				   : row->component
					   ? xasprintf("%s %s", row->component, env->driver_name)
					   : xstrdup(env->driver_name);
	struct controller_env own = *env;

	own.recorder = recorder_new(env->work, LANE_API, env->client, component, env->identity);
	vec_push(&c->recorders, own.recorder);
	vec_push(&c->running, row->new (&own, c));
}

/* Caches first, so that rows may read each other's; they start last, when all watch. */
void controllers_init(struct controllers *c, const struct controller_row *rows, size_t n_rows,
		      const char *names, const struct controller_env *env)
{
	for (size_t i = 0; i < n_rows; i++)
		if (controller_is_named(&rows[i], names))
			vec_push(&c->rows, &rows[i]);
	for (size_t i = 0; i < c->rows.n; i++)
		add_caches(c, c->rows.v[i], env);
	for (size_t i = 0; i < c->rows.n; i++)
		add_controller(c, c->rows.v[i], env);
	for (size_t i = 0; i < c->caches.n; i++)
		informer_start(c->caches.v[i]);
}

void controllers_start(struct controllers *c)
{
	for (size_t i = 0; i < c->running.n; i++)
		c->rows.v[i]->start(c->running.v[i]);
}

void controllers_settle(struct controllers *c)
{
	for (size_t i = 0; i < c->running.n; i++)
		if (c->rows.v[i]->settle)
			c->rows.v[i]->settle(c->running.v[i]);
}

void controllers_pause(struct controllers *c)
{
	for (size_t i = 0; i < c->running.n; i++)
		c->rows.v[i]->pause(c->running.v[i]);
}

void controllers_free(struct controllers *c)
{
	for (size_t i = 0; i < c->running.n; i++)
		c->rows.v[i]->free(c->running.v[i]);
	for (size_t i = 0; i < c->recorders.n; i++)
		recorder_free(c->recorders.v[i]);
	vec_done(&c->running);
	vec_done(&c->recorders);
	vec_done(&c->rows);
}

void controllers_free_caches(struct controllers *c)
{
	for (size_t i = 0; i < c->caches.n; i++)
		informer_free(c->caches.v[i]);
	vec_done(&c->caches);
	vec_done(&c->types);
}
