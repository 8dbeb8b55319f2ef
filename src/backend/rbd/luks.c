/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header is made by libcryptsetup in a file in memory, as `cryptsetup luksFormat` makes it:
 * librbd would do the same, but with an argon2 that takes up to 1 GiB of memory whenever the image
 * is opened, on a node that may not have that, and here nobody may say otherwise. Ours takes 32
 * MiB, as ceph-csi's, and 32 rounds, whatever the machine that formats has to do besides.
 *
 * Its beginning is written last. So an image that was half formatted is none of LUKS, and is told
 * from one that holds somebody's data: the copy of the header behind the first, which has a magic
 * of its own, is written before all else, in a block that is written whole or not.
 *
 *   block 4 (the copy) ─► blocks 5–255 ─► blocks 1–3 ─► block 0 ─► metadata: encrypted
 *
 * The key slots that nobody uses are not written: nothing is read of them.
 */
#include "backend/rbd/luks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"

#define BLOCK ((size_t)4096)
#define COPY_AT (4 * BLOCK)
#define WRITTEN MIB /* of the header: both copies and the first key slot */
#define DEVICE_BYTES (CEPH_LUKS_HEADER + MIB)
#define CHUNK MIB
#define SECTOR 512
#define KEY_BYTES 64 /* AES-256, twice for XTS */
#define ROUNDS 32
#define MEMORY_KB 32768
#define WORD_MAX 64
#define MAGIC_BYTES 6

static const unsigned char magic[] = "LUKS\xba\xbe";
static const unsigned char copy_magic[] = "SKUL\xba\xbe";

int luks_state_get(const struct ceph_lib *lib, rbd_image_t open, enum luks_state *ret_state)
{
	char word[WORD_MAX] = "";
	size_t n = sizeof(word) - 1;
	int rc = lib->rbd_metadata_get(open, LUKS_STATE_WORD, word, &n);

	if (rc == -ENOENT)
		word[0] = '\0';
	else if (rc < 0)
		return rc == -ERANGE ? LUKS_STATE_UNKNOWN : rc;
	word[strcspn(word, " \n")] = '\0';
	if (word[0] && !str_is_equal(word, LUKS_PREPARED) && !str_is_equal(word, LUKS_ENCRYPTED))
		return LUKS_STATE_UNKNOWN;
	*ret_state = !word[0]                            ? LUKS_STATE_NONE
		     : str_is_equal(word, LUKS_PREPARED) ? LUKS_STATE_PREPARED
							 : LUKS_STATE_ENCRYPTED;
	return 0;
}

/* ---- what is there ---- */

static bool is_zero(const unsigned char *bytes, size_t n)
{
	return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

enum luks_found luks_look_at(const unsigned char *head, bool is_empty)
{
	if (memcmp(head, magic, MAGIC_BYTES) == 0)
		return LUKS_FOUND_HEADER;
	if (is_empty && is_zero(head, LUKS_HEAD))
		return LUKS_FOUND_NOTHING;
	return is_zero(head, BLOCK) && memcmp(head + COPY_AT, copy_magic, MAGIC_BYTES) == 0
		       ? LUKS_FOUND_HALF
		       : LUKS_FOUND_OTHER;
}

struct formatting {
	const struct ceph_lib *lib;
	rbd_image_t open;
	const char *name;
	const char *passphrase;
	unsigned char *chunk; /* CHUNK bytes */
};

static int failed(const struct formatting *f, int rc, const char *what, struct err *err)
{
	return err_os(err, rc == -ETIMEDOUT || rc == -ESHUTDOWN ? ERR_UNAVAILABLE : ERR_INTERNAL,
		      rc, "%s image '%s', which is to be encrypted", what, f->name);
}

static int read_all(const struct formatting *f, uint64_t at, struct err *err)
{
	ssize_t got = f->lib->rbd_read(f->open, at, CHUNK, (char *)f->chunk);

	if (got < 0)
		return failed(f, (int)got, "read", err);
	if ((size_t)got != CHUNK)
		return err_set(err, ERR_INTERNAL, "image '%s' ends within its first 16 MiB",
			       f->name);
	return 0;
}

static int look(const struct formatting *f, enum luks_found *ret_found, struct err *err)
{
	autofree unsigned char *head = xmalloc(LUKS_HEAD);
	bool is_empty = true;

	for (uint64_t at = 0; at < CEPH_LUKS_HEADER && is_empty; at += CHUNK) {
		size_t skip = at == 0 ? LUKS_HEAD : 0;

		if (read_all(f, at, err) < 0)
			return -1;
		if (at == 0)
			memcpy(head, f->chunk, LUKS_HEAD);
		is_empty = is_zero(f->chunk + skip, CHUNK - skip);
	}
	*ret_found = luks_look_at(head, is_empty);
	return 0;
}

/* ---- the header ---- */

static int make_on(const struct formatting *f, struct crypt_device *device, struct err *err)
{
	const struct crypt_pbkdf_type derivation = { .type = "argon2id",
						     .hash = "sha256",
						     .iterations = ROUNDS,
						     .max_memory_kb = MEMORY_KB,
						     .parallel_threads = 1,
						     .flags = CRYPT_PBKDF_NO_BENCHMARK };
	struct crypt_params_luks2 params = { .pbkdf = &derivation, .sector_size = BLOCK };
	int rc = f->lib->crypt_format(device, CRYPT_LUKS2, "aes", "xts-plain64", NULL, NULL,
				      KEY_BYTES, &params);

	if (rc >= 0 && f->lib->crypt_get_data_offset(device) != CEPH_LUKS_HEADER / SECTOR)
		return err_set(err, ERR_INTERNAL,
			       "libcryptsetup makes a header of %llu bytes, and not of 16 MiB",
			       (unsigned long long)f->lib->crypt_get_data_offset(device) * SECTOR);
	if (rc >= 0)
		rc = f->lib->crypt_keyslot_add_by_volume_key(device, CRYPT_ANY_SLOT, NULL,
							     KEY_BYTES, f->passphrase,
							     strlen(f->passphrase));
	return rc < 0 ? err_os(err, ERR_INTERNAL, rc,
			       "make a header of LUKS2 (it takes %d MiB of memory)",
			       MEMORY_KB / 1024)
		      : 0;
}

static int make_in(const struct formatting *f, int fd, struct err *err)
{
	struct crypt_device *device = NULL;
	char path[64];
	int rc;

	if (ftruncate(fd, (off_t)DEVICE_BYTES) < 0)
		return err_os(err, ERR_INTERNAL, errno, "make room for a header of LUKS2");
	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	/* of locks of its own in /run: nobody else has this file */
	(void)f->lib->crypt_metadata_locking(NULL, 0);
	rc = f->lib->crypt_init(&device, path);
	if (rc < 0)
		return err_os(err, ERR_INTERNAL, rc, "begin a header of LUKS2");
	rc = make_on(f, device, err);
	f->lib->crypt_free(device);
	if (rc == 0 && pread(fd, f->chunk, WRITTEN, 0) != (ssize_t)WRITTEN)
		return err_os(err, ERR_INTERNAL, errno, "read a header of LUKS2");
	return rc;
}

static int make_header(const struct formatting *f, struct err *err)
{
	autofd int fd = -1;

	if (!f->lib->crypt_init)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "encrypted volumes need libcryptsetup.so.12 to be formatted, which "
			       "cannot be loaded here; install libcryptsetup12");
	fd = memfd_create("luks", MFD_CLOEXEC);
	if (fd < 0)
		return err_os(err, ERR_INTERNAL, errno, "make a file for a header of LUKS2");
	return make_in(f, fd, err);
}

static int put(const struct formatting *f, size_t begin, size_t end, struct err *err)
{
	ssize_t rc = f->lib->rbd_write(f->open, begin, end - begin, (const char *)f->chunk + begin);

	if (rc >= 0)
		rc = f->lib->rbd_flush(f->open);
	return rc < 0 ? failed(f, (int)rc, "write", err) : 0;
}

static int put_header(const struct formatting *f, struct err *err)
{
	if (memcmp(f->chunk, magic, MAGIC_BYTES) != 0 ||
	    memcmp(f->chunk + COPY_AT, copy_magic, MAGIC_BYTES) != 0)
		return err_set(err, ERR_INTERNAL,
			       "libcryptsetup makes a header that is not as LUKS2 has it");
	return put(f, COPY_AT, COPY_AT + BLOCK, err) < 0 ||
			       put(f, COPY_AT + BLOCK, WRITTEN, err) < 0 ||
			       put(f, BLOCK, COPY_AT, err) < 0 || put(f, 0, BLOCK, err) < 0
		       ? -1
		       : 0;
}

static int format(const struct formatting *f, struct err *err)
{
	enum luks_found found;
	int rc;

	if (look(f, &found, err) < 0)
		return -1;
	if (found == LUKS_FOUND_OTHER)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "image '%s' is to be encrypted (" LUKS_STATE_WORD " is "
			       "'" LUKS_PREPARED "') and holds something already that is no LUKS; "
			       "it is left as it is",
			       f->name);
	if (found != LUKS_FOUND_HEADER && (make_header(f, err) < 0 || put_header(f, err) < 0))
		return -1;
	rc = f->lib->rbd_metadata_set(f->open, LUKS_STATE_WORD, LUKS_ENCRYPTED);
	return rc < 0 ? failed(f, rc, "write the metadata of", err) : 0;
}

int luks_format(const struct ceph_lib *lib, rados_ioctx_t io, const char *name,
		const char *passphrase, struct err *err)
{
	struct formatting f = { .lib = lib, .name = name, .passphrase = passphrase };
	int rc = lib->rbd_open(io, name, &f.open, NULL);
	int closed;

	if (rc < 0)
		return failed(&f, rc, "open", err);
	f.chunk = xmalloc(CHUNK);
	rc = format(&f, err);
	explicit_bzero(f.chunk, CHUNK);
	free(f.chunk);
	closed = lib->rbd_close(f.open);
	return rc == 0 && closed < 0 ? failed(&f, closed, "close", err) : rc;
}

/* ---- opening ---- */

/*
 * librbd 16 takes an offset of the plain bytes for one of the image where it looks whether a parent
 * has them. Of a clone that is larger than its parent it cannot read as many bytes behind the
 * parent's end as the header has (EINVAL), nor write there, and may die of the attempt.
 */
static int check_parent(const struct ceph_lib *lib, rbd_image_t open, const char *name,
			struct err *err)
{
	uint64_t overlap = 0, raw = 0;
	int rc = lib->rbd_get_overlap(open, &overlap);

	if (rc == 0)
		rc = lib->rbd_get_size(open, &raw);
	if (rc < 0)
		return err_os(err, ERR_UNAVAILABLE, rc, "ask for the parent of image '%s'", name);
	if (overlap == 0 || raw <= overlap)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "image '%s' is an encrypted clone that was made larger than its parent, of "
		       "which librbd does not read all; flatten it first ('rbd flatten')",
		       name);
}

int luks_load(const struct ceph_lib *lib, rbd_image_t open, const char *name,
	      const char *passphrase, struct err *err)
{
	rbd_encryption_luks2_format_options_t opts = { .passphrase = passphrase,
						       .passphrase_size = strlen(passphrase) };
	int rc;

	if (check_parent(lib, open, name, err) < 0)
		return -1;
	rc = lib->rbd_encryption_load(open, RBD_ENCRYPTION_FORMAT_LUKS2, &opts, sizeof(opts));
	if (rc == -EPERM)
		return err_set(err, ERR_UNAUTHENTICATED,
			       "image '%s' is encrypted with another passphrase than the "
			       "secret's " CEPH_PASSPHRASE
			       " (csi.storage.k8s.io/node-stage-secret-name of its "
			       "class)",
			       name);
	if (rc == -EINVAL || rc == -ENOTSUP || rc == -EOPNOTSUPP || rc == -ENOENT)
		return err_os(err, ERR_FAILED_PRECONDITION, rc,
			      "image '%s' is said to be encrypted, and librbd cannot open it: that "
			      "takes a header of LUKS2, of aes-xts-plain64, at the image's "
			      "beginning, as long as whole rows of its objects",
			      name);
	if (rc < 0)
		return err_os(err,
			      rc == -ETIMEDOUT || rc == -ESHUTDOWN ? ERR_UNAVAILABLE : ERR_INTERNAL,
			      rc, "open image '%s', which is encrypted", name);
	return 0;
}
