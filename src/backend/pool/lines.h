/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_LINES_H
#define BACKEND_POOL_LINES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * What a pool writes down is text: a first line with the format's version, then one "key=value" a
 * line. README.md has the formats. A reader takes the keys that it knows and passes over the
 * others, so that an older cleat reads what a newer one wrote; what must not be passed over the
 * newer one names in the line "needs=a,b".
 */
struct line {
	const char *key; /* both point into the text and end by length */
	size_t n_key;
	const char *value;
	size_t n_value;
};

/* The line at *at, which moves on: 1; 0 at the end of the text; -1 if it has no '=' or no newline
 * ends it. */
int line_next(const char **at, struct line *ret_line);
bool line_is(const struct line *line, const char *key);
/* The value as a string; -1 if it does not fit. */
int line_copy(const struct line *line, char *ret_value, size_t cap);

/* FAILED_PRECONDITION names what the value of "needs" asks for that this cleat does not have; these
 * words are in it. */
#define LINE_NEWER "a newer one made it"
int line_check_needs(const struct line *line, struct err *err);

/* Whether the value, words with commas between, has this one. */
bool line_has_word(const struct line *line, const char *word);

/* Whether text can be a value: no control characters, shorter than cap. */
bool line_can_hold(const char *text, size_t cap);

#endif
