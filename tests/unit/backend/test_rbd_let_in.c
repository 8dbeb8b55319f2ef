/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that were shut out of the cluster are let in again, when it is certain that they are back.
 */
#include "rbd_nodes.h"

static void lose(struct co *co)
{
	stage(co, "n1");
	co->nodes[0].state.is_out_of_service = true;
	co->nodes[0].state.is_ready = false;
	ASSERT_OK(unpublish(co), &co->w.err);
	assert_fenced(co, true);
}

static void assert_let_in(struct co *co)
{
	fake_ceph_allow_lifting();
	ASSERT_OK(publish(co), &co->w.err);
	assert_fenced(co, false);
	ASSERT_OK(publish(co), &co->w.err);
}

TEST(a_node_is_let_in_when_it_is_back)
{
	static const struct {
		bool is_out_of_service, is_ready, has_volumes;
		const char *boot_id, *machine;
		bool is_back;
	} cases[] = {
		{ true, true, false, BOOT_2, MACHINE_1, false },
		{ false, false, false, BOOT_2, MACHINE_1, false },
		{ false, true, true, BOOT_1, MACHINE_1, false },
		{ false, true, true, "", MACHINE_1, false },
		{ false, true, true, BOOT_2, MACHINE_1, true },
		{ false, true, false, BOOT_1, MACHINE_1, true },
		{ false, true, false, BOOT_1, "", true },
		{ false, true, false, "", MACHINE_1, true },
		/* another machine of that name, or perhaps */
		{ false, true, true, BOOT_2, MACHINE_2, false },
		{ false, true, false, BOOT_2, MACHINE_2, false },
		{ false, true, true, BOOT_2, "", false },
		{ false, true, false, "", "", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct backend_node *node;
		struct co co;

		begin(&co);
		lose(&co);
		node = &co.nodes[0].state;
		node->is_out_of_service = cases[i].is_out_of_service;
		node->is_ready = cases[i].is_ready;
		node->has_volumes = node->has_volume = cases[i].has_volumes;
		(void)snprintf(node->boot_id, sizeof(node->boot_id), "%s", cases[i].boot_id);
		(void)snprintf(node->machine, sizeof(node->machine), "%s", cases[i].machine);
		if (cases[i].is_back) {
			assert_let_in(&co);
		} else {
			ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION,
				   "osd blocklist rm " IP ":0/0");
			assert_fenced(&co, true);
		}
		end(&co);
	}
}

static void is_ready_again(struct co *co)
{
	co->nodes[0].state.is_out_of_service = false;
	co->nodes[0].state.is_ready = true;
}

/* Kubelet says that it uses a volume from before it is attached. */
TEST(a_volume_that_waits_for_its_node_does_not_keep_that_out)
{
	struct co co;

	begin(&co);
	lose(&co);
	is_ready_again(&co);
	co.nodes[0].state.has_volume = false;
	ASSERT_TRUE(co.nodes[0].state.has_volumes);
	assert_let_in(&co);
	end(&co);
}

TEST(a_node_is_let_in_when_it_has_none_of_what_it_was_shut_out_for)
{
	struct co co;

	begin(&co);
	lose(&co);
	fake_ceph_omap_set(POOL, "", FENCES, RECORD_OF_ANY "/" OTHER_VOLUME, MACHINE_1 " x");
	is_ready_again(&co);
	co.nodes[0].state.has_volume = false;
	co.has_other = true;
	fake_ceph_allow_lifting();
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "without " OTHER_VOLUME);
	assert_fenced(&co, true);
	co.has_other = false;
	assert_let_in(&co);
	end(&co);
}

/* Of two volumes the notes are of two runs: the fence is of the later one as well. */
TEST(what_ran_after_the_staging_is_fenced_too)
{
	struct co co;

	begin(&co);
	(void)snprintf(co.nodes[0].state.boot_id, UUID_TEXT_MAX, BOOT_2);
	stage(&co, "n1");
	co.nodes[0].state.is_out_of_service = true;
	ASSERT_OK(unpublish(&co), &co.w.err);
	ASSERT_TRUE(str_has_prefix(omap(FENCES, record_of(&co, BOOT_1)), "- "));
	ASSERT_TRUE(str_has_prefix(omap(FENCES, record_of(&co, BOOT_2)), MACHINE_1 " "));
	co.nodes[0].state.is_out_of_service = false;
	fake_ceph_allow_lifting();
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "osd blocklist rm");
	end(&co);
}

/* By hand it is done as well, which the next call sees. */
TEST(a_user_who_may_not_lift_is_told_of_it)
{
	struct co co;

	begin(&co);
	lose(&co);
	co.nodes[0].state.is_out_of_service = false;
	co.nodes[0].state.is_ready = true;
	co.nodes[0].state.has_volumes = co.nodes[0].state.has_volume = false;
	ASSERT_ERR(publish(&co), &co.w.err, ERR_PERMISSION_DENIED, "allow command");
	assert_fenced(&co, true);
	fake_ceph_unblock(IP);
	ASSERT_OK(publish(&co), &co.w.err);
	assert_fenced(&co, false);
	end(&co);
}

TEST(who_was_never_fenced_is_not_held_up)
{
	struct co co;

	begin(&co);
	ASSERT_OK(publish(&co), &co.w.err);
	co.use.node_id = "nowhere";
	ASSERT_ERR(publish(&co), &co.w.err, ERR_NOT_FOUND, "nowhere");
	end(&co);
}

static void come_back_as_n2(struct co *co, const char *machine)
{
	co->nodes[1] = co->nodes[0];
	co->nodes[1].id = "n2";
	co->nodes[1].state.is_out_of_service = false;
	co->nodes[1].state.is_ready = true;
	(void)snprintf(co->nodes[1].state.boot_id, UUID_TEXT_MAX, BOOT_2);
	(void)snprintf(co->nodes[1].state.machine, UUID_TEXT_MAX, "%s", machine);
	co->use.node_id = "n2";
}

/* The machine that was fenced may run yet, whoever has its name or its address now. */
TEST(an_address_that_has_a_new_owner_is_let_in_by_hand)
{
	struct co co;

	begin(&co);
	lose(&co);
	come_back_as_n2(&co, MACHINE_2);
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "node 'n1' was lost");
	co.nodes[0].id = "";
	fake_ceph_allow_lifting();
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "By hand");
	assert_fenced(&co, true);
	fake_ceph_unblock(IP);
	assert_let_in(&co);
	end(&co);
}

TEST(a_machine_with_a_new_name_is_let_in)
{
	struct co co;

	begin(&co);
	lose(&co);
	come_back_as_n2(&co, MACHINE_1);
	co.nodes[0].id = "";
	assert_let_in(&co);
	end(&co);
}

/* Two nodes behind one address are fenced together, and let in when both are back. */
TEST(who_shares_an_address_shares_the_fence)
{
	struct co co;

	begin(&co);
	co.nodes[1] = co.nodes[0];
	co.nodes[1].id = "n2";
	(void)snprintf(co.nodes[1].state.machine, UUID_TEXT_MAX, MACHINE_2);
	lose(&co);
	stage(&co, "n2");
	co.use.node_id = "n2";
	co.nodes[1].state.is_out_of_service = true;
	ASSERT_OK(unpublish(&co), &co.w.err);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", FENCES), 2);

	co.nodes[1].state.is_out_of_service = false;
	(void)snprintf(co.nodes[1].state.boot_id, UUID_TEXT_MAX, BOOT_2);
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "node 'n1' was lost");
	co.nodes[0].state.is_out_of_service = false;
	co.nodes[0].state.is_ready = true;
	co.nodes[0].state.has_volumes = co.nodes[0].state.has_volume = false;
	assert_let_in(&co);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", FENCES), 0);
	end(&co);
}

/* It was fenced for a volume of another pool. */
TEST(the_record_is_found_in_whichever_pool)
{
	int64_t other;
	struct co co;

	begin(&co);
	other = fake_ceph_add_pool(FAKE_CEPH_MONITORS, "ssd");
	lose(&co);
	fake_ceph_omap_set(other, "", FENCES, record_of(&co, BOOT_1), MACHINE_1 " x");
	fake_ceph_omap_rm(POOL, "", FENCES, record_of(&co, BOOT_1));
	fake_ceph_omap_set(other, "", FENCES, "of another program", "x");
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "node 'n1' was lost");
	co.nodes[0].state.is_out_of_service = false;
	co.nodes[0].state.is_ready = true;
	(void)snprintf(co.nodes[0].state.boot_id, UUID_TEXT_MAX, BOOT_2);
	assert_let_in(&co);
	ASSERT_EQ(fake_ceph_omap_count(other, "", FENCES), 1);
	end(&co);
}

/* What earlier versions wrote says nothing of the volume, or of the machine. */
TEST(an_earlier_versions_record_is_read)
{
	static const char *const records[][2] = { { IP "/n1", BOOT_1 },
						  { RECORD_OF_ANY, MACHINE_1 " x" } };

	for (size_t i = 0; i < ARRAY_LEN(records); i++) {
		struct co co;

		begin(&co);
		lose(&co);
		fake_ceph_omap_rm(POOL, "", FENCES, record_of(&co, BOOT_1));
		fake_ceph_omap_set(POOL, "", FENCES, records[i][0], records[i][1]);
		is_ready_again(&co);
		co.nodes[0].state.has_volume = false;
		fake_ceph_allow_lifting();
		ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "node 'n1' was lost");
		co.nodes[0].state.has_volumes = false;
		assert_let_in(&co);
		end(&co);
	}
}

/* The one that forbids it is behind more than are read at a time. */
TEST(records_are_read_to_their_end)
{
	enum { MANY = 1100 };
	struct co co;

	begin(&co);
	lose(&co);
	fake_ceph_omap_rm(POOL, "", FENCES, record_of(&co, BOOT_1));
	for (int i = 0; i < MANY; i++) {
		char key[64];

		(void)snprintf(key, sizeof(key), "10.1.%d.%d/n/-", i / 250, i % 250 + 1);
		fake_ceph_omap_set(POOL, "", FENCES, key, "- x");
	}
	fake_ceph_omap_set(POOL, "", FENCES, record_of(&co, BOOT_1), MACHINE_1 " x");
	co.nodes[0].state.is_out_of_service = false;
	fake_ceph_allow_lifting();
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "node 'n1' was lost");
	co.nodes[0].state.is_ready = true;
	co.nodes[0].state.has_volumes = co.nodes[0].state.has_volume = false;
	ASSERT_OK(publish(&co), &co.w.err);
	ASSERT_FALSE(fake_ceph_is_blocked(IP));
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", FENCES), MANY);
	end(&co);
}

/* It may have a record, of a machine that shares the address. */
TEST(a_pool_that_may_not_be_read_keeps_the_fence)
{
	bool was_refused = false;

	for (unsigned i = 1; i < 20; i++) {
		struct co co;

		begin(&co);
		(void)fake_ceph_add_pool(FAKE_CEPH_MONITORS, "ssd");
		lose(&co);
		co.nodes[0].state.is_out_of_service = false;
		co.nodes[0].state.is_ready = true;
		co.nodes[0].state.has_volumes = co.nodes[0].state.has_volume = false;
		fake_ceph_allow_lifting();
		fake_ceph_fail_at(i, EPERM);
		if (publish(&co) < 0) {
			ASSERT_TRUE(fake_ceph_is_blocked(IP) || !fake_ceph_trouble_came() ||
				    fake_ceph_omap_count(POOL, "", FENCES) > 0);
			was_refused |=
				strstr(co.w.err.msg, "pool 'ssd', which may say why") != NULL;
		}
		fake_ceph_fail_at(0, 0);
		end(&co);
	}
	ASSERT_TRUE(was_refused);
}

/* While it is looked after, another volume is detached from a node that shares the address. */
static int lose_meanwhile(void *arg, struct ctx *ctx, const char *node_id, const char *volume_id,
			  struct backend_node *ret_node, struct err *err)
{
	struct co *co = arg;

	if (str_is_equal(node_id, "n1")) {
		fake_ceph_omap_set(POOL, "", FENCES, record_of(co, BOOT_1), MACHINE_1 " anew");
		fake_ceph_omap_set(POOL, "", FENCES, IP "/n3/" BOOT_2, MACHINE_2 " x");
	}
	return look(co, ctx, node_id, volume_id, ret_node, err);
}

TEST(a_fence_that_comes_meanwhile_stays)
{
	struct co co;

	begin(&co);
	lose(&co);
	co.nodes[0].state.is_out_of_service = false;
	co.nodes[0].state.is_ready = true;
	co.nodes[1] = co.nodes[0];
	co.nodes[1].id = "n2";
	co.nodes[0].state.has_volumes = co.nodes[0].state.has_volume = false;
	co.use.node_id = "n2";
	co.door.look = lose_meanwhile;
	fake_ceph_allow_lifting();
	ASSERT_ERR(publish(&co), &co.w.err, ERR_ABORTED, "fenced anew");
	ASSERT_TRUE(fake_ceph_is_blocked(IP));
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", FENCES), 2);
	end(&co);
}

TEST(a_letting_in_that_fails_is_done_by_the_next)
{
	for (enum trouble t = FAILS; t < TROUBLES; t++) {
		for (unsigned i = 1; i < N_CALLS_MAX; i++) {
			struct co co;
			bool came;

			begin(&co);
			lose(&co);
			co.nodes[0].state.is_out_of_service = false;
			co.nodes[0].state.is_ready = true;
			co.nodes[0].state.has_volumes = co.nodes[0].state.has_volume = false;
			world_stop(&co.w);
			world_start(&co.w);
			fake_ceph_allow_lifting();
			ask_trouble(t, i);
			(void)publish(&co);
			came = fake_ceph_trouble_came();
			world_kill(&co.w);
			assert_let_in(&co);
			end(&co);
			if (!came) {
				ASSERT_TRUE(i > 5);
				break;
			}
		}
	}
}

RUN_TESTS(UNIT(a_node_is_let_in_when_it_is_back),
	  UNIT(a_volume_that_waits_for_its_node_does_not_keep_that_out),
	  UNIT(a_node_is_let_in_when_it_has_none_of_what_it_was_shut_out_for),
	  UNIT(what_ran_after_the_staging_is_fenced_too),
	  UNIT(a_user_who_may_not_lift_is_told_of_it), UNIT(who_was_never_fenced_is_not_held_up),
	  UNIT(an_address_that_has_a_new_owner_is_let_in_by_hand),
	  UNIT(a_machine_with_a_new_name_is_let_in), UNIT(who_shares_an_address_shares_the_fence),
	  UNIT(the_record_is_found_in_whichever_pool), UNIT(an_earlier_versions_record_is_read),
	  UNIT(records_are_read_to_their_end), UNIT(a_pool_that_may_not_be_read_keeps_the_fence),
	  UNIT(a_fence_that_comes_meanwhile_stays),
	  UNIT(a_letting_in_that_fails_is_done_by_the_next))
