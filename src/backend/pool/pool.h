/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_POOL_H
#define BACKEND_POOL_POOL_H

#include "backend/registry.h"

/*
 * Opens the directory (or image) of config as a pool. FAILED_PRECONDITION: not suitable, or another
 * living process has it; says what was found and the way out. ALREADY_EXISTS: others has a pool on
 * the same filesystem. Nothing but ".cleat" is made in the directory, and not even that when it is
 * refused.
 */
int pool_open(struct ctx *ctx, const struct backend_config *config, const struct registry *others,
	      struct backend **ret_backend, struct err *err);

#endif
