/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a kubeconfig: a configuration with a host, or an error that names the file. */
#include "kube/config-internal.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kube_config c = { 0 };
	struct err err;

	if (kubeconfig_parse("/f", (const char *)data, size, "", &c, &err) == 0)
		assert(c.host && *c.host && c.port && c.path_prefix);
	else
		assert(err.code == ERR_FAILED_PRECONDITION && strstr(err.msg, "'/f'"));
	kube_config_done(&c);
	return 0;
}
