/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes - how many threads each kind of work gets
 *
 * The bounds are what a node with four hung mounts and a dead disk can lose and still do the rest.
 * Looks are apart from mounts: kubelet makes one for each pod and volume each minute, and however
 * many disks hang, others are mounted and unmounted. Threads come on demand, so an idle process
 * pays for none of them. Probes have a lane of their own: kubelet kills a driver that does not
 * answer /readyz, which must not be because copies of minutes have all the slow threads.
 * What is minor has a lane apart from reconciles that a person waits for: few at a time, so neither
 * threads nor the API server are taken from those, and enough that some agents may hang.
 * Readers of streams may be backups that copy what one message told before they read the next: 16
 * of them, and 64 that wait, before one more is told to come again.
 * Libraries of other storage expect the stack that a program's first thread has: librados puts all
 * its options on it while it is loaded. They are called in the lane for other machines, and when
 * connections that nobody uses are closed, in that of copies.
 */
#include "cmd/lanes.h"

#include "event/work.h"

#define MINOR_THREADS 8
#define LIBRARY_STACK_BYTES ((size_t)8 << 20)

int lanes_start(struct ev_loop *loop, unsigned n_api, struct work **ret_work)
{
	const struct work_lane_def defs[N_LANES] = {
		[LANE_API] = { .name = "api", .threads = n_api ? n_api : 4 },
		[LANE_MINOR] = { .name = "minor", .threads = MINOR_THREADS },
		[LANE_HOST] = { .name = "host", .threads = 8 },
		[LANE_LOOK] = { .name = "look", .threads = 4 },
		[LANE_STORE] = { .name = "store", .threads = 4 },
		[LANE_REMOTE] = { .name = "remote",
				  .threads = LANE_REMOTE_THREADS,
				  .stack_bytes = LIBRARY_STACK_BYTES },
		[LANE_STREAM] = { .name = "stream", .threads = LANE_STREAM_THREADS, .queue = 64 },
		[LANE_SLOW] = { .name = "slow", .threads = 2, .is_minor = true },
		[LANE_COPY] = { .name = "copy", .threads = 2, .stack_bytes = LIBRARY_STACK_BYTES },
		[LANE_HEALTH] = { .name = "health", .threads = 2 },
	};

	return work_new(&(struct work_options){ .lanes = defs, .n_lanes = N_LANES, .loop = loop },
			ret_work);
}

unsigned lanes_busy(struct work *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N_LANES; i++)
		n += work_busy(w, i);
	return n;
}
