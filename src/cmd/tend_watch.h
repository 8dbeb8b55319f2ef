/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TEND_WATCH_H
#define CMD_TEND_WATCH_H

#include <stdint.h>

/* Has backend_tend called about each second for each pool that has something to do in the
 * background. */
struct tend_watch;
struct ev_loop;
struct registry;
struct work;

/* Before the loop runs, or on its thread. What is given must outlive it. */
struct tend_watch *tend_watch_new(struct ev_loop *loop, struct work *work,
				  struct registry *registry);
/* As those of cmd/periodic.h. */
int tend_watch_stop(struct tend_watch *w, int64_t timeout_ns);
void tend_watch_free(struct tend_watch *w);

#endif
