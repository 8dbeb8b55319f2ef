/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SIGNING_REQUEST_H
#define CONTROL_SIGNING_REQUEST_H

#include "base/err.h"
#include "kube/object.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * CertificateSigningRequests (certificates.k8s.io/v1) of agents: what is kept of them, and whether
 * one asks for no more than its requester may have.
 */

/* Whom an agent's certificate names: this and the node's name. A URI, since a node's name may have
 * 253 characters, which no label of a host name holds, and since it must never be taken for a host
 * that somebody dials. */
#define SIGNING_NODE_URI "cleat://node/"

struct signing_request {
	struct kube_object meta;
	const char *signer_name;
	const char *username;  /* as the API server knows the requester */
	const char *node_name; /* of the pod that the requester's token is bound to; "" unless it is
				  one */
	struct kube_string_list usages;
	int64_t expiration_s; /* 0: not said */
	const char *request;  /* PEM in base64; "" if it is answered, or too large to be good */
	bool is_approved, is_denied, is_failed;
	bool has_certificate;
};

extern const struct kube_type signing_request_type;
const struct signing_request *signing_request_of(const struct kube_object *o);

enum signing_verdict {
	SIGNING_GRANTED,
	SIGNING_NOT_AN_AGENT,  /* the requester is somebody else */
	SIGNING_NO_NODE,       /* it has no token of a pod */
	SIGNING_WRONG_USAGES,  /* other than digital signature, server auth */
	SIGNING_WRONG_REQUEST, /* it cannot be read, or asks for more than a name */
	SIGNING_WRONG_NAME,    /* another than that of the requester's node */
};
/* "NotAnAgent": the reason in a condition. */
const char *signing_verdict_reason(enum signing_verdict v);

/* account: "system:serviceaccount:NAMESPACE:NAME". On SIGNING_GRANTED *ret_pem (malloc'ed) is the
 * request and *ret_n its length; otherwise *why says in words what is wrong. */
enum signing_verdict signing_request_judge(const struct signing_request *r, const char *account,
					   char **ret_pem, size_t *ret_n, struct err *why);

#endif
