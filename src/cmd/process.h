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
 * Its end has one order, in every program, since each step relies on the ones before:
 *
 *   1. take nothing more    listeners, GOAWAY; queues paused
 *   2. cancel and wait      calls and reconciles end, within the grace that there is
 *   3. give back            the lease, and only now: nobody writes under it any more
 *   4. nobody looks         process_http_close: its pages read what step 5 frees
 *   5. free what posts      caches, clients, servers, while the loop turns
 *   6. join the loop, then the workers: nothing submits a job any more, none waits for the loop
 *   7. free the loop, and what its last posts touched
 *
 * process_begin() is called before any thread is made: it keeps SIGTERM and SIGINT for
 * process_wait(). The main thread starts things in straight-line code, waits, and takes them down;
 * the event loop has a thread of its own.
 */
void process_begin(void);

/* True: SIGTERM or SIGINT came. False: timeout_ns passed (INT64_MAX: never). From the first signal
 * on a second one ends the process at once with CMD_FAILED. */
bool process_wait(int64_t timeout_ns);

/*
 * /healthz, /readyz and metrics over HTTP. /healthz is answered by the I/O thread, so it tells that
 * the loop turns. is_ready is called on a worker and says in why
 * why not (one line), or what is not as it should be although it is ready (whole lines). Start
 * before the loop runs.
 */
struct ev_loop;
struct work;
typedef bool (*process_ready_fn)(void *arg, struct str *why);

struct process_http;
/* endpoint "host:port" or ":port"; "" or NULL: none, *ret_http is NULL. */
int process_http_start(struct ev_loop *loop, struct work *work, const char *endpoint,
		       const char *metrics_path, process_ready_fn is_ready, void *arg,
		       struct process_http **ret_http, struct err *err);
/* Step 4, while the loop runs: no page is being made any more. -ETIMEDOUT: one hangs. NULL is fine.
 */
int process_http_close(struct process_http *h, int64_t timeout_ns);
/* Step 7; or when the loop never ran. NULL is fine. */
void process_http_free(struct process_http *h);

#endif
