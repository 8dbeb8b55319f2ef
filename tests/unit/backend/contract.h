/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BACKEND_CONTRACT_H
#define TESTS_UNIT_BACKEND_CONTRACT_H

#include "backend/registry.h"

#include <stdbool.h>

/* Where the contract test runs: contract_fake.c (the fake host) or contract_real.c (this machine,
 * as root). */
int contract_setup(void); /* exit code for main: 0, or 77 with the reason printed */
void contract_teardown(void);
/* Whether this process was started as a guard (host/freeze.h), and has been one. */
bool contract_was_guard(int argc, char **argv);

/* Opens a fresh backend of this kind with about 1.2 GiB of room. */
void contract_open(const char *kind, struct registry **ret_registry);
/* Fails the test if a device, mount or fd is left. */
void contract_close(struct registry *r);

/* Existing empty directories to mount at. */
const char *contract_mount_dir(void);
const char *contract_other_mount_dir(void);
/* Into what is mounted there, or into a device: some bytes, which stay in the page cache. And what
 * is there; "" if nothing is. */
void contract_write(const char *place, const char *text);
void contract_read(const char *place, char ret_text[64]);
/* Whether the pool lies where files can share blocks. */
bool contract_pool_can_clone(void);
/* Where the pool's files are. */
const char *contract_pool_dir(void);

#endif
