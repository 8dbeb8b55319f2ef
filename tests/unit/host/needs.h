/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_HOST_NEEDS_H
#define TESTS_UNIT_HOST_NEEDS_H

#include "check.h"

#include <errno.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux has openat2 since 5.6, which cleat needs; an emulator of another machine (qemu-user before
 * 8.2, as `make test-arm64` has it on Debian 12) need not. */
static inline bool has_openat2(void)
{
	struct open_how how = { 0 };

	return syscall(SYS_openat2, -1, "", &how, sizeof(how)) >= 0 || errno != ENOSYS;
}

/* The file's tests, or all of them skipped. */
#define RUN_TESTS_WITH(need, why, ...)                              \
	int main(void)                                              \
	{                                                           \
		const struct CMUnitTest tests_[] = { __VA_ARGS__ }; \
		if (!(need)) {                                      \
			print_message("1..0 # SKIP %s\n", why);     \
			return 0;                                   \
		}                                                   \
		return cmocka_run_group_tests(tests_, NULL, NULL);  \
	}

#endif
