/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_HOST_FREEZE_H
#define TESTS_FAKE_HOST_FREEZE_H

#include <stddef.h>

/* Filesystems that are frozen now. */
size_t fake_host_n_frozen(void);
/* The time of all guards is up, or a person thaws all: what is frozen is so no longer. */
void fake_host_freeze_times_out(void);
void fake_host_thaw_all(void);
/* A person, or a process that was killed together with its guards, leaves what is mounted there
 * frozen. */
void fake_host_leave_frozen(const char *path);
/* All guards are killed as well, with whom they guard: then fake_host_kill. */
void fake_host_kill_guards(void);

#endif
