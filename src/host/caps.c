/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process may do. Asked by capget(2), not by the user id: root in a container often lacks
 * what a mount needs, and a file capability gives it without being root. Said once at start, so
 * that nobody meets EPERM in the third pod.
 */
#include "host/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include "base/str.h"
#include "host/err-internal.h"

static const struct {
	int cap;
	const char *name;
} names[] = {
	{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN" },
	{ CAP_MKNOD, "CAP_MKNOD" },
	{ CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE" },
	{ CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH" },
	{ CAP_CHOWN, "CAP_CHOWN" },
	{ CAP_FOWNER, "CAP_FOWNER" },
	{ CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE" },
};

static const char *cap_name(int cap)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].cap == cap)
			return names[i].name;
	}
	return "a capability";
}

int host_caps_check(const struct host_cap_need *needs, size_t n, struct err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
	autostr struct str missing = STR_INIT;

	if (syscall(SYS_capget, &header, data) < 0)
		return host_err(err, errno, "ask for this process's capabilities");
	for (size_t i = 0; i < n; i++) {
		if (data[CAP_TO_INDEX(needs[i].cap)].effective & CAP_TO_MASK(needs[i].cap))
			continue;
		str_appendf(&missing, "%s%s %s", missing.len ? ", " : "", cap_name(needs[i].cap),
			    needs[i].what);
	}
	if (!missing.len)
		return 0;
	return err_set(err, ERR_PERMISSION_DENIED,
		       "this process lacks %s; run it as root, or in a privileged container",
		       str_get(&missing));
}
