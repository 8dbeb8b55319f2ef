/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include "../check.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static int make_file(const char *bytes, size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	ASSERT_TRUE(fd >= 0);
	ASSERT_EQ(fd_write_all(fd, bytes, n), 0);
	ASSERT_EQ(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

TEST(what_is_written_is_read_back_whole)
{
	static char bytes[100000];
	autofree char *buf = NULL;
	size_t len = 0;
	autofd int fd = -1;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7);
	fd = make_file(bytes, sizeof(bytes));
	ASSERT_EQ(fd_read_all(fd, sizeof(bytes), &buf, &len), 0);
	ASSERT_EQ(len, sizeof(bytes));
	assert_memory_equal(buf, bytes, len);
	ASSERT_EQ(buf[len], '\0');
}

TEST(a_file_over_the_limit_is_refused_untouched)
{
	autofd int fd = make_file("12345", 5);
	char *buf = NULL;
	size_t len = 9;

	ASSERT_EQ(fd_read_all(fd, 4, &buf, &len), -EFBIG);
	ASSERT_TRUE(buf == NULL);
	ASSERT_EQ(len, 9);
}

TEST(an_empty_file_is_an_empty_text)
{
	autofd int fd = make_file("", 0);
	autofree char *buf = NULL;

	ASSERT_EQ(fd_read_all(fd, 0, &buf, NULL), 0);
	ASSERT_STR(buf, "");
}

TEST(proc_files_are_read_whatever_their_size_says)
{
	autofree char *buf = NULL;
	size_t len = 0;

	ASSERT_EQ(fd_read_file(AT_FDCWD, "/proc/self/status", 1 << 16, &buf, &len), 0);
	ASSERT_TRUE(len > 100);
	ASSERT_TRUE(strstr(buf, "Threads:") != NULL);
}

TEST(a_missing_file_says_so)
{
	char *buf = NULL;

	ASSERT_EQ(fd_read_file(AT_FDCWD, "/proc/self/no-such", 10, &buf, NULL), -ENOENT);
	ASSERT_EQ(fd_read_file(AT_FDCWD, "/proc/self", 10, &buf, NULL), -EISDIR);
	ASSERT_TRUE(buf == NULL);
}

TEST(writing_where_nobody_reads_fails)
{
	autofd int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	ASSERT_EQ(fd_write_all(fd, "x", 1), -ENOSPC);
	ASSERT_EQ(fd_write_all(-1, "x", 1), -EBADF);
}

TEST(closing_keeps_errno_and_take_hands_on)
{
	int fd = make_file("", 0);
	int taken = TAKE_FD(fd);
	DIR *none = NULL;

	ASSERT_EQ(fd, -1);
	errno = EDOM;
	fd_closep(&fd);
	fd_closep(&taken);
	fd_closedirp(&none);
	ASSERT_EQ(errno, EDOM);
	ASSERT_EQ(fcntl(taken, F_GETFD), -1);
}

RUN_TESTS(UNIT(what_is_written_is_read_back_whole),
	  UNIT(a_file_over_the_limit_is_refused_untouched), UNIT(an_empty_file_is_an_empty_text),
	  UNIT(proc_files_are_read_whatever_their_size_says), UNIT(a_missing_file_says_so),
	  UNIT(writing_where_nobody_reads_fails), UNIT(closing_keeps_errno_and_take_hands_on))
