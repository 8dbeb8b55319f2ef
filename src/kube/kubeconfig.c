/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kubeconfig file: three lists (clusters, users, contexts) of named entries,
 * and the name of the context in use. Read as a YAML document rather than as
 * events, since entries refer to others further down.
 *
 * What this client cannot do is refused by name instead of being passed over:
 * a kubeconfig with an exec plugin would otherwise end in a puzzling 401. Each
 * message says file, line and field, for the file is written by hand.
 */
#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/config-internal.h"

#include <yaml.h>

struct file {
	const char *path;
	yaml_document_t doc;
};

static int fail(const struct file *f, const yaml_node_t *at, struct err *err, const char *what,
		const char *detail)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "kubeconfig '%s', line %zu: %s%s%s", f->path,
		       at ? at->start_mark.line + 1 : 1, what, *detail ? ": " : "", detail);
}

static const char *scalar_text(const yaml_node_t *node)
{
	if (!node || node->type != YAML_SCALAR_NODE)
		return NULL;
	return (const char *)node->data.scalar.value;
}

static yaml_node_t *find(struct file *f, const yaml_node_t *map, const char *key)
{
	if (!map || map->type != YAML_MAPPING_NODE)
		return NULL;
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start;
	     p < map->data.mapping.pairs.top; p++) {
		if (str_is_equal(scalar_text(yaml_document_get_node(&f->doc, p->key)), key))
			return yaml_document_get_node(&f->doc, p->value);
	}
	return NULL;
}

/* The text of a field, malloc'ed; NULL if it is absent, empty or null. */
static int get_text(struct file *f, const yaml_node_t *map, const char *key, char **ret_text,
		    struct err *err)
{
	const yaml_node_t *node = find(f, map, key);
	const char *text = scalar_text(node);

	if (!node)
		return 0;
	if (!text || strlen(text) != node->data.scalar.length)
		return fail(f, node, err, key, "a text is expected here");
	if (*text == '\0' || (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
			      (strcmp(text, "null") == 0 || strcmp(text, "~") == 0)))
		return 0;
	*ret_text = xstrdup(text);
	return 0;
}

/* A file name; relative ones are relative to the kubeconfig's directory. */
static int get_file(struct file *f, const yaml_node_t *map, const char *key, char **ret_path,
		    struct err *err)
{
	autofree char *name = NULL;
	const char *slash = strrchr(f->path, '/');

	if (get_text(f, map, key, &name, err) < 0)
		return -1;
	if (name && *name != '/' && slash)
		*ret_path = xasprintf("%.*s/%s", (int)(slash - f->path), f->path, name);
	else
		*ret_path = TAKE_PTR(name);
	return 0;
}

static int get_data(struct file *f, const yaml_node_t *map, const char *key, char **ret_data,
		    struct err *err)
{
	autofree char *text = NULL;
	size_t n = 0;

	if (get_text(f, map, key, &text, err) < 0)
		return -1;
	if (!text)
		return 0;
	*ret_data = base64_decode(text, &n);
	explicit_bzero(text, strlen(text));        /* may be a private key */
	if (*ret_data && strlen(*ret_data) != n) { /* PEM has no NUL */
		free(*ret_data);
		*ret_data = NULL;
	}
	if (!*ret_data)
		return fail(f, find(f, map, key), err, key, "is not base64 of text");
	return 0;
}

/* The entry of a list whose name is name, its part called inner. */
static int find_entry(struct file *f, const char *list, const char *inner, const char *name,
		      yaml_node_t **ret_entry, struct err *err)
{
	yaml_node_t *root = yaml_document_get_root_node(&f->doc);
	yaml_node_t *node = find(f, root, list);

	if (node && node->type == YAML_SEQUENCE_NODE) {
		for (const yaml_node_item_t *i = node->data.sequence.items.start;
		     i < node->data.sequence.items.top; i++) {
			yaml_node_t *entry = yaml_document_get_node(&f->doc, *i);

			if (!str_is_equal(scalar_text(find(f, entry, "name")), name))
				continue;
			*ret_entry = find(f, entry, inner);
			if (!*ret_entry || (*ret_entry)->type != YAML_MAPPING_NODE)
				return fail(f, entry, err, inner, "is missing in this entry");
			return 0;
		}
	}
	return err_set(err, ERR_FAILED_PRECONDITION, "kubeconfig '%s', line %zu: %s has no '%s'",
		       f->path, node ? node->start_mark.line + 1 : 1, list, name);
}

static int refuse(struct file *f, const yaml_node_t *map, const char *const *keys, struct err *err)
{
	for (; *keys; keys++) {
		const yaml_node_t *node = find(f, map, *keys);
		const char *text = scalar_text(node);

		if (node && !(text && *text == '\0'))
			return fail(f, node, err, *keys, "is not supported");
	}
	return 0;
}

static int read_cluster(struct file *f, const yaml_node_t *cluster, struct kube_config *c,
			struct err *err)
{
	static const char *const unsupported[] = { "proxy-url", NULL };
	autofree char *server = NULL;
	autofree char *insecure = NULL;

	if (refuse(f, cluster, unsupported, err) < 0 ||
	    get_text(f, cluster, "server", &server, err) < 0 ||
	    get_file(f, cluster, "certificate-authority", &c->ca_file, err) < 0 ||
	    get_data(f, cluster, "certificate-authority-data", &c->ca_data, err) < 0 ||
	    get_text(f, cluster, "tls-server-name", &c->server_name, err) < 0 ||
	    get_text(f, cluster, "insecure-skip-tls-verify", &insecure, err) < 0)
		return -1;
	if (!server)
		return fail(f, cluster, err, "server", "is missing in this cluster");
	if (kube_config_set_server(c, server, err) < 0)
		return err_wrap(err, "kubeconfig '%s', line %zu: server", f->path,
				find(f, cluster, "server")->start_mark.line + 1);
	c->insecure_skip_verify = str_is_equal(insecure, "true");
	if (c->insecure_skip_verify && (c->ca_file || c->ca_data))
		return fail(f, find(f, cluster, "insecure-skip-tls-verify"), err,
			    "insecure-skip-tls-verify", "contradicts the certificate-authority");
	return 0;
}

static int read_user(struct file *f, const yaml_node_t *user, struct kube_config *c,
		     struct err *err)
{
	static const char *const unsupported[] = {
		"exec",   "auth-provider", "username",      "password", "as",
		"as-uid", "as-groups",     "as-user-extra", NULL,
	};

	if (refuse(f, user, unsupported, err) < 0 ||
	    get_file(f, user, "client-certificate", &c->cert_file, err) < 0 ||
	    get_data(f, user, "client-certificate-data", &c->cert_data, err) < 0 ||
	    get_file(f, user, "client-key", &c->key_file, err) < 0 ||
	    get_data(f, user, "client-key-data", &c->key_data, err) < 0 ||
	    get_text(f, user, "token", &c->token, err) < 0 ||
	    get_file(f, user, "tokenFile", &c->token_file, err) < 0)
		return -1;
	if ((c->cert_file || c->cert_data) != (c->key_file || c->key_data))
		return fail(f, user, err,
			    c->cert_file || c->cert_data ? "client-key" : "client-certificate",
			    "is missing beside its other half");
	return 0;
}

static int read_document(struct file *f, const char *context, struct kube_config *c,
			 struct err *err)
{
	yaml_node_t *root = yaml_document_get_root_node(&f->doc);
	autofree char *chosen = *context ? xstrdup(context) : NULL;
	autofree char *cluster_name = NULL;
	autofree char *user_name = NULL;
	yaml_node_t *entry;

	if (!root || root->type != YAML_MAPPING_NODE)
		return fail(f, root, err, "is no kubeconfig", "a mapping is expected");
	if (!chosen && get_text(f, root, "current-context", &chosen, err) < 0)
		return -1;
	if (!chosen)
		return fail(f, root, err, "current-context",
			    "is not set, and no context was asked for");
	if (find_entry(f, "contexts", "context", chosen, &entry, err) < 0 ||
	    get_text(f, entry, "cluster", &cluster_name, err) < 0 ||
	    get_text(f, entry, "user", &user_name, err) < 0 ||
	    get_text(f, entry, "namespace", &c->namespace_name, err) < 0)
		return -1;
	if (!cluster_name)
		return fail(f, entry, err, "cluster", "is missing in this context");
	if (find_entry(f, "clusters", "cluster", cluster_name, &entry, err) < 0 ||
	    read_cluster(f, entry, c, err) < 0)
		return -1;
	if (!user_name)
		return 0;
	if (find_entry(f, "users", "user", user_name, &entry, err) < 0)
		return -1;
	return read_user(f, entry, c, err);
}

int kubeconfig_parse(const char *path, const char *text, size_t n, const char *context,
		     struct kube_config *c, struct err *err)
{
	struct file f = { .path = path };
	yaml_parser_t parser;
	int r;

	if (!yaml_parser_initialize(&parser))
		abort(); /* out of memory */
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
	if (!yaml_parser_load(&parser, &f.doc)) {
		r = err_set(err, ERR_FAILED_PRECONDITION, "kubeconfig '%s', line %zu: %s", path,
			    parser.problem_mark.line + 1, str_or(parser.problem, "is not YAML"));
		yaml_parser_delete(&parser);
		return r;
	}
	r = read_document(&f, context, c, err);
	yaml_document_delete(&f.doc);
	yaml_parser_delete(&parser);
	return r;
}
