/* SPDX-License-Identifier: Apache-2.0 */
/* Pages are dropped under running code: all must read as before, also what was relocated. */
#include "check.h"

#include <stdlib.h>

#include "base/mem.h"
#include "event/work.h"
#include "host/memory.h"

static const char *const words[] = { "relocated", "pointers", "of", "read-only", "data" };
static int counter = 41;

static void sort_much(void *arg)
{
	int *ok = arg;

	for (int round = 0; round < 200; round++) {
		autofree char *text = xasprintf("%s %d", words[round % 5], round);

		*ok += strtod(text + strlen(words[round % 5]), NULL) == round;
	}
}

TEST(program_and_data_are_as_before)
{
	autofree char *heap = xstrdup("heap");

	counter++;
	ASSERT_TRUE(host_memory_trim() > 0);
	ASSERT_EQ(counter, 42);
	ASSERT_STR(heap, "heap");
	ASSERT_STR(words[3], "read-only");
}

TEST(threads_run_on_meanwhile)
{
	struct work_thread *t = NULL;
	int n = 0;

	ASSERT_EQ(work_thread_start("sort", sort_much, &n, &t), 0);
	for (int i = 0; i < 50; i++)
		(void)host_memory_trim();
	work_thread_join(t);
	ASSERT_EQ(n, 200);
}

RUN_TESTS(UNIT(program_and_data_are_as_before), UNIT(threads_run_on_meanwhile))
