/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_INFORMER_INTERNAL_H
#define KUBE_INFORMER_INTERNAL_H

#include "base/str.h"
#include "kube/cache.h"
#include "kube/informer.h"
#include "kube/split.h"

#include <pthread.h>
#include <stdatomic.h>

enum phase { SYNCING, LISTING, WATCHING, ASKING, N_PHASES };

struct informer {
	struct kube_client *client;
	struct ev_loop *loop;
	const struct kube_type *type;
	char *ns; /* NULL: all */
	char *label_selector;
	char *field_selector;
	char *needed_by; /* NULL: not said */
	struct cache cache;
	atomic_bool is_synced;
	atomic_bool is_started;

	pthread_mutex_t lock;
	char trouble[ERR_MSG_MAX]; /* under lock */
	bool is_absent;            /* under lock: the server has no such kind */

	/* All below: loop only. */
	enum phase phase;
	bool lacks_watch_list; /* the server refused it */
	bool has_error_event;  /* this stream brought an ERROR */
	bool is_as_far;        /* so the server answered, while ASKING */
	bool is_anew;          /* the next stream begins a sync */
	bool must_replace;     /* that sync is to be believed whatever its versions */
	struct ev_timer *retry;
	struct ev_timer *guard;
	struct ev_timer *sound;
	struct http_stream *stream;
	struct split split;
	char *path;
	int status;
	struct str body;      /* of a reply that is no success */
	struct str version;   /* of the list being read, or of the last event */
	struct str page;      /* token of the page that is asked for; "": the first */
	struct str next_page; /* of the one after it, as far as is known */
	unsigned timeout_s;   /* of a watch, told to the server */
	int64_t opened_ns;
	int64_t backoff_ns;
	int64_t denied_ns; /* since when the server will not let us watch; 0: it does */
	int64_t told_ns;   /* when that was last said */
};

/* informer_stream.c; I/O thread. After stop nothing of it runs any more. */
void informer_stream_start(struct informer *i);
void informer_stream_stop(struct informer *i);

#endif
