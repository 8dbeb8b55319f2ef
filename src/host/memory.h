/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_MEMORY_H
#define HOST_MEMORY_H

#include <stddef.h>

/*
 * Gives back what only starting needed: free memory of malloc, and pages of program and libraries
 * that the kernel reads again from their files when they are touched. Any thread, at any time;
 * costs some hundred page faults afterwards. Returns how many bytes of program and libraries it
 * let go of (mapped or not).
 */
size_t host_memory_trim(void);

#endif
