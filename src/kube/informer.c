/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door of an informer: its life, its handlers and its readers. What keeps the cache current is
 * informer_stream.c, on the I/O thread; other threads see the cache, which has locks of its own,
 * and the few words under `lock`.
 */
#include "kube/informer-internal.h"

#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"
#include "kube/client-internal.h"

static char *copy_word(const char *word)
{
	return str_is_empty(word) ? NULL : xstrdup(word);
}

struct informer *informer_new(struct kube_client *client, const struct kube_type *type,
			      const struct informer_options *opts)
{
	static const struct informer_options all = { 0 };
	struct informer *i = xcalloc(1, sizeof(*i));

	i->client = client;
	i->loop = kube_client_loop(client);
	i->type = type;
	opts = opts ? opts : &all;
	i->ns = copy_word(opts->ns);
	i->label_selector = copy_word(opts->label_selector);
	i->field_selector = copy_word(opts->field_selector);
	i->needed_by = copy_word(opts->needed_by);
	cache_init(&i->cache);
	pthread_mutex_init(&i->lock, NULL);
	return i;
}

static void destroy(void *arg)
{
	struct informer *i = arg;

	informer_stream_stop(i);
	cache_done(&i->cache);
	pthread_mutex_destroy(&i->lock);
	str_done(&i->body);
	str_done(&i->version);
	str_done(&i->page);
	str_done(&i->next_page);
	free(i->path);
	free(i->ns);
	free(i->label_selector);
	free(i->field_selector);
	free(i->needed_by);
	free(i);
}

void informer_free(struct informer *i)
{
	if (!i)
		return;
	cache_drop_handlers(&i->cache);
	ev_post(i->loop, destroy, i);
}

struct replay {
	struct informer *i;
	struct cache_handler handler;
};

static void run_replay(void *arg)
{
	struct replay *r = arg;

	cache_replay(&r->i->cache, r->handler.fn, r->handler.arg);
	free(r);
}

void informer_on_change(struct informer *i, informer_change_fn fn, void *arg)
{
	struct replay *r;

	cache_add_handler(&i->cache, fn, arg);
	if (!atomic_load(&i->is_started))
		return;
	r = xmalloc(sizeof(*r));
	*r = (struct replay){ i, { fn, arg } };
	ev_post(i->loop, run_replay, r);
}

void informer_off_change(struct informer *i, informer_change_fn fn, void *arg)
{
	cache_drop_handler(&i->cache, fn, arg);
}

static void start(void *arg)
{
	informer_stream_start(arg);
}

void informer_start(struct informer *i)
{
	if (!atomic_exchange(&i->is_started, true))
		ev_post(i->loop, start, i);
}

bool informer_has_synced(const struct informer *i)
{
	return atomic_load(&i->is_synced);
}

void informer_trouble(struct informer *i, char *ret_text)
{
	LOCK_SCOPE(&i->lock);
	memcpy(ret_text, i->trouble, ERR_MSG_MAX);
}

bool informer_is_absent(struct informer *i)
{
	LOCK_SCOPE(&i->lock);
	return i->is_absent;
}

const struct kube_object *informer_get(struct informer *i, const char *ns, const char *name)
{
	return cache_get(&i->cache, ns, name);
}

void informer_add_index(struct informer *i, const char *name, kube_key_fn key)
{
	cache_add_index(&i->cache, name, key);
}

void informer_each_in(struct informer *i, const char *index, const char *key, informer_each_fn fn,
		      void *arg)
{
	cache_each_in(&i->cache, index, key, fn, arg);
}

size_t informer_count(struct informer *i)
{
	LOCK_SCOPE(&i->cache.lock);
	return i->cache.store.n;
}

/* Behind it in the loop's queue is only the informer's own end. */
static void tell(void *arg)
{
	struct informer *i = arg;

	cache_tell(&i->cache);
}

void informer_note_write(struct informer *i, const struct kube_object *o)
{
	if (i->ns && !str_is_equal(i->ns, o->ns))
		return;
	if (cache_note(&i->cache, o))
		ev_post(i->loop, tell, i);
}
