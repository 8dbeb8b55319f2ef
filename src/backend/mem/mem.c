/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backend whose volumes are memfds: no disk, no pool, everything else real (loop devices,
 * filesystems, mounts). For tests of other programs, for diskless scratch space, and as the second
 * backend that holds backend.h to its word.
 *
 * Volumes die with the process, and it says so at start. Sizes are promises that are counted, not
 * memory that is taken: pages come with the first write. Devices are always AUTOCLEAR and held by
 * an fd of ours, also for raw volumes, so that no device outlives the process and pins the memory.
 * The kernel may have no direct I/O over a memfd (tmpfs has it since Linux 6.6); buffered is no
 * loss here, as the page cache is where the bytes are.
 */
#include "backend/mem/mem.h"

#include <assert.h>
#include <stdlib.h>

#include "backend/mem/mem-internal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/str.h"
#include "host/mkfs.h"
#include "volume/size.h"

#define LOG_ROOM "backend"
#include "base/log.h"

static const struct backend_ops mem_ops; /* the last thing in this file */

struct mem *mem_from(struct backend *b)
{
	assert(b->ops == &mem_ops);
	return container_of(b, struct mem, base);
}

static void free_volume(struct mem_volume *v)
{
	if (!v)
		return;
	host_fd_close(v->fd);
	free(v->note);
	free(v);
}

static void mem_close(struct backend *b)
{
	struct mem *m = mem_from(b);
	const char *token;
	void *v;

	filedev_holds_done(&m->holds);
	filedev_holds_done(&m->kept);
	filedev_holds_done(&m->readers);
	for (size_t it = 0; map_next(m->volumes, &it, &token, &v);)
		free_volume(v);
	map_free(m->volumes);
	mem_snapshots_free(m);
	mem_groups_free(m);
	pthread_mutex_destroy(&m->lock);
	free(b->pool_name);
	free(m);
}

static struct mem_volume *find_volume(struct mem *m, const char *token)
{
	struct mem_volume *v;

	pthread_mutex_lock(&m->lock);
	v = map_find(m->volumes, token);
	pthread_mutex_unlock(&m->lock);
	return v;
}

/* NULL: err says why. */
static struct mem_volume *need_volume(struct mem *m, struct ctx *ctx, const char *token,
				      struct err *err)
{
	struct mem_volume *v;

	if (ctx_check(ctx, err) < 0)
		return NULL;
	v = find_volume(m, token);
	if (!v)
		(void)err_set(err, ERR_NOT_FOUND, "no such volume");
	return v;
}

static int mem_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info,
		    struct err *err)
{
	struct mem *m = mem_from(b);
	uint64_t left;

	if (ctx_check(ctx, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	left = m->total_bytes - m->used_bytes;
	*ret_info = (struct backend_info){
		.name = b->pool_name,
		.identity = b->identity,
		.total_bytes = m->total_bytes,
		.usable_bytes = m->total_bytes,
		.available_bytes = left,
		.max_volume_bytes = left < VOL_SIZE_MAX ? left : VOL_SIZE_MAX,
		.n_volumes = map_count(m->volumes),
		.n_snapshots = map_count(m->snapshots),
	};
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int take_existing(const struct mem_volume *v, const struct backend_spec *spec,
			 struct backend_volume *ret_vol, struct err *err)
{
	if (!str_is_equal(v->vol.name, spec->name))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "the volume of the name '%s' has the same token", v->vol.name);
	if (!str_is_equal(v->vol.fs, spec->fs) || v->vol.allow_buffered != spec->allow_buffered)
		return err_set(err, ERR_ALREADY_EXISTS,
			       "it exists with filesystem '%s' and directIO=%s",
			       v->vol.fs[0] ? v->vol.fs : "none",
			       v->vol.allow_buffered ? "preferred" : "required");
	if (v->vol.source_kind != spec->source_kind || (spec->source_kind != BACKEND_SOURCE_NONE &&
							!str_is_equal(v->vol.source, spec->source)))
		return err_set(err, ERR_ALREADY_EXISTS, "it exists and was made of %s",
			       v->vol.source[0] ? v->vol.source : "nothing");
	*ret_vol = v->vol;
	return 0;
}

/* What was left before. */
static uint64_t try_space(struct mem *m, uint64_t bytes)
{
	uint64_t left;

	pthread_mutex_lock(&m->lock);
	left = m->total_bytes - m->used_bytes;
	if (bytes <= left)
		m->used_bytes += bytes;
	pthread_mutex_unlock(&m->lock);
	return left;
}

int mem_take_space(struct mem *m, uint64_t bytes, struct err *err)
{
	char text[NUM_QUANTITY_MAX], total[NUM_QUANTITY_MAX];

	if (bytes <= try_space(m, bytes))
		return 0;
	num_format_quantity(bytes, text);
	num_format_quantity(m->total_bytes, total);
	return err_set(err, ERR_RESOURCE_EXHAUSTED, "%s do not fit into what is left of %s", text,
		       total);
}

void mem_give_space(struct mem *m, uint64_t bytes)
{
	pthread_mutex_lock(&m->lock);
	m->used_bytes -= bytes;
	pthread_mutex_unlock(&m->lock);
}

static int fill(struct mem *m, struct ctx *ctx, int fd, const struct backend_spec *spec,
		struct err *err)
{
	struct uuid uuid;

	if (spec->source_kind != BACKEND_SOURCE_NONE)
		return mem_fill_from_source(m, ctx, fd, spec, err);
	if (!spec->fs[0])
		return 0;
	uuid_make(&uuid);
	if (str_is_equal(spec->fs, "xfs"))
		return host_mkfs_xfs(ctx, fd, &uuid, NULL, err) < 0
			       ? -1
			       : host_file_resize(fd, spec->bytes, err);
	return host_mkfs_ext4(ctx, fd, spec->bytes, err) < 0 ? -1 : host_ext4_stamp(fd, &uuid, err);
}

static void keep_word(char ret[BACKEND_OWNER_MAX], const char *word)
{
	if (word && strlen(word) < BACKEND_OWNER_MAX)
		(void)snprintf(ret, BACKEND_OWNER_MAX, "%s", word);
}

static void set_owner(struct backend_volume *vol, const struct backend_owner *owner)
{
	keep_word(vol->cluster, owner->cluster);
	keep_word(vol->claim_namespace, owner->claim_namespace);
	keep_word(vol->claim_name, owner->claim_name);
}

static struct mem_volume *new_volume(const struct backend_spec *spec, int fd)
{
	struct mem_volume *v = xcalloc(1, sizeof(*v));

	v->fd = fd;
	v->vol = (struct backend_volume){
		.bytes = spec->bytes,
		.allow_buffered = spec->allow_buffered,
		.source_kind = spec->source_kind,
		.created_ns = clock_wall_ns(),
		.limits = spec->limits,
	};
	(void)snprintf(v->file_name, sizeof(v->file_name), "memfd:%s", spec->token);
	(void)snprintf(v->vol.token, sizeof(v->vol.token), "%s", spec->token);
	(void)snprintf(v->vol.name, sizeof(v->vol.name), "%s", spec->name);
	(void)snprintf(v->vol.fs, sizeof(v->vol.fs), "%s", spec->fs);
	if (spec->source_kind != BACKEND_SOURCE_NONE)
		(void)snprintf(v->vol.source, sizeof(v->vol.source), "%s", spec->source);
	set_owner(&v->vol, &spec->owner);
	return v;
}

static int mem_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		      struct backend_volume *ret_vol, struct err *err)
{
	struct mem *m = mem_from(b);
	struct mem_volume *v = find_volume(m, spec->token);
	autohostfd int fd = -1;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (v)
		return take_existing(v, spec, ret_vol, err);
	if (mem_take_space(m, spec->bytes, err) < 0)
		return -1;
	if (host_file_make_memory(spec->token, spec->bytes, &fd, err) < 0 ||
	    fill(m, ctx, fd, spec, err) < 0) {
		mem_give_space(m, spec->bytes);
		return -1;
	}
	v = new_volume(spec, fd);
	fd = -1;
	*ret_vol = v->vol;
	pthread_mutex_lock(&m->lock);
	(void)map_put(m->volumes, spec->token, v);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int take_out(struct mem *m, struct mem_volume *v, struct err *err)
{
	bool is_read;

	pthread_mutex_lock(&m->lock);
	is_read = v->n_readers > 0;
	if (!is_read) {
		(void)map_take(m->volumes, v->vol.token);
		m->used_bytes -= v->vol.bytes;
	}
	pthread_mutex_unlock(&m->lock);
	if (is_read)
		return err_set(err, ERR_ABORTED, "a volume or a snapshot is being made of it");
	free_volume(v);
	return 0;
}

static int mem_remove(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, struct err *err)
{
	struct mem *m = mem_from(b);
	struct mem_volume *v = find_volume(m, token);
	struct backend_device dev;
	struct host_file file;
	int rc;

	if (!v)
		return 0;
	if (ctx_check(ctx, err) < 0)
		return -1;
	filedev_release(&m->holds, token);
	filedev_release(&m->readers, token);
	if (host_file_look(v->fd, &file, err) < 0)
		return -1;
	rc = filedev_find(FILEDEV_MAIN, -1, &file, v->file_name, &dev, err);
	if (rc == 0) /* a reader without the device that it was beside is left over */
		rc = filedev_drop_reader(-1, &file, v->file_name, &dev, err);
	if (rc < 0)
		return -1;
	if (rc > 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is attached as '%s' and in use on this node", dev.path);
	return take_out(m, v, err);
}

/* The list reads it under the lock. */
static int mem_modify(struct backend *b, struct ctx *ctx, const char *token,
		      const struct vol_limits *limits, const struct secrets *secrets,
		      struct err *err)
{
	struct mem *m = mem_from(b);
	struct mem_volume *v = need_volume(m, ctx, token, err);

	if (!v)
		return -1;
	pthread_mutex_lock(&m->lock);
	v->vol.limits = *limits;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int grow_file(struct mem *m, struct mem_volume *v, uint64_t bytes, struct err *err)
{
	uint64_t more = bytes - v->vol.bytes;
	uint64_t left = try_space(m, more);

	if (more > left)
		return filedev_refuse_growth(more, left, err);
	if (host_file_resize(v->fd, bytes, err) < 0) {
		mem_give_space(m, more);
		return -1;
	}
	pthread_mutex_lock(&m->lock);
	v->vol.bytes = bytes;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int mem_grow(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
		    const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	struct mem *m = mem_from(b);
	struct mem_volume *v = need_volume(m, ctx, token, err);
	struct host_file file;

	if (!v || (bytes > v->vol.bytes && grow_file(m, v, bytes, err) < 0) ||
	    host_file_look(v->fd, &file, err) < 0 || filedev_grow(-1, &file, v->file_name, err) < 0)
		return -1;
	*ret_vol = v->vol;
	return 0;
}

static int mem_stat(struct backend *b, struct ctx *ctx, const char *token,
		    const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	struct mem_volume *v = need_volume(mem_from(b), ctx, token, err);

	if (!v)
		return -1;
	*ret_vol = v->vol;
	return 0;
}

static int compare_volumes(const void *a, const void *b)
{
	return strcmp(((const struct backend_volume *)a)->token,
		      ((const struct backend_volume *)b)->token);
}

static int mem_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn,
		    void *arg, struct err *err)
{
	struct mem *m = mem_from(b);
	struct backend_volume *vols;
	const char *token;
	size_t n = 0;
	void *v;

	if (ctx_check(ctx, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	vols = xcalloc(map_count(m->volumes) + 1, sizeof(*vols));
	for (size_t it = 0; map_next(m->volumes, &it, &token, &v);) {
		if (strcmp(token, after) > 0)
			vols[n++] = ((struct mem_volume *)v)->vol;
	}
	pthread_mutex_unlock(&m->lock);
	qsort(vols, n, sizeof(*vols), compare_volumes);
	for (size_t i = 0; i < n && fn(arg, &vols[i]) == 0; i++)
		;
	free(vols);
	return 0;
}

static int mem_attach(struct backend *b, struct ctx *ctx, const char *token,
		      const struct backend_attach_options *opts, struct backend_device *ret_dev,
		      struct err *err)
{
	struct mem *m = mem_from(b);
	struct filedev_attach what = {
		.token = token,
		.opts = { .read_only = opts->read_only, .reader = opts->reader },
		.allow_buffered = true,
	};
	struct mem_volume *v = need_volume(m, ctx, token, err);

	if (!v || host_file_look(v->fd, &what.file, err) < 0)
		return -1;
	what.name = v->file_name;
	what.fd = v->fd;
	what.is_shared = true;
	return filedev_attach(opts->reader ? &m->readers
			      : opts->hold ? &m->kept
					   : &m->holds,
			      ctx, &what, ret_dev, err);
}

static int get_device(struct backend *b, struct ctx *ctx, const char *token, enum filedev_role role,
		      struct backend_device *ret_dev, struct err *err)
{
	struct mem_volume *v = need_volume(mem_from(b), ctx, token, err);
	struct host_file file;

	if (!v || host_file_look(v->fd, &file, err) < 0)
		return -1;
	return filedev_get(role, -1, &file, v->file_name, ret_dev, err);
}

static int mem_find_device(struct backend *b, struct ctx *ctx, const char *token,
			   struct backend_device *ret_dev, struct err *err)
{
	return get_device(b, ctx, token, FILEDEV_MAIN, ret_dev, err);
}

static int mem_detach(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	struct mem *m = mem_from(b);
	struct mem_volume *v = find_volume(m, token);
	struct host_file file;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (!v)
		return 0;
	if (host_file_look(v->fd, &file, err) < 0)
		return -1;
	filedev_release(&m->kept, token);
	filedev_release(&m->readers, token);
	return filedev_detach(&m->holds, token, v->file_name, -1, &file, err);
}

static int mem_find_reader(struct backend *b, struct ctx *ctx, const char *token,
			   struct backend_device *ret_dev, struct err *err)
{
	return get_device(b, ctx, token, FILEDEV_READER, ret_dev, err);
}

static int mem_drop_reader(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	struct mem *m = mem_from(b);
	struct mem_volume *v = find_volume(m, token);
	struct backend_device dev;
	struct host_file file;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (!v)
		return 0;
	if (host_file_look(v->fd, &file, err) < 0)
		return -1;
	filedev_release(&m->readers, token);
	return filedev_drop_reader(-1, &file, v->file_name, &dev, err) < 0 ? -1 : 0;
}

static int mem_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
			struct err *err)
{
	struct mem_volume *v = need_volume(mem_from(b), ctx, token, err);

	if (!v)
		return -1;
	(void)snprintf(ret_note, BACKEND_NOTE_MAX + 1, "%s", str_or(v->note, ""));
	return 0;
}

static int mem_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
			struct err *err)
{
	struct mem_volume *v = need_volume(mem_from(b), ctx, token, err);

	if (!v)
		return -1;
	free(v->note);
	v->note = xstrdup(note);
	return 0;
}

static int mem_settle(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		      struct err *err)
{
	(void)ctx;
	(void)mount_path;
	(void)err;
	filedev_release(&mem_from(b)->holds, token);
	return 0;
}

static int mem_open(struct ctx *ctx, const struct backend_config *config,
		    const struct registry *others, struct backend **ret_backend, struct err *err)
{
	struct mem *m;

	if (ctx_check(ctx, err) < 0)
		return -1;
	m = xcalloc(1, sizeof(*m));
	m->base.ops = &mem_ops;
	m->base.caps = mem_kind.caps;
	m->base.pool_name = xstrdup(config->name);
	uuid_make(&m->base.identity);
	m->total_bytes =
		config->mem_bytes ? config->mem_bytes - config->mem_bytes % VOL_SIZE_UNIT : GIB;
	filedev_holds_init(&m->holds);
	filedev_holds_init(&m->kept);
	filedev_holds_init(&m->readers);
	pthread_mutex_init(&m->lock, NULL);
	m->volumes = map_new();
	m->snapshots = map_new();
	m->groups = map_new();
	log_warn("volumes of this pool are in memory and die with this process",
		 log_str("pool", config->name));
	*ret_backend = &m->base;
	return 0;
}

static const struct backend_ops mem_ops = {
	.name = "mem",
	.close = mem_close,
	.info = mem_info,
	.create = mem_create,
	.remove = mem_remove,
	.grow = mem_grow,
	.modify = mem_modify,
	.stat = mem_stat,
	.each = mem_each,
	.attach = mem_attach,
	.find_device = mem_find_device,
	.detach = mem_detach,
	.find_reader = mem_find_reader,
	.drop_reader = mem_drop_reader,
	.note_get = mem_note_get,
	.note_set = mem_note_set,
	.settle = mem_settle,
	.snapshot_create = mem_snapshot_create,
	.snapshot_remove = mem_snapshot_remove,
	.snapshot_stat = mem_snapshot_stat,
	.snapshot_each = mem_snapshot_each,
	.allocated = mem_allocated,
	.changed = mem_changed,
	.group_create = mem_group_create,
	.group_remove = mem_group_remove,
	.group_stat = mem_group_stat,
};

/* "8Gi" */
static int mem_configure(struct arena *a, const char *spec, struct backend_config *config,
			 struct err *err)
{
	if (opt_parse_bytes(spec, &config->mem_bytes) < 0 || config->mem_bytes == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "'%.80s' is no size of a pool in memory; write mem:8Gi", spec);
	return 0;
}

const struct backend_kind mem_kind = {
	.name = "mem",
	.caps = BACKEND_ATTACH | BACKEND_NOTES | BACKEND_GROW | BACKEND_SNAPSHOT | BACKEND_CLONE |
		BACKEND_GROUP | BACKEND_MODIFY | BACKEND_CHANGED_BLOCKS,
	.configure = mem_configure,
	.open = mem_open,
};
