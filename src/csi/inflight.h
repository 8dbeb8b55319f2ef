/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_INFLIGHT_H
#define CSI_INFLIGHT_H

#include "base/err.h"
#include "volume/id.h"

/*
 * One call in flight per volume, snapshot or group. Thread-safe; nothing waits here: the second
 * call gets ABORTED at once, with the name of the running call and its age, and the CO tries again
 * later (CSI 1.13, "Concurrency").
 */
struct inflight;

struct inflight *inflight_new(void);
void inflight_free(struct inflight *f); /* no call may be in flight */

/* method is static text. ABORTED: another call has what this token of the kind names. */
int inflight_begin_of(struct inflight *f, enum vol_kind kind, const char *token, const char *method,
		      struct err *err);
void inflight_end_of(struct inflight *f, enum vol_kind kind, const char *token);
/* The same of a volume. */
int inflight_begin(struct inflight *f, const char *token, const char *method, struct err *err);
void inflight_end(struct inflight *f, const char *token);

#endif
