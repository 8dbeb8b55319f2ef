/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_WHOSE_H
#define BACKEND_CEPHFS_WHOSE_H

#include "base/err.h"

/* Which mounts of the kernel's client are whose, where their source does not tell. */
struct whose {
	const char *state_dir, *token;
};
/* That what is mounted of this source is the volume's. path: where it is; NULL: it will be, and any
 * of this source is meant until it is kept again. */
int whose_keep(const struct whose *w, const char *source, const char *path, struct err *err);

#endif
