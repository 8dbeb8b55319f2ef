/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROCSTAT_H
#define BASE_PROCSTAT_H

#include "base/str.h"

/* This process in figures, as Prometheus text: process_* and cleat_build_info. What /proc does not
 * tell is left out. */
void procstat_render(struct str *out);

#endif
