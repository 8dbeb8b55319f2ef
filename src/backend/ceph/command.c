/* SPDX-License-Identifier: Apache-2.0 */
/* What a daemon answered is librados' memory, and of a size that the daemon chose. That a manager
 * did not answer in time librados tells by ETIMEDOUT as it is, and not negative, as all else: taken
 * for an answer it would say that whatever was asked is done. */
#include "backend/ceph/command.h"

#include <string.h>

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

int ceph_command_send(struct ceph_conn *conn, struct ctx *ctx, enum ceph_command_to to,
		      const char *json, struct ceph_answer *ret_answer, struct err *err)
{
	const struct ceph_lib *lib = ceph_conn_lib(conn);
	char *out = NULL, *status = NULL;
	size_t n_out = 0, n_status = 0;
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	rc = (to == CEPH_COMMAND_MONITOR ? lib->rados_mon_command : lib->rados_mgr_command)(
		ceph_conn_rados(conn), &json, 1, "", 0, &out, &n_out, &status, &n_status);
	rc = rc > 0 ? -rc : rc;
	*ret_answer = (struct ceph_answer){
		.rc = rc,
		.text = take(conn, ctx->arena, out, n_out, ANSWER_MAX),
		.status = take_status(conn, ctx->arena, status, n_status),
	};
	if (rc >= 0)
		ceph_conn_answered(conn);
	log_debug("command to the cluster", log_str("cluster", ceph_conn_cluster(conn)),
		  log_str("command", json), log_i64("rc", rc));
	return 0;
}
