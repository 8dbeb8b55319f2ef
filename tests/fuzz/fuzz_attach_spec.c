/* SPDX-License-Identifier: Apache-2.0 */
/* The spec of a PV that anybody may have written: what is understood of it can be asked of a
 * driver. */
#include "base/mem.h"
#include "base/str.h"
#include "control/attach-internal.h"
#include "control/capability.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoarena struct arena *arena = arena_new();
	autojson struct json_doc *doc = NULL;
	struct attach_spec spec;
	struct err err;

	if (json_parse((const char *)data, size, &doc, &err) < 0)
		return 0;
	if (attach_spec_read(arena, json_root(doc), "d", size & 2, &spec, &err) == 0 &&
	    (!*spec.handle || !*spec.secret.ns != !*spec.secret.name))
		abort();
	if (capability_of_pv(arena, json_root(doc), "ext4", size & 1, &spec.capability, &err) < 0)
		return 0;
	if (spec.capability.mode == VOL_MODE_UNKNOWN || !spec.capability.fs_type)
		abort();
	for (size_t i = 0; i < spec.capability.n_mount_flags; i++)
		if (!spec.capability.mount_flags[i])
			abort();
	return 0;
}
