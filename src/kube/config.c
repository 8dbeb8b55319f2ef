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
	uint32_t port;

	if (str_parse_u32(text, UINT16_MAX, &port) < 0 || port == 0)
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

const char *kube_token_problem(const char *text, size_t n)
{
	if (n == 0)
		return "is empty";
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f)
			return "has a blank, or a byte that no token has";
	return NULL;
}

size_t kube_token_trim(char *text, size_t n)
{
	static const char blanks[] = " \t\r\n";
	size_t begin = 0;

	while (n > 0 && strchr(blanks, text[n - 1]) && text[n - 1])
		n--;
	while (begin < n && text[begin] && strchr(blanks, text[begin]))
		begin++;
	memmove(text, text + begin, n - begin);
	text[n - begin] = '\0';
	return n - begin;
}

/* Looks at the token file now, so that a bad one is named at start and not by a 401. */
static int try_token_file(const char *path, struct err *err)
{
	const char *problem;
	char *text;
	size_t n;
	int r = fd_read_file(AT_FDCWD, path, FILE_MAX, &text, &n);

	if (r < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, r, "token file '%s'", path);
	problem = kube_token_problem(text, kube_token_trim(text, n));
	explicit_bzero(text, n);
	free(text);
	return problem ? err_set(err, ERR_FAILED_PRECONDITION, "token file '%s' %s", path, problem)
		       : 0;
}

static int load_in_cluster(const char *host, const char *port, struct kube_config *c,
			   struct err *err)
{
	autofree char *ns = NULL;
	size_t n;

	if (parse_port(port, &c->port, err) < 0)
		return err_wrap(err, "KUBERNETES_SERVICE_PORT");
	if (try_token_file(SERVICE_ACCOUNT "token", err) < 0)
		return err_wrap(err, "in-cluster configuration");
	if (fd_read_file(AT_FDCWD, SERVICE_ACCOUNT "namespace", FILE_MAX, &ns, &n) == 0)
		c->namespace_name = xstrndup(ns, strcspn(ns, " \r\n"));
	c->host = xstrdup(host);
	c->path_prefix = xstrdup("");
	c->token_file = xstrdup(SERVICE_ACCOUNT "token");
	c->ca_file = xstrdup(SERVICE_ACCOUNT "ca.crt");
	c->is_in_cluster = true;
	return 0;
}

struct source {
	char *path;
	char *text;
	size_t n;
};

static int parse_sources(const struct source *v, size_t n, const char *context,
			 struct kube_config *c, struct err *err)
{
	autofree struct kubeconfig_text *texts = xcalloc(n, sizeof(*texts));

	for (size_t i = 0; i < n; i++)
		texts[i] = (struct kubeconfig_text){ v[i].path, v[i].text, v[i].n };
	return kubeconfig_parse(texts, n, context, c, err);
}

static void free_sources(struct source *v)
{
	for (size_t i = 0; v[i].path; i++) {
		if (v[i].text)
			explicit_bzero(v[i].text, v[i].n);
		free(v[i].text);
		free(v[i].path);
	}
	free(v);
}

/* Reads and parses the files of paths with separator ("": one file) between them; those that are
 * not there are left out, as kubectl does. *ret_found: false, and nothing else, if none of them is.
 */
static int load_files(const char *paths, const char *separator, const char *context,
		      bool *ret_found, struct kube_config *c, struct err *err)
{
	struct source *v = xcalloc(strlen(paths) + 2, sizeof(*v));
	const char *at = paths + strspn(paths, separator);
	size_t n = 0;
	int r = 0;

	for (; r == 0 && *at; at += strspn(at, separator)) {
		size_t len = strcspn(at, separator);

		v[n].path = xstrndup(at, len);
		at += len;
		r = fd_read_file(AT_FDCWD, v[n].path, FILE_MAX, &v[n].text, &v[n].n);
		if (r == 0) {
			n++;
		} else if (r == -ENOENT) {
			r = 0;
			free(TAKE_PTR(v[n].path));
		} else {
			err_os(err, ERR_FAILED_PRECONDITION, r, "kubeconfig '%s'", v[n].path);
		}
	}
	*ret_found = n > 0;
	if (r == 0 && n > 0)
		r = parse_sources(v, n, context, c, err);
	free_sources(v);
	return r;
}

static int load_file(const char *path, const char *context, struct kube_config *c, struct err *err)
{
	bool is_found = false;

	if (load_files(path, "", context, &is_found, c, err) < 0)
		return -1;
	if (is_found)
		return 0;
	return err_os(err, ERR_FAILED_PRECONDITION, -ENOENT, "kubeconfig '%s'", path);
}

/* Whatever path leaves open: $KUBECONFIG, variables of a pod, the home directory. */
static int load_default(const char *context, struct kube_config *c, struct err *err)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	const char *paths = getenv("KUBECONFIG");
	const char *home = getenv("HOME");
	autofree char *in_home = NULL;
	bool is_pod = !str_is_empty(host) && !str_is_empty(port);
	bool is_found = false;

	if (!str_is_empty(paths) && load_files(paths, ":", context, &is_found, c, err) < 0)
		return -1;
	if (is_found)
		return 0;
	if (is_pod)
		return load_in_cluster(host, port, c, err);
	if (!str_is_empty(paths))
		return err_os(err, ERR_FAILED_PRECONDITION, -ENOENT, "KUBECONFIG '%s'", paths);
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
	if (r == 0 && (try_certificates(&c, err) < 0 ||
		       (c.token_file && try_token_file(c.token_file, err) < 0)))
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

int kube_config_use_server(struct kube_config *c, const char *url, struct err *err)
{
	struct kube_config other = { 0 };

	if (kube_config_set_server(&other, url, err) < 0) {
		kube_config_done(&other);
		return -1;
	}
	free(c->host);
	free(c->path_prefix);
	c->host = other.host;
	c->port = other.port;
	c->path_prefix = other.path_prefix;
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
