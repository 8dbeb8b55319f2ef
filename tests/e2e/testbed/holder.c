/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First process of a PID namespace: of the test cluster's, and of every pod's
 * sandbox. It owns nothing and does nothing but collect dead children, for
 * which the kernel gives orphans no other parent there, and end when told to;
 * with it everything else in its namespace ends. It is linked statically
 * because a sandbox image holds no library.
 *
 * Signals are taken by waiting for them, not by handlers: PID 1 is spared
 * every signal it has no handler for, but one it has blocked stays pending.
 */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void)
{
	sigset_t wanted;
	int signal = 0;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGCHLD);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	while (signal != SIGTERM && signal != SIGINT) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		signal = sigwaitinfo(&wanted, NULL);
	}
	return 0;
}
