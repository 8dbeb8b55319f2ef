/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an idle channel costs: perf_channels serve ADDRESS CA CERT KEY answers one method until it
 * is told to end by SIGTERM; perf_channels dial ADDRESS CA CERT KEY NAME N SERVER-PID opens
 * N channels over mutual TLS, makes a call on each, and prints the private memory that each took in
 * both processes (Private_Dirty). Memory is set up as the program does it
 * (cmd/process).
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/work.h"
#include "grpc/client.h"
#include "grpc/server.h"
#include "net/tls.h"

static void echo(struct grpc_call *call, void *arg)
{
	(void)arg;
	grpc_call_reply(call, "", 0);
}

static const struct grpc_method methods[] = {
	{ .path = "/p.P/Echo", .fn = echo, .is_inline = true },
};

static void stop(void *arg, int signum)
{
	(void)signum;
	ev_loop_stop(arg);
}

static int fail(const struct err *err)
{
	fprintf(stderr, "%s\n", err->msg);
	return 1;
}

/* The method runs inline, so nothing runs there. */
static const struct work_lane_def lane = { .name = "none", .threads = 1 };
static const struct work_options one_lane = { .lanes = &lane, .n_lanes = 1 };

static int serve(struct ev_loop *loop, const struct net_addr *addr, struct tls *tls)
{
	struct grpc_listen_options opts = { .tls = tls };
	struct grpc_limits limits = { .connections = 10000, .silent_connections = 10000 };
	struct grpc_server *server = NULL;
	struct ev_signal *term = NULL;
	struct work *work = NULL;
	struct err err = { 0 };

	if (work_new(&one_lane, &work) < 0 || ev_signal_new(loop, SIGTERM, stop, loop, &term) < 0)
		return 1;
	server = grpc_server_new(loop, work);
	grpc_server_limit(server, &limits);
	grpc_server_add(server, methods, ARRAY_LEN(methods), NULL);
	if (grpc_server_listen(server, addr, &opts, &err) < 0)
		return fail(&err);
	ev_loop_run(loop);
	work_free(work);
	grpc_server_free(server);
	ev_signal_free(term);
	return 0;
}

static long private_bytes(const char *pid)
{
	char path[64] = "", line[256] = "";
	FILE *f = NULL;
	long kib = 0;

	snprintf(path, sizeof(path), "/proc/%s/smaps_rollup", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "Private_Dirty:", 14) == 0)
			kib = strtol(line + 14, NULL, 10);
	if (f)
		(void)fclose(f);
	return kib * 1024;
}

/* Until both ends have given back what idle sessions need not (net/h2). */
static void rest(void)
{
	const struct timespec time = { .tv_sec = 7 };

	(void)nanosleep(&time, NULL);
}

static int call(struct grpc_channel *ch, struct err *err)
{
	const uint8_t *reply = NULL;
	struct ctx ctx;
	size_t n = 0;
	int r = 0;

	ctx_init(&ctx, 20 * NS_PER_S);
	r = grpc_channel_call(ch, &ctx, "/p.P/Echo", "", 0, &reply, &n, err);
	ctx_done(&ctx);
	return r;
}

static int dial(struct ev_loop *loop, const struct net_addr *addr, struct tls *tls, size_t n,
		const char *server)
{
	struct grpc_channel **ch = xcalloc(n + 1, sizeof(struct grpc_channel *));
	struct err err = { 0 };
	long ours = 0, theirs = 0;
	int r = 0;

	/* The first one pays for what all share. */
	for (size_t i = 0; i <= n && r == 0; i++) {
		ch[i] = grpc_channel_new(loop, addr, tls);
		r = call(ch[i], &err);
		if (i == 0) {
			rest();
			ours = private_bytes("self");
			theirs = private_bytes(server);
		}
	}
	rest();
	if (r == 0)
		printf("%zu idle channels with mutual TLS, bytes of private memory each: client "
		       "%ld, server %ld\n",
		       n, (private_bytes("self") - ours) / (long)n,
		       (private_bytes(server) - theirs) / (long)n);
	for (size_t i = 0; i <= n; i++)
		grpc_channel_free(ch[i]);
	free(ch);
	return r < 0 ? fail(&err) : 0;
}

int main(int argc, char **argv)
{
	bool is_server = argc == 6 && strcmp(argv[1], "serve") == 0;
	struct net_addr addr = { 0 };
	struct ev_loop *loop = NULL;
	struct tls *tls = NULL;
	struct err err = { 0 };
	uint64_t n = 0;
	int r = 0;

	if ((!is_server && (argc != 9 || str_parse_u64(argv[7], &n) < 0)) ||
	    net_addr_parse(argv[2], &addr, &err) < 0) {
		fprintf(stderr,
			"usage: perf_channels serve ADDRESS CA CERT KEY\n"
			"       perf_channels dial ADDRESS CA CERT KEY NAME N SERVER-PID\n");
		return 2;
	}
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_TRIM_THRESHOLD, 64 << 10);
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	log_init(&(struct log_options){ .verbosity = 0 });
	if (ev_loop_new(&loop) < 0 ||
	    tls_new(&(struct tls_options){ .is_server = is_server,
					   .ca_file = argv[3],
					   .cert_file = argv[4],
					   .key_file = argv[5],
					   .server_name = is_server ? NULL : argv[6] },
		    &tls, &err) < 0)
		return fail(&err);
	if (is_server) {
		r = serve(loop, &addr, tls);
	} else {
		if (ev_loop_spawn(loop) < 0)
			return 1;
		r = dial(loop, &addr, tls, n, argv[8]);
		ev_loop_join(loop);
	}
	tls_unref(tls);
	ev_loop_free(loop);
	return r;
}
