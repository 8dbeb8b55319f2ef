/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_FREEZE_INTERNAL_H
#define HOST_FREEZE_INTERNAL_H

#include "host/self.h"

#include <stdint.h>

/*
 * What a guard and whoever started it say to each other, over a socket that keeps messages whole
 * and tells each when the other is gone:
 *
 *     parent                        guard
 *       HELLO, limit, the fd   →
 *                              ←      READY
 *       FREEZE                 →
 *                              ←      FROZEN, errno
 *       THAW                   →
 *                              ←      THAWED, errno, whether that was on time
 *       (end of the socket)    →      thaws, if it has not yet, and ends
 */
#define FREEZE_GUARD_FD HOST_SELF_FD

enum freeze_word {
	FREEZE_HELLO = 0x46726565, /* so that nothing else is taken for one */
	FREEZE_READY,
	FREEZE_DO,
	FREEZE_FROZEN,
	FREEZE_UNDO,
	FREEZE_THAWED,
};

enum freeze_ended {
	FREEZE_ON_TIME,
	FREEZE_TIME_WAS_UP,
	FREEZE_WAS_NOT, /* when it was to be thawed: somebody else did */
};

struct freeze_message {
	uint32_t word;  /* enum freeze_word */
	uint32_t ended; /* enum freeze_ended */
	int32_t os;     /* errno */
	int32_t pad;
	int64_t limit_ns;
};

#endif
