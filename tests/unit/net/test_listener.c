/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets the file of a unix socket when several want it. */
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "event/loop.h"
#include "net/conn.h"
#include "net/listener.h"

#define RIVALS 4
#define ROUNDS 50

struct rival {
	struct ev_loop *loop;
	struct listener *listener;
	struct err err;
	int opened;
};

static char dir[32];
static struct net_addr addr;
static pthread_barrier_t start;

static void nobody_comes(void *arg, struct conn *c)
{
	(void)arg;
	conn_abort(c);
}

static void *compete(void *arg)
{
	struct rival *r = arg;

	for (int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&start);
		r->opened = listener_open(r->loop, &addr, 0600, NULL, nobody_comes, NULL,
					  &r->listener, &r->err);
		pthread_barrier_wait(&start); /* the test looks */
		pthread_barrier_wait(&start);
	}
	return NULL;
}

/* As a killed process leaves it. */
static void leave_stale_socket(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(sa.sun_path, addr.path, sizeof(sa.sun_path));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
}

static unsigned count_files(void)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2; /* . and .. */
}

static void check_round(struct rival *rivals)
{
	unsigned n_open = 0;

	for (int k = 0; k < RIVALS; k++) {
		if (rivals[k].opened < 0) {
			ASSERT_ERR(-1, &rivals[k].err, ERR_FAILED_PRECONDITION,
				   "in use by process");
			continue;
		}
		n_open++;
		ASSERT_TRUE(listener_is_bound(rivals[k].listener));
		listener_close(rivals[k].listener);
	}
	ASSERT_EQ(n_open, 1);
	ASSERT_EQ(count_files(), 0);
}

TEST(of_those_who_start_at_once_one_gets_the_socket_and_keeps_it)
{
	struct rival rivals[RIVALS] = { 0 };
	pthread_t threads[RIVALS];

	pthread_barrier_init(&start, NULL, RIVALS + 1);
	for (int k = 0; k < RIVALS; k++) {
		assert_int_equal(ev_loop_new(&rivals[k].loop), 0);
		pthread_create(&threads[k], NULL, compete, &rivals[k]);
	}
	for (int i = 0; i < ROUNDS; i++) {
		if (i % 2)
			leave_stale_socket();
		pthread_barrier_wait(&start);
		pthread_barrier_wait(&start);
		check_round(rivals);
		pthread_barrier_wait(&start);
	}
	for (int k = 0; k < RIVALS; k++) {
		pthread_join(threads[k], NULL);
		ev_loop_free(rivals[k].loop);
	}
	pthread_barrier_destroy(&start);
}

/* Has the socket until somebody looks whether it lives. */
static void *let_go_when_probed(void *arg)
{
	int fd = *(int *)arg;

	close(accept(fd, NULL, NULL));
	close(fd);
	return NULL;
}

/* As a process that was killed between the fork and the exec of a tool leaves it. */
TEST(a_socket_that_outlives_its_owner_for_a_moment_is_waited_for)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct listener *l = NULL;
	struct ev_loop *loop = NULL;
	struct err err = { 0 };
	pthread_t holder;
	pid_t owner;

	memcpy(sa.sun_path, addr.path, sizeof(sa.sun_path));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	owner = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (owner == 0)
		_exit(listen(fd, 1)); /* whoever listens is who SO_PEERCRED names */
	assert_int_equal(waitpid(owner, NULL, 0), owner);
	pthread_create(&holder, NULL, let_go_when_probed, &fd);

	assert_int_equal(ev_loop_new(&loop), 0);
	ASSERT_OK(listener_open(loop, &addr, 0600, NULL, nobody_comes, NULL, &l, &err), &err);
	pthread_join(holder, NULL);
	ASSERT_TRUE(listener_is_bound(l));
	listener_close(l);
	ev_loop_free(loop);
}

TEST(a_socket_that_took_our_place_is_not_removed)
{
	struct listener *l = NULL;
	struct ev_loop *loop = NULL;
	struct err err = { 0 };
	struct stat st = { 0 };

	assert_int_equal(ev_loop_new(&loop), 0);
	ASSERT_OK(listener_open(loop, &addr, 0660, NULL, nobody_comes, NULL, &l, &err), &err);
	ASSERT_EQ(lstat(addr.path, &st), 0);
	ASSERT_EQ(st.st_mode & 0777, 0660);
	unlink(addr.path);
	ASSERT_FALSE(listener_is_bound(l));
	leave_stale_socket();
	listener_close(l);
	ASSERT_EQ(lstat(addr.path, &st), 0);
	unlink(addr.path);
	ev_loop_free(loop);
}

TEST(a_path_without_room_for_the_temporary_name_is_refused)
{
	struct net_addr tight = { .kind = NET_ADDR_UNIX };
	struct listener *l = NULL;
	struct ev_loop *loop = NULL;
	struct err err = { 0 };

	assert_int_equal(ev_loop_new(&loop), 0);
	memset(tight.path, 'a', sizeof(tight.path) - 1);
	tight.path[0] = tight.path[sizeof(tight.path) - 4] = '/';
	ASSERT_ERR(listener_open(loop, &tight, 0600, NULL, nobody_comes, NULL, &l, &err), &err,
		   ERR_INVALID_ARGUMENT, "too long");
	ev_loop_free(loop);
}

static int set_up(void **state)
{
	(void)state;
	memcpy(dir, "/tmp/cleat-listen-XXXXXX", 25);
	assert_non_null(mkdtemp(dir));
	addr = (struct net_addr){ .kind = NET_ADDR_UNIX };
	snprintf(addr.path, sizeof(addr.path), "%s/s.sock", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(addr.path);
	return rmdir(dir);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(T(of_those_who_start_at_once_one_gets_the_socket_and_keeps_it),
	  T(a_socket_that_outlives_its_owner_for_a_moment_is_waited_for),
	  T(a_socket_that_took_our_place_is_not_removed),
	  T(a_path_without_room_for_the_temporary_name_is_refused))
