/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/num.h"
#include "host/fs.h"
#include "scratch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

TEST(a_nameless_file_appears_whole_or_not_at_all)
{
	struct scratch s;
	struct err err;
	int fd, other;

	scratch_init(&s);
	ASSERT_OK(host_file_make(s.fd, &fd, &err), &err);
	host_fd_close(fd);
	ASSERT_ERR(host_file_open(s.fd, "v", true, &fd, &err), &err, ERR_NOT_FOUND, "'v'");
	ASSERT_OK(host_file_make(s.fd, &fd, &err), &err);
	ASSERT_OK(host_file_sync(fd, &err), &err);
	ASSERT_OK(host_file_link(fd, s.fd, "v", &err), &err);
	ASSERT_OK(host_dir_sync(s.fd, &err), &err);
	ASSERT_ERR(host_file_link(fd, s.fd, "v", &err), &err, ERR_ALREADY_EXISTS, "'v'");
	ASSERT_OK(host_file_open(s.fd, "v", true, &other, &err), &err);
	host_fd_close(other);
	host_fd_close(fd);
	ASSERT_OK(host_file_unlink(s.fd, "v", &err), &err);
	ASSERT_OK(host_file_unlink(s.fd, "v", &err), &err);
	scratch_done(&s);
}

TEST(opens_regular_files_only)
{
	struct scratch s;
	struct err err;
	int fd;

	scratch_init(&s);
	ASSERT_EQ(mkdirat(s.fd, "dir", 0700), 0);
	ASSERT_EQ(symlinkat("/etc/passwd", s.fd, "link"), 0);
	ASSERT_EQ(mkfifoat(s.fd, "fifo", 0600), 0);
	ASSERT_ERR(host_file_open(s.fd, "dir", true, &fd, &err), &err, ERR_FAILED_PRECONDITION,
		   "dir");
	ASSERT_ERR(host_file_open(s.fd, "link", true, &fd, &err), &err, ERR_FAILED_PRECONDITION,
		   "link");
	ASSERT_ERR(host_file_open(s.fd, "fifo", true, &fd, &err), &err, ERR_FAILED_PRECONDITION,
		   "fifo");
	ASSERT_ERR(host_dir_make(s.fd, "link", &fd, &err), &err, ERR_FAILED_PRECONDITION, "link");
	ASSERT_EQ(unlinkat(s.fd, "dir", AT_REMOVEDIR), 0);
	ASSERT_EQ(unlinkat(s.fd, "link", 0), 0);
	ASSERT_EQ(unlinkat(s.fd, "fifo", 0), 0);
	scratch_done(&s);
}

TEST(allocates_all_blocks)
{
	struct host_file file;
	struct scratch s;
	struct err err;
	int fd;

	scratch_init(&s);
	ASSERT_OK(host_file_make(s.fd, &fd, &err), &err);
	ASSERT_OK(host_file_allocate(fd, MIB, &err), &err);
	ASSERT_OK(host_file_look(fd, &file, &err), &err);
	ASSERT_EQ(file.bytes, MIB);
	ASSERT_TRUE(file.allocated_bytes >= MIB);
	ASSERT_ERR(host_file_allocate(fd, UINT64_C(1) << 52, &err), &err, err.code,
		   "4503599627370496");
	ASSERT_OK(host_file_resize(fd, 0, &err), &err);
	ASSERT_OK(host_file_look(fd, &file, &err), &err);
	ASSERT_EQ(file.allocated_bytes, 0);
	host_fd_close(fd);
	scratch_done(&s);
}

TEST(copies_what_is_not_zero_and_nothing_else)
{
	static const struct {
		uint64_t at;
		size_t n;
	} pieces[] = {
		{ 0, 1 }, { 5000, 10000 }, { 262143, 2 }, { MIB, 300000 }, { 3 * MIB - 100, 100 }
	};
	autofree char *want = xcalloc(1, 3 * MIB);
	autofree char *got = xcalloc(1, 3 * MIB);
	struct host_file file;
	struct scratch s;
	struct ctx ctx;
	struct err err;
	uint64_t digest, same;
	int from, to;

	scratch_init(&s);
	ctx_init(&ctx, 0);
	ASSERT_OK(host_file_make(s.fd, &from, &err), &err);
	ASSERT_OK(host_file_make(s.fd, &to, &err), &err);
	ASSERT_OK(host_file_resize(from, 3 * MIB, &err), &err);
	ASSERT_OK(host_file_resize(to, 3 * MIB, &err), &err);
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		memset(want + pieces[i].at, 'a' + (int)i, pieces[i].n);
		ASSERT_EQ(pwrite(from, want + pieces[i].at, pieces[i].n, (off_t)pieces[i].at),
			  pieces[i].n);
	}
	/* data that is zero: must be read, need not be written */
	ASSERT_EQ(pwrite(from, got, 65536, 2 * MIB), 65536);
	ASSERT_OK(host_file_copy_blocks(&ctx, from, to, &digest, &err), &err);
	ASSERT_EQ(pread(to, got, 3 * MIB, 0), 3 * MIB);
	ASSERT_EQ(memcmp(want, got, 3 * MIB), 0);
	ASSERT_OK(host_file_look(to, &file, &err), &err);
	ASSERT_TRUE(file.allocated_bytes < 512 * KIB);
	ASSERT_OK(host_file_copy_blocks(&ctx, to, -1, &same, &err), &err);
	ASSERT_TRUE(digest == same);
	ASSERT_EQ(pwrite(to, "", 1, MIB), 1);
	ASSERT_OK(host_file_copy_blocks(&ctx, to, -1, &same, &err), &err);
	ASSERT_TRUE(digest != same);
	host_fd_close(from);
	host_fd_close(to);
	ctx_done(&ctx);
	scratch_done(&s);
}

TEST(keeps_text_beside_a_file)
{
	struct scratch s;
	struct err err;
	char text[32];
	int fd;

	scratch_init(&s);
	ASSERT_OK(host_file_make(s.fd, &fd, &err), &err);
	ASSERT_ERR(host_file_get_attr(fd, "user.cleat.test", text, sizeof(text), &err), &err,
		   ERR_NOT_FOUND, "test");
	ASSERT_OK(host_file_set_attr(fd, "user.cleat.test", "one\ntwo", &err), &err);
	ASSERT_OK(host_file_get_attr(fd, "user.cleat.test", text, sizeof(text), &err), &err);
	ASSERT_STR(text, "one\ntwo");
	ASSERT_ERR(host_file_get_attr(fd, "user.cleat.test", text, 4, &err), &err,
		   ERR_FAILED_PRECONDITION, "longer");
	host_fd_close(fd);
	scratch_done(&s);
}

TEST(locks_against_others)
{
	struct scratch s;
	struct err err;
	int fd, other, holder;

	scratch_init(&s);
	ASSERT_ERR(host_lock_look(s.fd, "lock", &holder, &err), &err, ERR_NOT_FOUND, "lock");
	ASSERT_OK(host_lock_take(s.fd, "lock", &fd, &holder, &err), &err);
	for (int i = 0; i < 2; i++) {
		holder = 0;
		ASSERT_ERR(host_lock_take(s.fd, "lock", &other, &holder, &err), &err, ERR_ABORTED,
			   "locked");
		ASSERT_EQ(holder, getpid());
		ASSERT_EQ(host_lock_look(s.fd, "lock", &holder, &err), 1);
		ASSERT_EQ(holder, getpid());
	}
	host_fd_close(fd);
	ASSERT_EQ(host_lock_look(s.fd, "lock", &holder, &err), 0);
	ASSERT_OK(host_lock_take(s.fd, "lock", &other, &holder, &err), &err);
	host_fd_close(other);
	ASSERT_OK(host_file_unlink(s.fd, "lock", &err), &err);
	scratch_done(&s);
}

/* As fork: what the tools' processes are until they execute the tool. */
static pid_t copy_process(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* Takes the lock, has a child that never executes anything, says the child's number, waits to be
 * killed. */
static void hold_with_child(const struct scratch *s, int to_fd)
{
	struct err err;
	int fd, holder;
	pid_t child = -1;

	if (host_lock_take(s->fd, "lock", &fd, &holder, &err) == 0)
		child = copy_process();
	if (child != 0 && write(to_fd, &child, sizeof(child)) != sizeof(child))
		_exit(1);
	for (;;)
		(void)pause();
}

TEST(a_child_that_outlives_us_has_no_lock)
{
	struct scratch s;
	struct err err;
	pid_t parent, child;
	int fds[2];
	int fd, holder;

	scratch_init(&s);
	ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
	parent = copy_process();
	if (parent == 0)
		hold_with_child(&s, fds[1]);
	ASSERT_TRUE(parent > 0);
	ASSERT_EQ(read(fds[0], &child, sizeof(child)), sizeof(child));
	ASSERT_TRUE(child > 0);
	ASSERT_ERR(host_lock_take(s.fd, "lock", &fd, &holder, &err), &err, ERR_ABORTED, "locked");
	ASSERT_EQ(holder, parent);
	holder = 0;
	ASSERT_EQ(host_lock_look(s.fd, "lock", &holder, &err), 1);
	ASSERT_EQ(holder, parent);
	ASSERT_EQ(kill(parent, SIGKILL), 0);
	ASSERT_EQ(waitpid(parent, NULL, 0), parent);
	ASSERT_OK(host_lock_take(s.fd, "lock", &fd, &holder, &err), &err);
	host_fd_close(fd);
	ASSERT_EQ(kill(child, SIGKILL), 0);
	host_fd_close(fds[0]);
	host_fd_close(fds[1]);
	ASSERT_OK(host_file_unlink(s.fd, "lock", &err), &err);
	scratch_done(&s);
}

static void put_text(struct scratch *s, const char *name, const char *text)
{
	struct err err;
	int fd;

	ASSERT_OK(host_file_open_or_make(s->fd, name, &fd, &err), &err);
	ASSERT_OK(host_file_set_text(fd, text, &err), &err);
	host_fd_close(fd);
}

TEST(a_rename_takes_the_place_of_what_was_there)
{
	struct scratch s;
	struct err err;
	char text[16];
	int fd;

	scratch_init(&s);
	put_text(&s, "old", "old\n");
	put_text(&s, "new", "new\n");
	ASSERT_OK(host_file_rename(s.fd, "new", "old", &err), &err);
	ASSERT_OK(host_file_open(s.fd, "old", true, &fd, &err), &err);
	ASSERT_OK(host_file_get_text(fd, text, sizeof(text), &err), &err);
	ASSERT_STR(text, "new\n");
	host_fd_close(fd);
	ASSERT_ERR(host_file_rename(s.fd, "new", "old", &err), &err, ERR_NOT_FOUND, "'new'");
	ASSERT_OK(host_file_unlink(s.fd, "old", &err), &err);
	scratch_done(&s);
}

TEST(a_directory_below_is_opened_and_nothing_else)
{
	struct scratch s;
	struct err err;
	int fd;

	scratch_init(&s);
	put_text(&s, "file", "x");
	ASSERT_EQ(symlinkat("/", s.fd, "link"), 0);
	ASSERT_EQ(mkdirat(s.fd, "dir", 0700), 0);
	ASSERT_ERR(host_dir_open_at(s.fd, "none", &fd, &err), &err, ERR_NOT_FOUND, "'none'");
	ASSERT_ERR(host_dir_open_at(s.fd, "file", &fd, &err), &err, ERR_FAILED_PRECONDITION,
		   "'file'");
	ASSERT_ERR(host_dir_open_at(s.fd, "link", &fd, &err), &err, ERR_FAILED_PRECONDITION,
		   "'link'");
	ASSERT_OK(host_dir_open_at(s.fd, "dir", &fd, &err), &err);
	host_fd_close(fd);
	ASSERT_EQ(unlinkat(s.fd, "dir", AT_REMOVEDIR), 0);
	ASSERT_EQ(unlinkat(s.fd, "link", 0), 0);
	ASSERT_EQ(unlinkat(s.fd, "file", 0), 0);
	scratch_done(&s);
}

RUN_TESTS(UNIT(a_rename_takes_the_place_of_what_was_there),
	  UNIT(a_directory_below_is_opened_and_nothing_else),
	  UNIT(a_nameless_file_appears_whole_or_not_at_all), UNIT(opens_regular_files_only),
	  UNIT(allocates_all_blocks), UNIT(copies_what_is_not_zero_and_nothing_else),
	  UNIT(keeps_text_beside_a_file), UNIT(locks_against_others),
	  UNIT(a_child_that_outlives_us_has_no_lock))
