/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "host/caps.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

TEST(names_what_is_missing_and_what_for)
{
	const struct host_cap_need needs[] = {
		{ CAP_SYS_ADMIN, "to mount filesystems" },
		{ CAP_MKNOD, "to make device nodes" },
	};
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct before[2], none[2];
	struct err err;
	int rc;

	ASSERT_EQ(syscall(SYS_capget, &header, before), 0);
	memcpy(none, before, sizeof(none));
	none[0].effective = none[1].effective = 0;
	ASSERT_EQ(syscall(SYS_capset, &header, none), 0);
	rc = host_caps_check(needs, 2, &err);
	ASSERT_EQ(syscall(SYS_capset, &header, before), 0);
	ASSERT_ERR(rc, &err, ERR_PERMISSION_DENIED,
		   "lacks CAP_SYS_ADMIN to mount filesystems, CAP_MKNOD to make device nodes");
}

TEST(is_content_when_nothing_is_needed)
{
	struct err err;

	ASSERT_OK(host_caps_check(NULL, 0, &err), &err);
}

RUN_TESTS(UNIT(names_what_is_missing_and_what_for), UNIT(is_content_when_nothing_is_needed))
