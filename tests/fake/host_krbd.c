/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/host_krbd.h"

#include <string.h>
#include <sys/sysmacros.h>

#include "base/mem.h"
#include "base/str.h"
#include "fake/host-internal.h"
#include "host/blockdev.h"
#include "host/fuse.h"
#include "host/krbd.h"
#include "host/loopdev.h"
#include "host/self.h"
#include "host/users.h"

#define MAPPED_MAX 16
#define POOL_NAME "rbd"
#define POOL_ID 1 /* of the pool that is mapped from by name */

struct mapped {
	bool is_used;
	char fsid[64];
	int64_t pool_id;
	char image[256];
	bool is_read_only;
};

static struct {
	bool is_here;
	bool is_busy;
	struct mapped v[MAPPED_MAX];
	char options[256];
} krbd;

void fake_krbd_reset(bool is_here)
{
	memset(&krbd, 0, sizeof(krbd));
	krbd.is_here = is_here;
}

static bool is_nbd_used;

void fake_nbd_set_used(bool is_used)
{
	is_nbd_used = is_used;
}

int host_nbd_is_used(const char *device, struct err *err)
{
	(void)device;
	return fake_step(err) < 0 ? -1 : is_nbd_used;
}

unsigned fake_krbd_n_mapped(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < MAPPED_MAX; i++)
		n += krbd.v[i].is_used;
	return n;
}

const char *fake_krbd_options(void)
{
	return krbd.options;
}

void fake_krbd_set_busy(bool is_busy)
{
	krbd.is_busy = is_busy;
}

static int add(const char *fsid, int64_t pool_id, const char *image, bool read_only)
{
	for (int i = 0; i < MAPPED_MAX; i++) {
		struct mapped *m = &krbd.v[i];

		if (m->is_used)
			continue;
		*m = (struct mapped){ .is_used = true,
				      .pool_id = pool_id,
				      .is_read_only = read_only };
		(void)snprintf(m->fsid, sizeof(m->fsid), "%s", fsid);
		(void)snprintf(m->image, sizeof(m->image), "%s", image);
		return i;
	}
	return -1;
}

void fake_krbd_add(const char *fsid, int64_t pool_id, const char *image)
{
	(void)add(fsid, pool_id, image, false);
}

static void fill(int i, struct host_krbd *dev)
{
	*dev = (struct host_krbd){ .id = i,
				   .devno = makedev(252, (unsigned)i * 16),
				   .is_read_only = krbd.v[i].is_read_only,
				   .pool_id = krbd.v[i].pool_id,
				   .bytes = UINT64_C(1) << 30 };
	(void)snprintf(dev->path, sizeof(dev->path), "/dev/rbd%d", i);
	(void)snprintf(dev->client_addr, sizeof(dev->client_addr), FAKE_KRBD_CLIENT);
}

bool host_krbd_is_here(void)
{
	return krbd.is_here;
}

/* The work is done, or not, before the step's trouble is told: a call may do either. */
int host_krbd_map(struct ctx *ctx, const struct host_krbd_spec *spec, struct host_krbd *ret_dev,
		  struct err *err)
{
	int i;

	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	(void)snprintf(krbd.options, sizeof(krbd.options), "%s", spec->options);
	i = add(spec->fsid, POOL_ID, spec->image, spec->read_only);
	if (i < 0)
		return err_set(err, ERR_INTERNAL, "the fake kernel has no more numbers");
	fill(i, ret_dev);
	return 0;
}

static int find(const char *fsid, int64_t pool_id, const char *image, const char *ending,
		struct host_krbd *ret_dev, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	for (int i = 0; i < MAPPED_MAX; i++) {
		const struct mapped *m = &krbd.v[i];

		if (!m->is_used || m->pool_id != pool_id ||
		    (fsid[0] && !str_is_equal(m->fsid, fsid)) ||
		    !(image ? str_is_equal(m->image, image) : str_has_suffix(m->image, ending)))
			continue;
		fill(i, ret_dev);
		return 1;
	}
	return 0;
}

int host_krbd_find(const char *fsid, int64_t pool_id, const char *image, struct host_krbd *ret_dev,
		   struct err *err)
{
	return find(fsid, pool_id, image, NULL, ret_dev, err);
}

int host_krbd_find_named(const char *pool, const char *ns, const char *image,
			 struct host_krbd *ret_dev, struct err *err)
{
	(void)ns;
	return find("", str_is_equal(pool, POOL_NAME) ? POOL_ID : -1, image, NULL, ret_dev, err);
}

int host_krbd_find_ending(int64_t pool_id, const char *ending, struct host_krbd *ret_dev,
			  struct err *err)
{
	return find("", pool_id, NULL, ending, ret_dev, err);
}

int host_krbd_unmap(struct ctx *ctx, const struct host_krbd *dev, const char *options,
		    struct err *err)
{
	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	(void)snprintf(krbd.options, sizeof(krbd.options), "%s", options);
	if (krbd.is_busy)
		return err_set(err, ERR_FAILED_PRECONDITION, "unmap '%s': it is in use: by a test",
			       dev->path);
	krbd.v[dev->id].is_used = false;
	return 0;
}

/* ---- what no test of the fake host has ---- */

void host_device_users(dev_t device, struct str *out)
{
	(void)device;
	str_append(out, "somebody");
}

int host_self_start(const struct host_self *what, pid_t *ret_pid, struct err *err)
{
	(void)ret_pid;
	if (fake_step(err) < 0)
		return -1;
	return err_set(err, ERR_UNAVAILABLE, "the fake host starts no %s", what->word);
}

int host_process_open(pid_t pid, int *ret_fd, struct err *err)
{
	(void)ret_fd;
	return err_set(err, ERR_NOT_FOUND, "the fake host has no process %d", (int)pid);
}

bool host_process_wait(struct ctx *ctx, pid_t pid, int fd, int64_t ns)
{
	(void)ctx;
	(void)pid;
	(void)fd;
	(void)ns;
	return true;
}

void host_process_reap(pid_t pid, const char *name)
{
	(void)pid;
	(void)name;
}

int host_process_kill(int fd, struct err *err)
{
	(void)fd;
	(void)err;
	return 0;
}

int host_fuse_abort(dev_t device, struct err *err)
{
	(void)device;
	return err_set(err, ERR_NOT_FOUND, "the fake host has no connection of FUSE");
}

int host_loop_find_unmounted(dev_t device, uint64_t inode, struct host_loop *ret_loop,
			     struct err *err)
{
	(void)device;
	(void)inode;
	(void)ret_loop;
	(void)err;
	return 0;
}

int host_loop_find_over(const char *path, const dev_t *fs, size_t n_fs,
			struct host_loop_seen *ret_seen, struct err *err)
{
	(void)path;
	(void)fs;
	(void)n_fs;
	(void)ret_seen;
	return fake_step(err);
}

int host_loop_let_go_over(const struct host_loop_seen *seen, struct err *err)
{
	(void)seen;
	return fake_step(err);
}
