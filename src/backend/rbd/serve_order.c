/* SPDX-License-Identifier: Apache-2.0 */
/* What server and agent say to each other. What a server says may be read by a later version. */
#include "backend/rbd/serve.h"

#include <stdio.h>
#include <string.h>

#include "backend/ceph/server.h"
#include "base/mem.h"

#define FIRST "cleat-rbd-order-3"
#define N_TEXTS 13

void serve_order_encode(const struct serve_order *o, struct str *out)
{
	const char *const texts[N_TEXTS] = {
		FIRST,
		o->dir,
		o->token,
		o->monitors,
		o->user,
		o->key,
		o->pool,
		o->ns,
		o->image,
		o->read_only ? "ro" : "rw",
		o->node,
		o->boot_id,
		str_or(o->passphrase, ""),
	};

	ceph_server_order_encode(texts, N_TEXTS, out);
}

int serve_order_decode(const char *bytes, size_t n, struct serve_order *ret_order)
{
	const char *texts[N_TEXTS];

	if (ceph_server_order_decode(bytes, n, FIRST, texts, N_TEXTS) < 0 || texts[1][0] != '/' ||
	    !texts[2][0] || strchr(texts[2], '/') ||
	    (!str_is_equal(texts[9], "ro") && !str_is_equal(texts[9], "rw")))
		return -1;
	*ret_order = (struct serve_order){ .dir = texts[1],
					   .token = texts[2],
					   .monitors = texts[3],
					   .user = texts[4],
					   .key = texts[5],
					   .pool = texts[6],
					   .ns = texts[7],
					   .image = texts[8],
					   .node = texts[10],
					   .boot_id = texts[11],
					   .passphrase = texts[12],
					   .read_only = str_is_equal(texts[9], "ro") };
	return 0;
}

void serve_said_format(uint64_t bytes, uint64_t device, pid_t pid, char ret_text[SERVE_SAID_MAX])
{
	(void)snprintf(ret_text, SERVE_SAID_MAX, "%020llu %020llu %010d\n",
		       (unsigned long long)bytes, (unsigned long long)device, (int)pid);
}

int serve_said_parse(const char *text, uint64_t *ret_bytes, uint64_t *ret_device, pid_t *ret_pid)
{
	uint64_t numbers[3];
	const char *at = text;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		size_t n = strcspn(at, " \n");
		char word[24];

		if (n == 0 || n >= sizeof(word) || at[n] != (i < 2 ? ' ' : '\n'))
			return -1;
		memcpy(word, at, n);
		word[n] = '\0';
		if (str_parse_u64(word, &numbers[i]) < 0)
			return -1;
		at += n + 1;
	}
	if (*at || numbers[2] > INT32_MAX)
		return -1;
	*ret_bytes = numbers[0];
	*ret_device = numbers[1];
	*ret_pid = (pid_t)numbers[2];
	return 0;
}
