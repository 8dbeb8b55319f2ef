/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the router costs a call: perf_fleet_route CA CERT KEY, with "NAME ADDRESS SEGMENT" of each
 * agent (agents.c) in a line of standard input. CreateVolume, one at a time, for one member's pool
 * after the other, as the provisioner asks: at the member's own client, and at the router over all
 * of them, in alternating blocks. Prints CPU of this process and the median time a call, and the
 * router's as a part of the direct one's: median of the pairs of blocks; target 1.3 each. What was
 * made is deleted outside of what is measured.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "base/vec.h"
#include "csi/client.h"
#include "csi/router.h"
#include "event/loop.h"
#include "grpc/client.h"
#include "net/tls.h"
#include "volume/id.h"
#include "volume/topology.h"

#define PAIRS 15
#define BLOCK 200u /* calls */
#define TARGET 1.3
#define TIMEOUT_NS (20 * NS_PER_S)

struct member {
	char name[64], address[80], segment[80];
	struct grpc_channel *channel;
	struct csi_service service;
	struct csi_router_member *routed;
};

struct bench {
	struct ev_loop *loop;
	struct tls *tls;
	struct csi_router *router;
	struct csi_service routed;
	VEC(struct member) members;
	char *ids[BLOCK];
	unsigned n_names;
};

struct block {
	double cpu_us, latency_us;
};

static int fail(const struct err *err)
{
	fprintf(stderr, "perf_fleet_route: %s\n", err->msg);
	return 1;
}

static double cpu_us(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return 1e6 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

static int join(struct bench *b, struct member *m, struct err *err)
{
	autofree char *uri = xasprintf("cleat://node/%s", m->name);
	struct net_addr addr;
	struct ctx ctx;
	int rc;

	if (net_addr_parse(m->address, &addr, err) < 0)
		return -1;
	m->channel = grpc_channel_new(b->loop, &addr, b->tls);
	grpc_channel_expect(m->channel, uri);
	m->service = csi_client_service(csi_client_new(m->channel));
	m->routed = csi_router_add(b->router, m->name, &m->service);
	ctx_init(&ctx, TIMEOUT_NS);
	rc = csi_router_look(b->router, m->routed, &ctx, err);
	ctx_done(&ctx);
	return rc;
}

static int join_all(struct bench *b, struct err *err)
{
	struct member m = { 0 };

	while (scanf("%63s %71s %79s", m.name, m.address, m.segment) == 3)
		vec_push(&b->members, m);
	for (size_t i = 0; i < b->members.n; i++) {
		if (join(b, &b->members.v[i], err) < 0)
			return -1;
	}
	return b->members.n > 0 ? 0 : err_set(err, ERR_INVALID_ARGUMENT, "no agents are told");
}

static int create(struct bench *b, const struct csi_service *s, const struct member *m,
		  char **ret_id, double *ret_us, struct err *err)
{
	const struct strpair pair = { m->segment, VOL_SEGMENT_VALUE };
	const struct vol_capability raw = { .access = VOL_ACCESS_BLOCK,
					    .mode = VOL_MODE_SINGLE_NODE_WRITER,
					    .fs_type = "",
					    .mount_group = "" };
	struct csi_create_volume_request req;
	struct csi_create_volume_response ret;
	struct vol_topology term = { 0 };
	struct ctx ctx;
	int64_t begin_ns;
	int rc;

	message_init(&csi_create_volume_request_type, &req);
	ctx_init(&ctx, TIMEOUT_NS);
	term.segments = strmap_from(ctx.arena, &pair, 1);
	req.name = arena_printf(ctx.arena, "pvc-%u", b->n_names++);
	req.capacity_range.required_bytes = 16 * MIB;
	req.volume_capabilities = &raw;
	req.n_volume_capabilities = 1;
	req.accessibility_requirements.requisite = (struct vol_topologies){ &term, 1 };
	req.accessibility_requirements.preferred = req.accessibility_requirements.requisite;
	begin_ns = clock_now_ns();
	rc = csi_create_volume(s, &ctx, &req, &ret, err);
	*ret_us = (double)(clock_now_ns() - begin_ns) / 1e3;
	if (rc == 0)
		*ret_id = xstrdup(ret.volume.volume_id);
	ctx_done(&ctx);
	return rc;
}

static int delete (const struct csi_service *s, const char *id, struct err *err)
{
	struct csi_delete_volume_request req;
	struct csi_delete_volume_response ret;
	struct ctx ctx;
	int rc;

	message_init(&csi_delete_volume_request_type, &req);
	ctx_init(&ctx, TIMEOUT_NS);
	req.volume_id = id;
	rc = csi_delete_volume(s, &ctx, &req, &ret, err);
	ctx_done(&ctx);
	return rc;
}

static int run_block(struct bench *b, bool is_routed, struct block *ret, struct err *err)
{
	double took[BLOCK], before;

	before = cpu_us();
	for (unsigned i = 0; i < BLOCK; i++) {
		struct member *m = &b->members.v[i % b->members.n];

		if (create(b, is_routed ? &b->routed : &m->service, m, &b->ids[i], &took[i], err) <
		    0)
			return -1;
	}
	ret->cpu_us = (cpu_us() - before) / BLOCK;
	ret->latency_us = median(took, BLOCK);
	for (unsigned i = 0; i < BLOCK; i++) {
		if (delete (&b->members.v[i % b->members.n].service, b->ids[i], err) < 0)
			return -1;
		free(b->ids[i]);
	}
	return 0;
}

static void judge(const char *what, const double *direct, const double *routed)
{
	double ratio[PAIRS], d[PAIRS], r[PAIRS], middle;

	for (size_t i = 0; i < PAIRS; i++) {
		ratio[i] = routed[i] / direct[i];
		d[i] = direct[i];
		r[i] = routed[i];
	}
	middle = median(ratio, PAIRS);
	printf("CreateVolume, %s: %.1f us direct, %.1f us by the router: %.2fx (<= %.1fx): %s\n",
	       what, median(d, PAIRS), median(r, PAIRS), middle, TARGET,
	       middle <= TARGET ? "met" : "NOT MET");
}

static int compare(struct bench *b, struct err *err)
{
	double cpu[2][PAIRS], latency[2][PAIRS];
	struct block block;

	/* the first pair warms up */
	for (int i = -1; i < PAIRS; i++) {
		for (int k = 0; k < 2; k++) {
			int which = (i + k) & 1;

			if (run_block(b, which, &block, err) < 0)
				return -1;
			if (i < 0)
				continue;
			cpu[which][i] = block.cpu_us;
			latency[which][i] = block.latency_us;
		}
	}
	printf("%zu members, mutual TLS, %d pairs of %u calls\n", b->members.n, PAIRS, BLOCK);
	judge("CPU of the caller", cpu[0], cpu[1]);
	judge("time", latency[0], latency[1]);
	return 0;
}

int main(int argc, char **argv)
{
	struct bench b = { .router = csi_router_new(&(const struct csi_router_options){ 0 }) };
	struct err err = { 0 };
	int rc;

	if (argc != 4) {
		fprintf(stderr, "usage: perf_fleet_route CA CERT KEY <AGENTS\n");
		return 2;
	}
	log_init(&(struct log_options){ .verbosity = 0 });
	(void)mallopt(M_ARENA_MAX, 1);
	b.routed = csi_router_service(b.router);
	if (ev_loop_new(&b.loop) < 0 || ev_loop_spawn(b.loop) < 0)
		return 1;
	rc = tls_new(&(const struct tls_options){ .ca_file = argv[1],
						  .cert_file = argv[2],
						  .key_file = argv[3] },
		     &b.tls, &err);
	if (rc == 0)
		rc = join_all(&b, &err);
	if (rc == 0)
		rc = compare(&b, &err);
	return rc < 0 ? fail(&err) : 0;
}
