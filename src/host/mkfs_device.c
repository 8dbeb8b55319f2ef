/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first filesystem of a volume that other machines keep: nobody can put it there before a node
 * has the device. So here the proof that nothing is overwritten is libblkid's look, through the
 * same descriptor that mkfs then writes by.
 *
 * A mkfs that was killed leaves a device that bears nothing, as mke2fs writes its superblock last,
 * or an XFS that says that it is being made (sb_inprogress), which no kernel mounts: both are made
 * again. Inode tables and journal are initialised later by the kernel (lazy), since what the
 * blocks of a device hold is not known; ours are on files that read as zeros. Blocks are not
 * discarded: a new image has none, and discarding a large one takes minutes.
 */
#include "host/mkfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "host/err-internal.h"
#include "host/mkfs-internal.h"

#define MKFS_TIMEOUT_NS (600 * NS_PER_S)
#define OPTIONS_MAX 40
#define XFS_IN_PROGRESS 126 /* offset of sb_inprogress (xfs_format.h, struct xfs_dsb) */

struct maker {
	const char *fs, *tool, *package;
	const char *force;           /* its word for "whatever is there", which was looked at */
	const char *setting, *input; /* as of host_spawn */
	const char *const *always;
	const char *const *options; /* where the class has none */
};

/* clang-format off */
static const char *const ext4_always[] = { "-b", "4096", "-I", "256", "-O", MKFS_EXT4_FEATURES, NULL };
static const char *const ext4_options[] = {
	"-m", "0", "-e", "remount-ro", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", NULL,
};
static const char *const xfs_always[] = {
	"-m", "crc=1,finobt=1,reflink=1,rmapbt=0,bigtime=1,inobtcount=1", NULL,
};
static const char *const xfs_options[] = { "-K", "-i", "size=512,sparse=1,nrext64=0", NULL };
/* clang-format on */
static const struct maker makers[] = {
	{ "ext4", "mkfs.ext4", "e2fsprogs", "-F", MKFS_EXT4_SETTING, MKFS_EXT4_CONFIG, ext4_always,
	  ext4_options },
	{ "xfs", "mkfs.xfs", "xfsprogs", "-f", NULL, NULL, xfs_always, xfs_options },
};

static int is_half_made_xfs(int fd, const char *device, struct err *err)
{
	uint8_t head[XFS_IN_PROGRESS + 1];
	ssize_t n = pread(fd, head, sizeof(head), 0);

	if (n < 0)
		return host_err(err, errno, "read '%s'", device);
	return (size_t)n == sizeof(head) && head[XFS_IN_PROGRESS] != 0;
}

/* 1: it has to be made; 0: it is there. */
static int look(int fd, const char *device, const char *fs, struct err *err)
{
	struct host_probe found;

	if (host_probe(fd, &found, err) < 0)
		return err_wrap(err, "look at '%s'", device);
	if (!found.type[0])
		return 1;
	if (!str_is_equal(found.type, fs))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' bears '%s', %s is asked; nothing is overwritten: ask for what "
			       "it has, or erase it by hand (wipefs)",
			       device, found.type, fs);
	return str_is_equal(fs, "xfs") ? is_half_made_xfs(fd, device, err) : 0;
}

/* Words of text into argv, behind n. */
static int add_words(struct arena *a, const char *text, const char **argv, size_t *n,
		     struct err *err)
{
	char *words = arena_strdup(a, text);
	char *rest = NULL;

	for (char *w = strtok_r(words, " \t", &rest); w; w = strtok_r(NULL, " \t", &rest)) {
		if (*n + 3 >= OPTIONS_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT, "mkfsOptions: more than %d words",
				       OPTIONS_MAX - 14);
		argv[(*n)++] = w;
	}
	return 0;
}

static int make(struct ctx *ctx, const struct maker *m, int fd, const char *options,
		struct err *err)
{
	const char *argv[OPTIONS_MAX] = { m->tool, "-q", m->force };
	size_t n = 3;

	for (size_t i = 0; m->always[i]; i++)
		argv[n++] = m->always[i];
	for (size_t i = 0; str_is_empty(options) && m->options[i]; i++)
		argv[n++] = m->options[i];
	if (!str_is_empty(options) && add_words(ctx->arena, options, argv, &n, err) < 0)
		return -1;
	argv[n++] = HOST_SPAWN_FD_PATH;
	return host_spawn(ctx,
			  &(struct host_spawn){
				  .tool = m->tool,
				  .package = m->package,
				  .argv = argv,
				  .setting = m->setting,
				  .input = m->input,
				  .pass_fd = fd,
				  .timeout_ns = MKFS_TIMEOUT_NS,
			  },
			  err);
}

static const struct maker *find_maker(const char *fs)
{
	for (size_t i = 0; i < ARRAY_LEN(makers); i++) {
		if (str_is_equal(makers[i].fs, fs))
			return &makers[i];
	}
	return NULL;
}

int host_mkfs_device(struct ctx *ctx, const char *device, const char *fs, const char *options,
		     struct err *err)
{
	const struct maker *m = find_maker(fs);
	autofd int fd = open(device, O_RDWR | O_CLOEXEC);
	int r;

	if (!m)
		return err_set(err, ERR_INVALID_ARGUMENT, "no filesystem '%s' can be made", fs);
	if (fd < 0)
		return host_err(err, errno, "open '%s'", device);
	r = look(fd, device, fs, err);
	if (r <= 0)
		return r;
	if (ctx_check(ctx, err) < 0 || make(ctx, m, fd, options, err) < 0)
		return -1;
	if (fsync(fd) < 0)
		return host_err(err, errno, "write out '%s'", device);
	return 0;
}
