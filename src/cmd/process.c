/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process - signals and memory of a serving process
 *
 * Signals are waited for, not handled: they are blocked in every thread and the main thread asks
 * for them, so what follows a SIGTERM is ordinary code and no handler. Once the first came, both
 * are given back to a handler that ends the process, since a person who sends a second one does not
 * want to wait for a drain.
 *
 * Memory: glibc gives each thread that allocates an arena of its own, which for a dozen mostly idle
 * workers is most of the anonymous memory of the process. One arena for all costs a lock that is
 * never contended at our rates.
 */
#include "cmd/process.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>

#include "base/clock.h"
#include "base/num.h"
#include "cmd/cmd.h"

static void end_at_once(int signum)
{
	(void)signum;
	_exit(CMD_FAILED);
}

static sigset_t end_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	return set;
}

void process_begin(void)
{
	sigset_t set = end_signals();

	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_TRIM_THRESHOLD, 64 * (int)KIB);
	(void)mallopt(M_MMAP_THRESHOLD, 128 * (int)KIB);
	(void)signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

bool process_wait(int64_t timeout_ns)
{
	int64_t until = timeout_ns == INT64_MAX ? INT64_MAX : clock_now_ns() + timeout_ns;
	const struct sigaction end = { .sa_handler = end_at_once };
	sigset_t set = end_signals();
	int r;

	do {
		int64_t left = until == INT64_MAX ? INT64_MAX : until - clock_now_ns();
		struct timespec ts = { 0 };

		if (left > 0) {
			ts.tv_sec = left / NS_PER_S;
			ts.tv_nsec = left % NS_PER_S;
		}
		r = until == INT64_MAX ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &ts);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return false;
	(void)sigaction(SIGTERM, &end, NULL);
	(void)sigaction(SIGINT, &end, NULL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	return true;
}
