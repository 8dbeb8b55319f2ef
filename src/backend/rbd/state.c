/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of an image that is attached: a line each, so that a torn one is told from a whole.
 */
#include "backend/rbd/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/ceph/state.h"
#include "base/mem.h"
#include "base/str.h"

#define POOL_MAX 32
#define LIMITS_MAX 96 /* four numbers of 64 bits */

int image_state_get(const struct images *images, const char *token, const char *name,
		    char *ret_text, size_t cap, struct err *err)
{
	return ceph_state_get(images->ceph.state_dir, token, name, ret_text, cap, err);
}

int image_state_set(const struct images *images, const char *token, const char *name,
		    const char *text, struct err *err)
{
	return ceph_state_set(images->ceph.state_dir, token, name, text, err);
}

static void format_limits(const struct vol_limits *limits, char ret_text[LIMITS_MAX])
{
	(void)snprintf(ret_text, LIMITS_MAX, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
		       limits->read_iops, limits->write_iops, limits->read_bandwidth,
		       limits->write_bandwidth);
}

void image_attached_format(const struct image_attached *how, char ret_text[IMAGE_ATTACHED_MAX])
{
	char pool[POOL_MAX] = "", limits[LIMITS_MAX] = "";
	bool has_client;

	if (how->is_mapped)
		(void)snprintf(pool, sizeof(pool), "%" PRId64, how->pool_id);
	if (vol_limits_are_set(&how->limits))
		format_limits(&how->limits, limits);
	has_client = how->client[0] || *pool || *limits;
	(void)snprintf(ret_text, IMAGE_ATTACHED_MAX, "%s\n%s\n%s\n%s%s%s%s%s%s", how->image,
		       how->fsid, how->unmap_options, how->client, has_client ? "\n" : "", pool,
		       *pool ? "\n" : "", limits, *limits ? "\n" : "");
}

/* One line of the text, which moves on. */
static int take_line(const char **text, char *ret_line, size_t cap)
{
	size_t n = strcspn(*text, "\n");

	if ((*text)[n] != '\n' || n >= cap)
		return -1;
	memcpy(ret_line, *text, n);
	ret_line[n] = '\0';
	*text += n + 1;
	return 0;
}

/* As it is written, so that there is one text for each record; the next one too. */
static int parse_pool(const char *line, struct image_attached *how)
{
	char again[POOL_MAX];

	if (str_parse_i64(line, &how->pool_id) < 0 || how->pool_id < 0)
		return -1;
	(void)snprintf(again, sizeof(again), "%" PRId64, how->pool_id);
	how->is_mapped = true;
	return str_is_equal(line, again) ? 0 : -1;
}

static int parse_limits(const char line[LIMITS_MAX], struct image_attached *how)
{
	struct vol_limits *limits = &how->limits;
	uint64_t *const members[] = { &limits->read_iops, &limits->write_iops,
				      &limits->read_bandwidth, &limits->write_bandwidth };
	char again[LIMITS_MAX], rest[LIMITS_MAX];
	char *at = rest;

	memcpy(rest, line, sizeof(rest));
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		char *word = at;

		at += strcspn(at, " ");
		if (*at)
			*at++ = '\0';
		if (str_parse_u64(word, members[i]) < 0)
			return -1;
	}
	format_limits(limits, again);
	return str_is_equal(again, line) && vol_limits_are_set(limits) &&
			       vol_limits_are_valid(limits)
		       ? 0
		       : -1;
}

/* What was not always there: the client's line, and the two behind it, of which the limits' alone
 * has blanks. */
static int take_later_lines(const char *text, struct image_attached *how)
{
	char line[LIMITS_MAX] = "";

	if (!*text)
		return 0;
	if (take_line(&text, how->client, sizeof(how->client)) < 0)
		return -1;
	if (!*text)
		return how->client[0] ? 0 : -1;
	if (take_line(&text, line, sizeof(line)) < 0)
		return -1;
	if (!strchr(line, ' ')) {
		if (parse_pool(line, how) < 0)
			return -1;
		if (!*text)
			return 0;
		if (take_line(&text, line, sizeof(line)) < 0)
			return -1;
	}
	return *text ? -1 : parse_limits(line, how);
}

int image_attached_parse(const char *text, struct image_attached *ret_how)
{
	struct image_attached how = { .client = "" };

	if (take_line(&text, how.image, sizeof(how.image)) < 0 ||
	    take_line(&text, how.fsid, sizeof(how.fsid)) < 0 ||
	    take_line(&text, how.unmap_options, sizeof(how.unmap_options)) < 0 ||
	    take_later_lines(text, &how) < 0 || !how.image[0])
		return -1;
	*ret_how = how;
	return 0;
}
