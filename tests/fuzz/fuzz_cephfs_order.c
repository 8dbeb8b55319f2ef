/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a server of a volume is told: what is understood is told again in the same
 * bytes, and its token can be a word of a mount's options. */
#include "backend/cephfs/serve.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autowipe struct str again = STR_INIT;
	struct cephfs_order order;

	if (cephfs_order_decode((const char *)data, size, &order) < 0)
		return 0;
	assert(order.dir[0] == '/' && order.target[0] == '/' && order.path[0] == '/');
	assert(order.token[0] && !strpbrk(order.token, ",/\\"));
	cephfs_order_encode(&order, &again);
	assert(again.len == size && memcmp(again.buf, data, size) == 0);
	return 0;
}
