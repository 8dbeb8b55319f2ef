/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/str.h"

/* This process in figures, as Prometheus text: process_* and cleat_build_info. What /proc does not
 * tell is left out. */
void process_render(struct str *out);

#endif
