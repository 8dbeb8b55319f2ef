/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one decision of growth, as a table (contract of external-resizer). Two things make it more
 * than "what the claim asks for": a user may change the request at any moment, and a call whose
 * answer never came may still be carried out. So what was begun (allocated) is finished before
 * something else is asked for, unless the driver has said for good that it did nothing; only that
 * lets a request that was too large be taken back.
 */
#include "control/resizer-internal.h"

static uint64_t or_request(const struct resize_facts *f)
{
	return f->allocated_bytes ? f->allocated_bytes : f->request_bytes;
}

/* The PV is smaller than what is asked for. */
static uint64_t grow_volume(const struct resize_facts *f)
{
	uint64_t bytes = or_request(f);

	switch (f->status) {
	case CORE_RESIZE_NODE_INFEASIBLE:
		return bytes;
	case CORE_RESIZE_NODE_PENDING:
	case CORE_RESIZE_NODE_IN_PROGRESS:
		return f->pv_bytes >= bytes ? 0 : bytes; /* first kubelet, then more */
	case CORE_RESIZE_IN_PROGRESS:
		return f->is_final ? f->request_bytes : bytes;
	case CORE_RESIZE_NONE:
	case CORE_RESIZE_INFEASIBLE:
	case CORE_RESIZE_OTHER:
		break;
	}
	return f->request_bytes;
}

/* The volume has grown, and what is left is to be said, or to be done by kubelet. */
static uint64_t finish_growth(const struct resize_facts *f)
{
	switch (f->status) {
	case CORE_RESIZE_NODE_PENDING:
	case CORE_RESIZE_NODE_IN_PROGRESS:
		return 0;
	case CORE_RESIZE_NODE_INFEASIBLE:
		return f->grows_on_node ? f->request_bytes : or_request(f);
	case CORE_RESIZE_IN_PROGRESS:
	case CORE_RESIZE_INFEASIBLE:
		return or_request(f);
	case CORE_RESIZE_NONE:
		if (f->allocated_bytes)
			return f->allocated_bytes;
		break;
	case CORE_RESIZE_OTHER:
		break;
	}
	return f->is_fs_pending ? 0 : f->request_bytes;
}

uint64_t resize_target(const struct resize_facts *f)
{
	return f->pv_bytes < f->request_bytes ? grow_volume(f) : finish_growth(f);
}
