/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of an image that is attached: a line each, so that a torn one is told from a whole.
 */
#include "backend/rbd/state.h"

#include <stdio.h>
#include <string.h>

#include "backend/ceph/state.h"

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
	(void)snprintf(ret_text, IMAGE_ATTACHED_MAX, "%s\n%s\n%s\n%s%s", how->image, how->fsid,
		       how->unmap_options, how->client, how->client[0] ? "\n" : "");
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

int image_attached_parse(const char *text, struct image_attached *ret_how)
{
	struct image_attached how = { .client = "" };

	if (take_line(&text, how.image, sizeof(how.image)) < 0 ||
	    take_line(&text, how.fsid, sizeof(how.fsid)) < 0 ||
	    take_line(&text, how.unmap_options, sizeof(how.unmap_options)) < 0 ||
	    (*text && (take_line(&text, how.client, sizeof(how.client)) < 0 || !how.client[0])) ||
	    *text || !how.image[0])
		return -1;
	*ret_how = how;
	return 0;
}
