/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl pool - what is done to a pool's directory while no driver serves it
 *
 * Asks no driver: a pool that has to be adopted is one that the driver refuses. The pool's lock
 * keeps a living driver and this apart.
 */
#include "backend/pool/pool.h"
#include "base/json.h"
#include "cmd/ctl.h"

static int check_adopt(const struct ctl_options *opts, struct err *err)
{
	if (opts->moved != opts->copy)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "pool adopt: %s: --moved if the pool was brought here and is nowhere else, "
		       "--copy if the original may still be served",
		       opts->moved ? "--moved and --copy contradict each other"
				   : "say which it is");
}

static void print_adopted(struct ctl *ctl, const char *before, const char *now)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	switch (ctl->output) {
	case CTL_ID:
		str_appendf(ctl->out, "%s\n", now);
		break;
	case CTL_JSON:
	case CTL_YAML:
		json_begin_object(&w);
		json_field_string(&w, "pool", ctl->id);
		json_field_string(&w, "before", before);
		json_field_string(&w, "identity", now);
		json_end_object(&w);
		ctl_print_document(ctl, &json);
		break;
	case CTL_TABLE:
		str_appendf(ctl->out, "pool %s adopted, identity %s\n", ctl->id, now);
		if (ctl->opts->copy)
			str_appendf(ctl->out,
				    "it is a pool of its own now (before: %s); volumes made for "
				    "another are reported, not served\n",
				    before);
		break;
	}
}

static int adopt(struct ctl *ctl, struct err *err)
{
	const struct pool_adopt how = { .dir = ctl->id, .is_copy = ctl->opts->copy };
	struct pool_adopted done;
	char before[UUID_TEXT_MAX], now[UUID_TEXT_MAX];

	if (pool_adopt(&how, &done, err) < 0)
		return -1;
	uuid_format(&done.before, before);
	uuid_format(&done.identity, now);
	print_adopted(ctl, before, now);
	return 0;
}

/* clang-format off */
const struct ctl_verb ctl_pool_verbs[] = {
	{ .group = "pool", .name = "adopt", .argument = "DIR", .is_local = true, .check = check_adopt, .run = adopt,
	  .takes = "moved,copy", .summary = "Say that a pool was moved here, or is a copy, so that it is served again." },
	{ .name = NULL },
};
/* clang-format on */
