/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel speaks one of Ceph's two protocols, the second (port 3300) only if an ms_mode is given
 * (Linux ≥5.11), and to a monitor of the other protocol it just times out. It takes numbers and no
 * names.
 *
 * config.json may name either or both, in each notation that Ceph has: "host", "host:port",
 * "v2:ip:port/nonce", "[v2:…,v1:…]". What is said to be of the other protocol is left out; what has
 * that one's usual port, or none, gets the right one's; any other port is taken at its word.
 */
#include "host/ceph_monitors.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define V1_PORT "6789"
#define V2_PORT "3300"
#define SEPARATORS ",; \t\n"
#define MONITORS_MAX 32

struct monitor {
	char host[256];
	char port[8]; /* "": none */
	char tag;     /* '1', '2', or 0 */
};

static size_t count(const char *text, char c)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == c;
	return n;
}

/* "host", "host:port", "[v6]", "[v6]:port" or a bare v6. */
static int split_port(char *text, struct monitor *m)
{
	const char *host = text;
	const char *port = NULL;

	if (*text == '[') {
		char *end = strchr(text, ']');

		if (!end)
			return -1;
		host = text + 1;
		*end = '\0';
		port = end[1] == ':' ? end + 2 : end[1] ? "" : NULL;
	} else if (count(text, ':') == 1) {
		size_t n = strcspn(text, ":");

		text[n] = '\0';
		port = text + n + 1;
	}
	if (!*host || strlen(host) >= sizeof(m->host) ||
	    (port && (!*port || strlen(port) >= sizeof(m->port))))
		return -1;
	(void)snprintf(m->host, sizeof(m->host), "%s", host);
	(void)snprintf(m->port, sizeof(m->port), "%s", port ? port : "");
	return 0;
}

static int parse_monitor(const char *word, size_t n, struct monitor *ret_monitor)
{
	struct monitor m = { .tag = 0 };
	char text[320];
	char *at = text;

	if (n >= sizeof(text))
		return -1;
	memcpy(text, word, n);
	text[n] = '\0';
	if (str_has_prefix(at, "[v"))
		at++;
	if (count(at, ']') > count(at, '['))
		at[strlen(at) - 1] = '\0';
	if (str_has_prefix(at, "v1:") || str_has_prefix(at, "v2:")) {
		m.tag = at[1];
		at += 3;
	}
	at[strcspn(at, "/")] = '\0';
	if (split_port(at, &m) < 0)
		return -1;
	*ret_monitor = m;
	return 0;
}

/* The next word of the list, which moves on; 0 at its end. */
static size_t next_word(const char **list, const char **ret_word)
{
	size_t n;

	*list += strspn(*list, SEPARATORS);
	*ret_word = *list;
	n = strcspn(*list, SEPARATORS);
	*list += n;
	return n;
}

static bool is_of(const struct monitor *m, bool is_v2)
{
	return m->tag == 0 || m->tag == (is_v2 ? '2' : '1');
}

static bool are_v2(const char *monitors)
{
	bool has_one = false;
	const char *word;
	size_t n;

	while ((n = next_word(&monitors, &word)) > 0) {
		struct monitor m;

		if (parse_monitor(word, n, &m) < 0)
			continue;
		if (m.tag == '1' || (m.tag == 0 && !str_is_equal(m.port, V2_PORT)))
			return false;
		has_one = true;
	}
	return has_one;
}

static void add_address(struct str *list, const char *host, const char *port)
{
	bool is_v6 = strchr(host, ':');

	if (list->len > 0)
		str_append_char(list, ',');
	str_appendf(list, is_v6 ? "[%s]:%s" : "%s:%s", host, port);
}

static int add_resolved(struct str *list, const struct monitor *m, bool is_v2, struct err *err)
{
	/* what is no name is not asked of any server */
	bool is_numeric = m->host[strspn(m->host, "0123456789.:")] == '\0';
	const struct addrinfo hints = { .ai_flags = is_numeric ? AI_NUMERICHOST : 0,
					.ai_socktype = SOCK_STREAM };
	const char *other = is_v2 ? V1_PORT : V2_PORT;
	const char *port =
		m->tag == 0 && (!m->port[0] || str_is_equal(m->port, other)) ? "" : m->port;
	char host[INET6_ADDRSTRLEN + 16];
	struct addrinfo *found = NULL;
	int rc = getaddrinfo(m->host, NULL, &hints, &found);

	if (rc != 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "resolve the monitor '%s': %s", m->host,
			       gai_strerror(rc));
	for (const struct addrinfo *a = found; a; a = a->ai_next) {
		if (getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), NULL, 0,
				NI_NUMERICHOST) == 0)
			add_address(list, host, str_or(port, is_v2 ? V2_PORT : V1_PORT));
	}
	freeaddrinfo(found);
	return 0;
}

static int list_monitors(const char *monitors, bool is_v2, struct str *ret_list, struct err *err)
{
	autostr struct str list = STR_INIT;
	const char *at = monitors;
	unsigned n_monitors = 0;
	const char *word;
	size_t n;

	while ((n = next_word(&at, &word)) > 0) {
		struct monitor m;

		if (parse_monitor(word, n, &m) < 0 || ++n_monitors > MONITORS_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT, "'%.*s' is no monitor's address",
				       (int)(n < 80 ? n : 80), word);
		if (is_of(&m, is_v2) && add_resolved(&list, &m, is_v2, err) < 0)
			return -1;
	}
	if (list.len == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "none of the monitors '%s' speaks version %d of the protocol, which "
			       "the kernel is to speak (ms_mode)",
			       monitors, is_v2 ? 2 : 1);
	str_append(ret_list, list.buf);
	return 0;
}

bool host_ceph_has_option(const char *options, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = options; *at; at += strcspn(at, ","), at += *at == ',') {
		if (strncmp(at, name, n) == 0 && strchr("=,", at[n]))
			return true;
	}
	return false;
}

int host_ceph_monitors(const char *monitors, const char *options, struct str *ret_list,
		       const char **ret_mode, struct err *err)
{
	bool says_mode = host_ceph_has_option(options, "ms_mode");
	bool is_v2 =
		says_mode ? !host_ceph_has_option(options, "ms_mode=legacy") : are_v2(monitors);

	if (list_monitors(monitors, is_v2, ret_list, err) < 0)
		return -1;
	*ret_mode = is_v2 && !says_mode ? "ms_mode=prefer-crc" : "";
	return 0;
}
