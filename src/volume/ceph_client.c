/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of Ceph's clients. IPs are compared as texts, so they are read into bytes and written
 * again: an address is fenced by the IP alone, and two spellings of one must not be two.
 */
#include "volume/ceph_client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define NO_BOOT "-"
#define DIGITS "0123456789"
#define PORT_MAX 5 /* digits */
#define NONCE_MAX 10

static int write_ip(const char *text, size_t n, char ret_ip[CEPH_IP_MAX])
{
	unsigned char bytes[sizeof(struct in6_addr)];
	char word[CEPH_IP_MAX];
	int family;

	if (n == 0 || n >= sizeof(word))
		return -1;
	memcpy(word, text, n);
	word[n] = '\0';
	family = strchr(word, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(family, word, bytes) != 1)
		return -1;
	return inet_ntop(family, bytes, ret_ip, CEPH_IP_MAX) ? 0 : -1;
}

static bool is_bare_v6(const char *text)
{
	const char *colon = strchr(text, ':');

	return colon && strchr(colon + 1, ':') && !strchr(text, '/');
}

/* Of a list the first; without the protocol. */
static const char *skip_protocol(const char *address)
{
	const char *at = address;

	if (at[0] == '[' && at[1] == 'v') /* a list */
		at++;
	if (at[0] == 'v' && (at[1] == '1' || at[1] == '2') && at[2] == ':')
		at += 3;
	return at;
}

int ceph_address_ip(const char *address, char ret_ip[CEPH_IP_MAX])
{
	const char *at = skip_protocol(address);
	char ip[CEPH_IP_MAX];
	int rc;

	if (*at == '[')
		rc = strchr(at, ']') ? write_ip(at + 1, strcspn(at + 1, "]"), ip) : -1;
	else
		rc = write_ip(at, is_bare_v6(at) ? strlen(at) : strcspn(at, ":/,]"), ip);
	if (rc < 0)
		return -1;
	memcpy(ret_ip, ip, sizeof(ip));
	return 0;
}

int ceph_address_client(const char *address, char ret_client[CEPH_ADDRESS_MAX])
{
	const char *at = skip_protocol(address), *slash = strchr(at, '/'), *colon;
	size_t n_port, n_nonce;
	char ip[CEPH_IP_MAX];
	bool is_v6;

	if (!slash || ceph_address_ip(address, ip) < 0)
		return -1;
	for (colon = slash; colon > at && *colon != ':';)
		colon--;
	n_port = strspn(colon + 1, DIGITS);
	n_nonce = strspn(slash + 1, DIGITS);
	if (n_port == 0 || n_port > PORT_MAX || colon + 1 + n_port != slash || n_nonce == 0 ||
	    n_nonce > NONCE_MAX || strspn(slash + 1, "0") == n_nonce ||
	    !strchr(",]", slash[1 + n_nonce]))
		return -1;
	is_v6 = strchr(ip, ':');
	(void)snprintf(ret_client, CEPH_ADDRESS_MAX, "%s%s%s:%.*s/%.*s", is_v6 ? "[" : "", ip,
		       is_v6 ? "]" : "", (int)n_port, colon + 1, (int)n_nonce, slash + 1);
	return 0;
}

void ceph_address_of_ip(const char *ip, char ret_address[CEPH_ADDRESS_MAX])
{
	bool is_v6 = strchr(ip, ':');

	(void)snprintf(ret_address, CEPH_ADDRESS_MAX, "%s%s%s:0/0", is_v6 ? "[" : "", ip,
		       is_v6 ? "]" : "");
}

static bool is_word(const char *text, size_t max)
{
	size_t n = strnlen(text, max);

	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f)
			return false;
	}
	return n > 0 && n < max;
}

bool ceph_client_node_is_valid(const char *node)
{
	return is_word(node, CEPH_NODE_MAX);
}

static bool is_client(const struct ceph_client *c)
{
	char ip[CEPH_IP_MAX];
	struct uuid uuid;

	return ceph_client_node_is_valid(c->node) && is_word(c->address, CEPH_ADDRESS_MAX) &&
	       ceph_address_ip(c->address, ip) == 0 &&
	       (!c->boot_id[0] || uuid_parse(c->boot_id, &uuid) == 0);
}

int ceph_client_format(const struct ceph_client *client, char ret_text[CEPH_CLIENT_MAX])
{
	if (!is_client(client))
		return -1;
	(void)snprintf(ret_text, CEPH_CLIENT_MAX, "%s %s %s", client->node, client->address,
		       str_or(client->boot_id, NO_BOOT));
	return 0;
}

/* A word and what parts it from the next. */
static int take_word(const char **text, char end, char *ret_word, size_t cap)
{
	size_t n = strcspn(*text, " ");

	if ((*text)[n] != end || n == 0 || n >= cap)
		return -1;
	memcpy(ret_word, *text, n);
	ret_word[n] = '\0';
	*text += n + (end != '\0');
	return 0;
}

int ceph_client_parse(const char *text, struct ceph_client *ret_client)
{
	struct ceph_client c = { .node = "" };

	if (take_word(&text, ' ', c.node, sizeof(c.node)) < 0 ||
	    take_word(&text, ' ', c.address, sizeof(c.address)) < 0 ||
	    take_word(&text, '\0', c.boot_id, sizeof(c.boot_id)) < 0)
		return -1;
	if (str_is_equal(c.boot_id, NO_BOOT))
		c.boot_id[0] = '\0';
	if (!is_client(&c))
		return -1;
	*ret_client = c;
	return 0;
}
