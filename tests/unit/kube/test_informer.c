/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The informer against a scripted API server: the stream, the timers, the posts and the clock are
 * this file's, so every break point of every phase is tried and no time passes.
 *
 * The server is a log of events; what is there at a version is the log up to it. It lists in pages
 * of two, whatever was asked for.
 */
#include "check.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "kube/client-internal.h"
#include "kube/informer.h"
#include "thing.h"

#define PAGE 2
#define NAMES 5

struct event {
	char name; /* 'a' to 'e' */
	bool is_deletion;
	unsigned version;
};

static struct {
	struct event log[16];
	unsigned n;
	unsigned oldest; /* versions before it are gone: 410 */
	bool has_watch_list;
} server;

struct http_stream {
	char *path;
	const struct http_stream_ops *ops;
	void *arg;
};
static struct http_stream stream; /* path NULL: none is open */
static unsigned n_streams;

struct ev_timer {
	ev_timer_fn fn;
	void *arg;
	int64_t due_ns; /* 0: stopped */
};
static struct ev_timer timers[3]; /* in the order in which they are made */
enum { RETRY, GUARD, SOUND };
static unsigned n_timers;

/* ---- what the informer stands on ---- */

struct ev_loop *kube_client_loop(struct kube_client *c)
{
	(void)c;
	return NULL;
}

struct http_stream *kube_stream_open(struct kube_client *c, const char *path,
				     const struct http_stream_ops *ops, void *arg, struct err *err)
{
	assert_null(stream.path);
	stream = (struct http_stream){ xstrdup(path), ops, arg };
	n_streams++;
	return &stream;
}

void http_cancel(struct http_stream *s)
{
	if (s)
		free(TAKE_PTR(s->path));
}

void kube_client_note_reply(struct kube_client *c, const char *method, int status,
			    const struct err *problem)
{
}

void kube_client_note_failure(struct kube_client *c, const char *method, const struct err *err)
{
}

void ev_post(struct ev_loop *loop, ev_post_fn fn, void *arg)
{
	fn(arg);
}

struct ev_timer *ev_timer_new(struct ev_loop *loop, ev_timer_fn fn, void *arg)
{
	timers[n_timers] = (struct ev_timer){ fn, arg, 0 };
	return &timers[n_timers++];
}

void ev_timer_start(struct ev_timer *t, int64_t delay_ns, int64_t repeat_ns)
{
	t->due_ns = clock_now_ns() + delay_ns;
}

void ev_timer_stop(struct ev_timer *t)
{
	t->due_ns = 0;
}

void ev_timer_free(struct ev_timer *t)
{
	t->due_ns = 0;
}

/* Lets the time pass to when the timer is due; what is due before fires before. */
static void pass_to(unsigned which)
{
	int64_t end_ns = timers[which].due_ns;

	assert_true(end_ns > 0);
	for (;;) {
		struct ev_timer *first = &timers[which];

		for (unsigned i = 0; i < n_timers; i++)
			if (timers[i].due_ns > 0 && timers[i].due_ns < first->due_ns)
				first = &timers[i];
		clock_fake_set(first->due_ns);
		first->due_ns = 0;
		first->fn(first->arg);
		if (first == &timers[which])
			return;
	}
}

/* ---- the server ---- */

static unsigned now_version(void)
{
	return server.n ? server.log[server.n - 1].version : 1;
}

/* The version of the object that is there at a version; 0: none. */
static unsigned version_at(char name, unsigned version)
{
	unsigned found = 0;

	for (unsigned i = 0; i < server.n && server.log[i].version <= version; i++)
		if (server.log[i].name == name)
			found = server.log[i].is_deletion ? 0 : server.log[i].version;
	return found;
}

static void append_object(struct str *s, char name, unsigned version)
{
	str_appendf(s,
		    "{\"metadata\":{\"name\":\"%c\",\"uid\":\"u\","
		    "\"resourceVersion\":\"%u\"}}",
		    name, version);
}

static void append_page(struct str *s, unsigned from, unsigned version)
{
	autostr struct str items = STR_INIT;
	unsigned at = 0;

	for (char name = 'a'; name < 'a' + NAMES; name++) {
		if (!version_at(name, version) || at++ < from || at > from + PAGE)
			continue;
		if (items.len > 0)
			str_append(&items, ",");
		append_object(&items, name, version_at(name, version));
	}
	str_appendf(s, "{\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"%u\"", version);
	if (at > from + PAGE)
		str_appendf(s, ",\"continue\":\"%u.%u\"", from + PAGE, version);
	str_appendf(s, "},\"items\":[%s]}", str_get(&items));
}

static void append_event(struct str *s, const char *type, char name, unsigned version)
{
	str_appendf(s, "{\"type\":\"%s\",\"object\":", type);
	append_object(s, name, version);
	str_append(s, "}\n");
}

static const char gone[] = "{\"kind\":\"Status\",\"reason\":\"Expired\",\"code\":410,"
			   "\"message\":\"too old resource version\"}";

static unsigned number_behind(const char *word)
{
	const char *at = strstr(stream.path, word);
	unsigned n = 0;

	for (at = at ? at + strlen(word) : ""; *at >= '0' && *at <= '9'; at++)
		n = n * 10 + (unsigned)(*at - '0');
	return n;
}

/* What a right server says to the stream that is open; its status. */
static int make_reply(struct str *s)
{
	unsigned from = number_behind("resourceVersion=");

	if (!strstr(stream.path, "watch=true")) {
		const char *dot = strstr(stream.path, ".");

		append_page(s, number_behind("continue="),
			    dot ? (unsigned)(dot[1] - '0') * 10 + (unsigned)(dot[2] - '0')
				: now_version());
		return 200;
	}
	if (strstr(stream.path, "sendInitialEvents")) {
		if (!server.has_watch_list)
			return 400;
		for (char name = 'a'; name < 'a' + NAMES; name++)
			if (version_at(name, now_version()))
				append_event(s, "ADDED", name, version_at(name, now_version()));
		str_appendf(s,
			    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":"
			    "\"%u\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n",
			    now_version());
		return 200;
	}
	if (from < server.oldest) {
		str_appendf(s, "{\"type\":\"ERROR\",\"object\":%s}\n", gone);
		return 200;
	}
	for (unsigned i = 0; i < server.n; i++)
		if (server.log[i].version > from)
			append_event(s, server.log[i].is_deletion ? "DELETED" : "MODIFIED",
				     server.log[i].name, server.log[i].version);
	return 200;
}

static void send_bytes(const char *text, size_t n)
{
	if (stream.path)
		stream.ops->on_data(stream.arg, (const uint8_t *)text, n);
}

/* The stream is over for the client before on_end runs. */
static void end_stream(enum err_code code)
{
	char *path = stream.path;

	if (!path)
		return;
	stream.path = NULL;
	{
		struct err why = { .code = code, .msg = "connection reset" };

		stream.ops->on_end(stream.arg, &why);
	}
	free(path);
}

static void reply_with(int status, const char *text, size_t n)
{
	stream.ops->on_reply(stream.arg, status, NULL, 0);
	send_bytes(text, n);
}

/* The right answer, all of it; a watch stays open. */
static void answer(void)
{
	bool is_watch = strstr(stream.path, "watch=true");
	autostr struct str s = STR_INIT;
	int status = make_reply(&s);

	reply_with(status, str_get(&s), s.len);
	if (!is_watch || status != 200)
		end_stream(ERR_OK);
}

/* The right answer up to byte n, then the end. False: it has no byte n. */
static bool answer_cut(size_t n, enum err_code end)
{
	autostr struct str s = STR_INIT;
	int status = make_reply(&s);

	if (n > s.len)
		return false;
	reply_with(status, str_get(&s), n);
	end_stream(end);
	return true;
}

/* ---- the fixture ---- */

static struct informer *informer;

static void add(char name, bool is_deletion)
{
	unsigned version = now_version() + 1;

	server.log[server.n++] = (struct event){ name, is_deletion, version };
}

static void set_server(bool has_watch_list)
{
	memset(&server, 0, sizeof(server));
	server.has_watch_list = has_watch_list;
	server.log[server.n++] = (struct event){ 'a', false, 11 };
	for (char name = 'b'; name < 'a' + NAMES; name++)
		add(name, false);
}

static void begin_with(const struct informer_options *opts, bool has_watch_list)
{
	set_server(has_watch_list);
	n_timers = n_streams = 0;
	clock_fake_set(NS_PER_S);
	informer = informer_new(NULL, &thing_type, opts);
	informer_start(informer);
}

static void begin(bool has_watch_list)
{
	begin_with(NULL, has_watch_list);
}

static void end(void)
{
	informer_free(informer);
	http_cancel(&stream);
	clock_fake_set(-1);
}

/* The next stream, by whatever is waited for. */
static void go_on(void)
{
	if (!stream.path)
		pass_to(RETRY);
	assert_non_null(stream.path);
}

static bool is_asked(void)
{
	return strstr(stream.path, "?limit=1&") != NULL;
}

/* The next one that is no question whether the server is as far as we are. */
static void go_on_asked(void)
{
	go_on();
	if (!is_asked())
		return;
	answer();
	go_on();
}

static bool is_the_truth(void)
{
	unsigned n = 0;

	for (char name = 'a'; name < 'a' + NAMES; name++) {
		const char text[] = { name, '\0' };
		autokobj const struct kube_object *o = informer_get(informer, "", text);
		unsigned version = version_at(name, now_version());
		char want[16];

		(void)snprintf(want, sizeof(want), "%u", version);
		if (!o != !version || (o && strcmp(o->resource_version, want) != 0))
			return false;
		n += version > 0;
	}
	return informer_count(informer) == n;
}

static bool is_watching(void)
{
	return stream.path && strstr(stream.path, "watch=true") &&
	       (!strstr(stream.path, "sendInitialEvents") || informer_has_synced(informer));
}

/* Right answers until it watches. */
static void settle(void)
{
	for (unsigned i = 0; i < 12; i++) {
		go_on();
		if (is_watching() && !strstr(stream.path, "sendInitialEvents")) {
			answer();
			if (is_watching())
				return;
			continue;
		}
		answer();
		if (is_watching())
			return;
	}
	fail_msg("does not come to watch");
}

static const enum err_code ends[] = { ERR_OK, ERR_UNAVAILABLE };

/* ---- tests ---- */

TEST(lists_and_watches)
{
	begin(true);
	answer();
	ASSERT_TRUE(informer_has_synced(informer) && is_the_truth());
	ASSERT_EQ(n_streams, 1);
	end();
	begin(false);
	settle();
	ASSERT_TRUE(informer_has_synced(informer) && is_the_truth());
	ASSERT_EQ(n_streams, 5); /* refused, three pages, a watch */
	end();
}

/* Before it, the token of the next page was taken when it came, though the rest of the page did
 * not: five objects on the server, three in the cache, and "synced". */
TEST(a_list_may_break_at_every_byte_of_every_page)
{
	for (unsigned e = 0; e < 2; e++) {
		for (unsigned page = 0; page < 3; page++) {
			bool is_inside = true;

			for (size_t n = 0; is_inside; n++) {
				begin(false);
				answer(); /* refused */
				for (unsigned i = 0; i < page; i++) {
					go_on();
					answer();
				}
				go_on();
				is_inside = answer_cut(n, ends[e]);
				ASSERT_TRUE(!informer_has_synced(informer) || is_the_truth());
				settle();
				ASSERT_TRUE(informer_has_synced(informer) && is_the_truth());
				end();
			}
		}
	}
}

TEST(a_streaming_list_may_break_at_every_byte)
{
	bool is_inside = true;

	for (size_t n = 0; is_inside; n++) {
		begin(true);
		is_inside = answer_cut(n, ends[n % 2]);
		ASSERT_TRUE(!informer_has_synced(informer) || is_the_truth());
		settle();
		ASSERT_TRUE(is_the_truth());
		end();
	}
}

TEST(a_watch_may_break_at_every_byte)
{
	bool is_inside = true;

	for (size_t n = 0; is_inside; n++) {
		begin(n % 2);
		settle();
		end_stream(ERR_UNAVAILABLE);
		add('b', true);
		add('c', false);
		add('b', false);
		add('e', true);
		go_on_asked();
		is_inside = answer_cut(n, ERR_UNAVAILABLE);
		if (is_inside)
			settle();
		else
			answer();
		ASSERT_TRUE(is_the_truth());
		end();
	}
}

TEST(what_changes_between_two_pages_is_found)
{
	begin(false);
	answer();
	go_on();
	answer();
	add('a', true);
	add('e', false);
	settle();
	ASSERT_TRUE(is_the_truth());
	end();
}

TEST(a_token_that_expired_begins_the_list_anew)
{
	begin(false);
	answer();
	go_on();
	answer();
	go_on();
	add('a', true);
	reply_with(410, gone, strlen(gone));
	end_stream(ERR_OK);
	go_on();
	ASSERT_TRUE(!strstr(stream.path, "continue="));
	settle();
	ASSERT_TRUE(is_the_truth());
	end();
}

TEST(gone_lists_anew_and_tells_what_went_missing)
{
	for (unsigned has_watch_list = 0; has_watch_list < 2; has_watch_list++) {
		begin(has_watch_list);
		settle();
		add('b', true);
		server.oldest = now_version() + 1;
		add('c', false);
		end_stream(ERR_UNAVAILABLE);
		go_on();
		answer(); /* 410 in the stream */
		settle();
		ASSERT_TRUE(is_the_truth());
		end();
	}
}

/* A server that answers 200 and then an error was asked without end every 0.8 s. */
TEST(backoff_grows_until_something_came_of_it)
{
	static const char error[] = "{\"type\":\"ERROR\",\"object\":{\"code\":500}}\n";
	int64_t start_ns;

	begin(true);
	settle();
	start_ns = clock_now_ns();
	end_stream(ERR_UNAVAILABLE);
	for (unsigned i = 0; i < 12; i++) {
		go_on_asked();
		reply_with(200, error, strlen(error));
	}
	ASSERT_TRUE(clock_now_ns() - start_ns > 100 * NS_PER_S);
	go_on_asked();
	add('a', true);
	answer();
	ASSERT_TRUE(is_the_truth());
	end_stream(ERR_UNAVAILABLE);
	start_ns = clock_now_ns();
	go_on();
	ASSERT_TRUE(clock_now_ns() - start_ns < 2 * NS_PER_S);
	end();
}

TEST(a_storm_of_410_is_asked_slower_and_slower)
{
	int64_t start_ns = NS_PER_S;

	begin(true);
	for (unsigned i = 0; i < 10; i++) {
		go_on();
		reply_with(410, gone, strlen(gone));
		end_stream(ERR_OK);
	}
	ASSERT_TRUE(clock_now_ns() - start_ns > 60 * NS_PER_S);
	settle();
	ASSERT_TRUE(is_the_truth());
	end();
}

TEST(a_watch_that_lived_is_followed_at_once)
{
	char trouble[ERR_MSG_MAX];
	int64_t now_ns;

	begin(true);
	settle();
	end_stream(ERR_UNAVAILABLE);
	informer_trouble(informer, trouble);
	ASSERT_TRUE(strstr(trouble, "connection reset"));
	go_on_asked();
	answer();
	pass_to(SOUND);
	informer_trouble(informer, trouble);
	ASSERT_STR(trouble, "");
	now_ns = clock_now_ns();
	end_stream(ERR_OK);
	go_on();
	ASSERT_EQ(clock_now_ns(), now_ns);
	end();
}

TEST(a_store_put_back_to_an_earlier_day_is_believed)
{
	for (unsigned has_watch_list = 0; has_watch_list < 2; has_watch_list++) {
		begin(has_watch_list);
		for (unsigned i = 0; i < 3; i++)
			add('a', i % 2);
		settle();
		/* The backup is of when there were three. */
		server.n = 3;
		server.oldest = 99;
		end_stream(ERR_UNAVAILABLE);
		go_on();
		answer();
		server.oldest = 0;
		for (unsigned i = 0; i < 3 && !is_the_truth(); i++)
			settle(), end_stream(ERR_UNAVAILABLE);
		ASSERT_TRUE(is_the_truth());
		add('a', true);
		settle();
		ASSERT_TRUE(is_the_truth());
		end();
	}
}

TEST(a_bookmark_that_goes_back_lists_anew)
{
	static const char bookmark[] = "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{"
				       "\"resourceVersion\":\"3\"}}}\n";

	begin(true);
	settle();
	send_bytes(bookmark, strlen(bookmark));
	go_on();
	ASSERT_TRUE(strstr(stream.path, "sendInitialEvents"));
	end();
}

TEST(a_server_behind_ours_is_listed_anew)
{
	static const char text[] =
		"{\"type\":\"ERROR\",\"object\":{\"code\":504,\"reason\":\"Timeout\",\"message\":"
		"\"Too large resource version: 15, current: 3\"}}\n";

	begin(true);
	settle();
	end_stream(ERR_UNAVAILABLE);
	go_on_asked();
	reply_with(200, text, strlen(text));
	go_on();
	ASSERT_TRUE(strstr(stream.path, "sendInitialEvents"));
	end();
}

/* It would take a watch from a version that it has not reached, and say nothing until it has. */
TEST(a_further_watch_begins_with_the_question_how_far_the_server_is)
{
	static const char behind[] = "{\"kind\":\"Status\",\"reason\":\"Timeout\",\"message\":"
				     "\"Too large resource version: 15, current: 3\"}";

	for (unsigned i = 0; i < 2; i++) {
		begin(true);
		settle();
		clock_fake_advance(10 * NS_PER_S);
		end_stream(ends[i]);
		go_on();
		ASSERT_TRUE(is_asked());
		ASSERT_TRUE(strstr(stream.path, "resourceVersionMatch=NotOlderThan"));
		reply_with(504, behind, strlen(behind));
		end_stream(ERR_OK);
		go_on();
		ASSERT_TRUE(strstr(stream.path, "sendInitialEvents"));
		settle();
		ASSERT_TRUE(is_the_truth());
		end();
	}
}

TEST(that_question_may_break_at_every_byte)
{
	bool is_inside = true;

	for (size_t n = 0; is_inside; n++) {
		begin(n % 2);
		settle();
		end_stream(ERR_UNAVAILABLE);
		add('b', true);
		add('e', false);
		go_on();
		ASSERT_TRUE(is_asked());
		is_inside = answer_cut(n, ends[n % 2]);
		if (!is_inside)
			answer();
		settle();
		ASSERT_TRUE(is_the_truth());
		end();
	}
}

/* The guard counts from the last byte: slow is not dead. */
TEST(a_slow_list_is_waited_for_a_silent_one_is_not)
{
	autostr struct str s = STR_INIT;
	int64_t start_ns;

	begin(true);
	(void)make_reply(&s);
	stream.ops->on_reply(stream.arg, 200, NULL, 0);
	for (size_t i = 0; i < s.len; i += 16) {
		clock_fake_advance(50 * NS_PER_S);
		ASSERT_TRUE(timers[GUARD].due_ns > clock_now_ns());
		send_bytes(str_get(&s) + i, s.len - i < 16 ? s.len - i : 16);
	}
	ASSERT_TRUE(informer_has_synced(informer) && is_the_truth());
	end();

	begin(true);
	start_ns = clock_now_ns();
	stream.ops->on_reply(stream.arg, 200, NULL, 0);
	pass_to(GUARD);
	ASSERT_TRUE(clock_now_ns() - start_ns <= 60 * NS_PER_S);
	ASSERT_TRUE(!stream.path);
	settle();
	ASSERT_TRUE(is_the_truth());
	end();
}

TEST(nothing_is_a_list_too)
{
	static const char *const lists[] = {
		"{\"metadata\":{\"resourceVersion\":\"12\"},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"12\"},\"items\":null}",
		"{\"items\":[],\"metadata\":{\"resourceVersion\":\"12\"}}",
	};

	for (unsigned i = 0; i < 3; i++) {
		begin(false);
		answer();
		go_on();
		reply_with(200, lists[i], strlen(lists[i]));
		end_stream(ERR_OK);
		ASSERT_TRUE(informer_has_synced(informer));
		ASSERT_EQ(informer_count(informer), 0);
		end();
	}
}

static unsigned n_warnings, n_infos;
static char last_line[1024];

static void take_line(void *arg, const char *line)
{
	n_warnings += line[0] == 'W';
	n_infos += line[0] == 'I';
	(void)snprintf(last_line, sizeof(last_line), "%s", line);
}

/* A custom resource may come later; that is waited for, and said once. */
TEST(a_kind_that_the_cluster_lacks_is_waited_for)
{
	static const char status[] = "{\"kind\":\"Status\",\"message\":\"no such page\"}";

	begin(true);
	n_warnings = n_infos = 0;
	log_set_sink(take_line, NULL);
	ASSERT_FALSE(informer_is_absent(informer));
	while (clock_now_ns() < 125 * NS_PER_S) {
		int64_t before_ns = clock_now_ns();

		go_on();
		ASSERT_TRUE(clock_now_ns() - before_ns <= 39 * NS_PER_S);
		reply_with(404, status, sizeof(status) - 1);
		end_stream(ERR_OK);
		ASSERT_TRUE(informer_is_absent(informer));
	}
	ASSERT_EQ(n_warnings, 0);
	ASSERT_EQ(n_infos, 1);
	settle();
	ASSERT_FALSE(informer_is_absent(informer));
	ASSERT_TRUE(informer_has_synced(informer));
	log_set_sink(NULL, NULL);
	end();
}

/* A right that is missing is no trouble of the server's, and nobody else tells people of it. */
TEST(a_watch_that_is_not_allowed_is_said_once_a_minute)
{
	static const char status[] = "{\"kind\":\"Status\",\"message\":\"forbidden: u\"}";

	begin_with(&(struct informer_options){ .needed_by = "provisioner, attacher" }, true);
	n_warnings = n_infos = 0;
	log_set_sink(take_line, NULL);
	while (clock_now_ns() < 125 * NS_PER_S) {
		go_on();
		reply_with(403, status, sizeof(status) - 1);
		end_stream(ERR_OK);
	}
	ASSERT_TRUE(n_warnings >= 2 && n_warnings <= 3);
	ASSERT_TRUE(strstr(last_line, "things") && strstr(last_line, "forbidden: u") &&
		    strstr(last_line, "(needed by provisioner, attacher)") &&
		    strstr(last_line, "age="));
	ASSERT_EQ(n_infos, 0);
	settle();
	ASSERT_EQ(n_infos, 1);
	ASSERT_TRUE(strstr(last_line, "lets us watch again") != NULL);
	log_set_sink(NULL, NULL);
	end();
}

/* In each of the three requests, and escaped. */
TEST(namespace_and_selectors_are_the_servers_to_judge)
{
	static const char where[] = "/apis/test/v1/namespaces/web/things?";
	static const char which[] = "&labelSelector=a%3Db%2Cc&fieldSelector=spec.x%3D1";
	const struct informer_options opts = { .ns = "web",
					       .label_selector = "a=b,c",
					       .field_selector = "spec.x=1" };
	unsigned n_paths = 0;

	begin_with(&opts, false);
	for (; !is_watching() || strstr(stream.path, "sendInitialEvents"); n_paths++) {
		ASSERT_TRUE(strncmp(stream.path, where, strlen(where)) == 0);
		ASSERT_TRUE(strstr(stream.path, which));
		answer();
		go_on();
	}
	ASSERT_EQ(n_paths, 4);
	ASSERT_TRUE(strstr(stream.path, which) && is_the_truth());
	end();
}

/* Like those of a name, so that no option of a user leads elsewhere. */
TEST(a_namespace_that_is_none_is_trouble)
{
	const struct informer_options opts = { .ns = "../x" };
	char text[ERR_MSG_MAX];

	begin_with(&opts, true);
	assert_null(stream.path);
	informer_trouble(informer, text);
	ASSERT_TRUE(strstr(text, "namespace '../x'"));
	pass_to(RETRY);
	assert_null(stream.path);
	end();
}

RUN_TESTS(UNIT(namespace_and_selectors_are_the_servers_to_judge),
	  UNIT(a_namespace_that_is_none_is_trouble), UNIT(lists_and_watches),
	  UNIT(a_kind_that_the_cluster_lacks_is_waited_for),
	  UNIT(a_watch_that_is_not_allowed_is_said_once_a_minute),
	  UNIT(a_list_may_break_at_every_byte_of_every_page),
	  UNIT(a_streaming_list_may_break_at_every_byte), UNIT(a_watch_may_break_at_every_byte),
	  UNIT(what_changes_between_two_pages_is_found),
	  UNIT(a_token_that_expired_begins_the_list_anew),
	  UNIT(gone_lists_anew_and_tells_what_went_missing),
	  UNIT(backoff_grows_until_something_came_of_it),
	  UNIT(a_storm_of_410_is_asked_slower_and_slower),
	  UNIT(a_watch_that_lived_is_followed_at_once),
	  UNIT(a_store_put_back_to_an_earlier_day_is_believed),
	  UNIT(a_bookmark_that_goes_back_lists_anew),
	  UNIT(a_further_watch_begins_with_the_question_how_far_the_server_is),
	  UNIT(that_question_may_break_at_every_byte), UNIT(a_server_behind_ours_is_listed_anew),
	  UNIT(a_slow_list_is_waited_for_a_silent_one_is_not), UNIT(nothing_is_a_list_too))
