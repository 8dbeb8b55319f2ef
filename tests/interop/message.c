/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of csi.proto through base/message, for comparison with other implementations: reads
 * "NAME LENGTH\n" and that many bytes, decodes and encodes them, and answers "ok LENGTH\n" and the
 * bytes, or "error LENGTH\n" and why not. NAME as in "csi.v1.Volume". Ends with its input.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "csi/messages.h"

static const struct msg_type *find_type(const char *name)
{
	for (size_t i = 0; i < csi_n_message_types; i++) {
		if (str_is_equal(csi_message_types[i]->name, name))
			return csi_message_types[i];
	}
	return NULL;
}

static void answer(const char *word, const void *bytes, size_t n)
{
	printf("%s %zu\n", word, n);
	if (n > 0)
		(void)fwrite(bytes, 1, n, stdout); /* a closed pipe ends us by SIGPIPE */
	(void)fflush(stdout);
}

static void work(const struct msg_type *type, const struct msg_bytes *in)
{
	autoarena struct arena *a = arena_new();
	void *msg = arena_alloc(a, type->size);
	struct msg_bytes out;
	struct err err;

	if (message_decode(type, a, in, MSG_FIELDS_REPLY, msg, &err) < 0) {
		answer("error", err.msg, strlen(err.msg));
		return;
	}
	out = message_encode(type, a, msg);
	answer("ok", out.data, out.n);
}

int main(void)
{
	char name[128];
	size_t n;

	while (scanf("%127s %zu", name, &n) == 2 && getchar() == '\n') {
		autofree uint8_t *bytes = xmalloc(n ? n : 1);
		const struct msg_type *type = find_type(name);

		if (!type || fread(bytes, 1, n, stdin) != n) {
			fprintf(stderr, "no message %s, or fewer than %zu bytes\n", name, n);
			return 1;
		}
		work(type, &(struct msg_bytes){ bytes, n });
	}
	return 0;
}
