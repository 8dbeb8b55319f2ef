/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes as mounts of this node: by the kernel's client, or, where there is none or the class asks
 * for it, by a server of our own (serve.h).
 *
 * Where a volume is its context says, as ceph-csi's has it: so a node needs neither the library nor
 * the rights of an administrator. config.json says which monitors; it is read where they are asked,
 * and may have changed since the volume was made. Where cluster-mapping.json leads from the
 * handle's cluster its filesystem has to be called as the volume's context says: what has another
 * name there nobody on a node can ask.
 *
 * A volume that shows a snapshot (view.h) is a directory inside of what a client mounts (inside.h).
 * ceph-csi does not say so in its context, but gives such a volume a path that ends with a slash:
 * the rest is asked of the journal, as that program's nodes do.
 *
 * A client that was evicted, or that the cluster has put on its blocklist, comes back by itself
 * with recover_session=clean; without it the mount answers with errors until it is taken down.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_ROOM "backend.cephfs"
#include "backend/ceph/server.h"
#include "backend/cephfs/inside.h"
#include "backend/cephfs/mounted.h"
#include "backend/cephfs/serve.h"
#include "backend/cephfs/subvolume.h"
#include "backend/cephfs/view.h"
#include "backend/cephfs/whose.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/ceph_monitors.h"
#include "host/fs.h"
#include "host/mount.h"
#include "host/resolve.h"
#include "volume/capability.h"

#define RECOVER "recover_session=clean"
#define TIMEOUT "mount_timeout=30"
#define FLAGS_MAX 64

/* What is to be mounted, and how. */
struct coming {
	struct subvolumes *s;
	struct ctx *ctx;
	const char *token;
	const struct backend_mount_options *opts;
	struct ceph_cluster cluster;
	struct ceph_login login;
	const char *cluster_id; /* NULL: as the handle says, or where cluster-mapping.json leads */
	const char *tried;      /* the cluster that has no such path */
	const char *fs_name, *path;
	const char *inside; /* of path: what is to be seen; "": all of it */
	enum ceph_mounter mounter;
	const char *kernel_options, *fuse_options;
};

static const char *say(const struct strmap *context, const char *key)
{
	return str_or(context ? strmap_find(context, key) : NULL, "");
}

static int check_path(const char *key, const char *path, struct err *err)
{
	if (path[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_context: %s: '%.200s' is no absolute path in the filesystem",
			       key, path);
	for (const char *p = path; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "volume_context: %s has a control character", key);
	}
	return strlen(path) < PATH_MAX
		       ? 0
		       : err_set(err, ERR_INVALID_ARGUMENT, "volume_context: %s is too long", key);
}

static int take_view(struct coming *c, const struct subvolume_entry *f, struct err *err)
{
	struct subvolume_view view;

	if (subvolume_view_look(&f->place, f->entry.backing, &view, err) <= 0)
		return err_wrap(err, "snapshot '%s'", f->entry.backing);
	c->path = view.root;
	c->inside = view.inside;
	return 0;
}

static int take_subvolume(struct coming *c, const struct subvolume_entry *f, struct err *err)
{
	struct subvolume_look look;
	int found = *f->entry.image ? subvolume_look(&f->place, f->entry.image, &look, err) : 0;

	if (found < 0)
		return -1;
	if (found == 0 || look.state != SUBVOLUME_WHOLE)
		return err_set(err, ERR_NOT_FOUND, "filesystem '%s' has no subvolume '%s'",
			       f->place.fs_name, f->entry.image);
	c->path = look.path;
	return 0;
}

/* What its context does not say: a volume of older releases of ceph-csi has no path in it, one that
 * shows a snapshot not which. The journal and the manager know. */
static int ask_path(struct coming *c, struct err *err)
{
	struct subvolume_entry f;
	int rc;

	if (subvolume_entry_open(&c->s->ceph.base, c->ctx, c->token, CEPH_JOURNAL_VOLUMES,
				 c->opts->secrets, &f, err) < 0)
		return -1;
	rc = (*f.entry.backing ? take_view : take_subvolume)(c, &f, err);
	if (rc == 0) {
		c->cluster_id = f.place.cluster.id;
		c->fs_name = f.place.fs_name;
	}
	subvolume_place_close(&f.place);
	return rc;
}

static bool ends_with_slash(const char *path)
{
	return *path && path[strlen(path) - 1] == '/';
}

static int check_reads(const struct coming *c, struct err *err)
{
	return !*c->inside || c->opts->only_reads ? 0
						  : err_set(err, ERR_INVALID_ARGUMENT,
							    "it shows a snapshot (backingSnapshot) "
							    "and can only be read; use it "
							    "with access mode ReadOnlyMany");
}

static int find_dynamic(struct coming *c, struct err *err)
{
	const struct strmap *context = c->opts->volume_context;

	c->fs_name = say(context, "fsName");
	c->path = say(context, "subvolumePath");
	c->inside = say(context, VIEW_INSIDE_KEY);
	if (*c->fs_name && *c->path && (*c->inside || !ends_with_slash(c->path))) {
		if (check_path("subvolumePath", c->path, err) < 0 ||
		    (*c->inside && cephfs_inside_check(c->inside, err) < 0))
			return -1;
	} else {
		c->inside = "";
		if (ask_path(c, err) < 0)
			return -1;
	}
	return check_reads(c, err);
}

static int find_static(struct coming *c, struct err *err)
{
	const struct strmap *context = c->opts->volume_context;

	if (!str_is_equal(say(context, "staticVolume"), "true"))
		return err_set(err, ERR_NOT_FOUND,
			       "its id is no handle of Ceph's, and its PV does not say "
			       "staticVolume: \"true\"");
	if (*say(context, VIEW_ID_KEY))
		return err_set(
			err, ERR_UNIMPLEMENTED,
			"volume_context: " VIEW_ID_KEY
			" of a static volume is not done: give its snapshot's directory no name, "
			"but make a VolumeSnapshotContent of the snapshot and a claim of that");
	c->cluster_id = say(context, "clusterID");
	c->fs_name = say(context, "fsName");
	c->path = say(context, "rootPath");
	if (!*c->cluster_id || !*c->fs_name)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_context: %s is missing; a static volume has clusterID, "
			       "fsName and rootPath",
			       *c->cluster_id ? "fsName" : "clusterID");
	return check_path("rootPath", c->path, err);
}

static const char *join(const struct coming *c, const char *options, const char *more)
{
	return *options && *more ? arena_printf(c->ctx->arena, "%s,%s", options, more)
	       : *options        ? options
				 : more;
}

/* The class's, and with them config.json's, or the process's. */
static int read_options(struct coming *c, struct err *err)
{
	const struct strmap *context = c->opts->volume_context;

	c->kernel_options = join(c, say(context, "kernelMountOptions"),
				 str_or(c->cluster.kernel_mount_options, c->s->kernel_options));
	c->fuse_options = join(c, say(context, "fuseMountOptions"),
			       str_or(c->cluster.fuse_mount_options, c->s->fuse_options));
	return ceph_fs_mounter_parse("mounter", say(context, "mounter"), &c->mounter, err) < 0 ||
			       ceph_fs_options_check("kernelMountOptions", c->kernel_options, false,
						     err) < 0 ||
			       ceph_fs_options_check("fuseMountOptions", c->fuse_options, true,
						     err) < 0
		       ? -1
		       : 0;
}

static int read_wish(struct coming *c, const char *cluster, struct err *err)
{
	static const struct secrets none;
	const struct secrets *secrets = c->opts->secrets ? c->opts->secrets : &none;

	if (ceph_config_find(c->s->ceph.config, c->ctx->arena, cluster, &c->cluster, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_FAILED_PRECONDITION; /* the volume may well be there */
		return -1;
	}
	if (ceph_login_read(secrets, CEPH_LOGIN_USER, &c->login, err) < 0)
		return -1;
	c->login.monitors = c->cluster.monitors;
	return read_options(c, err);
}

/* ---- by the kernel ---- */

struct flags {
	const char *v[FLAGS_MAX];
	size_t n;
};

static int add_flag(struct flags *flags, const char *flag, struct err *err)
{
	if (flags->n == FLAGS_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "more than %d mount options", FLAGS_MAX);
	flags->v[flags->n++] = flag;
	return 0;
}

static bool has_flag(const struct flags *flags, const char *name)
{
	for (size_t i = 0; i < flags->n; i++) {
		size_t n = strcspn(flags->v[i], "=");

		if (n == strlen(name) && memcmp(flags->v[i], name, n) == 0)
			return true;
	}
	return false;
}

/* Of words with commas between; _netdev is for those who write fstab. */
static int add_words(const struct coming *c, const char *words, struct flags *flags,
		     struct err *err)
{
	for (const char *at = words; *at; at += strcspn(at, ","), at += *at == ',') {
		const char *word = arena_strndup(c->ctx->arena, at, strcspn(at, ","));

		if (!str_is_equal(word, "_netdev") && add_flag(flags, word, err) < 0)
			return -1;
	}
	return 0;
}

/* ret_monitors: as the kernel takes them; which protocol they speak the options say. */
static int find_monitors(const struct coming *c, struct flags *flags, const char **ret_monitors,
			 struct err *err)
{
	const char *options = c->kernel_options;
	autostr struct str list = STR_INIT;
	const char *mode;

	for (size_t i = 0; i < c->opts->n_flags; i++)
		options = join(c, options, c->opts->flags[i]);
	if (host_ceph_monitors(c->cluster.monitors, options, &list, &mode, err) < 0)
		return -1;
	*ret_monitors = arena_strdup(c->ctx->arena, list.buf);
	return *mode ? add_flag(flags, mode, err) : 0;
}

static int collect_flags(const struct coming *c, struct flags *flags, struct err *err)
{
	struct arena *a = c->ctx->arena;

	if (add_flag(flags, arena_printf(a, "name=%s", c->login.user), err) < 0 ||
	    add_flag(flags, arena_printf(a, "mds_namespace=%s", c->fs_name), err) < 0 ||
	    add_words(c, c->kernel_options, flags, err) < 0)
		return -1;
	for (size_t i = 0; i < c->opts->n_flags; i++) {
		if (add_words(c, c->opts->flags[i], flags, err) < 0)
			return -1;
	}
	if (!has_flag(flags, "recover_session") && add_flag(flags, RECOVER, err) < 0)
		return -1;
	return has_flag(flags, "mount_timeout") ? 0 : add_flag(flags, TIMEOUT, err);
}

/* What the kernel's errors mean of this filesystem. */
static int explain(const struct coming *c, struct err *err)
{
	switch (err->os) {
	case ENOENT:
		err->code = ERR_NOT_FOUND;
		return err_wrap(err, "path '%s' of filesystem '%s'", c->path, c->fs_name);
	case EACCES:
	case EPERM:
		err->code = ERR_PERMISSION_DENIED;
		return err_wrap(err, "user '%s' with this key", c->login.user);
	case EHOSTUNREACH: /* whatever keeps the map of metadata servers from coming */
		err->code = ERR_UNAVAILABLE;
		return err_wrap(err,
				"no metadata server of filesystem '%s' is known: monitors '%.200s' "
				"are silent or refuse user '%s' with this key, or there is no such "
				"filesystem, or no server of it is active or takes this user (the "
				"kernel's log says more)",
				c->fs_name, c->cluster.monitors, c->login.user);
	case ETIMEDOUT:
	case EIO:
		err->code = ERR_UNAVAILABLE;
		return err_wrap(err, "monitors '%s'", c->cluster.monitors);
	default:
		if (err->code == ERR_DATA_LOSS) /* EINVAL of an option: nobody has seen any data */
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "the kernel's client for CephFS refuses the mount options "
				       "(kernelMountOptions) for monitors '%.200s'",
				       c->cluster.monitors);
		return -1;
	}
}

/* What mounts nothing tells apart by their source is known by a device of its own. */
static int collect_all(const struct coming *c, bool is_kept, struct flags *flags, struct err *err)
{
	if (collect_flags(c, flags, err) < 0)
		return -1;
	return is_kept && !has_flag(flags, "noshare") ? add_flag(flags, "noshare", err) : 0;
}

static int mount_kept(const struct coming *c, const char *source, const char *target,
		      const struct host_mount_options *how, struct err *err)
{
	const struct whose w = { c->s->ceph.state_dir, c->token };

	if (whose_keep(&w, source, NULL, err) < 0)
		return -1;
	if (host_mount_device(c->ctx, source, target, how, err) < 0)
		return explain(c, err);
	return whose_keep(&w, source, target, err);
}

static int by_kernel(const struct coming *c, const char *target, struct err *err)
{
	struct arena *a = c->ctx->arena;
	const char *monitors, *source;
	struct flags flags = { .n = 0 };
	struct host_mount_options how = { .fs = SUBVOLUMES_FS };
	bool is_kept = subvolume_is_static(c->token) || *c->inside;

	if (find_monitors(c, &flags, &monitors, err) < 0 ||
	    collect_all(c, is_kept, &flags, err) < 0)
		return -1;
	source = arena_printf(a, "%s:%s", monitors, c->path);
	how.flags = flags.v;
	how.n_flags = flags.n;
	how.secret = arena_printf(a, "secret=%s", c->login.key);
	if (is_kept)
		return mount_kept(c, source, target, &how, err);
	return host_mount_device(c->ctx, source, target, &how, err) < 0 ? explain(c, err) : 0;
}

/* Nothing is seen at the path before the snapshot is. */
static int by_kernel_inside(const struct coming *c, struct err *err)
{
	struct cephfs_inside in;
	int rc;

	if (cephfs_inside_begin(c->ctx, c->s->ceph.state_dir, c->token, &in, err) < 0)
		return -1;
	rc = by_kernel(c, in.path, err);
	if (rc == 0)
		rc = cephfs_inside_show(c->ctx, &in, c->inside, c->opts->path, err);
	cephfs_inside_end(c->ctx, &in);
	return rc;
}

/* ---- by a server ---- */

static int collect_fuse(const struct coming *c, const char **ret_options, struct err *err)
{
	const char *options = c->fuse_options;

	for (size_t i = 0; i < c->opts->n_flags; i++) {
		const char *flag = c->opts->flags[i];

		/* what each mount has for itself, targets get */
		if (vol_flag_is_of_mount(flag) || str_is_equal(flag, "_netdev"))
			continue;
		if (!str_is_equal(flag, "sync") && !str_is_equal(flag, "dirsync"))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "mount flag '%.80s' is for the kernel's client, and here "
				       "ceph-fuse mounts",
				       flag);
		options = arena_printf(c->ctx->arena, "%s%s%s", options, *options ? "," : "", flag);
	}
	*ret_options = options;
	return 0;
}

static int make_dir(const struct coming *c, char ret_dir[PATH_MAX], struct err *err)
{
	char real[PATH_MAX];
	autohostfd int state_fd = -1;
	autohostfd int dir_fd = -1;

	if (!c->s->ceph.state_dir[0])
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "this process stages nothing: it has no directory for what it "
			       "stages");
	if (host_path_resolve(-1, "", c->s->ceph.state_dir, real, err) < 0 ||
	    host_dir_open(real, &state_fd, err) < 0 ||
	    host_dir_make(state_fd, c->token, &dir_fd, err) < 0)
		return -1;
	if (snprintf(ret_dir, PATH_MAX, "%s/%s", real, c->token) >= PATH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "the path '%s' is too long",
			       c->s->ceph.state_dir);
	return 0;
}

static int by_server(const struct coming *c, struct err *err)
{
	struct cephfs_order order = { .target = c->opts->path,
				      .token = c->token,
				      .monitors = c->login.monitors,
				      .user = c->login.user,
				      .key = c->login.key,
				      .fs_name = c->fs_name,
				      .path = c->path,
				      .inside = c->inside };
	autowipe struct str text = STR_INIT;
	char dir[PATH_MAX];
	pid_t pid;

	if (collect_fuse(c, &order.options, err) < 0 || make_dir(c, dir, err) < 0)
		return -1;
	order.dir = dir;
	cephfs_order_encode(&order, &text);
	if (ceph_server_start(c->ctx,
			      &(struct ceph_server){ .word = CEPHFS_SERVE,
						     .token = c->token,
						     .undo_ns = CEPHFS_UNDO_NS },
			      &text, &pid, err) < 0)
		return err_wrap(err, "the volume's server");
	mounted_add(&c->s->servers, pid);
	atomic_store(&c->s->ceph.base.n_background, 1);
	return 0;
}

/* The manager makes a root that only root may write to, and ceph-csi's nodes open it up when they
 * stage it first; ours are made so. Whoever has given it another mode since keeps that. */
static void open_up(const struct coming *c)
{
	autohostfd int fd = -1;
	struct err ignored;
	struct stat st;

	if (subvolume_is_static(c->token) || *c->inside ||
	    host_dir_open(c->opts->path, &fd, &ignored) < 0 || fstat(fd, &st) < 0 ||
	    st.st_uid != 0 || (st.st_mode & 07777) != 0755)
		return;
	if (fchmod(fd, 0777) < 0)
		log_warn("the volume's root stays root's alone to write to",
			 log_str("token", c->token), log_i64("errno", errno));
}

static int mount_in(struct coming *c, const char *cluster, struct err *err)
{
	int has_client = 0;
	int rc;

	if (read_wish(c, cluster, err) < 0)
		return -1;
	if (c->mounter != CEPH_MOUNTER_FUSE &&
	    (has_client = host_mount_knows(SUBVOLUMES_FS, err)) < 0)
		return -1;
	if (c->mounter == CEPH_MOUNTER_KERNEL && !has_client)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "mounter kernel: this node's kernel has no client for CephFS "
			       "(modprobe ceph); leave mounter out, or have it");
	rc = !has_client  ? by_server(c, err)
	     : *c->inside ? by_kernel_inside(c, err)
			  : by_kernel(c, c->opts->path, err);
	if (rc == 0)
		open_up(c);
	return rc;
}

/* A node may not look into the journal; that the path is not there is told by mounting it. */
static int mount_at(void *arg, const struct ceph_candidate *at, bool is_only, struct err *err)
{
	struct coming *c = arg;

	(void)is_only;
	if (c->tried && str_is_equal(c->tried, at->cluster))
		return 0; /* by another filesystem's number, and it is mounted by its name */
	c->tried = at->cluster;
	if (mount_in(c, at->cluster, err) == 0)
		return 1;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

int subvolume_mount(struct backend *b, struct ctx *ctx, const char *token,
		    const struct backend_mount_options *opts, struct err *err)
{
	struct coming c = {
		.s = subvolumes_of(b), .ctx = ctx, .token = token, .opts = opts, .inside = ""
	};
	struct ceph_handle handle;

	if ((subvolume_is_static(token) ? find_static : find_dynamic)(&c, err) < 0)
		return -1;
	if (c.cluster_id)
		return mount_in(&c, c.cluster_id, err);
	if (ceph_handle_parse(token, &handle, err) < 0)
		return -1;
	return ceph_elsewhere_search(&c.s->ceph, CEPH_MAPPED_FILESYSTEMS, &handle, mount_at, &c,
				     err) > 0
		       ? 0
		       : -1;
}
