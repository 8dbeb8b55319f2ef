/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_HEALTH_WATCH_H
#define CMD_HEALTH_WATCH_H

#include <stdint.h>

struct csi_driver;
struct ev_loop;
struct work;

/* Has the driver look at its pools and volumes each minute, from when the loop runs. */
struct health_watch;
struct health_watch *health_watch_new(struct ev_loop *loop, struct work *work,
				      struct csi_driver *driver);
/* 0, or -ETIMEDOUT while a look hangs. The loop runs. NULL is fine. */
int health_watch_stop(struct health_watch *w, int64_t timeout_ns);
void health_watch_free(struct health_watch *w); /* NULL is fine; no look runs */

#endif
