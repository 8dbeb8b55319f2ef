/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's side of /dev/fuse played over a socket that keeps messages whole, and a file in
 * memory behind it. With the real kernel: tests/unit/backend/test_rbd_served_real.c. */
#include "base/mem.h"
#include "check.h"
#include "host/fuse-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILE_BYTES 65536

struct peer {
	int kernel; /* our end, as the kernel */
	int wake_fd;
	struct host_fuse *fuse;
	pthread_t thread;
	uint8_t bytes[FILE_BYTES];
	int answer; /* of what is asked next; 0: it is done */
	unsigned n_flushes;
	unsigned n_wakes;
	struct host_fuse_request *late; /* is_late: answered when the test says so */
	bool is_late;
	int rc; /* of serving */
	struct err err;
	uint64_t unique;
	struct {
		struct fuse_out_header head;
		uint8_t body[FILE_BYTES + 4096];
	} got;
};

static bool is_refused(struct peer *p, struct host_fuse_request *req)
{
	if (p->answer)
		host_fuse_done(req, p->answer);
	return p->answer;
}

static void read_file(void *arg, struct host_fuse_request *req, uint64_t offset, void *buf,
		      size_t n)
{
	struct peer *p = arg;

	ASSERT_TRUE(host_fuse_arg(req) == p && offset + n <= FILE_BYTES);
	if (is_refused(p, req))
		return;
	memcpy(buf, p->bytes + offset, n);
	host_fuse_done(req, (int64_t)n);
}

static void write_file(void *arg, struct host_fuse_request *req, uint64_t offset, const void *buf,
		       size_t n)
{
	struct peer *p = arg;

	ASSERT_TRUE(offset + n <= FILE_BYTES);
	if (is_refused(p, req))
		return;
	memcpy(p->bytes + offset, buf, n);
	host_fuse_done(req, 0);
}

static void zero_file(void *arg, struct host_fuse_request *req, uint64_t offset, uint64_t n)
{
	struct peer *p = arg;

	ASSERT_TRUE(offset + n <= FILE_BYTES);
	memset(p->bytes + offset, 0, n);
	host_fuse_done(req, 0);
}

static void flush_file(void *arg, struct host_fuse_request *req)
{
	struct peer *p = arg;

	p->n_flushes++;
	if (p->is_late)
		p->late = req;
	else if (!is_refused(p, req))
		host_fuse_done(req, 0);
}

static void woken(void *arg)
{
	struct peer *p = arg;
	eventfd_t n;

	ASSERT_EQ(eventfd_read(p->wake_fd, &n), 0);
	p->n_wakes++;
	host_fuse_resize(p->fuse, FILE_BYTES);
}

static void *serve(void *arg)
{
	static const struct host_fuse_ops ops = { read_file, write_file, zero_file, flush_file,
						  woken };
	struct peer *p = arg;

	p->rc = host_fuse_serve(p->fuse, &ops, p, p->wake_fd, &p->err);
	return NULL;
}

static void begin_with(struct peer *p, uint64_t bytes, bool read_only)
{
	int pair[2];

	*p = (struct peer){ .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	p->kernel = pair[0];
	ASSERT_EQ(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
	for (size_t i = 0; i < FILE_BYTES; i++)
		p->bytes[i] = (uint8_t)(i / 512);
	p->fuse = fuse_new(pair[1], bytes, read_only);
	ASSERT_EQ(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void begin(struct peer *p)
{
	begin_with(p, FILE_BYTES, false);
}

static void join(struct peer *p)
{
	ASSERT_EQ(pthread_join(p->thread, NULL), 0);
	host_fuse_free(p->fuse);
	(void)close(p->wake_fd);
}

static void end(struct peer *p)
{
	(void)close(p->kernel);
	join(p);
	ASSERT_OK(p->rc, &p->err);
}

static void send_message(struct peer *p, uint32_t opcode, const void *body, size_t n,
			 const void *more, size_t n_more)
{
	static _Thread_local uint8_t text[FILE_BYTES + 4096];
	struct fuse_in_header head = { .len = (uint32_t)(sizeof(head) + n + n_more),
				       .opcode = opcode,
				       .unique = ++p->unique,
				       .nodeid = FUSE_ROOT_ID };

	memcpy(text, &head, sizeof(head));
	if (n)
		memcpy(text + sizeof(head), body, n);
	if (n_more)
		memcpy(text + sizeof(head) + n, more, n_more);
	ASSERT_EQ(send(p->kernel, text, head.len, MSG_NOSIGNAL), head.len);
}

/* The answer's errno, negative; its body is in p->got. */
static int receive(struct peer *p, size_t *ret_n)
{
	ssize_t n = recv(p->kernel, &p->got, sizeof(p->got), 0);

	ASSERT_TRUE(n >= (ssize_t)sizeof(p->got.head));
	ASSERT_EQ(p->got.head.len, n);
	*ret_n = (size_t)n - sizeof(p->got.head);
	return p->got.head.error;
}

static int ask(struct peer *p, uint32_t opcode, const void *body, size_t n, size_t *ret_n)
{
	int rc;

	send_message(p, opcode, body, n, NULL, 0);
	rc = receive(p, ret_n);
	ASSERT_EQ(p->got.head.unique, p->unique);
	return rc;
}

TEST(what_is_agreed_is_no_more_than_both_can)
{
	struct fuse_init_in in = { .major = 7,
				   .minor = 31,
				   .flags = FUSE_ASYNC_DIO | FUSE_MAX_PAGES };
	const struct fuse_init_out *out;
	static struct peer p;
	size_t n;

	begin(&p);
	out = (const void *)p.got.body;
	ASSERT_EQ(ask(&p, FUSE_INIT, &in, offsetof(struct fuse_init_in, flags2), &n), 0);
	ASSERT_EQ(n, sizeof(*out));
	ASSERT_EQ(out->minor, 31);
	ASSERT_EQ(out->flags, FUSE_ASYNC_DIO | FUSE_MAX_PAGES);
	ASSERT_EQ(out->max_write, HOST_FUSE_IO_MAX);
	in.minor = 99;
	in.flags = UINT32_MAX;
	ASSERT_EQ(ask(&p, FUSE_INIT, &in, sizeof(in), &n), 0);
	ASSERT_EQ(out->minor, FUSE_KERNEL_MINOR_VERSION);
	ASSERT_EQ(out->flags, FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES);
	in.major = 8; /* asks again */
	ASSERT_EQ(ask(&p, FUSE_INIT, &in, sizeof(in), &n), 0);
	ASSERT_EQ(out->major, 7);
	end(&p);
}

TEST(a_kernel_that_is_too_old_is_told_so)
{
	const struct fuse_init_in in = { .major = 7, .minor = 12 };
	static struct peer p;
	size_t n;

	begin(&p);
	ASSERT_EQ(ask(&p, FUSE_INIT, &in, sizeof(in), &n), -EPROTO);
	join(&p);
	ASSERT_ERR(p.rc, &p.err, ERR_INTERNAL, "7.23");
	(void)close(p.kernel);
}

TEST(the_file_is_read_up_to_its_end)
{
	static const struct {
		uint64_t offset;
		uint32_t size;
		size_t want;
	} cases[] = {
		{ 0, 4096, 4096 },
		{ 512, 512, 512 },
		{ FILE_BYTES - 100, 4096, 100 },
		{ FILE_BYTES, 4096, 0 },
		{ UINT64_MAX, 4096, 0 },
		{ 0, 0, 0 },
		{ 0, HOST_FUSE_IO_MAX, FILE_BYTES },
	};
	static struct peer p;

	begin(&p);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct fuse_read_in in = { .offset = cases[i].offset, .size = cases[i].size };
		size_t n;

		ASSERT_EQ(ask(&p, FUSE_READ, &in, sizeof(in), &n), 0);
		ASSERT_EQ(n, cases[i].want);
		ASSERT_EQ(memcmp(p.got.body, p.bytes + (n ? in.offset : 0), n), 0);
	}
	end(&p);
}

TEST(what_is_written_is_in_the_file_and_nothing_beyond_it)
{
	uint8_t bytes[4096];
	struct fuse_write_in in = { .offset = 8192, .size = sizeof(bytes) };
	const struct fuse_write_out *out;
	static struct peer p;
	size_t n;

	memset(bytes, 0xaa, sizeof(bytes));
	begin(&p);
	out = (const void *)p.got.body;
	send_message(&p, FUSE_WRITE, &in, sizeof(in), bytes, sizeof(bytes));
	ASSERT_EQ(receive(&p, &n), 0);
	ASSERT_EQ(out->size, sizeof(bytes));
	ASSERT_EQ(p.bytes[8191], 15);
	ASSERT_EQ(memcmp(p.bytes + 8192, bytes, sizeof(bytes)), 0);
	ASSERT_EQ(p.bytes[8192 + 4096], 24);
	in.offset = FILE_BYTES - 1;
	send_message(&p, FUSE_WRITE, &in, sizeof(in), bytes, sizeof(bytes));
	ASSERT_EQ(receive(&p, &n), -ENOSPC);
	in.offset = UINT64_MAX - 1;
	send_message(&p, FUSE_WRITE, &in, sizeof(in), bytes, sizeof(bytes));
	ASSERT_EQ(receive(&p, &n), -ENOSPC);
	in.offset = 0;
	send_message(&p, FUSE_WRITE, &in, sizeof(in), bytes, sizeof(bytes) - 1);
	ASSERT_EQ(receive(&p, &n), -EINVAL);
	end(&p);
}

TEST(holes_are_zeros)
{
	struct fuse_fallocate_in in = { .offset = 1024,
					.length = 1024,
					.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };
	static struct peer p;
	size_t n;

	begin(&p);
	ASSERT_EQ(ask(&p, FUSE_FALLOCATE, &in, sizeof(in), &n), 0);
	ASSERT_EQ(p.bytes[1023], 1);
	ASSERT_EQ(p.bytes[1024] | p.bytes[2047], 0);
	ASSERT_EQ(p.bytes[2048], 4);
	in.mode = FALLOC_FL_ZERO_RANGE;
	in.offset = FILE_BYTES - 512;
	in.length = UINT64_MAX;
	ASSERT_EQ(ask(&p, FUSE_FALLOCATE, &in, sizeof(in), &n), 0);
	ASSERT_EQ(p.bytes[FILE_BYTES - 1], 0);
	in.offset = UINT64_MAX;
	ASSERT_EQ(ask(&p, FUSE_FALLOCATE, &in, sizeof(in), &n), 0);
	in.mode = 0; /* space of its own: an image has none to give */
	ASSERT_EQ(ask(&p, FUSE_FALLOCATE, &in, sizeof(in), &n), -EOPNOTSUPP);
	in.mode = FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE;
	ASSERT_EQ(ask(&p, FUSE_FALLOCATE, &in, sizeof(in), &n), -EOPNOTSUPP);
	end(&p);
}

TEST(sync_and_the_last_close_flush)
{
	const struct fuse_fsync_in in = { .fh = 0 };
	static struct peer p;
	size_t n;

	begin(&p);
	ASSERT_EQ(ask(&p, FUSE_FSYNC, &in, sizeof(in), &n), 0);
	ASSERT_EQ(p.n_flushes, 1);
	ASSERT_EQ(ask(&p, FUSE_RELEASE, NULL, 0, &n), 0);
	ASSERT_EQ(p.n_flushes, 2);
	p.answer = -ETIMEDOUT;
	ASSERT_EQ(ask(&p, FUSE_FSYNC, &in, sizeof(in), &n), -ETIMEDOUT);
	end(&p);
}

TEST(errors_of_the_image_are_the_files)
{
	const struct fuse_read_in in = { .size = 512 };
	const struct fuse_write_in out = { .size = 1 };
	static struct peer p;
	size_t n;

	begin(&p);
	p.answer = -ESHUTDOWN;
	ASSERT_EQ(ask(&p, FUSE_READ, &in, sizeof(in), &n), -ESHUTDOWN);
	ASSERT_EQ(n, 0);
	send_message(&p, FUSE_WRITE, &out, sizeof(out), "x", 1);
	ASSERT_EQ(receive(&p, &n), -ESHUTDOWN);
	end(&p);
}

TEST(one_that_is_read_only_is_not_written)
{
	const struct fuse_write_in in = { .size = 1 };
	const struct fuse_fallocate_in hole = { .length = 1, .mode = FALLOC_FL_PUNCH_HOLE };
	static struct peer p;
	size_t n;

	begin_with(&p, FILE_BYTES, true);
	send_message(&p, FUSE_WRITE, &in, sizeof(in), "x", 1);
	ASSERT_EQ(receive(&p, &n), -EROFS);
	ASSERT_EQ(ask(&p, FUSE_FALLOCATE, &hole, sizeof(hole), &n), -EROFS);
	ASSERT_EQ(ask(&p, FUSE_RELEASE, NULL, 0, &n), 0);
	ASSERT_EQ(p.n_flushes, 0);
	end(&p);
}

TEST(the_kernel_is_told_when_the_file_grows)
{
	const struct fuse_notify_inval_inode_out *told;
	const struct fuse_attr_out *out;
	struct fuse_setattr_in size = { .valid = FATTR_SIZE, .size = 1 };
	static struct peer p;
	size_t n;

	begin_with(&p, 4096, false);
	out = (const void *)p.got.body;
	told = (const void *)p.got.body;
	ASSERT_EQ(ask(&p, FUSE_GETATTR, NULL, 0, &n), 0);
	ASSERT_EQ(out->attr.size, 4096);
	ASSERT_TRUE(out->attr_valid > 365ull * 24 * 3600);
	ASSERT_EQ(eventfd_write(p.wake_fd, 1), 0);
	ASSERT_EQ(receive(&p, &n), FUSE_NOTIFY_INVAL_INODE);
	ASSERT_EQ(p.got.head.unique, 0);
	ASSERT_EQ(told->ino, FUSE_ROOT_ID);
	ASSERT_EQ(told->off, -1);
	ASSERT_EQ(ask(&p, FUSE_GETATTR, NULL, 0, &n), 0);
	ASSERT_EQ(out->attr.size, FILE_BYTES);
	ASSERT_EQ(ask(&p, FUSE_SETATTR, &size, sizeof(size), &n), -EPERM);
	size.size = FILE_BYTES;
	ASSERT_EQ(ask(&p, FUSE_SETATTR, &size, sizeof(size), &n), 0);
	ASSERT_EQ(p.n_wakes, 1);
	end(&p);
}

TEST(what_is_not_known_is_said_to_be)
{
	static struct peer p;
	size_t n;

	begin(&p);
	ASSERT_EQ(ask(&p, 9999, NULL, 0, &n), -ENOSYS);
	ASSERT_EQ(ask(&p, FUSE_INTERRUPT, NULL, 0, &n), -ENOSYS);
	ASSERT_EQ(ask(&p, FUSE_READ, "short", 5, &n), -EINVAL);
	send_message(&p, FUSE_FORGET, NULL, 0, NULL, 0); /* has no answer */
	ASSERT_EQ(ask(&p, FUSE_STATFS, NULL, 0, &n), 0);
	ASSERT_EQ(n, sizeof(struct fuse_statfs_out));
	end(&p);
}

TEST(serving_ends_when_all_is_answered)
{
	const struct fuse_fsync_in in = { .fh = 0 };
	static struct peer p;
	size_t n;

	begin(&p);
	p.is_late = true;
	send_message(&p, FUSE_FSYNC, &in, sizeof(in), NULL, 0);
	ASSERT_EQ(ask(&p, FUSE_DESTROY, NULL, 0, &n), 0); /* the flush was asked before */
	ASSERT_TRUE(p.late != NULL);
	ASSERT_EQ(p.n_flushes, 1);
	host_fuse_done(p.late, 0);
	ASSERT_EQ(receive(&p, &n), 0);
	join(&p);
	ASSERT_OK(p.rc, &p.err);
	(void)close(p.kernel);
}

TEST(more_than_is_kept_may_be_asked_at_once)
{
	const struct fuse_read_in in = { .size = 512 };
	static struct peer p;
	size_t n;

	begin(&p);
	for (unsigned i = 0; i < 100; i++)
		send_message(&p, FUSE_READ, &in, sizeof(in), NULL, 0);
	for (unsigned i = 0; i < 100; i++) {
		ASSERT_EQ(receive(&p, &n), 0);
		ASSERT_EQ(p.got.head.unique, i + 1);
	}
	end(&p);
}

RUN_TESTS(UNIT(what_is_agreed_is_no_more_than_both_can), UNIT(a_kernel_that_is_too_old_is_told_so),
	  UNIT(the_file_is_read_up_to_its_end),
	  UNIT(what_is_written_is_in_the_file_and_nothing_beyond_it), UNIT(holes_are_zeros),
	  UNIT(sync_and_the_last_close_flush), UNIT(errors_of_the_image_are_the_files),
	  UNIT(one_that_is_read_only_is_not_written), UNIT(the_kernel_is_told_when_the_file_grows),
	  UNIT(what_is_not_known_is_said_to_be), UNIT(serving_ends_when_all_is_answered),
	  UNIT(more_than_is_kept_may_be_asked_at_once))
