/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many nodes' agents in one process: perf_fleet_agents N CA CA-KEY SOCKET. Agent n has an address
 * of its own (10.98.0.0/16, which the caller has put on lo), a certificate of its own node, and a
 * pool in memory with an identity of its own; server, driver and backend are the product's. A
 * process for each would be 1,000 processes; the loop and the workers are what they share here. The
 * first also listens at SOCKET, without TLS.
 *
 * Beside them are N_SILENT addresses (10.98.250.1 and on) at which connections are made and nobody
 * ever says a word, as with a node that froze.
 *
 * At the start a line of JSON tells who they are, then each byte on standard input gets a line: 'r'
 * forgets what was counted, 's' tells it: when each agent was asked for its pools (NodeGetInfo, the
 * last that a new member is asked; CLOCK_MONOTONIC, ns; 0: it was not) and how many calls all had,
 * of those that run on a worker. 'd' ends all servers, with their connections, as when all agents
 * end at once, and 'u' starts them again. Ends with its standard input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "csi/driver.h"
#include "csi/server.h"
#include "event/loop.h"
#include "event/work.h"
#include "grpc/server.h"
#include "net/certificate.h"
#include "net/tls.h"

#define DRIVER "pool.cleat.csi"
#define PORT 10000
#define N_SILENT 150u
#define POOL_BYTES (64 * GIB)

static const struct work_lane_def lane = { .name = "all", .threads = 8 };

struct agent {
	char name[32], uri[64], address[64];
	struct registry *pools;
	struct csi_driver *driver;
	struct csi_service service; /* the driver's, but for NodeGetInfo */
	struct csi_service_ops ops;
	int (*get_info)(void *impl, struct ctx *ctx, const struct csi_node_get_info_request *req,
			struct csi_node_get_info_response *ret, struct err *err);
	struct tls *tls;
	struct grpc_server *server;
	struct csi_server *csi;
	int64_t first_ns; /* loop */
};

struct agents {
	struct agent *v;
	size_t n;
	const char *ca, *ca_key, *socket;
	struct ev_loop *loop;
	struct work *work;
	uint64_t n_calls; /* loop */
};

static struct agents all;

static enum csi_rpc_lane count(void *arg, const struct csi_rpc *rpc, struct arena *a,
			       const struct msg_bytes *request)
{
	struct agent *agent = arg;

	all.n_calls++;
	return csi_driver_lane_of(agent->driver, rpc, a, request);
}

/* On the loop, as all calls that only ask. */
static int get_info(void *impl, struct ctx *ctx, const struct csi_node_get_info_request *req,
		    struct csi_node_get_info_response *ret, struct err *err)
{
	size_t i = 0;

	while (all.v[i].service.impl != impl)
		i++;
	if (!all.v[i].first_ns)
		all.v[i].first_ns = clock_now_ns();
	return all.v[i].get_info(impl, ctx, req, ret, err);
}

static int certify(struct agent *a, struct err *err)
{
	autofree char *key = NULL, *request = NULL, *cert = NULL;
	struct certificate_order order = { .authority_file = all.ca,
					   .authority_key_file = all.ca_key,
					   .now_s = time(NULL),
					   .lifetime_s = 3600 * 24,
					   .early_s = 60 };
	int64_t end_s;

	if (certificate_ask(a->uri, &key, &request, err) < 0)
		return -1;
	order.request = request;
	order.n_request = strlen(request);
	if (certificate_sign(&order, &cert, &end_s, err) < 0)
		return -1;
	return tls_new(
		&(const struct tls_options){
			.is_server = true, .cert_data = cert, .key_data = key, .ca_file = all.ca },
		&a->tls, err);
}

static int open_pool(struct agent *a, struct err *err)
{
	const struct backend_config config = { .kind = "mem", .name = "", .mem_bytes = POOL_BYTES };
	struct ctx ctx;
	int rc;

	a->pools = registry_new();
	ctx_init(&ctx, 10 * NS_PER_S);
	rc = registry_open(a->pools, &ctx, &config, err);
	ctx_done(&ctx);
	if (rc == 0)
		rc = csi_driver_new(&(const struct csi_driver_options){ .name = DRIVER,
									.version = "perf",
									.node_id = a->name,
									.serve_controller = true,
									.serve_node = true,
									.pools = a->pools },
				    &a->driver, err);
	if (rc < 0)
		return -1;
	a->service = csi_driver_service(a->driver);
	a->ops = *a->service.ops;
	a->get_info = a->ops.node_get_info;
	a->ops.node_get_info = get_info;
	a->service.ops = &a->ops;
	return 0;
}

static int listen_at(struct agent *a, const char *address, struct tls *tls, struct err *err)
{
	struct net_addr addr;

	return net_addr_parse(address, &addr, err) < 0
		       ? -1
		       : grpc_server_listen(a->server, &addr,
					    &(const struct grpc_listen_options){ .tls = tls }, err);
}

static int go_up(struct agent *a, struct err *err)
{
	char where[80];

	a->server = grpc_server_new(all.loop, all.work);
	a->csi = csi_server_new(a->server, &a->service,
				&(const struct csi_server_options){
					.driver_name = DRIVER, .lane_of = count, .lane_arg = a });
	if (a == all.v && listen_at(a, all.socket, NULL, err) < 0)
		return -1;
	snprintf(where, sizeof(where), "tcp://%s:%d", a->address, PORT);
	return listen_at(a, where, a->tls, err);
}

static void go_down(struct agent *a)
{
	grpc_server_free(a->server);
	csi_server_free(a->csi);
	a->server = NULL;
	a->csi = NULL;
}

static int start(struct agent *a, size_t i, struct err *err)
{
	snprintf(a->name, sizeof(a->name), "node-%04zu", i);
	snprintf(a->uri, sizeof(a->uri), "cleat://node/%s", a->name);
	snprintf(a->address, sizeof(a->address), "10.98.%zu.%zu", 1 + i / 250, 1 + i % 250);
	if (open_pool(a, err) < 0 || certify(a, err) < 0)
		return -1;
	return go_up(a, err);
}

/* What a kubelet would find out. */
static int introduce(struct agent *a, bool is_first, struct err *err)
{
	const struct csi_node_get_info_request ask = {};
	struct csi_node_get_info_response info;
	struct ctx ctx;
	int rc;

	ctx_init(&ctx, 10 * NS_PER_S);
	rc = csi_node_get_info(&a->service, &ctx, &ask, &info, err);
	if (rc == 0)
		printf("%s{\"name\": \"%s\", \"address\": \"%s\", \"segment\": \"%s\"}",
		       is_first ? "" : ", ", a->name, a->address,
		       info.accessible_topology.segments.v[0].key);
	ctx_done(&ctx);
	return rc;
}

static void tell(void)
{
	printf("{\"calls\": %llu, \"first\": [", (unsigned long long)all.n_calls);
	for (size_t i = 0; i < all.n; i++)
		printf("%s%lld", i ? ", " : "", (long long)all.v[i].first_ns);
	printf("]}\n");
}

static void forget(void)
{
	all.n_calls = 0;
	for (size_t i = 0; i < all.n; i++)
		all.v[i].first_ns = 0;
}

static void restart(char command)
{
	struct err err = { 0 };

	for (size_t i = 0; i < all.n; i++) {
		if (command == 'd')
			go_down(&all.v[i]);
		else if (go_up(&all.v[i], &err) < 0)
			fprintf(stderr, "perf_fleet_agents: %s\n", err.msg);
	}
}

static void obey(void *arg, unsigned events)
{
	char command;

	(void)arg;
	(void)events;
	if (read(STDIN_FILENO, &command, 1) != 1) {
		ev_loop_stop(all.loop);
		return;
	}
	if (command == 's') {
		tell();
	} else {
		if (command == 'r')
			forget();
		else
			restart(command);
		printf("{}\n");
	}
	fflush(stdout);
}

/* The kernel takes connections as long as its queue has room. */
static int be_silent(struct err *err)
{
	for (unsigned i = 0; i < N_SILENT; i++) {
		const struct sockaddr_in at = { .sin_family = AF_INET,
						.sin_port = htons(PORT),
						.sin_addr.s_addr = htonl(0x0a62fa01 + i) };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
		    listen(fd, 128) < 0)
			return err_os(err, ERR_INTERNAL, errno, "listen at 10.98.250.%u", 1 + i);
	}
	return 0;
}

static int start_all(struct err *err)
{
	struct work_options lanes = { .lanes = &lane, .n_lanes = 1 };
	struct ev_io *input = NULL;

	if (ev_loop_new(&all.loop) < 0)
		return err_set(err, ERR_INTERNAL, "no loop");
	lanes.loop = all.loop;
	if (work_new(&lanes, &all.work) < 0 ||
	    ev_io_new(all.loop, STDIN_FILENO, obey, NULL, &input) < 0 ||
	    ev_io_want(input, EV_READ) < 0)
		return err_set(err, ERR_INTERNAL, "no threads, or standard input is no pipe");
	if (be_silent(err) < 0)
		return -1;
	printf("[");
	for (size_t i = 0; i < all.n; i++) {
		if (start(&all.v[i], i, err) < 0 || introduce(&all.v[i], i == 0, err) < 0)
			return -1;
	}
	printf("]\n");
	fflush(stdout);
	for (size_t i = 0; i < all.n; i++)
		all.v[i].first_ns = 0;
	return 0;
}

int main(int argc, char **argv)
{
	const struct rlimit files = { 65536, 65536 }; /* each volume is one */
	struct err err = { 0 };
	uint64_t n = 0;

	if (argc != 5 || str_parse_u64(argv[1], &n) < 0 || n == 0 || n > 10000) {
		fprintf(stderr, "usage: perf_fleet_agents N CA CA-KEY unix:///SOCKET\n");
		return 2;
	}
	log_init(&(struct log_options){ .verbosity = 0 });
	(void)mallopt(M_ARENA_MAX, 1);
	(void)setrlimit(RLIMIT_NOFILE, &files);
	all = (struct agents){ .v = xcalloc(n, sizeof(*all.v)),
			       .n = n,
			       .ca = argv[2],
			       .ca_key = argv[3],
			       .socket = argv[4] };
	if (start_all(&err) < 0) {
		fprintf(stderr, "perf_fleet_agents: %s\n", err.msg);
		return 1;
	}
	ev_loop_run(all.loop);
	return 0;
}
