/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_POOLS_WATCH_H
#define CMD_POOLS_WATCH_H

#include "backend/registry.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Which pools are served while the process lives: one that was missing is tried again every few
 * seconds and served as soon as it is there, one that stops answering is named. What changes is
 * logged, once a change.
 */
struct pools_watch;
struct ev_loop;
struct work;

struct pools_watch_options {
	struct registry *registry;            /* after pools_open() */
	const struct backend_config *configs; /* as all below, outlive the watch */
	size_t n_configs;
	int64_t every_ns; /* between looks */
	int64_t calm_ns;  /* at least between two calls of changed, but for a pool's first coming */
	/* On the loop: the set of pools that answer is another than at the last call (at first:
	 * than at the start). What was told of the node's topology is to be told again. */
	void (*changed)(void *arg);
	void *arg;
};

/* Before the loop runs, or on its thread. The first look is taken here. */
struct pools_watch *pools_watch_new(struct ev_loop *loop, struct work *work,
				    const struct pools_watch_options *opts);
/* Any thread but the loop's, which runs: no look is begun any more, and one that runs is cancelled
 * and waited for, at most timeout_ns (-ETIMEDOUT: a disk hangs). NULL is fine. */
int pools_watch_stop(struct pools_watch *w, int64_t timeout_ns);
/* After the loop was joined, or when it never ran; before it is freed. NULL is fine. */
void pools_watch_free(struct pools_watch *w);

/* Any thread, and asks no disk. Whether any pool answered at the last look; report gets a line for
 * each that did not or is missing. */
bool pools_watch_report(struct pools_watch *w, struct str *report);

#endif
