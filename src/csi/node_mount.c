/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of storage that has no block device here, such as a network filesystem: the backend
 * mounts (BACKEND_MOUNT), everything else is ours.
 *
 * Which mounts are the volume's is asked of the mount table, line by line: the kernel says what
 * each is mounted from, and the backend's kind whether that is the volume. A device number would
 * not do, since all volumes of one server may share one. Nothing is left of a volume when its last
 * mount is gone, so there is nothing to attach, to settle or to detach.
 *
 * On the way up the path is looked at as the kernel resolves it, and so the storage must answer. On
 * the way down nothing but the table is asked as long as something of the volume is mounted there:
 * a look at a mount whose server is silent would hang, and the target with it. Statistics ask a
 * child process first, and so does the last unmount: where that is silent it goes by force, since
 * umount(2) would wait for what never comes. Where it answers, but does not take what was written
 * (of CephFS the first is a metadata server's, the second a disk's), it stays: force would lose
 * that, and umount(2) keeps a thread for as long as it takes. Where no child is to be had it goes
 * without: at worst that costs a thread, and nothing that answers is kept from going.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "csi/driver-internal.h"
#include "host/fuse.h"
#include "host/probe.h"

#define ANSWER_NS (5 * NS_PER_S)
#define FLUSH_S 30
#define FORCE_NS (20 * NS_PER_S)

static bool is_line_of(const struct node_state *state, const struct host_mountinfo *info)
{
	return registry_is_mount_of(state->pools, state->ref.pool, state->ref.token, info);
}

struct each_line {
	const struct node_state *state;
	host_mount_fn fn;
	void *arg;
};

static int match_line(void *arg, const struct host_mountinfo *info)
{
	const struct each_line *each = arg;

	if (!is_line_of(each->state, info))
		return 0;
	return each->fn(each->arg, info->point, info->read_only);
}

static int each_mount(const struct node_state *state, host_mount_fn fn, void *arg, struct err *err)
{
	struct each_line each = { .state = state, .fn = fn, .arg = arg };

	return host_mountinfo_each(match_line, &each, err);
}

static int stop_at_once(void *arg, const char *path, bool read_only)
{
	bool *is_found = arg;

	(void)path;
	(void)read_only;
	*is_found = true;
	return 1;
}

static int load(struct csi_driver *d, struct ctx *ctx, struct node_state *state, struct err *err)
{
	if (each_mount(state, stop_at_once, &state->is_attached, err) < 0)
		return -1;
	return state->is_attached ? node_state_load_note(d, ctx, state, err) : 0;
}

static int look(const struct node_state *state, const char *path, struct node_at *ret_at,
		struct err *err)
{
	struct node_at is = { .is_mount = false };
	struct host_mountinfo info;
	char *line = NULL;
	int r;

	if (host_mount_look(path, &is.at, err) < 0)
		return -1;
	r = is.at.exists ? host_mountinfo_find_under(path, &line, &info, err) : 0;
	is.is_on_volume = r > 0 && is_line_of(state, &info);
	is.is_mount = is.is_on_volume && is.at.is_mount_root;
	free(line);
	*ret_at = is;
	return r < 0 ? -1 : 0;
}

static int look_down(const struct node_state *state, const char *path, struct node_at *ret_at,
		     struct err *err)
{
	struct host_mountinfo info;
	char *line = NULL;
	int r = host_mountinfo_find_top(path, &line, &info, err);

	if (r < 0)
		return -1;
	if (r == 0 || !is_line_of(state, &info)) {
		free(line);
		return look(state, path, ret_at, err);
	}
	*ret_at = (struct node_at){
		.at = { .exists = true,
			.is_dir = true,
			.is_mount_root = true,
			.is_read_only = info.read_only,
			.device = info.device },
		.is_on_volume = true,
		.is_mount = true,
	};
	free(line);
	return 0;
}

static int check_answers(struct ctx *ctx, const char *path, struct err *err)
{
	int r = host_mount_answers(ctx, path, ANSWER_NS, err);

	return r == 0 ? err_set(err, ERR_UNAVAILABLE,
				"what is mounted at '%.200s' does not answer: its storage is away, "
				"or does not know this node any more",
				path)
		      : r;
}

/* No child is to be had that would ask. */
static int go_on_blind(struct ctx *ctx, const char *path, struct err *err)
{
	struct err why = *err;

	if (ctx_check(ctx, err) < 0)
		return -1;
	log_warn("what is mounted cannot be asked whether it answers, and is taken down as if it "
		 "did",
		 log_str("path", path), log_err(&why));
	return 0;
}

static int flush(struct ctx *ctx, const char *path, struct err *err)
{
	int r = host_mount_flush(ctx, path, FLUSH_S * NS_PER_S, err);

	return r == 0  ? err_set(err, ERR_UNAVAILABLE,
				 "what was written to what is mounted at '%.200s' is still on its "
				  "way to its storage, which is slow or away; it stays mounted, so "
				  "that nothing is lost",
				 path)
	       : r < 0 ? go_on_blind(ctx, path, err)
		       : 0;
}

/* 1: it is unmounted. Of FUSE: all that is asked of the server is an error from now on, so that
 * nobody waits for it. */
static int loosen(struct ctx *ctx, const char *path, const struct node_at *is, struct err *err)
{
	int r = host_mount_answers(ctx, path, ANSWER_NS, err);
	struct err ignored;

	if (r != 0)
		return r < 0 ? go_on_blind(ctx, path, err) : flush(ctx, path, err);
	log_warn("what is mounted does not answer, and is taken down by force",
		 log_str("path", path));
	if (host_fuse_abort(is->at.device, &ignored) == 0)
		return 0;
	return host_mount_force(ctx, path, FORCE_NS, err) < 0 ? -1 : 1;
}

static int attach(struct ctx *ctx, struct node_state *state, const struct node_staging *what,
		  struct err *err)
{
	(void)ctx;
	(void)what;
	(void)err;
	state->is_attached = true; /* the note is about what is mounted next */
	return 0;
}

static int mount_volume(struct ctx *ctx, const struct node_state *state,
			const struct node_staging *what, bool *ret_mounted, struct err *err)
{
	const struct host_mount_options flags = node_staging_options(ctx->arena, what->cap);
	const char *path = what->req->staging_target_path;
	const struct backend_mount_options opts = {
		.path = path,
		.flags = flags.flags,
		.n_flags = flags.n_flags,
		.only_reads = vol_mode_is_reader_only(what->cap->mode),
		.secrets = &what->req->secrets,
		.volume_context = &what->req->volume_context,
		.publish_context = &what->req->publish_context,
	};
	struct node_at is;

	if (ctx_check(ctx, err) < 0 ||
	    backend_mount(state->ref.pool, ctx, state->ref.token, &opts, err) < 0)
		return -1;
	*ret_mounted = true;
	if (look(state, path, &is, err) < 0)
		return -1;
	if (!is.is_mount)
		return err_set(err, ERR_INTERNAL,
			       "pool '%s' (%s) has mounted volume '%s' at '%.200s', but what is "
			       "mounted there is not known as that volume",
			       state->ref.pool->pool_name, state->ref.pool->ops->name,
			       state->ref.token, path);
	return 0;
}

static int check_staged(const struct node_state *state, const char *path, const char *volume_id,
			bool read_only, struct err *err)
{
	struct node_at is;

	if (look(state, path, &is, err) < 0)
		return -1;
	if (!is.at.is_read_only || read_only)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "what is mounted of volume '%s' at '%.200s' can only be read; take the "
		       "volume down on this node and stage it again, or publish it read-only",
		       volume_id, path);
}

/* Mounts of a target may be read-only by themselves; the staging mount never is. */
static int condition(const struct node_state *state, const char *path, struct host_condition *ret,
		     struct err *err)
{
	struct node_at is;

	if (look(state, path, &is, err) < 0)
		return -1;
	*ret = (struct host_condition){
		.is_read_only = is.at.is_read_only && state->note.is_staged &&
				state->note.staging == note_hash_path(path),
		.is_shut_down = is.at.is_dead,
	};
	return 0;
}

/* The table again, without the note that could not be read. */
static int find_blind(struct csi_driver *d, struct ctx *ctx, const char *path,
		      struct node_state *state, struct node_blind *blind, struct err *err)
{
	(void)d;
	(void)ctx;
	(void)path;
	(void)blind;
	if (each_mount(state, stop_at_once, &state->is_attached, err) < 0)
		return -1;
	return state->is_attached;
}

const struct node_way node_way_mount = {
	.load = load,
	.look = look,
	.look_down = look_down,
	.each_mount = each_mount,
	.check_answers = check_answers,
	.loosen = loosen,
	.attach = attach,
	.mount = mount_volume,
	.check_staged = check_staged,
	.condition = condition,
	.find_blind = find_blind,
};
