/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage of other machines (BACKEND_ELSEWHERE), played by the mem backend with handles of its own,
 * which wants the secrets of each request and the parameters of the class.
 */
#include <string.h>

#include "backend/mem/mem.h"
#include "base/mem.h"
#include "base/str.h"
#include "csi/service.h"
#include "fake/host_cgroup.h"
#include "fixture.h"
#include "host/fs.h"
#include "host/mkfs.h"
#include "host/mount.h"

#define HANDLE "Far_1-"
#define PLACE "/s1/" HANDLE "v"
#define POD "11111111-0000-4000-8000-000000000001"
#define POD_DIR "/pods/" POD "/volumes/kubernetes.io~csi/pv"

static struct backend_ops own_ops;
static const struct backend_ops *mem_ops;
static bool keeps_limits;
static struct vol_limits device_limits; /* what the node is told */
static unsigned n_stats;
static unsigned n_taken;
static bool says_nbd;

static int check_secrets(const struct secrets *secrets, struct err *err)
{
	if (secrets && str_is_equal(secrets_find(secrets, "userID"), "u"))
		return 0;
	return err_set(err, ERR_UNAUTHENTICATED, "no secrets");
}

/* A backend knows itself by its table. */
static struct backend *as_mem(struct backend *b)
{
	b->ops = mem_ops;
	return b;
}

static int back(struct backend *b, int r)
{
	b->ops = &own_ops;
	return r;
}

static int far_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		      struct backend_volume *ret_vol, struct err *err)
{
	struct backend_spec at_least = *spec;
	const char *where;

	ASSERT_TRUE(spec->parameters != NULL);
	ASSERT_STR(spec->fs, "");
	where = strmap_find(spec->parameters, "pool");
	if (check_secrets(spec->secrets, err) < 0)
		return -1;
	if (!where)
		return err_set(err, ERR_INVALID_ARGUMENT, "parameters: pool is missing");
	if (spec->bytes == 0)
		at_least.bytes = 1 * GIB;
	if (back(b, mem_ops->create(as_mem(b), ctx, &at_least, ret_vol, err)) < 0)
		return -1;
	ret_vol->context = strmap_from(ctx->arena, spec->parameters->v, spec->parameters->n);
	return 0;
}

static int far_stat(struct backend *b, struct ctx *ctx, const char *token,
		    const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	n_stats++;
	return check_secrets(secrets, err) < 0
		       ? -1
		       : back(b, mem_ops->stat(as_mem(b), ctx, token, secrets, ret_vol, err));
}

static int far_snapshot_create(struct backend *b, struct ctx *ctx,
			       const struct backend_snapshot_spec *spec,
			       struct backend_snapshot *ret_snap, struct err *err)
{
	ASSERT_TRUE(spec->options.parameters != NULL);
	if (check_secrets(spec->options.secrets, err) < 0 ||
	    back(b, mem_ops->snapshot_create(as_mem(b), ctx, spec, ret_snap, err)) < 0)
		return -1;
	ret_snap->source[0] = '\0'; /* it cannot tell */
	return 0;
}

/* What only passes through. */
/* clang-format off */
#define PASS(name, params, ...)                                          \
	static int far_##name params                                     \
	{                                                                \
		return back(b, mem_ops->name(as_mem(b), ctx, __VA_ARGS__)); \
	}
PASS(info, (struct backend *b, struct ctx *ctx, struct backend_info *ret, struct err *err), ret, err)
PASS(remove, (struct backend *b, struct ctx *ctx, const char *token, const struct secrets *s, struct err *err), token, s, err)
PASS(grow, (struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes, const struct secrets *s,
	    struct backend_volume *ret, struct err *err), token, bytes, s, ret, err)
PASS(each, (struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn, void *arg, struct err *err),
     after, fn, arg, err)
PASS(detach, (struct backend *b, struct ctx *ctx, const char *token, struct err *err), token, err)
PASS(find_reader, (struct backend *b, struct ctx *ctx, const char *token, struct backend_device *ret, struct err *err),
     token, ret, err)
PASS(drop_reader, (struct backend *b, struct ctx *ctx, const char *token, struct err *err), token, err)
PASS(note_get, (struct backend *b, struct ctx *ctx, const char *token, char *ret, struct err *err), token, ret, err)
PASS(note_set, (struct backend *b, struct ctx *ctx, const char *token, const char *note, struct err *err), token, note, err)
PASS(settle, (struct backend *b, struct ctx *ctx, const char *token, const char *path, struct err *err), token, path, err)
PASS(snapshot_remove, (struct backend *b, struct ctx *ctx, const char *token, const struct secrets *s, struct err *err),
     token, s, err)
PASS(snapshot_stat, (struct backend *b, struct ctx *ctx, const char *token, const struct secrets *s,
		     struct backend_snapshot *ret, struct err *err), token, s, ret, err)
PASS(snapshot_each, (struct backend *b, struct ctx *ctx, const char *after, backend_each_snapshot_fn fn, void *arg,
		     struct err *err), after, fn, arg, err)
/* clang-format on */

static int far_find_device(struct backend *b, struct ctx *ctx, const char *token,
			   struct backend_device *ret, struct err *err)
{
	if (back(b, mem_ops->find_device(as_mem(b), ctx, token, ret, err)) < 0)
		return -1;
	ret->limits = device_limits;
	return 0;
}

static int far_modify(struct backend *b, struct ctx *ctx, const char *token,
		      const struct vol_limits *limits, const struct secrets *s, struct err *err)
{
	return check_secrets(s, err) < 0
		       ? -1
		       : back(b, mem_ops->modify(as_mem(b), ctx, token, limits, s, err));
}

static int far_each_here(struct backend *b, struct ctx *ctx, backend_each_fn fn, void *arg,
			 struct err *err)
{
	struct backend_volume vol = { .token = "v", .limits = device_limits };
	struct backend_device dev;

	if (far_find_device(b, ctx, vol.token, &dev, err) == 0)
		(void)fn(arg, &vol);
	return 0;
}

/* Where the volume is staged; the other driver's word is a file "word" there. */
static int open_word(const char *path, int *ret_dir, int *ret_fd, struct err *err)
{
	if (host_dir_open(path, ret_dir, err) < 0)
		return -1;
	return host_file_open(*ret_dir, "word", true, ret_fd, err);
}

static int far_attach(struct backend *b, struct ctx *ctx, const char *token,
		      const struct backend_attach_options *opts, struct backend_device *ret_dev,
		      struct err *err)
{
	autohostfd int dir = -1;
	autohostfd int fd = -1;

	ASSERT_TRUE(opts->staging != NULL);
	if (host_dir_open(opts->staging, &dir, err) < 0 ||
	    host_file_open_or_make(dir, "word", &fd, err) < 0 ||
	    host_file_set_text(fd, says_nbd ? "nbd" : "krbd", err) < 0)
		return -1;
	return back(b, mem_ops->attach(as_mem(b), ctx, token, opts, ret_dev, err));
}

static int far_staging_take(struct backend *b, struct ctx *ctx, const char *token, const char *path,
			    struct err *err)
{
	autohostfd int dir = -1;
	autohostfd int fd = -1;
	char text[8];

	n_taken++;
	if (open_word(path, &dir, &fd, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (host_file_get_text(fd, text, sizeof(text), err) < 0)
		return -1;
	return str_is_equal(text, "nbd") ? err_set(err, ERR_FAILED_PRECONDITION, "by nbd") : 0;
}

static int far_staging_forget(struct backend *b, struct ctx *ctx, const char *path, struct err *err)
{
	autohostfd int dir = -1;

	if (host_dir_open(path, &dir, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return host_file_unlink(dir, "word", err);
}

static void far_close(struct backend *b)
{
	mem_ops->close(as_mem(b));
}

static int far_resolve(const struct backend *b, enum vol_kind kind, const char *id,
		       char ret_token[VOL_TOKEN_MAX], struct err *err)
{
	if (!str_has_prefix(id, HANDLE))
		return err_set(err, ERR_NOT_FOUND, "'%s' is no handle", id);
	(void)snprintf(ret_token, VOL_TOKEN_MAX, "%s", id + strlen(HANDLE));
	return 0;
}

static void far_format_id(const struct backend *b, enum vol_kind kind, const char *token,
			  char ret_id[VOL_ID_MAX])
{
	(void)snprintf(ret_id, VOL_ID_MAX, HANDLE "%s", token);
}

/* What was asked last. */
static struct {
	const char *word; /* NULL: nothing */
	char node[64];
	bool has_secrets;
	enum err_code code; /* that is to be answered */
} use_asked;

static int far_use(const char *word, const struct backend_use *use, struct err *err)
{
	struct backend_node node;

	use_asked.word = word;
	(void)snprintf(use_asked.node, sizeof(use_asked.node), "%s", use->node_id);
	use_asked.has_secrets = use->secrets;
	if (use->nodes->look(use->nodes->arg, NULL, use->node_id, "", &node, err) < 0)
		return -1;
	ASSERT_TRUE(node.is_gone);
	return use_asked.code ? err_set(err, use_asked.code, "it cannot be") : 0;
}

static int far_publish(struct backend *b, struct ctx *ctx, const char *token,
		       const struct backend_use *use, struct err *err)
{
	return far_use("publish", use, err);
}

static int far_unpublish(struct backend *b, struct ctx *ctx, const char *token,
			 const struct backend_use *use, struct err *err)
{
	return far_use("unpublish", use, err);
}

static const struct backend_ops far_ops = {
	.name = "far",
	.info = far_info,
	.remove = far_remove,
	.grow = far_grow,
	.each = far_each,
	.publish = far_publish,
	.unpublish = far_unpublish,
	.attach = far_attach,
	.find_device = far_find_device,
	.detach = far_detach,
	.staging_take = far_staging_take,
	.staging_forget = far_staging_forget,
	.find_reader = far_find_reader,
	.drop_reader = far_drop_reader,
	.note_get = far_note_get,
	.note_set = far_note_set,
	.settle = far_settle,
	.snapshot_remove = far_snapshot_remove,
	.snapshot_stat = far_snapshot_stat,
	.snapshot_each = far_snapshot_each,
	.create = far_create,
	.stat = far_stat,
	.snapshot_create = far_snapshot_create,
	.resolve = far_resolve,
	.format_id = far_format_id,
	.close = far_close,
};

#define FAR_CAPS                                                                            \
	(BACKEND_ATTACH | BACKEND_NOTES | BACKEND_GROW | BACKEND_SNAPSHOT | BACKEND_CLONE | \
	 BACKEND_ELSEWHERE | BACKEND_FENCE)
#define FAR_KIND_CAPS (FAR_CAPS | BACKEND_MODIFY)

static int far_open(struct ctx *ctx, const struct backend_config *config,
		    const struct registry *others, struct backend **ret_backend, struct err *err)
{
	struct backend_config mem = *config;
	struct backend *b;

	mem.mem_bytes = 64 * GIB;
	if (mem_kind.open(ctx, &mem, others, &b, err) < 0)
		return -1;
	mem_ops = b->ops;
	own_ops = far_ops;
	b->caps = FAR_CAPS;
	if (keeps_limits) {
		own_ops.modify = far_modify;
		own_ops.each_here = far_each_here;
		b->caps |= BACKEND_MODIFY;
	}
	b->ops = &own_ops;
	*ret_backend = b;
	return 0;
}

static const struct backend_kind far_kind = { .name = "far",
					      .caps = FAR_KIND_CAPS,
					      .open = far_open };

static struct strpair secret_pairs[] = { { "userID", "u" } };
static struct strpair class_pairs[] = { { "mkfsOptions", "-m0" }, { "pool", "p" } };
static const struct secrets secrets = { { secret_pairs, 1 } };
static const struct strmap class = { class_pairs, 2 };

static struct csi_create_volume_request ask(const char *name)
{
	return (struct csi_create_volume_request){ .name = name,
						   .capacity_range = { 1 * GIB, 0 },
						   .volume_capabilities = &cap_mount,
						   .n_volume_capabilities = 1,
						   .parameters = class,
						   .secrets = secrets,
						   .volume_content_source = { .id = "" } };
}

static int create(struct fixture *f, const struct csi_create_volume_request *req,
		  struct csi_volume *ret)
{
	struct csi_create_volume_response reply;

	if (csi_create_volume(&f->csi, &f->ctx, req, &reply, &f->err) < 0)
		return -1;
	*ret = reply.volume;
	f->id = reply.volume.volume_id;
	return 0;
}

static struct fixture *begin(struct csi_volume *ret)
{
	struct fixture *f = fixture_begin_with(&far_kind);
	const struct csi_create_volume_request req = ask("v");

	ASSERT_OK(create(f, &req, ret), &f->err);
	n_stats = 0;
	says_nbd = false;
	return f;
}

static struct fixture *begin_limited(struct csi_volume *ret)
{
	struct fixture *f;

	keeps_limits = true;
	device_limits = (struct vol_limits){ 0 };
	f = begin(ret);
	keeps_limits = false;
	return f;
}

static int delete_volume(struct fixture *f)
{
	const struct csi_delete_volume_request req = { .volume_id = f->id, .secrets = secrets };

	return csi_delete_volume(&f->csi, &f->ctx, &req, &(struct csi_delete_volume_response){},
				 &f->err);
}

TEST(a_volume_has_its_own_handle_the_class_as_context_and_no_place)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);

	ASSERT_STR(vol.volume_id, HANDLE "v");
	ASSERT_STR(strmap_find(&vol.volume_context, "pool"), "p");
	ASSERT_EQ(vol.accessible_topology.n, 0);
	ASSERT_EQ(vol.capacity_bytes, 1 * GIB);
	fixture_end(f);
}

TEST(parameters_are_the_storages_own_to_refuse)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);
	struct csi_create_volume_request req = ask("w");

	req.parameters = STRMAP_EMPTY;
	ASSERT_TRUE(create(f, &req, &vol) < 0);
	ASSERT_ERR(-1, &f->err, ERR_INVALID_ARGUMENT, "pool is missing");
	fixture_end(f);
}

TEST(a_volume_that_is_there_with_another_size_is_refused)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);
	struct csi_create_volume_request req = ask("v");

	ASSERT_OK(create(f, &req, &vol), &f->err);
	req.capacity_range.required_bytes = 2 * GIB;
	ASSERT_TRUE(create(f, &req, &vol) < 0);
	ASSERT_ERR(-1, &f->err, ERR_ALREADY_EXISTS, "exists with 1Gi");
	fixture_end(f);
}

TEST(a_copy_is_as_large_as_its_source_if_nothing_is_asked)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);
	struct csi_create_volume_request req = ask("copy");

	req.capacity_range.required_bytes = 0;
	req.has_volume_content_source = true;
	req.volume_content_source = (struct csi_content_source){ CSI_SOURCE_VOLUME, vol.volume_id };
	ASSERT_OK(create(f, &req, &vol), &f->err);
	ASSERT_EQ(vol.capacity_bytes, 1 * GIB);
	ASSERT_EQ(vol.content_source.kind, CSI_SOURCE_VOLUME);
	fixture_end(f);
}

static uint64_t controller_bits(struct fixture *f)
{
	struct csi_controller_get_capabilities_response caps;

	ASSERT_OK(csi_controller_get_capabilities(
			  &f->csi, &f->ctx, &(struct csi_controller_get_capabilities_request){},
			  &caps, &f->err),
		  &f->err);
	return csi_capability_bits(caps.capabilities, caps.n_capabilities);
}

TEST(what_needs_no_secrets_is_not_offered)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);
	struct csi_node_get_info_response info;
	struct csi_offers offers;

	ASSERT_EQ(controller_bits(f) & CSI_CAP_BIT(CSI_CTRL_LIST_VOLUMES), 0);
	ASSERT_EQ(controller_bits(f) & CSI_CAP_BIT(CSI_CTRL_GET_CAPACITY), 0);
	ASSERT_EQ(controller_bits(f) & CSI_CAP_BIT(CSI_CTRL_LIST_SNAPSHOTS), 0);
	ASSERT_TRUE(controller_bits(f) & CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT));
	ASSERT_TRUE(controller_bits(f) & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME));
	ASSERT_EQ(controller_bits(f) & CSI_CAP_BIT(CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME), 0);
	ASSERT_OK(csi_ask_offers(&f->csi, &f->ctx, &offers, &f->err), &f->err);
	ASSERT_EQ(offers.plugin & CSI_CAP_BIT(CSI_PLUGIN_VOLUME_ACCESSIBILITY_CONSTRAINTS), 0);
	ASSERT_OK(csi_node_get_info(&f->csi, &f->ctx, &(struct csi_node_get_info_request){}, &info,
				    &f->err),
		  &f->err);
	ASSERT_TRUE(!info.has_accessible_topology);
	fixture_end(f);
}

/* An empty list, a size of 0 or a volume of 0 bytes would be made up. */
TEST(what_is_not_offered_is_not_answered_either)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);

	ASSERT_ERR(csi_list_volumes(&f->csi, &f->ctx, &(struct csi_list_volumes_request){},
				    &(struct csi_list_volumes_response){}, &f->err),
		   &f->err, ERR_UNIMPLEMENTED, "secrets");
	ASSERT_ERR(csi_list_snapshots(&f->csi, &f->ctx, &(struct csi_list_snapshots_request){},
				      &(struct csi_list_snapshots_response){}, &f->err),
		   &f->err, ERR_UNIMPLEMENTED, "secrets");
	ASSERT_ERR(csi_get_capacity(&f->csi, &f->ctx, &(struct csi_get_capacity_request){},
				    &(struct csi_get_capacity_response){}, &f->err),
		   &f->err, ERR_UNIMPLEMENTED, "secrets");
	ASSERT_ERR(csi_controller_get_volume(
			   &f->csi, &f->ctx,
			   &(struct csi_controller_get_volume_request){ .volume_id = f->id },
			   &(struct csi_controller_get_volume_response){}, &f->err),
		   &f->err, ERR_UNIMPLEMENTED, "secrets");
	fixture_end(f);
}

static int know_nobody(void *arg, struct ctx *ctx, const char *node_id, const char *volume_id,
		       struct backend_node *ret_node, struct err *err)
{
	*ret_node = (struct backend_node){ .is_gone = true };
	return 0;
}

static int attach_to(struct fixture *f, const char *volume_id, const char *node,
		     const struct secrets *with)
{
	const struct csi_controller_publish_volume_request req = {
		.volume_id = volume_id,
		.node_id = node,
		.volume_capability = cap_mount,
		.secrets = *with,
	};

	use_asked.word = NULL;
	return csi_controller_publish_volume(&f->csi, &f->ctx, &req,
					     &(struct csi_controller_publish_volume_response){},
					     &f->err);
}

static int detach_from(struct fixture *f, const char *volume_id, const char *node,
		       const struct secrets *with)
{
	const struct csi_controller_unpublish_volume_request req = { .volume_id = volume_id,
								     .node_id = node,
								     .secrets = *with };

	use_asked.word = NULL;
	return csi_controller_unpublish_volume(&f->csi, &f->ctx, &req,
					       &(struct csi_controller_unpublish_volume_response){},
					       &f->err);
}

/* Another driver over the same storage. */
static void know_nodes(struct fixture *f, const struct backend_nodes *nodes)
{
	const struct csi_driver_options opts = { .name = "d.test",
						 .version = "1",
						 .node_id = "n1",
						 .serve_controller = true,
						 .serve_node = true,
						 .nodes = nodes,
						 .pools = f->pools };

	csi_driver_free(f->driver);
	ASSERT_OK(csi_driver_new(&opts, &f->driver, &f->err), &f->err);
	f->csi = csi_driver_service(f->driver);
}

TEST(without_somebody_who_knows_the_nodes_nothing_is_published)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);

	ASSERT_ERR(attach_to(f, f->id, "n2", &secrets), &f->err, ERR_UNIMPLEMENTED, "");
	ASSERT_ERR(detach_from(f, f->id, "n2", &secrets), &f->err, ERR_UNIMPLEMENTED, "");
	ASSERT_TRUE(use_asked.word == NULL);
	fixture_end(f);
}

TEST(the_storage_hears_where_a_volume_comes_and_goes)
{
	static const struct backend_nodes nodes = { know_nobody, NULL };
	static const struct secrets none;
	struct csi_volume vol;
	struct fixture *f = begin(&vol);

	know_nodes(f, &nodes);
	ASSERT_TRUE(controller_bits(f) & CSI_CAP_BIT(CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME));
	ASSERT_OK(attach_to(f, f->id, "n2", &secrets), &f->err);
	ASSERT_STR(use_asked.word, "publish");
	ASSERT_STR(use_asked.node, "n2");
	ASSERT_TRUE(use_asked.has_secrets);
	ASSERT_OK(detach_from(f, f->id, "n2", &none), &f->err);
	ASSERT_STR(use_asked.word, "unpublish");
	ASSERT_FALSE(use_asked.has_secrets);
	use_asked.code = ERR_FAILED_PRECONDITION;
	ASSERT_ERR(attach_to(f, f->id, "n2", &secrets), &f->err, ERR_FAILED_PRECONDITION,
		   "to node 'n2'");
	ASSERT_ERR(detach_from(f, f->id, "n2", &secrets), &f->err, ERR_FAILED_PRECONDITION,
		   "from node 'n2'");
	use_asked.code = ERR_OK;

	ASSERT_ERR(attach_to(f, HANDLE "gone", "n2", &secrets), &f->err, ERR_NOT_FOUND, "gone");
	ASSERT_ERR(attach_to(f, f->id, "", &secrets), &f->err, ERR_INVALID_ARGUMENT, "node_id");
	ASSERT_ERR(detach_from(f, "", "n2", &secrets), &f->err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_OK(detach_from(f, "no handle", "n2", &secrets), &f->err);
	ASSERT_TRUE(use_asked.word == NULL);
	fixture_end(f);
}

static int modify(struct fixture *f, struct strpair *pair)
{
	const struct csi_controller_modify_volume_request req = {
		.volume_id = f->id, .secrets = secrets, .mutable_parameters = { pair, 1 }
	};

	return csi_controller_modify_volume(
		&f->csi, &f->ctx, &req, &(struct csi_controller_modify_volume_response){}, &f->err);
}

TEST(attributes_that_cannot_be_kept_are_refused)
{
	struct strpair slow = { "readIOPS", "5" };
	struct csi_volume vol;
	struct fixture *f = begin(&vol);
	struct csi_create_volume_request req = ask("w");

	req.mutable_parameters = (struct strmap){ &slow, 1 };
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT, "'readIOPS' (value '5')");
	ASSERT_ERR(modify(f, &slow), &f->err, ERR_INVALID_ARGUMENT, "keeps no limits");
	fixture_end(f);
}

static void assert_limits(struct fixture *f, const struct vol_limits *want)
{
	struct backend_volume vol;

	ASSERT_OK(backend_stat(registry_at(f->pools, 0), &f->ctx, f->id + strlen(HANDLE), &secrets,
			       &vol, &f->err),
		  &f->err);
	ASSERT_TRUE(vol_limits_are_equal(&vol.limits, want));
}

TEST(attributes_are_the_classes_and_those_that_can_be_changed_win)
{
	struct strpair own[] = { { "pool", "p" }, { "readIOPS", "9" }, { "writeIOPS", "8" } };
	struct strpair mutable[] = { { "readIOPS", "5" }, { "writeIOPS", "max" } };
	struct csi_volume vol;
	struct fixture *f = begin_limited(&vol);
	struct csi_create_volume_request req = ask("w");

	req.parameters = (struct strmap){ own, ARRAY_LEN(own) };
	req.mutable_parameters = (struct strmap){ mutable, ARRAY_LEN(mutable) };
	ASSERT_OK(create(f, &req, &vol), &f->err);
	assert_limits(f, &(struct vol_limits){ .read_iops = 5 });
	ASSERT_OK(create(f, &req, &vol), &f->err);
	req.mutable_parameters.n = 1;
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_ALREADY_EXISTS, "asked is readIOPS=5 write");
	own[1].value = "0";
	ASSERT_ERR(create(f, &req, &vol), &f->err, ERR_INVALID_ARGUMENT, "parameters: readIOPS");
	fixture_end(f);
}

TEST(attributes_change_with_secrets_and_on_no_node_here)
{
	struct strpair slow = { "readIOPS", "5" }, unknown = { "baseIops", "5" };
	struct csi_volume vol;
	struct fixture *f = begin_limited(&vol);

	fake_host_add_dir(POD_DIR);
	fake_cgroup_add_pod(POD);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(do_publish(f, "/s1", POD_DIR "/mount", &cap_mount, false), &f->err);
	ASSERT_OK(modify(f, &slow), &f->err);
	assert_limits(f, &(struct vol_limits){ .read_iops = 5 });
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	ASSERT_ERR(modify(f, &unknown), &f->err, ERR_INVALID_ARGUMENT,
		   "unknown key 'baseIops' (value '5')");
	assert_limits(f, &(struct vol_limits){ .read_iops = 5 });
	slow.value = "max";
	ASSERT_OK(modify(f, &slow), &f->err);
	assert_limits(f, &(struct vol_limits){ 0 });
	fixture_end(f);
}

/* Without a question to the storage, and also where a process finds them. */
TEST(a_node_holds_pods_to_what_their_device_says)
{
	struct csi_volume vol;
	struct fixture *f = begin_limited(&vol);
	struct backend_device dev;

	fake_host_add_dir(POD_DIR);
	fake_cgroup_add_pod(POD);
	device_limits.read_iops = 5;
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(do_publish(f, "/s1", POD_DIR "/mount", &cap_mount, false), &f->err);
	ASSERT_OK(backend_find_device(registry_at(f->pools, 0), &f->ctx, "v", &dev, &f->err),
		  &f->err);
	ASSERT_EQ(fake_cgroup_get(POD, dev.devno).read_iops, 5);
	ASSERT_OK(do_unpublish(f, POD_DIR "/mount"), &f->err);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);

	device_limits.read_iops = 0;
	ASSERT_OK(do_publish(f, "/s1", POD_DIR "/mount", &cap_mount, false), &f->err);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	device_limits.read_iops = 6;
	csi_driver_keep_limits(f->driver, &f->ctx); /* the first look of a process */
	ASSERT_EQ(fake_cgroup_get(POD, dev.devno).read_iops, 6);
	ASSERT_OK(do_unpublish(f, POD_DIR "/mount"), &f->err);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_EQ(n_stats, 0);
	assert_node_is_clean();
	fixture_end(f);
}

TEST(the_node_makes_the_filesystem_once_and_asks_the_storage_nothing)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);
	struct vol_capability xfs = cap_mount;

	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/a", &cap_mount, false), &f->err);
	ASSERT_OK(do_unpublish(f, "/pods/a"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err); /* with what it has */
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	xfs.fs_type = "xfs";
	ASSERT_ERR(do_stage(f, "/s1", &xfs), &f->err, ERR_FAILED_PRECONDITION, "ext4");
	ASSERT_EQ(n_stats, 0);
	assert_node_is_clean();
	fixture_end(f);
}

TEST(staging_fails_at_each_step_and_succeeds_after)
{
	for (unsigned n = 1;; n++) {
		struct csi_volume vol;
		struct fixture *f = begin(&vol);
		bool is_reached;

		fake_host_fail_at(n);
		if (do_stage(f, "/s1", &cap_mount) == 0)
			(void)do_publish(f, "/s1", "/pods/a", &cap_mount, false);
		is_reached = fake_host_failed();
		fake_host_fail_at(0);
		ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
		ASSERT_OK(do_publish(f, "/s1", "/pods/a", &cap_mount, false), &f->err);
		ASSERT_OK(do_unpublish(f, "/pods/a"), &f->err);
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		assert_node_is_clean();
		fixture_end(f);
		if (!is_reached)
			break;
	}
}

static bool grow(struct fixture *f, int64_t bytes, const struct vol_capability *cap)
{
	struct csi_controller_expand_volume_request req = { .volume_id = f->id };
	struct csi_controller_expand_volume_response ret;

	req.capacity_range.required_bytes = bytes;
	req.volume_capability = *cap;
	req.secrets = ask("v").secrets;
	ASSERT_OK(csi_controller_expand_volume(&f->csi, &f->ctx, &req, &ret, &f->err), &f->err);
	ASSERT_EQ(ret.capacity_bytes, bytes);
	return ret.node_expansion_required;
}

/* No filesystem is known before a node makes one, and a controller need not be a node. */
/* ---- the other driver's way of staging ---- */

static bool is_there(const char *path)
{
	struct host_mount_at at;
	struct err err;

	ASSERT_OK(host_mount_look(path, &at, &err), &err);
	return at.exists;
}

static void assert_is_unstaged(void)
{
	assert_node_is_clean();
	ASSERT_TRUE(!is_there(PLACE));
	ASSERT_TRUE(!is_there("/s1/word"));
}

/* What the other driver does, but for a note. */
static void stage_as_other(struct fixture *f, const struct vol_capability *cap)
{
	struct backend *b = registry_pools(f->pools, f->ctx.arena).v[0];
	const struct backend_attach_options opts = { .staging = "/s1" };
	const struct host_mount_options ext4 = { .fs = "ext4" };
	struct backend_device dev;
	bool is_block = cap->access == VOL_ACCESS_BLOCK;
	bool is_made;

	ASSERT_OK(backend_attach(b, &f->ctx, "v", &opts, &dev, &f->err), &f->err);
	ASSERT_OK(host_mount_make_target(PLACE, !is_block, &is_made, &f->err), &f->err);
	if (is_block) {
		ASSERT_OK(host_mount_bind(&f->ctx, dev.path, PLACE, false, NULL, 0, &f->err),
			  &f->err);
		return;
	}
	ASSERT_OK(host_mkfs_device(&f->ctx, dev.path, "ext4", "", &f->err), &f->err);
	ASSERT_OK(host_mount_device(&f->ctx, dev.path, PLACE, &ext4, &f->err), &f->err);
}

static int up(struct fixture *f, const struct vol_capability *cap)
{
	return do_stage(f, "/s1", cap) < 0 ? -1 : do_publish(f, "/s1", "/pods/t1", cap, false);
}

static int down(struct fixture *f)
{
	return do_unpublish(f, "/pods/t1") < 0 ? -1 : do_unstage(f, "/s1");
}

TEST(staging_is_as_the_other_driver_has_it)
{
	static const struct vol_capability *const caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct csi_volume vol;
		struct fixture *f = begin(&vol);
		struct host_mount_at at;

		ASSERT_OK(up(f, caps[i]), &f->err);
		ASSERT_OK(up(f, caps[i]), &f->err);
		ASSERT_TRUE(is_there("/s1/word"));
		ASSERT_OK(host_mount_look(PLACE, &at, &f->err), &f->err);
		ASSERT_TRUE(at.is_mount_root && at.is_block_device == (caps[i] == &cap_block));
		ASSERT_OK(host_mount_look("/s1", &at, &f->err), &f->err);
		ASSERT_FALSE(at.is_mount_root);
		ASSERT_ERR(do_stage(f, "/s1", caps[1 - i]), &f->err, ERR_ALREADY_EXISTS, "staged");
		ASSERT_OK(down(f), &f->err);
		ASSERT_OK(down(f), &f->err);
		assert_is_unstaged();
		fixture_end(f);
	}
}

/* A pod of before goes on while more come, the volume grows, and all goes. */
TEST(what_the_other_driver_staged_is_used_and_goes)
{
	static const struct vol_capability *const caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct csi_volume vol;
		struct fixture *f = begin(&vol);

		stage_as_other(f, caps[i]);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		if (i == 0) {
			ASSERT_TRUE(grow(f, 2 * GIB, caps[i]));
			ASSERT_OK(do_node_expand(f, "/s1", 2 * GIB), &f->err);
			ASSERT_OK(do_node_expand(f, "/pods/t1", 2 * GIB), &f->err);
		}
		ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION,
			   "still published");
		ASSERT_OK(do_stage(f, "/s1", caps[i]), &f->err); /* kubelet may ask again */
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		n_taken = 0;
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		ASSERT_EQ(n_taken, 1);
		assert_is_unstaged();
		fixture_end(f);
	}
}

TEST(what_cannot_be_taken_down_here_is_left_whole)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);
	struct host_mount_at at;

	says_nbd = true;
	stage_as_other(f, &cap_mount);
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "by nbd");
	ASSERT_OK(host_mount_look(PLACE, &at, &f->err), &f->err);
	ASSERT_TRUE(at.is_mount_root);
	ASSERT_OK(host_mount_umount(&f->ctx, PLACE, &f->err), &f->err);
	fixture_end(f);
}

static bool take_down_with_trouble(unsigned n, bool is_others, const struct vol_capability *cap)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);
	bool is_reached;

	if (is_others)
		stage_as_other(f, cap);
	else
		ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", cap, false), &f->err);
	fake_host_fail_at(n);
	(void)down(f); /* or it is done */
	is_reached = fake_host_failed();
	fake_host_fail_at(0);
	ASSERT_OK(down(f), &f->err);
	assert_is_unstaged();
	fixture_end(f);
	return is_reached;
}

TEST(taking_down_fails_at_each_step_and_succeeds_after)
{
	for (unsigned way = 0; way < 4; way++) {
		unsigned n = 1;

		while (take_down_with_trouble(n, way & 1, way & 2 ? &cap_block : &cap_mount))
			n++;
		ASSERT_TRUE(n > 10);
	}
}

TEST(raw_staging_fails_at_each_step_and_leaves_nothing)
{
	for (unsigned n = 1;; n++) {
		struct csi_volume vol;
		struct fixture *f = begin(&vol);
		bool is_reached;
		int r;

		fake_host_fail_at(n);
		r = do_stage(f, "/s1", &cap_block);
		is_reached = fake_host_failed();
		fake_host_fail_at(0);
		if (r < 0 && n > 1)
			ASSERT_OK(do_unstage(f, "/s1"), &f->err); /* as kubelet, if it gives up */
		if (r < 0)
			assert_is_unstaged();
		ASSERT_OK(do_stage(f, "/s1", &cap_block), &f->err);
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		assert_is_unstaged();
		fixture_end(f);
		if (!is_reached)
			break;
	}
}

TEST(snapshots_go_with_secrets_and_may_not_know_their_source)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);
	struct csi_create_snapshot_request req = { .name = "s",
						   .source_volume_id = vol.volume_id,
						   .secrets = secrets };
	struct csi_create_snapshot_response reply;
	struct csi_create_volume_request of = ask("restored");
	struct csi_get_snapshot_response got;

	ASSERT_OK(csi_create_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err);
	ASSERT_STR(reply.snapshot.snapshot_id, HANDLE "s");
	ASSERT_STR(reply.snapshot.source_volume_id, "");
	of.has_volume_content_source = true;
	of.volume_content_source = (struct csi_content_source){ CSI_SOURCE_SNAPSHOT, HANDLE "s" };
	ASSERT_OK(create(f, &of, &vol), &f->err);
	ASSERT_OK(csi_get_snapshot(&f->csi, &f->ctx,
				   &(struct csi_get_snapshot_request){ .snapshot_id = HANDLE "s",
								       .secrets = secrets },
				   &got, &f->err),
		  &f->err);
	fixture_end(f);
}

TEST(what_grows_grows_on_its_node_too_unless_it_is_raw)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);

	ASSERT_TRUE(grow(f, 2 * GIB, &cap_mount));
	ASSERT_TRUE(!grow(f, 3 * GIB, &cap_block));
	fixture_end(f);
}

/* kubelet brings no secrets, and the storage is not asked for any. */
TEST(a_node_grows_what_it_has_without_secrets)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);

	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/a", &cap_mount, false), &f->err);
	ASSERT_TRUE(grow(f, 2 * GIB, &cap_mount));
	ASSERT_OK(do_node_expand(f, "/pods/a", 2 * GIB), &f->err);
	ASSERT_ERR(do_node_expand(f, "/pods/a", 3 * GIB), &f->err, ERR_UNAVAILABLE,
		   "has 2Gi as yet");
	ASSERT_EQ(n_stats, 0);
	ASSERT_OK(do_unpublish(f, "/pods/a"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
	fixture_end(f);
}

TEST(a_volume_goes_and_what_is_no_handle_is_gone)
{
	struct csi_volume vol;
	struct fixture *f = begin(&vol);

	ASSERT_OK(delete_volume(f), &f->err);
	ASSERT_OK(delete_volume(f), &f->err);
	f->id = "no-handle";
	ASSERT_OK(delete_volume(f), &f->err);
	fixture_end(f);
}

RUN_TESTS(UNIT(without_somebody_who_knows_the_nodes_nothing_is_published),
	  UNIT(the_storage_hears_where_a_volume_comes_and_goes),
	  UNIT(a_volume_has_its_own_handle_the_class_as_context_and_no_place),
	  UNIT(parameters_are_the_storages_own_to_refuse),
	  UNIT(a_volume_that_is_there_with_another_size_is_refused),
	  UNIT(a_copy_is_as_large_as_its_source_if_nothing_is_asked),
	  UNIT(what_needs_no_secrets_is_not_offered),
	  UNIT(what_is_not_offered_is_not_answered_either),
	  UNIT(attributes_that_cannot_be_kept_are_refused),
	  UNIT(attributes_are_the_classes_and_those_that_can_be_changed_win),
	  UNIT(attributes_change_with_secrets_and_on_no_node_here),
	  UNIT(a_node_holds_pods_to_what_their_device_says),
	  UNIT(the_node_makes_the_filesystem_once_and_asks_the_storage_nothing),
	  UNIT(staging_fails_at_each_step_and_succeeds_after),
	  UNIT(snapshots_go_with_secrets_and_may_not_know_their_source),
	  UNIT(what_grows_grows_on_its_node_too_unless_it_is_raw),
	  UNIT(a_node_grows_what_it_has_without_secrets),
	  UNIT(staging_is_as_the_other_driver_has_it),
	  UNIT(what_the_other_driver_staged_is_used_and_goes),
	  UNIT(what_cannot_be_taken_down_here_is_left_whole),
	  UNIT(taking_down_fails_at_each_step_and_succeeds_after),
	  UNIT(raw_staging_fails_at_each_step_and_leaves_nothing),
	  UNIT(a_volume_goes_and_what_is_no_handle_is_gone))
