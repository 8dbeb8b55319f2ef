/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the object that gives an image's name its id: an id is a text of these bytes. */
#include "backend/rbd/image.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char id[IMAGE_ID_MAX];

	if (image_id_decode((const char *)data, size, id) == 0) {
		assert(strlen(id) == size - sizeof(uint32_t));
		assert(memcmp(id, data + sizeof(uint32_t), strlen(id)) == 0);
	}
	return 0;
}
