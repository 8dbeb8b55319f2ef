/* SPDX-License-Identifier: Apache-2.0 */
/* Formatting and opening of encrypted images, over a cluster in memory and a libcryptsetup of
 * tests. */
#include "backend/rbd/luks.h"
#include "rbd_world.h"

#include <errno.h>

#define IMAGE "csi-vol-1"
#define WORDS "open sesame"

struct scene {
	const struct ceph_lib *lib;
	rados_t cluster;
	rados_ioctx_t io;
	struct err err;
};

static void connect_to(struct scene *s)
{
	s->lib = fake_ceph_lib();
	ASSERT_EQ(s->lib->rados_create2(&s->cluster, "ceph", "client." FAKE_CEPH_USER, 0), 0);
	ASSERT_EQ(s->lib->rados_conf_set(s->cluster, "mon_host", FAKE_CEPH_MONITORS), 0);
	ASSERT_EQ(s->lib->rados_conf_set(s->cluster, "key", FAKE_CEPH_KEY), 0);
	ASSERT_EQ(s->lib->rados_connect(s->cluster), 0);
	ASSERT_EQ(s->lib->rados_ioctx_create(s->cluster, "rbd", &s->io), 0);
}

static void disconnect(struct scene *s)
{
	s->lib->rados_ioctx_destroy(s->io);
	s->lib->rados_shutdown(s->cluster);
}

static void begin(struct scene *s, uint64_t bytes, const char *state)
{
	rbd_image_options_t options;

	fake_ceph_reset();
	connect_to(s);
	s->lib->rbd_image_options_create(&options);
	ASSERT_EQ(s->lib->rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, 1), 0);
	ASSERT_EQ(s->lib->rbd_create4(s->io, IMAGE, bytes, options), 0);
	s->lib->rbd_image_options_destroy(options);
	fake_ceph_set_image_meta(POOL, "", IMAGE, LUKS_STATE_WORD, state);
}

static void end(struct scene *s)
{
	disconnect(s);
	ASSERT_EQ(fake_ceph_n_handles(), 0);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
}

static int format(struct scene *s, const char *passphrase)
{
	return luks_format(s->lib, s->io, IMAGE, passphrase, &s->err);
}

static int load(struct scene *s, const char *passphrase)
{
	rbd_image_t open;
	int rc;

	ASSERT_EQ(s->lib->rbd_open(s->io, IMAGE, &open, NULL), 0);
	rc = luks_load(s->lib, open, IMAGE, passphrase, &s->err);
	(void)s->lib->rbd_close(open);
	return rc;
}

static const char *said(void)
{
	return str_or(fake_ceph_image_meta(POOL, "", IMAGE, LUKS_STATE_WORD), "");
}

static enum luks_state read_state(struct scene *s, int *ret_rc)
{
	enum luks_state got = LUKS_STATE_NONE;
	rbd_image_t open;

	ASSERT_EQ(s->lib->rbd_open_read_only(s->io, IMAGE, &open, NULL), 0);
	*ret_rc = luks_state_get(s->lib, open, &got);
	(void)s->lib->rbd_close(open);
	return got;
}

TEST(what_was_formatted_opens_with_its_passphrase_alone)
{
	struct scene s;

	begin(&s, 64 * MIB, LUKS_PREPARED);
	ASSERT_OK(format(&s, WORDS), &s.err);
	ASSERT_STR(said(), LUKS_ENCRYPTED);
	ASSERT_OK(load(&s, WORDS), &s.err);
	ASSERT_ERR(load(&s, "open barley"), &s.err, ERR_UNAUTHENTICATED, "encryptionPassphrase");
	ASSERT_TRUE(!strstr(s.err.msg, "barley") && !strstr(s.err.msg, "sesame"));
	end(&s);
}

static int half_overlap(rbd_image_t open, uint64_t *overlap)
{
	(void)open;
	*overlap = 32 * MIB;
	return 0;
}

TEST(a_clone_that_is_larger_than_its_parent_is_not_opened)
{
	struct ceph_lib with_parent;
	struct scene s;

	begin(&s, 64 * MIB, LUKS_PREPARED);
	ASSERT_OK(format(&s, WORDS), &s.err);
	with_parent = *s.lib;
	with_parent.rbd_get_overlap = half_overlap;
	s.lib = &with_parent;
	ASSERT_ERR(load(&s, WORDS), &s.err, ERR_FAILED_PRECONDITION, "flatten it first");
	end(&s);
}

TEST(what_is_no_luks_is_not_opened)
{
	struct scene s;

	begin(&s, 64 * MIB, LUKS_ENCRYPTED);
	ASSERT_ERR(load(&s, WORDS), &s.err, ERR_FAILED_PRECONDITION, "header of LUKS2");
	end(&s);
}

TEST(one_that_was_formatted_by_another_is_left_as_it_is)
{
	struct scene s;

	begin(&s, 64 * MIB, LUKS_PREPARED);
	ASSERT_OK(format(&s, WORDS), &s.err);
	/* killed before it said so */
	fake_ceph_set_image_meta(POOL, "", IMAGE, LUKS_STATE_WORD, LUKS_PREPARED);
	ASSERT_OK(format(&s, "another"), &s.err);
	ASSERT_STR(said(), LUKS_ENCRYPTED);
	ASSERT_OK(load(&s, WORDS), &s.err);
	end(&s);
}

TEST(data_are_never_formatted)
{
	static const uint64_t places[] = { 0,       1024,    4095,  4096,  20480, 65536,
					   MIB + 5, 8 * MIB, 12287, 32767, 32768, 16 * MIB - 8 };

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		char bytes[8] = "";
		rbd_image_t open;
		struct scene s;

		begin(&s, 64 * MIB, LUKS_PREPARED);
		fake_ceph_write(POOL, "", IMAGE, places[i], "a letter");
		ASSERT_ERR(format(&s, WORDS), &s.err, ERR_FAILED_PRECONDITION, "no LUKS");
		ASSERT_STR(said(), LUKS_PREPARED);
		ASSERT_EQ(s.lib->rbd_open(s.io, IMAGE, &open, NULL), 0);
		ASSERT_EQ(s.lib->rbd_read(open, places[i], 8, bytes), 8);
		ASSERT_EQ(memcmp(bytes, "a letter", 8), 0);
		(void)s.lib->rbd_close(open);
		end(&s);
	}
}

TEST(an_image_without_room_for_a_header_is_refused)
{
	struct scene s;

	begin(&s, 8 * MIB, LUKS_PREPARED);
	ASSERT_TRUE(format(&s, WORDS) < 0);
	ASSERT_STR(said(), LUKS_PREPARED);
	end(&s);
}

enum trouble { FAILS, IS_LOST, DIES, DIES_WITHIN, TROUBLES };

static void begin_trouble(enum trouble trouble, unsigned n)
{
	if (trouble == FAILS)
		fake_ceph_fail_at(n, EIO);
	else if (trouble == IS_LOST)
		fake_ceph_lose_at(n);
	else if (trouble == DIES)
		fake_ceph_kill_at(n);
	else
		fake_ceph_kill_within(n);
}

/* Whatever came between, the next one ends it: with its own passphrase as long as the first had not
 * put the beginning in its place, and else with that. Nothing in between opens with neither. */
static bool run_with_trouble(enum trouble trouble, unsigned n, unsigned *n_first)
{
	struct scene s;
	bool came;

	begin(&s, 64 * MIB, LUKS_PREPARED);
	begin_trouble(trouble, n);
	(void)format(&s, "the first");
	came = fake_ceph_trouble_came();
	fake_ceph_fail_at(0, 0);
	if (trouble >= DIES) {
		fake_ceph_kill();
		disconnect(&s);
		connect_to(&s);
	}
	if (str_is_equal(said(), LUKS_ENCRYPTED))
		ASSERT_OK(load(&s, "the first"), &s.err);
	else
		ASSERT_OK(format(&s, "the second"), &s.err);
	ASSERT_STR(said(), LUKS_ENCRYPTED);
	if (load(&s, "the first") == 0)
		(*n_first)++;
	else
		ASSERT_OK(load(&s, "the second"), &s.err);
	end(&s);
	return came;
}

TEST(trouble_at_any_call_is_made_good_by_the_next)
{
	for (enum trouble trouble = 0; trouble < TROUBLES; trouble++) {
		unsigned n = 1, n_first = 0;

		while (run_with_trouble(trouble, n, &n_first))
			n++;
		ASSERT_TRUE(n > 20); /* 16 reads, 4 writes and flushes */
		ASSERT_TRUE(n_first >= 2 && n_first < 8);
	}
}

TEST(states_are_those_of_ceph_csi)
{
	static const struct {
		const char *word;
		int rc;
		enum luks_state state;
	} cases[] = {
		{ NULL, 0, LUKS_STATE_NONE },
		{ "encrypted", 0, LUKS_STATE_ENCRYPTED },
		{ "encryptionPrepared", 0, LUKS_STATE_PREPARED },
		{ "encrypted\n", 0, LUKS_STATE_ENCRYPTED },
		{ "requiresEncryption", LUKS_STATE_UNKNOWN, LUKS_STATE_NONE },
		{ "Encrypted", LUKS_STATE_UNKNOWN, LUKS_STATE_NONE },
		{ "a word that is longer than any that there is and could be one of these some day",
		  LUKS_STATE_UNKNOWN, LUKS_STATE_NONE },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct scene s;
		int rc;

		begin(&s, 64 * MIB, cases[i].word);
		ASSERT_EQ(read_state(&s, &rc), cases[i].state);
		ASSERT_EQ(rc, cases[i].rc);
		end(&s);
	}
}

TEST(a_library_that_is_missing_is_named)
{
	struct ceph_lib without;
	struct scene s;

	begin(&s, 64 * MIB, LUKS_PREPARED);
	without = *s.lib;
	without.crypt_init = NULL;
	s.lib = &without;
	ASSERT_ERR(format(&s, WORDS), &s.err, ERR_FAILED_PRECONDITION, "libcryptsetup12");
	ASSERT_STR(said(), LUKS_PREPARED);
	end(&s);
}

RUN_TESTS(UNIT(what_was_formatted_opens_with_its_passphrase_alone),
	  UNIT(a_clone_that_is_larger_than_its_parent_is_not_opened),
	  UNIT(what_is_no_luks_is_not_opened),
	  UNIT(one_that_was_formatted_by_another_is_left_as_it_is), UNIT(data_are_never_formatted),
	  UNIT(an_image_without_room_for_a_header_is_refused),
	  UNIT(trouble_at_any_call_is_made_good_by_the_next), UNIT(states_are_those_of_ceph_csi),
	  UNIT(a_library_that_is_missing_is_named))
