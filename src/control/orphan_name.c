/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names in ids. An id is the driver's own, but most make it of the name that they were given, in
 * one way or another; and a name that a controller made is like no other word, since it ends with a
 * UID.
 */
#include "control/orphan.h"

#include "base/str.h"
#include "base/uuid.h"

#include <ctype.h>
#include <string.h>

const char *orphan_kind_name(enum orphan_kind kind)
{
	static const char *const names[] = {
		[ORPHAN_VOLUME] = "volume",
		[ORPHAN_SNAPSHOT] = "snapshot",
		[ORPHAN_GROUP] = "group",
	};

	return names[kind];
}

static bool is_uid(const char *text)
{
	char copy[UUID_TEXT_MAX];
	struct uuid ignored;

	if (strnlen(text, sizeof(copy)) < sizeof(copy) - 1)
		return false;
	memcpy(copy, text, sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = '\0';
	return uuid_parse(copy, &ignored) == 0;
}

static bool is_in_word(char c)
{
	return isalnum((unsigned char)c);
}

const char *orphan_name_in(const char *id, const char *prefix, size_t *ret_n)
{
	size_t n_prefix = strlen(prefix);
	size_t n = n_prefix + 1 + UUID_TEXT_MAX - 1;

	for (const char *at = strstr(id, prefix); at; at = strstr(at + 1, prefix)) {
		if ((at > id && is_in_word(at[-1])) || at[n_prefix] != '-' ||
		    !is_uid(at + n_prefix + 1) || is_in_word(at[n]))
			continue;
		*ret_n = n;
		return at;
	}
	return NULL;
}
