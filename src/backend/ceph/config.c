/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet changes a mounted ConfigMap by pointing a symlink at a new directory, so the file behind
 * the name is another one then: device, inode, time and size tell, for one stat(2) a call. The file
 * is read and parsed without the lock; two that do so at once do the same work.
 *
 * Members that nobody here reads are let through, since the file is ceph-csi's. What is read has to
 * be whole: half a cluster would fail later, and elsewhere.
 */
#include "backend/ceph/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/path.h"
#include "base/str.h"
#include "volume/ceph.h"

#define CONFIG_MAX MIB /* what a ConfigMap can have */

struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

struct ceph_config {
	char *path;
	pthread_mutex_t lock; /* guards what follows; not held across a syscall */
	struct stamp seen;    /* of the file that was read last, well or not */
	struct arena *arena;  /* of clusters; NULL: none was ever read */
	struct ceph_clusters clusters;
};

struct ceph_config *ceph_config_new(const char *dir)
{
	struct ceph_config *c = xcalloc(1, sizeof(*c));

	c->path = path_join(dir, "config.json");
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void ceph_config_free(struct ceph_config *c)
{
	if (!c)
		return;
	arena_free(c->arena);
	pthread_mutex_destroy(&c->lock);
	free(c->path);
	free(c);
}

/* For words: "entry 2 (clusterID 'c1')". */
static const char *entry_name(struct arena *a, size_t i, const struct json *v)
{
	const char *id = json_get_string(v, "clusterID");

	return id ? arena_printf(a, "entry %zu (clusterID '%.40s')", i + 1, id)
		  : arena_printf(a, "entry %zu", i + 1);
}

/* Text that goes into mon_host and to the kernel: no blanks, nothing that cannot be seen. */
static bool is_word(const char *s)
{
	for (const char *p = s; *p; p++)
		if (!isgraph((unsigned char)*p))
			return false;
	return *s;
}

/* The words of an array, with commas between; an absent one is "". */
static int join_words(struct arena *a, const struct json *list, const char *entry,
		      const char *member, const char **ret_text, struct err *err)
{
	autostr struct str text = STR_INIT;
	struct json_it it = json_each(list);
	const struct json *v;
	const char *key;

	if (!json_is_null(list) && !json_is_array(list))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s is no list", entry, member);
	while (json_next(&it, &key, &v)) {
		const char *word = json_string(v);

		if (!word || !is_word(word))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "%s: %s has an element that is empty, no string, or has "
				       "blanks",
				       entry, member);
		if (text.len)
			str_append_char(&text, ',');
		str_append(&text, word);
	}
	*ret_text = arena_strdup(a, str_get(&text));
	return 0;
}

static int read_text(struct arena *a, const struct json *v, const char *entry, const char *member,
		     const char *fallback, const char **ret_text, struct err *err)
{
	const struct json *at = json_path(v, member);
	const char *text = json_string(at);

	if (!json_is_null(at) && !text)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s is no string", entry, member);
	*ret_text = str_is_empty(text) ? fallback : arena_strdup(a, text);
	return 0;
}

static int read_cluster(struct arena *a, const struct json *v, const char *entry,
			struct ceph_cluster *ret_cluster, struct err *err)
{
	const char *id = json_get_string(v, "clusterID");
	struct ceph_cluster c = { 0 };

	if (!json_is_object(v))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s is no object", entry);
	if (str_is_empty(id))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s has no clusterID", entry);
	if (!ceph_cluster_id_is_valid(id))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "%s: a clusterID is 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-'",
			       entry, CEPH_CLUSTER_MAX - 1);
	c.id = arena_strdup(a, id);
	if (join_words(a, json_get(v, "monitors"), entry, "monitors", &c.monitors, err) < 0)
		return -1;
	if (!*c.monitors)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s has no monitors", entry);
	if (read_text(a, v, entry, "rbd.radosNamespace", "", &c.rados_namespace, err) < 0 ||
	    read_text(a, v, entry, "cephFS.subvolumeGroup", "csi", &c.subvolume_group, err) < 0 ||
	    read_text(a, v, entry, "cephFS.radosNamespace", "csi", &c.cephfs_namespace, err) < 0 ||
	    read_text(a, v, entry, "cephFS.kernelMountOptions", "", &c.kernel_mount_options, err) <
		    0 ||
	    read_text(a, v, entry, "cephFS.fuseMountOptions", "", &c.fuse_mount_options, err) < 0 ||
	    join_words(a, json_path(v, "readAffinity.crushLocationLabels"), entry,
		       "readAffinity.crushLocationLabels", &c.crush_labels, err) < 0)
		return -1;
	c.read_affinity = json_bool(json_path(v, "readAffinity.enabled"), false);
	*ret_cluster = c;
	return 0;
}

static const struct ceph_cluster *find_cluster(const struct ceph_clusters *clusters, const char *id)
{
	for (size_t i = 0; i < clusters->n; i++)
		if (str_is_equal(clusters->v[i].id, id))
			return &clusters->v[i];
	return NULL;
}

static int read_clusters(struct arena *a, const struct json *root, struct ceph_clusters *ret,
			 struct err *err)
{
	struct ceph_clusters found = { 0 };
	struct json_it it = json_each(root);
	const struct json *v;
	const char *key;
	size_t i = 0;

	if (!json_is_array(root))
		return err_set(err, ERR_INVALID_ARGUMENT, "it is no list of clusters");
	found.v = arena_array(a, json_count(root), sizeof(*found.v));
	for (; json_next(&it, &key, &v); i++) {
		const char *entry = entry_name(a, i, v);

		if (read_cluster(a, v, entry, &found.v[found.n], err) < 0)
			return -1;
		/* Which of two were meant nobody can tell. */
		if (find_cluster(&found, found.v[found.n].id))
			return err_set(err, ERR_INVALID_ARGUMENT, "%s is there twice", entry);
		found.n++;
	}
	*ret = found;
	return 0;
}

int ceph_config_parse(struct arena *a, const char *text, size_t n, struct ceph_clusters *ret,
		      struct err *err)
{
	autojson struct json_doc *doc = NULL;

	if (json_parse(text, n, &doc, err) < 0)
		return -1;
	return read_clusters(a, json_root(doc), ret, err);
}

static bool is_same(const struct stamp *a, const struct stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

static struct stamp stamp_of(const struct stat *st)
{
	return (struct stamp){ st->st_dev, st->st_ino, st->st_size, st->st_mtim };
}

/* The stamp of the file that was really read, or zeros if there was none. */
static int read_file(const struct ceph_config *c, struct arena *a, struct stamp *ret_stamp,
		     struct ceph_clusters *ret_clusters, struct err *err)
{
	autofd int fd = open(c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	autofree char *text = NULL;
	struct stat st;
	size_t n;
	int rc;

	*ret_stamp = (struct stamp){ 0 };
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, errno,
			      "'%s', which says what clusters of Ceph there are", c->path);
	*ret_stamp = stamp_of(&st);
	rc = S_ISREG(st.st_mode) ? fd_read_all(fd, CONFIG_MAX, &text, &n) : -EINVAL;
	if (rc < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, rc, "read '%s'", c->path);
	if (ceph_config_parse(a, text, n, ret_clusters, err) < 0) {
		err->code = ERR_FAILED_PRECONDITION;
		return err_wrap(err, "'%s'", c->path);
	}
	return 0;
}

/* Reads it unless it is the one that was read last. -1: it is not whole, and there is none of
 * before. */
static int refresh(struct ceph_config *c, struct err *err)
{
	struct ceph_clusters clusters = { 0 };
	struct stamp now = { 0 };
	struct arena *a, *old;
	bool is_known, has_old;
	struct stat st;
	int rc;

	if (stat(c->path, &st) == 0)
		now = stamp_of(&st);
	pthread_mutex_lock(&c->lock);
	has_old = c->arena;
	is_known = has_old && is_same(&now, &c->seen);
	pthread_mutex_unlock(&c->lock);
	if (is_known)
		return 0;
	a = arena_new();
	rc = read_file(c, a, &now, &clusters, err);
	pthread_mutex_lock(&c->lock);
	old = a;
	if (rc == 0) {
		old = c->arena;
		c->arena = a;
		c->clusters = clusters;
	}
	is_known = is_same(&now, &c->seen);
	c->seen = now;
	pthread_mutex_unlock(&c->lock);
	arena_free(old);
	if (rc < 0 && has_old && !is_known)
		log_warn("clusters of Ceph: the file has changed and is not whole; those of before "
			 "are used on",
			 log_str("file", c->path), log_err(err));
	return rc < 0 && !has_old ? -1 : 0;
}

/* Locked. */
static int not_found(const struct ceph_config *c, const char *id, struct err *err)
{
	autostr struct str there = STR_INIT;

	for (size_t i = 0; i < c->clusters.n; i++)
		str_appendf(&there, "%s'%s'", i ? ", " : "", c->clusters.v[i].id);
	return err_set(err, ERR_NOT_FOUND,
		       "no cluster has the clusterID '%.40s' in '%s'; it has %s", id, c->path,
		       str_or(there.buf, "none"));
}

static void copy_cluster(struct arena *a, const struct ceph_cluster *from,
			 struct ceph_cluster *ret_cluster)
{
	*ret_cluster = (struct ceph_cluster){
		.id = arena_strdup(a, from->id),
		.monitors = arena_strdup(a, from->monitors),
		.rados_namespace = arena_strdup(a, from->rados_namespace),
		.subvolume_group = arena_strdup(a, from->subvolume_group),
		.cephfs_namespace = arena_strdup(a, from->cephfs_namespace),
		.kernel_mount_options = arena_strdup(a, from->kernel_mount_options),
		.fuse_mount_options = arena_strdup(a, from->fuse_mount_options),
		.read_affinity = from->read_affinity,
		.crush_labels = arena_strdup(a, from->crush_labels),
	};
}

int ceph_config_find(struct ceph_config *c, struct arena *a, const char *id,
		     struct ceph_cluster *ret_cluster, struct err *err)
{
	const struct ceph_cluster *found;
	int rc = 0;

	if (refresh(c, err) < 0)
		return -1;
	pthread_mutex_lock(&c->lock);
	found = find_cluster(&c->clusters, id);
	if (found)
		copy_cluster(a, found, ret_cluster);
	else
		rc = not_found(c, id, err);
	pthread_mutex_unlock(&c->lock);
	return rc;
}
