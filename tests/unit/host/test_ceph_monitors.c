/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "check.h"
#include "host/ceph_monitors.h"

TEST(monitors_are_of_the_protocol_that_is_spoken)
{
	static const struct {
		const char *monitors;
		const char *v1, *v2; /* NULL: none */
	} cases[] = {
		{ "10.0.0.1", "10.0.0.1:6789", "10.0.0.1:3300" },
		{ "10.0.0.1:6789,10.0.0.2:6789", "10.0.0.1:6789,10.0.0.2:6789",
		  "10.0.0.1:3300,10.0.0.2:3300" },
		{ "10.0.0.1:3300", "10.0.0.1:6789", "10.0.0.1:3300" },
		{ "10.0.0.1:43300", "10.0.0.1:43300", "10.0.0.1:43300" },
		{ "v2:10.0.0.1:3300/0", NULL, "10.0.0.1:3300" },
		{ "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0],[v2:10.0.0.2:3300/0,v1:10.0.0.2:6789/0]",
		  "10.0.0.1:6789,10.0.0.2:6789", "10.0.0.1:3300,10.0.0.2:3300" },
		{ "[fd00::1]:6789; fd00::2", "[fd00::1]:6789,[fd00::2]:6789",
		  "[fd00::1]:3300,[fd00::2]:3300" },
		{ "[v1:[fd00::1]:6790/0]", "[fd00::1]:6790", NULL },
		{ "", NULL, NULL },
		{ "10.0.0.1:", NULL, NULL },
		{ "[fd00::1", NULL, NULL },
		{ "[]:1", NULL, NULL },
		{ "10.0.0.1.5", NULL, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (int is_v2 = 0; is_v2 < 2; is_v2++) {
			const char *want = is_v2 ? cases[i].v2 : cases[i].v1;
			autostr struct str list = STR_INIT;
			struct err err;
			const char *mode;
			int rc = host_ceph_monitors(cases[i].monitors,
						    is_v2 ? "ms_mode=crc" : "ms_mode=legacy", &list,
						    &mode, &err);

			if (want) {
				ASSERT_OK(rc, &err);
				ASSERT_STR(str_get(&list), want);
				ASSERT_STR(mode, "");
			} else {
				ASSERT_EQ(rc, -1);
				ASSERT_EQ(err.code, ERR_INVALID_ARGUMENT);
				ASSERT_EQ(list.len, 0);
			}
		}
	}
}

TEST(without_a_word_the_list_says_which_protocol)
{
	static const struct {
		const char *monitors, *options, *list, *mode;
	} cases[] = {
		{ "10.0.0.1", "", "10.0.0.1:6789", "" },
		{ "10.0.0.1:3300", "", "10.0.0.1:3300", "ms_mode=prefer-crc" },
		{ "10.0.0.1:3300,v2:10.0.0.2:3300", "noshare", "10.0.0.1:3300,10.0.0.2:3300",
		  "ms_mode=prefer-crc" },
		{ "10.0.0.1:3300,10.0.0.2:6789", "", "10.0.0.1:6789,10.0.0.2:6789", "" },
		{ "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]", "", "10.0.0.1:6789", "" },
		{ "10.0.0.1", "noshare,ms_mode=secure", "10.0.0.1:3300", "" },
		{ "10.0.0.1:3300", "ms_mode=legacy", "10.0.0.1:6789", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autostr struct str list = STR_INIT;
		const char *mode;
		struct err err;

		ASSERT_OK(
			host_ceph_monitors(cases[i].monitors, cases[i].options, &list, &mode, &err),
			&err);
		ASSERT_STR(list.buf, cases[i].list);
		ASSERT_STR(mode, cases[i].mode);
	}
}

RUN_TESTS(UNIT(monitors_are_of_the_protocol_that_is_spoken),
	  UNIT(without_a_word_the_list_says_which_protocol))
