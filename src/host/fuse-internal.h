/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_FUSE_INTERNAL_H
#define HOST_FUSE_INTERNAL_H

#include "host/fuse.h"

/* Over an fd that keeps messages whole, in place of /dev/fuse; takes it. */
struct host_fuse *fuse_new(int fd, uint64_t bytes, bool read_only);

/* What handles one message of n bytes, which begins with a struct fuse_in_header. Always consumes
 * req. <0: the kernel speaks in another way; 1: it will say nothing more. */
struct host_fuse_request *fuse_request_new(struct host_fuse *f);
void *fuse_request_buffer(struct host_fuse_request *req);
#define FUSE_BUFFER_BYTES (HOST_FUSE_IO_MAX + 4096u)
int fuse_handle(struct host_fuse_request *req, size_t n, const struct host_fuse_ops *ops,
		void *arg);

#endif
