/* SPDX-License-Identifier: Apache-2.0 */
/* What a server of a volume is told. */
#include "backend/cephfs/serve.h"

#include <string.h>

#include "backend/ceph/server.h"

#define FIRST "cleat-cephfs-order-2"
#define N_TEXTS 11

void cephfs_order_encode(const struct cephfs_order *o, struct str *out)
{
	const char *const texts[N_TEXTS] = { FIRST,       o->dir,    o->target, o->token,
					     o->monitors, o->user,   o->key,    o->fs_name,
					     o->path,     o->inside, o->options };

	ceph_server_order_encode(texts, N_TEXTS, out);
}

int cephfs_order_decode(const char *bytes, size_t n, struct cephfs_order *ret_order)
{
	const char *texts[N_TEXTS];

	if (ceph_server_order_decode(bytes, n, FIRST, texts, N_TEXTS) < 0 || texts[1][0] != '/' ||
	    texts[2][0] != '/' || !texts[3][0] || strpbrk(texts[3], "/,\\") || texts[8][0] != '/')
		return -1;
	*ret_order = (struct cephfs_order){ .dir = texts[1],
					    .target = texts[2],
					    .token = texts[3],
					    .monitors = texts[4],
					    .user = texts[5],
					    .key = texts[6],
					    .fs_name = texts[7],
					    .path = texts[8],
					    .inside = texts[9],
					    .options = texts[10] };
	return 0;
}
