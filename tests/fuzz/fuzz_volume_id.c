/* SPDX-License-Identifier: Apache-2.0 */
/* Ids and names from outside: an id that is taken has one text only, and every name gives a token.
 */
#include "base/mem.h"
#include "volume/id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	char token[VOL_TOKEN_MAX];
	char again[VOL_ID_MAX];
	struct vol_id id;
	struct err err;

	for (int kind = VOL_KIND_VOLUME; kind <= VOL_KIND_GROUP; kind++) {
		if (vol_id_parse((enum vol_kind)kind, text, &id, &err) < 0)
			continue;
		vol_id_format((enum vol_kind)kind, &id, again);
		if (strcmp(text, again) != 0)
			abort();
	}
	vol_token_from_name(text, token);
	if (!vol_token_is_valid(token))
		abort();
	return 0;
}
