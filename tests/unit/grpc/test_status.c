/* SPDX-License-Identifier: Apache-2.0 */
/* The text forms of "gRPC over HTTP/2", as tables. */
#include "check.h"

#include <errno.h>

#include "base/clock.h"
#include "base/mem.h"
#include "grpc/status.h"

TEST(messages_are_percent_encoded_and_come_back)
{
	static const struct {
		const char *text, *wire;
	} cases[] = {
		{ "", "" },           { "plain text, with ~ and \"", "plain text, with ~ and \"" },
		{ "100%", "100%25" }, { "größe", "gr%C3%B6%C3%9Fe" },
		{ "%41", "%2541" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autostr struct str wire = STR_INIT;
		struct err err;

		grpc_message_encode(cases[i].text, &wire);
		ASSERT_STR(str_get(&wire), cases[i].wire);
		grpc_message_decode(ERR_ABORTED, cases[i].wire, &err);
		ASSERT_STR(err.msg, cases[i].text);
		ASSERT_EQ(err.code, ERR_ABORTED);
	}
}

/* What a peer sends gets into logs, events and terminals by way of err.msg. */
TEST(a_peers_message_is_one_clean_line_however_it_is_escaped)
{
	autostr struct str wire = STR_INIT;
	char want[ERR_MSG_MAX] = "";
	struct err err;

	grpc_message_encode("two\nlines\t\x7f", &wire);
	ASSERT_STR(str_get(&wire), "two%0Alines%09%7F");
	grpc_message_decode(ERR_INTERNAL,
			    "line one%0AI1123 10:00:00 forged%1B[2J%C2%9B1m %E2%80%AEcilbup %FF",
			    &err);
	ASSERT_STR(err.msg, "line one I1123 10:00:00 forged [2J  1m    cilbup ?");
	str_reset(&wire);
	for (size_t i = 0; i < ERR_MSG_MAX - 2; i++)
		str_append_char(&wire, 'a');
	memcpy(want, wire.buf, ERR_MSG_MAX - 2);
	str_append(&wire, "%C3%BC and more");
	grpc_message_decode(ERR_INTERNAL, wire.buf, &err);
	ASSERT_STR(err.msg, want);
}

TEST(broken_escapes_stay)
{
	static const struct {
		const char *wire, *text;
	} cases[] = {
		{ "%", "%" },         { "%4", "%4" },    { "%zz", "%zz" },
		{ "a%4gb", "a%4gb" }, { "%c3%B6", "ö" }, { "%00x", "%00x" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err;

		grpc_message_decode(ERR_INTERNAL, cases[i].wire, &err);
		ASSERT_STR(err.msg, cases[i].text);
	}
}

TEST(timeouts_are_up_to_eight_digits_and_a_unit)
{
	static const struct {
		const char *text;
		int64_t ns;
		int result;
	} cases[] = {
		{ "0n", 0, 0 },
		{ "1n", 1, 0 },
		{ "99999999u", 99999999 * NS_PER_US, 0 },
		{ "50m", 50 * NS_PER_MS, 0 },
		{ "00000010S", 10 * NS_PER_S, 0 },
		{ "2M", 120 * NS_PER_S, 0 },
		{ "3H", 10800 * NS_PER_S, 0 },
		{ "99999999H", INT64_MAX, 0 },
		{ "", 0, -EINVAL },
		{ "S", 0, -EINVAL },
		{ "5", 0, -EINVAL },
		{ "5s", 0, -EINVAL },
		{ "5Sx", 0, -EINVAL },
		{ "-5S", 0, -EINVAL },
		{ " 5S", 0, -EINVAL },
		{ "1.5S", 0, -EINVAL },
		{ "123456789n", 0, -EINVAL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t ns = 0;
		int r = grpc_timeout_parse(cases[i].text, &ns);

		if (r != cases[i].result || ns != cases[i].ns)
			fail_msg("'%s': %d, %lld", cases[i].text, r, (long long)ns);
	}
}

TEST(timeouts_are_written_never_shorter_than_they_are)
{
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "0n" },
		{ 1, "1n" },
		{ 99999999, "99999999n" },
		{ 100000000, "100000u" },
		{ 100000001, "100001u" },
		{ 15 * NS_PER_S, "15000000u" },
		{ 100 * NS_PER_S, "100000m" },
		{ INT64_MAX - 1, "2562048H" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[GRPC_TIMEOUT_MAX] = "";
		int64_t back = 0;

		grpc_timeout_format(cases[i].ns, text);
		ASSERT_STR(text, cases[i].text);
		ASSERT_EQ(grpc_timeout_parse(text, &back), 0);
		ASSERT_TRUE(back >= cases[i].ns);
	}
}

TEST(statuses_are_numbers_up_to_16)
{
	static const struct {
		const char *text;
		enum err_code code;
	} cases[] = {
		{ "0", ERR_OK },
		{ "5", ERR_NOT_FOUND },
		{ "16", ERR_UNAUTHENTICATED },
		{ "17", ERR_UNKNOWN },
		{ "-1", ERR_UNKNOWN },
		{ "", ERR_UNKNOWN },
		{ "ok", ERR_UNKNOWN },
		{ "5 ", ERR_UNKNOWN },
		{ "99999999999999999999", ERR_UNKNOWN },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (grpc_status_parse(cases[i].text) != cases[i].code)
			fail_msg("'%s'", cases[i].text);
}

TEST(http_statuses_mean_what_grpc_says)
{
	static const struct {
		const char *http;
		enum err_code code;
	} cases[] = {
		{ "400", ERR_INTERNAL },          { "401", ERR_UNAUTHENTICATED },
		{ "403", ERR_PERMISSION_DENIED }, { "404", ERR_UNIMPLEMENTED },
		{ "429", ERR_UNAVAILABLE },       { "502", ERR_UNAVAILABLE },
		{ "503", ERR_UNAVAILABLE },       { "504", ERR_UNAVAILABLE },
		{ "200", ERR_UNKNOWN },           { "418", ERR_UNKNOWN },
		{ "500", ERR_UNKNOWN },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (grpc_status_from_http(cases[i].http) != cases[i].code)
			fail_msg("%s", cases[i].http);
}

RUN_TESTS(UNIT(messages_are_percent_encoded_and_come_back),
	  UNIT(a_peers_message_is_one_clean_line_however_it_is_escaped), UNIT(broken_escapes_stay),
	  UNIT(timeouts_are_up_to_eight_digits_and_a_unit),
	  UNIT(timeouts_are_written_never_shorter_than_they_are),
	  UNIT(statuses_are_numbers_up_to_16), UNIT(http_statuses_mean_what_grpc_says))
