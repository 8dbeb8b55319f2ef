/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   request ──judged──► Approved ──signed──► status.certificate
 *              └──────► Denied (with the reason)
 *
 * A request that somebody else approved is signed by the same rule, or marked Failed: who may
 * approve is not thereby one who may be any node. Each write is conditional on the version that was
 * judged, so a request is never approved or answered for what it was before. (Its spec cannot be
 * changed; its conditions are one list.)
 *
 * The authority's files are read for each certificate, a few a node and day: a new one is used at
 * once, and its key is in memory no longer than it is needed.
 */
#define LOG_ROOM "control"
#include "control/certificates.h"

#include "base/base64.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "control/object.h"
#include "control/signing_request.h"
#include "control/sync_gate.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/queue.h"
#include "net/certificate.h"

#define DEFAULT_WORKERS 4
#define DEFAULT_LIFETIME_NS (24 * 3600 * NS_PER_S)
#define RECONCILE_NS (30 * NS_PER_S)
/* Clocks of nodes may be so far behind. */
#define EARLY_S 300

struct certificates {
	struct fence *fence;
	struct object_store store;
	char *signer_name, *account, *authority_file, *authority_key_file;
	int64_t lifetime_s;
	struct queue *requests;
	struct sync_gate gate;
};

static bool is_wanted(const struct certificates *c, const struct kube_object *o)
{
	const struct signing_request *r = signing_request_of(o);

	return str_is_equal(r->signer_name, c->signer_name) && !r->is_denied && !r->is_failed &&
	       !r->has_certificate;
}

static void on_request(void *arg, const struct kube_object *old_obj,
		       const struct kube_object *new_obj)
{
	struct certificates *c = arg;

	(void)old_obj;
	if (new_obj && is_wanted(c, new_obj))
		queue_add(c->requests, new_obj->name);
}

/* ---- writes ---- */

/* A patch of what was read and nothing newer. */
static int write_status(struct certificates *c, struct ctx *ctx, const struct kube_object **obj,
			const char *subresource, const char *status, struct err *err)
{
	autofree char *part = xasprintf("\"status\":%s", status);
	autofree char *meta = xasprintf("\"resourceVersion\":\"%s\"", (*obj)->resource_version);

	return object_patch(&c->store, ctx, obj, subresource, part, meta, err);
}

/* The request has none of the conditions that are set here but Approved, which comes first and has
 * to stay. */
static char *condition_text(const struct signing_request *r, const char *type, const char *reason,
			    const char *message)
{
	struct str out = STR_INIT;
	struct json_writer w = JSON_WRITER(&out);

	json_begin_object(&w);
	json_key(&w, "conditions");
	json_begin_array(&w);
	if (r->is_approved) {
		json_begin_object(&w);
		json_field_string(&w, "type", "Approved");
		json_field_string(&w, "status", "True");
		json_field_string(&w, "reason", "ApprovedBySomebodyElse");
		json_end_object(&w);
	}
	json_begin_object(&w);
	json_field_string(&w, "type", type);
	json_field_string(&w, "status", "True");
	json_field_string(&w, "reason", reason);
	json_field_string(&w, "message", message);
	json_end_object(&w);
	json_end_array(&w);
	json_end_object(&w);
	return str_take(&out);
}

static int refuse(struct certificates *c, struct ctx *ctx, const struct kube_object **obj,
		  enum signing_verdict verdict, const struct err *why, struct err *err)
{
	const struct signing_request *r = signing_request_of(*obj);
	bool is_late = r->is_approved;
	autofree char *name = xstrdup((*obj)->name), *user = xstrdup(r->username);
	autofree char *status = condition_text(r, is_late ? "Failed" : "Denied",
					       signing_verdict_reason(verdict), why->msg);

	if (write_status(c, ctx, obj, is_late ? "status" : "approval", status, err) < 0)
		return -1;
	metric_add(METRIC_CERTIFICATES, 1, METRIC_ARGS(is_late ? "failed" : "denied"));
	log_warn("certificate refused", log_str("request", name), log_str("requester", user),
		 log_err(why));
	return 0;
}

static int approve(struct certificates *c, struct ctx *ctx, const struct kube_object **obj,
		   struct err *err)
{
	const struct signing_request *r = signing_request_of(*obj);
	autofree char *status =
		condition_text(r, "Approved", signing_verdict_reason(SIGNING_GRANTED),
			       "the requester's pod runs on the node that it asks to be");

	return write_status(c, ctx, obj, "approval", status, err);
}

static int sign(struct certificates *c, struct ctx *ctx, const struct kube_object **obj,
		const char *pem, size_t n, struct err *err)
{
	const struct signing_request *r = signing_request_of(*obj);
	bool is_shorter = r->expiration_s > 0 && r->expiration_s < c->lifetime_s;
	const struct certificate_order order = {
		.request = pem,
		.n_request = n,
		.authority_file = c->authority_file,
		.authority_key_file = c->authority_key_file,
		.now_s = clock_wall_ns() / NS_PER_S,
		.lifetime_s = is_shorter ? r->expiration_s : c->lifetime_s,
		.early_s = EARLY_S,
	};
	autofree char *node = xstrdup(r->node_name);
	autofree char *cert = NULL, *text = NULL, *status = NULL;
	char until[CLOCK_TEXT_MAX];
	int64_t end_s;

	if (certificate_sign(&order, &cert, &end_s, err) < 0)
		return -1;
	text = base64_encode(cert, strlen(cert));
	status = xasprintf("{\"certificate\":\"%s\"}", text);
	if (write_status(c, ctx, obj, "status", status, err) < 0)
		return -1;
	clock_format(end_s * NS_PER_S, until);
	metric_add(METRIC_CERTIFICATES, 1, METRIC_ARGS("signed"));
	log_info("certificate signed", log_str("node", node), log_str("until", until));
	return 0;
}

/* ---- the reconcile ---- */

static int answer(struct certificates *c, struct ctx *ctx, const struct kube_object **obj,
		  struct err *err)
{
	const struct signing_request *r = signing_request_of(*obj);
	autofree char *pem = NULL;
	enum signing_verdict verdict;
	struct err why;
	size_t n = 0;

	verdict = signing_request_judge(r, c->account, &pem, &n, &why);
	if (verdict != SIGNING_GRANTED)
		return refuse(c, ctx, obj, verdict, &why, err);
	if (!r->is_approved && approve(c, ctx, obj, err) < 0)
		return -1;
	return sign(c, ctx, obj, pem, n, err);
}

static enum queue_verdict reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	struct certificates *c = arg;
	const struct kube_object *obj = informer_get(c->store.cache, "", key);
	enum queue_verdict verdict = QUEUE_DONE;
	struct err err;

	(void)ret_after_ns;
	if (obj && is_wanted(c, obj) && answer(c, ctx, &obj, &err) < 0 &&
	    err.code != ERR_NOT_FOUND) {
		verdict = QUEUE_RETRY;
		if (err.code != ERR_ABORTED && !fence_is_cut_off(c->fence, ctx))
			log_warn("certificate not signed", log_str("request", key), log_err(&err));
	}
	kube_object_unref(obj);
	return verdict;
}

/* ---- start and end ---- */

struct certificates *certificates_new(const struct certificates_options *opts)
{
	struct certificates *c = xcalloc(1, sizeof(*c));
	int64_t lifetime_ns = opts->lifetime_ns ? opts->lifetime_ns : DEFAULT_LIFETIME_NS;

	*c = (struct certificates){
		.fence = opts->fence,
		.store = { opts->client, opts->requests, &signing_request_type },
		.signer_name = xstrdup(opts->signer_name),
		.account = xstrdup(opts->account),
		.authority_file = xstrdup(opts->authority_file),
		.authority_key_file = xstrdup(opts->authority_key_file),
		.lifetime_s = lifetime_ns / NS_PER_S,
	};
	c->requests = queue_new(opts->loop, opts->work,
				&(const struct queue_options){
					.name = "certificates",
					.workers = opts->workers ? opts->workers : DEFAULT_WORKERS,
					.lane = opts->lane,
					.backoff_base_ns = opts->retry_base_ns,
					.backoff_max_ns = opts->retry_max_ns,
					.timeout_ns = RECONCILE_NS,
					.fence = opts->fence,
				},
				reconcile, c);
	sync_gate_init(&c->gate, opts->loop);
	c->gate.caches[0] = opts->requests;
	c->gate.queues[0] = c->requests;
	informer_on_change(opts->requests, on_request, c);
	return c;
}

void certificates_start(struct certificates *c)
{
	sync_gate_start(&c->gate);
}

void certificates_pause(struct certificates *c)
{
	sync_gate_pause(&c->gate);
}

void certificates_free(struct certificates *c)
{
	if (!c)
		return;
	informer_off_change(c->store.cache, on_request, c);
	sync_gate_done(&c->gate);
	queue_free(c->requests);
	free(c->authority_key_file);
	free(c->authority_file);
	free(c->account);
	free(c->signer_name);
	free(c);
}
