/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ceph-fuse says when it cannot mount, and what that means: there is nothing but its words to
 * tell by. That it cannot fetch its configuration it says of both a wrong key, at once, and of
 * monitors that are away.
 */
#include <string.h>

#include "backend/cephfs/serve.h"
#include "base/mem.h"

#define MONITORS_NS (20 * NS_PER_S)

/* That which tells most first. */
static const struct {
	const char *said;
	enum err_code code;
	const char *meaning;
} meanings[] = {
	{ "handle_auth_bad_method", ERR_UNAUTHENTICATED, "the cluster does not take this key" },
	{ "ceph mount failed with (1)", ERR_PERMISSION_DENIED, "its caps do not allow it" },
	{ "ceph mount failed with (13)", ERR_PERMISSION_DENIED, "its caps do not allow it" },
	{ "ceph mount failed with (2)", ERR_NOT_FOUND, "there is no such path or filesystem" },
	{ "ceph mount failed with (110)", ERR_UNAVAILABLE, "no metadata server answers" },
	{ "failed to fetch mon config", ERR_UNAUTHENTICATED,
	  "the cluster does not take this user and key" },
};

/* What nobody caught, on a line of its own; traces come after it. */
static const char exception[] = "  what():  ";

void cephfs_last_words(const char *output, struct str *out)
{
	size_t n = strlen(output);
	size_t from;

	while (n > 0 && strchr("\r\n ", output[n - 1]))
		n--;
	for (from = n; from > 0 && output[from - 1] != '\n'; from--)
		;
	str_append_n(out, output + from, n - from);
}

int cephfs_explain(const struct cephfs_order *o, const char *output, int64_t took_ns,
		   bool is_served, struct err *err)
{
	struct err why = *err;
	const char *what;

	if (is_served)
		return err_wrap(err, "user '%.80s', filesystem '%.80s', path '%.160s'", o->user,
				o->fs_name, o->path);
	if (why.code != ERR_INTERNAL)
		return -1;
	if (took_ns >= MONITORS_NS)
		return err_set(
			err, ERR_UNAVAILABLE,
			"ceph-fuse of user '%.80s': monitors '%.200s' do not answer (%.160s)",
			o->user, o->monitors, why.msg);
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++) {
		if (strstr(output, meanings[i].said))
			return err_set(err, meanings[i].code,
				       "ceph-fuse of user '%.80s', filesystem '%.80s', path "
				       "'%.160s', monitors '%.80s': %s (%.160s)",
				       o->user, o->fs_name, o->path, o->monitors,
				       meanings[i].meaning, why.msg);
	}
	what = strstr(output, exception);
	if (!what)
		return -1;
	what += sizeof(exception) - 1;
	return err_set(err, ERR_INTERNAL, "ceph-fuse of user '%.80s' gave up: %.*s", o->user,
		       (int)strcspn(what, "\n"), what);
}
