/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server of an image: librbd on one side, /dev/fuse on the other.
 *
 * Requests are handed to librbd as they come and answered by its threads; this process has one more
 * that reads them. There is no time limit on I/O once the image is open: a cluster that does not
 * answer makes a disk wait, as the kernel's client does, and not fail, and all goes on when it is
 * back. Opening has none either, but whoever ordered it kills us when his time is up.
 *
 * A hole is punched by write_zeroes, not by discard: the latter may leave what is shorter than its
 * granularity as it was, and what a loop device punches has to read as zeros. Whole objects are
 * removed by both.
 *
 * Of an encrypted image (luks.h) nothing is punched: what is a hole reads as zeros here, and as
 * noise where ceph-csi has the image decrypted by the kernel, which passes no discards on either.
 * The passphrase is wiped as soon as the image is open.
 *
 * The file is mounted first, while there is one thread, and in the agent's mount namespace; then
 * this process leaves that for one without mounts, so that it keeps none of them and can be killed
 * whoever else has ended. Until the image is open whoever looks at the file waits; if it cannot be
 * opened the agent takes the mount away.
 *
 * The image's size: librbd's watch wakes us, we ask for it, write it where the agent looks
 * (SERVE_LOCK), and then tell the kernel, which asks for the file's attributes anew.
 *
 * Before it is served, or formatted, the image's metadata name this client, and no more once it is
 * written out and ours no longer: what is left of one that was killed tells that its node may have
 * it yet.
 *
 * A client that was put on the cluster's blocklist stays out for good, and says so to whoever asks:
 * librbd's cache drops what it could not write, and may call a flush after that a success. The end
 * of the watch tells of it at once.
 *
 * librbd's cache holds what was written until it is flushed, which FSYNC does, and the loop device
 * says it for each barrier; and RELEASE, which is the loop device's last word.
 */
#include "backend/rbd/serve.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/ceph/server.h"
#include "backend/rbd/fence.h"
#include "backend/rbd/luks.h"
#include "base/mem.h"
#include "host/fs.h"
#include "host/fuse.h"
#include "host/mount.h"
#include "host/self.h"

#define LOG_ROOM "backend.rbd"
#include "base/log.h"

#define CONNECT_TIMEOUT_S "10"

struct server {
	const struct ceph_lib *lib;
	struct serve_order order;
	int dir_fd;
	int lock_fd;
	int wake_fd; /* eventfd: the image changed */
	char path[4096];
	rados_t cluster;
	rados_ioctx_t io;
	rbd_image_t image;
	uint64_t watch;
	uint64_t bytes;
	uint64_t device;
	struct host_fuse *fuse;
	bool is_encrypted;
	atomic_bool is_shut_out;
	char id[IMAGE_ID_MAX];
	struct ceph_client named; /* as the image's metadata say that it is served here; node "" */
};

static int failed(const struct server *s, int rc, const char *what, struct err *err)
{
	enum err_code code = rc == -ENOENT                          ? ERR_NOT_FOUND
			     : rc == -EACCES || rc == -EPERM        ? ERR_UNAUTHENTICATED
			     : rc == -EINVAL                        ? ERR_INVALID_ARGUMENT
			     : rc == -ETIMEDOUT || rc == -ESHUTDOWN ? ERR_UNAVAILABLE
								    : ERR_INTERNAL;

	return err_os(err, code, rc, "%s (user '%s', pool '%s', image '%s')", what, s->order.user,
		      s->order.pool, s->order.image);
}

static int open_cluster(struct server *s, struct err *err)
{
	const struct ceph_lib *lib = s->lib;
	char user[256];
	int rc;

	(void)snprintf(user, sizeof(user), "client.%s", s->order.user);
	rc = lib->rados_create2(&s->cluster, "ceph", user, 0);
	if (rc < 0)
		return failed(s, rc, "prepare a connection", err);
	if ((rc = lib->rados_conf_set(s->cluster, "mon_host", s->order.monitors)) < 0 ||
	    (rc = lib->rados_conf_set(s->cluster, "key", s->order.key)) < 0 ||
	    (rc = lib->rados_conf_set(s->cluster, "client_mount_timeout", CONNECT_TIMEOUT_S)) < 0)
		return failed(s, rc, "set up a connection", err);
	rc = lib->rados_connect(s->cluster);
	if (rc < 0)
		return failed(s, rc, "connect to the cluster", err);
	rc = lib->rados_ioctx_create(s->cluster, s->order.pool, &s->io);
	if (rc < 0)
		return failed(s, rc, "open the pool", err);
	if (s->order.ns[0])
		lib->rados_ioctx_set_namespace(s->io, s->order.ns);
	return 0;
}

/* Whom to fence should this node be lost. */
static int name_client(struct server *s, struct err *err)
{
	struct ceph_client client = { .node = "" };
	char text[CEPH_CLIENT_MAX];
	char *address = NULL;
	int rc;

	if (s->order.read_only || !s->order.node[0])
		return 0;
	rc = s->lib->rados_getaddrs(s->cluster, &address);
	if (rc < 0)
		return failed(s, rc, "ask for our own address", err);
	(void)snprintf(client.node, sizeof(client.node), "%s", s->order.node);
	(void)snprintf(client.boot_id, sizeof(client.boot_id), "%s", s->order.boot_id);
	(void)snprintf(client.address, sizeof(client.address), "%s", address);
	s->lib->rados_buffer_free(address);
	if (ceph_client_format(&client, text) < 0)
		return err_set(err, ERR_INTERNAL, "'%s' is no address of ours", client.address);
	rc = s->lib->rbd_get_id(s->image, s->id, sizeof(s->id));
	if (rc == 0)
		rc = s->lib->rbd_metadata_set(s->image, IMAGE_CLIENT_WORD, text);
	if (rc == 0)
		s->named = client;
	return rc < 0 ? failed(s, rc, "write the image's metadata", err) : 0;
}

static void image_changed(void *arg)
{
	struct server *s = arg;

	(void)eventfd_write(s->wake_fd, 1);
}

static int open_as_it_is(struct server *s, struct err *err)
{
	int rc = s->order.read_only
			 ? s->lib->rbd_open_read_only(s->io, s->order.image, &s->image, NULL)
			 : s->lib->rbd_open(s->io, s->order.image, &s->image, NULL);

	return rc < 0 ? failed(s, rc, "open the image", err) : 0;
}

/* The first time that it is opened. */
static int format_image(struct server *s, struct err *err)
{
	int rc;

	if (s->order.read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "image '%s' is to be encrypted and was never written to; it has to "
			       "be staged for writing first",
			       s->order.image);
	rc = s->lib->rbd_close(s->image);
	s->image = NULL;
	if (rc < 0)
		return failed(s, rc, "close the image", err);
	return luks_format(s->lib, s->io, s->order.image, s->order.passphrase, err) < 0
		       ? -1
		       : open_as_it_is(s, err);
}

static int decrypt_image(struct server *s, struct err *err)
{
	enum luks_state state;
	int rc = luks_state_get(s->lib, s->image, &state);

	if (rc == LUKS_STATE_UNKNOWN)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "what image '%s' has as " LUKS_STATE_WORD " is neither "
			       "'" LUKS_PREPARED "' nor '" LUKS_ENCRYPTED "'",
			       s->order.image);
	if (rc < 0)
		return failed(s, rc, "read the image's metadata", err);
	if (state == LUKS_STATE_NONE)
		return 0;
	if (!s->order.passphrase[0])
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "image '%s' is encrypted, and the secret has no " CEPH_PASSPHRASE,
			       s->order.image);
	if (state == LUKS_STATE_PREPARED && format_image(s, err) < 0)
		return -1;
	s->is_encrypted = true;
	return luks_load(s->lib, s->image, s->order.image, s->order.passphrase, err);
}

static int open_image(struct server *s, struct err *err)
{
	const struct ceph_lib *lib = s->lib;
	int rc = open_as_it_is(s, err) < 0 || name_client(s, err) < 0 || decrypt_image(s, err) < 0
			 ? -1
			 : 0;

	explicit_bzero((char *)(uintptr_t)s->order.passphrase, strlen(s->order.passphrase));
	if (rc < 0)
		return -1;
	/* before the size is asked, so that no growth is missed */
	rc = lib->rbd_update_watch(s->image, &s->watch, image_changed, s);
	if (rc == 0)
		rc = lib->rbd_get_size(s->image, &s->bytes);
	return rc < 0 ? failed(s, rc, "ask for the image's size", err) : 0;
}

static void close_image(struct server *s)
{
	const struct ceph_lib *lib = s->lib;

	/* else the controller; and unless another has it by now */
	if (s->named.node[0] && (!s->image || lib->rbd_flush(s->image) == 0))
		(void)image_client_drop(lib, s->io, s->id, &s->named);
	if (s->image) {
		int rc = s->watch ? lib->rbd_update_unwatch(s->image, s->watch) : 0;

		(void)rc; /* it goes with the image */
		rc = lib->rbd_close(s->image);
		if (rc < 0)
			log_error("closing the image failed", log_str("image", s->order.image),
				  log_i64("errno", -rc));
	}
	if (s->io)
		lib->rados_ioctx_destroy(s->io);
	if (s->cluster)
		lib->rados_shutdown(s->cluster);
	s->image = NULL;
	s->io = NULL;
	s->cluster = NULL;
	s->named.node[0] = '\0';
}

/* Of one length, by one write, so that nobody reads half of it. */
static void tell_size(const struct server *s)
{
	char text[SERVE_SAID_MAX];

	serve_said_format(s->bytes, s->device, getpid(), text);
	if (pwrite(s->lock_fd, text, strlen(text), 0) != (ssize_t)strlen(text))
		log_error("the image's size cannot be told", log_str("image", s->order.image),
			  log_i64("errno", errno));
}

/* ---- what the kernel asks ---- */

static void note_shut_out(struct server *s, ssize_t rc)
{
	if (rc != -ESHUTDOWN || atomic_exchange(&s->is_shut_out, true))
		return;
	log_error("the cluster has shut this node out; nothing more is read or written",
		  log_str("token", s->order.token), log_str("image", s->order.image));
}

static void finished(rbd_completion_t done, void *arg)
{
	struct host_fuse_request *req = arg;
	struct server *s = host_fuse_arg(req);
	ssize_t rc = s->lib->rbd_aio_get_return_value(done);

	note_shut_out(s, rc);
	s->lib->rbd_aio_release(done);
	host_fuse_done(req, rc);
}

/* A completion, or NULL: the request is answered. */
static rbd_completion_t begin(struct server *s, struct host_fuse_request *req)
{
	rbd_completion_t done = NULL;
	int rc = atomic_load(&s->is_shut_out)
			 ? -ESHUTDOWN
			 : s->lib->rbd_aio_create_completion(req, finished, &done);

	if (rc < 0) {
		host_fuse_done(req, rc);
		return NULL;
	}
	return done;
}

/* One that was refused is never finished. */
static void begun(struct server *s, struct host_fuse_request *req, rbd_completion_t done, int rc)
{
	if (rc >= 0)
		return;
	s->lib->rbd_aio_release(done);
	host_fuse_done(req, rc);
}

static void read_image(void *arg, struct host_fuse_request *req, uint64_t offset, void *buf,
		       size_t n)
{
	struct server *s = arg;
	rbd_completion_t done = begin(s, req);

	if (done)
		begun(s, req, done, s->lib->rbd_aio_read(s->image, offset, n, buf, done));
}

static void write_image(void *arg, struct host_fuse_request *req, uint64_t offset, const void *buf,
			size_t n)
{
	struct server *s = arg;
	rbd_completion_t done = begin(s, req);

	if (done)
		begun(s, req, done, s->lib->rbd_aio_write(s->image, offset, n, buf, done));
}

static void zero_image(void *arg, struct host_fuse_request *req, uint64_t offset, uint64_t n)
{
	struct server *s = arg;
	rbd_completion_t done;

	if (s->is_encrypted) {
		host_fuse_done(req, -EOPNOTSUPP);
		return;
	}
	done = begin(s, req);
	if (done)
		begun(s, req, done, s->lib->rbd_aio_write_zeroes(s->image, offset, n, done, 0, 0));
}

static void flush_image(void *arg, struct host_fuse_request *req)
{
	struct server *s = arg;
	rbd_completion_t done = begin(s, req);

	if (done)
		begun(s, req, done, s->lib->rbd_aio_flush(s->image, done));
}

static void look_at_size(void *arg)
{
	struct server *s = arg;
	uint64_t bytes = s->bytes;
	eventfd_t n;
	int rc;

	(void)eventfd_read(s->wake_fd, &n);
	rc = s->lib->rbd_get_size(s->image, &bytes);
	note_shut_out(s, rc);
	if (rc < 0) {
		log_warn("the image's size is not known just now", log_str("image", s->order.image),
			 log_i64("errno", -rc));
		return;
	}
	if (bytes == s->bytes)
		return;
	log_info("the image has another size", log_str("image", s->order.image),
		 log_u64("bytes", bytes));
	s->bytes = bytes;
	host_fuse_resize(s->fuse, bytes);
	tell_size(s);
}

/* ---- life ---- */

static int mount_file(struct server *s, struct err *err)
{
	const struct host_fuse_options opts = { .path = s->path,
						.subtype = SERVE_SUBTYPE,
						.source = s->order.token,
						.read_only = s->order.read_only };
	struct host_mountinfo info;
	autofree char *line = NULL;

	if (host_fuse_mount(&opts, &s->fuse, err) < 0)
		return -1;
	if (host_mountinfo_find_top(s->path, &line, &info, err) == 1)
		s->device = info.device;
	return 0;
}

/* Not by the order of one that is gone: a detach may have been here already, and found no server.
 */
static int take_lock(struct server *s, struct err *err)
{
	struct err ignored; /* it stays for the next */

	if (host_dir_open(s->order.dir, &s->dir_fd, err) < 0 ||
	    ceph_server_lock(s->dir_fd, SERVE_LOCK, &s->lock_fd, err) < 0)
		return -1;
	if (!ceph_server_is_alone())
		return 0;
	(void)host_file_unlink(s->dir_fd, SERVE_LOCK, &ignored);
	return err_set(err, ERR_CANCELLED, "whoever wanted it is gone");
}

static int begin_serving(struct server *s, struct err *err)
{
	(void)snprintf(s->path, sizeof(s->path), "%s/%s", s->order.dir, s->order.token);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0)
		return err_os(err, ERR_INTERNAL, errno, "make an eventfd");
	if (take_lock(s, err) < 0 || mount_file(s, err) < 0 || host_self_leave_mounts(err) < 0 ||
	    (!s->lib && ceph_lib_load(&s->lib, err) < 0) || open_cluster(s, err) < 0 ||
	    open_image(s, err) < 0)
		return -1;
	if (ceph_server_is_alone())
		return err_set(err, ERR_CANCELLED, "whoever wanted it is gone");
	host_fuse_resize(s->fuse, s->bytes);
	tell_size(s);
	return 0;
}

static void serve(struct server *s)
{
	static const struct host_fuse_ops ops = { .read = read_image,
						  .write = write_image,
						  .zero = zero_image,
						  .flush = flush_image,
						  .woken = look_at_size };
	struct err err;

	if (begin_serving(s, &err) < 0) {
		/* first, as the answer is the end of us: who is killed has the image for half a
		 * minute more */
		close_image(s);
		(void)ceph_server_answer(&err);
		log_warn("the image is not served", log_str("token", s->order.token),
			 log_err(&err));
	} else if (ceph_server_answer(NULL) < 0) {
		log_warn("nobody waits for the image any more", log_str("token", s->order.token));
	} else {
		(void)close(HOST_SELF_FD);
		log_info("the image is served", log_str("token", s->order.token),
			 log_str("image", s->order.image), log_u64("bytes", s->bytes));
		if (host_fuse_serve(s->fuse, &ops, s, s->wake_fd, &err) < 0)
			log_error("serving the image ended", log_str("token", s->order.token),
				  log_err(&err));
		log_info("the image is served no more", log_str("token", s->order.token));
	}
	close_image(s);
	host_fuse_free(s->fuse);
}

int rbd_serve(const struct ceph_lib *lib)
{
	struct server s = { .lib = lib, .dir_fd = -1, .lock_fd = -1, .wake_fd = -1 };
	char *bytes = xmalloc(CEPH_SERVER_ORDER_MAX);
	size_t n;

	if (ceph_server_read(bytes, &n) < 0) {
		free(bytes);
		return 1;
	}
	(void)host_self_settle(SERVE_SUBTYPE);
	if (serve_order_decode(bytes, n, &s.order) == 0)
		serve(&s);
	explicit_bzero(bytes, CEPH_SERVER_ORDER_MAX);
	free(bytes);
	host_fd_close(s.wake_fd);
	host_fd_close(s.lock_fd);
	host_fd_close(s.dir_fd);
	return 0;
}
