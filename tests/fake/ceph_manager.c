/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager's tasks (its module rbd_support): images of the trash that are removed and images
 * that are flattened while nobody waits. The real one begins within a moment, and tries again what
 * failed; here the first try is at once, the next whenever something else has gone.
 *
 * And what tests look at, of images.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-image-internal.h"

/* "pool/image" or "pool/namespace/image"; the last part in place. */
static struct fake_pool *parse_spec(struct fake_cluster *cluster, const char *spec, char **ret_ns,
				    const char **ret_last)
{
	const char *slash = strchr(spec, '/');
	const char *last = slash ? strrchr(spec, '/') : NULL;

	if (!slash)
		return NULL;
	for (size_t i = 0; i < cluster->pools.n; i++) {
		struct fake_pool *pool = cluster->pools.v[i];

		if (strlen(pool->name) == (size_t)(slash - spec) &&
		    strncmp(pool->name, spec, (size_t)(slash - spec)) == 0) {
			*ret_ns = last == slash ? xstrdup("")
						: xstrndup(slash + 1, (size_t)(last - slash - 1));
			*ret_last = last + 1;
			return pool;
		}
	}
	return NULL;
}

/* 0: it is gone now, or was before. */
static int remove_trashed(struct fake_cluster *cluster, const char *spec)
{
	autofree char *ns = NULL;
	const char *id;
	struct fake_pool *pool = parse_spec(cluster, spec, &ns, &id);
	struct fake_image *image = pool ? fake_image_find_id(pool, ns, id) : NULL;

	return image && image->in_trash ? fake_image_remove(image) : 0;
}

void fake_manager_work(struct fake_cluster *cluster)
{
	for (size_t i = 0; i < cluster->tasks.n;) {
		if (remove_trashed(cluster, cluster->tasks.v[i]) < 0) {
			i++;
			continue;
		}
		free(cluster->tasks.v[i]);
		cluster->tasks.v[i] = cluster->tasks.v[--cluster->tasks.n];
		i = 0; /* others may have waited for it */
	}
}

static int add_remove(struct fake_cluster *cluster, const char *spec)
{
	autofree char *ns = NULL;
	const char *id;
	struct fake_pool *pool = parse_spec(cluster, spec, &ns, &id);
	struct fake_image *image = pool ? fake_image_find_id(pool, ns, id) : NULL;

	if (!image || !image->in_trash)
		return -ENOENT;
	for (size_t i = 0; i < cluster->tasks.n; i++)
		if (str_is_equal(cluster->tasks.v[i], spec))
			return 0;
	vec_push(&cluster->tasks, xstrdup(spec));
	fake_manager_work(cluster);
	return 0;
}

static int add_flatten(struct fake_cluster *cluster, const char *spec)
{
	autofree char *ns = NULL;
	const char *name;
	struct fake_pool *pool = parse_spec(cluster, spec, &ns, &name);
	struct fake_image *image = pool ? fake_image_find(pool, ns, name) : NULL;

	if (!image || !image->parent.image)
		return -ENOENT; /* "Image … does not have a parent" */
	(void)fake_image_flatten(image);
	fake_manager_work(cluster);
	return 0;
}

static char flattening[128]; /* its name */

void fake_ceph_set_flattening(const char *image)
{
	fake_ceph_lock();
	(void)snprintf(flattening, sizeof(flattening), "%s", str_or(image, ""));
	fake_ceph_unlock();
}

static void tell_tasks(struct str *out)
{
	str_append(out, "[");
	if (*flattening)
		str_appendf(out,
			    "{\"id\":\"1\",\"refs\":{\"action\":\"flatten\",\"pool_name\":\"rbd\","
			    "\"pool_namespace\":\"\",\"image_name\":\"%s\"}}",
			    flattening);
	str_append(out, "]");
}

static int run_command(struct fake_cluster *cluster, const struct json *command, struct str *out,
		       struct str *status)
{
	const char *prefix = str_or(json_get_string(command, "prefix"), "");
	const char *spec;

	if (cluster->manager_errnum)
		return -cluster->manager_errnum;
	if (str_has_prefix(prefix, "fs "))
		return fake_fs_command(cluster, command, out, status);
	if (str_is_equal(prefix, "rbd task list")) {
		tell_tasks(out);
		return 0;
	}
	str_append(out, "{\"sequence\":1}");
	if (str_is_equal(prefix, "rbd task add trash remove") &&
	    (spec = json_get_string(command, "image_id_spec")))
		return add_remove(cluster, spec);
	if (str_is_equal(prefix, "rbd task add flatten") &&
	    (spec = json_get_string(command, "image_spec")))
		return add_flatten(cluster, spec);
	return -EINVAL;
}

/* The library returns to a caller who set a time limit, and writes the answer to his stack later.
 */
static int await_manager(const struct fake_conn *conn)
{
	if (!conn->cluster->is_manager_held)
		return 0;
	if (!str_is_equal(fake_conn_option(conn, "rados_mon_op_timeout"), "0")) {
		fputs("a command is given up while the manager may answer it\n", stderr);
		abort();
	}
	fake_ceph_wait(&conn->cluster->is_manager_held);
	return 0;
}

void fake_ceph_hold_manager(const char *monitors, bool is_held)
{
	fake_ceph_lock();
	fake_ceph_let_go(&fake_ceph_cluster(monitors)->is_manager_held, is_held);
	fake_ceph_unlock();
}

static void give(const char *text, char **ret_buf, size_t *ret_n)
{
	if (ret_buf)
		*ret_buf = xstrdup(text);
	if (ret_n)
		*ret_n = strlen(text);
}

static int mgr_command(rados_t handle, const char **cmd, size_t n_cmd, const char *in, size_t n_in,
		       char **ret_out, size_t *ret_n_out, char **ret_status, size_t *ret_n_status)
{
	struct fake_conn *conn = handle;
	autojson struct json_doc *doc = NULL;
	autostr struct str out = STR_INIT;
	autostr struct str status = STR_INIT;
	struct err err;
	int rc;

	assert(n_cmd == 1);
	if (json_parse(cmd[0], strlen(cmd[0]), &doc, &err) < 0)
		return -EINVAL;
	rc = fake_ceph_enter(conn, FAKE_READ);
	if (rc == 0)
		rc = await_manager(conn);
	if (rc == 0)
		rc = run_command(conn->cluster, json_root(doc), &out, &status);
	rc = fake_ceph_leave(rc);
	give(rc < 0 ? "" : str_get(&out), ret_out, ret_n_out);
	give(rc < 0 ? str_or(status.buf, "the task was refused") : "", ret_status, ret_n_status);
	return rc == -ETIMEDOUT ? ETIMEDOUT : rc; /* of this one the library tells it so */
}

static void version(int *major, int *minor, int *extra)
{
	*major = 1;
	*minor = 16;
	*extra = 0;
}

static struct fake_image *own_image(int64_t pool, const char *ns, const char *name)
{
	struct fake_pool *p = fake_ceph_pool(fake_ceph_cluster(FAKE_CEPH_MONITORS), pool);

	assert(p);
	return fake_image_find(p, ns, name);
}

void fake_ceph_refuse_manager(const char *monitors, int errnum)
{
	fake_ceph_lock();
	fake_ceph_cluster(monitors)->manager_errnum = errnum;
	fake_ceph_unlock();
}

bool fake_ceph_has_image(int64_t pool, const char *ns, const char *name)
{
	bool has;

	fake_ceph_lock();
	has = own_image(pool, ns, name);
	fake_ceph_unlock();
	return has;
}

void fake_ceph_remove_image(int64_t pool, const char *ns, const char *name)
{
	struct fake_image *image;

	fake_ceph_lock();
	image = own_image(pool, ns, name);
	assert(image);
	while (image->snaps.n)
		fake_snap_free(image, image->snaps.v[0]);
	assert(fake_image_remove(image) == 0);
	fake_ceph_unlock();
}

size_t fake_ceph_n_images(int64_t pool)
{
	size_t n;

	fake_ceph_lock();
	n = fake_ceph_pool(fake_ceph_cluster(FAKE_CEPH_MONITORS), pool)->images.n;
	fake_ceph_unlock();
	return n;
}

size_t fake_ceph_n_trash(int64_t pool)
{
	const struct fake_pool *p;
	size_t n = 0;

	fake_ceph_lock();
	p = fake_ceph_pool(fake_ceph_cluster(FAKE_CEPH_MONITORS), pool);
	for (size_t i = 0; i < p->images.n; i++)
		n += p->images.v[i]->in_trash;
	fake_ceph_unlock();
	return n;
}

size_t fake_ceph_n_snapshots(int64_t pool, const char *ns, const char *image)
{
	size_t n;

	fake_ceph_lock();
	n = own_image(pool, ns, image)->snaps.n;
	fake_ceph_unlock();
	return n;
}

size_t fake_ceph_n_watchers(int64_t pool, const char *ns, const char *image)
{
	struct fake_image *i;
	size_t n;

	fake_ceph_lock();
	i = own_image(pool, ns, image);
	(void)fake_image_is_watched(i);
	n = i->watchers.n;
	fake_ceph_unlock();
	return n;
}

const char *fake_ceph_image_meta(int64_t pool, const char *ns, const char *image, const char *key)
{
	const char *value = NULL;
	struct fake_image *i;

	fake_ceph_lock();
	i = own_image(pool, ns, image);
	for (size_t k = 0; k < i->meta.n; k++)
		if (str_is_equal(i->meta.v[k].key, key))
			value = i->meta.v[k].value;
	fake_ceph_unlock();
	return value;
}

void fake_ceph_set_image_meta(int64_t pool, const char *ns, const char *image, const char *key,
			      const char *value)
{
	fake_ceph_lock();
	fake_image_set_meta(own_image(pool, ns, image), key, value);
	fake_ceph_unlock();
}

void fake_ceph_write(int64_t pool, const char *ns, const char *image, uint64_t offset,
		     const char *text)
{
	fake_ceph_lock();
	fake_data_write(own_image(pool, ns, image), offset, text);
	fake_ceph_unlock();
}

void fake_ceph_set_watched(int64_t pool, const char *ns, const char *image, const char *addr)
{
	struct fake_image *i;

	fake_ceph_lock();
	i = own_image(pool, ns, image);
	for (size_t k = i->watchers.n; k > 0; k--)
		if (i->watchers.v[k - 1].is_foreign) {
			free(i->watchers.v[k - 1].addr);
			i->watchers.v[k - 1] = i->watchers.v[--i->watchers.n];
		}
	if (addr) {
		struct fake_watcher w = { .is_foreign = true, .addr = xstrdup(addr) };

		w.client = fake_ceph_id(i->pool->cluster);
		w.cookie = fake_ceph_id(i->pool->cluster);
		vec_push(&i->watchers, w);
	}
	fake_ceph_unlock();
}

void fake_ceph_fill_manager(struct ceph_lib *lib)
{
	lib->rados_mgr_command = mgr_command;
	lib->rbd_version = version;
}
