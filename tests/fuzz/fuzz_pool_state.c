/* SPDX-License-Identifier: Apache-2.0 */
/* A volume's state, which anyone who may write the file may set: what is taken is a size. */
#include "backend/pool/record.h"
#include "base/mem.h"
#include "volume/size.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	struct state state;
	struct err err;

	if (state_parse(text, &state, &err) == 0 &&
	    (state.bytes % VOL_SIZE_UNIT || state.bytes > VOL_SIZE_MAX))
		abort();
	return 0;
}
