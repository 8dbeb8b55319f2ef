/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket - how often something may happen
 *
 * Tokens are fractions, so nothing is lost however often one looks. The rule is given each time: a
 * table of hundreds of buckets has one.
 */
#include "base/bucket.h"

void bucket_init(struct bucket *b, const struct bucket_rule *rule, int64_t now_ns)
{
	*b = (struct bucket){ .tokens = rule->size, .filled_ns = now_ns };
}

static void fill(struct bucket *b, const struct bucket_rule *rule, int64_t now_ns)
{
	b->tokens += (double)(now_ns - b->filled_ns) / rule->every_ns;
	b->filled_ns = now_ns;
	if (b->tokens > rule->size)
		b->tokens = rule->size;
}

bool bucket_take(struct bucket *b, const struct bucket_rule *rule, int64_t now_ns)
{
	fill(b, rule, now_ns);
	if (b->tokens < 1)
		return false;
	b->tokens -= 1;
	return true;
}

int64_t bucket_promise(struct bucket *b, const struct bucket_rule *rule, int64_t now_ns)
{
	fill(b, rule, now_ns);
	b->tokens -= 1;
	return b->tokens >= 0 ? now_ns : now_ns + (int64_t)(-b->tokens * rule->every_ns);
}
