/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a kubeconfig, or as two with a NUL between them: a configuration with a host, or an
 * error that names the file. A token has what a header can carry. */
#include "kube/config-internal.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *nul = size ? memchr(text, '\0', size) : NULL;
	struct kubeconfig_text texts[2] = { { "/f", text, size } };
	struct kube_config c = { 0 };
	struct err err;

	if (nul) {
		texts[0].n = (size_t)(nul - text);
		texts[1] = (struct kubeconfig_text){ "/f", nul + 1, size - texts[0].n - 1 };
	}
	if (kubeconfig_parse(texts, nul ? 2 : 1, "", &c, &err) < 0)
		assert(err.code == ERR_FAILED_PRECONDITION && strstr(err.msg, "'/f'"));
	else
		assert(c.host && *c.host && c.port && c.path_prefix &&
		       (!c.token || !kube_token_problem(c.token, strlen(c.token))));
	kube_config_done(&c);
	return 0;
}
