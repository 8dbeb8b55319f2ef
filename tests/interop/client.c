/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that does as it is told: interop_client ADDRESS [CERT KEY CA]. Reads a command a line
 * and answers each with a line "CODE NUMBER MESSAGE"; the messages it sends and gets are raw bytes
 * of a pattern.
 *
 *   call METHOD SIZE TIMEOUT-MS   number: bytes of the reply; 0 ms: no deadline
 *   many METHOD COUNT             that many at once; number: how many went well
 *   cancel METHOD MS              takes the call back after that long
 *   stream SPEC STOP-AFTER        SPEC as "10:1000"; number: messages that came; 0: never stop
 *   upload METHOD,SIZE,PAUSE-MS COUNT TIMEOUT-MS   that many, the end, then the one reply's number
 *   chat METHOD,SIZE,PAUSE-MS COUNT TIMEOUT-MS     each waits for its echo, then the end; number:
 * echoes leave METHOD,SIZE,PAUSE-MS COUNT TIMEOUT-MS    the same, but the call is dropped after
 * them metadata VALUE 0              as "authorization"; number: bytes of the reply
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "grpc/client.h"
#include "net/tls.h"

static struct grpc_channel *channel;

struct job {
	char path[64];
	size_t size;
	struct ctx ctx;
	struct sync_flag over;
	int64_t cancel_after_ns;
	unsigned n_messages, stop_after;
	long number;
	struct err err;
};

static void fill(char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(i * 7);
}

/* The err's code is OK if all went well. */
static void run_call(struct job *j)
{
	char *req = arena_alloc(j->ctx.arena, j->size + 1);
	const uint8_t *reply = NULL;
	size_t n = 0;

	fill(req, j->size);
	if (grpc_channel_call(channel, &j->ctx, j->path, req, j->size, &reply, &n, &j->err) < 0)
		return;
	j->err = (struct err){ .code = ERR_OK };
	j->number = (long)n;
	if (str_has_suffix(j->path, "/Echo") && (n != j->size || memcmp(reply, req, n) != 0))
		err_set(&j->err, ERR_DATA_LOSS, "reply differs from request");
}

static void *call_thread(void *arg)
{
	run_call(arg);
	return NULL;
}

static void *cancel_thread(void *arg)
{
	struct job *j = arg;

	(void)sync_flag_wait_until(&j->over, clock_now_ns() + j->cancel_after_ns);
	ctx_cancel(&j->ctx);
	return NULL;
}

static int count_message(void *arg, const uint8_t *message, size_t n)
{
	struct job *j = arg;

	(void)message;
	(void)n;
	return ++j->n_messages == j->stop_after;
}

static void answer(const struct job *j)
{
	printf("%d %ld %s\n", (int)j->err.code, j->number, j->err.msg);
	fflush(stdout);
}

static void do_call(const char *method, size_t size, int64_t timeout_ns)
{
	struct job j = { .size = size };

	snprintf(j.path, sizeof(j.path), "/interop.Test/%s", method);
	ctx_init(&j.ctx, timeout_ns);
	run_call(&j);
	ctx_done(&j.ctx);
	answer(&j);
}

static void do_many(const char *method, unsigned count)
{
	struct job *jobs = xcalloc(count, sizeof(*jobs)), all = { 0 };
	pthread_t *threads = xcalloc(count, sizeof(*threads));

	for (unsigned i = 0; i < count; i++) {
		snprintf(jobs[i].path, sizeof(jobs[i].path), "/interop.Test/%s", method);
		ctx_init(&jobs[i].ctx, 0);
		jobs[i].size = i;
		if (pthread_create(&threads[i], NULL, call_thread, &jobs[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		if (jobs[i].err.code == ERR_OK)
			all.number++;
		else
			all.err = jobs[i].err;
		ctx_done(&jobs[i].ctx);
	}
	free(threads);
	free(jobs);
	answer(&all);
}

static void do_cancel(const char *method, int64_t after_ns)
{
	struct job j = { .cancel_after_ns = after_ns };
	pthread_t thread;

	snprintf(j.path, sizeof(j.path), "/interop.Test/%s", method);
	ctx_init(&j.ctx, 0);
	if (pthread_create(&thread, NULL, cancel_thread, &j) != 0)
		abort();
	run_call(&j);
	sync_flag_set(&j.over);
	pthread_join(thread, NULL);
	ctx_done(&j.ctx);
	answer(&j);
}

static void do_stream(const char *spec, unsigned stop_after)
{
	struct job j = { .stop_after = stop_after };

	ctx_init(&j.ctx, 0);
	if (grpc_channel_stream(channel, &j.ctx, "/interop.Test/Stream", spec, strlen(spec),
				count_message, &j, &j.err) == 0)
		j.err = (struct err){ .code = ERR_OK };
	j.number = j.n_messages;
	ctx_done(&j.ctx);
	answer(&j);
}

/* ---- streams ---- */

struct talk {
	char path[64];
	unsigned size, pause_ms, count;
	bool is_chat, must_leave;
	struct ctx ctx;
	struct grpc_stream *stream;
};

static int receive_one(struct talk *t, const uint8_t **ret, size_t *ret_n, struct err *err)
{
	int r = grpc_stream_receive(t->stream, ret, ret_n, err);

	return r == 0 ? err_set(err, ERR_OUT_OF_RANGE, "the server has ended") : r;
}

static int send_all(struct talk *t, long *ret_number, struct err *err)
{
	char *bytes = arena_alloc(t->ctx.arena, t->size + 1);
	const uint8_t *echo = NULL;
	size_t n = 0;

	fill(bytes, t->size);
	for (unsigned i = 0; i < t->count; i++) {
		/* How it ended is what is received, whether or not there was room to send. */
		if (grpc_stream_send(t->stream, bytes, t->size, err) < 0 && !t->is_chat)
			return -1;
		if (t->pause_ms > 0)
			(void)poll(NULL, 0, (int)t->pause_ms);
		if (!t->is_chat)
			continue;
		if (receive_one(t, &echo, &n, err) < 0)
			return -1;
		if (n != t->size || memcmp(echo, bytes, n) != 0)
			return err_set(err, ERR_DATA_LOSS, "echo differs");
		*ret_number = i + 1;
	}
	return 0;
}

static int finish_talk(struct talk *t, long *ret_number, struct err *err)
{
	const uint8_t *m = NULL;
	size_t n = 0;
	int r = 0;

	grpc_stream_close_send(t->stream);
	if (!t->is_chat) {
		char text[32] = "";

		if (receive_one(t, &m, &n, err) < 0)
			return -1;
		snprintf(text, sizeof(text), "%.*s", (int)n, (const char *)m);
		*ret_number = strtol(text, NULL, 10);
	}
	r = grpc_stream_receive(t->stream, &m, &n, err);
	return r > 0 ? err_set(err, ERR_DATA_LOSS, "more than was to come") : r;
}

static void do_talk(struct talk *t, int64_t timeout_ns)
{
	struct job j = { .number = 0 };

	ctx_init(&t->ctx, timeout_ns);
	if (grpc_stream_open(channel, &t->ctx, t->path, NULL, &t->stream, &j.err) == 0 &&
	    send_all(t, &j.number, &j.err) == 0 &&
	    (t->must_leave || finish_talk(t, &j.number, &j.err) == 0))
		j.err = (struct err){ .code = ERR_OK };
	grpc_stream_free(t->stream);
	ctx_done(&t->ctx);
	answer(&j);
}

static bool parse_talk(const char *what, const char *spec, unsigned count, struct talk *ret)
{
	char method[24] = "";

	*ret = (struct talk){ .count = count,
			      .is_chat = !str_is_equal(what, "upload"),
			      .must_leave = str_is_equal(what, "leave") };
	if (sscanf(spec, "%23[^,],%u,%u", method, &ret->size, &ret->pause_ms) != 3)
		return false;
	snprintf(ret->path, sizeof(ret->path), "/interop.Test/%s", method);
	return ret->must_leave || !ret->is_chat || str_is_equal(what, "chat");
}

static void do_metadata(const char *value)
{
	const struct grpc_metadata m = { "authorization", value };
	const struct grpc_call_options opts = { .metadata = &m, .n_metadata = 1 };
	const uint8_t *reply = NULL;
	struct job j = { .number = 0 };
	size_t n = 0;

	ctx_init(&j.ctx, 0);
	if (grpc_channel_call_with(channel, &j.ctx, "/interop.Test/Metadata", &opts, "", 0, &reply,
				   &n, &j.err) == 0) {
		j.err = (struct err){ .code = ERR_OK };
		snprintf(j.err.msg, sizeof(j.err.msg), "%.*s", (int)n, (const char *)reply);
		j.number = (long)n;
	}
	ctx_done(&j.ctx);
	answer(&j);
}

static int obey(const char *line)
{
	char what[16] = "", arg[48] = "";
	unsigned a = 0, b = 0;
	struct talk talk;
	int n = sscanf(line, "%15s %47s %u %u", what, arg, &a, &b);

	if (n == 4 && str_is_equal(what, "call"))
		do_call(arg, a, b * NS_PER_MS);
	else if (n == 3 && str_is_equal(what, "many"))
		do_many(arg, a);
	else if (n == 3 && str_is_equal(what, "cancel"))
		do_cancel(arg, a * NS_PER_MS);
	else if (n == 3 && str_is_equal(what, "stream"))
		do_stream(arg, a);
	else if (n == 3 && str_is_equal(what, "metadata"))
		do_metadata(arg);
	else if (n == 4 && parse_talk(what, arg, a, &talk))
		do_talk(&talk, b * NS_PER_MS);
	else
		return -1;
	return 0;
}

static int open_channel(struct ev_loop *loop, int argc, char **argv, struct err *err)
{
	struct net_addr addr = { 0 };
	struct tls *tls = NULL;

	if (net_addr_parse(argv[1], &addr, err) < 0)
		return -1;
	if (argc == 5 && tls_new(&(struct tls_options){ .cert_file = argv[2],
							.key_file = argv[3],
							.ca_file = argv[4] },
				 &tls, err) < 0)
		return -1;
	channel = grpc_channel_new(loop, &addr, tls);
	tls_unref(tls);
	return 0;
}

int main(int argc, char **argv)
{
	struct ev_loop *loop = NULL;
	struct err err = { 0 };
	char line[128] = "";
	int r = 0;

	if ((argc != 2 && argc != 5) || ev_loop_new(&loop) < 0 || ev_loop_spawn(loop) < 0) {
		fprintf(stderr, "usage: interop_client ADDRESS [CERT KEY CA]\n");
		return 2;
	}
	if (open_channel(loop, argc, argv, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	while (r == 0 && fgets(line, sizeof(line), stdin))
		r = obey(line);
	grpc_channel_free(channel);
	ev_loop_join(loop);
	ev_loop_free(loop);
	return r == 0 ? 0 : 2;
}
