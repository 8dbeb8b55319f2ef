/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filesystems with their subvolumes, by the commands of the manager's module "volumes" and the
 * monitors' "fs dump". What they answer, errno and text, is what Ceph 16 does: a copy is pending at
 * first and complete some looks at it later, a subvolume with snapshots stays for them, one that is
 * being copied lets nothing be done to it but stopping.
 *
 * Each command is done or not: the module is no part of the process that dies.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-fs-internal.h"

#define CREATED "2026-11-29 23:27:24"
#define LOOKS_OF_A_COPY 2

struct fake_fs_trouble fake_fs_trouble;

static void free_pairs(struct fake_pair *pairs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(pairs[i].key);
		free(pairs[i].value);
	}
}

static void free_snap(struct fake_snap *s)
{
	free_pairs(s->meta.v, s->meta.n);
	vec_done(&s->meta);
	free(s->name);
	free(s);
}

static void free_subvolume(struct fake_subvolume *s)
{
	free_pairs(s->meta.v, s->meta.n);
	vec_done(&s->meta);
	for (size_t i = 0; i < s->snaps.n; i++)
		free_snap(s->snaps.v[i]);
	vec_done(&s->snaps);
	free(s->source);
	free(s->snap);
	free(s->group);
	free(s->name);
	free(s);
}

void fake_fs_free_all(struct fake_cluster *cluster)
{
	for (size_t i = 0; i < cluster->filesystems.n; i++) {
		struct fake_filesystem *fs = cluster->filesystems.v[i];

		for (size_t k = 0; k < fs->subvolumes.n; k++)
			free_subvolume(fs->subvolumes.v[k]);
		vec_done(&fs->subvolumes);
		for (size_t k = 0; k < fs->groups.n; k++)
			free(fs->groups.v[k]);
		vec_done(&fs->groups);
		free(fs->name);
		free(fs);
	}
	vec_done(&cluster->filesystems);
}

/* ---- looking ---- */

static const char *word(const struct json *command, const char *key)
{
	return str_or(json_get_string(command, key), "");
}

static bool has_group(const struct fake_filesystem *fs, const char *group)
{
	for (size_t i = 0; i < fs->groups.n; i++)
		if (str_is_equal(fs->groups.v[i], group))
			return true;
	return false;
}

struct fake_subvolume *fake_fs_find(const struct fake_filesystem *fs, const char *group,
				    const char *name)
{
	for (size_t i = 0; i < fs->subvolumes.n; i++)
		if (str_is_equal(fs->subvolumes.v[i]->group, group) &&
		    str_is_equal(fs->subvolumes.v[i]->name, name))
			return fs->subvolumes.v[i];
	return NULL;
}

static struct fake_snap *find_snap(const struct fake_subvolume *s, const char *name)
{
	for (size_t i = 0; i < s->snaps.n; i++)
		if (str_is_equal(s->snaps.v[i]->name, name))
			return s->snaps.v[i];
	return NULL;
}

static bool is_being_copied(const struct fake_filesystem *fs, const struct fake_subvolume *s,
			    const char *snap)
{
	for (size_t i = 0; i < fs->subvolumes.n; i++) {
		const struct fake_subvolume *to = fs->subvolumes.v[i];

		if (to->state == STATE_COPYING && str_is_equal(to->source, s->name) &&
		    str_is_equal(to->snap, snap))
			return true;
	}
	return false;
}

struct asked {
	struct fake_filesystem *fs;
	const struct json *command;
	const char *group, *name;
	struct fake_subvolume *subvolume; /* of that name; NULL: none */
	struct str *out, *status;
};

/* "%s" of the text is what. */
static int refuse(const struct asked *a, int errnum, const char *text, const char *what)
{
	size_t n = strcspn(text, "%");

	str_append_n(a->status, text, n);
	if (text[n]) {
		str_append(a->status, what);
		str_append(a->status, text + n + strlen("%s"));
	}
	return -errnum;
}

static int no_subvolume(const struct asked *a)
{
	return refuse(a, ENOENT, "subvolume '%s' does not exist", a->name);
}

static int not_ready(const struct asked *a)
{
	return refuse(a, EAGAIN, "subvolume '%s' is not ready for this operation", a->name);
}

/* 0, or what one answers that is not whole. */
static int check_whole(const struct asked *a)
{
	if (!a->subvolume)
		return no_subvolume(a);
	if (a->subvolume->state == STATE_RETAINED)
		return no_subvolume(a);
	return a->subvolume->state == STATE_WHOLE ? 0 : not_ready(a);
}

/* ---- commands ---- */

static int make_group(struct asked *a)
{
	if (!has_group(a->fs, a->group))
		vec_push(&a->fs->groups, xstrdup(a->group));
	return 0;
}

static int group_path(struct asked *a)
{
	if (!has_group(a->fs, a->group))
		return refuse(a, ENOENT, "group '%s' does not exist", a->group);
	str_appendf(a->out, "/volumes/%s", a->group);
	return 0;
}

static struct fake_subvolume *add(struct asked *a, const char *name)
{
	struct fake_subvolume *s = xcalloc(1, sizeof(*s));

	s->group = xstrdup(a->group);
	s->name = xstrdup(name);
	vec_push(&a->fs->subvolumes, s);
	return s;
}

static int check_pool(const struct asked *a)
{
	const char *pool = word(a->command, "pool_layout");

	return !*pool || str_is_equal(pool, "data")
		       ? 0
		       : refuse(a, EINVAL, "invalid pool layout '%s' -- need a valid data pool",
				pool);
}

static int create(struct asked *a)
{
	int64_t bytes = 0;

	if (check_pool(a) < 0)
		return -EINVAL;
	if (json_int(json_get(a->command, "size"), &bytes) < 0)
		return refuse(a, EINVAL, "%s: bad size", a->name);
	if (!a->subvolume)
		a->subvolume = add(a, a->name);
	else if (a->subvolume->state != STATE_WHOLE && a->subvolume->state != STATE_RETAINED)
		return not_ready(a);
	a->subvolume->state = STATE_WHOLE;
	a->subvolume->bytes = (uint64_t)bytes; /* also of one that is there */
	return 0;
}

static int info(struct asked *a)
{
	if (!a->subvolume)
		return no_subvolume(a);
	if (a->subvolume->state == STATE_RETAINED) {
		str_append(a->out, "{\"features\":[],\"state\":\"snapshot-retained\"}");
		return 0;
	}
	if (a->subvolume->state != STATE_WHOLE)
		return not_ready(a);
	str_appendf(a->out,
		    "{\"bytes_quota\":%llu,\"created_at\":\"" CREATED
		    "\",\"path\":\"/volumes/%s/%s/1cbb7b58-f994-464b-85a1-72df6c9535c7\","
		    "\"state\":\"complete\",\"type\":\"%s\"}",
		    (unsigned long long)a->subvolume->bytes, a->group, a->name,
		    a->subvolume->is_clone ? "clone" : "subvolume");
	return 0;
}

static int list(struct asked *a)
{
	if (!has_group(a->fs, a->group))
		return refuse(a, ENOENT, "subvolume group '%s' does not exist", a->group);
	str_append(a->out, "[");
	for (size_t i = 0; i < a->fs->subvolumes.n; i++) {
		if (str_is_equal(a->fs->subvolumes.v[i]->group, a->group))
			str_appendf(a->out, "%s{\"name\":\"%s\"}", i ? "," : "",
				    a->fs->subvolumes.v[i]->name);
	}
	str_append(a->out, "]");
	return 0;
}

static int snapshot_list(struct asked *a)
{
	if (!a->subvolume)
		return no_subvolume(a);
	str_append(a->out, "[");
	for (size_t i = 0; i < a->subvolume->snaps.n; i++)
		str_appendf(a->out, "%s{\"name\":\"%s\"}", i ? "," : "",
			    a->subvolume->snaps.v[i]->name);
	str_append(a->out, "]");
	return 0;
}

static int resize(struct asked *a)
{
	uint64_t bytes = 0;

	if (!a->subvolume || a->subvolume->state == STATE_RETAINED)
		return no_subvolume(a);
	if (str_parse_u64(word(a->command, "new_size"), &bytes) < 0 ||
	    (bytes < a->subvolume->bytes && !json_bool(json_get(a->command, "no_shrink"), false)))
		return refuse(a, EINVAL, "%s: bad size", a->name);
	if (bytes > a->subvolume->bytes)
		a->subvolume->bytes = bytes;
	return 0;
}

static void drop(struct asked *a, struct fake_subvolume *s)
{
	for (size_t i = 0; i < a->fs->subvolumes.n; i++)
		if (a->fs->subvolumes.v[i] == s)
			a->fs->subvolumes.v[i] = a->fs->subvolumes.v[--a->fs->subvolumes.n];
	free_subvolume(s);
}

static int rm(struct asked *a)
{
	bool is_forced = json_bool(json_get(a->command, "force"), false);
	struct fake_subvolume *s = a->subvolume;

	if (!s)
		return no_subvolume(a);
	if (s->state == STATE_COPYING)
		return refuse(a, EAGAIN,
			      "%s clone in-progress -- please cancel the clone and retry", a->name);
	if ((s->state == STATE_CANCELED || s->state == STATE_FAILED) && !is_forced)
		return not_ready(a);
	if (s->snaps.n > 0 && !json_bool(json_get(a->command, "retain_snapshots"), false))
		return refuse(a, ENOTEMPTY, "subvolume '%s' has snapshots", a->name);
	if (s->snaps.n > 0)
		s->state = STATE_RETAINED;
	else
		drop(a, s);
	return 0;
}

static int snapshot_create(struct asked *a)
{
	const char *name = word(a->command, "snap_name");
	int rc = check_whole(a);
	struct fake_snap *snap;

	if (rc < 0 || find_snap(a->subvolume, name))
		return rc;
	snap = xcalloc(1, sizeof(*snap));
	snap->name = xstrdup(name);
	vec_push(&a->subvolume->snaps, snap);
	return 0;
}

/* NULL: *ret_rc is the answer. */
static struct fake_snap *need_snap(struct asked *a, int *ret_rc)
{
	const char *name = word(a->command, "snap_name");
	struct fake_snap *snap = a->subvolume ? find_snap(a->subvolume, name) : NULL;

	if (!a->subvolume)
		*ret_rc = no_subvolume(a);
	else if (!snap)
		*ret_rc = refuse(a, ENOENT, "snapshot '%s' does not exist", name);
	return snap;
}

static int snapshot_info(struct asked *a)
{
	int rc = 0;

	if (!need_snap(a, &rc))
		return rc;
	str_append(a->out, "{\"created_at\":\"" CREATED ".699161\",\"data_pool\":\"data\","
			   "\"has_pending_clones\":\"no\"}");
	return 0;
}

static int snapshot_rm(struct asked *a)
{
	struct fake_subvolume *s = a->subvolume;
	int rc = 0;
	struct fake_snap *snap = need_snap(a, &rc);

	if (!snap)
		return rc;
	if (is_being_copied(a->fs, s, snap->name))
		return refuse(a, EAGAIN, "snapshot '%s' has pending clones", snap->name);
	for (size_t i = 0; i < s->snaps.n; i++)
		if (s->snaps.v[i] == snap)
			s->snaps.v[i] = s->snaps.v[--s->snaps.n];
	free_snap(snap);
	if (s->state == STATE_RETAINED && s->snaps.n == 0 && !fake_fs_trouble.is_removed_later)
		drop(a, s);
	return 0;
}

static int clone(struct asked *a)
{
	const char *to = word(a->command, "target_sub_name");
	int rc = 0;
	struct fake_snap *snap = need_snap(a, &rc);
	struct fake_subvolume *made;

	if (!snap || (rc = check_pool(a)) < 0)
		return rc;
	if (fake_fs_find(a->fs, word(a->command, "target_group_name"), to))
		return refuse(a, EEXIST, "subvolume '%s' exists", to);
	made = add(a, to);
	made->is_clone = true;
	made->state = STATE_COPYING;
	made->bytes = a->subvolume->bytes;
	made->looks_left = LOOKS_OF_A_COPY;
	made->source = xstrdup(a->name);
	made->snap = xstrdup(snap->name);
	return 0;
}

static void go_on(struct fake_subvolume *s)
{
	if (s->state != STATE_COPYING || s->looks_left-- > 0)
		return;
	s->state = fake_fs_trouble.copy_failures ? STATE_FAILED : STATE_WHOLE;
	fake_fs_trouble.copy_failures -= fake_fs_trouble.copy_failures > 0;
}

static int clone_status(struct asked *a)
{
	static const char *const names[] = { "complete", "in-progress", "canceled", "failed" };
	const struct fake_subvolume *s = a->subvolume;

	if (!s)
		return no_subvolume(a);
	if (!s->is_clone)
		return refuse(a, ENOTSUP,
			      "operation 'clone-status' is not allowed on subvolume '%s'", a->name);
	go_on(a->subvolume);
	if (s->state == STATE_RETAINED)
		return no_subvolume(a);
	str_appendf(a->out, "{\"status\":{\"state\":\"%s\"", names[s->state]);
	if (s->state != STATE_WHOLE)
		str_appendf(
			a->out,
			",\"source\":{\"volume\":\"%s\",\"subvolume\":\"%s\",\"snapshot\":\"%s\"}"
			",\"progress_report\":{\"percentage cloned\":\"40%%\"}",
			a->fs->name, s->source, s->snap);
	if (s->state == STATE_FAILED)
		str_append(a->out, ",\"failure\":{\"errno\":\"5\",\"error_msg\":\"disk on fire\"}");
	str_append(a->out, "}}");
	return 0;
}

static int clone_cancel(struct asked *a)
{
	if (!a->subvolume)
		return no_subvolume(a);
	if (!a->subvolume->is_clone)
		return refuse(a, ENOTSUP,
			      "operation 'clone-cancel' is not allowed on subvolume '%s'", a->name);
	if (a->subvolume->state != STATE_COPYING)
		return refuse(a, EINVAL, "cannot cancel -- clone '%s' finished", a->name);
	a->subvolume->state = STATE_CANCELED;
	return 0;
}

static int metadata(struct asked *a, bool of_snap, bool is_set)
{
	const char *key = word(a->command, "key_name");
	int rc = of_snap ? 0 : check_whole(a);
	struct fake_snap *snap = of_snap ? need_snap(a, &rc) : NULL;
	struct fake_pair *pairs;
	size_t n;

	if (rc < 0 || (of_snap && !snap))
		return rc;
	if (a->subvolume->state == STATE_RETAINED)
		return refuse(a, ENOENT,
			      "subvolume '%s' is removed and has only snapshots retained", a->name);
	pairs = snap ? snap->meta.v : a->subvolume->meta.v;
	n = snap ? snap->meta.n : a->subvolume->meta.n;
	for (size_t i = 0; i < n; i++) {
		if (!str_is_equal(pairs[i].key, key))
			continue;
		if (!is_set) {
			str_appendf(a->out, "%s\n", pairs[i].value);
			return 0;
		}
		free(pairs[i].value);
		pairs[i].value = xstrdup(word(a->command, "value"));
		return 0;
	}
	if (!is_set)
		return refuse(a, ENOENT, "key '%s' does not exist.", key);
	if (snap)
		vec_push(&snap->meta,
			 ((struct fake_pair){ xstrdup(key), xstrdup(word(a->command, "value")),
					      0 }));
	else
		vec_push(&a->subvolume->meta,
			 ((struct fake_pair){ xstrdup(key), xstrdup(word(a->command, "value")),
					      0 }));
	return 0;
}

static int metadata_set(struct asked *a)
{
	return metadata(a, false, true);
}

static int metadata_get(struct asked *a)
{
	return metadata(a, false, false);
}

static int snapshot_metadata_set(struct asked *a)
{
	return metadata(a, true, true);
}

static int snapshot_metadata_get(struct asked *a)
{
	return metadata(a, true, false);
}

static const struct {
	const char *prefix;
	const char *name_key;
	int (*run)(struct asked *a);
} commands[] = {
	{ "fs subvolumegroup create", NULL, make_group },
	{ "fs subvolumegroup getpath", NULL, group_path },
	{ "fs subvolume ls", NULL, list },
	{ "fs subvolume snapshot ls", "sub_name", snapshot_list },
	{ "fs subvolume create", "sub_name", create },
	{ "fs subvolume info", "sub_name", info },
	{ "fs subvolume resize", "sub_name", resize },
	{ "fs subvolume rm", "sub_name", rm },
	{ "fs subvolume snapshot create", "sub_name", snapshot_create },
	{ "fs subvolume snapshot info", "sub_name", snapshot_info },
	{ "fs subvolume snapshot rm", "sub_name", snapshot_rm },
	{ "fs subvolume snapshot clone", "sub_name", clone },
	{ "fs clone status", "clone_name", clone_status },
	{ "fs clone cancel", "clone_name", clone_cancel },
	{ "fs subvolume metadata set", "sub_name", metadata_set },
	{ "fs subvolume metadata get", "sub_name", metadata_get },
	{ "fs subvolume snapshot metadata set", "sub_name", snapshot_metadata_set },
	{ "fs subvolume snapshot metadata get", "sub_name", snapshot_metadata_get },
};

static struct fake_filesystem *find_fs(const struct fake_cluster *cluster, const char *name)
{
	for (size_t i = 0; i < cluster->filesystems.n; i++)
		if (str_is_equal(cluster->filesystems.v[i]->name, name))
			return cluster->filesystems.v[i];
	return NULL;
}

void fake_fs_remove(struct fake_filesystem *fs, const char *name)
{
	struct asked a = { .fs = fs };

	drop(&a, fake_fs_find(fs, "csi", name));
}

int fake_fs_command(struct fake_cluster *cluster, const struct json *command, struct str *out,
		    struct str *status)
{
	struct asked a = { .fs = find_fs(cluster, word(command, "vol_name")),
			   .command = command,
			   .group = word(command, "group_name"),
			   .out = out,
			   .status = status };

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (!str_is_equal(commands[i].prefix, word(command, "prefix")))
			continue;
		if (!a.fs)
			return refuse(&a, ENOENT, "FS '%s' not found", word(command, "vol_name"));
		if (!commands[i].name_key)
			return commands[i].run(&a);
		if (!has_group(a.fs, a.group))
			return refuse(&a, ENOENT, "subvolume group '%s' does not exist", a.group);
		a.name = word(command, commands[i].name_key);
		a.subvolume = fake_fs_find(a.fs, a.group, a.name);
		return commands[i].run(&a);
	}
	return refuse(&a, EINVAL, "No handler found for '%s'", word(command, "prefix"));
}

void fake_fs_dump(const struct fake_cluster *cluster, struct str *out)
{
	str_append(out, "{\"epoch\":5,\"filesystems\":[");
	for (size_t i = 0; i < cluster->filesystems.n && !fake_fs_trouble.are_hidden; i++) {
		const struct fake_filesystem *fs = cluster->filesystems.v[i];

		str_appendf(out,
			    "%s{\"mdsmap\":{\"fs_name\":\"%s\",\"metadata_pool\":%lld,"
			    "\"data_pools\":[%lld]},\"id\":%lld}",
			    i ? "," : "", fs->name, (long long)fs->metadata_pool,
			    (long long)fs->metadata_pool + 1, (long long)fs->id);
	}
	str_append(out, "]}");
}
