/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_PRETTY_H
#define CMD_PRETTY_H

#include "base/json.h"

/* A JSON value as people read it, with a line feed at the end: indented JSON, or YAML 1.2 (strings
 * are quoted as in JSON, which YAML takes as they are). */
void pretty_json(const struct json *v, struct str *out);
void pretty_yaml(const struct json *v, struct str *out);

#endif
