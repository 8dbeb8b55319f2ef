/* SPDX-License-Identifier: Apache-2.0 */
/* A note as someone may have left it with a volume: what is understood is written and understood
 * again the same. */
#include "base/mem.h"
#include "csi/note.h"

#define BOOT "5e1f0b9c-0000-4000-8000-000000000001"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	char again[BACKEND_NOTE_MAX + 1];
	struct note one;
	struct note two;

	note_parse(text, BOOT, &one);
	note_format(&one, BOOT, again);
	note_parse(again, BOOT, &two);
	if (one.is_staged != two.is_staged || one.n_targets != two.n_targets ||
	    one.staging != two.staging || strcmp(one.staging_text, two.staging_text) != 0 ||
	    strcmp(one.flags_text, two.flags_text) != 0)
		abort();
	return 0;
}
