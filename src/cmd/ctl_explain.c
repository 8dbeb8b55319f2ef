/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl explain - the chain of objects behind one that waits, what blocks, and what to do
 *
 * Asks the API server alone, and only reads. Exit 0 whether or not something blocks: the answer is
 * what was asked for.
 */
#include "cmd/ctl.h"
#include "cmd/explain.h"

#include "base/mem.h"
#include "cmd/table.h"

#define EVENTS_SHOWN 5

/* ---- as a document ---- */

static void put_fact(struct json_writer *w, struct explain *x, const struct fact *f)
{
	json_begin_object(w);
	json_field_string(w, "kind", f->type->kind);
	if (*f->ns)
		json_field_string(w, "namespace", f->ns);
	json_field_string(w, "name", f->name);
	json_field_string(w, "state", explain_state(x, f));
	if (f->state != FACT_UNKNOWN)
		json_field_bool(w, "there", f->state == FACT_THERE);
	json_end_object(w);
}

static void put_facts(struct json_writer *w, struct explain *x)
{
	const struct fact *chain[EXPLAIN_CHAIN_MAX];
	size_t n = explain_chain(x, chain);

	for (size_t i = 0; i < n; i++)
		put_fact(w, x, chain[i]);
	for (size_t i = 0; i < x->claims.n; i++)
		put_facts(w, x->claims.v[i]);
}

static void put_events(struct json_writer *w, const struct explain *x)
{
	json_key(w, "events");
	json_begin_array(w);
	for (size_t i = 0; i < x->events.n && i < EVENTS_SHOWN; i++) {
		const struct explain_event *e = &x->events.v[i];

		json_begin_object(w);
		json_field_string(
			w, "about",
			explain_text((struct explain *)(uintptr_t)x, "%s %s", e->kind, e->name));
		json_field_string(w, "type", e->type);
		json_field_string(w, "reason", e->reason);
		json_field_string(w, "message", e->message);
		json_field_string(w, "when", e->when);
		json_end_object(w);
	}
	json_end_array(w);
}

static void put_leases(struct json_writer *w, const struct explain *x)
{
	json_key(w, "leases");
	json_begin_array(w);
	for (size_t i = 0; i < x->leases.n; i++) {
		const struct explain_lease *l = &x->leases.v[i];

		json_begin_object(w);
		json_field_string(w, "namespace", l->ns);
		json_field_string(w, "name", l->name);
		json_field_string(w, "holder", l->holder);
		json_field_string(w, "renewed", l->renewed);
		json_field_bool(w, "leads", l->is_current);
		json_end_object(w);
	}
	json_end_array(w);
}

static void put_blocker(struct json_writer *w, const struct explain_blocker *b)
{
	json_key(w, "blocker");
	if (!b->rule) {
		json_put_null(w);
		return;
	}
	json_begin_object(w);
	json_field_string(w, "rule", b->rule);
	json_field_string(w, "object", b->object);
	json_field_string(w, "what", b->what);
	json_field_string(w, "next", b->next);
	json_end_object(w);
}

static void print_document(struct ctl *ctl, struct explain *x, const struct explain_blocker *b)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	json_begin_object(&w);
	json_key(&w, "chain");
	json_begin_array(&w);
	put_facts(&w, x);
	json_end_array(&w);
	put_leases(&w, x);
	put_events(&w, x);
	json_key(&w, "unread");
	json_begin_array(&w);
	for (size_t i = 0; i < x->unread.n; i++)
		json_put_string(&w, x->unread.v[i]);
	json_end_array(&w);
	put_blocker(&w, b);
	json_end_object(&w);
	ctl_print_document(ctl, &json);
}

/* ---- for people ---- */

static void add_rows(struct table *t, struct explain *x)
{
	const struct fact *chain[EXPLAIN_CHAIN_MAX];
	size_t n = explain_chain(x, chain);

	for (size_t i = 0; i < n; i++)
		table_row(t, (const char *const[]){ chain[i]->type->kind,
						    *chain[i]->name ? chain[i]->name : NULL,
						    explain_state(x, chain[i]) });
	for (size_t i = 0; i < x->claims.n; i++)
		add_rows(t, x->claims.v[i]);
}

static void add_leases(struct table *t, struct explain *x)
{
	for (size_t i = 0; i < x->leases.n; i++) {
		const struct explain_lease *l = &x->leases.v[i];

		table_row(t, (const char *const[]){
				     "Lease", explain_text(x, "%s/%s", l->ns, l->name),
				     l->is_current ? explain_text(x, "'%s' leads", l->holder)
						   : explain_text(x, "nobody leads since %s",
								  str_or(l->renewed, "ever")) });
	}
}

static void print_text(struct ctl *ctl, struct explain *x, const struct explain_blocker *b)
{
	static const char *const headings[] = { "KIND", "NAME", "STATE" };
	struct table *t = table_new(headings, ARRAY_LEN(headings));

	add_rows(t, x);
	add_leases(t, x);
	table_print(t, ctl->out);
	table_free(t);
	for (size_t i = 0; i < x->events.n && i < EVENTS_SHOWN; i++)
		str_appendf(ctl->out, "%s%s  %s %s of %s %s: %s\n", i ? "" : "\n",
			    x->events.v[i].when, x->events.v[i].type, x->events.v[i].reason,
			    x->events.v[i].kind, x->events.v[i].name, x->events.v[i].message);
	for (size_t i = 0; i < x->unread.n; i++)
		str_appendf(ctl->out, "%snot read: %s\n", i ? "" : "\n", x->unread.v[i]);
	if (b->rule)
		str_appendf(ctl->out, "\nblocker: %s (%s, %s)\nnext:    %s\n", b->what, b->object,
			    b->rule, b->next);
	else
		str_append(ctl->out, "\nnothing found that blocks\n");
}

static int explain(struct ctl *ctl, enum explain_subject subject, struct err *err)
{
	struct explain x = { .client = ctl->kube, .ctx = ctl->ctx, .subject = subject };
	struct explain_blocker b;
	int r = explain_read(&x, ctl->ns, ctl->id, err);

	if (r == 0) {
		(void)explain_find(&x, &b);
		if (ctl->output == CTL_TABLE)
			print_text(ctl, &x, &b);
		else if (ctl->output == CTL_ID)
			str_appendf(ctl->out, "%s\n", str_or(b.rule, "none"));
		else
			print_document(ctl, &x, &b);
	}
	explain_done(&x);
	return r;
}

static int explain_claim(struct ctl *ctl, struct err *err)
{
	return explain(ctl, EXPLAIN_CLAIM, err);
}

static int explain_pod(struct ctl *ctl, struct err *err)
{
	return explain(ctl, EXPLAIN_POD, err);
}

static int explain_snapshot(struct ctl *ctl, struct err *err)
{
	return explain(ctl, EXPLAIN_SNAPSHOT, err);
}

static int explain_attachment(struct ctl *ctl, struct err *err)
{
	return explain(ctl, EXPLAIN_ATTACHMENT, err);
}

/* clang-format off */
#define EXPLAIN_VERB(word, fn, text)                                                                            \
	{ .group = "explain", .name = word, .argument = "NAME", .takes = "namespace,n", .reads_cluster = true,   \
	  .asks_no_driver = true, .run = fn, .summary = text }

const struct ctl_verb ctl_explain_verbs[] = {
	EXPLAIN_VERB("pvc", explain_claim, "Why a claim has no volume, or does not grow."),
	EXPLAIN_VERB("pod", explain_pod, "Why a pod does not get its volumes."),
	EXPLAIN_VERB("snapshot", explain_snapshot, "Why a VolumeSnapshot is not ready."),
	EXPLAIN_VERB("attachment", explain_attachment, "Why a VolumeAttachment is not attached, or does not go."),
	{ .name = NULL },
};
/* clang-format on */
