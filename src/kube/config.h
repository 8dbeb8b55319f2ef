/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_CONFIG_H
#define KUBE_CONFIG_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Where the API server is and who we are: in-cluster (service account files,
 * KUBERNETES_SERVICE_HOST/PORT) or a kubeconfig file. Plain data; secrets in it never reach the
 * log.
 */
struct kube_config {
	char *host; /* name or address, without port */
	uint16_t port;
	char *path_prefix; /* "" or "/k8s/clusters/x" */
	char *ca_file;     /* or ca_data (PEM) */
	char *ca_data;
	char *cert_file, *cert_data;
	char *key_file, *key_data;
	char *token;          /* literal */
	char *token_file;     /* read again when it changes, at least each minute */
	char *server_name;    /* TLS name if not host */
	char *namespace_name; /* of the context or the service account; "default" if none */
	bool insecure_skip_verify;
	bool is_in_cluster; /* it is a service account's */
};

/*
 * path: a kubeconfig; "" means the files of $KUBECONFIG that are there (with colons between them;
 * the first to name an entry or a current context wins, as with kubectl), else in-cluster if the
 * variables are there, else ~/.kube/config. context: "" = current-context. FAILED_PRECONDITION
 * names the file, the line and the field (missing file, broken YAML, unknown context, unsupported
 * exec/auth-provider plugin, unreadable or expired certificate, a token that is empty or none).
 */
int kube_config_load(const char *path, const char *context, struct kube_config *ret_config,
		     struct err *err);
/* Another server than the one that was loaded, "https://host[:port][/prefix]". FAILED_PRECONDITION:
 * url is none. */
int kube_config_use_server(struct kube_config *c, const char *url, struct err *err);
void kube_config_done(struct kube_config *c);

#endif
