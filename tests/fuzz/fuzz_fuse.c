/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a message of /dev/fuse: what is asked of the file lies within it, each is answered
 * once or was none, and nothing is read beyond the message. */
#include "host/fuse-internal.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

#define FILE_BYTES 8192

static unsigned n_asked;

static void end(struct host_fuse_request *req, uint64_t offset, uint64_t n)
{
	assert(n > 0 && offset < FILE_BYTES && n <= FILE_BYTES - offset);
	n_asked++;
	host_fuse_done(req, (int64_t)n);
}

static void read_file(void *arg, struct host_fuse_request *req, uint64_t offset, void *buf,
		      size_t n)
{
	(void)arg;
	memset(buf, 1, n);
	end(req, offset, n);
}

static void write_file(void *arg, struct host_fuse_request *req, uint64_t offset, const void *buf,
		       size_t n)
{
	static uint8_t bytes[FILE_BYTES];

	(void)arg;
	if (n == 0) {
		host_fuse_done(req, 0);
		return;
	}
	memcpy(bytes + offset, buf, n);
	end(req, offset, n);
}

static void zero_file(void *arg, struct host_fuse_request *req, uint64_t offset, uint64_t n)
{
	(void)arg;
	if (n == 0)
		host_fuse_done(req, 0);
	else
		end(req, offset, n);
}

static void flush_file(void *arg, struct host_fuse_request *req)
{
	(void)arg;
	host_fuse_done(req, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct host_fuse_ops ops = {
		.read = read_file, .write = write_file, .zero = zero_file, .flush = flush_file
	};
	struct host_fuse *f;
	struct host_fuse_request *req;
	int rc;

	if (size > FUSE_BUFFER_BYTES)
		return 0;
	f = fuse_new(open("/dev/null", O_RDWR | O_CLOEXEC), FILE_BYTES, size > 0 && data[0] & 1);
	req = fuse_request_new(f);
	memcpy(fuse_request_buffer(req), data, size);
	n_asked = 0;
	rc = fuse_handle(req, size, &ops, NULL);
	assert(rc >= -1 && rc <= 1 && n_asked <= 1);
	host_fuse_free(f);
	return 0;
}
