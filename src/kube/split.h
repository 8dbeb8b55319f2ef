/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_SPLIT_H
#define KUBE_SPLIT_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * struct split - takes a reply of the API server apart while it comes in
 *
 * SPLIT_EVENTS: a watch, one JSON object after the other. SPLIT_LIST:
 * {"metadata":{…},"items":[{…},…]}. Each part is handed out as its own JSON text; only a part that
 * is spread over several pieces of input is kept, and none may be larger than SPLIT_PART_MAX. Finds
 * boundaries only: whether a part is good JSON is for the parser to say.
 */
#define SPLIT_PART_MAX ((size_t)4 << 20)

enum split_mode { SPLIT_EVENTS, SPLIT_LIST };
enum split_part { SPLIT_ITEM, SPLIT_META };

/* text is not NUL-terminated and borrowed for the call. <0 stops split_feed, which passes it on. */
typedef int (*split_fn)(void *arg, enum split_part part, const char *text, size_t n,
			struct err *err);

struct split {
	enum split_mode mode;
	split_fn fn;
	void *arg;
	unsigned depth;
	unsigned part_depth; /* depth outside the part being read; meaningful while in_part */
	bool in_part;
	bool in_string;
	bool escaped;
	bool after_colon; /* SPLIT_LIST, depth 1: the value of key is next */
	bool in_items;
	bool is_done; /* SPLIT_LIST: the closing brace was seen */
	char key[12]; /* SPLIT_LIST, depth 1 */
	size_t key_len;
	struct str part; /* what came of a part in earlier pieces */
};

void split_init(struct split *s, enum split_mode mode, split_fn fn, void *arg);
void split_done(struct split *s);

/* 0; or -1 and err: INTERNAL when the input cannot be what it should, or whatever fn set. Not to be
 * fed any more then. */
int split_feed(struct split *s, const void *bytes, size_t n, struct err *err);
/* The input may end here. */
bool split_is_complete(const struct split *s);

#endif
