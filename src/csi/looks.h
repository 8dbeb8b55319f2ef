/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_LOOKS_H
#define CSI_LOOKS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/*
 * One look at a time at a thing that may not answer, such as a disk or a mount. Who comes while one
 * is under way waits for it, and is refused once that one has gone on for LOOKS_PATIENCE_NS: so
 * what hangs holds one worker, and not one more with each call. Thread-safe.
 */
#define LOOKS_PATIENCE_NS (INT64_C(10) * 1000000000)

struct looks;

struct looks *looks_new(void);
void looks_free(struct looks *l); /* none may be under way */

/* UNAVAILABLE: the look under way does not come back; the message says since when. */
int looks_begin(struct looks *l, const char *key, struct err *err);
void looks_end(struct looks *l, const char *key);

/* How many have not come back for LOOKS_PATIENCE_NS. Waits for nothing. */
size_t looks_count_silent(struct looks *l);

#endif
