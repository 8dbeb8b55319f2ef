/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of service.h, one a row of rpc.def: a NULL in the table is UNIMPLEMENTED here, once,
 * and not in every caller; so is what either side forgot to set. Three groups of functions come
 * from the rows: csi_<name>, the same with untyped messages, and whether a service has it; the
 * table at the end is for code that treats all RPCs alike.
 */
#include "csi/service.h"

#include <assert.h>

#include "csi/fields.h"

uint64_t csi_link_changes(const struct csi_service *s)
{
	return s->ops->link_changes ? s->ops->link_changes(s->impl) : 0;
}

static int refuse(const char *method, struct err *err)
{
	return err_set(err, ERR_UNIMPLEMENTED, "%s is not offered by this driver", method);
}

/* What one side forgot to say is a bug that only callers in this process would not notice. */
static int check(const char *what, const struct msg_type *type, const void *msg, struct err *err)
{
	return fields_check_flags(type, msg, err) < 0 ? err_wrap(err, "%s", what) : 0;
}

#define CSI_RPC(service, Method, name, ...)                                                       \
	int csi_##name(const struct csi_service *s, struct ctx *ctx,                              \
		       const struct csi_##name##_request *req, struct csi_##name##_response *ret, \
		       struct err *err)                                                           \
	{                                                                                         \
		message_init(&csi_##name##_response_type, ret);                                   \
		if (!s->ops->name)                                                                \
			return refuse(#Method, err);                                              \
		if (check(#Method, &csi_##name##_request_type, req, err) < 0 ||                   \
		    s->ops->name(s->impl, ctx, req, ret, err) < 0)                                \
			return -1;                                                                \
		return check("reply of " #Method, &csi_##name##_response_type, ret, err);         \
	}
#define CSI_RPC_STREAM(service, Method, name, ...)                                           \
	int csi_##name(const struct csi_service *s, struct ctx *ctx,                         \
		       const struct csi_##name##_request *req, struct csi_stream *out,       \
		       struct err *err)                                                      \
	{                                                                                    \
		out->type = &csi_##name##_response_type;                                     \
		if (!s->ops->name)                                                           \
			return refuse(#Method, err);                                         \
		if (check(#Method, &csi_##name##_request_type, req, err) < 0)                \
			return -1;                                                           \
		return s->ops->name(s->impl, ctx, req, out, err);                            \
	}                                                                                    \
	int csi_##name##_send(struct csi_stream *out, const struct csi_##name##_response *m, \
			      struct err *err)                                               \
	{                                                                                    \
		assert(out->type == &csi_##name##_response_type);                            \
		if (check("message of " #Method, out->type, m, err) < 0)                     \
			return -1;                                                           \
		return out->take(out->arg, m, err);                                          \
	}
#include "csi/rpc.def"

/* call_<name> is csi_<name> by untyped pointers, for the table. */
#define CSI_RPC(service, Method, name, ...)                                                   \
	static int call_##name(const struct csi_service *s, struct ctx *ctx, const void *req, \
			       void *ret, struct err *err)                                    \
	{                                                                                     \
		return csi_##name(s, ctx, req, ret, err);                                     \
	}
#define CSI_RPC_STREAM(service, Method, name, ...)                                            \
	static int call_##name(const struct csi_service *s, struct ctx *ctx, const void *req, \
			       struct csi_stream *out, struct err *err)                       \
	{                                                                                     \
		return csi_##name(s, ctx, req, out, err);                                     \
	}
#include "csi/rpc.def"

#define CSI_RPC(service, Method, name, ...)                         \
	static bool is_##name##_served(const struct csi_service *s) \
	{                                                           \
		return s->ops->name != NULL;                        \
	}
#define CSI_RPC_STREAM CSI_RPC
#include "csi/rpc.def"

uint64_t csi_capability_bits(const struct csi_capability *v, size_t n)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned first = v[i].which == 2 ? CSI_EXPANSION_SHIFT : 0;
		unsigned room = v[i].which == 2 ? 64 - CSI_EXPANSION_SHIFT : CSI_EXPANSION_SHIFT;

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
		v[n].which = bit < CSI_EXPANSION_SHIFT ? 1 : 2;
		v[n++].value = bit < CSI_EXPANSION_SHIFT ? bit : bit - CSI_EXPANSION_SHIFT;
	}
	*ret_n = n;
	return v;
}

/* clang-format off */
#define ROW(service_, Method, name_, what_, lane_, caller_, id_key_, id_) \
	.path = "/csi.v1." #service_ "/" #Method,                         \
	.method = #Method,                                                \
	.what = CSI_RPC_##what_,                                          \
	.lane = CSI_RPC_##lane_,                                          \
	.caller = CSI_RPC_##caller_,                                      \
	.id_key = id_key_,                                                \
	.id_field = id_,                                                  \
	.request = &csi_##name_##_request_type,                           \
	.response = &csi_##name_##_response_type,                         \
	.is_served = is_##name_##_served
/* clang-format on */
#define CSI_RPC(service, Method, name, ...) \
	[CSI_RPC_##Method] = { ROW(service, Method, name, __VA_ARGS__), .call = call_##name },
#define CSI_RPC_STREAM(service, Method, name, ...) \
	[CSI_RPC_##Method] = { ROW(service, Method, name, __VA_ARGS__), .stream = call_##name },
const struct csi_rpc csi_rpcs[CSI_N_RPCS] = {
#include "csi/rpc.def"
};
