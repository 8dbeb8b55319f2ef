/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as ceph-csi's image-meta.json: what is understood is understood again, the same, once it
 * is written by us. */
#include "backend/rbd/stash.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[IMAGE_STASH_MAX] = { 0 };
	char again[IMAGE_STASH_MAX];
	struct image_stash stash, back;
	struct err err;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	memset(&stash, 0, sizeof(stash));
	if (image_stash_parse(text, &stash) < 0 || image_stash_format(&stash, again, &err) < 0)
		return 0;
	assert(image_stash_parse(again, &back) == 0);
	assert(strcmp(stash.image, back.image) == 0 && stash.is_nbd == back.is_nbd &&
	       stash.is_encrypted == back.is_encrypted &&
	       strcmp(stash.unmap_options, back.unmap_options) == 0);
	return 0;
}
