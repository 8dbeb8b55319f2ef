/* SPDX-License-Identifier: Apache-2.0 */
/* A volume's state, which anyone who may write the file may set: what is taken is a size and
 * limits, and what is written of it reads as the same. */
#include <string.h>

#include "backend/pool/record.h"
#include "base/mem.h"
#include "volume/size.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	struct state state, back;
	char out[RECORD_MAX];
	struct err err;

	if (state_parse(text, &state, &err) < 0)
		return 0;
	if (state.bytes % VOL_SIZE_UNIT || state.bytes > VOL_SIZE_MAX ||
	    !vol_limits_are_valid(&state.limits))
		abort();
	if (state_format(&state, out, &err) == 0 &&
	    (state_parse(out, &back, &err) < 0 || memcmp(&back, &state, sizeof(state)) != 0))
		abort();
	return 0;
}
