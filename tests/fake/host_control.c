/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests say to the fake host: how it begins, what others do to it, when it fails, and what is
 * there at the end.
 */
#include <assert.h>
#include <sys/sysmacros.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "fake/host-internal.h"
#include "fake/host.h"

static void forget_world(void)
{
	for (size_t i = 0; i < world.inodes.n; i++) {
		struct fake_inode *inode = world.inodes.v[i];

		fake_attrs_done(inode);
		for (size_t j = 0; j < inode->entries.n; j++)
			free(inode->entries.v[j].name);
		vec_done(&inode->entries);
		vec_done(&inode->map);
		free(inode);
	}
	for (size_t i = 0; i < world.filesystems.n; i++)
		free(world.filesystems.v[i]);
	vec_done(&world.inodes);
	vec_done(&world.filesystems);
	vec_done(&world.fds);
	vec_done(&world.mounts);
	world = (struct fake_world){ .can_direct = true };
}

static void add_mount(const char *path, struct fake_fs *fs)
{
	struct fake_mount mount = { .root = fs->root, .fs = fs, .loop = -1, .device = fs->device };

	(void)snprintf(mount.path, sizeof(mount.path), "%s", path);
	vec_push(&world.mounts, mount);
}

void fake_host_reset(uint64_t pool_bytes)
{
	forget_world();
	if (!pool_bytes)
		return;
	add_mount("/", fake_fs_new("ext4", makedev(8, 1), UINT64_C(1) << 40));
	world.pool = fake_fs_new("xfs", makedev(8, 2), pool_bytes);
	world.memory = fake_fs_new("tmpfs", makedev(0, 6), UINT64_C(1) << 40);
	fake_host_add_dir("/pool");
	fake_host_add_dir("/run");
	fake_host_add_dir("/dev");
	add_mount("/pool", world.pool);
}

void fake_host_set_fs(const char *type, bool has_reflink, bool is_read_only)
{
	(void)snprintf(world.pool->type, sizeof(world.pool->type), "%s", type);
	world.pool->has_reflink = has_reflink;
	world.pool->is_read_only = is_read_only;
}

void fake_host_add_dir(const char *path)
{
	autofree char *parent = path_parent(path);

	if (fake_lookup(path, NULL))
		return;
	fake_host_add_dir(parent);
	fake_entry_add(fake_lookup(parent, NULL), path_last(path),
		       fake_inode_new(fake_lookup(parent, NULL)->on, FAKE_DIR), true);
}

void fake_host_add_symlink(const char *path)
{
	autofree char *parent = path_parent(path);
	struct fake_inode *dir = fake_lookup(parent, NULL);

	fake_entry_add(dir, path_last(path), fake_inode_new(dir->on, FAKE_SYMLINK), true);
}

void fake_host_add_link(const char *path, const char *to)
{
	struct fake_inode *inode;

	fake_host_add_symlink(path);
	inode = fake_lookup(path, NULL);
	assert(strlen(to) < sizeof(inode->text));
	(void)snprintf(inode->text, sizeof(inode->text), "%s", to);
}

void fake_host_add_foreign(const char *name)
{
	struct fake_inode *inode = fake_inode_new(world.pool, FAKE_FILE);

	inode->bytes = inode->allocated_bytes = 4096;
	inode->is_foreign = true;
	inode->is_synced = true;
	fake_entry_add(world.pool->root, name, inode, true);
}

void fake_host_at_mkfs(void (*fn)(void *arg), void *arg)
{
	world.at_mkfs = fn;
	world.at_mkfs_arg = arg;
}

struct fake_inode *fake_pool_file(const char *name)
{
	struct fake_inode *dir = world.pool->root;
	const char *slash;
	struct fake_entry *entry;

	while ((slash = strchr(name, '/')) != NULL) {
		char part[64];

		(void)snprintf(part, sizeof(part), "%.*s", (int)(slash - name), name);
		entry = fake_entry_find(dir, part);
		assert(entry);
		dir = entry->inode;
		name = slash + 1;
	}
	entry = fake_entry_find(dir, name);
	assert(entry);
	return entry->inode;
}

/* A disk has it that way. */
static void keep_if_synced(struct fake_inode *inode)
{
	if (inode->is_synced)
		fake_durable_keep(inode);
}

void fake_host_set_attr(const char *name, const char *attr, const char *value)
{
	fake_attr_put(fake_pool_file(name), attr, value);
	keep_if_synced(fake_pool_file(name));
}

const char *fake_host_attr(const char *name, const char *attr)
{
	const struct fake_inode *inode = fake_pool_file(name);

	for (size_t i = 0; i < inode->attrs.n; i++) {
		if (str_is_equal(inode->attrs.v[i].name, attr))
			return inode->attrs.v[i].value;
	}
	return NULL;
}

void fake_host_set_size(const char *name, uint64_t bytes)
{
	fake_pool_file(name)->bytes = bytes;
	keep_if_synced(fake_pool_file(name));
}

void fake_host_set_errors(const char *name, bool has_errors)
{
	fake_pool_file(name)->has_errors = has_errors;
}

void fake_host_set_condition(const char *name, bool is_read_only, bool is_shut_down)
{
	assert(fake_pool_file(name)->inner);
	fake_pool_file(name)->inner->is_read_only = is_read_only;
	fake_pool_file(name)->inner->is_shut_down = is_shut_down;
}

void fake_host_rename(const char *name, const char *new_name)
{
	struct fake_entry *entry = fake_entry_find(world.pool->root, name);

	assert(entry && !fake_entry_find(world.pool->root, new_name));
	free(entry->name);
	entry->name = xstrdup(new_name);
	world.pool->root->changed_ns = ++world.time_ns;
}

void fake_host_link(const char *name, const char *other_name)
{
	fake_entry_add(world.pool->root, other_name, fake_pool_file(name), true);
}

void fake_host_unlink(const char *name)
{
	fake_entry_remove(world.pool->root, name);
}

void fake_host_link_before_unlink(const char *other_name)
{
	world.link_before_unlink = other_name;
}

void fake_host_kill_disk(void)
{
	world.is_pool_dead = true;
}

void fake_host_silence_server(bool is_silent)
{
	world.is_server_silent = is_silent;
}

void fake_host_take_inodes(bool are_taken)
{
	world.pool->has_no_inode = are_taken;
}

void fake_host_stop_writes(bool is_stopped)
{
	world.is_write_stopped = is_stopped;
}

void fake_host_break_probes(bool are_broken)
{
	world.are_probes_broken = are_broken;
}

size_t fake_host_n_forced(void)
{
	return world.n_forced;
}

void fake_host_set_remote_dir(const char *path)
{
	world.remote_dir = path;
}

void fake_host_set_client(const char *fs)
{
	world.client = fs;
}

size_t fake_host_n_hangs(void)
{
	return world.n_hangs;
}

void fake_host_remove(const char *name)
{
	fake_entry_remove(world.pool->root, name);
}

bool fake_host_has(const char *name)
{
	return fake_entry_find(world.pool->root, name);
}

size_t fake_host_n_files(void)
{
	size_t n = 0;

	for (size_t i = 0; i < world.pool->root->entries.n; i++) {
		const struct fake_entry *entry = &world.pool->root->entries.v[i];

		n += !entry->is_gone && !str_is_equal(entry->name, ".cleat");
	}
	return n;
}

const char *fake_host_fs_of(const char *name, struct uuid *ret_uuid)
{
	*ret_uuid = fake_pool_file(name)->fs_uuid;
	return fake_pool_file(name)->fs;
}

void fake_host_slow_gaps(unsigned n)
{
	world.n_gap_calls = n;
}

bool fake_host_is_written(const char *name)
{
	return !fake_pool_file(name)->has_gaps;
}

void fake_host_set_direct(bool can_direct)
{
	world.can_direct = can_direct;
}

void fake_host_add_foreign_loop(void)
{
	struct fake_inode *inode = fake_inode_new(world.pool, FAKE_FILE);

	inode->is_foreign = true;
	inode->n_users = 1;
	for (size_t i = 0; i < FAKE_N_LOOPS; i++) {
		if (!world.loops[i].backing) {
			world.loops[i] = (struct fake_loop){ .backing = inode, .is_foreign = true };
			return;
		}
	}
	assert(false);
}

void fake_host_fail_with(enum err_code code)
{
	world.fail_code = code;
}

void fake_host_fail_at(unsigned n)
{
	world.n_calls = 0;
	world.fail_at = n;
	world.fail_from = 0;
}

void fake_host_fail_from(unsigned n)
{
	world.n_calls = 0;
	world.fail_at = 0;
	world.fail_from = n;
}

bool fake_host_failed(void)
{
	return (world.fail_at && world.n_calls >= world.fail_at) || fake_is_dead();
}

size_t fake_host_n_fds(void)
{
	size_t n = 0;

	for (size_t i = 0; i < world.fds.n; i++)
		n += world.fds.v[i].is_open;
	return n;
}

size_t fake_host_n_loops(void)
{
	size_t n = 0;

	for (size_t i = 0; i < FAKE_N_LOOPS; i++)
		n += world.loops[i].backing && !world.loops[i].is_foreign;
	return n;
}

size_t fake_host_n_mounts(void)
{
	return world.mounts.n - 2; /* without "/" and "/pool" */
}

size_t fake_host_n_nameless(void)
{
	size_t n = 0;

	for (size_t i = 0; i < world.inodes.n; i++) {
		const struct fake_inode *inode = world.inodes.v[i];

		n += inode->kind == FAKE_FILE && !inode->n_links && inode->n_users &&
		     !inode->is_foreign;
	}
	return n;
}

void fake_host_spoil_templates(void)
{
	const struct fake_inode *dir = fake_lookup("/pool/.cleat/templates", NULL);

	for (size_t i = 0; i < dir->entries.n; i++)
		dir->entries.v[i].inode->is_spoilt = true;
}

size_t fake_host_n_templates(void)
{
	const struct fake_inode *dir = fake_lookup("/pool/.cleat/templates", NULL);
	size_t n = 0;

	for (size_t i = 0; dir && i < dir->entries.n; i++)
		n += !dir->entries.v[i].is_gone;
	return n;
}

uint64_t fake_host_used_bytes(void)
{
	return fake_fs_used_bytes(world.pool);
}

size_t fake_host_n_foreign_touched(void)
{
	return world.n_touched;
}
