/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_MEM_MEM_H
#define BACKEND_MEM_MEM_H

#include "backend/registry.h"

/* Volumes in memory: gone when this process ends. "mem:8Gi": config->mem_bytes (0: 1 GiB) is what
 * they may take together. */
extern const struct backend_kind mem_kind;

#endif
