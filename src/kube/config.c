/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the configuration comes from. Inside a pod kubelet mounts a service
 * account's token, CA and namespace at a place fixed by Kubernetes and sets
 * two variables; everywhere else there is a kubeconfig (kubeconfig.c).
 *
 * Certificates are tried out here, by making a TLS context from them that is
 * thrown away again, so that a broken or expired one is named at start and not
 * after the first connection. Files are read again later when they change.
 */
#include "kube/config.h"

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/config-internal.h"
#include "net/tls.h"

#include <errno.h>
#include <fcntl.h>

#define FILE_MAX (1u << 20)
#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount/"

static int parse_port(const char *text, uint16_t *ret_port, struct err *err)
{
	uint64_t port;

	if (str_parse_u64(text, &port) < 0 || port == 0 || port > UINT16_MAX)
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is no port", text);
	*ret_port = (uint16_t)port;
	return 0;
}

int kube_config_set_server(struct kube_config *c, const char *url, struct err *err)
{
	static const char scheme[] = "https://";
	const char *at = url + sizeof(scheme) - 1;
	autofree char *authority = NULL;
	const char *port = NULL;
	size_t n;

	if (!str_has_prefix(url, scheme))
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' does not begin with https://",
			       url);
	n = strcspn(at, "/?#");
	authority = xstrndup(at, n);
	at += n;
	if (strpbrk(at, "?#") || strchr(authority, '@'))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' has more than host, port and path", url);
	n = *authority == '[' ? strcspn(authority, "]") : strcspn(authority, ":");
	if (*authority == '[' && authority[n] != ']')
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' lacks a ]", url);
	c->host = *authority == '[' ? xstrndup(authority + 1, n - 1) : xstrndup(authority, n);
	n += *authority == '[';
	if (authority[n] == ':')
		port = authority + n + 1;
	c->port = 443;
	if (port && parse_port(port, &c->port, err) < 0)
		return -1;
	if (*c->host == '\0' || (!port && authority[n] != '\0'))
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' names no host", url);
	n = strlen(at);
	while (n > 0 && at[n - 1] == '/')
		n--;
	c->path_prefix = xstrndup(at, n);
	return 0;
}

static int load_in_cluster(const char *host, const char *port, struct kube_config *c,
			   struct err *err)
{
	autofree char *token = NULL;
	autofree char *ns = NULL;
	size_t n;
	int r;

	if (parse_port(port, &c->port, err) < 0)
		return err_wrap(err, "KUBERNETES_SERVICE_PORT");
	r = fd_read_file(AT_FDCWD, SERVICE_ACCOUNT "token", FILE_MAX, &token, &n);
	if (r < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, r,
			      "in-cluster configuration: read '" SERVICE_ACCOUNT "token'");
	explicit_bzero(token, n); /* only looked whether it is there */
	if (fd_read_file(AT_FDCWD, SERVICE_ACCOUNT "namespace", FILE_MAX, &ns, &n) == 0)
		c->namespace_name = xstrndup(ns, strcspn(ns, " \r\n"));
	c->host = xstrdup(host);
	c->path_prefix = xstrdup("");
	c->token_file = xstrdup(SERVICE_ACCOUNT "token");
	c->ca_file = xstrdup(SERVICE_ACCOUNT "ca.crt");
	return 0;
}

static int load_file(const char *path, const char *context, struct kube_config *c, struct err *err)
{
	char *text;
	size_t n;
	int r;

	r = fd_read_file(AT_FDCWD, path, FILE_MAX, &text, &n);
	if (r < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, r, "kubeconfig '%s'", path);
	r = kubeconfig_parse(path, text, n, context, c, err);
	explicit_bzero(text, n);
	free(text);
	return r;
}

/* Whatever path leaves open: variables of a pod, $KUBECONFIG, the home directory. */
static int load_default(const char *context, struct kube_config *c, struct err *err)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	const char *path = getenv("KUBECONFIG");
	const char *home = getenv("HOME");
	autofree char *in_home = NULL;

	if (!str_is_empty(host) && !str_is_empty(port))
		return load_in_cluster(host, port, c, err);
	if (!str_is_empty(path) && strchr(path, ':'))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "KUBECONFIG names several files ('%s'): give the one to use", path);
	if (!str_is_empty(path))
		return load_file(path, context, c, err);
	if (str_is_empty(home))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "no kubeconfig given, not in a pod, KUBECONFIG and HOME not set");
	in_home = xasprintf("%s/.kube/config", home);
	return load_file(in_home, context, c, err);
}

struct tls_options kube_config_tls(const struct kube_config *c)
{
	return (struct tls_options){
		.cert_file = c->cert_data ? NULL : c->cert_file,
		.key_file = c->key_data ? NULL : c->key_file,
		.ca_file = c->ca_data ? NULL : c->ca_file,
		.cert_data = c->cert_data,
		.key_data = c->key_data,
		.ca_data = c->ca_data,
		.server_name = c->server_name,
		.skip_verify = c->insecure_skip_verify,
	};
}

static int try_certificates(const struct kube_config *c, struct err *err)
{
	struct tls_options opts = kube_config_tls(c);
	struct tls *tls;

	if (tls_new(&opts, &tls, err) < 0)
		return -1;
	tls_unref(tls);
	return 0;
}

int kube_config_load(const char *path, const char *context, struct kube_config *ret_config,
		     struct err *err)
{
	struct kube_config c = { 0 };
	int r;

	r = str_is_empty(path) ? load_default(str_or(context, ""), &c, err)
			       : load_file(path, str_or(context, ""), &c, err);
	if (r == 0 && try_certificates(&c, err) < 0)
		r = str_is_empty(path) ? -1 : err_wrap(err, "kubeconfig '%s'", path);
	if (r < 0) {
		kube_config_done(&c);
		return -1;
	}
	if (!c.namespace_name)
		c.namespace_name = xstrdup("default");
	*ret_config = c;
	return 0;
}

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void kube_config_done(struct kube_config *c)
{
	free(c->host);
	free(c->path_prefix);
	free(c->ca_file);
	free(c->ca_data);
	free(c->cert_file);
	free(c->cert_data);
	free(c->key_file);
	wipe(c->key_data);
	wipe(c->token);
	free(c->token_file);
	free(c->server_name);
	free(c->namespace_name);
	*c = (struct kube_config){ 0 };
}
