/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes to attachments. Each is a merge patch of the fields meant, with the version that they were
 * reckoned from; on a conflict the object is read anew and they are reckoned again. Nobody else
 * writes an attachment's status, so a conflict is a stale cache, a finalizer of someone else's, or
 * the object's end, and only the last one is news to a reconcile.
 */
#include "control/attach-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/fence.h"
#include "kube/path.h"

#define WRITE_TRIES 4
#define MESSAGE_MAX 1024

/* Fills the members beside metadata.resourceVersion: into metadata, and behind it. */
typedef void (*fill_fn)(const struct attach_job *job, struct json_writer *w, const void *arg);

struct attachment_write {
	const char *subresource; /* NULL: the object itself */
	fill_fn fill_meta, fill;
	const void *arg;
};

static struct object_store store_of(const struct attach_job *job)
{
	return (struct object_store){ job->a->client, job->a->attachments,
				      &storage_attachment_type };
}

static int check_same(struct attach_job *job, const char *uid, bool was_deleting, struct err *err)
{
	if (str_is_equal(uid, job->va.obj->uid) && was_deleting == job->va.obj->is_deleting)
		return 0;
	job->is_moved = true;
	return err_set(err, ERR_ABORTED, "volumeattachment %s %s", job->va.obj->name,
		       str_is_equal(uid, job->va.obj->uid) ? "is being deleted"
							   : "was made anew meanwhile");
}

static int note_failure(struct attach_job *job, const struct err *err)
{
	job->is_gone |= err->code == ERR_NOT_FOUND;
	return -1;
}

int attach_refresh(struct attach_job *job, struct err *err)
{
	const char *uid = arena_strdup(job->ctx->arena, job->va.obj->uid);
	bool was_deleting = job->va.obj->is_deleting;
	const struct object_store store = store_of(job);

	if (object_read_whole(&store, job->ctx, NULL, job->va.obj->name, &job->va, err) < 0)
		return note_failure(job, err);
	return check_same(job, uid, was_deleting, err);
}

static void write_body(const struct attach_job *job, const struct attachment_write *what,
		       struct json_writer *w)
{
	json_begin_object(w);
	json_key(w, "metadata");
	json_begin_object(w);
	json_field_string(w, "uid", job->va.obj->uid);
	json_field_string(w, "resourceVersion", job->va.obj->resource_version);
	if (what->fill_meta)
		what->fill_meta(job, w, what->arg);
	json_end_object(w);
	if (what->fill) {
		json_key(w, "status");
		json_begin_object(w);
		what->fill(job, w, what->arg);
		json_end_object(w);
	}
	json_end_object(w);
}

static int write_once(struct attach_job *job, const struct attachment_write *what, struct err *err)
{
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);
	const struct object_store store = store_of(job);
	struct json_doc *reply = NULL;
	autofree char *path = NULL;
	struct err none;

	if (kube_object_path(store.type, NULL, job->va.obj->name, &path, err) < 0)
		return -1;
	write_body(job, what, &w);
	if (kube_write(job->a->client, job->ctx,
		       &(struct kube_write){ KUBE_MERGE, path, .subresource = what->subresource,
					     .body = str_get(&body) },
		       &reply, err) < 0)
		return note_failure(job, err);
	(void)object_take_whole(&store, reply, &job->va, &none); /* a Status, if it was its end */
	return 0;
}

static int write_attachment(struct attach_job *job, const struct attachment_write *what,
			    struct err *err)
{
	for (unsigned tries = 1;; tries++) {
		if (write_once(job, what, err) == 0)
			return 0;
		if (err->code != ERR_ABORTED || tries == WRITE_TRIES ||
		    fence_is_cut_off(job->a->fence, job->ctx))
			return -1;
		if (attach_refresh(job, err) < 0)
			return -1;
	}
}

static void put_finalizers(const struct attach_job *job, struct json_writer *w, bool is_wanted)
{
	json_key(w, "finalizers");
	json_begin_array(w);
	for (size_t i = 0; i < job->va.obj->n_finalizers; i++)
		if (!str_is_equal(job->va.obj->finalizers[i], job->a->finalizer))
			json_put_string(w, job->va.obj->finalizers[i]);
	if (is_wanted)
		json_put_string(w, job->a->finalizer);
	json_end_array(w);
}

static void fill_mark(const struct attach_job *job, struct json_writer *w, const void *arg)
{
	put_finalizers(job, w, true);
	json_key(w, "annotations");
	json_begin_object(w);
	json_field_string(w, ANN_NODE_ID, arg);
	json_end_object(w);
}

int attach_write_mark(struct attach_job *job, const char *node_id, struct err *err)
{
	const struct attachment_write what = { .fill_meta = fill_mark, .arg = node_id };

	if (attach_is_marked(job->a, job->va.obj) &&
	    str_is_equal(strmap_find(&job->va.obj->annotations, ANN_NODE_ID), node_id))
		return 0;
	return write_attachment(job, &what, err);
}

static void fill_unmark(const struct attach_job *job, struct json_writer *w, const void *arg)
{
	put_finalizers(job, w, false);
}

int attach_write_unmark(struct attach_job *job, struct err *err)
{
	const struct attachment_write what = { .fill_meta = fill_unmark };

	if (!attach_is_marked(job->a, job->va.obj) || write_attachment(job, &what, err) == 0)
		return 0;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

/* A merge patch adds to a map: what is there and is to go has to be said. */
static void fill_attached(const struct attach_job *job, struct json_writer *w, const void *arg)
{
	const struct json *old = json_path(json_root(job->va.doc), "status.attachmentMetadata");
	const struct strmap *metadata = arg;
	const struct json *value;
	const char *key;

	json_field_bool(w, "attached", true);
	json_key(w, "attachError");
	json_put_null(w);
	json_key(w, "attachmentMetadata");
	json_begin_object(w);
	for (struct json_it it = json_each(old); json_next(&it, &key, &value);) {
		if (strmap_find(metadata, key))
			continue;
		json_key(w, key);
		json_put_null(w);
	}
	for (size_t i = 0; i < metadata->n; i++)
		json_field_string(w, metadata->v[i].key, metadata->v[i].value);
	json_end_object(w);
}

static bool is_told(const struct attach_job *job, const struct strmap *metadata)
{
	const struct json *status = json_get(json_root(job->va.doc), "status");
	const struct strmap old =
		json_strmap(job->ctx->arena, json_get(status, "attachmentMetadata"));

	return json_bool(json_get(status, "attached"), false) &&
	       json_is_null(json_get(status, "attachError")) && strmap_is_equal(&old, metadata);
}

int attach_write_attached(struct attach_job *job, const struct strmap *metadata, struct err *err)
{
	const struct attachment_write what = { .subresource = "status",
					       .fill = fill_attached,
					       .arg = metadata };
	const struct storage_attachment *seen = attach_job_of(job);

	if ((seen->has_metadata || seen->is_attached) && !job->va.doc &&
	    attach_refresh(job, err) < 0)
		return -1;
	if (job->va.doc && is_told(job, metadata))
		return 0;
	return write_attachment(job, &what, err);
}

static void fill_detached(const struct attach_job *job, struct json_writer *w, const void *arg)
{
	json_field_bool(w, "attached", false);
	json_key(w, "attachmentMetadata");
	json_put_null(w);
	json_key(w, "detachError");
	json_put_null(w);
}

int attach_write_detached(struct attach_job *job, struct err *err)
{
	const struct attachment_write what = { .subresource = "status", .fill = fill_detached };
	const struct storage_attachment *seen = attach_job_of(job);

	if ((!seen->is_attached && !seen->has_metadata) || write_attachment(job, &what, err) == 0)
		return 0;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

/* Kubernetes reads the code of an attachError: a full node has its pods moved. A detachError has
 * none. */
static void fill_error(const struct attach_job *job, struct json_writer *w, const void *arg)
{
	const struct err *what = arg;
	char now[CLOCK_TEXT_MAX];

	clock_format(clock_wall_ns(), now);
	json_key(w, job->va.obj->is_deleting ? "detachError" : "attachError");
	json_begin_object(w);
	json_field_string(w, "time", now);
	json_field_string(w, "message", what->msg);
	if (!job->va.obj->is_deleting) {
		json_key(w, "errorCode");
		if (job->is_answer)
			json_put_u64(w, what->code);
		else
			json_put_null(w);
	}
	json_end_object(w);
}

/* On a conflict the last write may have been made, and its answer lost: then nothing went wrong. */
void attach_write_error(struct attach_job *job, const struct err *what)
{
	const struct attachment_write write = { .subresource = "status",
						.fill = fill_error,
						.arg = what };
	bool was_attached = attach_job_of(job)->is_attached;
	struct err err;

	static_assert(ERR_MSG_MAX <= MESSAGE_MAX, "the API server takes no longer message");
	for (unsigned tries = 1; tries <= WRITE_TRIES; tries++) {
		if (write_once(job, &write, &err) == 0)
			return;
		if (err.code != ERR_ABORTED || attach_refresh(job, &err) < 0 ||
		    attach_job_of(job)->is_attached != was_attached)
			break;
	}
	if (!job->is_moved && !job->is_gone)
		log_debug("error not written to the volumeattachment",
			  log_str("attachment", job->va.obj->name), log_err(&err));
}
