/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_NET_H2_WORLD_H
#define TESTS_UNIT_NET_H2_WORLD_H

#include "check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/h2_client.h"

/*
 * The keeper of connections without sockets or time: conn, timers and turns are those of
 * h2_world.c, the clock stands still, and the peer is a server's session that acts by the path of a
 * request ("/hold", "/refuse", "/once"). What becomes of each attempt says a script: one letter an
 * attempt, the last one for all that follow.
 *
 *   o opens   x fails   n fails inside conn_connect   d opens and is lost at once   h hangs
 */
#define START_NS (1000 * NS_PER_S)
#define PAUSE_MIN (100 * NS_PER_MS)
#define PAUSE_MAX (800 * NS_PER_MS)
#define CONNS_MAX 32
#define CALLS_MAX 16

struct conn {
	const struct conn_ops *ops;
	void *arg;
	char fate;
	int64_t dialled_ns;
	bool is_decided, is_open, is_over;
	struct h2 *peer;
	struct h2_stream *held; /* of the last "/hold" */
	struct str wire;        /* to the client */
	bool is_patched;
};

struct ev_timer;

struct call {
	struct h2_call h2;
	const char *path;
	struct call *starts, *cancels; /* in on_over */
	unsigned n_turns, n_over;
	bool has_end;
	struct h2_call_end end;
	struct err why;
};

struct h2_world {
	const char *script;
	struct conn conns[CONNS_MAX];
	unsigned n_conns;
	struct ev_timer *timers; /* turns too */
	uint32_t limit;          /* of streams; 0: the peer's own */
	struct h2_client *client;
	struct call calls[CALLS_MAX];
	unsigned n_calls, n_refused;
	bool is_connected, is_inside;
	unsigned n_changes;
};
extern struct h2_world t;

#define BY_REPLY ((struct h2_client_options){ 0 })
#define BY_TIME ((struct h2_client_options){ .settle_ns = NS_PER_S })
void set_up(const char *script, struct h2_client_options opts);
/* The client is gone and nothing runs for it any more. */
void tear_down(void);

/* Until nothing is left to happen now; and so on for a time. */
void settle(void);
void pass(int64_t ns);
/* What a peer does. */
void lose(struct conn *c);
void answer_held(struct conn *c);

/* A call that is not started, one that has just begun, and what became of it. */
struct call *make(const char *path);
struct call *begin(const char *path);
void start(struct call *call);
void expect_over(const struct call *call, int how);
void expect_answered(const struct call *call);
/* A pause with its jitter. */
void expect_between(int64_t ns, int64_t pause_ns);

#endif
