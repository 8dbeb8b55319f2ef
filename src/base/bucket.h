/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A token bucket: so many at once, and one more each every_ns. It keeps no clock and no lock;
 * now_ns never goes back.
 */
struct bucket_rule {
	double size;
	double every_ns; /* >0 */
};

struct bucket {
	double tokens; /* negative: so many are promised */
	int64_t filled_ns;
};

void bucket_init(struct bucket *b, const struct bucket_rule *rule, int64_t now_ns); /* full */
/* Takes one if it is there. */
bool bucket_take(struct bucket *b, const struct bucket_rule *rule, int64_t now_ns);
/* Takes one in any case, and says when it is there: now_ns, or later by what was promised before.
 */
int64_t bucket_promise(struct bucket *b, const struct bucket_rule *rule, int64_t now_ns);

#endif
