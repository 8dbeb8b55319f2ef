/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ranges: a cgroup keeps requests in 32 bits and silently cuts off what is above, and less than
 * one block a second would never let a request of a workload through. 0 is refused, since it reads
 * as "nothing may pass" to one person and as "no limit" to the next.
 */
#include "volume/io_limits.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/str.h"

#define KUBERNETES_PREFIX "csi.storage.k8s.io/"
#define NO_LIMIT "max"

static const struct limit {
	const char *key;
	size_t offset;
	uint64_t least;
	uint64_t most;
	const char *range; /* for people */
} limits_known[] = {
	{ "readIOPS", offsetof(struct vol_limits, read_iops), 1, 1000000000, "1 to 1G" },
	{ "writeIOPS", offsetof(struct vol_limits, write_iops), 1, 1000000000, "1 to 1G" },
	{ "readBandwidth", offsetof(struct vol_limits, read_bandwidth), 4 * KIB, 1024 * GIB,
	  "4Ki to 1Ti bytes a second" },
	{ "writeBandwidth", offsetof(struct vol_limits, write_bandwidth), 4 * KIB, 1024 * GIB,
	  "4Ki to 1Ti bytes a second" },
};

const char *const vol_limits_keys[VOL_LIMITS_N] = { "readIOPS", "writeIOPS", "readBandwidth",
						    "writeBandwidth" };
static_assert(ARRAY_LEN(limits_known) == VOL_LIMITS_N, "a key each");

static uint64_t get(const struct vol_limits *limits, const struct limit *limit)
{
	return *(const uint64_t *)(const void *)((const char *)limits + limit->offset);
}

static const struct limit *find_limit(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(limits_known); i++) {
		if (str_is_equal(limits_known[i].key, key))
			return &limits_known[i];
	}
	return NULL;
}

bool vol_limits_is_key(const char *key)
{
	return find_limit(key) != NULL;
}

static int refuse_key(const char *field, const char *key, const char *value, struct err *err)
{
	const char *nearest = opt_nearest(key, vol_limits_keys, VOL_LIMITS_N);

	for (size_t i = 0; i < VOL_LIMITS_N; i++) {
		if (strcasecmp(vol_limits_keys[i], key) == 0)
			nearest = vol_limits_keys[i];
	}
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "%s: unknown key '%.64s' (value '%.64s')%s%s%s; known are readIOPS, "
		       "writeIOPS, readBandwidth, writeBandwidth",
		       field, key, value, nearest ? ", meant is perhaps '" : "",
		       nearest ? nearest : "", nearest ? "'" : "");
}

int vol_limits_set(struct vol_limits *limits, const char *field, const char *key, const char *value,
		   struct err *err)
{
	const struct limit *limit = find_limit(key);
	uint64_t number = 0;
	bool is_max = str_is_equal(value, NO_LIMIT);

	if (!limit)
		return refuse_key(field, key, value, err);
	if (!is_max &&
	    (opt_parse_bytes(value, &number) < 0 || number < limit->least || number > limit->most))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "%s: %s: '%.64s' is no limit; write %s, such as 500, 2k or 20Mi, or "
			       "'" NO_LIMIT "' for none",
			       field, key, value, limit->range);
	*(uint64_t *)(void *)((char *)limits + limit->offset) = number;
	return 0;
}

int vol_limits_merge(struct vol_limits *limits, const char *field, const struct strmap *map,
		     struct err *err)
{
	struct vol_limits merged = *limits;

	for (size_t i = 0; i < map->n; i++) {
		if (!str_has_prefix(map->v[i].key, KUBERNETES_PREFIX) &&
		    vol_limits_set(&merged, field, map->v[i].key, map->v[i].value, err) < 0)
			return -1;
	}
	*limits = merged;
	return 0;
}

bool vol_limits_are_set(const struct vol_limits *limits)
{
	static const struct vol_limits none;

	return !vol_limits_are_equal(limits, &none);
}

bool vol_limits_are_equal(const struct vol_limits *a, const struct vol_limits *b)
{
	for (size_t i = 0; i < ARRAY_LEN(limits_known); i++) {
		if (get(a, &limits_known[i]) != get(b, &limits_known[i]))
			return false;
	}
	return true;
}

bool vol_limits_are_valid(const struct vol_limits *limits)
{
	for (size_t i = 0; i < ARRAY_LEN(limits_known); i++) {
		uint64_t value = get(limits, &limits_known[i]);

		if (value && (value < limits_known[i].least || value > limits_known[i].most))
			return false;
	}
	return true;
}

void vol_limits_describe(const struct vol_limits *limits, char ret_text[VOL_LIMITS_TEXT_MAX])
{
	size_t n = 0;

	(void)snprintf(ret_text, VOL_LIMITS_TEXT_MAX, "no limits");
	for (size_t i = 0; i < ARRAY_LEN(limits_known); i++) {
		uint64_t value = get(limits, &limits_known[i]);
		char number[NUM_QUANTITY_MAX];

		if (!value)
			continue;
		num_format_quantity(value, number);
		n += (size_t)snprintf(ret_text + n, VOL_LIMITS_TEXT_MAX - n, "%s%s=%s",
				      n ? " " : "", limits_known[i].key, number);
	}
}
