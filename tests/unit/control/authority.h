/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CONTROL_AUTHORITY_H
#define TESTS_UNIT_CONTROL_AUTHORITY_H

/* A directory below /tmp with an authority for certificates of agents, as cert-manager or a Secret
 * would have it: made before a test, gone after it. */
extern char authority_cert[64], authority_key[64];

int authority_set_up(void **state);
int authority_tear_down(void **state);
/* Another one under the same names. */
void authority_write(void);

#endif
