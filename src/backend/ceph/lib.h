/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_LIB_H
#define BACKEND_CEPH_LIB_H

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "backend/ceph/cryptsetup.h"
#include "base/err.h"

/*
 * librados and librbd as a table of their functions, loaded by dlopen(3) when the first volume of
 * Ceph is asked for, so that a process without one has neither their 30 libraries nor their
 * threads. Everything in backend/ceph and backend/rbd calls them through this; tests put a table of
 * their own in its place.
 *
 * CEPH_FUNCTION(library, function) in lib.def, with the types of the headers. libcryptsetup, which
 * librbd brings along, may be missing: its functions are NULL then, all of them.
 */
struct ceph_lib {
#define CEPH_FUNCTION(library, name) __typeof__(&name) name;
#include "backend/ceph/lib.def"
#undef CEPH_FUNCTION
};

/* The real ones. FAILED_PRECONDITION names the library or function that is missing, its version,
 * and the package to install. Any thread; loads once, and tries again where that failed. */
int ceph_lib_load(const struct ceph_lib **ret_lib, struct err *err);

#endif
