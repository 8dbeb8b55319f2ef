/* SPDX-License-Identifier: Apache-2.0 */
/* ceph-csi's cluster-mapping.json: what is read of it, what is refused, where it leads. */
#include "backend/ceph/mapping.h"

#include "base/mem.h"
#include "base/str.h"
#include "check.h"

static struct ceph_mappings parsed;
static struct ceph_candidates all;
static struct arena *arena;
static struct err err;

static int parse(const char *text)
{
	return ceph_mappings_parse(arena, text, strlen(text), &parsed, &err);
}

/* "site2:2 site2:5": where it leads, the handle's own first. */
static const char *lead(enum ceph_mapped what, const char *cluster, int64_t number)
{
	struct ceph_handle handle = { .pool_id = number };
	const char *text = "";

	(void)snprintf(handle.cluster, sizeof(handle.cluster), "%s", cluster);
	ceph_mappings_follow(&parsed, what, &handle, false, &all);
	for (size_t i = 0; i < all.n; i++)
		text = arena_printf(arena, "%s%s%s:%lld", text, i ? " " : "", all.v[i].cluster,
				    (long long)all.v[i].pool_id);
	return text;
}

TEST(it_leads_from_either_side_in_the_order_of_the_file)
{
	static const struct {
		enum ceph_mapped what;
		const char *cluster;
		int64_t number;
		const char *want;
		bool is_mapped;
	} cases[] = {
		{ CEPH_MAPPED_POOLS, "site1", 1, "site1:1 site2:2 site3:7", true },
		{ CEPH_MAPPED_POOLS, "site2", 2, "site2:2 site1:1", true },
		{ CEPH_MAPPED_POOLS, "site2", 12, "site2:12 site1:11", true },
		{ CEPH_MAPPED_POOLS, "site3", 7, "site3:7 site1:1", true },
		{ CEPH_MAPPED_POOLS, "site1", 3, "site1:3", true }, /* no such pool there */
		{ CEPH_MAPPED_POOLS, "site4", 1, "site4:1", false },
		{ CEPH_MAPPED_FILESYSTEMS, "site1", 13, "site1:13 site2:34", true },
		{ CEPH_MAPPED_FILESYSTEMS, "site1", 1, "site1:1", true },
		/* called alike at both sites */
		{ CEPH_MAPPED_POOLS, "rook", 4, "rook:4 rook:5", true },
		{ CEPH_MAPPED_POOLS, "rook", 5, "rook:5 rook:4", true },
		{ CEPH_MAPPED_POOLS, "rook", 6, "rook:6", true },
		/* numbers of the other side are the other site's, unless there is nothing else */
		{ CEPH_MAPPED_POOLS, "a", 2, "a:2 b:3", true },
		{ CEPH_MAPPED_POOLS, "b", 2, "b:2 a:1", true },
		{ CEPH_MAPPED_POOLS, "a", 3, "a:3 b:2", true },
	};

	arena = arena_new();
	ASSERT_OK(parse("[{\"clusterIDMapping\":{\"site1\":\"site2\"},"
			"\"RBDPoolIDMapping\":[{\"1\":\"2\"},{\"11\":\"12\"}],"
			"\"CephFSFscIDMapping\":[{\"13\":\"34\",\"3\":\"4\"}]},"
			"{\"ClusterIDMapping\":{\"site3\":\"site1\"},\"rbdPoolIDMapping\":[{\"7\":"
			"\"1\"}"
			"],\"new\":[]},"
			"{\"clusterIDMapping\":{\"rook\":\"rook\"},\"RBDPoolIDMapping\":[{\"4\":"
			"\"5\"},{"
			"\"5\":\"4\",\"6\":\"6\"}]},"
			"{\"clusterIDMapping\":{\"a\":\"b\"},\"RBDPoolIDMapping\":[{\"1\":\"2\","
			"\"2\":"
			"\"3\"}]}]"),
		  &err);
	ASSERT_EQ(parsed.n, 4);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ASSERT_STR(lead(cases[i].what, cases[i].cluster, cases[i].number), cases[i].want);
		ASSERT_EQ(all.is_mapped, cases[i].is_mapped);
		ASSERT_EQ(all.doubt.code, ERR_OK);
	}
	ASSERT_OK(parse("[]"), &err);
	ASSERT_STR(lead(CEPH_MAPPED_POOLS, "site1", 1), "site1:1");
	ASSERT_OK(parse("[{\"clusterIDMapping\":{}}]"), &err);
	arena_free(arena);
}

TEST(more_places_than_can_be_looked_at_are_in_doubt)
{
	autostr struct str text = STR_INIT;

	arena = arena_new();
	str_append(&text, "[{\"clusterIDMapping\":{\"a\":\"b\"},\"RBDPoolIDMapping\":[");
	for (int i = 1; i <= CEPH_CANDIDATES_MAX; i++)
		str_appendf(&text, "%s{\"1\":\"%d\"}", i > 1 ? "," : "", i);
	str_append(&text, "]}]");
	ASSERT_OK(parse(text.buf), &err);
	(void)lead(CEPH_MAPPED_POOLS, "a", 1);
	ASSERT_EQ(all.n, CEPH_CANDIDATES_MAX);
	ASSERT_EQ(all.doubt.code, ERR_RESOURCE_EXHAUSTED);
	ASSERT_TRUE(strstr(all.doubt.msg, "cluster 'a', number 1, to more than 15") != NULL);
	(void)lead(CEPH_MAPPED_POOLS, "a", 2);
	ASSERT_EQ(all.doubt.code, ERR_OK);
	arena_free(arena);
}

TEST(what_is_not_whole_is_refused_by_its_entry)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{ "", "" },
		{ "[{\"clusterIDMapping\":{\"a\":\"b\"},}]", "byte" },
		{ "{}", "no list of" },
		{ "[1]", "entry 1 is no object" },
		{ "[{\"clusterIDMapping\":{\"a\":\"b\"}},{}]",
		  "entry 2: clusterIDMapping is missing" },
		{ "[{\"clusterIDMapping\":[]}]", "entry 1: clusterIDMapping is no object" },
		{ "[{\"clusterIDMapping\":{\"a\":1}}]", "'a': ''" },
		{ "[{\"clusterIDMapping\":{\"a b\":\"c\"}}]", "'a b': 'c'" },
		{ "[{\"clusterIDMapping\":{\"a\":\"\"}}]", "1 to 36" },
		{ "[{\"clusterIDMapping\":{\"a\":\"b\"},\"RBDPoolIDMapping\":{}}]",
		  "RBDPoolIDMapping is no list" },
		{ "[{\"clusterIDMapping\":{\"a\":\"b\"},\"RBDPoolIDMapping\":[1]}]",
		  "RBDPoolIDMapping has an element that is no object" },
		{ "[{\"clusterIDMapping\":{\"a\":\"b\"},\"RBDPoolIDMapping\":[{\"1\":2}]}]",
		  "'1': '' is no pair of numbers in quotes" },
		{ "[{\"clusterIDMapping\":{\"a\":\"b\"},\"RBDPoolIDMapping\":[{\"x\":\"2\"}]}]",
		  "RBDPoolIDMapping: 'x': '2'" },
		{ "[{\"clusterIDMapping\":{\"a\":\"b\"},\"CephFSFscIDMapping\":[{\"1\":\"-2\"}]}]",
		  "CephFSFscIDMapping: '1': '-2'" },
		{ "[{\"clusterIDMapping\":{\"a\":\"b\"},\"RBDPoolIDMapping\":[{\"1\":"
		  "\"9223372036854775808\"}]}]",
		  "no pair of numbers" },
	};

	arena = arena_new();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_ERR(parse(cases[i].text), &err, ERR_INVALID_ARGUMENT, cases[i].words);
	arena_free(arena);
}

RUN_TESTS(UNIT(it_leads_from_either_side_in_the_order_of_the_file),
	  UNIT(more_places_than_can_be_looked_at_are_in_doubt),
	  UNIT(what_is_not_whole_is_refused_by_its_entry))
