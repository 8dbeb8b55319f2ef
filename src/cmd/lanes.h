/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_LANES_H
#define CMD_LANES_H

/*
 * The lanes of cleat's workers. A room below takes the number of its lane from here and knows no
 * other: which work may hold up which is the program's to decide.
 */
enum lane {
	LANE_API,    /* reconciles; talks to the API server or another CSI endpoint */
	LANE_MINOR,  /* of reconciles what may wait for all the others: figures for the scheduler */
	LANE_HOST,   /* mount, mkfs, loop devices */
	LANE_LOOK,   /* stats and health of volumes, which may hang one by one */
	LANE_STORE,  /* backend calls that only touch the pool */
	LANE_REMOTE, /* the same two for storage that waits for other machines */
	LANE_STREAM, /* answers that are as slow as their reader: hours */
	LANE_SLOW,   /* looks at disks that may hang, scans: minutes */
	LANE_COPY,   /* what pools do in the background, some seconds at a time */
	LANE_HEALTH, /* pages for probes and metrics: nothing that waits for more than a second */
	N_LANES
};

#define LANE_STREAM_THREADS 16
#define LANE_REMOTE_THREADS 8

struct ev_loop;
struct work;

/* loop: whose bursts are handed over in one go (event/work.h). n_api: threads of LANE_API; 0: 4.
 * -errno. */
int lanes_start(struct ev_loop *loop, unsigned n_api, struct work **ret_work);
/* How many jobs run on all of them. Any thread. */
unsigned lanes_busy(struct work *w);

#endif
