/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_STATE_H
#define BACKEND_CEPH_STATE_H

#include "base/err.h"

#include <stddef.h>

/*
 * Small texts of a volume in the node's directory for what has to outlive the process
 * (state_dir/TOKEN/NAME): whole or as before, whoever is killed; a power cut may take the last one.
 * state_dir "": FAILED_PRECONDITION, this process stages nothing.
 */
/* "" if there is none. cap: of ret_text. */
int ceph_state_get(const char *state_dir, const char *token, const char *name, char *ret_text,
		   size_t cap, struct err *err);
/* "" takes it away, and with the last one the volume's directory. */
int ceph_state_set(const char *state_dir, const char *token, const char *name, const char *text,
		   struct err *err);

#endif
