/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kubeconfig: three lists (clusters, users, contexts) of named entries, and
 * the name of the context in use. Read as YAML documents rather than as
 * events, since entries refer to others further down, or in another file: of
 * several files, as kubectl has it, the first that has an entry (whole, under
 * its name) or a current context is the one that counts.
 *
 * Null, however it is spelled, is a field that is not there; aliases and merge
 * keys are followed.
 *
 * What this client cannot do is refused by name instead of being passed over:
 * a kubeconfig with an exec plugin would otherwise end in a puzzling 401. Each
 * message says file, line and field, for the file is written by hand.
 */
#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/config-internal.h"

#include <strings.h>
#include <yaml.h>

#define MERGES_MAX 64

struct file {
	const char *path;
	yaml_document_t doc;
};

struct files {
	struct file *v; /* in the order of KUBECONFIG */
	size_t n;
};

static int fail(const struct file *f, const yaml_node_t *at, struct err *err, const char *what,
		const char *detail)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "kubeconfig '%s', line %zu: %s%s%s", f->path,
		       at ? at->start_mark.line + 1 : 1, what, *detail ? ": " : "", detail);
}

/* Null in a form that YAML 1.1 knows: unquoted, or nothing at all. */
static bool is_null(const yaml_node_t *node)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };

	if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp((const char *)node->data.scalar.value, words[i]) == 0)
			return true;
	return false;
}

static const char *scalar_text(const yaml_node_t *node)
{
	if (!node || node->type != YAML_SCALAR_NODE)
		return NULL;
	return (const char *)node->data.scalar.value;
}

static yaml_node_t *find_at(struct file *f, const yaml_node_t *map, const char *key,
			    unsigned *left);

/* In what a merge key ("<<") names: a mapping, or mappings of which the first counts. */
static yaml_node_t *find_merged(struct file *f, const yaml_node_t *from, const char *key,
				unsigned *left)
{
	yaml_node_t *value = NULL;

	if (from->type != YAML_SEQUENCE_NODE)
		return find_at(f, from, key, left);
	for (const yaml_node_item_t *i = from->data.sequence.items.start;
	     !value && i < from->data.sequence.items.top; i++)
		value = find_at(f, yaml_document_get_node(&f->doc, *i), key, left);
	return value;
}

/* Its own fields go before merged ones. An alias may name what it lies in, so the mappings that are
 * looked into are counted. */
static yaml_node_t *find_at(struct file *f, const yaml_node_t *map, const char *key, unsigned *left)
{
	const yaml_node_pair_t *end = map->data.mapping.pairs.top;
	yaml_node_t *value = NULL;

	if (map->type != YAML_MAPPING_NODE || *left == 0)
		return NULL;
	--*left;
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < end; p++) {
		if (str_is_equal(scalar_text(yaml_document_get_node(&f->doc, p->key)), key))
			return yaml_document_get_node(&f->doc, p->value);
	}
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; !value && p < end; p++) {
		if (str_is_equal(scalar_text(yaml_document_get_node(&f->doc, p->key)), "<<"))
			value = find_merged(f, yaml_document_get_node(&f->doc, p->value), key,
					    left);
	}
	return value;
}

/* The value of a field; NULL if it is absent or null. */
static yaml_node_t *find(struct file *f, const yaml_node_t *map, const char *key)
{
	unsigned left = MERGES_MAX;
	yaml_node_t *value = map ? find_at(f, map, key, &left) : NULL;

	return value && !is_null(value) ? value : NULL;
}

/* The text of a field, malloc'ed; NULL if it is absent or empty. */
static int get_text(struct file *f, const yaml_node_t *map, const char *key, char **ret_text,
		    struct err *err)
{
	const yaml_node_t *node = find(f, map, key);
	const char *text = scalar_text(node);

	if (!node)
		return 0;
	if (!text || strlen(text) != node->data.scalar.length)
		return fail(f, node, err, key, "a text is expected here");
	if (*text != '\0')
		*ret_text = xstrdup(text);
	return 0;
}

/* A boolean as the tools of YAML 1.1 write it. Anything else is refused, since a setting that is
 * taken for false in silence is found out by its absence only. */
static int get_bool(struct file *f, const yaml_node_t *map, const char *key, bool *ret_value,
		    struct err *err)
{
	static const char *const words[][2] = {
		{ "true", "false" }, { "yes", "no" }, { "on", "off" }, { "y", "n" }
	};
	const yaml_node_t *node = find(f, map, key);
	const char *text = scalar_text(node);

	if (!node)
		return 0;
	for (size_t i = 0; text && i < ARRAY_LEN(words); i++) {
		bool is_true = strcasecmp(text, words[i][0]) == 0;

		if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
		    (!is_true && strcasecmp(text, words[i][1]) != 0))
			continue;
		*ret_value = is_true;
		return 0;
	}
	return fail(f, node, err, key, "true or false is expected here, without quotes");
}

/* A token of no bytes, or one that cannot stand in a header, would be a request of nobody's. */
static int get_token(struct file *f, const yaml_node_t *user, char **ret_token, struct err *err)
{
	const yaml_node_t *node = find(f, user, "token");
	const char *text = scalar_text(node);
	const char *problem;

	if (!node)
		return 0;
	if (!text)
		return fail(f, node, err, "token", "a text is expected here");
	problem = kube_token_problem(text, node->data.scalar.length);
	if (problem)
		return fail(f, node, err, "token", problem);
	*ret_token = xstrdup(text);
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

static yaml_node_t *find_in_list(struct file *f, const char *list, const char *name)
{
	yaml_node_t *node = find(f, yaml_document_get_root_node(&f->doc), list);

	if (!node || node->type != YAML_SEQUENCE_NODE)
		return NULL;
	for (const yaml_node_item_t *i = node->data.sequence.items.start;
	     i < node->data.sequence.items.top; i++) {
		yaml_node_t *entry = yaml_document_get_node(&f->doc, *i);

		if (str_is_equal(scalar_text(find(f, entry, "name")), name))
			return entry;
	}
	return NULL;
}

/* The entry of a list whose name is name, its part called inner, and the file that has it. from:
 * who asks. */
static int find_entry(struct files *all, const struct file *from, const char *list,
		      const char *inner, const char *name, struct file **ret_file,
		      yaml_node_t **ret_entry, struct err *err)
{
	for (size_t i = 0; i < all->n; i++) {
		struct file *f = &all->v[i];
		yaml_node_t *entry = find_in_list(f, list, name);

		if (!entry)
			continue;
		*ret_file = f;
		*ret_entry = find(f, entry, inner);
		if (!*ret_entry || (*ret_entry)->type != YAML_MAPPING_NODE)
			return fail(f, entry, err, inner, "is missing in this entry");
		return 0;
	}
	return err_set(err, ERR_FAILED_PRECONDITION, "kubeconfig '%s': %s has no '%s'%s",
		       from->path, list, name, all->n > 1 ? ", nor have the other files" : "");
}

/* Whether a field is there but says nothing: "", [] or {}. */
static bool is_blank(const yaml_node_t *node)
{
	if (node->type == YAML_SEQUENCE_NODE)
		return node->data.sequence.items.start == node->data.sequence.items.top;
	if (node->type == YAML_MAPPING_NODE)
		return node->data.mapping.pairs.start == node->data.mapping.pairs.top;
	return node->data.scalar.length == 0;
}

static int refuse(struct file *f, const yaml_node_t *map, const char *const *keys, struct err *err)
{
	for (; *keys; keys++) {
		const yaml_node_t *node = find(f, map, *keys);

		if (node && !is_blank(node))
			return fail(f, node, err, *keys, "is not supported");
	}
	return 0;
}

static int read_cluster(struct file *f, const yaml_node_t *cluster, struct kube_config *c,
			struct err *err)
{
	static const char *const unsupported[] = { "proxy-url", NULL };
	autofree char *server = NULL;

	if (refuse(f, cluster, unsupported, err) < 0 ||
	    get_text(f, cluster, "server", &server, err) < 0 ||
	    get_file(f, cluster, "certificate-authority", &c->ca_file, err) < 0 ||
	    get_data(f, cluster, "certificate-authority-data", &c->ca_data, err) < 0 ||
	    get_text(f, cluster, "tls-server-name", &c->server_name, err) < 0 ||
	    get_bool(f, cluster, "insecure-skip-tls-verify", &c->insecure_skip_verify, err) < 0)
		return -1;
	if (!server)
		return fail(f, cluster, err, "server", "is missing in this cluster");
	if (kube_config_set_server(c, server, err) < 0)
		return err_wrap(err, "kubeconfig '%s', line %zu: server", f->path,
				find(f, cluster, "server")->start_mark.line + 1);
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
	    get_token(f, user, &c->token, err) < 0 ||
	    get_file(f, user, "tokenFile", &c->token_file, err) < 0)
		return -1;
	if ((c->cert_file || c->cert_data) != (c->key_file || c->key_data))
		return fail(f, user, err,
			    c->cert_file || c->cert_data ? "client-key" : "client-certificate",
			    "is missing beside its other half");
	return 0;
}

/* The name of the context to use, and the file that says so. */
static int choose_context(struct files *all, struct file **ret_file, char **ret_name,
			  struct err *err)
{
	for (size_t i = 0; i < all->n; i++) {
		struct file *f = &all->v[i];
		yaml_node_t *root = yaml_document_get_root_node(&f->doc);

		if (get_text(f, root, "current-context", ret_name, err) < 0)
			return -1;
		*ret_file = f;
		if (*ret_name)
			return 0;
	}
	return fail(&all->v[0], yaml_document_get_root_node(&all->v[0].doc), err, "current-context",
		    "is not set, and no context was asked for");
}

static int read_context(struct files *all, const char *context, struct kube_config *c,
			struct err *err)
{
	autofree char *chosen = *context ? xstrdup(context) : NULL;
	autofree char *cluster_name = NULL;
	autofree char *user_name = NULL;
	struct file *f = &all->v[0];
	struct file *from;
	yaml_node_t *entry;

	if (!chosen && choose_context(all, &f, &chosen, err) < 0)
		return -1;
	if (find_entry(all, f, "contexts", "context", chosen, &from, &entry, err) < 0 ||
	    get_text(from, entry, "cluster", &cluster_name, err) < 0 ||
	    get_text(from, entry, "user", &user_name, err) < 0 ||
	    get_text(from, entry, "namespace", &c->namespace_name, err) < 0)
		return -1;
	if (!cluster_name)
		return fail(from, entry, err, "cluster", "is missing in this context");
	if (find_entry(all, from, "clusters", "cluster", cluster_name, &f, &entry, err) < 0 ||
	    read_cluster(f, entry, c, err) < 0)
		return -1;
	if (!user_name)
		return 0;
	if (find_entry(all, from, "users", "user", user_name, &f, &entry, err) < 0)
		return -1;
	return read_user(f, entry, c, err);
}

/* f->doc is to be deleted only after success. */
static int load(struct file *f, const struct kubeconfig_text *text, struct err *err)
{
	yaml_parser_t parser;
	int r = 0;

	f->path = text->path;
	if (!yaml_parser_initialize(&parser))
		abort(); /* out of memory */
	yaml_parser_set_input_string(&parser, (const unsigned char *)text->text, text->n);
	if (!yaml_parser_load(&parser, &f->doc))
		r = err_set(err, ERR_FAILED_PRECONDITION, "kubeconfig '%s', line %zu: %s", f->path,
			    parser.problem_mark.line + 1, str_or(parser.problem, "is not YAML"));
	yaml_parser_delete(&parser);
	return r;
}

/* An empty file among several is as good as none; alone it is a mistake. */
static int check_root(struct file *f, bool is_alone, struct err *err)
{
	yaml_node_t *root = yaml_document_get_root_node(&f->doc);

	if ((root && root->type == YAML_MAPPING_NODE) || (!is_alone && (!root || is_null(root))))
		return 0;
	return fail(f, root, err, "is no kubeconfig", "a mapping is expected");
}

int kubeconfig_parse(const struct kubeconfig_text *texts, size_t n, const char *context,
		     struct kube_config *c, struct err *err)
{
	autofree struct file *v = xcalloc(n, sizeof(*v));
	struct files all = { .v = v };
	int r = 0;

	while (r == 0 && all.n < n) {
		r = load(&v[all.n], &texts[all.n], err);
		if (r < 0)
			break;
		r = check_root(&v[all.n], n == 1, err);
		all.n++;
	}
	if (r == 0)
		r = read_context(&all, context, c, err);
	while (all.n > 0)
		yaml_document_delete(&v[--all.n].doc);
	return r;
}
