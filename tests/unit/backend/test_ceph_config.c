/* SPDX-License-Identifier: Apache-2.0 */
/* ceph-csi's config.json: what is read of it, what is refused, and how a change is followed. */
#include "backend/ceph/config.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "check.h"

#include <fcntl.h>

static struct ceph_clusters parsed;
static struct arena *arena;
static struct err err;

static int parse(const char *text)
{
	return ceph_config_parse(arena, text, strlen(text), &parsed, &err);
}

TEST(what_a_cluster_says_is_read)
{
	arena = arena_new();
	ASSERT_OK(
		parse("[{\"clusterID\":\"c1\",\"monitors\":[\"10.0.0.1:6789\",\"[fd00::1]:3300\"],"
		      "\"rbd\":{\"radosNamespace\":\"team\",\"mirrorDaemonCount\":1,"
		      "\"netNamespaceFilePath\":\"/x\"},"
		      "\"cephFS\":{\"subvolumeGroup\":\"g\",\"radosNamespace\":\"n\"},"
		      "\"nfs\":{},\"new\":[{}],"
		      "\"readAffinity\":{\"enabled\":true,\"crushLocationLabels\":[\"a/"
		      "b\",\"c\"]}},"
		      "{\"clusterID\":\"c2\",\"monitors\":[\"m\"],\"rbd\":null}]"),
		&err);
	ASSERT_EQ(parsed.n, 2);
	ASSERT_STR(parsed.v[0].id, "c1");
	ASSERT_STR(parsed.v[0].monitors, "10.0.0.1:6789,[fd00::1]:3300");
	ASSERT_STR(parsed.v[0].rados_namespace, "team");
	ASSERT_STR(parsed.v[0].subvolume_group, "g");
	ASSERT_STR(parsed.v[0].cephfs_namespace, "n");
	ASSERT_TRUE(parsed.v[0].read_affinity);
	ASSERT_STR(parsed.v[0].crush_labels, "a/b,c");
	ASSERT_STR(parsed.v[1].rados_namespace, "");
	ASSERT_STR(parsed.v[1].subvolume_group, "csi");
	ASSERT_STR(parsed.v[1].cephfs_namespace, "csi");
	ASSERT_FALSE(parsed.v[1].read_affinity);
	ASSERT_OK(parse("[]"), &err);
	ASSERT_EQ(parsed.n, 0);
	arena_free(arena);
}

TEST(half_a_cluster_is_refused_by_its_entry)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{ "", "" },
		{ "{}", "no list of clusters" },
		{ "[{\"clusterID\":\"a\",\"monitors\":[\"m\"]},{\"monitors\":[\"m\"]}]",
		  "entry 2 has no clusterID" },
		{ "[{\"clusterID\":\"\",\"monitors\":[\"m\"]}]", "has no clusterID" },
		{ "[{\"clusterID\":\"a b\",\"monitors\":[\"m\"]}]", "'a b'" },
		{ "[{\"clusterID\":\"0123456789012345678901234567890123456\",\"monitors\":[\"m\"]}"
		  "]",
		  "1 to 36" },
		{ "[{\"clusterID\":\"a\"}]", "'a') has no monitors" },
		{ "[{\"clusterID\":\"a\",\"monitors\":[]}]", "'a') has no monitors" },
		{ "[{\"clusterID\":\"a\",\"monitors\":\"m\"}]", "monitors is no list" },
		{ "[{\"clusterID\":\"a\",\"monitors\":[\"m\",\"\"]}]", "monitors has an element" },
		{ "[{\"clusterID\":\"a\",\"monitors\":[1]}]", "monitors has an element" },
		{ "[{\"clusterID\":\"a\",\"monitors\":[\"m n\"]}]", "monitors has an element" },
		{ "[{\"clusterID\":\"a\",\"monitors\":[\"m\"],\"rbd\":{\"radosNamespace\":1}}]",
		  "rbd.radosNamespace is no string" },
		{ "[1]", "entry 1 is no object" },
		{ "[{\"clusterID\":\"a\",\"monitors\":[\"m\"]},{\"clusterID\":\"a\",\"monitors\":["
		  "\"n\"]}]",
		  "'a') is there twice" },
	};

	arena = arena_new();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_ERR(parse(cases[i].text), &err, ERR_INVALID_ARGUMENT, cases[i].words);
	arena_free(arena);
}

/* A directory as kubelet lays a ConfigMap: config.json → ..data/config.json, ..data → a version. */
static char dir[] = "/tmp/cleat-ceph-config-XXXXXX";
static int dir_fd;
static unsigned n_lines;

static void count_line(void *arg, const char *line)
{
	n_lines++;
}

static void write_file(const char *version, const char *name, const char *text)
{
	autofree char *path = xasprintf("%s/%s", version, name);
	autofd int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	ASSERT_EQ(fd_write_all(fd, text, strlen(text)), 0);
}

/* mapping NULL: the ConfigMap has no such key. */
static void write_both(const char *version, const char *text, const char *mapping)
{
	ASSERT_EQ(mkdirat(dir_fd, version, 0700), 0);
	write_file(version, "config.json", text);
	if (mapping)
		write_file(version, "cluster-mapping.json", mapping);
	ASSERT_EQ(symlinkat(version, dir_fd, "..tmp"), 0);
	ASSERT_EQ(renameat(dir_fd, "..tmp", dir_fd, "..data"), 0);
}

static void write_version(const char *version, const char *text)
{
	write_both(version, text, NULL);
}

static void remove_version(const char *version)
{
	autofree char *path = xasprintf("%s/config.json", version);
	autofree char *mapping = xasprintf("%s/cluster-mapping.json", version);

	(void)unlinkat(dir_fd, mapping, 0);
	ASSERT_EQ(unlinkat(dir_fd, path, 0), 0);
	ASSERT_EQ(unlinkat(dir_fd, version, AT_REMOVEDIR), 0);
}

static int find(struct ceph_config *c, const char *id, struct ceph_cluster *ret_cluster)
{
	return ceph_config_find(c, arena, id, ret_cluster, &err);
}

static struct ceph_config *begin(void)
{
	arena = arena_new();
	(void)snprintf(dir, sizeof(dir), "/tmp/cleat-ceph-config-XXXXXX");
	ASSERT_TRUE(mkdtemp(dir) != NULL);
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ASSERT_EQ(symlinkat("..data/config.json", dir_fd, "config.json"), 0);
	ASSERT_EQ(symlinkat("..data/cluster-mapping.json", dir_fd, "cluster-mapping.json"), 0);
	n_lines = 0;
	log_set_sink(count_line, NULL);
	return ceph_config_new(dir);
}

static void end(struct ceph_config *c)
{
	log_set_sink(NULL, NULL);
	ceph_config_free(c);
	arena_free(arena);
	(void)unlinkat(dir_fd, "..data", 0);
	ASSERT_EQ(unlinkat(dir_fd, "config.json", 0), 0);
	ASSERT_EQ(unlinkat(dir_fd, "cluster-mapping.json", 0), 0);
	close(dir_fd);
	ASSERT_EQ(rmdir(dir), 0);
}

TEST(a_configmap_that_changes_is_followed)
{
	struct ceph_config *c = begin();
	struct ceph_cluster cluster;

	ASSERT_ERR(find(c, "c1", &cluster), &err, ERR_FAILED_PRECONDITION, "config.json");
	write_version("..1", "[{\"clusterID\":\"c1\",\"monitors\":[\"m1\"]}]");
	ASSERT_OK(find(c, "c1", &cluster), &err);
	ASSERT_STR(cluster.monitors, "m1");
	ASSERT_ERR(find(c, "c2", &cluster), &err, ERR_NOT_FOUND, "'c1'");
	/* As long, and in the same second or not: it is another file. */
	write_version("..2", "[{\"clusterID\":\"c2\",\"monitors\":[\"m2\"]}]");
	ASSERT_OK(find(c, "c2", &cluster), &err);
	ASSERT_STR(cluster.monitors, "m2");
	ASSERT_ERR(find(c, "c1", &cluster), &err, ERR_NOT_FOUND, "'c2'");
	ASSERT_EQ(n_lines, 0);
	remove_version("..1");
	remove_version("..2");
	end(c);
}

TEST(what_is_not_whole_keeps_what_was_before)
{
	struct ceph_config *c = begin();
	struct ceph_cluster cluster;

	write_version("..0", "[{");
	ASSERT_ERR(find(c, "c1", &cluster), &err, ERR_FAILED_PRECONDITION, "config.json");
	ASSERT_ERR(find(c, "c1", &cluster), &err, ERR_FAILED_PRECONDITION, "config.json");
	write_version("..1", "[{\"clusterID\":\"c1\",\"monitors\":[\"m1\"]}]");
	ASSERT_OK(find(c, "c1", &cluster), &err);
	write_version("..2", "[{\"clusterID\":\"c1\"}]");
	for (int i = 0; i < 3; i++) {
		ASSERT_OK(find(c, "c1", &cluster), &err);
		ASSERT_STR(cluster.monitors, "m1");
	}
	ASSERT_EQ(n_lines, 1);
	ASSERT_EQ(unlinkat(dir_fd, "..data", 0), 0); /* gone altogether */
	ASSERT_OK(find(c, "c1", &cluster), &err);
	ASSERT_OK(find(c, "c1", &cluster), &err);
	ASSERT_EQ(n_lines, 2);
	write_version("..3", "[{\"clusterID\":\"c1\",\"monitors\":[\"m3\"]}]");
	ASSERT_OK(find(c, "c1", &cluster), &err);
	ASSERT_STR(cluster.monitors, "m3");
	for (const char *const *v = (const char *const[]){ "..0", "..1", "..2", "..3", NULL }; *v;
	     v++)
		remove_version(*v);
	end(c);
}

#define C2 "[{\"clusterID\":\"c2\",\"monitors\":[\"m\"]}]"
#define PAIR "[{\"clusterIDMapping\":{\"c1\":\"c2\"},\"RBDPoolIDMapping\":[{\"1\":\"2\"}]}]"

static const struct ceph_handle handle = { "c1", 1, "ef8bee5a-62a9-41fa-88f5-f0784edfb316" };

static int keep_known(struct ceph_config *c, struct ceph_candidates *all)
{
	ceph_config_candidates(c, CEPH_MAPPED_POOLS, &handle, all);
	return ceph_config_keep_known(c, all, &err);
}

TEST(where_a_mapping_leads_is_followed)
{
	struct ceph_config *c = begin();
	struct ceph_candidates all;

	write_both("..1", C2, NULL);
	ASSERT_ERR(keep_known(c, &all), &err, ERR_FAILED_PRECONDITION,
		   "no cluster has the "
		   "clusterID 'c1'");
	write_both("..2", C2, PAIR);
	ASSERT_OK(keep_known(c, &all), &err);
	ASSERT_EQ(all.n, 1);
	ASSERT_STR(all.v[0].cluster, "c2");
	ASSERT_EQ(all.v[0].pool_id, 2);
	/* not whole: as it was; and what it said is told of */
	write_both("..3", C2, "[{");
	ASSERT_OK(keep_known(c, &all), &err);
	ASSERT_OK(keep_known(c, &all), &err);
	ASSERT_EQ(n_lines, 1);
	/* the key is taken away */
	write_both("..4", C2, NULL);
	ASSERT_ERR(keep_known(c, &all), &err, ERR_FAILED_PRECONDITION, "'c2'");
	ASSERT_EQ(n_lines, 1);
	for (const char *const *v = (const char *const[]){ "..1", "..2", "..3", "..4", NULL }; *v;
	     v++)
		remove_version(*v);
	end(c);
}

TEST(a_mapping_that_leads_nowhere_names_it)
{
	static const struct {
		const char *mapping, *words;
	} cases[] = {
		{ "[{\"clusterIDMapping\":{\"c1\":\"c3\"},\"RBDPoolIDMapping\":[{\"1\":\"2\"}]}]",
		  "maps cluster 'c1' to 'c3', which config.json has not either" },
		{ "[{\"clusterIDMapping\":{\"c1\":\"c2\"},\"RBDPoolIDMapping\":[{\"5\":\"6\"}]}]",
		  "maps cluster 'c1', and not its pool or filesystem number 1" },
		{ "[{\"clusterIDMapping\":{\"c1\":\"c 2\"}}]", "cluster-mapping.json': entry 1" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ceph_config *c = begin();
		struct ceph_candidates all;

		write_both("..1", C2, cases[i].mapping);
		ASSERT_ERR(keep_known(c, &all), &err, ERR_FAILED_PRECONDITION, cases[i].words);
		remove_version("..1");
		end(c);
	}
}

RUN_TESTS(UNIT(what_a_cluster_says_is_read), UNIT(half_a_cluster_is_refused_by_its_entry),
	  UNIT(a_configmap_that_changes_is_followed), UNIT(what_is_not_whole_keeps_what_was_before),
	  UNIT(where_a_mapping_leads_is_followed), UNIT(a_mapping_that_leads_nowhere_names_it))
