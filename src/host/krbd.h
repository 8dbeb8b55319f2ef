/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_KRBD_H
#define HOST_KRBD_H

#include "base/ctx.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The kernel's RBD client, by sysfs (Documentation/ABI/testing/sysfs-bus-rbd). No tool is run.
 */
struct host_krbd_spec {
	const char *monitors; /* as config.json has them; host names are resolved, since the kernel
				 does not */
	const char *user, *key; /* key: base64; in no log */
	const char *fsid;       /* of the cluster; "": not known */
	const char *pool, *ns;  /* ns "": none */
	const char *image;
	const char *options; /* the class's mapOptions, "" */
	bool read_only;
	uint64_t features; /* the image's; those that this kernel lacks are named before mapping */
};
struct host_krbd {
	int id;
	dev_t devno;
	char path[64]; /* "/dev/rbd3" */
	bool is_read_only;
	uint64_t bytes;
	char client_addr[96]; /* "IP:0/nonce" */
	int64_t pool_id;      /* -1: the kernel does not tell */
};

/* Whether this kernel has a client (/sys/bus/rbd is there). */
bool host_krbd_is_here(void);
/* Maps, unless it is mapped (the same image, read_only): then that one. FAILED_PRECONDITION names
 * features that the kernel lacks; NOT_FOUND; UNAUTHENTICATED; UNAVAILABLE: nobody answered;
 * INVALID_ARGUMENT: an option or a name that the kernel's line cannot hold, a monitor that does not
 * resolve. */
int host_krbd_map(struct ctx *ctx, const struct host_krbd_spec *spec, struct host_krbd *ret_dev,
		  struct err *err);
/* By what sysfs tells of each: pool number and the image's name. 1 and ret_dev, or 0. fsid "": any
 * cluster. */
int host_krbd_find(const char *fsid, int64_t pool_id, const char *image, struct host_krbd *ret_dev,
		   struct err *err);
/* The same by the pool's name, and namespace if it is not "", as they were when it was mapped. */
int host_krbd_find_named(const char *pool, const char *ns, const char *image,
			 struct host_krbd *ret_dev, struct err *err);
/* The same by how the name ends, for who knows no more of it. */
int host_krbd_find_ending(int64_t pool_id, const char *ending, struct host_krbd *ret_dev,
			  struct err *err);
/* Retries while it is busy, as long as the ctx has (UNMAP_NS without deadline); FAILED_PRECONDITION
 * then says who has it. 0 also when it is gone. */
int host_krbd_unmap(struct ctx *ctx, const struct host_krbd *dev, const char *options,
		    struct err *err);

#endif
