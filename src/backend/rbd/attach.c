/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images become block devices of this node: by the kernel's client (host/krbd.h), or, where there
 * is none or the class asks for it, by a server of our own with a loop device over it (served.h).
 * This alone asks the cluster; how they are found and go is in here.c.
 *
 * An encrypted image (luks.h) is for a server of our own alone: librbd decrypts, the kernel's
 * client does not. The image's metadata say that it is one, whatever the volume's context does.
 *
 * An image that somebody else has open is not attached for writing: two nodes that mount one
 * filesystem destroy it. A node that died is seen as a watcher for half a minute more, so the CO's
 * next try finds it gone; one that lives on has to let go, or be fenced (fence.h), first.
 *
 * Before anybody may write to what was attached here, the image's metadata say by which client, so
 * that this node can be fenced when it is lost. A server writes that itself (serve.c); of the
 * kernel's client it is known when it has mapped, and the record here says that it was written.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOG_ROOM "backend.rbd"
#include "backend/rbd/fence.h"
#include "backend/rbd/here.h"
#include "backend/rbd/luks.h"
#include "backend/rbd/served.h"
#include "backend/rbd/stash.h"
#include "base/log.h"
#include "base/str.h"
#include "host/krbd.h"

#define POOL_NAME_MAX 256
#define WATCHERS_MAX 8

/* What the volume context says; the rest of it is the controller's. */
struct wish {
	enum ceph_mounter mounter;
	const char *image; /* "": as the journal has it */
	char map_options[CEPH_OPTIONS_MAX];
	char unmap_options[CEPH_OPTIONS_MAX];
	bool encrypted;
};

static const char *say(const struct strmap *context, const char *key)
{
	return str_or(context ? strmap_find(context, key) : NULL, "");
}

static int read_mounter(const char *word, enum ceph_mounter *ret_mounter, struct err *err)
{
	static const struct {
		const char *word;
		enum ceph_mounter mounter;
	} known[] = {
		{ "", CEPH_MOUNTER_ANY },         { "rbd", CEPH_MOUNTER_ANY },
		{ "krbd", CEPH_MOUNTER_KRBD },    { "fuse", CEPH_MOUNTER_FUSE },
		{ "rbd-nbd", CEPH_MOUNTER_FUSE },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (str_is_equal(word, known[i].word)) {
			*ret_mounter = known[i].mounter;
			return 0;
		}
	}
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "volume_context: mounter '%s' is none of rbd, krbd, fuse, rbd-nbd", word);
}

/* All the words for it that ceph-csi takes. */
static bool is_true(const char *word)
{
	static const char *const words[] = { "1", "t", "T", "true", "TRUE", "True" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_is_equal(word, words[i]))
			return true;
	}
	return false;
}

static int read_encryption(const struct strmap *context, struct wish *wish, struct err *err)
{
	wish->encrypted = is_true(say(context, "encrypted"));
	return wish->encrypted && ceph_encryption_check(say(context, "encryptionKMSID"),
							say(context, "encryptionType"), err) < 0
		       ? err_wrap(err, "volume_context")
		       : 0;
}

static int read_wish(const struct strmap *context, struct wish *ret_wish, struct err *err)
{
	struct wish wish = { .image = say(context, "imageName") };

	if (read_mounter(say(context, "mounter"), &wish.mounter, err) < 0 ||
	    read_encryption(context, &wish, err) < 0 ||
	    ceph_krbd_options_parse("mapOptions", say(context, "mapOptions"), wish.map_options,
				    err) < 0 ||
	    ceph_krbd_options_parse("unmapOptions", say(context, "unmapOptions"),
				    wish.unmap_options, err) < 0)
		return -1;
	*ret_wish = wish;
	return 0;
}

/* What is to be attached, and where from. */
struct coming {
	struct images *images;
	struct ctx *ctx;
	const struct backend_attach_options *opts;
	struct image_here here;
	struct image_place place;
	struct ceph_login login;
	const char *token;
	const char *image;
	char fsid[64];
	char pool[POOL_NAME_MAX];
	char id[IMAGE_ID_MAX];
	uint64_t features;
	struct vol_limits limits;
	enum luks_state crypt;
	struct ceph_client self; /* address "": not known yet */
	struct wish wish;
	bool read_only;
	const char *staging;           /* NULL: it is not staged by a CO */
	const char *all_unmap_options; /* as the class has them */
};

static int find_name(struct coming *c, struct err *err)
{
	c->image = c->wish.image;
	if (c->image[0])
		return 0;
	if (image_place_name_image(&c->place, c->here.handle.uuid, &c->image, err) < 0)
		return -1;
	return c->image[0] ? 0
			   : err_set(err, ERR_FAILED_PRECONDITION,
				     "the journal has no image for it (csi.volume.%s, "
				     "csi.imagename)",
				     c->here.handle.uuid);
}

static int name_place(struct coming *c, struct err *err)
{
	const struct ceph_lib *lib = c->place.lib;
	int rc = lib->rados_cluster_fsid(ceph_conn_rados(c->place.conn), c->fsid, sizeof(c->fsid));

	if (rc >= 0)
		rc = lib->rados_ioctx_get_pool_name(c->place.io, c->pool, sizeof(c->pool));
	return rc < 0 ? ceph_conn_failed(c->place.conn, rc, err, "ask what its pool is called") : 0;
}

static void refuse_watched(const struct coming *c, rbd_image_t open, const char *address,
			   struct err *err)
{
	char seen[CEPH_IP_MAX], noted[CEPH_IP_MAX];
	struct ceph_client client;
	bool is_known = image_client_read(c->place.lib, open, &client) > 0 &&
			ceph_address_ip(client.address, noted) == 0 &&
			ceph_address_ip(address, seen) == 0 && str_is_equal(seen, noted);

	(void)err_set(err, ERR_FAILED_PRECONDITION,
		      "its image '%s' is still in use: %s%s%s%s has it open; a node that died is "
		      "forgotten after 30 s, one that lives has to let go of it first, or to be "
		      "fenced: the taint node.kubernetes.io/out-of-service does that, if the "
		      "controller has --fence-nodes",
		      c->image, address, is_known ? " (node '" : "", is_known ? client.node : "",
		      is_known ? "')" : "");
}

static int check_watchers(const struct coming *c, rbd_image_t open, struct err *err)
{
	rbd_image_watcher_t watchers[WATCHERS_MAX];
	size_t n = WATCHERS_MAX;
	int rc = c->place.lib->rbd_watchers_list(open, watchers, &n);

	if (rc == -ERANGE)
		return err_set(err, ERR_FAILED_PRECONDITION, "%zu others have its image '%s' open",
			       n, c->image);
	if (rc < 0)
		return ceph_conn_failed(c->place.conn, rc, err, "ask who has image '%s' open",
					c->image);
	if (n == 0)
		return 0;
	refuse_watched(c, open, watchers[0].addr, err);
	c->place.lib->rbd_watchers_list_cleanup(watchers, n);
	return -1;
}

static int refuse_state(const struct coming *c, struct err *err)
{
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "what image '%s' has as " LUKS_STATE_WORD " is neither '" LUKS_PREPARED
		       "' nor '" LUKS_ENCRYPTED "': only ceph-csi knows what it means",
		       c->image);
}

/* Before anything is done. */
static int check_crypt(const struct coming *c, struct err *err)
{
	if (c->crypt == LUKS_STATE_NONE && c->wish.encrypted)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the volume is said to be encrypted, and its image '%s' is not: it "
			       "has no " LUKS_STATE_WORD " in its metadata",
			       c->image);
	if (c->crypt == LUKS_STATE_NONE)
		return 0;
	if (!*image_crypt_passphrase(c->opts->secrets))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "image '%s' is encrypted, and the secret has no " CEPH_PASSPHRASE
			       " (csi.storage.k8s.io/node-stage-secret-name of its class)",
			       c->image);
	if (c->crypt == LUKS_STATE_PREPARED && c->read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "image '%s' is to be encrypted and was never written to; it has to "
			       "be staged for writing first",
			       c->image);
	if (c->wish.mounter == CEPH_MOUNTER_KRBD)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"mounter krbd: image '%s' is encrypted, which the kernel's client does "
			"not do; take mounter rbd or fuse",
			c->image);
	return 0;
}

/* Opened read-only, so that this is no watcher itself. */
static int look_at_image(struct coming *c, struct err *err)
{
	const struct ceph_lib *lib = c->place.lib;
	rbd_image_t open = NULL;
	int rc = lib->rbd_open_read_only(c->place.io, c->image, &open, NULL);
	int checked = 0;

	if (rc == -ENOENT)
		return image_refuse_missing(&c->place, c->image, err);
	if (rc < 0)
		return ceph_conn_failed(c->place.conn, rc, err, "open image '%s'", c->image);
	rc = lib->rbd_get_features(open, &c->features);
	if (rc == 0)
		rc = lib->rbd_get_id(open, c->id, sizeof(c->id));
	if (rc == 0)
		rc = image_limits_get(&c->place, c->id, &c->limits);
	if (rc == 0)
		rc = luks_state_get(lib, open, &c->crypt);
	if (rc == LUKS_STATE_UNKNOWN)
		checked = refuse_state(c, err);
	else if (rc < 0)
		checked =
			ceph_conn_failed(c->place.conn, rc, err,
					 "ask for the features and limits of image '%s'", c->image);
	else if (!c->read_only)
		checked = check_watchers(c, open, err);
	(void)lib->rbd_close(open); /* nothing was changed */
	return checked;
}

static int keep_record(const struct coming *c, struct err *err)
{
	struct image_attached how = { .limits = c->limits };
	char text[IMAGE_ATTACHED_MAX];

	if ((size_t)snprintf(how.image, sizeof(how.image), "%s", c->image) >= sizeof(how.image) ||
	    strchr(c->image, '\n'))
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.80s…' is no name of an image",
			       c->image);
	(void)snprintf(how.fsid, sizeof(how.fsid), "%s", c->fsid);
	memcpy(how.unmap_options, c->wish.unmap_options, sizeof(how.unmap_options));
	memcpy(how.client, c->self.address, sizeof(how.client));
	how.is_mapped = c->place.pool_id != c->here.handle.pool_id;
	how.pool_id = how.is_mapped ? c->place.pool_id : 0;
	image_attached_format(&how, text);
	return image_state_set(c->place.images, c->token, IMAGE_ATTACHED, text, err);
}

/* What the kernel has mapped for writing. */
static int note_client(struct coming *c, const char *address, struct err *err)
{
	if (c->read_only || !c->self.node[0] || !address[0])
		return 0;
	(void)snprintf(c->self.address, sizeof(c->self.address), "%s", address);
	if (image_client_set(&c->place, c->id, &c->self, err) < 0)
		return -1;
	return keep_record(c, err);
}

static int by_kernel(struct coming *c, struct backend_device *ret_dev, struct err *err)
{
	const struct host_krbd_spec spec = { .monitors = c->login.monitors,
					     .user = c->login.user,
					     .key = c->login.key,
					     .fsid = c->fsid,
					     .pool = c->pool,
					     .ns = c->place.cluster.rados_namespace,
					     .image = c->image,
					     .options = c->wish.map_options,
					     .read_only = c->read_only,
					     .features = c->features };
	struct host_krbd dev;

	if (host_krbd_map(c->place.ctx, &spec, &dev, err) < 0 ||
	    note_client(c, dev.client_addr, err) < 0)
		return -1;
	image_here_fill(&dev, &c->limits, ret_dev);
	return 0;
}

/* is_plain: the image is known not to be encrypted. */
static int by_server(struct coming *c, bool is_plain, struct backend_device *ret_dev,
		     struct err *err)
{
	const struct serve_order order = {
		.monitors = c->login.monitors,
		.user = c->login.user,
		.key = c->login.key,
		.pool = c->pool,
		.ns = c->place.cluster.rados_namespace,
		.image = c->image,
		.node = c->self.node,
		.boot_id = c->self.boot_id,
		.passphrase = is_plain ? "" : image_crypt_passphrase(c->opts->secrets),
		.read_only = c->read_only
	};

	return served_attach(c->place.ctx, c->place.images->ceph.state_dir, c->token, &order,
			     ret_dev, err);
}

static int choose_and_attach(struct coming *c, struct backend_device *ret_dev, struct err *err)
{
	bool has_client = host_krbd_is_here();

	if (c->wish.mounter == CEPH_MOUNTER_KRBD && !has_client)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "mounter krbd: this node's kernel has no RBD client (modprobe rbd; "
			       "/sys/bus/rbd)");
	if (c->wish.mounter != CEPH_MOUNTER_FUSE && has_client && c->crypt == LUKS_STATE_NONE)
		return by_kernel(c, ret_dev, err);
	if (c->wish.mounter == CEPH_MOUNTER_ANY && has_client)
		log_info("the image is encrypted: a server of our own has it",
			 log_str("image", c->image));
	else if (c->wish.mounter == CEPH_MOUNTER_ANY)
		log_info("the kernel has no RBD client: a server of our own has the image",
			 log_str("image", c->image));
	if (c->wish.map_options[0])
		log_warn("mapOptions are for the kernel's client, which is not used",
			 log_str("image", c->image), log_str("options", c->wish.map_options));
	return by_server(c, c->crypt == LUKS_STATE_NONE, ret_dev, err);
}

/* For ceph-csi. */
static int keep_stash(const struct coming *c, struct err *err)
{
	struct image_stash stash = { .is_nbd = false };

	if (!c->staging)
		return 0;
	if ((size_t)snprintf(stash.pool, sizeof(stash.pool), "%s", c->pool) >= sizeof(stash.pool) ||
	    (size_t)snprintf(stash.ns, sizeof(stash.ns), "%s", c->place.cluster.rados_namespace) >=
		    sizeof(stash.ns) ||
	    (size_t)snprintf(stash.image, sizeof(stash.image), "%s", c->image) >=
		    sizeof(stash.image) ||
	    (size_t)snprintf(stash.unmap_options, sizeof(stash.unmap_options), "%s",
			     c->all_unmap_options) >= sizeof(stash.unmap_options))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "the names of image '%.80s', its pool and namespace, or "
			       "unmapOptions have more than %d bytes",
			       c->image, IMAGE_STASH_NAME_MAX - 1);
	return image_stash_write(c->staging, &stash, err);
}

static int attach_from(struct coming *c, bool is_served, struct backend_device *ret_dev,
		       struct err *err)
{
	if (find_name(c, err) < 0 || name_place(c, err) < 0)
		return -1;
	if (is_served) /* it is its only watcher; held to what is asked, or begun anew if it died */
		return by_server(c, false, ret_dev, err);
	if (look_at_image(c, err) < 0 || check_crypt(c, err) < 0 || keep_record(c, err) < 0 ||
	    keep_stash(c, err) < 0)
		return -1;
	return choose_and_attach(c, ret_dev, err);
}

static int open_place(struct coming *c, struct err *err)
{
	static const struct secrets none;
	const struct secrets *secrets = c->opts->secrets ? c->opts->secrets : &none;

	if (read_wish(c->opts->volume_context, &c->wish, err) < 0 ||
	    ceph_login_read(secrets, CEPH_LOGIN_USER, &c->login, err) < 0 ||
	    image_place_open_handle(c->images, c->ctx, &c->here.handle, secrets, &c->place, err) <
		    0)
		return -1;
	c->login.monitors = c->place.cluster.monitors;
	return 0;
}

static int attach_anew(struct coming *c, struct backend_device *ret_dev, struct err *err)
{
	int rc = served_is_there(c->images->ceph.state_dir, c->token, err);

	if (rc < 0 || open_place(c, err) < 0)
		return -1;
	rc = attach_from(c, rc > 0, ret_dev, err);
	image_place_close(&c->place);
	return rc;
}

static bool is_noted(const struct coming *c)
{
	const struct image_here *here = &c->here;

	return c->read_only || !c->self.node[0] || !here->mapped.client_addr[0] ||
	       str_is_equal(here->how.client, here->mapped.client_addr);
}

/* The process that mapped it was killed before the image's metadata named the client. */
static int note_mapped(struct coming *c, struct err *err)
{
	struct image_users users;
	int rc;

	if (find_name(c, err) < 0 || name_place(c, err) < 0 ||
	    image_users_look(&c->place, c->image, &users, err) < 0)
		return -1;
	memcpy(c->id, users.id, sizeof(c->id));
	rc = image_limits_get(&c->place, c->id, &c->limits);
	if (rc < 0)
		return ceph_conn_failed(c->place.conn, rc, err, "ask for the limits of image '%s'",
					c->image);
	c->here.how.limits = c->limits;
	return note_client(c, c->here.mapped.client_addr, err);
}

/* As a rule this asks no cluster. */
static int take_mapped(struct coming *c, struct backend_device *ret_dev, struct err *err)
{
	const struct host_krbd *mapped = &c->here.mapped;
	int rc = 0;

	if (mapped->is_read_only != c->read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is attached %s as '%s'; detach it first",
			       mapped->is_read_only ? "read-only" : "for writing", mapped->path);
	if (!is_noted(c)) {
		if (open_place(c, err) < 0)
			return -1;
		rc = note_mapped(c, err);
		image_place_close(&c->place);
	}
	if (rc < 0)
		return -1;
	image_here_fill(mapped, &c->here.how.limits, ret_dev);
	return 0;
}

static void name_self(struct coming *c)
{
	const char *node = str_or(c->opts->node_id, "");

	if (!ceph_client_node_is_valid(node))
		return;
	(void)snprintf(c->self.node, sizeof(c->self.node), "%s", node);
	(void)snprintf(c->self.boot_id, sizeof(c->self.boot_id), "%s",
		       str_or(c->opts->boot_id, ""));
}

int image_attach(struct backend *b, struct ctx *ctx, const char *token,
		 const struct backend_attach_options *opts, struct backend_device *ret_dev,
		 struct err *err)
{
	struct coming c = { .images = images_of(b),
			    .ctx = ctx,
			    .opts = opts,
			    .token = token,
			    .read_only = opts->read_only,
			    .staging = opts->staging,
			    .all_unmap_options = say(opts->volume_context, "unmapOptions") };

	if (opts->reader)
		return err_set(err, ERR_UNIMPLEMENTED, "images have no second device for readers");
	if (image_here_look(c.images, ctx, token, &c.here, err) < 0)
		return -1;
	name_self(&c);
	return c.here.is_mapped ? take_mapped(&c, ret_dev, err) : attach_anew(&c, ret_dev, err);
}
