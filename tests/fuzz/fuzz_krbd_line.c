/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as monitors and, after a NUL, as the class's options: what becomes a line has one image,
 * and no option that is not the class's to give. Names of hosts are not resolved: a text
 * with letters is left alone. */
#include "host/krbd-internal.h"

#include <assert.h>
#include <string.h>

static bool is_numeric(const char *text)
{
	for (const char *v = text; (v = strchr(v, 'v')); v++) {
		if ((v[1] != '1' && v[1] != '2') || v[2] != ':')
			return false;
	}
	return text[strspn(text, "0123456789v:.,;[]/ \t\n")] == '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[2048] = { 0 };
	struct host_krbd_spec spec = { .monitors = text,
				       .user = "u",
				       .key = "",
				       .fsid = "",
				       .pool = "p",
				       .ns = "",
				       .image = "i" };
	autostr struct str line = STR_INIT;
	struct err err;

	if (size >= sizeof(text) - 1)
		return 0;
	memcpy(text, data, size);
	spec.options = strlen(text) < size ? text + strlen(text) + 1 : "";
	if (!is_numeric(text))
		return 0;
	if (krbd_line(&spec, NULL, 9, &line, &err) < 0) {
		assert(err.code == ERR_INVALID_ARGUMENT && line.len == 0);
		return 0;
	}
	assert(line.buf && str_has_suffix(line.buf, " p i -"));
	assert(strlen(line.buf) == line.len && !strchr(line.buf, '\n'));
	assert(!strstr(line.buf, "secret="));
	return 0;
}
