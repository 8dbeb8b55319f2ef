/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/ceph_luks.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define COPY_AT 16384
#define KEY_AT 32768
#define KEY_MAX 512

static const char magic[6] = "LUKS\xba\xbe";
static const char copy_magic[6] = "SKUL\xba\xbe";

struct crypt_device {
	int fd;
};

int fake_luks_locking(struct crypt_device *cd, int enable)
{
	return cd || enable ? -EINVAL : 0;
}

int fake_luks_init(struct crypt_device **cd, const char *device)
{
	int fd = open(device, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*cd = xcalloc(1, sizeof(**cd));
	(*cd)->fd = fd;
	return 0;
}

int fake_luks_format(struct crypt_device *cd, const char *type, const char *cipher,
		     const char *cipher_mode, const char *uuid, const char *volume_key,
		     size_t volume_key_size, void *params)
{
	const struct crypt_params_luks2 *p = params;

	if (strcmp(type, CRYPT_LUKS2) != 0 || strcmp(cipher, "aes") != 0 ||
	    strcmp(cipher_mode, "xts-plain64") != 0 || uuid || volume_key ||
	    volume_key_size != 64 || p->sector_size != 4096 || p->pbkdf->max_memory_kb != 32768)
		return -EINVAL;
	return pwrite(cd->fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
			       pwrite(cd->fd, copy_magic, sizeof(copy_magic), COPY_AT) ==
				       (ssize_t)sizeof(copy_magic)
		       ? 0
		       : -EIO;
}

int fake_luks_add_key(struct crypt_device *cd, int keyslot, const char *volume_key,
		      size_t volume_key_size, const char *passphrase, size_t passphrase_size)
{
	if (keyslot != CRYPT_ANY_SLOT || volume_key || volume_key_size != 64 ||
	    passphrase_size == 0 || passphrase_size >= KEY_MAX)
		return -EINVAL;
	return pwrite(cd->fd, passphrase, passphrase_size, KEY_AT) == (ssize_t)passphrase_size
		       ? 0
		       : -EIO;
}

uint64_t fake_luks_data_offset(struct crypt_device *cd)
{
	(void)cd;
	return (UINT64_C(16) << 20) / 512;
}

void fake_luks_free(struct crypt_device *cd)
{
	(void)close(cd->fd);
	free(cd);
}

int fake_luks_open(const char head[FAKE_LUKS_HEAD], rbd_encryption_format_t format,
		   const void *options)
{
	const rbd_encryption_luks2_format_options_t *o = options;

	if (format != RBD_ENCRYPTION_FORMAT_LUKS2 || memcmp(head, magic, sizeof(magic)) != 0)
		return -EINVAL;
	return strnlen(head + KEY_AT, KEY_MAX) == o->passphrase_size &&
			       memcmp(head + KEY_AT, o->passphrase, o->passphrase_size) == 0
		       ? 0
		       : -EPERM;
}
