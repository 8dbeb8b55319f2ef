/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subvolumes by commands to the manager's module "volumes", as `ceph fs subvolume …` sends them.
 * They are one step each from here: what the module is killed in it mends itself.
 *
 * What a command means is told by its errno; its text is for a person. ENOENT is whatever it named
 * first that is not there, so the group is asked for then. EAGAIN is a clone that is not complete,
 * or a snapshot that is being cloned. "fs subvolume create" gives one that is there
 * the size that is asked, whatever it had.
 */
#include "backend/cephfs/subvolume.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backend/ceph/command.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#define MODE "777" /* as ceph-csi's node plugin makes each of them */

struct command {
	struct str text;
	struct json_writer w;
	const char *prefix;
};

static void begin_plain(struct command *c, const struct subvolume_place *p, const char *prefix)
{
	c->text = STR_INIT;
	c->w = JSON_WRITER(&c->text);
	c->prefix = prefix;
	json_begin_object(&c->w);
	json_field_string(&c->w, "prefix", prefix);
	json_field_string(&c->w, "format", "json");
	json_field_string(&c->w, "vol_name", p->fs_name);
	json_field_string(&c->w, "group_name", p->cluster.subvolume_group);
}

static void begin(struct command *c, const struct subvolume_place *p, const char *prefix,
		  const char *name)
{
	begin_plain(c, p, prefix);
	json_field_string(&c->w, "sub_name", name);
}

static int end(struct command *c, const struct subvolume_place *p, struct ceph_answer *ret_answer,
	       struct err *err)
{
	int rc;

	json_end_object(&c->w);
	rc = ceph_command_send(p->conn, p->ctx, CEPH_COMMAND_MANAGER, str_get(&c->text), ret_answer,
			       err);
	str_done(&c->text);
	return rc;
}

static int explain(const struct command *c, const struct subvolume_place *p, const char *name,
		   const struct ceph_answer *answer, struct err *err)
{
	const char *status = *answer->status ? answer->status : "no reason is told";

	(void)ceph_conn_failed(p->conn, answer->rc, err, "%s '%s' of filesystem '%s' (%s)",
			       c->prefix, name, p->fs_name, status);
	switch (-answer->rc) {
	case EACCES:
	case EPERM:
		return err_set(err, ERR_PERMISSION_DENIED,
			       "cluster '%s': %s: the secret's user may not; its caps need mgr "
			       "'allow rw'",
			       p->cluster.id, c->prefix);
	case EAGAIN:
		err->code = ERR_ABORTED;
		break;
	case ENOTEMPTY:
		err->code = ERR_FAILED_PRECONDITION;
		break;
	case ENOTSUP:
		err->code = ERR_UNIMPLEMENTED;
		break;
	default:
		break;
	}
	return -1;
}

/* 1, or 0: there is none, or no filesystem of that name any more. */
static int has_group(const struct subvolume_place *p, struct err *err)
{
	struct ceph_answer answer;
	struct command c;

	begin_plain(&c, p, "fs subvolumegroup getpath");
	if (end(&c, p, &answer, err) < 0)
		return -1;
	if (answer.rc == -ENOENT)
		return 0;
	return answer.rc < 0 ? explain(&c, p, p->cluster.subvolume_group, &answer, err) : 1;
}

/* After ENOENT: 0 if it is the subvolume, or its snapshot, that is not there. */
static int check_group(const struct subvolume_place *p, struct err *err)
{
	int rc = has_group(p, err);

	return rc != 0 ? (rc < 0 ? -1 : 0)
		       : err_set(err, ERR_FAILED_PRECONDITION,
				 "cluster '%s': filesystem '%s' has no subvolume group '%s', so "
				 "nobody knows what is in it; config.json (cephFS.subvolumeGroup) "
				 "names it",
				 p->cluster.id, p->fs_name, p->cluster.subvolume_group);
}

static int failed(const struct command *c, const struct subvolume_place *p, const char *name,
		  const struct ceph_answer *answer, struct err *err)
{
	if (answer->rc == -ENOENT && check_group(p, err) < 0)
		return -1;
	return explain(c, p, name, answer, err);
}

/* Sends, and fails unless it was done, or answered this errno: 0 and 1. */
static int end_or(struct command *c, const struct subvolume_place *p, const char *name, int errnum,
		  struct err *err)
{
	struct ceph_answer answer;

	if (end(c, p, &answer, err) < 0)
		return -1;
	if (answer.rc == -errnum && errnum)
		return 1;
	return answer.rc < 0 ? failed(c, p, name, &answer, err) : 0;
}

static int parse(const struct subvolume_place *p, const struct command *c,
		 const struct ceph_answer *answer, struct json_doc **ret_doc, struct err *err)
{
	if (json_parse(answer->text, strlen(answer->text), ret_doc, err) == 0)
		return 0;
	err->code = ERR_INTERNAL;
	return err_wrap(err, "cluster '%s': the answer of '%s'", p->cluster.id, c->prefix);
}

/* "2026-11-29 23:27:24.698967", of the manager, whose clock is UTC's. */
static int64_t read_time(const char *text)
{
	struct tm tm = { 0 };
	const char *rest = text ? strptime(text, "%Y-%m-%d %H:%M:%S", &tm) : NULL;

	return rest && (!*rest || *rest == '.') ? timegm(&tm) * NS_PER_S : 0;
}

static int read_look(const struct subvolume_place *p, const struct json *info, const char *name,
		     struct subvolume_look *ret_look, struct err *err)
{
	struct subvolume_look look = { .path = "" };
	int64_t bytes = 0; /* "infinite" is no number */

	if (str_is_equal(json_get_string(info, "state"), "snapshot-retained")) {
		look.state = SUBVOLUME_RETAINED;
		*ret_look = look;
		return 1;
	}
	(void)json_int(json_get(info, "bytes_quota"), &bytes);
	look.bytes = bytes > 0 ? (uint64_t)bytes : 0;
	look.path = arena_strdup(p->ctx->arena, str_or(json_get_string(info, "path"), ""));
	look.is_clone = str_is_equal(json_get_string(info, "type"), "clone");
	look.created_ns = read_time(json_get_string(info, "created_at"));
	if (look.path[0] != '/')
		return err_set(err, ERR_INTERNAL,
			       "cluster '%s': the manager tells no path of subvolume '%s'",
			       p->cluster.id, name);
	*ret_look = look;
	return 1;
}

int subvolume_look_to_make(const struct subvolume_place *p, const char *name,
			   struct subvolume_look *ret_look, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct ceph_answer answer;
	struct command c;

	begin(&c, p, "fs subvolume info", name);
	if (end(&c, p, &answer, err) < 0)
		return -1;
	if (answer.rc == -ENOENT)
		return 0;
	if (answer.rc == -EAGAIN) {
		*ret_look = (struct subvolume_look){ .state = SUBVOLUME_COPYING, .path = "" };
		return 1;
	}
	if (answer.rc < 0)
		return failed(&c, p, name, &answer, err);
	return parse(p, &c, &answer, &doc, err) < 0
		       ? -1
		       : read_look(p, json_root(doc), name, ret_look, err);
}

int subvolume_look(const struct subvolume_place *p, const char *name,
		   struct subvolume_look *ret_look, struct err *err)
{
	int found = subvolume_look_to_make(p, name, ret_look, err);

	return found != 0 ? found : check_group(p, err);
}

static int make_group(const struct subvolume_place *p, struct err *err)
{
	struct command c;

	begin_plain(&c, p, "fs subvolumegroup create");
	return end_or(&c, p, p->cluster.subvolume_group, 0, err);
}

/* 1: there is no such group. */
static int make_in_group(const struct subvolume_place *p, const char *name, uint64_t bytes,
			 const char *pool, struct err *err)
{
	struct command c;

	begin(&c, p, "fs subvolume create", name);
	json_field_u64(&c.w, "size", bytes);
	json_field_string(&c.w, "mode", MODE);
	if (*pool)
		json_field_string(&c.w, "pool_layout", pool);
	return end_or(&c, p, name, ENOENT, err);
}

int subvolume_make(const struct subvolume_place *p, const char *name, uint64_t bytes,
		   const char *pool, struct err *err)
{
	int rc = make_in_group(p, name, bytes, pool, err);

	if (rc <= 0)
		return rc;
	if (make_group(p, err) < 0)
		return -1;
	rc = make_in_group(p, name, bytes, pool, err);
	return rc > 0 ? err_set(err, ERR_ABORTED,
				"cluster '%s': subvolume group '%s' of filesystem '%s' is made and "
				"gone again",
				p->cluster.id, p->cluster.subvolume_group, p->fs_name)
		      : rc;
}

int subvolume_resize(const struct subvolume_place *p, const char *name, uint64_t bytes,
		     struct err *err)
{
	struct command c;

	begin(&c, p, "fs subvolume resize", name);
	json_field_string(&c.w, "new_size",
			  arena_printf(p->ctx->arena, "%llu", (unsigned long long)bytes));
	json_field_bool(&c.w, "no_shrink", true);
	return end_or(&c, p, name, 0, err);
}

int subvolume_snap(const struct subvolume_place *p, const char *name, const char *snap,
		   struct err *err)
{
	struct command c;

	begin(&c, p, "fs subvolume snapshot create", name);
	json_field_string(&c.w, "snap_name", snap);
	return end_or(&c, p, name, 0, err);
}

int subvolume_look_snap(const struct subvolume_place *p, const char *name, const char *snap,
			struct subvolume_snap_look *ret_look, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct ceph_answer answer;
	struct command c;
	int64_t bytes = 0;

	begin(&c, p, "fs subvolume snapshot info", name);
	json_field_string(&c.w, "snap_name", snap);
	if (end(&c, p, &answer, err) < 0)
		return -1;
	if (answer.rc == -ENOENT)
		return check_group(p, err);
	if (answer.rc < 0)
		return failed(&c, p, name, &answer, err);
	if (parse(p, &c, &answer, &doc, err) < 0)
		return -1;
	(void)json_int(json_get(json_root(doc), "size"), &bytes); /* not every release tells */
	*ret_look = (struct subvolume_snap_look){
		.bytes = bytes > 0 ? (uint64_t)bytes : 0,
		.created_ns = read_time(json_get_string(json_root(doc), "created_at")),
	};
	return 1;
}

/* Names in an array of objects. */
static int tell_names(struct command *c, const struct subvolume_place *p, const char *of,
		      subvolume_name_fn fn, void *arg, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct ceph_answer answer;
	const struct json *item;
	struct json_it it;
	const char *key;

	if (end(c, p, &answer, err) < 0)
		return -1;
	if (answer.rc == -ENOENT)
		return 0;
	if (answer.rc < 0)
		return failed(c, p, of, &answer, err);
	if (parse(p, c, &answer, &doc, err) < 0)
		return -1;
	it = json_each(json_root(doc));
	while (json_next(&it, &key, &item)) {
		if (fn(arg, str_or(json_get_string(item, "name"), "")) != 0)
			break;
	}
	return 0;
}

int subvolume_each(const struct subvolume_place *p, subvolume_name_fn fn, void *arg,
		   struct err *err)
{
	struct command c;

	begin_plain(&c, p, "fs subvolume ls");
	return tell_names(&c, p, p->cluster.subvolume_group, fn, arg, err);
}

int subvolume_each_snap(const struct subvolume_place *p, const char *name, subvolume_name_fn fn,
			void *arg, struct err *err)
{
	struct command c;

	begin(&c, p, "fs subvolume snapshot ls", name);
	return tell_names(&c, p, name, fn, arg, err);
}

int subvolume_drop_snap(const struct subvolume_place *p, const char *name, const char *snap,
			struct err *err)
{
	struct command c;
	int rc;

	begin(&c, p, "fs subvolume snapshot rm", name);
	json_field_string(&c.w, "snap_name", snap);
	rc = end_or(&c, p, name, ENOENT, err);
	if (rc < 0 && err->os == EAGAIN)
		return err_wrap(err, "volumes are being made of it");
	return rc > 0 ? check_group(p, err) : rc;
}

int subvolume_clone(const struct subvolume_place *p, const char *name, const char *snap,
		    const char *to, const char *pool, struct err *err)
{
	struct command c;

	begin(&c, p, "fs subvolume snapshot clone", name);
	json_field_string(&c.w, "snap_name", snap);
	json_field_string(&c.w, "target_sub_name", to);
	json_field_string(&c.w, "target_group_name", p->cluster.subvolume_group);
	if (*pool)
		json_field_string(&c.w, "pool_layout", pool);
	return end_or(&c, p, name, EEXIST, err) < 0 ? -1 : 0;
}

static const char *word(const struct subvolume_place *p, const struct json *root, const char *path)
{
	return arena_strdup(p->ctx->arena, str_or(json_path_string(root, path), ""));
}

int subvolume_copying(const struct subvolume_place *p, const char *name,
		      struct subvolume_copying *ret_copying, struct err *err)
{
	struct subvolume_copying copying = { .state = COPYING_DONE };
	autojson struct json_doc *doc = NULL;
	struct ceph_answer answer;
	const char *state;
	struct command c;

	begin_plain(&c, p, "fs clone status");
	json_field_string(&c.w, "clone_name", name);
	if (end(&c, p, &answer, err) < 0)
		return -1;
	if (answer.rc < 0 && answer.rc != -ENOTSUP)
		return failed(&c, p, name, &answer, err);
	if (answer.rc == 0 && parse(p, &c, &answer, &doc, err) < 0)
		return -1;
	state = word(p, json_root(doc), "status.state");
	if (str_is_equal(state, "pending") || str_is_equal(state, "in-progress"))
		copying.state = COPYING_GOES_ON;
	else if (str_is_equal(state, "failed") || str_is_equal(state, "canceled"))
		copying.state = COPYING_FAILED;
	copying.source = word(p, json_root(doc), "status.source.subvolume");
	copying.snap = word(p, json_root(doc), "status.source.snapshot");
	copying.progress = word(p, json_root(doc), "status.progress_report.percentage cloned");
	copying.why = word(p, json_root(doc), "status.failure.error_msg");
	*ret_copying = copying;
	return 0;
}

/* 1: it is a clone that is not complete. */
static int discard_whole(const struct subvolume_place *p, const char *name, struct err *err)
{
	struct ceph_answer answer;
	struct command c;

	begin(&c, p, "fs subvolume rm", name);
	json_field_bool(&c.w, "retain_snapshots", true);
	if (end(&c, p, &answer, err) < 0)
		return -1;
	if (answer.rc == -ENOENT)
		return check_group(p, err);
	if (answer.rc == -EAGAIN)
		return 1;
	return answer.rc < 0 ? failed(&c, p, name, &answer, err) : 0;
}

/* EINVAL: it is complete by now, or was stopped before. */
static int stop_copying(const struct subvolume_place *p, const char *name, struct err *err)
{
	struct ceph_answer answer;
	struct command c;

	begin_plain(&c, p, "fs clone cancel");
	json_field_string(&c.w, "clone_name", name);
	if (end(&c, p, &answer, err) < 0)
		return -1;
	if (answer.rc == 0 || answer.rc == -EINVAL || answer.rc == -ENOENT)
		return 0;
	return failed(&c, p, name, &answer, err);
}

/* The clone last, since it tells of what it was to be made. */
static int discard_copy(const struct subvolume_place *p, const char *name, struct err *err)
{
	struct subvolume_copying copying;
	struct command c;
	int rc;

	if (stop_copying(p, name, err) < 0)
		return -1;
	if (subvolume_copying(p, name, &copying, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (str_is_equal(copying.snap, name) &&
	    subvolume_drop_snap(p, copying.source, name, err) < 0)
		return -1;
	begin(&c, p, "fs subvolume rm", name);
	json_field_bool(&c.w, "force", true); /* or an incomplete one stays */
	rc = end_or(&c, p, name, ENOENT, err);
	return rc > 0 ? check_group(p, err) : rc;
}

int subvolume_discard(const struct subvolume_place *p, const char *name, struct err *err)
{
	int rc = discard_whole(p, name, err);

	return rc <= 0 ? rc : discard_copy(p, name, err);
}

/* Also EINVAL, of a manager that does not know it. */
static bool is_unknown(int rc)
{
	return rc == -EINVAL || rc == -ENOTSUP;
}

static void begin_word(struct command *c, const struct subvolume_place *p, const char *name,
		       const char *snap, bool is_set)
{
	begin(c, p,
	      snap ? (is_set ? "fs subvolume snapshot metadata set"
			     : "fs subvolume snapshot metadata get")
		   : (is_set ? "fs subvolume metadata set" : "fs subvolume metadata get"),
	      name);
	if (snap)
		json_field_string(&c->w, "snap_name", snap);
}

int subvolume_set_words(const struct subvolume_place *p, const char *name, const char *snap,
			const struct subvolume_word *words, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct ceph_answer answer;
		struct command c;

		if (str_is_empty(words[i].value))
			continue;
		begin_word(&c, p, name, snap, true);
		json_field_string(&c.w, "key_name", words[i].key);
		json_field_string(&c.w, "value", words[i].value);
		if (end(&c, p, &answer, err) < 0)
			return -1;
		if (is_unknown(answer.rc))
			return 0;
		if (answer.rc < 0)
			return failed(&c, p, name, &answer, err);
	}
	return 0;
}

int subvolume_get_word(const struct subvolume_place *p, const char *name, const char *snap,
		       const char *key, const char **ret_value, struct err *err)
{
	struct ceph_answer answer;
	struct command c;

	begin_word(&c, p, name, snap, false);
	json_field_string(&c.w, "key_name", key);
	if (end(&c, p, &answer, err) < 0)
		return -1;
	if (answer.rc < 0 && answer.rc != -ENOENT && !is_unknown(answer.rc))
		return failed(&c, p, name, &answer, err);
	*ret_value = answer.rc < 0 ? ""
				   : arena_strndup(p->ctx->arena, answer.text,
						   strcspn(answer.text, "\r\n"));
	return 0;
}

const char *subvolume_uuid_in_name(const char *name)
{
	size_t n = strlen(name);
	struct uuid uuid;

	if (n < UUID_TEXT_MAX - 1)
		return "";
	name += n - (UUID_TEXT_MAX - 1);
	return uuid_parse(name, &uuid) == 0 ? name : "";
}
