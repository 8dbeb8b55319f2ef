/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both clocks, and RFC 3339 text. The fake clock is one atomic number, so that
 * a test may move time under running threads; it stands for both clocks, since
 * no test needs them apart.
 */
#include "base/clock.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static atomic_int_fast64_t fake_ns = -1;

static int64_t read_clock(clockid_t id)
{
	int64_t fake = atomic_load(&fake_ns);
	struct timespec ts;

	if (fake >= 0)
		return fake;
	(void)clock_gettime(id, &ts); /* both exist on every Linux */
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_boot_ns(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

int64_t clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

void clock_fake_set(int64_t now_ns)
{
	atomic_store(&fake_ns, now_ns);
}

void clock_fake_advance(int64_t by_ns)
{
	atomic_fetch_add(&fake_ns, by_ns);
}

/* fraction < 0: none. */
static void format(int64_t seconds, int64_t micro, char ret_text[CLOCK_TEXT_MAX])
{
	time_t t = seconds;
	struct tm tm;
	size_t n;

	(void)gmtime_r(&t, &tm); /* fails only for years that 64 bits of ns cannot name */
	n = strftime(ret_text, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	if (micro < 0)
		(void)snprintf(ret_text + n, CLOCK_TEXT_MAX - n, "Z");
	else
		(void)snprintf(ret_text + n, CLOCK_TEXT_MAX - n, ".%06" PRId64 "Z", micro);
}

void clock_format(int64_t wall_ns, char ret_text[CLOCK_TEXT_MAX])
{
	format(wall_ns / NS_PER_S - (wall_ns % NS_PER_S < 0), -1, ret_text);
}

void clock_format_micro(int64_t wall_ns, char ret_text[CLOCK_TEXT_MAX])
{
	int64_t seconds = wall_ns / NS_PER_S - (wall_ns % NS_PER_S < 0);

	format(seconds, (wall_ns - seconds * NS_PER_S) / NS_PER_US, ret_text);
}
