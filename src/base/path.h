/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>

/* Pure text; nothing here touches a filesystem. */

/* Absolute, no empty, "." or ".." component, no trailing slash (but "/" itself), shorter than
 * PATH_MAX. */
bool path_is_clean(const char *path);
/* One component: not empty, not "." or "..", no slash, ≤255 bytes. */
bool path_is_name(const char *name);
/* True if path is dir or lies below it; both clean. */
bool path_is_below(const char *path, const char *dir);
/* Parent of a clean path into malloc'ed memory ("/" for "/a"); NULL for "/". */
char *path_parent(const char *path);
/* Last component, pointing into path. */
const char *path_last(const char *path);
/* dir + "/" + name, malloc'ed. */
char *path_join(const char *dir, const char *name);

#endif
