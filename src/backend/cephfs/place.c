/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a subvolume is: which cluster config.json gives a name to, and which filesystem of it,
 * whose metadata pool has the journal. The monitors know the filesystems; one call asks them once.
 *
 * A cluster that a handle names and config.json does not is no reason to say that its volume is
 * gone, nor is a filesystem that the monitors do not tell of: they tell each user of those alone
 * that its caps name. Only what is not in a filesystem that was found is not there.
 */
#include <stdio.h>

#include "backend/ceph/command.h"
#include "backend/cephfs/cephfs-internal.h"
#include "base/json.h"
#include "base/str.h"

/* As the administrator, if the secret has one beside the user for nodes: that is who may ask the
 * manager. */
static int connect_to(struct subvolumes *s, struct ctx *ctx, const char *cluster,
		      const struct secrets *secrets, struct subvolume_place *place, struct err *err)
{
	*place = (struct subvolume_place){ .subvolumes = s, .ctx = ctx };
	if (ceph_elsewhere_connect(&s->ceph, ctx, cluster, secrets, CEPH_LOGIN_ADMIN,
				   &place->cluster, &place->conn, err) < 0)
		return -1;
	place->lib = ceph_conn_lib(place->conn);
	return 0;
}

void subvolume_place_close(struct subvolume_place *place)
{
	if (!place->conn)
		return;
	if (place->io)
		place->lib->rados_ioctx_destroy(place->io);
	ceph_conn_put(place->conn);
	*place = (struct subvolume_place){ 0 };
}

/* By name, or by number where there is none: 1 and the place has both, and ret_pool; or 0. */
static int match(struct subvolume_place *place, const struct json *fs, const char *name,
		 int64_t fscid, int64_t *ret_pool)
{
	const char *is_called = json_path_string(fs, "mdsmap.fs_name");
	int64_t id;

	if (!is_called || json_int(json_get(fs, "id"), &id) < 0 ||
	    json_int(json_path(fs, "mdsmap.metadata_pool"), ret_pool) < 0 ||
	    (name ? !str_is_equal(name, is_called) : id != fscid))
		return 0;
	place->fs_name = arena_strdup(place->ctx->arena, is_called);
	place->fscid = id;
	return 1;
}

static int not_found(const struct subvolume_place *place, const char *name, int64_t fscid,
		     const struct json *all, struct err *err)
{
	autostr struct str there = STR_INIT;
	struct json_it it = json_each(all);
	const struct json *fs;
	const char *key;

	while (json_next(&it, &key, &fs) && there.len < 200)
		str_appendf(&there, "%s'%s'", there.len ? ", " : "",
			    str_or(json_path_string(fs, "mdsmap.fs_name"), "?"));
	if (name)
		return err_set(err, ERR_NOT_FOUND,
			       "cluster '%s' has no filesystem '%.128s', or its user may not see "
			       "it; it has %s",
			       place->cluster.id, name, str_or(there.buf, "none"));
	return err_set(err, ERR_NOT_FOUND,
		       "cluster '%s' has no filesystem number %lld, or its user may not see it; it "
		       "has %s",
		       place->cluster.id, (long long)fscid, str_or(there.buf, "none"));
}

static int find_fs(struct subvolume_place *place, const char *name, int64_t fscid,
		   int64_t *ret_pool, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct ceph_answer answer;
	const struct json *fs, *all;
	struct json_it it;
	const char *key;

	if (ceph_command_send(place->conn, place->ctx, CEPH_COMMAND_MONITOR,
			      "{\"prefix\":\"fs dump\",\"format\":\"json\"}", &answer, err) < 0)
		return -1;
	if (answer.rc < 0)
		return ceph_conn_failed(place->conn, answer.rc, err,
					"ask the monitors for the filesystems (fs dump; caps: mon "
					"'allow r')");
	if (json_parse(answer.text, strlen(answer.text), &doc, err) < 0)
		return err_wrap(err, "the monitors' filesystems");
	all = json_get(json_root(doc), "filesystems");
	it = json_each(all);
	while (json_next(&it, &key, &fs)) {
		if (match(place, fs, name, fscid, ret_pool))
			return 0;
	}
	return not_found(place, name, fscid, all, err);
}

static int open_fs(struct subvolume_place *place, const char *name, int64_t fscid, struct err *err)
{
	int64_t pool;

	return find_fs(place, name, fscid, &pool, err) < 0
		       ? -1
		       : ceph_conn_open_pool_id(place->conn, pool, place->cluster.cephfs_namespace,
						&place->io, err);
}

int subvolume_place_open(struct subvolumes *s, struct ctx *ctx, const char *cluster,
			 const char *fs_name, const struct secrets *secrets,
			 struct subvolume_place *ret_place, struct err *err)
{
	struct subvolume_place place;

	if (connect_to(s, ctx, cluster, secrets, &place, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_INVALID_ARGUMENT; /* no volume is missing */
		return err_wrap(err, "parameters: clusterID");
	}
	if (open_fs(&place, fs_name, -1, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_INVALID_ARGUMENT;
		subvolume_place_close(&place);
		return err_wrap(err, "parameters: fsName");
	}
	*ret_place = place;
	return 0;
}

int subvolume_place_open_handle(struct subvolumes *s, struct ctx *ctx,
				const struct ceph_handle *handle, const struct secrets *secrets,
				struct subvolume_place *ret_place, struct err *err)
{
	struct subvolume_place place;

	if (connect_to(s, ctx, handle->cluster, secrets, &place, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_FAILED_PRECONDITION;
		return -1;
	}
	if (open_fs(&place, NULL, handle->pool_id, err) < 0) {
		if (err->code ==
		    ERR_NOT_FOUND) /* it, or its pool: that of the volume is not known */
			err->code = ERR_FAILED_PRECONDITION;
		subvolume_place_close(&place);
		return -1;
	}
	*ret_place = place;
	return 0;
}

struct ceph_journal subvolume_place_journal(const struct subvolume_place *place,
					    enum ceph_journal_kind kind)
{
	return (struct ceph_journal){ .conn = place->conn,
				      .io = place->io,
				      .kind = kind,
				      .instance = place->subvolumes->ceph.instance };
}

void subvolume_token(const struct subvolume_place *p, const char *uuid,
		     char ret_token[VOL_TOKEN_MAX])
{
	struct ceph_handle handle = { .pool_id = p->fscid };

	(void)snprintf(handle.cluster, sizeof(handle.cluster), "%s", p->cluster.id);
	(void)snprintf(handle.uuid, sizeof(handle.uuid), "%s", uuid);
	ceph_handle_format(&handle, ret_token);
}

int subvolume_entry_open(struct backend *b, struct ctx *ctx, const char *token,
			 enum ceph_journal_kind kind, const struct secrets *secrets,
			 struct subvolume_entry *ret_entry, struct err *err)
{
	struct ceph_handle handle;
	struct subvolume_entry e;

	if (ceph_handle_parse(token, &handle, err) < 0 ||
	    subvolume_place_open_handle(subvolumes_of(b), ctx, &handle, secrets, &e.place, err) < 0)
		return -1;
	e.journal = subvolume_place_journal(&e.place, kind);
	if (ceph_journal_read(&e.journal, ctx, handle.uuid, &e.entry, err) < 0) {
		subvolume_place_close(&e.place);
		return -1;
	}
	*ret_entry = e;
	return 0;
}

int subvolume_entry_check(const struct ceph_entry *entry, const char *name, struct err *err)
{
	if (str_is_equal(entry->name, name) && *entry->image)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "the journal's entry '%s' of name '%s' is torn: it is of name '%s' and "
		       "subvolume '%s'; another program has changed it",
		       entry->uuid, name, entry->name, entry->image);
}
