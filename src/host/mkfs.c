/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mkfs.ext4 and mkfs.xfs with every feature spelt out, so that a volume is the same whatever
 * /etc/mke2fs.conf says and however new the tools are: newer defaults (orphan_file, nrext64, parent
 * pointers) make filesystems that the kernels of today's long-term distributions cannot mount. The
 * oldest that can mount these is Linux 5.10 (XFS bigtime).
 *
 * ext4 has metadata_csum_seed, so that no checksum but those of the superblocks depends on the
 * UUID: that is what lets host_ext4_stamp give a copied template its own. Inode tables and journal
 * are zero in a fresh file, so mkfs is told that they need no zeroing and marks them done: with
 * lazy initialisation instead the kernel would write 1/64 of the volume once it is mounted, idle or
 * not, over blocks that read as zero already. What no option says (default mount options, hash)
 * comes from mke2fs.conf, so it gets one of ours. Errors make the filesystem read-only: to go on
 * writing by metadata that is wrong spoils the rest, and the node refuses such a volume. Descriptor
 * blocks are reserved for growth to 16 times the size (beyond 512 GiB, to 4 times) and not to 1024
 * times: they are most of what a template holds (4 of 5 MiB for 100 GiB, which each volume copies),
 * and beyond them the kernel grows by meta_bg. -m 0: no blocks reserved for root, the volume is a
 * tenant's. XFS: sector size 4096 as its loop device has; -K: nothing to discard in a fresh file,
 * and discarding would punch its blocks away.
 */
#include "host/mkfs.h"

#include <errno.h>

#include <blkid/blkid.h>

#include "base/clock.h"
#include "base/num.h"
#include "host/err-internal.h"
#include "host/mkfs-internal.h"
#include "host/spawn.h"

#define MKFS_TIMEOUT_NS (120 * NS_PER_S)
#define EXT4_BLOCK 4096
#define EXT4_GROWTH 16
#define EXT4_GROWTH_LARGE 4
#define EXT4_GROWTH_TO (512 * GIB)
/* As mke2fs has it for these sizes, but that small ones get more. */
static const char *ext4_inode_ratio(uint64_t bytes)
{
	if (bytes < 512 * MIB)
		return "4096";
	if (bytes < 4096 * GIB)
		return "16384";
	return bytes < 16384 * GIB ? "32768" : "65536";
}

/* To what size descriptor blocks are reserved. */
static uint64_t ext4_grown_bytes(uint64_t bytes)
{
	if (bytes * EXT4_GROWTH <= EXT4_GROWTH_TO)
		return bytes * EXT4_GROWTH;
	return bytes * EXT4_GROWTH_LARGE < EXT4_GROWTH_TO ? EXT4_GROWTH_TO
							  : bytes * EXT4_GROWTH_LARGE;
}

int host_mkfs_ext4(struct ctx *ctx, int fd, uint64_t bytes, struct err *err)
{
	uint64_t grown_blocks = ext4_grown_bytes(bytes) / EXT4_BLOCK;
	char extended[96] = "nodiscard,assume_storage_prezeroed=1";
	size_t n = strlen(extended);

	if (grown_blocks <= UINT32_MAX)
		(void)snprintf(extended + n, sizeof(extended) - n, ",resize=%llu",
			       (unsigned long long)grown_blocks);

	const char *const argv[] = {
		"mkfs.ext4",
		"-q",
		"-F",
		"-b",
		"4096",
		"-I",
		"256",
		"-i",
		ext4_inode_ratio(bytes),
		"-m",
		"0",
		"-e",
		"remount-ro",
		"-G",
		"64", /* bitmaps in a quarter of the places: what a new volume copies is in fewer
			 runs */
		"-O",
		MKFS_EXT4_FEATURES,
		"-E",
		extended,
		HOST_SPAWN_FD_PATH,
		NULL,
	};

	return host_spawn(ctx,
			  &(struct host_spawn){
				  .tool = "mkfs.ext4",
				  .package = "e2fsprogs",
				  .argv = argv,
				  .setting = MKFS_EXT4_SETTING,
				  .input = MKFS_EXT4_CONFIG,
				  .pass_fd = fd,
				  .timeout_ns = MKFS_TIMEOUT_NS,
			  },
			  err);
}

int host_mkfs_xfs(struct ctx *ctx, int fd, const struct uuid *uuid, const char *label,
		  struct err *err)
{
	char text[UUID_TEXT_MAX];
	char meta[160];

	uuid_format(uuid, text);
	(void)snprintf(meta, sizeof(meta),
		       "crc=1,finobt=1,reflink=1,rmapbt=0,bigtime=1,inobtcount=1,uuid=%s", text);

	const char *const argv[] = {
		"mkfs.xfs",
		"-q",
		"-f",
		"-K",
		"-s",
		"size=4096",
		"-b",
		"size=4096",
		"-i",
		"size=512,sparse=1,nrext64=0",
		"-m",
		meta,
		HOST_SPAWN_FD_PATH,
		label ? "-L" : NULL,
		label,
		NULL,
	};

	return host_spawn(ctx,
			  &(struct host_spawn){
				  .tool = "mkfs.xfs",
				  .package = "xfsprogs",
				  .argv = argv,
				  .pass_fd = fd,
				  .timeout_ns = MKFS_TIMEOUT_NS,
			  },
			  err);
}

static void copy_value(blkid_probe probe, const char *name, char *ret_text, size_t cap)
{
	const char *value = NULL;

	if (blkid_probe_lookup_value(probe, name, &value, NULL) == 0 && value)
		(void)snprintf(ret_text, cap, "%s", value);
}

int host_probe(int fd, struct host_probe *ret_probe, struct err *err)
{
	struct host_probe found = { 0 };
	blkid_probe probe = blkid_new_probe();
	int rc;

	if (!probe)
		return host_err(err, ENOMEM, "start libblkid");
	if (blkid_probe_set_device(probe, fd, 0, 0) < 0) {
		blkid_free_probe(probe);
		return err_set(err, ERR_INTERNAL, "libblkid cannot read it");
	}
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL);
	blkid_probe_enable_partitions(probe, 1);
	rc = blkid_do_safeprobe(probe);
	if (rc == 0) {
		copy_value(probe, "PTTYPE", found.type, sizeof(found.type));
		copy_value(probe, "TYPE", found.type, sizeof(found.type));
		copy_value(probe, "LABEL", found.label, sizeof(found.label));
	}
	blkid_free_probe(probe);
	if (rc == -2)
		return err_set(err, ERR_DATA_LOSS, "it bears the marks of several filesystems");
	if (rc < 0)
		return err_set(err, ERR_INTERNAL, "libblkid cannot read it");
	*ret_probe = found;
	return 0;
}
