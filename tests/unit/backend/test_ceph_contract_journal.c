/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of objects with an omap, and the journal upon them. */
#include "ceph_contract.h"

/* The journal on the library: what the directory's object and its keys must do. */
TEST(a_name_is_reserved_looked_up_and_forgotten)
{
	const char *instance;
	const struct ceph_reservation what = {
		.name = "pv", .prefix = "csi-vol-", .owner = "ns", .pool_id = -1
	};
	struct ceph_entry first, again, found;
	struct ceph_journal j;

	begin();
	instance = own("instance");
	j = (struct ceph_journal){ conn, io, CEPH_JOURNAL_VOLUMES, instance };
	ASSERT_ERR(ceph_journal_find(&j, &ctx, "pv", &found, &err), &err, ERR_NOT_FOUND, "'pv'");
	ASSERT_OK(ceph_journal_reserve(&j, &ctx, &what, &first, &err), &err);
	ASSERT_OK(ceph_journal_reserve(&j, &ctx, &what, &again, &err), &err);
	ASSERT_STR(first.uuid, again.uuid);
	ASSERT_OK(ceph_journal_set_image_id(&j, &ctx, first.uuid, "1019", &err), &err);
	ASSERT_OK(ceph_journal_find(&j, &ctx, "pv", &found, &err), &err);
	ASSERT_STR(found.image_id, "1019");
	ASSERT_STR(found.owner, "ns");
	ASSERT_STR(found.name, "pv");
	ASSERT_OK(ceph_journal_forget(&j, &ctx, first.uuid, "", &err), &err);
	ASSERT_ERR(ceph_journal_read(&j, &ctx, first.uuid, &found, &err), &err, ERR_NOT_FOUND, "");
	ASSERT_ERR(ceph_journal_find(&j, &ctx, "pv", &found, &err), &err, ERR_NOT_FOUND, "'pv'");
	ASSERT_ERR(ceph_journal_set_image_id(&j, &ctx, first.uuid, "1019", &err), &err,
		   ERR_NOT_FOUND, first.uuid);
	ASSERT_EQ(lib->rados_remove(io, arena_printf(ctx.arena, "csi.volumes.%s", instance)), 0);
	end();
}

static int set_if_absent(const char *object, const char *key, const char *value)
{
	rados_write_op_t op = lib->rados_create_write_op();
	size_t n = strlen(value);
	int rc;

	lib->rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	lib->rados_write_op_omap_cmp(op, key, LIBRADOS_CMPXATTR_OP_EQ, "", 0, NULL);
	lib->rados_write_op_omap_set(op, &key, &value, &n, 1);
	rc = lib->rados_write_op_operate(op, io, object, NULL, 0);
	lib->rados_release_write_op(op);
	return rc;
}

static int remove_if(const char *object, const char *key, const char *value)
{
	rados_write_op_t op = lib->rados_create_write_op();
	int rc;

	lib->rados_write_op_omap_cmp(op, key, LIBRADOS_CMPXATTR_OP_EQ, value, strlen(value), NULL);
	lib->rados_write_op_omap_rm_keys(op, &key, 1);
	rc = lib->rados_write_op_operate(op, io, object, NULL, 0);
	lib->rados_release_write_op(op);
	return rc;
}

TEST(an_operation_compares_with_what_was_there)
{
	const char *object;

	begin();
	object = own("object");
	ASSERT_EQ(remove_if(object, "a", "1"), -ENOENT);
	ASSERT_EQ(set_if_absent(object, "a", "1"), 0);
	ASSERT_EQ(set_if_absent(object, "a", "2"), -ECANCELED);
	ASSERT_EQ(set_if_absent(object, "b", "2"), 0);
	ASSERT_EQ(remove_if(object, "a", "2"), -ECANCELED);
	ASSERT_EQ(remove_if(object, "a", "1"), 0);
	ASSERT_EQ(remove_if(object, "a", "1"), -ECANCELED);
	ASSERT_EQ(remove_if(object, "a", ""), 0);
	ASSERT_EQ(set_if_absent(object, "a", "2"), 0);
	ASSERT_EQ(lib->rados_stat(io, object, NULL, NULL), 0);
	ASSERT_EQ(lib->rados_remove(io, object), 0);
	ASSERT_EQ(lib->rados_remove(io, object), -ENOENT);
	end();
}

RUN_TESTS(UNIT(a_name_is_reserved_looked_up_and_forgotten),
	  UNIT(an_operation_compares_with_what_was_there))
