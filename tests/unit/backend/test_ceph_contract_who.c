/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of clients: their addresses, what the metadata of images say of them, and who is on
 * the blocklist. */
#include "backend/ceph/blocklist.h"
#include "backend/rbd/fence.h"

#include "ceph_contract.h"

#include <poll.h>

#define SOMEBODY "198.51.100.7" /* of no network (RFC 5737) */
#define AGAIN_MS 200
#define TICKS_MAX 100

static int tell_monitors(const char *command)
{
	char *out = NULL, *status = NULL;
	size_t n_out = 0, n_status = 0;
	int rc = lib->rados_mon_command(ceph_conn_rados(conn), &command, 1, "", 0, &out, &n_out,
					&status, &n_status);

	lib->rados_buffer_free(out);
	lib->rados_buffer_free(status);
	return rc;
}

TEST(a_connection_knows_its_address)
{
	char *addresses = NULL;
	char ip[CEPH_IP_MAX];

	begin();
	ASSERT_EQ(lib->rados_getaddrs(ceph_conn_rados(conn), &addresses), 0);
	ASSERT_EQ(ceph_address_ip(addresses, ip), 0);
	lib->rados_buffer_free(addresses);
	end();
}

TEST(pools_are_listed_as_far_as_there_is_room)
{
	char names[4096] = "";
	bool is_there = false;
	int n;

	begin();
	n = lib->rados_pool_list(ceph_conn_rados(conn), names, sizeof(names));
	ASSERT_TRUE(n > (int)strlen("rbd") && n < (int)sizeof(names));
	for (const char *name = names; *name; name += strlen(name) + 1)
		is_there |= str_is_equal(name, "rbd");
	ASSERT_TRUE(is_there);
	ASSERT_EQ(lib->rados_pool_list(ceph_conn_rados(conn), names, 2), n);
	end();
}

/* One that no other run has blocked. */
static const char *somebody(void)
{
	return arena_printf(ctx.arena, "240.0.%d.%d", (int)getpid() / 250 % 250, /* of no network */
			    1 + (int)getpid() % 250);
}

TEST(an_ip_comes_on_the_blocklist)
{
	const char *ip;

	begin();
	ip = somebody();
	ASSERT_EQ(ceph_blocklist_has(conn, &ctx, ip, &err), 0);
	ASSERT_OK(ceph_blocklist_add(conn, &ctx, ip, &err), &err);
	ASSERT_OK(ceph_blocklist_add(conn, &ctx, ip, &err), &err);
	ASSERT_EQ(ceph_blocklist_has(conn, &ctx, ip, &err), 1);
	ASSERT_EQ(ceph_blocklist_has(conn, &ctx, NULL, &err), 1);
	ASSERT_EQ(ceph_blocklist_has(conn, &ctx, "198.51.100.8", &err), 0);
	/* an end that is sooner is none */
	ASSERT_EQ(
		tell_monitors(arena_printf(ctx.arena,
					   "{\"prefix\":\"osd blocklist\",\"blocklistop\":\"add\","
					   "\"addr\":\"%s:0/0\",\"expire\":0.1}",
					   ip)),
		0);
	ASSERT_EQ(ceph_blocklist_has(conn, &ctx, ip, &err), 1);
	ASSERT_ERR(ceph_blocklist_lift(conn, &ctx, ip, &err), &err, ERR_PERMISSION_DENIED,
		   "allow command \"osd blocklist\"");
	end();
}

/* Whatever its protocol: OSDs know it by port and nonce. */
TEST(a_client_alone_comes_on_the_blocklist)
{
	const char *ip, *client;

	begin();
	ip = somebody();
	client = arena_printf(ctx.arena, "%s:0/77", ip);
	ASSERT_EQ(ceph_blocklist_has(conn, &ctx, client, &err), 0);
	ASSERT_OK(ceph_blocklist_add(conn, &ctx, arena_printf(ctx.arena, "v1:%s", client), &err),
		  &err);
	ASSERT_EQ(ceph_blocklist_has(conn, &ctx, client, &err), 1);
	ASSERT_EQ(ceph_blocklist_has(conn, &ctx, arena_printf(ctx.arena, "%s:0/78", ip), &err), 0);
	ASSERT_EQ(ceph_blocklist_has(conn, &ctx, arena_printf(ctx.arena, "%s8", ip), &err), 0);
	end();
}

/* What the words have to be, and what the caps of an image's user do not allow. */
TEST(the_blocklist_takes_no_other_words)
{
	begin();
	ASSERT_EQ(tell_monitors("{\"prefix\":\"osd blocklist\",\"blocklistop\":\"add\","
				"\"addr\":\"" SOMEBODY ":0/0\",\"expire\":60}"),
		  -EINVAL);
	ASSERT_EQ(tell_monitors("{\"prefix\":\"osd blocklist\",\"blocklistop\":\"rm\","
				"\"addr\":\"" SOMEBODY ":0/0\"}"),
		  -EACCES);
	ASSERT_EQ(tell_monitors("{\"prefix\":\"osd blocklist\",\"blocklistop\":\"add\","
				"\"addr\":\"" SOMEBODY "\",\"expire\":60.0}"),
		  -EACCES);
	ASSERT_EQ(tell_monitors("{\"prefix\":\"osd nonsense\"}"), -EINVAL);
	end();
}

static struct ceph_conns *connect_again(struct ceph_conn **ret_conn, rados_ioctx_t *ret_io)
{
	struct ceph_login login = { "c1", FAKE_CEPH_MONITORS, FAKE_CEPH_USER, FAKE_CEPH_KEY };
	struct ceph_conns *others = ceph_conns_new(
		&(struct ceph_conns_options){ .lib = is_real ? NULL : fake_ceph_lib() });

	if (is_real)
		read_real(getenv("CLEAT_CEPH"), &login);
	ASSERT_OK(ceph_conn_get(others, &ctx, &login, ret_conn, &err), &err);
	ASSERT_OK(ceph_conn_open_pool(*ret_conn, "rbd", "", ret_io, &err), &err);
	return others;
}

/* OSDs refuse him, monitors do not; and his watches end. */
TEST(who_is_on_the_blocklist_neither_reads_nor_writes)
{
	struct ceph_conns *others;
	struct ceph_conn *other;
	rados_ioctx_t other_io;
	char *address = NULL;
	uint64_t size;
	time_t changed;

	begin();
	others = connect_again(&other, &other_io);
	ASSERT_EQ(lib->rados_stat(other_io, own("absent"), &size, &changed), -ENOENT);
	ASSERT_EQ(lib->rados_getaddrs(ceph_conn_rados(other), &address), 0);
	ASSERT_EQ(
		tell_monitors(arena_printf(ctx.arena,
					   "{\"prefix\":\"osd blocklist\",\"blocklistop\":\"add\","
					   "\"addr\":\"%s\",\"expire\":60.0}",
					   address)),
		0);
	lib->rados_buffer_free(address);
	for (unsigned i = 0; i < TICKS_MAX; i++) {
		int rc = lib->rados_stat(other_io, own("absent"), &size, &changed);

		if (rc == -ESHUTDOWN)
			break;
		ASSERT_TRUE(is_real && rc == -ENOENT && i < TICKS_MAX - 1);
		(void)poll(NULL, 0, AGAIN_MS); /* until it has the map that says so */
	}
	ASSERT_EQ(ceph_blocklist_has(other, &ctx, SOMEBODY, &err), 0);
	ASSERT_EQ(lib->rados_stat(io, own("absent"), &size, &changed), -ENOENT);
	lib->rados_ioctx_destroy(other_io);
	ceph_conn_put(other);
	ceph_conns_free(others);
	end();
}

static void make_image(const char *name, char ret_id[IMAGE_ID_MAX])
{
	rbd_image_options_t o;
	rbd_image_t image;

	lib->rbd_image_options_create(&o);
	ASSERT_EQ(lib->rbd_image_options_set_uint64(o, RBD_IMAGE_OPTION_FEATURES, 61), 0);
	ASSERT_EQ(lib->rbd_create4(io, name, UINT64_C(16) << 20, o), 0);
	lib->rbd_image_options_destroy(o);
	ASSERT_EQ(lib->rbd_open_read_only(io, name, &image, NULL), 0);
	ASSERT_EQ(lib->rbd_get_id(image, ret_id, IMAGE_ID_MAX), 0);
	ASSERT_EQ(lib->rbd_close(image), 0);
}

/* What is written past librbd it reads, also while another has the image open. */
TEST(the_client_is_kept_in_the_header)
{
	static const struct ceph_client client = { "n1", "10.98.0.11:0/77", "" };
	static const struct ceph_client another = { "n1", "10.98.0.11:0/78", "" };
	struct image_users users;
	struct image_place p;
	rbd_image_t held;
	const char *name;
	char id[IMAGE_ID_MAX];

	begin();
	p = (struct image_place){ .ctx = &ctx, .conn = conn, .lib = lib, .io = io };
	p.cluster.rados_namespace = "";
	name = own("noted");
	make_image(name, id);
	ASSERT_EQ(lib->rbd_open(io, name, &held, NULL), 0);
	ASSERT_OK(image_client_set(&p, id, &client, &err), &err);
	ASSERT_OK(image_users_look(&p, name, &users, &err), &err);
	ASSERT_TRUE(users.is_noted);
	ASSERT_STR(users.noted.node, "n1");
	ASSERT_STR(users.noted.address, "10.98.0.11:0/77");
	ASSERT_STR(users.id, id);
	ASSERT_EQ(users.n_seen, 1);
	ASSERT_OK(image_client_forget(&p, id, &another, &err), &err);
	ASSERT_OK(image_users_look(&p, name, &users, &err), &err);
	ASSERT_TRUE(users.is_noted);
	ASSERT_OK(image_client_forget(&p, id, &client, &err), &err);
	ASSERT_OK(image_client_forget(&p, id, &client, &err), &err);
	ASSERT_OK(image_users_look(&p, name, &users, &err), &err);
	ASSERT_FALSE(users.is_noted);
	ASSERT_EQ(lib->rbd_close(held), 0);
	ASSERT_OK(image_users_look(&p, name, &users, &err), &err);
	ASSERT_EQ(users.n_seen, 0);
	ASSERT_EQ(lib->rbd_remove(io, name), 0);
	/* of an image that is gone nothing comes to be */
	ASSERT_ERR(image_client_set(&p, id, &client, &err), &err, ERR_NOT_FOUND, id);
	ASSERT_OK(image_client_forget(&p, id, &client, &err), &err);
	ASSERT_ERR(image_users_look(&p, name, &users, &err), &err, ERR_NOT_FOUND, name);
	end();
}

RUN_TESTS(UNIT(a_connection_knows_its_address), UNIT(pools_are_listed_as_far_as_there_is_room),
	  UNIT(an_ip_comes_on_the_blocklist), UNIT(a_client_alone_comes_on_the_blocklist),
	  UNIT(the_blocklist_takes_no_other_words),
	  UNIT(who_is_on_the_blocklist_neither_reads_nor_writes),
	  UNIT(the_client_is_kept_in_the_header))
