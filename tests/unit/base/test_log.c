/* SPDX-License-Identifier: Apache-2.0 */
#define LOG_ROOM "kube.watch"
#include "base/log.h"

#include "../check.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/mem.h"

#include <pthread.h>
#include <unistd.h>

static char last[1024];
static int n_lines;

static void keep(void *arg, const char *line)
{
	(void)snprintf(last, sizeof(last), "%s", line); /* tests' lines are short */
	n_lines++;
}

static void setup(enum log_format format, int verbosity, const char *debug)
{
	log_init(&(struct log_options){ format, verbosity, debug });
	log_set_sink(keep, NULL);
	setenv("TZ", "UTC", 1);
	clock_fake_set(INT64_C(1795428000) * NS_PER_S + 12345678);
	last[0] = '\0';
	n_lines = 0;
}

static void teardown(void)
{
	log_set_sink(NULL, NULL);
	clock_fake_set(-1);
	log_init(&(struct log_options){ .verbosity = 2 });
}

TEST(a_text_line_is_as_klog_writes_it)
{
	struct err err;
	char want[256];

	setup(LOG_TEXT, 2, NULL);
	(void)err_set(&err, ERR_INTERNAL, "it \"broke\"");
	log_write(LOG_INFO, "../src/csi/node.c", 42, "volume staged",
		  (const struct log_field[]){ log_str("volume", "a b"),
					      log_u64("bytes", 1),
					      log_i64("n", -2),
					      log_bool("ro", true),
					      log_duration("seconds", 1500 * NS_PER_US),
					      log_err(&err),
					      log_secret("key"),
					      log_str("none", NULL),
					      { .type = LOG_F_END } });
	(void)snprintf(want, sizeof(want), "I1123 10:00:00.012345 %7d node.c:42] \"volume staged\"",
		       (int)getpid());
	assert_memory_equal(last, want, strlen(want));
	ASSERT_STR(last + strlen(want), " volume=\"a b\" bytes=1 n=-2 ro=true seconds=0.001500"
					" err=\"it \\\"broke\\\"\" key=\"***\" none=\"\"");
	teardown();
}

TEST(levels_have_letters)
{
	setup(LOG_TEXT, 4, NULL);
	log_error("x");
	ASSERT_EQ(last[0], 'E');
	log_warn("x");
	ASSERT_EQ(last[0], 'W');
	log_debug("x");
	ASSERT_EQ(last[0], 'I');
	ASSERT_EQ(n_lines, 3);
	teardown();
}

TEST(outside_text_cannot_break_the_line)
{
	setup(LOG_TEXT, 2, NULL);
	log_info("m", log_str("a", "x\ny\tz\r\x1b[0m \xff \\ €"));
	ASSERT_TRUE(strstr(last, "a=\"x\\ny\\tz\\r\\x1b[0m \\xff \\\\ €\"") != NULL);
	ASSERT_TRUE(strchr(last, '\n') == NULL);
	teardown();
}

/* U+009B is CSI in one character; U+202E turns what follows it around. */
TEST(what_acts_on_a_terminal_or_on_the_reading_order_is_escaped)
{
	setup(LOG_TEXT, 2, NULL);
	log_info("m", log_str("a", "\xc2\x9b"
				   "2J\xe2\x80\xaetxt\xe2\x81\xa6\xe2\x80\xa8\xc2\xa0 ü"));
	ASSERT_TRUE(strstr(last, "a=\"\\u009b2J\\u202etxt\\u2066\\u2028\xc2\xa0 ü\"") != NULL);
	setup(LOG_JSON, 2, NULL);
	log_info("m", log_str("a", "\xc2\x9b"
				   "2J\xe2\x80\xaetxt\x7f ü"));
	ASSERT_TRUE(strstr(last, "\"a\":\"\\u009b2J\\u202etxt\\u007f ü\"") != NULL);
	teardown();
}

TEST(a_json_line_has_the_keys_of_kubernetes)
{
	struct json_doc *doc = NULL;
	struct err err;

	setup(LOG_JSON, 2, NULL);
	log_write(LOG_INFO, "../src/csi/node.c", 42, "volume \"staged\"",
		  (const struct log_field[]){ log_str("volume", "a"),
					      log_u64("bytes", 1),
					      log_duration("seconds", -1500 * NS_PER_US),
					      { .type = LOG_F_END } });
	ASSERT_STR(last, "{\"ts\":1795428000012.3456,\"caller\":\"csi/node.c:42\",\"msg\":\"volume "
			 "\\\"staged\\\"\","
			 "\"v\":0,\"volume\":\"a\",\"bytes\":1,\"seconds\":-0.001500}");
	ASSERT_OK(json_parse(last, strlen(last), &doc, &err), &err);
	json_free(doc);
	teardown();
}

TEST(json_error_lines_are_those_without_v)
{
	struct err err;

	setup(LOG_JSON, 4, NULL);
	(void)err_set(&err, ERR_INTERNAL, "broken");
	log_error("x", log_err(&err));
	ASSERT_TRUE(strstr(last, "\"v\"") == NULL);
	ASSERT_TRUE(strstr(last, "\"err\":\"broken\"") != NULL);
	log_warn("x", log_secret("key"));
	ASSERT_TRUE(strstr(last, "\"v\":0") != NULL);
	ASSERT_TRUE(strstr(last, "\"key\":\"***\"") != NULL);
	log_debug("x");
	ASSERT_TRUE(strstr(last, "\"v\":4") != NULL);
	teardown();
}

TEST(verbosity_0_is_warnings_and_errors)
{
	setup(LOG_TEXT, 0, NULL);
	log_info("x");
	ASSERT_EQ(n_lines, 0);
	log_warn("y");
	log_error("z");
	ASSERT_EQ(n_lines, 2);
	teardown();
}

TEST(debug_is_by_verbosity_or_by_room)
{
	static const struct {
		int verbosity;
		const char *debug;
		bool enabled;
	} cases[] = {
		{ 2, NULL, false },
		{ 3, "", false },
		{ 4, NULL, true },
		{ 2, "kube", true },
		{ 2, "kube.watch", true },
		{ 2, "backend,kube.watch", true },
		{ 2, "backend", false },
		{ 2, "kube.watc", false },
		{ 2, "kube.watch.x", false },
		{ 2, ",,", false },
		{ 2, "ku,be.watch", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		setup(LOG_TEXT, cases[i].verbosity, cases[i].debug);
		log_debug("x");
		log_info("y");
		if (n_lines != 1 + cases[i].enabled)
			fail_msg("-v=%d --debug=%s: %d lines", cases[i].verbosity,
				 cases[i].debug ? cases[i].debug : "", n_lines);
		teardown();
	}
}

static void *write_lines(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_info("a line that is long enough to be torn", log_i64("n", i));
	return NULL;
}

/* Sends stderr into a pipe-like file while threads write. */
TEST(lines_of_threads_do_not_mix)
{
	char path[] = "/tmp/cleat-test-XXXXXX";
	autofd int fd = mkstemp(path);
	autofd int before = dup(STDERR_FILENO);
	autofree char *text = NULL;
	pthread_t threads[4];
	int n = 0;

	(void)unlink(path); /* the open file is all that is needed */
	log_init(&(struct log_options){ .verbosity = 2 });
	ASSERT_TRUE(dup2(fd, STDERR_FILENO) >= 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_create(&threads[i], NULL, write_lines, NULL);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	ASSERT_TRUE(dup2(before, STDERR_FILENO) >= 0);
	ASSERT_EQ(lseek(fd, 0, SEEK_SET), 0);
	ASSERT_EQ(fd_read_all(fd, 1 << 20, &text, NULL), 0);
	for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		ASSERT_EQ(line[0], 'I');
		ASSERT_TRUE(strstr(line, "] \"a line that is long enough to be torn\" n=") != NULL);
		n++;
	}
	ASSERT_EQ(n, 800);
}

RUN_TESTS(UNIT(a_text_line_is_as_klog_writes_it), UNIT(levels_have_letters),
	  UNIT(outside_text_cannot_break_the_line),
	  UNIT(what_acts_on_a_terminal_or_on_the_reading_order_is_escaped),
	  UNIT(a_json_line_has_the_keys_of_kubernetes), UNIT(json_error_lines_are_those_without_v),
	  UNIT(verbosity_0_is_warnings_and_errors), UNIT(debug_is_by_verbosity_or_by_room),
	  UNIT(lines_of_threads_do_not_mix))
