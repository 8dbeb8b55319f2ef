/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_PROCESS_H
#define CMD_PROCESS_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The life of a serving process: small memory, signals, and the page that says how it is.
 *
 * process_begin() is called before any thread is made: it keeps SIGTERM and SIGINT for
 * process_wait(). The main thread starts things in straight-line code, waits, and takes them down;
 * the event loop has a thread of its own.
 */
void process_begin(void);

/* True: SIGTERM or SIGINT came. False: timeout_ns passed (INT64_MAX: never). From the first signal
 * on a second one ends the process at once with CMD_FAILED. */
bool process_wait(int64_t timeout_ns);
/* Waits for the signal like that, without end, and gives memory that only starting needed back
 * meanwhile (host/memory.h). */
void process_rest(void);

/*
 * /healthz, /readyz and metrics over HTTP. /healthz is answered by the I/O thread, so it tells that
 * the loop turns. is_ready is called on a worker and says why not (one line) in why. Start before
 * the loop runs; stop when loop and workers have ended.
 */
struct ev_loop;
struct work;
typedef bool (*process_ready_fn)(void *arg, struct str *why);

struct process_http;
/* endpoint "host:port" or ":port"; "" or NULL: none, *ret_http is NULL. */
int process_http_start(struct ev_loop *loop, struct work *work, const char *endpoint,
		       const char *metrics_path, process_ready_fn is_ready, void *arg,
		       struct process_http **ret_http, struct err *err);
void process_http_stop(struct process_http *h); /* NULL is fine */

#endif
