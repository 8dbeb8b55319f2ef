/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controller_none - in place of controller_run.c while src/kube is not whole (meson.build chooses)
 *
 * Says so and fails, rather than pretending to run.
 */
#include "cmd/controller_run.h"

int controller_run(const struct cmd *cmd, const struct controller_options *opts)
{
	struct err err;

	(void)opts;
	(void)err_set(&err, ERR_UNIMPLEMENTED, "this build has no Kubernetes client");
	return cmd_failed(cmd, &err);
}
