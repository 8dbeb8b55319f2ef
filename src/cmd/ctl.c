/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl - what a CSI caller does, by hand
 *
 * Speaks nothing but CSI, so it works with any vendor's driver that does. The verbs are a table;
 * the command line is checked against it before a connection is tried. Tables are for people and
 * may change, -o json is for programs and keeps CSI's field names.
 */
#include "cmd/ctl.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/mem.h"
#include "cmd/fleet.h"
#include "event/loop.h"

/* clang-format off */
static const struct opt options[] = {
	{ .name = "Which driver", .type = OPT_GROUP },
	{ .name = "endpoint", .type = OPT_STRING, .offset = offsetof(struct ctl_options, endpoint), .arg = "ADDRESS",
	  .fallback = "unix:///run/cleat.sock", .env = "CSI_ENDPOINT",
	  .help = "unix:///path.sock or tcp://host:port (mutual TLS)." },
	{ .name = "agents", .type = OPT_STRING, .offset = offsetof(struct ctl_options, agents), .arg = "ADDRESS,...",
	  .help = "In place of --endpoint: agents of cleat on several nodes, which are one driver then." },
	{ .name = "agents-service", .type = OPT_STRING, .offset = offsetof(struct ctl_options, agents_service),
	  .arg = "[NAMESPACE/]NAME", .help = "The same with the agents that are behind a Service, each known by its node." },
	{ .name = "agents-port", .type = OPT_STRING, .offset = offsetof(struct ctl_options, agents_port), .arg = "NAME",
	  .fallback = "agent", .help = "Its port's name." },
	TLS_OPTIONS(struct ctl_options, tls),
	TLS_SERVER_NAME_OPTION(struct ctl_options, tls),
	{ .name = "insecure", .type = OPT_BOOL, .offset = offsetof(struct ctl_options, insecure),
	  .help = "Allow tcp:// beyond loopback without TLS." },
	{ .name = "kubeconfig", .type = OPT_STRING, .offset = offsetof(struct ctl_options, kubeconfig), .arg = "FILE",
	  .help = "For what is asked of the cluster. Unless given: $KUBECONFIG, else the pod's service account, else "
		  "~/.kube/config." },
	{ .name = "context", .type = OPT_STRING, .offset = offsetof(struct ctl_options, context), .arg = "NAME",
	  .help = "Context in it; the current one unless given." },
	{ .name = "timeout", .type = OPT_DURATION, .offset = offsetof(struct ctl_options, timeout_ns),
	  .arg = "TIME", .fallback = "1m", .help = "How long one command may take." },
	{ .name = "output", .type = OPT_CHOICE, .offset = offsetof(struct ctl_options, output), .arg = "FORMAT",
	  .fallback = "table", .choices = "table|json|yaml|id",
	  .help = "A table for people, JSON or YAML for programs, or volume ids alone." },
	{ .name = "o", .type = OPT_CHOICE, .offset = offsetof(struct ctl_options, output_short),
	  .arg = "FORMAT", .choices = "table|json|yaml|id", .help = "Short for --output." },
	{ .name = "volume create", .type = OPT_GROUP },
	{ .name = "from-snapshot", .type = OPT_STRING, .offset = offsetof(struct ctl_options, from_snapshot), .arg = "ID",
	  .help = "It begins as this snapshot, with its size unless --size is larger." },
	{ .name = "from-volume", .type = OPT_STRING, .offset = offsetof(struct ctl_options, from_volume), .arg = "ID",
	  .help = "It begins as this volume is now." },
	{ .name = "volume create, expand", .type = OPT_GROUP },
	{ .name = "size", .type = OPT_BYTES, .offset = offsetof(struct ctl_options, size), .arg = "BYTES",
	  .help = "At least this many bytes, such as 10Gi." },
	{ .name = "limit", .type = OPT_BYTES, .offset = offsetof(struct ctl_options, limit), .arg = "BYTES",
	  .help = "At most this many." },
	{ .name = "volume create, volume modify, snapshot create, group create", .type = OPT_GROUP },
	{ .name = "parameter", .type = OPT_LIST, .offset = offsetof(struct ctl_options, parameters),
	  .arg = "KEY=VALUE", .help = "As in a StorageClass, VolumeAttributesClass or VolumeSnapshotClass; repeatable." },
	{ .name = "snapshot create, list", .type = OPT_GROUP },
	{ .name = "volume", .type = OPT_STRING, .offset = offsetof(struct ctl_options, volume), .arg = "ID",
	  .help = "The volume that the snapshot is of." },
	{ .name = "snapshot map, diff", .type = OPT_GROUP },
	{ .name = "offset", .type = OPT_BYTES, .offset = offsetof(struct ctl_options, offset), .arg = "BYTES",
	  .help = "Begin with the range that ends after this byte." },
	{ .name = "group create", .type = OPT_GROUP },
	{ .name = "member", .type = OPT_LIST, .offset = offsetof(struct ctl_options, members), .arg = "ID",
	  .help = "A volume that the group has a snapshot of; repeatable." },
	{ .name = "volume create, stage, publish", .type = OPT_GROUP },
	{ .name = "fs", .type = OPT_STRING, .offset = offsetof(struct ctl_options, fs), .arg = "TYPE",
	  .help = "Filesystem: ext4 or xfs; the driver's choice unless given." },
	{ .name = "block", .type = OPT_BOOL, .offset = offsetof(struct ctl_options, block),
	  .help = "A raw block device instead of a filesystem." },
	{ .name = "mode", .type = OPT_STRING, .offset = offsetof(struct ctl_options, mode), .arg = "MODE",
	  .fallback = "SINGLE_NODE_WRITER", .help = "Access mode, as CSI spells it." },
	{ .name = "mount-flag", .type = OPT_LIST, .offset = offsetof(struct ctl_options, flags), .arg = "FLAG",
	  .help = "Mount option such as noatime; repeatable." },
	{ .name = "staging", .type = OPT_STRING, .offset = offsetof(struct ctl_options, staging), .arg = "DIR",
	  .help = "An existing directory where the volume is or will be staged." },
	{ .name = "target", .type = OPT_STRING, .offset = offsetof(struct ctl_options, target), .arg = "PATH",
	  .help = "Where the volume is or will be published; its parent must exist." },
	{ .name = "read-only", .type = OPT_BOOL, .offset = offsetof(struct ctl_options, read_only),
	  .help = "Publish for reading alone." },
	{ .name = "volume check, doctor", .type = OPT_GROUP },
	{ .name = "pool", .type = OPT_STRING, .offset = offsetof(struct ctl_options, pool), .arg = "DIR",
	  .help = "The pool's directory, as the driver on this node sees it." },
	{ .name = "repair", .type = OPT_BOOL, .offset = offsetof(struct ctl_options, repair),
	  .help = "Mend what can be: check by the filesystem's tool, doctor what is cleat's own and of no use. Without it nothing is changed." },
	{ .name = "explain", .type = OPT_GROUP },
	{ .name = "namespace", .type = OPT_STRING, .offset = offsetof(struct ctl_options, ns), .arg = "NAMESPACE",
	  .help = "Of the object; the kubeconfig's unless given." },
	{ .name = "n", .type = OPT_STRING, .offset = offsetof(struct ctl_options, ns_short), .arg = "NAMESPACE",
	  .help = "Short for --namespace." },
	{ .name = "orphans adopt", .type = OPT_GROUP },
	{ .name = "for", .type = OPT_STRING, .offset = offsetof(struct ctl_options, adopt_for), .arg = "NAMESPACE/NAME",
	  .help = "The claim that the volume is for, any that fits unless given; the VolumeSnapshot or VolumeGroupSnapshot." },
	{ .name = "class", .type = OPT_STRING, .offset = offsetof(struct ctl_options, class_name), .arg = "NAME",
	  .help = "The class that the object names; none unless given." },
	{ .name = "access-mode", .type = OPT_CHOICE, .offset = offsetof(struct ctl_options, access_mode), .arg = "MODE",
	  .fallback = "ReadWriteOnce", .choices = "ReadWriteOnce|ReadOnlyMany|ReadWriteMany|ReadWriteOncePod",
	  .help = "Of the volume." },
	{ .name = "orphans delete, pool forget, handover finish, ceph audit", .type = OPT_GROUP },
	{ .name = "yes", .type = OPT_BOOL, .offset = offsetof(struct ctl_options, yes),
	  .help = "Do it; without it nothing is changed." },
	{ .name = "any-owner", .type = OPT_BOOL, .offset = offsetof(struct ctl_options, any_owner),
	  .help = "Also what the driver does not say was made for this cluster." },
	{ .name = "pool forget, remember", .type = OPT_GROUP },
	{ .name = "driver-name", .type = OPT_STRING, .offset = offsetof(struct ctl_options, driver_name), .arg = "NAME",
	  .fallback = "pool.cleat.csi", .help = "Whose pool it is." },
	{ .name = "orphans, pool forget, pool remember, handover", .type = OPT_GROUP },
	{ .name = "volume-name-prefix", .type = OPT_STRING, .offset = offsetof(struct ctl_options, name_prefix), .arg = "PREFIX",
	  .fallback = "pvc", .help = "As the provisioner's: volumes that are called so were made for claims." },
	{ .name = "journal-namespace", .type = OPT_STRING, .offset = offsetof(struct ctl_options, journal_ns), .arg = "NAMESPACE", .env = "POD_NAMESPACE",
	  .help = "Where the controller has its Leases, as in its own pod. Unless given, orphans look into all namespaces, which one must "
		  "be allowed to list, and handover into default." },
	{ .name = "ceph audit", .type = OPT_GROUP },
	{ .name = "ceph-cluster", .type = OPT_STRING, .offset = offsetof(struct ctl_options, ceph_cluster), .arg = "ID",
	  .help = "The clusterID of the classes; --pool is Ceph's, by its name." },
	{ .name = "fs-name", .type = OPT_STRING, .offset = offsetof(struct ctl_options, fs_name), .arg = "NAME",
	  .help = "A filesystem of Ceph's (fsName of the classes), in place of --pool." },
	{ .name = "secret", .type = OPT_STRING, .offset = offsetof(struct ctl_options, secret), .arg = "[NAMESPACE/]NAME",
	  .help = "The Secret that the classes name, with userID and userKey; of a filesystem adminID and adminKey." },
	{ .name = "config-dir", .type = OPT_STRING, .offset = offsetof(struct ctl_options, config_dir), .arg = "DIR",
	  .fallback = "/etc/ceph-csi-config", .help = "Where config.json is." },
	{ .name = "journal-instance", .type = OPT_STRING, .offset = offsetof(struct ctl_options, journal_instance), .arg = "ID",
	  .fallback = "default", .help = "Whose journal in the pool." },
	{ .name = "pool adopt", .type = OPT_GROUP },
	{ .name = "moved", .type = OPT_BOOL, .offset = offsetof(struct ctl_options, moved),
	  .help = "It was moved here (other directory, disk or node): its volumes go on being served." },
	{ .name = "copy", .type = OPT_BOOL, .offset = offsetof(struct ctl_options, copy),
	  .help = "It is a copy of a pool that may still be served: it becomes a pool of its own, and the volumes in it "
		  "are reported, not served." },
	{ .name = "pool status", .type = OPT_GROUP },
	{ .name = "pool-reserve", .type = OPT_BYTES, .offset = offsetof(struct ctl_options, pool_reserve), .arg = "BYTES",
	  .help = "What the driver keeps free for metadata, if it was told so; else as it does by itself." },
	{ .name = "pool-overcommit", .type = OPT_STRING, .offset = offsetof(struct ctl_options, pool_overcommit), .arg = "RATIO",
	  .fallback = "2", .help = "How much it may promise to thin volumes, as it was told." },
	CMD_COMMON_OPTIONS(struct ctl_options),
	{ .type = OPT_END },
};
/* clang-format on */

/* clang-format off */
/* Those of no group. */
const struct ctl_verb ctl_lone_verbs[] = {
	{ .group = "", .name = "info", .run = ctl_info, .summary = "The driver, its node and its room." },
	{ .group = "", .name = "health", .run = ctl_health, .summary = "What is wrong with pools and volumes, and the way out." },
	{ .group = "", .name = "doctor", .needs = "pool", .takes = "repair", .is_local = true, .run = ctl_doctor,
	  .summary = "What is not as it should be in a pool on this node, and the way out; a driver that serves it is not disturbed." },
	{ .name = NULL },
};
/* clang-format on */

const struct ctl_group ctl_groups[] = {
	{ "volume", ctl_volume_verbs, VOL_KIND_VOLUME },
	{ "snapshot", ctl_snapshot_verbs, VOL_KIND_SNAPSHOT },
	{ "group", ctl_group_verbs, VOL_KIND_GROUP },
	{ "node", ctl_node_verbs, VOL_KIND_VOLUME },
	{ "pool", ctl_pool_verbs, VOL_KIND_VOLUME },
	{ "orphans", ctl_orphans_verbs, VOL_KIND_VOLUME },
	{ "handover", ctl_handover_verbs, VOL_KIND_VOLUME },
	{ "ceph", ctl_ceph_verbs, VOL_KIND_VOLUME },
	{ "explain", ctl_explain_verbs, VOL_KIND_VOLUME },
};
static_assert(ARRAY_LEN(ctl_groups) == CTL_N_GROUPS, "each group is counted");

static const struct ctl_group *find_group(const char *name)
{
	for (size_t i = 0; i < CTL_N_GROUPS; i++) {
		if (strcmp(ctl_groups[i].name, name) == 0)
			return &ctl_groups[i];
	}
	return NULL;
}

static const struct ctl_verb *find_verb(const char *group, const char *name)
{
	const struct ctl_group *g = find_group(group);

	for (const struct ctl_verb *v = ctl_lone_verbs; v->name; v++) {
		if (strcmp(v->name, group) == 0)
			return v;
	}
	for (const struct ctl_verb *v = g ? g->verbs : NULL; v && v->name; v++) {
		if (strcmp(v->name, name) == 0)
			return v;
	}
	return NULL;
}

static int complain_group(const struct cmd *cmd, const char *group)
{
	const char *words[CTL_N_GROUPS + 3], *near;
	autostr struct str all = STR_INIT;
	size_t n = 0;

	for (size_t i = 0; i < CTL_N_GROUPS; i++)
		words[n++] = ctl_groups[i].name;
	for (const struct ctl_verb *v = ctl_lone_verbs; v->name && n < ARRAY_LEN(words); v++)
		words[n++] = v->name;
	for (size_t i = 0; i < n; i++)
		str_appendf(&all, "%s%s", i ? ", " : "", words[i]);
	near = opt_nearest(group, words, n);
	return cmd_usage(cmd, "unknown word '%s'; %s%s", group,
			 near ? "did you mean " : "there are: ", near ? near : str_get(&all));
}

static int complain_verb(const struct cmd *cmd, const char *group, const char *name)
{
	const struct ctl_group *g = find_group(group);
	autostr struct str all = STR_INIT;
	const char *names[16], *near;
	size_t n = 0;

	if (!g)
		return complain_group(cmd, group);
	for (const struct ctl_verb *v = g->verbs; v->name && n < ARRAY_LEN(names); v++) {
		str_appendf(&all, "%s%s", n ? ", " : "", v->name);
		names[n++] = v->name;
	}
	if (!name[0])
		return cmd_usage(cmd, "%s: what to do is missing: %s", group, str_get(&all));
	near = opt_nearest(name, names, n);
	return cmd_usage(cmd, "unknown word '%s %s'; %s%s", group, name,
			 near ? "did you mean " : "there are: ", near ? near : str_get(&all));
}

/* Of a text, a list or a size. */
static bool has_option(const struct ctl_options *opts, const char *name, size_t n)
{
	const struct opt *o = options;
	const char *at;

	while (strncmp(o->name, name, n) != 0 || o->name[n])
		o++; /* a verb needs what there is */
	at = (const char *)opts + o->offset;
	if (o->type == OPT_STRING)
		return !str_is_empty(*(const char *const *)(const void *)at);
	if (o->type == OPT_LIST)
		return ((const struct opt_list *)(const void *)at)->n > 0;
	assert(o->type == OPT_BYTES);
	return *(const uint64_t *)(const void *)at > 0;
}

static int count_arguments(const struct ctl_verb *verb)
{
	return !verb->argument ? 0 : strchr(verb->argument, ' ') ? 2 : 1;
}

static int check_where(const struct ctl_options *opts, struct err *err)
{
	if (!str_is_empty(opts->agents) && !str_is_empty(opts->agents_service))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--agents and --agents-service exclude each other");
	if (!str_is_empty(opts->agents_service))
		return fleet_check_service("agents-service", opts->agents_service, &opts->tls,
					   opts->insecure, err);
	if (!str_is_empty(opts->agents))
		return fleet_check("agents", opts->agents, &opts->tls, opts->insecure, err);
	return address_check("endpoint", opts->endpoint, &opts->tls, opts->insecure, err);
}

/* Everything that can be wrong with the words, before any connection. CMD_OK or the exit code. */
static int check_words(const struct cmd *cmd, const struct ctl_options *opts,
		       const struct ctl_verb *verb, const char **rest, int n_rest)
{
	int n_words = verb->group[0] ? 2 : 1;
	int n_wanted = n_words + count_arguments(verb);
	struct err err;

	if (n_rest < n_wanted)
		return cmd_usage(cmd, "%s %s needs %s", verb->group, verb->name, verb->argument);
	if (n_rest > n_wanted)
		return cmd_usage(cmd, "unexpected argument '%s'", rest[n_wanted]);
	for (const char *need = verb->needs; need && *need;) {
		size_t n = strcspn(need, ",");

		if (!has_option(opts, need, n))
			return cmd_usage(cmd, "%s%s%s: --%.*s is missing", verb->group,
					 verb->group[0] ? " " : "", verb->name, (int)n, need);
		need += n + (need[n] == ',');
	}
	if (opts->block && (!str_is_empty(opts->fs) || opts->flags.n > 0))
		return cmd_usage(cmd, "--block contradicts --%s",
				 opts->flags.n > 0 ? "mount-flag" : "fs");
	if (opts->limit && opts->limit < opts->size)
		return cmd_usage(cmd, "--limit is below --size");
	if (cmd_tls_check(&opts->tls, &err) < 0 ||
	    (!verb->asks_no_driver && check_where(opts, &err) < 0) ||
	    ctl_volume_check(opts, &err) < 0 || (verb->check && verb->check(opts, &err) < 0))
		return cmd_usage(cmd, "%s", err.msg);
	return CMD_OK;
}

static enum ctl_output parse_output(const char *text)
{
	if (strcmp(text, "json") == 0)
		return CTL_JSON;
	if (strcmp(text, "yaml") == 0)
		return CTL_YAML;
	return strcmp(text, "id") == 0 ? CTL_ID : CTL_TABLE;
}

/* With names in the place of ids made ids. */
static int call_verb(struct ctl *ctl, const struct ctl_verb *verb, struct err *err)
{
	static int (*const resolve[])(struct ctl * ctl, const char *text, const char **ret_id,
				      struct err *err) = {
		[VOL_KIND_VOLUME] = ctl_volume_resolve,
		[VOL_KIND_SNAPSHOT] = ctl_snapshot_resolve,
		[VOL_KIND_GROUP] = ctl_group_resolve,
	};

	if (verb->argument && strcmp(verb->argument, "ID") == 0 &&
	    resolve[ctl->kind](ctl, ctl->id, &ctl->id, err) < 0)
		return -1;
	return verb->run(ctl, err);
}

static int run_local(struct ctl *ctl, const struct ctl_verb *verb, struct err *err)
{
	struct ctx ctx;
	int r;

	ctx_init(&ctx, 0);
	ctl->ctx = &ctx;
	r = verb->run(ctl, err);
	ctx_done(&ctx);
	return r;
}

/* words: the verb's arguments. */
static int run_verb(const struct ctl_options *opts, const struct ctl_verb *verb,
		    const char *const *words, struct ev_loop *loop, struct str *out,
		    struct err *err)
{
	const struct ctl_group *group = find_group(verb->group);
	struct ctl ctl = {
		.opts = opts,
		.kind = group ? group->kind : VOL_KIND_VOLUME,
		.output = parse_output(str_or(opts->output_short, opts->output)),
		.id = verb->argument ? words[0] : "",
		.other = count_arguments(verb) > 1 ? words[1] : "",
		.out = out,
	};
	struct ctl_peers peers = { 0 };
	struct ctx ctx;
	int r;

	if (verb->is_local)
		return run_local(&ctl, verb, err);
	ctx_init(&ctx, opts->timeout_ns);
	ctl.ctx = &ctx;
	r = ctl_connect(&ctl, verb, loop, &peers, err);
	if (r == 0)
		r = call_verb(&ctl, verb, err);
	if (r < 0 && err->code == ERR_DEADLINE_EXCEEDED)
		(void)err_wrap(err, "'%s' at %s was not answered within %" PRId64 " ms (--timeout)",
			       verb->name,
			       verb->asks_no_driver
				       ? "the API server"
				       : str_or(str_or(opts->agents, opts->agents_service),
						opts->endpoint),
			       opts->timeout_ns / NS_PER_MS);
	ctx_done(&ctx);
	ctl_disconnect(&peers);
	return r;
}

static int run_on_loop(const struct cmd *cmd, const struct ctl_options *opts,
		       const struct ctl_verb *verb, const char *const *words)
{
	autofree char *text = NULL, *why = NULL;
	autostr struct str out = STR_INIT;
	struct ev_loop *loop;
	struct err err;
	int r;

	r = ev_loop_new(&loop);
	if (r < 0 || (r = ev_loop_spawn(loop)) < 0) {
		(void)err_os(&err, ERR_INTERNAL, r, "start the event loop");
		return cmd_failed(cmd, &err);
	}
	r = run_verb(opts, verb, words, loop, &out, &err);
	ev_loop_join(loop);
	ev_loop_free(loop);
	text = cmd_printable(str_get(&out));
	fputs(text, stdout);
	if (r < 0) {
		fflush(stdout);
		why = cmd_printable(err.msg);
		fprintf(stderr, "cleat ctl: %s: %s\n", err_code_name(err.code), why);
		return CMD_FAILED;
	}
	return CMD_OK;
}

/* What people type who have other tools in their fingers, as what it is here. */
static const char *real_word(const char *word)
{
	static const struct {
		const char *typed, *meant;
	} words[] = {
		{ "ls", "list" },       { "get", "show" },           { "rm", "delete" },
		{ "del", "delete" },    { "vol", "volume" },         { "volumes", "volume" },
		{ "new", "create" },    { "grow", "expand" },        { "resize", "expand" },
		{ "snap", "snapshot" }, { "snapshots", "snapshot" }, { "groups", "group" },
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(word, words[i].typed) == 0)
			return words[i].meant;
	}
	return word;
}

/* Fills words with group, verb and the rest of rest: real words, and "volume" where only its verb
 * was given ("ctl ls"). Returns how many. */
static int complete_words(char **rest, int n_rest, const char **words)
{
	const char *first = n_rest > 0 ? real_word(rest[0]) : "";
	int n = 0;

	if (find_verb("volume", first))
		words[n++] = "volume";
	for (int i = 0; i < n_rest; i++) {
		words[n] = n < 2 ? real_word(rest[i]) : rest[i];
		n++;
	}
	return n;
}

static bool is_in_list(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = list; at && *at; at += strcspn(at, ",")) {
		at += *at == ',';
		if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == '\0'))
			return true;
	}
	return false;
}

/* The help of one verb: its words, and the options that are about it or about the connection. */
static void print_verb_help(const struct ctl_verb *verb)
{
	struct opt shown[ARRAY_LEN(options)];
	autostr struct str out = STR_INIT;
	size_t n = 0;
	bool is_general = false;

	str_appendf(&out, "usage: cleat ctl %s%s%s%s%s", verb->group, verb->group[0] ? " " : "",
		    verb->name, verb->argument ? " " : "", str_or(verb->argument, ""));
	for (const struct opt *o = options; o->type != OPT_END; o++) {
		if (o->type == OPT_GROUP)
			is_general = !islower((unsigned char)o->name[0]); /* else verbs */
		if (o->type != OPT_GROUP && is_in_list(verb->needs, o->name))
			str_appendf(&out, " --%s=%s", o->name, o->arg);
		if (is_general || (o->type != OPT_GROUP && (is_in_list(verb->needs, o->name) ||
							    is_in_list(verb->takes, o->name))))
			shown[n++] = *o;
	}
	shown[n] = (struct opt){ .type = OPT_END };
	str_appendf(&out, " [option...]\n\n%s\n\n", verb->summary);
	if (verb->argument && strcmp(verb->argument, "ID") == 0)
		str_appendf(&out, "ID is a %s's id, or the name it was made with.\n\n",
			    verb->group);
	if (count_arguments(verb) > 1)
		str_appendf(&out, "Both are ids of a %s, or the names they were made with.\n\n",
			    verb->group);
	opt_help(shown, &out);
	fputs(str_get(&out), stdout);
}

/* "ctl volume create --help", "ctl help volume create", "ctl volume help create": the verb's own
 * help. False if no verb is among the words. */
static bool answer_help(int argc, char **argv)
{
	const char *words[4] = { NULL };
	char *rest[2];
	int n = 0;
	bool is_asked = false;

	for (int i = 1; i < argc; i++) {
		bool is_help = strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
			       (n < 2 && strcmp(argv[i], "help") == 0);

		is_asked = is_asked || is_help;
		if (!is_help && argv[i][0] != '-' && n < 2)
			rest[n++] = argv[i];
	}
	if (!is_asked || n == 0)
		return false;
	n = complete_words(rest, n, words);
	if (!find_verb(words[0], n > 1 ? words[1] : ""))
		return false;
	print_verb_help(find_verb(words[0], n > 1 ? words[1] : ""));
	return true;
}

static int run_words(const struct cmd *cmd, const struct ctl_options *opts, char **rest, int n_rest)
{
	autofree const char **words = xcalloc((size_t)n_rest + 2, sizeof(*words));
	const struct ctl_verb *verb;
	int status, n;

	if (n_rest == 0)
		return cmd_usage(cmd, "what to do is missing: volume "
				      "create|list|show|expand|modify|delete|stage|publish|"
				      "unpublish|unstage|check, snapshot "
				      "create|list|show|delete|map|diff, group "
				      "create|list|show|delete, pool adopt|status, orphans "
				      "list|adopt|delete, handover show|finish, explain "
				      "pvc|pod|snapshot|attachment, info, "
				      "health, or doctor");
	if (strcmp(rest[0], "help") == 0)
		return cmd->run(cmd, 2,
				(char *[]){ (char[]){ "ctl" }, (char[]){ "--help" }, NULL });
	n = complete_words(rest, n_rest, words);
	verb = find_verb(words[0], n > 1 ? words[1] : "");
	if (!verb)
		return complain_verb(cmd, words[0], n > 1 ? words[1] : "");
	status = check_words(cmd, opts, verb, words, n);
	if (status != CMD_OK)
		return status;
	return run_on_loop(cmd, opts, verb, words + 2);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct ctl_options opts = { 0 };
	char **rest;
	int n_rest, status;

	if (answer_help(argc, argv))
		return CMD_OK;
	if (!cmd_parse(cmd, &opts, argc, argv, &rest, &n_rest, &status))
		return status;
	status = run_words(cmd, &opts, rest, n_rest);
	opt_done(options, &opts);
	return status;
}

const struct cmd cmd_ctl = {
	.name = "ctl",
	.summary = "Make, stage, publish, snapshot and delete volumes by hand.",
	.synopsis = "cleat ctl [option...] GROUP VERB [NAME|ID|DIR] | info | health | doctor",
	.about = "  volume create NAME --size=1Gi [--fs=xfs | --block] [--parameter pool=fast]\n"
		 "  volume create NAME --from-snapshot=ID | --from-volume=ID [--size=2Gi]\n"
		 "  volume list\n"
		 "  volume show ID\n"
		 "  volume expand ID --size=2Gi [--staging=DIR]\n"
		 "  volume stage ID --staging=DIR [--mount-flag noatime]\n"
		 "  volume publish ID --staging=DIR --target=PATH [--read-only]\n"
		 "  volume unpublish ID --target=PATH\n"
		 "  volume unstage ID --staging=DIR\n"
		 "  volume delete ID\n"
		 "  volume check ID --pool=DIR [--repair]\n"
		 "  snapshot create NAME --volume=ID [--parameter freeze=true]\n"
		 "  snapshot list [--volume=ID]\n"
		 "  snapshot show ID\n"
		 "  snapshot delete ID\n"
		 "  pool adopt DIR --moved | --copy\n"
		 "  pool status DIR\n"
		 "  explain pvc|pod|snapshot|attachment NAME [-n NAMESPACE]\n"
		 "  orphans list\n"
		 "  orphans adopt ORPHAN [--for=NAMESPACE/NAME]\n"
		 "  orphans delete ORPHAN [--yes]\n"
		 "  handover show DRIVER\n"
		 "  handover finish DRIVER [--yes]\n"
		 "  doctor --pool=DIR [--repair]\n"
		 "  info\n"
		 "  health\n"
		 "\n"
		 "An ID may be the name that the volume or snapshot was made with. Each verb has a "
		 "help of its own\n"
		 "('cleat ctl volume create --help').\n"
		 "Each may be repeated: what is done already is done again without harm.\n"
		 "\n"
		 "  id=$(cleat ctl volume create data --size=1Gi -o id)\n"
		 "  mkdir -p /mnt/stage && cleat ctl volume stage \"$id\" --staging=/mnt/stage\n"
		 "  cleat ctl volume publish \"$id\" --staging=/mnt/stage --target=/mnt/data\n",
	.options = options,
	.run = run,
};
