/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake host's filesystems and its failures; host_block.c has devices and mounts.
 *
 * Files have no bytes, only what the product can tell of them: size, allocation, attributes, what
 * mkfs put inside, whether they and their names were synced. mkfs here behaves as badly as the real
 * ones may: it punches a hole into what was allocated, and XFS's takes a block off the end.
 */
#include "fake/host.h"

#include <assert.h>
#include <sys/sysmacros.h>

#include "base/mem.h"
#include "base/str.h"
#include "fake/host-internal.h"
#include "host/fs.h"

struct fake_world world;

int fake_step(struct err *err)
{
	world.n_calls++;
	if (world.n_calls == world.fail_at || fake_is_dead())
		return err_set(err, world.fail_code ? world.fail_code : ERR_INTERNAL,
			       "host call %u was made to fail", world.n_calls);
	return 0;
}

int fake_step_on(const struct fake_inode *inode, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	if (world.is_pool_dead && inode->on == world.pool)
		return err_set(err, ERR_INTERNAL, "the disk of this file is dead");
	return 0;
}

bool fake_is_dead(void)
{
	return world.fail_from && world.n_calls >= world.fail_from;
}

struct fake_fs *fake_fs_new(const char *type, dev_t device, uint64_t total_bytes)
{
	struct fake_fs *fs = xcalloc(1, sizeof(*fs));

	(void)snprintf(fs->type, sizeof(fs->type), "%s", type);
	fs->device = device;
	fs->total_bytes = total_bytes;
	fs->has_reflink = true;
	uuid_make(&fs->uuid);
	fs->root = fake_inode_new(fs, FAKE_DIR);
	fs->root->n_links = 1;
	vec_push(&world.filesystems, fs);
	return fs;
}

struct fake_inode *fake_inode_new(struct fake_fs *on, enum fake_kind kind)
{
	struct fake_inode *inode = xcalloc(1, sizeof(*inode));

	inode->number = ++world.next_number;
	inode->on = on;
	inode->kind = kind;
	inode->changed_ns = ++world.time_ns;
	vec_push(&world.inodes, inode);
	return inode;
}

static void free_inode(struct fake_inode *inode)
{
	fake_attrs_done(inode);
	for (size_t i = 0; i < inode->entries.n; i++)
		free(inode->entries.v[i].name);
	vec_done(&inode->entries);
	vec_done(&inode->map);
	free(inode);
}

/* Frees an inode that has neither name nor user. A name that is gone but not synced keeps it: it
 * may come back. */
static void reap(struct fake_inode *inode)
{
	if (inode->n_links || inode->n_users)
		return;
	for (size_t i = 0; i < world.inodes.n; i++) {
		const struct fake_inode *dir = world.inodes.v[i];

		for (size_t j = 0; j < dir->entries.n; j++) {
			if (dir->entries.v[j].inode == inode)
				return;
		}
	}
	for (size_t i = 0; i < world.inodes.n; i++) {
		if (world.inodes.v[i] == inode) {
			world.inodes.v[i] = world.inodes.v[--world.inodes.n];
			free_inode(inode);
			return;
		}
	}
}

void fake_inode_put(struct fake_inode *inode)
{
	inode->n_users--;
	reap(inode);
}

int fake_fd_new(struct fake_inode *inode, int loop, bool is_read_only)
{
	vec_push(&world.fds,
		 ((struct fake_fd){ inode, loop, true, is_read_only, FAKE_CLAIM_NONE }));
	if (inode)
		inode->n_users++;
	return FAKE_FIRST_FD + (int)world.fds.n - 1;
}

struct fake_fd *fake_fd_get(int fd)
{
	assert(fd >= FAKE_FIRST_FD && (size_t)(fd - FAKE_FIRST_FD) < world.fds.n);
	assert(world.fds.v[fd - FAKE_FIRST_FD].is_open);
	return &world.fds.v[fd - FAKE_FIRST_FD];
}

static struct fake_inode *inode_of(int fd)
{
	struct fake_inode *inode = fake_fd_get(fd)->inode;

	assert(inode);
	return inode;
}

struct fake_entry *fake_entry_find(struct fake_inode *dir, const char *name)
{
	for (size_t i = 0; i < dir->entries.n; i++) {
		if (!dir->entries.v[i].is_gone && str_is_equal(dir->entries.v[i].name, name))
			return &dir->entries.v[i];
	}
	return NULL;
}

void fake_entry_add(struct fake_inode *dir, const char *name, struct fake_inode *inode,
		    bool is_durable)
{
	vec_push(&dir->entries, ((struct fake_entry){ xstrdup(name), inode, is_durable, false }));
	inode->n_links++;
	dir->changed_ns = ++world.time_ns;
}

static void drop_entry(struct fake_inode *dir, size_t i)
{
	struct fake_inode *inode = dir->entries.v[i].inode;

	free(dir->entries.v[i].name);
	dir->entries.v[i] = dir->entries.v[--dir->entries.n];
	reap(inode);
}

void fake_entry_remove(struct fake_inode *dir, const char *name)
{
	struct fake_entry *entry = fake_entry_find(dir, name);

	assert(entry);
	entry->is_gone = true;
	entry->inode->n_links--;
	dir->changed_ns = ++world.time_ns;
	if (!entry->is_durable)
		drop_entry(dir, (size_t)(entry - dir->entries.v));
}

void fake_entries_sync(struct fake_inode *dir)
{
	for (size_t i = dir->entries.n; i > 0; i--) {
		if (dir->entries.v[i - 1].is_gone)
			drop_entry(dir, i - 1);
		else
			dir->entries.v[i - 1].is_durable = true;
	}
}

/* What a power cut makes of a directory. */
static void lose_entries(struct fake_inode *dir)
{
	for (size_t i = dir->entries.n; i > 0; i--) {
		struct fake_entry *entry = &dir->entries.v[i - 1];

		if (entry->is_gone) {
			entry->is_gone = false;
			entry->inode->n_links++;
		} else if (!entry->is_durable) {
			entry->inode->n_links--;
			drop_entry(dir, i - 1);
		}
	}
}

static struct fake_inode *walk(struct fake_inode *dir, const char *path)
{
	while (dir && *path) {
		size_t n = strcspn(path, "/");
		autofree char *name = xstrndup(path, n);
		struct fake_entry *entry;

		path += n + (path[n] == '/');
		if (!n)
			continue;
		entry = dir->kind == FAKE_DIR ? fake_entry_find(dir, name) : NULL;
		dir = entry ? entry->inode : NULL;
	}
	return dir;
}

struct fake_inode *fake_lookup(const char *path, struct fake_mount **ret_mount)
{
	struct fake_mount *best = NULL;
	size_t best_len = 0;

	for (size_t i = 0; i < world.mounts.n; i++) {
		struct fake_mount *mount = &world.mounts.v[i];
		size_t n = str_is_equal(mount->path, "/") ? 0 : strlen(mount->path);

		if (strncmp(mount->path, path, n) == 0 && (path[n] == '\0' || path[n] == '/') &&
		    n >= best_len) {
			best = mount;
			best_len = n;
		}
	}
	assert(best);
	if (ret_mount)
		*ret_mount = best;
	return walk(best->root, path + best_len);
}

/* host/fs.h */

void host_fd_close(int fd)
{
	struct fake_fd *open;

	if (fd < 0 || fake_is_dead())
		return;
	open = fake_fd_get(fd);
	open->is_open = false;
	if (open->loop >= 0) {
		fake_loop_put(open->loop);
		return;
	}
	if (open->inode->locked_by == fd)
		open->inode->locked_by = 0;
	fake_inode_put(open->inode);
}

void host_fd_closep(int *fd)
{
	host_fd_close(*fd);
}

uint64_t fake_fs_used_bytes(const struct fake_fs *fs)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < world.inodes.n; i++)
		sum += world.inodes.v[i]->on == fs ? world.inodes.v[i]->allocated_bytes : 0;
	return sum - fake_map_saved_bytes(fs);
}

static enum host_fs_kind kind_of(const char *type)
{
	return str_is_equal(type, "xfs")     ? HOST_FS_KIND_XFS
	       : str_is_equal(type, "ext4")  ? HOST_FS_KIND_EXT4
	       : str_is_equal(type, "btrfs") ? HOST_FS_KIND_BTRFS
					     : HOST_FS_KIND_OTHER;
}

int host_fs_look(int fd, struct host_fs *ret_fs, struct err *err)
{
	const struct fake_fs *fs = inode_of(fd)->on;
	uint64_t used = fake_fs_used_bytes(fs);

	if (fake_step_on(inode_of(fd), err) < 0)
		return -1;
	*ret_fs = (struct host_fs){
		.total_bytes = fs->total_bytes,
		.free_bytes = used < fs->total_bytes ? fs->total_bytes - used : 0,
		.is_read_only = fs->is_read_only,
		.kind = kind_of(fs->type),
		.can_clone = fs->has_reflink,
		.uuid = fs->uuid,
		.tree = fs->uuid,
		.device = fs->device,
	};
	(void)snprintf(ret_fs->type, sizeof(ret_fs->type), "%s", fs->type);
	return 0;
}

int host_file_look(int fd, struct host_file *ret_file, struct err *err)
{
	const struct fake_inode *inode = inode_of(fd);

	if (fake_step_on(inode, err) < 0)
		return -1;
	*ret_file = (struct host_file){
		.bytes = inode->bytes,
		.allocated_bytes = inode->allocated_bytes,
		.device = inode->on->device,
		.inode = inode->number,
		.is_regular = inode->kind == FAKE_FILE,
		.n_links = inode->n_links,
		.changed_ns = inode->changed_ns,
	};
	return 0;
}

int host_dir_open(const char *path, int *ret_fd, struct err *err)
{
	struct fake_inode *inode = fake_lookup(path, NULL);

	if (fake_step(err) < 0)
		return -1;
	if (!inode)
		return err_set(err, ERR_NOT_FOUND, "open directory '%s'", path);
	if (inode->kind != FAKE_DIR)
		return err_set(err, ERR_FAILED_PRECONDITION, "open directory '%s'", path);
	*ret_fd = fake_fd_new(inode, -1, true);
	return 0;
}

int host_dir_make(int dirfd, const char *name, int *ret_fd, struct err *err)
{
	struct fake_inode *dir = inode_of(dirfd);
	struct fake_entry *entry = fake_entry_find(dir, name);

	if (fake_step(err) < 0)
		return -1;
	if (!entry) {
		if (dir->on->is_read_only)
			return err_set(err, ERR_FAILED_PRECONDITION, "make directory '%s'", name);
		fake_entry_add(dir, name, fake_inode_new(dir->on, FAKE_DIR), true);
		entry = fake_entry_find(dir, name);
	}
	if (entry->inode->kind != FAKE_DIR)
		return err_set(err, ERR_FAILED_PRECONDITION, "open directory '%s'", name);
	*ret_fd = fake_fd_new(entry->inode, -1, true);
	return 0;
}

int host_dir_each(int dirfd, host_dir_fn fn, void *arg, struct err *err)
{
	struct fake_inode *dir = inode_of(dirfd);
	VEC(char *) names = VEC_INIT;
	int rc = 0;

	if (fake_step_on(dir, err) < 0)
		return -1;
	for (size_t i = 0; i < dir->entries.n; i++) {
		if (!dir->entries.v[i].is_gone)
			vec_push(&names, xstrdup(dir->entries.v[i].name));
	}
	for (size_t i = 0; i < names.n; i++) {
		const struct fake_entry *entry = fake_entry_find(dir, names.v[i]);

		if (rc == 0 && entry)
			rc = fn(arg, names.v[i], entry->inode->kind == FAKE_FILE);
		free(names.v[i]);
	}
	vec_done(&names);
	return 0;
}

int host_dir_sync(int dirfd, struct err *err)
{
	if (fake_step_on(inode_of(dirfd), err) < 0)
		return -1;
	fake_entries_sync(inode_of(dirfd));
	for (size_t i = 0; i < world.inodes.n; i++) {
		if (world.inodes.v[i]->is_written && world.inodes.v[i]->on == inode_of(dirfd)->on)
			fake_durable_keep(world.inodes.v[i]);
	}
	return 0;
}

int host_file_make(int dirfd, int *ret_fd, struct err *err)
{
	struct fake_fs *fs = inode_of(dirfd)->on;

	if (fake_step_on(inode_of(dirfd), err) < 0)
		return -1;
	if (fs->has_no_inode)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "make a nameless file: no inode left");
	*ret_fd = fake_fd_new(fake_inode_new(fs, FAKE_FILE), -1, false);
	return 0;
}

int host_file_link(int fd, int dirfd, const char *name, struct err *err)
{
	struct fake_inode *dir = inode_of(dirfd);

	if (fake_step_on(dir, err) < 0)
		return -1;
	if (fake_entry_find(dir, name))
		return err_set(err, ERR_ALREADY_EXISTS, "link file '%s'", name);
	fake_entry_add(dir, name, inode_of(fd), false);
	return 0;
}

int host_file_open(int dirfd, const char *name, bool read_only, int *ret_fd, struct err *err)
{
	const struct fake_entry *entry = fake_entry_find(inode_of(dirfd), name);

	if (fake_step_on(inode_of(dirfd), err) < 0)
		return -1;
	if (!entry)
		return err_set(err, ERR_NOT_FOUND, "open '%s'", name);
	if (entry->inode->kind != FAKE_FILE)
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is not a regular file", name);
	*ret_fd = fake_fd_new(entry->inode, -1, read_only);
	return 0;
}

int host_file_open_or_make(int dirfd, const char *name, int *ret_fd, struct err *err)
{
	struct fake_inode *dir = inode_of(dirfd);

	if (!fake_entry_find(dir, name) && !fake_is_dead())
		fake_entry_add(dir, name, fake_inode_new(dir->on, FAKE_FILE), true);
	return host_file_open(dirfd, name, false, ret_fd, err);
}

int host_file_unlink(int dirfd, const char *name, struct err *err)
{
	struct fake_inode *dir = inode_of(dirfd);
	const struct fake_entry *entry = fake_entry_find(dir, name);

	if (fake_step_on(dir, err) < 0)
		return -1;
	if (!entry)
		return 0;
	world.n_touched += entry->inode->is_foreign;
	if (world.link_before_unlink)
		fake_entry_add(dir, world.link_before_unlink, entry->inode, true);
	world.link_before_unlink = NULL;
	fake_entry_remove(dir, name);
	return 0;
}

/* A change of the file's content. */
struct fake_inode *fake_change(int fd)
{
	struct fake_inode *inode = inode_of(fd);

	assert(!fake_fd_get(fd)->is_read_only);
	world.n_touched += inode->is_foreign;
	inode->is_written = inode->is_synced = false;
	inode->changed_ns = ++world.time_ns;
	return inode;
}

int host_file_resize(int fd, uint64_t bytes, struct err *err)
{
	struct fake_inode *inode;

	if (fake_step_on(inode_of(fd), err) < 0)
		return -1;
	inode = fake_change(fd);
	inode->bytes = bytes;
	if (inode->allocated_bytes > bytes)
		inode->allocated_bytes = bytes;
	fake_map_cut(inode, bytes, UINT64_MAX);
	return 0;
}

int host_file_allocate(int fd, uint64_t bytes, struct err *err)
{
	struct fake_inode *inode;
	uint64_t left;

	if (fake_step_on(inode_of(fd), err) < 0)
		return -1;
	inode = fake_change(fd);
	left = inode->on->total_bytes - fake_fs_used_bytes(inode->on) + inode->allocated_bytes;
	if (bytes > left)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "allocate %llu bytes",
			       (unsigned long long)bytes);
	inode->has_gaps |= inode->allocated_bytes < bytes;
	inode->bytes = bytes;
	inode->allocated_bytes = bytes;
	return 0;
}

int host_file_write_gaps(struct ctx *ctx, int fd, struct err *err)
{
	if (ctx_check(ctx, err) < 0 || fake_step_on(inode_of(fd), err) < 0)
		return -1;
	if (world.n_gap_calls > 0) {
		world.n_gap_calls--;
		return err_set(err, ERR_DEADLINE_EXCEEDED, "some of it is written");
	}
	fake_change(fd)->has_gaps = false;
	return 0;
}

int host_file_extend(int fd, uint64_t bytes, struct err *err)
{
	if (bytes > inode_of(fd)->bytes)
		return host_file_allocate(fd, bytes, err);
	return fake_step_on(inode_of(fd), err);
}

int host_file_copy_blocks(struct ctx *ctx, int from_fd, int to_fd, uint64_t *ret_digest,
			  struct err *err)
{
	const struct fake_inode *from = inode_of(from_fd);
	struct fake_inode *to;

	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	*ret_digest = from->is_spoilt ? 2 : 1;
	if (to_fd < 0)
		return 0;
	to = fake_change(to_fd);
	(void)snprintf(to->fs, sizeof(to->fs), "%s", from->is_spoilt ? "spoilt" : from->fs);
	to->fs_uuid = from->fs_uuid;
	to->fs_bytes = from->fs_bytes;
	to->growth_is_in_log = from->growth_is_in_log;
	to->copies_lag = from->copies_lag;
	fake_map_copy(to, from);
	return 0;
}

int host_file_sync(int fd, struct err *err)
{
	if (fake_step_on(inode_of(fd), err) < 0)
		return -1;
	fake_durable_keep(inode_of(fd));
	return 0;
}

int host_file_write_out(int fd, struct err *err)
{
	if (fake_step_on(inode_of(fd), err) < 0)
		return -1;
	inode_of(fd)->is_written = true;
	return 0;
}

int host_file_touch(int fd, struct err *err)
{
	if (fake_step_on(inode_of(fd), err) < 0)
		return -1;
	inode_of(fd)->changed_ns = ++world.time_ns;
	return 0;
}

static struct fake_attr *find_attr(struct fake_inode *inode, const char *name)
{
	for (size_t i = 0; i < inode->attrs.n; i++) {
		if (str_is_equal(inode->attrs.v[i].name, name))
			return &inode->attrs.v[i];
	}
	return NULL;
}

void fake_attr_put(struct fake_inode *inode, const char *name, const char *value)
{
	struct fake_attr *attr = find_attr(inode, name);

	if (attr) {
		free(attr->value);
		attr->value = xstrdup(value);
		return;
	}
	vec_push(&inode->attrs, ((struct fake_attr){ xstrdup(name), xstrdup(value) }));
}

int host_file_get_attr(int fd, const char *name, char *ret_text, size_t cap, struct err *err)
{
	const struct fake_attr *attr = find_attr(inode_of(fd), name);

	if (fake_step_on(inode_of(fd), err) < 0)
		return -1;
	if (!attr)
		return err_set(err, ERR_NOT_FOUND, "no attribute '%s'", name);
	if (strlen(attr->value) >= cap)
		return err_set(err, ERR_FAILED_PRECONDITION, "attribute '%s' is too long", name);
	(void)snprintf(ret_text, cap, "%s", attr->value);
	return 0;
}

int host_file_set_attr(int fd, const char *name, const char *text, struct err *err)
{
	if (fake_step_on(inode_of(fd), err) < 0)
		return -1;
	world.n_touched += inode_of(fd)->is_foreign;
	fake_attr_put(inode_of(fd), name, text);
	inode_of(fd)->is_written = inode_of(fd)->is_synced = false;
	return 0;
}

int host_lock_take(int dirfd, const char *name, int *ret_fd, int *ret_holder, struct err *err)
{
	struct fake_inode *inode;
	int fd;

	if (host_file_open_or_make(dirfd, name, &fd, err) < 0)
		return -1;
	inode = inode_of(fd);
	if (inode->locked_by) {
		host_fd_close(fd);
		*ret_holder = 4711;
		return err_set(err, ERR_ABORTED, "locked by another process");
	}
	inode->locked_by = fd;
	*ret_fd = fd;
	return 0;
}

int host_lock_look(int dirfd, const char *name, int *ret_holder, struct err *err)
{
	bool is_locked;
	int fd;

	if (host_file_open(dirfd, name, true, &fd, err) < 0)
		return -1;
	is_locked = inode_of(fd)->locked_by;
	host_fd_close(fd);
	if (is_locked)
		*ret_holder = 4711;
	return is_locked;
}

static bool has_claim(const struct fake_inode *inode, int but_fd, enum fake_claim least)
{
	for (size_t i = 0; i < world.fds.n; i++) {
		const struct fake_fd *open = &world.fds.v[i];

		if (open->is_open && open->inode == inode && open->claim >= least &&
		    FAKE_FIRST_FD + (int)i != but_fd)
			return true;
	}
	for (size_t i = 0; i < FAKE_N_LOOPS; i++) {
		if (world.loops[i].backing == inode && world.loops[i].claim >= least)
			return true;
	}
	return false;
}

int host_file_claim(int fd, bool alone, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	if (has_claim(inode_of(fd), fd, alone ? FAKE_CLAIM_SHARED : FAKE_CLAIM_ALONE))
		return err_set(err, ERR_ABORTED, "somebody else has claimed it");
	fake_fd_get(fd)->claim = alone ? FAKE_CLAIM_ALONE : FAKE_CLAIM_SHARED;
	return 0;
}

int host_file_get_text(int fd, char *ret_text, size_t cap, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	(void)snprintf(ret_text, cap, "%s", inode_of(fd)->text);
	return 0;
}

int host_file_set_text(int fd, const char *text, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	(void)snprintf(inode_of(fd)->text, sizeof(inode_of(fd)->text), "%s", text);
	return 0;
}

int host_file_make_memory(const char *name, uint64_t bytes, int *ret_fd, struct err *err)
{
	struct fake_inode *inode;

	(void)name;
	if (fake_step(err) < 0)
		return -1;
	inode = fake_inode_new(world.memory, FAKE_FILE);
	inode->bytes = bytes;
	*ret_fd = fake_fd_new(inode, -1, false);
	return 0;
}

/* Death. */

void fake_host_kill(void)
{
	world.fail_at = world.fail_from = 0;
	fake_guards_thaw();
	for (size_t i = 0; i < world.fds.n; i++) {
		if (world.fds.v[i].is_open)
			host_fd_close(FAKE_FIRST_FD + (int)i);
	}
}

void fake_host_power_cut(void)
{
	fake_host_kill();
	for (size_t i = 0; i < world.filesystems.n; i++)
		world.filesystems.v[i]->frozen = FAKE_THAWED;
	fake_block_power_cut();
	for (size_t i = 0; i < world.inodes.n; i++) {
		struct fake_inode *inode = world.inodes.v[i];

		if (inode->kind != FAKE_FILE || inode->is_synced || inode->is_foreign)
			continue;
		fake_durable_restore(inode);
	}
	for (size_t i = world.inodes.n; i > 0; i--) {
		if (i <= world.inodes.n && world.inodes.v[i - 1]->kind == FAKE_DIR)
			lose_entries(world.inodes.v[i - 1]);
	}
}
