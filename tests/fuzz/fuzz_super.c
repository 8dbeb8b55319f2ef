/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the beginning of a device whose size is the first eight of them; the ninth chooses
 * what it is said to be. What is taken for a superblock has numbers that can be calculated with; a
 * device never has more blocks than fit, a longer one has no fewer, and what was grown is not
 * smaller any more.
 */
#include "host/grow.h"

#include <assert.h>
#include <string.h>

#define SIZES 64

static void check(const struct host_super *super, uint64_t bytes)
{
	uint64_t usable = host_super_usable_blocks(super, bytes);
	struct host_super grown = *super;

	assert(usable <= bytes / super->block_bytes);
	assert(bytes / super->block_bytes - usable < super->group_blocks);
	grown.n_blocks = usable;
	assert(host_super_usable_blocks(&grown, bytes) == usable);
	assert(host_super_in_place_blocks(super) >= super->n_blocks);
	for (uint64_t i = 1; i < SIZES && bytes < UINT64_MAX - i * super->block_bytes; i++)
		assert(host_super_usable_blocks(super, bytes + i * super->block_bytes) >= usable);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const kinds[] = { "ext4", "xfs" };
	struct host_super super = { 0 };
	const char *fs;
	uint64_t bytes;

	if (size < 9)
		return 0;
	memcpy(&bytes, data, sizeof(bytes));
	fs = kinds[data[8] % 2];
	if (host_super_parse(data + 9, size - 9, fs, &super) < 0) {
		assert(super.block_bytes == 0);
		return 0;
	}
	assert(size - 9 >= HOST_SUPER_BYTES);
	assert(super.block_bytes >= 512 && super.block_bytes <= 65536);
	assert(super.group_blocks > 0 && super.n_blocks > super.first_block);
	check(&super, bytes);
	check(&super, UINT64_MAX);
	check(&super, 0);
	return 0;
}
