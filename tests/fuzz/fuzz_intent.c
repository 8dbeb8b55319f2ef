/* SPDX-License-Identifier: Apache-2.0 */
/* An intent as someone may have edited it: what is understood is written and understood again the
 * same. */
#include "base/mem.h"
#include "base/str.h"
#include "control/intent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	autoarena struct arena *arena = arena_new();
	autostr struct str one = STR_INIT, two = STR_INIT;
	struct intent it;
	struct err err;

	if (intent_parse(arena, "uid", text, &it, &err) < 0)
		return 0;
	(void)intent_place(arena, &it.request);
	intent_write(&it, &one);
	if (intent_parse(arena, "uid", str_get(&one), &it, &err) < 0)
		abort();
	intent_write(&it, &two);
	if (!str_is_equal(str_get(&one), str_get(&two)))
		abort();
	return 0;
}
