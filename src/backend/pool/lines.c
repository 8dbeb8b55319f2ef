/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of "key=value". No quoting: values are numbers, UUIDs and names that have no control
 * characters, which line_can_hold() sees to before they are written.
 */
#include "backend/pool/lines.h"

#include <string.h>

#define NEED_MAX 32

/* What may stand in "needs=". Each thing that an older cleat must not pass over gets its word here:
 * copying: a snapshot that has only a part of its bytes yet. */
static const char *const known_needs[] = { "copying", NULL };

int line_next(const char **at, struct line *ret_line)
{
	size_t n = strcspn(*at, "\n");
	const char *equals = memchr(*at, '=', n);

	if (!**at)
		return 0;
	if (!equals || (*at)[n] != '\n')
		return -1;
	*ret_line = (struct line){ .key = *at,
				   .n_key = (size_t)(equals - *at),
				   .value = equals + 1,
				   .n_value = n - (size_t)(equals + 1 - *at) };
	*at += n + 1;
	return 1;
}

bool line_is(const struct line *line, const char *key)
{
	return strlen(key) == line->n_key && memcmp(line->key, key, line->n_key) == 0;
}

int line_copy(const struct line *line, char *ret_value, size_t cap)
{
	if (line->n_value >= cap)
		return -1;
	memcpy(ret_value, line->value, line->n_value);
	ret_value[line->n_value] = '\0';
	return 0;
}

static bool is_known_need(const char *word, size_t n)
{
	for (size_t i = 0; known_needs[i]; i++) {
		if (strlen(known_needs[i]) == n && memcmp(known_needs[i], word, n) == 0)
			return true;
	}
	return false;
}

bool line_has_word(const struct line *line, const char *word)
{
	const char *end = line->value + line->n_value;
	size_t n = strlen(word);

	for (const char *at = line->value; at < end;) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		size_t n_at = (size_t)((comma ? comma : end) - at);

		if (n_at == n && memcmp(at, word, n) == 0)
			return true;
		at += n_at + 1;
	}
	return false;
}

int line_check_needs(const struct line *line, struct err *err)
{
	const char *end = line->value + line->n_value;

	for (const char *word = line->value; word < end;) {
		const char *comma = memchr(word, ',', (size_t)(end - word));
		size_t n = (size_t)((comma ? comma : end) - word);

		if (n > 0 && !is_known_need(word, n))
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "it needs '%.*s', which this cleat lacks: " LINE_NEWER,
				       (int)(n < NEED_MAX ? n : NEED_MAX), word);
		word += n + 1;
	}
	return 0;
}

bool line_can_hold(const char *text, size_t cap)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	}
	return n < cap;
}
