/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of encrypted images is known without opening them: the journal's entry says that a volume,
 * or a snapshot, is encrypted and by whose key. An image has a header on top of what its volume
 * has, as ceph-csi makes them since its release 3.15; of an older one, whose volume is smaller than
 * was asked by so much, the volume is said to have what it has, and the difference comes with its
 * next growth.
 */
#include <poll.h>
#include <stdatomic.h>

#include "backend/rbd/image.h"
#include "base/secret.h"
#include "base/str.h"

#define AGAIN_MS 100

static atomic_uint n_at_it;

int image_crypt_check(const struct ceph_entry *entry, struct err *err)
{
	if (!*entry->kms || str_is_equal(entry->kms, CEPH_KMS_DEFAULT))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "image '%s' is encrypted by a passphrase that a key service keeps ('%.64s' "
		       "of encryptionKMSID), which cleat does not do; keep it with ceph-csi",
		       entry->image, entry->kms);
}

int image_crypt_compare(const struct ceph_entry *entry, const char *kms, struct err *err)
{
	if (image_crypt_check(entry, err) < 0)
		return -1;
	if (!*entry->kms == !*kms)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "image '%s' is %sencrypted, and what is made of it has the same blocks: the "
		       "class needs encrypted: \"%s\"",
		       entry->image, *entry->kms ? "" : "not ", *entry->kms ? "true" : "false");
}

const char *image_crypt_passphrase(const struct secrets *secrets)
{
	return str_or(secrets ? secrets_find(secrets, CEPH_PASSPHRASE) : NULL, "");
}

int image_crypt_begin(struct ctx *ctx, struct err *err)
{
	struct pollfd fd = { .fd = ctx_cancel_fd(ctx), .events = POLLIN };

	while (atomic_fetch_add(&n_at_it, 1) >= IMAGE_CRYPT_AT_ONCE) {
		image_crypt_end();
		(void)poll(&fd, 1, ctx_poll_ms(ctx, AGAIN_MS));
		if (ctx_check(ctx, err) < 0)
			return err_wrap(err,
					"other encrypted volumes are being opened on this node");
	}
	return 0;
}

void image_crypt_end(void)
{
	atomic_fetch_sub(&n_at_it, 1);
}
