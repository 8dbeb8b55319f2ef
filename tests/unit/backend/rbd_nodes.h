/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BACKEND_RBD_NODES_H
#define TESTS_UNIT_BACKEND_RBD_NODES_H

/* A process over a cluster in memory, with a CO whose nodes are a table. */
#include "rbd_world.h"

#include <errno.h>

#include "backend/rbd/fence.h"

#define BOOT_1 "1f6f5e0c-77d6-4b2c-a2b9-3f1f6b0e9f11"
#define BOOT_2 "2f6f5e0c-77d6-4b2c-a2b9-3f1f6b0e9f22"
#define IP "10.98.0.11"
#define CLIENT IP ":0/77"
#define MACHINE_1 "3f6f5e0c-77d6-4b2c-a2b9-3f1f6b0e9f33"
#define MACHINE_2 "4f6f5e0c-77d6-4b2c-a2b9-3f1f6b0e9f44"
#define FENCES "cleat.fences"
#define RECORD_OF_ANY IP "/n1/" BOOT_1
#define OTHER_VOLUME "another volume"
#define N_CALLS_MAX 100

struct co_node {
	const char *id;
	struct backend_node state;
};

struct co {
	struct world w;
	struct co_node nodes[3];
	bool is_away;
	bool has_other; /* every node says that it uses OTHER_VOLUME */
	struct backend_nodes door;
	struct backend_use use;
	struct backend_volume vol;
	char image[64];
};

static const char *const addresses[] = { "worker.example", IP };

static inline int look(void *arg, struct ctx *ctx, const char *node_id, const char *volume_id,
		       struct backend_node *ret_node, struct err *err)
{
	struct co *co = arg;

	if (co->is_away)
		return err_set(err, ERR_UNAVAILABLE, "the API server does not answer");
	*ret_node = (struct backend_node){ .is_gone = true };
	for (size_t i = 0; i < ARRAY_LEN(co->nodes); i++) {
		if (str_is_equal(co->nodes[i].id, node_id))
			*ret_node = co->nodes[i].state;
	}
	if (str_is_equal(volume_id, OTHER_VOLUME))
		ret_node->has_volume = co->has_other;
	else
		ASSERT_STR(volume_id, co->vol.token);
	return 0;
}

/* "n1" has the volume, and ran since BOOT_1. */
static inline void begin(struct co *co)
{
	*co = (struct co){ .is_away = false };
	world_begin(&co->w);
	co->nodes[0] = (struct co_node){ "n1",
					 { .is_ready = true,
					   .has_volume = true,
					   .has_volumes = true,
					   .boot_id = BOOT_1,
					   .machine = MACHINE_1,
					   .addresses = addresses,
					   .n_addresses = ARRAY_LEN(addresses) } };
	co->door = (struct backend_nodes){ look, co };
	co->use = (struct backend_use){ "n1", &co->door, &secrets };
	ASSERT_OK(make(&co->w, "pv-1", BACKEND_SOURCE_NONE, NULL, &co->vol), &co->w.err);
	(void)snprintf(co->image, sizeof(co->image), "%s",
		       image_name(&co->w, "csi-vol-", co->vol.token));
}

static inline void end(struct co *co)
{
	fake_ceph_set_watched(POOL, "", co->image, NULL);
	ASSERT_OK(drop_volume(&co->w, co->vol.token), &co->w.err);
	world_end(&co->w);
}

/* As NodeStageVolume on a node leaves it. */
static inline void stage(struct co *co, const char *node)
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

static inline int publish(struct co *co)
{
	return backend_publish(co->w.b, &co->w.ctx, co->vol.token, &co->use, &co->w.err);
}

static inline int unpublish(struct co *co)
{
	return backend_unpublish(co->w.b, &co->w.ctx, co->vol.token, &co->use, &co->w.err);
}

static inline const char *client_of(const struct co *co)
{
	return str_or(fake_ceph_image_meta(POOL, "", co->image, IMAGE_CLIENT_WORD), "");
}

/* The key of the record that it is written by. */
static inline const char *record_of(const struct co *co, const char *boot_id)
{
	static char key[256];

	(void)snprintf(key, sizeof(key), IP "/n1/%s/%s", boot_id, co->vol.token);
	return key;
}

/* Fenced as n1, with the record of it, or not at all. */
static inline void assert_fenced(const struct co *co, bool is_fenced)
{
	ASSERT_EQ(fake_ceph_is_blocked(IP), is_fenced);
	if (is_fenced)
		ASSERT_TRUE(str_has_prefix(omap(FENCES, record_of(co, BOOT_1)), MACHINE_1 " "));
	else
		ASSERT_EQ(fake_ceph_omap_count(POOL, "", FENCES), 0);
	if (is_fenced)
		ASSERT_STR(client_of(co), "");
}

enum trouble { FAILS, LOSES, DIES, TROUBLES };

static inline void ask_trouble(enum trouble trouble, unsigned n)
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

#endif
