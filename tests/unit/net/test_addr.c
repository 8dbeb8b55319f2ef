/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/mem.h"
#include "net/addr.h"

TEST(addresses_are_understood)
{
	static const struct {
		const char *in, *out;
		bool is_loopback;
	} cases[] = {
		{ "unix:///run/x.sock", "unix:///run/x.sock", false },
		{ "unix:/run/x.sock", "unix:///run/x.sock", false },
		{ "/run/x.sock", "unix:///run/x.sock", false },
		{ "tcp://10.0.0.1", "tcp://10.0.0.1:10000", false },
		{ "tcp://10.0.0.1:99", "tcp://10.0.0.1:99", false },
		{ "tcp://:99", "tcp://:99", false },
		{ "tcp://[::1]:99", "tcp://[::1]:99", true },
		{ "tcp://[fe80::1]", "tcp://[fe80::1]:10000", false },
		{ "tcp://127.4.5.6:0", "tcp://127.4.5.6:0", true },
		{ "tcp://localhost:1", "tcp://localhost:1", true },
		{ "tcp://node-1.example:65535", "tcp://node-1.example:65535", false },
	};
	char text[NET_ADDR_TEXT_MAX] = "";
	struct net_addr addr = { 0 };
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ASSERT_OK(net_addr_parse(cases[i].in, &addr, &err), &err);
		net_addr_format(&addr, text);
		ASSERT_STR(text, cases[i].out);
		ASSERT_EQ(net_addr_is_loopback(&addr), cases[i].is_loopback);
	}
}

TEST(bad_addresses_are_refused_with_their_text)
{
	static const char *const cases[] = {
		"",
		"run/x.sock",
		"unix://x.sock",
		"http://x",
		"tcp://x:65536",
		"tcp://x:",
		"tcp://x:-1",
		"tcp://[::1",
		"tcp://::1:5",
		"tcp://a b:1",
		"tcp://[::1]x",
		"tcp://user@host:1",
	};
	struct net_addr addr = { 0 };
	struct err err = { 0 };
	char long_path[200] = "/";

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_ERR(net_addr_parse(cases[i], &addr, &err), &err, ERR_INVALID_ARGUMENT, "'");
	memset(long_path + 1, 'a', sizeof(long_path) - 2);
	ASSERT_ERR(net_addr_parse(long_path, &addr, &err), &err, ERR_INVALID_ARGUMENT, "107");
}

RUN_TESTS(UNIT(addresses_are_understood), UNIT(bad_addresses_are_refused_with_their_text))
