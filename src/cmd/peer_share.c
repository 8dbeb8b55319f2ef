/* SPDX-License-Identifier: Apache-2.0 */
/* There is at most one row for each that is taken, so few that they are looked through. */
#include "cmd/peer_share.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

struct row {
	char *host;
	unsigned n;
};

struct peer_share {
	unsigned n_each;
	VEC(struct row) rows;
};

struct peer_share *peer_share_new(unsigned n_each)
{
	struct peer_share *s = xcalloc(1, sizeof(*s));

	s->n_each = n_each;
	return s;
}

void peer_share_free(struct peer_share *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->rows.n; i++)
		free(s->rows.v[i].host);
	vec_done(&s->rows);
	free(s);
}

/* "10.0.0.1" of "10.0.0.1:4711", "[fd00::1]" of "[fd00::1]:4711". */
static char *host_of(const char *peer)
{
	const char *colon = strrchr(peer, ':');

	return colon ? xstrndup(peer, (size_t)(colon - peer)) : xstrdup(peer);
}

static struct row *find_row(const struct peer_share *s, const char *host)
{
	for (size_t i = 0; i < s->rows.n; i++)
		if (str_is_equal(s->rows.v[i].host, host))
			return &s->rows.v[i];
	return NULL;
}

int peer_share_take(struct peer_share *s, const char *peer, struct err *err)
{
	autofree char *host = host_of(peer);
	struct row *row = find_row(s, host);

	if (row && row->n == s->n_each)
		return err_set(
			err, ERR_UNAVAILABLE,
			"%s has %u calls under way, as many as one host may have: come again "
			"when one of them has ended",
			host, row->n);
	if (row)
		row->n++;
	else
		vec_push(&s->rows, ((struct row){ TAKE_PTR(host), 1 }));
	return 0;
}

void peer_share_give(struct peer_share *s, const char *peer)
{
	autofree char *host = host_of(peer);
	struct row *row = find_row(s, host);

	assert(row);
	if (--row->n > 0)
		return;
	free(row->host);
	*row = s->rows.v[--s->rows.n];
}
