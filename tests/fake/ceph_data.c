/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What images hold, by blocks, and the calls that have a completion: those are carried out one by
 * one by a thread of their own, as librbd does it, so that a callback never runs in its caller.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "fake/ceph-image-internal.h"
#include "fake/ceph_luks.h"

static size_t place_of(const struct fake_data *data, uint64_t at)
{
	size_t low = 0, high = data->blocks.n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (data->blocks.v[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static char *find_block(const struct fake_data *data, uint64_t at)
{
	size_t i = place_of(data, at);

	return i < data->blocks.n && data->blocks.v[i].at == at ? data->blocks.v[i].bytes : NULL;
}

void fake_data_copy(struct fake_data *to, const struct fake_data *from)
{
	for (size_t i = 0; i < from->blocks.n; i++) {
		struct fake_block b = { from->blocks.v[i].at, xmalloc(FAKE_BLOCK) };

		memcpy(b.bytes, from->blocks.v[i].bytes, FAKE_BLOCK);
		vec_push(&to->blocks, b);
	}
}

void fake_data_free(struct fake_data *data)
{
	for (size_t i = 0; i < data->blocks.n; i++)
		free(data->blocks.v[i].bytes);
	vec_done(&data->blocks);
}

/* A block as it reads. */
static void read_block(const struct fake_data *data, const struct fake_parent *parent, uint64_t at,
		       char *ret_bytes)
{
	const struct fake_snap *snap;
	const char *own = find_block(data, at);
	uint64_t begin = at * FAKE_BLOCK;

	memset(ret_bytes, 0, FAKE_BLOCK);
	if (own) {
		memcpy(ret_bytes, own, FAKE_BLOCK);
		return;
	}
	if (!parent->image || begin >= parent->overlap)
		return;
	snap = fake_snap_find(parent->image, parent->snap_id);
	read_block(&snap->data, &snap->parent, at, ret_bytes);
	if (parent->overlap - begin < FAKE_BLOCK)
		memset(ret_bytes + (parent->overlap - begin), 0,
		       FAKE_BLOCK - (size_t)(parent->overlap - begin));
}

/* The image's own block, made of what it reads as. */
static char *own_block(struct fake_image *image, uint64_t at)
{
	char *bytes = find_block(&image->data, at);
	size_t i = place_of(&image->data, at);

	if (bytes)
		return bytes;
	bytes = xmalloc(FAKE_BLOCK);
	read_block(&image->data, &image->parent, at, bytes);
	vec_push(&image->data.blocks, ((struct fake_block){ at, bytes }));
	memmove(&image->data.blocks.v[i + 1], &image->data.blocks.v[i],
		(image->data.blocks.n - i - 1) * sizeof(image->data.blocks.v[0]));
	image->data.blocks.v[i] = (struct fake_block){ at, bytes };
	return bytes;
}

/* Calls that fill each part of a range that lies within one block. */
enum change { CHANGE_READ, CHANGE_WRITE, CHANGE_ZERO };

static void change_range(struct fake_open *open, enum change change, uint64_t offset, uint64_t n,
			 char *buf)
{
	const struct fake_image *image = open->image;
	const struct fake_data *data = open->snap ? &open->snap->data : &image->data;
	const struct fake_parent *parent = open->snap ? &open->snap->parent : &image->parent;

	while (n) {
		uint64_t at = offset / FAKE_BLOCK;
		size_t skip = (size_t)(offset % FAKE_BLOCK);
		size_t part = n < FAKE_BLOCK - skip ? (size_t)n : FAKE_BLOCK - skip;
		char block[FAKE_BLOCK];

		if (change == CHANGE_READ) {
			read_block(data, parent, at, block);
			memcpy(buf, block + skip, part);
		} else if (change == CHANGE_WRITE) {
			memcpy(own_block(open->image, at) + skip, buf, part);
		} else if (find_block(data, at) || at * FAKE_BLOCK < parent->overlap) {
			memset(own_block(open->image, at) + skip, 0, part);
		}
		buf = buf ? buf + part : NULL;
		offset += part;
		n -= part;
	}
}

void fake_data_flatten(struct fake_image *image)
{
	const struct fake_parent *parent = &image->parent;
	const struct fake_parent *from = parent;

	/* What any ancestor has; what none has stays a hole. */
	for (uint64_t end = parent->overlap; from->image;) {
		const struct fake_snap *snap = fake_snap_find(from->image, from->snap_id);

		for (size_t i = 0; i < snap->data.blocks.n; i++)
			if (snap->data.blocks.v[i].at * FAKE_BLOCK < end)
				(void)own_block(image, snap->data.blocks.v[i].at);
		from = &snap->parent;
		end = from->overlap < end ? from->overlap : end;
	}
}

void fake_data_cut(struct fake_image *image, uint64_t size)
{
	struct fake_data *data = &image->data;

	if (image->parent.overlap > size)
		image->parent.overlap = size;
	while (data->blocks.n && data->blocks.v[data->blocks.n - 1].at * FAKE_BLOCK >= size)
		free(data->blocks.v[--data->blocks.n].bytes);
	if (data->blocks.n && size % FAKE_BLOCK &&
	    data->blocks.v[data->blocks.n - 1].at == size / FAKE_BLOCK)
		memset(data->blocks.v[data->blocks.n - 1].bytes + size % FAKE_BLOCK, 0,
		       FAKE_BLOCK - size % FAKE_BLOCK);
}

/* ---- differences ---- */

struct diff {
	const struct fake_open *open;
	const struct fake_snap *from; /* NULL: zeros */
	uint64_t unit;                /* what is told at once: an object, or a block */
	uint64_t end;
	int (*tell)(uint64_t, size_t, int, void *);
	void *arg;
};

static bool is_allocated(const struct fake_data *data, const struct fake_parent *parent,
			 uint64_t at)
{
	const struct fake_snap *snap;

	if (find_block(data, at))
		return true;
	if (!parent->image || at * FAKE_BLOCK >= parent->overlap)
		return false;
	snap = fake_snap_find(parent->image, parent->snap_id);
	return is_allocated(&snap->data, &snap->parent, at);
}

/* Parents are those of before and after alike, so the blocks that are the image's own tell. */
static bool is_different(const struct diff *d, uint64_t at)
{
	const struct fake_open *open = d->open;
	const struct fake_data *data = open->snap ? &open->snap->data : &open->image->data;
	const char *now = find_block(data, at), *before;

	if (!d->from)
		return is_allocated(data, open->snap ? &open->snap->parent : &open->image->parent,
				    at);
	before = find_block(&d->from->data, at);
	return now && before ? memcmp(now, before, FAKE_BLOCK) != 0 : now != before;
}

static int tell_difference(const struct diff *d, uint64_t offset)
{
	while (offset < d->end && d->from != d->open->snap) {
		uint64_t stop = (offset / d->unit + 1) * d->unit;
		bool is_found = false;

		if (stop > d->end)
			stop = d->end;
		for (uint64_t at = offset / FAKE_BLOCK; at * FAKE_BLOCK < stop && !is_found; at++)
			is_found = is_different(d, at);
		if (is_found && d->tell(offset, (size_t)(stop - offset), 1, d->arg) < 0)
			return -EINVAL;
		offset = stop;
	}
	return 0;
}

static int diff_iterate2(rbd_image_t handle, const char *from, uint64_t offset, uint64_t n,
			 uint8_t include_parent, uint8_t whole_object,
			 int (*tell)(uint64_t, size_t, int, void *), void *arg)
{
	struct fake_open *open = handle;
	struct diff d = { .open = open, .tell = tell, .arg = arg };
	int rc = fake_ceph_enter(open->conn, FAKE_READ);

	(void)include_parent; /* always */
	d.end = open->snap ? open->snap->size : open->image->size;
	if (n < d.end && offset < d.end - n)
		d.end = offset + n;
	d.unit = whole_object ? UINT64_C(1) << open->image->order : FAKE_BLOCK;
	if (rc == 0 && from && !(d.from = fake_snap_find_user(open->image, from)))
		rc = -ENOENT;
	if (rc == 0 && d.from && open->snap && d.from->id > open->snap->id)
		rc = -EINVAL;
	if (rc == 0)
		rc = tell_difference(&d, offset);
	return fake_ceph_leave(rc);
}

/* Of whom no handle tells. */
void fake_data_write(struct fake_image *image, uint64_t offset, const char *text)
{
	struct fake_open open = { .image = image };

	change_range(&open, CHANGE_WRITE, offset, strlen(text), (char *)(uintptr_t)text);
}

enum job_kind { JOB_READ, JOB_WRITE, JOB_FLUSH, JOB_DISCARD, JOB_ZEROES, JOB_TELL };

/* What stands behind an rbd_completion_t; TELL is one that has no owner. */
struct job {
	enum job_kind kind;
	struct fake_open *open;
	uint64_t offset, n;
	char *buf;
	rbd_callback_t done;
	rbd_update_callback_t changed;
	void *arg;
	ssize_t rc;
	unsigned n_refs; /* the caller's and the thread's; under lock, as next */
	struct job *next;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *first, **end;
	bool has_thread;
} jobs = { .lock = PTHREAD_MUTEX_INITIALIZER,
	   .more = PTHREAD_COND_INITIALIZER,
	   .end = &jobs.first };

static void drop_job(struct job *job)
{
	bool is_last;

	pthread_mutex_lock(&jobs.lock);
	is_last = --job->n_refs == 0;
	pthread_mutex_unlock(&jobs.lock);
	if (is_last)
		free(job);
}

static int check_range(const struct fake_open *open, const struct job *job)
{
	uint64_t size = open->snap ? open->snap->size : open->image->size;

	if (job->kind != JOB_READ && !fake_image_is_writable(open))
		return -EROFS;
	if (job->offset > size || job->n > size - job->offset)
		return -EINVAL;
	return 0;
}

static ssize_t carry_out(struct job *job)
{
	int rc = fake_ceph_enter(job->open->conn, job->kind == JOB_WRITE ? FAKE_GROW : FAKE_READ);

	if (rc == 0 && job->kind != JOB_FLUSH) {
		rc = check_range(job->open, job);
		if (rc == 0)
			change_range(job->open,
				     job->kind == JOB_READ    ? CHANGE_READ
				     : job->kind == JOB_WRITE ? CHANGE_WRITE
							      : CHANGE_ZERO,
				     job->offset, job->n, job->buf);
	}
	rc = fake_ceph_leave(rc);
	return rc == 0 && job->kind == JOB_READ ? (ssize_t)job->n : rc;
}

static void *work(void *arg)
{
	for (;;) {
		struct job *job;

		pthread_mutex_lock(&jobs.lock);
		while (!jobs.first)
			pthread_cond_wait(&jobs.more, &jobs.lock);
		job = jobs.first;
		jobs.first = job->next;
		if (!jobs.first)
			jobs.end = &jobs.first;
		pthread_mutex_unlock(&jobs.lock);
		if (job->kind == JOB_TELL) {
			job->changed(job->arg);
		} else {
			job->rc = carry_out(job);
			job->done(job, job->arg);
		}
		drop_job(job);
	}
	return NULL;
}

static void submit(struct job *job)
{
	pthread_t thread;

	pthread_mutex_lock(&jobs.lock);
	if (!jobs.has_thread) {
		jobs.has_thread = true;
		if (pthread_create(&thread, NULL, work, NULL) != 0)
			abort();
		pthread_detach(thread);
	}
	job->n_refs++;
	job->next = NULL;
	*jobs.end = job;
	jobs.end = &job->next;
	pthread_cond_signal(&jobs.more);
	pthread_mutex_unlock(&jobs.lock);
}

static int create_completion(void *arg, rbd_callback_t done, rbd_completion_t *ret)
{
	struct job *job = xcalloc(1, sizeof(*job));

	job->done = done;
	job->arg = arg;
	job->n_refs = 1;
	fake_ceph_opened(1);
	*ret = job;
	return 0;
}

static void release_completion(rbd_completion_t handle)
{
	fake_ceph_opened(-1);
	drop_job(handle);
}

static ssize_t get_return_value(rbd_completion_t handle)
{
	return ((struct job *)handle)->rc;
}

static int begin_job(enum job_kind kind, rbd_image_t image, uint64_t offset, uint64_t n, char *buf,
		     rbd_completion_t completion)
{
	struct job *job = completion;

	job->kind = kind;
	job->open = image;
	job->offset = offset;
	job->n = n;
	job->buf = buf;
	submit(job);
	return 0;
}

static int aio_read(rbd_image_t image, uint64_t offset, size_t n, char *buf, rbd_completion_t c)
{
	return begin_job(JOB_READ, image, offset, n, buf, c);
}

static int aio_write(rbd_image_t image, uint64_t offset, size_t n, const char *buf,
		     rbd_completion_t c)
{
	return begin_job(JOB_WRITE, image, offset, n, (char *)(uintptr_t)buf, c);
}

static int aio_flush(rbd_image_t image, rbd_completion_t c)
{
	return begin_job(JOB_FLUSH, image, 0, 0, NULL, c);
}

static int aio_discard(rbd_image_t image, uint64_t offset, uint64_t n, rbd_completion_t c)
{
	return begin_job(JOB_DISCARD, image, offset, n, NULL, c);
}

static int aio_write_zeroes(rbd_image_t image, uint64_t offset, size_t n, rbd_completion_t c,
			    int zero_flags, int op_flags)
{
	return begin_job(JOB_ZEROES, image, offset, n, NULL, c);
}

static ssize_t do_now(rbd_image_t image, enum job_kind kind, uint64_t offset, size_t n, char *buf)
{
	struct job job = { .kind = kind, .open = image, .offset = offset, .n = n, .buf = buf };
	ssize_t rc = carry_out(&job);

	return rc == 0 ? (ssize_t)n : rc;
}

static ssize_t fake_read(rbd_image_t image, uint64_t offset, size_t n, char *buf)
{
	return do_now(image, JOB_READ, offset, n, buf);
}

static ssize_t fake_write(rbd_image_t image, uint64_t offset, size_t n, const char *buf)
{
	return do_now(image, JOB_WRITE, offset, n, (char *)(uintptr_t)buf);
}

static int get_overlap(rbd_image_t image, uint64_t *overlap)
{
	const struct fake_open *open = image;
	int rc = fake_ceph_enter(open->conn, FAKE_READ);

	if (rc == 0)
		*overlap = open->image->parent.overlap;
	return fake_ceph_leave(rc);
}

/* Tells whether it would be opened; the bytes stay what they are. */
static int encryption_load(rbd_image_t image, rbd_encryption_format_t format,
			   rbd_encryption_options_t opts, size_t opts_size)
{
	autofree char *head = xmalloc(FAKE_LUKS_HEAD);
	ssize_t rc = do_now(image, JOB_READ, 0, FAKE_LUKS_HEAD, head);

	(void)opts_size;
	return rc < 0 ? (int)rc : fake_luks_open(head, format, opts);
}

static int fake_flush(rbd_image_t handle)
{
	return fake_ceph_leave(fake_ceph_enter(((struct fake_open *)handle)->conn, FAKE_READ));
}

/* Locked. Those who watch are told by the thread. */
static void tell_change(const struct fake_image *image)
{
	for (size_t i = 0; i < image->watchers.n; i++) {
		const struct fake_watcher *w = &image->watchers.v[i];
		struct job *job;

		if (!w->changed)
			continue;
		job = xcalloc(1, sizeof(*job));
		job->kind = JOB_TELL;
		job->changed = w->changed;
		job->arg = w->arg;
		submit(job);
	}
}

static int fake_resize(rbd_image_t handle, uint64_t size)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_WRITE);

	if (rc == 0 && !fake_image_is_writable(open))
		rc = -EROFS;
	if (rc == 0) {
		fake_data_cut(open->image, size);
		open->image->size = size;
		tell_change(open->image);
	}
	return fake_ceph_leave(rc);
}

void fake_ceph_fill_data(struct ceph_lib *lib)
{
	lib->rbd_aio_create_completion = create_completion;
	lib->rbd_aio_release = release_completion;
	lib->rbd_aio_get_return_value = get_return_value;
	lib->rbd_aio_read = aio_read;
	lib->rbd_aio_write = aio_write;
	lib->rbd_aio_flush = aio_flush;
	lib->rbd_aio_discard = aio_discard;
	lib->rbd_aio_write_zeroes = aio_write_zeroes;
	lib->rbd_read = fake_read;
	lib->rbd_write = fake_write;
	lib->rbd_get_overlap = get_overlap;
	lib->rbd_encryption_load = encryption_load;
	lib->crypt_metadata_locking = fake_luks_locking;
	lib->crypt_init = fake_luks_init;
	lib->crypt_format = fake_luks_format;
	lib->crypt_keyslot_add_by_volume_key = fake_luks_add_key;
	lib->crypt_get_data_offset = fake_luks_data_offset;
	lib->crypt_free = fake_luks_free;
	lib->rbd_flush = fake_flush;
	lib->rbd_diff_iterate2 = diff_iterate2;
	lib->rbd_resize = fake_resize;
}
