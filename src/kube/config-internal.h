/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_CONFIG_INTERNAL_H
#define KUBE_CONFIG_INTERNAL_H

#include <stddef.h>

#include "kube/config.h"
#include "net/tls.h"

struct kubeconfig_text {
	const char *path; /* for messages and for what is relative to it */
	const char *text;
	size_t n;
};

/* The files' bytes, at least one, as one config: of what several say the first counts. c is zeroed;
 * filled partly on failure. */
int kubeconfig_parse(const struct kubeconfig_text *texts, size_t n, const char *context,
		     struct kube_config *c, struct err *err);

/* Why text is no bearer token, NULL if it is one. Never a word of it. */
const char *kube_token_problem(const char *text, size_t n);

/* A token file's bytes without the white space around them, in place; how many are left. */
size_t kube_token_trim(char *text, size_t n);

/* "https://host:port/prefix" into host, port, path_prefix. */
int kube_config_set_server(struct kube_config *c, const char *url, struct err *err);

/* What the TLS context is made from; borrows from c. */
struct tls_options kube_config_tls(const struct kube_config *c);

#endif
