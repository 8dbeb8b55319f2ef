/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that are lost are shut out of the cluster. */
#include "rbd_nodes.h"

/* Of a node that is gone the client alone, whose IP may be another's. */
static void assert_client_fenced(const struct co *co)
{
	ASSERT_TRUE(fake_ceph_has_blocked(CLIENT));
	assert_fenced(co, false);
	ASSERT_STR(client_of(co), "");
}

/* By whoever. */
static void set_note(struct co *co, const char *text)
{
	struct image_entry e;
	struct image image;

	ASSERT_OK(image_entry_open(co->w.b, &co->w.ctx, co->vol.token, CEPH_JOURNAL_VOLUMES,
				   &secrets, &e, &co->w.err),
		  &co->w.err);
	ASSERT_OK(image_open(&e.place, co->image, &image, &co->w.err), &co->w.err);
	ASSERT_OK(image_set_words(&image, &(struct image_word){ IMAGE_CLIENT_WORD, text }, 1,
				  &co->w.err),
		  &co->w.err);
	image_close(&image);
	image_place_close(&e.place);
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
	assert_client_fenced(&co);
	ASSERT_OK(unpublish(&co), &co.w.err);
	end(&co);
}

/* Who mapped it once more is known by his watch. */
TEST(of_a_node_that_is_gone_all_that_is_seen_is_fenced)
{
	struct co co;

	begin(&co);
	stage(&co, "n1");
	fake_ceph_set_watched(POOL, "", co.image, IP ":0/78");
	co.nodes[0].id = "";
	ASSERT_OK(unpublish(&co), &co.w.err);
	assert_client_fenced(&co);
	ASSERT_TRUE(fake_ceph_has_blocked(IP ":0/78"));
	ASSERT_EQ(fake_ceph_n_watchers(POOL, "", co.image), 0);
	end(&co);
}

/* Nothing tells whose client has it: so it is said how to go on, and not done. */
TEST(who_is_gone_and_cannot_be_fenced_is_not_detached)
{
	for (int by_lock = 0; by_lock < 2; by_lock++) {
		struct co co;

		begin(&co);
		if (by_lock)
			fake_ceph_set_locked(POOL, "", co.image, CLIENT);
		else
			fake_ceph_set_watched(POOL, "", co.image, CLIENT);
		co.nodes[0].id = "";
		ASSERT_ERR(unpublish(&co), &co.w.err, ERR_FAILED_PRECONDITION,
			   "osd blocklist add " CLIENT);
		fake_ceph_block(CLIENT);
		ASSERT_OK(unpublish(&co), &co.w.err);
		end(&co);
	}
}

/* As kubelet says, and the image does not. */
TEST(a_node_that_has_it_silently_is_fenced_by_its_addresses)
{
	static const char *const no_address[] = { "worker.example" };
	struct co co;

	begin(&co);
	co.nodes[0].state.is_out_of_service = true;
	co.nodes[0].state.addresses = no_address;
	co.nodes[0].state.n_addresses = 1;
	ASSERT_ERR(unpublish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "delete the Node");
	co.nodes[0].state.addresses = addresses;
	co.nodes[0].state.n_addresses = ARRAY_LEN(addresses);
	ASSERT_OK(unpublish(&co), &co.w.err);
	assert_fenced(&co, true);
	end(&co);
}

/* A later version's, or a hand's. */
TEST(a_note_that_is_not_understood_is_no_sign_of_nobody)
{
	struct co co;

	begin(&co);
	set_note(&co, "n1 " CLIENT " " BOOT_1 " and more");
	for (int is_gone = 0; is_gone < 2; is_gone++) {
		co.nodes[0].state.is_out_of_service = true;
		co.nodes[0].id = is_gone ? "" : "n1";
		ASSERT_ERR(unpublish(&co), &co.w.err, ERR_FAILED_PRECONDITION,
			   "rbd image-meta remove");
		assert_fenced(&co, false);
	}
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

/* As of an image whose parent is being flattened, whichever look it is: it is not gone. What is
 * believed are the pool, the journal's entry and the note. */
TEST(a_look_that_finds_a_part_missing_finds_not_nobody)
{
	unsigned n_failed = 0, n_believed = 0;
	bool came = true;

	for (unsigned i = 1; came; i++) {
		struct co co;
		bool is_done;

		begin(&co);
		stage(&co, "n1");
		co.nodes[0].id = "";
		fake_ceph_fail_at(i, ENOENT);
		is_done = unpublish(&co) == 0;
		came = fake_ceph_trouble_came();
		fake_ceph_fail_at(0, 0);
		n_believed += is_done && !fake_ceph_has_blocked(CLIENT);
		n_failed += !is_done;
		end(&co);
	}
	ASSERT_EQ(n_believed, 3);
	ASSERT_TRUE(n_failed >= 4);
}

/* Clones have their source's metadata. */
TEST(a_copy_is_nobodys)
{
	struct backend_snapshot snap;
	struct backend_volume copies[2];
	struct co co;

	begin(&co);
	stage(&co, "n1");
	ASSERT_OK(cut(&co.w, "snap", co.vol.token, &snap), &co.w.err);
	ASSERT_OK(make(&co.w, "restored", BACKEND_SOURCE_SNAPSHOT, snap.token, &copies[0]),
		  &co.w.err);
	ASSERT_OK(make(&co.w, "clone", BACKEND_SOURCE_VOLUME, co.vol.token, &copies[1]), &co.w.err);
	for (size_t i = 0; i < ARRAY_LEN(copies); i++) {
		const char *image = image_name(&co.w, "csi-vol-", copies[i].token);

		ASSERT_STR(str_or(fake_ceph_image_meta(POOL, "", image, IMAGE_CLIENT_WORD), ""),
			   "");
		ASSERT_OK(drop_volume(&co.w, copies[i].token), &co.w.err);
	}
	ASSERT_STR(client_of(&co), "n1 " CLIENT " " BOOT_1);
	ASSERT_OK(drop_snapshot(&co.w, snap.token), &co.w.err);
	end(&co);
}

/* Somebody has staged it elsewhere since it was looked at. */
TEST(a_note_of_another_is_not_forgotten)
{
	static const struct ceph_client before = { "n1", IP ":0/1", BOOT_1 };
	struct image_users users;
	struct image_entry e;
	struct co co;

	begin(&co);
	stage(&co, "n1");
	ASSERT_OK(image_entry_open(co.w.b, &co.w.ctx, co.vol.token, CEPH_JOURNAL_VOLUMES, &secrets,
				   &e, &co.w.err),
		  &co.w.err);
	ASSERT_OK(image_users_look(&e.place, co.image, &users, &co.w.err), &co.w.err);
	ASSERT_OK(image_client_forget(&e.place, users.id, &before, &co.w.err), &co.w.err);
	ASSERT_STR(client_of(&co), "n1 " CLIENT " " BOOT_1);
	image_place_close(&e.place);
	end(&co);
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
				ASSERT_TRUE(str_has_prefix(omap(FENCES, record_of(&co, BOOT_1)),
							   MACHINE_1));
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

/* In the cluster where it is, by the handle that the CO knows; if its image was mirrored and the
 * journal was not as well. */
static void fence_at_the_other_site(bool has_entry)
{
	struct ceph_handle handle;
	struct co co;

	begin(&co);
	world_map(&co.w, "[{\"clusterIDMapping\":{\"site1\":\"c1\"},\"RBDPoolIDMapping\":[{\"7\":"
			 "\"1\"}]}]");
	stage(&co, "n1");
	fake_ceph_set_watched(POOL, "", co.image, CLIENT);
	ASSERT_OK(ceph_handle_parse(co.vol.token, &handle, &co.w.err), &co.w.err);
	(void)snprintf(handle.cluster, sizeof(handle.cluster), "site1");
	handle.pool_id = 7;
	ceph_handle_format(&handle, co.vol.token);
	co.nodes[0].state.is_out_of_service = true;
	co.nodes[0].state.is_ready = false;
	if (!has_entry)
		fake_ceph_remove_object(POOL, "", image_name(&co.w, "csi.volume.", co.vol.token));
	ASSERT_OK(unpublish(&co), &co.w.err);
	assert_fenced(&co, true);
	fake_ceph_set_watched(POOL, "", co.image, NULL);
	ASSERT_ERR(publish(&co), &co.w.err, ERR_FAILED_PRECONDITION, "is fenced");
	if (!has_entry)
		fake_ceph_omap_set(POOL, "", image_name(&co.w, "csi.volume.", co.vol.token),
				   "csi.imagename", co.image);
	end(&co);
}

TEST(a_node_with_a_volume_of_the_other_site_is_fenced)
{
	fence_at_the_other_site(true);
	fence_at_the_other_site(false);
}

RUN_TESTS(UNIT(a_node_out_of_service_is_fenced_by_its_address),
	  UNIT(a_node_that_is_gone_is_fenced_by_what_the_image_says),
	  UNIT(of_a_node_that_is_gone_all_that_is_seen_is_fenced),
	  UNIT(who_is_gone_and_cannot_be_fenced_is_not_detached),
	  UNIT(a_node_that_has_it_silently_is_fenced_by_its_addresses),
	  UNIT(a_note_that_is_not_understood_is_no_sign_of_nobody),
	  UNIT(who_staged_before_there_were_notes_is_known_by_watch_or_lock),
	  UNIT(without_the_taint_nobody_is_fenced), UNIT(where_it_is_not_in_use_nobody_is_fenced),
	  UNIT(an_unstaging_is_the_end_of_the_note), UNIT(what_is_not_there_has_no_node),
	  UNIT(what_is_not_known_is_an_error_or_said), UNIT(who_has_our_own_address_is_not_fenced),
	  UNIT(a_look_that_finds_a_part_missing_finds_not_nobody),
	  UNIT(a_note_of_another_is_not_forgotten), UNIT(a_copy_is_nobodys),
	  UNIT(a_fencing_that_fails_is_done_by_the_next),
	  UNIT(a_node_with_a_volume_of_the_other_site_is_fenced))
