/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_MEM_MEM_H
#define BACKEND_MEM_MEM_H

#include "backend/registry.h"

/* Volumes in memory: gone when this process ends. config->mem_bytes (0: 1 GiB) is what they may
 * take together. */
int mem_open(struct ctx *ctx, const struct backend_config *config, struct backend **ret_backend,
	     struct err *err);

#endif
