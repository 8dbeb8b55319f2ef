/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl orphans - what a driver has and nothing in the cluster tells of, and its two ways out
 *
 * Each verb looks anew, at the driver and at the API server, so what was an orphan a minute ago and
 * is none now is neither deleted nor adopted. Deleting does nothing without --yes: what it would do
 * is told.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/controllers.h"
#include "cmd/ctl.h"
#include "cmd/table.h"
#include "control/orphan.h"

struct found {
	struct orphan_look look;
	struct orphan_list list;
};

static int find(struct ctl *ctl, struct found *f, struct err *err)
{
	const struct ctl_options *o = ctl->opts;
	struct csi_offers offers;

	if (csi_ask_offers(ctl->service, ctl->ctx, &offers, err) < 0)
		return -1;
	f->look = (struct orphan_look){
		.client = ctl->kube,
		.service = ctl->service,
		.driver = offers.name,
		.caps = offers.controller,
		.timeout_ns = o->timeout_ns,
		.journal_ns = str_is_empty(o->journal_ns) ? NULL : o->journal_ns,
		.prefixes = { [ORPHAN_VOLUME] = o->name_prefix,
			      [ORPHAN_SNAPSHOT] = "snapshot",
			      [ORPHAN_GROUP] = "groupsnapshot" },
	};
	return orphan_find(&f->look, ctl->ctx, &f->list, err);
}

/* By id, or by the name that it was made with. */
static const struct orphan *choose(struct ctl *ctl, const struct found *f, struct err *err)
{
	const struct orphan *found = NULL;

	for (size_t i = 0; i < f->list.n; i++) {
		const struct orphan *o = &f->list.v[i];

		if (str_is_equal(o->id, ctl->id))
			return o;
		if (!str_is_equal(o->name, ctl->id))
			continue;
		if (found) {
			(void)err_set(err, ERR_FAILED_PRECONDITION,
				      "two are called '%s': %s and %s; say which by its id",
				      ctl->id, found->id, o->id);
			return NULL;
		}
		found = o;
	}
	if (!found)
		(void)err_set(
			err, ERR_NOT_FOUND,
			"'%s' is no orphan: the driver does not have it, or the cluster knows "
			"it, or it was not made for a claim or a snapshot",
			ctl->id);
	return found;
}

/* ---- list ---- */

static const char *why(const struct orphan *o)
{
	switch (o->kind) {
	case ORPHAN_VOLUME:
		return "no PersistentVolume, no claim and no intent of this UID";
	case ORPHAN_SNAPSHOT:
		return "no VolumeSnapshotContent and no VolumeSnapshot of this UID";
	case ORPHAN_GROUP:
	case ORPHAN_KINDS:
		break;
	}
	return "no VolumeGroupSnapshotContent and no VolumeGroupSnapshot of this UID";
}

static void put_orphan(struct json_writer *w, const struct orphan *o)
{
	json_begin_object(w);
	json_field_string(w, "kind", orphan_kind_name(o->kind));
	json_field_string(w, "id", o->id);
	json_field_string(w, "name", o->name);
	json_field_u64(w, "bytes", o->bytes);
	if (*o->created)
		json_field_string(w, "created", o->created);
	if (*o->claim)
		json_field_string(w, "claim", o->claim);
	if (*o->source)
		json_field_string(w, "source_volume_id", o->source);
	if (*o->node)
		json_field_string(w, "in_use_on", o->node);
	json_field_bool(w, "made_for_this_cluster", o->is_ours);
	json_field_string(w, "why", why(o));
	json_end_object(w);
}

static void print_document(struct ctl *ctl, const struct orphan_list *list)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	json_begin_object(&w);
	json_key(&w, "items");
	json_begin_array(&w);
	for (size_t i = 0; i < list->n; i++)
		put_orphan(&w, &list->v[i]);
	json_end_array(&w);
	json_key(&w, "not_known");
	json_begin_object(&w);
	for (int kind = 0; kind < ORPHAN_KINDS; kind++)
		if (*list->unknown[kind])
			json_field_string(&w, orphan_kind_name((enum orphan_kind)kind),
					  list->unknown[kind]);
	json_end_object(&w);
	json_end_object(&w);
	ctl_print_document(ctl, &json);
}

static void print_table(struct ctl *ctl, const struct orphan_list *list)
{
	static const char *const headings[] = { "KIND",     "SIZE",  "CREATED", "CLAIM",
						"MADE FOR", "STATE", "WHY",     "ID" };
	struct table *t = table_new(headings, ARRAY_LEN(headings));

	for (size_t i = 0; i < list->n; i++) {
		const struct orphan *o = &list->v[i];
		autofree char *state = *o->node ? xasprintf("in use on %s", o->node) : NULL;
		char bytes[CMD_BYTES_MAX];

		cmd_format_bytes(o->bytes, bytes);
		table_row(t, (const char *const[]){ orphan_kind_name(o->kind), bytes,
						    *o->created ? o->created : NULL,
						    *o->claim ? o->claim : NULL,
						    o->is_ours ? "this cluster" : "not told", state,
						    why(o), o->id });
	}
	if (list->n > 0)
		table_print(t, ctl->out);
	else
		str_append(ctl->out, "no orphans found\n");
	table_free(t);
	for (int kind = 0; kind < ORPHAN_KINDS; kind++)
		if (*list->unknown[kind])
			str_appendf(ctl->out, "%ss are not known: %s\n",
				    orphan_kind_name((enum orphan_kind)kind), list->unknown[kind]);
}

static int run_list(struct ctl *ctl, struct err *err)
{
	struct found f;

	if (find(ctl, &f, err) < 0)
		return -1;
	switch (ctl->output) {
	case CTL_ID:
		for (size_t i = 0; i < f.list.n; i++)
			str_appendf(ctl->out, "%s\n", f.list.v[i].id);
		break;
	case CTL_JSON:
	case CTL_YAML:
		print_document(ctl, &f.list);
		break;
	case CTL_TABLE:
		print_table(ctl, &f.list);
		break;
	}
	return 0;
}

/* ---- what becomes of one ---- */

static void print_fate(struct ctl *ctl, const struct orphan *o, const char *fate,
		       const char *object)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	switch (ctl->output) {
	case CTL_ID:
		str_appendf(ctl->out, "%s\n", object ? object : o->id);
		break;
	case CTL_JSON:
	case CTL_YAML:
		json_begin_object(&w);
		json_field_string(&w, "kind", orphan_kind_name(o->kind));
		json_field_string(&w, "id", o->id);
		json_field_string(&w, "done", fate);
		if (object)
			json_field_string(&w, "object", object);
		json_end_object(&w);
		ctl_print_document(ctl, &json);
		break;
	case CTL_TABLE:
		str_appendf(ctl->out, "%s %s %s%s%s\n", orphan_kind_name(o->kind), o->id, fate,
			    object ? " as " : "", object ? object : "");
		break;
	}
}

static int run_delete(struct ctl *ctl, struct err *err)
{
	struct orphan_deletions deletions;
	const struct orphan *o;
	struct found f;
	int r;

	if (find(ctl, &f, err) < 0)
		return -1;
	o = choose(ctl, &f, err);
	if (!o)
		return -1;
	if (!o->is_ours && !ctl->opts->any_owner)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the driver does not say that %s '%s' was made for this cluster: it "
			       "may be another's that has the same storage; if you know better, "
			       "--any-owner",
			       orphan_kind_name(o->kind), o->id);
	if (!ctl->opts->yes) {
		print_fate(ctl, o, "would be deleted, with --yes", NULL);
		return 0;
	}
	orphan_deletions_init(&deletions);
	r = orphan_delete(&f.look, ctl->ctx, o, &deletions, err);
	orphan_deletions_done(&deletions);
	if (r < 0)
		return -1;
	print_fate(ctl, o, "deleted", NULL);
	return 0;
}

/* --for is "NAMESPACE/NAME", or not given. */
static int check_adopt(const struct ctl_options *opts, struct err *err)
{
	const char *text = str_or(opts->adopt_for, "");
	const char *slash = strchr(text, '/');

	if (!*text || (slash && slash > text && slash[1] && !strchr(slash + 1, '/')))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "--for=%.200s is not NAMESPACE/NAME", text);
}

static void split_for(struct ctl *ctl, struct orphan_adoption *how)
{
	const char *text = str_or(ctl->opts->adopt_for, "");
	const char *slash = strchr(text, '/');

	if (!slash)
		return;
	how->ns = arena_strndup(ctl->ctx->arena, text, (size_t)(slash - text));
	how->name = slash + 1;
}

static int run_adopt(struct ctl *ctl, struct err *err)
{
	const struct ctl_options *opts = ctl->opts;
	struct orphan_adoption how = {
		.class_name = opts->class_name,
		.fs = opts->fs,
		.access_mode = opts->access_mode,
		.is_block = opts->block,
	};
	const char *object;
	const struct orphan *o;
	struct found f;

	split_for(ctl, &how);
	if (find(ctl, &f, err) < 0)
		return -1;
	o = choose(ctl, &f, err);
	if (!o || orphan_adopt(&f.look, ctl->ctx, o, &how, &object, err) < 0)
		return -1;
	print_fate(ctl, o, "adopted", object);
	return 0;
}

/* clang-format off */
const struct ctl_verb ctl_orphans_verbs[] = {
	{ .group = "orphans", .name = "list", .takes = "volume-name-prefix,journal-namespace", .reads_cluster = true, .run = run_list,
	  .summary = "Volumes, snapshots and groups that the driver has and nothing in the cluster tells of." },
	{ .group = "orphans", .name = "adopt", .argument = "ORPHAN",
	  .takes = "for,class,access-mode,fs,block,volume-name-prefix,journal-namespace", .reads_cluster = true, .check = check_adopt, .run = run_adopt,
	  .summary = "Make its PersistentVolume, or its content, which keeps it (Retain). ORPHAN is its id, or the name that it was made with." },
	{ .group = "orphans", .name = "delete", .argument = "ORPHAN", .takes = "yes,any-owner,volume-name-prefix,journal-namespace",
	  .reads_cluster = true, .run = run_delete,
	  .summary = "Say what would be deleted; with --yes delete it. The API server is asked once more before. ORPHAN is its id, or the name that it was made with." },
	{ .name = NULL },
};
/* clang-format on */
