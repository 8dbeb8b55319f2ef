/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of an image that was just made, and that nobody but this call knows: its id, and its metadata.
 *
 * By librbd either takes an open image, which is a dozen questions, a watch, and, where there is an
 * exclusive lock, that lock for each word: as long as it takes to make the image. The same is done
 * here as librbd does it in the end, by one operation on one object:
 *
 *   rbd_id.NAME     its id, as encoded text: its length in 4 bytes, the lowest first, its bytes
 *   rbd_header.ID   the omap's keys "metadata_WORD" (client.c)
 *
 * An open image would hear nothing of such a change.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "backend/rbd/image.h"
#include "base/str.h"

#define WORDS_MAX 12
#define META_PREFIX "metadata_"

int image_id_decode(const char *bytes, size_t n, char ret_id[IMAGE_ID_MAX])
{
	uint32_t le;
	size_t len;

	if (n < sizeof(le))
		return -EBADMSG;
	memcpy(&le, bytes, sizeof(le));
	len = le32toh(le);
	if (len != n - sizeof(le) || len == 0 || len >= IMAGE_ID_MAX ||
	    memchr(bytes + sizeof(le), '\0', len))
		return -EBADMSG;
	memcpy(ret_id, bytes + sizeof(le), len);
	ret_id[len] = '\0';
	return 0;
}

int image_read_id(const struct image_place *p, const char *name, char ret_id[IMAGE_ID_MAX],
		  struct err *err)
{
	const char *object = arena_printf(p->ctx->arena, "rbd_id.%s", name);
	char bytes[sizeof(uint32_t) + IMAGE_ID_MAX];
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rados_read(p->io, object, bytes, sizeof(bytes), 0);
	if (rc >= 0)
		rc = image_id_decode(bytes, (size_t)rc, ret_id);
	return rc < 0 ? ceph_conn_failed(p->conn, rc, err, "read the id of image '%s'",
					 image_spec(p, name))
		      : 0;
}

static const char *key_of(const struct image_place *p, const char *word)
{
	return arena_printf(p->ctx->arena, META_PREFIX "%s", word);
}

static void op_words(const struct image_place *p, rados_write_op_t op,
		     const struct image_word *words, size_t n, const char *const *forget,
		     size_t n_forget)
{
	const char *keys[WORDS_MAX], *values[WORDS_MAX], *gone[WORDS_MAX];
	size_t lens[WORDS_MAX], n_said = 0;

	assert(n <= WORDS_MAX && n_forget <= WORDS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (!*words[i].value)
			continue;
		keys[n_said] = key_of(p, words[i].key);
		values[n_said] = words[i].value;
		lens[n_said++] = strlen(words[i].value);
	}
	for (size_t i = 0; i < n_forget; i++)
		gone[i] = key_of(p, forget[i]);
	if (n_said > 0)
		p->lib->rados_write_op_omap_set(op, keys, values, lens, n_said);
	if (n_forget > 0)
		p->lib->rados_write_op_omap_rm_keys(op, gone, n_forget);
}

int image_put_words(const struct image_place *p, const char *name, const char *id,
		    const struct image_word *words, size_t n, const char *const *forget,
		    size_t n_forget, struct err *err)
{
	const char *object = arena_printf(p->ctx->arena, "rbd_header.%s", id);
	rados_write_op_t op;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	op = p->lib->rados_create_write_op();
	p->lib->rados_write_op_assert_exists(op);
	op_words(p, op, words, n, forget, n_forget);
	rc = p->lib->rados_write_op_operate(op, p->io, object, NULL, 0);
	p->lib->rados_release_write_op(op);
	return rc < 0 ? ceph_conn_failed(p->conn, rc, err, "write the metadata of image '%s'",
					 image_spec(p, name))
		      : 0;
}
