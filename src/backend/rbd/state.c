/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of an image that is attached: a line each, so that a torn one is told from a whole.
 */
#include "backend/rbd/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/ceph/state.h"
#include "base/str.h"

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

void image_attached_format(const struct image_attached *how, char ret_text[IMAGE_ATTACHED_MAX])
{
	char pool[32] = "";

	if (how->is_mapped)
		(void)snprintf(pool, sizeof(pool), "%" PRId64 "\n", how->pool_id);
	(void)snprintf(ret_text, IMAGE_ATTACHED_MAX, "%s\n%s\n%s\n%s%s%s", how->image, how->fsid,
		       how->unmap_options, how->client, how->client[0] || *pool ? "\n" : "", pool);
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

/* As it is written, so that there is one text for each record. */
static int take_pool(const char **text, struct image_attached *how)
{
	char line[32], again[32];

	if (take_line(text, line, sizeof(line)) < 0 || str_parse_i64(line, &how->pool_id) < 0 ||
	    how->pool_id < 0)
		return -1;
	(void)snprintf(again, sizeof(again), "%" PRId64, how->pool_id);
	how->is_mapped = true;
	return str_is_equal(line, again) ? 0 : -1;
}

int image_attached_parse(const char *text, struct image_attached *ret_how)
{
	struct image_attached how = { .client = "" };
	bool has_client_line;

	if (take_line(&text, how.image, sizeof(how.image)) < 0 ||
	    take_line(&text, how.fsid, sizeof(how.fsid)) < 0 ||
	    take_line(&text, how.unmap_options, sizeof(how.unmap_options)) < 0 ||
	    ((has_client_line = *text) && take_line(&text, how.client, sizeof(how.client)) < 0) ||
	    (*text && take_pool(&text, &how) < 0) || *text || !how.image[0])
		return -1;
	if (has_client_line && !how.client[0] && !how.is_mapped)
		return -1;
	*ret_how = how;
	return 0;
}
