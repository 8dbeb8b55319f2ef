/* SPDX-License-Identifier: Apache-2.0 */
/* What a daemon answered is librados' memory, and of a size that the daemon chose. That a manager
 * did not answer in time librados tells by ETIMEDOUT as it is, and not negative, as all else: taken
 * for an answer it would say that whatever was asked is done. (It has no time limit here, but a
 * newer librados may have one of its own.)
 *
 * A command that was not answered in time goes on in its errand, and may yet be carried out. */
#include "backend/ceph/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ceph/errand.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/num.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define ANSWER_MAX (8 * MIB)
#define STATUS_MAX 300

static const char *take(const struct ceph_conn *conn, struct arena *a, char *bytes, size_t n,
			size_t max)
{
	const char *text = "";

	if (bytes && n <= max && !memchr(bytes, '\0', n))
		text = arena_strndup(a, bytes, n);
	if (bytes)
		ceph_conn_lib(conn)->rados_buffer_free(bytes);
	return text;
}

/* One line of it, as the manager's may have a traceback behind. */
static const char *take_status(const struct ceph_conn *conn, struct arena *a, char *bytes, size_t n)
{
	const char *text = take(conn, a, bytes, n, ANSWER_MAX);
	size_t len = strcspn(text, "\r\n");

	return arena_strndup(a, text, len < STATUS_MAX ? len : STATUS_MAX);
}

#define NAME_MAX_BYTES 64

struct command {
	struct ceph_errand errand;
	enum ceph_command_to to;
	char *json;
	char name[NAME_MAX_BYTES];
	char *out, *status;
	size_t n_out, n_status;
};

static int run_command(struct ceph_errand *e, const struct ceph_lib *lib, rados_t rados)
{
	struct command *c = (struct command *)e;
	const char *json = c->json;
	int rc = (c->to == CEPH_COMMAND_MONITOR ? lib->rados_mon_command : lib->rados_mgr_command)(
		rados, &json, 1, "", 0, &c->out, &c->n_out, &c->status, &c->n_status);

	return rc > 0 ? -rc : rc;
}

static void free_command(struct ceph_errand *e, const struct ceph_lib *lib)
{
	struct command *c = (struct command *)e;

	if (c->out)
		lib->rados_buffer_free(c->out);
	if (c->status)
		lib->rados_buffer_free(c->status);
	free(c->json);
	free(c);
}

/* What a person calls it: its prefix, which says of no volume which it is. */
static void name_command(const char *json, char ret_name[NAME_MAX_BYTES])
{
	autojson struct json_doc *doc = NULL;
	const char *prefix = NULL;
	struct err ignored;

	if (json_parse(json, strlen(json), &doc, &ignored) == 0)
		prefix = json_get_string(json_root(doc), "prefix");
	(void)snprintf(ret_name, NAME_MAX_BYTES, "%s", str_or(prefix, "a command"));
}

static struct command *new_command(enum ceph_command_to to, const char *json)
{
	struct command *c = xcalloc(1, sizeof(*c));

	name_command(json, c->name);
	c->errand = (struct ceph_errand){ .name = c->name,
					  .run = run_command,
					  .free = free_command,
					  .is_managers = to == CEPH_COMMAND_MANAGER };
	c->to = to;
	c->json = xstrdup(json);
	return c;
}

static void take_answer(struct ceph_conn *conn, struct ctx *ctx, struct command *c, int rc,
			struct ceph_answer *ret_answer)
{
	*ret_answer = (struct ceph_answer){
		.rc = rc,
		.text = take(conn, ctx->arena, TAKE_PTR(c->out), c->n_out, ANSWER_MAX),
		.status = take_status(conn, ctx->arena, TAKE_PTR(c->status), c->n_status),
	};
	if (rc >= 0)
		ceph_conn_answered(conn);
}

int ceph_command_send(struct ceph_conn *conn, struct ctx *ctx, enum ceph_command_to to,
		      const char *json, struct ceph_answer *ret_answer, struct err *err)
{
	struct command *c;
	int rc = -ETIMEDOUT;
	int ended;

	if (ctx_check(ctx, err) < 0)
		return -1;
	c = new_command(to, json);
	ended = ceph_errand_run(conn, ctx, &c->errand, &rc, err);
	if (ended > 0)
		take_answer(conn, ctx, c, rc, ret_answer);
	else if (ended == 0)
		*ret_answer = (struct ceph_answer){
			.rc = -ETIMEDOUT,
			.text = "",
			.status = "it was sent, and may be done yet",
		};
	ceph_errand_put(&c->errand);
	log_debug("command to the cluster", log_str("cluster", ceph_conn_cluster(conn)),
		  log_str("command", json), log_i64("rc", rc));
	return ended < 0 ? -1 : 0;
}
