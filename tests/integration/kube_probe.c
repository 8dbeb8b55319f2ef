/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Kubernetes client by hand: commands on stdin, one answer a command on
 * stdout, so that a test in another language drives client, informers, lease
 * and recorder against a real API server. Changes seen by watches are printed
 * when they come, as lines that begin with "change".
 *
 *   get PATH · create PATH JSON · update PATH JSON · patch merge|json|strategic PATH JSON
 *   delete PATH [UID] · write update|merge|apply|force SUBRESOURCE|- MANAGER|- PATH JSON
 *     → "ok JSON" | "err CODE message"
 *   watch KIND · count KIND · synced KIND · trouble KIND · find KIND NS/NAME · note KIND JSON
 *   health · event KIND NS/NAME Normal|Warning REASON TEXT · lease NAME IDENTITY · held
 *   release · rss
 */
#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/core.h"
#include "control/storage.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/lease.h"
#include "kube/recorder.h"

#include <malloc.h>
#include <stdio.h>

#define CALL_NS (30 * NS_PER_S)

static const struct work_lane_def lane = { .name = "api", .threads = 4 };
static const struct work_options one_lane = { .lanes = &lane, .n_lanes = 1 };
static const struct kube_type *const types[] = {
	&core_pvc_type,  &core_pv_type,          &storage_class_type,
	&core_node_type, &storage_csi_node_type, &storage_attachment_type,
};
#define KINDS (sizeof(types) / sizeof(types[0]))

struct probe {
	struct ev_loop *loop;
	struct work *work;
	struct kube_client *client;
	struct informer *informers[KINDS];
	struct recorder *recorder;
	struct lease *lease;
	struct fence *fence; /* of the lease alone: the verbs here are anyone's */
	bool is_quiet;
};

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list ap;

	LOCK_SCOPE(&output);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/* The next word of *line, NULL if there is none. */
static char *next_word(char **line)
{
	char *word = *line + strspn(*line, " ");
	size_t n = strcspn(word, " ");

	*line = word[n] ? word + n + 1 : word + n;
	word[n] = '\0';
	return *word ? word : NULL;
}

static void report_call(int r, struct json_doc *doc, const struct err *err)
{
	autofree char *text = r == 0 && doc ? json_text(json_root(doc)) : NULL;

	if (r < 0)
		say("err %s %s", err_code_name(err->code), err->msg);
	else
		say("ok %s", str_or(text, "{}"));
	json_free(doc);
}

static bool run_verb(struct probe *p, const char *verb, char *rest)
{
	enum kube_verb type = KUBE_MERGE;
	struct json_doc *doc = NULL;
	struct ctx ctx;
	struct err err;
	char *path;
	int r;

	if (strcmp(verb, "patch") == 0) {
		const char *name = str_or(next_word(&rest), "");

		type = strcmp(name, "json") == 0        ? KUBE_JSON_PATCH
		       : strcmp(name, "strategic") == 0 ? KUBE_STRATEGIC
							: KUBE_MERGE;
	}
	path = next_word(&rest);
	ctx_init(&ctx, CALL_NS);
	if (strcmp(verb, "get") == 0)
		r = kube_get(p->client, &ctx, path, &doc, &err);
	else if (strcmp(verb, "create") == 0)
		r = kube_create(p->client, &ctx, path, rest, &doc, &err);
	else if (strcmp(verb, "update") == 0)
		r = kube_update(p->client, &ctx, path, rest, &doc, &err);
	else if (strcmp(verb, "patch") == 0)
		r = kube_patch(p->client, &ctx, path, type, rest, &doc, &err);
	else
		r = kube_delete(p->client, &ctx, path, str_or(next_word(&rest), ""), &err);
	ctx_done(&ctx);
	report_call(r, doc, &err);
	return true;
}

/* A word that is not "-". */
static const char *word_or_null(char *word)
{
	return str_is_equal(word, "-") ? NULL : word;
}

static void run_write(struct probe *p, char *rest)
{
	const char *how = str_or(next_word(&rest), "");
	struct kube_write write = { .verb = KUBE_APPLY };
	struct json_doc *doc = NULL;
	struct ctx ctx;
	struct err err;
	int r;

	if (strcmp(how, "update") == 0)
		write.verb = KUBE_UPDATE;
	if (strcmp(how, "merge") == 0)
		write.verb = KUBE_MERGE;
	write.force = strcmp(how, "force") == 0;
	write.subresource = word_or_null(next_word(&rest));
	write.field_manager = word_or_null(next_word(&rest));
	write.path = next_word(&rest);
	write.body = rest;
	ctx_init(&ctx, CALL_NS);
	r = kube_write(p->client, &ctx, &write, &doc, &err);
	ctx_done(&ctx);
	report_call(r, doc, &err);
}

static int find_kind(const char *resource)
{
	for (int kind = 0; kind < (int)KINDS; kind++)
		if (str_is_equal(resource, types[kind]->resource))
			return kind;
	return -1;
}

static void on_change(void *arg, const struct kube_object *old_obj,
		      const struct kube_object *new_obj)
{
	const struct kube_object *o = new_obj ? new_obj : old_obj;
	struct probe *p = arg;

	if (!p->is_quiet)
		say("change %s %s %s/%s %s",
		    !old_obj  ? "new"
		    : new_obj ? "changed"
			      : "gone",
		    o->type->resource, o->ns, o->name, o->resource_version);
}

static void watch(struct probe *p, int kind)
{
	struct informer *i = informer_new(p->client, types[kind], NULL);

	p->informers[kind] = i;
	informer_on_change(i, on_change, p);
	informer_start(i);
	say("ok");
}

static const struct kube_object *find_object(struct probe *p, int kind, char *key)
{
	char *slash = key ? strchr(key, '/') : NULL;

	if (!slash || !p->informers[kind])
		return NULL;
	*slash = '\0';
	return informer_get(p->informers[kind], key, slash + 1);
}

static void show_object(struct probe *p, int kind, char *rest)
{
	autokobj const struct kube_object *o = find_object(p, kind, next_word(&rest));

	if (o)
		say("ok %s", o->resource_version);
	else
		say("none");
}

static void note(struct probe *p, int kind, const char *text)
{
	autojson struct json_doc *doc = NULL;
	autokobj const struct kube_object *o = NULL;
	struct err err;

	if (json_parse(text, strlen(text), &doc, &err) == 0)
		o = kube_object_decode(types[kind], json_root(doc));
	if (o)
		informer_note_write(p->informers[kind], o);
	say(o ? "ok" : "err");
}

static void record(struct probe *p, int kind, char *rest)
{
	autokobj const struct kube_object *o = find_object(p, kind, next_word(&rest));
	const char *type = str_or(next_word(&rest), "");
	const char *reason = str_or(next_word(&rest), "");

	if (!o) {
		say("none");
		return;
	}
	recorder_event(p->recorder, o,
		       strcmp(type, "Warning") == 0 ? RECORDER_WARNING : RECORDER_NORMAL, reason,
		       "%s", rest);
	say("ok");
}

static bool run_kind(struct probe *p, const char *command, char *rest)
{
	char text[ERR_MSG_MAX];
	int kind = find_kind(next_word(&rest));

	if (kind < 0)
		return false;
	if (strcmp(command, "watch") == 0)
		watch(p, kind);
	else if (strcmp(command, "count") == 0)
		say("ok %zu", informer_count(p->informers[kind]));
	else if (strcmp(command, "synced") == 0)
		say("ok %d", informer_has_synced(p->informers[kind]));
	else if (strcmp(command, "find") == 0)
		show_object(p, kind, rest);
	else if (strcmp(command, "note") == 0)
		note(p, kind, rest);
	else if (strcmp(command, "event") == 0)
		record(p, kind, rest);
	else if (strcmp(command, "trouble") == 0) {
		informer_trouble(p->informers[kind], text);
		say("ok %s", text);
	} else {
		return false;
	}
	return true;
}

static void on_won(void *arg)
{
	say("change won");
}

static void on_lost(void *arg)
{
	say("change lost");
}

static void take_lease(struct probe *p, char *rest)
{
	struct fence *fence = p->fence = p->fence ? p->fence : fence_new();
	struct lease_options opts = {
		.ns = "default",
		.name = next_word(&rest),
		.identity = next_word(&rest),
		.duration_ns = 3 * NS_PER_S,
		.renew_deadline_ns = 2 * NS_PER_S,
		.retry_ns = NS_PER_S / 2,
		.on_won = on_won,
		.on_lost = on_lost,
		.fence = fence,
	};
	struct err err;

	if (lease_new(p->loop, p->client, &opts, &p->lease, &err) < 0) {
		say("err %s %s", err_code_name(err.code), err.msg);
		return;
	}
	lease_start(p->lease);
	say("ok");
}

/* The resident pages of this process by kind, in KiB. */
static void show_memory(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[128];
	struct str out = STR_INIT;

	while (f && fgets(line, sizeof(line), f))
		if (str_has_prefix(line, "VmRSS") || str_has_prefix(line, "RssAnon")) {
			line[strcspn(line, "\n")] = '\0';
			str_appendf(&out, " %s", line);
		}
	if (f)
		(void)fclose(f);
	say("ok%s", str_get(&out));
	str_done(&out);
}

static bool run_other(struct probe *p, const char *command, char *rest)
{
	char why[ERR_MSG_MAX];

	if (strcmp(command, "health") == 0) {
		bool is_healthy = kube_client_is_healthy(p->client, why);

		say("ok %d %s", is_healthy, why);
	} else if (strcmp(command, "write") == 0) {
		run_write(p, rest);
	} else if (strcmp(command, "lease") == 0) {
		take_lease(p, rest);
	} else if (strcmp(command, "held") == 0) {
		say("ok %d", p->fence && fence_is_open(p->fence));
	} else if (strcmp(command, "release") == 0) {
		lease_free(TAKE_PTR(p->lease));
		say("ok");
	} else if (strcmp(command, "quiet") == 0) {
		p->is_quiet = true;
		say("ok");
	} else if (strcmp(command, "rss") == 0) {
		show_memory();
	} else {
		return false;
	}
	return true;
}

static void run_command(struct probe *p, char *line)
{
	static const char *const verbs[] = { "get", "create", "update", "patch", "delete" };
	static const char *const kinds[] = { "watch", "count", "synced", "find",
					     "note",  "event", "trouble" };
	const char *command = str_or(next_word(&line), "");
	bool is_known = false;

	for (size_t i = 0; i < ARRAY_LEN(verbs) && !is_known; i++)
		is_known = strcmp(command, verbs[i]) == 0 && run_verb(p, command, line);
	for (size_t i = 0; i < ARRAY_LEN(kinds) && !is_known; i++)
		is_known = strcmp(command, kinds[i]) == 0 && run_kind(p, command, line);
	if (!is_known && !run_other(p, command, line))
		say("what?");
}

static void clean_up(struct probe *p)
{
	lease_free(p->lease);
	fence_free(p->fence);
	recorder_free(p->recorder);
	for (int kind = 0; kind < (int)KINDS; kind++)
		informer_free(p->informers[kind]);
	work_free(p->work);
	kube_client_free(p->client);
	ev_loop_join(p->loop);
	ev_loop_free(p->loop);
}

int main(int argc, char **argv)
{
	struct kube_client_options opts = { .qps = 1000,
					    .burst = 1000,
					    .user_agent = "kube_probe" };
	struct kube_config config;
	struct probe p = { 0 };
	char *line = NULL;
	size_t size = 0;
	struct err err;
	ssize_t n;

	(void)mallopt(M_ARENA_MAX, 1);
	if (kube_config_load(argc > 1 ? argv[1] : "", "", &config, &err) < 0) {
		say("err %s %s", err_code_name(err.code), err.msg);
		return 1;
	}
	if (ev_loop_new(&p.loop) < 0 || ev_loop_spawn(p.loop) < 0 ||
	    work_new(&one_lane, &p.work) < 0 ||
	    kube_client_new(p.loop, &config, &opts, &p.client, &err) < 0)
		return 1;
	kube_config_done(&config);
	p.recorder = recorder_new(p.work, 0, p.client, "kube-probe", "probe-0");
	say("ready");
	while ((n = getline(&line, &size, stdin)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		run_command(&p, line);
	}
	free(line);
	clean_up(&p);
	return 0;
}
