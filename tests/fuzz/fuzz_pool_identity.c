/* SPDX-License-Identifier: Apache-2.0 */
/* The file .cleat/pool: what is taken is written and read again as the same. */
#include <string.h>

#include "backend/pool/identity.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	struct pool_identity id, again;
	char back[POOL_IDENTITY_MAX];
	struct err err;

	if (pool_identity_parse(text, &id, &err) < 0)
		return 0;
	pool_identity_format(&id, back);
	if (pool_identity_parse(back, &again, &err) < 0 || strcmp(id.node, again.node) != 0 ||
	    id.inode != again.inode ||
	    memcmp(&id.identity, &again.identity, sizeof(id.identity)) != 0)
		abort();
	return 0;
}
