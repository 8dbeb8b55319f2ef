/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a call waits: chosen by its RPC, and by the storage that it is for. One file server that
 * answers nothing would else take every worker of "store" and "host", and with them the disks of
 * this machine.
 *
 * The choice is made on the I/O thread, before the call is queued: if a worker of the row's lane
 * decoded the request and then handed it on, calls to a silent server would still wait behind a
 * dead disk's, and the other way round. It costs nothing while no pool waits for other machines;
 * else the request is decoded here once more than on its worker, some microseconds, as that of
 * every call which is served on this thread.
 *
 * A stream waits for its reader, who may take hours to read: it has its own lane whatever storage
 * it is of, so that slow readers hold up nothing but each other.
 *
 * A call that names no volume may go to any pool (a list), or to those of its class; it waits with
 * the slowest of them. An id that no pool here has is answered without asking any.
 */
#include "csi/driver-internal.h"

#include "base/mem.h"
#include "base/str.h"

#define POOL_PARAMETER "pool"

static const struct {
	const char *field;
	enum vol_kind kind;
} ids[] = {
	{ "volume_id", VOL_KIND_VOLUME },
	{ "source_volume_id", VOL_KIND_VOLUME },
	{ "snapshot_id", VOL_KIND_SNAPSHOT },
	{ "group_snapshot_id", VOL_KIND_GROUP },
};

static const void *find_value(const struct csi_rpc *rpc, const char *name, enum msg_kind kind,
			      const void *request)
{
	const struct msg_field *field = message_find(rpc->request, name);

	if (!field || field->kind != kind || field->label != MSG_PLAIN)
		return NULL;
	return (const char *)request + field->offset;
}

static enum backend_lane choose(const struct csi_driver *d, const struct csi_rpc *rpc,
				const void *request)
{
	const struct strmap *parameters = find_value(rpc, "parameters", MSG_MAP, request);
	const char *pool = parameters ? strmap_find(parameters, POOL_PARAMETER) : NULL;
	const struct registry *pools = d->pools;

	if (driver_elsewhere(d))
		pool = NULL; /* of another kind */

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		const void *id = find_value(rpc, ids[i].field, MSG_STRING, request);

		if (id && *message_string(id))
			return registry_lane(pools, "", ids[i].kind, message_string(id));
	}
	return registry_lane(pools, str_or(pool, ""), VOL_KIND_VOLUME, "");
}

enum csi_rpc_lane csi_driver_lane_of(void *driver, const struct csi_rpc *rpc, struct arena *a,
				     const struct msg_bytes *bytes)
{
	const struct csi_driver *d = driver;
	void *request;
	struct err err;

	if (rpc->lane == CSI_RPC_STREAMS ||
	    registry_lane(d->pools, "", VOL_KIND_VOLUME, "") == BACKEND_LANE_OF_RPC)
		return rpc->lane;
	request = arena_alloc(a, rpc->request->size);
	if (message_decode(rpc->request, a, bytes, MSG_FIELDS_REQUEST, request, &err) < 0)
		return rpc->lane; /* which refuses it at once */
	return choose(d, rpc, request) == BACKEND_LANE_REMOTE ? CSI_RPC_REMOTE : rpc->lane;
}
