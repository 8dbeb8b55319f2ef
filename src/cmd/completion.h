/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_COMPLETION_H
#define CMD_COMPLETION_H

#include "base/str.h"
#include "cmd/cmd.h"

/*
 * What a shell needs to complete command lines of cleat, made of the tables that parse them:
 * commands, verbs of ctl, options and their choices. Appended to out. shell: "bash", "zsh", "fish".
 */
void completion_write(const char *shell, struct str *out);

#endif
