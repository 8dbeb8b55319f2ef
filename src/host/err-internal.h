/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_ERR_INTERNAL_H
#define HOST_ERR_INTERNAL_H

#include "base/err.h"

/* For every file of this room. The code that an errno has here (fs.h); errnum is positive. */
enum err_code host_code(int errnum);

/* err_os with that code. */
#define host_err(err, errnum, ...) err_os((err), host_code(errnum), (errnum), __VA_ARGS__)

#endif
