/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_KRBD_INTERNAL_H
#define HOST_KRBD_INTERNAL_H

#include "base/str.h"
#include "host/krbd.h"

/* Where the kernel is found, so that a test has a tree of its own. */
struct krbd_at {
	const char *sys; /* "/sys" */
	const char *dev; /* "/dev" */
	/* One write of the text to a file of sysfs: 0 or -errno. */
	int (*put)(void *arg, const char *path, const char *text);
	void *arg;
	/* The key for the kernel's keyring: its serial, or -errno. */
	long (*add_key)(void *arg, const char *name, const void *bytes, size_t n);
};

/* krbd_line.c: what is written to map it. secret: the user's key itself, or NULL if it is in the
 * keyring. */
int krbd_line(const struct host_krbd_spec *spec, const char *secret, unsigned timeout_s,
	      struct str *ret_line, struct err *err);
/* Names of feature bits, comma-separated. */
void krbd_features(uint64_t bits, struct str *out);

int krbd_map(const struct krbd_at *at, struct ctx *ctx, const struct host_krbd_spec *spec,
	     struct host_krbd *ret_dev, struct err *err);
struct krbd_look {
	const char *fsid; /* "": any */
	int64_t pool_id;  /* -1: by pool and ns */
	const char *pool, *ns;
	const char *image; /* NULL: by ending */
	const char *ending;
};
int krbd_find(const struct krbd_at *at, const struct krbd_look *look, struct host_krbd *ret_dev,
	      struct err *err);
int krbd_unmap(const struct krbd_at *at, struct ctx *ctx, const struct host_krbd *dev,
	       const char *options, struct err *err);

#endif
