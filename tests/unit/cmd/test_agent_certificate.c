/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An agent's certificate from nothing to renewal, with the signer of control/ at the other end and
 * every step of both gone wrong in every way. The timer, the way to the API server and the TLS
 * context are made up here; requests and certificates are real ones.
 */
#include "../control/authority.h"
#include "check.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/agent_certificate.h"
#include "cmd/periodic.h"
#include "control/certificates.h"
#include "control/signing_request.h"
#include "fake/kube.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/informer.h"
#include "net/tls-internal.h"
#include "net/tls.h"

#define ACCOUNT "system:serviceaccount:cleat-system:cleat-node"
#define SIGNER "pool.cleat.csi/agent"
#define PATH "/apis/certificates.k8s.io/v1/certificatesigningrequests/"
#define MINUTE (60 * NS_PER_S)
#define LIFETIME (30 * MINUTE)
#define STEPS_MAX 40

/* ---- in place of the timer, the API server's address and the TLS context ---- */

static struct periodic_options ticks;

struct periodic *periodic_new(const struct periodic_options *opts)
{
	ticks = *opts;
	return NULL;
}

int periodic_stop(struct periodic *p, int64_t timeout_ns)
{
	(void)p;
	(void)timeout_ns;
	return 0;
}

void periodic_free(struct periodic *p)
{
	(void)p;
}

int kube_config_load(const char *path, const char *context, struct kube_config *ret_config,
		     struct err *err)
{
	(void)path;
	(void)context;
	(void)err;
	*ret_config = (struct kube_config){ 0 };
	return 0;
}

void kube_config_done(struct kube_config *c)
{
	(void)c;
}

int kube_client_new(struct ev_loop *loop, const struct kube_config *config,
		    const struct kube_client_options *opts, struct kube_client **ret_client,
		    struct err *err)
{
	(void)loop;
	(void)config;
	(void)opts;
	(void)err;
	*ret_client = NULL;
	return 0;
}

void kube_client_free(struct kube_client *c)
{
	(void)c;
}

struct tls *tls_ref(struct tls *t)
{
	return t;
}

void tls_unref(struct tls *t)
{
	(void)t;
}

/* All that certificates take of it. */
const char *tls_reason(void)
{
	return "no reason";
}

static unsigned n_used;

/* As the real one, which takes only what fits. */
int tls_set_cert(struct tls *t, const char *cert, const char *key, struct err *err)
{
	BIO *certs = BIO_new_mem_buf(cert, -1), *keys = BIO_new_mem_buf(key, -1);
	X509 *x = PEM_read_bio_X509(certs, NULL, NULL, NULL);
	EVP_PKEY *k = PEM_read_bio_PrivateKey(keys, NULL, NULL, NULL);
	bool fits = x && k && X509_check_private_key(x, k) == 1;

	(void)t;
	EVP_PKEY_free(k);
	X509_free(x);
	BIO_free(keys);
	BIO_free(certs);
	if (!fits)
		return err_set(err, ERR_FAILED_PRECONDITION, "it does not fit the key");
	n_used++;
	return 0;
}

/* ---- the API server, which writes who asks into a request ---- */

static const char *status; /* what each request is answered by; NULL: by the signer */
static char *asked[STEPS_MAX];
static unsigned n_asked;

static void see_request(void *arg, const struct kube_object *old_obj,
			const struct kube_object *new_obj)
{
	(void)arg;
	if (old_obj || !new_obj || *signing_request_of(new_obj)->username)
		return;
	assert_true(n_asked < ARRAY_LEN(asked));
	asked[n_asked++] = xasprintf(PATH "%s", new_obj->name);
}

static void admit(unsigned i)
{
	autofree char *answer = status ? xasprintf(",\"status\":%s", status) : xstrdup("");
	autofree char *patch =
		xasprintf("{\"spec\":{\"username\":\"" ACCOUNT
			  "\",\"extra\":{\"authentication.kubernetes.io/node-name\":[\"n1\"]}}%s}",
			  answer);

	fake_merge(asked[i], patch);
}

/* ---- the agent, and the signer on another node ---- */

struct world {
	struct informer *requests;
	struct certificates *signer; /* NULL: it does not run */
	struct agent_certificate *agent;
};

static void start(struct world *w, bool has_signer)
{
	struct err err;

	*w = (struct world){ .requests = informer_new(NULL, &signing_request_type, NULL) };
	informer_on_change(w->requests, see_request, NULL);
	if (has_signer) {
		w->signer = certificates_new(&(struct certificates_options){
			.requests = w->requests,
			.signer_name = SIGNER,
			.account = ACCOUNT,
			.authority_file = authority_cert,
			.authority_key_file = authority_key,
		});
		certificates_start(w->signer);
	}
	ASSERT_OK(agent_certificate_new(
			  &(struct agent_certificate_options){
				  .node = "n1", .signer = SIGNER, .lifetime_ns = LIFETIME },
			  &w->agent, &err),
		  &err);
}

static void stop(struct world *w)
{
	agent_certificate_stop(w->agent);
	agent_certificate_free(w->agent);
	certificates_free(w->signer);
	informer_off_change(w->requests, see_request, NULL);
	informer_free(w->requests);
}

static void drop_line(void *arg, const char *line)
{
}

static void begin(void)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	fake_add_type(&signing_request_type);
	while (n_asked > 0)
		free(asked[--n_asked]);
	n_used = 0;
	status = NULL;
}

/* Ticks of a long time are longer than those of the timer. */
static void live(int64_t limit_ns)
{
	int64_t tick_ns = limit_ns > MINUTE ? 20 * ticks.every_ns : ticks.every_ns;

	for (int64_t t = 0; t < limit_ns; t += tick_ns) {
		unsigned n = n_asked;
		struct ctx ctx;

		ctx_init(&ctx, 0);
		if (ticks.is_due(ticks.arg))
			ticks.run(ticks.arg, &ctx);
		ctx_done(&ctx);
		fake_sync();
		while (n < n_asked)
			admit(n++);
		fake_run(tick_ns);
	}
}

static void assert_reported(const struct world *w, const char *part)
{
	autostr struct str report = STR_INIT;

	agent_certificate_report(w->agent, &report);
	if (part ? strstr(str_get(&report), part) != NULL : report.len == 0)
		return;
	(void)fprintf(stderr, "no '%s' in: %s\n", part ? part : "", str_get(&report));
	fail();
}

/* ---- */

TEST(a_certificate_is_asked_for_and_used)
{
	struct world w;

	begin();
	start(&w, true);
	assert_reported(&w, "which has no certificate: it was asked for a moment ago");
	live(5 * NS_PER_S);
	assert_reported(&w, NULL);
	ASSERT_EQ(n_used, 1);
	ASSERT_EQ(n_asked, 1);
	stop(&w);
}

TEST(it_is_renewed_before_it_ends_with_another_key)
{
	struct world w;

	begin();
	start(&w, true);
	live(LIFETIME / 2);
	ASSERT_EQ(n_used, 1);
	live(LIFETIME / 4);
	ASSERT_EQ(n_used, 2);
	ASSERT_EQ(n_asked, 2);
	assert_true(strcmp(asked[0], asked[1]) != 0); /* the name is made of the key's request */
	stop(&w);
}

TEST(what_is_in_use_stays_until_it_ends_while_nobody_signs)
{
	struct world w;

	begin();
	start(&w, true);
	live(MINUTE);
	certificates_pause(w.signer);
	live(LIFETIME - 2 * MINUTE);
	assert_reported(&w, NULL);
	live(10 * MINUTE);
	assert_reported(&w, "certificate has expired: request 'cleat-agent-");
	assert_reported(&w, "does the controller run");
	ASSERT_EQ(n_asked, 2);
	certificates_start(w.signer);
	live(2 * MINUTE);
	assert_reported(&w, NULL);
	ASSERT_EQ(n_used, 2);
	stop(&w);
}

TEST(who_is_refused_asks_again_and_ever_more_seldom)
{
	static const char *const answers[] = {
		"{\"conditions\":[{\"type\":\"Denied\",\"reason\":\"WrongName\",\"message\":"
		"\"no\"}]}",
		"{\"conditions\":[{\"type\":\"Approved\"},{\"type\":\"Failed\",\"reason\":\"R\"}]}",
		"{\"certificate\":\"!\"}",
		"{\"certificate\":\"AAAA\"}",
	};
	static const char *const reports[] = {
		"the request was denied: WrongName: no",
		"the request was approved and then failed: R: ",
		"the certificate that was issued is no base64",
		"certificate",
	};

	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct world w;

		begin();
		status = answers[i];
		start(&w, false);
		live(60 * MINUTE);
		assert_reported(&w, reports[i]);
		ASSERT_EQ(n_used, 0);
		/* after 1, 2, 4, 8 and then each 10 minutes, a fifth more or less */
		ASSERT_TRUE(n_asked >= 7 && n_asked <= 11);
		stop(&w);
	}
}

/* A good one, for another key: as if somebody had taken the request's name. */
TEST(a_certificate_for_another_key_is_not_used)
{
	struct world w;

	begin();
	start(&w, true);
	live(5 * NS_PER_S);
	stop(&w);
	status = strstr(fake_text(asked[0]), "\"status\":") + strlen("\"status\":");
	status = xstrndup(status, strlen(status) - 1);
	start(&w, false);
	live(5 * NS_PER_S);
	ASSERT_EQ(n_asked, 2);
	ASSERT_EQ(n_used, 1);
	assert_reported(&w, "it does not fit the key");
	stop(&w);
	free((char *)(uintptr_t)status);
	status = NULL;
}

TEST(a_request_that_was_deleted_is_made_anew)
{
	struct world w;

	begin();
	start(&w, false);
	live(3 * NS_PER_S);
	ASSERT_EQ(n_asked, 1);
	fake_delete(asked[0]);
	live(10 * NS_PER_S);
	ASSERT_EQ(n_asked, 2);
	stop(&w);
}

/* ---- every step gone wrong ---- */

/* clang-format off */
static const struct {
	enum fake_fault fault;
	enum err_code code;
	unsigned n_most; /* requests that may come of one */
} troubles[] = {
	{ FAKE_FAIL, ERR_UNAVAILABLE, 1 },
	{ FAKE_FAIL, ERR_DEADLINE_EXCEEDED, 1 },
	{ FAKE_FAIL, ERR_ABORTED, 1 },
	{ FAKE_FAIL, ERR_PERMISSION_DENIED, 1 },
	{ FAKE_FAIL, ERR_INTERNAL, 1 },
	{ FAKE_LOSE, ERR_OK, 1 },
	{ FAKE_KILL, ERR_OK, 2 },
	{ FAKE_KILL_AFTER, ERR_OK, 2 },
};
/* clang-format on */

static void restart(struct world *w)
{
	stop(w);
	start(w, true);
}

static bool is_death(enum fake_fault fault)
{
	return fault == FAKE_KILL || fault == FAKE_KILL_AFTER;
}

TEST(after_any_trouble_there_is_one)
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault, .code = troubles[t].code };
		bool is_reached;

		do {
			struct world w;

			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			begin();
			start(&w, true);
			fake_set_plan(plan);
			live(10 * NS_PER_S);
			is_reached = fake_steps() >= plan.at;
			fake_set_plan((struct fake_plan){ 0 });
			if (is_death(plan.fault))
				restart(&w);
			live(5 * MINUTE);
			assert_reported(&w, NULL);
			ASSERT_TRUE(n_used >= 1 && n_asked <= troubles[t].n_most);
			stop(&w);
		} while (is_reached);
		ASSERT_TRUE(plan.at > 4);
	}
}

/* Of the same process, to its next certificate: the old one serves meanwhile. */
TEST(after_any_trouble_of_a_renewal_there_is_another)
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault, .code = troubles[t].code };
		bool is_reached;

		do {
			struct world w;

			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			begin();
			start(&w, true);
			live(LIFETIME / 2);
			ASSERT_EQ(n_used, 1);
			fake_set_plan(plan);
			live(LIFETIME / 4);
			assert_reported(&w, NULL);
			is_reached = fake_steps() >= plan.at;
			fake_set_plan((struct fake_plan){ 0 });
			live(6 * MINUTE); /* the signer comes again after 5 at most */
			assert_reported(&w, NULL);
			ASSERT_EQ(n_used, 2);
			ASSERT_TRUE(n_asked <= 1 + troubles[t].n_most);
			stop(&w);
		} while (is_reached);
		ASSERT_TRUE(plan.at > 4);
	}
}

#define AGENT_UNIT(name) \
	cmocka_unit_test_setup_teardown(name, authority_set_up, authority_tear_down)
RUN_TESTS(AGENT_UNIT(a_certificate_is_asked_for_and_used),
	  AGENT_UNIT(it_is_renewed_before_it_ends_with_another_key),
	  AGENT_UNIT(what_is_in_use_stays_until_it_ends_while_nobody_signs),
	  AGENT_UNIT(who_is_refused_asks_again_and_ever_more_seldom),
	  AGENT_UNIT(a_certificate_for_another_key_is_not_used),
	  AGENT_UNIT(a_request_that_was_deleted_is_made_anew),
	  AGENT_UNIT(after_any_trouble_there_is_one),
	  AGENT_UNIT(after_any_trouble_of_a_renewal_there_is_another))
