/* SPDX-License-Identifier: Apache-2.0 */
/* What one host may have of what there is little of. */
#include "check.h"
#include "cmd/peer_share.h"

static struct err err;

static void assert_refused(struct peer_share *s, const char *peer, const char *host)
{
	assert_int_equal(peer_share_take(s, peer, &err), -1);
	ASSERT_EQ(err.code, ERR_UNAVAILABLE);
	assert_ptr_equal(strstr(err.msg, host), err.msg);
}

TEST(a_host_has_its_share_whatever_its_ports_and_no_more)
{
	struct peer_share *s = peer_share_new(2);

	ASSERT_OK(peer_share_take(s, "10.0.0.1:1", &err), &err);
	ASSERT_OK(peer_share_take(s, "10.0.0.1:2", &err), &err);
	assert_refused(s, "10.0.0.1:3", "10.0.0.1 has 2 calls");
	ASSERT_OK(peer_share_take(s, "10.0.0.11:3", &err), &err);
	peer_share_free(s);
}

TEST(addresses_of_both_kinds_and_sockets_are_told_apart)
{
	struct peer_share *s = peer_share_new(1);

	ASSERT_OK(peer_share_take(s, "[fd00::1]:1", &err), &err);
	ASSERT_OK(peer_share_take(s, "[fd00::2]:1", &err), &err);
	assert_refused(s, "[fd00::2]:2", "[fd00::2] has 1 calls");
	ASSERT_OK(peer_share_take(s, "[fd00::]:1", &err), &err);
	ASSERT_OK(peer_share_take(s, "unix pid 1 uid 0", &err), &err);
	ASSERT_OK(peer_share_take(s, "unix pid 2 uid 0", &err), &err);
	ASSERT_OK(peer_share_take(s, "", &err), &err); /* gone before it was asked who it is */
	peer_share_free(s);
}

TEST(what_is_given_back_may_be_taken_again_by_whomever)
{
	struct peer_share *s = peer_share_new(2);

	for (unsigned i = 0; i < 3; i++) {
		ASSERT_OK(peer_share_take(s, "10.0.0.1:1", &err), &err);
		ASSERT_OK(peer_share_take(s, "10.0.0.2:1", &err), &err);
		ASSERT_OK(peer_share_take(s, "10.0.0.1:2", &err), &err);
		assert_refused(s, "10.0.0.1:3", "10.0.0.1");
		peer_share_give(s, "10.0.0.1:1");
		ASSERT_OK(peer_share_take(s, "10.0.0.1:4", &err), &err);
		peer_share_give(s, "10.0.0.1:2");
		peer_share_give(s, "10.0.0.1:4");
		peer_share_give(s, "10.0.0.2:1");
	}
	peer_share_free(s);
}

RUN_TESTS(UNIT(a_host_has_its_share_whatever_its_ports_and_no_more),
	  UNIT(addresses_of_both_kinds_and_sockets_are_told_apart),
	  UNIT(what_is_given_back_may_be_taken_again_by_whomever))
