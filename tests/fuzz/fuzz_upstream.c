/* SPDX-License-Identifier: Apache-2.0 */
/* A command line as upstream's programs get it: the first byte says which, lines are words. What is
 * taken must be options that each begin with dashes; what is refused ends with a code of its own
 * and says why. */
#include "base/mem.h"
#include "base/str.h"
#include "cmd/upstream.h"

#include <assert.h>

#define WORDS_MAX 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct upstream_program *p;
	const char *argv[WORDS_MAX + 2];
	struct upstream_line line;
	autofree char *text = NULL;
	struct err err = { 0 };
	size_t n = 1;
	int r;

	if (size == 0)
		return 0;
	p = &upstream_programs[data[0] % n_upstream_programs];
	text = xstrndup((const char *)data + 1, size - 1);
	argv[0] = p->name;
	for (char *at = text, *next; *at && n <= WORDS_MAX; at = next) {
		size_t len = strcspn(at, "\n");

		next = at + len + (at[len] == '\n');
		at[len] = '\0';
		argv[n++] = at;
	}
	argv[n] = NULL;
	r = upstream_parse(p, argv, &line, &err);
	assert(r == 0 || ((r == 1 || r == 2 || r == 255) && err.msg[0]));
	if (r)
		return 0;
	for (size_t i = 1; line.args[i]; i++)
		assert(str_has_prefix(line.args[i], "--") && strchr(line.args[i], '='));
	upstream_line_done(&line);
	return 0;
}
