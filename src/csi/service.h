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
 * For each row of csi/rpc.def there is a member of struct csi_service_ops, with the
 * implementation's pointer as first parameter, and a function csi_<name>, with the service as
 * first, and then
 *
 *   struct ctx *ctx
 *   const struct csi_<name>_request *req
 *   struct csi_<name>_response *ret, or struct csi_stream *out for a CSI_RPC_STREAM
 *   struct err *err
 *
 * with the structs of csi/messages.h, which have the field names of csi.proto.
 *
 * - Threads: all calls block and belong on a worker, but for those that rpc.def says answer
 *   constants (ASKS): an implementation in this process answers them at once, also on the I/O
 *   thread. Many threads call one table at a time.
 * - Memory: requests are borrowed for the call; what replies point to lives in ctx->arena or for
 *   ever.
 * - Strings: never NULL, "" when absent. csi_<name> empties the reply before it calls.
 * - Presence: what has a has_… is there only if that is set, whoever fills or reads it. csi_<name>
 *   answers INTERNAL where a request, a reply or a message of a stream is filled without.
 * csi/client has looked whether what CSI calls REQUIRED is in a reply; in this process nobody does.
 * - Errors: -1 with a code of CSI's tables and a text without secrets; the reply is undefined then.
 *   A NULL pointer in the table is UNIMPLEMENTED, which csi_<name> says.
 */
struct csi_stream;
struct csi_service_ops {
	/* Not of CSI: see csi_link_changes. */
	uint64_t (*link_changes)(void *impl);
#define CSI_RPC(service, Method, name, ...)                                              \
	int (*name)(void *impl, struct ctx *ctx, const struct csi_##name##_request *req, \
		    struct csi_##name##_response *ret, struct err *err);
#define CSI_RPC_STREAM(service, Method, name, ...)                                       \
	int (*name)(void *impl, struct ctx *ctx, const struct csi_##name##_request *req, \
		    struct csi_stream *out, struct err *err);
#include "csi/rpc.def"
};

struct csi_service {
	const struct csi_service_ops *ops;
	void *impl;
};

/* As long as it answers the same, the process behind the service is the same; 0 for one in this
 * process. What was asked of it before another answer (name, capabilities) is to be asked again.
 * Any thread; does not block. */
uint64_t csi_link_changes(const struct csi_service *s);

/*
 * struct csi_stream - where the messages of a stream go, one by one
 *
 * Made by the caller of a CSI_RPC_STREAM. take gets each message (const struct
 * csi_<name>_response *, borrowed until it returns), on the thread of the call and before that
 * returns: as long as it does not come back nothing more is read or sent. -1 from it, with err, is
 * that nobody listens any more; the call ends then and fails with this err. What a call sent before
 * it failed was true.
 *
 * The implementation sends by csi_<name>_send(out, message, err), which blocks while the peer does
 * not read; the message is copied or consumed when it returns, so one struct and one piece of
 * memory do for all. -1: nobody listens; the implementation gives that err back and sends no more.
 * Long streams are not made in ctx->arena, which only grows.
 */
struct csi_stream {
	int (*take)(void *arg, const void *message, struct err *err);
	void *arg;
	const struct msg_type *type; /* set by csi_<name>, asserted by csi_<name>_send */
};

#define CSI_RPC(service, Method, name, ...)                                                       \
	int csi_##name(const struct csi_service *s, struct ctx *ctx,                              \
		       const struct csi_##name##_request *req, struct csi_##name##_response *ret, \
		       struct err *err);
#define CSI_RPC_STREAM(service, Method, name, ...)                                           \
	int csi_##name(const struct csi_service *s, struct ctx *ctx,                         \
		       const struct csi_##name##_request *req, struct csi_stream *out,       \
		       struct err *err);                                                     \
	int csi_##name##_send(struct csi_stream *out, const struct csi_##name##_response *m, \
			      struct err *err);
#include "csi/rpc.def"

/* The rows as data, for what treats all RPCs alike (server, client). */
enum csi_rpc_what { CSI_RPC_ASKS, CSI_RPC_READS, CSI_RPC_CHANGES };
enum csi_rpc_lane {
	CSI_RPC_STORE,
	CSI_RPC_HOST,
	CSI_RPC_LOOK,
	CSI_RPC_REMOTE,
	CSI_RPC_STREAMS,
	CSI_N_LANES
};
enum csi_rpc_caller { CSI_RPC_ANYONE, CSI_RPC_KUBELET };
struct csi_rpc {
	const char *path; /* "/csi.v1.Controller/CreateVolume" */
	const char *method;
	enum csi_rpc_what what;
	enum csi_rpc_lane lane;
	enum csi_rpc_caller caller;
	const char *id_key;   /* what the log calls it */
	const char *id_field; /* of the request; "" if the call names nothing */
	const struct msg_type *request, *response;
	/* csi_<name> for messages whose types are the row's; one of the two, the other is NULL. */
	int (*call)(const struct csi_service *s, struct ctx *ctx, const void *req, void *ret,
		    struct err *err);
	int (*stream)(const struct csi_service *s, struct ctx *ctx, const void *req,
		      struct csi_stream *out, struct err *err);
	bool (*is_served)(const struct csi_service *s);
};
enum csi_rpc_id {
#define CSI_RPC(service, Method, name, ...) CSI_RPC_##Method,
#define CSI_RPC_STREAM CSI_RPC
#include "csi/rpc.def"
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
#define CSI_EXPANSION_SHIFT 48
#define CSI_EXPANSION_BIT(expansion) CSI_CAP_BIT(CSI_EXPANSION_SHIFT + (expansion))
uint64_t csi_capability_bits(const struct csi_capability *v, size_t n);
const struct csi_capability *csi_capabilities(struct arena *a, uint64_t bits, size_t *ret_n);

/* What a driver says that it is and can, of those services that it has. */
struct csi_offers {
	const char *name, *version;         /* in the ctx's arena */
	uint64_t plugin, controller, group; /* csi_capability_bits(); 0 without that service */
};
int csi_ask_offers(const struct csi_service *s, struct ctx *ctx, struct csi_offers *ret_offers,
		   struct err *err);

/* Probe's answer: one without the field means ready (CSI 1.13, Probe). */
static inline bool csi_probe_is_ready(const struct csi_probe_response *reply)
{
	return !reply->has_ready || reply->ready;
}

#endif
