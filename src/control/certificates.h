/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CERTIFICATES_H
#define CONTROL_CERTIFICATES_H

#include <stdint.h>

struct ev_loop;
struct fence;
struct informer;
struct kube_client;
struct work;

/*
 * The signer of agents' certificates: CertificateSigningRequests for one signerName are approved
 * and signed if they ask for nothing but the name of the requester's own node (signing_request.h),
 * and denied with the reason if not. Safe to kill at any step: the approval and the certificate are
 * one conditional write each, and what is half done is found as it is. Old requests are the API
 * server's to collect.
 *
 * It needs the cache of requests, selected by the signer's name, the rights to patch their
 * approval and status, and `approve` and `sign` of that signer.
 */
struct certificates;

struct certificates_options {
	struct ev_loop *loop;
	struct work *work;
	unsigned lane; /* of work: where it reconciles */
	struct kube_client *client;
	struct fence *fence;       /* borrowed; the client's own. NULL: whoever asks leads */
	struct informer *requests; /* borrowed */
	const char *signer_name;   /* "pool.cleat.csi/agent"; as all texts, copied */
	const char *account;       /* the agents': "system:serviceaccount:NAMESPACE:NAME" */
	const char *authority_file, *authority_key_file; /* PEM; read for each certificate */
	int64_t lifetime_ns; /* of a certificate, at most; a request may ask for less. 0: a day */
	unsigned workers;    /* 0: 4 */
	int64_t retry_base_ns, retry_max_ns; /* 0: 1 s, 5 min */
};

struct certificates *certificates_new(const struct certificates_options *opts);
void certificates_start(struct certificates *c); /* begins work once the cache has synced */
void certificates_pause(struct certificates *c); /* lease lost: nothing more is written */
/* Before the cache is freed. Waits for reconciles under way. */
void certificates_free(struct certificates *c);

#endif
