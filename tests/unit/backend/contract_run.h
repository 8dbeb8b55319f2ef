/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BACKEND_CONTRACT_RUN_H
#define TESTS_UNIT_BACKEND_CONTRACT_RUN_H

#include "backend/backend.h"
#include "check.h"
#include "contract.h"

/* One check of one backend; a file of such sentences includes this once. */
struct run {
	struct backend *b;
	struct ctx *ctx;
	struct err err;
	struct backend_volume vol;
	struct backend_device dev;
};

static void run_contract(const char *kind, void (*check)(struct run *run))
{
	struct registry *r;
	struct ctx ctx;
	struct run run = { .ctx = &ctx };

	contract_open(kind, &r);
	ctx_init(&ctx, 0);
	run.b = registry_at(r, 0);
	check(&run);
	ctx_done(&ctx);
	contract_close(r);
}

/* Whether its snapshots share blocks with their volumes; else each is a copy, of what is still. */
static inline bool shares_blocks(const struct run *run)
{
	return strcmp(run->b->ops->name, "pool") != 0 || contract_pool_can_clone();
}

/* One sentence of the contract, as a test for each kind. */
#define CONTRACT(name)                              \
	static void check_##name(struct run *run);  \
	TEST(pool_##name)                           \
	{                                           \
		run_contract("pool", check_##name); \
	}                                           \
	TEST(mem_##name)                            \
	{                                           \
		run_contract("mem", check_##name);  \
	}                                           \
	static void check_##name(struct run *run)

#define BOTH(name) cmocka_unit_test(pool_##name), cmocka_unit_test(mem_##name)

#endif
