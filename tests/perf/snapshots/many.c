/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many volumes at once, IN_FLIGHT calls at a time: made, staged, published, and taken down, by RPCs
 * and by the bare system calls of as many threads, phase by phase and in turns. The bare calls
 * clone a template and neither turn off discard for the device nor note what is staged where.
 *
 * Of the time that cleat takes to attach, two thirds are turning off discard, 17 ms for each device
 * that is new, and nearly all of that to take down is removing the device again, 40 ms: both wait
 * for RCU and not for a CPU (host/loopnum.c).
 */
#include <fcntl.h>
#include <linux/loop.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define N_REMOVERS 30u
#define MANY_ROUNDS_MAX 100u

enum phase { MAKE, ATTACH, BIND, TAKE_DOWN, N_PHASES };

typedef void (*step_fn)(struct bench *b, unsigned i);

struct crew {
	struct bench *b;
	step_fn step;
	atomic_uint next;
};

static char ids[N_MANY][VOL_ID_MAX];

static void *work_off(void *arg)
{
	struct crew *crew = arg;
	unsigned i;

	while ((i = atomic_fetch_add(&crew->next, 1)) < N_MANY)
		crew->step(crew->b, i);
	return NULL;
}

static int64_t by_all(struct bench *b, step_fn step, unsigned n_threads)
{
	struct crew crew = { .b = b, .step = step };
	pthread_t threads[N_REMOVERS];
	int64_t start_ns = clock_now_ns();

	for (unsigned i = 0; i < n_threads; i++) {
		if (pthread_create(&threads[i], NULL, work_off, &crew) != 0)
			die("start a thread");
	}
	for (unsigned i = 0; i < n_threads; i++)
		(void)pthread_join(threads[i], NULL);
	return clock_now_ns() - start_ns;
}

static void make_dirs(struct bench *b, unsigned i)
{
	char at[256];

	if (mkdir(place(at, b->base, "many", i), 0700) < 0)
		die("make '%s'", at);
}

static void remove_dirs(struct bench *b, unsigned i)
{
	char at[256];

	(void)rmdir(place(at, b->base, "many", i));
}

static void cleat_make(struct bench *b, unsigned i)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "many-%u", i);
	cleat_create(b, name, SMALL_BYTES, "ext4", NULL, ids[i]);
}

static void cleat_attach(struct bench *b, unsigned i)
{
	char at[256];

	cleat_stage(b, ids[i], "ext4", place(at, b->base, "many", i));
}

static void cleat_bind(struct bench *b, unsigned i)
{
	char at[256], target[256];

	cleat_publish(b, ids[i], place(at, b->base, "many", i),
		      place(target, b->base, "many-target", i));
}

static void cleat_take_down(struct bench *b, unsigned i)
{
	char at[256];

	cleat_unpublish(b, ids[i], place(at, b->base, "many-target", i));
	cleat_unstage(b, ids[i], place(at, b->base, "many", i));
	cleat_delete(b, ids[i]);
}

static void make_bare(struct bench *b, unsigned i)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "many-%u", i);
	bare_create(b, name, b->template_fd, SMALL_BYTES);
}

static void attach_bare(struct bench *b, unsigned i)
{
	char name[32], at[256];

	(void)snprintf(name, sizeof(name), "many-%u", i);
	bare_number(LOOP_CTL_ADD, NUMBER_FIRST + i);
	bare_stage(b, name, NUMBER_FIRST + i, "ext4", place(at, b->base, "many", i));
}

static void bind_bare(struct bench *b, unsigned i)
{
	char at[256], target[256];

	if (mkdir(place(target, b->base, "many-target", i), 0750) < 0 ||
	    mount(place(at, b->base, "many", i), target, NULL, MS_BIND, NULL) < 0)
		die("bind '%s'", target);
}

static void take_down_bare(struct bench *b, unsigned i)
{
	char name[32], at[256];

	(void)snprintf(name, sizeof(name), "many-%u", i);
	if (umount2(place(at, b->base, "many-target", i), UMOUNT_NOFOLLOW) < 0 || rmdir(at) < 0 ||
	    umount2(place(at, b->base, "many", i), UMOUNT_NOFOLLOW) < 0 ||
	    unlinkat(b->ref_fd, name, 0) < 0 || fsync(b->ref_fd) < 0)
		die("take down '%s'", at);
}

static void remove_number(struct bench *b, unsigned i)
{
	(void)b;
	bare_number(LOOP_CTL_REMOVE, NUMBER_FIRST + i);
}

static const step_fn steps[2][N_PHASES] = {
	[CLEAT] = { cleat_make, cleat_attach, cleat_bind, cleat_take_down },
	[BARE] = { make_bare, attach_bare, bind_bare, take_down_bare },
};

static void print_phase(const char *what, int64_t *ours, int64_t *bare, unsigned n, double target)
{
	double our_ms = median_ms(ours, n);
	double bare_ms = median_ms(bare, n);

	(void)printf("  %-32s %8.0f ms %8.0f ms  %5.1fx", what, our_ms, bare_ms, our_ms / bare_ms);
	if (target > 0)
		(void)printf("  (target %gx)%s", target,
			     our_ms > target * bare_ms ? "  NOT MET" : "");
	(void)printf("\n");
}

void measure_many(struct bench *b, unsigned rounds)
{
	static int64_t ns[2][N_PHASES][MANY_ROUNDS_MAX];
	static int64_t up_ns[2][MANY_ROUNDS_MAX];

	(void)by_all(b, make_dirs, 1);
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			enum way way = (turn + round) % 2 ? CLEAT : BARE;

			for (enum phase p = 0; p < N_PHASES; p++)
				ns[way][p][round] = by_all(b, steps[way][p], IN_FLIGHT);
			up_ns[way][round] = ns[way][MAKE][round] + ns[way][ATTACH][round];
			if (way == BARE)
				(void)by_all(b, remove_number, N_REMOVERS);
		}
	}
	(void)by_all(b, remove_dirs, 1);
	if (rounds == 0)
		return;
	(void)printf("%u volumes, ext4 of 1 GiB, %u in flight, medians of %u rounds in turns\n",
		     N_MANY, IN_FLIGHT, rounds);
	(void)printf("  %32s     cleat       bare\n", "");
	print_phase("made, attached and mounted", up_ns[CLEAT], up_ns[BARE], rounds, 2);
	print_phase(" made", ns[CLEAT][MAKE], ns[BARE][MAKE], rounds, 0);
	print_phase(" attached and mounted", ns[CLEAT][ATTACH], ns[BARE][ATTACH], rounds, 2);
	print_phase("published", ns[CLEAT][BIND], ns[BARE][BIND], rounds, 0);
	print_phase("taken down and deleted", ns[CLEAT][TAKE_DOWN], ns[BARE][TAKE_DOWN], rounds, 0);
}
