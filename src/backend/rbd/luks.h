/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_LUKS_H
#define BACKEND_RBD_LUKS_H

#include "backend/ceph/lib.h"
#include "volume/ceph.h"

#include <stdbool.h>

/*
 * Encrypted images, as whoever serves them has them: LUKS2, in ceph-csi's way, so that either
 * program opens what the other has formatted. What librbd is given is plain and what lies in the
 * pool is not; the image's first CEPH_LUKS_HEADER bytes are the header and are not seen.
 *
 * The image's metadata say how far it is:
 *
 *   rbd.csi.ceph.com/encrypted   encryptionPrepared: nothing was ever written to it
 *                                encrypted: it is formatted, and is never formatted again
 *   …/luks2HeaderSize            how much of the image is the header's
 */
#define LUKS_STATE_WORD "rbd.csi.ceph.com/encrypted"
#define LUKS_HEADER_WORD "rbd.csi.ceph.com/luks2HeaderSize"
#define LUKS_PREPARED "encryptionPrepared"
#define LUKS_ENCRYPTED "encrypted"

enum luks_state { LUKS_STATE_NONE, LUKS_STATE_PREPARED, LUKS_STATE_ENCRYPTED };

/* FAILED_PRECONDITION: a word of ceph-csi that is not known here. rc of librbd otherwise. */
int luks_state_get(const struct ceph_lib *lib, rbd_image_t open, enum luks_state *ret_state);
#define LUKS_STATE_UNKNOWN (-EBADMSG)

/*
 * Formats the image of this name, which nobody has open, if it was prepared and nothing is on it,
 * and says so in its metadata. What was formatted already stays; so does, FAILED_PRECONDITION, what
 * is there and is no LUKS. Killed at any point it is done anew, or was done.
 */
int luks_format(const struct ceph_lib *lib, rados_ioctx_t io, const char *name,
		const char *passphrase, struct err *err);

/* From now on the open image's bytes are the plain ones, and its size theirs. UNAUTHENTICATED: the
 * passphrase is another; FAILED_PRECONDITION: librbd cannot open what is there, or not read all of
 * it. */
int luks_load(const struct ceph_lib *lib, rbd_image_t open, const char *name,
	      const char *passphrase, struct err *err);

/* What an image's beginning is. head: its first LUKS_HEAD bytes; is_empty: all behind them, up to
 * CEPH_LUKS_HEADER, are zeros. */
#define LUKS_HEAD ((size_t)32768)
enum luks_found {
	LUKS_FOUND_NOTHING,
	LUKS_FOUND_HALF, /* what a luks_format that was killed has left */
	LUKS_FOUND_HEADER,
	LUKS_FOUND_OTHER,
};
enum luks_found luks_look_at(const unsigned char *head, bool is_empty);

#endif
