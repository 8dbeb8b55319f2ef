/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_HOST_SCRATCH_H
#define TESTS_UNIT_HOST_SCRATCH_H

#include "check.h"
#include "host/fs.h"

#include <stdlib.h>
#include <unistd.h>

/* A directory of the test's own below /var/tmp (which is seldom a tmpfs), gone with scratch_done
 * when it is empty. */
struct scratch {
	char path[64];
	int fd;
};

static inline void scratch_init(struct scratch *s)
{
	struct err err;

	(void)snprintf(s->path, sizeof(s->path), "/var/tmp/cleat-unit-XXXXXX");
	assert_non_null(mkdtemp(s->path));
	ASSERT_OK(host_dir_open(s->path, &s->fd, &err), &err);
}

static inline void scratch_done(struct scratch *s)
{
	host_fd_close(s->fd);
	ASSERT_EQ(rmdir(s->path), 0);
}

#endif
