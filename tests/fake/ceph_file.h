/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_CEPH_FILE_H
#define TESTS_FAKE_CEPH_FILE_H

#include "backend/ceph/lib.h"

/*
 * As much of librados and librbd as a server of images uses (backend/rbd/serve.c), over files, so
 * that the bytes outlive the process: a pool is named by a directory, an image by a file in it,
 * which a test may grow as rbd resize does. All that is asynchronous is done by threads of its own,
 * in whatever order. What was not flushed is lost with the process, as in librbd's cache: it keeps
 * writes in memory until then, if the image's name begins with "cached".
 *
 * An image's metadata are attributes of its file ("user." before the key).
 *
 * Who has an image with the attribute FAKE_CEPH_FILE_SHUT_OUT is on the cluster's blocklist: his
 * watch ends, and librbd's cache then takes what is written, and may say that it is written out.
 *
 * The monitors "silent" never answer; the key "wrong" is refused.
 */
#define FAKE_CEPH_FILE_SHUT_OUT "user.shut-out"
#define FAKE_CEPH_FILE_CLIENT "10.0.0.7:0/1"
const struct ceph_lib *fake_ceph_file_lib(void);

#endif
