/* SPDX-License-Identifier: Apache-2.0 */
/* An id as any driver may give it: what is found in it is a word that ends with a UID. */
#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"
#include "control/orphan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *id = xstrndup((const char *)data, size);
	const char *at;
	size_t n = 0;

	at = orphan_name_in(id, "pvc", &n);
	if (!at)
		return 0;
	if (at < id || at + n > id + strlen(id) || !str_has_prefix(at, "pvc-") ||
	    n != strlen("pvc-") + UUID_TEXT_MAX - 1)
		abort();
	return 0;
}
