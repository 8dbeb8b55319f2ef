/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a volume or a snapshot, which anyone who may write the file may set: what is taken
 * is written and read again as the same. */
#include <string.h>

#include "backend/pool/record.h"
#include "base/mem.h"

static void check(enum record_kind kind, const char *text)
{
	struct record record, again;
	char back[RECORD_MAX];
	struct err err;

	if (record_parse(kind, text, &record, &err) < 0)
		return;
	record_format(kind, &record, back);
	if (record_parse(kind, back, &again, &err) < 0 || strcmp(record.name, again.name) != 0 ||
	    record.bytes != again.bytes || record.source_kind != again.source_kind ||
	    strcmp(record.source, again.source) != 0 || strcmp(record.group, again.group) != 0 ||
	    record.no_reserve != again.no_reserve || record.is_thin != again.is_thin ||
	    memcmp(&record.pool, &again.pool, sizeof(again.pool)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);

	check(RECORD_VOLUME, text);
	check(RECORD_SNAPSHOT, text);
	return 0;
}
