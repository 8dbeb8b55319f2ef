/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look takes microseconds, so that a second one at the same thing waits costs nothing. Only the
 * one that hangs is remembered, and only as long as it does.
 */
#include "csi/looks.h"

#include <assert.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "event/sync.h"

struct look {
	int64_t since_ns;
	int64_t since_wall_ns;
};

struct looks {
	pthread_mutex_t lock; /* guards running and what it holds; never held across a look */
	pthread_cond_t ended;
	struct map *running; /* key → struct look */
};

struct looks *looks_new(void)
{
	struct looks *l = xcalloc(1, sizeof(*l));

	pthread_mutex_init(&l->lock, NULL);
	sync_cond_init(&l->ended);
	l->running = map_new();
	return l;
}

void looks_free(struct looks *l)
{
	if (!l)
		return;
	assert(map_count(l->running) == 0);
	map_free(l->running);
	pthread_cond_destroy(&l->ended);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static int refuse(const struct look *running, struct err *err)
{
	char since[CLOCK_TEXT_MAX];

	clock_format(running->since_wall_ns, since);
	return err_set(err, ERR_UNAVAILABLE,
		       "a look at it has not come back since %s: its disk, or what is mounted, "
		       "does not answer",
		       since);
}

int looks_begin(struct looks *l, const char *key, struct err *err)
{
	LOCK_SCOPE(&l->lock);
	int64_t patience_ends_ns = clock_now_ns() + LOOKS_PATIENCE_NS;
	struct look *running;

	while ((running = map_find(l->running, key))) {
		int64_t until_ns = running->since_ns + LOOKS_PATIENCE_NS;

		if (until_ns > patience_ends_ns)
			until_ns = patience_ends_ns;
		if (clock_now_ns() >= until_ns ||
		    sync_cond_wait_until(&l->ended, &l->lock, until_ns) < 0) {
			running = map_find(l->running, key);
			if (running)
				return refuse(running, err);
		}
	}
	running = xcalloc(1, sizeof(*running));
	*running = (struct look){ clock_now_ns(), clock_wall_ns() };
	(void)map_put(l->running, key, running);
	return 0;
}

void looks_end(struct looks *l, const char *key)
{
	LOCK_SCOPE(&l->lock);

	free(map_take(l->running, key));
	pthread_cond_broadcast(&l->ended);
}

size_t looks_count_silent(struct looks *l)
{
	LOCK_SCOPE(&l->lock);
	int64_t now_ns = clock_now_ns();
	const char *key;
	void *look;
	size_t n = 0;

	for (size_t it = 0; map_next(l->running, &it, &key, &look);)
		n += now_ns - ((struct look *)look)->since_ns >= LOOKS_PATIENCE_NS;
	return n;
}
