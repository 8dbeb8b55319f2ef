/* SPDX-License-Identifier: Apache-2.0 */
/* Real requests over loopback to a port that the system chose. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "net/httpd.h"

/* Lane 0 is for pages, lane 1 for what the tests do beside. */
static const struct work_lane_def lanes[] = { { .name = "pages", .threads = 1 },
					      { .name = "other", .threads = 1 } };
static struct ev_loop *loop;
static struct work *work;
static struct httpd *httpd;

static unsigned say_ok(void *arg, struct str *body)
{
	(void)arg;
	str_append(body, "ok\n");
	return 200;
}

static unsigned say_not_ready(void *arg, struct str *body)
{
	(void)arg;
	str_append(body, "pool is gone\n");
	return 503;
}

static struct sync_flag at_work, go_on;
static atomic_bool is_over;

static unsigned wait_for_word(void *arg, struct str *body)
{
	(void)arg;
	sync_flag_set(&at_work);
	(void)sync_flag_wait_until(&go_on, INT64_MAX);
	atomic_store(&is_over, true);
	str_append(body, "late\n");
	return 200;
}

static const struct httpd_route routes[] = {
	{ .path = "/healthz", .fn = say_ok },
	{ .path = "/readyz", .fn = say_not_ready, .is_blocking = true },
	{ .path = "/slow", .fn = wait_for_word, .is_blocking = true },
};

static void start(void *arg)
{
	struct err *err = arg;

	ASSERT_OK(
		httpd_new(loop, work, "127.0.0.1:0", routes, ARRAY_LEN(routes), NULL, &httpd, err),
		err);
}

static int set_up(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(ev_loop_new(&loop), 0);
	assert_int_equal(work_new(&(struct work_options){ .lanes = lanes,
							  .n_lanes = ARRAY_LEN(lanes),
							  .loop = loop },
				  &work),
			 0);
	start(&err);
	return ev_loop_spawn(loop);
}

/* In the order of a process (cmd/process.h). */
static int tear_down(void **state)
{
	(void)state;
	(void)httpd_close(httpd, INT64_MAX);
	ev_loop_join(loop);
	work_free(work);
	httpd_free(httpd);
	ev_loop_free(loop);
	return 0;
}

/* The whole answer to these bytes, or "" if the server said nothing. */
static char *ask(const char *request, size_t n)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(httpd_port(httpd)) };
	autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *answer = NULL;
	size_t len = 0;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(fd_write_all(fd, request, n), 0);
	assert_int_equal(fd_read_all(fd, 1 << 20, &answer, &len), 0);
	return answer;
}

static void expect(const char *request, const char *status, const char *body)
{
	autofree char *answer = ask(request, strlen(request));

	if (!strstr(answer, status) || !strstr(answer, body))
		fail_msg("to '%s' expected '%s' and '%s', got: %s", request, status, body, answer);
}

TEST(known_paths_are_answered_and_others_are_not_found)
{
	expect("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", "\r\n\r\nok\n");
	expect("GET /healthz?verbose=1 HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK", "ok\n");
	expect("GET /readyz HTTP/1.1\r\n\r\n", "HTTP/1.1 503", "pool is gone");
	expect("HEAD /healthz HTTP/1.1\r\n\r\n", "Content-Length: 3", "nosniff\r\n\r\n");
	expect("GET /etc/passwd HTTP/1.1\r\n\r\n", "HTTP/1.1 404", "Not Found");
}

TEST(bad_requests_are_refused)
{
	autofree char *big = xcalloc(1, 8000);
	autofree char *answer = NULL;

	expect("POST /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 405", "Allow: GET");
	expect("GET /healthz\r\n\r\n", "HTTP/1.1 400", "Bad Request");
	expect("\r\n\r\n", "HTTP/1.1 400", "Bad Request");
	memset(big, 'a', 7999);
	answer = ask(big, 7999);
	assert_non_null(strstr(answer, "HTTP/1.1 431"));
}

static int begin_slow(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(httpd_port(httpd)) };
	static const char request[] = "GET /slow HTTP/1.1\r\n\r\n";
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(fd_write_all(fd, request, strlen(request)), 0);
	(void)sync_flag_wait_until(&at_work, INT64_MAX);
	return fd;
}

static void say_go_on(void *arg)
{
	sync_flag_set(arg);
}

/* At the end of a process a page that was being made came back to a server, and to caches, that
 * were freed. */
TEST(closing_waits_for_the_page_that_is_being_made_and_lets_it_out)
{
	autofd int fd = begin_slow();
	autofree char *answer = NULL;
	size_t len = 0;

	ASSERT_EQ(httpd_close(httpd, 1), -ETIMEDOUT);
	ASSERT_FALSE(atomic_load(&is_over));
	ASSERT_EQ(work_submit(work, 1, say_go_on, &go_on), 0);
	ASSERT_EQ(httpd_close(httpd, INT64_MAX), 0);
	ASSERT_TRUE(atomic_load(&is_over));
	assert_int_equal(fd_read_all(fd, 1 << 20, &answer, &len), 0);
	assert_non_null(strstr(answer, "late"));
}

/* The asker goes away meanwhile. */
TEST(closing_waits_also_when_nobody_listens_any_more)
{
	close(begin_slow());
	sync_flag_set(&go_on);
	ASSERT_EQ(httpd_close(httpd, INT64_MAX), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(T(known_paths_are_answered_and_others_are_not_found), T(bad_requests_are_refused),
	  T(closing_waits_for_the_page_that_is_being_made_and_lets_it_out),
	  T(closing_waits_also_when_nobody_listens_any_more))
