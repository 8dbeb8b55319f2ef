/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a backup's question to the driver's answer: who asks (TokenReview), whether they may
 * (SubjectAccessReview), which snapshot of the driver that is (VolumeSnapshot, its content), with
 * which Secret, and then the stream.
 *
 * Everything is read from the API server at each call, none of it from a cache: calls are few and
 * last for minutes, and what was taken away from somebody a moment ago must not be given out. The
 * right that is asked for is to get VolumeSnapshots in the namespace, so the content must be bound
 * to the very snapshot that was named: who may write a snapshot's status could else point to the
 * content of another namespace.
 *
 * The token is in no message, no log line and no longer in memory than the review takes.
 */
#define LOG_ROOM "control"
#include "control/snapshot_metadata.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/driver.h"
#include "control/list.h"
#include "control/object.h"
#include "control/secrets.h"
#include "control/snapshots.h"
#include "kube/client.h"
#include "kube/path.h"

#define TOKEN_REVIEWS "/apis/authentication.k8s.io/v1/tokenreviews"
#define ACCESS_REVIEWS "/apis/authorization.k8s.io/v1/subjectaccessreviews"

struct snapshot_metadata {
	struct kube_client *client;
	struct driver driver;
	char *audience;
	int64_t timeout_ns, stream_ns;
};

static const struct kube_type service_type = {
	.kind = "SnapshotMetadataService",
	.resource = "snapshotmetadataservices",
	.group_version = "cbt.storage.k8s.io/v1beta1",
	.is_custom = true,
};

struct snapshot_metadata *snapshot_metadata_new(const struct snapshot_metadata_options *opts)
{
	struct snapshot_metadata *sm = xcalloc(1, sizeof(*sm));

	sm->client = opts->client;
	sm->audience = xstrdup(str_or(opts->audience, ""));
	sm->timeout_ns = opts->timeout_ns;
	sm->stream_ns = opts->stream_ns;
	driver_init(&sm->driver, &opts->service, opts->driver_name, opts->timeout_ns);
	return sm;
}

void snapshot_metadata_free(struct snapshot_metadata *sm)
{
	if (!sm)
		return;
	driver_done(&sm->driver);
	free(sm->audience);
	free(sm);
}

int snapshot_metadata_check(struct snapshot_metadata *sm, struct ctx *ctx, struct err *err)
{
	struct driver_caps caps;

	if (driver_ask(&sm->driver, ctx, &caps, err) < 0)
		return -1;
	if (caps.plugin & CSI_CAP_BIT(CSI_PLUGIN_SNAPSHOT_METADATA_SERVICE))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "driver '%s' does not tell what is in snapshots (no "
		       "SNAPSHOT_METADATA_SERVICE)",
		       sm->driver.name);
}

/* What failed has the code that callers know, unless they are gone themselves. */
static int fail_as(struct err *err, enum err_code code)
{
	if (err->code != ERR_CANCELLED && err->code != ERR_DEADLINE_EXCEEDED)
		err->code = code;
	return -1;
}

/* ---- who asks ---- */

static int find_audience(struct snapshot_metadata *sm, struct ctx *ctx, const char **ret_audience,
			 struct err *err)
{
	autojson struct json_doc *doc = NULL;
	autofree char *path = NULL;
	const char *audience;

	if (!str_is_empty(sm->audience)) {
		*ret_audience = sm->audience;
		return 0;
	}
	if (kube_object_path(&service_type, "", sm->driver.name, &path, err) < 0 ||
	    kube_get(sm->client, ctx, path, &doc, err) < 0)
		return err_wrap(err, "SnapshotMetadataService '%s'", sm->driver.name);
	audience = json_path_string(json_root(doc), "spec.audience");
	if (str_is_empty(audience))
		return err_set(err, ERR_INTERNAL,
			       "SnapshotMetadataService '%s' has no spec.audience",
			       sm->driver.name);
	*ret_audience = arena_strdup(ctx->arena, audience);
	return 0;
}

static int review_token(struct snapshot_metadata *sm, struct ctx *ctx, const char *token,
			const char *audience, struct json_doc **ret_review, struct err *err)
{
	autowipe struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);

	json_begin_object(&w);
	json_field_string(&w, "apiVersion", "authentication.k8s.io/v1");
	json_field_string(&w, "kind", "TokenReview");
	json_key(&w, "spec");
	json_begin_object(&w);
	json_field_string(&w, "token", token);
	json_key(&w, "audiences");
	json_begin_array(&w);
	json_put_string(&w, audience);
	json_end_array(&w);
	json_end_object(&w);
	json_end_object(&w);
	return kube_create(sm->client, ctx, TOKEN_REVIEWS, str_get(&body), ret_review, err);
}

/* An API server that knows nothing of audiences leaves them out, and then the token may be for
 * anything. */
static bool is_for(const struct json *status, const char *audience)
{
	const struct json *value;
	const char *none;

	for (struct json_it it = json_each(json_get(status, "audiences"));
	     json_next(&it, &none, &value);)
		if (str_is_equal(json_string(value), audience))
			return true;
	return false;
}

static int authenticate(struct snapshot_metadata *sm, struct ctx *ctx, const char *token,
			struct json_doc **ret_review, struct err *err)
{
	const char *audience, *why;
	const struct json *status;

	if (find_audience(sm, ctx, &audience, err) < 0 ||
	    review_token(sm, ctx, token, audience, ret_review, err) < 0) {
		(void)err_wrap(err, "failed to authenticate user");
		return fail_as(err, ERR_INTERNAL);
	}
	status = json_get(json_root(*ret_review), "status");
	if (json_bool(json_get(status, "authenticated"), false) && is_for(status, audience))
		return 0;
	why = str_or(json_get_string(status, "error"), "");
	log_debug("security token refused", log_str("audience", audience), log_str("reason", why));
	return err_set(err, ERR_UNAUTHENTICATED,
		       "unauthenticated user: security_token is none of audience '%s'", audience);
}

/* ---- whether they may ---- */

/* A member as it is, if it is there. */
static void copy_field(struct json_writer *w, const struct json *from, const char *key)
{
	const struct json *value = json_get(from, key);

	if (json_is_null(value))
		return;
	json_key(w, key);
	json_put_value(w, value);
}

static void write_access_review(struct str *out, const struct json *user, const char *ns)
{
	struct json_writer w = JSON_WRITER(out);

	json_begin_object(&w);
	json_field_string(&w, "apiVersion", "authorization.k8s.io/v1");
	json_field_string(&w, "kind", "SubjectAccessReview");
	json_key(&w, "spec");
	json_begin_object(&w);
	json_field_string(&w, "user", str_or(json_get_string(user, "username"), ""));
	copy_field(&w, user, "uid");
	copy_field(&w, user, "groups");
	copy_field(&w, user, "extra");
	json_key(&w, "resourceAttributes");
	json_begin_object(&w);
	json_field_string(&w, "namespace", ns);
	json_field_string(&w, "verb", "get");
	json_field_string(&w, "group", SNAPSHOT_GROUP);
	json_field_string(&w, "version", "v1");
	json_field_string(&w, "resource", snapshot_type.resource);
	json_end_object(&w);
	json_end_object(&w);
	json_end_object(&w);
}

static int authorize(struct snapshot_metadata *sm, struct ctx *ctx, const struct json *user,
		     const char *ns, struct err *err)
{
	autojson struct json_doc *review = NULL;
	autostr struct str body = STR_INIT;
	const struct json *status;

	write_access_review(&body, user, ns);
	if (kube_create(sm->client, ctx, ACCESS_REVIEWS, str_get(&body), &review, err) < 0) {
		(void)err_wrap(err, "failed to authorize the user");
		return fail_as(err, ERR_INTERNAL);
	}
	status = json_get(json_root(review), "status");
	if (json_bool(json_get(status, "allowed"), false) &&
	    !json_bool(json_get(status, "denied"), false))
		return 0;
	return err_set(err, ERR_PERMISSION_DENIED,
		       "user '%s' may not get volumesnapshots in namespace '%s': %s",
		       str_or(json_get_string(user, "username"), ""), ns,
		       str_or(json_get_string(status, "reason"), "no rule allows it"));
}

static int admit(struct snapshot_metadata *sm, struct ctx *ctx, const char *token, const char *ns,
		 struct err *err)
{
	autojson struct json_doc *review = NULL;

	if (kube_name_check("namespace", ns, err) < 0 ||
	    authenticate(sm, ctx, token, &review, err) < 0)
		return -1;
	return authorize(sm, ctx, json_path(json_root(review), "status.user"), ns, err);
}

/* ---- which snapshot ---- */

/* Both owned. */
struct found {
	const struct kube_object *snapshot, *content;
};

static void found_done(struct found *f)
{
	kube_object_unref(f->snapshot);
	kube_object_unref(f->content);
}
#define autofound __attribute__((cleanup(found_done)))

static int read_object(struct snapshot_metadata *sm, struct ctx *ctx, const struct kube_type *type,
		       const char *ns, const char *name, const struct kube_object **ret,
		       struct err *err)
{
	const struct object_store store = { .client = sm->client, .type = type };

	if (object_read(&store, ctx, ns, name, ret, err) == 0)
		return 0;
	(void)err_wrap(err, "failed to get %s '%s'", type->kind, name);
	return err->code == ERR_INVALID_ARGUMENT ? -1 : fail_as(err, ERR_UNAVAILABLE);
}

static int check_content(const struct snapshot_metadata *sm, const struct found *f, struct err *err)
{
	const struct snapshot_content *c = snapshot_content_of(f->content);

	if (!str_is_equal(c->ref_ns, f->snapshot->ns) ||
	    !str_is_equal(c->ref_name, f->snapshot->name) ||
	    (*c->ref_uid && !str_is_equal(c->ref_uid, f->snapshot->uid)))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "VolumeSnapshotContent '%s' is not bound to VolumeSnapshot '%s/%s'",
			       f->content->name, f->snapshot->ns, f->snapshot->name);
	if (!str_is_equal(c->driver, sm->driver.name))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "VolumeSnapshot '%s' does not belong to the CSI driver '%s' but to "
			       "'%s'",
			       f->snapshot->name, sm->driver.name, c->driver);
	if (!c->is_ready)
		return err_set(err, ERR_UNAVAILABLE,
			       "the VolumeSnapshotContent '%s' is not yet ready", f->content->name);
	if (!*c->handle)
		return err_set(err, ERR_UNAVAILABLE,
			       "VolumeSnapshotContent '%s' has no status.snapshotHandle",
			       f->content->name);
	return 0;
}

static int find(struct snapshot_metadata *sm, struct ctx *ctx, const char *ns, const char *name,
		struct found *f, struct err *err)
{
	const struct snapshot *s;

	if (read_object(sm, ctx, &snapshot_type, ns, name, &f->snapshot, err) < 0)
		return -1;
	s = snapshot_of(f->snapshot);
	if (!s->is_ready)
		return err_set(err, ERR_UNAVAILABLE, "the VolumeSnapshot '%s' is not yet ready",
			       name);
	if (!*s->bound_content)
		return err_set(err, ERR_UNAVAILABLE,
			       "VolumeSnapshot '%s' has no status.boundVolumeSnapshotContentName",
			       name);
	if (read_object(sm, ctx, &snapshot_content_type, "", s->bound_content, &f->content, err) <
	    0)
		return -1;
	return check_content(sm, f, err);
}

/* ---- with which Secret ---- */

/* The driver's default class. */
struct default_class {
	const char *driver;
	const struct kube_object *found; /* owned */
	struct err *err;
};

static int see_class(void *arg, const struct json *item)
{
	struct default_class *d = arg;
	autokobj const struct kube_object *o = kube_object_decode(&snapshot_class_type, item);

	if (!o || !str_is_equal(snapshot_class_of(o)->driver, d->driver) ||
	    !str_is_equal(strmap_find(&o->annotations, ANN_DEFAULT_SNAPSHOT_CLASS), "true"))
		return 0;
	if (d->found)
		return err_set(d->err, ERR_UNAVAILABLE,
			       "multiple default VolumeSnapshotClasses are set for the CSI driver "
			       "'%s': '%s' and '%s'",
			       d->driver, d->found->name, o->name);
	d->found = TAKE_PTR(o);
	return 0;
}

/* NULL if there is none. */
static int find_default_class(struct snapshot_metadata *sm, struct ctx *ctx,
			      const struct kube_object **ret_class, struct err *err)
{
	struct default_class d = { .driver = sm->driver.name, .err = err };

	if (list_each(sm->client, ctx, &snapshot_class_type, NULL, see_class, &d, err) < 0) {
		kube_object_unref(d.found);
		(void)err_wrap(err, "look for the default VolumeSnapshotClass");
		return fail_as(err, ERR_UNAVAILABLE);
	}
	*ret_class = d.found;
	return 0;
}

/* What the content was made with, by its own words: for one whose class is gone. */
static struct secret_ref ref_of_content(struct arena *a, const struct kube_object *content)
{
	const char *ns = strmap_find(&content->annotations, ANN_SNAPSHOT_SECRET_NS);
	const char *name = strmap_find(&content->annotations, ANN_SNAPSHOT_SECRET_NAME);

	return (struct secret_ref){ .ns = arena_strdup(a, str_or(ns, "")),
				    .name = arena_strdup(a, str_or(name, "")) };
}

static int ref_of_class(struct ctx *ctx, const struct found *f, const struct kube_object *class,
			struct secret_ref *ret_ref, struct err *err)
{
	const struct snapshot_vars vars = {
		.content_name = f->content->name,
		.ns = f->snapshot->ns,
		.name = f->snapshot->name,
	};

	if (secret_ref_resolve_snapshot(ctx->arena, &snapshot_class_of(class)->parameters,
					SNAPSHOT_SECRET, &vars, ret_ref, err) == 0)
		return 0;
	(void)err_wrap(err, "VolumeSnapshotClass '%s'", class->name);
	return fail_as(err, ERR_UNAVAILABLE);
}

static int find_ref(struct snapshot_metadata *sm, struct ctx *ctx, const struct found *f,
		    struct secret_ref *ret_ref, struct err *err)
{
	const char *name = snapshot_of(f->snapshot)->class_name;
	const struct object_store classes = { .client = sm->client, .type = &snapshot_class_type };
	autokobj const struct kube_object *class = NULL;

	*ret_ref = ref_of_content(ctx->arena, f->content);
	if (!*name) {
		if (find_default_class(sm, ctx, &class, err) < 0)
			return -1;
	} else if (object_read(&classes, ctx, "", name, &class, err) < 0 &&
		   !(err->code == ERR_NOT_FOUND && secret_ref_is_set(ret_ref))) {
		(void)err_wrap(err, "failed to get VolumeSnapshotClass '%s'", name);
		return fail_as(err, ERR_UNAVAILABLE);
	}
	return class ? ref_of_class(ctx, f, class, ret_ref, err) : 0;
}

static int find_secrets(struct snapshot_metadata *sm, struct ctx *ctx, const struct found *f,
			struct secrets *ret_secrets, struct err *err)
{
	struct secret_ref ref;

	if (find_ref(sm, ctx, f, &ref, err) < 0)
		return -1;
	return secret_fetch(sm->client, ctx, &ref, ret_secrets, err) < 0
		       ? fail_as(err, ERR_UNAVAILABLE)
		       : 0;
}

/* ---- the calls ---- */

static int ask_driver(struct snapshot_metadata *sm, struct ctx *ctx, struct err *err)
{
	if (snapshot_metadata_check(sm, ctx, err) == 0)
		return 0;
	(void)err_wrap(err, "the CSI driver is not yet ready");
	return fail_as(err, ERR_UNAVAILABLE);
}

/* All that comes before the driver is asked. *handle is of the driver, in the arena. */
static int prepare(struct snapshot_metadata *sm, struct ctx *ctx, const char *token, const char *ns,
		   const char *name, const char **ret_handle, struct secrets *ret_secrets,
		   struct err *err)
{
	int64_t deadline_ns = driver_limit_to(ctx, sm->timeout_ns);
	autofound struct found f = { 0 };
	int r = -1;

	if (admit(sm, ctx, token, ns, err) == 0 && ask_driver(sm, ctx, err) == 0 &&
	    find(sm, ctx, ns, name, &f, err) == 0 &&
	    find_secrets(sm, ctx, &f, ret_secrets, err) == 0) {
		*ret_handle = arena_strdup(ctx->arena, snapshot_content_of(f.content)->handle);
		r = 0;
	}
	ctx->deadline_ns = deadline_ns;
	return r;
}

static void limit_stream(const struct snapshot_metadata *sm, struct ctx *ctx)
{
	if (sm->stream_ns > 0)
		(void)driver_limit_to(ctx, sm->stream_ns);
}

/* Of the driver's codes all but UNKNOWN say something. */
static int pass_on(int r, struct err *err)
{
	if (r < 0 && err->code == ERR_UNKNOWN)
		err->code = ERR_INTERNAL;
	return r;
}

int snapshot_metadata_allocated(struct snapshot_metadata *sm, struct ctx *ctx,
				const struct snapmeta_get_metadata_allocated_request *req,
				struct csi_stream *out, struct err *err)
{
	struct csi_get_metadata_allocated_request ask = {
		.starting_offset = req->starting_offset,
		.max_results = req->max_results,
	};

	limit_stream(sm, ctx);
	if (prepare(sm, ctx, req->security_token, req->namespace, req->snapshot_name,
		    &ask.snapshot_id, &ask.secrets, err) < 0)
		return -1;
	return pass_on(csi_get_metadata_allocated(&sm->driver.service, ctx, &ask, out, err), err);
}

int snapshot_metadata_delta(struct snapshot_metadata *sm, struct ctx *ctx,
			    const struct snapmeta_get_metadata_delta_request *req,
			    struct csi_stream *out, struct err *err)
{
	struct csi_get_metadata_delta_request ask = {
		.base_snapshot_id = req->base_snapshot_id,
		.starting_offset = req->starting_offset,
		.max_results = req->max_results,
	};

	limit_stream(sm, ctx);
	if (prepare(sm, ctx, req->security_token, req->namespace, req->target_snapshot_name,
		    &ask.target_snapshot_id, &ask.secrets, err) < 0)
		return -1;
	return pass_on(csi_get_metadata_delta(&sm->driver.service, ctx, &ask, out, err), err);
}
