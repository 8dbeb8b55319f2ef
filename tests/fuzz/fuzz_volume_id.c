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

	if (vol_id_parse(text, &id, &err) == 0) {
		vol_id_format(&id, again);
		if (strcmp(text, again) != 0)
			abort();
	}
	vol_token_from_name(text, token);
	if (!vol_token_is_valid(token))
		abort();
	return 0;
}
