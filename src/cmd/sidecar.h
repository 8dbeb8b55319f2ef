/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_SIDECAR_H
#define CMD_SIDECAR_H

#include "base/err.h"
#include "cmd/cmd.h"

#include <stdbool.h>
#include <stdint.h>

struct ctx;
struct ev_loop;
struct work;

/* What the programs have in common that stand beside a driver on its node and talk to no API
 * server. Main thread. */
struct sidecar {
	struct ev_loop *loop;
	struct work *work;
	bool is_running; /* the loop has its thread */
	char driver_name[256];
};

/* Threads and signals; nothing runs yet. */
int sidecar_init(struct sidecar *s, struct err *err);
/* The loop runs from now on. */
int sidecar_start(struct sidecar *s, struct err *err);
/* fn on the loop's thread, where servers are made; what it returns. */
int sidecar_on_loop(struct sidecar *s, int (*fn)(void *arg, struct err *err), void *arg,
		    struct err *err);
/* --http-endpoint and the deprecated --health-port: INVALID_ARGUMENT names the option. */
int sidecar_check_page(const char *http_endpoint, unsigned health_port, struct err *err);
/* Asks the driver for its name, again and again while it is not there: 1, 0 when the process is to
 * stop, -1: it answers otherwise. Logs what it waits for. */
int sidecar_wait_for_driver(struct sidecar *s, const char *csi_address, int64_t timeout_ns,
			    struct err *err);
/* Joins loop and workers; each part may be missing. sidecar_free afterwards, once what was made on
 * the loop is freed. */
void sidecar_stop(struct sidecar *s);
void sidecar_free(struct sidecar *s);

extern const struct cmd cmd_cephcsi;
extern const struct cmd cmd_livenessprobe;
extern const struct cmd cmd_registrar;
extern const struct cmd cmd_snapshot_metadata;

#endif
