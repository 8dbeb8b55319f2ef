/* SPDX-License-Identifier: Apache-2.0 */
/* A volume's record, which anyone who may write the file may set: what is taken is written and read
 * again as the same. */
#include <string.h>

#include "backend/pool/record.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	struct record record, again;
	char back[RECORD_MAX];
	struct err err;

	if (record_parse(text, &record, &err) < 0)
		return 0;
	record_format(&record, back);
	if (record_parse(back, &again, &err) < 0 || strcmp(record.name, again.name) != 0 ||
	    record.bytes != again.bytes ||
	    memcmp(&record.pool, &again.pool, sizeof(again.pool)) != 0)
		abort();
	return 0;
}
