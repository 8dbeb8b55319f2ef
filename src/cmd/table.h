/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TABLE_H
#define CMD_TABLE_H

#include "base/str.h"

#include <stddef.h>

/*
 * Columns for people: every cell is known before the first line is written, so each column is as
 * wide as its widest cell. Cells are copied.
 */
struct table;

struct table *table_new(const char *const *headings, size_t n_columns);
void table_free(struct table *t);
void table_row(struct table *t, const char *const *cells); /* n_columns of them; NULL prints "-" */
void table_print(const struct table *t, struct str *out);

#endif
