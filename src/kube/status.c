/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an HTTP status and a Status object to struct err. The code follows the
 * HTTP status; only for 409 the reason in the body decides, since "is there
 * already" and "was changed meanwhile" ask for opposite reactions.
 *
 * The message always begins with verb and resource, so that a missing right can
 * be copied from an Event into a Role, and goes on with the server's own words
 * and those of its causes, which admission plugins do not always repeat.
 * The body is outside input and may be cut off or no JSON at all.
 */
#include "base/mem.h"
#include "base/str.h"
#include "kube/client-internal.h"

static enum err_code code_of(int status, const char *reason)
{
	switch (status) {
	case 400:
	case 413:
	case 422:
		return ERR_INVALID_ARGUMENT;
	case 401:
		return ERR_UNAUTHENTICATED;
	case 403:
		return ERR_PERMISSION_DENIED;
	case 404:
		return ERR_NOT_FOUND;
	case 405:
	case 406:
	case 415:
		return ERR_UNIMPLEMENTED;
	case 408:
	case 429:
		return ERR_UNAVAILABLE;
	case 409:
		return str_is_equal(reason, "AlreadyExists") ? ERR_ALREADY_EXISTS : ERR_ABORTED;
	case 410:
		return ERR_OUT_OF_RANGE;
	default:
		return status >= 500 ? ERR_UNAVAILABLE : ERR_UNKNOWN;
	}
}

static const char *skip_parts(const char *path, unsigned n)
{
	for (; n > 0 && path; n--) {
		path = strchr(path, '/');
		path = path ? path + 1 : NULL;
	}
	return path;
}

static size_t part_len(const char *part)
{
	return strcspn(part, "/?");
}

char *kube_path_resource(const char *path)
{
	static const char namespaces[] = "namespaces/";
	const char *at = strstr(path, "/api/");
	const char *sub;

	at = at ? skip_parts(at + 1, 2) : strstr(path, "/apis/");
	if (at && *at == '/')
		at = skip_parts(at + 1, 3);
	if (!at)
		return xstrndup(path, strcspn(path, "?"));
	/* "namespaces/NAME/…" leads to a resource; "namespaces" and "namespaces/NAME" are one. */
	if (str_has_prefix(at, namespaces) && skip_parts(at, 2))
		at = skip_parts(at, 2);
	sub = skip_parts(at, 2);
	if (sub && at + strcspn(at, "?") > sub)
		return xasprintf("%.*s/%.*s", (int)part_len(at), at, (int)part_len(sub), sub);
	return xstrndup(at, part_len(at));
}

#define CAUSES_MAX 32

static const char *copy_field(struct arena *arena, const struct json *v, const char *key)
{
	return arena_strdup(arena, str_or(json_get_string(v, key), ""));
}

static void read_causes(struct arena *arena, const struct json *causes, struct kube_verdict *v)
{
	size_t n = json_is_array(causes) ? json_count(causes) : 0;
	struct kube_cause *list;
	const struct json *cause;

	n = n < CAUSES_MAX ? n : CAUSES_MAX;
	if (n == 0)
		return;
	v->causes = list = arena_array(arena, n, sizeof(*list));
	for (struct json_it it = json_each(causes);
	     v->n_causes < n && json_next(&it, NULL, &cause);)
		list[v->n_causes++] =
			(struct kube_cause){ .reason = copy_field(arena, cause, "reason"),
					     .field = copy_field(arena, cause, "field"),
					     .message = copy_field(arena, cause, "message") };
}

void kube_verdict_read(struct arena *arena, int status, const char *body, size_t n,
		       struct kube_verdict *ret_verdict)
{
	struct kube_verdict v = { .status = status, .reason = "", .message = "" };
	autojson struct json_doc *doc = NULL;
	struct err ignored;

	if (n > 0 && json_parse(body, n, &doc, &ignored) == 0) {
		v.reason = copy_field(arena, json_root(doc), "reason");
		v.message = copy_field(arena, json_root(doc), "message");
		read_causes(arena, json_path(json_root(doc), "details.causes"), &v);
	}
	*ret_verdict = v;
}

/* "; FIELD: MESSAGE" of what the server's message does not say already. */
static void append_causes(const struct kube_verdict *v, struct str *out)
{
	for (size_t i = 0; i < v->n_causes; i++) {
		const struct kube_cause *cause = &v->causes[i];

		if (!*cause->message || strstr(str_get(out), cause->message))
			continue;
		str_appendf(out, "; %s%s%s", cause->field, *cause->field ? ": " : "",
			    cause->message);
	}
}

int kube_reply_error(const char *verb, const char *path, int status, const char *body, size_t n,
		     struct err *err)
{
	autofree char *resource = kube_path_resource(path);
	autoarena struct arena *arena = arena_new();
	autostr struct str text = STR_INIT;
	struct kube_verdict v;

	kube_verdict_read(arena, status, body, n, &v);
	if (*v.message)
		str_append(&text, v.message);
	else if (status == 401)
		str_append(&text, "the API server does not accept our credentials");
	else
		str_appendf(&text, "HTTP status %d%s%s", status, *v.reason ? " " : "", v.reason);
	append_causes(&v, &text);
	return err_set(err, code_of(status, v.reason), "%s %s: %s", verb, resource, str_get(&text));
}

bool kube_verdict_has(const struct kube_verdict *v, const char *reason)
{
	for (size_t i = 0; i < v->n_causes; i++)
		if (str_is_equal(v->causes[i].reason, reason))
			return true;
	return str_is_equal(v->reason, reason);
}

bool kube_verdict_is_over_quota(const struct kube_verdict *v)
{
	return str_is_equal(v->reason, "Forbidden") && strstr(v->message, "exceeded quota: ");
}
