/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions that are never right here, made compile errors. Included by the compiler into every
 * file, first of all (meson.build), so the headers that declare them come before the poison.
 */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <libgen.h>
#include <linux/fuse.h> /* has members of such a name */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
/* Some C libraries check these as macros, which cannot be poisoned. */
#undef sprintf
#undef vsprintf
#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef basename

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok atoi atol atoll \
	popen fork vfork mktemp tmpnam srand localtime gmtime ctime asctime usleep

#endif
