/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

/* CLOCK_MONOTONIC; every timeout and age uses it. */
int64_t clock_now_ns(void);
/* CLOCK_BOOTTIME: counts on while the machine is suspended; for what must have ended by then. */
int64_t clock_boot_ns(void);
/* CLOCK_REALTIME since the epoch; only for what people or other machines read. */
int64_t clock_wall_ns(void);

/* Tests own time: after clock_fake_set all clocks stand still at the value until set or advanced;
 * -1 ends it. */
void clock_fake_set(int64_t now_ns);
void clock_fake_advance(int64_t by_ns);

/* RFC 3339 UTC: "2026-11-23T10:00:00Z", with microseconds "2026-11-23T10:00:00.000000Z". Room for
 * 32 bytes. */
#define CLOCK_TEXT_MAX 32
void clock_format(int64_t wall_ns, char ret_text[CLOCK_TEXT_MAX]);
void clock_format_micro(int64_t wall_ns, char ret_text[CLOCK_TEXT_MAX]);

#endif
