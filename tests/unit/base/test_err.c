/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include "../check.h"

#include "base/str.h"

#include <errno.h>

TEST(set_fills_code_and_text)
{
	struct err err;

	ASSERT_EQ(err_set(&err, ERR_NOT_FOUND, "volume '%s' of %d", "v1", 3), -1);
	ASSERT_EQ(err.code, ERR_NOT_FOUND);
	ASSERT_EQ(err.os, 0);
	ASSERT_STR(err.msg, "volume 'v1' of 3");
}

TEST(os_adds_the_text_of_either_sign)
{
	struct err err;

	ASSERT_EQ(err_os(&err, ERR_INTERNAL, ENODEV, "open '%s'", "/dev/loop3"), -1);
	ASSERT_STR(err.msg, "open '/dev/loop3': No such device");
	ASSERT_EQ(err.os, ENODEV);
	(void)err_os(&err, ERR_INTERNAL, -EBUSY, "mount");
	ASSERT_STR(err.msg, "mount: Device or resource busy");
	ASSERT_EQ(err.os, EBUSY);
}

TEST(wrap_goes_before_and_keeps_code_and_errno)
{
	struct err err;

	(void)err_os(&err, ERR_UNAVAILABLE, EIO, "read");
	ASSERT_EQ(err_wrap(&err, "stage %s", "pvc-1"), -1);
	ASSERT_STR(err.msg, "stage pvc-1: read: Input/output error");
	ASSERT_EQ(err.code, ERR_UNAVAILABLE);
	ASSERT_EQ(err.os, EIO);
}

TEST(the_old_message_may_be_an_argument)
{
	struct err err;

	(void)err_set(&err, ERR_INTERNAL, "inner");
	(void)err_set(&err, ERR_ABORTED, "outer (%s)", err.msg);
	ASSERT_STR(err.msg, "outer (inner)");
}

TEST(control_characters_and_broken_utf8_are_made_harmless)
{
	struct err err;

	(void)err_set(&err, ERR_INTERNAL, "%s",
		      "a\nb\tc\x7f"
		      "d\r\n");
	ASSERT_STR(err.msg, "a b c d  ");
	(void)err_set(&err, ERR_INTERNAL, "%s", "x\xff\xc0\xafy\xe2\x82");
	ASSERT_STR(err.msg, "x???y??");
	(void)err_set(&err, ERR_INTERNAL, "%s",
		      "\xc2\x9b"
		      "2J\xe2\x80\xaetxt\xe2\x81\xa9");
	ASSERT_STR(err.msg, "  2J   txt   ");
	(void)err_set(&err, ERR_INTERNAL, "%s", "Größe €");
	ASSERT_STR(err.msg, "Größe €");
}

TEST(long_messages_are_cut_between_characters)
{
	char text[2000];
	struct err err;

	for (size_t shift = 0; shift < 4; shift++) {
		memset(text, 'x', shift);
		for (size_t i = shift; i + 4 <= 1000; i += 4)
			memcpy(text + i, "\xf0\x9f\xa6\x80", 5);
		(void)err_set(&err, ERR_INTERNAL, "%s", text);
		ASSERT_TRUE(strlen(err.msg) > ERR_MSG_MAX - 6);
		ASSERT_TRUE(strlen(err.msg) < ERR_MSG_MAX);
		ASSERT_TRUE(str_is_utf8(err.msg, strlen(err.msg)));
		ASSERT_TRUE(strchr(err.msg, '?') == NULL);
		(void)err_wrap(&err, "%s", text);
		ASSERT_TRUE(str_is_utf8(err.msg, strlen(err.msg)));
		ASSERT_TRUE(strchr(err.msg, '?') == NULL);
		(void)err_os(&err, ERR_INTERNAL, EIO, "%s", text);
		ASSERT_TRUE(str_is_utf8(err.msg, strlen(err.msg)));
	}
}

TEST(an_empty_side_brings_no_colon)
{
	struct err err;

	(void)err_set(&err, ERR_INTERNAL, "%s", "");
	ASSERT_STR(err.msg, "");
	(void)err_wrap(&err, "outer");
	ASSERT_STR(err.msg, "outer");
}

TEST(codes_have_the_names_of_grpc_and_of_prometheus)
{
	ASSERT_STR(err_code_name(ERR_OK), "OK");
	ASSERT_STR(err_code_name(ERR_INVALID_ARGUMENT), "INVALID_ARGUMENT");
	ASSERT_STR(err_code_name(ERR_UNAUTHENTICATED), "UNAUTHENTICATED");
	ASSERT_STR(err_code_name((enum err_code)42), "UNKNOWN");
	ASSERT_STR(err_code_name((enum err_code) - 1), "UNKNOWN");
	ASSERT_STR(err_code_camel(ERR_CANCELLED), "Canceled");
	ASSERT_STR(err_code_camel(ERR_DEADLINE_EXCEEDED), "DeadlineExceeded");
	ASSERT_STR(err_code_camel((enum err_code)17), "Unknown");
}

RUN_TESTS(UNIT(set_fills_code_and_text), UNIT(os_adds_the_text_of_either_sign),
	  UNIT(wrap_goes_before_and_keeps_code_and_errno), UNIT(the_old_message_may_be_an_argument),
	  UNIT(control_characters_and_broken_utf8_are_made_harmless),
	  UNIT(long_messages_are_cut_between_characters), UNIT(an_empty_side_brings_no_colon),
	  UNIT(codes_have_the_names_of_grpc_and_of_prometheus))
