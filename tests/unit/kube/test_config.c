/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/config-internal.h"

#define HEAD                                                                           \
	"apiVersion: v1\nkind: Config\ncurrent-context: one\ncontexts:\n- name: one\n" \
	"  context: {cluster: c, user: u, namespace: web}\n- name: two\n"              \
	"  context: {cluster: c, user: v}\n- name: three\n  context: {cluster: c, user: nobody}\n"
#define CLUSTER "clusters:\n- name: c\n  cluster:\n    server: https://10.0.0.1:6443/k8s/\n"
#define USERS                                                              \
	"users:\n- name: u\n  user: {token: secret}\n- name: v\n  user:\n" \
	"    client-certificate: pki/me.crt\n    client-key-data: S0VZCg==\n    tokenFile: /t\n"

static int parse(const char *text, const char *context, struct kube_config *c, struct err *err)
{
	*c = (struct kube_config){ 0 };
	return kubeconfig_parse(&(struct kubeconfig_text){ "/etc/kube/config", text, strlen(text) },
				1, context, c, err);
}

TEST(the_current_context_is_used)
{
	struct kube_config c;
	struct err err;

	ASSERT_OK(parse(HEAD CLUSTER "    certificate-authority-data: Q0EK\n"
				     "    tls-server-name: kubernetes\n" USERS,
			"", &c, &err),
		  &err);
	ASSERT_STR(c.host, "10.0.0.1");
	ASSERT_EQ(c.port, 6443);
	ASSERT_STR(c.path_prefix, "/k8s");
	ASSERT_STR(c.ca_data, "CA\n");
	ASSERT_STR(c.server_name, "kubernetes");
	ASSERT_STR(c.token, "secret");
	ASSERT_STR(c.namespace_name, "web");
	ASSERT_FALSE(c.insecure_skip_verify);
	kube_config_done(&c);
}

TEST(another_server_can_be_used)
{
	struct kube_config c;
	struct err err;

	ASSERT_OK(parse(HEAD CLUSTER USERS, "", &c, &err), &err);
	ASSERT_ERR(kube_config_use_server(&c, "http://localhost:8080", &err), &err,
		   ERR_FAILED_PRECONDITION, "https://");
	ASSERT_STR(c.host, "10.0.0.1");
	ASSERT_OK(kube_config_use_server(&c, "https://[::1]:8443/x", &err), &err);
	ASSERT_STR(c.host, "::1");
	ASSERT_EQ(c.port, 8443);
	ASSERT_STR(c.path_prefix, "/x");
	ASSERT_STR(c.token, "secret");
	kube_config_done(&c);
}

TEST(another_context_can_be_asked_for)
{
	struct kube_config c;
	struct err err;

	ASSERT_OK(parse(HEAD CLUSTER "    insecure-skip-tls-verify: true\n" USERS, "two", &c, &err),
		  &err);
	ASSERT_STR(c.cert_file, "/etc/kube/pki/me.crt");
	ASSERT_STR(c.key_data, "KEY\n");
	ASSERT_STR(c.token_file, "/t");
	assert_null(c.token);
	ASSERT_TRUE(c.insecure_skip_verify);
	kube_config_done(&c);
}

TEST(what_is_wrong_is_named_with_its_line)
{
	static const struct {
		const char *text;
		const char *context;
		const char *words;
	} cases[] = {
		{ "", "", "no kubeconfig" },
		{ "- a\n", "", "line 1: is no kubeconfig" },
		{ "a: [\n", "", "line 2" },
		{ "a: b: c\n", "", "line 1" },
		{ "kind: Config\n", "", "current-context: is not set" },
		{ HEAD CLUSTER USERS, "four", "contexts has no 'four'" },
		{ HEAD CLUSTER USERS, "three", "users has no 'nobody'" },
		{ HEAD USERS, "", "clusters has no 'c'" },
		{ HEAD "clusters: [{name: c}]\n" USERS, "", "line 11: cluster: is missing" },
		{ HEAD "clusters: [{name: c, cluster: {}}]\n" USERS, "", "server: is missing" },
		{ HEAD "clusters: [{name: c, cluster: {server: 'http://a'}}]\n" USERS, "",
		  "line 11: server: 'http://a' does not begin with https://" },
		{ HEAD "clusters: [{name: c, cluster: {server: 'https://a:0'}}]\n" USERS, "",
		  "'0' is no port" },
		{ HEAD "clusters: [{name: c, cluster: {server: 'https://a:99999'}}]\n" USERS, "",
		  "no port" },
		{ HEAD "clusters: [{name: c, cluster: {server: 'https://:1'}}]\n" USERS, "",
		  "no host" },
		{ HEAD "clusters: [{name: c, cluster: {server: 'https://u@h'}}]\n" USERS, "",
		  "more than host" },
		{ HEAD CLUSTER "    proxy-url: http://p\n" USERS, "",
		  "line 15: proxy-url: is not supported" },
		{ HEAD CLUSTER "    certificate-authority-data: '*'\n" USERS, "",
		  "certificate-authority-data: is not base64" },
		{ HEAD CLUSTER "    certificate-authority-data: AAAA\n" USERS, "",
		  "is not base64" },
		{ HEAD CLUSTER "    certificate-authority: {a: b}\n" USERS, "",
		  "certificate-authority: a text is expected" },
		{ HEAD CLUSTER
		  "    certificate-authority: ca\n    insecure-skip-tls-verify: true\n" USERS,
		  "", "contradicts" },
		{ HEAD CLUSTER "    insecure-skip-tls-verify: maybe\n" USERS, "",
		  "line 15: insecure-skip-tls-verify: true or false" },
		{ HEAD CLUSTER "    insecure-skip-tls-verify: 'true'\n" USERS, "",
		  "insecure-skip-tls-verify: true or false" },
		{ HEAD CLUSTER "users: [{name: u, user: {token: ''}}]\n", "",
		  "line 15: token: is empty" },
		{ HEAD CLUSTER "users: [{name: u, user: {token: 'a b'}}]\n", "",
		  "token: has a blank" },
		{ HEAD CLUSTER "users: [{name: u, user: {token: \"a\\n\"}}]\n", "",
		  "token: has a blank" },
		{ HEAD CLUSTER "users: [{name: u, user: {token: [a]}}]\n", "",
		  "token: a text is expected" },
		{ HEAD CLUSTER "users: [{name: u, user: {exec: {command: x}}}]\n", "",
		  "exec: is not supported" },
		{ HEAD CLUSTER "users: [{name: u, user: {auth-provider: {name: x}}}]\n", "",
		  "auth-provider: is not supported" },
		{ HEAD CLUSTER "users: [{name: u, user: {username: x}}]\n", "",
		  "username: is not supported" },
		{ HEAD CLUSTER "users: [{name: u, user: {as: x}}]\n", "", "as: is not supported" },
		{ HEAD CLUSTER "users: [{name: u, user: {client-certificate: x}}]\n", "",
		  "client-key: is missing" },
		{ HEAD CLUSTER "users: [{name: u, user: {client-key: x}}]\n", "",
		  "client-certificate: is missing" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct kube_config c;
		struct err err;

		if (parse(cases[i].text, cases[i].context, &c, &err) == 0)
			fail_msg("passed: %s", cases[i].words);
		if (err.code != ERR_FAILED_PRECONDITION || !strstr(err.msg, cases[i].words) ||
		    !strstr(err.msg, "'/etc/kube/config'"))
			fail_msg("'%s' is not in: %s", cases[i].words, err.msg);
		kube_config_done(&c);
	}
}

TEST(server_addresses_of_all_kinds)
{
	static const struct {
		const char *url;
		const char *host;
		uint16_t port;
		const char *prefix;
	} cases[] = {
		{ "https://h", "h", 443, "" },
		{ "https://h/", "h", 443, "" },
		{ "https://h:1/a/b/", "h", 1, "/a/b" },
		{ "https://[::1]", "::1", 443, "" },
		{ "https://[fe80::1]:6443/x", "fe80::1", 6443, "/x" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct kube_config c = { 0 };
		struct err err;

		ASSERT_OK(kube_config_set_server(&c, cases[i].url, &err), &err);
		ASSERT_STR(c.host, cases[i].host);
		ASSERT_EQ(c.port, cases[i].port);
		ASSERT_STR(c.path_prefix, cases[i].prefix);
		kube_config_done(&c);
	}
}

TEST(no_word_of_a_secret_is_in_a_message)
{
	struct kube_config c;
	struct err err;

	ASSERT_ERR(parse(HEAD CLUSTER "users: [{name: u, user: {client-key-data: '!cr3t'}}]\n", "",
			 &c, &err),
		   &err, ERR_FAILED_PRECONDITION, "client-key-data");
	assert_null(strstr(err.msg, "cr3t"));
	kube_config_done(&c);
}

/* However null is spelled, the field is not there; YAML 1.1 has more booleans than two. */
TEST(null_is_unset_and_a_boolean_has_many_words)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };
	static const char *const yes[] = { "true", "True", "TRUE", "yes", "Yes", "on", "y", "Y" };
	static const char *const no[] = { "false", "False", "no", "NO", "off", "n", "null" };

	for (size_t i = 0; i < ARRAY_LEN(nulls); i++) {
		struct kube_config c;
		struct err err;
		autofree char *text = xasprintf(
			HEAD CLUSTER "    proxy-url: %1$s\n    certificate-authority: %1$s\n"
				     "    insecure-skip-tls-verify: %1$s\nusers:\n- name: u\n"
				     "  user:\n    exec: %1$s\n    auth-provider: %1$s\n"
				     "    token: %1$s\n    as-groups: []\n    as-user-extra: {}\n"
				     "    client-key: %1$s\n    username: ''\n",
			nulls[i]);

		ASSERT_OK(parse(text, "", &c, &err), &err);
		assert_null(c.token);
		assert_null(c.ca_file);
		ASSERT_FALSE(c.insecure_skip_verify);
		kube_config_done(&c);
	}
	for (size_t i = 0; i < ARRAY_LEN(yes) + ARRAY_LEN(no); i++) {
		bool is_yes = i < ARRAY_LEN(yes);
		struct kube_config c;
		struct err err;
		autofree char *text =
			xasprintf(HEAD CLUSTER "    insecure-skip-tls-verify: %s\n" USERS,
				  is_yes ? yes[i] : no[i - ARRAY_LEN(yes)]);

		ASSERT_OK(parse(text, "", &c, &err), &err);
		ASSERT_EQ(c.insecure_skip_verify, is_yes);
		kube_config_done(&c);
	}
}

/* As kubectl merges: the first file to name an entry has it whole; paths go by the entry's file. */
TEST(merge_keys_are_followed)
{
	struct kube_config c;
	struct err err;

	ASSERT_OK(parse("current-context: one\n"
			"contexts:\n- name: one\n  context: {cluster: c, user: u}\n"
			"base: &base {insecure-skip-tls-verify: true, tls-server-name: base}\n"
			"more: &more {tls-server-name: more, server: \"https://10.0.0.9:1\"}\n"
			"clusters:\n- name: c\n  cluster:\n    <<: [*base, *more]\n"
			"    server: https://10.0.0.1:6443\n"
			"users:\n- name: u\n  user: &user {<<: *user, token: secret}\n",
			"", &c, &err),
		  &err);
	ASSERT_STR(c.host, "10.0.0.1");
	ASSERT_STR(c.server_name, "base");
	ASSERT_TRUE(c.insecure_skip_verify);
	ASSERT_STR(c.token, "secret");
	kube_config_done(&c);
}

TEST(of_several_files_the_first_to_say_something_counts)
{
	static const char first[] = "contexts:\n- name: one\n  context: {cluster: c, user: u}\n"
				    "users: [{name: v, user: {token: first}}]\n";
	static const char second[] =
		"current-context: one\ncontexts:\n- name: one\n  context: {cluster: no, user: no}\n"
		"clusters: [{name: c, cluster: {server: 'https://second',"
		" certificate-authority: ca.crt}}]\nusers: null\n";
	static const char third[] = "current-context: two\n"
				    "clusters: [{name: c, cluster: {server: 'https://third'}}]\n"
				    "users: [{name: u, user: {tokenFile: t}}]\n";
	const struct kubeconfig_text texts[] = {
		{ "/one/config", first, sizeof(first) - 1 },
		{ "/empty/config", "", 0 },
		{ "/two/config", second, sizeof(second) - 1 },
		{ "/three/config", third, sizeof(third) - 1 },
	};
	struct kube_config c = { 0 };
	struct err err;

	ASSERT_OK(kubeconfig_parse(texts, ARRAY_LEN(texts), "", &c, &err), &err);
	ASSERT_STR(c.host, "second");
	ASSERT_STR(c.ca_file, "/two/ca.crt");
	ASSERT_STR(c.token_file, "/three/t");
	assert_null(c.token);
	kube_config_done(&c);
	ASSERT_ERR(kubeconfig_parse(texts, 2, "one", &c, &err), &err, ERR_FAILED_PRECONDITION,
		   "clusters has no 'c', nor have the other files");
	kube_config_done(&c);
	ASSERT_ERR(kubeconfig_parse(texts, 2, "", &c, &err), &err, ERR_FAILED_PRECONDITION,
		   "current-context: is not set");
	kube_config_done(&c);
}

TEST(a_token_file_is_trimmed_and_judged)
{
	static const struct {
		const char *text;
		const char *token; /* NULL: none */
	} cases[] = {
		{ "abc", "abc" }, { "abc\n", "abc" }, { "\n abc\r\n", "abc" }, { "", NULL },
		{ " \n", NULL },  { "a b", NULL },    { "a\nb\n", NULL },      { "\x7f", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autofree char *text = xstrdup(cases[i].text);
		size_t n = kube_token_trim(text, strlen(text));

		ASSERT_EQ(n, strlen(text));
		ASSERT_EQ(kube_token_problem(text, n) == NULL, cases[i].token != NULL);
		if (cases[i].token)
			ASSERT_STR(text, cases[i].token);
	}
}

static int write_temp(char *path, const char *text)
{
	autofd int fd = mkstemp(path);

	return fd < 0 ? -1 : fd_write_all(fd, text, strlen(text));
}

TEST(an_empty_token_file_is_named_at_load)
{
	char token[] = "/tmp/cleat-test-token-XXXXXX";
	char path[] = "/tmp/cleat-test-kubeconfig-XXXXXX";
	autofree char *text = NULL;
	struct kube_config c;
	struct err err;
	int r;

	ASSERT_EQ(write_temp(token, "\n"), 0);
	text = xasprintf(HEAD CLUSTER "users: [{name: u, user: {tokenFile: '%s'}}]\n", token);
	ASSERT_EQ(write_temp(path, text), 0);
	r = kube_config_load(path, "", &c, &err);
	(void)unlink(path);
	(void)unlink(token);
	ASSERT_ERR(r, &err, ERR_FAILED_PRECONDITION, token);
	ASSERT_TRUE(strstr(err.msg, "is empty") && strstr(err.msg, path));
}

static int clear_env(void **state)
{
	(void)unsetenv("KUBERNETES_SERVICE_HOST");
	(void)unsetenv("KUBERNETES_SERVICE_PORT");
	(void)unsetenv("KUBECONFIG");
	(void)setenv("HOME", "/nonexistent", 1);
	return 0;
}

TEST(without_a_path_the_environment_decides)
{
	struct kube_config c;
	struct err err;

	(void)clear_env(NULL);
	ASSERT_ERR(kube_config_load("", "", &c, &err), &err, ERR_FAILED_PRECONDITION,
		   "'/nonexistent/.kube/config'");
	(void)setenv("KUBECONFIG", "/nonexistent/a", 1);
	ASSERT_ERR(kube_config_load("", "", &c, &err), &err, ERR_FAILED_PRECONDITION,
		   "'/nonexistent/a': No such file");
	(void)setenv("KUBECONFIG", "/nonexistent/a::/nonexistent/b", 1);
	ASSERT_ERR(kube_config_load("", "", &c, &err), &err, ERR_FAILED_PRECONDITION,
		   "'/nonexistent/a::/nonexistent/b': No such file");
	(void)setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	(void)setenv("KUBERNETES_SERVICE_PORT", "https", 1);
	ASSERT_ERR(kube_config_load("", "", &c, &err), &err, ERR_FAILED_PRECONDITION,
		   "KUBERNETES_SERVICE_PORT: 'https' is no port");
	(void)clear_env(NULL);
}

/* A list is one configuration, also inside a pod; what is not there is left out. */
TEST(the_list_of_KUBECONFIG_is_merged)
{
	char one[] = "/tmp/cleat-test-kubeconfig-XXXXXX";
	char two[] = "/tmp/cleat-test-kubeconfig-XXXXXX";
	autofree char *list = NULL;
	struct kube_config c;
	struct err err;
	int r;

	ASSERT_EQ(write_temp(one, HEAD), 0);
	ASSERT_EQ(write_temp(two, CLUSTER USERS), 0);
	list = xasprintf("/nonexistent/a:%s::%s", one, two);
	(void)clear_env(NULL);
	(void)setenv("KUBECONFIG", list, 1);
	(void)setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	(void)setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	r = kube_config_load("", "", &c, &err);
	(void)clear_env(NULL);
	(void)unlink(one);
	(void)unlink(two);
	ASSERT_OK(r, &err);
	ASSERT_STR(c.host, "10.0.0.1");
	ASSERT_STR(c.token, "secret");
	kube_config_done(&c);
}

/* Certificates are looked at when the configuration is read, not at the first connection. */
TEST(a_broken_certificate_is_found_at_once)
{
	char path[] = "/tmp/cleat-test-kubeconfig-XXXXXX";
	static const char text[] =
		HEAD CLUSTER "    certificate-authority: /nonexistent/ca.crt\n" USERS;
	autofd int fd = mkstemp(path);
	struct kube_config c;
	struct err err;
	int r;

	ASSERT_TRUE(fd >= 0);
	ASSERT_EQ(fd_write_all(fd, text, sizeof(text) - 1), 0);
	r = kube_config_load(path, "", &c, &err);
	(void)unlink(path);
	ASSERT_ERR(r, &err, ERR_FAILED_PRECONDITION, "/nonexistent/ca.crt");
	ASSERT_TRUE(strstr(err.msg, path) != NULL);
}

RUN_TESTS(UNIT(the_current_context_is_used), UNIT(another_server_can_be_used),
	  UNIT(another_context_can_be_asked_for), UNIT(what_is_wrong_is_named_with_its_line),
	  UNIT(server_addresses_of_all_kinds), UNIT(null_is_unset_and_a_boolean_has_many_words),
	  UNIT(merge_keys_are_followed), UNIT(of_several_files_the_first_to_say_something_counts),
	  UNIT(a_token_file_is_trimmed_and_judged), UNIT(an_empty_token_file_is_named_at_load),
	  UNIT(the_list_of_KUBECONFIG_is_merged), UNIT(no_word_of_a_secret_is_in_a_message),
	  UNIT(without_a_path_the_environment_decides), UNIT(a_broken_certificate_is_found_at_once))
