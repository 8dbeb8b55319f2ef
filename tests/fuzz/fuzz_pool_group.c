/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a group of snapshots: what is taken is written and read again as the same. */
#include <string.h>

#include "backend/pool/group_record.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	autostr struct str back = STR_INIT;
	struct group_record r, again;
	struct err err;

	if (group_record_parse(text, &r, &err) < 0)
		return 0;
	group_record_format(&r, &back);
	if (group_record_parse(str_get(&back), &again, &err) < 0 ||
	    r.created_ns != again.created_ns || memcmp(&r.pool, &again.pool, sizeof(r.pool)) != 0 ||
	    strcmp(r.name, again.name) != 0 || r.n_members != again.n_members)
		abort();
	for (size_t i = 0; i < r.n_members; i++) {
		if (strcmp(r.members[i].token, again.members[i].token) != 0 ||
		    strcmp(r.members[i].source, again.members[i].source) != 0)
			abort();
	}
	group_record_done(&r);
	group_record_done(&again);
	return 0;
}
