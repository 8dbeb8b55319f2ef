/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may have which certificate. All that is believed is what the API server itself wrote into the
 * request when it was made: who the requester is, and of a token that is bound to a pod the node
 * that the pod runs on (authentication.kubernetes.io/node-name). A token of another kind has no
 * such word, and somebody who may impersonate others may do anything anyway.
 */
#include "control/signing_request.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/pack.h"
#include "net/certificate.h"

#define EXTRA_NODE "authentication.kubernetes.io/node-name"
/* In base64. */
#define REQUEST_TEXT_MAX ((CERTIFICATE_REQUEST_MAX + 2) / 3 * 4)

static bool has_condition(const struct json *conditions, const char *type)
{
	const struct json *c;

	for (struct json_it it = json_each(conditions); json_next(&it, NULL, &c);)
		if (str_is_equal(json_get_string(c, "type"), type))
			return true;
	return false;
}

/* One value, or none at all. */
static const struct json *extra_node(const struct json *item)
{
	const struct json *values = json_get(json_path(item, "spec.extra"), EXTRA_NODE);

	return json_is_array(values) && json_count(values) == 1 ? json_at(values, 0) : NULL;
}

/* The cache keeps what may be answered: of a request that has its answer, or is larger than any
 * good one (up to what an object may have, and an agent may make as many as it likes), nothing. */
static const char *wanted_request(const struct json *item, const struct signing_request *r)
{
	const char *text = str_or(json_path_string(item, "spec.request"), "");
	bool is_answered = r->is_denied || r->is_failed || r->has_certificate;

	return is_answered || strlen(text) > REQUEST_TEXT_MAX ? "" : text;
}

static void decode(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct signing_request *r = (struct signing_request *)o;
	const struct json *conditions = json_path(item, "status.conditions");

	r->signer_name = pack_path(p, item, "spec.signerName");
	r->username = pack_path(p, item, "spec.username");
	r->node_name = pack_string(p, json_string(extra_node(item)));
	r->usages = pack_strings(p, json_path(item, "spec.usages"));
	(void)json_int(json_path(item, "spec.expirationSeconds"), &r->expiration_s);
	r->is_approved = has_condition(conditions, "Approved");
	r->is_denied = has_condition(conditions, "Denied");
	r->is_failed = has_condition(conditions, "Failed");
	r->has_certificate = !str_is_empty(json_path_string(item, "status.certificate"));
	r->request = pack_string(p, wanted_request(item, r));
}

const struct kube_type signing_request_type = {
	.kind = "CertificateSigningRequest",
	.resource = "certificatesigningrequests",
	.group_version = "certificates.k8s.io/v1",
	.size = sizeof(struct signing_request),
	.decode = decode,
	.words = KUBE_WORDS("digital signature", "key encipherment", "server auth"),
};

const struct signing_request *signing_request_of(const struct kube_object *o)
{
	return kube_object_as(o, &signing_request_type);
}

const char *signing_verdict_reason(enum signing_verdict v)
{
	switch (v) {
	case SIGNING_GRANTED:
		return "AgentOfItsNode";
	case SIGNING_NOT_AN_AGENT:
		return "NotAnAgent";
	case SIGNING_NO_NODE:
		return "NoNode";
	case SIGNING_WRONG_USAGES:
		return "WrongUsages";
	case SIGNING_WRONG_REQUEST:
		return "WrongRequest";
	case SIGNING_WRONG_NAME:
		return "WrongName";
	}
	return "";
}

/* The first, and the last, are asked for; the second may be, and is not given to keys like ours. */
static bool are_usages_good(const struct kube_string_list *usages)
{
	static const char *const known[] = { "digital signature", "key encipherment",
					     "server auth" };
	bool has[ARRAY_LEN(known)] = { false };

	for (size_t i = 0; i < usages->n; i++) {
		size_t k = 0;

		while (k < ARRAY_LEN(known) && !str_is_equal(usages->v[i], known[k]))
			k++;
		if (k == ARRAY_LEN(known))
			return false;
		has[k] = true;
	}
	return has[0] && has[2];
}

static enum signing_verdict judge_name(const struct signing_request *r, const char *pem, size_t n,
				       struct err *why)
{
	autofree char *wanted = xasprintf(SIGNING_NODE_URI "%s", r->node_name);
	autofree char *uri = NULL;

	if (certificate_request_read(pem, n, &uri, why) < 0)
		return SIGNING_WRONG_REQUEST;
	if (str_is_equal(uri, wanted))
		return SIGNING_GRANTED;
	err_set(why, ERR_PERMISSION_DENIED, "a pod on node '%s' may be '%s' and not '%s'",
		r->node_name, wanted, uri);
	return SIGNING_WRONG_NAME;
}

enum signing_verdict signing_request_judge(const struct signing_request *r, const char *account,
					   char **ret_pem, size_t *ret_n, struct err *why)
{
	autofree char *pem = NULL;
	enum signing_verdict verdict;
	size_t n = 0;

	if (!str_is_equal(r->username, account)) {
		err_set(why, ERR_PERMISSION_DENIED, "'%s' is not the agents' account '%s'",
			r->username, account);
		return SIGNING_NOT_AN_AGENT;
	}
	if (str_is_empty(r->node_name)) {
		err_set(why, ERR_PERMISSION_DENIED,
			"the requester's token is not bound to a pod on a node (no %s; Kubernetes "
			"1.32 or newer says it)",
			EXTRA_NODE);
		return SIGNING_NO_NODE;
	}
	if (!are_usages_good(&r->usages)) {
		err_set(why, ERR_PERMISSION_DENIED,
			"an agent's certificate is for digital signature and server auth alone");
		return SIGNING_WRONG_USAGES;
	}
	if (str_is_empty(r->request)) {
		err_set(why, ERR_INVALID_ARGUMENT, "spec.request is empty, or larger than %u bytes",
			CERTIFICATE_REQUEST_MAX);
		return SIGNING_WRONG_REQUEST;
	}
	pem = base64_decode(r->request, &n);
	if (!pem) {
		err_set(why, ERR_INVALID_ARGUMENT, "spec.request is no base64");
		return SIGNING_WRONG_REQUEST;
	}
	verdict = judge_name(r, pem, n, why);
	if (verdict == SIGNING_GRANTED) {
		*ret_pem = TAKE_PTR(pem);
		*ret_n = n;
	}
	return verdict;
}
