/* SPDX-License-Identifier: Apache-2.0 */
#include "control/snapshot_params.h"

#include "base/str.h"
#include "control/secrets.h"

#define PREFIX "csi.storage.k8s.io/"

int snapshot_strip_parameters(struct arena *arena, const struct strmap *params,
			      struct strmap *ret_params, struct err *err)
{
	struct strpair *pairs = arena_array(arena, params->n, sizeof(*pairs));
	size_t n = 0;

	for (size_t i = 0; i < params->n; i++) {
		const char *key = params->v[i].key;

		if (!str_has_prefix(key, PREFIX))
			pairs[n++] = params->v[i];
		else if (!snapshot_secret_key_is_known(key))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "unknown parameter '%s': of those with '" PREFIX
				       "' there are the …snapshotter-…secret-name and "
				       "-secret-namespace pairs",
				       key);
	}
	*ret_params = strmap_from(arena, pairs, n);
	return 0;
}
