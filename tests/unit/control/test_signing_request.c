/* SPDX-License-Identifier: Apache-2.0 */
/* Who may have which certificate: one good request, and all that can be different about it. */
#include "check.h"

#include <stdlib.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/signing_request.h"
#include "net/certificate.h"

#define ACCOUNT "system:serviceaccount:cleat-system:cleat-node"

/* What of the good one is another; NULL: as it is. */
struct variant {
	const char *username, *extra, *usages, *request, *uri;
	enum signing_verdict verdict;
	const char *words;
};

static char *request_for(const char *uri)
{
	autofree char *key = NULL, *pem = NULL;
	struct err err;

	ASSERT_OK(certificate_ask(uri, &key, &pem, &err), &err);
	return base64_encode(pem, strlen(pem));
}

static const struct kube_object *object_of(const struct variant *v)
{
	autofree char *request =
		v->request ? xstrdup(v->request) : request_for(v->uri ? v->uri : "cleat://node/n1");
	autofree char *text = xasprintf(
		"{\"metadata\":{\"name\":\"r\",\"uid\":\"u\"},\"spec\":{\"signerName\":\"a.b/c\","
		"\"username\":\"%s\",\"extra\":%s,\"usages\":%s,\"expirationSeconds\":3600,"
		"\"request\":\"%s\"}}",
		v->username ? v->username : ACCOUNT,
		str_or(v->extra, "{\"authentication.kubernetes.io/node-name\":[\"n1\"],"
				 "\"authentication.kubernetes.io/pod-name\":[\"p\"]}"),
		str_or(v->usages, "[\"digital signature\",\"server auth\"]"), request);
	autojson struct json_doc *doc = NULL;
	const struct kube_object *o;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	o = kube_object_decode(&signing_request_type, json_root(doc));
	assert_non_null(o);
	return o;
}

static void expect(const struct variant *v)
{
	autokobj const struct kube_object *o = object_of(v);
	autofree char *pem = NULL;
	struct err why = { 0 };
	enum signing_verdict verdict;
	size_t n = 0;

	verdict = signing_request_judge(signing_request_of(o), ACCOUNT, &pem, &n, &why);
	if (verdict != v->verdict || !strstr(why.msg, str_or(v->words, "")))
		fail_msg("%s: '%s', expected %s: '%s'", signing_verdict_reason(verdict), why.msg,
			 signing_verdict_reason(v->verdict), v->words);
	ASSERT_EQ(pem != NULL, verdict == SIGNING_GRANTED);
	ASSERT_EQ(n, pem ? strlen(pem) : 0);
}

#define NODE(values) "{\"authentication.kubernetes.io/node-name\":" values "}"

/* clang-format off */
static const struct variant variants[] = {
	{ .verdict = SIGNING_GRANTED },
	{ .usages = "[\"server auth\",\"key encipherment\",\"digital signature\"]", .verdict = SIGNING_GRANTED },
	{ .username = "system:serviceaccount:cleat-system:cleat-controller", .verdict = SIGNING_NOT_AN_AGENT,
	  .words = "cleat-controller' is not the agents' account" },
	{ .username = "system:serviceaccount:other:cleat-node", .verdict = SIGNING_NOT_AN_AGENT },
	{ .username = "system:node:n1", .verdict = SIGNING_NOT_AN_AGENT },
	{ .username = "", .verdict = SIGNING_NOT_AN_AGENT },
	{ .username = ACCOUNT "x", .verdict = SIGNING_NOT_AN_AGENT },
	{ .extra = "{}", .verdict = SIGNING_NO_NODE, .words = "not bound to a pod" },
	{ .extra = "null", .verdict = SIGNING_NO_NODE },
	{ .extra = NODE("[]"), .verdict = SIGNING_NO_NODE },
	{ .extra = NODE("[\"\"]"), .verdict = SIGNING_NO_NODE },
	{ .extra = NODE("[\"n1\",\"n2\"]"), .verdict = SIGNING_NO_NODE },
	{ .extra = NODE("\"n1\""), .verdict = SIGNING_NO_NODE },
	{ .extra = "{\"example.com/node-name\":[\"n1\"]}", .verdict = SIGNING_NO_NODE },
	{ .extra = NODE("[\"n2\"]"), .verdict = SIGNING_WRONG_NAME,
	  .words = "a pod on node 'n2' may be 'cleat://node/n2' and not 'cleat://node/n1'" },
	{ .uri = "cleat://node/", .verdict = SIGNING_WRONG_NAME },
	{ .uri = "cleat://node/n1/", .verdict = SIGNING_WRONG_NAME },
	{ .uri = "cleat://node/N1", .verdict = SIGNING_WRONG_NAME },
	{ .uri = "cleat://controller", .verdict = SIGNING_WRONG_NAME },
	{ .uri = "https://n1", .verdict = SIGNING_WRONG_NAME },
	{ .usages = "[]", .verdict = SIGNING_WRONG_USAGES },
	{ .usages = "[\"digital signature\"]", .verdict = SIGNING_WRONG_USAGES },
	{ .usages = "[\"server auth\"]", .verdict = SIGNING_WRONG_USAGES },
	{ .usages = "[\"digital signature\",\"client auth\"]", .verdict = SIGNING_WRONG_USAGES },
	{ .usages = "[\"digital signature\",\"server auth\",\"client auth\"]", .verdict = SIGNING_WRONG_USAGES,
	  .words = "server auth alone" },
	{ .usages = "[\"digital signature\",\"server auth\",\"cert sign\"]", .verdict = SIGNING_WRONG_USAGES },
	{ .usages = "[\"digital signature\",\"server auth\",\"any\"]", .verdict = SIGNING_WRONG_USAGES },
	{ .request = "", .verdict = SIGNING_WRONG_REQUEST },
	{ .request = "!", .verdict = SIGNING_WRONG_REQUEST, .words = "no base64" },
	{ .request = "AAAA", .verdict = SIGNING_WRONG_REQUEST, .words = "not one PEM block" },
};
/* clang-format on */

TEST(a_request_is_granted_if_it_is_for_the_name_of_its_requesters_node_alone)
{
	for (size_t i = 0; i < ARRAY_LEN(variants); i++)
		expect(&variants[i]);
}

/* Whoever has an agent's token makes as many as he likes, of a megabyte each. */
TEST(what_is_too_large_to_be_good_is_refused_and_not_kept)
{
	autofree char *large = xmalloc((1 << 20) + 1);
	const struct variant v = { .request = large,
				   .verdict = SIGNING_WRONG_REQUEST,
				   .words = "larger than 16384 bytes" };
	autokobj const struct kube_object *o = NULL;

	memset(large, 'A', 1 << 20);
	large[1 << 20] = '\0';
	expect(&v);
	o = object_of(&v);
	ASSERT_STR(signing_request_of(o)->request, "");
}

RUN_TESTS(UNIT(a_request_is_granted_if_it_is_for_the_name_of_its_requesters_node_alone),
	  UNIT(what_is_too_large_to_be_good_is_refused_and_not_kept))
