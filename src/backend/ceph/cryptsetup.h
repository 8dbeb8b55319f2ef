/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_CRYPTSETUP_H
#define BACKEND_CEPH_CRYPTSETUP_H

#include <stddef.h>
#include <stdint.h>

/*
 * What of libcryptsetup.so.12 makes a header of LUKS2, as its version 2.0 and all since have it.
 * librbd is linked with that library, so it is there wherever an encrypted image can be opened, and
 * its header is not, since nothing else of it is used here.
 */
struct crypt_device;

#define CRYPT_LUKS2 "LUKS2"
#define CRYPT_ANY_SLOT (-1)
#define CRYPT_PBKDF_NO_BENCHMARK (UINT32_C(1) << 1)

struct crypt_pbkdf_type {
	const char *type, *hash;
	uint32_t time_ms, iterations, max_memory_kb, parallel_threads, flags;
};

struct crypt_params_luks2 {
	const struct crypt_pbkdf_type *pbkdf;
	const char *integrity;
	const void *integrity_params;
	size_t data_alignment; /* in sectors of 512 bytes; 0: the library's */
	const char *data_device;
	uint32_t sector_size;
	const char *label, *subsystem;
};

int crypt_metadata_locking(struct crypt_device *cd, int enable);
int crypt_init(struct crypt_device **cd, const char *device);
/* volume_key NULL: one is made. */
int crypt_format(struct crypt_device *cd, const char *type, const char *cipher,
		 const char *cipher_mode, const char *uuid, const char *volume_key,
		 size_t volume_key_size, void *params);
/* volume_key NULL: that of the device. ≥0: the slot. */
int crypt_keyslot_add_by_volume_key(struct crypt_device *cd, int keyslot, const char *volume_key,
				    size_t volume_key_size, const char *passphrase,
				    size_t passphrase_size);
uint64_t crypt_get_data_offset(struct crypt_device *cd); /* in sectors of 512 bytes */
void crypt_free(struct crypt_device *cd);

#endif
