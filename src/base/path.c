/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths as text. What a path means on this machine is decided by dirfds and
 * openat2 in host/; here it is only decided whether its text is one that may
 * be used at all. Paths that are not clean are refused rather than cleaned:
 * two spellings of one path are two keys in a lock table.
 */
#include "base/path.h"

#include "base/mem.h"

#include <limits.h>

/* The component of n bytes at s is one that names something. */
static bool is_name_n(const char *s, size_t n)
{
	if (n == 0 || n > NAME_MAX)
		return false;
	return !(s[0] == '.' && (n == 1 || (n == 2 && s[1] == '.')));
}

bool path_is_clean(const char *path)
{
	if (!path || path[0] != '/' || strnlen(path, PATH_MAX) >= PATH_MAX)
		return false;
	if (path[1] == '\0')
		return true;
	for (const char *at = path; *at;) {
		size_t n = strcspn(at + 1, "/");

		if (!is_name_n(at + 1, n))
			return false;
		at += 1 + n;
	}
	return true;
}

bool path_is_name(const char *name)
{
	return name && !strchr(name, '/') && is_name_n(name, strlen(name));
}

bool path_is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n == 1)
		return true;
	return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

char *path_parent(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash || path[1] == '\0')
		return NULL;
	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

const char *path_last(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

char *path_join(const char *dir, const char *name)
{
	size_t n = strlen(dir);

	return xasprintf(n && dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}
