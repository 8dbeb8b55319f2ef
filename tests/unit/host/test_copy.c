/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of sparse files in pieces. What only filesystems that share blocks can show is in
 * test_extent_real.c. */
#include "base/mem.h"
#include "base/num.h"
#include "host/extent.h"
#include "scratch.h"

#include <fcntl.h>
#include <sys/stat.h>

struct pair {
	struct scratch s;
	int from;
	int to;
	struct ctx ctx;
	struct err err;
};

static void fill(int fd, uint64_t at, size_t n, unsigned char byte)
{
	autofree unsigned char *bytes = xmalloc(n);

	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)(byte + i / 4096);
	ASSERT_EQ(pwrite(fd, bytes, n, (off_t)at), n);
}

/* 64 MiB: data at 0, at 10 MiB (zeros amid it), and 5 bytes short of the end. */
static void begin(struct pair *p)
{
	autofree char *zeros = xcalloc(1, MIB);

	scratch_init(&p->s);
	ctx_init(&p->ctx, 0);
	ASSERT_OK(host_file_make(p->s.fd, &p->from, &p->err), &p->err);
	ASSERT_OK(host_file_make(p->s.fd, &p->to, &p->err), &p->err);
	ASSERT_OK(host_file_resize(p->from, 64 * MIB - 5, &p->err), &p->err);
	fill(p->from, 0, 3 * 4096, 1);
	fill(p->from, 10 * MIB, 4 * MIB, 2);
	ASSERT_EQ(pwrite(p->from, zeros, MIB, 12 * MIB), MIB);
	fill(p->from, 64 * MIB - 6000, 5995, 3);
	ASSERT_OK(host_file_sync(p->from, &p->err), &p->err);
}

static void end(struct pair *p)
{
	host_fd_close(p->from);
	host_fd_close(p->to);
	ctx_done(&p->ctx);
	scratch_done(&p->s);
}

static void assert_same(struct pair *p)
{
	autofree char *a = xmalloc(64 * MIB);
	autofree char *b = xmalloc(64 * MIB);
	struct stat st;

	ASSERT_EQ(fstat(p->to, &st), 0);
	ASSERT_EQ(st.st_size, 64 * MIB - 5);
	ASSERT_EQ(pread(p->from, a, 64 * MIB, 0), 64 * MIB - 5);
	ASSERT_EQ(pread(p->to, b, 64 * MIB, 0), 64 * MIB - 5);
	ASSERT_EQ(memcmp(a, b, 64 * MIB - 5), 0);
}

static unsigned copy_all(struct pair *p, uint64_t max_bytes)
{
	unsigned n = 0;
	uint64_t at = 0;

	for (; at < 64 * MIB - 5; n++) {
		uint64_t before = at;

		ASSERT_OK(host_file_copy_data(&p->ctx, p->from, p->to, at, max_bytes, &at, &p->err),
			  &p->err);
		ASSERT_TRUE(at > before);
	}
	return n;
}

TEST(a_copy_in_pieces_is_whole_and_as_sparse)
{
	static const uint64_t pieces[] = { 4096, 5000, MIB, 3 * MIB + 1, UINT64_MAX };

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		struct host_file file;
		struct pair p;
		unsigned n;

		begin(&p);
		n = copy_all(&p, pieces[i]);
		ASSERT_TRUE(n >= 4 * MIB / pieces[i]);
		ASSERT_TRUE(n <= 4 * MIB / pieces[i] + 10);
		assert_same(&p);
		ASSERT_OK(host_file_look(p.to, &file, &p.err), &p.err);
		ASSERT_TRUE(file.allocated_bytes <= 3 * MIB + 128 * KIB);
		end(&p);
	}
}

TEST(a_piece_may_be_copied_again_and_into_allocated_space)
{
	struct host_file file;
	struct pair p;
	uint64_t next;

	begin(&p);
	ASSERT_OK(host_file_allocate(p.to, 64 * MIB - 5, &p.err), &p.err);
	ASSERT_OK(host_file_copy_data(&p.ctx, p.from, p.to, 0, 2 * MIB, &next, &p.err), &p.err);
	ASSERT_TRUE(next > 10 * MIB && next < 14 * MIB);
	(void)copy_all(&p, MIB);
	assert_same(&p);
	ASSERT_OK(host_file_look(p.to, &file, &p.err), &p.err);
	ASSERT_TRUE(file.allocated_bytes >= 64 * MIB - 4096);
	end(&p);
}

TEST(what_is_longer_stays_longer)
{
	struct host_file file;
	struct pair p;
	uint64_t next;

	begin(&p);
	ASSERT_OK(host_file_resize(p.to, 100 * MIB, &p.err), &p.err);
	ASSERT_OK(host_file_copy_data(&p.ctx, p.from, p.to, 0, UINT64_MAX, &next, &p.err), &p.err);
	ASSERT_EQ(next, 64 * MIB - 5);
	ASSERT_OK(host_file_look(p.to, &file, &p.err), &p.err);
	ASSERT_EQ(file.bytes, 100 * MIB);
	ASSERT_OK(host_file_copy_data(&p.ctx, p.from, p.to, 80 * MIB, 1, &next, &p.err), &p.err);
	ASSERT_EQ(next, 80 * MIB);
	end(&p);
}

TEST(a_copy_ends_with_its_ctx_and_with_what_it_cannot_write)
{
	struct pair p;
	uint64_t next = 7;
	int full;

	begin(&p);
	full = open("/dev/full", O_RDWR | O_CLOEXEC);
	ASSERT_TRUE(full >= 0);
	ASSERT_TRUE(host_file_copy_data(&p.ctx, p.from, full, 0, MIB, &next, &p.err) < 0);
	ASSERT_EQ(close(full), 0);
	ctx_cancel(&p.ctx);
	ASSERT_ERR(host_file_copy_data(&p.ctx, p.from, p.to, 0, MIB, &next, &p.err), &p.err,
		   ERR_CANCELLED, "");
	ASSERT_EQ(next, 7);
	end(&p);
}

TEST(a_file_in_memory_is_not_cloned)
{
	struct pair p;
	bool can = true;
	int from;
	int to;

	begin(&p);
	ASSERT_OK(host_file_make_memory("a", 4096, &from, &p.err), &p.err);
	ASSERT_OK(host_file_make_memory("b", 0, &to, &p.err), &p.err);
	ASSERT_ERR(host_file_clone(from, to, &p.err), &p.err, ERR_FAILED_PRECONDITION, "reflink");
	ASSERT_ERR(host_file_clone(to, from, &p.err), &p.err, ERR_FAILED_PRECONDITION,
		   "4096 bytes");
	ASSERT_ERR(host_file_clone(p.from, to, &p.err), &p.err, ERR_FAILED_PRECONDITION, "");
	ASSERT_OK(host_dir_try_clone(p.s.fd, &can, &p.err), &p.err);
	host_fd_close(from);
	host_fd_close(to);
	end(&p);
}

RUN_TESTS(UNIT(a_copy_in_pieces_is_whole_and_as_sparse),
	  UNIT(a_piece_may_be_copied_again_and_into_allocated_space),
	  UNIT(what_is_longer_stays_longer),
	  UNIT(a_copy_ends_with_its_ctx_and_with_what_it_cannot_write),
	  UNIT(a_file_in_memory_is_not_cloned))
