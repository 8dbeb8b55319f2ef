/* SPDX-License-Identifier: Apache-2.0 */
/* What a key of ceph-csi's journal holds, which anyone who may write to the pool may set: what is
 * taken has one spelling, so that it names one object. */
#include <stdio.h>
#include <string.h>

#include "backend/ceph/journal-internal.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	char uuid[UUID_TEXT_MAX], back[UUID_TEXT_MAX + 17];
	int64_t pool_id;

	if (!journal_parse_holding(text, uuid, &pool_id))
		return 0;
	if (pool_id < 0)
		(void)snprintf(back, sizeof(back), "%s", uuid);
	else
		(void)snprintf(back, sizeof(back), "%016llx/%s", (unsigned long long)pool_id, uuid);
	if (strcmp(back, text) != 0)
		abort();
	return 0;
}
