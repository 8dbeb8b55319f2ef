/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/ceph_file.h"

#include "base/mem.h"
#include "fake/ceph_luks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct cluster {
	char monitors[64];
	char key[64];
};

struct write {
	uint64_t offset;
	size_t n;
	struct write *next;
	char bytes[];
};

struct image {
	int fd;
	int notify_fd;
	bool is_cached;
	uint64_t plain_at; /* where the plain bytes begin of one that was decrypted */
	char name[64];
	pthread_mutex_t lock; /* guards writes */
	struct write *writes; /* not flushed; the newest last */
	rbd_update_callback_t changed;
	void *arg;
	uint64_t bytes; /* as was told last */
	pthread_t watcher;
};

enum what { READ, WRITE, ZERO, FLUSH };

struct completion {
	rbd_callback_t fn;
	void *arg;
	ssize_t rc;
	struct image *image;
	enum what what;
	uint64_t offset;
	size_t n;
	void *buf;
};

static int create2(rados_t *cluster, const char *name, const char *user, uint64_t flags)
{
	(void)name;
	(void)user;
	(void)flags;
	*cluster = xcalloc(1, sizeof(struct cluster));
	return 0;
}

static int conf_set(rados_t cluster, const char *option, const char *value)
{
	struct cluster *c = cluster;

	if (strcmp(option, "mon_host") == 0)
		(void)snprintf(c->monitors, sizeof(c->monitors), "%s", value);
	if (strcmp(option, "key") == 0)
		(void)snprintf(c->key, sizeof(c->key), "%s", value);
	return 0;
}

static int connect_to(rados_t cluster)
{
	struct cluster *c = cluster;

	while (strcmp(c->monitors, "silent") == 0)
		(void)pause();
	return strcmp(c->key, "wrong") == 0 ? -EACCES : 0;
}

static void shut_down(rados_t cluster)
{
	free(cluster);
}

static int ioctx_create(rados_t cluster, const char *pool, rados_ioctx_t *io)
{
	(void)cluster;
	if (access(pool, F_OK) < 0)
		return -ENOENT;
	*io = xstrdup(pool);
	return 0;
}

static void ioctx_destroy(rados_ioctx_t io)
{
	free(io);
}

static void set_namespace(rados_ioctx_t io, const char *ns)
{
	(void)io;
	(void)ns;
}

static int open_with(rados_ioctx_t io, const char *name, rbd_image_t *ret_image, int flags)
{
	struct image *im = xcalloc(1, sizeof(*im));
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/%s", (char *)io, name);
	im->fd = open(path, flags | O_CLOEXEC);
	im->notify_fd = inotify_init1(IN_CLOEXEC);
	im->is_cached = strncmp(name, "cached", 6) == 0;
	(void)snprintf(im->name, sizeof(im->name), "%s", name);
	pthread_mutex_init(&im->lock, NULL);
	if (im->fd < 0 || inotify_add_watch(im->notify_fd, path, IN_MODIFY | IN_ATTRIB) < 0) {
		free(im);
		return -ENOENT;
	}
	*ret_image = im;
	return 0;
}

static int open_image(rados_ioctx_t io, const char *name, rbd_image_t *image, const char *snap)
{
	(void)snap;
	return open_with(io, name, image, O_RDWR);
}

static int open_read_only(rados_ioctx_t io, const char *name, rbd_image_t *image, const char *snap)
{
	(void)snap;
	return open_with(io, name, image, O_RDONLY);
}

static bool is_shut_out(const struct image *im)
{
	return fgetxattr(im->fd, FAKE_CEPH_FILE_SHUT_OUT, NULL, 0) >= 0;
}

static int get_size(rbd_image_t image, uint64_t *size)
{
	struct image *im = image;
	struct stat st;

	if (is_shut_out(im))
		return -ESHUTDOWN;
	if (fstat(im->fd, &st) < 0)
		return -errno;
	*size = (uint64_t)st.st_size - im->plain_at;
	return 0;
}

/* Both ways; a hole stays one, as in librbd. */
static void encrypt(const struct image *im, char *bytes, size_t n)
{
	for (size_t i = 0; im->plain_at && i < n; i++)
		bytes[i] = bytes[i] && bytes[i] != 0x5a ? bytes[i] ^ 0x5a : bytes[i];
}

/* Under the lock. */
static ssize_t write_out(struct image *im)
{
	if (is_shut_out(im))
		return 0;
	while (im->writes) {
		struct write *w = im->writes;

		if (pwrite(im->fd, w->bytes, w->n, (off_t)w->offset) != (ssize_t)w->n)
			return -EIO;
		im->writes = w->next;
		free(w);
	}
	return fdatasync(im->fd) < 0 ? -errno : 0;
}

static ssize_t keep_write(struct image *im, const struct completion *c)
{
	struct write **last = &im->writes;
	struct write *w = xmalloc(sizeof(*w) + c->n);

	w->offset = c->offset;
	w->n = c->n;
	w->next = NULL;
	memcpy(w->bytes, c->buf, c->n);
	encrypt(im, w->bytes, w->n);
	while (*last)
		last = &(*last)->next;
	*last = w;
	return 0;
}

static ssize_t write_now(const struct image *im, const struct completion *c)
{
	autofree char *bytes = xmalloc(c->n);

	memcpy(bytes, c->buf, c->n);
	encrypt(im, bytes, c->n);
	return pwrite(im->fd, bytes, c->n, (off_t)c->offset) == (ssize_t)c->n ? 0 : -EIO;
}

static ssize_t do_it(const struct completion *c)
{
	struct image *im = c->image;
	ssize_t rc = 0;

	pthread_mutex_lock(&im->lock);
	if (c->what == WRITE && im->is_cached)
		rc = keep_write(im, c);
	else if (im->writes || c->what == FLUSH)
		rc = write_out(im);
	pthread_mutex_unlock(&im->lock);
	if (rc < 0 || c->what == FLUSH || (c->what == WRITE && im->is_cached))
		return rc;
	if (c->what == READ) {
		rc = pread(im->fd, c->buf, c->n, (off_t)c->offset);
		if (rc > 0)
			encrypt(im, c->buf, (size_t)rc);
		return rc < 0 ? -errno : rc;
	}
	if (c->what == WRITE)
		return write_now(im, c);
	return fallocate(im->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)c->offset,
			 (off_t)c->n) < 0
		       ? -errno
		       : 0;
}

static void *run(void *arg)
{
	struct completion *c = arg;

	c->rc = do_it(c);
	c->fn(c, c->arg);
	return NULL;
}

static int begin(rbd_image_t image, rbd_completion_t done, enum what what, uint64_t offset,
		 size_t n, void *buf)
{
	struct completion *c = done;
	pthread_t thread;

	c->image = image;
	c->what = what;
	c->offset = offset + ((struct image *)image)->plain_at;
	c->n = n;
	c->buf = buf;
	if (pthread_create(&thread, NULL, run, c) != 0)
		return -EAGAIN;
	(void)pthread_detach(thread);
	return 0;
}

static int create_completion(void *arg, rbd_callback_t fn, rbd_completion_t *ret_done)
{
	struct completion *c = xcalloc(1, sizeof(*c));

	c->fn = fn;
	c->arg = arg;
	*ret_done = c;
	return 0;
}

static ssize_t return_value(rbd_completion_t done)
{
	return ((struct completion *)done)->rc;
}

static void release(rbd_completion_t done)
{
	free(done);
}

static int aio_read(rbd_image_t image, uint64_t offset, size_t n, char *buf, rbd_completion_t done)
{
	return begin(image, done, READ, offset, n, buf);
}

static int aio_write(rbd_image_t image, uint64_t offset, size_t n, const char *buf,
		     rbd_completion_t done)
{
	return begin(image, done, WRITE, offset, n, (void *)(uintptr_t)buf);
}

static int aio_write_zeroes(rbd_image_t image, uint64_t offset, size_t n, rbd_completion_t done,
			    int flags, int op_flags)
{
	(void)flags;
	(void)op_flags;
	return begin(image, done, ZERO, offset, n, NULL);
}

static int flush(rbd_image_t image)
{
	struct image *im = image;
	ssize_t rc;

	pthread_mutex_lock(&im->lock);
	rc = write_out(im);
	pthread_mutex_unlock(&im->lock);
	return rc < 0 ? (int)rc : 0;
}

static int getaddrs(rados_t cluster, char **ret)
{
	(void)cluster;
	*ret = xstrdup(FAKE_CEPH_FILE_CLIENT);
	return 0;
}

static void buffer_free(char *buf)
{
	free(buf);
}

/* Outlives the process as the bytes do. */
static int metadata_set(rbd_image_t image, const char *key, const char *value)
{
	autofree char *name = xasprintf("user.%s", key);

	return fsetxattr(((struct image *)image)->fd, name, value, strlen(value), 0) < 0 ? -errno
											 : 0;
}

static int metadata_get(rbd_image_t image, const char *key, char *value, size_t *n)
{
	autofree char *name = xasprintf("user.%s", key);
	ssize_t got = fgetxattr(((struct image *)image)->fd, name, value, *n - 1);

	if (got < 0)
		return errno == ENODATA ? -ENOENT : -errno;
	value[got] = '\0';
	*n = (size_t)got + 1;
	return 0;
}

static ssize_t read_now(rbd_image_t image, uint64_t offset, size_t n, char *buf)
{
	ssize_t got = pread(((struct image *)image)->fd, buf, n, (off_t)offset);

	return got < 0 ? -errno : got;
}

/* Before it is decrypted. */
static ssize_t write_raw(rbd_image_t image, uint64_t offset, size_t n, const char *buf)
{
	ssize_t got = pwrite(((struct image *)image)->fd, buf, n, (off_t)offset);

	return got < 0 ? -errno : got;
}

static int get_overlap(rbd_image_t image, uint64_t *overlap)
{
	(void)image;
	*overlap = 0;
	return 0;
}

static int encryption_load(rbd_image_t image, rbd_encryption_format_t format,
			   rbd_encryption_options_t opts, size_t opts_size)
{
	autofree char *head = xcalloc(1, FAKE_LUKS_HEAD);
	struct image *im = image;
	int rc;

	(void)opts_size;
	if (pread(im->fd, head, FAKE_LUKS_HEAD, 0) < 0)
		return -errno;
	rc = fake_luks_open(head, format, opts);
	if (rc == 0)
		im->plain_at = 16 << 20;
	return rc;
}

static int get_id(rbd_image_t image, char *id, size_t cap)
{
	struct image *im = image;

	return (size_t)snprintf(id, cap, "%s", im->name) < cap ? 0 : -ERANGE;
}

/* Of an image's header, whose id is its name: one key is compared and goes. */
struct header_op {
	char key[64];
	char value[512];
};

static rados_write_op_t create_write_op(void)
{
	return xcalloc(1, sizeof(struct header_op));
}

static void release_write_op(rados_write_op_t op)
{
	free(op);
}

static void op_assert_exists(rados_write_op_t op)
{
	(void)op;
}

static void op_omap_cmp(rados_write_op_t handle, const char *key, uint8_t how, const char *value,
			size_t n, int *ret_rc)
{
	struct header_op *op = handle;

	(void)how;
	(void)ret_rc;
	(void)snprintf(op->key, sizeof(op->key), "user.%s", key + strlen("metadata_"));
	(void)snprintf(op->value, sizeof(op->value), "%.*s", (int)n, value);
}

static void op_omap_rm(rados_write_op_t op, char const *const *keys, size_t n)
{
	(void)op;
	(void)keys;
	(void)n;
}

static int operate(rados_write_op_t handle, rados_ioctx_t io, const char *object, time_t *mtime,
		   int flags)
{
	struct header_op *op = handle;
	autofree char *path = xasprintf("%s/%s", (const char *)io, object + strlen("rbd_header."));
	char now[512] = "";

	(void)mtime;
	(void)flags;
	if (access(path, F_OK) < 0)
		return -ENOENT;
	(void)getxattr(path, op->key, now, sizeof(now) - 1);
	if (strcmp(now, op->value) != 0)
		return -ECANCELED;
	return removexattr(path, op->key) < 0 ? -errno : 0;
}

static int aio_flush(rbd_image_t image, rbd_completion_t done)
{
	return begin(image, done, FLUSH, 0, 0, NULL);
}

static void *watch(void *arg)
{
	struct image *im = arg;
	char events[1024];

	while (read(im->notify_fd, events, sizeof(events)) > 0) {
		uint64_t bytes = 0;

		int rc = get_size(im, &bytes);

		if (rc < 0 || bytes != im->bytes) {
			im->bytes = bytes;
			im->changed(im->arg);
		}
	}
	return NULL;
}

static int update_watch(rbd_image_t image, uint64_t *handle, rbd_update_callback_t fn, void *arg)
{
	struct image *im = image;

	im->changed = fn;
	im->arg = arg;
	(void)get_size(im, &im->bytes);
	*handle = 1;
	return pthread_create(&im->watcher, NULL, watch, im) == 0 ? 0 : -EAGAIN;
}

static int update_unwatch(rbd_image_t image, uint64_t handle)
{
	struct image *im = image;

	(void)handle;
	(void)pthread_cancel(im->watcher);
	return pthread_join(im->watcher, NULL);
}

static int close_image(rbd_image_t image)
{
	struct image *im = image;
	ssize_t rc;

	pthread_mutex_lock(&im->lock);
	rc = im->writes ? write_out(im) : 0;
	pthread_mutex_unlock(&im->lock);
	(void)close(im->fd);
	(void)close(im->notify_fd);
	pthread_mutex_destroy(&im->lock);
	free(im);
	return (int)rc;
}

const struct ceph_lib *fake_ceph_file_lib(void)
{
	static const struct ceph_lib lib = {
		.rados_create2 = create2,
		.rados_conf_set = conf_set,
		.rados_connect = connect_to,
		.rados_shutdown = shut_down,
		.rados_getaddrs = getaddrs,
		.rados_buffer_free = buffer_free,
		.rados_ioctx_create = ioctx_create,
		.rados_ioctx_destroy = ioctx_destroy,
		.rados_ioctx_set_namespace = set_namespace,
		.rbd_open = open_image,
		.rbd_open_read_only = open_read_only,
		.rbd_close = close_image,
		.rbd_get_size = get_size,
		.rbd_flush = flush,
		.rbd_metadata_set = metadata_set,
		.rbd_metadata_get = metadata_get,
		.rbd_read = read_now,
		.rbd_write = write_raw,
		.rbd_encryption_load = encryption_load,
		.rbd_get_overlap = get_overlap,
		.crypt_metadata_locking = fake_luks_locking,
		.crypt_init = fake_luks_init,
		.crypt_format = fake_luks_format,
		.crypt_keyslot_add_by_volume_key = fake_luks_add_key,
		.crypt_get_data_offset = fake_luks_data_offset,
		.crypt_free = fake_luks_free,
		.rbd_get_id = get_id,
		.rados_create_write_op = create_write_op,
		.rados_release_write_op = release_write_op,
		.rados_write_op_assert_exists = op_assert_exists,
		.rados_write_op_omap_cmp = op_omap_cmp,
		.rados_write_op_omap_rm_keys = op_omap_rm,
		.rados_write_op_operate = operate,
		.rbd_aio_create_completion = create_completion,
		.rbd_aio_release = release,
		.rbd_aio_get_return_value = return_value,
		.rbd_aio_read = aio_read,
		.rbd_aio_write = aio_write,
		.rbd_aio_flush = aio_flush,
		.rbd_aio_write_zeroes = aio_write_zeroes,
		.rbd_update_watch = update_watch,
		.rbd_update_unwatch = update_unwatch,
	};

	return &lib;
}
