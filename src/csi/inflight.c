/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys are volume tokens, not ids: CreateVolume has no id yet, but its name gives the token that
 * the id will hold, so that creating and deleting the same volume also keep out of each other's
 * way. Each kind has tokens of its own, so its name stands before them.
 */
#include "csi/inflight.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "event/sync.h"

struct call {
	const char *method;
	int64_t since_ns;
};

struct inflight {
	pthread_mutex_t lock; /* guards calls and what it holds; never held across a call */
	struct map *calls;    /* "kind token" → struct call */
};

struct inflight *inflight_new(void)
{
	struct inflight *f = xcalloc(1, sizeof(*f));

	pthread_mutex_init(&f->lock, NULL);
	f->calls = map_new();
	return f;
}

void inflight_free(struct inflight *f)
{
	if (!f)
		return;
	assert(map_count(f->calls) == 0);
	map_free(f->calls);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

/* Longer than any: "group snapshot", a space and a token. */
#define KEY_MAX (VOL_TOKEN_MAX + 24)

static void make_key(enum vol_kind kind, const char *token, char ret_key[KEY_MAX])
{
	(void)snprintf(ret_key, KEY_MAX, "%s %s", vol_kind_name(kind), token);
}

int inflight_begin_of(struct inflight *f, enum vol_kind kind, const char *token, const char *method,
		      struct err *err)
{
	LOCK_SCOPE(&f->lock);
	int64_t now_ns = clock_now_ns();
	char key[KEY_MAX];
	struct call *running;
	struct call *call;

	make_key(kind, token, key);
	running = map_find(f->calls, key);
	if (running)
		return err_set(err, ERR_ABORTED,
			       "%s has been running on %s '%s' for %.1f s; try again later",
			       running->method, vol_kind_name(kind), token,
			       (double)(now_ns - running->since_ns) / (double)NS_PER_S);
	call = xcalloc(1, sizeof(*call));
	call->method = method;
	call->since_ns = now_ns;
	map_put(f->calls, key, call);
	return 0;
}

void inflight_end_of(struct inflight *f, enum vol_kind kind, const char *token)
{
	LOCK_SCOPE(&f->lock);
	char key[KEY_MAX];

	make_key(kind, token, key);
	free(map_take(f->calls, key));
}

int inflight_begin(struct inflight *f, const char *token, const char *method, struct err *err)
{
	return inflight_begin_of(f, VOL_KIND_VOLUME, token, method, err);
}

void inflight_end(struct inflight *f, const char *token)
{
	inflight_end_of(f, VOL_KIND_VOLUME, token);
}
