/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_SPACE_H
#define VOLUME_SPACE_H

#include "base/err.h"

#include <stdint.h>

/*
 * Who may have how much of a pool.
 *
 * A thick volume has its blocks from its birth, and room is set aside for overwriting those that it
 * shares. A thin one has the blocks that were written, and is promised its size: the sizes of all
 * thin volumes are at most so many times (the over-commit) what the pool has for them, which is
 * what nobody else was promised and what their files have already. The rule holds whoever comes
 * last: thick volumes are refused what thin ones need for it.
 *
 * Pen and paper, in bytes; nothing here overflows, whatever the figures.
 */
struct vol_space {
	uint64_t total_bytes;    /* of the filesystem */
	uint64_t free_bytes;     /* … */
	uint64_t kept_bytes;     /* for metadata and deletes, which no volume gets */
	uint64_t pending_bytes;  /* promised to what is being made */
	uint64_t shared_bytes;   /* … to thick volumes, for overwriting what they share */
	uint64_t thick_bytes;    /* the sizes of thick volumes */
	uint64_t thin_bytes;     /* the sizes of thin ones, and of those that are being made */
	uint64_t thin_allocated; /* blocks of their files, shared ones in each that has them */
	unsigned overcommit;     /* percent, ≥100 */
};

/* In percent of what volumes may take. Above the first a pool is nearly full, and whoever has a
 * thin volume in it is told; from the second on it takes no new promise to thin ones. */
#define VOL_NEARLY_FULL 80u
#define VOL_FULL 90u

#define VOL_OVERCOMMIT_DEFAULT 200u
#define VOL_OVERCOMMIT_MAX 10000u

/* What is free and was promised to nobody: thin volumes write into this. */
uint64_t vol_space_unpromised(const struct vol_space *s);
/* How full: all but that, in percent of what volumes may take. 100 for a pool without room. */
unsigned vol_space_percent(const struct vol_space *s);
/* The same of figures that are known. */
unsigned vol_space_percent_of(uint64_t usable_bytes, uint64_t unpromised_bytes);
/* The blocks of the pool that are thin volumes': no more than are used at all and by no thick one.
 */
uint64_t vol_space_thin_used(const struct vol_space *s);
/* The largest thick volume that can be promised now, a multiple of VOL_SIZE_UNIT. */
uint64_t vol_space_for_thick(const struct vol_space *s);
/* The largest thin one, likewise; 0 from VOL_FULL on. */
uint64_t vol_space_for_thin(const struct vol_space *s);
/* How much of what is kept for metadata and for overwriting is gone, since thin volumes or foreign
 * files were written. */
uint64_t vol_space_overdrawn(const struct vol_space *s);

/* "2", "1.5": from 1 (nothing is promised twice) to 100, with at most two digits behind the point.
 * INVALID_ARGUMENT. */
int vol_overcommit_parse(const char *text, unsigned *ret_percent, struct err *err);
#define VOL_OVERCOMMIT_TEXT_MAX 16
/* The shortest that is read as the same. */
void vol_overcommit_format(unsigned percent, char ret_text[VOL_OVERCOMMIT_TEXT_MAX]);

#endif
