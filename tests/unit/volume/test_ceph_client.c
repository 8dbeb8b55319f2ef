/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of Ceph's clients, and what an image's metadata say of one. */
#include "volume/ceph_client.h"

#include "base/mem.h"
#include "check.h"

#define BOOT "1f6f5e0c-77d6-4b2c-a2b9-3f1f6b0e9f11"

TEST(the_host_of_an_address_is_found)
{
	static const char *const cases[][2] = {
		{ "10.98.0.11:0/2672315062", "10.98.0.11" },
		{ "v1:10.98.0.11:6789/0", "10.98.0.11" },
		{ "v2:10.98.0.11:3300/0", "10.98.0.11" },
		{ "[v2:10.98.0.11:3300/0,v1:10.98.0.11:6789/0]", "10.98.0.11" },
		{ "10.98.0.11", "10.98.0.11" },
		{ "10.98.0.11:0/0", "10.98.0.11" },
		{ "[fd00::1]:0/7", "fd00::1" },
		{ "v1:[fd00::1]:0/7", "fd00::1" },
		{ "[v2:[fd00::1]:3300/0,v1:[fd00::1]:6789/0]", "fd00::1" },
		{ "fd00:0:0::1", "fd00::1" },
		{ "[FD00:0::1]:0/0", "fd00::1" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char ip[CEPH_IP_MAX];

		ASSERT_EQ(ceph_address_ip(cases[i][0], ip), 0);
		ASSERT_STR(ip, cases[i][1]);
	}
}

TEST(what_is_no_address_has_no_host)
{
	static const char *const cases[] = {
		"",         "-",         ":/0",         "10.98.0:0/1", "worker-3:0/1",
		"[fd00::1", "[]:0/0",    "v3:10.0.0.1", "[v2:",        "10.0.0.256:0/1",
		"::g:0/1",  "1.2.3.4.5", "[10.0.0.1",   "v2:",         "10.98.0.11 :0/1",
	};
	char ip[CEPH_IP_MAX] = "untouched";

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (ceph_address_ip(cases[i], ip) == 0)
			fail_msg("'%s' has the host '%s'", cases[i], ip);
	}
	ASSERT_STR(ip, "untouched");
}

TEST(one_client_is_its_address_and_nonce)
{
	static const char *const cases[][2] = {
		{ "10.98.0.11:0/2672315062", "10.98.0.11:0/2672315062" },
		{ "v1:10.98.0.11:6800/7", "10.98.0.11:6800/7" },
		{ "[v2:10.98.0.11:0/7,v1:10.98.0.11:0/7]", "10.98.0.11:0/7" },
		{ "[fd00:0::1]:0/7", "[fd00::1]:0/7" },
	};
	static const char *const none[] = {
		"",
		"10.98.0.11",
		"10.98.0.11:0/0",
		"10.98.0.11:0/",
		"fd00::1",
		"a:0/7",
		"10.98.0.11:/7",
		"10.98.0.11/7",
		"10.98.0.11:0/x",
		"[fd00::1]:0/0",
		"[fd00::1]",
		"10.98.0.11:0/7 8",
		"10.98.0.11:0/12345678901",
	};
	char client[CEPH_ADDRESS_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ASSERT_EQ(ceph_address_client(cases[i][0], client), 0);
		ASSERT_STR(client, cases[i][1]);
	}
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		if (ceph_address_client(none[i], client) == 0)
			fail_msg("'%s' has the client '%s'", none[i], client);
	}
}

TEST(all_of_a_host_has_an_address)
{
	char address[CEPH_ADDRESS_MAX];

	ceph_address_of_ip("10.98.0.11", address);
	ASSERT_STR(address, "10.98.0.11:0/0");
	ceph_address_of_ip("fd00::1", address);
	ASSERT_STR(address, "[fd00::1]:0/0");
}

TEST(clients_go_there_and_back)
{
	static const char *const cases[] = {
		"worker-3 10.98.0.11:0/2672315062 " BOOT,
		"w [fd00::1]:0/7 -",
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ceph_client client;
		char again[CEPH_CLIENT_MAX];

		ASSERT_EQ(ceph_client_parse(cases[i], &client), 0);
		ASSERT_EQ(ceph_client_format(&client, again), 0);
		ASSERT_STR(again, cases[i]);
	}
}

TEST(what_is_no_client_is_none)
{
	static const char *const cases[] = {
		"",
		"w",
		"w 10.0.0.1:0/1",
		"w 10.0.0.1:0/1 ",
		" 10.0.0.1:0/1 -",
		"w  -",
		"w nobody -",
		"w 10.0.0.1:0/1 - ",
		"w 10.0.0.1:0/1 yesterday",
		"w 10.0.0.1:0/1 " BOOT " x",
		"w\n 10.0.0.1:0/1 -",
	};
	struct ceph_client client;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (ceph_client_parse(cases[i], &client) == 0)
			fail_msg("'%s' is a client", cases[i]);
	}
}

TEST(a_client_that_cannot_be_written_is_refused)
{
	struct ceph_client client = { "worker 3", "10.0.0.1:0/1", "" };
	char text[CEPH_CLIENT_MAX] = "untouched";

	ASSERT_EQ(ceph_client_format(&client, text), -1);
	client = (struct ceph_client){ "worker-3", "", "" };
	ASSERT_EQ(ceph_client_format(&client, text), -1);
	ASSERT_STR(text, "untouched");
	ASSERT_TRUE(ceph_client_node_is_valid("worker-3.example"));
	ASSERT_FALSE(ceph_client_node_is_valid("worker 3"));
	ASSERT_FALSE(ceph_client_node_is_valid(""));
}

RUN_TESTS(UNIT(the_host_of_an_address_is_found), UNIT(what_is_no_address_has_no_host),
	  UNIT(one_client_is_its_address_and_nonce), UNIT(all_of_a_host_has_an_address),
	  UNIT(clients_go_there_and_back), UNIT(what_is_no_client_is_none),
	  UNIT(a_client_that_cannot_be_written_is_refused))
