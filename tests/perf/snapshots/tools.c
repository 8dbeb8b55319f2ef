/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of other drivers of files: the tools truncate, losetup, mkfs, cp, mount, and xfs_growfs,
 * one process each. They are spared what they would lose by default, and what cleat does beside:
 * files are sparse, nothing is synced, nothing is looked at first, mkfs neither discards nor
 * zeroes. A volume of another is a copy (cp --reflink=never), as it is where a filesystem below has
 * no reflink or a driver does not use it; the other snapshots are cp --reflink=always.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define EXT4_OPTIONS "nodiscard,lazy_itable_init=1,lazy_journal_init=1"

static char small[256], base_file[256], base_at[256], grown_file[256], grown_at[256];
static char base_device[64], grown_device[64];

static void attach(struct bench *b, const char *file, char device[64])
{
	run_tool(b, device, 64,
		 (const char *const[]){ "losetup", "-f", "--show", "--direct-io=on", "-b", "4096",
					file, NULL });
}

static void create(struct bench *b, enum op op, const char *fs)
{
	char ignored[8];
	struct span span;

	span_begin(b, TOOLS, &span);
	RUN(b, ignored, "truncate", "-s", "1G", small);
	if (strcmp(fs, "ext4") == 0)
		RUN(b, ignored, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", EXT4_OPTIONS, small);
	if (strcmp(fs, "xfs") == 0)
		RUN(b, ignored, "mkfs.xfs", "-q", "-f", "-K", "-s", "size=4096", small);
	if (op != N_OPS)
		span_end(b, TOOLS, op, &span);
}

static void one(struct bench *b, enum op op, const char *const *argv)
{
	char ignored[8];
	struct span span;

	span_begin(b, TOOLS, &span);
	run_tool(b, ignored, sizeof(ignored), argv);
	if (op != N_OPS)
		span_end(b, TOOLS, op, &span);
}

#define ONE(b, op, ...) one((b), (op), (const char *const[]){ __VA_ARGS__, NULL })

static void stage(struct bench *b, const char *at)
{
	char device[64], ignored[8], target[256];
	struct span span;

	span_begin(b, TOOLS, &span);
	attach(b, small, device);
	RUN(b, ignored, "mount", "-t", "ext4", device, at);
	span_end(b, TOOLS, STAGE, &span);
	(void)place(target, b->base, "tools-target", 0);
	span_begin(b, TOOLS, &span);
	if (mkdir(target, 0750) < 0)
		die("make '%s'", target);
	RUN(b, ignored, "mount", "--bind", at, target);
	span_end(b, TOOLS, PUBLISH, &span);
	span_begin(b, TOOLS, &span);
	RUN(b, ignored, "umount", target);
	if (rmdir(target) < 0)
		die("remove '%s'", target);
	span_end(b, TOOLS, UNPUBLISH, &span);
	span_begin(b, TOOLS, &span);
	RUN(b, ignored, "umount", at);
	RUN(b, ignored, "losetup", "-d", device);
	span_end(b, TOOLS, UNSTAGE, &span);
}

static void round_small(struct bench *b)
{
	char at[256];

	create(b, CREATE_EXT4, "ext4");
	stage(b, place(at, b->base, "tools-small", 0));
	ONE(b, DELETE, "rm", small);
	create(b, CREATE_XFS, "xfs");
	ONE(b, N_OPS, "rm", small);
	create(b, CREATE_RAW, "");
	ONE(b, N_OPS, "rm", small);
}

static void snapshot(struct bench *b, enum op op, const char *to)
{
	char ignored[8];
	struct span span;

	span_begin(b, TOOLS, &span);
	RUN(b, ignored, "sync", "-f", base_at);
	RUN(b, ignored, "cp", "--reflink=always", base_file, to);
	span_end(b, TOOLS, op, &span);
}

static void grow(struct bench *b)
{
	char ignored[8];
	struct span span;

	span_begin(b, TOOLS, &span);
	RUN(b, ignored, "truncate", "-s", "+64M", grown_file);
	RUN(b, ignored, "losetup", "-c", grown_device);
	RUN(b, ignored, "xfs_growfs", grown_at);
	span_end(b, TOOLS, EXPAND, &span);
}

void tools_round(struct bench *b, unsigned round)
{
	char idle[256], dirty[256], restored[256];

	round_small(b);
	snapshot(b, SNAPSHOT_IDLE, place(idle, b->ref, "tools-idle", 0));
	make_dirty(base_at, round);
	snapshot(b, SNAPSHOT_DIRTY, place(dirty, b->ref, "tools-dirty", 0));
	ONE(b, RESTORE, "cp", "--reflink=always", idle, place(restored, b->ref, "tools-new", 0));
	ONE(b, DELETE_RESTORED, "rm", restored);
	ONE(b, DELETE_SNAPSHOT, "rm", idle);
	ONE(b, N_OPS, "rm", dirty);
	grow(b);
}

void tools_clone(struct bench *b, unsigned round)
{
	char from[256], to[256];

	(void)snprintf(from, sizeof(from), "%s/data", b->pool);
	(void)place(to, b->ref, "tools-clone", round);
	ONE(b, CLONE, "cp", "--reflink=never", from, to);
	ONE(b, DELETE_CLONE, "rm", to);
}

void tools_start(struct bench *b)
{
	char at[256];

	(void)place(small, b->ref, "tools-small", 0);
	(void)place(base_file, b->ref, "tools-base", 0);
	(void)place(base_at, b->base, "tools-base", 0);
	(void)place(grown_file, b->ref, "tools-grown", 0);
	(void)place(grown_at, b->base, "tools-grown", 0);
	if (mkdir(place(at, b->base, "tools-small", 0), 0700) < 0 || mkdir(base_at, 0700) < 0 ||
	    mkdir(grown_at, 0700) < 0)
		die("make '%s'", at);
	ONE(b, N_OPS, "truncate", "-s", "10G", base_file);
	ONE(b, N_OPS, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", EXT4_OPTIONS, base_file);
	attach(b, base_file, base_device);
	/* without initialisation in the background, which would be measured with what follows */
	ONE(b, N_OPS, "mount", "-t", "ext4", "-o", "noinit_itable", base_device, base_at);
	ONE(b, N_OPS, "losetup", "-d", base_device); /* when the mount goes */
	ONE(b, N_OPS, "truncate", "-s", "1G", grown_file);
	ONE(b, N_OPS, "mkfs.xfs", "-q", "-f", "-K", "-s", "size=4096", grown_file);
	attach(b, grown_file, grown_device);
	ONE(b, N_OPS, "mount", "-t", "xfs", grown_device, grown_at);
	ONE(b, N_OPS, "losetup", "-d", grown_device);
}

void tools_stop(struct bench *b)
{
	char at[256];

	ONE(b, N_OPS, "umount", base_at, grown_at);
	ONE(b, N_OPS, "rm", base_file, grown_file);
	(void)rmdir(base_at);
	(void)rmdir(grown_at);
	(void)rmdir(place(at, b->base, "tools-small", 0));
}
