/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An own identity for an ext4 that was copied from a template, by writing its superblocks, before
 * anyone sees the file.
 *
 * The other ways: EXT4_IOC_SETFSUUID on the mounted filesystem (Linux ≥6.0; a crash before it
 * leaves two volumes with one UUID, to be found and mended later) and tune2fs -U (a process, 4 ms,
 * and it replays and rewrites more than it must). Offline it is 16 bytes and a CRC in each copy of
 * the superblock, works on every kernel, and is part of the volume's birth: there is no moment at
 * which a named volume has its template's UUID.
 *
 * Layout: kernel, Documentation/filesystems/ext4/super.rst. Backups are at the start of groups 1
 * and powers of 3, 5 and 7 (sparse_super). Each superblock is believed only if its magic and its
 * checksum are right.
 */
#include <errno.h>
#include <sys/stat.h>

#include "base/random.h"
#include "host/err-internal.h"
#include "host/ext4-internal.h"
#include "host/mkfs.h"

#define SB_BYTES 1024
#define SB_PRIMARY_AT 1024
#define SB_BLOCK_SIZE 4096
#define SB_MAGIC 0xef53
#define SB_INCOMPAT_CSUM_SEED 0x2000
#define SB_RO_COMPAT_SPARSE 0x0001

enum {
	OFF_BLOCKS_LO = 0x04,
	OFF_LOG_BLOCK_SIZE = 0x18,
	OFF_BLOCKS_PER_GROUP = 0x20,
	OFF_MAGIC = 0x38,
	OFF_GROUP = 0x5a,
	OFF_INCOMPAT = 0x60,
	OFF_RO_COMPAT = 0x64,
	OFF_UUID = 0x68,
	OFF_HASH_SEED = 0xec,
	OFF_BLOCKS_HI = 0x150,
	OFF_CHECKSUM = 0x3fc,
};

static uint32_t get32(const uint8_t *sb, size_t at)
{
	return (uint32_t)sb[at] | (uint32_t)sb[at + 1] << 8 | (uint32_t)sb[at + 2] << 16 |
	       (uint32_t)sb[at + 3] << 24;
}

static void put32(uint8_t *sb, size_t at, uint32_t value)
{
	for (size_t i = 0; i < 4; i++)
		sb[at + i] = (uint8_t)(value >> (8 * i));
}

struct stamp {
	int fd;
	const struct uuid *uuid;
	uint8_t hash_seed[16];
	uint32_t crc_of_byte[256];
};

static void init_crc(struct stamp *stamp)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
		stamp->crc_of_byte[byte] = crc;
	}
}

/* CRC-32C as ext4 uses it: start ~0, not inverted at the end. */
static uint32_t checksum(const struct stamp *stamp, const uint8_t *sb)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < OFF_CHECKSUM; i++)
		crc = crc >> 8 ^ stamp->crc_of_byte[(crc ^ sb[i]) & 0xff];
	return crc;
}

static int read_super(const struct stamp *stamp, uint64_t at, uint32_t group, uint8_t sb[SB_BYTES],
		      struct err *err)
{
	ssize_t n = pread(stamp->fd, sb, SB_BYTES, (off_t)at);

	if (n < 0)
		return host_err(err, errno, "read the ext4 superblock of group %u", group);
	if (n != SB_BYTES || (get32(sb, OFF_MAGIC) & 0xffff) != SB_MAGIC ||
	    get32(sb, OFF_CHECKSUM) != checksum(stamp, sb) ||
	    (get32(sb, OFF_GROUP) & 0xffff) != (group & 0xffff))
		return err_set(err, ERR_INTERNAL, "no whole ext4 superblock in group %u", group);
	return 0;
}

static int stamp_super(const struct stamp *stamp, uint64_t at, uint32_t group, struct err *err)
{
	uint8_t sb[SB_BYTES];

	if (read_super(stamp, at, group, sb, err) < 0)
		return -1;
	memcpy(sb + OFF_UUID, stamp->uuid->b, sizeof(stamp->uuid->b));
	memcpy(sb + OFF_HASH_SEED, stamp->hash_seed, sizeof(stamp->hash_seed));
	put32(sb, OFF_CHECKSUM, checksum(stamp, sb));
	if (pwrite(stamp->fd, sb, SB_BYTES, (off_t)at) != SB_BYTES)
		return host_err(err, errno ? errno : EIO, "write the ext4 superblock of group %u",
				group);
	return 0;
}

bool ext4_has_backup(uint64_t group)
{
	static const uint64_t bases[] = { 3, 5, 7 };

	if (group == 1)
		return true;
	for (size_t i = 0; i < 3; i++) {
		uint64_t power = bases[i];

		while (power < group)
			power *= bases[i];
		if (power == group)
			return true;
	}
	return false;
}

int host_ext4_stamp(int fd, const struct uuid *uuid, struct err *err)
{
	struct stamp stamp = { .fd = fd, .uuid = uuid };
	uint8_t sb[SB_BYTES];
	uint64_t n_blocks;
	uint64_t group_blocks;

	init_crc(&stamp);
	if (read_super(&stamp, SB_PRIMARY_AT, 0, sb, err) < 0)
		return -1;
	if (get32(sb, OFF_LOG_BLOCK_SIZE) != 2 ||
	    !(get32(sb, OFF_INCOMPAT) & SB_INCOMPAT_CSUM_SEED) ||
	    !(get32(sb, OFF_RO_COMPAT) & SB_RO_COMPAT_SPARSE) || !get32(sb, OFF_BLOCKS_PER_GROUP))
		return err_set(err, ERR_INTERNAL, "this ext4 was not made by cleat's mkfs");
	n_blocks = get32(sb, OFF_BLOCKS_LO) | (uint64_t)get32(sb, OFF_BLOCKS_HI) << 32;
	group_blocks = get32(sb, OFF_BLOCKS_PER_GROUP);
	random_bytes(stamp.hash_seed, sizeof(stamp.hash_seed));
	for (uint64_t group = 1; group * group_blocks < n_blocks; group++) {
		if (ext4_has_backup(group) &&
		    stamp_super(&stamp, group * group_blocks * SB_BLOCK_SIZE, (uint32_t)group,
				err) < 0)
			return -1;
	}
	return stamp_super(&stamp, SB_PRIMARY_AT, 0, err);
}
