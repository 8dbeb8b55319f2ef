/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is true of a volume on this node: never remembered, always asked. The device comes from the
 * backend, which finds it by the backing file; mounts come from the kernel; the note only adds what
 * neither can tell, and counts only for what is attached or mounted now. So after a reboot, a
 * SIGKILL or an unmount by hand there is nothing to repair.
 */
#include <string.h>

#include "base/str.h"
#include "csi/driver-internal.h"

int node_state_load_note(struct csi_driver *d, struct ctx *ctx, struct node_state *state,
			 struct err *err)
{
	char text[BACKEND_NOTE_MAX + 1];

	if (!(state->ref.pool->caps & BACKEND_NOTES))
		return 0;
	if (backend_note_get(state->ref.pool, ctx, state->ref.token, text, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	note_parse(text, d->boot_id, &state->note);
	return 0;
}

bool node_state_is_in_use(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *ref)
{
	struct node_state state = { .ref = *ref };
	struct err ignored;

	/* The note first: it costs one look at the volume's file, the device a search. */
	if (node_state_load_note(d, ctx, &state, &ignored) < 0 ||
	    (!state.note.is_staged && state.note.n_targets == 0))
		return false;
	return node_state_load(d, ctx, ref, &state, &ignored) == 0 && state.is_attached;
}

int node_state_load(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *ref,
		    struct node_state *ret, struct err *err)
{
	struct node_state state = {
		.ref = *ref,
		.way = ref->pool->caps & BACKEND_MOUNT ? &node_way_mount : &node_way_device,
		.pools = d->pools,
	};

	if (state.way->load(d, ctx, &state, err) < 0)
		return -1;
	*ret = state;
	return 0;
}

int node_state_save_note(struct csi_driver *d, struct ctx *ctx, const struct node_state *state,
			 struct err *err)
{
	char text[BACKEND_NOTE_MAX + 1];

	if (!(state->ref.pool->caps & BACKEND_NOTES))
		return 0;
	note_format(&state->note, d->boot_id, text);
	return backend_note_set(state->ref.pool, ctx, state->ref.token, text, err);
}

int node_look(const struct node_state *state, const char *path, struct node_at *ret_at,
	      struct err *err)
{
	return state->way->look(state, path, ret_at, err);
}

int node_detach(struct ctx *ctx, const struct node_state *state, struct err *err)
{
	return state->way->detach ? state->way->detach(ctx, state, err) : 0;
}

int node_each_mount(const struct node_state *state, host_mount_fn fn, void *arg, struct err *err)
{
	return state->is_attached ? state->way->each_mount(state, fn, arg, err) : 0;
}

static bool is_listed(const char *list, const char *flag, size_t n)
{
	for (; *list; list += strcspn(list, ","), list += *list == ',') {
		if (strcspn(list, ",") == n && memcmp(list, flag, n) == 0)
			return true;
	}
	return false;
}

/* The first flag of one list that the other has not; length 0 if there is none. */
static const char *find_missing(const char *list, const char *other, size_t *ret_n)
{
	for (; *list; list += strcspn(list, ","), list += *list == ',') {
		*ret_n = strcspn(list, ",");
		if (!is_listed(other, list, *ret_n))
			return list;
	}
	*ret_n = 0;
	return list;
}

/* Of which mode the staged one is: only the hash of it is noted. */
static enum vol_mode find_mode(const struct note *note, const struct vol_capability *cap)
{
	struct vol_capability other = *cap;

	for (int mode = VOL_MODE_SINGLE_NODE_WRITER; mode <= VOL_MODE_SINGLE_NODE_MULTI_WRITER;
	     mode++) {
		other.mode = (enum vol_mode)mode;
		if (note_hash_capability(&other) == note->capability)
			return other.mode;
	}
	return VOL_MODE_UNKNOWN;
}

int node_compare_capability(const struct node_state *state, const char *path,
			    const struct vol_capability *cap, enum err_code code, struct err *err)
{
	static const char way_out[] = "stop what uses the volume on this node, so that it is "
				      "staged anew, or ask for it as "
				      "it is staged";
	const struct note *note = &state->note;
	struct note asked = { 0 };
	const char *flag;
	size_t n;

	if (!note->is_staged || note->staging != note_hash_path(path) ||
	    note->capability == note_hash_capability(cap))
		return 0;
	note_stage(&asked, path, cap);
	flag = find_missing(asked.flags_text, note->flags_text, &n);
	if (n)
		return err_set(
			err, code,
			"volume '%s' is staged at '%.200s' without the mount flag '%.*s', which "
			"its filesystem has for all mounts or none; %s",
			state->ref.token, path, (int)n, flag, way_out);
	flag = find_missing(note->flags_text, asked.flags_text, &n);
	if (n)
		return err_set(
			err, code,
			"volume '%s' is staged at '%.200s' with the mount flag '%.*s', which "
			"its filesystem has for all mounts or none; %s",
			state->ref.token, path, (int)n, flag, way_out);
	if (note->is_block != asked.is_block)
		return err_set(err, code, "volume '%s' is staged at '%.200s' as a %s",
			       state->ref.token, path, note->is_block ? "block device" : "mount");
	return err_set(
		err, code,
		"volume '%s' is staged at '%.200s' with another volume_capability (access mode "
		"%s, asked is %s); %s",
		state->ref.token, path, vol_mode_name(find_mode(note, cap)),
		vol_mode_name(cap->mode), way_out);
}

struct search {
	const struct note *note;
	struct arena *arena;
	enum node_mounts what;
	const char *except;
	const char *found;
};

static int match_mount(void *arg, const char *path, bool read_only)
{
	struct search *search = arg;
	uint64_t hash = note_hash_path(path);

	(void)read_only;
	if (search->except && str_is_equal(path, search->except))
		return 0;
	if (search->what == NODE_MOUNT_STAGING &&
	    (!search->note->is_staged || search->note->staging != hash))
		return 0;
	if (search->what == NODE_MOUNT_TARGET && !note_find(search->note, hash))
		return 0;
	search->found = arena_strdup(search->arena, path);
	return 1;
}

int node_find_mount(const struct node_state *state, struct ctx *ctx, enum node_mounts what,
		    const char *except, const char **ret_path, struct err *err)
{
	struct search search = {
		.note = &state->note, .arena = ctx->arena, .what = what, .except = except
	};

	if (node_each_mount(state, match_mount, &search, err) < 0)
		return -1;
	*ret_path = search.found;
	return 0;
}

int node_find_staging(const struct node_state *state, struct ctx *ctx, const char **ret_path,
		      struct err *err)
{
	*ret_path = NULL;
	if (!state->is_attached || !state->note.is_staged)
		return 0;
	if (!state->note.is_block)
		return node_find_mount(state, ctx, NODE_MOUNT_STAGING, NULL, ret_path, err);
	*ret_path = arena_strdup(ctx->arena, str_or(state->note.staging_text, "(unknown path)"));
	return 0;
}
