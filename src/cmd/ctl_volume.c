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
#include "base/vec.h"
#include "cmd/ctl.h"

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

static int make_parameters(struct ctl *ctl, struct strmap *ret_map, struct err *err)
{
	struct arena *a = ctl->ctx->arena;
	const struct opt_list *list = &ctl->opts->parameters;
	struct strpair *pairs = arena_array(a, list->n, sizeof(*pairs));

	for (size_t i = 0; i < list->n; i++) {
		const char *equals = strchr(list->v[i], '=');

		if (!equals || equals == list->v[i])
			return err_set(err, ERR_INVALID_ARGUMENT, "--parameter=%s is not KEY=VALUE",
				       list->v[i]);
		pairs[i].key = arena_strndup(a, list->v[i], (size_t)(equals - list->v[i]));
		pairs[i].value = equals + 1;
	}
	*ret_map = strmap_from(a, pairs, list->n);
	return 0;
}

static int create(struct ctl *ctl, struct err *err)
{
	struct vol_capability cap;
	struct csi_volume volume;
	struct csi_create_volume req = {
		.name = ctl->id,
		.capacity_range = { .required_bytes = ctl->opts->size,
				    .limit_bytes = ctl->opts->limit },
		.capabilities = &cap,
		.n_capabilities = 1,
	};

	if (make_capability(ctl, &cap, err) < 0 || make_parameters(ctl, &req.parameters, err) < 0 ||
	    csi_create_volume(ctl->service, ctl->ctx, &req, &volume, err) < 0)
		return -1;
	ctl_print_volume(ctl, &volume);
	return 0;
}

static int list(struct ctl *ctl, struct err *err)
{
	VEC(struct csi_volume_status) all = VEC_INIT;
	struct csi_volume_list page = { .next_token = "" };

	do {
		if (csi_list_volumes(ctl->service, ctl->ctx, 500, page.next_token, &page, err) <
		    0) {
			vec_done(&all);
			return -1;
		}
		for (size_t i = 0; i < page.n; i++)
			vec_push(&all, page.v[i]);
	} while (!str_is_empty(page.next_token));
	ctl_print_volumes(ctl, &(struct csi_volume_list){ .v = all.v, .n = all.n });
	vec_done(&all);
	return 0;
}

static int show(struct ctl *ctl, struct err *err)
{
	struct csi_volume_status status;

	if (csi_controller_get_volume(ctl->service, ctl->ctx, ctl->id, &status, err) < 0)
		return -1;
	ctl_print_volumes(ctl, &(struct csi_volume_list){ .v = &status, .n = 1 });
	return 0;
}

static int delete_volume(struct ctl *ctl, struct err *err)
{
	const struct secrets none = { 0 };

	if (csi_delete_volume(ctl->service, ctl->ctx, ctl->id, &none, err) < 0)
		return -1;
	ctl_print_done(ctl, "deleted");
	return 0;
}

static int stage(struct ctl *ctl, struct err *err)
{
	struct csi_stage req = { .volume_id = ctl->id, .staging_target_path = ctl->opts->staging };

	if (make_capability(ctl, &req.capability, err) < 0 ||
	    csi_node_stage_volume(ctl->service, ctl->ctx, &req, err) < 0)
		return -1;
	ctl_print_done(ctl, "staged");
	return 0;
}

static int publish(struct ctl *ctl, struct err *err)
{
	struct csi_publish req = {
		.volume_id = ctl->id,
		.staging_target_path = ctl->opts->staging,
		.target_path = ctl->opts->target,
		.readonly = ctl->opts->read_only,
	};

	if (make_capability(ctl, &req.capability, err) < 0 ||
	    csi_node_publish_volume(ctl->service, ctl->ctx, &req, err) < 0)
		return -1;
	ctl_print_done(ctl, "published");
	return 0;
}

static int unpublish(struct ctl *ctl, struct err *err)
{
	if (csi_node_unpublish_volume(ctl->service, ctl->ctx, ctl->id, ctl->opts->target, err) < 0)
		return -1;
	ctl_print_done(ctl, "unpublished");
	return 0;
}

static int unstage(struct ctl *ctl, struct err *err)
{
	if (csi_node_unstage_volume(ctl->service, ctl->ctx, ctl->id, ctl->opts->staging, err) < 0)
		return -1;
	ctl_print_done(ctl, "unstaged");
	return 0;
}

/* clang-format off */
const struct ctl_verb ctl_volume_verbs[] = {
	{ .group = "volume", .name = "create", .argument = "NAME", .run = create },
	{ .group = "volume", .name = "list", .run = list },
	{ .group = "volume", .name = "show", .argument = "ID", .run = show },
	{ .group = "volume", .name = "delete", .argument = "ID", .run = delete_volume },
	{ .group = "volume", .name = "stage", .argument = "ID", .needs = "staging", .run = stage },
	{ .group = "volume", .name = "publish", .argument = "ID", .needs = "staging,target", .run = publish },
	{ .group = "volume", .name = "unpublish", .argument = "ID", .needs = "target", .run = unpublish },
	{ .group = "volume", .name = "unstage", .argument = "ID", .needs = "staging", .run = unstage },
	{ .name = NULL },
};
/* clang-format on */
