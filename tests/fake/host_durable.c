/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a file is durable on the fake host: one that was there before a change comes back from a
 * power cut as it was. And how big devices are.
 */
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "base/mem.h"
#include "fake/host-internal.h"
#include "fake/host.h"
#include "host/blockdev.h"
#include "host/fs.h"

static void free_durable(struct fake_durable *durable)
{
	for (size_t i = 0; i < durable->attrs.n; i++) {
		free(durable->attrs.v[i].name);
		free(durable->attrs.v[i].value);
	}
	vec_done(&durable->attrs);
	vec_done(&durable->map);
	*durable = (struct fake_durable){ 0 };
}

static void free_attrs(struct fake_inode *inode)
{
	for (size_t i = 0; i < inode->attrs.n; i++) {
		free(inode->attrs.v[i].name);
		free(inode->attrs.v[i].value);
	}
	vec_done(&inode->attrs);
}

void fake_attrs_done(struct fake_inode *inode)
{
	free_attrs(inode);
	free_durable(&inode->durable);
}

void fake_durable_keep(struct fake_inode *inode)
{
	struct fake_durable *durable = &inode->durable;

	free_durable(durable);
	durable->is_there = true;
	durable->bytes = inode->bytes;
	durable->allocated_bytes = inode->allocated_bytes;
	for (size_t i = 0; i < inode->attrs.n; i++)
		vec_push(&durable->attrs, ((struct fake_attr){ xstrdup(inode->attrs.v[i].name),
							       xstrdup(inode->attrs.v[i].value) }));
	for (size_t i = 0; i < inode->map.n; i++)
		vec_push(&durable->map, inode->map.v[i]);
	inode->is_synced = true;
}

/* Of one that never was synced the worst loss is the record. */
void fake_durable_restore(struct fake_inode *inode)
{
	struct fake_durable *durable = &inode->durable;

	free_attrs(inode);
	vec_done(&inode->map);
	if (!durable->is_there) {
		inode->text[0] = '\0';
		inode->allocated_bytes = 0;
		return;
	}
	inode->bytes = durable->bytes;
	inode->allocated_bytes = durable->allocated_bytes;
	for (size_t i = 0; i < durable->map.n; i++)
		vec_push(&inode->map, durable->map.v[i]);
	for (size_t i = 0; i < durable->attrs.n; i++)
		fake_attr_put(inode, durable->attrs.v[i].name, durable->attrs.v[i].value);
}

static struct fake_loop *loop_at(const char *path)
{
	unsigned long i = strtoul(path + strlen("/dev/loop"), NULL, 10);

	return i < FAKE_N_LOOPS && world.loops[i].backing ? &world.loops[i] : NULL;
}

int host_block_size(const char *device, uint64_t *ret_bytes, struct err *err)
{
	const struct fake_loop *loop = loop_at(device);

	if (fake_step(err) < 0)
		return -1;
	if (!loop)
		return err_set(err, ERR_NOT_FOUND, "ask '%s' for its size", device);
	*ret_bytes = loop->bytes;
	return 0;
}

int host_file_get_nocow(int fd, bool *ret_is_nocow, struct err *err)
{
	const struct fake_inode *inode = fake_fd_get(fd)->inode;

	if (fake_step_on(inode, err) < 0)
		return -1;
	*ret_is_nocow = inode->is_nocow;
	return 0;
}

int host_file_set_nocow(int fd, bool is_nocow, struct err *err)
{
	struct fake_inode *inode = fake_fd_get(fd)->inode;

	if (fake_step_on(inode, err) < 0)
		return -1;
	if (inode->bytes || strcmp(inode->on->type, "btrfs") != 0)
		return err_set(err, ERR_FAILED_PRECONDITION, "turn copy-on-write of a file off");
	inode->is_nocow = is_nocow;
	return 0;
}
