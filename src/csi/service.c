/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of service.h, one a row of rpc.def: a NULL in the table is UNIMPLEMENTED here, once,
 * and not in every caller.
 */
#include "csi/service.h"

#define EXPANSION_SHIFT 48

uint64_t csi_link_changes(const struct csi_service *s)
{
	return s->ops->link_changes ? s->ops->link_changes(s->impl) : 0;
}

/* call_<name> is csi_<name> by untyped pointers, for the table. */
#define CSI_RPC(service, Method, name, ...)                                                       \
	int csi_##name(const struct csi_service *s, struct ctx *ctx,                              \
		       const struct csi_##name##_request *req, struct csi_##name##_response *ret, \
		       struct err *err)                                                           \
	{                                                                                         \
		message_init(&csi_##name##_response_type, ret);                                   \
		if (!s->ops->name)                                                                \
			return err_set(err, ERR_UNIMPLEMENTED,                                    \
				       #Method " is not offered by this driver");                 \
		return s->ops->name(s->impl, ctx, req, ret, err);                                 \
	}                                                                                         \
	static int call_##name(const struct csi_service *s, struct ctx *ctx, const void *req,     \
			       void *ret, struct err *err)                                        \
	{                                                                                         \
		return csi_##name(s, ctx, req, ret, err);                                         \
	}                                                                                         \
	static bool is_##name##_served(const struct csi_service *s)                               \
	{                                                                                         \
		return s->ops->name != NULL;                                                      \
	}
#include "csi/rpc.def"
#undef CSI_RPC

uint64_t csi_capability_bits(const struct csi_capability *v, size_t n)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned first = v[i].which == 2 ? EXPANSION_SHIFT : 0;
		unsigned room = v[i].which == 2 ? 64 - EXPANSION_SHIFT : EXPANSION_SHIFT;

		if (v[i].which > 0 && v[i].value > 0 && (unsigned)v[i].value < room)
			bits |= UINT64_C(1) << (first + (unsigned)v[i].value);
	}
	return bits;
}

const struct csi_capability *csi_capabilities(struct arena *a, uint64_t bits, size_t *ret_n)
{
	struct csi_capability *v = arena_array(a, (size_t)__builtin_popcountll(bits), sizeof(*v));
	size_t n = 0;

	for (int bit = 0; bit < 64; bit++) {
		if (!(bits & CSI_CAP_BIT(bit)))
			continue;
		v[n].which = bit < EXPANSION_SHIFT ? 1 : 2;
		v[n++].value = bit < EXPANSION_SHIFT ? bit : bit - EXPANSION_SHIFT;
	}
	*ret_n = n;
	return v;
}

#define CSI_RPC(service_, Method, name_, what_, lane_, caller_, id_key_, id_) \
	[CSI_RPC_##Method] = {                                                \
		.path = "/csi.v1." #service_ "/" #Method,                     \
		.method = #Method,                                            \
		.what = CSI_RPC_##what_,                                      \
		.lane = CSI_RPC_##lane_,                                      \
		.caller = CSI_RPC_##caller_,                                  \
		.id_key = id_key_,                                            \
		.id_field = id_,                                              \
		.request = &csi_##name_##_request_type,                       \
		.response = &csi_##name_##_response_type,                     \
		.call = call_##name_,                                         \
		.is_served = is_##name_##_served,                             \
	},
const struct csi_rpc csi_rpcs[CSI_N_RPCS] = {
#include "csi/rpc.def"
};
