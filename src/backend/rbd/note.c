/* SPDX-License-Identifier: Apache-2.0 */
/* The note of csi/node, kept on the node and not with the image: it tells how the volume is staged
 * here, and what goes down must not need the cluster. */
#include "backend/rbd/state.h"

int image_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
		   struct err *err)
{
	if (ctx_check(ctx, err) < 0)
		return -1;
	return image_state_get(images_of(b), token, IMAGE_NOTE, ret_note, BACKEND_NOTE_MAX + 1,
			       err);
}

int image_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
		   struct err *err)
{
	if (ctx_check(ctx, err) < 0)
		return -1;
	return image_state_set(images_of(b), token, IMAGE_NOTE, note, err);
}
