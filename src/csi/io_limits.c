/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a wish to none:
 *
 *   WAITING   there is no cgroup yet
 *   APPLIED   looked at again each time: a container more, a stranger's hand
 *   FAILED    told once, tried again each time
 *
 * What is lifted is written once as "none" and then forgotten.
 *
 * The lock is never held across a write. Who finds an entry at work leaves it alone: its worker
 * looks afterwards whether another wish came, and writes again.
 */
#define LOG_ROOM "csi"
#include "csi/io_limits.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/vec.h"
#include "event/sync.h"

#define LONG_NS (30 * NS_PER_S)
#define KEY_MAX (HOST_POD_UID_MAX + 24)

enum entry_state { ENTRY_WAITING, ENTRY_APPLIED, ENTRY_FAILED, N_ENTRY_STATES };

static const char *const state_names[N_ENTRY_STATES] = { "waiting", "applied", "failed" };

struct entry {
	char key[KEY_MAX];
	struct limited it;
	struct vol_limits wanted; /* none: to be lifted */
	unsigned version;         /* of wanted */
	bool is_busy;
	enum entry_state state;
	int64_t since_ns; /* in this state */
	bool is_told;     /* that it waits for long */
};

struct limits {
	char *cgroup_root;

	pthread_mutex_t lock; /* guards what follows */
	struct map *entries;  /* key → struct entry */
	uint64_t version;
};

struct keys {
	VEC(char *) list;
};

struct limits *limits_new(const char *cgroup_root)
{
	struct limits *l = xcalloc(1, sizeof(*l));

	l->cgroup_root = xstrdup(cgroup_root);
	pthread_mutex_init(&l->lock, NULL);
	l->entries = map_new();
	return l;
}

void limits_free(struct limits *l)
{
	const char *key;
	void *e;

	if (!l)
		return;
	for (size_t it = 0; map_next(l->entries, &it, &key, &e);)
		free(e);
	map_free(l->entries);
	pthread_mutex_destroy(&l->lock);
	free(l->cgroup_root);
	free(l);
}

const char *limits_cgroup_root(const struct limits *l)
{
	return l->cgroup_root;
}

uint64_t limits_version(struct limits *l)
{
	LOCK_SCOPE(&l->lock);

	return l->version;
}

static void make_key(const char *pod, dev_t device, char ret_key[KEY_MAX])
{
	(void)snprintf(ret_key, KEY_MAX, "%s %u:%u", pod, major(device), minor(device));
}

static struct host_io_limits as_host(const struct vol_limits *v)
{
	return (struct host_io_limits){ .read_iops = v->read_iops,
					.write_iops = v->write_iops,
					.read_bytes = v->read_bandwidth,
					.write_bytes = v->write_bandwidth };
}

static void log_entry(const struct entry *e, enum entry_state now, int rc, const struct err *err)
{
	char text[VOL_LIMITS_TEXT_MAX];
	const char *device = strchr(e->key, ' ') + 1;

	vol_limits_describe(&e->wanted, text);
	if (now == ENTRY_FAILED)
		log_warn("limits of I/O are not applied; it is tried again each second",
			 log_str("volume", e->it.token), log_str("pod", e->it.pod),
			 log_str("device", device), log_str("limits", text), log_err(err));
	else if (rc > 0)
		log_info("limits of I/O are applied", log_str("volume", e->it.token),
			 log_str("pod", e->it.pod), log_str("device", device),
			 log_str("limits", text));
}

/* What the writing gave. NOT_FOUND is waiting: a cgroup that is not there yet, or one that goes. */
static enum entry_state judge(int rc, const struct err *err)
{
	if (rc >= 0)
		return ENTRY_APPLIED;
	return err->code == ERR_NOT_FOUND ? ENTRY_WAITING : ENTRY_FAILED;
}

/* It has waited for long, and nobody was told. */
static bool is_overdue(const struct entry *before, enum entry_state now)
{
	return now == ENTRY_WAITING && before->state == now && before->since_ns &&
	       !before->is_told && clock_now_ns() - before->since_ns > LONG_NS;
}

static void tell(const struct entry *before, enum entry_state now, bool overdue, int rc,
		 const struct err *err)
{
	if (now != before->state || (rc > 0 && !vol_limits_are_set(&before->wanted)))
		log_entry(before, now, rc, err);
	if (overdue)
		log_warn("limits of I/O wait for the cgroup of a pod that does not come",
			 log_str("volume", before->it.token), log_str("pod", before->it.pod),
			 log_err(err));
}

static void keep(struct entry *e, enum entry_state now, bool overdue)
{
	if (now != e->state || !e->since_ns) {
		e->since_ns = clock_now_ns();
		e->is_told = false;
	}
	e->state = now;
	e->is_told |= overdue;
}

/* Under the lock: a copy to work on, or false if there is nothing to do. */
static bool take_entry(struct limits *l, const char *key, struct entry *ret)
{
	LOCK_SCOPE(&l->lock);
	struct entry *e = map_find(l->entries, key);

	if (!e || e->is_busy)
		return false;
	e->is_busy = true;
	*ret = *e;
	return true;
}

/* Whether the wish is another one now, and the work goes on. What is busy nobody else judges. */
static bool give_back(struct limits *l, const struct entry *written, int rc, const struct err *err)
{
	enum entry_state now = judge(rc, err);
	bool overdue = is_overdue(written, now);
	struct entry *e;

	tell(written, now, overdue, rc, err);
	LOCK_SCOPE(&l->lock);
	e = map_find(l->entries, written->key);
	e->is_busy = false;
	keep(e, now, overdue);
	if (e->version != written->version)
		return true;
	if (rc >= 0 && !vol_limits_are_set(&e->wanted))
		free(map_take(l->entries, written->key));
	return false;
}

static void mend(struct limits *l, const char *key)
{
	struct entry copy;
	bool goes_on = true;

	while (goes_on && take_entry(l, key, &copy)) {
		struct host_io_limits wanted = as_host(&copy.wanted);
		struct err err;
		int rc = host_cgroup_limit(l->cgroup_root, copy.it.pod, copy.it.device, &wanted,
					   &err);

		goes_on = give_back(l, &copy, rc, &err);
	}
}

static void count_states(struct limits *l)
{
	unsigned n[N_ENTRY_STATES] = { 0 };
	const char *key;
	void *e;

	{
		LOCK_SCOPE(&l->lock);
		for (size_t it = 0; map_next(l->entries, &it, &key, &e);)
			n[((struct entry *)e)->state]++;
	}
	for (size_t i = 0; i < N_ENTRY_STATES; i++)
		metric_set(METRIC_VOLUME_LIMITS, n[i], METRIC_ARGS(state_names[i]));
}

static void mend_keys(struct limits *l, struct keys *keys)
{
	for (size_t i = 0; i < keys->list.n; i++) {
		mend(l, keys->list.v[i]);
		free(keys->list.v[i]);
	}
	vec_done(&keys->list);
	count_states(l);
}

static void wish(struct limits *l, const struct limited *it, const struct vol_limits *wanted)
{
	char key[KEY_MAX];
	struct entry *e;

	make_key(it->pod, it->device, key);
	e = map_find(l->entries, key);
	if (!e && !wanted)
		return;
	if (!e) {
		e = xcalloc(1, sizeof(*e));
		memcpy(e->key, key, sizeof(key));
		(void)map_put(l->entries, key, e);
	}
	e->it = *it;
	if (wanted && !vol_limits_are_equal(&e->wanted, wanted)) {
		e->wanted = *wanted;
		e->version++;
	}
}

static bool is_listed(const struct limits_use *use, const struct limited *it)
{
	for (size_t i = 0; i < use->n; i++) {
		if (use->list[i].device == it->device && str_is_equal(use->list[i].pod, it->pod))
			return true;
	}
	return false;
}

/* Under the lock: what is wanted from now on, and the keys of it. */
static bool take_use(struct limits *l, const struct limits_use *use, struct keys *keys)
{
	LOCK_SCOPE(&l->lock);
	static const struct vol_limits none;
	const char *key;
	void *value;

	if (use->is_old && use->version != l->version)
		return false;
	if (!use->is_old)
		l->version++;
	for (size_t i = 0; i < use->n; i++)
		wish(l, &use->list[i], use->wanted);
	for (size_t it = 0; map_next(l->entries, &it, &key, &value);) {
		struct entry *e = value;
		bool is_in = is_listed(use, &e->it);

		if (!is_in && e->it.device != use->devices[0] && e->it.device != use->devices[1])
			continue;
		if (!is_in && vol_limits_are_set(&e->wanted)) {
			e->wanted = none;
			e->version++;
		}
		vec_push(&keys->list, xstrdup(key));
	}
	return true;
}

void limits_set(struct limits *l, const struct limits_use *use)
{
	struct keys keys = { 0 };

	if (take_use(l, use, &keys))
		mend_keys(l, &keys);
}

void limits_mend(struct limits *l)
{
	struct keys keys = { 0 };
	const char *key;
	void *e;

	{
		LOCK_SCOPE(&l->lock);
		for (size_t it = 0; map_next(l->entries, &it, &key, &e);)
			vec_push(&keys.list, xstrdup(key));
	}
	mend_keys(l, &keys);
}

bool limits_has(struct limits *l, const char *pod, dev_t device)
{
	LOCK_SCOPE(&l->lock);
	char wanted[KEY_MAX];
	const char *key;
	void *e;

	if (pod) {
		make_key(pod, device, wanted);
		return map_find(l->entries, wanted) != NULL;
	}
	for (size_t it = 0; map_next(l->entries, &it, &key, &e);) {
		if (((struct entry *)e)->it.device == device)
			return true;
	}
	return false;
}

void limits_each(struct limits *l, int (*fn)(void *arg, const struct limited *it), void *arg)
{
	LOCK_SCOPE(&l->lock);
	const char *key;
	void *e;

	for (size_t it = 0; map_next(l->entries, &it, &key, &e);) {
		if (fn(arg, &((struct entry *)e)->it) != 0)
			return;
	}
}

size_t limits_count(struct limits *l)
{
	LOCK_SCOPE(&l->lock);

	return map_count(l->entries);
}
