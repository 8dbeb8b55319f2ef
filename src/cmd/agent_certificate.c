/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   key and request made ──► created ──► looked at again and again ──issued──► in use
 *        ▲                     │              │ denied, failed, gone                │
 *        └───────pause─────────┴──────────────┘◄───────two thirds of its life───────┘
 *
 * A request's name is made of its own digest, so a create whose answer was lost is repeated without
 * a second object, and nobody can take the name beforehand. What is issued is used only if it fits
 * our key and is good by our clock; a clock that is wrong by more than the signer allows for shows
 * as such. How long it lasts is counted from when it came, so a clock that is set meanwhile changes
 * nothing.
 *
 * Pauses are jittered: when a cluster's power comes back, hundreds ask at once.
 */
#include "cmd/agent_certificate.h"

#include <pthread.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/ctx.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "base/sha256.h"
#include "cmd/cmd.h"
#include "cmd/lanes.h"
#include "cmd/periodic.h"
#include "control/signing_request.h"
#include "event/loop.h"
#include "event/sync.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/path.h"
#include "net/certificate.h"
#include "net/tls.h"

#define TICK_NS (200 * NS_PER_MS)
#define DIGEST_BYTES 16 /* of the name */
#define TIMEOUT_NS (20 * NS_PER_S)
#define LOOK_FIRST_NS (300 * NS_PER_MS)
#define LOOK_MAX_NS (30 * NS_PER_S)
#define RETRY_FIRST_NS NS_PER_S
#define RETRY_MAX_NS (60 * NS_PER_S)
#define REFUSED_NS (60 * NS_PER_S) /* each refusal leaves an object for an hour */
#define REFUSED_MAX_NS (600 * NS_PER_S)
#define SPREAD 0.2

struct agent_certificate {
	struct ev_loop *loop;
	struct tls *tls;
	char *uri, *signer;
	int64_t lifetime_s;
	struct kube_config config;
	struct kube_client *client;
	struct periodic *runs;

	/* of the run alone */
	char *key;     /* of the request that is under way; wiped */
	char *request; /* PEM; NULL: none is under way */
	char *name;    /* of its object */
	bool is_created;
	int64_t pause_ns, refused_ns;

	pthread_mutex_t lock; /* guards what follows */
	int64_t next_ns;
	int64_t end_ns; /* of what is in use; 0: nothing is */
	char why[ERR_MSG_MAX];
};

static bool is_due(void *arg)
{
	struct agent_certificate *c = arg;
	LOCK_SCOPE(&c->lock);

	return clock_now_ns() >= c->next_ns;
}

static void wait_for(struct agent_certificate *c, int64_t pause_ns)
{
	LOCK_SCOPE(&c->lock);

	c->next_ns = clock_now_ns() + random_jitter_ns(pause_ns, SPREAD);
}

static void back_off(struct agent_certificate *c, int64_t first_ns, int64_t max_ns)
{
	c->pause_ns = c->pause_ns == 0           ? first_ns
		      : c->pause_ns * 2 > max_ns ? max_ns
						 : c->pause_ns * 2;
	wait_for(c, c->pause_ns);
}

static void forget_request(struct agent_certificate *c)
{
	if (c->key)
		explicit_bzero(c->key, strlen(c->key));
	free(TAKE_PTR(c->key));
	free(TAKE_PTR(c->request));
	free(TAKE_PTR(c->name));
	c->is_created = false;
	c->pause_ns = 0;
}

/* What is wrong is logged when it changes. */
static void tell(struct agent_certificate *c, const struct err *err)
{
	LOCK_SCOPE(&c->lock);

	if (str_is_equal(c->why, err->msg))
		return;
	snprintf(c->why, sizeof(c->why), "%s", err->msg);
	log_warn("no new certificate for this agent", log_err(err));
}

/* ---- asking ---- */

static int make_request(struct agent_certificate *c, struct err *err)
{
	uint8_t digest[SHA256_BYTES];
	char hex[2 * DIGEST_BYTES + 1];

	if (certificate_ask(c->uri, &c->key, &c->request, err) < 0)
		return -1;
	sha256(c->request, strlen(c->request), digest);
	hex_format(digest, DIGEST_BYTES, hex);
	c->name = xasprintf("cleat-agent-%s", hex);
	return 0;
}

static char *request_body(const struct agent_certificate *c)
{
	autofree char *text = base64_encode(c->request, strlen(c->request));
	struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);

	json_begin_object(&w);
	json_field_string(&w, "apiVersion", "certificates.k8s.io/v1");
	json_field_string(&w, "kind", "CertificateSigningRequest");
	json_key(&w, "metadata");
	json_begin_object(&w);
	json_field_string(&w, "name", c->name);
	json_end_object(&w);
	json_key(&w, "spec");
	json_begin_object(&w);
	json_field_string(&w, "signerName", c->signer);
	json_field_string(&w, "request", text);
	json_field_i64(&w, "expirationSeconds", c->lifetime_s);
	json_key(&w, "usages");
	json_begin_array(&w);
	json_put_string(&w, "digital signature");
	json_put_string(&w, "server auth");
	json_end_array(&w);
	json_end_object(&w);
	json_end_object(&w);
	return str_take(&body);
}

static int try_create(struct agent_certificate *c, struct ctx *ctx, struct err *err)
{
	autofree char *path = NULL, *body = NULL;

	if (!c->request && make_request(c, err) < 0)
		return -1;
	body = request_body(c);
	if (kube_collection_path(&signing_request_type, NULL, &path, err) < 0)
		return -1;
	if (kube_create(c->client, ctx, path, body, NULL, err) < 0 &&
	    err->code != ERR_ALREADY_EXISTS)
		return err_wrap(err, "ask for a certificate");
	return 0;
}

static int create(struct agent_certificate *c, struct ctx *ctx, struct err *err)
{
	if (try_create(c, ctx, err) < 0) {
		back_off(c, RETRY_FIRST_NS, RETRY_MAX_NS);
		return -1;
	}
	c->is_created = true;
	c->pause_ns = 0;
	wait_for(c, LOOK_FIRST_NS);
	return 0;
}

/* ---- what comes of it ---- */

struct put {
	struct agent_certificate *cert;
	const char *pem;
	int rc;
	struct err *err;
};

static void put_into_use(void *arg)
{
	struct put *p = arg;

	p->rc = tls_set_cert(p->cert->tls, p->pem, p->cert->key, p->err);
}

/* Two thirds of what is left of its life, or a little less. */
static int64_t time_to_renew(int64_t left_s)
{
	int64_t spread_s = left_s / 10;
	int64_t early_s = spread_s > 0 ? (int64_t)random_below((uint64_t)spread_s) : 0;

	return left_s * NS_PER_S / 3 * 2 - early_s * NS_PER_S;
}

static int take(struct agent_certificate *c, const char *pem, struct err *err)
{
	struct put put = { .cert = c, .pem = pem, .err = err };
	int64_t now_ns = clock_now_ns(), left_s, begin_s, end_s;
	char until[CLOCK_TEXT_MAX];

	if (certificate_times(pem, &begin_s, &end_s, err) < 0)
		return -1;
	ev_call(c->loop, put_into_use, &put);
	if (put.rc < 0)
		return -1;
	left_s = end_s - clock_wall_ns() / NS_PER_S;
	if (left_s > end_s - begin_s) /* this clock is behind */
		left_s = end_s - begin_s;
	clock_format(end_s * NS_PER_S, until);
	log_info("certificate of this agent is in use", log_str("name", c->uri),
		 log_str("until", until));
	metric_set(METRIC_CERTIFICATE_EXPIRES, (double)end_s, NULL);
	c->refused_ns = 0;
	forget_request(c);
	LOCK_SCOPE(&c->lock);
	c->why[0] = '\0';
	c->end_ns = now_ns + left_s * NS_PER_S;
	c->next_ns = now_ns + time_to_renew(left_s);
	return 0;
}

/* The condition that ends it, in words: false, there is none. */
static bool is_refused(const struct json *root, struct err *err)
{
	const struct json *condition;

	for (struct json_it it = json_each(json_path(root, "status.conditions"));
	     json_next(&it, NULL, &condition);) {
		const char *type = json_get_string(condition, "type");

		if (!str_is_equal(type, "Denied") && !str_is_equal(type, "Failed"))
			continue;
		err_set(err, ERR_PERMISSION_DENIED, "the request was %s: %s: %s",
			str_is_equal(type, "Denied") ? "denied" : "approved and then failed",
			str_or(json_get_string(condition, "reason"), "no reason"),
			str_or(json_get_string(condition, "message"), ""));
		return true;
	}
	return false;
}

/* It is of no use any more: another one, after a while. */
static int start_over(struct agent_certificate *c)
{
	forget_request(c);
	c->refused_ns = c->refused_ns == 0                   ? REFUSED_NS
			: c->refused_ns * 2 > REFUSED_MAX_NS ? REFUSED_MAX_NS
							     : c->refused_ns * 2;
	wait_for(c, c->refused_ns);
	return -1;
}

static int wait_on(struct agent_certificate *c, struct err *err)
{
	back_off(c, LOOK_FIRST_NS, LOOK_MAX_NS);
	if (c->pause_ns < LOOK_MAX_NS)
		return 0;
	return err_set(err, ERR_UNAVAILABLE,
		       "request '%s' is not answered: does the controller run, with certificates "
		       "among its --controllers?",
		       c->name);
}

static int look(struct agent_certificate *c, struct ctx *ctx, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	autofree char *path = NULL, *pem = NULL;
	const char *text;
	size_t n;

	if (kube_object_path(&signing_request_type, "", c->name, &path, err) < 0 ||
	    kube_get(c->client, ctx, path, &doc, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			forget_request(c);
		back_off(c, RETRY_FIRST_NS, RETRY_MAX_NS);
		return err_wrap(err, "look for the certificate that was asked for");
	}
	if (is_refused(json_root(doc), err))
		return start_over(c);
	text = json_path_string(json_root(doc), "status.certificate");
	if (str_is_empty(text))
		return wait_on(c, err);
	pem = base64_decode(text, &n);
	if (!pem)
		err_set(err, ERR_INTERNAL, "the certificate that was issued is no base64");
	return pem && take(c, pem, err) == 0 ? 0 : start_over(c);
}

static void run(void *arg, struct ctx *ctx)
{
	struct agent_certificate *c = arg;
	struct err err = { 0 };
	int r = c->is_created ? look(c, ctx, &err) : create(c, ctx, &err);

	if (r < 0 && !ctx_is_cancelled(ctx))
		tell(c, &err);
}

/* ---- life ---- */

int agent_certificate_new(const struct agent_certificate_options *opts,
			  struct agent_certificate **ret_cert, struct err *err)
{
	const struct kube_client_options client = { .user_agent = "cleat/" CMD_VERSION_TEXT };
	struct agent_certificate *c = xcalloc(1, sizeof(*c));

	if (kube_config_load(str_or(opts->kubeconfig, ""), "", &c->config, err) < 0) {
		free(c);
		return -1;
	}
	if (kube_client_new(opts->loop, &c->config, &client, &c->client, err) < 0) {
		kube_config_done(&c->config);
		free(c);
		return -1;
	}
	c->loop = opts->loop;
	c->tls = tls_ref(opts->tls);
	c->uri = xasprintf(SIGNING_NODE_URI "%s", opts->node);
	c->signer = xstrdup(opts->signer);
	c->lifetime_s = opts->lifetime_ns / NS_PER_S;
	snprintf(c->why, sizeof(c->why), "it was asked for a moment ago");
	pthread_mutex_init(&c->lock, NULL);
	c->runs = periodic_new(&(const struct periodic_options){
		.loop = opts->loop,
		.work = opts->work,
		.lane = LANE_API,
		.first_ns = TICK_NS,
		.every_ns = TICK_NS,
		.timeout_ns = TIMEOUT_NS,
		.is_due = is_due,
		.run = run,
		.arg = c,
	});
	*ret_cert = c;
	return 0;
}

void agent_certificate_report(struct agent_certificate *c, struct str *report)
{
	LOCK_SCOPE(&c->lock);

	if (c->end_ns == 0)
		str_appendf(
			report,
			"the controller does not reach this agent, which has no certificate: %s\n",
			c->why);
	else if (clock_now_ns() >= c->end_ns)
		str_appendf(report,
			    "the controller does not reach this agent, whose certificate has "
			    "expired: %s\n",
			    c->why);
}

void agent_certificate_stop(struct agent_certificate *c)
{
	if (!c)
		return;
	(void)periodic_stop(c->runs, INT64_MAX);
	kube_client_free(TAKE_PTR(c->client));
}

void agent_certificate_free(struct agent_certificate *c)
{
	if (!c)
		return;
	periodic_free(c->runs);
	kube_client_free(c->client);
	forget_request(c);
	tls_unref(c->tls);
	kube_config_done(&c->config);
	pthread_mutex_destroy(&c->lock);
	free(c->signer);
	free(c->uri);
	free(c);
}
