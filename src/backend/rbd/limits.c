/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of I/O of a volume: librbd's own settings of an image, in its metadata.
 *
 *   metadata_conf_rbd_qos_read_iops_limit   = 500
 *            …_write_iops_limit, …_read_bps_limit, …_write_bps_limit
 *
 * So whoever has the image open by librbd (our server, rbd-nbd) keeps them by itself, `rbd config
 * image` shows and sets them, and there is no second record that could differ. The kernel's client
 * knows nothing of them: a node that maps the image reads them (attach.c) and has csi/ hold them
 * against the pods. Others of librbd's (the sum of reads and writes, bursts) are an
 * administrator's, and are left alone; so is a value that is none of ours.
 *
 * They are written as words.c writes, all in one operation, and not by librbd: that takes a call
 * for each, and the image's lock, which a client of the kernel's that was mapped with "exclusive"
 * never gives away. Then all who have the image open are told, as librbd tells them: a notification
 * of its header without a word in it, which each client of any age takes for "the header has
 * changed". librbd reads the settings anew with the next request.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define LOG_ROOM "backend.rbd"
#include "backend/rbd/image.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define META_PREFIX "metadata_"
#define TELL_MS 5000
#define VALUE_MAX 24

static const struct {
	const char *word;
	size_t offset;
} known[IMAGE_N_LIMITS] = {
	{ "conf_rbd_qos_read_iops_limit", offsetof(struct vol_limits, read_iops) },
	{ "conf_rbd_qos_write_iops_limit", offsetof(struct vol_limits, write_iops) },
	{ "conf_rbd_qos_read_bps_limit", offsetof(struct vol_limits, read_bandwidth) },
	{ "conf_rbd_qos_write_bps_limit", offsetof(struct vol_limits, write_bandwidth) },
};

static uint64_t *member(struct vol_limits *limits, size_t i)
{
	return (uint64_t *)(void *)((char *)limits + known[i].offset);
}

void image_limits_words(struct arena *a, const struct vol_limits *limits,
			struct image_word ret_words[IMAGE_N_LIMITS])
{
	struct vol_limits copy = *limits;

	for (size_t i = 0; i < IMAGE_N_LIMITS; i++) {
		uint64_t value = *member(&copy, i);

		ret_words[i] = (struct image_word){
			known[i].word,
			value ? arena_printf(a, "%llu", (unsigned long long)value) : ""
		};
	}
}

/* 0 is librbd's word for none. */
static void take_value(struct vol_limits *limits, size_t i, const char *bytes, size_t n)
{
	struct vol_limits one = { 0 };
	char text[VALUE_MAX] = "";

	if (n < sizeof(text))
		memcpy(text, bytes, n);
	if (str_parse_u64(text, member(&one, i)) == 0 && vol_limits_are_valid(&one))
		*member(limits, i) = *member(&one, i);
	else
		log_warn("a limit of an image is outside of what limits can be, and counts as none "
			 "here",
			 log_str("setting", known[i].word), log_str("value", text));
}

static void take_values(const struct ceph_lib *lib, rados_omap_iter_t iter,
			struct vol_limits *limits)
{
	char *key, *value;
	size_t n;

	while (lib->rados_omap_get_next(iter, &key, &value, &n) == 0 && key) {
		for (size_t i = 0; i < IMAGE_N_LIMITS; i++) {
			if (str_is_equal(key + strlen(META_PREFIX), known[i].word))
				take_value(limits, i, value, n);
		}
	}
}

int image_limits_get(const struct image_place *p, const char *id, struct vol_limits *ret_limits)
{
	const char *object = arena_printf(p->ctx->arena, "rbd_header.%s", id);
	struct vol_limits limits = { 0 };
	const char *keys[IMAGE_N_LIMITS];
	rados_omap_iter_t iter;
	rados_read_op_t op = p->lib->rados_create_read_op();
	int rc_keys = 0;
	int rc;

	for (size_t i = 0; i < IMAGE_N_LIMITS; i++)
		keys[i] = arena_printf(p->ctx->arena, META_PREFIX "%s", known[i].word);
	p->lib->rados_read_op_omap_get_vals_by_keys(op, keys, ARRAY_LEN(keys), &iter, &rc_keys);
	rc = p->lib->rados_read_op_operate(op, p->io, object, 0);
	if (rc == 0)
		rc = rc_keys;
	if (rc == 0)
		take_values(p->lib, iter, &limits);
	p->lib->rados_omap_get_end(iter);
	p->lib->rados_release_read_op(op);
	if (rc == 0)
		*ret_limits = limits;
	return rc;
}

/* One who does not answer holds up nobody else, but whether he heard it is not known; a client that
 * died is forgotten in half a minute, and then the same call goes well. */
static int tell(const struct image_place *p, const char *name, const char *id, struct err *err)
{
	const char *object = arena_printf(p->ctx->arena, "rbd_header.%s", id);
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rados_notify2(p->io, object, NULL, 0, TELL_MS, NULL, NULL);
	if (rc == -ETIMEDOUT)
		return err_set(err, ERR_UNAVAILABLE,
			       "the limits are kept with image '%s', but not everybody who has it "
			       "open has answered that they know; the same call tells them again",
			       image_spec(p, name));
	return rc < 0 ? ceph_conn_failed(p->conn, rc, err, "tell who has image '%s' open",
					 image_spec(p, name))
		      : 0;
}

/* What differs alone, so that a value which is not understood stays until it is replaced. */
static int put(const struct image_place *p, const char *name, const char *id,
	       const struct vol_limits *has, const struct vol_limits *wanted, struct err *err)
{
	struct image_word words[IMAGE_N_LIMITS];
	const char *forget[IMAGE_N_LIMITS];
	size_t n_words = 0, n_forget = 0;
	struct vol_limits before = *has, after = *wanted;

	image_limits_words(p->ctx->arena, wanted, words);
	for (size_t i = 0; i < IMAGE_N_LIMITS; i++) {
		if (*member(&before, i) == *member(&after, i))
			continue;
		if (*member(&after, i))
			words[n_words++] = words[i];
		else
			forget[n_forget++] = known[i].word;
	}
	if (n_words + n_forget == 0)
		return 0;
	return image_put_words(p, name, id, words, n_words, forget, n_forget, err);
}

/* Told also where nothing differs: the call before this one may have been killed in between. */
static int modify(const struct image_entry *f, const struct vol_limits *limits, struct err *err)
{
	const struct image_place *p = &f->place;
	const char *name = f->entry.image;
	struct vol_limits has;
	char id[IMAGE_ID_MAX];
	int rc;

	if (image_read_id(p, name, id, err) < 0 || ctx_check(p->ctx, err) < 0)
		return -1;
	rc = image_limits_get(p, id, &has);
	if (rc < 0)
		return ceph_conn_failed(p->conn, rc, err, "read the limits of image '%s'",
					image_spec(p, name));
	if (put(p, name, id, &has, limits, err) < 0)
		return -1;
	return tell(p, name, id, err);
}

int image_modify(struct backend *b, struct ctx *ctx, const char *token,
		 const struct vol_limits *limits, const struct secrets *secrets, struct err *err)
{
	struct image_entry f;
	int rc;

	if (image_entry_open(b, ctx, token, CEPH_JOURNAL_VOLUMES, secrets, &f, err) < 0)
		return -1;
	rc = modify(&f, limits, err);
	image_place_close(&f.place);
	return rc;
}
