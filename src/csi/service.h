/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_SERVICE_H
#define CSI_SERVICE_H

#include "base/ctx.h"
#include "base/err.h"
#include "csi/messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * CSI 1.13 as plain C: what csi/server serves on the wire, csi/client calls over it, and control/
 * calls without knowing which of the two is behind. So a controller works the same against the
 * backends in this process and against any vendor's driver over a socket.
 *
 * For each row of csi/rpc.def there is a member of struct csi_service_ops and a function
 * csi_<name>, both as
 *
 *   int (struct ctx *, const struct csi_<name>_request *, struct csi_<name>_response *, struct err
 * *)
 *
 * with the structs of csi/messages.h, which have the field names of csi.proto. Requests are
 * borrowed for the call; what replies point to lives in ctx->arena. All calls block and belong on a
 * worker. In requests and replies strings are never NULL ("" when absent) and has_… must be set for
 * what is there. A NULL pointer in the table means UNIMPLEMENTED: csi_<name> says so, and empties
 * the reply before it calls.
 */
struct csi_service_ops {
	/* Not of CSI: see csi_link_changes. */
	uint64_t (*link_changes)(void *impl);
#define CSI_RPC(service, Method, name, ...)                                              \
	int (*name)(void *impl, struct ctx *ctx, const struct csi_##name##_request *req, \
		    struct csi_##name##_response *ret, struct err *err);
#include "csi/rpc.def"
#undef CSI_RPC
};

struct csi_service {
	const struct csi_service_ops *ops;
	void *impl;
};

/* As long as it answers the same, the process behind the service is the same; 0 for one in this
 * process. What was asked of it before another answer (name, capabilities) is to be asked again. */
uint64_t csi_link_changes(const struct csi_service *s);

#define CSI_RPC(service, Method, name, ...)                                                       \
	int csi_##name(const struct csi_service *s, struct ctx *ctx,                              \
		       const struct csi_##name##_request *req, struct csi_##name##_response *ret, \
		       struct err *err);
#include "csi/rpc.def"
#undef CSI_RPC

/* The rows as data, for what treats all RPCs alike (server, client). */
enum csi_rpc_what { CSI_RPC_ASKS, CSI_RPC_READS, CSI_RPC_CHANGES };
enum csi_rpc_lane { CSI_RPC_STORE, CSI_RPC_HOST };
enum csi_rpc_caller { CSI_RPC_ANYONE, CSI_RPC_KUBELET };
struct csi_rpc {
	const char *path; /* "/csi.v1.Controller/CreateVolume" */
	const char *method;
	enum csi_rpc_what what;
	enum csi_rpc_lane lane;
	enum csi_rpc_caller caller;
	const char *id_key; /* "" if the call has none */
	const char *id_field;
	const struct msg_type *request, *response;
	/* csi_<name> for messages whose types are the row's. */
	int (*call)(const struct csi_service *s, struct ctx *ctx, const void *req, void *ret,
		    struct err *err);
	bool (*is_served)(const struct csi_service *s);
};
enum csi_rpc_id {
#define CSI_RPC(service, Method, name, ...) CSI_RPC_##Method,
#include "csi/rpc.def"
#undef CSI_RPC
	CSI_N_RPCS,
};
extern const struct csi_rpc csi_rpcs[CSI_N_RPCS];

/*
 * The capabilities of a reply as bits, and bits as capabilities (arena). Bit n is the capability
 * with the number n (enum csi_plugin_cap, csi_controller_cap, csi_node_cap, csi_group_cap); those
 * of an expansion (enum csi_expansion) begin at CSI_EXPANSION_BIT. What this version does not know
 * has no bit.
 */
#define CSI_CAP_BIT(cap) (UINT64_C(1) << (cap))
#define CSI_EXPANSION_BIT(expansion) (UINT64_C(1) << (48 + (expansion)))
uint64_t csi_capability_bits(const struct csi_capability *v, size_t n);
const struct csi_capability *csi_capabilities(struct arena *a, uint64_t bits, size_t *ret_n);

/* Probe's answer: one without the field means ready (CSI 1.13, Probe). */
static inline bool csi_probe_is_ready(const struct csi_probe_response *reply)
{
	return !reply->has_ready || reply->ready;
}

#endif
