/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signer against the fake API server, with real certificates: what becomes of requests, and
 * every step gone wrong in every way.
 */
#include "authority.h"
#include "check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/certificates.h"
#include "control/signing_request.h"
#include "fake/kube.h"
#include "kube/informer.h"
#include "net/certificate.h"

#define ACCOUNT "system:serviceaccount:cleat-system:cleat-node"
#define SIGNER "pool.cleat.csi/agent"
#define PATH "/apis/certificates.k8s.io/v1/certificatesigningrequests/"
#define GOOD PATH "good"
#define MINUTE (60 * NS_PER_S)
#define STEPS_MAX 50

/* ---- requests ---- */

static void put_request(const char *name, const char *signer, const char *node, const char *status)
{
	autofree char *key = NULL, *pem = NULL, *request = NULL, *path = NULL, *text = NULL;
	struct err err;

	ASSERT_OK(certificate_ask("cleat://node/n1", &key, &pem, &err), &err);
	request = base64_encode(pem, strlen(pem));
	path = xasprintf(PATH "%s", name);
	text = xasprintf("{\"kind\":\"CertificateSigningRequest\",\"apiVersion\":"
			 "\"certificates.k8s.io/v1\",\"metadata\":{\"name\":\"%s\"},\"spec\":{"
			 "\"signerName\":\"%s\",\"username\":\"" ACCOUNT
			 "\",\"extra\":{\"authentication.kubernetes.io/node-name\":[\"%s\"]},"
			 "\"usages\":[\"digital signature\",\"server auth\"],"
			 "\"expirationSeconds\":3600,\"request\":\"%s\"},\"status\":%s}",
			 name, signer, node, request, status);
	fake_put(path, text);
}

static void begin_empty(void)
{
	fake_reset();
	fake_add_type(&signing_request_type);
}

static void begin(void)
{
	begin_empty();
	put_request("good", SIGNER, "n1", "{}");
}

/* ---- a process ---- */

struct process {
	struct informer *requests;
	struct certificates *certificates;
};

static void start(struct process *p)
{
	p->requests = informer_new(NULL, &signing_request_type, NULL);
	p->certificates = certificates_new(&(struct certificates_options){
		.requests = p->requests,
		.signer_name = SIGNER,
		.account = ACCOUNT,
		.authority_file = authority_cert,
		.authority_key_file = authority_key,
		.lifetime_ns = 1800 * NS_PER_S,
	});
	certificates_start(p->certificates);
}

static void stop(struct process *p)
{
	certificates_free(p->certificates);
	informer_free(p->requests);
}

static void live(int64_t limit_ns)
{
	struct process p;

	start(&p);
	fake_run(limit_ns);
	stop(&p);
}

/* ---- what is seen ---- */

/* "Approved AgentOfItsNode,Failed WrongName" */
static char *conditions_of(const char *path)
{
	autojson struct json_doc *doc = NULL;
	const char *text = fake_text(path), *none;
	const struct json *c;
	struct str out = STR_INIT;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	str_append(&out, "");
	for (struct json_it it = json_each(json_path(json_root(doc), "status.conditions"));
	     json_next(&it, &none, &c);)
		str_appendf(&out, "%s%s %s", out.len ? "," : "", json_get_string(c, "type"),
			    json_get_string(c, "reason"));
	return str_take(&out);
}

static void expect_conditions(const char *path, const char *want)
{
	autofree char *got = conditions_of(path);

	ASSERT_STR(got, want);
}

/* NULL: none. */
static char *certificate_of(const char *path)
{
	autojson struct json_doc *doc = NULL;
	const char *text = fake_text(path), *cert;
	struct err err;
	size_t n;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	cert = json_path_string(json_root(doc), "status.certificate");
	return cert ? base64_decode(cert, &n) : NULL;
}

static void assert_done(void)
{
	autofree char *pem = certificate_of(GOOD);
	int64_t begin_s, end_s;
	struct err err;

	assert_non_null(pem);
	ASSERT_OK(certificate_times(pem, &begin_s, &end_s, &err), &err);
	ASSERT_EQ(end_s - begin_s, 1800 + 300); /* the signer's, since that is less */
	expect_conditions(GOOD, "Approved AgentOfItsNode");
}

TEST(a_good_request_is_approved_and_signed)
{
	begin();
	live(MINUTE);
	assert_done();
	fake_set_plan((struct fake_plan){ 0 });
	live(MINUTE); /* and left alone */
	ASSERT_EQ(fake_steps(), 0);
}

TEST(a_request_for_another_node_is_denied_and_left_alone)
{
	begin_empty();
	put_request("bad", SIGNER, "n2", "{}");
	live(MINUTE);
	expect_conditions(PATH "bad", "Denied WrongName");
	assert_null(certificate_of(PATH "bad"));
	assert_non_null(strstr(fake_text(PATH "bad"), "may be 'cleat://node/n2'"));
	fake_set_plan((struct fake_plan){ 0 });
	live(MINUTE);
	ASSERT_EQ(fake_steps(), 0);
}

TEST(what_somebody_else_approved_is_judged_all_the_same)
{
	static const char approved[] = "{\"conditions\":[{\"type\":\"Approved\",\"status\":"
				       "\"True\",\"reason\":\"ByHand\"}]}";
	autofree char *pem = NULL;

	begin_empty();
	put_request("good", SIGNER, "n1", approved);
	put_request("bad", SIGNER, "n2", approved);
	live(MINUTE);
	pem = certificate_of(GOOD);
	assert_non_null(pem);
	expect_conditions(GOOD, "Approved ByHand");
	assert_null(certificate_of(PATH "bad"));
	assert_non_null(strstr(fake_text(PATH "bad"), "\"Failed\""));
}

TEST(requests_of_other_signers_and_answered_ones_are_nobodys_here)
{
	begin_empty();
	put_request("foreign", "example.com/agent", "n2", "{}");
	put_request("denied", SIGNER, "n1",
		    "{\"conditions\":[{\"type\":\"Denied\",\"status\":\"True\"}]}");
	put_request("failed", SIGNER, "n1",
		    "{\"conditions\":[{\"type\":\"Failed\",\"status\":\"True\"}]}");
	put_request("issued", SIGNER, "n2", "{\"certificate\":\"AAAA\"}");
	fake_set_plan((struct fake_plan){ 0 });
	live(MINUTE);
	ASSERT_EQ(fake_steps(), 0);
}

TEST(an_authority_that_comes_late_is_waited_for)
{
	struct process p;

	begin();
	unlink(authority_key);
	start(&p);
	fake_run(MINUTE);
	expect_conditions(GOOD, "Approved AgentOfItsNode");
	assert_null(certificate_of(GOOD));
	authority_write();
	fake_run(10 * MINUTE);
	stop(&p);
	assert_done();
}

/* ---- everything gone wrong ---- */

/* clang-format off */
static const struct {
	enum fake_fault fault;
	enum err_code code;
} troubles[] = {
	{ FAKE_FAIL, ERR_UNAVAILABLE },
	{ FAKE_FAIL, ERR_DEADLINE_EXCEEDED },
	{ FAKE_FAIL, ERR_ABORTED },
	{ FAKE_FAIL, ERR_INTERNAL },
	{ FAKE_FAIL, ERR_PERMISSION_DENIED },
	{ FAKE_FAIL, ERR_INVALID_ARGUMENT },
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
};
/* clang-format on */

/* Another process does everything while this one stands at a step. */
static void run_rival(void *arg)
{
	(void)arg;
	fake_set_plan((struct fake_plan){ 0 });
	live(MINUTE);
}

static bool live_through(struct fake_plan plan)
{
	bool is_reached;

	fake_set_plan(plan);
	live(10 * NS_PER_S);
	is_reached = fake_steps() >= plan.at;
	fake_set_plan((struct fake_plan){ 0 });
	live(20 * MINUTE);
	return is_reached;
}

static void put_bad(void)
{
	begin_empty();
	put_request("bad", SIGNER, "n2", "{}");
}

static void assert_denied(void)
{
	expect_conditions(PATH "bad", "Denied WrongName");
	assert_null(certificate_of(PATH "bad"));
}

static void break_every_step(void (*prepare)(void), void (*check)(void), unsigned n_steps)
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault, .code = troubles[t].code };

		do {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			prepare();
		} while (live_through(plan) && (check(), true));
		ASSERT_TRUE(plan.at > n_steps);
	}
}

TEST(a_request_comes_to_its_end_after_any_trouble)
{
	break_every_step(begin, assert_done, 2);
	break_every_step(put_bad, assert_denied, 1);
}

TEST(one_process_gets_over_any_failure)
{
	for (size_t t = 0; troubles[t].fault != FAKE_KILL; t++) {
		for (unsigned at = 1; at <= 3; at++) {
			begin();
			fake_set_plan((struct fake_plan){
				.at = at, .fault = troubles[t].fault, .code = troubles[t].code });
			live(20 * MINUTE);
			assert_done();
		}
	}
}

TEST(a_rival_at_any_step_changes_nothing)
{
	for (unsigned at = 1; at <= 2; at++) {
		autofree char *theirs = NULL, *now = NULL;
		struct process p;

		begin();
		fake_set_plan((struct fake_plan){ .at = at, .hook = run_rival });
		start(&p);
		fake_run(MINUTE);
		assert_done();
		theirs = certificate_of(GOOD);
		fake_run(MINUTE);
		now = certificate_of(GOOD);
		ASSERT_STR(now, theirs);
		stop(&p);
	}
}

#define SIGNER_UNIT(name) \
	cmocka_unit_test_setup_teardown(name, authority_set_up, authority_tear_down)
RUN_TESTS(SIGNER_UNIT(a_good_request_is_approved_and_signed),
	  SIGNER_UNIT(a_request_for_another_node_is_denied_and_left_alone),
	  SIGNER_UNIT(what_somebody_else_approved_is_judged_all_the_same),
	  SIGNER_UNIT(requests_of_other_signers_and_answered_ones_are_nobodys_here),
	  SIGNER_UNIT(an_authority_that_comes_late_is_waited_for),
	  SIGNER_UNIT(a_request_comes_to_its_end_after_any_trouble),
	  SIGNER_UNIT(one_process_gets_over_any_failure),
	  SIGNER_UNIT(a_rival_at_any_step_changes_nothing))
