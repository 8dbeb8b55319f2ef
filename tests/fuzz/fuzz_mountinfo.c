/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the mount table: each line is parsed or refused, and what is returned lies inside
 * it. */
#include "host/mount.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void parse_line(const char *text, size_t n)
{
	char *line = malloc(n + 1);
	struct host_mountinfo info;

	if (!line)
		return;
	memcpy(line, text, n);
	line[n] = '\0';
	if (host_mountinfo_parse(line, &info) == 0) {
		const char *const words[] = { info.root, info.point, info.fs, info.source,
					      info.super_options };

		for (size_t i = 0; i < 5; i++)
			assert(words[i] >= line && words[i] + strlen(words[i]) <= line + n);
	}
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	size_t from = 0;

	for (size_t i = 0; i <= size; i++) {
		if (i < size && text[i] != '\n')
			continue;
		parse_line(text + from, i - from);
		from = i + 1;
	}
	return 0;
}
