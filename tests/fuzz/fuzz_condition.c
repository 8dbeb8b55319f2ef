/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the beginning of a volume, the first byte choosing what it is said to be: without
 * the filesystem's magic it is none, and with it the answer depends on one bit alone. */
#include "host/condition.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAD_BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool is_xfs = size > 0 && data[0] & 1;
	const uint8_t *head = data + 1;
	bool has_errors = false;
	bool has_magic;
	bool has_bit;
	char path[64];
	struct err err;
	int fd;
	int rc;

	if (size < 1)
		return 0;
	size--;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	assert(fd >= 0 && write(fd, head, size) == (ssize_t)size);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = host_condition_of_device(path, is_xfs ? "xfs" : "ext4", &has_errors, &err);
	(void)close(fd);
	has_magic = size >= HEAD_BYTES && (is_xfs ? memcmp(head, "XFSB", 4) == 0
						  : head[1080] == 0x53 && head[1081] == 0xef);
	assert((rc == 0) == has_magic);
	if (rc < 0) {
		assert(err.code == ERR_DATA_LOSS);
		return 0;
	}
	has_bit = is_xfs ? head[219] & 0x10 : head[1082] & 2;
	assert(has_errors == has_bit);
	return 0;
}
