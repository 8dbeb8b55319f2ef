/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How images go, as with ceph-csi: to the pool's trash, which frees the name at once, and from
 * there by a task of the manager's, which deletes the blocks in its own time and tries again while
 * clones of them are left. So volumes, snapshots and clones may be deleted in any order.
 *
 * If the manager does not take the task, the image is removed from the trash here. What then cannot
 * go, since it has clones, is tried again when one of these goes: whoever discards an image has
 * its parents removed, too, that are in the trash under a name of ours.
 *
 * A call that was killed after the image went to the trash and before the task was added finds it
 * there by its name.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "backend/ceph/command.h"
#include "backend/rbd/image.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

#define TRASH_GUESS 256
#define TRIES 8 /* for a trash that fills meanwhile */
#define TEMP_SUFFIX "-temp"

const char *image_temp_name(struct arena *a, const char *name)
{
	return arena_printf(a, "%s" TEMP_SUFFIX, name);
}

const char *image_uuid_in_name(struct arena *a, const char *name)
{
	size_t n = strlen(name) - (str_has_suffix(name, TEMP_SUFFIX) ? strlen(TEMP_SUFFIX) : 0);
	const char *text;
	struct uuid uuid;

	if (n < UUID_TEXT_MAX - 1)
		return "";
	text = arena_strndup(a, name + n - (UUID_TEXT_MAX - 1), UUID_TEXT_MAX - 1);
	return uuid_parse(text, &uuid) == 0 ? text : "";
}

static bool is_our_name(const struct image_place *p, const char *name)
{
	return *image_uuid_in_name(p->ctx->arena, name);
}

/* What the manager answered, as librados does: 0 or a negative errno. Its silence is no word of the
 * cluster's, so the connection is not told of it. ret_text: what it says; NULL: of no interest. */
static int ask_manager(const struct image_place *p, const char *prefix, const char *key,
		       const char *spec, const char **ret_text)
{
	autostr struct str text = STR_INIT;
	struct json_writer w = JSON_WRITER(&text);
	struct ceph_answer answer = { .text = "" };
	struct err ignored; /* the time is up: as if it had not answered in time */
	int rc;

	json_begin_object(&w);
	json_field_string(&w, "prefix", prefix);
	if (key)
		json_field_string(&w, key, spec);
	json_end_object(&w);
	rc = ceph_command_send(p->conn, p->ctx, CEPH_COMMAND_MANAGER, str_get(&text), &answer,
			       &ignored);
	rc = rc < 0 ? -ETIMEDOUT : answer.rc;
	if (rc == 0 && ret_text)
		*ret_text = answer.text;
	return rc;
}

static int tell_manager(const struct image_place *p, const char *prefix, const char *key,
			const char *spec)
{
	return ask_manager(p, prefix, key, spec, NULL);
}

/* Whether the list of the manager's tasks has one that flattens this image. */
static bool has_flatten(const struct image_place *p, const struct json *tasks, const char *name)
{
	struct json_it it = json_each(tasks);
	const struct json *task;
	const char *key;

	while (json_next(&it, &key, &task)) {
		const struct json *refs = json_get(task, "refs");

		if (str_is_equal(json_get_string(refs, "action"), "flatten") &&
		    str_is_equal(json_get_string(refs, "image_name"), name) &&
		    str_is_equal(str_or(json_get_string(refs, "pool_namespace"), ""),
				 p->cluster.rados_namespace))
			return true;
	}
	return false;
}

int image_check_settled(const struct image_place *p, const char *name,
			const struct image_look *look, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	const char *text = "";
	struct err ignored;

	if (!*look->parent_id)
		return 0;
	if (ctx_check(p->ctx, err) < 0)
		return -1;
	/* who does not answer flattens nothing */
	if (ask_manager(p, "rbd task list", NULL, NULL, &text) < 0 ||
	    json_parse(text, strlen(text), &doc, &ignored) < 0 ||
	    !has_flatten(p, json_root(doc), name))
		return 0;
	return err_set(err, ERR_ABORTED,
		       "image '%s' is just being flattened by Ceph's manager, and a snapshot of it "
		       "could lose its parent; the same call goes on when that is done",
		       image_spec(p, name));
}

int image_flatten_later(const struct image_place *p, const char *name, struct err *err)
{
	const char *spec = image_spec(p, name);
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = tell_manager(p, "rbd task add flatten", "image_spec", spec);
	if (rc == 0 || rc == -ENOENT)
		return 0;
	return err_os(err, ERR_UNAVAILABLE, rc,
		      "image '%s' has too many parents, and Ceph's manager does not take the task "
		      "to flatten it",
		      spec);
}

/* From the trash, by whoever does it. */
static int remove_from_trash(const struct image_place *p, const char *id, struct err *err)
{
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = tell_manager(p, "rbd task add trash remove", "image_id_spec", image_spec(p, id));
	if (rc == 0 || rc == -ENOENT)
		return 0;
	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rbd_trash_remove(p->io, id, true);
	if (rc == 0 || rc == -ENOENT || rc == -EBUSY || rc == -ENOTEMPTY)
		return 0; /* the last of its clones takes it along */
	return ceph_conn_failed(p->conn, rc, err, "remove image '%s' from the trash",
				image_spec(p, id));
}

/* The image, and those of its parents that only waited for it: nobody else would tell them when the
 * last of their clones goes, if the manager did not take them. */
static int send_off(const struct image_place *p, const char *id, const struct image_look *look,
		    struct err *err)
{
	struct image_look at = *look;

	if (remove_from_trash(p, id, err) < 0)
		return -1;
	while (at.is_parent_in_trash && at.parent_pool == p->pool_id &&
	       str_is_equal(at.parent_ns, p->cluster.rados_namespace) &&
	       is_our_name(p, at.parent)) {
		const char *parent_id = at.parent_id;

		if (image_look_further(p, &at, err) < 0 || remove_from_trash(p, parent_id, err) < 0)
			return -1;
	}
	return 0;
}

static int list_trash(const struct image_place *p, rbd_trash_image_info_t **ret_list, size_t *ret_n)
{
	rbd_trash_image_info_t *list = NULL;
	size_t n = TRASH_GUESS;
	int rc = -ERANGE;

	for (int i = 0; i < TRIES && rc == -ERANGE; i++) {
		free(list);
		list = xcalloc(n + 1, sizeof(*list));
		rc = p->lib->rbd_trash_list(p->io, list, &n);
	}
	if (rc < 0) {
		free(list);
		return rc;
	}
	*ret_list = list;
	*ret_n = n;
	return 0;
}

/* Those that had the name and are in the trash already. */
static int discard_rest(const struct image_place *p, const char *name, struct err *err)
{
	rbd_trash_image_info_t *list;
	size_t n;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = list_trash(p, &list, &n);
	if (rc < 0)
		return ceph_conn_failed(p->conn, rc, err, "list the trash of '%s'",
					image_spec(p, ""));
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct image_look at = { .parent_pool = p->pool_id,
					 .parent_ns = p->cluster.rados_namespace,
					 .parent_id = list[i].id };

		if (str_is_equal(list[i].name, name))
			rc = image_look_further(p, &at, err) < 0
				     ? -1
				     : send_off(p, list[i].id, &at, err);
	}
	p->lib->rbd_trash_list_cleanup(list, n);
	free(list);
	return rc;
}

int image_check_discard(const struct image_place *p, const char *name,
			const struct image_look *look, struct err *err)
{
	if (*look->watcher)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "image '%s' is in use: %s has it open; it can be deleted when that "
			       "is done, or 30 s after that client died",
			       image_spec(p, name), look->watcher);
	for (size_t i = 0; i < look->n_snaps; i++) {
		if (look->snaps[i].is_user && !is_our_name(p, look->snaps[i].name))
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "image '%s' has the snapshot '%s', which no driver has "
				       "made; remove it first",
				       image_spec(p, name), look->snaps[i].name);
	}
	return 0;
}

static int drop_snaps(const struct image_place *p, const char *name, const struct image_look *look,
		      struct err *err)
{
	struct image image = { 0 };
	int rc = 0;

	for (size_t i = 0; i < look->n_snaps && rc == 0; i++) {
		if (!look->snaps[i].is_user)
			continue;
		if (!image.place)
			rc = image_open(p, name, &image, err);
		if (rc == 0)
			rc = image_drop_snap(&image, look->snaps[i].name, err);
	}
	if (image.place)
		image_close(&image);
	return rc;
}

/* In a full pool that never had a trash, librbd cannot make one and answers ENOENT, which is no
 * word about the image. As long as it is in doubt, it is there. */
static bool is_still_there(const struct image_place *p, const char *name, struct err *err)
{
	struct image_look look;
	int found = image_look_maybe(p, name, 0, &look, err);

	if (found > 0)
		(void)err_set(
			err, ERR_RESOURCE_EXHAUSTED,
			"image '%s' cannot be moved to the trash, which its pool does not have "
			"yet: the pool is full; give it more room or quota",
			image_spec(p, name));
	return found != 0;
}

static int discard(const struct image_place *p, const char *name, const struct image_look *look,
		   struct err *err)
{
	int rc = image_stay_keep(p, name, look, err);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (image_check_discard(p, name, look, err) < 0 || drop_snaps(p, name, look, err) < 0 ||
	    ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rbd_trash_move(p->io, name, 0);
	if (rc == -ENOENT && is_still_there(p, name, err))
		return -1;
	if (rc == -EBUSY)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "image '%s' is in use: somebody has opened it just now",
			       image_spec(p, name));
	if (rc < 0 && rc != -ENOENT)
		return ceph_conn_failed(p->conn, rc, err, "move image '%s' to the trash",
					image_spec(p, name));
	return send_off(p, look->id, look, err);
}

int image_look_idle(const struct image_place *p, const char *name, struct image_look *ret_look,
		    struct err *err)
{
	for (int i = 0;; i++) {
		int found = image_look_maybe(p, name, IMAGE_ASK_WATCHER, ret_look, err);

		if (found <= 0 || !*ret_look->watcher || i == IMAGE_TRIES - 1)
			return found;
		image_wait_a_moment(p);
	}
}

int image_discard(const struct image_place *p, const char *name, struct err *err)
{
	struct image_look look;
	int found = image_look_idle(p, name, &look, err);

	if (found <= 0)
		return found < 0 ? -1 : discard_rest(p, name, err);
	return discard(p, name, &look, err);
}

/* Who has open what was given to nobody is a driver that makes it, or was killed while it did: that
 * passes, and the same call goes on. */
static int discard_begun(const struct image_place *p, const char *name,
			 const struct image_look *look, struct err *err)
{
	int rc = discard(p, name, look, err);

	if (rc < 0 && err->code == ERR_FAILED_PRECONDITION && *look->watcher)
		err->code = ERR_ABORTED;
	return rc;
}

/* What a killed rbd_create4 leaves may be no image to open, and have the name all the same. */
int image_discard_torn(const struct image_place *p, const char *name, struct err *err)
{
	struct image_look look;
	int found = image_look_begun(p, name, IMAGE_ASK_WATCHER, &look, err);
	int rc;

	if (found != 0)
		return found < 0 ? -1 : discard_begun(p, name, &look, err);
	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rbd_remove(p->io, name);
	if (rc == -ENOTEMPTY) /* it has a snapshot, and so was whole once */
		return err_os(err, ERR_ABORTED, ENOENT,
			      "image '%s' is there and cannot be opened now, while one of its "
			      "parents is being flattened; try again",
			      image_spec(p, name));
	if (rc < 0 && rc != -ENOENT)
		return ceph_conn_failed(p->conn, rc, err, "remove what is left of image '%s'",
					image_spec(p, name));
	return discard_rest(p, name, err);
}
