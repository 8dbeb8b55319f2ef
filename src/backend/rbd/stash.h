/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_STASH_H
#define BACKEND_RBD_STASH_H

#include "backend/rbd/rbd-internal.h"

/*
 * What ceph-csi keeps beside each staged volume, STAGING/image-meta.json, since nobody tells it
 * when the volume goes: read where that program has staged, and written where this one has, so that
 * either takes down what the other brought up.
 */
#define IMAGE_STASH_MAX 4096
#define IMAGE_STASH_NAME_MAX 512
struct image_stash {
	char pool[IMAGE_STASH_NAME_MAX];
	char ns[IMAGE_STASH_NAME_MAX]; /* "" */
	char image[IMAGE_STASH_NAME_MAX];
	char unmap_options[IMAGE_STASH_NAME_MAX]; /* as the class has them, "krbd:…;nbd:…" */
	char device[IMAGE_STASH_NAME_MAX];        /* of NBD; "" */
	bool is_nbd;
	bool is_encrypted;
};

/* ERR_RESOURCE_EXHAUSTED: longer than IMAGE_STASH_MAX. */
int image_stash_format(const struct image_stash *stash, char ret_text[IMAGE_STASH_MAX],
		       struct err *err);
/* -1: it is none, or torn. Of older versions of ceph-csi what they did not write is "". */
int image_stash_parse(const char *text, struct image_stash *ret_stash);
/* Whole or as before. dir: the staging path of the CO. */
int image_stash_write(const char *dir, const struct image_stash *stash, struct err *err);

/* As backend_ops has them. */
int image_staging_take(struct backend *b, struct ctx *ctx, const char *token, const char *dir,
		       struct err *err);
int image_staging_forget(struct backend *b, struct ctx *ctx, const char *dir, struct err *err);

#endif
