/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When Events are written: the worker, its waiting and the clock are this file's. What is recorded
 * while the worker waits is recorded by the wait.
 */
#include "check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "event/sync.h"
#include "event/work.h"
#include "kube/client-internal.h"
#include "kube/object-internal.h"
#include "kube/recorder.h"
#include "thing.h"

#define START_NS (1000 * NS_PER_S)
#define WRITES_MAX 64

static struct {
	work_fn fn;
	void *arg;
} job;
static int64_t writes_ns[WRITES_MAX]; /* since the start */
static size_t n_writes;
static int64_t storm_step_ns; /* 0: none; the storm goes on while the worker waits */
static int64_t storm_end_ns;
static struct recorder *recorder;
static unsigned n_recorded;

struct claim {
	struct object_head head;
	struct kube_object o;
	char name[24];
};
static struct claim claims[WRITES_MAX]; /* each has a budget of its own */

/* ---- what the recorder stands on ---- */

int work_submit(struct work *w, unsigned lane, work_fn fn, void *arg)
{
	job.fn = fn;
	job.arg = arg;
	return 0;
}

void sync_cond_init(pthread_cond_t *c)
{
	(void)pthread_cond_init(c, NULL);
}

static void record(void)
{
	struct claim *c = &claims[n_recorded];

	ASSERT_TRUE(n_recorded++ < WRITES_MAX);
	(void)snprintf(c->name, sizeof(c->name), "claim-%u", n_recorded);
	c->o = (struct kube_object){
		.type = &thing_type, .ns = "web", .name = c->name, .uid = c->name
	};
	c->o.resource_version = "1";
	atomic_init(&c->head.refs, 1);
	recorder_event(recorder, &c->o, RECORDER_NORMAL, "Provisioning", "is made");
}

int sync_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_ns)
{
	int64_t now_ns = clock_now_ns();

	if (storm_step_ns && now_ns < storm_end_ns) {
		clock_fake_advance(storm_step_ns);
		pthread_mutex_unlock(m);
		record();
		pthread_mutex_lock(m);
		return 0;
	}
	clock_fake_advance(deadline_ns - now_ns);
	return 0;
}

int kube_write_unfenced(struct kube_client *c, struct ctx *ctx, const char *method,
			const char *path, const char *type, const char *body, struct err *err)
{
	ASSERT_TRUE(n_writes < WRITES_MAX);
	ASSERT_STR(method, "POST");
	writes_ns[n_writes++] = clock_now_ns() - START_NS;
	return 0;
}

/* ---- tests ---- */

static void start(void)
{
	clock_fake_set(START_NS);
	n_writes = 0;
	n_recorded = 0;
	storm_step_ns = 0;
	recorder = recorder_new(NULL, 0, NULL, "test", "here");
}

static void stop(void)
{
	recorder_free(recorder);
	clock_fake_set(-1);
}

static void work_off(void)
{
	job.fn(job.arg);
}

/* So many at once, then one each step_ns. */
static void storm(int n, int64_t step_ns, int64_t for_ns)
{
	for (int i = 0; i < n; i++)
		record();
	storm_step_ns = step_ns;
	storm_end_ns = START_NS + for_ns;
	work_off();
	ASSERT_EQ(n_writes, n_recorded);
}

TEST(one_is_written_at_once)
{
	start();
	for (int i = 0; i < 5; i++) {
		record();
		work_off();
		ASSERT_EQ(writes_ns[i], i * NS_PER_S);
		clock_fake_advance(NS_PER_S);
	}
	ASSERT_EQ(n_writes, 5);
	stop();
}

TEST(a_storm_is_waited_for)
{
	start();
	storm(40, 100 * NS_PER_MS, NS_PER_S);
	ASSERT_EQ(n_writes, 50);
	/* the last of the storm came after 1 s, then half a second's quiet, then 25 a second */
	ASSERT_EQ(writes_ns[0], 1500 * NS_PER_MS);
	ASSERT_TRUE(writes_ns[49] > 2 * NS_PER_S && writes_ns[49] < 4 * NS_PER_S);
	stop();
}

TEST(a_storm_without_end_is_not)
{
	start();
	storm(25, 400 * NS_PER_MS, 10 * NS_PER_S);
	ASSERT_TRUE(writes_ns[0] >= 5 * NS_PER_S && writes_ns[0] < 6 * NS_PER_S);
	stop();
}

RUN_TESTS(UNIT(one_is_written_at_once), UNIT(a_storm_is_waited_for),
	  UNIT(a_storm_without_end_is_not))
