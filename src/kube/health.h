/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_HEALTH_H
#define KUBE_HEALTH_H

#include "base/err.h"

#include <stdbool.h>

struct ev_loop;

/*
 * struct health - how it goes with the API server, and telling people so
 *
 * Trouble that lasts is a warning within seconds and again once a minute, with its age; that it is
 * over is said once. A failure that the next request makes good is nobody's business.
 */
struct health;

/* server: a name for the log. In trouble from the start, until the first answer. */
struct health *health_new(struct ev_loop *loop, const char *server);
/* I/O thread; nobody notes any more. */
void health_free(struct health *h);

/* Any thread. problem: why the server did not do its part; NULL: it did. */
void health_note(struct health *h, const char *problem);
/* Any thread. ret_why: ERR_MSG_MAX bytes, "" if all is well; may be NULL. */
bool health_is_good(struct health *h, char *ret_why);

#endif
