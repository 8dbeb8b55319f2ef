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
 */
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

static int obey(const char *line)
{
	char what[16] = "", arg[48] = "";
	unsigned a = 0, b = 0;
	int n = sscanf(line, "%15s %47s %u %u", what, arg, &a, &b);

	if (n == 4 && str_is_equal(what, "call"))
		do_call(arg, a, b * NS_PER_MS);
	else if (n == 3 && str_is_equal(what, "many"))
		do_many(arg, a);
	else if (n == 3 && str_is_equal(what, "cancel"))
		do_cancel(arg, a * NS_PER_MS);
	else if (n == 3 && str_is_equal(what, "stream"))
		do_stream(arg, a);
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
