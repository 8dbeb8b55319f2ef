/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_UPKEEP_H
#define CMD_UPKEEP_H

#include <stdint.h>

/* What the driver has to be called for while the process lives: limits of I/O are kept, about each
 * second, and pools and volumes are looked at, each minute. */
struct upkeep;
struct csi_driver;
struct ev_loop;
struct work;

/* As those of cmd/periodic.h. */
struct upkeep *upkeep_new(struct ev_loop *loop, struct work *work, struct csi_driver *driver);
int upkeep_stop(struct upkeep *u, int64_t timeout_ns);
void upkeep_free(struct upkeep *u);

#endif
