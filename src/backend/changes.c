/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changed blocks, found by comparing where the blocks of two files are and not what is in them.
 *
 * A snapshot shares the blocks of its volume. What is written into the volume afterwards gets new
 * blocks, so two snapshots of one volume have a block at the same place if nothing was written
 * there between them, and then it has the same bytes. The other way round it may err (bytes that
 * were written again as they were, a file that was copied or defragmented), which costs a reader
 * some blocks too many. Holes, and what is allocated and was never written, are zeros; what has no
 * certain place has changed.
 *
 * Three things could make an equal place mean something else:
 * - A file is deleted, and its blocks are given to another. So after both maps are read it is asked
 *   whether both files still have a name, which they lose before their blocks. Nothing needs to be
 *   held, and a snapshot that is being read can be deleted.
 * - Somebody moves blocks (a defragmentation), so that the places of one file are those of before
 *   and the other's those of after. So the base's map is read before and after the target's, and
 *   where it is not the same twice, all data there has changed.
 * - Writes that have no place yet. host_file_each_extent syncs.
 *
 * It goes window by window: as far as both maps are known that were read in one go. Nothing is kept
 * from one window to the next, and what is told is told between them, by someone who may be as slow
 * as he likes.
 */
#include "backend/changes.h"

#include "base/mem.h"
#include "base/str.h"
#include "host/extent.h"
#include "host/fs.h"
#include "volume/size.h"

/* What the kernel is asked for at once (host/extent.c). */
#define PAGE_EXTENTS 2048u

int changes_add(struct changes *c, uint64_t start, uint64_t bytes)
{
	uint64_t stop = start + bytes;
	int rc = 0;

	start -= start % VOL_SIZE_UNIT;
	stop += (VOL_SIZE_UNIT - stop % VOL_SIZE_UNIT) % VOL_SIZE_UNIT;
	if (stop > c->end)
		stop = c->end;
	if (start >= stop)
		return 0;
	if (c->stop == c->start || start > c->stop) {
		rc = changes_finish(c);
		c->start = start;
		c->stop = stop;
	} else if (stop > c->stop) {
		c->stop = stop;
	}
	return rc;
}

int changes_finish(struct changes *c)
{
	struct backend_range range = { c->start, c->stop - c->start };

	c->start = c->stop;
	return range.bytes ? c->fn(c->arg, &range) : 0;
}

int changes_check_source(const struct backend_snapshot *base, const struct backend_snapshot *target,
			 struct err *err)
{
	if (str_is_equal(base->source, target->source))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "snapshot '%s' is of volume '%s' and snapshot '%s' of volume '%s'; only "
		       "snapshots of one volume can be compared",
		       base->token, base->source, target->token, target->source);
}

/* The map of a file from one byte on, as far as it was read. */
struct page {
	size_t n;
	uint64_t end; /* known up to here; UINT64_MAX: up to the end of the file, behind which are
			 zeros */
	struct host_extent v[PAGE_EXTENTS];
};

struct pages {
	struct page base, target;
};

static int collect(void *arg, const struct host_extent *extent)
{
	struct page *page = arg;

	page->v[page->n++] = *extent;
	if (page->n < PAGE_EXTENTS)
		return 0;
	page->end = extent->start + extent->bytes;
	return 1;
}

static int read_page(struct ctx *ctx, const struct changes_file *file, uint64_t from,
		     struct page *page, struct err *err)
{
	page->n = 0;
	page->end = UINT64_MAX;
	if (!file)
		return 0;
	if (host_file_each_extent(ctx, file->fd, from, collect, page, err) < 0)
		return err_wrap(err, "snapshot '%s'", file->token);
	return 0;
}

static int check_name(const struct changes_file *file, struct err *err)
{
	struct host_file now;

	if (!file)
		return 0;
	if (host_file_look(file->fd, &now, err) < 0)
		return err_wrap(err, "snapshot '%s'", file->token);
	if (now.n_links > 0)
		return 0;
	return err_set(err, ERR_NOT_FOUND,
		       "snapshot '%s' was deleted meanwhile; what was told before is true",
		       file->token);
}

struct match {
	const struct page *page;
	size_t n; /* that were the same */
	bool differs;
};

static int match_one(void *arg, const struct host_extent *found)
{
	struct match *m = arg;
	const struct host_extent *was = &m->page->v[m->n];

	m->differs = m->n == m->page->n || found->start != was->start ||
		     found->bytes != was->bytes || found->physical != was->physical ||
		     found->is_unwritten != was->is_unwritten ||
		     found->is_certain != was->is_certain;
	if (m->differs)
		return 1;
	m->n++;
	return m->n == PAGE_EXTENTS;
}

/* Whether the map is as it was when the page was read. */
static int check_map(struct ctx *ctx, const struct changes_file *file, uint64_t from,
		     const struct page *page, bool *ret_is_same, struct err *err)
{
	struct match m = { .page = page };

	if (file && host_file_each_extent(ctx, file->fd, from, match_one, &m, err) < 0)
		return err_wrap(err, "snapshot '%s'", file->token);
	*ret_is_same = !m.differs && m.n == page->n;
	return 0;
}

/* What is known of one byte of a file. */
enum content { ZERO, PLACED, UNCERTAIN };

/* A page that is gone through byte by byte, so to say. */
struct reader {
	const struct page *page;
	size_t next; /* the extent that ends behind where it is */
};

/* The content at this byte, how far it goes on so, and its place. */
static enum content look(struct reader *r, uint64_t at, uint64_t *ret_end, uint64_t *ret_place)
{
	const struct page *page = r->page;
	const struct host_extent *extent;

	while (r->next < page->n && page->v[r->next].start + page->v[r->next].bytes <= at)
		r->next++;
	*ret_place = 0;
	if (r->next == page->n) {
		*ret_end = UINT64_MAX;
		return ZERO;
	}
	extent = &page->v[r->next];
	if (extent->start > at) {
		*ret_end = extent->start;
		return ZERO;
	}
	*ret_end = extent->start + extent->bytes;
	if (!extent->is_certain)
		return UNCERTAIN;
	*ret_place = extent->physical + (at - extent->start);
	return extent->is_unwritten ? ZERO : PLACED;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Adds what differs within a window. Unless the base was steady, equal places say nothing. */
static int compare(const struct pages *p, bool is_steady, uint64_t at, uint64_t end,
		   struct changes *c)
{
	struct reader base = { .page = &p->base };
	struct reader target = { .page = &p->target };

	while (at < end) {
		uint64_t base_end, target_end, base_place, target_place, stop;
		enum content before = look(&base, at, &base_end, &base_place);
		enum content after = look(&target, at, &target_end, &target_place);
		bool is_same = before == after && before != UNCERTAIN &&
			       (before == ZERO || base_place == target_place);

		stop = min_u64(end, min_u64(base_end, target_end));
		if (!is_same || (!is_steady && before != ZERO)) {
			int rc = changes_add(c, at, stop - at);

			if (rc != 0)
				return rc;
		}
		at = stop;
	}
	return 0;
}

/* One window from *at on: 0 and where the next one begins; fn's answer if it is over; -1 with err.
 */
static int walk_window(struct ctx *ctx, const struct changes_file *base,
		       const struct changes_file *target, struct pages *p, uint64_t *at,
		       struct changes *c, struct err *err)
{
	uint64_t from = *at;
	bool is_steady;

	if (read_page(ctx, base, from, &p->base, err) < 0 ||
	    read_page(ctx, target, from, &p->target, err) < 0 ||
	    check_map(ctx, base, from, &p->base, &is_steady, err) < 0 ||
	    check_name(base, err) < 0 || check_name(target, err) < 0)
		return -1;
	*at = min_u64(c->end, min_u64(p->base.end, p->target.end));
	return compare(p, is_steady, from, *at, c);
}

int changes_walk(struct ctx *ctx, const struct changes_file *base,
		 const struct changes_file *target, uint64_t from, struct changes *c,
		 struct err *err)
{
	autofree struct pages *p = xmalloc(sizeof(*p));
	uint64_t at = from - from % VOL_SIZE_UNIT;
	int rc = 0;

	while (rc == 0 && at < c->end)
		rc = walk_window(ctx, base, target, p, &at, c, err);
	if (rc == 0)
		rc = changes_finish(c);
	return rc < 0 ? -1 : 0;
}
