/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a snapshot in memory is not zero, and what of it differs from another: by reading both,
 * since files in memory share nothing.
 *
 * A piece is read, with the snapshots counted as read so that none is removed meanwhile, and then
 * told, with nothing held.
 */
#include "backend/changes.h"
#include "backend/mem/mem-internal.h"
#include "base/mem.h"
#include "host/extent.h"
#include "volume/size.h"

#define PIECE_BYTES (UINT64_C(16) << 20)
#define PIECE_RANGES 1024

/* What differs in a piece. */
struct piece {
	uint64_t next; /* where the next one begins */
	size_t n;
	struct backend_range v[PIECE_RANGES];
};

static int collect(void *arg, uint64_t start, uint64_t bytes)
{
	struct piece *piece = arg;

	piece->v[piece->n++] = (struct backend_range){ start, bytes };
	if (piece->n < PIECE_RANGES)
		return 0;
	piece->next = start + bytes;
	return 1;
}

/* The snapshot, counted as read; NULL: NOT_FOUND. One that has the name of the one it was, but is
 * another, is not it. */
static struct mem_snapshot *begin(struct mem *m, const struct backend_snapshot *was,
				  struct err *err)
{
	struct mem_snapshot *s;

	pthread_mutex_lock(&m->lock);
	s = map_find(m->snapshots, was->token);
	if (s && s->snap.created_ns != was->created_ns)
		s = NULL;
	if (s)
		s->n_readers++;
	pthread_mutex_unlock(&m->lock);
	if (!s)
		(void)err_set(err, ERR_NOT_FOUND,
			      "snapshot '%s' was deleted meanwhile; what was told before is true",
			      was->token);
	return s;
}

static void end(struct mem *m, struct mem_snapshot *s)
{
	pthread_mutex_lock(&m->lock);
	s->n_readers--;
	pthread_mutex_unlock(&m->lock);
}

static int read_piece(struct mem *m, struct ctx *ctx, const struct backend_snapshot *base,
		      const struct backend_snapshot *target, uint64_t from, struct piece *piece,
		      struct err *err)
{
	struct mem_snapshot *after = begin(m, target, err);
	struct mem_snapshot *before = after && base ? begin(m, base, err) : NULL;
	int rc = -1;

	piece->n = 0;
	piece->next = from + PIECE_BYTES < target->bytes ? from + PIECE_BYTES : target->bytes;
	if (after && (before || !base))
		rc = host_file_each_difference(ctx, after->fd, before ? before->fd : -1, from,
					       piece->next, collect, piece, err);
	if (before)
		end(m, before);
	if (after)
		end(m, after);
	return rc;
}

static int tell(const struct piece *piece, struct changes *c)
{
	int rc = 0;

	for (size_t i = 0; i < piece->n && rc == 0; i++)
		rc = changes_add(c, piece->v[i].offset, piece->v[i].bytes);
	return rc;
}

static int walk(struct mem *m, struct ctx *ctx, const struct backend_snapshot *base,
		const struct backend_snapshot *target, uint64_t from, struct changes *c,
		struct err *err)
{
	autofree struct piece *piece = xmalloc(sizeof(*piece));
	int rc = 0;

	from -= from % VOL_SIZE_UNIT;
	while (rc == 0 && from < target->bytes) {
		if (read_piece(m, ctx, base, target, from, piece, err) < 0)
			return -1;
		rc = tell(piece, c);
		from = piece->next;
	}
	if (rc == 0)
		rc = changes_finish(c);
	return rc < 0 ? -1 : 0;
}

int mem_allocated(struct backend *b, struct ctx *ctx, const char *token,
		  const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		  struct err *err)
{
	struct changes c = { .fn = fn, .arg = arg };
	struct backend_snapshot target;

	if (mem_snapshot_stat(b, ctx, token, NULL, &target, err) < 0)
		return -1;
	c.end = target.bytes;
	return walk(mem_from(b), ctx, NULL, &target, from, &c, err);
}

int mem_changed(struct backend *b, struct ctx *ctx, const char *base, const char *target,
		const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		struct err *err)
{
	struct changes c = { .fn = fn, .arg = arg };
	struct backend_snapshot before;
	struct backend_snapshot after;

	if (mem_snapshot_stat(b, ctx, base, NULL, &before, err) < 0)
		return err_wrap(err, "snapshot '%s'", base);
	if (mem_snapshot_stat(b, ctx, target, NULL, &after, err) < 0)
		return err_wrap(err, "snapshot '%s'", target);
	if (changes_check_source(&before, &after, err) < 0)
		return -1;
	c.end = after.bytes;
	return walk(mem_from(b), ctx, &before, &after, from, &c, err);
}
