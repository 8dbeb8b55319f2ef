/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of a process, over loopback, while its workers have other things to do. */
#include "check.h"

#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "base/fd.h"
#include "base/mem.h"
#include "cmd/lanes.h"
#include "cmd/process.h"
#include "event/loop.h"
#include "event/work.h"

static struct ev_loop *loop;
static struct work *work;
static struct process_http *http;
static sem_t is_stuck, go_on;

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		;
}

static void stick(void *arg)
{
	(void)arg;
	sem_post(&is_stuck);
	wait_for(&go_on);
}

static bool is_ready(void *arg, struct str *why)
{
	(void)arg;
	(void)why;
	return true;
}

static int port_fd = -1; /* has the port, so that nobody else gets it; listens not */
static uint16_t port;

/* A port of ours: the listener may share it, since both say SO_REUSEADDR and this one does not
 * listen. */
static void take_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	socklen_t n = sizeof(sa);

	port_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(setsockopt(port_fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)),
			 0);
	assert_int_equal(bind(port_fd, (struct sockaddr *)&sa, n), 0);
	assert_int_equal(getsockname(port_fd, (struct sockaddr *)&sa, &n), 0);
	port = ntohs(sa.sin_port);
}

static int set_up(void **state)
{
	char endpoint[32];
	struct err err = { 0 };

	(void)state;
	take_port();
	(void)snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%u", port);
	assert_int_equal(sem_init(&is_stuck, 0, 0), 0);
	assert_int_equal(sem_init(&go_on, 0, 0), 0);
	assert_int_equal(ev_loop_new(&loop), 0);
	assert_int_equal(lanes_start(loop, 0, &work), 0);
	ASSERT_OK(process_http_start(loop, work, endpoint, "/metrics", is_ready, NULL, &http, &err),
		  &err);
	return ev_loop_spawn(loop);
}

static int tear_down(void **state)
{
	(void)state;
	(void)process_http_close(http, INT64_MAX);
	ev_loop_join(loop);
	work_free(work);
	process_http_free(http);
	ev_loop_free(loop);
	fd_closep(&port_fd);
	return 0;
}

static void expect(const char *path, const char *text)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
	autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	autofree char *request = xasprintf("GET %s HTTP/1.1\r\n\r\n", path);
	autofree char *answer = NULL;
	size_t len = 0;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(fd_write_all(fd, request, strlen(request)), 0);
	assert_int_equal(fd_read_all(fd, 1 << 20, &answer, &len), 0);
	if (!strstr(answer, "HTTP/1.1 200 OK") || !strstr(answer, text))
		fail_msg("%s: expected 200 and '%s', got: %s", path, text, answer);
}

/* All threads of the lane are at work that does not end, and nothing more fits its queue. */
static unsigned fill(enum lane lane, unsigned n_threads)
{
	unsigned n = 0;

	while (work_submit(work, lane, stick, NULL) == 0)
		n++;
	for (unsigned i = 0; i < n_threads; i++)
		wait_for(&is_stuck);
	return n;
}

TEST(probes_and_metrics_are_answered_while_every_other_lane_is_full_and_stuck)
{
	unsigned n =
		fill(LANE_API, 4) + fill(LANE_HOST, 8) + fill(LANE_STORE, 4) + fill(LANE_SLOW, 2);

	expect("/healthz", "ok\n");
	expect("/readyz", "ok\n");
	expect("/metrics", "\ncleat_workers_busy{lane=\"slow\"} 2\n");
	while (n-- > 0)
		sem_post(&go_on);
}

TEST(workers_busy_has_a_label_for_each_lane)
{
	static const char *const names[] = { "api", "host", "store", "slow", "health" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		autofree char *line = xasprintf("\ncleat_workers_busy{lane=\"%s\"} ", names[i]);

		expect("/metrics", line);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(T(probes_and_metrics_are_answered_while_every_other_lane_is_full_and_stuck),
	  T(workers_busy_has_a_label_for_each_lane))
