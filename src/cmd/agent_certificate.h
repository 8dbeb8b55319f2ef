/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_AGENT_CERTIFICATE_H
#define CMD_AGENT_CERTIFICATE_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct tls;
struct work;

/*
 * The certificate that an agent asks the API server for, by a CertificateSigningRequest: the first
 * one when it starts, the next when two thirds of its life are over. The key is made here, for each
 * certificate a new one, and is nowhere but in this process's memory. While none comes, the old one
 * stays in use; connections that are there keep theirs.
 */
struct agent_certificate;

struct agent_certificate_options {
	struct ev_loop *loop; /* as all below, outlives it */
	struct work *work;
	struct tls *tls;        /* of a server, with cert_later; gets what comes */
	const char *node;       /* whose name it asks for */
	const char *signer;     /* signerName */
	const char *kubeconfig; /* "" or NULL: as kube_config_load finds it */
	int64_t lifetime_ns;
};

/* Before the loop runs. Errors are those of kube_config_load. */
int agent_certificate_new(const struct agent_certificate_options *opts,
			  struct agent_certificate **ret_cert, struct err *err);
/* A line if there is none, or none that is still good. Any thread. */
void agent_certificate_report(struct agent_certificate *c, struct str *report);
/* Asks no more. While the loop runs; not on it. NULL is fine. */
void agent_certificate_stop(struct agent_certificate *c);
/* After the loop was joined, or when it never ran; before it is freed. NULL is fine. */
void agent_certificate_free(struct agent_certificate *c);

#endif
