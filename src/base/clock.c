/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both clocks, and RFC 3339 text. The fake clock is one atomic number, so that
 * a test may move time under running threads; it stands for both clocks, since
 * no test needs them apart.
 *
 * Dates are reckoned here rather than by timegm: strptime takes texts that RFC
 * 3339 does not, and struct tm wraps days that do not exist. Days are counted
 * in years that begin in March, so that the leap day is a year's last.
 */
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
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

/* Exactly n digits at *p, which moves behind them; false if they are not there or above max. */
static bool parse_digits(const char **p, unsigned n, int max, int *ret_value)
{
	int v = 0;

	for (; n > 0; n--, (*p)++) {
		if (**p < '0' || **p > '9')
			return false;
		v = v * 10 + (**p - '0');
	}
	*ret_value = v;
	return v <= max;
}

static bool parse_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static int count_days_in(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* Days from 1970-01-01 to a date. */
static int64_t count_days(int year, int month, int day)
{
	int64_t y = month > 2 ? year : year - 1;
	int64_t m = month > 2 ? month - 3 : month + 9;

	return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

/* ".123…" → ns; further digits are cut. Absent is 0. */
static bool parse_fraction(const char **p, int64_t *ret_ns)
{
	int64_t unit = NS_PER_S / 10;
	const char *start;

	*ret_ns = 0;
	if (!parse_char(p, '.'))
		return true;
	for (start = *p; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
		*ret_ns += (**p - '0') * unit;
	return *p > start;
}

/* "Z" or "+hh:mm" → seconds east of UTC. */
static bool parse_offset(const char **p, int *ret_seconds)
{
	char sign = **p;
	int hours;
	int minutes;

	if (sign == '\0')
		return false;
	(*p)++;
	*ret_seconds = 0;
	if (sign == 'Z' || sign == 'z')
		return true;
	if ((sign != '+' && sign != '-') || !parse_digits(p, 2, 23, &hours) ||
	    !parse_char(p, ':') || !parse_digits(p, 2, 59, &minutes))
		return false;
	*ret_seconds = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
	return true;
}

int clock_parse(const char *text, int64_t *ret_wall_ns)
{
	const char *p = text;
	int year, month, day, hour, minute, second, offset;
	int64_t fraction;
	int64_t ns;

	if (!parse_digits(&p, 4, 9999, &year) || !parse_char(&p, '-') ||
	    !parse_digits(&p, 2, 12, &month) || !parse_char(&p, '-') ||
	    !parse_digits(&p, 2, 31, &day) || (*p != 'T' && *p != 't'))
		return -EINVAL;
	p++;
	/* 60 is a leap second; it counts as the first of the next minute. */
	if (!parse_digits(&p, 2, 23, &hour) || !parse_char(&p, ':') ||
	    !parse_digits(&p, 2, 59, &minute) || !parse_char(&p, ':') ||
	    !parse_digits(&p, 2, 60, &second) || !parse_fraction(&p, &fraction) ||
	    !parse_offset(&p, &offset) || *p != '\0')
		return -EINVAL;
	/* Before 1678 there are no 64 bits of nanoseconds. */
	if (year < 1600 || month < 1 || day < 1 || day > count_days_in(year, month))
		return -EINVAL;
	ns = count_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
	if (__builtin_mul_overflow(ns, NS_PER_S, &ns) || __builtin_add_overflow(ns, fraction, &ns))
		return -EINVAL;
	*ret_wall_ns = ns;
	return 0;
}
