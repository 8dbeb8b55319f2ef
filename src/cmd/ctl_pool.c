/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl pool - a pool's directory, on the node where it is
 *
 * Adopt and status ask no driver: a pool that has to be adopted is one
 * that the driver refuses, and CSI has no word for most of what status tells. The pool's lock keeps
 * a living driver and adopt apart; status only reads.
 */
#include "backend/pool/pool.h"
#include "base/json.h"
#include "cmd/ctl.h"
#include "volume/space.h"

#include <inttypes.h>

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

static void put_status(struct ctl *ctl, const struct pool_status *s, const char *identity)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	json_begin_object(&w);
	json_field_string(&w, "pool", ctl->id);
	json_field_string(&w, "identity", identity);
	json_field_string(&w, "node", s->node);
	json_field_bool(&w, "served", s->is_served);
	if (s->is_served && s->server > 0)
		json_field_u64(&w, "process", (uint64_t)s->server);
	json_field_string(&w, "medium", s->medium);
	json_field_u64(&w, "total_bytes", s->total_bytes);
	json_field_u64(&w, "free_bytes", s->free_bytes);
	json_field_u64(&w, "kept_bytes", s->kept_bytes);
	json_field_u64(&w, "reserved_bytes", s->reserved_bytes);
	json_field_u64(&w, "available_bytes", s->available_bytes);
	json_field_u64(&w, "volume_bytes", s->volume_bytes);
	json_field_u64(&w, "percent", s->percent);
	json_field_u64(&w, "overdrawn_bytes", s->overdrawn_bytes);
	json_field_u64(&w, "thin_volumes", s->n_thin);
	json_field_u64(&w, "thin_bytes", s->thin_bytes);
	json_field_u64(&w, "thin_used_bytes", s->thin_used_bytes);
	json_field_u64(&w, "thin_kept_bytes", s->thin_kept_bytes);
	json_field_u64(&w, "thin_available_bytes", s->thin_available_bytes);
	json_field_u64(&w, "overcommit_percent", s->overcommit);
	json_field_u64(&w, "volumes", s->n_volumes);
	json_field_u64(&w, "snapshots", s->n_snapshots);
	json_field_u64(&w, "snapshots_being_copied", s->n_copying);
	json_field_u64(&w, "damaged_volumes", s->n_damaged);
	json_field_u64(&w, "damaged_snapshots", s->n_damaged_snapshots);
	json_field_u64(&w, "foreign", s->n_foreign);
	json_end_object(&w);
	ctl_print_document(ctl, &json);
}

static void print_server(struct str *out, const struct pool_status *s)
{
	if (s->node[0])
		str_appendf(out, "node       %s\n", s->node);
	if (!s->is_served)
		str_append(out, "served     by nobody now\n");
	else if (s->server > 0)
		str_appendf(out, "served     by process %d\n", s->server);
	else
		str_append(out, "served     by a process of another container\n");
}

static void print_bytes(struct str *out, const char *word, uint64_t bytes, const char *rest)
{
	char text[CMD_BYTES_MAX];

	cmd_format_bytes(bytes, text);
	str_appendf(out, "%-10s %s%s\n", word, text, rest);
}

static void print_thin(struct str *out, const struct pool_status *s)
{
	char bytes[CMD_BYTES_MAX], used[CMD_BYTES_MAX], left[CMD_BYTES_MAX];
	char ratio[VOL_OVERCOMMIT_TEXT_MAX];

	cmd_format_bytes(s->thin_bytes, bytes);
	cmd_format_bytes(s->thin_used_bytes, used);
	cmd_format_bytes(s->thin_available_bytes, left);
	vol_overcommit_format(s->overcommit, ratio);
	str_appendf(out, "thin       %" PRIu64 " of them, promised %s, of which %s are used\n",
		    s->n_thin, bytes, used);
	str_appendf(out, "           %s more can be promised (--pool-overcommit=%s)\n", left,
		    ratio);
	if (s->overdrawn_bytes)
		print_bytes(out, "overdrawn", s->overdrawn_bytes,
			    " of what is reserved and kept were written by thin volumes or others");
}

static void print_status(struct ctl *ctl, const struct pool_status *s, const char *identity)
{
	struct str *out = ctl->out;
	char bytes[CMD_BYTES_MAX];

	str_appendf(out, "pool       %s, identity %s\n", ctl->id, identity);
	print_server(out, s);
	str_appendf(out, "lies on    %s\n", s->medium);
	print_bytes(out, "total", s->total_bytes, "");
	print_bytes(out, "free", s->free_bytes, ", of which");
	print_bytes(out, "available", s->available_bytes,
		    " for thick volumes, if none is being made now");
	print_bytes(out, "reserved", s->reserved_bytes,
		    " for overwriting what volumes share with snapshots");
	print_bytes(out, "kept", s->kept_bytes, " for metadata (--pool-reserve)");
	if (s->thin_kept_bytes)
		print_bytes(out, "kept", s->thin_kept_bytes, " for thin volumes");
	str_appendf(out, "full       %u %%\n", s->percent);
	cmd_format_bytes(s->volume_bytes, bytes);
	str_appendf(out, "volumes    %" PRIu64 ", promised %s\n", s->n_volumes, bytes);
	print_thin(out, s);
	str_appendf(out, "snapshots  %" PRIu64, s->n_snapshots);
	if (s->n_copying)
		str_appendf(out, ", of which %" PRIu64 " being copied", s->n_copying);
	str_append(out, "\n");
	if (s->n_damaged + s->n_damaged_snapshots)
		str_appendf(out, "damaged    %" PRIu64 " volumes, %" PRIu64 " snapshots\n",
			    s->n_damaged, s->n_damaged_snapshots);
	if (s->n_foreign)
		str_appendf(out, "foreign    %" PRIu64 " files that are not cleat's\n",
			    s->n_foreign);
}

static int status(struct ctl *ctl, struct err *err)
{
	struct pool_status_ask ask = { .dir = ctl->id, .reserve_bytes = ctl->opts->pool_reserve };
	char identity[UUID_TEXT_MAX];
	struct pool_status s;

	if (vol_overcommit_parse(ctl->opts->pool_overcommit, &ask.overcommit, err) < 0)
		return err_wrap(err, "--pool-overcommit");
	if (pool_status(ctl->ctx, &ask, &s, err) < 0)
		return -1;
	uuid_format(&s.identity, identity);
	switch (ctl->output) {
	case CTL_ID:
		str_appendf(ctl->out, "%s\n", identity);
		break;
	case CTL_JSON:
	case CTL_YAML:
		put_status(ctl, &s, identity);
		break;
	case CTL_TABLE:
		print_status(ctl, &s, identity);
		break;
	}
	return 0;
}

/* clang-format off */
const struct ctl_verb ctl_pool_verbs[] = {
	{ .group = "pool", .name = "adopt", .argument = "DIR", .is_local = true, .check = check_adopt, .run = adopt,
	  .takes = "moved,copy", .summary = "Say that a pool was moved here, or is a copy, so that it is served again." },
	{ .group = "pool", .name = "status", .argument = "DIR", .is_local = true, .run = status, .takes = "pool-reserve,pool-overcommit",
	  .summary = "How much room a pool on this node has, and what is in it; a driver that serves it is not disturbed." },
	{ .group = "pool", .name = "list", .check = ctl_check_agents, .run = ctl_pool_list, .takes = "agents,agents-service",
	  .summary = "The pools of all nodes: how much room they have, and what is in them." },
	{ .group = "pool", .name = "forget", .argument = "IDENTITY", .reads_cluster = true, .asks_no_driver = true, .run = ctl_pool_forget,
	  .takes = "yes,driver-name,journal-namespace",
	  .summary = "Say what is lost with a pool that is gone for good; with --yes give it up, so that what was in it can be deleted." },
	{ .group = "pool", .name = "remember", .argument = "IDENTITY", .reads_cluster = true, .asks_no_driver = true, .run = ctl_pool_remember,
	  .takes = "driver-name,journal-namespace", .summary = "Serve a pool again that was forgotten, and is there after all." },
	{ .name = NULL },
};
/* clang-format on */
