/* SPDX-License-Identifier: Apache-2.0 */
#include "base/opt.h"

#include "../check.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>

struct options {
	bool version;
	const char *address;
	struct opt_list pools;
	unsigned workers;
	uint64_t size;
	int64_t timeout;
	const char *format;
};

/* clang-format off */
static const struct opt table[] = {
	{ .name = "Where", .type = OPT_GROUP },
	{ .name = "csi-address", .type = OPT_STRING, .offset = offsetof(struct options, address), .arg = "ADDRESS",
	  .fallback = "/run/csi/socket", .env = "CLEAT_TEST_ADDRESS", .help = "Socket of the driver." },
	{ .name = "pool", .type = OPT_LIST, .offset = offsetof(struct options, pools), .arg = "DIR", .help = "A pool." },
	{ .name = "How", .type = OPT_GROUP },
	{ .name = "workers", .type = OPT_UINT, .offset = offsetof(struct options, workers), .fallback = "10",
	  .help = "Threads." },
	{ .name = "size", .type = OPT_BYTES, .offset = offsetof(struct options, size), .fallback = "8Gi", .help = "Size." },
	{ .name = "timeout", .type = OPT_DURATION, .offset = offsetof(struct options, timeout), .arg = "TIME",
	  .fallback = "15s", .env = "CLEAT_TEST_TIMEOUT",
	  .help = "Time that a call to the driver may take before it is given up and tried again later with a backoff." },
	{ .name = "logging-format", .type = OPT_CHOICE, .offset = offsetof(struct options, format),
	  .fallback = "text", .choices = "text|json", .help = "Form of the log." },
	{ .name = "version", .type = OPT_BOOL, .offset = offsetof(struct options, version), .help = "Print the version." },
	{ .type = OPT_END },
};
/* clang-format on */

#define ARGS_MAX 24

/* What opt_parse makes of the words of line, split at blanks. */
static int parse(const char *line, struct options *o, char ***ret_rest, int *ret_n_rest,
		 struct err *err)
{
	static char text[512];
	static char *argv[ARGS_MAX + 1];
	char *save = NULL;
	int argc = 0;

	(void)snprintf(text, sizeof(text), "cleat %s", line); /* lines of this file are short */
	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		ASSERT_TRUE(argc < ARGS_MAX);
		argv[argc++] = word;
	}
	argv[argc] = NULL;
	return opt_parse(table, o, argc, argv, ret_rest, ret_n_rest, err);
}

static void parse_ok(const char *line, struct options *o, char ***ret_rest, int *ret_n_rest)
{
	struct err err;

	ASSERT_OK(parse(line, o, ret_rest, ret_n_rest, &err), &err);
}

TEST(defaults_come_from_the_table)
{
	struct options o;
	char **rest;
	int n;

	memset(&o, 0xff, sizeof(o));
	parse_ok("", &o, &rest, &n);
	ASSERT_EQ(n, 0);
	ASSERT_STR(o.address, "/run/csi/socket");
	ASSERT_EQ(o.pools.n, 0);
	ASSERT_EQ(o.workers, 10);
	ASSERT_EQ(o.size, UINT64_C(8) << 30);
	ASSERT_EQ(o.timeout, 15 * NS_PER_S);
	ASSERT_STR(o.format, "text");
	ASSERT_FALSE(o.version);
}

TEST(options_and_words_may_be_mixed_in_gos_syntax)
{
	struct options o;
	char **rest;
	int n;

	parse_ok("a --csi-address=/x=y -workers 3 b --pool p1 -pool=p2 --version - --timeout=1m -- "
		 "--size c",
		 &o, &rest, &n);
	ASSERT_EQ(n, 5);
	ASSERT_STR(rest[0], "a");
	ASSERT_STR(rest[1], "b");
	ASSERT_STR(rest[2], "-");
	ASSERT_STR(rest[3], "--size");
	ASSERT_STR(rest[4], "c");
	ASSERT_STR(o.address, "/x=y");
	ASSERT_EQ(o.workers, 3);
	ASSERT_EQ(o.pools.n, 2);
	ASSERT_STR(o.pools.v[0], "p1");
	ASSERT_STR(o.pools.v[1], "p2");
	ASSERT_TRUE(o.version);
	ASSERT_EQ(o.timeout, 60 * NS_PER_S);
	opt_done(table, &o);
	ASSERT_EQ(o.pools.n, 0);
}

TEST(booleans_take_a_value_only_after_equals)
{
	struct options o;
	char **rest;
	int n;

	parse_ok("--version false", &o, &rest, &n);
	ASSERT_TRUE(o.version);
	ASSERT_EQ(n, 1);
	parse_ok("--version=false", &o, &rest, &n);
	ASSERT_FALSE(o.version);
	parse_ok("--version=T", &o, &rest, &n);
	ASSERT_TRUE(o.version);
}

TEST(empty_values_are_values)
{
	struct options o;
	char **rest;
	int n;

	parse_ok("--csi-address=", &o, &rest, &n);
	ASSERT_STR(o.address, "");
}

TEST(wrong_options_are_named)
{
	static const struct {
		const char *line;
		const char *says;
	} cases[] = {
		{ "--csi-adress=x",
		  "unknown option '--csi-adress'; did you mean '--csi-address'?" },
		{ "-wrokers=3", "unknown option '--wrokers'; did you mean '--workers'?" },
		{ "--something-else", "unknown option '--something-else'" },
		{ "--Where", "unknown option '--Where'" },
		{ "--=x", "unknown option '--'" },
		{ "--workers", "option '--workers' needs a whole number" },
		{ "--logging-format", "option '--logging-format' needs one of text|json" },
		{ "--workers=", "option '--workers': '' is not a whole number" },
		{ "--workers=4294967296", "'4294967296' is not" },
		{ "--workers=-1", "'-1' is not" },
		{ "--workers --version", "option '--workers' needs a whole number" },
		{ "--size=8gi", "option '--size': '8gi' is not a size" },
		{ "--timeout=15", "option '--timeout': '15' is not a duration" },
		{ "--logging-format=xml",
		  "option '--logging-format': 'xml' is not one of text|json" },
		{ "--logging-format=tex", "'tex' is not one of text|json" },
		{ "--logging-format=", "'' is not one of text|json" },
		{ "--version=maybe", "option '--version': 'maybe' is not true or false" },
		{ "--workers=1 --workers=1", "option '--workers' is given twice" },
		{ "--pool=a --workers=x", "'x' is not" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct options o;
		struct err err;
		char **rest = NULL;
		int n;

		ASSERT_ERR(parse(cases[i].line, &o, &rest, &n, &err), &err, ERR_INVALID_ARGUMENT,
			   cases[i].says);
		ASSERT_TRUE(rest == NULL);
	}
}

TEST(the_environment_stands_in_for_what_is_absent)
{
	struct options o;
	struct err err;
	char **rest;
	int n;

	setenv("CLEAT_TEST_ADDRESS", "/env", 1);
	parse_ok("", &o, &rest, &n);
	ASSERT_STR(o.address, "/env");
	parse_ok("--csi-address=/line", &o, &rest, &n);
	ASSERT_STR(o.address, "/line");
	setenv("CLEAT_TEST_ADDRESS", "", 1);
	parse_ok("", &o, &rest, &n);
	ASSERT_STR(o.address, "/run/csi/socket");
	unsetenv("CLEAT_TEST_ADDRESS");
	setenv("CLEAT_TEST_TIMEOUT", "soon", 1);
	ASSERT_ERR(parse("", &o, &rest, &n, &err), &err, ERR_INVALID_ARGUMENT,
		   "'soon' from the environment variable CLEAT_TEST_TIMEOUT");
	unsetenv("CLEAT_TEST_TIMEOUT");
}

TEST(no_arguments_at_all_are_fine)
{
	char *none[] = { NULL };
	struct options o;
	struct err err;
	char **rest;
	int n;

	ASSERT_OK(opt_parse(table, &o, 0, none, &rest, &n, &err), &err);
	ASSERT_EQ(n, 0);
}

TEST(help_shows_groups_defaults_and_environment_in_100_columns)
{
	autostr struct str out = STR_INIT;

	opt_help(table, &out);
	ASSERT_TRUE(str_has_prefix(out.buf, "Where:\n  --csi-address=ADDRESS "));
	ASSERT_TRUE(strstr(out.buf, "\n\nHow:\n  --workers=VALUE ") != NULL);
	ASSERT_TRUE(strstr(out.buf, " Default: 15s. Environment:") != NULL);
	ASSERT_TRUE(strstr(out.buf, "--logging-format=text|json ") != NULL);
	ASSERT_TRUE(strstr(out.buf, "  --version  ") != NULL);
	ASSERT_TRUE(strstr(out.buf, "May be given more than once.") != NULL);
	for (char *save = NULL, *line = strtok_r(out.buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		ASSERT_TRUE(strlen(line) <= 100);
		ASSERT_TRUE(line[strlen(line) - 1] != ' ');
	}
}

TEST(durations_are_gos)
{
	static const struct {
		const char *text;
		int64_t ns; /* -1: refused */
	} cases[] = {
		{ "0", 0 },
		{ "0s", 0 },
		{ "10s", 10 * NS_PER_S },
		{ "1m30s", 90 * NS_PER_S },
		{ "2h", 7200 * NS_PER_S },
		{ "250ms", 250 * NS_PER_MS },
		{ "1.5h", 5400 * NS_PER_S },
		{ ".5s", 500 * NS_PER_MS },
		{ "1.s", NS_PER_S },
		{ "7us", 7000 },
		{ "7µs", 7000 },
		{ "7μs", 7000 },
		{ "3ns", 3 },
		{ "1h1m1s1ms1us1ns", INT64_C(3661001001001) },
		{ "9223372036854775807ns", INT64_MAX },
		{ "", -1 },
		{ "10", -1 },
		{ "s", -1 },
		{ ".s", -1 },
		{ "10 s", -1 },
		{ "-1s", -1 },
		{ "+1s", -1 },
		{ "1d", -1 },
		{ "1s1", -1 },
		{ "1..5s", -1 },
		{ "1e3s", -1 },
		{ "9223372036854775808ns", -1 },
		{ "9223372036s1h", -1 },
		{ "99999999999999999999s", -1 },
		{ "2562048h", -1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t ns = -1;
		int r = opt_parse_duration(cases[i].text, &ns);

		if (ns != cases[i].ns || r != (cases[i].ns < 0 ? -EINVAL : 0))
			fail_msg("'%s': %d, %lld", cases[i].text, r, (long long)ns);
	}
}

TEST(sizes_have_binary_and_decimal_suffixes)
{
	static const struct {
		const char *text;
		uint64_t bytes;
		int result;
	} cases[] = {
		{ "0", 0, 0 },
		{ "4096", 4096, 0 },
		{ "1k", 1000, 0 },
		{ "500M", 500000000, 0 },
		{ "1Ki", 1024, 0 },
		{ "8Gi", UINT64_C(8) << 30, 0 },
		{ "3T", UINT64_C(3000000000000), 0 },
		{ "15Ei", UINT64_C(15) << 60, 0 },
		{ "18E", UINT64_C(18000000000000000000), 0 },
		{ "18446744073709551615", UINT64_MAX, 0 },
		{ "16Ei", 7, -ERANGE },
		{ "19E", 7, -ERANGE },
		{ "18446744073709551616", 7, -ERANGE },
		{ "", 7, -EINVAL },
		{ "Gi", 7, -EINVAL },
		{ "8gi", 7, -EINVAL },
		{ "8K", 7, -EINVAL },
		{ "8ki", 7, -EINVAL },
		{ "8GB", 7, -EINVAL },
		{ "8Gib", 7, -EINVAL },
		{ "8 Gi", 7, -EINVAL },
		{ "-8Gi", 7, -EINVAL },
		{ "+8", 7, -EINVAL },
		{ "0x10", 7, -EINVAL },
		{ "1.5Gi", 7, -EINVAL },
		{ "8i", 7, -EINVAL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t bytes = 7;
		int r = opt_parse_bytes(cases[i].text, &bytes);

		if (bytes != cases[i].bytes || r != cases[i].result)
			fail_msg("'%s': %d, %llu", cases[i].text, r, (unsigned long long)bytes);
	}
}

TEST(the_nearest_word_is_within_a_third)
{
	static const char *const words[] = { "create", "delete", "stage", "unstage", "ls" };

	ASSERT_STR(opt_nearest("creaet", words, ARRAY_LEN(words)), "create");
	ASSERT_STR(opt_nearest("stgae", words, 2) ? "found" : "none", "none");
	ASSERT_STR(opt_nearest("unstge", words, ARRAY_LEN(words)), "unstage");
	ASSERT_TRUE(opt_nearest("publish", words, ARRAY_LEN(words)) == NULL);
	ASSERT_TRUE(opt_nearest("", words, ARRAY_LEN(words)) == NULL);
	ASSERT_STR(opt_nearest("ls", words, ARRAY_LEN(words)), "ls");
}

RUN_TESTS(UNIT(defaults_come_from_the_table), UNIT(options_and_words_may_be_mixed_in_gos_syntax),
	  UNIT(booleans_take_a_value_only_after_equals), UNIT(empty_values_are_values),
	  UNIT(wrong_options_are_named), UNIT(the_environment_stands_in_for_what_is_absent),
	  UNIT(no_arguments_at_all_are_fine),
	  UNIT(help_shows_groups_defaults_and_environment_in_100_columns), UNIT(durations_are_gos),
	  UNIT(sizes_have_binary_and_decimal_suffixes), UNIT(the_nearest_word_is_within_a_third))
