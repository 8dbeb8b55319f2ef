/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

TEST(this_one_runs)
{
}

TEST(this_one_never_does)
{
}

RUN_TESTS(UNIT(this_one_runs))
