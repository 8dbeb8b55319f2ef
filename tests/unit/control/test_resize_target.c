/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what a claim is grown to, row by row (contract of external-resizer). */
#include "check.h"
#include "control/resizer-internal.h"

#include "base/mem.h"

/* clang-format off */
static const struct {
	uint64_t request, pv, allocated;
	enum core_resize status;
	bool is_final, grows_on_node, is_fs_pending;
	uint64_t want;
} rows[] = {
	/* the PV is smaller than the request */
	{ 20, 10,  0, CORE_RESIZE_NONE,                false, false, false, 20 },
	{ 20, 10, 15, CORE_RESIZE_NONE,                false, false, false, 20 },
	{ 20, 10,  0, CORE_RESIZE_NONE,                false, false, true,  20 },
	{ 20, 10, 15, CORE_RESIZE_NODE_INFEASIBLE,     false, false, false, 15 },
	{ 20, 10,  0, CORE_RESIZE_NODE_INFEASIBLE,     false, false, false, 20 },
	{ 20, 10, 15, CORE_RESIZE_NODE_PENDING,        false, false, false, 15 },
	{ 20, 15, 15, CORE_RESIZE_NODE_PENDING,        false, false, false,  0 },
	{ 20, 10, 15, CORE_RESIZE_NODE_IN_PROGRESS,    false, false, false, 15 },
	{ 20, 16, 15, CORE_RESIZE_NODE_IN_PROGRESS,    false, false, false,  0 },
	{ 20, 10, 15, CORE_RESIZE_IN_PROGRESS,         false, false, false, 15 },
	{ 20, 10, 30, CORE_RESIZE_IN_PROGRESS,         false, false, false, 30 },
	{ 20, 10, 30, CORE_RESIZE_IN_PROGRESS,         true,  false, false, 20 },
	{ 20, 10,  0, CORE_RESIZE_IN_PROGRESS,         false, false, false, 20 },
	{ 20, 10, 30, CORE_RESIZE_INFEASIBLE,          false, false, false, 20 },
	{ 20, 10, 30, CORE_RESIZE_OTHER,               false, false, false, 20 },
	/* it is not */
	{ 20, 20, 20, CORE_RESIZE_NODE_PENDING,        false, false, false,  0 },
	{ 20, 30, 20, CORE_RESIZE_NODE_IN_PROGRESS,    false, false, false,  0 },
	{ 20, 30, 30, CORE_RESIZE_NODE_INFEASIBLE,     false, false, false, 30 },
	{ 20, 30, 30, CORE_RESIZE_NODE_INFEASIBLE,     false, true,  false, 20 },
	{ 20, 30,  0, CORE_RESIZE_NODE_INFEASIBLE,     false, false, false, 20 },
	{ 20, 30, 30, CORE_RESIZE_IN_PROGRESS,         false, false, false, 30 },
	{ 20, 30, 30, CORE_RESIZE_IN_PROGRESS,         true,  false, false, 30 },
	{ 20, 30, 30, CORE_RESIZE_INFEASIBLE,          false, false, false, 30 },
	{ 20, 20,  0, CORE_RESIZE_INFEASIBLE,          false, false, false, 20 },
	{ 20, 30, 30, CORE_RESIZE_NONE,                false, false, true,  30 },
	{ 20, 20,  0, CORE_RESIZE_NONE,                false, false, true,   0 },
	{ 20, 20,  0, CORE_RESIZE_NONE,                false, false, false, 20 },
	{ 20, 20, 20, CORE_RESIZE_OTHER,               false, false, true,   0 },
	{ 20, 20, 20, CORE_RESIZE_OTHER,               false, false, false, 20 },
};
/* clang-format on */

TEST(each_state_has_its_target)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t got = resize_target(&(struct resize_facts){
			.request_bytes = rows[i].request,
			.pv_bytes = rows[i].pv,
			.allocated_bytes = rows[i].allocated,
			.status = rows[i].status,
			.is_final = rows[i].is_final,
			.grows_on_node = rows[i].grows_on_node,
			.is_fs_pending = rows[i].is_fs_pending,
		});

		if (got != rows[i].want)
			fail_msg("row %zu: %llu, not %llu", i, (unsigned long long)got,
				 (unsigned long long)rows[i].want);
	}
}

RUN_TESTS(UNIT(each_state_has_its_target))
