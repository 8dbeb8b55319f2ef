/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl volume - the verbs, each one CSI call
 *
 * CSI asks for the capability (filesystem or block, access mode, flags) again at every step of a
 * volume's life; here it is made from the same options each time. A list is read page by page until
 * its end.
 */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/vec.h"
#include "cmd/ctl.h"
#include "volume/id.h"
#include "volume/size.h"

static int parse_mode(const char *text, enum vol_mode *ret_mode, struct err *err)
{
	for (int mode = VOL_MODE_SINGLE_NODE_WRITER; mode <= VOL_MODE_SINGLE_NODE_MULTI_WRITER;
	     mode++) {
		if (strcmp(vol_mode_name((enum vol_mode)mode), text) == 0) {
			*ret_mode = (enum vol_mode)mode;
			return 0;
		}
	}
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "--mode=%s is no access mode of CSI, such as SINGLE_NODE_WRITER", text);
}

static int make_capability(struct ctl *ctl, struct vol_capability *ret_cap, struct err *err)
{
	const struct ctl_options *o = ctl->opts;
	struct vol_capability cap = {
		.access = o->block ? VOL_ACCESS_BLOCK : VOL_ACCESS_MOUNT,
		.fs_type = str_or(o->fs, ""),
		.mount_flags = o->flags.v,
		.n_mount_flags = o->flags.n,
		.mount_group = "",
	};

	if (parse_mode(o->mode, &cap.mode, err) < 0)
		return -1;
	*ret_cap = cap;
	return 0;
}

int ctl_volume_check(const struct ctl_options *opts, struct err *err)
{
	enum vol_mode mode;

	for (size_t i = 0; i < opts->parameters.n; i++) {
		const char *equals = strchr(opts->parameters.v[i], '=');

		if (!equals || equals == opts->parameters.v[i])
			return err_set(err, ERR_INVALID_ARGUMENT, "--parameter=%s is not KEY=VALUE",
				       opts->parameters.v[i]);
	}
	return parse_mode(opts->mode, &mode, err);
}

struct strmap ctl_parameters(struct ctl *ctl)
{
	struct arena *a = ctl->ctx->arena;
	const struct opt_list *list = &ctl->opts->parameters;
	struct strpair *pairs = arena_array(a, list->n, sizeof(*pairs));

	for (size_t i = 0; i < list->n; i++) {
		size_t n = strcspn(list->v[i], "=");

		pairs[i].key = arena_strndup(a, list->v[i], n);
		pairs[i].value = list->v[i] + n + 1;
	}
	return strmap_from(a, pairs, list->n);
}

static int check_create(const struct ctl_options *opts, struct err *err)
{
	bool of_snapshot = !str_is_empty(opts->from_snapshot);
	bool of_volume = !str_is_empty(opts->from_volume);

	if (of_snapshot && of_volume)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--from-snapshot and --from-volume contradict each other");
	if (!of_snapshot && !of_volume && !opts->size)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume create: --size is missing; only one with --from-snapshot or "
			       "--from-volume can do without");
	return 0;
}

static int set_source(struct ctl *ctl, struct csi_create_volume_request *req, struct err *err)
{
	const struct ctl_options *o = ctl->opts;
	struct csi_content_source *source = &req->volume_content_source;

	*source = (struct csi_content_source){ CSI_SOURCE_NONE, "" };
	if (!str_is_empty(o->from_snapshot)) {
		source->kind = CSI_SOURCE_SNAPSHOT;
		req->has_volume_content_source = true;
		return ctl_snapshot_resolve(ctl, o->from_snapshot, &source->id, err);
	}
	if (!str_is_empty(o->from_volume)) {
		source->kind = CSI_SOURCE_VOLUME;
		req->has_volume_content_source = true;
		return ctl_volume_resolve(ctl, o->from_volume, &source->id, err);
	}
	return 0;
}

static int create(struct ctl *ctl, struct err *err)
{
	struct vol_capability cap;
	struct csi_create_volume_response reply;
	struct csi_create_volume_request req = {
		.name = ctl->id,
		.capacity_range = { .required_bytes = ctl->opts->size,
				    .limit_bytes = ctl->opts->limit },
		.volume_capabilities = &cap,
		.n_volume_capabilities = 1,
		.parameters = ctl_parameters(ctl),
	};

	if (make_capability(ctl, &cap, err) < 0 || set_source(ctl, &req, err) < 0 ||
	    csi_create_volume(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_volume(ctl, &reply.volume);
	return 0;
}

static int list_all(struct ctl *ctl, struct csi_list_volumes_response *ret, struct err *err)
{
	VEC(struct csi_controller_get_volume_response) all = VEC_INIT;
	struct csi_list_volumes_request req = { .max_entries = 500, .starting_token = "" };
	struct csi_list_volumes_response page;
	int r;

	do {
		r = csi_list_volumes(ctl->service, ctl->ctx, &req, &page, err);
		for (size_t i = 0; r == 0 && i < page.n_entries; i++)
			vec_push(&all, page.entries[i]);
		req.starting_token = page.next_token;
	} while (r == 0 && !str_is_empty(page.next_token));
	*ret = (struct csi_list_volumes_response){ .next_token = "" };
	if (r == 0 && all.n > 0) {
		ret->entries = arena_memdup(ctl->ctx->arena, all.v, all.n * sizeof(*all.v));
		ret->n_entries = all.n;
	}
	vec_done(&all);
	return r;
}

static int list(struct ctl *ctl, struct err *err)
{
	struct csi_list_volumes_response all;

	if (list_all(ctl, &all, err) < 0)
		return -1;
	ctl_print_all(ctl, &ctl_volume_shape, all.entries, all.n_entries);
	return 0;
}

int ctl_volume_resolve(struct ctl *ctl, const char *text, const char **ret_id, struct err *err)
{
	struct csi_list_volumes_response all;
	struct err ignored;

	*ret_id = text;
	if (ctl_is_id(&ctl_volume_shape, text) || list_all(ctl, &all, &ignored) < 0)
		return 0;
	return ctl_choose_id(&ctl_volume_shape, text, all.entries, all.n_entries, ret_id, err);
}

static int show(struct ctl *ctl, struct err *err)
{
	const struct csi_controller_get_volume_request req = { .volume_id = ctl->id };
	struct csi_controller_get_volume_response reply;

	if (csi_controller_get_volume(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_one(ctl, &ctl_volume_shape, &reply);
	return 0;
}

/* The driver says of one that is larger that it is so; a person who meant it to shrink is told. */
static int refuse_shrinking(const struct ctl *ctl, uint64_t has_bytes, struct err *err)
{
	char has[NUM_QUANTITY_MAX], asked[NUM_QUANTITY_MAX];

	num_format_quantity(has_bytes, has);
	num_format_quantity(ctl->opts->size, asked);
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "volume '%s' has %s, more than %s; volumes do not shrink", ctl->id, has,
		       asked);
}

static int expand_fs(struct ctl *ctl, struct err *err)
{
	const struct csi_node_expand_volume_request req = {
		.volume_id = ctl->id,
		.volume_path = ctl->opts->staging,
		.capacity_range = { .required_bytes = ctl->opts->size },
		.staging_target_path = ctl->opts->staging,
		.volume_capability = { .fs_type = "", .mount_group = "" },
	};
	struct csi_node_expand_volume_response reply;

	return csi_node_expand_volume(ctl->service, ctl->ctx, &req, &reply, err);
}

static int expand(struct ctl *ctl, struct err *err)
{
	const struct csi_controller_expand_volume_request req = {
		.volume_id = ctl->id,
		.capacity_range = { .required_bytes = ctl->opts->size,
				    .limit_bytes = ctl->opts->limit },
		.volume_capability = { .fs_type = "", .mount_group = "" },
	};
	bool is_staged = !str_is_empty(ctl->opts->staging);
	struct csi_controller_expand_volume_response reply;

	if (csi_controller_expand_volume(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	if (reply.capacity_bytes >= ctl->opts->size + VOL_SIZE_UNIT)
		return refuse_shrinking(ctl, reply.capacity_bytes, err);
	if (!reply.node_expansion_required)
		ctl_print_done(ctl, "expanded");
	else if (!is_staged)
		ctl_print_done(ctl, "expanded; its filesystem is when it is staged next, or now by "
				    "--staging=DIR");
	else if (expand_fs(ctl, err) < 0)
		return -1;
	else
		ctl_print_done(ctl, "expanded, and its filesystem");
	return 0;
}

static int modify(struct ctl *ctl, struct err *err)
{
	const struct csi_controller_modify_volume_request req = { .volume_id = ctl->id,
								  .mutable_parameters =
									  ctl_parameters(ctl) };
	struct csi_controller_modify_volume_response reply;

	if (csi_controller_modify_volume(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_done(ctl, "modified");
	return 0;
}

static int delete_volume(struct ctl *ctl, struct err *err)
{
	const struct csi_delete_volume_request req = { .volume_id = ctl->id };
	struct csi_delete_volume_response reply;

	if (csi_delete_volume(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_done(ctl, "deleted");
	return 0;
}

static int stage(struct ctl *ctl, struct err *err)
{
	struct csi_node_stage_volume_request req = { .volume_id = ctl->id,
						     .staging_target_path = ctl->opts->staging };
	struct csi_node_stage_volume_response reply;

	if (make_capability(ctl, &req.volume_capability, err) < 0 ||
	    csi_node_stage_volume(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_done(ctl, "staged");
	return 0;
}

static int publish(struct ctl *ctl, struct err *err)
{
	struct csi_node_publish_volume_request req = {
		.volume_id = ctl->id,
		.staging_target_path = ctl->opts->staging,
		.target_path = ctl->opts->target,
		.readonly = ctl->opts->read_only,
	};
	struct csi_node_publish_volume_response reply;

	if (make_capability(ctl, &req.volume_capability, err) < 0 ||
	    csi_node_publish_volume(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_done(ctl, "published");
	return 0;
}

static int unpublish(struct ctl *ctl, struct err *err)
{
	const struct csi_node_unpublish_volume_request req = { .volume_id = ctl->id,
							       .target_path = ctl->opts->target };
	struct csi_node_unpublish_volume_response reply;

	if (csi_node_unpublish_volume(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_done(ctl, "unpublished");
	return 0;
}

static int unstage(struct ctl *ctl, struct err *err)
{
	const struct csi_node_unstage_volume_request req = { .volume_id = ctl->id,
							     .staging_target_path =
								     ctl->opts->staging };
	struct csi_node_unstage_volume_response reply;

	if (csi_node_unstage_volume(ctl->service, ctl->ctx, &req, &reply, err) < 0)
		return -1;
	ctl_print_done(ctl, "unstaged");
	return 0;
}

/* clang-format off */
const struct ctl_verb ctl_volume_verbs[] = {
	{ .group = "volume", .name = "create", .argument = "NAME", .check = check_create, .run = create,
	  .takes = "size,limit,fs,block,mode,mount-flag,parameter,from-snapshot,from-volume", .summary = "Make a volume, or find the one that was made." },
	{ .group = "volume", .name = "list", .run = list, .summary = "All volumes of the driver." },
	{ .group = "volume", .name = "show", .argument = "ID", .run = show, .summary = "One volume." },
	{ .group = "volume", .name = "expand", .argument = "ID", .needs = "size", .run = expand, .takes = "limit,staging",
	  .summary = "Make it larger, in use or not; with --staging the filesystem that is staged there, too." },
	{ .group = "volume", .name = "modify", .argument = "ID", .needs = "parameter", .run = modify,
	  .summary = "Change its limits of I/O, while it is used too." },
	{ .group = "volume", .name = "delete", .argument = "ID", .run = delete_volume,
	  .summary = "Delete a volume and what is on it." },
	{ .group = "volume", .name = "stage", .argument = "ID", .needs = "staging", .run = stage,
	  .takes = "fs,block,mode,mount-flag", .summary = "Attach it and mount it at a directory of its own." },
	{ .group = "volume", .name = "publish", .argument = "ID", .needs = "staging,target", .run = publish,
	  .takes = "fs,block,mode,mount-flag,read-only", .summary = "Show a staged volume at a pod's path." },
	{ .group = "volume", .name = "unpublish", .argument = "ID", .needs = "target", .run = unpublish,
	  .summary = "Take it away from that path." },
	{ .group = "volume", .name = "unstage", .argument = "ID", .needs = "staging", .run = unstage,
	  .summary = "Unmount it and let its device go." },
	{ .group = "volume", .name = "check", .argument = "ID", .needs = "pool", .takes = "repair", .is_local = true,
	  .run = ctl_check, .summary = "Have the filesystem of a volume that is not in use checked by its own tool, on its node." },
	{ .name = NULL },
};
/* clang-format on */
