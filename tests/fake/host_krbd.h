/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_HOST_KRBD_H
#define TESTS_FAKE_HOST_KRBD_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_KRBD_CLIENT "10.0.0.7:0/4711" /* of all that it maps */

/* The fake host's kernel and its RBD client. Processes of this program cannot be started on the
 * fake host. */
void fake_krbd_reset(bool is_here);
unsigned fake_krbd_n_mapped(void);
/* One that somebody has mapped. */
void fake_krbd_add(const char *fsid, int64_t pool_id, const char *image);
/* The last line of options that was mapped or unmapped with. */
const char *fake_krbd_options(void);
void fake_krbd_set_busy(bool is_busy);
void fake_nbd_set_used(bool is_used); /* whichever device */

#endif
