/* SPDX-License-Identifier: Apache-2.0 */
/* Images come to a node and go: on the fake host, which has a kernel's RBD client, and with
 * clusters in memory. What our own server does is in test_rbd_served_real.c. */
#include "backend/rbd/fence.h"
#include "backend/rbd/luks.h"
#include "backend/rbd/stash.h"
#include "backend/rbd/state.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/ceph.h"
#include "fake/host.h"
#include "fake/host_krbd.h"
#include "host/fs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define UUID "ef8bee5a-62a9-41fa-88f5-f0784edfb316"
#define TOKEN "0001-0002-c1-0000000000000001-" UUID
#define OTHER_TOKEN "0001-0005-site1-0000000000000007-" UUID
#define IMAGE "csi-vol-" UUID
#define STATE "/run/rbd"
#define STAGING "/staging"
#define POOL 1
#define BOOT "1f6f5e0c-77d6-4b2c-a2b9-3f1f6b0e9f11"

struct node {
	char config_dir[64];
	const char *token;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct secrets secrets;
	struct strmap context;
	struct backend_device dev;
	const char *staging;
};

static void write_config(const char *dir, const char *name, const char *text)
{
	char path[96];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_TRUE(fd >= 0 && fd_write_all(fd, text, strlen(text)) == 0);
	(void)close(fd);
}

/* An image as a class's would be made: with exclusive-lock and object-map. */
static void make_image(const char *name, uint64_t features)
{
	const struct ceph_lib *lib = fake_ceph_lib();
	rbd_image_options_t options;
	rados_t cluster;
	rados_ioctx_t io;

	ASSERT_EQ(lib->rados_create2(&cluster, "ceph", "client." FAKE_CEPH_USER, 0), 0);
	ASSERT_EQ(lib->rados_conf_set(cluster, "mon_host", FAKE_CEPH_MONITORS), 0);
	ASSERT_EQ(lib->rados_conf_set(cluster, "key", FAKE_CEPH_KEY), 0);
	ASSERT_EQ(lib->rados_connect(cluster), 0);
	ASSERT_EQ(lib->rados_ioctx_create(cluster, "rbd", &io), 0);
	lib->rbd_image_options_create(&options);
	ASSERT_EQ(lib->rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, features),
		  0);
	ASSERT_EQ(lib->rbd_create4(io, name, GIB, options), 0);
	lib->rbd_image_options_destroy(options);
	lib->rados_ioctx_destroy(io);
	lib->rados_shutdown(cluster);
}

static void begin(struct node *n, bool has_client)
{
	const struct backend_config config = { .name = "rbd",
					       .dir = n->config_dir,
					       .state_dir = STATE };
	const struct strpair keys[] = { { "userID", FAKE_CEPH_USER },
					{ "userKey", FAKE_CEPH_KEY } };
	const struct strpair context[] = { { "imageName", IMAGE }, { "clusterID", "c1" } };

	fake_ceph_reset();
	fake_host_reset(GIB);
	fake_krbd_reset(has_client);
	fake_host_add_dir(STATE);
	fake_host_add_dir(STAGING);
	n->staging = NULL;
	(void)snprintf(n->config_dir, sizeof(n->config_dir), "/var/tmp/cleat-rbd-XXXXXX");
	assert_non_null(mkdtemp(n->config_dir));
	write_config(n->config_dir, "config.json",
		     "[{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS "\"]}]");
	n->token = TOKEN;
	make_image(IMAGE, 61);
	n->b = images_new(&config, fake_ceph_lib());
	ctx_init(&n->ctx, 0);
	n->secrets.map = strmap_from(n->ctx.arena, keys, ARRAY_LEN(keys));
	n->context = strmap_from(n->ctx.arena, context, ARRAY_LEN(context));
}

static void forget_mapping(const struct node *n)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/cluster-mapping.json", n->config_dir);
	(void)unlink(path);
}

static void end(struct node *n)
{
	char path[96];

	n->b->ops->close(n->b);
	ctx_done(&n->ctx);
	(void)snprintf(path, sizeof(path), "%s/config.json", n->config_dir);
	(void)unlink(path);
	forget_mapping(n);
	ASSERT_EQ(rmdir(n->config_dir), 0);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
	ASSERT_EQ(fake_ceph_n_handles(), 0);
}

static void say(struct node *n, const char *key, const char *value)
{
	n->context = strmap_with(n->ctx.arena, &n->context, key, value);
}

static int attach(struct node *n, bool read_only)
{
	const struct backend_attach_options opts = { .secrets = &n->secrets,
						     .volume_context = &n->context,
						     .node_id = "n1",
						     .boot_id = BOOT,
						     .read_only = read_only,
						     .staging = n->staging };

	return image_attach(n->b, &n->ctx, n->token, &opts, &n->dev, &n->err);
}

/* The client that the image's metadata name; "". */
static const char *client_of(const char *image)
{
	return str_or(fake_ceph_image_meta(POOL, "", image, IMAGE_CLIENT_WORD), "");
}

static int detach(struct node *n)
{
	return image_detach(n->b, &n->ctx, n->token, &n->err);
}

TEST(the_kernels_client_has_it_and_it_is_found_without_the_cluster)
{
	struct backend_device dev;
	struct node n;

	begin(&n, true);
	say(&n, "mapOptions", "krbd:queue_depth=64,noshare;nbd:try-netlink");
	say(&n, "unmapOptions", "force");
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_STR(n.dev.path, "/dev/rbd0");
	ASSERT_TRUE(n.dev.is_direct);
	ASSERT_STR(fake_krbd_options(), "queue_depth=64,noshare");
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_EQ(fake_krbd_n_mapped(), 1);
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_OK(image_find_device(n.b, &n.ctx, TOKEN, &dev, &n.err), &n.err);
	ASSERT_EQ(dev.devno, n.dev.devno);
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_STR(fake_krbd_options(), "force");
	ASSERT_EQ(fake_krbd_n_mapped(), 0);
	ASSERT_OK(detach(&n), &n.err);
	end(&n);
}

TEST(an_image_that_somebody_has_open_is_not_attached_for_writing)
{
	struct node n;

	begin(&n, true);
	fake_ceph_set_watched(POOL, "", IMAGE, "10.0.0.9:0/77");
	ASSERT_ERR(attach(&n, false), &n.err, ERR_FAILED_PRECONDITION, "10.0.0.9:0/77");
	ASSERT_EQ(fake_krbd_n_mapped(), 0);
	ASSERT_OK(attach(&n, true), &n.err);
	ASSERT_TRUE(n.dev.is_read_only);
	ASSERT_STR(client_of(IMAGE), "");
	ASSERT_ERR(attach(&n, false), &n.err, ERR_FAILED_PRECONDITION, "attached read-only");
	ASSERT_OK(detach(&n), &n.err);
	fake_ceph_set_watched(POOL, "", IMAGE, NULL);
	ASSERT_OK(attach(&n, false), &n.err);
	/* its own watch is no obstacle to the same call again */
	fake_ceph_set_watched(POOL, "", IMAGE, "10.0.0.11:0/78");
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_OK(detach(&n), &n.err);
	end(&n);
}

TEST(the_image_names_its_client_before_it_is_written_to)
{
	struct node n;

	begin(&n, true);
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_STR(client_of(IMAGE), "n1 " FAKE_KRBD_CLIENT " " BOOT);
	/* who comes later is told whose it is */
	ASSERT_OK(detach(&n), &n.err);
	fake_ceph_set_watched(POOL, "", IMAGE, FAKE_KRBD_CLIENT);
	ASSERT_ERR(attach(&n, false), &n.err, ERR_FAILED_PRECONDITION, "(node 'n1')");
	fake_ceph_set_watched(POOL, "", IMAGE, "10.0.0.9:0/77");
	ASSERT_ERR(attach(&n, false), &n.err, ERR_FAILED_PRECONDITION, "10.0.0.9:0/77 has it");
	end(&n);
}

/* The process that mapped it was killed in between; the next one asks the cluster for that, once.
 */
TEST(what_was_mapped_before_it_was_named_is_named)
{
	struct node n;

	begin(&n, true);
	fake_krbd_add("", POOL, IMAGE);
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(attach(&n, false), &n.err, ERR_UNAVAILABLE, "");
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_STR(client_of(IMAGE), "n1 " FAKE_KRBD_CLIENT " " BOOT);
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_OK(detach(&n), &n.err);
	end(&n);
}

TEST(the_journal_tells_the_image_where_the_context_does_not)
{
	struct node n;

	begin(&n, true);
	make_image("odd", 1);
	say(&n, "imageName", "");
	ASSERT_ERR(attach(&n, false), &n.err, ERR_NOT_FOUND, UUID);
	fake_ceph_omap_set(POOL, "", "csi.volume." UUID, "csi.volname", "pv-1");
	fake_ceph_omap_set(POOL, "", "csi.volume." UUID, "csi.imagename", "odd");
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_OK(image_find_device(n.b, &n.ctx, TOKEN, &n.dev, &n.err), &n.err);
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_EQ(fake_krbd_n_mapped(), 0);
	end(&n);
}

TEST(the_mounter_is_the_classes_or_what_the_node_has)
{
	static const struct {
		const char *mounter;
		bool has_client;
		enum err_code code; /* the fake host starts no servers: UNAVAILABLE */
	} cases[] = {
		{ "", true, ERR_OK },
		{ "rbd", true, ERR_OK },
		{ "krbd", true, ERR_OK },
		{ "fuse", true, ERR_UNAVAILABLE },
		{ "rbd-nbd", true, ERR_UNAVAILABLE },
		{ "", false, ERR_UNAVAILABLE },
		{ "rbd", false, ERR_UNAVAILABLE },
		{ "krbd", false, ERR_FAILED_PRECONDITION },
		{ "iscsi", true, ERR_INVALID_ARGUMENT },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct node n;
		int rc;

		begin(&n, cases[i].has_client);
		say(&n, "mounter", cases[i].mounter);
		rc = attach(&n, false);
		ASSERT_EQ(rc < 0 ? n.err.code : ERR_OK, cases[i].code);
		ASSERT_OK(detach(&n), &n.err);
		ASSERT_EQ(fake_krbd_n_mapped(), 0);
		end(&n);
	}
}

/* Of a class with encrypted: "true", and of one whose context has lost that. */
TEST(an_encrypted_image_is_never_the_kernels)
{
	static const struct {
		const char *state, *key, *value; /* of the context */
		bool read_only, has_passphrase;
		enum err_code code;
		const char *say;
	} cases[] = {
		{ LUKS_PREPARED, "encrypted", "true", false, true, ERR_UNAVAILABLE, "rbd-serve" },
		{ LUKS_ENCRYPTED, "encrypted", "1", false, true, ERR_UNAVAILABLE, "rbd-serve" },
		{ LUKS_ENCRYPTED, "mounter", "rbd", false, true, ERR_UNAVAILABLE, "rbd-serve" },
		{ LUKS_ENCRYPTED, "encrypted", "true", true, true, ERR_UNAVAILABLE, "rbd-serve" },
		{ LUKS_PREPARED, "encrypted", "true", true, true, ERR_FAILED_PRECONDITION,
		  "never written to" },
		{ LUKS_ENCRYPTED, "mounter", "krbd", false, true, ERR_FAILED_PRECONDITION,
		  "mounter krbd" },
		{ LUKS_ENCRYPTED, "encrypted", "true", false, false, ERR_INVALID_ARGUMENT,
		  "node-stage-secret-name" },
		{ NULL, "encrypted", "true", false, true, ERR_FAILED_PRECONDITION,
		  "and its image '" IMAGE "' is not" },
		{ "requiresEncryption", "encrypted", "true", false, true, ERR_FAILED_PRECONDITION,
		  "only ceph-csi knows" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct node n;

		begin(&n, true);
		fake_ceph_set_image_meta(POOL, "", IMAGE, LUKS_STATE_WORD, cases[i].state);
		say(&n, cases[i].key, cases[i].value);
		if (cases[i].has_passphrase)
			n.secrets.map = strmap_with(n.ctx.arena, &n.secrets.map,
						    "encryptionPassphrase", "open sesame");
		ASSERT_ERR(attach(&n, cases[i].read_only), &n.err, cases[i].code, cases[i].say);
		ASSERT_TRUE(!strstr(n.err.msg, "sesame"));
		ASSERT_EQ(fake_krbd_n_mapped(), 0);
		ASSERT_OK(detach(&n), &n.err);
		end(&n);
	}
}

TEST(ways_of_encryption_that_are_not_known_are_refused_on_the_node_too)
{
	static const struct {
		const char *key, *value;
	} cases[] = { { "encryptionKMSID", "vault-1" }, { "encryptionType", "file" } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct node n;

		begin(&n, true);
		say(&n, "encrypted", "true");
		say(&n, cases[i].key, cases[i].value);
		ASSERT_ERR(attach(&n, false), &n.err, ERR_INVALID_ARGUMENT, cases[i].key);
		ASSERT_EQ(fake_krbd_n_mapped(), 0);
		end(&n);
	}
}

TEST(what_is_missing_is_named)
{
	struct node n;

	begin(&n, true);
	say(&n, "imageName", "gone");
	ASSERT_ERR(attach(&n, false), &n.err, ERR_NOT_FOUND, "gone");
	say(&n, "imageName", IMAGE);
	say(&n, "mapOptions", "a b");
	ASSERT_ERR(attach(&n, false), &n.err, ERR_INVALID_ARGUMENT, "mapOptions");
	say(&n, "mapOptions", "");
	n.secrets.map = STRMAP_EMPTY;
	ASSERT_ERR(attach(&n, false), &n.err, ERR_INVALID_ARGUMENT, "userID");
	ASSERT_EQ(fake_krbd_n_mapped(), 0);
	end(&n);
}

/* ---- ceph-csi's word of what is staged ---- */

#define STASH(unmap, nbd, encrypted, device)                                                \
	"{\"Version\":3,\"pool\":\"rbd\",\"radosNamespace\":\"\",\"image\":\"" IMAGE        \
	"\",\"unmapOptions\":\"" unmap "\",\"accessType\":" nbd ",\"encrypted\":" encrypted \
	",\"device\":\"" device "\",\"logDir\":\"\",\"logFileStrategy\":\"\"}"

static void read_stash(char ret_text[IMAGE_STASH_MAX])
{
	autohostfd int dir = -1;
	autohostfd int fd = -1;
	struct err err;

	ret_text[0] = '\0';
	ASSERT_OK(host_dir_open(STAGING, &dir, &err), &err);
	if (host_file_open(dir, "image-meta.json", true, &fd, &err) == 0)
		ASSERT_OK(host_file_get_text(fd, ret_text, IMAGE_STASH_MAX, &err), &err);
}

static void write_stash(const char *text)
{
	autohostfd int dir = -1;
	autohostfd int fd = -1;
	struct err err;

	ASSERT_OK(host_dir_open(STAGING, &dir, &err), &err);
	ASSERT_OK(host_file_open_or_make(dir, "image-meta.json", &fd, &err), &err);
	ASSERT_OK(host_file_set_text(fd, text, &err), &err);
}

/* Mapped, and nothing on this node tells of it but the kernel and that file. */
static void map_as_ceph_csi(struct node *n, const char *stash)
{
	ASSERT_OK(attach(n, false), &n->err);
	ASSERT_OK(image_state_set(images_of(n->b), n->token, IMAGE_ATTACHED, "", &n->err), &n->err);
	write_stash(stash);
}

static int take(struct node *n)
{
	return image_staging_take(n->b, &n->ctx, n->token, STAGING, &n->err);
}

TEST(ceph_csi_is_told_what_is_staged_in_its_own_words)
{
	char text[IMAGE_STASH_MAX];
	struct node n;

	begin(&n, true);
	n.staging = STAGING;
	say(&n, "unmapOptions", "krbd:force;nbd:reattach-timeout=9");
	ASSERT_OK(attach(&n, false), &n.err);
	read_stash(text);
	ASSERT_STR(text, STASH("krbd:force;nbd:reattach-timeout=9", "false", "false", ""));
	ASSERT_OK(take(&n), &n.err); /* our own record knows more */
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_STR(fake_krbd_options(), "force");
	ASSERT_OK(image_staging_forget(n.b, &n.ctx, STAGING, &n.err), &n.err);
	ASSERT_OK(image_staging_forget(n.b, &n.ctx, STAGING, &n.err), &n.err);
	ASSERT_OK(image_staging_forget(n.b, &n.ctx, "/nowhere", &n.err), &n.err);
	read_stash(text);
	ASSERT_STR(text, "");
	end(&n);
}

TEST(what_ceph_csi_mapped_goes_with_its_options)
{
	struct node n;

	begin(&n, true);
	map_as_ceph_csi(&n, STASH("krbd:force;nbd:", "false", "false", ""));
	ASSERT_OK(image_find_device(n.b, &n.ctx, TOKEN, &n.dev, &n.err), &n.err);
	ASSERT_OK(take(&n), &n.err);
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_STR(fake_krbd_options(), "force");
	ASSERT_EQ(fake_krbd_n_mapped(), 0);
	end(&n);
}

TEST(what_has_no_word_or_a_torn_one_goes_all_the_same)
{
	static const char *const texts[] = { "", "{\"Version\":3,\"pool\":", "[]",
					     "{\"pool\":\"rbd\",\"image\":\"a\\nb\"}",
					     STASH("a b", "false", "false", "") };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct node n;

		begin(&n, true);
		map_as_ceph_csi(&n, texts[i]);
		ASSERT_OK(take(&n), &n.err);
		ASSERT_OK(detach(&n), &n.err);
		ASSERT_EQ(fake_krbd_n_mapped(), 0);
		end(&n);
	}
}

TEST(what_ceph_csi_staged_by_other_ways_is_refused)
{
	struct node n;

	begin(&n, true);
	map_as_ceph_csi(&n, STASH("", "true", "false", "/dev/nbd0"));
	fake_nbd_set_used(true);
	ASSERT_ERR(take(&n), &n.err, ERR_FAILED_PRECONDITION, "rbd-nbd unmap /dev/nbd0");
	write_stash(STASH("", "false", "true", ""));
	ASSERT_ERR(take(&n), &n.err, ERR_FAILED_PRECONDITION, "encrypted");
	ASSERT_OK(detach(&n), &n.err);
	/* it is unmapped: of the device and of the mapping there is nothing but the file */
	ASSERT_OK(take(&n), &n.err);
	fake_nbd_set_used(false);
	write_stash(STASH("", "true", "true", "/dev/nbd0"));
	ASSERT_OK(take(&n), &n.err);
	end(&n);
}

/* A record by its name would have that one unmapped. */
TEST(a_word_of_another_volumes_image_is_none)
{
	static const char theirs[] = "csi-vol-8a46b2d4-2c94-44fe-b220-211d3d900cae";
	char text[IMAGE_ATTACHED_MAX];
	struct node n;

	begin(&n, true);
	fake_krbd_add("", 7, theirs);
	map_as_ceph_csi(&n, "{\"Version\":3,\"pool\":\"rbd\",\"image\":\""
			    "csi-vol-8a46b2d4-2c94-44fe-b220-211d3d900cae\",\"encrypted\":true}");
	ASSERT_OK(take(&n), &n.err);
	ASSERT_OK(
		image_state_get(images_of(n.b), TOKEN, IMAGE_ATTACHED, text, sizeof(text), &n.err),
		&n.err);
	ASSERT_STR(text, "");
	/* what is torn is written anew */
	write_stash(STASH("krbd:force", "false", "false", ""));
	ASSERT_OK(image_state_set(images_of(n.b), TOKEN, IMAGE_ATTACHED, "torn", &n.err), &n.err);
	ASSERT_OK(take(&n), &n.err);
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_STR(fake_krbd_options(), "force");
	ASSERT_EQ(fake_krbd_n_mapped(), 1);
	end(&n);
}

/* Whichever call fails meanwhile: the same again takes it down. */
TEST(a_taking_over_that_fails_is_done_by_the_next)
{
	bool came = true;

	for (unsigned i = 1; came; i++) {
		struct node n;

		begin(&n, true);
		map_as_ceph_csi(&n, STASH("force", "false", "false", ""));
		fake_host_fail_at(i);
		if (take(&n) == 0 && detach(&n) == 0)
			(void)image_staging_forget(n.b, &n.ctx, STAGING, &n.err);
		came = fake_host_failed();
		fake_host_fail_at(0);
		ASSERT_OK(take(&n), &n.err);
		ASSERT_OK(detach(&n), &n.err);
		ASSERT_OK(image_staging_forget(n.b, &n.ctx, STAGING, &n.err), &n.err);
		ASSERT_EQ(fake_krbd_n_mapped(), 0);
		ASSERT_TRUE(came || i > 5);
		end(&n);
	}
}

struct listed {
	unsigned n;
	struct vol_limits limits;
};

static int list(void *arg, const struct backend_volume *vol)
{
	struct listed *l = arg;

	ASSERT_STR(vol->token, TOKEN);
	l->n++;
	l->limits = vol->limits;
	return 0;
}

static struct listed listed_here(struct node *n)
{
	struct listed l = { 0 };

	ASSERT_OK(image_each_here(n->b, &n->ctx, list, &l, &n->err), &n->err);
	return l;
}

/* The kernel's client does not keep them; they are read when the image comes, and known after. */
TEST(limits_are_told_of_what_the_kernel_maps)
{
	struct backend_device dev;
	struct node n;

	begin(&n, true);
	fake_host_add_dir(STATE "/not-a-handle");
	ASSERT_EQ(listed_here(&n).n, 0);
	fake_ceph_set_image_meta(POOL, "", IMAGE, "conf_rbd_qos_read_iops_limit", "500");
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_EQ(n.dev.limits.read_iops, 500);
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_OK(image_find_device(n.b, &n.ctx, TOKEN, &dev, &n.err), &n.err);
	ASSERT_EQ(dev.limits.read_iops, 500);
	ASSERT_EQ(dev.limits.write_iops, 0);
	ASSERT_EQ(listed_here(&n).n, 1);
	ASSERT_EQ(listed_here(&n).limits.read_iops, 500);
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_EQ(n.dev.limits.read_iops, 500);
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_EQ(listed_here(&n).n, 0);
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	fake_ceph_set_image_meta(POOL, "", IMAGE, "conf_rbd_qos_read_iops_limit", NULL);
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_EQ(n.dev.limits.read_iops, 0);
	ASSERT_OK(detach(&n), &n.err);
	end(&n);
}

/* Whoever lifts what no volume has must not take in doubt for no. */
TEST(a_look_at_what_is_here_has_seen_all_or_fails)
{
	unsigned i = 1;
	struct node n;

	begin(&n, true);
	fake_ceph_set_image_meta(POOL, "", IMAGE, "conf_rbd_qos_read_iops_limit", "500");
	ASSERT_OK(attach(&n, false), &n.err);
	for (bool came = true; came; i++) {
		struct listed l = { 0 };
		int rc;

		fake_host_fail_at(i);
		rc = image_each_here(n.b, &n.ctx, list, &l, &n.err);
		came = fake_host_failed();
		fake_host_fail_at(0);
		ASSERT_TRUE(rc < 0 || (l.n == 1 && l.limits.read_iops == 500));
	}
	ASSERT_TRUE(i > 3);
	ASSERT_OK(detach(&n), &n.err);
	end(&n);
}

/* By the other site's handle, which names pool 7; it is in POOL. */
static void begin_mapped(struct node *n)
{
	begin(n, true);
	write_config(
		n->config_dir, "cluster-mapping.json",
		"[{\"clusterIDMapping\":{\"site1\":\"c1\"},\"RBDPoolIDMapping\":[{\"7\":\"1\"}]}]");
	n->token = OTHER_TOKEN;
}

static bool attach_in_trouble(bool is_mapped, bool of_host, unsigned i)
{
	struct node n;
	bool came;

	if (is_mapped)
		begin_mapped(&n);
	else
		begin(&n, true);
	fake_ceph_set_image_meta(POOL, "", IMAGE, "conf_rbd_qos_write_iops_limit", "7");
	if (of_host)
		fake_host_fail_at(i);
	else
		fake_ceph_fail_at(i, 110); /* ETIMEDOUT */
	(void)attach(&n, false);           /* or it is done */
	came = of_host ? fake_host_failed() : fake_ceph_trouble_came();
	fake_host_fail_at(0);
	fake_ceph_fail_at(0, 0);
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_EQ(fake_krbd_n_mapped(), 1);
	ASSERT_STR(client_of(IMAGE), "n1 " FAKE_KRBD_CLIENT " " BOOT);
	ASSERT_EQ(n.dev.limits.write_iops, 7);
	forget_mapping(&n);
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_EQ(fake_krbd_n_mapped(), 0);
	end(&n);
	return came;
}

/* Whichever call of the host or of the cluster fails: the same again attaches, once, and then
 * nothing is left. */
TEST(an_attach_that_fails_is_done_by_the_next)
{
	for (int way = 0; way < 4; way++) {
		unsigned i = 1;

		while (attach_in_trouble(way & 1, way & 2, i))
			i++;
		ASSERT_TRUE(i > 3);
	}
}

/* ---- the other site's handle ---- */

static int find(struct node *n)
{
	return image_find_device(n->b, &n->ctx, n->token, &n->dev, &n->err);
}

TEST(what_is_mapped_from_another_pool_is_found_without_cluster_and_mapping)
{
	struct node n;

	begin_mapped(&n);
	ASSERT_ERR(find(&n), &n.err, ERR_NOT_FOUND, "not attached");
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_OK(attach(&n, false), &n.err);
	ASSERT_EQ(fake_krbd_n_mapped(), 1);
	ASSERT_STR(client_of(IMAGE), "n1 " FAKE_KRBD_CLIENT " " BOOT);
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	forget_mapping(&n);
	ASSERT_OK(find(&n), &n.err);
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_EQ(fake_krbd_n_mapped(), 0);
	ASSERT_ERR(find(&n), &n.err, ERR_NOT_FOUND, "not attached");
	end(&n);
}

/* Which pool it is the mapping tells then; a pool that it does not lead to is another's. */
TEST(what_is_mapped_from_another_pool_is_found_without_its_record)
{
	struct node n;

	begin_mapped(&n);
	fake_krbd_add("", 3, IMAGE);
	fake_krbd_add("", POOL, IMAGE);
	ASSERT_OK(find(&n), &n.err);
	ASSERT_STR(n.dev.path, "/dev/rbd1");
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_ERR(find(&n), &n.err, ERR_NOT_FOUND, "not attached");
	ASSERT_EQ(fake_krbd_n_mapped(), 1);
	end(&n);
}

TEST(what_ceph_csi_mapped_from_another_pool_is_taken_over)
{
	struct node n;

	begin_mapped(&n);
	map_as_ceph_csi(&n, STASH("krbd:force", "false", "true", ""));
	ASSERT_ERR(take(&n), &n.err, ERR_FAILED_PRECONDITION, "encrypted");
	write_stash(STASH("krbd:force", "false", "false", ""));
	forget_mapping(&n); /* the file tells the pool, too */
	ASSERT_OK(take(&n), &n.err);
	ASSERT_OK(find(&n), &n.err);
	ASSERT_OK(detach(&n), &n.err);
	ASSERT_STR(fake_krbd_options(), "force");
	ASSERT_EQ(fake_krbd_n_mapped(), 0);
	end(&n);
}

RUN_TESTS(UNIT(the_kernels_client_has_it_and_it_is_found_without_the_cluster),
	  UNIT(an_image_that_somebody_has_open_is_not_attached_for_writing),
	  UNIT(the_image_names_its_client_before_it_is_written_to),
	  UNIT(what_was_mapped_before_it_was_named_is_named),
	  UNIT(the_journal_tells_the_image_where_the_context_does_not),
	  UNIT(ceph_csi_is_told_what_is_staged_in_its_own_words),
	  UNIT(what_ceph_csi_mapped_goes_with_its_options),
	  UNIT(what_has_no_word_or_a_torn_one_goes_all_the_same),
	  UNIT(what_ceph_csi_staged_by_other_ways_is_refused),
	  UNIT(a_word_of_another_volumes_image_is_none),
	  UNIT(a_taking_over_that_fails_is_done_by_the_next),
	  UNIT(the_mounter_is_the_classes_or_what_the_node_has), UNIT(what_is_missing_is_named),
	  UNIT(an_encrypted_image_is_never_the_kernels),
	  UNIT(ways_of_encryption_that_are_not_known_are_refused_on_the_node_too),
	  UNIT(limits_are_told_of_what_the_kernel_maps),
	  UNIT(a_look_at_what_is_here_has_seen_all_or_fails),
	  UNIT(an_attach_that_fails_is_done_by_the_next),
	  UNIT(what_is_mapped_from_another_pool_is_found_without_cluster_and_mapping),
	  UNIT(what_is_mapped_from_another_pool_is_found_without_its_record),
	  UNIT(what_ceph_csi_mapped_from_another_pool_is_taken_over))
