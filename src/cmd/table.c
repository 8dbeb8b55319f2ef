/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table - aligned columns
 *
 * Widths are counted in UTF-8 characters, since pool and volume names may hold them. The last
 * column is not padded, so that lines have no blanks at their ends.
 */
#include "cmd/table.h"

#include "base/mem.h"
#include "base/vec.h"

struct table {
	size_t n_columns;
	VEC(char *) cells; /* the headings first */
};

struct table *table_new(const char *const *headings, size_t n_columns)
{
	struct table *t = xcalloc(1, sizeof(*t));

	t->n_columns = n_columns;
	table_row(t, headings);
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->cells.n; i++)
		free(t->cells.v[i]);
	vec_done(&t->cells);
	free(t);
}

void table_row(struct table *t, const char *const *cells)
{
	for (size_t i = 0; i < t->n_columns; i++)
		vec_push(&t->cells, xstrdup(str_or(cells[i], "-")));
}

static size_t count_characters(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static size_t find_width(const struct table *t, size_t column)
{
	size_t width = 0;

	for (size_t i = column; i < t->cells.n; i += t->n_columns) {
		size_t n = count_characters(t->cells.v[i]);

		if (n > width)
			width = n;
	}
	return width;
}

void table_print(const struct table *t, struct str *out)
{
	for (size_t row = 0; row < t->cells.n; row += t->n_columns) {
		for (size_t column = 0; column < t->n_columns; column++) {
			const char *cell = t->cells.v[row + column];

			str_append(out, cell);
			if (column + 1 == t->n_columns)
				break;
			for (size_t n = count_characters(cell); n < find_width(t, column) + 2; n++)
				str_append_char(out, ' ');
		}
		str_append_char(out, '\n');
	}
}
