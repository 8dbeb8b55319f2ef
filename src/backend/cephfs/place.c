/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a subvolume is: which cluster config.json gives a name to, and which filesystem of it,
 * whose metadata pool has the journal. The monitors know the filesystems; one call asks them once.
 *
 * A cluster that a handle names and config.json does not is no reason to say that its volume is
 * gone, nor is a filesystem that the monitors do not tell of: they tell each user of those alone
 * that its caps name. Only what is not in a filesystem that was found is not there; so where
 * cluster-mapping.json leads to counts only if config.json has not the handle's own cluster, or
 * that has the filesystem and not the volume's entry.
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
	if (!place->borrows_conn)
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
	place.told_cluster = place.cluster.id;
	place.told_fscid = place.fscid;
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
	struct ceph_handle handle = { .pool_id = p->told_fscid };

	(void)snprintf(handle.cluster, sizeof(handle.cluster), "%s", p->told_cluster);
	(void)snprintf(handle.uuid, sizeof(handle.uuid), "%s", uuid);
	ceph_handle_format(&handle, ret_token);
}

/* ---- what a handle names ---- */

struct looking {
	struct subvolumes *s;
	struct ctx *ctx;
	const struct ceph_handle *handle;
	const struct secrets *secrets;
	const struct subvolume_place *beside; /* NULL: none */
	enum ceph_journal_kind kind;
	bool needs_entry;
	struct ceph_candidate first; /* whose filesystem is there; cluster "": none */
	struct subvolume_place place;
	struct ceph_entry entry;
};

static int connect_for(struct looking *l, const struct ceph_candidate *at,
		       struct subvolume_place *place, struct err *err)
{
	if (!l->beside || !str_is_equal(l->beside->cluster.id, at->cluster))
		return connect_to(l->s, l->ctx, at->cluster, l->secrets, place, err);
	*place = *l->beside;
	place->io = NULL;
	place->borrows_conn = true;
	return 0;
}

static int open_candidate(struct looking *l, const struct ceph_candidate *at,
			  struct subvolume_place *ret_place, struct err *err)
{
	struct subvolume_place place;

	if (connect_for(l, at, &place, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_FAILED_PRECONDITION;
		return -1;
	}
	if (open_fs(&place, NULL, at->pool_id, err) < 0) {
		if (err->code ==
		    ERR_NOT_FOUND) /* it, or its pool: that of the volume is not known */
			err->code = ERR_FAILED_PRECONDITION;
		subvolume_place_close(&place);
		return -1;
	}
	place.told_cluster = arena_strdup(l->ctx->arena, l->handle->cluster);
	place.told_fscid = l->handle->pool_id;
	*ret_place = place;
	return 0;
}

static int look_at(void *arg, const struct ceph_candidate *at, bool is_only, struct err *err)
{
	struct looking *l = arg;
	struct subvolume_place place;
	struct ceph_journal journal;

	if (open_candidate(l, at, &place, err) < 0)
		return -1;
	if (!l->first.cluster[0])
		l->first = *at;
	journal = subvolume_place_journal(&place, l->kind);
	if ((is_only && !l->needs_entry) ||
	    ceph_journal_read(&journal, l->ctx, l->handle->uuid, &l->entry, err) == 0) {
		l->place = place;
		return 1;
	}
	subvolume_place_close(&place);
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

/* 1, 0 with err, -1. */
static int look_for(struct looking *l, struct err *err)
{
	return ceph_elsewhere_search(&l->s->ceph, CEPH_MAPPED_FILESYSTEMS, l->handle, look_at, l,
				     err);
}

int subvolume_place_open_handle(struct subvolumes *s, struct ctx *ctx,
				const struct ceph_handle *handle, const struct secrets *secrets,
				struct subvolume_place *ret_place, struct err *err)
{
	struct looking l = { .s = s,
			     .ctx = ctx,
			     .handle = handle,
			     .secrets = secrets,
			     .kind = CEPH_JOURNAL_VOLUMES };
	int found = look_for(&l, err);

	if (found == 0 && l.first.cluster[0])
		found = open_candidate(&l, &l.first, &l.place, err) < 0 ? -1 : 1;
	if (found <= 0)
		return -1;
	*ret_place = l.place;
	return 0;
}

static int refuse_other(const struct subvolume_place *place, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "it is in another cluster or filesystem than the class says (cluster '%s', "
		       "filesystem '%s'); use a class of the same",
		       place->cluster.id, place->fs_name);
}

/* 1: the handle says that it is here; 0: it may be. */
static int judge(const struct subvolume_place *place, const struct ceph_handle *handle,
		 struct err *err)
{
	struct ceph_candidates all;

	ceph_config_candidates(place->subvolumes->ceph.config, CEPH_MAPPED_FILESYSTEMS, handle,
			       &all);
	for (size_t i = 0; i < all.n; i++)
		if (str_is_equal(all.v[i].cluster, place->cluster.id) &&
		    all.v[i].pool_id == place->fscid)
			return i == 0;
	return all.doubt.code != ERR_OK ? 0 : refuse_other(place, err);
}

int subvolume_place_find(const struct subvolume_place *place, const struct ceph_handle *handle,
			 enum ceph_journal_kind kind, const struct secrets *secrets,
			 struct ceph_entry *ret_entry, struct err *err)
{
	struct looking l = { .s = place->subvolumes,
			     .ctx = place->ctx,
			     .handle = handle,
			     .secrets = secrets,
			     .beside = place,
			     .kind = kind,
			     .needs_entry = true };
	const struct ceph_journal journal = subvolume_place_journal(place, kind);
	int is_own = judge(place, handle, err);
	bool is_here;

	if (is_own != 0)
		return is_own < 0 ? -1
				  : ceph_journal_read(&journal, place->ctx, handle->uuid, ret_entry,
						      err);
	if (look_for(&l, err) <= 0)
		return -1;
	is_here = str_is_equal(l.place.cluster.id, place->cluster.id) &&
		  l.place.fscid == place->fscid;
	subvolume_place_close(&l.place);
	if (!is_here)
		return refuse_other(place, err);
	*ret_entry = l.entry;
	return 0;
}

int subvolume_entry_open(struct backend *b, struct ctx *ctx, const char *token,
			 enum ceph_journal_kind kind, const struct secrets *secrets,
			 struct subvolume_entry *ret_entry, struct err *err)
{
	struct ceph_handle handle;
	struct looking l = { .s = subvolumes_of(b),
			     .ctx = ctx,
			     .handle = &handle,
			     .secrets = secrets,
			     .kind = kind,
			     .needs_entry = true };

	if (ceph_handle_parse(token, &handle, err) < 0 || look_for(&l, err) <= 0)
		return -1;
	*ret_entry = (struct subvolume_entry){ .place = l.place,
					       .journal = subvolume_place_journal(&l.place, kind),
					       .entry = l.entry };
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
