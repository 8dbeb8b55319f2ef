/* SPDX-License-Identifier: Apache-2.0 */
/* Which Secret a class names, by tables; and what is made of its data. */
#include "check.h"
#include "cluster.h"
#include "control/secrets.h"

#define MAP_MAX 5
#define NAME "csi.storage.k8s.io/node-stage-secret-name"
#define NS "csi.storage.k8s.io/node-stage-secret-namespace"
#define ANY_NAME "csi.storage.k8s.io/secret-name"
#define ANY_NS "csi.storage.k8s.io/secret-namespace"

struct ref_case {
	const char *pairs[MAP_MAX][2];
	const char *name, *ns;
	const char *error; /* NULL = resolves */
};

static int resolve(struct arena *a, const struct ref_case *c, struct secret_ref *ret_ref,
		   struct err *err)
{
	static const char annotations[] = "{\"tenant\":\"acme\",\"bad\":\"A B\"}";
	autojson struct json_doc *doc = NULL;
	struct strpair list[MAP_MAX];
	struct secret_vars vars = { .pv_name = "pvc-1", .claim_ns = "prod", .claim_name = "db" };
	struct strmap map;
	size_t n = 0;

	ASSERT_OK(json_parse(annotations, strlen(annotations), &doc, err), err);
	vars.annotations = json_root(doc);
	for (; n < MAP_MAX && c->pairs[n][0]; n++)
		list[n] = (struct strpair){ c->pairs[n][0], c->pairs[n][1] };
	map = strmap_from(a, list, n);
	return secret_ref_resolve(a, &map, SECRET_NODE_STAGE, &vars, ret_ref, err);
}

/* clang-format off */
static const struct ref_case ref_cases[] = {
	{ { { "pool", "p" } }, "", "", NULL },
	{ { { NAME, "s" }, { NS, "kube-system" } }, "s", "kube-system", NULL },
	{ { { NAME, "key-${pvc.name}.${pv.name}" }, { NS, "${pvc.namespace}" } }, "key-db.pvc-1", "prod", NULL },
	{ { { NAME, "${pvc.annotations['tenant']}-${pvc.namespace}" }, { NS, "${pv.name}" } }, "acme-prod", "pvc-1", NULL },
	{ { { ANY_NAME, "all" }, { ANY_NS, "sec" } }, "all", "sec", NULL },
	{ { { NAME, "own" }, { NS, "ns" }, { ANY_NAME, "all" }, { ANY_NS, "sec" } }, "own", "ns", NULL },
	{ { { "csiNodeStageSecretName", "old" }, { "csiNodeStageSecretNamespace", "ns" } }, "old", "ns", NULL },
	{ { { "csi.storage.k8s.io/provisioner-secret-name", "x" } }, "", "", NULL },

	{ { { NAME, "s" } }, NULL, NULL, "needs '" NS "'" },
	{ { { NS, "s" } }, NULL, NULL, "needs '" NAME "'" },
	{ { { ANY_NAME, "s" } }, NULL, NULL, "needs '" ANY_NS "'" },
	{ { { NAME, "s" }, { NS, "n" }, { "csiNodeStageSecretName", "s" } }, NULL, NULL, "say the same thing" },
	{ { { NAME, "${pvc.uid}" }, { NS, "n" } }, NULL, NULL, "unknown token '${pvc.uid}'" },
	{ { { NAME, "s" }, { NS, "${pvc.name}" } }, NULL, NULL, "'" NS "': unknown token '${pvc.name}'" },
	{ { { NAME, "s" }, { NS, "${pvc.annotations['tenant']}" } }, NULL, NULL, "unknown token" },
	{ { { NAME, "${pvc.annotations['none']}" }, { NS, "n" } }, NULL, NULL, "unknown token" },
	{ { { NAME, "${pvc.annotations['']}" }, { NS, "n" } }, NULL, NULL, "unknown token" },
	{ { { NAME, "${pvc.annotations[']}" }, { NS, "n" } }, NULL, NULL, "unknown token" },
	{ { { NAME, "${}" }, { NS, "n" } }, NULL, NULL, "unknown token '${}'" },
	{ { { NAME, "${pv.name" }, { NS, "n" } }, NULL, NULL, "'${pv.name' is no ${token}" },
	{ { { NAME, "a$b" }, { NS, "n" } }, NULL, NULL, "is no ${token}" },
	{ { { NAME, "${pvc.annotations['bad']}" }, { NS, "n" } }, NULL, NULL, "'A B', which is no name of a Secret" },
	{ { { NAME, "" }, { NS, "n" } }, NULL, NULL, "no name of a Secret" },
	{ { { NAME, "s" }, { NS, "a.b" } }, NULL, NULL, "'a.b', which is no namespace" },
	{ { { NAME, "../x" }, { NS, "n" } }, NULL, NULL, "no name of a Secret" },
	{ { { NAME, "a..b" }, { NS, "n" } }, NULL, NULL, "no name of a Secret" },
	{ { { NAME, "a-" }, { NS, "n" } }, NULL, NULL, "no name of a Secret" },
	{ { { NAME, "a.-b" }, { NS, "n" } }, NULL, NULL, "no name of a Secret" },
};
/* clang-format on */

TEST(class_parameters_name_the_secret)
{
	for (size_t i = 0; i < sizeof(ref_cases) / sizeof(ref_cases[0]); i++) {
		autoarena struct arena *a = arena_new();
		struct secret_ref ref;
		struct err err;
		int r = resolve(a, &ref_cases[i], &ref, &err);

		if (ref_cases[i].error) {
			ASSERT_ERR(r, &err, ERR_INVALID_ARGUMENT, ref_cases[i].error);
			continue;
		}
		ASSERT_OK(r, &err);
		ASSERT_STR(ref.name, ref_cases[i].name);
		ASSERT_STR(ref.ns, ref_cases[i].ns);
	}
}

static int fetch(struct ctx *ctx, const char *data, struct secrets *ret_secrets, struct err *err)
{
	const struct secret_ref ref = { .ns = "ns", .name = "s" };
	const char *json = arena_printf(ctx->arena, "{\"kind\":\"Secret\",\"data\":%s}", data);

	fake_reset();
	fake_put("/api/v1/namespaces/ns/secrets/s", json);
	return secret_fetch(NULL, ctx, &ref, ret_secrets, err);
}

TEST(data_is_decoded)
{
	struct secrets secrets;
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	ASSERT_OK(fetch(&ctx,
			"{\"a\":\"\",\"b\":\"eA==\",\"c\":\"eHk=\",\"d\":\"eHl6\",\"e\":\"w6Q/"
			"Pis+\"}",
			&secrets, &err),
		  &err);
	ASSERT_STR(secrets_find(&secrets, "a"), "");
	ASSERT_STR(secrets_find(&secrets, "b"), "x");
	ASSERT_STR(secrets_find(&secrets, "c"), "xy");
	ASSERT_STR(secrets_find(&secrets, "d"), "xyz");
	ASSERT_STR(secrets_find(&secrets, "e"), "ä?>+>");
	ctx_done(&ctx);
}

TEST(data_that_is_no_text_is_refused_without_its_value)
{
	static const char *const cases[] = { "{\"k\":\"e\"}",    "{\"k\":\"e===\"}",
					     "{\"k\":\"e*==\"}", "{\"k\":\"AA==\"}",
					     "{\"k\":\"/w==\"}", "{\"k\":\"====\"}" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct secrets secrets;
		struct ctx ctx;
		struct err err;

		ctx_init(&ctx, 0);
		ASSERT_ERR(fetch(&ctx, cases[i], &secrets, &err), &err, ERR_INVALID_ARGUMENT,
			   "secret ns/s: key 'k' is no text");
		ctx_done(&ctx);
	}
}

TEST(a_secret_that_is_not_there_is_named)
{
	const struct secret_ref ref = { .ns = "ns", .name = "gone" };
	struct secrets secrets;
	struct ctx ctx;
	struct err err;

	fake_reset();
	ctx_init(&ctx, 0);
	ASSERT_ERR(secret_fetch(NULL, &ctx, &ref, &secrets, &err), &err, ERR_NOT_FOUND,
		   "secret ns/gone");
	ctx_done(&ctx);
}

/* Classes of snapshots and of groups have tokens of their own, and no default pair. */
TEST(snapshots_and_groups_have_their_own_words)
{
	static const struct {
		enum snapshot_secret which;
		const char *name_key, *ns_key, *name_template, *name, *error;
	} cases[] = {
		{ SNAPSHOT_SECRET, "snapshotter-secret-name", "snapshotter-secret-namespace",
		  "k-${volumesnapshot.name}.${volumesnapshotcontent.name}", "k-snap.content",
		  NULL },
		{ SNAPSHOT_SECRET_LIST, "snapshotter-list-secret-name",
		  "snapshotter-list-secret-namespace", "fixed", "fixed", NULL },
		{ SNAPSHOT_SECRET_GROUP, "group-snapshotter-secret-name",
		  "group-snapshotter-secret-namespace", "k-${volumegroupsnapshot.name}", "k-snap",
		  NULL },
		{ SNAPSHOT_SECRET, "snapshotter-secret-name", "snapshotter-secret-namespace",
		  "${pvc.name}", NULL,
		  "allowed are ${volumesnapshotcontent.name}, ${volumesnapshot.namespace}, "
		  "${volumesnapshot.name}" },
		{ SNAPSHOT_SECRET_GROUP_GET, "group-snapshotter-get-secret-name",
		  "group-snapshotter-get-secret-namespace", "${volumesnapshot.name}", NULL,
		  "unknown token '${volumesnapshot.name}'" },
		{ SNAPSHOT_SECRET, "secret-name", "secret-namespace", "x", "", NULL },
	};
	const struct snapshot_vars vars = { .content_name = "content", .ns = "ns", .name = "snap" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		autoarena struct arena *a = arena_new();
		const struct strpair pairs[] = {
			{ arena_printf(a, "csi.storage.k8s.io/%s", cases[i].name_key),
			  cases[i].name_template },
			{ arena_printf(a, "csi.storage.k8s.io/%s", cases[i].ns_key), "sec" },
		};
		struct strmap params = strmap_from(a, pairs, 2);
		struct secret_ref ref;
		struct err err;
		int r = secret_ref_resolve_snapshot(a, &params, cases[i].which, &vars, &ref, &err);

		if (cases[i].error) {
			ASSERT_ERR(r, &err, ERR_INVALID_ARGUMENT, cases[i].error);
			continue;
		}
		ASSERT_OK(r, &err);
		ASSERT_STR(ref.name, cases[i].name);
	}
	ASSERT_TRUE(snapshot_secret_key_is_known(
		"csi.storage.k8s.io/group-snapshotter-get-secret-namespace"));
	ASSERT_FALSE(snapshot_secret_key_is_known("csi.storage.k8s.io/fstype"));
}

RUN_TESTS(UNIT(snapshots_and_groups_have_their_own_words), UNIT(class_parameters_name_the_secret),
	  UNIT(data_is_decoded), UNIT(data_that_is_no_text_is_refused_without_its_value),
	  UNIT(a_secret_that_is_not_there_is_named))
