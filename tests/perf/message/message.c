/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf_message: CPU time of decoding and encoding a CreateVolume of 1 KiB as a provisioner sends
 * it, the median of some rounds. Exit 1: it is not decoded at all; a target that is not met is
 * printed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "csi/messages.h"

#define ROUNDS 15
#define CALLS 20000
#define TARGET_NS 1500.0

static struct strpair parameters[] = {
	{ "allocation", "thick" },
	{ "csi.storage.k8s.io/pv/name", "pvc-3d1d0bd5-7a5b-4bc2-9b6a-5d2f7e0d4c11" },
	{ "csi.storage.k8s.io/pvc/name", "data-postgres-0" },
	{ "csi.storage.k8s.io/pvc/namespace", "production-databases" },
	{ "note", "a line of sixty-three characters that a person has written, "
		  "a line of sixty-three characters that a person has written, "
		  "a line of sixty-three characters that a person has written, "
		  "a line of sixty-three characters that a person has written, "
		  "a line of sixty-three characters that a person has written, "
		  "a line of sixty-three characters that a person has written, "
		  "a line of sixty-three characters that a person has written, "
		  "a line of sixty-three characters that a person has written, " },
	{ "pool", "fast" },
};
static struct strpair segments[] = {
	{ "pool.example.csi/fast", "5f0c86ee-8a75-43ea-9dbd-ed2fd0ae35a5" },
	{ "topology.kubernetes.io/zone", "rack-17" },
};
static const struct vol_topology topology = { { segments, ARRAY_LEN(segments) } };
static const char *const flags[] = { "noatime", "nodev" };
static const struct vol_capability capability = { .access = VOL_ACCESS_MOUNT,
						  .mode = VOL_MODE_SINGLE_NODE_WRITER,
						  .fs_type = "ext4",
						  .mount_flags = flags,
						  .n_mount_flags = ARRAY_LEN(flags) };
static const struct csi_create_volume_request request = {
	.name = "pvc-3d1d0bd5-7a5b-4bc2-9b6a-5d2f7e0d4c11",
	.capacity_range = { UINT64_C(10) << 30, UINT64_C(20) << 30 },
	.volume_capabilities = &capability,
	.n_volume_capabilities = 1,
	.parameters = { parameters, ARRAY_LEN(parameters) },
	.accessibility_requirements = { { &topology, 1 }, { &topology, 1 } },
};

static double cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* cannot fail for this clock */
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a;
	double right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), compare);
	return v[ROUNDS / 2];
}

/* Nanoseconds a message; fails if the bytes are none. */
static int run_round(struct arena *a, const struct msg_bytes *bytes, double *ret_decode,
		     double *ret_encode, struct err *err)
{
	struct csi_create_volume_request back;
	double begin = cpu_ns();
	double middle;

	for (int i = 0; i < CALLS; i++) {
		arena_reset(a);
		if (message_decode(&csi_create_volume_request_type, a, bytes, MSG_FIELDS_REQUEST,
				   &back, err) < 0)
			return -1;
	}
	middle = cpu_ns();
	for (int i = 0; i < CALLS; i++) {
		arena_reset(a);
		(void)message_encode(&csi_create_volume_request_type, a, &request);
	}
	*ret_decode = (middle - begin) / CALLS;
	*ret_encode = (cpu_ns() - middle) / CALLS;
	return 0;
}

int main(void)
{
	autoarena struct arena *keep = arena_new();
	autoarena struct arena *a = arena_new();
	struct msg_bytes bytes = message_encode(&csi_create_volume_request_type, keep, &request);
	double decode[ROUNDS];
	double encode[ROUNDS];
	struct err err;
	double ns;

	for (int i = 0; i < ROUNDS; i++) {
		if (run_round(a, &bytes, &decode[i], &encode[i], &err) < 0) {
			fprintf(stderr, "perf_message: %s\n", err.msg);
			return 1;
		}
	}
	ns = median(decode);
	printf("CreateVolumeRequest of %zu bytes, CPU: encoded in %.2f us, decoded in %.2f us, "
	       "target "
	       "<= %.1f us  %s\n",
	       bytes.n, median(encode) / 1e3, ns / 1e3, TARGET_NS / 1e3,
	       ns <= TARGET_NS ? "met" : "NOT MET");
	return 0;
}
