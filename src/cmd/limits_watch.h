/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_LIMITS_WATCH_H
#define CMD_LIMITS_WATCH_H

#include <stdint.h>

/* Has csi_driver_keep_limits called about each second while there is something to do. */
struct limits_watch;
struct csi_driver;
struct ev_loop;
struct work;

/* Before the loop runs, or on its thread. What is given must outlive it. */
struct limits_watch *limits_watch_new(struct ev_loop *loop, struct work *work,
				      struct csi_driver *driver);
/* As pools_watch_stop and pools_watch_free. */
int limits_watch_stop(struct limits_watch *w, int64_t timeout_ns);
void limits_watch_free(struct limits_watch *w);

#endif
