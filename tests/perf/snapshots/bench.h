/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOTS_BENCH_H
#define SNAPSHOTS_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "csi/service.h"
#include "volume/id.h"

/* Who does it; snapshots.c says how. */
enum way { CLEAT, BARE, TOOLS, N_WAYS };

enum op {
	PROBE,
	CREATE_EXT4,
	CREATE_XFS,
	CREATE_RAW,
	STAGE,
	PUBLISH,
	UNPUBLISH,
	UNSTAGE,
	DELETE,
	SNAPSHOT_IDLE,
	SNAPSHOT_DIRTY,
	RESTORE,
	DELETE_RESTORED,
	DELETE_SNAPSHOT,
	EXPAND,
	LIST,
	CLONE,
	DELETE_CLONE,
	N_OPS
};

#define ROUNDS_MAX 1000u
#define N_MANY 500u
#define IN_FLIGHT 8u
#define SMALL_BYTES GIB
#define BASE_BYTES (10 * GIB)
#define GROWTH_BYTES (64 * MIB)
#define LISTED 100u
#define DIRTY_BYTES MIB
/* Loop devices of the references where many are wanted at once; the driver's own range is another.
 */
#define NUMBER_FIRST 0x9000u

struct samples {
	int64_t wall_ns[ROUNDS_MAX];
	int64_t cpu_ns; /* of all */
	unsigned n;
};

struct bench {
	char base[128];
	char pool[160];
	char ref[192]; /* files of the references, in the pool */
	int ref_fd;
	int template_fd;
	pid_t server;
	clockid_t server_clock;
	struct csi_service service;
	int64_t children_ns; /* CPU of the tools that ended */
	struct samples samples[N_WAYS][N_OPS];
};

/* Something that is measured. */
struct span {
	int64_t wall_ns, cpu_ns;
};

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
void span_begin(struct bench *b, enum way way, struct span *s);
void span_end(struct bench *b, enum way way, enum op op, const struct span *s);
/* DIR/WORD-NUMBER */
const char *place(char path[256], const char *dir, const char *word, unsigned number);
/* Runs a tool to its good end; its first line of output goes to line. */
void run_tool(struct bench *b, char *line, size_t cap, const char *const *argv);
#define RUN(b, line, ...) \
	run_tool((b), (line), sizeof(line), (const char *const[]){ __VA_ARGS__, NULL })

/* The three ways. start makes what lives through all rounds: a mounted ext4 of BASE_BYTES at
 * BASE/WAY-base-0, a mounted xfs at BASE/WAY-grown-0. */
void cleat_start(struct bench *b);
void cleat_round(struct bench *b, unsigned round);
void cleat_clone(struct bench *b, unsigned round);
void cleat_stop(struct bench *b);
/* An ext4 of SMALL_BYTES, for all that bare_create makes. */
void bare_make_template(struct bench *b);
void bare_remove_template(struct bench *b);
void bare_start(struct bench *b);
void bare_round(struct bench *b, unsigned round);
void bare_clone(struct bench *b, unsigned round);
void bare_stop(struct bench *b);
void tools_start(struct bench *b);
void tools_round(struct bench *b, unsigned round);
void tools_clone(struct bench *b, unsigned round);
void tools_stop(struct bench *b);

/* Steps of them that many.c needs. */
void cleat_create(struct bench *b, const char *name, uint64_t bytes, const char *fs,
		  const struct csi_content_source *source, char ret_id[VOL_ID_MAX]);
void cleat_stage(struct bench *b, const char *id, const char *fs, const char *at);
void cleat_publish(struct bench *b, const char *id, const char *at, const char *target);
void cleat_unpublish(struct bench *b, const char *id, const char *target);
void cleat_unstage(struct bench *b, const char *id, const char *at);
void cleat_delete(struct bench *b, const char *id);
void bare_create(struct bench *b, const char *name, int from_fd, uint64_t bytes);
/* number: of a device that was added for it, or what bare_free_number gives; mounted with it. */
void bare_stage(struct bench *b, const char *name, unsigned number, const char *fs, const char *at);
unsigned bare_free_number(void);
void bare_number(unsigned long what, unsigned number);

/* Volumes in flight. */
void measure_many(struct bench *b, unsigned rounds);

/* Writes so much into a file of a directory, unsynced, so that a snapshot has something to do. */
void make_dirty(const char *dir, unsigned round);
double median_ms(int64_t *ns, size_t n);

#endif
