/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server of tests/perf/rpc: perf_rpc_server SOCKET. The product's own way from bytes to a
 * handler and back (net/h2, grpc/server, the codec of csi/server with its checks and its
 * histogram, worker lanes as in cleat driver), with handlers that only answer; go/server does the
 * same on grpc-go. Lines of the log are off, as there. Memory is set up as the program
 * does it (cmd/process). Ends by SIGTERM.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "csi/server.h"
#include "event/loop.h"
#include "event/work.h"
#include "grpc/server.h"

static const struct work_lane_def lane = { .name = "store", .threads = 4 };

static int probe(void *impl, struct ctx *ctx, const struct csi_probe_request *req,
		 struct csi_probe_response *ret, struct err *err)
{
	ret->has_ready = ret->ready = true;
	return 0;
}

static int create_volume(void *impl, struct ctx *ctx, const struct csi_create_volume_request *req,
			 struct csi_create_volume_response *ret, struct err *err)
{
	if (req->name[0] == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT, "name is missing");
	if (req->n_volume_capabilities == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "volume_capabilities is missing");
	ret->has_volume = true;
	ret->volume = (struct csi_volume){
		.volume_id = arena_printf(ctx->arena, "bench-%s", req->name),
		.capacity_bytes = req->capacity_range.required_bytes,
		.volume_context = req->parameters,
		.accessible_topology = req->accessibility_requirements.preferred,
	};
	return 0;
}

static const struct csi_service_ops ops = {
	.probe = probe,
	.create_volume = create_volume,
};

static void stop(void *arg, int signum)
{
	(void)signum;
	ev_loop_stop(arg);
}

int main(int argc, char **argv)
{
	const struct csi_service service = { .ops = &ops };
	struct grpc_server *grpc = NULL;
	struct csi_server *csi = NULL;
	struct ev_signal *term = NULL;
	struct ev_loop *loop = NULL;
	struct net_addr addr = { 0 };
	struct work_options lanes = { .lanes = &lane, .n_lanes = 1 };
	struct work *work = NULL;
	struct err err = { 0 };

	if (argc != 2 || net_addr_parse(argv[1], &addr, &err) < 0) {
		fprintf(stderr, "usage: perf_rpc_server SOCKET\n");
		return 2;
	}
	log_init(&(struct log_options){ .verbosity = 0 });
	(void)mallopt(M_ARENA_MAX, 1);
	if (ev_loop_new(&loop) < 0)
		return 1;
	lanes.loop = loop;
	if (work_new(&lanes, &work) < 0)
		return 1;
	grpc = grpc_server_new(loop, work);
	csi = csi_server_new(grpc, &service,
			     &(struct csi_server_options){ .driver_name = "bench.cleat.csi" });
	if (grpc_server_listen(grpc, &addr, &(struct grpc_listen_options){ 0 }, &err) < 0 ||
	    ev_signal_new(loop, SIGTERM, stop, loop, &term) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	ev_loop_run(loop);
	work_free(work);
	grpc_server_free(grpc);
	csi_server_free(csi);
	ev_signal_free(term);
	ev_loop_free(loop);
	return 0;
}
