/* SPDX-License-Identifier: Apache-2.0 */
/* Lists in pages, each let go before the next comes. */
#include "control/list.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/path.h"

#define PAGE 200
#define PAGES_MAX 100000

/* A token of the server's own, which is no more than what a URL may hold. */
static bool is_plain(const char *token)
{
	for (const char *p = token; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || strchr("&#%+?/", *p))
			return false;
	return true;
}

static int show(const struct json_doc *page, list_fn fn, void *arg)
{
	const struct json *item;
	const char *none;
	int r = 0;

	for (struct json_it it = json_each(json_get(json_root(page), "items"));
	     r == 0 && json_next(&it, &none, &item);)
		r = fn(arg, item);
	return r;
}

/* *token is malloc'ed, and taken over by the next page's. */
static int show_page(struct kube_client *client, struct ctx *ctx, const char *path, char **token,
		     list_fn fn, void *arg, struct err *err)
{
	autofree char *from = TAKE_PTR(*token);
	autofree char *page =
		xasprintf("%s?limit=%d%s%s", path, PAGE, *from ? "&continue=" : "", from);
	autojson struct json_doc *doc = NULL;
	int r;

	if (kube_get(client, ctx, page, &doc, err) < 0)
		return -1;
	r = show(doc, fn, arg);
	*token = xstrdup(str_or(json_path_string(json_root(doc), "metadata.continue"), ""));
	if (r == 0 && !is_plain(*token))
		return err_set(err, ERR_INTERNAL, "the API server's list %s goes on with '%.40s'",
			       path, *token);
	return r;
}

int list_each(struct kube_client *client, struct ctx *ctx, const struct kube_type *type,
	      const char *ns, list_fn fn, void *arg, struct err *err)
{
	autofree char *path = NULL;
	autofree char *token = xstrdup("");

	if (kube_collection_path(type, ns, &path, err) < 0)
		return -1;
	for (unsigned n = 0; n < PAGES_MAX; n++) {
		int r = show_page(client, ctx, path, &token, fn, arg, err);

		if (r != 0 || !*token)
			return r;
	}
	return err_set(err, ERR_INTERNAL, "the API server's list %s does not end", path);
}
