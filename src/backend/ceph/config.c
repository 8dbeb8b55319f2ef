/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members that nobody here reads are let through, since the file is ceph-csi's. What is read has to
 * be whole: half a cluster would fail later, and elsewhere.
 */
#include "backend/ceph/config.h"

#include <ctype.h>
#include <string.h>

#include "backend/ceph/followed.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

struct ceph_config {
	struct followed *clusters; /* const struct ceph_clusters */
	struct followed *mappings; /* const struct ceph_mappings */
};

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

static const void *parse_clusters(struct arena *a, const char *text, size_t n, struct err *err)
{
	struct ceph_clusters *clusters = arena_alloc(a, sizeof(*clusters));

	return ceph_config_parse(a, text, n, clusters, err) < 0 ? NULL : clusters;
}

static const void *parse_mappings(struct arena *a, const char *text, size_t n, struct err *err)
{
	struct ceph_mappings *mappings = arena_alloc(a, sizeof(*mappings));

	return ceph_mappings_parse(a, text, n, mappings, err) < 0 ? NULL : mappings;
}

struct ceph_config *ceph_config_new(const char *dir)
{
	struct ceph_config *c = xcalloc(1, sizeof(*c));

	c->clusters = followed_new(
		&(struct followed_options){ .dir = dir,
					    .name = "config.json",
					    .what = "which says what clusters of Ceph there are",
					    .parse = parse_clusters });
	c->mappings = followed_new(&(struct followed_options){
		.dir = dir,
		.name = "cluster-mapping.json",
		.what = "which says where volumes of other clusters are",
		.parse = parse_mappings,
		.if_absent = "[]" });
	return c;
}

void ceph_config_free(struct ceph_config *c)
{
	if (!c)
		return;
	followed_free(c->clusters);
	followed_free(c->mappings);
	free(c);
}

static int not_found(const struct ceph_config *c, const struct ceph_clusters *clusters,
		     const char *id, struct err *err)
{
	autostr struct str there = STR_INIT;

	for (size_t i = 0; i < clusters->n; i++)
		str_appendf(&there, "%s'%s'", i ? ", " : "", clusters->v[i].id);
	return err_set(err, ERR_NOT_FOUND,
		       "no cluster has the clusterID '%.40s' in '%s'; it has %s", id,
		       followed_path(c->clusters), str_or(there.buf, "none"));
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
	const struct ceph_clusters *clusters = followed_begin(c->clusters, err);
	const struct ceph_cluster *found;
	int rc = 0;

	if (!clusters)
		return -1;
	found = find_cluster(clusters, id);
	if (found)
		copy_cluster(a, found, ret_cluster);
	else
		rc = not_found(c, clusters, id, err);
	followed_end(c->clusters);
	return rc;
}

static void follow(struct ceph_config *c, enum ceph_mapped what, const struct ceph_handle *handle,
		   bool loosely, struct ceph_candidates *ret)
{
	struct err why;
	const struct ceph_mappings *mappings = followed_begin(c->mappings, &why);

	ceph_mappings_follow(mappings, what, handle, loosely, ret);
	if (mappings)
		followed_end(c->mappings);
	else
		ret->doubt = why;
}

void ceph_config_candidates(struct ceph_config *c, enum ceph_mapped what,
			    const struct ceph_handle *handle, struct ceph_candidates *ret)
{
	follow(c, what, handle, false, ret);
}

void ceph_config_names(struct ceph_config *c, enum ceph_mapped what,
		       const struct ceph_handle *place, struct ceph_candidates *ret)
{
	follow(c, what, place, true, ret);
}

/* None of what cluster-mapping.json leads to is here either. */
static int refuse_unknown(const struct ceph_config *c, const struct ceph_candidates *all,
			  struct err *err)
{
	autostr struct str names = STR_INIT;

	err->code = ERR_FAILED_PRECONDITION; /* what it names may well be there */
	if (all->doubt.code != ERR_OK) {
		*err = all->doubt;
		err->code = ERR_FAILED_PRECONDITION;
		return err_wrap(err,
				"config.json has no cluster '%s', and where else to look is "
				"not known",
				all->v[0].cluster);
	}
	if (all->n == 1 && all->is_mapped)
		return err_wrap(err,
				"'%s' maps cluster '%s', and not its pool or filesystem number "
				"%lld",
				followed_path(c->mappings), all->v[0].cluster,
				(long long)all->v[0].pool_id);
	for (size_t i = 1; i < all->n; i++)
		str_appendf(&names, "%s'%s'", i > 1 ? ", " : "", all->v[i].cluster);
	return names.len ? err_wrap(err,
				    "'%s' maps cluster '%s' to %.120s, which config.json has "
				    "not either",
				    followed_path(c->mappings), all->v[0].cluster, names.buf)
			 : -1;
}

int ceph_config_keep_known(struct ceph_config *c, struct ceph_candidates *all, struct err *err)
{
	const struct ceph_clusters *clusters = followed_begin(c->clusters, err);
	size_t n = 0;

	if (!clusters)
		return -1;
	for (size_t i = 0; i < all->n; i++)
		if (find_cluster(clusters, all->v[i].cluster))
			all->v[n++] = all->v[i];
	if (n == 0)
		(void)not_found(c, clusters, all->v[0].cluster, err);
	followed_end(c->clusters);
	if (n == 0)
		return refuse_unknown(c, all, err);
	all->n = n;
	return 0;
}
