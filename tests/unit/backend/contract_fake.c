/* SPDX-License-Identifier: Apache-2.0 */
#include "contract.h"

#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/host-internal.h"
#include "fake/host.h"

int contract_setup(void)
{
	return 0;
}

void contract_teardown(void)
{
	fake_host_reset(0);
}

bool contract_was_guard(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return false;
}

void contract_open(const char *kind, struct registry **ret_registry)
{
	struct backend_config config = {
		.kind = kind, .dir = "/pool", .mem_bytes = 1200 * MIB, .reserve_bytes = 100 * MIB
	};
	struct ctx ctx;
	struct err err;

	fake_host_reset(1300 * MIB);
	fake_host_add_dir("/mnt");
	fake_host_add_dir("/mnt2");
	ctx_init(&ctx, 0);
	*ret_registry = registry_new();
	ASSERT_OK(registry_open(*ret_registry, &ctx, &config, &err), &err);
	ctx_done(&ctx);
}

void contract_close(struct registry *r)
{
	registry_free(r);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_loops(), 0);
	ASSERT_EQ(fake_host_n_mounts(), 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
}

const char *contract_mount_dir(void)
{
	return "/mnt";
}

const char *contract_other_mount_dir(void)
{
	return "/mnt2";
}

bool contract_pool_can_clone(void)
{
	return true;
}

const char *contract_pool_dir(void)
{
	return "/pool";
}

static struct fake_inode *backing_of(const char *place)
{
	struct fake_mount *mount = NULL;
	uint64_t i;

	if (str_has_prefix(place, "/dev/loop"))
		ASSERT_EQ(str_parse_u64(place + strlen("/dev/loop"), &i), 0);
	else
		ASSERT_TRUE(fake_lookup(place, &mount) && mount->loop >= 0);
	return world.loops[mount ? (uint64_t)mount->loop : i].backing;
}

void contract_write(const char *place, const char *text)
{
	struct fake_inode *backing = backing_of(place);

	(void)snprintf(backing->text, 64, "%s", text);
	fake_map_write(backing, 8192, 4096);
}

void contract_read(const char *place, char ret_text[64])
{
	(void)snprintf(ret_text, 64, "%.63s", backing_of(place)->text);
}
