/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which numbers our loop devices have.
 *
 * What is set in a device's queue stays with its number after it is unbound: discard_max_bytes = 0
 * for one, which no kernel takes back, and the next user of the number, whoever it is, would wonder
 * why nothing is trimmed. Numbers that are only ever added make hundreds of devices, and everything
 * that looks at all of them slow. So we do not take what LOOP_CTL_GET_FREE offers, but add numbers
 * from a range of our own (free with max_part up to 63, which leaves the loop driver 2^14) and
 * remove each after use. Adding a number that is there fails, so threads do not race for one, and
 * nothing is added while a free one is known.
 *
 * To add one takes 0.2 ms, to turn off its discard 15 ms, to remove it 45 ms, which is waiting for
 * RCU; a volume is made and mounted in 2 ms. Hence spares: up to SPARES_MAX devices of which a
 * volume was taken down are bound to an empty file in memory, as they are, so that nobody else is
 * offered them, until the next volume is put up. They clear themselves when this process ends.
 *
 * One that somebody still looks at cannot be removed; it is tried again with the next. What a
 * killed process left is collected at start. Another process may bind or remove what is free here:
 * then binding it fails, and the caller asks for another number. Nothing is ever removed that is
 * bound, open or of a number not ours.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "host/err-internal.h"
#include "host/fs.h"
#include "host/loopdev-internal.h"

#define NUMBER_FIRST 0x3000u
#define N_NUMBERS 0x1000u
#define SPARES_MAX 2
#define REMOVES_AT_ONCE 4
#define SPARE_BYTES 4096

struct spare {
	unsigned minor;
	int fd; /* holds it */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static VEC(struct spare) spares;
static VEC(unsigned) used; /* to be removed */
static unsigned next_offset;
static unsigned n_making; /* spares on their way */

static bool is_ours(unsigned minor)
{
	return minor >= NUMBER_FIRST && minor < NUMBER_FIRST + N_NUMBERS;
}

static int add_number(int control_fd)
{
	for (unsigned i = 0; i < N_NUMBERS; i++) {
		unsigned minor;

		pthread_mutex_lock(&lock);
		minor = NUMBER_FIRST + next_offset++ % N_NUMBERS;
		pthread_mutex_unlock(&lock);
		if (ioctl(control_fd, LOOP_CTL_ADD, minor) >= 0)
			return (int)minor;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

int loop_number_take(int control_fd, bool may_be_used)
{
	struct spare spare = { .fd = -1 };
	int minor = -1;

	pthread_mutex_lock(&lock);
	if (may_be_used && spares.n) {
		spare = spares.v[--spares.n];
		minor = (int)spare.minor;
	} else if (may_be_used && used.n) {
		minor = (int)used.v[--used.n];
	}
	pthread_mutex_unlock(&lock);
	host_fd_close(spare.fd); /* and so it is unbound */
	return minor < 0 ? add_number(control_fd) : minor;
}

static bool is_bound(unsigned minor)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/block/loop%u/loop", minor);
	return access(path, F_OK) == 0;
}

/*
 * False if somebody looks at it: to be tried again.
 *
 * Where /dev is not the kernel's, the node is one that loop_open made, and it goes, too. Where it
 * is the kernel's, the node went with the device, and what has its name now is of another process,
 * which was quick to add the number again: another inode.
 */
static bool remove_number(int control_fd, unsigned minor)
{
	struct stat before, now;
	char path[64];
	bool has_node;

	(void)snprintf(path, sizeof(path), "/dev/loop%u", minor);
	has_node = lstat(path, &before) == 0;
	if (ioctl(control_fd, LOOP_CTL_REMOVE, minor) < 0)
		return errno != EBUSY || is_bound(minor);
	if (has_node && lstat(path, &now) == 0 && now.st_dev == before.st_dev &&
	    now.st_ino == before.st_ino)
		(void)unlink(path);
	return true;
}

/* Under the lock. */
static void keep_used(unsigned minor)
{
	for (size_t i = 0; i < used.n; i++) {
		if (used.v[i] == minor)
			return;
	}
	vec_push(&used, minor);
}

/* How many are gone. */
static size_t remove_used(int control_fd)
{
	unsigned now[REMOVES_AT_ONCE];
	size_t n = 0;
	size_t n_gone = 0;

	pthread_mutex_lock(&lock);
	while (used.n && n < REMOVES_AT_ONCE)
		now[n++] = used.v[--used.n];
	pthread_mutex_unlock(&lock);
	for (size_t i = 0; i < n; i++) {
		if (remove_number(control_fd, now[i])) {
			n_gone++;
			continue;
		}
		pthread_mutex_lock(&lock);
		keep_used(now[i]);
		pthread_mutex_unlock(&lock);
	}
	return n_gone;
}

/* Whether there is room for one more spare; it is taken at once, by one that has no device yet. */
static bool reserve_spare(void)
{
	bool has_room;

	pthread_mutex_lock(&lock);
	has_room = spares.n + n_making < SPARES_MAX;
	n_making += has_room;
	pthread_mutex_unlock(&lock);
	return has_room;
}

static int make_spare(unsigned minor)
{
	struct host_loop_options opts = { .keep_allocated = true };
	autofd int file_fd = memfd_create("cleat-spare", MFD_CLOEXEC);
	struct err err;
	char path[64];
	int fd = -1;

	if (file_fd < 0 || ftruncate(file_fd, SPARE_BYTES) < 0)
		return -1;
	if (loop_bind(minor, file_fd, &opts, path, sizeof(path), &fd, &err) <= 0)
		return -1;
	if (loop_turn_off_discard(minor, &err) == 0)
		return fd;
	host_fd_close(fd);
	return -1;
}

/* Keeps the free device for the next volume. */
static bool keep_as_spare(unsigned minor)
{
	int fd;

	if (!reserve_spare())
		return false;
	fd = make_spare(minor);
	pthread_mutex_lock(&lock);
	n_making--;
	if (fd >= 0)
		vec_push(&spares, ((struct spare){ minor, fd }));
	pthread_mutex_unlock(&lock);
	return fd >= 0;
}

void loop_number_end(unsigned minor)
{
	autofd int control_fd = -1;

	if (!is_ours(minor) || keep_as_spare(minor))
		return;
	pthread_mutex_lock(&lock);
	keep_used(minor);
	pthread_mutex_unlock(&lock);
	control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control_fd >= 0)
		(void)remove_used(control_fd);
}

static void drop_spares(void)
{
	struct spare spare;

	for (;;) {
		spare.fd = -1;
		pthread_mutex_lock(&lock);
		if (spares.n)
			spare = spares.v[--spares.n];
		else
			vec_done(&spares);
		pthread_mutex_unlock(&lock);
		if (spare.fd < 0)
			return;
		host_fd_close(spare.fd);
		pthread_mutex_lock(&lock);
		keep_used(spare.minor);
		pthread_mutex_unlock(&lock);
	}
}

static void collect(const char *entry)
{
	unsigned minor;

	if (!loop_parse_name(entry, &minor) || !is_ours(minor) || is_bound(minor))
		return;
	pthread_mutex_lock(&lock);
	keep_used(minor);
	pthread_mutex_unlock(&lock);
}

void host_loop_sweep(void)
{
	autodir DIR *dir = opendir(LOOP_SYSFS_DIR);
	autofd int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	const struct dirent *entry;

	drop_spares();
	if (!dir || control_fd < 0)
		return;
	while ((entry = readdir(dir)))
		collect(entry->d_name);
	while (remove_used(control_fd))
		;
}
