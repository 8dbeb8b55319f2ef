/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host/extent.h on the fake host: files as pieces, each with the place where it is and what it
 * says. A clone has the same pieces, a copy the same contents at new places; neither has the
 * attributes, and what was allocated and not written is in neither.
 */
#include "fake/host_extent.h"

#include <assert.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake/host-internal.h"
#include "host/extent.h"
#include "host/fs.h"

#define BLOCK 4096u
/* Space that was never written has places of its own. */
#define UNWRITTEN_PLACE (UINT64_C(1) << 60)

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static int by_start(const void *a, const void *b)
{
	const struct fake_piece *x = a;
	const struct fake_piece *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

static int by_place(const void *a, const void *b)
{
	const struct fake_piece *x = a;
	const struct fake_piece *y = b;

	return (x->place > y->place) - (x->place < y->place);
}

static struct fake_piece slice(const struct fake_piece *piece, uint64_t start, uint64_t end)
{
	uint64_t skip = start - piece->start;

	return (struct fake_piece){ start, end - start, piece->place + skip,
				    piece->content + skip };
}

void fake_map_cut(struct fake_inode *inode, uint64_t start, uint64_t end)
{
	for (size_t i = inode->map.n; i > 0; i--) {
		struct fake_piece piece = inode->map.v[i - 1];
		uint64_t piece_end = piece.start + piece.bytes;

		if (piece_end <= start || piece.start >= end)
			continue;
		inode->map.v[i - 1] = inode->map.v[--inode->map.n];
		if (piece.start < start)
			vec_push(&inode->map, slice(&piece, piece.start, start));
		if (piece_end > end)
			vec_push(&inode->map, slice(&piece, end, piece_end));
	}
	if (inode->map.n)
		qsort(inode->map.v, inode->map.n, sizeof(inode->map.v[0]), by_start);
}

static uint64_t new_address(uint64_t bytes)
{
	world.next_address += bytes;
	return world.next_address - bytes;
}

static uint64_t written_bytes(const struct fake_inode *inode)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < inode->map.n; i++)
		sum += inode->map.v[i].bytes;
	return sum;
}

static void put_piece(struct fake_inode *inode, const struct fake_piece *piece)
{
	fake_map_cut(inode, piece->start, piece->start + piece->bytes);
	vec_push(&inode->map, *piece);
	qsort(inode->map.v, inode->map.n, sizeof(inode->map.v[0]), by_start);
	inode->allocated_bytes = max_u64(inode->allocated_bytes, written_bytes(inode));
}

void fake_map_copy(struct fake_inode *to, const struct fake_inode *from)
{
	for (size_t i = 0; i < from->map.n; i++) {
		struct fake_piece piece = from->map.v[i];

		piece.place = new_address(piece.bytes);
		put_piece(to, &piece);
	}
}

uint64_t fake_map_saved_bytes(const struct fake_fs *fs)
{
	VEC(struct fake_piece) all = VEC_INIT;
	uint64_t reached = 0;
	uint64_t sum = 0;

	for (size_t i = 0; i < world.inodes.n; i++) {
		const struct fake_inode *inode = world.inodes.v[i];

		for (size_t j = 0; inode->on == fs && j < inode->map.n; j++)
			vec_push(&all, inode->map.v[j]);
	}
	if (all.n)
		qsort(all.v, all.n, sizeof(all.v[0]), by_place);
	for (size_t i = 0; i < all.n; i++) {
		uint64_t end = all.v[i].place + all.v[i].bytes;

		sum += min_u64(end, max_u64(reached, all.v[i].place)) - all.v[i].place;
		reached = max_u64(reached, end);
	}
	vec_done(&all);
	return sum;
}

/* Whether another file has the block at this place; ret_end: as far as that is so. */
static bool is_shared(const struct fake_inode *inode, uint64_t place, uint64_t *ret_end)
{
	bool found = false;

	for (size_t i = 0; i < world.inodes.n; i++) {
		const struct fake_inode *other = world.inodes.v[i];

		for (size_t j = 0; other != inode && other->on == inode->on && j < other->map.n;
		     j++) {
			const struct fake_piece *piece = &other->map.v[j];

			found = found ||
				(piece->place <= place && place < piece->place + piece->bytes);
			if (piece->place > place)
				*ret_end = min_u64(*ret_end, piece->place);
			if (piece->place + piece->bytes > place)
				*ret_end = min_u64(*ret_end, piece->place + piece->bytes);
		}
	}
	return found;
}

struct walk {
	const struct fake_inode *inode;
	uint64_t from;
	host_extent_fn fn;
	void *arg;
	bool is_stopped;
};

static void give(struct walk *w, uint64_t start, uint64_t end, uint64_t place, bool is_unwritten,
		 bool is_of_two)
{
	bool is_certain = !w->inode->is_blurred;

	if (w->is_stopped || end <= w->from)
		return;
	if (start < w->from) {
		place += w->from - start;
		start = w->from;
	}
	w->is_stopped = w->fn(w->arg, &(struct host_extent){
					      .start = start,
					      .bytes = end - start,
					      .physical = is_certain ? place : 0,
					      .is_unwritten = is_unwritten,
					      .is_shared = is_of_two,
					      .is_certain = is_certain,
				      }) != 0;
}

static void give_piece(struct walk *w, const struct fake_piece *piece)
{
	uint64_t end = piece->place + piece->bytes;
	uint64_t at = piece->place;

	while (at < end) {
		uint64_t to = end;
		bool shared = is_shared(w->inode, at, &to);

		give(w, piece->start + (at - piece->place), piece->start + (to - piece->place), at,
		     false, shared);
		at = to;
	}
}

/* A thick file has unwritten space between its pieces. */
static void walk_file(struct walk *w)
{
	const struct fake_inode *inode = w->inode;
	bool is_thick = inode->allocated_bytes >= inode->bytes;
	uint64_t at = 0;

	for (size_t i = 0; i < inode->map.n; i++) {
		const struct fake_piece *piece = &inode->map.v[i];

		if (is_thick && at < piece->start)
			give(w, at, piece->start, UNWRITTEN_PLACE + at, true, false);
		give_piece(w, piece);
		at = piece->start + piece->bytes;
	}
	if (is_thick && at < inode->bytes)
		give(w, at, inode->bytes, UNWRITTEN_PLACE + at, true, false);
}

int host_file_each_extent(struct ctx *ctx, int fd, uint64_t from, host_extent_fn fn, void *arg,
			  struct err *err)
{
	struct walk w = { fake_fd_get(fd)->inode, from, fn, arg, false };

	if (ctx_check(ctx, err) < 0 || fake_step_on(w.inode, err) < 0)
		return -1;
	walk_file(&w);
	if (world.after_map)
		world.after_map(world.after_map_arg);
	return 0;
}

static int count_one(void *arg, const struct host_extent *extent)
{
	(void)extent;
	++*(uint64_t *)arg;
	return 0;
}

int host_file_count_extents(int fd, uint64_t *ret_n, struct err *err)
{
	uint64_t n = 0;
	struct walk w = { fake_fd_get(fd)->inode, 0, count_one, &n, false };

	if (fake_step_on(w.inode, err) < 0)
		return -1;
	walk_file(&w);
	*ret_n = w.inode->n_extents ? w.inode->n_extents : n;
	return 0;
}

static int add_shared(void *arg, const struct host_extent *extent)
{
	*(uint64_t *)arg += extent->is_shared ? extent->bytes : 0;
	return 0;
}

int host_file_shared_bytes(struct ctx *ctx, int fd, uint64_t *ret_bytes, struct err *err)
{
	*ret_bytes = 0;
	return host_file_each_extent(ctx, fd, 0, add_shared, ret_bytes, err);
}

/* What is in the file's first block, and is not among its pieces. */
static void take_insides(struct fake_inode *to, const struct fake_inode *from)
{
	memcpy(to->text, from->text, sizeof(to->text));
	memcpy(to->fs, from->fs, sizeof(to->fs));
	memcpy(to->label, from->label, sizeof(to->label));
	to->fs_uuid = from->fs_uuid;
	to->fs_bytes = from->fs_bytes;
	to->has_errors = from->has_errors;
	to->growth_is_in_log = from->growth_is_in_log;
	to->copies_lag = from->copies_lag;
	to->is_spoilt = from->is_spoilt;
}

static int check_clone(const struct fake_inode *from, const struct fake_inode *to, struct err *err)
{
	if (from->on != to->on || !from->on->has_reflink || from->is_nocow != to->is_nocow)
		return err_set(err, ERR_FAILED_PRECONDITION, "clone a file: not supported here");
	if (to->bytes)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the file to clone into has bytes already");
	return 0;
}

int host_file_clone(int from_fd, int to_fd, struct err *err)
{
	const struct fake_inode *from = fake_fd_get(from_fd)->inode;
	struct fake_inode *to = fake_fd_get(to_fd)->inode;

	if (world.at_clone)
		world.at_clone(world.at_clone_arg);
	if (fake_step_on(from, err) < 0 || check_clone(from, to, err) < 0)
		return -1;
	to = fake_change(to_fd);
	take_insides(to, from);
	to->bytes = from->bytes;
	for (size_t i = 0; i < from->map.n; i++)
		put_piece(to, &from->map.v[i]);
	return 0;
}

int host_file_share(int from_fd, int to_fd, uint64_t from, uint64_t bytes, struct err *err)
{
	const struct fake_inode *source = fake_fd_get(from_fd)->inode;
	struct fake_inode *to = fake_fd_get(to_fd)->inode;

	assert(from % BLOCK == 0 && bytes % BLOCK == 0 && bytes > 0);
	if (fake_step_on(source, err) < 0)
		return -1;
	if (source->on != to->on || !source->on->has_reflink || source->is_nocow != to->is_nocow)
		return err_set(err, ERR_FAILED_PRECONDITION, "clone a file: not supported here");
	to = fake_change(to_fd);
	if (from == 0)
		take_insides(to, source);
	fake_map_cut(to, from, from + bytes);
	for (size_t i = 0; i < source->map.n; i++) {
		const struct fake_piece *piece = &source->map.v[i];
		uint64_t start = max_u64(piece->start, from);
		uint64_t end = min_u64(piece->start + piece->bytes, from + bytes);
		struct fake_piece shared;

		if (start >= end)
			continue;
		shared = slice(piece, start, end);
		put_piece(to, &shared);
	}
	return 0;
}

int host_dir_try_clone(int dirfd, bool *ret_can, struct err *err)
{
	const struct fake_inode *dir = fake_fd_get(dirfd)->inode;

	if (fake_step_on(dir, err) < 0)
		return -1;
	*ret_can = dir->on->has_reflink;
	return 0;
}

/* What of the piece lies in at … end, at a new place of the file; RESOURCE_EXHAUSTED. */
static int copy_piece(struct fake_inode *to, const struct fake_piece *piece, uint64_t start,
		      uint64_t end, struct err *err)
{
	struct fake_piece copy = slice(piece, start, end);
	uint64_t used = fake_fs_used_bytes(to->on);

	if (to->allocated_bytes < to->bytes && used + copy.bytes > to->on->total_bytes)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "write at %llu",
			       (unsigned long long)start);
	copy.place = new_address(copy.bytes);
	put_piece(to, &copy);
	return 0;
}

int host_file_copy_data(struct ctx *ctx, int from_fd, int to_fd, uint64_t from, uint64_t max_bytes,
			uint64_t *ret_next, struct err *err)
{
	const struct fake_inode *source = fake_fd_get(from_fd)->inode;
	struct fake_inode *to;
	uint64_t left = max_bytes;

	assert(max_bytes > 0);
	if (ctx_check(ctx, err) < 0 || fake_step_on(source, err) < 0)
		return -1;
	if (world.copy_ns)
		clock_fake_advance(world.copy_ns);
	to = fake_change(to_fd);
	to->bytes = max_u64(to->bytes, source->bytes);
	if (from == 0)
		take_insides(to, source);
	for (size_t i = 0; i < source->map.n && left; i++) {
		const struct fake_piece *piece = &source->map.v[i];
		uint64_t start = max_u64(piece->start, from);
		uint64_t end = piece->start + piece->bytes;

		if (start >= end)
			continue;
		end = min_u64(end, start + left);
		if (copy_piece(to, piece, start, end, err) < 0)
			return -1;
		left -= end - start;
		from = end;
	}
	*ret_next = left ? max_u64(from, source->bytes) : from;
	return 0;
}

/* How far the bytes at a place of the file go on without a seam, and what they are; 0: zeros. */
static uint64_t content_at(const struct fake_inode *inode, uint64_t at, uint64_t *ret_end)
{
	*ret_end = UINT64_MAX;
	for (size_t i = 0; inode && i < inode->map.n; i++) {
		const struct fake_piece *piece = &inode->map.v[i];

		if (at < piece->start) {
			*ret_end = piece->start;
			return 0;
		}
		if (at < piece->start + piece->bytes) {
			*ret_end = piece->start + piece->bytes;
			return 1 + piece->content + (at - piece->start);
		}
	}
	return 0;
}

int host_file_each_difference(struct ctx *ctx, int fd, int other_fd, uint64_t from, uint64_t end,
			      host_range_fn fn, void *arg, struct err *err)
{
	const struct fake_inode *a = fake_fd_get(fd)->inode;
	const struct fake_inode *b = other_fd < 0 ? NULL : fake_fd_get(other_fd)->inode;

	if (ctx_check(ctx, err) < 0 || fake_step_on(a, err) < 0)
		return -1;
	from -= from % BLOCK;
	while (from < end) {
		uint64_t end_a;
		uint64_t end_b;
		bool is_same = content_at(a, from, &end_a) == content_at(b, from, &end_b);
		uint64_t stop = min_u64(end, min_u64(end_a, end_b));

		if (!is_same && fn(arg, from, stop - from) != 0)
			return 0;
		from = stop;
	}
	return 0;
}

/* What tests do. */

void fake_map_write(struct fake_inode *inode, uint64_t start, uint64_t bytes)
{
	struct fake_piece piece = { start, bytes, new_address(bytes), 0 };

	assert(start + bytes <= inode->bytes);
	inode->changed_ns = ++world.time_ns;
	piece.content = piece.place;
	put_piece(inode, &piece);
}

void fake_host_write(const char *name, uint64_t start, uint64_t bytes)
{
	fake_map_write(fake_pool_file(name), start, bytes);
}

void fake_host_punch(const char *name, uint64_t start, uint64_t bytes)
{
	struct fake_inode *inode = fake_pool_file(name);
	uint64_t before = written_bytes(inode);

	fake_map_cut(inode, start, start + bytes);
	inode->allocated_bytes -= min_u64(inode->allocated_bytes, before - written_bytes(inode));
}

bool fake_host_reads_same(const char *name, const char *other_name)
{
	const struct fake_inode *a = fake_pool_file(name);
	const struct fake_inode *b = fake_pool_file(other_name);
	uint64_t at = 0;

	if (a->bytes != b->bytes || !str_is_equal(a->fs, b->fs) || !str_is_equal(a->text, b->text))
		return false;
	while (at < a->bytes) {
		uint64_t end_a;
		uint64_t end_b;

		if (content_at(a, at, &end_a) != content_at(b, at, &end_b))
			return false;
		at = min_u64(end_a, end_b);
	}
	return true;
}

void fake_host_set_n_extents(const char *name, unsigned n)
{
	fake_pool_file(name)->n_extents = n;
}

void fake_host_blur(const char *name)
{
	fake_pool_file(name)->is_blurred = true;
}

void fake_host_move(const char *name, const char *other_name)
{
	struct fake_inode *inode = fake_pool_file(name);
	struct fake_inode *other = fake_pool_file(other_name);

	for (size_t i = 0; i < inode->map.n; i++) {
		if (i < other->map.n)
			other->map.v[i].place = inode->map.v[i].place;
		inode->map.v[i].place = new_address(inode->map.v[i].bytes);
	}
}

void fake_host_after_map(void (*fn)(void *arg), void *arg)
{
	world.after_map = fn;
	world.after_map_arg = arg;
}

void fake_host_slow_copies(int64_t ns)
{
	world.copy_ns = ns;
}

void fake_host_at_clone(void (*fn)(void *arg), void *arg)
{
	world.at_clone = fn;
	world.at_clone_arg = arg;
}
