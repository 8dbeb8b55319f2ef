/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a cgroup say about a device. A number that is read stands in the text. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/mem.h"
#include "host/cgroup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	struct host_io_limits limits;
	uint64_t value = host_cgroup_parse_throttle(text, makedev(7, 3));
	char number[24];

	host_cgroup_parse_max(text, makedev(7, 3), &limits);
	(void)snprintf(number, sizeof(number), "%" PRIu64, value);
	if ((value || limits.read_bytes) && !strstr(text, "7:"))
		abort();
	if (value && !strstr(text, number))
		abort();
	(void)host_pod_uid_is_valid(text);
	return 0;
}
