/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each step is one operation on one object, which is done whole or not, and is written so that it
 * may be done again: who was killed, or had no answer, simply begins anew. What others may have
 * changed meanwhile is compared within the operation (omap_cmp; an absent key compares as ""), not
 * before it: ECANCELED then means "look again".
 *
 * The names and texts are those that ceph-csi 3.12 writes, byte by byte.
 */
#include "backend/ceph/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "backend/ceph/journal-internal.h"
#include "base/mem.h"
#include "base/str.h"

#define NAME_KEY_MAX 192 /* "csi.volume." and a name of the CO */
#define VALUE_MAX 1024
#define PAGE 512
/* So often somebody else may come between in one call. */
#define TRIES 8

struct words {
	const char *directory; /* with the instance behind it */
	const char *prefix;    /* of keys in it, and of the objects */
	const char *name_key, *source_key;
};

static const struct words words[] = {
	[CEPH_JOURNAL_VOLUMES] = { "csi.volumes.", "csi.volume.", "csi.volname", "cleat.source" },
	[CEPH_JOURNAL_SNAPSHOTS] = { "csi.snaps.", "csi.snap.", "csi.snapname", "csi.source" },
};

/* What one call works with. */
struct work {
	const struct ceph_journal *j;
	const struct ceph_lib *lib;
	struct ctx *ctx;
	const struct words *words;
	const char *directory;
};

struct object {
	const char *name;
	bool exists;
	const char *values[KEYS]; /* NULL: absent */
};

static struct work work_of(const struct ceph_journal *j, struct ctx *ctx)
{
	struct work w = { j, ceph_conn_lib(j->conn), ctx, &words[j->kind], NULL };

	w.directory = arena_printf(ctx->arena, "%s%s", w.words->directory,
				   str_or(j->instance, "default"));
	return w;
}

static const char *key_name(const struct work *w, enum journal_key key)
{
	return key == NAME_AT     ? w->words->name_key
	       : key == SOURCE_AT ? w->words->source_key
				  : journal_keys[key];
}

static const char *key_of(const struct work *w, const char *name)
{
	return arena_printf(w->ctx->arena, "%s%s", w->words->prefix, name);
}

/* Of what an iterator gave; INVALID is the cluster's, so it is told apart from our own faults. */
static int take_value(const struct work *w, const char *object, const char *key, const char *bytes,
		      size_t n, const char **ret_value, struct err *err)
{
	if (n > VALUE_MAX || memchr(bytes, '\0', n))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"cluster '%s': object '%.100s' holds %zu bytes under '%.160s' that are "
			"no text of ceph-csi",
			ceph_conn_cluster(w->j->conn), object, n, key);
	*ret_value = arena_strndup(w->ctx->arena, bytes, n);
	return 0;
}

static int take_values(const struct work *w, const char *object, const char *const *names, size_t n,
		       rados_omap_iter_t it, const char **ret_values, struct err *err)
{
	char *key, *value;
	size_t len;

	while (w->lib->rados_omap_get_next(it, &key, &value, &len) == 0 && key)
		for (size_t i = 0; i < n; i++)
			if (str_is_equal(names[i], key) &&
			    take_value(w, object, key, value, len, &ret_values[i], err) < 0)
				return -1;
	return 0;
}

/* The values of these keys, NULL for those that are absent; 0 if there is no such object, else 1.
 */
static int read_keys(const struct work *w, rados_ioctx_t io, const char *object,
		     const char *const *names, size_t n, const char **ret_values, struct err *err)
{
	rados_omap_iter_t it;
	rados_read_op_t op;
	int rc, part = 0;

	if (ctx_check(w->ctx, err) < 0)
		return -1;
	op = w->lib->rados_create_read_op();
	w->lib->rados_read_op_omap_get_vals_by_keys(op, names, n, &it, &part);
	rc = w->lib->rados_read_op_operate(op, io, object, 0);
	if (rc == -ENOENT)
		rc = 0;
	else if (rc < 0 || part < 0)
		rc = ceph_conn_failed(w->j->conn, rc < 0 ? rc : part, err, "read '%s'", object);
	else
		rc = take_values(w, object, names, n, it, ret_values, err) < 0 ? -1 : 1;
	if (rc >= 0)
		ceph_conn_answered(w->j->conn);
	w->lib->rados_omap_get_end(it);
	w->lib->rados_release_read_op(op);
	return rc;
}

static int read_object(const struct work *w, rados_ioctx_t io, const char *uuid,
		       struct object *ret_object, struct err *err)
{
	struct object o = { .name = key_of(w, uuid) };
	const char *names[KEYS];
	int rc;

	for (enum journal_key k = 0; k < KEYS; k++)
		names[k] = key_name(w, k);
	rc = read_keys(w, io, o.name, names, KEYS, o.values, err);
	if (rc < 0)
		return -1;
	o.exists = rc > 0;
	*ret_object = o;
	return 0;
}

/* 1, or 0 if the directory has no such name; ret_text is what the key holds, letter by letter. */
static int look_up(const struct work *w, rados_ioctx_t io, const char *name, const char **ret_text,
		   char ret_uuid[UUID_TEXT_MAX], int64_t *ret_pool_id, struct err *err)
{
	const char *key = key_of(w, name);
	const char *text = NULL;

	if (read_keys(w, io, w->directory, &key, 1, &text, err) < 0)
		return -1;
	if (str_is_empty(text))
		return 0;
	if (!journal_parse_holding(text, ret_uuid, ret_pool_id))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"cluster '%s': key '%.160s' of object '%s' holds '%.80s', which is no "
			"UUID of a journal; it is left as it is",
			ceph_conn_cluster(w->j->conn), key, w->directory, text);
	*ret_text = text;
	return 1;
}

/* The ioctx of another pool in the same namespace; io's own if id is -1 or its own. Given back by
 * close_pool. */
static int open_pool(const struct work *w, int64_t id, rados_ioctx_t *ret_io, struct err *err)
{
	char ns[256];
	int n;

	if (id < 0 || id == w->lib->rados_ioctx_get_id(w->j->io)) {
		*ret_io = w->j->io;
		return 0;
	}
	n = w->lib->rados_ioctx_get_namespace(w->j->io, ns, sizeof(ns));
	if (n < 0 || (size_t)n >= sizeof(ns))
		return err_set(err, ERR_INTERNAL, "the namespace of the pool is too long");
	return ceph_conn_open_pool_id(w->j->conn, id, ns, ret_io, err);
}

static void close_pool(const struct work *w, rados_ioctx_t io)
{
	if (io != w->j->io)
		w->lib->rados_ioctx_destroy(io);
}

static struct ceph_entry entry_of(const struct object *o, const char *uuid, int64_t pool_id)
{
	return journal_entry_of(o->values, uuid, pool_id);
}

/* The object of a directory's key; one of another name is not its. */
static int read_own(const struct work *w, rados_ioctx_t io, const char *name, const char *uuid,
		    struct object *ret_object, struct err *err)
{
	if (read_object(w, io, uuid, ret_object, err) < 0)
		return -1;
	if (ret_object->values[NAME_AT] && !str_is_equal(ret_object->values[NAME_AT], name))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"cluster '%s': '%s' gives '%.128s' the UUID %s, but object '%s' is of "
			"'%.128s'; nothing of it is touched",
			ceph_conn_cluster(w->j->conn), w->directory, name, uuid, ret_object->name,
			ret_object->values[NAME_AT]);
	return 0;
}

int ceph_journal_find(const struct ceph_journal *j, struct ctx *ctx, const char *name,
		      struct ceph_entry *ret_entry, struct err *err)
{
	struct work w = work_of(j, ctx);
	char uuid[UUID_TEXT_MAX];
	struct object object;
	int64_t pool_id = -1;
	const char *text;
	rados_ioctx_t io;
	int rc = look_up(&w, j->io, name, &text, uuid, &pool_id, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, "cluster '%s' has no '%.128s' in its journal",
			       ceph_conn_cluster(j->conn), name);
	if (open_pool(&w, pool_id, &io, err) < 0)
		return -1;
	rc = read_own(&w, io, name, uuid, &object, err);
	close_pool(&w, io);
	if (rc < 0)
		return -1;
	*ret_entry = entry_of(&object, uuid, pool_id);
	return 0;
}

int ceph_journal_read(const struct ceph_journal *j, struct ctx *ctx, const char *uuid,
		      struct ceph_entry *ret_entry, struct err *err)
{
	struct work w = work_of(j, ctx);
	char text[UUID_TEXT_MAX];
	struct object object;

	if (!journal_parse_uuid(uuid, text))
		return err_set(err, ERR_NOT_FOUND, "'%.80s' is no UUID of a journal", uuid);
	if (read_object(&w, j->io, text, &object, err) < 0)
		return -1;
	if (!object.exists)
		return err_set(err, ERR_NOT_FOUND, "cluster '%s' has no object '%s'",
			       ceph_conn_cluster(j->conn), object.name);
	*ret_entry = entry_of(&object, text, -1);
	return 0;
}

/* rc of an operation that compares: 1 done, 0 somebody else was there first. */
static int outcome(const struct work *w, int rc, const char *what, const char *object,
		   struct err *err)
{
	if (rc == -ECANCELED)
		return 0;
	if (rc < 0)
		return ceph_conn_failed(w->j->conn, rc, err, "%s '%s'", what, object);
	ceph_conn_answered(w->j->conn);
	return 1;
}

static void op_compare(const struct work *w, rados_write_op_t op, const char *key,
		       const char *value)
{
	w->lib->rados_write_op_omap_cmp(op, key, LIBRADOS_CMPXATTR_OP_EQ, value, strlen(value),
					NULL);
}

static void op_set(const struct work *w, rados_write_op_t op, const char *key, const char *value)
{
	size_t n = strlen(value);

	w->lib->rados_write_op_omap_set(op, &key, &value, &n, 1);
}

/* Gives the name a UUID if it has none. As outcome. */
static int put_name(const struct work *w, const struct ceph_reservation *what,
		    char ret_uuid[UUID_TEXT_MAX], struct err *err)
{
	bool is_elsewhere =
		what->pool_id >= 0 && what->pool_id != w->lib->rados_ioctx_get_id(w->j->io);
	const char *key = key_of(w, what->name);
	char uuid[UUID_TEXT_MAX];
	rados_write_op_t op;
	struct uuid u;
	int rc;

	if (ctx_check(w->ctx, err) < 0)
		return -1;
	uuid_make(&u);
	uuid_format(&u, uuid);
	op = w->lib->rados_create_write_op();
	w->lib->rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	op_compare(w, op, key, "");
	op_set(w, op, key,
	       is_elsewhere ? arena_printf(w->ctx->arena, "%016" PRIx64 "/%s",
					   (uint64_t)what->pool_id, uuid)
			    : uuid);
	rc = w->lib->rados_write_op_operate(op, w->j->io, w->directory, NULL, 0);
	w->lib->rados_release_write_op(op);
	memcpy(ret_uuid, uuid, UUID_TEXT_MAX);
	return outcome(w, rc, "reserve a name in", w->directory, err);
}

/* What the object of a reservation is to have; NULL: nothing. */
static void fill_wanted(const struct work *w, const struct ceph_reservation *what, const char *uuid,
			bool is_elsewhere, const char *ret_wanted[KEYS])
{
	struct arena *a = w->ctx->arena;
	const char *wanted[KEYS] = {
		[NAME_AT] = what->name,
		[IMAGE_AT] = arena_printf(a, "%s%s", what->prefix, uuid),
		[SOURCE_AT] = str_is_empty(what->source) ? NULL : what->source,
		[OWNER_AT] = str_is_empty(what->owner) ? NULL : what->owner,
		[LAYOUT_AT] = str_is_empty(what->layout) ? NULL : what->layout,
		[BACKING_AT] = str_is_empty(what->backing) ? NULL : what->backing,
		[PATH_AT] = str_is_empty(what->path) ? NULL : what->path,
		[KMS_AT] = str_is_empty(what->kms) ? NULL : what->kms,
		[ENCRYPTION_AT] = str_is_empty(what->kms) ? NULL : "block",
	};

	if (is_elsewhere)
		wanted[JOURNAL_POOL_AT] = arena_printf(
			a, "%016" PRIx64, (uint64_t)w->lib->rados_ioctx_get_id(w->j->io));
	memcpy(ret_wanted, wanted, sizeof(wanted));
}

static bool is_whole(const struct object *o)
{
	return o->values[NAME_AT] && o->values[IMAGE_AT];
}

/* Adds what the object lacks, as it was when it was read. As outcome. */
static int complete(const struct work *w, rados_ioctx_t io, const struct object *o,
		    const char *const wanted[KEYS], struct err *err)
{
	rados_write_op_t op;
	int rc;

	if (ctx_check(w->ctx, err) < 0)
		return -1;
	op = w->lib->rados_create_write_op();
	w->lib->rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	op_compare(w, op, key_name(w, NAME_AT), str_or(o->values[NAME_AT], ""));
	op_compare(w, op, key_name(w, IMAGE_AT), str_or(o->values[IMAGE_AT], ""));
	for (enum journal_key k = 0; k < KEYS; k++)
		if (wanted[k] && !o->values[k])
			op_set(w, op, key_name(w, k), wanted[k]);
	rc = w->lib->rados_write_op_operate(op, io, o->name, NULL, 0);
	w->lib->rados_release_write_op(op);
	return outcome(w, rc, "write", o->name, err);
}

/* 1, and the entry, whole; 0: look again. Of a UUID that was given just now there is no object. */
static int reserve_object(const struct work *w, const struct ceph_reservation *what,
			  const char *uuid, int64_t pool_id, bool is_new,
			  struct ceph_entry *ret_entry, struct err *err)
{
	struct object o = { .name = key_of(w, uuid) };
	const char *wanted[KEYS];
	rados_ioctx_t io;
	int rc = 1;

	if (open_pool(w, pool_id, &io, err) < 0)
		return -1;
	fill_wanted(w, what, uuid, io != w->j->io, wanted);
	if (!is_new && read_own(w, io, what->name, uuid, &o, err) < 0)
		rc = -1;
	if (rc > 0 && !is_whole(&o)) {
		rc = complete(w, io, &o, wanted, err);
		for (enum journal_key k = 0; k < KEYS; k++)
			if (!o.values[k] && wanted[k])
				o.values[k] = arena_strdup(w->ctx->arena, wanted[k]);
	}
	close_pool(w, io);
	if (rc > 0) {
		*ret_entry = entry_of(&o, uuid, pool_id);
		ret_entry->is_new = is_new;
	}
	return rc;
}

/* As reserve_object: of a name that has none. */
static int reserve_name(const struct work *w, const struct ceph_reservation *what,
			struct ceph_entry *ret_entry, struct err *err)
{
	bool is_elsewhere =
		what->pool_id >= 0 && what->pool_id != w->lib->rados_ioctx_get_id(w->j->io);
	char uuid[UUID_TEXT_MAX];
	int rc = put_name(w, what, uuid, err);

	return rc <= 0 ? rc
		       : reserve_object(w, what, uuid, is_elsewhere ? what->pool_id : -1, true,
					ret_entry, err);
}

int ceph_journal_reserve(const struct ceph_journal *j, struct ctx *ctx,
			 const struct ceph_reservation *what, struct ceph_entry *ret_entry,
			 struct err *err)
{
	struct work w = work_of(j, ctx);

	for (int i = 0; i < TRIES; i++) {
		char uuid[UUID_TEXT_MAX];
		int64_t pool_id = -1;
		const char *text;
		int rc = look_up(&w, j->io, what->name, &text, uuid, &pool_id, err);

		if (rc == 0)
			rc = reserve_name(&w, what, ret_entry, err);
		else if (rc > 0)
			rc = reserve_object(&w, what, uuid, pool_id, false, ret_entry, err);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	return err_set(err, ERR_ABORTED,
		       "cluster '%s': others keep changing the reservation of '%.128s'",
		       ceph_conn_cluster(j->conn), what->name);
}

int ceph_journal_set_image_id(const struct ceph_journal *j, struct ctx *ctx, const char *uuid,
			      const char *image_id, struct err *err)
{
	struct work w = work_of(j, ctx);
	const char *object = key_of(&w, uuid);
	rados_write_op_t op;
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	op = w.lib->rados_create_write_op();
	w.lib->rados_write_op_assert_exists(op);
	op_set(&w, op, key_name(&w, IMAGE_ID_AT), image_id);
	rc = w.lib->rados_write_op_operate(op, j->io, object, NULL, 0);
	w.lib->rados_release_write_op(op);
	return rc < 0 ? ceph_conn_failed(j->conn, rc, err, "write '%s'", object) : 0;
}

/* As outcome: 0 if what it held has changed. */
static int remove_key(const struct work *w, rados_ioctx_t io, const char *key, const char *text,
		      struct err *err)
{
	rados_write_op_t op = w->lib->rados_create_write_op();
	int rc;

	op_compare(w, op, key, text);
	w->lib->rados_write_op_omap_rm_keys(op, &key, 1);
	rc = w->lib->rados_write_op_operate(op, io, w->directory, NULL, 0);
	w->lib->rados_release_write_op(op);
	return outcome(w, rc, "remove a name of", w->directory, err);
}

static int forget_name(const struct work *w, rados_ioctx_t io, const char *uuid, const char *name,
		       struct err *err)
{
	const char *key = key_of(w, name);
	const char *text = NULL;
	char held[UUID_TEXT_MAX];
	int64_t pool_id;

	if (read_keys(w, io, w->directory, &key, 1, &text, err) < 0)
		return -1;
	if (!text || !journal_parse_holding(text, held, &pool_id) || !str_is_equal(held, uuid))
		return 0;
	return ctx_check(w->ctx, err) < 0 || remove_key(w, io, key, text, err) < 0 ? -1 : 0;
}

/* The directory may be in another pool than the object. */
static int forget_name_somewhere(const struct work *w, const struct object *o, const char *uuid,
				 const char *name, struct err *err)
{
	int64_t pool_id = -1;
	rados_ioctx_t io;
	int rc;

	if (str_is_empty(name))
		return 0; /* torn before it was given one */
	if (o->values[JOURNAL_POOL_AT] && !journal_parse_pool(o->values[JOURNAL_POOL_AT], &pool_id))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "cluster '%s': object '%s' has '%.80s' as csi.journalpool, which is "
			       "no pool",
			       ceph_conn_cluster(w->j->conn), o->name, o->values[JOURNAL_POOL_AT]);
	if (open_pool(w, pool_id, &io, err) < 0)
		return -1;
	rc = forget_name(w, io, uuid, name, err);
	close_pool(w, io);
	return rc;
}

int ceph_journal_forget(const struct ceph_journal *j, struct ctx *ctx, const char *uuid,
			const char *name, struct err *err)
{
	struct work w = work_of(j, ctx);
	struct object o;
	int rc;

	if (read_object(&w, j->io, uuid, &o, err) < 0 ||
	    forget_name_somewhere(&w, &o, uuid, str_or(o.values[NAME_AT], name), err) < 0)
		return -1;
	if (!o.exists)
		return 0;
	if (ctx_check(ctx, err) < 0)
		return -1;
	rc = w.lib->rados_remove(j->io, o.name);
	if (rc < 0 && rc != -ENOENT)
		return ceph_conn_failed(j->conn, rc, err, "remove '%s'", o.name);
	return 0;
}

struct walk {
	ceph_journal_fn fn;
	void *arg;
	char after[NAME_KEY_MAX * 2]; /* the last key that was seen */
	bool is_stopped;
};

static int tell_page(const struct work *w, struct walk *walk, rados_omap_iter_t it, struct err *err)
{
	char *key, *value;
	size_t n, skip = strlen(w->words->prefix);

	while (!walk->is_stopped && w->lib->rados_omap_get_next(it, &key, &value, &n) == 0 && key) {
		char uuid[UUID_TEXT_MAX];
		int64_t pool_id;
		const char *text;

		if (strlen(key) >= sizeof(walk->after))
			return err_set(
				err, ERR_FAILED_PRECONDITION,
				"cluster '%s': object '%s' has the key '%.160s', which is too "
				"long",
				ceph_conn_cluster(w->j->conn), w->directory, key);
		(void)snprintf(walk->after, sizeof(walk->after), "%s", key);
		if (take_value(w, w->directory, key, value, n, &text, err) < 0)
			return -1;
		walk->is_stopped =
			walk->fn(walk->arg, key + skip,
				 journal_parse_holding(text, uuid, &pool_id) ? uuid : text) != 0;
	}
	return 0;
}

/* 1 if more may follow. */
static int walk_page(const struct work *w, struct walk *walk, struct err *err)
{
	rados_read_op_t op = w->lib->rados_create_read_op();
	unsigned char more = 0;
	rados_omap_iter_t it;
	int rc, part = 0;

	w->lib->rados_read_op_omap_get_vals2(op, walk->after, w->words->prefix, PAGE, &it, &more,
					     &part);
	rc = w->lib->rados_read_op_operate(op, w->j->io, w->directory, 0);
	if (rc == -ENOENT)
		rc = 0;
	else if (rc < 0 || part < 0)
		rc = ceph_conn_failed(w->j->conn, rc < 0 ? rc : part, err, "read '%s'",
				      w->directory);
	else
		rc = tell_page(w, walk, it, err) < 0 ? -1 : more && !walk->is_stopped;
	w->lib->rados_omap_get_end(it);
	w->lib->rados_release_read_op(op);
	return rc;
}

int ceph_journal_each(const struct ceph_journal *j, struct ctx *ctx, ceph_journal_fn fn, void *arg,
		      struct err *err)
{
	struct work w = work_of(j, ctx);
	struct walk walk = { .fn = fn, .arg = arg };
	int rc;

	do
		rc = ctx_check(ctx, err) < 0 ? -1 : walk_page(&w, &walk, err);
	while (rc > 0);
	return rc;
}
