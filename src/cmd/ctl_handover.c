/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl handover - what stays behind when other controllers take over from cleat's
 *
 * What cleat writes to claims, volumes, snapshots and attachments is what upstream's controllers
 * write, so they can go on with it. Its own are Leases alone: those of its elections, and the
 * journal of volumes that are being made, which is one Lease or several, or where each node has a
 * provisioner one a node: those by their names, which begin alike. As long as an intent stands
 * there nobody but cleat's provisioner knows that a volume may come to be, so nothing is handed
 * over then, nor while somebody leads.
 *
 * By upstream's name cleat's provisioner leads by upstream's Lease, and who leads by that may as
 * well be upstream's already. Whoever wrote the journal is taken for cleat's.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cmd/controllers.h"
#include "cmd/ctl.h"
#include "control/core.h"
#include "control/journal.h"
#include "control/list.h"
#include "kube/client.h"
#include "kube/path.h"

#define STALE_NS (30 * NS_PER_S) /* a lease that nobody renewed for so long is nobody's */
#define JOURNAL "-intents"
#define NAMED_MAX 3 /* intents that are named */

/* In the arena, but for the list itself. */
struct own_lease {
	const char *name, *uid;
};

struct found {
	struct arena *arena;
	const char *own, *early;      /* names of the elections' */
	const char *theirs;           /* of that of a provisioner by upstream's name */
	VEC(struct own_lease) leases; /* that are there, by name, so the elections' first */
	VEC(const char *) writers;    /* of journals */
	const char *leader;           /* "" none */
	const char *their_leader;     /* "" none */
};

static const char *lease_ns(const struct ctl *ctl)
{
	return str_is_empty(ctl->opts->journal_ns) ? "default" : ctl->opts->journal_ns;
}

static void name_leases(struct ctl *ctl, struct found *f)
{
	const struct controller_row *provisioner =
		controllers_find_program(controller_rows, n_controller_rows, "csi-provisioner");
	char name[CONTROLLER_LEASE_MAX];

	controller_own_lease_name(ctl->id, name);
	f->own = arena_strdup(f->arena, name);
	controller_early_lease_name(ctl->id, name);
	f->early = arena_strdup(f->arena, name);
	controller_lease_name(provisioner, ctl->id, name);
	f->theirs = arena_strdup(f->arena, name);
}

static bool is_held(const struct json *spec)
{
	const char *renewed = str_or(json_get_string(spec, "renewTime"), "");
	char limit[CLOCK_TEXT_MAX];

	clock_format_micro(clock_wall_ns() - STALE_NS, limit);
	return !str_is_empty(json_get_string(spec, "holderIdentity")) && strcmp(renewed, limit) > 0;
}

static char *lease_path(struct ctl *ctl, const char *name, struct err *err)
{
	autofree char *path = NULL;

	if (kube_object_path(&kube_lease_type, lease_ns(ctl), name, &path, err) < 0)
		return NULL;
	return arena_strdup(ctl->ctx->arena, path);
}

static bool is_journal(const struct found *f, const char *name)
{
	if (!str_has_prefix(name, f->own) || !str_has_prefix(name + strlen(f->own), JOURNAL))
		return false;
	name += strlen(f->own) + strlen(JOURNAL);
	return *name == '\0' || *name == '-' || *name == '.';
}

/* Of a journal: "…-intents-NODE" and "…-intents.2-NODE", where the others of one for all are
 * "…-intents-2". */
static bool is_of_node(const struct found *f, const char *name)
{
	const char *behind = name + strlen(f->own) + strlen(JOURNAL);

	return *behind == '.' || (*behind && behind[1 + strspn(behind + 1, "0123456789")]);
}

static int see(void *arg, const struct json *lease)
{
	struct found *f = arg;
	const char *name = str_or(json_path_string(lease, "metadata.name"), "");
	const char *uid = str_or(json_path_string(lease, "metadata.uid"), "");
	const struct json *spec = json_get(lease, "spec");
	const char *holder =
		arena_strdup(f->arena, str_or(json_get_string(spec, "holderIdentity"), ""));
	bool is_election = str_is_equal(name, f->own) || str_is_equal(name, f->early);

	if (is_election && is_held(spec))
		f->leader = holder;
	if (str_is_equal(name, f->theirs) && is_held(spec))
		f->their_leader = holder;
	if (is_journal(f, name))
		vec_push(&f->writers, holder);
	if (is_election || is_journal(f, name))
		vec_push(&f->leases, ((struct own_lease){ arena_strdup(f->arena, name),
							  arena_strdup(f->arena, uid) }));
	return 0;
}

/* *f is to be freed also on failure. */
static int find(struct ctl *ctl, struct found *f, struct err *err)
{
	*f = (struct found){ .arena = ctl->ctx->arena, .leader = "", .their_leader = "" };
	name_leases(ctl, f);
	return list_each(ctl->kube, ctl->ctx, &kube_lease_type, lease_ns(ctl), see, f, err);
}

static bool has_written(const struct found *f, const char *who)
{
	for (size_t i = 0; i < f->writers.n; i++)
		if (str_is_equal(f->writers.v[i], who))
			return true;
	return false;
}

/* 1: the claim of this UID has its PV, so its intent is over, though not taken out yet. */
static int has_pv(struct ctl *ctl, const char *uid, struct err *err)
{
	const char *name = arena_printf(ctl->ctx->arena, "%s-%s", ctl->opts->name_prefix, uid);
	autojson struct json_doc *doc = NULL;
	autofree char *path = NULL;

	if (kube_object_path(&core_pv_type, NULL, name, &path, err) < 0)
		return -1;
	if (kube_get(ctl->kube, ctl->ctx, path, &doc, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return 1;
}

/* How many claims have volumes that are being made, and a few of their UIDs; -1. Of a node's own
 * journal each counts: a PV may be of the volume that another node made. */
static int count_intents(struct ctl *ctl, const struct map *uids, bool is_of_nodes,
			 struct str *named, struct err *err)
{
	const char *uid;
	void *value;
	int n = 0;

	for (size_t it = 0; map_next(uids, &it, &uid, &value);) {
		int r = is_of_nodes ? 0 : has_pv(ctl, uid, err);

		if (r < 0)
			return -1;
		if (r == 0 && n++ < NAMED_MAX)
			str_appendf(named, "%s%s", named->len ? ", " : "", uid);
	}
	return n;
}

static int count_in(struct ctl *ctl, const struct found *f, bool is_of_nodes, struct str *named,
		    struct err *err)
{
	struct map *uids = map_new();
	int n = 0;

	for (size_t i = 0; i < f->leases.n && n == 0; i++) {
		const char *name = f->leases.v[i].name;

		if (is_journal(f, name) && is_of_node(f, name) == is_of_nodes)
			n = journal_look(ctl->kube, ctl->ctx, lease_ns(ctl), name, uids, err);
	}
	if (n == 0)
		n = count_intents(ctl, uids, is_of_nodes, named, err);
	map_free(uids);
	return n;
}

static int find_intents(struct ctl *ctl, const struct found *f, struct str *named, struct err *err)
{
	int n = count_in(ctl, f, false, named, err);
	int n_of_nodes = n < 0 ? -1 : count_in(ctl, f, true, named, err);

	return n_of_nodes < 0 ? -1 : n + n_of_nodes;
}

static int check_leaders(const struct found *f, struct err *err)
{
	if (*f->leader)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"'%s' leads and works: stop cleat's controllers first (kubectl scale "
			"--replicas=0)",
			f->leader);
	if (*f->their_leader && has_written(f, f->their_leader))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"'%s' leads by Lease '%s', and cleat's journal is by one of that name: "
			"stop that provisioner first (kubectl scale --replicas=0), also if it is "
			"upstream's by now",
			f->their_leader, f->theirs);
	return 0;
}

static int check(struct ctl *ctl, const struct found *f, struct err *err)
{
	autostr struct str named = STR_INIT;
	int n = find_intents(ctl, f, &named, err);

	if (n < 0)
		return -1;
	if (n > 0)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"volumes of %d claims are being made (%s%s): let cleat's provisioner "
			"run until there is none, since no other knows of them",
			n, str_get(&named), n > NAMED_MAX ? ", …" : "");
	return check_leaders(f, err);
}

static void print(struct ctl *ctl, const struct found *f, const char *verb)
{
	for (size_t i = 0; i < f->leases.n; i++)
		str_appendf(ctl->out, "%s lease %s/%s\n", verb, lease_ns(ctl), f->leases.v[i].name);
	if (f->leases.n == 0)
		str_appendf(ctl->out, "nothing of cleat's is left for %s in namespace %s\n",
			    ctl->id, lease_ns(ctl));
}

static int delete_all(struct ctl *ctl, const struct found *f, struct err *err)
{
	/* The journals last: as long as they are there, a second call looks into them again. */
	for (size_t i = 0; i < f->leases.n; i++) {
		const char *path = lease_path(ctl, f->leases.v[i].name, err);

		if (!path || kube_delete(ctl->kube, ctl->ctx, path, f->leases.v[i].uid, err) < 0)
			return -1;
	}
	return 0;
}

static int hand_over(struct ctl *ctl, bool is_real, struct err *err)
{
	struct found f;
	int r = find(ctl, &f, err);

	if (r == 0)
		r = check(ctl, &f, err);
	if (r == 0 && is_real)
		r = delete_all(ctl, &f, err);
	if (r == 0)
		print(ctl, &f, is_real ? "deleted" : "would delete");
	vec_done(&f.leases);
	vec_done(&f.writers);
	return r;
}

static int handover_show(struct ctl *ctl, struct err *err)
{
	return hand_over(ctl, false, err);
}

static int handover_finish(struct ctl *ctl, struct err *err)
{
	return hand_over(ctl, ctl->opts->yes, err);
}

/* clang-format off */
const struct ctl_verb ctl_handover_verbs[] = {
	{ .group = "handover", .name = "show", .argument = "DRIVER", .takes = "journal-namespace,volume-name-prefix", .reads_cluster = true,
	  .asks_no_driver = true, .run = handover_show,
	  .summary = "Whether upstream's controllers can take over from cleat's, and what of cleat's would be left." },
	{ .group = "handover", .name = "finish", .argument = "DRIVER", .takes = "journal-namespace,volume-name-prefix,yes", .reads_cluster = true,
	  .asks_no_driver = true, .run = handover_finish,
	  .summary = "Delete what is left, once cleat's controllers are stopped and no volume is being made any more." },
	{ .name = NULL },
};
/* clang-format on */
