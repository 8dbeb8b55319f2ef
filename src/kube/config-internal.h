/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_CONFIG_INTERNAL_H
#define KUBE_CONFIG_INTERNAL_H

#include <stddef.h>

#include "kube/config.h"
#include "net/tls.h"

/* The file's bytes as a config; path is for messages and for what is relative to it. c is zeroed;
 * filled partly on failure. */
int kubeconfig_parse(const char *path, const char *text, size_t n, const char *context,
		     struct kube_config *c, struct err *err);

/* "https://host:port/prefix" into host, port, path_prefix. */
int kube_config_set_server(struct kube_config *c, const char *url, struct err *err);

/* What the TLS context is made from; borrows from c. */
struct tls_options kube_config_tls(const struct kube_config *c);

#endif
