/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/mem.h"
#include "base/str.h"
#include "kube/client-internal.h"

TEST(the_resource_is_read_from_the_path)
{
	static const char *const cases[][2] = {
		{ "/api/v1/persistentvolumes", "persistentvolumes" },
		{ "/api/v1/persistentvolumes/pvc-1", "persistentvolumes" },
		{ "/api/v1/persistentvolumes/pvc-1/status", "persistentvolumes/status" },
		{ "/api/v1/namespaces/a/persistentvolumeclaims?limit=1", "persistentvolumeclaims" },
		{ "/api/v1/namespaces/a/persistentvolumeclaims/x", "persistentvolumeclaims" },
		{ "/api/v1/namespaces/a/persistentvolumeclaims/x/status?a=/b",
		  "persistentvolumeclaims/status" },
		{ "/api/v1/namespaces", "namespaces" },
		{ "/api/v1/namespaces/a", "namespaces" },
		{ "/api/v1/nodes/namespaces", "nodes" },
		{ "/apis/storage.k8s.io/v1/csinodes/n?x=/1/2", "csinodes" },
		{ "/apis/coordination.k8s.io/v1/namespaces/a/leases/l", "leases" },
		{ "/k8s/clusters/c/apis/storage.k8s.io/v1/csinodes", "csinodes" },
		{ "/version", "/version" },
		{ "/api", "/api" },
		{ "/api/", "/api/" },
		{ "/apis/x", "/apis/x" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autofree char *got = kube_path_resource(cases[i][0]);

		if (strcmp(got, cases[i][1]) != 0)
			fail_msg("%s: %s", cases[i][0], got);
	}
}

TEST(codes_follow_the_status)
{
	static const struct {
		int status;
		const char *reason;
		enum err_code code;
	} cases[] = {
		{ 400, "BadRequest", ERR_INVALID_ARGUMENT },
		{ 401, "Unauthorized", ERR_UNAUTHENTICATED },
		{ 403, "Forbidden", ERR_PERMISSION_DENIED },
		{ 404, "NotFound", ERR_NOT_FOUND },
		{ 405, "MethodNotAllowed", ERR_UNIMPLEMENTED },
		{ 409, "AlreadyExists", ERR_ALREADY_EXISTS },
		{ 409, "Conflict", ERR_ABORTED },
		{ 410, "Expired", ERR_OUT_OF_RANGE },
		{ 415, "UnsupportedMediaType", ERR_UNIMPLEMENTED },
		{ 422, "Invalid", ERR_INVALID_ARGUMENT },
		{ 429, "TooManyRequests", ERR_UNAVAILABLE },
		{ 500, "InternalError", ERR_UNAVAILABLE },
		{ 503, "ServiceUnavailable", ERR_UNAVAILABLE },
		{ 504, "Timeout", ERR_UNAVAILABLE },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autofree char *body =
			xasprintf("{\"kind\":\"Status\",\"reason\":\"%s\",\"message\":"
				  "\"why it is so\"}",
				  cases[i].reason);
		struct err err;

		ASSERT_ERR(kube_reply_error("get", "/api/v1/nodes/n", cases[i].status, body,
					    strlen(body), &err),
			   &err, cases[i].code, "get nodes: why it is so");
	}
}

TEST(bodies_that_are_no_status_do_no_harm)
{
	static const char *const bodies[] = { "", "<html>", "{", "[]", "{\"message\":7}", "null" };

	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		struct err err;

		ASSERT_ERR(kube_reply_error("list", "/api/v1/nodes", 502, bodies[i],
					    strlen(bodies[i]), &err),
			   &err, ERR_UNAVAILABLE, "list nodes: HTTP status 502");
	}
}

TEST(a_verdict_has_reason_and_causes)
{
	static const char body[] =
		"{\"kind\":\"Status\",\"reason\":\"Invalid\",\"message\":\"why\",\"details\":{"
		"\"causes\":[{\"reason\":\"FieldValueInvalid\",\"message\":\"no\",\"field\":"
		"\"spec.a\"},{\"reason\":\"FieldValueRequired\"},7]}}";
	autoarena struct arena *arena = arena_new();
	struct kube_verdict v;

	kube_verdict_read(arena, 422, body, strlen(body), &v);
	ASSERT_EQ(v.status, 422);
	ASSERT_STR(v.reason, "Invalid");
	ASSERT_STR(v.message, "why");
	ASSERT_EQ(v.n_causes, 3);
	ASSERT_STR(v.causes[0].field, "spec.a");
	ASSERT_STR(v.causes[0].message, "no");
	ASSERT_STR(v.causes[1].field, "");
	ASSERT_STR(v.causes[2].reason, "");
	ASSERT_TRUE(kube_verdict_has(&v, "Invalid"));
	ASSERT_TRUE(kube_verdict_has(&v, "FieldValueRequired"));
	ASSERT_FALSE(kube_verdict_has(&v, "FieldValueForbidden"));
}

TEST(an_error_names_the_causes_that_its_message_does_not)
{
	static const char body[] =
		"{\"reason\":\"Invalid\",\"message\":\"p is invalid: spec.a: no\",\"details\":{"
		"\"causes\":[{\"message\":\"no\",\"field\":\"spec.a\"},{\"message\":\"too "
		"long\",\"field\":\"spec.b\"},{\"message\":\"denied\"},{}]}}";
	struct err err;

	ASSERT_ERR(kube_reply_error("create", "/api/v1/persistentvolumes", 422, body, strlen(body),
				    &err),
		   &err, ERR_INVALID_ARGUMENT,
		   "create persistentvolumes: p is invalid: spec.a: no; spec.b: too long; denied");
}

TEST(want_of_quota_is_told_from_want_of_a_right)
{
	static const struct {
		const char *body;
		bool is_quota;
	} cases[] = {
		{ "{\"reason\":\"Forbidden\",\"message\":\"leases \\\"j\\\" is forbidden: "
		  "exceeded quota: q, requested: count/leases=1, used: count/leases=2, limited: "
		  "count/leases=2\"}",
		  true },
		{ "{\"reason\":\"Forbidden\",\"message\":\"leases is forbidden: User \\\"u\\\" "
		  "cannot create resource\"}",
		  false },
		{ "{\"reason\":\"Conflict\",\"message\":\"exceeded quota: q\"}", false },
		{ "", false },
	};
	autoarena struct arena *arena = arena_new();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct kube_verdict v;

		kube_verdict_read(arena, 403, cases[i].body, strlen(cases[i].body), &v);
		ASSERT_EQ(kube_verdict_is_over_quota(&v), cases[i].is_quota);
	}
}

TEST(a_verdict_of_nothing_is_empty)
{
	static const char *const bodies[] = { "",
					      "<html>",
					      "{",
					      "[]",
					      "null",
					      "{\"reason\":7,\"details\":[]}",
					      "{\"details\":{\"causes\":{}}}" };
	autoarena struct arena *arena = arena_new();

	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		struct kube_verdict v;

		kube_verdict_read(arena, 502, bodies[i], strlen(bodies[i]), &v);
		ASSERT_STR(v.reason, "");
		ASSERT_STR(v.message, "");
		ASSERT_EQ(v.n_causes, 0);
		ASSERT_FALSE(kube_verdict_has(&v, "Invalid"));
	}
}

TEST(a_verdict_of_thousands_of_causes_has_the_first)
{
	autoarena struct arena *arena = arena_new();
	autostr struct str body = STR_INIT;
	struct kube_verdict v;

	str_append(&body, "{\"details\":{\"causes\":[{\"reason\":\"one\"}");
	for (unsigned i = 0; i < 5000; i++)
		str_append(&body, ",{\"reason\":\"more\"}");
	str_append(&body, "]}}");
	kube_verdict_read(arena, 422, str_get(&body), body.len, &v);
	ASSERT_EQ(v.n_causes, 32);
	ASSERT_STR(v.causes[0].reason, "one");
}

RUN_TESTS(UNIT(a_verdict_has_reason_and_causes),
	  UNIT(an_error_names_the_causes_that_its_message_does_not),
	  UNIT(want_of_quota_is_told_from_want_of_a_right), UNIT(a_verdict_of_nothing_is_empty),
	  UNIT(a_verdict_of_thousands_of_causes_has_the_first),
	  UNIT(the_resource_is_read_from_the_path), UNIT(codes_follow_the_status),
	  UNIT(bodies_that_are_no_status_do_no_harm))
