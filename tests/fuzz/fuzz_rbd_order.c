/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a server of an image is told, and as what it says: what is understood is told
 * again in the same bytes. */
#include "backend/rbd/serve.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autowipe struct str again = STR_INIT;
	char text[SERVE_SAID_MAX] = { 0 };
	struct serve_order order;
	uint64_t bytes, device;
	pid_t pid;

	if (serve_order_decode((const char *)data, size, &order) == 0) {
		assert(order.dir[0] == '/' && order.token[0] && !strchr(order.token, '/'));
		serve_order_encode(&order, &again);
		assert(again.len == size && memcmp(again.buf, data, size) == 0);
	}
	if (size < sizeof(text)) {
		memcpy(text, data, size);
		if (serve_said_parse(text, &bytes, &device, &pid) == 0) {
			char said[SERVE_SAID_MAX];

			serve_said_format(bytes, device, pid, said);
			assert(pid >= 0 && strlen(said) == 53);
		}
	}
	return 0;
}
