/* SPDX-License-Identifier: Apache-2.0 */
/* As root: a mount of FUSE whose server takes what it is asked and never answers. Whoever asks it
 * then does not die from any signal, until the connection ends. */
#include "base/clock.h"
#include "base/mem.h"
#include "check.h"
#include "host/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASK_NS (500 * NS_PER_MS)
#define REQUEST_MAX (FUSE_MIN_READ_BUFFER * 16)

struct silent {
	char dir[64];
	int fd;
	pthread_t thread;
};

/* Until the connection ends. */
static void *take_all(void *arg)
{
	const struct silent *s = arg;
	char *request = xmalloc(REQUEST_MAX);
	ssize_t n;

	while ((n = read(s->fd, request, REQUEST_MAX)) > 0 || (n < 0 && errno == ENOENT)) {
		struct {
			struct fuse_out_header head;
			struct fuse_init_out init;
		} answer = { .init = { .major = FUSE_KERNEL_VERSION,
				       .minor = FUSE_KERNEL_MINOR_VERSION,
				       .max_write = 4096 } };
		const struct fuse_in_header *head = (const void *)request;

		if (n < 0 || head->opcode != FUSE_INIT)
			continue;
		answer.head.len = sizeof(answer);
		answer.head.unique = head->unique;
		(void)!write(s->fd, &answer, sizeof(answer));
	}
	free(request);
	return NULL;
}

static void begin(struct silent *s)
{
	char options[128];

	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/cleat-probe-XXXXXX");
	ASSERT_TRUE(mkdtemp(s->dir) != NULL);
	s->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	ASSERT_TRUE(s->fd >= 0);
	(void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0",
		       s->fd);
	ASSERT_EQ(mount("silent", s->dir, "fuse", 0, options), 0);
	ASSERT_EQ(pthread_create(&s->thread, NULL, take_all, s), 0);
}

static int ask(const char *path, int64_t *ret_took_ns)
{
	int64_t began_ns = clock_now_ns();
	struct ctx ctx;
	struct err err;
	int rc;

	ctx_init(&ctx, 0);
	rc = host_mount_answers(&ctx, path, ASK_NS, &err);
	if (rc < 0)
		fail_msg("%s", err.msg);
	*ret_took_ns = clock_now_ns() - began_ns;
	ctx_done(&ctx);
	return rc;
}

/* Of those that we have, living or not. */
static size_t count_children(void)
{
	char text[4096] = "";
	char path[64];
	size_t n = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "re");
	ASSERT_TRUE(f != NULL);
	(void)!fread(text, 1, sizeof(text) - 1, f);
	(void)fclose(f);
	for (const char *at = text; *at; at++)
		n += *at == ' ';
	return n;
}

TEST(one_that_is_silent_has_one_child_that_waits)
{
	int64_t took_ns;
	struct silent s;

	begin(&s);
	ASSERT_EQ(ask(s.dir, &took_ns), 0);
	ASSERT_EQ(count_children(), 1);
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(ask(s.dir, &took_ns), 0);
		ASSERT_TRUE(took_ns < ASK_NS);
		ASSERT_EQ(count_children(), 1);
	}
	ASSERT_EQ(ask("/", &took_ns), 1); /* others do not notice */
	(void)umount2(s.dir, MNT_FORCE);  /* which ends the connection, though it is busy */
	ASSERT_EQ(pthread_join(s.thread, NULL), 0);
	for (int i = 0; i < 500 && count_children() > 0; i++) {
		(void)poll(NULL, 0, 10);
		ASSERT_EQ(ask("/", &took_ns), 1);
	}
	ASSERT_EQ(count_children(), 0); /* it is nobody's remains either */
	(void)umount2(s.dir, MNT_DETACH);
	(void)close(s.fd);
	ASSERT_EQ(rmdir(s.dir), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { UNIT(one_that_is_silent_has_one_child_that_waits) };

	if (argc == 3)
		return host_probe_child(argv[1], argv[2]);
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("SKIPPED: a mount of FUSE needs root and /dev/fuse\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
