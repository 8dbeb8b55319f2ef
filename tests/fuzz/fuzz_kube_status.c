/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a refusal, as error and as verdict: whatever it is, both have words, and the same. */
#include "kube/client-internal.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoarena struct arena *arena = arena_new();
	struct kube_verdict v;
	struct err err;

	kube_verdict_read(arena, 422, (const char *)data, size, &v);
	(void)kube_reply_error("get", "/api/v1/nodes/n", 422, (const char *)data, size, &err);
	assert(v.status == 422 && err.code == ERR_INVALID_ARGUMENT);
	assert(strncmp(err.msg, "get nodes: ", 11) == 0);
	(void)(strlen(v.reason) + strlen(v.message));
	for (size_t i = 0; i < v.n_causes; i++)
		assert(kube_verdict_has(&v, v.causes[i].reason) &&
		       strlen(v.causes[i].field) + strlen(v.causes[i].message) <= size);
	return 0;
}
