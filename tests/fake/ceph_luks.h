/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_CEPH_LUKS_H
#define TESTS_FAKE_CEPH_LUKS_H

#include "backend/ceph/lib.h"

#include <stdbool.h>

/*
 * libcryptsetup's part of a table, for both fakes: a header that has LUKS' magics in their places,
 * and its passphrase in clear; and whether what begins so is one, and opens: 0, -EINVAL, -EPERM, as
 * librbd answers.
 */
#define FAKE_LUKS_HEAD 65536
int fake_luks_locking(struct crypt_device *cd, int enable);
int fake_luks_init(struct crypt_device **cd, const char *device);
int fake_luks_format(struct crypt_device *cd, const char *type, const char *cipher,
		     const char *cipher_mode, const char *uuid, const char *volume_key,
		     size_t volume_key_size, void *params);
int fake_luks_add_key(struct crypt_device *cd, int keyslot, const char *volume_key,
		      size_t volume_key_size, const char *passphrase, size_t passphrase_size);
uint64_t fake_luks_data_offset(struct crypt_device *cd);
void fake_luks_free(struct crypt_device *cd);

int fake_luks_open(const char head[FAKE_LUKS_HEAD], rbd_encryption_format_t format,
		   const void *options);

#endif
