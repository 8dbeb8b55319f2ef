/* SPDX-License-Identifier: Apache-2.0 */
/* An image's header is no object of the list; of its omap there are the metadata. Who has the image
 * open is told of changes by a notification of it, and knows the metadata that there were then. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "fake/ceph-omap-internal.h"

static const char prefix[] = "metadata_";
static const char header[] = "rbd_header.";

bool fake_header_is(const char *name)
{
	return str_has_prefix(name, header);
}

struct fake_image *fake_header_find(const struct fake_io *io, const char *name)
{
	return fake_image_find_id(io->pool, io->ns, name + strlen(header));
}

static bool has_meta(const struct fake_image *image, const char *key, const struct fake_pair *want)
{
	for (size_t i = 0; i < image->meta.n; i++) {
		const struct fake_pair *p = &image->meta.v[i];

		if (str_is_equal(p->key, key))
			return p->n == want->n && memcmp(p->value, want->value, p->n) == 0;
	}
	return want->n == 0;
}

int fake_header_apply(const struct fake_op *op, struct fake_image *image)
{
	if (!image)
		return -ENOENT; /* whoever asks wants none to be made */
	for (size_t i = 0; i < op->steps.n; i++) {
		const struct fake_pair *want = &op->steps.v[i].pair;

		if (op->steps.v[i].kind == STEP_CMP &&
		    !has_meta(image, want->key + strlen(prefix), want))
			return -ECANCELED;
	}
	for (size_t i = 0; i < op->steps.n; i++) {
		const struct fake_step *step = &op->steps.v[i];

		assert(step->kind == STEP_EXISTS || str_has_prefix(step->pair.key, prefix));
		if (step->kind == STEP_SET || step->kind == STEP_RM)
			fake_image_set_meta(image, step->pair.key + strlen(prefix),
					    step->kind == STEP_SET ? step->pair.value : NULL);
	}
	return 0;
}

int fake_header_read(const struct fake_op *op, const struct fake_image *image)
{
	if (!image)
		return -ENOENT;
	for (size_t i = 0; i < op->steps.n; i++) {
		const struct fake_step *step = &op->steps.v[i];

		assert(step->kind == STEP_GET && str_has_prefix(step->pair.key, prefix));
		*step->ret_rc = 0;
		for (size_t k = 0; k < image->meta.n; k++) {
			const struct fake_pair *p = &image->meta.v[k];

			if (str_is_equal(p->key, step->pair.key + strlen(prefix)))
				vec_push(&step->iter->pairs,
					 fake_pair_copy(step->pair.key, p->value, p->n));
		}
	}
	return 0;
}

static int notify(rados_ioctx_t handle, const char *name, const char *buf, int n,
		  uint64_t timeout_ms, char **ret_reply, size_t *ret_n)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_READ);
	struct fake_image *image = rc < 0 ? NULL : fake_header_find(io, name);

	assert(n == 0 && !ret_reply && !ret_n && timeout_ms > 0);
	if (rc == 0 && !image)
		rc = -ENOENT;
	if (rc == 0)
		image->n_told = image->n_meta_changes;
	return fake_ceph_leave(rc);
}

bool fake_ceph_knows_meta(int64_t pool, const char *ns, const char *name)
{
	struct fake_image *image;
	bool knows;

	fake_ceph_lock();
	image = fake_image_find(fake_ceph_pool(fake_ceph_cluster(FAKE_CEPH_MONITORS), pool), ns,
				name);
	knows = image && image->n_told == image->n_meta_changes;
	fake_ceph_unlock();
	return knows;
}

void fake_ceph_fill_header(struct ceph_lib *lib)
{
	lib->rados_notify2 = notify;
}
