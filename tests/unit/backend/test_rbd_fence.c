/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that are lost are shut out of the cluster, and let in again: over a cluster in memory, with
 * a CO whose nodes are a table.
 */
#include "rbd_world.h"

#include <errno.h>

#include "backend/rbd/fence.h"

#define BOOT_1 "1f6f5e0c-77d6-4b2c-a2b9-3f1f6b0e9f11"
#define BOOT_2 "2f6f5e0c-77d6-4b2c-a2b9-3f1f6b0e9f22"
#define IP "10.98.0.11"
#define CLIENT IP ":0/77"
#define FENCES "cleat.fences"
#define N_CALLS_MAX 100

struct co_node {
	const char *id;
	struct backend_node state;
};

struct co {
	struct world w;
	struct co_node nodes[3];
	bool is_away;
	struct backend_nodes door;
	struct backend_use use;
	struct backend_volume vol;
	char image[64];
};

static const char *const addresses[] = { "worker.example", IP };

static int look(void *arg, struct ctx *ctx, const char *node_id, const char *volume_id,
		struct backend_node *ret_node, struct err *err)
{
	struct co *co = arg;

	if (co->is_away)
		return err_set(err, ERR_UNAVAILABLE, "the API server does not answer");
	ASSERT_STR(volume_id, co->vol.token);
	*ret_node = (struct backend_node){ .is_gone = true };
	for (size_t i = 0; i < ARRAY_LEN(co->nodes); i++) {
		if (str_is_equal(co->nodes[i].id, node_id))
			*ret_node = co->nodes[i].state;
	}
	return 0;
}

/* "n1" has the volume, and ran since BOOT_1. */
static void begin(struct co *co)
{
	*co = (struct co){ .is_away = false };
	world_begin(&co->w);
	co->nodes[0] = (struct co_node){ "n1",
					 { .is_ready = true,
					   .has_volume = true,
					   .has_volumes = true,
					   .boot_id = BOOT_1,
					   .addresses = addresses,
					   .n_addresses = ARRAY_LEN(addresses) } };
	co->door = (struct backend_nodes){ look, co };
	co->use = (struct backend_use){ "n1", &co->door, &secrets };
	ASSERT_OK(make(&co->w, "pv-1", BACKEND_SOURCE_NONE, NULL, &co->vol), &co->w.err);
	(void)snprintf(co->image, sizeof(co->image), "%s",
		       image_name(&co->w, "csi-vol-", co->vol.token));
}

static void end(struct co *co)
{
	fake_ceph_set_watched(POOL, "", co->image, NULL);
	ASSERT_OK(drop_volume(&co->w, co->vol.token), &co->w.err);
	world_end(&co->w);
}

/* As NodeStageVolume on a node leaves it. */
static void stage(struct co *co, const char *node)
{
	struct ceph_client client = { .address = CLIENT, .boot_id = BOOT_1 };
	struct image_entry e;
	struct image_users users;

	(void)snprintf(client.node, sizeof(client.node), "%s", node);
	ASSERT_OK(image_entry_open(co->w.b, &co->w.ctx, co->vol.token, CEPH_JOURNAL_VOLUMES,
				   &secrets, &e, &co->w.err),
		  &co->w.err);
	ASSERT_OK(image_users_look(&e.place, co->image, &users, &co->w.err), &co->w.err);
	ASSERT_OK(image_client_set(&e.place, users.id, &client, &co->w.err), &co->w.err);
	image_place_close(&e.place);
}

static int publish(struct co *co)
{
	return backend_publish(co->w.b, &co->w.ctx, co->vol.token, &co->use, &co->w.err);
}

static int unpublish(struct co *co)
{
	return backend_unpublish(co->w.b, &co->w.ctx, co->vol.token, &co->use, &co->w.err);
}

static const char *client_of(const struct co *co)
{
	return str_or(fake_ceph_image_meta(POOL, "", co->image, IMAGE_CLIENT_WORD), "");
}

/* Fenced as n1, with the record of it, or not at all. */
static void assert_fenced(const struct co *co, bool is_fenced)
{
	ASSERT_EQ(fake_ceph_is_blocked(IP), is_fenced);
	ASSERT_STR(omap(FENCES, IP "/n1"), is_fenced ? BOOT_1 : "(absent)");
	if (is_fenced)
		ASSERT_STR(client_of(co), "");
}

TEST(a_node_out_of_service_is_fenced_by_its_address)
{
	struct co co;

	begin(&co);
	stage(&co, "n1");
	fake_ceph_set_watched(POOL, "", co.image, CLIENT);
	co.nodes[0].state.is_out_of_service = true;
	co.nodes[0].state.is_ready = false;
	ASSERT_OK(unpublish(&co), &co.w.err);
	assert_fenced(&co, true);
	ASSERT_EQ(fake_ceph_n_watchers(POOL, "", co.image), 0);
	ASSERT_OK(unpublish(&co), &co.w.err);
	assert_fenced(&co, true);
	end(&co);
}

/* The watch went long ago, and there is no lock: nothing but the metadata tell of it. */
TEST(a_node_that_is_gone_is_fenced_by_what_the_image_says)
{
	struct co co;

	begin(&co);
	stage(&co, "n1");
	co.nodes[0].id = "";
	ASSERT_OK(unpublish(&co), &co.w.err);
	assert_fenced(&co, true);
	end(&co);
}

TEST(who_staged_before_there_were_notes_is_known_by_watch_or_lock)
{
	for (int by_lock = 0; by_lock < 2; by_lock++) {
		struct co co;

		begin(&co);
		if (by_lock)
			fake_ceph_set_locked(POOL, "", co.image, CLIENT);
		else
			fake_ceph_set_watched(POOL, "", co.image, CLIENT);
		co.nodes[0].state.is_out_of_service = true;
		ASSERT_OK(unpublish(&co), &co.w.err);
		assert_fenced(&co, true);
		end(&co);
	}
}

/* A detach that was forced, after the CO waited in vain for the node. */
TEST(without_the_taint_nobody_is_fenced)
{
	struct co co;

	begin(&co);
	stage(&co, "n1");
	fake_ceph_set_watched(POOL, "", co.image, CLIENT);
	co.nodes[0].state.is_ready = false;
	ASSERT_OK(unpublish(&co), &co.w.err);
	assert_fenced(&co, false);
	ASSERT_STR(client_of(&co), "n1 " CLIENT " " BOOT_1);
	end(&co);
}

TEST(where_it_is_not_in_use_nobody_is_fenced)
{
	struct co co;

	begin(&co);
	/* an unstaging came between, as kubelet has said */
	stage(&co, "n1");
	co.nodes[0].state.has_volume = false;
	co.nodes[0].state.is_out_of_service = true;
	ASSERT_OK(unpublish(&co), &co.w.err);
	assert_fenced(&co, false);
	ASSERT_STR(client_of(&co), "");
	/* another node has it, by the note and by the watch */
	stage(&co, "n2");
	fake_ceph_set_watched(POOL, "", co.image, OTHER);
	ASSERT_OK(unpublish(&co), &co.w.err);
	assert_fenced(&co, false);
	ASSERT_FALSE(fake_ceph_is_blocked("10.0.0.9"));
	ASSERT_STR(client_of(&co), "n2 " CLIENT " " BOOT_1);
	end(&co);
}

TEST(an_unstaging_is_the_end_of_the_note)
{
	struct co co;

	begin(&co);
	stage(&co, "n1");
	co.nodes[0].state.has_volume = false;
	ASSERT_OK(unpublish(&co), &co.w.err);
	ASSERT_STR(client_of(&co), "");
	/* which is no reason to keep the volume attached, where it cannot be told */
	stage(&co, "n1");
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_OK(unpublish(&co), &co.w.err);
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	end(&co);
}

TEST(what_is_not_there_has_no_node)
{
	struct co co;

	begin(&co);
	stage(&co, "n1");
	co.nodes[0].id = "";
	ASSERT_OK(drop_volume(&co.w, co.vol.token), &co.w.err);
	ASSERT_OK(unpublish(&co), &co.w.err);
	ASSERT_FALSE(fake_ceph_is_blocked(IP));
	world_end(&co.w);
}

TEST(what_is_not_known_is_an_error_or_said)
{
	struct co co;

	begin(&co);
	stage(&co, "n1");
	co.nodes[0].state.is_out_of_service = true;
	co.is_away = true;
	ASSERT_ERR(unpublish(&co), &co.w.err, ERR_UNAVAILABLE, "API server");
	ASSERT_ERR(publish(&co), &co.w.err, ERR_UNAVAILABLE, "API server");
	co.is_away = false;
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(unpublish(&co), &co.w.err, ERR_UNAVAILABLE, "in time");
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	/* without secrets it cannot be fenced, and goes all the same: staging looks at the watch */
	co.use.secrets = NULL;
	ASSERT_OK(unpublish(&co), &co.w.err);
	ASSERT_OK(publish(&co), &co.w.err);
	assert_fenced(&co, false);
	end(&co);
}

TEST(who_has_our_own_address_is_not_fenced)
{
	struct co co;

	begin(&co);
	world_stop(&co.w);
	fake_ceph_set_host(IP);
	world_start(&co.w);
	stage(&co, "n1");
	co.nodes[0].state.is_out_of_service = true;
	ASSERT_ERR(unpublish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "another node");
	ASSERT_FALSE(fake_ceph_is_blocked(IP));
	end(&co);
}

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
		const char *boot_id;
		bool is_back;
	} cases[] = {
		{ true, true, false, BOOT_2, false }, { false, false, false, BOOT_2, false },
		{ false, true, true, BOOT_1, false }, { false, true, true, "", false },
		{ false, true, true, BOOT_2, true },  { false, true, false, BOOT_1, true },
		{ false, true, false, "", true },
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

/* By hand it is done as well, which the next call sees. */
TEST(a_user_who_may_not_lift_is_told_of_it)
{
	struct co co;

	begin(&co);
	lose(&co);
	co.nodes[0].state.is_out_of_service = false;
	co.nodes[0].state.is_ready = true;
	co.nodes[0].state.has_volumes = false;
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

/* The address of a node that is gone is another's by now, who is himself then. */
TEST(an_address_that_has_a_new_owner_is_let_in)
{
	struct co co;

	begin(&co);
	lose(&co);
	co.nodes[1] = co.nodes[0];
	co.nodes[1].id = "n2";
	co.nodes[1].state.is_out_of_service = false;
	co.nodes[1].state.is_ready = true;
	(void)snprintf(co.nodes[1].state.boot_id, UUID_TEXT_MAX, BOOT_2);
	co.use.node_id = "n2";
	/* n1 is there yet: who comes from its address may be it */
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "node 'n1' was lost");
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
	co.nodes[0].state.has_volumes = false;
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
	fake_ceph_omap_rm(POOL, "", FENCES, IP "/n1");
	fake_ceph_omap_set(other, "", FENCES, IP "/n1", BOOT_1);
	fake_ceph_omap_set(other, "", FENCES, "of another program", "x");
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "node 'n1' was lost");
	co.nodes[0].state.is_out_of_service = false;
	co.nodes[0].state.is_ready = true;
	(void)snprintf(co.nodes[0].state.boot_id, UUID_TEXT_MAX, BOOT_2);
	assert_let_in(&co);
	ASSERT_EQ(fake_ceph_omap_count(other, "", FENCES), 1);
	end(&co);
}

enum trouble { FAILS, LOSES, DIES, TROUBLES };

static void ask_trouble(enum trouble trouble, unsigned n)
{
	switch (trouble) {
	case FAILS:
		fake_ceph_fail_at(n, EIO);
		break;
	case LOSES:
		fake_ceph_lose_at(n);
		break;
	default:
		fake_ceph_kill_at(n);
	}
}

/* Whichever call fails: what is fenced has its record, and the same again ends it. */
TEST(a_fencing_that_fails_is_done_by_the_next)
{
	for (enum trouble t = FAILS; t < TROUBLES; t++) {
		for (unsigned i = 1; i < N_CALLS_MAX; i++) {
			struct co co;
			bool came;

			begin(&co);
			stage(&co, "n1");
			fake_ceph_set_watched(POOL, "", co.image, CLIENT);
			co.nodes[0].state.is_out_of_service = true;
			world_stop(&co.w); /* so that connecting is among the calls */
			world_start(&co.w);
			ask_trouble(t, i);
			(void)unpublish(&co); /* or it is done */
			came = fake_ceph_trouble_came();
			if (fake_ceph_is_blocked(IP))
				ASSERT_STR(omap(FENCES, IP "/n1"), BOOT_1);
			world_kill(&co.w);
			ASSERT_OK(unpublish(&co), &co.w.err);
			assert_fenced(&co, true);
			end(&co);
			if (!came) {
				ASSERT_TRUE(i > 6);
				break;
			}
		}
	}
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
			co.nodes[0].state.has_volumes = false;
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

RUN_TESTS(UNIT(a_node_out_of_service_is_fenced_by_its_address),
	  UNIT(a_node_that_is_gone_is_fenced_by_what_the_image_says),
	  UNIT(who_staged_before_there_were_notes_is_known_by_watch_or_lock),
	  UNIT(without_the_taint_nobody_is_fenced), UNIT(where_it_is_not_in_use_nobody_is_fenced),
	  UNIT(an_unstaging_is_the_end_of_the_note), UNIT(what_is_not_there_has_no_node),
	  UNIT(what_is_not_known_is_an_error_or_said), UNIT(who_has_our_own_address_is_not_fenced),
	  UNIT(a_node_is_let_in_when_it_is_back), UNIT(a_user_who_may_not_lift_is_told_of_it),
	  UNIT(who_was_never_fenced_is_not_held_up),
	  UNIT(an_address_that_has_a_new_owner_is_let_in),
	  UNIT(who_shares_an_address_shares_the_fence), UNIT(the_record_is_found_in_whichever_pool),
	  UNIT(a_fencing_that_fails_is_done_by_the_next),
	  UNIT(a_letting_in_that_fails_is_done_by_the_next))
