/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as the record of how an image was attached: what is understood is written again as it
 * was. */
#include "backend/rbd/state.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[IMAGE_ATTACHED_MAX] = { 0 };
	char again[IMAGE_ATTACHED_MAX];
	struct image_attached how;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	if (image_attached_parse(text, &how) < 0)
		return 0;
	image_attached_format(&how, again);
	assert(strcmp(text, again) == 0);
	return 0;
}
