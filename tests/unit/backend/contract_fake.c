/* SPDX-License-Identifier: Apache-2.0 */
#include "contract.h"

#include "base/num.h"
#include "check.h"
#include "fake/host.h"

int contract_setup(void)
{
	return 0;
}

void contract_teardown(void)
{
	fake_host_reset(0);
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

const char *contract_pool_dir(void)
{
	return "/pool";
}
