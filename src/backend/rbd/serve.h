/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_SERVE_H
#define BACKEND_RBD_SERVE_H

#include "backend/ceph/lib.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The server of one image where the kernel has no client for it: a process that gives the image as
 * one file (host/fuse.h), with a loop device over it (served.h). It is this program started with
 * this word (backend/ceph/server.h). While it lives it has a lock on the file "server" in the
 * volume's directory, by which it is found, and says in it how large the image is.
 */
#define RBD_SERVE "rbd-serve"

#define SERVE_SUBTYPE "cleat-rbd"
#define SERVE_LOCK "server"
#define SERVE_SAID_MAX 80
/* What it says there, always of one length: the image's bytes, st_dev of the file's mount, its pid.
 */
void serve_said_format(uint64_t bytes, uint64_t device, pid_t pid, char ret_text[SERVE_SAID_MAX]);
int serve_said_parse(const char *text, uint64_t *ret_bytes, uint64_t *ret_device, pid_t *ret_pid);

struct serve_order {
	const char *dir;   /* the volume's in the node's state, as the kernel names it */
	const char *token; /* and in it the file of this name, which is covered */
	const char *monitors, *user, *key;
	const char *passphrase; /* "", NULL: there is none; used if the image is encrypted */
	const char *pool, *ns, *image;
	const char *node, *boot_id; /* of this node, for the image's metadata; "": not told */
	bool read_only;
};
/* Appends to a string that is wiped. */
void serve_order_encode(const struct serve_order *order, struct str *out);
/* Points into bytes, and has no NULL. -1: it is none. */
int serve_order_decode(const char *bytes, size_t n, struct serve_order *ret_order);

/* What the server is; lib NULL: the real one. 0, or 1 if it was not started as one. The process has
 * to end by _exit afterwards: the library's threads may still be there. */
int rbd_serve(const struct ceph_lib *lib);

#endif
