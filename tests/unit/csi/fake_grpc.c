/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_grpc.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

struct grpc_call {
	struct ctx ctx;
	const char *path;
	const uint8_t *req;
	size_t n_req;
	const void *reply;
	size_t n_reply;
	int n_answers;
	bool is_failed;
	struct err err;
	grpc_message_fn take; /* of a stream */
	void *take_arg;
};

static struct {
	struct {
		const struct grpc_method *method;
		void *arg;
	} methods[64];
	size_t n;
	const void *reply;
	size_t n_reply;
} fake;

struct grpc_server *fake_grpc_server(void)
{
	return (struct grpc_server *)(void *)&fake;
}

struct grpc_channel *fake_grpc_channel(void)
{
	return (struct grpc_channel *)(void *)&fake;
}

void fake_grpc_reset(void)
{
	memset(&fake, 0, sizeof(fake));
}

void fake_grpc_set_reply(const void *bytes, size_t n)
{
	fake.reply = bytes;
	fake.n_reply = n;
}

void grpc_server_add(struct grpc_server *s, const struct grpc_method *methods, size_t n, void *arg)
{
	assert(s == fake_grpc_server());
	for (size_t i = 0; i < n; i++) {
		assert(!fake_grpc_find(methods[i].path) && fake.n < ARRAY_LEN(fake.methods));
		fake.methods[fake.n].method = &methods[i];
		fake.methods[fake.n++].arg = arg;
	}
}

struct ctx *grpc_call_ctx(struct grpc_call *call)
{
	return &call->ctx;
}

const uint8_t *grpc_call_request(const struct grpc_call *call, size_t *ret_n)
{
	*ret_n = call->n_req;
	return call->req;
}

const char *grpc_call_path(const struct grpc_call *call)
{
	return call->path;
}

void grpc_call_reply(struct grpc_call *call, const void *bytes, size_t n)
{
	call->n_answers++;
	call->reply = bytes;
	call->n_reply = n;
}

void grpc_call_fail(struct grpc_call *call, const struct err *err)
{
	call->n_answers++;
	call->is_failed = true;
	call->err = *err;
}

int grpc_call_send(struct grpc_call *call, const void *bytes, size_t n, struct err *err)
{
	if (!ctx_is_cancelled(&call->ctx) && call->take(call->take_arg, bytes, n) != 0)
		ctx_cancel(&call->ctx);
	return ctx_check(&call->ctx, err);
}

void grpc_call_finish(struct grpc_call *call)
{
	call->n_answers++;
}

static size_t find(const char *path)
{
	size_t i = 0;

	while (i < fake.n && strcmp(fake.methods[i].method->path, path) != 0)
		i++;
	return i;
}

const struct grpc_method *fake_grpc_find(const char *path)
{
	size_t i = find(path);

	return i < fake.n ? fake.methods[i].method : NULL;
}

/* The i-th method's handler, with the request in the call's own arena. */
static void run(struct grpc_call *call, size_t i, const void *req)
{
	ctx_init(&call->ctx, 0);
	call->req = call->n_req ? arena_memdup(call->ctx.arena, req, call->n_req) : NULL;
	fake.methods[i].method->fn(call, fake.methods[i].arg);
	assert(call->n_answers == 1);
}

int grpc_channel_stream(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
			size_t n_req, grpc_message_fn fn, void *arg, struct err *err)
{
	struct grpc_call call = { .path = path, .n_req = n_req, .take = fn, .take_arg = arg };
	size_t i = find(path);
	bool is_left = false;

	assert(ch == fake_grpc_channel());
	assert(i < fake.n && fake.methods[i].method->kind == GRPC_SERVER_STREAM);
	if (fake.reply) {
		is_left = fn(arg, fake.reply, fake.n_reply) != 0;
		fake.reply = NULL;
	} else {
		run(&call, i, req);
		is_left = ctx_is_cancelled(&call.ctx);
		ctx_done(&call.ctx);
	}
	if (is_left)
		return err_set(err, ERR_CANCELLED, "the caller wants no more");
	if (call.is_failed)
		*err = call.err;
	return call.is_failed ? -1 : 0;
}

int grpc_channel_call(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
		      size_t n_req, const uint8_t **ret_reply, size_t *ret_n, struct err *err)
{
	struct grpc_call call = { .path = path, .n_req = n_req };
	size_t i = find(path);

	assert(ch == fake_grpc_channel());
	if (i == fake.n)
		return err_set(err, ERR_UNIMPLEMENTED, "unknown method %s", path);
	if (fake.reply) {
		*ret_reply = fake.reply;
		*ret_n = fake.n_reply;
		fake.reply = NULL;
		return 0;
	}
	assert(fake.methods[i].method->kind == GRPC_UNARY);
	run(&call, i, req);
	if (call.is_failed)
		*err = call.err;
	else if (ret_reply) {
		*ret_n = call.n_reply;
		*ret_reply = arena_memdup(ctx->arena, call.n_reply ? call.reply : "", call.n_reply);
	}
	ctx_done(&call.ctx);
	return call.is_failed ? -1 : 0;
}

int fake_grpc_call(struct ctx *ctx, const char *path, const void *req, size_t n, struct err *err)
{
	const uint8_t *reply;
	size_t n_reply;

	return grpc_channel_call(fake_grpc_channel(), ctx, path, req, n, &reply, &n_reply, err);
}

unsigned grpc_channel_changes(const struct grpc_channel *ch)
{
	return 0;
}
