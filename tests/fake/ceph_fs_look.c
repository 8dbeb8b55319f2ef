/* SPDX-License-Identifier: Apache-2.0 */
/* Filesystems as tests make and trouble them, and what they look at. */
#include <assert.h>

#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-fs-internal.h"

int64_t fake_ceph_add_fs(const char *monitors, const char *name)
{
	struct fake_filesystem *fs = xcalloc(1, sizeof(*fs));
	autofree char *meta = xasprintf("%s_meta", name);
	autofree char *data = xasprintf("%s_data", name);
	struct fake_cluster *cluster;

	fs->name = xstrdup(name);
	fs->metadata_pool = fake_ceph_add_pool(monitors, meta);
	(void)fake_ceph_add_pool(monitors, data);
	fake_ceph_lock();
	cluster = fake_ceph_cluster(monitors);
	fs->id = (int64_t)cluster->filesystems.n + 1;
	vec_push(&cluster->filesystems, fs);
	fake_fs_trouble = (struct fake_fs_trouble){ 0 };
	fake_ceph_unlock();
	return fs->metadata_pool;
}

void fake_ceph_fail_copies(unsigned n)
{
	fake_fs_trouble.copy_failures = n;
}

void fake_ceph_remove_later(bool is_later)
{
	fake_fs_trouble.is_removed_later = is_later;
}

void fake_ceph_hide_filesystems(bool hide)
{
	fake_fs_trouble.are_hidden = hide;
}

static struct fake_filesystem *own_fs(void)
{
	const struct fake_cluster *cluster = fake_ceph_cluster(FAKE_CEPH_MONITORS);

	assert(cluster->filesystems.n > 0);
	return cluster->filesystems.v[0];
}

void fake_ceph_remove_subvolume(const char *name)
{
	fake_ceph_lock();
	fake_fs_remove(own_fs(), name);
	fake_ceph_unlock();
}

size_t fake_ceph_n_subvolumes(void)
{
	size_t n;

	fake_ceph_lock();
	n = own_fs()->subvolumes.n;
	fake_ceph_unlock();
	return n;
}

/* NULL: there is no such subvolume, or it is there for its snapshots alone. */
static const struct fake_subvolume *own_subvolume(const char *name)
{
	const struct fake_subvolume *s = fake_fs_find(own_fs(), "csi", name);

	return s && s->state == STATE_WHOLE ? s : NULL;
}

uint64_t fake_ceph_subvolume_bytes(const char *name)
{
	const struct fake_subvolume *s;
	uint64_t bytes;

	fake_ceph_lock();
	s = own_subvolume(name);
	bytes = s ? s->bytes : 0;
	fake_ceph_unlock();
	return bytes;
}

size_t fake_ceph_n_subvolume_snaps(const char *name)
{
	const struct fake_subvolume *s;
	size_t n;

	fake_ceph_lock();
	s = fake_fs_find(own_fs(), "csi", name);
	n = s ? s->snaps.n : 0;
	fake_ceph_unlock();
	return n;
}

const char *fake_ceph_copied_from(const char *name)
{
	const struct fake_subvolume *s;

	fake_ceph_lock();
	s = own_subvolume(name);
	fake_ceph_unlock();
	return s ? s->source : NULL;
}

void fake_ceph_forget_words(void)
{
	fake_ceph_lock();
	for (size_t i = 0; i < own_fs()->subvolumes.n; i++) {
		struct fake_subvolume *s = own_fs()->subvolumes.v[i];

		while (s->meta.n > 0) {
			free(s->meta.v[--s->meta.n].key);
			free(s->meta.v[s->meta.n].value);
		}
	}
	fake_ceph_unlock();
}

const char *fake_ceph_subvolume_meta(const char *name, const char *key)
{
	const struct fake_subvolume *s;
	const char *value = NULL;

	fake_ceph_lock();
	s = own_subvolume(name);
	for (size_t i = 0; s && i < s->meta.n; i++)
		if (str_is_equal(s->meta.v[i].key, key))
			value = s->meta.v[i].value;
	fake_ceph_unlock();
	return value;
}
