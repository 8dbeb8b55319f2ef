/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One slot:
 *
 *   is it to be? ── no ──> delete what there is of it
 *     │ yes
 *   the driver is registered there? ── no ──> as below, without asking
 *     │ yes
 *   GetCapacity ── fails ──> keep what was published; too old: delete it
 *     │
 *   the objects of the slot: none ──> create · one ──> patch, if it differs · more ──> keep one
 *
 * The name of a new object comes of driver, manager and slot, so two who create it at once make
 * one. Where that name is taken by what is not ours any more (its labels were taken off), the next
 * of three is tried.
 */
#include "control/capacity-internal.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/num.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/str.h"
#include "event/sync.h"
#include "kube/client.h"
#include "kube/fence.h"
#include "kube/informer.h"

#define NAME_TRIES 3
#define COUNT_AFTER_NS NS_PER_S /* what is counted may be late by so much */
#define JITTER 0.1

/* What one reconcile works with; in ctx->arena. */
struct view {
	struct capacity *c;
	struct ctx *ctx;
	const char *key;
	bool is_known; /* there is a plan that still holds */
	bool is_wanted, is_away;
	const char *class_name;
	struct strmap segment;
	const char *owner_json, *owner_uid; /* NULL: none */
	struct csi_get_capacity_response room;
};

static void read_slot(struct view *v)
{
	struct capacity *c = v->c;
	const struct slot *s;

	LOCK_SCOPE(&c->lock);
	s = map_find(c->slots, v->key);
	v->is_known = c->has_plan && (s || !c->is_stale);
	v->is_wanted = s;
	if (!s)
		return;
	v->is_away = s->is_away;
	v->class_name = arena_strdup(v->ctx->arena, s->class_name);
	v->segment = strmap_from(v->ctx->arena, s->segment.v, s->segment.n);
	if (!c->owner.json)
		return;
	v->owner_json = arena_strdup(v->ctx->arena, c->owner.json);
	v->owner_uid = arena_strdup(v->ctx->arena, c->owner.uid);
}

/* What it is known to be from now on. room NULL: nothing is published. */
static void note(const struct view *v, const struct csi_get_capacity_response *room)
{
	struct slot *s;

	LOCK_SCOPE(&v->c->lock);
	s = map_find(v->c->slots, v->key);
	if (!s)
		return;
	s->is_published = room;
	if (!room)
		return;
	s->good_ns = clock_now_ns();
	s->capacity_bytes = room->available_capacity;
	s->has_maximum = room->has_maximum_volume_size;
	s->maximum_bytes = room->maximum_volume_size;
}

static int64_t age_ns(const struct view *v)
{
	const struct slot *s;

	LOCK_SCOPE(&v->c->lock);
	s = map_find(v->c->slots, v->key);
	return s ? clock_now_ns() - s->good_ns : 0;
}

static void tell_age(struct capacity *c, const struct ctx *ctx)
{
	int64_t now_ns = clock_now_ns(), oldest_ns = now_ns;
	const char *key;
	void *slot;

	{
		LOCK_SCOPE(&c->lock);
		for (size_t it = 0; map_next(c->slots, &it, &key, &slot);) {
			const struct slot *s = slot;

			if (s->is_published && s->good_ns < oldest_ns)
				oldest_ns = s->good_ns;
		}
	}
	metric_set(METRIC_CAPACITY_AGE, (double)(now_ns - oldest_ns) / NS_PER_S, NULL);
	if (fence_is_cut_off(c->fence, ctx))
		metric_set(METRIC_CAPACITY_AGE, 0, NULL);
}

/* ---- objects ---- */

/* Ours of the slot that are not on their way out. */
static void find_objects(const struct view *v, struct kube_objects *ret)
{
	autokobjs struct kube_objects all = { 0 };

	informer_each_in(v->c->objects.cache, STORAGE_CAPACITIES_BY_SLOT, v->key, kube_objects_add,
			 &all);
	for (size_t i = 0; i < all.n; i++)
		if (capacity_is_ours(v->c, all.v[i]) && !all.v[i]->is_deleting)
			(void)kube_objects_add(ret, all.v[i]);
}

/* n ≥ 1: of several the first by name stays, so that all who look keep the same. */
static const struct kube_object **first_of(struct kube_objects *objects)
{
	size_t first = 0;

	for (size_t i = 1; i < objects->n; i++)
		if (strcmp(objects->v[i]->name, objects->v[first]->name) < 0)
			first = i;
	return &objects->v[first];
}

/* All but one; keep NULL: all. */
static int delete_objects(const struct view *v, const struct kube_objects *objects,
			  const struct kube_object *keep, struct err *err)
{
	for (size_t i = 0; i < objects->n; i++) {
		if (objects->v[i] == keep)
			continue;
		if (object_delete(&v->c->objects, v->ctx, objects->v[i], err) < 0)
			return -1;
		log_info("capacity withdrawn", log_str("object", objects->v[i]->name));
		queue_add_after(v->c->queue, PLAN_KEY, COUNT_AFTER_NS);
	}
	return 0;
}

static void make_name(const struct view *v, unsigned i, char *name, size_t size)
{
	autofree char *words = xasprintf("%s/%s/%s", v->c->csi.name, v->c->manager, v->key);
	uint8_t hash[SHA256_BYTES];
	int n;

	sha256(words, strlen(words), hash);
	n = snprintf(name, size, "csisc-");
	for (size_t k = 0; k < 16; k++)
		n += snprintf(name + n, size - (size_t)n, "%02x", hash[k]);
	if (i > 0)
		(void)snprintf(name + n, size - (size_t)n, "-%u", i + 1);
}

static void write_room(struct json_writer *w, const struct csi_get_capacity_response *room,
		       bool is_patch)
{
	char text[NUM_QUANTITY_MAX];

	num_format_quantity(room->available_capacity, text);
	json_field_string(w, "capacity", text);
	num_format_quantity(room->maximum_volume_size, text);
	if (room->has_maximum_volume_size || is_patch)
		json_field_string(w, "maximumVolumeSize",
				  room->has_maximum_volume_size ? text : NULL); /* null */
}

static void write_object(const struct view *v, const char *name, struct str *out)
{
	struct json_writer w = JSON_WRITER(out);

	json_begin_object(&w);
	json_field_string(&w, "apiVersion", storage_capacity_type.group_version);
	json_field_string(&w, "kind", storage_capacity_type.kind);
	json_key(&w, "metadata");
	json_begin_object(&w);
	json_field_string(&w, "name", name);
	json_field_string(&w, "namespace", v->c->ns);
	json_key(&w, "labels");
	json_begin_object(&w);
	json_field_string(&w, STORAGE_LABEL_DRIVER, v->c->csi.name);
	json_field_string(&w, STORAGE_LABEL_MANAGER, v->c->manager);
	json_end_object(&w);
	if (v->owner_json) {
		json_key(&w, "ownerReferences");
		json_begin_array(&w);
		json_put_raw(&w, v->owner_json);
		json_end_array(&w);
	}
	json_end_object(&w);
	json_key(&w, "nodeTopology");
	json_begin_object(&w);
	if (v->segment.n > 0) {
		json_key(&w, "matchLabels");
		json_put_strmap(&w, &v->segment);
	}
	json_end_object(&w);
	json_field_string(&w, "storageClassName", v->class_name);
	write_room(&w, &v->room, false);
	json_end_object(&w);
}

/* 1: what has the name is what was to be made, and is in the cache now. 0: it is something else. */
static int look_at_taken(const struct view *v, const char *name, struct err *err)
{
	const struct object_store apart = { v->c->objects.client, NULL, v->c->objects.type };
	autokobj const struct kube_object *o = NULL;

	if (object_read(&apart, v->ctx, v->c->ns, name, &o, err) < 0)
		return -1;
	if (!capacity_is_ours(v->c, o) || o->is_deleting ||
	    !str_is_equal(storage_capacity_of(o)->slot, v->key))
		return 0;
	informer_note_write(v->c->objects.cache, o);
	return 1;
}

/* ABORTED: it is there already, and is to be looked at. */
static int create_object(const struct view *v, struct err *err)
{
	char name[64];

	for (unsigned i = 0; i < NAME_TRIES; i++) {
		autostr struct str body = STR_INIT;
		autokobj const struct kube_object *made = NULL;
		int r;

		make_name(v, i, name, sizeof(name));
		write_object(v, name, &body);
		if (object_create(&v->c->objects, v->ctx, v->c->ns, str_get(&body), &made, err) ==
		    0) {
			queue_add_after(v->c->queue, PLAN_KEY, COUNT_AFTER_NS);
			return 0;
		}
		if (err->code != ERR_ALREADY_EXISTS)
			return -1;
		r = look_at_taken(v, name, err);
		if (r < 0)
			return -1;
		if (r > 0)
			return err_set(err, ERR_ABORTED, "capacity '%s' is there already", name);
	}
	return err_set(err, ERR_ALREADY_EXISTS,
		       "the name '%s' and those before it are taken by objects that are not ours "
		       "(label " STORAGE_LABEL_MANAGER "=%s); delete them",
		       name, v->c->manager);
}

static bool is_same(const struct view *v, const struct kube_object *o)
{
	const struct storage_capacity *old = storage_capacity_of(o);

	return old->has_capacity && old->capacity_bytes == v->room.available_capacity &&
	       old->has_maximum == v->room.has_maximum_volume_size &&
	       (!old->has_maximum || old->maximum_bytes == v->room.maximum_volume_size) &&
	       (!v->owner_uid || str_is_equal(old->owner_uid, v->owner_uid));
}

static int update_object(const struct view *v, const struct kube_object **o, struct err *err)
{
	autostr struct str part = STR_INIT, meta = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);

	json_begin_object(&w);
	write_room(&w, &v->room, true);
	json_end_object(&w);
	str_appendf(&meta, "\"resourceVersion\":\"%s\"", (*o)->resource_version);
	if (v->owner_uid && !str_is_equal(storage_capacity_of(*o)->owner_uid, v->owner_uid))
		str_appendf(&meta, ",\"ownerReferences\":[%s]", v->owner_json);
	part.buf[part.len - 1] = '\0'; /* its members alone */
	return object_patch(&v->c->objects, v->ctx, o, NULL, part.buf + 1, str_get(&meta), err);
}

/* How long to wait until a write may be made; 0: it may, and is counted. */
static int64_t take_turn(struct capacity *c)
{
	int64_t now_ns = clock_now_ns(), wait_ns;

	if (c->write_gap_ns == 0)
		return 0;
	LOCK_SCOPE(&c->lock);
	if (c->next_write_ns < now_ns)
		c->next_write_ns = now_ns;
	wait_ns = c->next_write_ns - now_ns - c->write_slack_ns;
	if (wait_ns > 0)
		return wait_ns;
	c->next_write_ns += c->write_gap_ns;
	return 0;
}

/* 1: done; 0: not yet its turn, again after that. */
static int write_out(const struct view *v, int64_t *ret_after_ns, struct err *err)
{
	autokobjs struct kube_objects objects = { 0 };
	const struct kube_object **first = NULL;

	find_objects(v, &objects);
	if (objects.n > 0) {
		first = first_of(&objects);
		if (delete_objects(v, &objects, *first, err) < 0)
			return -1;
		if (is_same(v, *first))
			return 1;
	}
	*ret_after_ns = take_turn(v->c);
	if (*ret_after_ns > 0)
		return 0;
	if ((first ? update_object(v, first, err) : create_object(v, err)) < 0)
		return -1;
	log_debug("capacity published", log_str("class", v->class_name),
		  log_u64("bytes", v->room.available_capacity));
	return 1;
}

/* ---- the slot ---- */

/* For people. */
static const char *segment_text(const struct view *v)
{
	autostr struct str text = STR_INIT;

	for (size_t i = 0; i < v->segment.n; i++)
		str_appendf(&text, "%s%s=%s", i ? "," : "", v->segment.v[i].key,
			    v->segment.v[i].value);
	return arena_strdup(v->ctx->arena, text.len ? str_get(&text) : "there is no topology");
}

static int ask_driver(struct view *v, const struct storage_class *class, struct err *err)
{
	const struct csi_get_capacity_request req = {
		.parameters = class->parameters, /* all of them, as external-provisioner */
		.accessible_topology = { .segments = v->segment },
		.has_accessible_topology = true,
	};
	int64_t deadline_ns;
	int r;

	deadline_ns = driver_limit(&v->c->csi, v->ctx);
	r = csi_get_capacity(&v->c->csi.service, v->ctx, &req, &v->room, err);
	v->ctx->deadline_ns = deadline_ns;
	return r < 0 ? err_wrap(err, "capacity of class %s where %s", v->class_name,
				segment_text(v))
		     : 0;
}

/* Everything that there is of the slot. */
static enum queue_verdict withdraw(const struct view *v)
{
	autokobjs struct kube_objects objects = { 0 };
	struct err err;

	find_objects(v, &objects);
	if (delete_objects(v, &objects, NULL, &err) == 0) {
		note(v, NULL);
		return QUEUE_DONE;
	}
	if (!fence_is_cut_off(v->c->fence, v->ctx))
		log_warn("capacity not withdrawn", log_err(&err));
	return QUEUE_RETRY;
}

/* It is not known what there is. */
static enum queue_verdict keep_or_withdraw(const struct view *v, const struct err *why)
{
	int64_t age = age_ns(v);

	if (fence_is_cut_off(v->c->fence, v->ctx))
		return QUEUE_RETRY;
	log_warn("capacity is not known", log_err(why), log_duration("age", age));
	if (v->c->keep_ns == 0 || age < v->c->keep_ns)
		return QUEUE_RETRY;
	(void)withdraw(v);
	return QUEUE_RETRY; /* the driver will be asked again */
}

/* Its nodes' driver is not registered: what is published stays as it is, for a time. */
static enum queue_verdict wait_for_driver(const struct view *v)
{
	if (v->c->keep_ns == 0 || age_ns(v) < v->c->keep_ns)
		return QUEUE_DONE; /* the poll comes */
	queue_add_after(v->c->queue, PLAN_KEY, COUNT_AFTER_NS);
	return withdraw(v);
}

static void poll_later(const struct view *v)
{
	queue_add_after(v->c->queue, v->key, random_jitter_ns(v->c->poll_ns, JITTER));
}

enum queue_verdict capacity_publish(struct capacity *c, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	struct view v = { .c = c, .ctx = ctx, .key = key };
	autokobj const struct kube_object *class = NULL;
	struct err err;
	int r;

	read_slot(&v);
	if (!v.is_known)
		return QUEUE_DONE; /* the plan that is to come queues it again */
	if (!v.is_wanted)
		return withdraw(&v);
	tell_age(c, ctx);
	class = informer_get(c->classes, "", v.class_name);
	if (!class)
		return QUEUE_DONE; /* that plan again */
	poll_later(&v);            /* also while the backoff is longer */
	if (v.is_away)
		return wait_for_driver(&v);
	if (ask_driver(&v, storage_class_of(class), &err) < 0)
		return keep_or_withdraw(&v, &err);
	r = write_out(&v, ret_after_ns, &err);
	if (r == 0)
		return QUEUE_RETRY_AFTER;
	if (r > 0) {
		note(&v, &v.room);
		return QUEUE_DONE;
	}
	/* Somebody else wrote, or it went: the watch tells, and if that is late the backoff. */
	if (err.code != ERR_ABORTED && err.code != ERR_NOT_FOUND &&
	    !fence_is_cut_off(c->fence, ctx))
		log_warn("capacity not published", log_str("class", v.class_name),
			 log_str("segment", segment_text(&v)), log_err(&err));
	return QUEUE_RETRY;
}
